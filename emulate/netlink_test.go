//go:build linux

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// nlCompared are the attributes whose content is compared, by the type of message:
// of what the kernel tells about lo, all that is the same on all kernels.
var nlCompared = map[uint16][]uint16{
	unix.RTM_NEWLINK: {unix.IFLA_IFNAME, unix.IFLA_TXQLEN, unix.IFLA_MTU, unix.IFLA_GROUP, unix.IFLA_PROMISCUITY,
		unix.IFLA_NUM_TX_QUEUES, unix.IFLA_NUM_RX_QUEUES, unix.IFLA_GSO_MAX_SEGS, unix.IFLA_GSO_MAX_SIZE, unix.IFLA_MIN_MTU,
		unix.IFLA_MAX_MTU, unix.IFLA_CARRIER_CHANGES, unix.IFLA_OPERSTATE, unix.IFLA_LINKMODE, unix.IFLA_CARRIER,
		unix.IFLA_PROTO_DOWN, unix.IFLA_MAP, unix.IFLA_ADDRESS, unix.IFLA_BROADCAST, unix.IFLA_QDISC},
	unix.RTM_NEWADDR:  {unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_LABEL, unix.IFA_FLAGS, unix.IFA_BROADCAST},
	unix.RTM_NEWROUTE: {unix.RTA_TABLE, unix.RTA_DST, unix.RTA_SRC, unix.RTA_OIF, unix.RTA_PREFSRC, unix.RTA_PRIORITY, unix.RTA_PREF},
	unix.RTM_NEWRULE:  {unix.FRA_TABLE, unix.FRA_PRIORITY, unix.FRA_PROTOCOL, unix.FRA_SUPPRESS_PREFIXLEN},
}

// nlHeader is how much precedes the attributes.
var nlHeader = map[uint16]int{unix.RTM_NEWLINK: 16, unix.RTM_NEWADDR: 8, unix.RTM_NEWROUTE: 12, unix.RTM_NEWRULE: 12}

const nlDump = unix.NLM_F_REQUEST | unix.NLM_F_DUMP

// nlAttributes are p's, by kind.
func nlAttributes(p []byte) map[uint16][]byte {
	m := make(map[uint16][]byte)
	for len(p) >= 4 {
		n := binary.LittleEndian.Uint16(p)
		m[binary.LittleEndian.Uint16(p[2:])] = p[4:n]
		p = p[min(int(n+3)&^3, len(p)):]
	}
	return m
}

// nlRequest is a message to the kernel.
func nlRequest(kind, flags int, body ...byte) []byte {
	p := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	p = binary.LittleEndian.AppendUint16(p, uint16(kind))
	p = binary.LittleEndian.AppendUint16(p, uint16(flags))
	return append(append(p, 7, 0, 0, 0, 0, 0, 0, 0), body...)
}

// nlAttribute is one attribute with its padding.
func nlAttribute(kind int, data ...byte) []byte {
	p := append([]byte{byte(4 + len(data)), 0, byte(kind), 0}, data...)
	return append(p, make([]byte, -len(data)&3)...)
}

// nlPort is the port that a socket says it has.
func nlPort(s *Script, fd FD) uint32 {
	name, n := make([]byte, 12), int32(12)
	s.Quiet("getsockname", fd, name, &n)
	return binary.LittleEndian.Uint32(name[4:])
}

// nlReceive notes all that is queued, one line for each message about lo.
func nlReceive(s *Script, fd FD) {
	s.T.Helper()
	port := nlPort(s, fd)
	for {
		size, errno := s.Quiet("recvfrom", fd, nil, 0, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT, nil, nil)
		if errno != 0 {
			s.Logf("end: %v", errno)
			return
		}
		m := &msg{Name: bytes.Repeat([]byte{'?'}, 14), Iov: Iov{make([]byte, 65536)}, Control: make([]byte, 64)}
		n, errno := s.Quiet("recvmsg", fd, m, unix.MSG_DONTWAIT)
		if errno != 0 || n != size {
			s.Logf("size %d, received %d %v", size, n, errno)
			return
		}
		for p := m.Iov[0][:n]; len(p) >= 16; {
			size := binary.LittleEndian.Uint32(p)
			nlNote(s, m, p[:size], port)
			p = p[min(int(size+3)&^3, len(p)):]
		}
	}
}

