//go:build linux && amd64

package jailtest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail/jailtest"
)

// TestRun: streams, exit status and changed files come back, and the tree stays for
// the next command.
func TestRun(t *testing.T) {
	t.Parallel()
	w := jailtest.New(t)
	w.Files = jailtest.Txtar("-- in --\none\ntwo\n-- sub/gone --\n-- run --\n#!/bin/sh\ntr a-z A-Z < in > out; rm -r sub; touch /tmp/t; echo x >> in; ln -s out link; ls; echo bad >&2; exit 3\n")
	r := w.Run("./run")
	if r.Stdout != "in\nlink\nout\nrun\n" || r.Stderr != "bad\n" || r.Code != 3 {
		t.Errorf("stdout %q, stderr %q, code %d", r.Stdout, r.Stderr, r.Code)
	}
	if d := cmp.Diff(map[string]string{"out": "ONE\nTWO\n", "in": "one\ntwo\nx\n", "link": "out", "/tmp/t": ""}, r.Changed); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"sub", "sub/gone"}, r.Removed); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	cmd := w.Command("sh", "-c", "cat - in /tmp/t; pwd; echo $A $HOME; chmod +x in")
	cmd.Stdin, cmd.Env, cmd.Dir = strings.NewReader("hello\n"), []string{"A=b"}, "/work/."
	r = cmd.Run().OK()
	if want := "hello\none\ntwo\nx\n/work\nb /home/guest\n"; r.Stdout != want || r.Stderr != "" {
		t.Errorf("%q %q, want %q", r.Stdout, r.Stderr, want)
	}
	if d := cmp.Diff(map[string]string{"in": "one\ntwo\nx\n"}, r.Changed); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := w.ReadFile("out"); got != "ONE\nTWO\n" {
		t.Errorf("out is %q", got)
	}
}

// TestRepeatable: the clock, file times and random numbers are the same in every
// run.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	var first string
	for range 2 {
		w := jailtest.New(t)
		r := w.Run("sh", "-c", "date -Ins; head -c 8 /dev/urandom | od -x; echo > f; sleep 7200; stat -c '%y %i' f .; date +%T").OK()
		if !strings.HasPrefix(r.Stdout, "2026-01-01T00:00:00,") || !strings.HasSuffix(r.Stdout, "02:00:00\n") {
			t.Errorf("%q", r.Stdout)
		}
		out := r.Stdout + w.Run("sh", "-c", "touch g; stat -c %y g").OK().Stdout
		if first != "" && out != first {
			t.Errorf("first %s\nthen %s", first, out)
		}
		first = out
	}
}

// TestPrograms: a Go function is a program among others, in pipes too.
func TestPrograms(t *testing.T) {
	t.Parallel()
	w := jailtest.New(t)
	w.Programs = map[string]jailtest.Program{
		"/usr/bin/upper": func(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
			b, err := io.ReadAll(stdin)
			fmt.Fprint(stdout, strings.ToUpper(string(b)))
			fmt.Fprintln(stderr, args, err)
			return len(args)
		},
		"/bin/panics": func([]string, io.Reader, io.Writer, io.Writer) int { panic("oh") },
		"/usr/bin/yes": func(_ []string, _ io.Reader, stdout, _ io.Writer) int {
			for {
				if _, err := io.WriteString(stdout, "yes\n"); err != nil {
					return 0
				}
			}
		},
	}
	r := w.Run("sh", "-c", `seq -f line%g 30000 | upper a "b c" | sha256sum; echo x | timeout 5 upper; echo $?; panics; echo $?; yes | head -n 2`).OK()
	want := w.Run("sh", "-c", "seq -f LINE%g 30000 | sha256sum; echo X; echo 1; echo 2; echo yes; echo yes").Stdout
	if d := cmp.Diff(want, r.Stdout); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if want := "[upper a b c] <nil>\n[upper] <nil>\npanic in a jailtest.Program: oh\n"; r.Stderr != want {
		t.Errorf("%q, want %q", r.Stderr, want)
	}
}

// failed is a testing.TB whose Fatalf ends the goroutine with a text.
type failed struct {
	testing.TB
	text string
}

func (f *failed) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestRefused: what cannot be a program or a tree is refused before anything runs.
func TestRefused(t *testing.T) {
	t.Parallel()
	program := func([]string, io.Reader, io.Writer, io.Writer) int { return 0 }
	for want, w := range map[string]jailtest.World{
		`World.Programs: "mail": write an absolute path of the guest's, and a function`:      {Programs: map[string]jailtest.Program{"mail": program}},
		`World.Programs: "/bin/mail": write an absolute path of the guest's, and a function`: {Programs: map[string]jailtest.Program{"/bin/mail": nil}},
		`World.Files: entry ".": write paths from the root, without / or .. before them`:     {Files: jailtest.Txtar("-- /a --\n")},
		`World.Files: entry "..": write paths from the root, without / or .. before them`:    {Files: jailtest.Txtar("-- ../a --\n")},
		`World.Files: stat .: no such file or directory`:                                     {Files: os.DirFS("gone")},
	} {
		f := &failed{TB: t}
		var wg sync.WaitGroup
		wg.Go(func() {
			got := jailtest.New(f)
			got.Files, got.Programs = w.Files, w.Programs
			got.Run("true")
		})
		wg.Wait()
		if want := "jailtest: true: " + want; f.text != want {
			t.Errorf("%q, want %q", f.text, want)
		}
	}
}

// TestHosts: a handler is a host, by http and https, and there is no other.
func TestHosts(t *testing.T) {
	t.Parallel()
	jailtest.Need(t, "curl")
	w := jailtest.New(t)
	hello := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintln(rw, r.Method, r.Host, r.URL, string(b), r.TLS != nil)
	})
	w.Hosts = map[string]http.Handler{"https://api.example.com": hello, "http://example.com": hello, "http://example.com:8080": hello}
	r := w.Run("sh", "-c", "for u in https://api.example.com/x?y http://example.com http://example.com:8080; do curl -sS -d data $u; done; curl -sS https://example.org; echo $?; curl -sS http://api.example.com; echo $?").OK()
	if want := "POST api.example.com /x?y data true\nPOST example.com / data false\nPOST example.com:8080 / data false\n6\n7\n"; r.Stdout != want {
		t.Errorf("%s%s\nwant %s", r.Stdout, r.Stderr, want)
	}
}
