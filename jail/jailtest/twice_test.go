//go:build linux && amd64

package jailtest_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"oubliette/jail/jailtest"
)

// TestTwice: what runs in parallel inside does the same twice, in several commands.
func TestTwice(t *testing.T) {
	t.Parallel()
	jailtest.Need(t, "python3", "xargs")
	jailtest.Twice(t, func(w *jailtest.World) {
		w.Files = jailtest.Txtar("-- t.py --\nimport threading, time, os\nfor n in range(4):\n\tthreading.Thread(target=lambda n=n: [print(n, i, time.time(), os.urandom(1)) for i in range(20)]).start()\n")
		w.Programs = map[string]jailtest.Program{"/bin/upper": func(_ []string, stdin io.Reader, stdout, _ io.Writer) int {
			b, _ := io.ReadAll(stdin)
			_, _ = io.WriteString(stdout, strings.ToUpper(string(b)))
			return 0
		}}
		if out := w.Run("python3", "t.py").OK().Stdout; strings.Count(out, "\n") != 80 {
			t.Errorf("%q", out)
		}
		c := w.Command("sh", "-c", "xargs -P4 -n1 sh -c 'echo $0 $$ | upper >> out; date +%N'")
		c.Stdin = strings.NewReader("a b c d e f g h")
		c.Run().OK()
	})
}

// unrepeatable are runs that differ, by name, and what Twice says of them. run is how
// often one has run.
var unrepeatable = map[string]struct {
	fn   func(w *jailtest.World, run int)
	want []string
}{
	"environment": {func(w *jailtest.World, run int) {
		w.Env = []string{fmt.Sprint("RUN=", run)}
		w.Run("sh", "-c", "echo same; echo $RUN")
	}, []string{"sh -c echo same; echo $RUN: the second run differs from the first", "at call ", `write(1, "same\n", 5) = 5`, `- 1 write(1, "1\n", 2) = 2`, `+ 1 write(1, "2\n", 2) = 2`}},
	"program": {func(w *jailtest.World, run int) {
		w.Programs = map[string]jailtest.Program{"/bin/count": func([]string, io.Reader, io.Writer, io.Writer) int { return run }}
		w.Run("count")
	}, []string{"exit_group"}},
	"fewer calls": {func(w *jailtest.World, run int) {
		w.Run("sh", "-c", []string{"true", "/bin/true"}[run-1])
	}, []string{"at call ", "- 1 exit_group(0)", "+ 2 execve("}},
	"commands": {func(w *jailtest.World, run int) {
		for range run {
			w.Run("true")
		}
	}, []string{"1 commands were run the first time, 2 the second"}},
	"memory": {func(w *jailtest.World, run int) { // which no call shows
		w.Files = jailtest.Txtar("-- f --\n" + strings.Repeat("x", 4096) + fmt.Sprint(run))
		w.Run("cp", "f", "g")
	}, []string{"file g, line 1"}},
}

// twiceInner is set where this test binary runs once more, for a Twice that is to fail.
const twiceInner = "JAILTEST_TWICE"

func TestTwiceInner(t *testing.T) {
	if os.Getenv(twiceInner) == "" {
		t.Skip("runs only for the other test") // not a skip for want of something
	}
	run := 0
	jailtest.Twice(t, func(w *jailtest.World) {
		run++
		unrepeatable[os.Getenv(twiceInner)].fn(w, run)
	})
}

// TestTwiceFails: a run that depends on something else fails, at the call that shows
// it first.
func TestTwiceFails(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range unrepeatable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(exe, "-test.run=TestTwiceInner", "-test.v")
			cmd.Env = append(os.Environ(), twiceInner+"="+name, "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			for _, want := range c.want {
				if err == nil || !strings.Contains(string(out), want) {
					t.Errorf("%v, want %q in\n%s", err, want, out)
				}
			}
			if n := strings.Count(string(out), "each command: kept in "); n != 2 || strings.Contains(string(out), "jailtest: open ") {
				t.Errorf("%d Worlds are kept\n%s", n, out)
			}
		})
	}
}
