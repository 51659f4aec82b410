//go:build linux && amd64

package jail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// command is what Spawn takes from an exec.Cmd.
type command struct {
	ctx     context.Context // nil: none
	files   []*os.File      // descriptors 0, 1, 2, …; nil is /dev/null
	close   []io.Closer     // ours or StdoutPipe's child ends: close once the guest has them
	parents []io.Closer     // our ends of pipes, to close when copying is over
	copies  []func() error  // copying goroutines to start
}

// readCommand turns cmd's streams into files. Fields that cannot be honoured
// are an error.
func readCommand(cmd *exec.Cmd) (*command, error) {
	if cmd.Process != nil {
		return nil, errors.New("exec.Cmd was started before")
	}
	if cmd.SysProcAttr != nil {
		return nil, errors.New("exec.Cmd.SysProcAttr is about host processes; use policy.Identity and policy.Limits")
	}
	c := &command{}
	var err error
	if c.ctx, err = cmdContext(cmd); err != nil {
		return nil, err
	}
	if c.ctx == nil && cmd.Cancel != nil {
		return nil, errors.New("exec.Cmd.Cancel needs a command made by exec.CommandContext")
	}
	owned := cmdPipes(cmd)
	if err = c.stdin(cmd); err == nil {
		err = c.stdout(cmd)
	}
	if err != nil {
		c.abort()
		return nil, err
	}
	c.files = append(c.files, cmd.ExtraFiles...)
	for _, f := range c.files {
		if f != nil && owned[f] {
			c.close = append(c.close, f)
		}
	}
	return c, nil
}

func (c *command) stdin(cmd *exec.Cmd) error {
	switch r := cmd.Stdin.(type) {
	case nil:
		c.files = append(c.files, nil)
		return nil
	case *os.File:
		c.files = append(c.files, r)
		return nil
	default:
		pr, pw, err := os.Pipe()
		if err != nil {
			return err
		}
		c.files, c.close = append(c.files, pr), append(c.close, pr)
		if fits(pw, r) { // so that it is there whenever the guest looks
			_, err := io.Copy(pw, r)
			return firstError(err, pw.Close())
		}
		c.parents = append(c.parents, pw)
		c.copies = append(c.copies, func() error {
			_, err := io.Copy(pw, r)
			if isBrokenPipe(err) {
				err = nil // the guest did not want it all
			}
			return firstError(err, pw.Close())
		})
		return nil
	}
}

// fits reports that r is in memory and that pipe w takes all of it at once: by default
// no more than 1 MiB (fs.pipe-max-size).
func fits(w *os.File, r io.Reader) bool {
	size := 0
	switch r := r.(type) {
	case *bytes.Buffer:
		size = r.Len()
	case *bytes.Reader:
		size = r.Len()
	case *strings.Reader:
		size = r.Len()
	default:
		return false
	}
	raw, err := w.SyscallConn()
	if err != nil || size > math.MaxInt32 {
		return false
	}
	room := 0
	err = raw.Control(func(fd uintptr) {
		if room, _ = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); room < size {
			room, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) // -1: too much
		}
	})
	return err == nil && room >= size
}

func (c *command) stdout(cmd *exec.Cmd) error {
	if err := c.output(cmd.Stdout); err != nil {
		return err
	}
	if cmd.Stderr != nil && interfaceEqual(cmd.Stderr, cmd.Stdout) {
		c.files = append(c.files, c.files[1])
		return nil
	}
	return c.output(cmd.Stderr)
}

func (c *command) output(w io.Writer) error {
	switch w := w.(type) {
	case nil:
		c.files = append(c.files, nil)
		return nil
	case *os.File:
		c.files = append(c.files, w)
		return nil
	default:
		pr, pw, err := os.Pipe()
		if err != nil {
			return err
		}
		c.files, c.close, c.parents = append(c.files, pw), append(c.close, pw), append(c.parents, pr)
		c.copies = append(c.copies, func() error {
			_, err := io.Copy(w, pr)
			return firstError(err, pr.Close())
		})
		return nil
	}
}

// interfaceEqual is a == b, false where that would panic.
func interfaceEqual(a, b any) bool {
	defer func() { _ = recover() }()
	return a == b
}

// handedOver closes what only the guest needs from now on.
func (c *command) handedOver() {
	for _, f := range c.close {
		_ = f.Close()
	}
	c.close = nil
}

// abort closes everything of ours.
func (c *command) abort() {
	c.handedOver()
	for _, f := range c.parents {
		_ = f.Close()
	}
}

// cmdContext reads the context exec.CommandContext keeps to itself: there is no
// other way to honour it.
func cmdContext(cmd *exec.Cmd) (context.Context, error) {
	f := reflect.ValueOf(cmd).Elem().FieldByName("ctx")
	if !f.IsValid() || f.Type() != reflect.TypeFor[context.Context]() {
		if cmd.Cancel != nil {
			return nil, fmt.Errorf("this Go version's exec.Cmd hides its context: %T", cmd)
		}
		return nil, nil
	}
	ctx, _ := reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Interface().(context.Context)
	return ctx, nil
}

// cmdPipes returns the ends that StdinPipe, StdoutPipe and StderrPipe made for
// the child. exec.Cmd.Start would close them, so we do.
func cmdPipes(cmd *exec.Cmd) map[*os.File]bool {
	owned := make(map[*os.File]bool)
	list := reflect.ValueOf(cmd).Elem().FieldByName("childIOFiles")
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return owned
	}
	for i := range list.Len() {
		e := list.Index(i)
		if e.Kind() == reflect.Interface && e.Elem().Kind() == reflect.Pointer {
			for _, f := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
				if f, ok := f.(*os.File); ok && e.Elem().Pointer() == reflect.ValueOf(f).Pointer() {
					owned[f] = true
				}
			}
		}
	}
	return owned
}
