//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// urgent is what MSG_OOB sent last: a byte of the stream that reads leave out
// unless SO_OOBINLINE is set.
type urgent struct {
	state int
	at    int // bytes before it that are not read
	data  byte
}

// States of urgent.
const (
	urgentNone  = iota
	urgentThere // TCP_URG_VALID
	urgentRead  // TCP_URG_READ
)

func (s *TCP) inline() bool { return s.options>>unix.SO_OOBINLINE&1 != 0 }

// ReceiveUrgent is tcp_recv_urg. EINVAL.
func (s *TCP) ReceiveUrgent(peek bool) (byte, error) {
	if s.inline() || s.urgent.state != urgentThere {
		return 0, unix.EINVAL
	}
	if !peek {
		s.urgent.state = urgentRead
	}
	return s.urgent.data, nil
}

// atMark is sockatmark(3).
func (s *TCP) atMark() bool { return s.urgent.state != urgentNone && s.urgent.at == 0 }

// readable is how many bytes poll(2) counts: a lone urgent one is none.
func (s *TCP) readable() int {
	if s.atMark() && !s.inline() {
		return s.queued - 1
	}
	return s.queued
}

// Ioctl is FIONREAD, SIOCOUTQ and SIOCATMARK.
func (s *TCP) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	n := 0
	switch request {
	case unix.TIOCINQ, unix.TIOCOUTQ:
		if s.state == listening {
			return 0, unix.EINVAL
		}
		n = s.queued
		if s.urgent.state != urgentNone && !s.inline() {
			n = s.urgent.at
		}
		if request == unix.TIOCOUTQ {
			n = s.unsent()
		}
	case unix.SIOCATMARK:
		if s.atMark() {
			n = 1
		}
	default:
		return s.ioctl(mem, request, arg)
	}
	return 0, mem.Write(arg, le32(uint32(n)))
}
