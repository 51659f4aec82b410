//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func TestReadersAndWriters(t *testing.T) {
	in := strings.Repeat("line of input\n", 100_000)
	var out, errs bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "cat; echo problem >&2; exit 3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	err = proc.Wait()
	var exit *jail.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || exit.Signaled() {
		t.Errorf("Wait: %v", err)
	}
	if out.String() != in {
		t.Errorf("%d bytes of output, want %d", out.Len(), len(in))
	}
	if errs.String() != "problem\n" {
		t.Errorf("stderr %q", errs.String())
	}
}

// TestPipes: StdinPipe and StdoutPipe, with a conversation.
func TestPipes(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "while read x; do echo got $x; done; echo end")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for _, word := range []string{"a", "b"} {
		if _, err := io.WriteString(in, word+"\n"); err != nil {
			t.Fatal(err)
		}
		n, err := out.Read(buf)
		if err != nil || string(buf[:n]) != "got "+word+"\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != "end\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSharedOffset: an *os.File is the caller's own, offset and all.
func TestSharedOffset(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, word := range []string{"one", "two"} {
		cmd := exec.Command("/bin/echo", word)
		cmd.Stdout = f
		proc, err := jail.Spawn(cmd, policy.Tool())
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestExtraFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", "echo extra >&3")
	cmd.ExtraFiles = []*os.File{w}
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "extra\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestContext: cancelling ends the jail, and Wait says what os/exec's would.
func TestContext(t *testing.T) {
	for name, cancelled := range map[string]func(*exec.Cmd){
		"kill":   func(*exec.Cmd) {},
		"signal": func(c *exec.Cmd) { c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) } },
		"delay": func(c *exec.Cmd) {
			c.Args[2] = "trap '' TERM; " + c.Args[2]
			c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
			c.WaitDelay = 50 * time.Millisecond
		},
	} {
		run := func(start func(*exec.Cmd) func() error) string {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "echo ready; while :; do sleep 0.1; done")
			cancelled(cmd)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			wait := start(cmd)
			if _, err := out.Read(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			cancel()
			return errText(wait())
		}
		want := run(func(cmd *exec.Cmd) func() error {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return cmd.Wait
		})
		got := run(func(cmd *exec.Cmd) func() error {
			proc, err := jail.Spawn(cmd, policy.Tool())
			if err != nil {
				t.Fatal(err)
			}
			return proc.Wait
		})
		if got != want {
			t.Errorf("%s: Wait gives %q, os/exec's %q", name, got, want)
		}
	}
}
