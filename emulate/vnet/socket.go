//go:build linux

package vnet

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Socket is what sockets of all families can do, each a try that does not wait:
// struct proto_ops. How one is bound, connected and sent through depends on what
// its addresses are: see [Unix] and [Addressed].
type Socket interface {
	fdtable.File
	io.ReadWriter // one try of read(2) and write(2)
	fdtable.Poller
	fdtable.Timeouter
	fdtable.Ioctler

	// Family is AF_UNIX and so on, Type SOCK_STREAM and so on.
	Family() int
	Type() int
	// SetIno tells the number of the socket's inode and its owner, which /proc/net
	// shows.
	SetIno(ino uint64, uid uint32)
	// Listen is listen(2), on whose behalf. EOPNOTSUPP, EINVAL, EADDRINUSE.
	Listen(backlog int, cred *Cred) error
	// Accept is accept(2): a connection and the name of its other end.
	// EOPNOTSUPP, EINVAL, EAGAIN: wait for the Queue.
	Accept() (Socket, []byte, error)
	// Sockname is getsockname(2), Peername getpeername(2), as struct sockaddr.
	// ENOTCONN.
	Sockname() []byte
	Peername() ([]byte, error)
	// Shutdown is shutdown(2). EINVAL, ENOTCONN.
	Shutdown(how int) error
	// MayReceive is what a receive checks first. EINVAL, ENOTCONN.
	MayReceive() error
	// Receive takes what is there. EAGAIN: wait for the Queue and try again with
	// the same r. And the pending error, EFAULT.
	Receive(r *Received, t Take) error
	// Option is getsockopt(2): the whole value, of which the caller gives what
	// fits. EOPNOTSUPP (no such level), ENOPROTOOPT.
	Option(level, name int) ([]byte, error)
	// SetOption is setsockopt(2). EOPNOTSUPP, ENOPROTOOPT, EINVAL, EDOM, EPERM
	// without privileges.
	SetOption(level, name int, value []byte, privileged bool) error
}

// Stream is a Socket of a stream of bytes.
type Stream interface {
	Socket
	// MaySend is what a send of n bytes checks before it looks for room; named: it
	// has an address. ENOTCONN, EISCONN, EOPNOTSUPP; EPIPE comes with SIGPIPE.
	// EAGAIN: it is not connected yet.
	MaySend(n uint64, named bool) error
	// HasRoom says whether something can be sent. EPIPE, EAGAIN: wait for the
	// Queue, ENOBUFS, and the pending error.
	HasRoom() error
	// Segment is how much of n bytes goes in one piece.
	Segment(n uint64) int
	// ReceiveUrgent is recv(2) with MSG_OOB. EINVAL: there is none, EAGAIN: it has
	// not come yet, EOPNOTSUPP.
	ReceiveUrgent(peek bool) (byte, error)
	// DeliverNext sends one piece, after HasRoom. It takes over data. EPIPE.
	DeliverNext(data []byte, o *Outgoing) error
}

// Addressed is a Socket whose addresses are struct sockaddr and nothing more.
type Addressed interface {
	Socket
	// Bind is bind(2). EINVAL, EAFNOSUPPORT, EADDRNOTAVAIL, EADDRINUSE.
	Bind(addr []byte) error
	// Connect is connect(2). EINPROGRESS: wait for the Queue, then ask again;
	// EALREADY is the answer then if nothing has happened. EISCONN,
	// ECONNREFUSED, ENETUNREACH, EAFNOSUPPORT, EINVAL.
	Connect(addr []byte) error
}

// Messenger is an Addressed Socket of messages.
type Messenger interface {
	Addressed
	// Send sends one message, to its peer if to is nil. It takes over data.
	// EDESTADDRREQ, EMSGSIZE, EPIPE, EINVAL, and the pending error.
	Send(to, data []byte, o *Outgoing) error
}

// state is sk_state as far as it is needed here.
type state int

const (
	closed state = iota
	listening
	connecting // TCP_SYN_SENT
	established
)

// Bits of base.shut, RCV_SHUTDOWN and SEND_SHUTDOWN.
const (
	shutRead  = 1
	shutWrite = 2
	shutBoth  = 3
)

// base is struct sock: what is the same in all families.
type base struct {
	net      *Net
	family   int
	kind     int // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
	protocol int
	ino      uint64
	uid      uint32
	state    state
	dead     bool
	shut     int
	err      unix.Errno // SO_ERROR

	peerCred *Cred
	sndbuf   int
	rcvbuf   int
	lowat    int
	peekOff  int
	options  uint64 // 1<<SO_… for those that are only a bit
	priority uint32
	linger   [2]int32
	timeouts [2]time.Duration // receive, send; 0 for ever

	waiters fdtable.Queue
}

// newBase counts a new socket. ENFILE.
func (n *Net) newBase(family, kind, protocol int) (base, error) {
	if n.sockets >= maxSockets {
		return base{}, unix.ENFILE
	}
	n.sockets++
	return base{net: n, family: family, kind: kind, protocol: protocol,
		sndbuf: defaultBuffer, rcvbuf: defaultBuffer, lowat: 1, peekOff: -1}, nil
}

// Family is the address family.
func (s *base) Family() int { return s.family }

// Type is SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
func (s *base) Type() int { return s.kind }

// SetIno is in [Socket].
func (s *base) SetIno(ino uint64, uid uint32) { s.ino, s.uid = ino, uid }

// Listen and Accept are in [Socket]: of families that have no connections.
func (s *base) Listen(int, *Cred) error         { return unix.EOPNOTSUPP }
func (s *base) Accept() (Socket, []byte, error) { return nil, nil, unix.EOPNOTSUPP }

// MayReceive is in [Socket].
func (s *base) MayReceive() error { return nil }

// Timeout is [fdtable.Timeouter].
func (s *base) Timeout(write bool) time.Duration {
	if write {
		return s.timeouts[1]
	}
	return s.timeouts[0]
}

// Queue is [fdtable.Poller].
func (s *base) Queue() *fdtable.Queue { return &s.waiters }

// takeError is sock_error: the pending error, once.
func (s *base) takeError() error {
	if s.err == 0 {
		return nil
	}
	err := s.err
	s.err = 0
	return err
}
