//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

// patience is how long a call on a socket waits.
type patience struct {
	c        *Call
	deadline Deadline // 0 for ever
	nonblock bool
}

// patience is from O_NONBLOCK, MSG_DONTWAIT and the socket's own timeout.
func (c *Call) patience(d *fdtable.Description, s vnet.Socket, flags int, write bool) patience {
	w := patience{c: c, nonblock: d.Flags&unix.O_NONBLOCK != 0 || flags&unix.MSG_DONTWAIT != 0}
	if after := s.Timeout(write); after > 0 && !w.nonblock {
		w.deadline = c.Sys.After(after)
	}
	return w
}

// wait waits for one of the queues: EAGAIN at the end of the patience, and for a
// signal EINTR if there is a timeout (sock_intr_errno).
func (w patience) wait(queues ...*fdtable.Queue) error {
	if w.nonblock {
		return unix.EAGAIN
	}
	err := w.c.Wait(w.deadline, queues...)
	switch {
	case err == unix.ETIMEDOUT:
		return unix.EAGAIN
	case err == ErrInterrupted && w.deadline != 0:
		return unix.EINTR
	}
	return err
}

func connect(c *Call) (uint64, error) {
	addr, addrlen := c.Addr(1), c.Int(2)
	d, err := c.Task.opened(c.FD(0))
	if err != nil {
		return 0, err
	}
	p, err := c.sockaddr(addr, addrlen)
	if err != nil {
		return 0, err
	}
	s, err := asSocket(d)
	if err != nil {
		return 0, err
	}
	switch s := s.(type) {
	case vnet.Addressed:
		return 0, c.connectAddressed(d, s, p)
	case *vnet.Unix:
		if s.Type() == unix.SOCK_DGRAM {
			return 0, c.connectDatagram(s, p)
		}
		return 0, c.connectUnix(d, s, p)
	}
	return 0, unix.EOPNOTSUPP
}

// connectUnix is unix_stream_connect.
func (c *Call) connectUnix(d *fdtable.Description, s *vnet.Unix, p []byte) error {
	name, err := unixName(p)
	if err == nil && s.PassCred() {
		err = s.Autobind()
	}
	if err != nil {
		return err
	}
	d.Retain()
	defer d.Release()
	w := c.patience(d, s, 0, true)
	for {
		to, err := c.findSocket(s.Type(), name)
		if err != nil {
			return err
		}
		if err = s.Connect(to, c.peerCred()); err != unix.EAGAIN {
			return err
		}
		if err := w.wait(to.Room()); err != nil {
			return err
		}
	}
}

// connectAddressed is __inet_stream_connect: what the first try began goes on
// when the call does not wait for it.
func (c *Call) connectAddressed(d *fdtable.Description, s vnet.Addressed, p []byte) error {
	d.Retain()
	defer d.Release()
	w := c.patience(d, s, 0, true)
	begun := s.Connect(p)
	if w.nonblock {
		return begun
	}
	for err := begun; ; err = s.Connect(p) {
		switch err {
		case unix.EINPROGRESS: // something may have come of it already
		case unix.EALREADY:
			if err := w.wait(s.Queue()); err == unix.EAGAIN {
				return begun
			} else if err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// connectDatagram is unix_dgram_connect.
func (c *Call) connectDatagram(s *vnet.Unix, p []byte) error {
	switch family(p) {
	case -1:
		return unix.EINVAL
	case unix.AF_UNSPEC:
		return s.ConnectDatagram(nil)
	}
	name, err := unixName(p)
	if err == nil && s.PassCred() {
		err = s.Autobind()
	}
	if err != nil {
		return err
	}
	to, err := c.findSocket(s.Type(), name)
	if err != nil {
		return err
	}
	return s.ConnectDatagram(to)
}

func accept(c *Call) (uint64, error) { return c.as(accept4, c.Args[0], c.Args[1], c.Args[2]) }

func accept4(c *Call) (uint64, error) {
	addr, addrlen, flags := c.Addr(1), c.Addr(2), c.Flags(3)
	d, err := c.Task.opened(c.FD(0))
	if err != nil {
		return 0, err
	}
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	if err := c.Task.mayHaveFD(c.Task.FDs.Free(0), 1); err != nil {
		return 0, err
	}
	s, err := asSocket(d)
	if err != nil {
		return 0, err
	}
	d.Retain()
	defer d.Release()
	end, name, err := s.Accept()
	for w := c.patience(d, s, 0, false); err == unix.EAGAIN; end, name, err = s.Accept() {
		if err := w.wait(s.Queue()); err != nil {
			return 0, err
		}
	}
	if err != nil {
		return 0, err
	}
	file := c.socketFile(end, flags)
	if addr != 0 {
		if err := c.putSockaddr(name, addr, addrlen); err != nil {
			_ = file.Release()
			return 0, err
		}
	}
	return c.install(file, flags&unix.SOCK_CLOEXEC != 0)
}
