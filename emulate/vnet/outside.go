//go:build linux

package vnet

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Outside4 and Outside6 are the jail's own addresses towards the outside: of
// RFC 2544's benchmark network and of a unique local one, which no host routes.
var (
	Outside4 = netip.AddrFrom4([4]byte{198, 18, 0, 1})
	Outside6 = netip.MustParseAddr("fd6f:7562:6c69::1")
)

// Outside is what lies beyond the jail. Its methods run on the warden's thread and
// do not wait. What comes of a connection it tells by [TCP.Established] or
// [TCP.Refused]; what comes in by itself it brings with [TCP.Arrive] and
// [UDP.Arrive].
type Outside interface {
	Sender
	// Route says whether there is a way to an address that is not the jail's own.
	// ENETUNREACH.
	Route(s Socket, to netip.AddrPort) error
	// Connect begins to connect s, to an address outside or one of the jail's own
	// where nobody listens. An error refuses at once.
	Connect(s *TCP, to netip.AddrPort) error
	// Listen is told that s has begun to listen. What it returns, if not nil, may
	// wait and is to be run elsewhere; its error is listen(2)'s.
	Listen(s *TCP) func() error
}

// Sender takes over datagrams that nobody in the jail takes. ECONNREFUSED: nobody
// outside either.
type Sender interface {
	Send(s *UDP, to netip.AddrPort, data []byte) error
}

// route is where reaches looks beyond the jail. ENETUNREACH.
func (s *inet) route(to netip.AddrPort) error {
	switch u, _ := s.self.(*UDP); {
	case u != nil && u.Given != nil:
		return nil
	case s.net.Outside == nil:
		return s.net.missed(s.self, to, nil, unix.ENETUNREACH)
	}
	return s.net.Outside.Route(s.self, to)
}

// beyond begins to connect s to somebody outside.
func (s *TCP) beyond(to netip.AddrPort) {
	var err error
	if s.net.Outside != nil {
		err = s.net.Outside.Connect(s, to)
	} else {
		err = s.net.missed(s, to, nil, unix.ECONNREFUSED)
	}
	if errno, ok := err.(unix.Errno); ok {
		s.fail(errno)
	}
}

// Calls says that s waits for an answer from outside, to its connect(2).
func (s *TCP) Calls() bool { return s.state == connecting && s.listener == nil }

// Established answers a connect(2) and gives the other end of the connection, which
// the outside reads and writes. It has no place among the ports. ENFILE.
func (s *TCP) Established() (*TCP, error) {
	far, err := s.net.farEnd(s.family, s.remote, s.local)
	if err != nil {
		return nil, err
	}
	far.open(s)
	s.open(far)
	s.waiters.Wake()
	return far, nil
}

// Refused answers a connect(2) with an error.
func (s *TCP) Refused(err unix.Errno) { s.fail(err) }

// farSndbuf bounds what waits for a guest beside its own receive buffer.
const farSndbuf = 64 << 10

