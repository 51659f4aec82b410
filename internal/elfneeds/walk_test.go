package elfneeds_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/elfneeds"
)

// programs are tried where the host has them.
var programs = []string{
	"/bin/sh", "/bin/ls", "bash", "/usr/bin/python3", "perl", "git", "sqlite3", "openssl", "gs", "node", "java", "gcc", "gdb", "convert",
	"ssh", "curl", "vim", "awk", "jq", "tar", "busybox", "gnuplot", "ffmpeg", "ld",
}

func find(t testing.TB, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

func regular(files []elfneeds.File) []string {
	paths := map[string]bool{}
	for _, f := range files {
		if f.Link == "" {
			paths[f.Path] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

var lddPath = regexp.MustCompile(`(?m)^\s(?:.* => )?(/\S+) \(0x`)

// TestLdd takes the host's loader as the oracle.
func TestLdd(t *testing.T) {
	ldd := find(t, "ldd")
	for _, name := range programs {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			files, err := elfneeds.Walk(program)
			if err != nil {
				t.Fatal(err)
			}
			binary, err := filepath.EvalSymlinks(program) // ldd would take $ORIGIN from the symlink
			if err != nil {
				t.Fatal(err)
			}
			if head, err := os.ReadFile(binary); err != nil || strings.HasPrefix(string(head), "#!") {
				t.Log("a script, or not readable: ", err)
				return
			}
			out, err := exec.Command(ldd, binary).CombinedOutput()
			if err != nil && !strings.Contains(string(out), "not a dynamic") {
				t.Skip(string(out), err)
			}
			want := map[string]bool{}
			want[binary] = true
			for _, m := range lddPath.FindAllStringSubmatch(string(out), -1) {
				real, err := filepath.EvalSymlinks(m[1])
				if err != nil {
					t.Fatal(err)
				}
				want[real] = true
			}
			got := slices.DeleteFunc(regular(files), func(p string) bool { return p == "/etc/ld.so.cache" })
			if d := cmp.Diff(slices.Sorted(maps.Keys(want)), got); d != "" {
				t.Errorf("ldd (-) and Walk (+):\n%s", d)
			}
			t.Log(len(files), "paths")
		})
	}
}

// TestChroot runs programs in a tree of nothing but what Walk lists.
func TestChroot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("chroot(2) needs root")
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"/bin/sh", []string{"-c", "echo $((6*7))"}}, {"sqlite3", []string{":memory:", "select 6*7"}}, {"openssl", []string{"version"}},
		{"git", []string{"--version"}}, {"perl", []string{"-e", "print 42"}}, {"busybox", []string{"echo", "42"}}, {"jq", []string{"-n", "42"}},
		{"ldd", []string{"--version"}}, {"gs", []string{"--version"}}, {"node", []string{"-e", "console.log(42)"}},
	} {
		program, err := exec.LookPath(c.name)
		if err != nil {
			continue
		}
		t.Run(filepath.Base(c.name), func(t *testing.T) {
			files, err := elfneeds.Walk(program)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, c.args...)
			cmd.Env = []string{"HOME=/"}
			want, err := cmd.Output()
			if err != nil {
				t.Skip("does not run outside either: ", err)
			}
			cmd = &exec.Cmd{Path: program, Args: append([]string{program}, c.args...), Env: cmd.Env, Dir: "/",
				SysProcAttr: &syscall.SysProcAttr{Chroot: plant(t, files)}}
			got, err := cmd.CombinedOutput()
			if err != nil || string(got) != string(want) {
				t.Errorf("in the tree: %v\n%s\nwant\n%s\nfiles %v", err, got, want, files)
			}
		})
	}
}

