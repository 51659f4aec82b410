//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Terminal is the master of a pty that Go code works, as a terminal emulator
// does: Write is typing, Read what is to be shown, Queue is woken when either
// may go on; both give EAGAIN meanwhile. Close hangs the terminal up. It belongs
// to the warden's thread.
type Terminal struct{ *ttyFile }

// NewTerminal makes a pty with a mode and a window size. ENOSPC.
func (s *System) NewTerminal(owner vfs.Owner, mode *unix.Termios, window unix.Winsize) (*Terminal, error) {
	p, err := s.newPTY(owner)
	if err != nil {
		return nil, err
	}
	p.locked = false
	p.change(termios{mode.Iflag, mode.Oflag, mode.Cflag, mode.Lflag, mode.Line, mode.Cc, mode.Ispeed, mode.Ospeed})
	t := &Terminal{&ttyFile{pty: p, side: &p.master}}
	t.Resize(window)
	return t, nil
}

// Resize sets the window size; the foreground group hears of it.
func (t *Terminal) Resize(w unix.Winsize) {
	b := make([]byte, 0, 8)
	for _, v := range []uint16{w.Row, w.Col, w.Xpixel, w.Ypixel} {
		b = append(b, byte(v), byte(v>>8))
	}
	t.pty.resize([8]byte(b))
}

// Control opens the slave as the controlling terminal of a session leader that
// has none. The caller owns the description.
func (t *Terminal) Control(leader *Task) (*fdtable.Description, error) {
	f, err := t.pty.openSlave(unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	t.pty.control(leader.Process)
	return fdtable.NewDescription(f, t.pty.entry(), unix.O_RDWR), nil
}
