//go:build linux

package emulate

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// termios is struct ktermios, as struct termios2 has it; struct termios is its
// first termiosSize bytes.
type termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       byte
	CC                         [19]byte
	Ispeed, Ospeed             uint32
}

const (
	termioSize   = 18 // System V's struct termio: the low halves of the flags and 8 of the characters
	termiosSize  = 36
	termios2Size = 44
)

// stdTermios is tty_std_termios with INIT_C_CC, as a pty begins.
var stdTermios = termios{
	Iflag: unix.ICRNL | unix.IXON,
	Oflag: unix.OPOST | unix.ONLCR,
	Cflag: unix.B38400 | unix.CS8 | unix.CREAD,
	Lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	CC: [19]byte{unix.VINTR: 3, unix.VQUIT: 0x1c, unix.VERASE: 0x7f, unix.VKILL: 0x15, unix.VEOF: 4, unix.VMIN: 1,
		unix.VSTART: 0x11, unix.VSTOP: 0x13, unix.VSUSP: 0x1a, unix.VREPRINT: 0x12, unix.VDISCARD: 0xf,
		unix.VWERASE: 0x17, unix.VLNEXT: 0x16},
	Ispeed: 38400, Ospeed: 38400,
}

func (t *termios) encode() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, t)
	return b.Bytes()
}

// encodeOld is kernel_termios_to_user_termio of include/asm-generic/termios-base.h.
func (t *termios) encodeOld() []byte {
	b := make([]byte, 0, termioSize)
	for _, flags := range []uint32{t.Iflag, t.Oflag, t.Cflag, t.Lflag} {
		b = binary.LittleEndian.AppendUint16(b, uint16(flags))
	}
	b = append(append(b, t.Line), t.CC[:8]...)
	return b[:termioSize]
}

// mergeOld puts a struct termio into an encoded mode (user_termio_to_kernel_termios).
func mergeOld(b []byte, old [termioSize]byte) {
	for i := range 4 {
		copy(b[4*i:], old[2*i:2*i+2])
	}
	copy(b[16:], old[8:17]) // c_line and c_cc
}

// flows: output stops and goes on with ^S and ^Q, as packet mode tells.
func (t *termios) flows() bool {
	return t.Iflag&unix.IXON != 0 && t.CC[unix.VSTOP] == 0x13 && t.CC[unix.VSTART] == 0x11
}

// bauds is baud_table of drivers/tty/tty_baudrate.c, by CBAUD without CBAUDEX.
var bauds = []uint32{0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400,
	57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000,
	3500000, 4000000}

// speeds are tty_termios_input_baud_rate and tty_termios_baud_rate.
func (t *termios) speeds() (in, out uint32) {
	const exBase, inShift = 15, 16 // CBAUDEX counts on from B38400; IBSHIFT
	rate := func(code, other uint32) uint32 {
		code &= unix.CBAUD
		if code == unix.BOTHER {
			return other
		}
		if code&unix.CBAUDEX != 0 {
			code = code&^unix.CBAUDEX + exBase
		}
		if int(code) >= len(bauds) {
			return 0
		}
		return bauds[code]
	}
	out = rate(t.Cflag, t.Ospeed)
	if t.Cflag>>inShift&unix.CBAUD == 0 {
		return out, out
	}
	return rate(t.Cflag>>inShift, t.Ispeed), out
}
