//go:build linux

package vnet

import (
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Received is what came with the bytes of one recvmsg(2).
type Received struct {
	N         int    // bytes that sink took
	Length    int    // of the datagram they are of
	Truncated bool   // MSG_TRUNC
	Flags     uint32 // other MSG_ flags
	Name      []byte // whom it is from, as struct sockaddr; nil: nobody says
	Cred      *Cred  // as the message had it, nil: none
	// Files are the caller's to release.
	Files []*fdtable.Description
	// Control is what else recvmsg(2) tells.
	Control []Control

	from *Unix // nil if nothing was there
}

// Control is one control message, cmsg(3).
type Control struct {
	Level, Type int32
	Data        []byte
}

// MayReceive is what a receive checks first. EINVAL, ENOTCONN.
func (s *Unix) MayReceive() error {
	switch {
	case s.kind == unix.SOCK_STREAM && s.state != established:
		return unix.EINVAL
	case s.kind == unix.SOCK_SEQPACKET && s.state != established:
		return unix.ENOTCONN
	}
	return nil
}

// Take says how to receive.
type Take struct {
	Size     uint64 // at most so many bytes
	Peek     bool
	Nonblock bool // the caller will not wait
	All      bool // MSG_WAITALL
	Discard  bool // MSG_TRUNC: TCP's bytes are taken and not given
	// Sink is told how many bytes came before. What it does not take is EFAULT,
	// and lost with its datagram.
	Sink func(done int, p []byte) (int, error)
}

// sink gives bytes that come after done others. EFAULT: not all were taken.
func (t *Take) sink(done int, p []byte) (took int, err error) {
	if took, err = t.Sink(done, p); err == nil && took < len(p) {
		err = unix.EFAULT
	}
	return took, err
}

// give is the one datagram that a receive gives, cut to its size. EFAULT.
func (r *Received) give(p []byte, t Take) (err error) {
	r.Length, r.Truncated = len(p), uint64(len(p)) > t.Size
	r.N, err = t.sink(0, p[:min(uint64(len(p)), t.Size)])
	return err
}

// Receive is one try: of a stream it takes what there is until the credentials
// change or descriptors came, of others one datagram. EAGAIN: not enough there; a
// stream may have given a part, and the next try with the same r goes on behind it.
// And the pending error, EFAULT.
func (s *Unix) Receive(r *Received, t Take) error {
	if s.kind == unix.SOCK_STREAM {
		return s.receiveStream(r, t)
	}
	if err := s.takeError(); err != nil {
		return err
	}
	skip, i := s.peekAt(t.Peek)
	if i >= len(s.queue) {
		if s.shut&shutRead != 0 && (!t.Nonblock || s.kind == unix.SOCK_SEQPACKET) {
			return nil
		}
		return unix.EAGAIN
	}
	m := s.queue[i]
	data := m.data[skip:]
	r.from, r.Cred, r.Name = m.from, m.cred, m.from.named()
	r.Files = s.take(m, t.Peek)
	if !t.Peek {
		s.drop(i)
		s.room.Wake()
	}
	err := r.give(data, t)
	s.moveOffset(t.Peek, r.N, r.Length)
	return err
}

// peekAt is where the next read begins: so many bytes into message i.
func (s *Unix) peekAt(peek bool) (skip, i int) {
	if !peek || s.peekOff <= 0 {
		return 0, 0
	}
	skip = s.peekOff
	for i < len(s.queue) && skip > 0 && skip >= len(s.queue[i].unread()) {
		skip -= len(s.queue[i].unread())
		i++
	}
	return skip, i
}

// moveOffset is sk_peek_offset_fwd and _bwd: SO_PEEK_OFF counts from what is
// still there.
func (s *Unix) moveOffset(peek bool, took, gone int) {
	switch {
	case s.peekOff < 0:
	case peek:
		s.peekOff += took
	default:
		s.peekOff = max(s.peekOff-gone, 0)
	}
}

func (m *message) unread() []byte { return m.data[m.off:] }

// take gives the descriptors of m: to keep, or with peek once more.
func (s *Unix) take(m *message, peek bool) []*fdtable.Description {
	files := m.files
	if peek {
		for _, d := range files {
			d.Retain()
		}
		return slices.Clone(files)
	}
	m.files = nil
	s.hold(files, -1)
	return files
}

// receiveStream is unix_stream_read_generic without the waiting.
func (s *Unix) receiveStream(r *Received, t Take) error {
	skip, i := s.peekAt(t.Peek)
	for i < len(s.queue) {
		m := s.queue[i]
		if r.from != nil && s.PassCred() && !m.cred.same(r.Cred) {
			return nil
		}
		if r.from == nil {
			r.from, r.Cred, r.Name = m.from, m.cred, m.from.named()
		}
		data := m.unread()[skip:]
		data = data[:min(uint64(len(data)), t.Size-uint64(r.N))]
		took, err := t.sink(r.N, data)
		if err != nil {
			if r.N > 0 && err == unix.EFAULT {
				err = nil
			}
			return err
		}
		skip = 0
		r.N += took
		r.Files = s.take(m, t.Peek)
		s.moveOffset(t.Peek, took, took)
		if t.Peek {
			i++
		} else if m.off += took; m.off < len(m.data) {
			return nil
		} else {
			s.drop(0)
		}
		if uint64(r.N) == t.Size || r.Files != nil || t.Peek && i == len(s.queue) {
			return nil
		}
	}
	return s.ran(r, t)
}

// ran says what it means that a stream's queue ran out.
func (s *Unix) ran(r *Received, t Take) error {
	if t.Size > 0 && (uint64(r.N) >= t.Size || !t.All && r.N >= s.lowat) {
		return nil
	}
	if err := s.takeError(); err != nil {
		return err
	}
	if s.shut&shutRead != 0 {
		return nil
	}
	return unix.EAGAIN
}

// drop frees message i of the queue and what it counts.
func (s *Unix) drop(i int) {
	m := s.queue[i]
	if i == 0 {
		s.queue[0] = nil
		s.queue = s.queue[1:]
	} else {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.net.bytes -= m.truesize
	m.from.wmem -= m.truesize
	if !m.from.dead && m.from.writable() {
		m.from.waiters.WakeFor(pollOut)
	}
	if m.files != nil {
		s.net.Release(s.take(m, false))
	}
}

// purge drops everything.
func (s *Unix) purge() {
	for len(s.queue) > 0 {
		s.drop(0)
	}
}

// Read is one try of read(2). Descriptors that came are closed.
func (s *Unix) Read(p []byte) (int, error) {
	if err := s.MayReceive(); err != nil {
		return 0, err
	}
	var r Received
	err := s.Receive(&r, Take{Size: uint64(len(p)), Nonblock: true,
		Sink: func(done int, b []byte) (int, error) { return copy(p[done:], b), nil }})
	s.net.Release(r.Files)
	return r.N, err
}

// Ioctl is FIONREAD and SIOCOUTQ, and what all sockets have. EINVAL.
func (s *Unix) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	n := 0
	switch {
	case request == unix.TIOCOUTQ:
		n = s.wmem
	case request != unix.TIOCINQ:
		return s.ioctl(mem, request, arg)
	case s.state == listening:
		return 0, unix.EINVAL
	case s.kind == unix.SOCK_DGRAM:
		if len(s.queue) > 0 {
			n = len(s.queue[0].data)
		}
	default:
		for _, m := range s.queue {
			n += len(m.unread())
		}
	}
	return 0, mem.Write(arg, le32(uint32(n)))
}
