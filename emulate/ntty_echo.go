//go:build linux

package emulate

import "golang.org/x/sys/unix"

// What N_TTY sends to the master: output with OPOST, and the echo of what is
// typed. Echoes are kept in a buffer of characters and operations until the end
// of what came together, because they depend on the column then, and because the
// master may be full (drivers/tty/n_tty.c).

// Operations in the echo buffer. Any other byte behind echoStart is a control
// character to be shown as ^X.
const (
	echoStart    = 0xff // ECHO_OP_START
	echoMoveBack = 0x80 // ECHO_OP_MOVE_BACK_COL
	echoSetCanon = 0x81 // ECHO_OP_SET_CANON_COL
	echoEraseTab = 0x82 // ECHO_OP_ERASE_TAB

	// So many echoes are written before more is looked at; so many are dropped
	// if the master takes none.
	echoBlock   = 256                         // ECHO_BLOCK, ECHO_COMMIT_WATERMARK
	echoDiscard = nttySize - (echoBlock + 32) // ECHO_DISCARD_WATERMARK
)

// The kernel's character classes are those of Latin-1 (lib/ctype.c).
func isControl(c byte) bool { return c < 0x20 || c == 0x7f }
func isUpper(c byte) bool   { return c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xde && c != 0xd7 }
func isLower(c byte) bool   { return c >= 'a' && c <= 'z' || c >= 0xdf && c != 0xf7 }
func isAlnum(c byte) bool   { return isUpper(c) || isLower(c) || c >= '0' && c <= '9' }

func toLower(c byte) byte {
	if isUpper(c) {
		c += 'a' - 'A'
	}
	return c
}

// continues reports a byte of a UTF-8 character other than its first.
func (p *pty) continues(c byte) bool { return p.iflag(unix.IUTF8) && c&0xc0 == 0x80 }

// outputChar is do_output_char: c with OPOST. false: there is no room.
func (p *pty) outputChar(c byte) bool {
	space := p.room(&p.slave)
	if space == 0 {
		return false
	}
	switch c {
	case '\n':
		if p.oflag(unix.ONLRET) {
			p.column = 0
		}
		if p.oflag(unix.ONLCR) {
			if space < 2 {
				return false
			}
			p.canonColumn, p.column = 0, 0
			p.send('\r', '\n')
			return true
		}
		p.canonColumn = p.column
	case '\r':
		if p.oflag(unix.ONOCR) && p.column == 0 {
			return true
		}
		if p.oflag(unix.OCRNL) {
			c = '\n'
			if p.oflag(unix.ONLRET) {
				p.canonColumn, p.column = 0, 0
			}
			break
		}
		p.canonColumn, p.column = 0, 0
	case '\t':
		spaces := 8 - p.column&7
		if p.term.Oflag&unix.TABDLY == unix.XTABS {
			if space < int(spaces) {
				return false
			}
			p.column += spaces
			p.send([]byte("        ")[:spaces]...)
			return true
		}
		p.column += spaces
	case '\b':
		p.backColumn()
	default:
		if isControl(c) {
			break
		}
		if p.oflag(unix.OLCUC) && isLower(c) {
			c -= 'a' - 'A'
		}
		if !p.continues(c) {
			p.column++
		}
	}
	p.send(c)
	return true
}

func (p *pty) backColumn() {
	if p.column > 0 {
		p.column--
	}
}

// output is the loop of n_tty_write: it takes of b what there is room for.
func (p *pty) output(b []byte) int {
	if !p.oflag(unix.OPOST) {
		n := min(len(b), p.room(&p.slave))
		p.send(b[:n]...)
		return n
	}
	for i, c := range b {
		if !p.outputChar(c) {
			return i
		}
	}
	return len(b)
}

func (p *pty) echoByte(c ...byte) {
	for _, c := range c {
		p.echoBuf[mask(p.echoHead)] = c
		p.echoHead++
	}
}

// echoRaw is echo_char_raw.
func (p *pty) echoRaw(c byte) {
	if c == echoStart {
		p.echoByte(c)
	}
	p.echoByte(c)
}

// echoChar is echo_char: with ECHOCTL control characters are seen.
func (p *pty) echoChar(c byte) {
	if c == echoStart || p.lflag(unix.ECHOCTL) && isControl(c) && c != '\t' {
		p.echoByte(echoStart)
	}
	p.echoByte(c)
}

// echoFirst remembers the column of a line's first character.
func (p *pty) echoFirst() {
	if p.canonHead == p.readHead {
		p.echoByte(echoStart, echoSetCanon)
	}
}

// finishErasing ends what ECHOPRT shows of erased characters.
func (p *pty) finishErasing() {
	if p.erasing {
		p.echoRaw('/')
		p.erasing = false
	}
}

// commitEchoes writes echoes out once a block of them has come together.
func (p *pty) commitEchoes() {
	p.echoMarked = p.echoHead
	old, n := p.echoCommit-p.echoTail, p.echoHead-p.echoTail
	if n < echoBlock || n%echoBlock > old%echoBlock {
		return
	}
	p.echoCommit = p.echoHead
	p.writeEchoes()
}

// processEchoes writes out what was marked before.
func (p *pty) processEchoes() {
	if p.echoMarked != p.echoTail {
		p.echoCommit = p.echoMarked
		p.writeEchoes()
	}
}

