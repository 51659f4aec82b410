//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// ttyFile is an open description of a terminal: a side of a pty.
type ttyFile struct {
	pty    *pty
	side   *side
	flags  int
	partly bool // a reader will wait no more for VMIN
}

// openPTMX opens a new pty's master.
func openPTMX(s *System, flags int) (fdtable.File, error) {
	var owner vfs.Owner
	if t := s.Current; t != nil {
		owner = vfs.Owner{UID: t.Cred.FSUID, GID: t.Cred.FSGID}
	}
	p, err := s.newPTY(owner)
	if err != nil {
		return nil, err
	}
	return &ttyFile{pty: p, side: &p.master, flags: flags}, nil
}

// openControlling is tty_open_current_tty. ENXIO.
func openControlling(s *System, flags int) (fdtable.File, error) {
	if s.Current == nil || s.Current.Process.tty == nil {
		return nil, unix.ENXIO
	}
	return s.Current.Process.tty.openSlave(flags)
}

func (f *ttyFile) isMaster() bool { return f.side == &f.pty.master }

// hungUp: the terminal is gone from under the file (hung_up_tty_fops).
func (f *ttyFile) hungUp() bool { return f.pty.closed && !f.isMaster() }

// SetFlags is told of O_NONBLOCK.
func (f *ttyFile) SetFlags(flags int) error {
	f.flags = flags
	return nil
}

// Close closes a side.
func (f *ttyFile) Close() error {
	if f.isMaster() {
		f.pty.closeMaster()
	} else {
		f.pty.closeSlave()
	}
	return nil
}

// Read is n_tty_read without the waiting.
func (f *ttyFile) Read(b []byte) (int, error) {
	p := f.pty
	if f.hungUp() {
		return 0, nil
	}
	if f.isMaster() {
		return p.readMaster(b)
	}
	if err := p.checkChange(unix.SIGTTIN); err != nil || len(b) == 0 {
		return 0, err
	}
	defer p.shove()
	if p.cooked() {
		if !p.available(1) {
			return 0, unix.EAGAIN
		}
		return p.takeLine(b), nil
	}
	minimum, after := p.minimum()
	need := min(max(minimum, 1), uint(len(b)), readChunk)
	if !p.available(need) && !(p.available(1) && (f.partly || f.flags&unix.O_NONBLOCK != 0)) {
		if minimum == 0 && after == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if minimum > readChunk {
		b = b[:min(len(b), readChunk)]
	}
	return p.takeRaw(b), nil
}

// readChunk is the buffer of iterate_tty_read: a VMIN beyond it means it.
const readChunk = 64

// minimum is VMIN and VTIME of a raw read.
func (p *pty) minimum() (uint, time.Duration) {
	if p.icanon { // with EXTPROC
		return 1, 0
	}
	return uint(p.term.CC[unix.VMIN]), time.Duration(p.term.CC[unix.VTIME]) * (time.Second / 10)
}

// readMaster reads what the slave sent, in packet mode behind a byte that says
// what it is.
func (p *pty) readMaster(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.packet && p.status != 0 {
		b[0], p.status = p.status, 0
		return 1, nil
	}
	if len(p.out) == 0 {
		if p.left {
			return 0, unix.EIO
		}
		return 0, unix.EAGAIN
	}
	head := 0
	if p.packet {
		b[0], head = unix.TIOCPKT_DATA, 1
	}
	n := copy(b[head:], p.out)
	p.out = p.out[n:]
	if len(p.out) == 0 {
		p.out = nil
	}
	p.wake(&p.slave, evOut)
	return head + n, nil
}

// Write is n_tty_write without the waiting.
func (f *ttyFile) Write(b []byte) (int, error) {
	p := f.pty
	if f.hungUp() {
		return 0, unix.EIO
	}
	if f.isMaster() {
		n := min(len(b), p.room(f.side))
		p.flip = append(p.flip, b[:n]...)
		p.shove()
		return again(n, len(b))
	}
	if p.lflag(unix.TOSTOP) {
		if err := p.checkChange(unix.SIGTTOU); err != nil {
			return 0, err
		}
	}
	p.processEchoes()
	return again(p.output(b), len(b))
}

func again(n, of int) (int, error) {
	if n == 0 && of > 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}

// Poll is n_tty_poll.
func (f *ttyFile) Poll() fdtable.Events {
	p := f.pty
	if f.hungUp() {
		return evIn | evOut | fdtable.Err | fdtable.Hup
	}
	var ev fdtable.Events
	if f.isMaster() {
		if len(p.out) > 0 {
			ev |= evIn
		}
		if p.packet && p.status != 0 {
			ev |= evIn | fdtable.Pri
		}
		if p.left {
			ev |= fdtable.Hup
		}
	} else {
		amount := uint(1)
		if p.term.CC[unix.VTIME] == 0 {
			amount = max(uint(p.term.CC[unix.VMIN]), 1)
		}
		if p.available(amount) {
			ev |= evIn
		}
	}
	if p.room(f.side) > 0 {
		ev |= evOut
	}
	return ev
}

// Queue is the side's.
func (f *ttyFile) Queue() *fdtable.Queue { return &f.side.queue }

// await is the waiting of n_tty_read: for VMIN characters, but after the first
// no longer than VTIME for the next; with VMIN 0 no longer than VTIME for the
// first. A signal ends it with what there is.
func (f *ttyFile) await(t *transfer, try func() error) error {
	d := t.d.Retain()
	defer d.Release()
	hung := f.hungUp()
	var deadline Deadline
	var seen uint
	for {
		err := try()
		if err != unix.EAGAIN || f.flags&unix.O_NONBLOCK != 0 {
			return err
		}
		deadline, seen = f.until(deadline, seen)
		err = t.c.Wait(deadline, &f.side.queue)
		switch {
		case err == ErrGone:
			return err
		case f.hungUp() && !hung:
			return unix.EIO
		case err != nil:
			f.partly = true
			last := try()
			f.partly = false
			if last == unix.EAGAIN && err == ErrInterrupted {
				return err
			}
			if last == unix.EAGAIN {
				return nil
			}
			return last
		}
	}
}

// until is when a raw read that has seen so many characters gives up.
func (f *ttyFile) until(deadline Deadline, seen uint) (Deadline, uint) {
	p := f.pty
	if f.isMaster() || p.cooked() {
		return 0, 0
	}
	minimum, after := p.minimum()
	have := p.commitHead - p.readTail
	switch {
	case after == 0 || minimum > 0 && have == 0:
		return 0, have
	case deadline == 0 || have != seen && minimum > 0:
		return p.s.After(after), have
	}
	return deadline, have
}
