//go:build linux && amd64

// Command faults runs a program on a disk that fails: every nth write to a file
// below a directory is ENOSPC, or only late, if there is a delay.
//
//	go run ./examples/faults -every 3 -- sh -c 'for i in 1 2 3 4; do echo $i >> /tmp/log || echo lost $i; done; cat /tmp/log'
//	go run ./examples/faults -every 1 -delay 300ms -- dd if=/dev/zero of=/tmp/f bs=1k count=4
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

func main() {
	var f faults
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "Usage of faults [flags] -- command [args…]:")
		flag.PrintDefaults()
	}
	flag.IntVar(&f.every, "every", 3, "which write fails: 1 is each one")
	flag.StringVar(&f.below, "below", "/tmp/", "how the paths of the files begin")
	flag.DurationVar(&f.delay, "delay", 0, "be late instead of failing")
	flag.Parse()
	if flag.NArg() == 0 || f.every < 1 {
		flag.Usage()
		os.Exit(2)
	}
	err := f.run(os.Stdout, os.Stderr, flag.Args()...)
	fmt.Fprintln(os.Stderr, f.writes, "writes,", f.hit, "hit")
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// faults says which writes are hit. One jail's handlers run on one thread, so its
// counters need no lock.
type faults struct {
	every       int
	below       string
	delay       time.Duration
	writes, hit int
}

// run runs a command on the disk that fails.
func (f *faults) run(stdout, stderr io.Writer, argv ...string) error {
	j := &jail.Jail{Handlers: make(map[string]emulate.Handler)}
	for _, call := range []string{"write", "writev", "pwrite64", "pwritev", "pwritev2"} {
		j.Handlers[call] = f.handler(emulate.HandlerOf(call))
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	proc, err := j.Spawn(cmd, policy.Tool())
	if err != nil {
		return err
	}
	return proc.Wait()
}

// handler is next with faults. All five calls have the descriptor in front.
func (f *faults) handler(next emulate.Handler) emulate.Handler {
	return func(c *emulate.Call) (uint64, error) {
		d, err := c.File(0)
		if err != nil || d.Entry == nil || !strings.HasPrefix(d.Entry.Path(), f.below) {
			return next(c)
		}
		f.writes++
		if f.writes%f.every != 0 {
			return next(c)
		}
		f.hit++
		if f.delay == 0 {
			return 0, unix.ENOSPC
		}
		// Only this task waits. A signal's EINTR has the guest try again.
		if err := c.Wait(c.Sys.After(f.delay)); !errors.Is(err, unix.ETIMEDOUT) {
			return 0, err
		}
		return next(c)
	}
}