// flushEchoes writes out all at the end of what came together.
func (p *pty) flushEchoes() {
	if p.lflag(unix.ECHO|unix.ECHONL) && p.echoCommit != p.echoHead {
		p.echoCommit = p.echoHead
		p.writeEchoes()
	}
}

// writeEchoes is __process_echoes.
func (p *pty) writeEchoes() {
	at := func(i uint) byte { return p.echoBuf[mask(i)] }
	for mask(p.echoTail) != mask(p.echoCommit) {
		n := uint(1)
		if c := at(p.echoTail); c == echoStart {
			op := at(p.echoTail + 1)
			if mask(p.echoTail+1) == mask(p.echoCommit) || op == echoEraseTab && mask(p.echoTail+2) == mask(p.echoCommit) {
				return // the rest is not there yet
			}
			if n = p.echoOp(op, at(p.echoTail+2)); n == 0 {
				break
			}
		} else if p.oflag(unix.OPOST) {
			if !p.outputChar(c) {
				break
			}
		} else {
			if p.room(&p.slave) == 0 {
				break
			}
			p.send(c)
		}
		p.echoTail += n
	}
	for p.echoCommit-p.echoTail >= echoDiscard {
		switch {
		case at(p.echoTail) != echoStart:
			p.echoTail++
		case at(p.echoTail+1) == echoEraseTab:
			p.echoTail += 3
		default:
			p.echoTail += 2
		}
	}
}

// echoOp is n_tty_process_echo_ops: how long the operation is, 0 without room.
func (p *pty) echoOp(op, arg byte) uint {
	space := p.room(&p.slave)
	switch op {
	case echoEraseTab:
		columns := uint(arg)
		if arg&0x80 == 0 { // since the line began, not since a tab
			columns += p.canonColumn
		}
		back := 8 - columns&7
		if int(back) > space {
			return 0
		}
		for range back {
			p.send('\b')
			p.backColumn()
		}
		return 3
	case echoSetCanon:
		p.canonColumn = p.column
	case echoMoveBack:
		p.backColumn()
	case echoStart:
		if space == 0 {
			return 0
		}
		p.send(echoStart)
		p.column++
	default:
		if space < 2 {
			return 0
		}
		p.send('^', op^0x40)
		p.column += 2
	}
	return 2
}

// erase is eraser: VERASE, VWERASE and VKILL, and what is seen of it.
func (p *pty) erase(key byte) {
	if p.readHead == p.canonHead {
		return
	}
	one, word := key == p.term.CC[unix.VERASE], key == p.term.CC[unix.VWERASE]
	if !one && !word {
		if !p.lflag(unix.ECHO) {
			p.readHead = p.canonHead
			return
		}
		if !p.lflag(unix.ECHOK) || !p.lflag(unix.ECHOKE) || !p.lflag(unix.ECHOE) {
			p.readHead = p.canonHead
			p.finishErasing()
			p.echoChar(p.term.CC[unix.VKILL])
			if p.lflag(unix.ECHOK) {
				p.echoRaw('\n')
			}
			return
		}
	}
	alnums := false
	for mask(p.readHead) != mask(p.canonHead) {
		head := p.readHead - 1
		for p.continues(p.readBuf[mask(head)]) && mask(head) != mask(p.canonHead) {
			head--
		}
		c := p.readBuf[mask(head)]
		if p.continues(c) {
			break // not the whole character
		}
		if word && !one {
			if isAlnum(c) || c == '_' {
				alnums = true
			} else if alnums {
				break
			}
		}
		n := p.readHead - head
		p.readHead = head
		if p.lflag(unix.ECHO) {
			p.echoErased(c, n, one)
		}
		if one {
			break
		}
	}
	if p.readHead == p.canonHead && p.lflag(unix.ECHO) {
		p.finishErasing()
	}
}

// echoErased shows that the character of n bytes at readHead is gone.
func (p *pty) echoErased(c byte, n uint, one bool) {
	switch {
	case p.lflag(unix.ECHOPRT):
		if !p.erasing {
			p.echoRaw('\\')
			p.erasing = true
		}
		p.echoChar(c)
		for i := uint(1); i < n; i++ {
			p.echoRaw(p.readBuf[mask(p.readHead+i)])
			p.echoByte(echoStart, echoMoveBack)
		}
	case one && !p.lflag(unix.ECHOE):
		p.echoChar(p.term.CC[unix.VERASE])
	case c == '\t':
		p.echoErasedTab()
	default:
		if isControl(c) && p.lflag(unix.ECHOCTL) {
			p.echoByte('\b', ' ', '\b')
		}
		if !isControl(c) || p.lflag(unix.ECHOCTL) {
			p.echoByte('\b', ' ', '\b')
		}
	}
}

// echoErasedTab counts the columns since the tab before or the line's start.
func (p *pty) echoErasedTab() {
	columns, afterTab := uint(0), byte(0)
	for i := p.readHead; mask(i) != mask(p.canonHead); {
		i--
		c := p.readBuf[mask(i)]
		if c == '\t' {
			afterTab = 0x80
			break
		} else if isControl(c) {
			if p.lflag(unix.ECHOCTL) {
				columns += 2
			}
		} else if !p.continues(c) {
			columns++
		}
	}
	p.echoByte(echoStart, echoEraseTab, byte(columns&7)|afterTab)
}
