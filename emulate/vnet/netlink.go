//go:build linux

package vnet

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	sockaddrNetlink = 12   // sizeof struct sockaddr_nl
	netlinkGroups   = 64   // at least RTNLGRP_MAX, in whole words
	netlinkPart     = 3776 // NLMSG_GOODSIZE: a dump comes in pieces of at most so much
)

// netlinkFlags are the options of SOL_NETLINK that are a bit. GET_STRICT_CHK is
// taken, but a dump is never filtered: whoever asks for it looks again himself.
const netlinkFlags = 1<<unix.NETLINK_PKTINFO | 1<<unix.NETLINK_BROADCAST_ERROR | 1<<unix.NETLINK_NO_ENOBUFS |
	1<<unix.NETLINK_CAP_ACK | 1<<unix.NETLINK_EXT_ACK | 1<<unix.NETLINK_GET_STRICT_CHK

// Netlink is a socket of AF_NETLINK to the jail's kernel (net/netlink/af_netlink.c).
// NETLINK_ROUTE answers what is asked, NETLINK_SOCK_DIAG that it has no such handler,
// after which ss(8) reads /proc/net; NETLINK_KOBJECT_UEVENT never has anything to say.
type Netlink struct {
	base
	pid    uint32 // of the process, the first port to try
	port   uint32
	bound  bool // else port is what a bind(2) could not have
	groups uint64
	flags  uint32 // 1<<NETLINK_… of netlinkFlags
	queue  [][]byte
	queued int // truesize of them
}

var _ Messenger = (*Netlink)(nil)

// NewNetlink makes an AF_NETLINK socket for a process. ESOCKTNOSUPPORT,
// EPROTONOSUPPORT, ENFILE.
func (n *Net) NewNetlink(kind, protocol, pid int) (*Netlink, error) {
	if kind != unix.SOCK_RAW && kind != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	switch protocol {
	case unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_KOBJECT_UEVENT:
	default:
		return nil, unix.EPROTONOSUPPORT
	}
	b, err := n.newBase(unix.AF_NETLINK, kind, protocol)
	if err != nil {
		return nil, err
	}
	s := &Netlink{base: b, pid: uint32(pid)}
	if n.netlinks == nil {
		n.netlinks = make(map[*Netlink]bool)
	}
	n.netlinks[s] = true
	return s, nil
}

// Close is netlink_release.
func (s *Netlink) Close() error {
	if s.dead {
		return nil
	}
	s.dead = true
	s.net.sockets--
	s.net.bytes -= s.queued
	s.queue, s.queued = nil, 0
	delete(s.net.netlinks, s)
	if s.bound {
		delete(s.net.netlinkPorts, netlinkPort{s.protocol, s.port})
	}
	s.waiters.Wake()
	return nil
}

// netlinkPort is what only one socket can be bound to.
type netlinkPort struct {
	protocol int
	port     uint32
}

// take binds s to a port, which it keeps until it is closed, if no other has it.
func (s *Netlink) take(port uint32) {
	key := netlinkPort{s.protocol, port}
	if s.port, s.bound = port, !s.net.netlinkPorts[key]; !s.bound {
		return
	}
	if s.net.netlinkPorts == nil {
		s.net.netlinkPorts = make(map[netlinkPort]bool)
	}
	s.net.netlinkPorts[key] = true
}

// autobind is netlink_autobind: the process's id, then negative ones.
func (s *Netlink) autobind() {
	const rover = math.MaxUint32 - 4096
	for port, next := s.pid, uint32(rover); !s.bound; port, next = next, next-1 {
		if port != 0 {
			s.take(port)
		}
	}
}

// netlinkAddr decodes struct sockaddr_nl. EINVAL.
func netlinkAddr(p []byte) (port, groups uint32, err error) {
	if len(p) < sockaddrNetlink || binary.LittleEndian.Uint16(p) != unix.AF_NETLINK {
		return 0, 0, unix.EINVAL
	}
	return binary.LittleEndian.Uint32(p[4:]), binary.LittleEndian.Uint32(p[8:]), nil
}

func netlinkName(port, groups uint32) []byte {
	return append(append([]byte{unix.AF_NETLINK, 0, 0, 0}, le32(port)...), le32(groups)...)
}

// Bind is netlink_bind. EINVAL, EADDRINUSE.
func (s *Netlink) Bind(addr []byte) error {
	port, groups, err := netlinkAddr(addr)
	switch {
	case err != nil:
		return err
	case s.bound && port != s.port:
		return unix.EINVAL
	case !s.bound && port == 0:
		s.autobind()
	case !s.bound:
		if s.take(port); !s.bound {
			return unix.EADDRINUSE
		}
	}
	s.groups = s.groups&^math.MaxUint32 | uint64(groups)
	return nil
}

// Connect is netlink_connect, of which the kernel is the only peer. EINVAL, EPERM.
func (s *Netlink) Connect(addr []byte) error {
	if len(addr) < 2 {
		return unix.EINVAL
	}
	if binary.LittleEndian.Uint16(addr) == unix.AF_UNSPEC {
		s.state = closed
		return nil
	}
	port, groups, err := netlinkAddr(addr)
	switch {
	case err != nil:
		return err
	case port != 0 || groups != 0:
		return unix.EPERM
	}
	s.autobind()
	s.state = established
	return nil
}

