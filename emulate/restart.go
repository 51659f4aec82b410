//go:build linux

package emulate

import "golang.org/x/sys/unix"

// Restart is what a call that gave ERESTART_RESTARTBLOCK leaves for
// restart_syscall(2): struct restart_block.
type Restart struct {
	Nr       int // 0: none; read(2) never leaves one
	Args     [6]uint64
	Deadline Deadline // absolute, of the interrupted sleep
}

// KeepDeadline gives the deadline of the sleep that c goes on with, or d if c is
// not a restart.
func (c *Call) KeepDeadline(d Deadline) Deadline {
	if c.Restarted {
		return c.Task.Restart.Deadline
	}
	return d
}

// RestartAt turns ErrInterrupted into ERESTART_RESTARTBLOCK and keeps the
// deadline; other errors stay as they are.
func (c *Call) RestartAt(d Deadline, err error) error {
	if err != ErrInterrupted {
		return err
	}
	c.Task.Restart = Restart{Nr: c.Nr, Args: c.Args, Deadline: d}
	return ERESTART_RESTARTBLOCK
}

// restart_syscall goes on with the interrupted call. The kernel restarts with
// every argument register as it was, so other arguments mean that the call to
// restart was a native one (a futex with a timeout), whose restart block the
// kernel holds itself.
func restart_syscall(c *Call) (uint64, error) {
	r := c.Task.Restart
	if r.Nr == 0 || r.Args != c.Args {
		return c.Kernel()
	}
	do := c.Sys.Handlers[r.Nr]
	if do == nil {
		return 0, unix.EINTR
	}
	c.Nr, c.Restarted = r.Nr, true
	return do(c)
}
