//go:build linux

package vnet

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// maxDatagram is the longest UDP payload over IPv4; over IPv6 it is the same but
// for the header.
const (
	maxDatagram  = 65535 - 20 - 8
	maxDatagram6 = 65535 - 8
)

// UDP is a udp(7) socket.
type UDP struct {
	inet
	queue  []datagram
	rmem   int // truesize of the queue
	groups []netip.Addr

	Given Sender // whose socket it is, see NewPacket
}

// datagram is one that waits to be received.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
	at       time.Duration // since the epoch
	tos, ttl int32
}

func (d *datagram) truesize() int { return headSize(len(d.data) + 42) }

// Peername is in [Socket].
func (s *UDP) Peername() ([]byte, error) {
	if s.remote.Port() == 0 {
		return nil, unix.ENOTCONN
	}
	return s.sockaddr(s.remote), nil
}

// destination is the address that a datagram names. EINVAL, EAFNOSUPPORT,
// EDESTADDRREQ.
func (s *UDP) destination(p []byte) (netip.AddrPort, error) {
	if s.family == unix.AF_INET6 && family(p) == unix.AF_INET {
		switch {
		case len(p) < sockaddrIn:
			return netip.AddrPort{}, unix.EINVAL
		case s.v6only():
			return netip.AddrPort{}, unix.ENETUNREACH
		}
		return s.target(parseAny(p)), nil
	}
	a, err := s.parse(p)
	if err == unix.EAFNOSUPPORT && s.family == unix.AF_INET && family(p) == unix.AF_UNSPEC {
		p = slices.Clone(p)
		p[0] = unix.AF_INET
		a, err = s.parse(p)
	}
	if err != nil {
		return a, err
	}
	return s.target(a), nil
}

// Connect is ip4_datagram_connect: it names the only peer, AF_UNSPEC none.
// EINVAL, EAFNOSUPPORT, ENETUNREACH, EACCES.
func (s *UDP) Connect(p []byte) error {
	switch {
	case len(p) < 2:
		return unix.EINVAL
	case family(p) == unix.AF_UNSPEC:
		s.disconnect()
		return nil
	}
	to, err := s.destination(p)
	if err != nil {
		return err
	}
	if err := s.maySendTo(to); err != nil {
		return err
	}
	if err := s.autobind(); err != nil {
		return err
	}
	s.remote, s.state = to, established
	s.local = netip.AddrPortFrom(s.source(to.Addr()), s.local.Port())
	return nil
}

// disconnect is __udp_disconnect: an address and a port that connect chose go.
func (s *UDP) disconnect() {
	s.remote, s.state = s.nowhere(), closed
	s.release()
}

// maySendTo is the routing of udp_sendmsg. EACCES, ENETUNREACH.
func (s *UDP) maySendTo(to netip.AddrPort) error {
	switch ip := to.Addr(); {
	case ip == broadcast:
		if s.options>>unix.SO_BROADCAST&1 == 0 {
			return unix.EACCES
		}
		return unix.ENETUNREACH
	case ip.IsMulticast():
		return nil
	}
	return s.reaches(to)
}

// Send is udp_sendmsg. EMSGSIZE, EDESTADDRREQ, EINVAL, ENETUNREACH, EPIPE, and
// the pending error.
func (s *UDP) Send(p, data []byte, o *Outgoing) error {
	to := s.remote
	switch {
	case len(data) > 0xffff:
		return unix.EMSGSIZE
	case p != nil:
		var err error
		if to, err = s.destination(p); err != nil {
			return err
		}
		if to.Port() == 0 {
			return unix.EINVAL
		}
	case s.state != established:
		return unix.EDESTADDRREQ
	}
	d := datagram{to: to, data: data, at: s.net.now()}
	if err := s.header(&d, o.Control); err != nil {
		return err
	}
	if err := s.maySendTo(to); err != nil {
		return err
	}
	if to.Addr().Is4() && len(data) > maxDatagram || len(data) > maxDatagram6 {
		return unix.EMSGSIZE
	}
	if err := s.autobind(); err != nil {
		return err
	}
	if err := s.takeError(); err != nil {
		return err
	}
	if s.shut&shutWrite != 0 {
		return unix.EPIPE
	}
	d.from = netip.AddrPortFrom(s.source(to.Addr()), s.local.Port())
	if to.Addr().IsMulticast() && s.Given == nil {
		s.multicast(&d)
		return nil
	}
	if found := s.udpAt(to, d.from); found != nil && s.Given == nil {
		found.deliver(&d)
	} else if s.send(to, data) == unix.ECONNREFUSED {
		s.Refused(to, unix.ECONNREFUSED)
	}
	return nil
}