func nlNote(s *Script, m *msg, p []byte, port uint32) {
	kind, pid := binary.LittleEndian.Uint16(p[4:]), binary.LittleEndian.Uint32(p[12:])
	body := p[16:]
	n, ok := nlHeader[kind]
	if !ok {
		n = len(body)
	}
	attrs := nlAttributes(body[n:])
	switch kind {
	case unix.RTM_NEWNEIGH:
		return
	case unix.RTM_NEWLINK, unix.RTM_NEWADDR:
		if body[4] != 1 {
			return
		}
	case unix.RTM_NEWROUTE:
		if !bytes.Equal(attrs[unix.RTA_OIF], []byte{1, 0, 0, 0}) || attrs[unix.RTA_DST] == nil ||
			attrs[unix.RTA_DST][0] == 0xff { // ff00::/8 is there when something else is up
			return
		}
	case unix.RTM_NEWRULE:
		if body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
			return
		}
	}
	s.Logf("from %q flags %#x control %d %q", m.Name[:m.NameLen], m.Flags, m.Space, m.Control[:m.Space])
	s.Logf("  type %d flags %#x seq %d mine %v: %x", kind, binary.LittleEndian.Uint16(p[6:]),
		binary.LittleEndian.Uint32(p[8:]), pid == port, body[:n])
	for _, k := range nlCompared[kind] {
		if a, ok := attrs[k]; ok {
			s.Logf("    %d: %x", k, a)
		}
	}
}

// nlRoute is struct rtmsg, and a destination.
func nlRoute(family, bits byte, dst ...byte) []byte {
	p := append([]byte{family, bits}, make([]byte, 10)...)
	if dst != nil {
		p = append(p, nlAttribute(unix.RTA_DST, dst...)...)
	}
	return p
}

// nlRequests are what programs ask, and what makes no sense.
func nlRequests() (list [][]byte) {
	add := func(kind, flags int, body ...byte) { list = append(list, nlRequest(kind, flags, body...)) }
	one, link := unix.NLM_F_REQUEST, make([]byte, 16)
	index := func(i byte) []byte { return append([]byte{0, 0, 0, 0, i}, link[5:]...) }
	named := func(name string) []byte { return append(slices.Clip(link), nlAttribute(3, []byte(name+"\x00")...)...) }
	add(unix.RTM_GETLINK, nlDump, link...)
	add(unix.RTM_GETLINK, nlDump, 0)
	add(unix.RTM_GETLINK, nlDump)
	add(unix.RTM_GETLINK, one, index(1)...)
	add(unix.RTM_GETLINK, one|unix.NLM_F_ACK, index(1)...)
	add(unix.RTM_GETLINK, one, index(255)...)
	add(unix.RTM_GETLINK, one, link...)
	add(unix.RTM_GETLINK, one, link[:8]...)
	add(unix.RTM_GETLINK, one, named("lo")...)
	add(unix.RTM_GETLINK, one, named("nosuch")...)
	add(unix.RTM_GETLINK, 0, index(1)...)
	add(unix.RTM_GETLINK, unix.NLM_F_ACK, index(1)...)
	for _, family := range []byte{unix.AF_UNSPEC, unix.AF_INET, unix.AF_INET6, unix.AF_PACKET} {
		add(unix.RTM_GETADDR, nlDump, family, 0, 0, 0, 0, 0, 0, 0)
		add(unix.RTM_GETADDR, nlDump, family)
		if family != unix.AF_PACKET {
			add(unix.RTM_GETROUTE, nlDump, nlRoute(family, 0)...)
		}
		add(unix.RTM_GETNEIGH, nlDump, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	add(unix.RTM_GETRULE, nlDump, nlRoute(unix.AF_INET, 0)...)
	add(unix.RTM_GETRULE, nlDump, nlRoute(unix.AF_INET6, 0)...)
	add(unix.RTM_GETRULE, one, nlRoute(unix.AF_INET, 0)...)
	add(unix.RTM_GETADDR, one, unix.AF_INET, 8, 0, 0, 1, 0, 0, 0)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 32, 127, 0, 0, 1)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 32, 127, 5, 5, 5)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 32, 127, 255, 255, 255)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 32)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 32, 1, 2, 3)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET6, 128, append(make([]byte, 15), 1)...)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_UNSPEC, 0)...)
	add(unix.RTM_GETROUTE, one, nlRoute(unix.AF_INET, 0)[:4]...)
	for _, kind := range []int{0, 1, 2, 3, 15, 17 | 1<<8, 58, 62, 74, 78, 86, 98, 114, 200, 0xffff} {
		add(kind, one, link...)
		add(kind, nlDump, link...)
		add(kind, unix.NLM_F_ACK)
	}
	all := slices.Concat(list[4], list[5][:len(list[5])], list[4][:30])
	short, long := slices.Clone(list[4]), slices.Clone(list[4])
	short[0], long[0] = 15, 200
	return append(list, all, short, long, list[0][:15], []byte{1})
}

