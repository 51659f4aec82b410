//go:build linux

package emulate

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Requests of ioctl_tty(2) that package unix lacks: those that tty_ioctl checks
// the caller's group for.
const (
	tiocSBRK, tiocCBRK = 0x5427, 0x5428
	tcSBRK, tcSBRKP    = 0x5409, 0x5425
)

// ioctlChecks are the requests of a background process that are stopped first.
var ioctlChecks = map[uint32]bool{unix.TIOCSETD: true, tiocSBRK: true, tiocCBRK: true, tcSBRK: true, tcSBRKP: true,
	unix.TCXONC: true, unix.TCFLSH: true}

// Ioctl is drivers/tty/tty_io.c:tty_ioctl and what it asks in turn.
func (f *ttyFile) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	p, t := f.pty, f.pty.s.Current
	if f.hungUp() {
		if request == unix.TIOCSPGRP {
			return 0, unix.ENOTTY
		}
		return 0, unix.EIO
	}
	if ioctlChecks[request] && !f.isMaster() {
		if err := p.checkChange(unix.SIGTTOU); err != nil {
			return 0, err
		}
	}
	if t == nil {
		return 0, unix.ENOTTY
	}
	if f.isMaster() {
		if done, n, err := f.ioctlMaster(mem, request, arg); done {
			return n, err
		}
	}
	switch request {
	case unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGSID, unix.TIOCSCTTY, unix.TIOCNOTTY:
		return 0, f.ioctlSession(mem, t, request, arg)
	case unix.TCXONC:
		return 0, f.flow(arg)
	case unix.TCFLSH:
		return 0, f.flush(arg)
	case unix.TIOCEXCL, unix.TIOCNXCL:
		f.side.exclusive = request == unix.TIOCEXCL
		return 0, nil
	case unix.TIOCSTI:
		return 0, unix.EIO // as with dev.tty.legacy_tiocsti 0, and for root too
	case tiocSBRK, tiocCBRK, tcSBRK, tcSBRKP:
		return 0, nil // no wire to break
	case unix.TIOCSETD:
		return 0, f.setDiscipline(mem, arg)
	case unix.TIOCVHANGUP:
		return 0, unix.EPERM
	}
	if n, ok := f.number(request); ok {
		return 0, mem.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
	return 0, p.ioctlMode(mem, request, arg)
}

// number is what the requests tell that give an int.
func (f *ttyFile) number(request uint32) (n int, ok bool) {
	p := f.pty
	switch request {
	case unix.TIOCGEXCL:
		return int(oneIf(f.side.exclusive)), true
	case unix.TIOCGETD, unix.TIOCOUTQ: // N_TTY; nothing is ever on the way
		return 0, true
	case unix.TIOCINQ:
		if f.isMaster() {
			return min(len(p.out), nttySize-1), true
		}
		return p.typed(), true
	case unix.TIOCGDEV:
		if p.index > 0xff {
			return p.index&0xff | ptsMajor<<8 | p.index&^0xff<<12, true
		}
		return p.index | ptsMajor<<8, true
	case unix.TIOCGSOFTCAR:
		return int(oneIf(p.term.Cflag&unix.CLOCAL != 0)), true
	}
	return 0, false
}

// ioctlMaster is pty_unix98_ioctl and TIOCGPTPEER.
func (f *ttyFile) ioctlMaster(mem fdtable.Memory, request uint32, arg uint64) (done bool, n uint64, err error) {
	p := f.pty
	get := func(v int) (bool, uint64, error) {
		return true, 0, mem.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(v)))
	}
	switch request {
	case unix.TIOCGPTN:
		return get(p.index)
	case unix.TIOCGPTLCK:
		return get(int(oneIf(p.locked)))
	case unix.TIOCGPKT:
		return get(int(oneIf(p.packet)))
	case unix.TIOCSPTLCK, unix.TIOCPKT:
		var v [4]byte
		if err := mem.Read(arg, v[:]); err != nil {
			return true, 0, err
		}
		on := leUint32(v[:]) != 0
		if request == unix.TIOCSPTLCK {
			p.locked = on
			return true, 0, nil
		}
		if on && !p.packet {
			p.status = 0
		}
		p.packet = on
		return true, 0, nil
	case unix.TIOCSIG:
		sig := unix.Signal(int32(arg))
		if sig != unix.SIGINT && sig != unix.SIGQUIT && sig != unix.SIGTSTP {
			return true, 0, unix.EINVAL
		}
		p.signalForeground(sig)
		return true, 0, nil
	case unix.TIOCGPTPEER:
		n, err := f.openPeer(int(int32(arg)))
		return true, n, err
	}
	return false, 0, nil
}