// udpAt is __udp4_lib_lookup: the socket that matches best, of several that match
// alike the last one.
func (s *UDP) udpAt(to, from netip.AddrPort) *UDP {
	var best *UDP
	most := -1
	for _, o := range s.table()[to.Port()] {
		if !o.accepts(to.Addr()) || o.state == established && o.remote != from {
			continue
		}
		score := 0
		if o.state == established {
			score += 4
		}
		if !o.local.Addr().IsUnspecified() {
			score += 2
		}
		if o.local.Addr().Is4() == to.Addr().Is4() {
			score++
		}
		if score >= most {
			best, most = o.self.(*UDP), score
		}
	}
	return best
}

// deliver queues d, or drops it as a full socket does.
func (s *UDP) deliver(d *datagram) {
	if s.rmem > s.rcvbuf || s.net.bytes >= maxBytes {
		return
	}
	s.rmem += d.truesize()
	s.net.bytes += d.truesize()
	s.queue = append(s.queue, *d)
	s.waiters.WakeFor(pollIn)
}

// Receive is udp_recvmsg without the waiting.
func (s *UDP) Receive(r *Received, t Take) error {
	if err := s.takeError(); err != nil {
		return err
	}
	if len(s.queue) == 0 {
		if s.shut&shutRead != 0 && !t.Nonblock {
			return nil
		}
		return unix.EAGAIN
	}
	d := s.queue[0]
	r.Name, r.Control = s.sockaddr(d.from), s.control(&d)
	if !t.Peek {
		s.drop()
	}
	return r.give(d.data, t)
}

// drop frees the oldest datagram.
func (s *UDP) drop() {
	size := s.queue[0].truesize()
	s.rmem -= size
	s.net.bytes -= size
	s.queue[0] = datagram{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

// Read is one try of read(2).
func (s *UDP) Read(p []byte) (int, error) {
	var r Received
	err := s.Receive(&r, Take{Size: uint64(len(p)), Nonblock: true,
		Sink: func(_ int, b []byte) (int, error) { return copy(p, b), nil }})
	return r.N, err
}

// Write is one try of write(2).
func (s *UDP) Write(p []byte) (int, error) {
	return len(p), s.Send(nil, slices.Clone(p), new(Outgoing))
}

// Poll is datagram_poll.
func (s *UDP) Poll() fdtable.Events {
	ev := pollOut
	if s.err != 0 {
		ev |= fdtable.Err
	}
	if s.shut&shutRead != 0 {
		ev |= fdtable.RdHup | pollIn
	}
	if s.shut == shutBoth {
		ev |= fdtable.Hup
	}
	if len(s.queue) > 0 {
		ev |= pollIn
	}
	return ev
}

// Shutdown is inet_shutdown: one that is not connected is shut down all the same.
func (s *UDP) Shutdown(how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	s.shut |= how + 1
	s.waiters.Wake()
	if s.state != established {
		return unix.ENOTCONN
	}
	return nil
}

// Close is udp_destroy_sock.
func (s *UDP) Close() error {
	if s.dead {
		return nil
	}
	s.dead = true
	s.net.sockets--
	if s.local.Port() != 0 {
		s.leave()
	}
	for len(s.queue) > 0 {
		s.drop()
	}
	s.waiters.Wake()
	return nil
}

// Ioctl is FIONREAD and SIOCOUTQ, and what interfaces have.
func (s *UDP) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	n := 0
	switch request {
	case unix.TIOCINQ:
		if len(s.queue) > 0 {
			n = len(s.queue[0].data)
		}
	case unix.TIOCOUTQ:
	default:
		return s.ioctl(mem, request, arg)
	}
	return 0, mem.Write(arg, le32(uint32(n)))
}
