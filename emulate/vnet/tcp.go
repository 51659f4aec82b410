//go:build linux

package vnet

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	tcpRcvbuf     = 131072  // net.ipv4.tcp_rmem[1]
	tcpSndbuf     = 16384   // net.ipv4.tcp_wmem[1]
	tcpSndbufOpen = 2626560 // what tuning makes of it on the loopback's mtu
	tcpSegment    = 64 << 10
)

// TCP is a tcp(7) socket. There is no wire: what one end sends is at once in the
// queue of the other, and a FIN or RST takes no time, so of the states of
// RFC 9293 only those are left that a program can tell apart. net/ipv4/tcp.c is
// the reference.
type TCP struct {
	inet
	peer *TCP // the other end; a dead one stays, and has none itself

	queue  [][]byte // what came and was not read
	off    int      // of queue[0]
	queued int      // bytes in queue
	fin    bool     // the peer sends no more
	urgent urgent

	backlog  int
	pending  []*TCP // connected, not accepted; some may be reset already
	calling  []*TCP // those that found the backlog full, as SYNs sent again do
	listener *TCP   // in whose pending or calling this one is
	stage    stage
	oldPort  uint16 // what getsockname(2) goes on to show: inet_sport is not reset
}

// stage is socket_state, which connect(2) and listen(2) look at first.
type stage int

const (
	unconnected stage = iota
	trying            // SS_CONNECTING, until connect(2) has told what came of it
	connected
	disconnecting
)

func newTCP(i inet) *TCP {
	s := &TCP{inet: i}
	s.self = s
	s.sndbuf, s.rcvbuf = tcpSndbuf, tcpRcvbuf
	s.local, s.remote = s.nowhere(), s.nowhere()
	return s
}

// disconnect is tcp_disconnect.
func (s *TCP) disconnect() {
	err := s.err
	if s.state == connecting || s.state == established {
		err = unix.ECONNRESET
	}
	s.hangUp()
	s.state, s.stage, s.err, s.shut, s.fin, s.peer = closed, unconnected, err, 0, false, nil
	s.remote = s.nowhere()
	if s.local.Port() != 0 {
		s.oldPort = s.local.Port()
	}
	s.release()
	s.purge()
	s.waiters.Wake()
}

// hangUp is what becomes of those who wait at s, or of its peer, when s stops at
// once.
func (s *TCP) hangUp() {
	switch s.state {
	case listening:
		pending, calling := s.pending, s.calling
		s.pending, s.calling = nil, nil
		for _, c := range pending {
			c.listener = nil
			_ = c.abort()
		}
		for _, c := range calling {
			c.listener = nil
			c.fail(unix.ECONNREFUSED)
		}
	case connecting:
		if l := s.listener; l != nil {
			l.calling = slices.DeleteFunc(l.calling, func(c *TCP) bool { return c == s })
			s.listener = nil
		}
	case established:
		s.reset()
	}
}

// reset tells the peer with a RST.
func (s *TCP) reset() {
	p := s.peer
	if p == nil || p.state != established || p.peer != s {
		return
	}
	err := unix.ECONNRESET
	if p.fin {
		err = unix.EPIPE // TCP_CLOSE_WAIT
	}
	p.fail(err)
}

// abort closes s with a RST.
func (s *TCP) abort() error {
	s.linger = [2]int32{1, 0}
	return s.Close()
}

// Close is __tcp_close: with unread bytes, or told not to linger, a RST.
func (s *TCP) Close() error {
	if s.dead {
		return nil
	}
	s.dead = true
	s.net.sockets--
	switch {
	case s.state != established:
		s.hangUp()
	case s.queued > 0 || s.linger == [2]int32{1, 0}:
		s.reset()
	default:
		s.sendFIN()
	}
	if s.local.Port() != 0 {
		s.leave()
	}
	s.state, s.shut, s.peer = closed, shutBoth, nil
	s.purge()
	s.waiters.Wake()
	return nil
}

// sendFIN ends what s sends; when both ends have, the connection is over.
func (s *TCP) sendFIN() {
	p := s.peer
	if !p.fin && p.state == established {
		p.fin = true
		p.shut |= shutRead
	}
	if s.fin {
		s.state, s.shut = closed, shutBoth
		p.state, p.shut = closed, shutBoth
		s.waiters.Wake()
	}
	p.waiters.Wake()
}

// Shutdown is inet_shutdown.
func (s *TCP) Shutdown(how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	mode := how + 1
	var err error
	if s.stage == trying {
		if s.stage = connected; s.state != established {
			s.stage = disconnecting
		}
	}
	switch s.state {
	case closed:
		s.shut |= mode
		err = unix.ENOTCONN
	case established:
		s.shut |= mode
		if mode&shutWrite != 0 {
			s.sendFIN()
		}
	case connecting:
		s.disconnect()
	case listening:
		if mode&shutRead != 0 {
			s.hangUp()
			s.state = closed
		}
	}
	s.waiters.Wake()
	return err
}

// Sockname is getsockname(2).
func (s *TCP) Sockname() []byte {
	a := s.local
	if a.Port() == 0 {
		a = netip.AddrPortFrom(a.Addr(), s.oldPort)
	}
	return s.sockaddr(a)
}

// Peername is inet_getname of the other end.
func (s *TCP) Peername() ([]byte, error) {
	if s.state != established {
		return nil, unix.ENOTCONN
	}
	return s.sockaddr(s.remote), nil
}

// Poll is tcp_poll.
func (s *TCP) Poll() fdtable.Events {
	if s.state == listening {
		if len(s.pending) > 0 {
			return pollIn
		}
		return 0
	}
	var ev fdtable.Events
	if s.shut == shutBoth || s.state == closed {
		ev |= fdtable.Hup
	}
	if s.shut&shutRead != 0 {
		ev |= pollIn | fdtable.RdHup
	}
	if s.state != connecting {
		if s.readable() >= max(s.lowat, 1) {
			ev |= pollIn
		}
		if s.urgent.state == urgentThere {
			ev |= fdtable.Pri
		}
		if s.shut&shutWrite != 0 || s.writable() {
			ev |= fdtable.Out | fdtable.WrNorm
		}
	}
	if s.err != 0 {
		ev |= fdtable.Err
	}
	return ev
}
