//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// signalfdSize is sizeof(struct signalfd_siginfo).
const signalfdSize = 128

// signalFile is signalfd(2), fs/signalfd.c: it gives the signals of whoever
// reads or polls, so it has no state but the mask.
type signalFile struct {
	sys  *System
	mask uint64
}

func (f *signalFile) Close() error { return nil }

func (f *signalFile) Read(p []byte) (int, error) {
	if len(p) < signalfdSize {
		return 0, unix.EINVAL
	}
	n := 0
	for len(p)-n >= signalfdSize {
		sig, err := f.sys.Current.Machine.TakeSignal(f.mask)
		if err != nil {
			return n, err
		}
		copy(p[n:], sig.signalfd())
		n += signalfdSize
	}
	return n, nil
}

// signalfd is struct signalfd_siginfo.
func (g Signal) signalfd() []byte {
	p := make([]byte, signalfdSize)
	putLeUint32(p, uint32(g.Number))
	putLeUint32(p[8:], uint32(g.Code))
	switch {
	case g.Code == siTimer:
		putLeUint32(p[24:], uint32(g.PID)) // ssi_tid
		putLeUint32(p[32:], g.UID)         // ssi_overrun
	default:
		putLeUint32(p[12:], uint32(g.PID))
		putLeUint32(p[16:], g.UID)
	}
	if g.Number == int(unix.SIGCHLD) && g.Code > 0 {
		putLeUint32(p[40:], uint32(g.Value)) // ssi_status
	} else {
		putLeUint32(p[44:], uint32(g.Value)) // ssi_int, ssi_ptr
		putLeUint64(p[48:], g.Value)
	}
	return p
}

func (f *signalFile) Poll() fdtable.Events {
	st, err := f.sys.Current.Machine.SignalState()
	if err != nil || st.Pending&f.mask == 0 {
		return 0
	}
	return fdtable.In
}

// Queue is the asking process's.
func (f *signalFile) Queue() *fdtable.Queue { return &f.sys.Current.Process.signalled }

func signalfd4(c *Call) (uint64, error) {
	fd, mask, size, flags := c.FD(0), c.Addr(1), c.Size(2), c.Flags(3)
	if size != 8 {
		return 0, unix.EINVAL
	}
	var set uint64
	if err := c.ReadValue(mask, &set); err != nil {
		return 0, err
	}
	if flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	set &^= 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	if fd == -1 {
		f := &signalFile{sys: c.Sys, mask: set}
		return c.installAnon(f, "[signalfd]", flags&unix.SFD_NONBLOCK, flags&unix.SFD_CLOEXEC != 0)
	}
	f, _, err := fileOf[*signalFile](c.Task, fd, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	f.mask = set
	c.Task.Process.signalled.Wake()
	return uint64(fd), nil
}

func signalfd(c *Call) (uint64, error) {
	return c.as(signalfd4, c.Args[0], c.Args[1], c.Args[2])
}