// Sockname is in [Socket].
func (s *Netlink) Sockname() []byte { return netlinkName(s.port, uint32(s.groups)) }

// Peername is in [Socket].
func (s *Netlink) Peername() ([]byte, error) { return netlinkName(0, 0), nil }

// Shutdown is in [Socket].
func (s *Netlink) Shutdown(int) error { return unix.EOPNOTSUPP }

// Send is netlink_sendmsg, and what the kernel does with it.
func (s *Netlink) Send(to, data []byte, _ *Outgoing) error {
	if len(data) == 0 {
		return unix.ENODATA
	}
	if to != nil {
		switch port, groups, err := netlinkAddr(to); {
		case err != nil:
			return err
		case port != 0 || groups != 0:
			return unix.EPERM
		}
	}
	s.autobind()
	switch {
	case len(data) > s.sndbuf-32:
		return unix.EMSGSIZE
	case s.protocol == unix.NETLINK_KOBJECT_UEVENT:
		return unix.ECONNREFUSED
	}
	s.requests(data)
	return nil
}

// Write is one try of write(2).
func (s *Netlink) Write(p []byte) (int, error) {
	if err := s.Send(nil, append([]byte(nil), p...), nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

// reply queues a datagram of the kernel's; one that has no room is lost, netlink(7).
func (s *Netlink) reply(p []byte) {
	size := headSize(len(p))
	if s.queued+size > s.rcvbuf || s.net.bytes+size > maxBytes {
		if s.flags>>unix.NETLINK_NO_ENOBUFS&1 == 0 {
			s.err = unix.ENOBUFS
		}
	} else {
		s.queue = append(s.queue, p)
		s.queued += size
		s.net.bytes += size
	}
	s.waiters.WakeFor(pollIn)
}

// Receive is netlink_recvmsg.
func (s *Netlink) Receive(r *Received, t Take) error {
	if err := s.takeError(); err != nil {
		return err
	}
	if len(s.queue) == 0 {
		return unix.EAGAIN
	}
	p := s.queue[0]
	if !t.Peek {
		size := headSize(len(p))
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.queued -= size
		s.net.bytes -= size
	}
	r.Name = netlinkName(0, 0)
	if s.flags>>unix.NETLINK_PKTINFO&1 != 0 {
		r.Control = append(r.Control, Control{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, le32(0)})
	}
	if s.PassCred() {
		r.Control = append(r.Control, Control{unix.SOL_SOCKET, unix.SCM_CREDENTIALS, (*Cred)(nil).bytes(0, 0)})
	}
	return r.give(p, t)
}

// Read is one try of read(2).
func (s *Netlink) Read(p []byte) (int, error) {
	var r Received
	err := s.Receive(&r, Take{Size: uint64(len(p)),
		Sink: func(done int, b []byte) (int, error) { return copy(p[done:], b), nil }})
	return r.N, err
}

// Poll is datagram_poll; there is always room to send.
func (s *Netlink) Poll() fdtable.Events {
	ev := fdtable.Events(pollOut)
	if s.err != 0 {
		ev |= fdtable.Err
	}
	if len(s.queue) > 0 {
		ev |= pollIn
	}
	return ev
}

// Ioctl is netdevice(7).
func (s *Netlink) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	return s.ioctl(mem, request, arg)
}

// Option is netlink_getsockopt.
func (s *Netlink) Option(level, name int) ([]byte, error) {
	switch {
	case level == unix.SOL_SOCKET:
		return s.option(name)
	case level == unix.SOL_NETLINK && name == unix.NETLINK_LIST_MEMBERSHIPS:
		return binary.LittleEndian.AppendUint64(nil, s.groups), nil
	case level == unix.SOL_NETLINK && name >= 0 && name < 32 && netlinkFlags>>name&1 != 0:
		return le32(s.flags >> name & 1), nil
	}
	return nil, unix.ENOPROTOOPT
}

// SetOption is netlink_setsockopt.
func (s *Netlink) SetOption(level, name int, value []byte, privileged bool) error {
	v := uint32(0)
	if len(value) >= 4 {
		v = binary.LittleEndian.Uint32(value)
	}
	switch {
	case level == unix.SOL_SOCKET && len(value) < 4:
		return unix.EINVAL
	case level == unix.SOL_SOCKET:
		return s.setOption(name, value, privileged)
	case level != unix.SOL_NETLINK:
		return unix.ENOPROTOOPT
	case name == unix.NETLINK_ADD_MEMBERSHIP, name == unix.NETLINK_DROP_MEMBERSHIP:
		if v-1 >= netlinkGroups {
			return unix.EINVAL
		}
		s.groups &^= 1 << (v - 1)
		if name == unix.NETLINK_ADD_MEMBERSHIP {
			s.groups |= 1 << (v - 1)
		}
	case name >= 0 && name < 32 && netlinkFlags>>name&1 != 0:
		s.flags &^= 1 << name
		if v != 0 {
			s.flags |= 1 << name
		}
	case name == unix.NETLINK_LISTEN_ALL_NSID:
		return unix.EPERM
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}
