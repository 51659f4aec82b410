//go:build linux && amd64

package jailtest_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"oubliette/jail/jailtest"
)

func TestScripts(t *testing.T) {
	jailtest.Run(t, "testdata/*.txtar", func(w *jailtest.World) {
		w.Programs = map[string]jailtest.Program{"/usr/bin/fetch": func(args []string, _ io.Reader, stdout, _ io.Writer) int {
			fmt.Fprintln(stdout, "example.com of", args[1]+":", args[0])
			return 0
		}}
	})
}

// inner is set where this test binary runs once more, for a script that is to fail.
const inner = "JAILTEST_SCRIPT"

func TestInner(t *testing.T) {
	if os.Getenv(inner) == "" {
		t.Skip("runs only for the other tests") // not a skip for want of something
	}
	jailtest.Run(t, os.Getenv(inner))
}

// script runs a script in another test process and gives what that prints.
func script(t *testing.T, text string, flags ...string) (file, out string, err error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "s.txtar")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, append([]string{"-test.run=TestInner", "-test.v"}, flags...)...)
	cmd.Env = append(os.Environ(), inner+"="+file, "TMPDIR="+t.TempDir())
	b, err := cmd.CombinedOutput()
	return file, string(b), err
}

// TestFailures: a failure names the line, shows calls and keeps what there is.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ script, want string }{
		{"\nexec false\n", "s.txtar:2: failed\nafter: false\nexit status 1"},
		{"! exec true\n", "s.txtar:1: succeeded, and was to fail"},
		{"exec no-such-program\n", `s.txtar:1: no-such-program: jail: exec: exec: "no-such-program": executable file not found`},
		{"exec echo a\ncmp stdout f\n-- f --\nb\n", "s.txtar:2: stdout and f differ\nline 1 is \"a\\n\", want \"b\\n\""},
		{"exec echo a\nstdout b\n", `s.txtar:2: stdout: match of "b" is false`},
		{"exec echo a\n! stdout a\n", `s.txtar:2: stdout: match of "a" is true`},
		{"exec echo a\nstdout (\n", "s.txtar:2: error parsing regexp"},
		{"# c\nls\n", `s.txtar:2: unknown command "ls"`},
		{"cmp a\n", "s.txtar:1: usage: cmp file1 file2"},
		{"cd none\n", "s.txtar:1: "},
		{"stdout a\n", "s.txtar:1: stdout: no exec before"},
		{"exec 'a\n", "s.txtar:1: a quote is not closed"},
		{"exec truncate -s 1T big\n", "s.txtar:1: truncate -s 1T big: big, of 1099511627776 bytes: the changed files are more than 512 MiB together"},
		{"exec dd if=/dev/zero bs=1M count=70\n", "jail: limit output (67108864) reached"},
		{"exists a\n", "s.txtar:1: exists a: false"},
		{"exec true\n-- ../a --\n", `file "../a": write a path from /work`},
	} {
		_, out, err := script(t, c.script)
		out = regexp.MustCompile("(?m)^ +").ReplaceAllString(out, "") // go test indents
		if err == nil || !strings.Contains(out, c.want) || strings.Contains(out, "last calls:\n\t\n") {
			t.Errorf("%q prints %v\n%s\nwant %s", c.script, err, out, c.want)
		}
	}
}

// TestArtifacts: what commands did stays in the directory that the failure names.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"-test.artifacts", "-test.outputdir=" + t.TempDir()}} {
		_, out, err := script(t, "exec sh -c 'echo out; echo err >&2; echo text > file; exit 1'\n", flags...)
		if err == nil || !strings.Contains(out, "write(1, ") {
			t.Errorf("%v %s", err, out)
		}
		_, kept, _ := strings.Cut(out, "changed files of each command: kept in ")
		kept, _, _ = strings.Cut(kept, "\n")
		for name, want := range map[string]string{"command": "exit status 1\n", "stdout": "out\n", "stderr": "err\n", "changed/file": "text\n", "trace": "openat("} {
			b, err := os.ReadFile(filepath.Join(kept, "01-sh", name))
			if err != nil || !strings.Contains(string(b), want) {
				t.Errorf("%q: %s: %q %v", flags, name, b, err)
			}
		}
	}
}

// TestUpdate: -update writes what cmp compares with, and nothing else.
func TestUpdate(t *testing.T) {
	t.Parallel()
	if flag.Lookup("update").Value.String() == "true" {
		t.Skip("this is about -update of another process") // not a skip for want of something
	}
	const before = "exec echo a\ncmp stdout f\nexec echo x\ncmp stdout d/g\n-- d/g --\nx\n-- f --\nold\n-- h --\nh\n"
	file, out, err := script(t, before, "-update")
	b, readErr := os.ReadFile(file)
	if want := strings.Replace(before, "old", "a", 1); err != nil || readErr != nil || string(b) != want {
		t.Errorf("%v %v %s\n%s", err, readErr, out, b)
	}
	if _, out, err = script(t, "exec printf a\ncmp stdout f\n-- f --\n", "-update"); err == nil || !strings.Contains(out, "-update: an archive cannot hold") {
		t.Errorf("%v %s", err, out)
	}
}