// openPeer is ptm_open_peer: the slave without its name.
func (f *ttyFile) openPeer(flags int) (uint64, error) {
	p, t := f.pty, f.pty.s.Current
	file, err := p.openSlave(flags)
	if err != nil {
		return 0, err
	}
	file.(*ttyFile).openedBy(t, flags)
	const kept = unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_APPEND | unix.O_ASYNC | oLargefile
	d := fdtable.NewDescription(file, p.entry(), flags&kept)
	fd, err := t.InstallFD(d, 0, flags&unix.O_CLOEXEC != 0)
	return uint64(fd), err
}

// ioctlSession is tty_jobctrl_ioctl. A master is asked for its slave, and need
// not be the caller's terminal.
func (f *ttyFile) ioctlSession(mem fdtable.Memory, t *Task, request uint32, arg uint64) error {
	p := f.pty
	own := t.Process.tty == p
	put := func(n int) error { return mem.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(n))) }
	switch request {
	case unix.TIOCNOTTY:
		if !own || f.isMaster() {
			return unix.ENOTTY
		}
		p.s.disassociate(t.Process, false)
		t.Process.tty = nil
		return nil
	case unix.TIOCSCTTY:
		return f.setControlling(t, arg == 1)
	case unix.TIOCGPGRP:
		if !own && !f.isMaster() {
			return unix.ENOTTY
		}
		return put(p.pgrp)
	case unix.TIOCGSID:
		if !own && !f.isMaster() || p.session == 0 {
			return unix.ENOTTY
		}
		return put(p.session)
	}
	if err := p.checkChange(unix.SIGTTOU); err == unix.EIO {
		return unix.ENOTTY
	} else if err != nil {
		return err
	}
	if !own || p.session != t.Process.SID {
		return unix.ENOTTY
	}
	var v [4]byte
	if err := mem.Read(arg, v[:]); err != nil {
		return err
	}
	return p.setForeground(t, int(int32(leUint32(v[:]))))
}

// flow is TCXONC.
func (f *ttyFile) flow(arg uint64) error {
	p, key := f.pty, byte(disabled)
	switch int(arg) {
	case unix.TCOOFF:
		if !f.side.tcoStopped {
			f.side.tcoStopped = true
			p.stop(f.side)
		}
		return nil
	case unix.TCOON:
		if f.side.tcoStopped {
			f.side.tcoStopped = false
			p.start(f.side)
		}
		return nil
	case unix.TCIOFF:
		key = p.modeOf(f).CC[unix.VSTOP]
	case unix.TCION:
		key = p.modeOf(f).CC[unix.VSTART]
	default:
		return unix.EINVAL
	}
	if key == disabled {
		return nil
	}
	was := f.side.stopped // tty_send_xchar goes past that
	if was {
		p.start(f.side)
	}
	switch {
	case p.room(f.side) == 0:
	case f.isMaster():
		p.flip = append(p.flip, key)
		p.shove()
	default:
		p.send(key)
	}
	if was {
		p.stop(f.side)
	}
	return nil
}

// modeOf is a side's own mode: a master's nobody can change.
func (p *pty) modeOf(f *ttyFile) *termios {
	if f.isMaster() {
		return &stdTermios
	}
	return &p.term
}

