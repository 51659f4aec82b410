//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// dgramBacklog is net.unix.max_dgram_qlen: one more than so many datagrams of
// others wait at a socket.
const dgramBacklog = 10

// Unix is one end of AF_UNIX: struct sock.
type Unix struct {
	base
	addr *address
	owns bool  // addr is in the tables under this socket
	peer *Unix // a dead one stays, and has none itself

	queue    []*message
	pending  []*Unix // connected, not accepted
	listener *Unix   // in whose pending this one is
	backlog  int     // more than so many are full: datagrams, or connections
	wmem     int     // truesize of what this socket has sent and nobody read

	// room is peer_wait: woken when a message or connection was taken, for those
	// who found the queue full. relay passes that on to a connected sender.
	room  fdtable.Queue
	relay fdtable.Waiter
}

// message is struct sk_buff.
type message struct {
	data     []byte
	off      int // stream: read so far
	from     *Unix
	cred     *Cred
	files    []*fdtable.Description
	truesize int
}

// New makes an unconnected AF_UNIX socket of type SOCK_STREAM, SOCK_DGRAM or
// SOCK_SEQPACKET. ENFILE.
func (n *Net) New(kind int) (*Unix, error) {
	b, err := n.newBase(unix.AF_UNIX, kind, 0)
	if err != nil {
		return nil, err
	}
	s := &Unix{base: b, backlog: dgramBacklog}
	s.relay = fdtable.Waiter{Woken: func() {
		if s.peer != nil {
			s.peer.room.Remove(&s.relay)
		}
		s.waiters.WakeFor(pollOut)
	}}
	if n.unix == nil {
		n.unix = make(map[*Unix]bool)
	}
	n.unix[s] = true
	return s, nil
}

// Pair is socketpair(2).
func (n *Net) Pair(kind int, cred *Cred) (a, b *Unix, err error) {
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

// Room is woken when something was taken from s's queue.
func (s *Unix) Room() *fdtable.Queue { return &s.room }

const (
	pollIn  = fdtable.In | fdtable.RdNorm
	pollOut = fdtable.Out | fdtable.WrNorm | 0x200 // POLLWRBAND
)

// Poll is unix_poll and unix_dgram_poll.
func (s *Unix) Poll() fdtable.Events {
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
func (s *Unix) writable() bool { return s.state != listening && 4*s.wmem <= s.sndbuf }

// full is unix_recvq_full.
func (s *Unix) full() bool { return len(s.queue)+len(s.pending) > s.backlog }

// crowded reports whether a datagram of from's must wait: two sockets connected
// to each other are bounded by their send buffers alone.
func (s *Unix) crowded(from *Unix) bool { return s != from && s.peer != from && s.full() }

// Close is unix_release_sock.
func (s *Unix) Close() error {
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
func (s *Unix) close(unaccepted bool) {
	was := s.state
	s.unbind()
	s.dead, s.shut, s.state = true, shutBoth, closed
	s.net.sockets--
	delete(s.net.unix, s)
	if p := s.peer; p != nil {
		if s.kind != unix.SOCK_DGRAM {
			p.shut = shutBoth
			if len(s.queue) > 0 || unaccepted {
				p.err = unix.ECONNRESET
			}
			p.waiters.Wake()
		}
		p.room.Remove(&s.relay)
		s.peer = nil
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
func (s *Unix) Shutdown(how int) error {
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
