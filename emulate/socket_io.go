//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

// outgoing is one message to send: the n bytes of v.
type outgoing struct {
	vnet.Outgoing
	to    []byte // the address, nil: none
	v     []iovec
	n     uint64
	flags int
}

// fill copies what follows the first done bytes to p. EFAULT.
func (c *Call) fill(o *outgoing, done uint64, p []byte) error {
	n, err := c.gather(o.v, done, p)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return err
}

// send is sock_sendmsg. It takes over the files of o.
func (c *Call) send(d *fdtable.Description, s vnet.Socket, o *outgoing) (uint64, error) {
	defer func() { c.Sys.net.Release(o.Files) }()
	if o.Urgent = o.flags&unix.MSG_OOB != 0; o.Urgent && (s.Family() == unix.AF_UNIX || s.Type() != unix.SOCK_STREAM) {
		return 0, unix.EOPNOTSUPP
	}
	cred := c.Task.Cred
	o.Sender = &vnet.Cred{PID: int32(c.Task.Process.PID), UID: cred.RUID, GID: cred.RGID}
	d.Retain()
	defer d.Release()
	w := c.patience(d, s, o.flags, true)
	if s, ok := s.(vnet.Messenger); ok {
		return c.sendMessenger(s, o)
	}
	if s.Type() == unix.SOCK_STREAM {
		return c.sendStream(s.(vnet.Stream), o, w)
	}
	return c.sendDatagram(s.(*vnet.Unix), o, w)
}

// sendMessenger sends what never waits for its receiver.
func (c *Call) sendMessenger(s vnet.Messenger, o *outgoing) (uint64, error) {
	if o.n > maxMessage {
		return 0, unix.EMSGSIZE
	}
	data := make([]byte, o.n)
	if err := c.fill(o, 0, data); err != nil {
		return 0, err
	}
	return o.n, s.Send(o.to, data, &o.Outgoing)
}

// sendStream is unix_stream_sendmsg and tcp_sendmsg.
func (c *Call) sendStream(s vnet.Stream, o *outgoing, w patience) (uint64, error) {
	done := uint64(0)
	err := s.MaySend(o.n, o.to != nil)
	for ; err == unix.EAGAIN; err = s.MaySend(o.n, o.to != nil) {
		if err := w.wait(s.Queue()); err != nil {
			return 0, err
		}
	}
	broken := err == unix.EPIPE
	for err == nil && done < o.n {
		if err = c.awaitSpace(s, w); err != nil {
			break
		}
		data := make([]byte, s.Segment(o.n-done))
		if err = c.fill(o, done, data); err != nil {
			break
		}
		if err = s.DeliverNext(data, &o.Outgoing); err != nil {
			broken = err == unix.EPIPE
			break
		}
		done += uint64(len(data))
	}
	switch {
	case err == ErrGone:
		return 0, err
	case done > 0:
		return done, nil
	case broken && o.flags&unix.MSG_NOSIGNAL == 0:
		c.brokenPipe()
	}
	return 0, err
}

// awaitSpace waits until the socket's send buffer has room.
func (c *Call) awaitSpace(s interface {
	HasRoom() error
	Queue() *fdtable.Queue
}, w patience) error {
	for {
		if err := s.HasRoom(); err != unix.EAGAIN {
			return err
		}
		if err := w.wait(s.Queue()); err != nil {
			return err
		}
	}
}

// sendDatagram is unix_dgram_sendmsg.
func (c *Call) sendDatagram(s *vnet.Unix, o *outgoing, w patience) (uint64, error) {
	name := ""
	if o.to != nil && s.Type() == unix.SOCK_DGRAM {
		var err error
		if name, err = unixName(o.to); err != nil {
			return 0, err
		}
	}
	if err := s.MaySend(o.n, name != ""); err != nil {
		return 0, err
	}
	if err := c.awaitSpace(s, w); err != nil {
		return 0, err
	}
	data := make([]byte, o.n)
	if err := c.fill(o, 0, data); err != nil {
		return 0, err
	}
	for {
		var to *vnet.Unix
		if name != "" {
			var err error
			if to, err = c.findSocket(s.Type(), name); err != nil {
				return 0, err
			}
		}
		err := s.Deliver(to, data, &o.Outgoing)
		if err != unix.EAGAIN {
			return o.n, err
		}
		if to == nil {
			to, _ = s.Peer()
		}
		if err := w.wait(to.Room()); err != nil {
			return 0, err
		}
	}
}