func (n *Net) farEnd(family int, local, remote netip.AddrPort) (*TCP, error) {
	b, err := n.newBase(family, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	far := newTCP(inet{base: b})
	far.local, far.remote, far.sndbuf = local, remote, farSndbuf
	return far, nil
}

// ListenerAt is who listens at an address, nil for nobody.
func (n *Net) ListenerAt(a netip.AddrPort) *TCP { return n.listenerAt(a) }

// Arrive is a connection from outside to a listener. Its other end, which is
// returned, is connected as soon as the backlog has room: see Waits. The guest sees
// from as whom it is connected to; an IPv4 socket cannot see one of IPv6.
// ECONNREFUSED, ENFILE.
func (s *TCP) Arrive(from, to netip.AddrPort) (*TCP, error) {
	if s.state != listening {
		return nil, unix.ECONNREFUSED
	}
	if s.family == unix.AF_INET && !from.Addr().Is4() {
		ip := Outside4
		if from.Addr().IsLoopback() {
			ip = loopback4
		}
		from = netip.AddrPortFrom(ip, from.Port())
	}
	far, err := s.net.farEnd(s.family, from, to)
	if err != nil {
		return nil, err
	}
	far.state, far.listener = connecting, s
	s.calling = append(s.calling, far)
	s.answer()
	return far, nil
}

// Waits says that a connection from outside waits for room in the backlog.
func (s *TCP) Waits() bool { return s.state == connecting }

// Listens says that s is a listening socket.
func (s *TCP) Listens() bool { return s.state == listening }

// Local is the address that s is bound to.
func (s *inet) Local() netip.AddrPort { return s.local }

// V6Only says that s takes no IPv4.
func (s *inet) V6Only() bool { return s.family == unix.AF_INET6 && s.v6only() }

// Deserted says that nobody has the other end any more.
func (s *TCP) Deserted() bool { return s.peer == nil || s.peer.dead }

// Deserted says that nobody has the other end any more.
func (s *Unix) Deserted() bool { return s.peer == nil || s.peer.dead }

// Abort ends the connection with a RST.
func (s *TCP) Abort() { _ = s.abort() }

// Abort ends the connection.
func (s *Unix) Abort() { _ = s.Close() }

// Unlisten takes a listen(2) back.
func (s *TCP) Unlisten() {
	s.hangUp()
	s.state = closed
}

// familyOf is the family of sockets that have the address a.
func familyOf(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// NewConn makes a connected TCP socket, and the other end for the outside. ENFILE.
func (n *Net) NewConn(local, remote netip.AddrPort) (s, far *TCP, err error) {
	if s, err = n.farEnd(familyOf(local), local, remote); err != nil {
		return nil, nil, err
	}
	s.sndbuf, s.stage = tcpSndbuf, connected
	if far, err = s.Established(); err != nil {
		_ = s.Close()
	}
	return s, far, err
}

// NewListener makes a TCP socket that listens at an address of the outside's, for
// TCP.Arrive. EADDRINUSE, ENFILE.
func (n *Net) NewListener(local netip.AddrPort) (*TCP, error) {
	b, err := n.newBase(familyOf(local), unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	s := newTCP(inet{base: b})
	if err := s.take(local); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.keepAddr, s.keepPort = true, true
	return s, s.Listen(maxBacklog, nil)
}

// NewPacket makes a UDP socket with an address of the outside's, whose datagrams
// all go there; with a valid remote address it is connected. ENFILE.
func (n *Net) NewPacket(local, remote netip.AddrPort, given Sender) (*UDP, error) {
	s, err := n.NewInet(familyOf(local), unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	u := s.(*UDP)
	u.local, u.Given, u.keepAddr, u.keepPort = local, given, true, true
	if remote.IsValid() {
		u.remote, u.state = remote, established
	}
	return u, nil
}

// Arrive is a datagram from outside. One that the socket cannot have is lost.
func (s *UDP) Arrive(from netip.AddrPort, data []byte) {
	if s.dead || s.state == established && s.remote != from || !from.IsValid() || s.family == unix.AF_INET && !from.Addr().Is4() {
		return
	}
	s.deliver(&datagram{from: from, to: s.local, data: data, at: s.net.now()})
}

// Refused is what ICMP tells of an address that s has sent to: udp_err finds the
// socket as one that may receive from there.
func (s *UDP) Refused(from netip.AddrPort, err unix.Errno) {
	switch {
	case s.dead, s.state == established && s.remote != from:
	case s.state == established, s.ints[option{unix.IPPROTO_IP, unix.IP_RECVERR}] != 0:
		s.err = err
		s.waiters.Wake()
	}
}

// Dead says that the socket is closed.
func (s *UDP) Dead() bool { return s.dead }

// send gives a datagram to the outside, if there is one. ECONNREFUSED.
func (s *UDP) send(to netip.AddrPort, data []byte) error {
	switch {
	case s.Given != nil:
		return s.Given.Send(s, to, data)
	case s.net.Outside != nil:
		return s.net.Outside.Send(s, to, data)
	}
	return s.net.missed(s, to, data, unix.ECONNREFUSED)
}

// missed returns err, once it is told.
func (n *Net) missed(s Socket, to netip.AddrPort, data []byte, err error) error {
	if n.Missed != nil {
		n.Missed(s, to, data, err)
	}
	return err
}
