//go:build linux && amd64

package loader_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/loader"
)

// printArgs makes the test binary print its arguments instead of testing: it is
// the interpreter of the scripts.
const printArgs = "OUBLIETTE_PRINT_ARGS=1"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(printArgs, "="); os.Getenv(name) == value {
		fmt.Printf("%q %q\n", os.Args, os.Environ())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// twin runs a program natively and by the loader.
func twin(t *testing.T, env []string, args ...string) {
	t.Helper()
	twinPath(t, env, args[0], args)
}

func twinPath(t *testing.T, env []string, path string, args []string) {
	t.Helper()
	want, wantStatus := native(t, path, args, env)
	got, status := run(t, path, args, env)
	if d := cmp.Diff(want, got); d != "" || status != wantStatus {
		t.Errorf("status %#x, want %#x\n%s", status, wantStatus, d)
	}
}

func TestRun(t *testing.T) {
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][]string{
		"echo":    {"/bin/echo", "hello", "", "world"},
		"shell":   {"/bin/sh", "-c", "echo $0 $#; ls -d /; exit 3", "a", "b"},
		"env":     {"/usr/bin/env"},
		"killed":  {"/bin/sh", "-c", "kill -9 $$"},
		"go":      {self, "-test.list", "TestRun"},
		"a lot":   append([]string{"/bin/echo"}, strings.Split(strings.Repeat(strings.Repeat("x", 1000)+" ", 1000), " ")...),
		"ld.so":   {"/lib64/ld-linux-x86-64.so.2", "/bin/echo", "x"},
		"no args": {"/bin/sh"},
	} {
		t.Run(name, func(t *testing.T) { twin(t, env, c...) })
	}
}

