//go:build linux

package vnet

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Listen is inet_csk_listen_start. EINVAL, EADDRINUSE.
func (s *TCP) Listen(backlog int, _ *Cred) error {
	if s.stage != unconnected {
		return unix.EINVAL
	}
	if uint32(backlog) > maxBacklog {
		backlog = maxBacklog
	}
	s.backlog = backlog
	if s.state == listening {
		s.answer()
		return nil
	}
	if s.local.Port() == 0 {
		if err := s.autobind(); err != nil {
			return unix.EADDRINUSE
		}
	}
	s.state = listening
	if !s.free() {
		s.state = closed
		return unix.EADDRINUSE
	}
	return nil
}

// listenerAt is __inet_lookup_listener: the best of those that listen at a, of a
// SO_REUSEPORT group the one with the shortest queue.
func (n *Net) listenerAt(a netip.AddrPort) *TCP {
	var best *TCP
	most := -1
	for _, o := range n.ports[tcpPorts][a.Port()] {
		if o.state != listening || !o.accepts(a.Addr()) {
			continue
		}
		score := 0
		if !o.local.Addr().IsUnspecified() {
			score += 2
		}
		if o.local.Addr().Is4() == a.Addr().Is4() {
			score++
		}
		l := o.self.(*TCP)
		if score > most || score == most && len(l.pending) < len(best.pending) {
			best, most = l, score
		}
	}
	return best
}

// Connect is __inet_stream_connect without the waiting.
func (s *TCP) Connect(p []byte) error {
	switch {
	case len(p) < 2:
		return unix.EINVAL
	case family(p) == unix.AF_UNSPEC:
		s.disconnect()
		return nil
	case s.stage == trying:
		return s.outcome()
	case s.stage == disconnecting:
		return unix.EINVAL
	case s.stage == connected, s.state == listening:
		return unix.EISCONN
	}
	to, err := s.parse(p)
	if err != nil {
		return err
	}
	to = s.target(to)
	if to.Addr().IsMulticast() || to.Addr() == broadcast {
		return unix.ENETUNREACH
	}
	return s.call(to)
}

// outcome is what a connect that was begun has come to. EALREADY, ECONNABORTED,
// and the pending error.
func (s *TCP) outcome() error {
	switch s.state {
	case connecting:
		return unix.EALREADY
	case established:
		s.stage = connected
		return nil
	}
	err := s.takeError()
	if err == nil {
		err = unix.ECONNABORTED
	}
	s.disconnect()
	return err
}

// call is tcp_v4_connect: it sends the SYN. EINPROGRESS, ENETUNREACH,
// EADDRNOTAVAIL.
func (s *TCP) call(to netip.AddrPort) error {
	if err := s.reaches(to); err != nil {
		return err
	}
	from := netip.AddrPortFrom(s.source(to.Addr()), s.local.Port())
	if s.local.Port() == 0 {
		if err := s.take(from); err != nil {
			return unix.EADDRNOTAVAIL
		}
	}
	s.local = netip.AddrPortFrom(from.Addr(), s.local.Port())
	s.remote, s.state, s.stage, s.err = to, connecting, trying, 0
	l := s.net.listenerAt(to)
	if l == nil {
		s.beyond(to)
		return unix.EINPROGRESS
	}
	s.listener = l
	l.calling = append(l.calling, s)
	l.answer()
	return unix.EINPROGRESS
}

// fail ends a connection or the try to make one: tcp_reset.
func (s *TCP) fail(err unix.Errno) {
	s.err, s.state, s.shut = err, closed, shutBoth
	s.waiters.Wake()
}

// answer completes what connections the backlog has room for.
func (s *TCP) answer() {
	for len(s.calling) > 0 && len(s.pending) <= s.backlog {
		c := s.calling[0]
		s.calling = s.calling[1:]
		c.listener = nil
		b, err := s.net.newBase(s.family, s.kind, s.protocol)
		if err != nil {
			c.fail(unix.ECONNREFUSED)
			continue
		}
		end := newTCP(inet{base: b})
		end.inherit(s)
		end.local, end.remote = c.remote, c.local
		end.join()
		end.open(c)
		c.open(end)
		c.waiters.Wake()
		end.listener = s
		s.pending = append(s.pending, end)
		s.waiters.WakeFor(pollIn)
	}
	if len(s.calling) == 0 {
		s.calling = nil
	}
}

// inherit is sk_clone_lock: an accepted socket has its listener's options.
func (s *TCP) inherit(l *TCP) {
	s.options, s.priority, s.linger, s.timeouts, s.lowat = l.options, l.priority, l.linger, l.timeouts, l.lowat
	s.rcvbuf, s.sndbuf, s.congestion = l.rcvbuf, l.sndbuf, l.congestion
	s.keepAddr, s.keepPort = l.keepAddr, l.keepPort
	for k, v := range l.ints {
		s.setInt(k, v)
	}
}

// open makes s one end of a connection.
func (s *TCP) open(peer *TCP) {
	s.peer, s.state = peer, established
	if s.sndbuf == tcpSndbuf {
		s.sndbuf = tcpSndbufOpen
	}
}

// Accept is inet_csk_accept.
func (s *TCP) Accept() (Socket, []byte, error) {
	if s.state != listening {
		return nil, nil, unix.EINVAL
	}
	if len(s.pending) == 0 {
		return nil, nil, unix.EAGAIN
	}
	end := s.pending[0]
	s.pending[0], end.listener, end.stage = nil, nil, connected
	if s.pending = s.pending[1:]; len(s.pending) == 0 {
		s.pending = nil
	}
	s.answer()
	return end, end.sockaddr(end.remote), nil
}
