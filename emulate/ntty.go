//go:build linux

package emulate

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The line discipline N_TTY of a pty's slave: what becomes of what is typed at
// the master. Everything here follows drivers/tty/n_tty.c, name by name.

// nttySize is N_TTY_BUF_SIZE, of the line being typed and of the echo buffer.
const nttySize = 4096

// disabled is __DISABLED_CHAR: no key does this; in the buffer it is where a
// line ends without a newline, VEOF.
const disabled = 0

// ntty is struct n_tty_data. Positions count up and are masked when used.
type ntty struct {
	readHead, readTail     uint
	canonHead, commitHead  uint
	readBuf                [nttySize]byte
	lineEnd                [nttySize]bool // read_flags
	charMap                [256]bool      // what is more than itself
	lnext, erasing, push   bool
	icanon, raw            bool
	column, canonColumn    uint
	echoBuf                [nttySize]byte
	echoHead, echoTail     uint
	echoCommit, echoMarked uint
}

func mask(i uint) uint { return i & (nttySize - 1) }

func (p *pty) iflag(f uint32) bool { return p.term.Iflag&f != 0 }
func (p *pty) oflag(f uint32) bool { return p.term.Oflag&f != 0 }
func (p *pty) lflag(f uint32) bool { return p.term.Lflag&f != 0 }

// cooked: reads are by lines.
func (p *pty) cooked() bool { return p.icanon && !p.lflag(unix.EXTPROC) }

// put is put_tty_queue.
func (p *pty) put(c byte) {
	p.readBuf[mask(p.readHead)] = c
	p.readHead++
}

// putMarked puts c, twice if PARMRK would have it taken for a mark.
func (p *pty) putMarked(c byte) {
	if c == 0xff && p.iflag(unix.PARMRK) {
		p.put(c)
	}
	p.put(c)
}

// resetInput is reset_buffer_flags.
func (p *pty) resetInput() {
	p.readHead, p.readTail, p.canonHead, p.commitHead = 0, 0, 0, 0
	p.lineEnd = [nttySize]bool{}
	p.erasing, p.push = false, false
}

// setMode is n_tty_set_termios: takes over p.term.
func (p *pty) setMode(old termios) {
	if (old.Lflag^p.term.Lflag)&(unix.ICANON|unix.EXTPROC) != 0 {
		p.lineEnd = [nttySize]bool{}
		if !p.lflag(unix.ICANON) || p.readHead == p.readTail {
			p.canonHead, p.push = p.readTail, false
		} else {
			p.lineEnd[mask(p.readHead-1)] = true
			p.canonHead, p.push = p.readHead, true
		}
		p.commitHead = p.readHead
		p.erasing, p.lnext = false, false
	}
	p.icanon = p.lflag(unix.ICANON)
	p.raw = !p.iflag(unix.ISTRIP|unix.IUCLC|unix.IGNCR|unix.ICRNL|unix.INLCR|unix.IXON|unix.PARMRK) &&
		!p.lflag(unix.ICANON|unix.ISIG|unix.ECHO)
	p.charMap = [256]bool{}
	special := func(on bool, chars ...byte) {
		for _, c := range chars {
			p.charMap[c] = p.charMap[c] || on
		}
	}
	cc, canon := p.term.CC, p.icanon
	special(p.iflag(unix.IGNCR|unix.ICRNL), '\r')
	special(p.iflag(unix.INLCR) || canon, '\n')
	special(canon, cc[unix.VERASE], cc[unix.VKILL], cc[unix.VEOF], cc[unix.VEOL])
	special(canon && p.lflag(unix.IEXTEN), cc[unix.VWERASE], cc[unix.VLNEXT], cc[unix.VEOL2])
	special(canon && p.lflag(unix.IEXTEN) && p.lflag(unix.ECHO), cc[unix.VREPRINT])
	special(p.iflag(unix.IXON), cc[unix.VSTART], cc[unix.VSTOP])
	special(p.lflag(unix.ISIG), cc[unix.VINTR], cc[unix.VQUIT], cc[unix.VSUSP])
	p.charMap[disabled] = false
	if !p.iflag(unix.IXON) && old.Iflag&unix.IXON != 0 && !p.slave.tcoStopped {
		p.start(&p.slave)
		p.processEchoes()
	}
	p.slave.queue.Wake()
	p.master.queue.Wake()
}

