//go:build linux

package vnet

import "golang.org/x/sys/unix"

// maxBacklog is net.core.somaxconn.
const maxBacklog = 4096

// Listen is listen(2). EOPNOTSUPP, EINVAL.
func (s *Unix) Listen(backlog int, cred *Cred) error {
	switch {
	case s.kind == unix.SOCK_DGRAM:
		return unix.EOPNOTSUPP
	case s.addr == nil || s.state == established:
		return unix.EINVAL
	}
	if uint32(backlog) > maxBacklog {
		backlog = maxBacklog
	}
	if backlog > s.backlog {
		s.room.Wake()
	}
	s.backlog, s.state, s.peerCred = backlog, listening, cred
	return nil
}

// Connect is connect(2) of a stream or seqpacket socket to a listening one.
// ECONNREFUSED, EAGAIN (its backlog is full: wait for its Room), EISCONN, EINVAL,
// ENFILE.
func (s *Unix) Connect(to *Unix, cred *Cred) error {
	switch {
	case to.state != listening || to.shut&shutRead != 0:
		return unix.ECONNREFUSED
	case to.full():
		return unix.EAGAIN
	case s.state == established:
		return unix.EISCONN
	case s.state == listening:
		return unix.EINVAL
	}
	end, err := s.net.New(s.kind)
	if err != nil {
		return err
	}
	end.state, end.peer, end.addr, end.peerCred = established, s, to.addr, cred
	end.options = to.options & (1 << unix.SO_PASSCRED)
	s.state, s.peer, s.peerCred = established, end, to.peerCred
	to.pending, end.listener = append(to.pending, end), to
	to.waiters.WakeFor(pollIn)
	return nil
}

// ConnectDatagram makes to the only peer of a datagram socket, or none if to is
// nil. EPERM: to is connected to another.
func (s *Unix) ConnectDatagram(to *Unix) error {
	if to != nil && to.peer != nil && to.peer != s {
		return unix.EPERM
	}
	old := s.peer
	s.peer, s.state = to, closed
	if to != nil {
		s.state, to.state = established, established
	}
	if old == nil || old == to {
		return nil
	}
	old.room.Remove(&s.relay)
	s.waiters.WakeFor(pollOut)
	s.parted(old)
	if old.peer == nil {
		old.state = closed
	}
	return nil
}

// parted is unix_dgram_disconnected: what came from the old peer is lost, and it
// is told if it still thinks that s is its peer.
func (s *Unix) parted(old *Unix) {
	if len(s.queue) == 0 {
		return
	}
	s.purge()
	s.room.Wake()
	if !old.dead && old.peer == s {
		old.err = unix.ECONNRESET
		old.waiters.Wake()
	}
}

// Accept is accept(2). EOPNOTSUPP, EINVAL, EAGAIN.
func (s *Unix) Accept() (Socket, []byte, error) {
	switch {
	case s.kind == unix.SOCK_DGRAM:
		return nil, nil, unix.EOPNOTSUPP
	case s.state != listening:
		return nil, nil, unix.EINVAL
	}
	if err := s.takeError(); err != nil {
		return nil, nil, err
	}
	switch {
	case len(s.pending) > 0:
	case s.shut&shutRead != 0:
		return nil, nil, unix.EINVAL
	default:
		return nil, nil, unix.EAGAIN
	}
	end := s.pending[0]
	end.listener = nil
	if s.pending = s.pending[1:]; len(s.pending) == 0 {
		s.pending = nil
	}
	s.room.Wake()
	return end, end.peer.Sockname(), nil
}

// Peername is the name of whom s is connected to, dead or alive. ENOTCONN.
func (s *Unix) Peername() ([]byte, error) {
	if s.peer == nil {
		return nil, unix.ENOTCONN
	}
	return s.peer.Sockname(), nil
}

// Peer is whom s is connected to, dead or alive. ENOTCONN.
func (s *Unix) Peer() (*Unix, error) {
	if s.peer == nil {
		return nil, unix.ENOTCONN
	}
	return s.peer, nil
}