const program = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>
static char bss[300000], data[5000] = "data";
static __thread int tls = 7;
static const char ro[] = "read only";
static int made;
__attribute__((constructor)) static void make(void) { made = 1; }
static void *thread(void *p) { tls += *(int *)p; return (void *)(long)tls; }
int main(int argc, char **argv) {
	long sum = 0;
	for (int i = 0; i < sizeof bss; i++) sum += bss[i];
	for (int i = 5; i < sizeof data; i++) sum += data[i];
	void *r; pthread_t t;
	int n = 3;
	pthread_create(&t, 0, thread, &n);
	pthread_join(t, &r);
	char *heap = malloc(1 << 20), *small = malloc(100);
	memset(heap, 1, 1 << 20);
	sbrk(1 << 16);
	printf("%ld %s %s %d %ld %d %d %.3f\n", sum, data, ro, made, (long)r, tls, small != 0, argc / 3.0);
	for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
	printf(" %s uid %ld secure %ld\n", (char *)getauxval(AT_EXECFN), getauxval(AT_EUID), getauxval(AT_SECURE));
	return 42;
}`

// nested needs an executable stack: gcc puts the trampoline of a nested function
// whose address is taken there.
const nested = `
#include <stdio.h>
static int call(int (*f)(int)) { return f(2); }
int main(int argc, char **argv) {
	int add(int x) { return x + argc; }
	volatile int (*dummy)(int (*)(int)) = (void *)call;
	printf("%d\n", dummy(add));
	return 0;
}`

// bare has text and data in one writable segment.
const bare = `
static char data[] = "text and data\n", bss[10000];
void _start(void) {
	long n = sizeof data - 1 + bss[9999];
	asm volatile("syscall" : "=a"(n) : "a"(1L), "D"(1L), "S"(data), "d"(n) : "rcx", "r11", "memory");
	asm volatile("syscall" : : "a"(231L), "D"(42L));
}`

func TestCompiled(t *testing.T) {
	for name, c := range map[string]struct {
		cc, code string
		flags    []string
	}{
		"pie":           {"gcc", program, nil},
		"no pie":        {"gcc", program, []string{"-no-pie"}},
		"static":        {"gcc", program, []string{"-static"}},
		"static pie":    {"gcc", program, []string{"-static-pie"}},
		"large pages":   {"gcc", program, []string{"-Wl,-z,max-page-size=0x200000"}},
		"large no pie":  {"gcc", program, []string{"-no-pie", "-Wl,-z,max-page-size=0x200000"}},
		"large static":  {"gcc", program, []string{"-static-pie", "-Wl,-z,max-page-size=0x200000"}},
		"one segment":   {"gcc", bare, []string{"-nostdlib", "-static", "-Wl,-N"}},
		"no separation": {"gcc", program, []string{"-Wl,-z,noseparate-code"}},
		"high":          {"gcc", program, []string{"-static", "-Wl,-Ttext-segment=0x7e000000"}},
		"exec stack":    {"gcc", nested, []string{"-z", "execstack"}},
		"musl":          {"musl-gcc", program, nil},
		"musl static":   {"musl-gcc", program, []string{"-static"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := compile(t, c.cc, c.code, c.flags...)
			twin(t, []string{"A=b"}, bin, "x", "", "y z")
		})
	}
}

// scripts are first lines; %s is the interpreter.
var scripts = map[string]string{
	"plain":          "#!%s\n",
	"argument":       "#!%s -a b\n",
	"spaces":         "#! \t %s \t -a  b \t \n",
	"no newline":     "#!%s",
	"space at end":   "#!%s ",
	"argument, eof":  "#!%s -e",
	"tab":            "#!%s\t-e\n",
	"carriage":       "#!%s\r\n",
	"nothing":        "#!\n",
	"only spaces":    "#!  \t\n",
	"empty":          "#!",
	"all spaces":     "#!" + strings.Repeat(" ", 400),
	"nul":            "#!\x00%s\n",
	"nul behind":     "#!%s\x00 x\n",
	"nul in args":    "#!%s a\x00b\n",
	"newline in nul": "#!%s \x00\n",
	"long argument":  "#!%s " + strings.Repeat("x", 300) + "\n",
	"long, no end":   "#!%s " + strings.Repeat("x", 300),
	"long path":      "#!/" + strings.Repeat("x", 300) + "\n",
	"path to 255":    "#!/" + strings.Repeat("x", 252) + "\n",
	"path to 254":    "#!/" + strings.Repeat("x", 251) + "\n",
	"path and nul":   "#!/" + strings.Repeat("x", 251) + "\x00",
	"missing":        "#!/no/such/file\n",
	"directory":      "#!/\n",
	"not executable": "#!/etc/passwd\n",
	"relative":       "#!no-such-file x\n",
	"no bang":        "# !%s\n",
	"device":         "#!/dev/null\n",
	"below a file":   "#!/etc/passwd/x\n",
}

func TestScripts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := filepath.Join("/tmp", fmt.Sprintf("oubliette-%d", os.Getpid())) // short
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	for name, line := range scripts {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "_"))
			if strings.Contains(line, "%s") {
				line = fmt.Sprintf(line, link)
			}
			script(t, path, line)
		})
	}
	for depth := 1; depth <= 7; depth++ {
		t.Run(fmt.Sprint("depth ", depth), func(t *testing.T) {
			for i := range depth {
				interp := link
				if i > 0 {
					interp = filepath.Join(dir, fmt.Sprint("s", i-1))
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("s", i)), fmt.Appendf(nil, "#!%s %d\n", interp, i), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			scriptFile(t, filepath.Join(dir, fmt.Sprint("s", depth-1)))
		})
	}
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	scriptFile(t, path)
}

// scriptFile runs path both ways, or compares the errors.
func scriptFile(t *testing.T, path string) {
	t.Helper()
	args := []string{"zero", "one", "two"}
	env := []string{printArgs}
	wantErr := execError(t, path, args, env)
	im, err := loader.Load(newWorld(t).Open, path, args, loader.Options{})
	if wantErr != 0 || err != nil {
		if err != wantErr {
			t.Errorf("error %v, want %v: %+v", err, wantErr, im)
		}
		return
	}
	if im.ExecFn != path {
		t.Errorf("AT_EXECFN %q", im.ExecFn)
	}
	twinPath(t, env, path, args)
}

func TestPathInaccessible(t *testing.T) {
	w := newWorld(t)
	open := func(string) (loader.File, error) { return w.bytes([]byte("#!/bin/sh\n")), nil }
	_, err := loader.Load(open, "/dev/fd/3", nil, loader.Options{PathInaccessible: true})
	if err != unix.ENOENT || w.open != 0 {
		t.Errorf("error %v, %d files left open", err, w.open)
	}
}

// What the files give is what Load gives, and nothing stays open.
func TestFileErrors(t *testing.T) {
	elf := elfs()["interp"]
	for name, c := range map[string]struct {
		open, read, mapping error
		want                error
	}{
		"open":             {open: unix.EACCES, want: unix.EACCES},
		"read":             {read: unix.EIO, want: unix.EIO},
		"map":              {mapping: unix.ENOMEM, want: unix.ENOMEM},
		"not to be mapped": {mapping: unix.ENODEV, want: unix.ENOEXEC},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := loader.Load(func(string) (loader.File, error) {
				if c.open != nil {
					return nil, c.open
				}
				return &broken{w.bytes(elf), c.read, c.mapping}, nil
			}, "/x", nil, loader.Options{})
			if err != c.want || w.open != 0 {
				t.Errorf("error %v, want %v; %d files left open", err, c.want, w.open)
			}
		})
	}
}