// receive is n_tty_receive_buf_common: it takes of b what there is room for.
// While a line has no end yet there is always room, so that it can be erased:
// then the last character is overwritten.
func (p *pty) receive(b []byte) int {
	n := 0
	for n < len(b) {
		room := nttySize - int(p.readHead-p.readTail)
		if p.iflag(unix.PARMRK) {
			room = (room + 2) / 3
		}
		room--
		if room <= 0 {
			overflow := p.icanon && p.canonHead == p.readTail
			if !overflow {
				break
			}
			if room < 0 {
				p.readHead--
			}
			room = 1
		}
		k := min(len(b)-n, room)
		p.receiveBuf(b[n : n+k])
		n += k
	}
	return n
}

// receiveBuf is __receive_buf.
func (p *pty) receiveBuf(b []byte) {
	strips := p.iflag(unix.ISTRIP) || p.iflag(unix.IUCLC) && p.lflag(unix.IEXTEN)
	if p.raw || p.lflag(unix.EXTPROC) && !strips {
		for _, c := range b {
			p.put(c)
		}
	} else {
		for _, c := range b {
			p.receiveChar(c)
		}
		p.flushEchoes()
	}
	if p.cooked() {
		return
	}
	p.commitHead = p.readHead
	if p.readHead != p.readTail {
		p.wake(&p.slave, evIn)
	}
}

// receiveChar is one turn of n_tty_receive_buf_standard.
func (p *pty) receiveChar(c byte) {
	if p.iflag(unix.ISTRIP) {
		c &= 0x7f
	}
	if p.iflag(unix.IUCLC) && p.lflag(unix.IEXTEN) {
		c = toLower(c)
	}
	switch {
	case p.lnext:
		p.lnext = false
		p.ordinary(c)
	case p.lflag(unix.EXTPROC):
		p.put(c)
	case p.charMap[c]:
		p.special(c)
	default:
		p.ordinary(c)
	}
}

// ordinary is n_tty_receive_char.
func (p *pty) ordinary(c byte) {
	p.restartAny()
	if p.lflag(unix.ECHO) {
		p.finishErasing()
		p.echoFirst()
		p.echoChar(c)
		p.commitEchoes()
	}
	p.putMarked(c)
}

// restartAny: with IXANY any character is VSTART.
func (p *pty) restartAny() {
	if p.slave.stopped && !p.slave.tcoStopped && p.iflag(unix.IXON) && p.iflag(unix.IXANY) {
		p.start(&p.slave)
		p.processEchoes()
	}
}

// special is n_tty_receive_char_special.
func (p *pty) special(c byte) {
	cc := &p.term.CC
	if p.iflag(unix.IXON) && (c == cc[unix.VSTART] || c == cc[unix.VSTOP]) {
		if c == cc[unix.VSTART] {
			p.start(&p.slave)
			p.processEchoes()
		} else {
			p.stop(&p.slave)
		}
		return
	}
	if p.lflag(unix.ISIG) {
		switch c {
		case cc[unix.VINTR]:
			p.signalChar(unix.SIGINT, c)
			return
		case cc[unix.VQUIT]:
			p.signalChar(unix.SIGQUIT, c)
			return
		case cc[unix.VSUSP]:
			p.signalChar(unix.SIGTSTP, c)
			return
		}
	}
	p.restartAny()
	switch {
	case c == '\r' && p.iflag(unix.IGNCR):
		return
	case c == '\r' && p.iflag(unix.ICRNL):
		c = '\n'
	case c == '\n' && p.iflag(unix.INLCR):
		c = '\r'
	}
	if p.icanon && p.canon(c) {
		return
	}
	if p.lflag(unix.ECHO) {
		p.finishErasing()
		if c == '\n' {
			p.echoRaw('\n')
		} else {
			p.echoFirst()
			p.echoChar(c)
		}
		p.commitEchoes()
	}
	p.putMarked(c)
}

