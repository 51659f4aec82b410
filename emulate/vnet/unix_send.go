//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Outgoing is what a message carries beside its bytes. Files is taken over by
// whoever accepts the message.
type Outgoing struct {
	Files []*fdtable.Description
	// Sender is who sends; Explicit is SCM_CREDENTIALS, or nil.
	Sender, Explicit *Cred
	// Control is what else sendmsg(2) says.
	Control []Control
	// Urgent is MSG_OOB.
	Urgent bool
}

// Constants of the segments, include/linux/skbuff.h.
const (
	skbHead     = 3776     // SKB_MAX_HEAD(0): a head of one page
	skbPages    = 32 << 10 // UNIX_SKB_FRAGS_SZ
	skbAlloc    = 16064    // SKB_MAX_ALLOC: a head of four pages
	skbFrags    = 17 << 12 // MAX_SKB_FRAGS pages
	skbOverhead = 256      // struct sk_buff
	skbShared   = 320      // struct skb_shared_info
	pageSize    = 4096
)

// headSize is the truesize of a segment of n bytes without pages: kmalloc gives
// powers of two.
func headSize(n int) int {
	size := 512
	for size < (n+63)&^63+skbShared {
		size *= 2
	}
	return size + skbOverhead
}

// truesize is what a message of n bytes counts.
func (s *Unix) truesize(n int) int {
	pages := 0
	switch {
	case s.kind == unix.SOCK_STREAM && n > skbHead:
		pages = min(n, (n-skbHead+pageSize-1)&^(pageSize-1))
	case s.kind != unix.SOCK_STREAM && n > skbAlloc:
		pages = (min(n-skbAlloc, skbFrags) + pageSize - 1) &^ (pageSize - 1)
	}
	return headSize(n-pages) + (pages+pageSize-1)&^(pageSize-1)
}

// Segment is how much of n bytes the next message of a stream takes.
func (s *Unix) Segment(n uint64) int {
	return int(min(n, uint64(s.sndbuf>>1-64), skbHead+skbPages))
}

// MaySend is what a send of n bytes checks before it looks for room. named: it
// has an address. ENOTCONN, EISCONN, EOPNOTSUPP, EMSGSIZE, and EPIPE for a stream,
// which comes with SIGPIPE.
func (s *Unix) MaySend(n uint64, named bool) error {
	switch s.kind {
	case unix.SOCK_STREAM:
		switch {
		case named && s.state == established:
			return unix.EISCONN
		case named:
			return unix.EOPNOTSUPP
		case s.peer == nil:
			return unix.ENOTCONN
		case s.shut&shutWrite != 0:
			return unix.EPIPE
		}
		return nil
	case unix.SOCK_SEQPACKET:
		if err := s.takeError(); err != nil {
			return err
		}
		if s.state != established {
			return unix.ENOTCONN
		}
	default:
		if !named && s.peer == nil {
			return unix.ENOTCONN
		}
	}
	if s.options&(1<<unix.SO_PASSCRED) != 0 {
		if err := s.Autobind(); err != nil {
			return err
		}
	}
	if n > uint64(s.sndbuf-32) {
		return unix.EMSGSIZE
	}
	return nil
}

// HasRoom is sock_alloc_send_pskb. EPIPE, EAGAIN, ENOBUFS, and the pending error.
func (s *Unix) HasRoom() error {
	if err := s.takeError(); err != nil {
		return err
	}
	switch {
	case s.shut&shutWrite != 0:
		return unix.EPIPE
	case s.wmem >= s.sndbuf:
		return unix.EAGAIN
	case s.net.bytes >= maxBytes:
		return unix.ENOBUFS
	}
	return nil
}

// Deliver queues data, one segment or one datagram, at to, or at the peer if to
// is nil; HasRoom said yes. ENOTCONN, EPERM, EPIPE, ECONNREFUSED, and EAGAIN of a
// datagram: wait for to's Room. Takes over data.
func (s *Unix) Deliver(to *Unix, data []byte, o *Outgoing) error {
	connected := to == nil
	if connected {
		to = s.peer
	}
	switch {
	case to == nil:
		return unix.ENOTCONN
	case s.kind == unix.SOCK_STREAM && (to.dead || to.shut&shutRead != 0):
		return unix.EPIPE
	case s.kind != unix.SOCK_STREAM:
		if err := s.mayDeliver(to, connected); err != nil {
			return err
		}
	}
	m := &message{data: data, from: s, files: o.Files, cred: o.Explicit, truesize: s.truesize(len(data))}
	if m.cred == nil && (s.options|to.options)&(1<<unix.SO_PASSCRED) != 0 {
		m.cred = o.Sender
	}
	o.Files = nil
	to.hold(m.files, 1)
	s.wmem += m.truesize
	s.net.bytes += m.truesize
	to.queue = append(to.queue, m)
	to.waiters.WakeFor(pollIn)
	return nil
}

// DeliverNext is in [Stream].
func (s *Unix) DeliverNext(data []byte, o *Outgoing) error { return s.Deliver(nil, data, o) }

// ReceiveUrgent is in [Stream]. EOPNOTSUPP.
func (s *Unix) ReceiveUrgent(bool) (byte, error) { return 0, unix.EOPNOTSUPP }

// mayDeliver is the middle of unix_dgram_sendmsg.
func (s *Unix) mayDeliver(to *Unix, connected bool) error {
	switch {
	case to.peer != nil && to.peer != s:
		return unix.EPERM
	case to.dead && s.kind == unix.SOCK_SEQPACKET:
		return unix.EPIPE
	case to.dead && connected:
		s.peer, s.state = nil, closed
		to.room.Remove(&s.relay)
		s.waiters.WakeFor(pollOut)
		s.parted(to)
		return unix.ECONNREFUSED
	case to.dead:
		return unix.ECONNREFUSED
	case to.shut&shutRead != 0:
		return unix.EPIPE
	case to.crowded(s):
		if connected {
			to.room.Add(&s.relay)
		}
		return unix.EAGAIN
	}
	return nil
}

// Write is one try of write(2) without credentials; package emulate sends with
// them.
func (s *Unix) Write(p []byte) (int, error) {
	if err := s.MaySend(uint64(len(p)), false); err != nil {
		return 0, err
	}
	if s.kind == unix.SOCK_STREAM {
		p = p[:s.Segment(uint64(len(p)))]
		if len(p) == 0 {
			return 0, nil
		}
	}
	err := s.HasRoom()
	if err == nil {
		err = s.Deliver(nil, append([]byte(nil), p...), &Outgoing{})
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}
