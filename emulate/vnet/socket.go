//go:build linux

package vnet

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// state is sk_state as far as AF_UNIX uses it.
type state int

const (
	closed state = iota
	listening
	established
)

// Bits of Socket.shut, RCV_SHUTDOWN and SEND_SHUTDOWN.
const (
	shutRead  = 1
	shutWrite = 2
	shutBoth  = 3
)

// dgramBacklog is net.unix.max_dgram_qlen: one more than so many datagrams of
// others wait at a socket.
const dgramBacklog = 10

// Socket is one end: struct sock.
type Socket struct {
	net   *Net
	kind  int // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
	state state
	addr  *address
	owns  bool    // addr is in the tables under this socket
	peer  *Socket // dead ones stay, except of datagram sockets
	dead  bool
	shut  int
	err   unix.Errno // SO_ERROR

	queue    []*message
	pending  []*Socket // connected, not accepted
	listener *Socket   // in whose pending this one is
	backlog  int       // more than so many are full: datagrams, or connections
	wmem     int       // truesize of what this socket has sent and nobody read

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
	// room is peer_wait: woken when a message or connection was taken, for those
	// who found the queue full. relay passes that on to a connected sender.
	room  fdtable.Queue
	relay fdtable.Waiter
}

// message is struct sk_buff.
type message struct {
	data     []byte
	off      int // stream: read so far
	from     *Socket
	cred     *Cred
	files    []*fdtable.Description
	truesize int
}

// New makes an unconnected socket of type SOCK_STREAM, SOCK_DGRAM or
// SOCK_SEQPACKET. ENFILE.
func (n *Net) New(kind int) (*Socket, error) {
	if n.sockets >= maxSockets {
		return nil, unix.ENFILE
	}
	n.sockets++
	s := &Socket{net: n, kind: kind, backlog: dgramBacklog, sndbuf: defaultBuffer, rcvbuf: defaultBuffer, lowat: 1, peekOff: -1}
	s.relay = fdtable.Waiter{Woken: func() {
		if s.peer != nil {
			s.peer.room.Remove(&s.relay)
		}
		s.waiters.WakeFor(pollOut)
	}}
	return s, nil
}

// Pair is socketpair(2).
func (n *Net) Pair(kind int, cred *Cred) (a, b *Socket, err error) {
	if a, err = n.New(kind); err != nil {
		return nil, nil, err
	}
	if b, err = n.New(kind); err != nil {
		_ = a.Close()
		return nil, nil, err
	}
	a.peer, b.peer = b, a
	a.peerCred, b.peerCred = cred, cred
	a.state, b.state = established, established
	return a, b, nil
}

// Type is SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
func (s *Socket) Type() int { return s.kind }

// Listening reports SO_ACCEPTCONN.
func (s *Socket) Listening() bool { return s.state == listening }

// Timeout is [fdtable.Timeouter].
func (s *Socket) Timeout(write bool) time.Duration {
	if write {
		return s.timeouts[1]
	}
	return s.timeouts[0]
}

// Room is woken when something was taken from s's queue.
func (s *Socket) Room() *fdtable.Queue { return &s.room }

// Queue is [fdtable.Poller].
func (s *Socket) Queue() *fdtable.Queue { return &s.waiters }

const (
	pollIn  = fdtable.In | fdtable.RdNorm
	pollOut = fdtable.Out | fdtable.WrNorm | 0x200 // POLLWRBAND
)

// Poll is unix_poll and unix_dgram_poll.
func (s *Socket) Poll() fdtable.Events {
	var ev fdtable.Events
	if s.err != 0 {
		ev |= fdtable.Err
	}
	if s.shut == shutBoth || s.kind != unix.SOCK_DGRAM && s.state == closed {
		ev |= fdtable.Hup
	}
	if s.shut&shutRead != 0 {
		ev |= fdtable.RdHup | pollIn
	}
	if len(s.queue) > 0 || len(s.pending) > 0 {
		ev |= pollIn
	}
	switch {
	case !s.writable():
	case s.kind != unix.SOCK_STREAM && s.peer != nil && s.peer.crowded(s):
		s.peer.room.Add(&s.relay)
	default:
		ev |= pollOut
	}
	return ev
}

// writable is unix_writable: three quarters of the buffer are free.
func (s *Socket) writable() bool { return s.state != listening && 4*s.wmem <= s.sndbuf }

// full is unix_recvq_full.
func (s *Socket) full() bool { return len(s.queue)+len(s.pending) > s.backlog }

// crowded reports whether a datagram of from's must wait: two sockets connected
// to each other are bounded by their send buffers alone.
func (s *Socket) crowded(from *Socket) bool { return s != from && s.peer != from && s.full() }

// takeError is sock_error: the pending error, once.
func (s *Socket) takeError() error {
	if s.err == 0 {
		return nil
	}
	err := s.err
	s.err = 0
	return err
}

// Close is unix_release_sock.
func (s *Socket) Close() error {
	if s.dead {
		return nil
	}
	s.close(false)
	if s.net.closes++; s.net.closes*closesPerCollect >= len(s.net.inFlight) {
		s.net.Collect()
	}
	return nil
}

// close ends s; unaccepted says that nobody ever had it.
func (s *Socket) close(unaccepted bool) {
	was := s.state
	s.unbind()
	s.dead, s.shut, s.state = true, shutBoth, closed
	s.net.sockets--
	if p := s.peer; p != nil {
		if s.kind != unix.SOCK_DGRAM {
			p.shut = shutBoth
			if len(s.queue) > 0 || unaccepted {
				p.err = unix.ECONNRESET
			}
			p.waiters.Wake()
		}
		p.room.Remove(&s.relay)
	}
	s.room.Wake()
	s.purge()
	if was == listening {
		for _, c := range s.pending {
			c.close(true)
		}
		s.pending = nil
	}
	s.waiters.Wake()
}

// Shutdown is shutdown(2). EINVAL.
func (s *Socket) Shutdown(how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	mode := how + 1
	s.shut |= mode
	if p := s.peer; p != nil && s.kind != unix.SOCK_DGRAM && !p.dead {
		p.shut |= mode>>1 | mode<<1&shutWrite
		p.waiters.Wake()
	}
	s.waiters.Wake()
	return nil
}
