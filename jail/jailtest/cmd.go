//go:build linux && amd64

package jailtest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oubliette/jail"
)

// Cmd is a command to run in its World.
type Cmd struct {
	*World
	Args  []string  // the program, looked up in the guest's PATH, and its arguments
	Env   []string  // added to the World's
	Dir   string    // from /work; "": /work
	Stdin io.Reader // nil: empty
}

// Command is a command in a World of its own.
func Command(t testing.TB, name string, args ...string) *Cmd { return New(t).Command(name, args...) }

// Command is a further command in w.
func (w *World) Command(name string, args ...string) *Cmd {
	return &Cmd{World: w, Args: append([]string{name}, args...)}
}

// Result is what a command did.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit status; 128 and the signal's number if one ended it

	// Changed are the files that the command made or modified, in /work by their
	// path from there and in home and /tmp by the absolute one, with what they hold;
	// of a symlink that is its target. Directories are not in it. More than 512 MiB
	// together end the test.
	Changed map[string]string
	// Removed are the files and directories that it removed.
	Removed []string

	// Trace is the calls that stopped, as strace(1) shows them: the last ones, if
	// there were very many.
	Trace []string

	t        testing.TB
	ended    string   // how: an exit status, or why the jail was ended
	calls    []string // for Twice
	disorder int64
}

// maxTrace is how many calls a Result keeps, at least: 10 MB at worst.
const maxTrace = 20000

// traced notes a call, on the jail's thread.
func (r *Result) traced(e jail.TraceEvent) {
	if len(r.Trace) >= 2*maxTrace {
		r.Trace = append([]string(nil), r.Trace[maxTrace:]...)
	}
	r.Trace = append(r.Trace, fmt.Sprintf("%d %s", e.PID, e.Text))
}

// Run runs the command. The test ends if that is not possible, or if the jail was
// ended for a limit or a violation; an exit status other than 0 is the test's to
// judge, by Code or [Result.OK].
func (c *Cmd) Run() *Result {
	c.t.Helper()
	r, err := c.try()
	if err != nil {
		c.t.Fatalf("jailtest: %s: %v", strings.Join(c.Args, " "), err)
	}
	return r
}

// try is Run with the error.
func (c *Cmd) try() (*Result, error) {
	r := &Result{Args: c.Args, Changed: make(map[string]string), t: c.t}
	return r, c.run(c, r)
}

// Run is Command(name, args...).Run().
func (w *World) Run(name string, args ...string) *Result {
	w.t.Helper()
	return w.Command(name, args...).Run()
}

// OK ends the test if the exit status is not 0.
func (r *Result) OK() *Result {
	r.t.Helper()
	if r.Code != 0 {
		r.t.Fatalf("%s: exit status %d\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// lastCalls is how many calls a failure shows.
const lastCalls = 15

// report shows and keeps what the commands of a failed test did.
func (w *World) report() {
	w.t.Helper()
	if len(w.runs) == 0 {
		return
	}
	var dir string
	var err error
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		dir = w.t.ArtifactDir()
	} else { // ArtifactDir's end with the test
		dir, err = os.MkdirTemp("", "jailtest-")
	}
	others, readErr := os.ReadDir(dir) // of the test's other Worlds
	if err = errors.Join(err, readErr); err != nil {
		w.t.Error("jailtest:", err)
	}
	for i, r := range w.runs {
		if err := r.save(filepath.Join(dir, fmt.Sprintf("%02d-%s", len(others)+i+1, filepath.Base(r.Args[0])))); err != nil {
			w.t.Error("jailtest:", err)
		}
	}
	last := w.runs[len(w.runs)-1]
	calls := last.Trace[max(0, len(last.Trace)-lastCalls):]
	w.t.Logf("the last command: %s (%s)\nits last calls:\n\t%s\nstdout, stderr, trace and changed files of each command: kept in %s",
		strings.Join(last.Args, " "), last.ended, strings.Join(calls, "\n\t"), dir)
}

// save writes all of r below dir.
func (r *Result) save(dir string) error {
	files := map[string]string{"stdout": r.Stdout, "stderr": r.Stderr, "trace": strings.Join(r.Trace, "\n") + "\n",
		"command": fmt.Sprintf("%q\n%s\n", r.Args, r.ended)}
	for name, text := range r.Changed {
		files[filepath.Join("changed", name)] = text
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}
