//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// unsent is sk_wmem_queued: what the peer's window had no room for.
func (s *TCP) unsent() int {
	if s.peer == nil || s.peer.peer != s {
		return 0
	}
	return max(s.peer.queued-s.peer.rcvbuf, 0)
}

// writable is sk_stream_is_writeable: a third of the buffer is free.
func (s *TCP) writable() bool {
	u := s.unsent()
	return s.sndbuf-u >= u/2 && !s.full()
}

// full says that s must wait because the jail's sockets hold too much; a page each
// may always have, so that none waits for ever.
func (s *TCP) full() bool {
	return s.net.bytes >= maxBytes && s.peer != nil && s.peer.queued >= pageSize
}

// MaySend is in [Stream]; an address is ignored.
func (s *TCP) MaySend(uint64, bool) error {
	switch {
	case s.state == connecting:
		return unix.EAGAIN
	case s.state == established && s.shut&shutWrite == 0 && s.err == 0:
		return nil
	}
	if err := s.takeError(); err != nil {
		return err
	}
	return unix.EPIPE
}

// HasRoom is in [Stream].
func (s *TCP) HasRoom() error {
	switch {
	case s.err != 0 || s.shut&shutWrite != 0:
		return s.MaySend(0, false)
	case s.unsent() >= s.sndbuf || s.full():
		return unix.EAGAIN
	}
	return nil
}

// Segment is in [Stream].
func (s *TCP) Segment(n uint64) int {
	if s.net.bytes >= maxBytes {
		return int(min(n, pageSize))
	}
	return int(min(n, tcpSegment))
}

// DeliverNext is in [Stream]. A peer that is closed, or has shut down both
// directions, answers with a RST (tcp_rcv_state_process).
func (s *TCP) DeliverNext(data []byte, o *Outgoing) error {
	p := s.peer
	deaf := p != nil && s.fin && p.shut&shutRead != 0
	if p == nil || p.dead || p.state != established || deaf {
		if deaf && !p.dead {
			s.reset()
		}
		err := unix.ECONNRESET
		if s.fin {
			err = unix.EPIPE
		}
		s.fail(err)
		return nil
	}
	if o.Urgent && len(data) > 0 {
		if p.atMark() && !p.inline() { // tcp_check_urg: the one before is lost
			p.consume(1)
		}
		p.urgent = urgent{urgentThere, p.queued + len(data) - 1, data[len(data)-1]}
	}
	p.put(data)
	return nil
}

// put queues data, small pieces together.
func (s *TCP) put(data []byte) {
	if len(data) == 0 {
		return
	}
	s.queued += len(data)
	s.net.bytes += len(data)
	if last := len(s.queue) - 1; last >= 0 && len(s.queue[last])+len(data) <= 16<<10 {
		s.queue[last] = append(s.queue[last], data...)
	} else {
		s.queue = append(s.queue, data)
	}
	s.waiters.WakeFor(pollIn)
}

// MayReceive is in [Socket].
func (s *TCP) MayReceive() error {
	if s.state == listening {
		return unix.ENOTCONN
	}
	return nil
}

// Receive is tcp_recvmsg_locked without the waiting.
func (s *TCP) Receive(r *Received, t Take) error {
	i, off, pos := 0, s.off, 0 // pos counts from the first unread byte
	if t.Peek {
		r.N = 0 // of a try before
	}
	for i < len(s.queue) && uint64(r.N) < t.Size {
		data := s.queue[i][off:]
		data = data[:min(uint64(len(data)), t.Size-uint64(r.N))]
		skip := false
		if mark := s.urgent.at - pos; s.urgent.state != urgentNone && mark < len(data) {
			switch {
			case mark > 0:
				data = data[:mark]
			case mark == 0 && r.N > 0:
				return nil
			case mark == 0 && !s.inline():
				data, skip = data[:1], true
			}
		}
		took, err := len(data), error(nil)
		if !t.Discard && !skip {
			took, err = t.sink(r.N, data)
		}
		if err != nil {
			if r.N > 0 && err == unix.EFAULT {
				err = nil
			}
			return err
		}
		if !skip {
			r.N += took
		}
		if !t.Peek {
			s.consume(took)
			off = s.off
		} else if off, pos = off+took, pos+took; off == len(s.queue[i]) {
			i, off = i+1, 0
		}
	}
	return s.ran(r, t)
}

// consume takes n bytes of the first piece away, whose memory is free when none is
// left.
func (s *TCP) consume(n int) {
	s.off += n
	s.queued -= n
	if s.urgent.at -= n; s.urgent.at < 0 {
		s.urgent = urgent{}
	}
	if s.off == len(s.queue[0]) {
		s.net.bytes -= s.off
		s.queue[0], s.off = nil, 0
		if s.queue = s.queue[1:]; len(s.queue) == 0 {
			s.queue = nil
		}
	}
	if p := s.peer; p != nil && !p.dead && p.writable() {
		p.waiters.WakeFor(fdtable.Out | fdtable.WrNorm)
	}
}

// ran says what it means that the queue ran out.
func (s *TCP) ran(r *Received, t Take) error {
	least := s.lowat
	if t.All {
		least = int(min(t.Size, 1<<31))
	}
	switch {
	case t.Size == 0, uint64(r.N) >= t.Size, r.N >= least && r.N > 0:
		return nil
	case s.fin, s.err != 0 && r.N > 0:
		return nil
	case s.err != 0:
		return s.takeError()
	case s.shut&shutRead != 0:
		return nil
	case s.state == closed:
		return unix.ENOTCONN
	}
	return unix.EAGAIN
}

// purge drops what nobody will read.
func (s *TCP) purge() {
	s.net.bytes -= s.off + s.queued
	s.queue, s.off, s.queued, s.urgent = nil, 0, 0, urgent{}
}

// Read is one try of read(2).
func (s *TCP) Read(p []byte) (int, error) {
	if err := s.MayReceive(); err != nil {
		return 0, err
	}
	var r Received
	err := s.Receive(&r, Take{Size: uint64(len(p)), Nonblock: true,
		Sink: func(done int, b []byte) (int, error) { return copy(p[done:], b), nil }})
	if r.N > 0 {
		err = nil
	}
	return r.N, err
}

// Write is one try of write(2).
func (s *TCP) Write(p []byte) (int, error) {
	if err := s.MaySend(uint64(len(p)), false); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.HasRoom(); err != nil {
		return 0, err
	}
	p = p[:s.Segment(uint64(len(p)))]
	return len(p), s.DeliverNext(append([]byte(nil), p...), new(Outgoing))
}
