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
	"path"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// command is what Spawn takes from an exec.Cmd.
type command struct {
	ctx     context.Context // nil: none
	files   []*os.File      // descriptors 0, 1, 2, …; nil is /dev/null
	close   []io.Closer     // the guest's ends of pipes: close once it has them
	parents []io.Closer     // the caller's, to close when copying is over
	copies  []func() error  // copying goroutines to start
}

// readCommand turns cmd's streams into files. Fields that cannot be honoured
// are an error.
func readCommand(cmd *exec.Cmd) (*command, error) {
	if a := cmd.SysProcAttr; a != nil {
		for f, v := range reflect.ValueOf(*a).Fields() {
			if !v.IsZero() {
				return nil, fmt.Errorf("exec.Cmd.SysProcAttr.%s is about host processes; use policy.Identity and policy.Limits", f.Name)
			}
		}
	}
	c := &command{}
	var err error
	if c.ctx, err = cmdContext(cmd); err != nil {
		return nil, err
	}
	if c.ctx == nil && cmd.Cancel != nil {
		return nil, errors.New("exec.Cmd.Cancel needs a command made by exec.CommandContext")
	}
	if c.ctx != nil && c.ctx.Err() != nil {
		return nil, c.ctx.Err()
	}
	c.pipes(cmd)
	if err = c.stdin(cmd); err == nil {
		err = c.stdout(cmd)
	}
	if err != nil {
		c.abort()
		return nil, err
	}
	c.files = append(c.files, cmd.ExtraFiles...)
	return c, nil
}

// commandEnv is the guest's environment: of a variable the last value.
func commandEnv(cmd *exec.Cmd) []string {
	env := cmd.Env
	if env == nil {
		env = defaultEnv
		if cmd.Dir != "" {
			env = append(slices.Clip(env), "PWD="+path.Join("/", cmd.Dir))
		}
	}
	if slices.ContainsFunc(env, func(s string) bool { return strings.Contains(s, "\x00") }) {
		return env // which execve refuses
	}
	return (&exec.Cmd{Env: env}).Environ()
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

// pipes takes over what StdinPipe, StdoutPipe and StderrPipe made. exec.Cmd's Start and
// Wait would close it, so we do.
func (c *command) pipes(cmd *exec.Cmd) {
	for name, to := range map[string]*[]io.Closer{"childIOFiles": &c.close, "parentIOPipes": &c.parents} {
		f := reflect.ValueOf(cmd).Elem().FieldByName(name)
		if f.IsValid() && f.Type() == reflect.TypeFor[[]io.Closer]() {
			*to = append(*to, *(*[]io.Closer)(unsafe.Pointer(f.UnsafeAddr()))...)
		}
	}
}