// plant makes a tree of files.
func plant(t *testing.T, files []elfneeds.File) string {
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "dev"), 0o755), os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		at := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if f.Link != "" {
			err = os.Symlink(f.Link, at)
		} else if err = os.Link(f.Path, at); err != nil {
			var b []byte
			if b, err = os.ReadFile(f.Path); err == nil {
				err = os.WriteFile(at, b, 0o755)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestSearch builds libraries where only RPATH, RUNPATH, an own LD_LIBRARY_PATH
// or a path in DT_NEEDED lead, and takes ldd as the oracle.
func TestSearch(t *testing.T) {
	gcc, ldd := find(t, "gcc"), find(t, "ldd")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"a.c": "int b(void); int a(void) { return b(); }", "b.c": "int b(void) { return 0; }", "main.c": "int a(void); int main(void) { return a(); }",
	} {
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(args ...string) {
		t.Helper()
		cmd := exec.Command(gcc, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("gcc: %v\n%s", err, out)
		}
	}
	for _, d := range []string{"lib", "deep/er"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build("-shared", "-fPIC", "-o", "deep/er/libb.so", "b.c", "-Wl,-soname,libb.so")
	build("-shared", "-fPIC", "-o", "lib/liba.so", "a.c", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-lb", "-Wl,-soname,liba.so")
	build("-shared", "-fPIC", "-o", "lib/liba2.so", "a.c", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-lb", "-Wl,-soname,liba2.so", "-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/../deep/er")
	if err := os.Symlink("deep", at("shallow")); err != nil {
		t.Fatal(err)
	}
	build("-o", "rpath", "main.c", "-Llib", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-la", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/lib:${ORIGIN}/shallow/er")
	build("-o", "runpath", "main.c", "-Llib", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-la2", "-Wl,--enable-new-dtags", "-Wl,-rpath,"+at("lib"))
	build("-o", "halfway", "main.c", "-Llib", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-la", "-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/lib:$ORIGIN/deep/er")
	build("-shared", "-fPIC", "-o", "lib/liba3.so", "a.c", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-lb", "-Wl,-rpath,"+at("deep/er")) // no soname
	build("-o", "slash", "main.c", at("lib/liba3.so"), "-Wl,-rpath-link,deep/er", "-Ldeep/er")
	build("-o", "none", "main.c", "-Llib", "-Wl,-rpath-link,deep/er", "-Ldeep/er", "-la")
	build("-static", "-o", "static", "b.c", "main.c", "a.c")
	for _, c := range []struct {
		name    string
		path    []string
		missing string
	}{
		{"rpath", nil, ""}, {"runpath", nil, ""}, {"slash", nil, ""}, {"static", nil, ""},
		{"halfway", nil, "libb.so"}, // RUNPATH is not for the libraries' own needs
		{"none", nil, "liba.so"},
		{"none", []string{at("lib"), at("deep/er")}, ""},
	} {
		out, _ := exec.Command("/usr/bin/env", "LD_LIBRARY_PATH="+strings.Join(c.path, ":"), ldd, at(c.name)).CombinedOutput()
		files, err := elfneeds.Walk(at(c.name), c.path...)
		if c.missing != "" {
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.missing) || !strings.Contains(string(out), c.missing+" => not found") {
				t.Errorf("%s: %v, want that %s is missing, as ldd says:\n%s", c.name, err, c.missing, out)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, out)
			continue
		}
		for _, m := range lddPath.FindAllStringSubmatch(string(out), -1) {
			if real, err := filepath.EvalSymlinks(m[1]); err != nil || !slices.Contains(regular(files), real) {
				t.Errorf("%s: %s is missing in %v (%v)", c.name, m[1], files, err)
			}
		}
		if c.name == "rpath" && !slices.Contains(files, elfneeds.File{Path: at("shallow"), Link: "deep"}) {
			t.Errorf("the symlink on the way is missing in %v", files)
		}
	}
}

func TestMusl(t *testing.T) {
	gcc := find(t, "musl-gcc")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.c"), []byte("int puts(const char *); int main(void) { puts(\"42\"); }"), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "m")
	if out, err := exec.Command(gcc, "-o", program, filepath.Join(dir, "m.c")).CombinedOutput(); err != nil {
		t.Skipf("musl-gcc: %v\n%s", err, out)
	}
	files, err := elfneeds.Walk(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(files)
	if os.Getuid() != 0 {
		return
	}
	cmd := &exec.Cmd{Path: program, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Chroot: plant(t, files)}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "42\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestScriptsAndErrors(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"script": "#! /bin/sh -e\nexit 0\n", "second": "#!" + at("script"), "loop": "#!" + at("loop"), "empty": "", "bare": "#!\n",
		"relative": "#!bin/sh\n", "text": "hello\n", "half": "\x7fELF\x02\x01\x01", "gone": "#!" + at("nowhere") + " -x\n",
	} {
		if err := os.WriteFile(at(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("ring", at("ring")), syscall.Mkfifo(at("fifo"), 0o600), os.Symlink("second", at("link"))); err != nil {
		t.Fatal(err)
	}
	shell, err := elfneeds.Walk("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	want := append([]elfneeds.File{{Path: at("link"), Link: "second"}, {Path: at("second")}, {Path: at("script")}}, shell...)
	if got, err := elfneeds.Walk(at("link")); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("a script's script: %v\n%s", err, cmp.Diff(want, got))
	}
	for name, want := range map[string]error{
		"loop": syscall.ELOOP, "ring": syscall.ELOOP, "empty": syscall.ENOEXEC, "bare": syscall.ENOEXEC, "relative": syscall.ENOEXEC,
		"text": syscall.ENOEXEC, "half": syscall.ENOEXEC, "gone": syscall.ENOENT, "absent": syscall.ENOENT, "fifo": syscall.EACCES, "": syscall.EACCES,
	} {
		if _, err := elfneeds.Walk(at(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := elfneeds.Walk("bin/sh"); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}

// FuzzObject damages a real program: whatever comes out, no panic and no hang.
func FuzzObject(f *testing.F) {
	program, err := os.ReadFile("/bin/true")
	if err != nil || len(program) > 1<<20 {
		f.Skip("no small program to damage")
	}
	f.Add(uint32(0), uint32(0), uint32(0), uint64(0))
	f.Add(uint32(0x20), uint32(0x40), uint32(0x60), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, a, b, c uint32, value uint64) {
		damaged := slices.Clone(program)
		for i, at := range []uint32{a, b, c} {
			at %= uint32(len(damaged))
			if i == 0 {
				at %= 0x400 // the headers
			}
			for j := range min(8, len(damaged)-int(at)) {
				damaged[int(at)+j] = byte(value >> (8 * j))
			}
		}
		name := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(name, damaged, 0o755); err != nil {
			t.Fatal(err)
		}
		elfneeds.Walk(name) //nolint:errcheck // any answer will do
	})
}