// receive is sock_recvmsg of at most n bytes into v. The files of what it gives are the caller's. The
// result is what recv(2) gives.
func (c *Call) receive(d *fdtable.Description, s vnet.Socket, v []iovec, n uint64, flags int) (r vnet.Received, got uint64, err error) {
	if err := s.MayReceive(); err != nil {
		return r, 0, err
	}
	if flags&unix.MSG_OOB != 0 && s.Type() != unix.SOCK_DGRAM || flags&unix.MSG_OOB != 0 && s.Family() == unix.AF_UNIX {
		return c.receiveUrgent(s, v, n, flags)
	}
	if flags&unix.MSG_ERRQUEUE != 0 && s.Family() != unix.AF_UNIX {
		return r, 0, unix.EAGAIN // nothing is ever put there
	}
	d.Retain()
	defer d.Release()
	w := c.patience(d, s, flags, false)
	take := vnet.Take{Size: n, Peek: flags&unix.MSG_PEEK != 0, Nonblock: w.nonblock,
		All: flags&unix.MSG_WAITALL != 0, Discard: flags&unix.MSG_TRUNC != 0,
		Sink: func(done int, p []byte) (int, error) { return c.scatter(v, uint64(done), p) }}
	for {
		err = s.Receive(&r, take)
		if err != unix.EAGAIN {
			break
		}
		if err = w.wait(s.Queue()); err != nil {
			break
		}
	}
	if err != nil && (err == ErrGone || r.N == 0 || s.Type() != unix.SOCK_STREAM) {
		c.Sys.net.Release(r.Files)
		return vnet.Received{}, 0, err
	}
	got = uint64(r.N)
	if flags&unix.MSG_TRUNC != 0 && s.Type() != unix.SOCK_STREAM {
		got = uint64(r.Length)
	}
	return r, got, nil
}

// receiveUrgent is recv(2) with MSG_OOB.
func (c *Call) receiveUrgent(s vnet.Socket, v []iovec, n uint64, flags int) (r vnet.Received, got uint64, err error) {
	stream, ok := s.(vnet.Stream)
	if !ok || s.Type() != unix.SOCK_STREAM {
		return r, 0, unix.EOPNOTSUPP
	}
	b, err := stream.ReceiveUrgent(flags&unix.MSG_PEEK != 0)
	if err != nil {
		return r, 0, err
	}
	r.Flags = unix.MSG_OOB
	if n == 0 {
		r.Truncated = true
		return r, 0, nil
	}
	if k, err := c.scatter(v, 0, []byte{b}); err != nil || k == 0 {
		return r, 0, unix.EFAULT
	}
	return r, 1, nil
}

// readSocket is readv(2) with RWF_ flags; an empty one takes not even a datagram.
func (c *Call) readSocket(d *fdtable.Description, s vnet.Socket, v []iovec, n uint64, flags int) (uint64, error) {
	if n == 0 {
		return 0, nil
	}
	r, n, err := c.receive(d, s, v, n, rwToMsg(flags))
	c.Sys.net.Release(r.Files)
	return n, err
}

// writeSocket is writev(2) with RWF_ flags.
func (c *Call) writeSocket(d *fdtable.Description, s vnet.Socket, v []iovec, n uint64, flags int) (uint64, error) {
	return c.send(d, s, &outgoing{v: v, n: n, flags: rwToMsg(flags)})
}

func rwToMsg(rwf int) (flags int) {
	if rwf&unix.RWF_NOWAIT != 0 {
		flags |= unix.MSG_DONTWAIT
	}
	if rwf&unix.RWF_NOSIGNAL != 0 {
		flags |= unix.MSG_NOSIGNAL
	}
	return flags
}

func sendto(c *Call) (uint64, error) {
	buf, size, flags, addr, addrlen := c.Addr(1), c.Size(2), c.Flags(3), c.Addr(4), c.Int(5)
	b, err := buffer(buf, min(size, maxRW)) // import_ubuf cuts first
	if err != nil {
		return 0, err
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	o := &outgoing{v: []iovec{b}, n: b.len, flags: flags}
	if addr != 0 {
		if o.to, err = c.sockaddr(addr, addrlen); err != nil {
			return 0, err
		}
		if addrlen == 0 {
			o.to = nil
		}
	}
	return c.send(d, s, o)
}

func recvfrom(c *Call) (uint64, error) {
	buf, size, flags, addr, addrlen := c.Addr(1), c.Size(2), c.Flags(3), c.Addr(4), c.Addr(5)
	b, err := buffer(buf, min(size, maxRW)) // import_ubuf cuts first
	if err != nil {
		return 0, err
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	r, n, err := c.receive(d, s, []iovec{b}, b.len, flags)
	c.Sys.net.Release(r.Files)
	if err != nil || addr == 0 {
		return n, err
	}
	return n, c.putSockaddr(r.Name, addr, addrlen)
}
