//go:build linux && amd64

package jail_test

import (
	"archive/zip"
	"bytes"
	"embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"oubliette/jail"
	"oubliette/policy"
)

// These programs are nowhere on the host's disk: compiled into a directory that
// is gone before they run, with an interpreter and libraries at paths that the
// host has not.

//go:embed testdata/embedded
var embedded embed.FS

const answerC = `int answer(void) { return 42; }`

const askC = `#include <stdio.h>
#include <sys/stat.h>
int answer(void);
int main(int argc, char **argv) {
	char line[100] = "no data";
	struct stat st;
	FILE *f = fopen("/data/note.txt", "r");
	if (f) fgets(line, sizeof line, f);
	printf("%s %s: %d, %s, host %s\n", argv[0], argv[1], answer(), line,
		stat("/etc/passwd", &st) && stat("/lib64", &st) ? "not there" : "visible");
	return 0;
}`

// compile builds C sources, by file name, and returns what arguments name as the
// output.
func compile(t testing.TB, sources map[string]string, output string, args ...string) []byte {
	t.Helper()
	need(t, args[0])
	dir := t.TempDir()
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, text)
	}
	b, err := os.ReadFile(filepath.Join(dir, output))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return b
}

// onlyTree is a tree with a dynamically linked program in it.
func onlyTree(t testing.TB) fstest.MapFS {
	t.Helper()
	need(t, "gcc")
	both := map[string]string{"answer.c": answerC, "ask.c": askC}
	lib := compile(t, both, "libanswer.so", "gcc", "-shared", "-fPIC", "-o", "libanswer.so", "answer.c")
	ask := compile(t, both, "ask", "sh", "-c", "gcc -shared -fPIC -o libanswer.so answer.c && "+
		"gcc -o ask ask.c -L. -lanswer -Wl,--dynamic-linker=/only/ld.so -Wl,-rpath,/only/lib -Wl,--disable-new-dtags")
	tree := fstest.MapFS{
		"bin/ask":               {Data: ask, Mode: 0o755},
		"only/lib/libanswer.so": {Data: lib, Mode: 0o755},
		"only/lib/libc.so.6":    {Data: ofGCC(t, "libc.so.6"), Mode: 0o755},
		"only/ld.so":            {Data: ofGCC(t, "ld-linux-x86-64.so.2"), Mode: 0o755},
		"data/note.txt":         {Data: []byte("from the same tree"), Mode: 0o644, ModTime: time.Unix(1e9, 0)},
	}
	return tree
}

// ofGCC is a file of the C library that gcc links with.
func ofGCC(t testing.TB, name string) []byte {
	t.Helper()
	path, err := exec.Command("gcc", "-print-file-name="+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(strings.TrimSpace(string(path)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// empty is a policy that shows nothing: what there is comes from the Jail.
func empty() policy.Policy { return policy.Policy{Calls: policy.Native(), Default: policy.Emulate} }

// zipped is a tree as an archive, every second file compressed.
func zipped(t testing.TB, tree fs.FS) fs.FS {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	n := 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		h.Name = name
		if n++; n%2 == 0 {
			h.Method = zip.Deflate
		}
		to, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		_, err = to.Write(data)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOnlyInFS: program, interpreter, libraries and data of one fs.FS.
func TestOnlyInFS(t *testing.T) {
	tree := onlyTree(t)
	want := result{Stdout: "/bin/ask it: 42, from the same tree, host not there\n"}
	for name, fsys := range map[string]fs.FS{"map": tree, "zip": zipped(t, tree)} {
		t.Run(name, func(t *testing.T) {
			j := &jail.Jail{Mounts: map[string]fs.FS{"/": fsys}}
			for range 2 {
				if got := jailed(t, j, exec.Command("/bin/ask", "it"), empty()); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
		})
	}
	t.Run("parts", func(t *testing.T) { // several mounts, one below the other
		program, libraries := fstest.MapFS{"ask": tree["bin/ask"]}, fstest.MapFS{}
		for name, f := range tree {
			if rest, ok := strings.CutPrefix(name, "only/"); ok {
				libraries[rest] = f
			}
		}
		j := &jail.Jail{Mounts: map[string]fs.FS{"/bin": program, "/only": zipped(t, libraries),
			"/data": fstest.MapFS{"note.txt": tree["data/note.txt"]}}}
		if got := jailed(t, j, exec.Command("/bin/ask", "it"), empty()); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// TestOnlyStatic: static, static-pie and musl's programs.
func TestOnlyStatic(t *testing.T) {
	sources := map[string]string{"answer.c": answerC, "ask.c": askC}
	for name, args := range map[string][]string{
		"static":     {"gcc", "-static", "-o", "ask", "ask.c", "answer.c"},
		"static-pie": {"gcc", "-static-pie", "-o", "ask", "ask.c", "answer.c"},
		"musl":       {"musl-gcc", "-static", "-o", "ask", "ask.c", "answer.c"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{"ask": {Data: compile(t, sources, "ask", args...), Mode: 0o755}}
			want := result{Stdout: "/ask it: 42, no data, host not there\n"}
			if got := jailed(t, &jail.Jail{Mounts: map[string]fs.FS{"/": zipped(t, tree)}}, exec.Command("/ask", "it"), empty()); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	got := jailed(t, &jail.Jail{Mounts: map[string]fs.FS{"/": fstest.MapFS{"true": {Data: tinyELF(), Mode: 0o755}}}}, exec.Command("/true"), empty())
	if got != (result{}) {
		t.Errorf("the tiny program: %+v", got)
	}
}

// TestOnlyEmbedded: an embed.FS knows no modes; its script runs all the same.
func TestOnlyEmbedded(t *testing.T) {
	need(t, "busybox")
	path, _ := exec.LookPath("busybox")
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := fs.Sub(embedded, "testdata/embedded")
	if err != nil {
		t.Fatal(err)
	}
	j := &jail.Jail{Mounts: map[string]fs.FS{"/": fstest.MapFS{"busybox": {Data: busybox, Mode: 0o755}}, "/scripts": scripts}}
	cmd := exec.Command("/scripts/greet.sh", "word")
	cmd.Dir = "/scripts"
	if got, want := jailed(t, j, cmd, empty()), (result{Stdout: "a script out of embed.FS, /scripts/greet.sh word, sees greet.sh\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
