//go:build linux && amd64

// Command handler shows a call handler of one's own that returns data: in this
// jail, opening /answers/NAME gives a file that Go code writes at that moment.
//
//	go run ./examples/handler
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/fdtable"
	"oubliette/jail"
	"oubliette/policy"
)

func main() {
	if err := run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "handler:", err)
		os.Exit(1)
	}
}

func run(stdout, stderr io.Writer) error {
	j := &jail.Jail{Handlers: map[string]emulate.Handler{"openat": answers(emulate.HandlerOf("openat"))}}
	cmd := exec.Command("/bin/cat", "/answers/life", "/answers/pid", "/etc/hostname")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	proc, err := j.Spawn(cmd, policy.Tool())
	if err != nil {
		return err
	}
	return proc.Wait()
}

// answers is openat(2) with a directory that exists nowhere; all other paths go
// on to next.
func answers(next emulate.Handler) emulate.Handler {
	return func(c *emulate.Call) (uint64, error) {
		path, err := c.Path(1)
		if err != nil {
			return 0, err
		}
		name, ok := strings.CutPrefix(path, "/answers/")
		if !ok {
			return next(c) // reads the path again: it decides alone
		}
		var text string
		switch name {
		case "life":
			text = "42\n"
		case "pid":
			text = fmt.Sprintf("you are process %d\n", c.Task.Process.PID)
		default:
			return 0, unix.ENOENT
		}
		d := fdtable.NewDescription(answer{bytes.NewReader([]byte(text))}, nil, unix.O_RDONLY)
		fd, err := c.Task.InstallFD(d, 0, c.Flags(2)&unix.O_CLOEXEC != 0)
		return uint64(fd), err
	}
}

// answer is a File: a Close method, and io.Reader as the one ability it has.
type answer struct{ *bytes.Reader }

func (answer) Close() error { return nil }