// signalChar is n_tty_receive_signal_char: the foreground group gets the signal,
// and what was typed before is dropped unless NOFLSH says not.
func (p *pty) signalChar(sig unix.Signal, c byte) {
	if !slices.Contains(p.sent, sig) {
		p.sent = append(p.sent, sig)
		p.signalForeground(sig)
	}
	if !p.lflag(unix.NOFLSH) {
		p.echoHead, p.echoTail, p.echoCommit, p.echoMarked = 0, 0, 0, 0
		p.flushOutput(&p.slave)
		p.resetInput()
		p.tell(unix.TIOCPKT_FLUSHREAD, 0)
	}
	if p.iflag(unix.IXON) {
		p.start(&p.slave)
	}
	if p.lflag(unix.ECHO) {
		p.echoChar(c)
		p.commitEchoes()
	} else {
		p.processEchoes()
	}
}

// canon is n_tty_receive_char_canon: the keys of canonical mode. false: c is none.
func (p *pty) canon(c byte) bool {
	cc, extended, echo := &p.term.CC, p.lflag(unix.IEXTEN), p.lflag(unix.ECHO)
	switch {
	case c == cc[unix.VERASE], c == cc[unix.VKILL], c == cc[unix.VWERASE] && extended:
		p.erase(c)
		p.commitEchoes()
	case c == cc[unix.VLNEXT] && extended:
		p.lnext = true
		if echo {
			p.finishErasing()
			if p.lflag(unix.ECHOCTL) {
				p.echoRaw('^')
				p.echoRaw('\b')
				p.commitEchoes()
			}
		}
	case c == cc[unix.VREPRINT] && echo && extended:
		p.finishErasing()
		p.echoChar(c)
		p.echoRaw('\n')
		for i := p.canonHead; mask(i) != mask(p.readHead); i++ {
			p.echoChar(p.readBuf[mask(i)])
		}
		p.commitEchoes()
	case c == '\n':
		if echo || p.lflag(unix.ECHONL) {
			p.echoRaw('\n')
			p.commitEchoes()
		}
		p.endLine(c)
	case c == cc[unix.VEOF]:
		p.endLine(disabled)
	case c == cc[unix.VEOL], c == cc[unix.VEOL2] && extended:
		if echo {
			p.echoFirst()
			p.echoChar(c)
			p.commitEchoes()
		}
		if c == 0xff && p.iflag(unix.PARMRK) {
			p.put(c)
		}
		p.endLine(c)
	default:
		return false
	}
	return true
}

// endLine is n_tty_receive_handle_newline.
func (p *pty) endLine(c byte) {
	p.lineEnd[mask(p.readHead)] = true
	p.put(c)
	p.canonHead = p.readHead
	p.wake(&p.slave, evIn)
}

// available is input_available_p.
func (p *pty) available(amount uint) bool {
	if p.cooked() {
		return p.canonHead != p.readTail
	}
	return p.commitHead-p.readTail >= amount
}

// takeLine is canon_copy_from_read_buf: at most a line, without what ended it if
// that was VEOF; which a reader of exactly the rest of the line has had, too.
func (p *pty) takeLine(b []byte) int {
	n, end := uint(0), min(uint(len(b)), p.canonHead-p.readTail)
	for ; n < end; n++ {
		i := mask(p.readTail + n)
		b[n] = p.readBuf[i]
		if !p.lineEnd[i] {
			continue
		}
		p.lineEnd[i] = false
		p.readTail += n + 1
		p.push = false
		if b[n] != disabled {
			n++
		}
		return int(n)
	}
	p.readTail += n
	if i := mask(p.readTail); p.readTail != p.canonHead && p.lineEnd[i] && p.readBuf[i] == disabled {
		p.lineEnd[i] = false
		p.readTail++
	}
	return int(n)
}

// takeRaw is copy_from_read_buf.
func (p *pty) takeRaw(b []byte) int {
	n := min(uint(len(b)), p.commitHead-p.readTail)
	for i := range n {
		b[i] = p.readBuf[mask(p.readTail+i)]
	}
	p.readTail += n
	if n == 1 && p.lflag(unix.EXTPROC) && p.icanon && b[0] == p.term.CC[unix.VEOF] && p.commitHead == p.readTail {
		return 0
	}
	return int(n)
}

// typed is inq_canon and read_cnt: what FIONREAD tells.
func (p *pty) typed() int {
	if !p.lflag(unix.ICANON) || p.lflag(unix.EXTPROC) {
		return int(p.readHead - p.readTail)
	}
	n := int(p.canonHead - p.readTail)
	for i := p.readTail; i != p.canonHead; i++ {
		if p.lineEnd[mask(i)] && p.readBuf[mask(i)] == disabled {
			n--
		}
	}
	return n
}