// flush is TCFLSH.
func (f *ttyFile) flush(arg uint64) error {
	p := f.pty
	switch int(arg) {
	case unix.TCIFLUSH, unix.TCIOFLUSH:
		if f.isMaster() {
			p.out = nil
			p.wake(&p.slave, evOut)
		} else {
			p.flip = nil
			p.flushInput()
		}
		if int(arg) == unix.TCIFLUSH {
			return nil
		}
	case unix.TCOFLUSH:
	default:
		return unix.EINVAL
	}
	p.flushOutput(f.side)
	return nil
}

// flushInput is n_tty_flush_buffer.
func (p *pty) flushInput() {
	p.resetInput()
	p.tell(unix.TIOCPKT_FLUSHREAD, 0)
	p.shove()
	p.wake(&p.master, evOut)
}

// setDiscipline is TIOCSETD: there is only N_TTY.
func (f *ttyFile) setDiscipline(mem fdtable.Memory, arg uint64) error {
	var v [4]byte
	if err := mem.Read(arg, v[:]); err != nil {
		return err
	}
	if leUint32(v[:]) != 0 {
		return unix.EINVAL
	}
	return nil
}

// ioctlMode is tty_mode_ioctl and the window size.
func (p *pty) ioctlMode(mem fdtable.Memory, request uint32, arg uint64) error {
	switch request {
	case unix.TIOCGWINSZ:
		return mem.Write(arg, p.window[:])
	case unix.TIOCSWINSZ:
		var w [8]byte
		if err := mem.Read(arg, w[:]); err != nil {
			return err
		}
		p.resize(w)
		return nil
	case unix.TCGETS:
		return mem.Write(arg, p.term.encode()[:termiosSize])
	case unix.TCGETS2:
		return mem.Write(arg, p.term.encode())
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		return p.setTermios(mem, arg, termiosSize, request == unix.TCSETSF)
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		return p.setTermios(mem, arg, termios2Size, request == unix.TCSETSF2)
	case unix.TCGETA:
		return mem.Write(arg, p.term.encodeOld())
	case unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		return p.setTermios(mem, arg, termioSize, request == unix.TCSETAF)
	case unix.TIOCGLCKTRMIOS:
		return mem.Write(arg, make([]byte, termiosSize))
	case unix.TIOCSLCKTRMIOS:
		return unix.EPERM // nobody locks a mode
	}
	return unix.ENOTTY
}

// resize is pty_resize.
func (p *pty) resize(window [8]byte) {
	if window != p.window {
		p.window = window
		p.signalForeground(unix.SIGWINCH)
	}
}

// setTermios is set_termios: the mode in size bytes at arg.
func (p *pty) setTermios(mem fdtable.Memory, arg uint64, size int, flush bool) error {
	if err := p.checkChange(unix.SIGTTOU); err != nil {
		return err
	}
	b := p.term.encode()
	if size == termioSize {
		var old [termioSize]byte
		if err := mem.Read(arg, old[:]); err != nil {
			return err
		}
		mergeOld(b, old)
	} else if err := mem.Read(arg, b[:size]); err != nil {
		return err
	}
	var n termios
	_ = binary.Read(bytes.NewReader(b), binary.LittleEndian, &n)
	n.Ispeed, n.Ospeed = n.speeds()
	if flush {
		p.flushInput()
	}
	p.change(n)
	return nil
}

// change is tty_set_termios.
func (p *pty) change(n termios) {
	old := p.term
	n.Cflag = n.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD
	p.term = n
	if was, is := old.flows(), n.flows(); was != is {
		set, clear := byte(unix.TIOCPKT_NOSTOP), byte(unix.TIOCPKT_DOSTOP)
		if is {
			set, clear = clear, set
		}
		p.tell(set, clear)
	}
	if (old.Lflag|n.Lflag)&unix.EXTPROC != 0 {
		p.tell(unix.TIOCPKT_IOCTL, 0)
	}
	p.setMode(old)
	p.shove()
}
