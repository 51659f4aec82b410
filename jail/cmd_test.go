//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// TestLikeExec: what a caller meets is what os/exec's caller meets.
func TestLikeExec(t *testing.T) {
	noLeak(t)
	type start func(*exec.Cmd) (wait func() error)
	outside := start(func(cmd *exec.Cmd) func() error { check(cmd.Start()); return cmd.Wait })
	inside := start(func(cmd *exec.Cmd) func() error { return must(jail.Spawn(cmd, policy.Overlay())).Wait })
	output := func(cmd *exec.Cmd, start start) string {
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := start(cmd)()
		return fmt.Sprintf("%s%v", &out, err)
	}
	for name, run := range map[string]func(start) string{
		"a variable twice": func(start start) string {
			cmd := exec.Command("/usr/bin/env")
			cmd.Env = []string{"A=1", "B=2", "", "A=3"}
			return output(cmd, start)
		},
		"PWD is Dir": func(start start) string {
			cmd := exec.Command("/bin/sh", "-c", "env | grep ^PWD=")
			cmd.Dir = "/usr"
			return output(cmd, start)
		},
		"descriptors left out": func(start start) string {
			cmd := exec.Command("/bin/sh", "-c", "for i in 3 4 5; do (eval \"exec <&$i\") 2>/dev/null && echo $i; done")
			cmd.ExtraFiles = []*os.File{nil, must(os.Open(os.DevNull)), nil}
			defer cmd.ExtraFiles[1].Close()
			return output(cmd, start)
		},
		"Cancel fails": func(start start) string {
			ctx, cancel := context.WithCancel(t.Context())
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "read x")
			in := must(cmd.StdinPipe())
			cmd.Cancel = func() error {
				_, err := io.WriteString(in, "x\n")
				return errors.Join(err, errors.New("cannot"))
			}
			wait := start(cmd)
			cancel()
			return errText(wait())
		},
		"no Cancel": func(start start) string {
			ctx, cancel := context.WithCancel(t.Context())
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "read x")
			cmd.Cancel = nil
			in := must(cmd.StdinPipe())
			wait := start(cmd)
			cancel()
			time.Sleep(20 * time.Millisecond)
			_, _ = io.WriteString(in, "x\n")
			return errText(wait())
		},
		"no Cancel but WaitDelay": func(start start) string {
			ctx, cancel := context.WithCancel(t.Context())
			cmd := exec.CommandContext(ctx, "/bin/sleep", "100")
			cmd.Cancel, cmd.WaitDelay = nil, 20*time.Millisecond
			wait := start(cmd)
			cancel()
			return errText(wait())
		},
		"after the end": func(start start) string {
			cmd := exec.Command("/bin/sh", "-c", "echo x")
			out := must(cmd.StdoutPipe())
			err := start(cmd)()
			_, closed := out.Read(make([]byte, 1))
			return fmt.Sprint(err, closed, cmd.Process.Pid > 0, cmd.Process.Kill(), cmd.Process.Signal(unix.SIGTERM))
		},
	} {
		if got, want := run(inside), run(outside); got != want {
			t.Errorf("%s: %q, os/exec gives %q", name, got, want)
		}
	}
}

// TestSpawnedCommand: what was spawned in a jail does not run outside, nor does a
// command that was refused keep its pipes.
func TestSpawnedCommand(t *testing.T) {
	noLeak(t)
	cmd := exec.Command("/bin/true")
	proc := must(jail.Spawn(cmd, policy.Tool()))
	for _, sig := range []unix.Signal{-1, 65} {
		if err := proc.Signal(sig); err != unix.EINVAL {
			t.Errorf("signal %d: %v", sig, err)
		}
	}
	check(proc.Wait())
	if err := cmd.Run(); err == nil {
		t.Error("Run started the program outside")
	}
	if _, err := jail.Spawn(cmd, policy.Tool()); err == nil {
		t.Error("Spawn twice")
	}
	cmd = exec.Command("/bin/true")
	out := must(cmd.StdoutPipe())
	if _, err := jail.Spawn(cmd, policy.Policy{Default: "nothing"}); err == nil {
		t.Fatal("no error")
	}
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