func TestNetlink(t *testing.T) {
	loopbackOnly(t)
	Twin(t, func(s *Script) {
		for _, kind := range []int{unix.SOCK_RAW, unix.SOCK_DGRAM} {
			fd := s.Open("socket", unix.AF_NETLINK, kind, unix.NETLINK_ROUTE)
			for _, p := range nlRequests() {
				s.Logf("request %x", p)
				_, errno := s.Quiet("sendto", fd, p, len(p), 0, append([]byte{unix.AF_NETLINK}, make([]byte, 11)...), 12)
				s.Logf("%v", errno)
				nlReceive(s, fd)
			}
		}
	})
}

// TestNetlinkSocket: what a socket is called, its options and errors.
func TestNetlinkSocket(t *testing.T) {
	loopbackOnly(t)
	addr := func(family byte, port uint32, groups byte) []byte {
		p := binary.LittleEndian.AppendUint32([]byte{family, 0, 0, 0}, port)
		return append(p, groups, 0, 0, 0)
	}
	Twin(t, func(s *Script) {
		pid := uint32(unix.Getpid())
		if s.Emulated {
			pid = uint32(s.Guest.Task.Process.PID)
		}
		who := func(fd FD) {
			for _, call := range []string{"getsockname", "getpeername"} {
				name, n := bytes.Repeat([]byte{'?'}, 14), int32(14)
				_, errno := s.Quiet(call, fd, name, &n)
				port := binary.LittleEndian.Uint32(name[4:])
				s.Logf("%s: %v %d %x port: own %v kernel %v negative %v %x", call, errno, n, name[:4], port == pid, port == 0,
					int32(port) < -4096, name[8:])
			}
		}
		on := func(call string, fd FD, addr []byte) {
			_, errno := s.Quiet(call, fd, addr, len(addr))
			s.Logf("%s: %v", call, errno)
			who(fd)
		}
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET, unix.SOCK_RAW} {
			s.Call("socket", unix.AF_NETLINK, kind, 33)
			s.Call("socket", unix.AF_NETLINK, kind, -1)
			s.Call("socket", unix.AF_NETLINK, kind, 31)
		}
		_, errno := s.Quiet("socketpair", unix.AF_NETLINK, unix.SOCK_RAW, 0, make([]byte, 8))
		s.Logf("socketpair: %v", errno)
		for _, port := range []uint32{0, 0, 77, 77, pid} {
			fd := s.Open("socket", unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
			who(fd)
			s.Call("recvfrom", fd, make([]byte, 9), 9, 0, nil, nil)
			on("bind", fd, addr(unix.AF_NETLINK, port, 5)[:11])
			on("bind", fd, addr(unix.AF_INET, port, 5))
			on("bind", fd, addr(unix.AF_NETLINK, port, 5))
			on("bind", fd, addr(unix.AF_NETLINK, port, 1))
			on("bind", fd, addr(unix.AF_NETLINK, 99, 1))
			on("connect", fd, []byte{0})
			on("connect", fd, addr(unix.AF_INET, 0, 0))
			on("connect", fd, addr(unix.AF_NETLINK, 0, 0)[:8])
			on("connect", fd, addr(unix.AF_NETLINK, 0, 0))
			on("connect", fd, addr(unix.AF_UNSPEC, 0, 0))
		}
		fd := s.Open("socket", unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		s.Call("listen", fd, 1)
		s.Call("accept", fd, nil, nil)
		s.Call("shutdown", fd, 2)
		s.Call("sendto", fd, []byte{}, 0, 0, nil, 0)
		s.Call("sendto", fd, []byte{1}, 1, unix.MSG_OOB, nil, 0)
		s.Call("sendto", fd, []byte{1}, 1, 0, addr(unix.AF_INET, 0, 0), 12)
		s.Call("sendto", fd, []byte{1}, 1, 0, addr(unix.AF_NETLINK, 0, 0), 11)
		s.Call("sendto", fd, make([]byte, 212960), 212960, 0, nil, 0)
		s.Call("sendto", fd, make([]byte, 212961), 212961, 0, nil, 0)
		s.Call("write", fd, []byte{}, 0)
		s.Call("write", fd, []byte{1}, 1)
		who(fd)
		get := nlRequest(unix.RTM_GETROUTE, nlDump, nlRoute(unix.AF_INET6, 0)...)
		poll := func() {
			p := append(binary.LittleEndian.AppendUint32(nil, uint32(fd)), 0xff, 0xff, 0, 0)
			n, errno := s.Quiet("poll", p, 1, 0)
			s.Logf("poll %d %v %#x", n, errno, binary.LittleEndian.Uint16(p[6:]))
		}
		poll()
		s.Call("write", fd, get, len(get))
		poll()
		small := make([]byte, 20)
		s.Quiet("recvfrom", fd, small, 20, unix.MSG_PEEK, nil, nil)
		s.Logf("%x", small[:8])
		nlReceive(s, fd)
		s.Call("ioctl", fd, unix.TIOCINQ, Bad)
		s.Call("ioctl", fd, unix.TIOCOUTQ, Bad)
		for _, level := range []int{unix.SOL_NETLINK, 1000} {
			for name := range 13 {
				for _, value := range [][]byte{nil, {1}, {1, 0, 0, 0}, {255, 0, 0, 0}, {0, 0, 0, 0}, {1, 0, 0, 0}} {
					if level == unix.SOL_NETLINK && (name == 6 || name == 7 || name == unix.NETLINK_LISTEN_ALL_NSID) {
						continue // rings, and what needs privileges
					}
					_, errno := s.Quiet("setsockopt", fd, level, name, value, len(value))
					got, n := []byte{1, 2, 3, 4}, int32(4)
					_, e2 := s.Quiet("getsockopt", fd, level, name, got, &n)
					if name == unix.NETLINK_LIST_MEMBERSHIPS {
						n = 0 // how many groups a kernel knows
					}
					s.Logf("option %d %d %x: %v, %v %d %x", level, name, value, errno, e2, n, got)
				}
			}
		}
		s.Quiet("setsockopt", fd, unix.SOL_SOCKET, unix.SO_PASSCRED, []byte{1, 0, 0, 0}, 4)
		for _, name := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} { // what they tell is not there
			s.Quiet("setsockopt", fd, unix.SOL_NETLINK, name, make([]byte, 4), 4)
		}
		for _, p := range [][]byte{get, nlRequest(unix.RTM_GETLINK, unix.NLM_F_REQUEST, 0)} {
			s.Call("write", fd, p, len(p))
			nlReceive(s, fd)
		}
		fd = s.Open("socket", unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
		on("bind", fd, addr(unix.AF_NETLINK, 0, 1))
		s.Call("recvfrom", fd, make([]byte, 9), 9, 0, nil, nil)
		for _, name := range []int{unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_ACCEPTCONN} {
			got, n := []byte{1, 2, 3, 4}, int32(4)
			_, errno := s.Quiet("getsockopt", fd, unix.SOL_SOCKET, name, got, &n)
			s.Logf("%d: %v %d %x", name, errno, n, got)
		}
	})
}

// TestNetlinkChange: nobody changes anything, whoever he is, and answers that
// nobody reads are lost.
func TestNetlinkChange(t *testing.T) {
	g := NewGuest(t)
	fd := g.Must("socket", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	p := make([]byte, 200)
	for _, kind := range []int{unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_SETLINK, unix.RTM_NEWADDR, unix.RTM_DELROUTE} {
		m := nlRequest(kind, unix.NLM_F_REQUEST, make([]byte, 32)...)
		g.Must("write", fd, m, len(m))
		if n := g.Must("read", fd, p, len(p)); n != 68 || p[4] != unix.NLMSG_ERROR || int8(p[16]) != -int8(unix.EPERM) {
			t.Errorf("message %d gives %x", kind, p[:n])
		}
	}
	get := nlRequest(unix.RTM_GETLINK, nlDump, 0)
	many := bytes.Repeat(append(get, 0, 0, 0), 8000)
	g.Must("write", fd, many, len(many))
	if _, errno := g.Call("recvfrom", fd, p, len(p), unix.MSG_DONTWAIT, nil, nil); errno != unix.ENOBUFS {
		t.Errorf("more answers than there is room for: %v", errno)
	}
	for range 1000 {
		if _, errno := g.Call("recvfrom", fd, p, len(p), unix.MSG_DONTWAIT, nil, nil); errno == unix.EAGAIN {
			return
		}
	}
	t.Error("more answers are queued than SO_RCVBUF allows")
}

// FuzzNetlink: whatever is sent, the answers are whole messages, in bounds.
func FuzzNetlink(f *testing.F) {
	for _, p := range nlRequests() {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		p = p[:min(len(p), 4096)]
		g := NewGuest(t)
		fd := g.Must("socket", unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if _, errno := g.Call("write", fd, p, len(p)); errno != 0 && len(p) > 0 {
			t.Fatal(errno)
		}
		for {
			buf := make([]byte, 8192)
			n, errno := g.Call("recvfrom", fd, buf, len(buf), unix.MSG_TRUNC, nil, nil)
			if errno == unix.EAGAIN {
				return
			} else if errno == unix.ENOBUFS {
				continue
			} else if errno != 0 || n > uint64(len(buf)) {
				t.Fatalf("%d %v", n, errno)
			}
			for b := buf[:n]; len(b) > 0; {
				size := binary.LittleEndian.Uint32(b)
				if size < 16 || uint64(size) > uint64(len(b)) {
					t.Fatalf("a message of %d in %d bytes", size, len(b))
				}
				b = b[min(int(size+3)&^3, len(b)):]
			}
		}
	})
}
