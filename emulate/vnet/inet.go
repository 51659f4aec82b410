//go:build linux

package vnet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	sockaddrIn     = 16 // sizeof(struct sockaddr_in)
	sockaddrIn6    = 28 // sizeof(struct sockaddr_in6)
	sockaddrIn6Old = 24 // SIN6_LEN_RFC2133

	maxProtocol = 263 // IPPROTO_MAX

	// net.ipv4.ip_local_port_range
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// loopback4 and loopback6 are the addresses of lo.
var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// inet is what TCP and UDP sockets share: struct inet_sock. IPv4 addresses that
// an AF_INET6 socket has are kept as such and shown as ::ffff:a.b.c.d.
type inet struct {
	base
	self          Socket
	local, remote netip.AddrPort // local.Port() 0: not bound; remote: not connected
	keepAddr      bool           // bind(2) gave it the local address: SOCK_BINDADDR_LOCK
	keepPort      bool           // and the port: SOCK_BINDPORT_LOCK
	ints          map[option]int32
	congestion    string
}

// portTable is who is bound to each port, in the order of binding.
type portTable map[uint16][]*inet

// Indexes of Net.ports.
const (
	tcpPorts = iota
	udpPorts
	udpLitePorts
	portTables
)

// NewInet makes an AF_INET or AF_INET6 socket. ESOCKTNOSUPPORT,
// EPROTONOSUPPORT, EPERM, EACCES, ENFILE.
func (n *Net) NewInet(family, kind, protocol int) (Socket, error) {
	switch {
	case protocol < 0 || protocol >= maxProtocol:
		return nil, unix.EINVAL
	case kind == unix.SOCK_RAW:
		return nil, unix.EPERM
	case kind != unix.SOCK_STREAM && kind != unix.SOCK_DGRAM:
		return nil, unix.ESOCKTNOSUPPORT
	case kind == unix.SOCK_STREAM && (protocol == 0 || protocol == unix.IPPROTO_TCP):
		protocol = unix.IPPROTO_TCP
	case kind == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP):
		protocol = unix.IPPROTO_UDP
	case kind == unix.SOCK_DGRAM && protocol == unix.IPPROTO_UDPLITE:
	case kind == unix.SOCK_DGRAM && (protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6):
		return nil, unix.EACCES // net.ipv4.ping_group_range is empty
	default:
		return nil, unix.EPROTONOSUPPORT
	}
	b, err := n.newBase(family, kind, protocol)
	if err != nil {
		return nil, err
	}
	if kind == unix.SOCK_DGRAM {
		u := &UDP{inet: inet{base: b}}
		u.self = u
		u.local, u.remote = u.nowhere(), u.nowhere()
		return u, nil
	}
	return newTCP(inet{base: b}), nil
}

// anywhere is the unspecified address of the socket's family.
func (s *inet) anywhere() netip.Addr {
	if s.family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func (s *inet) nowhere() netip.AddrPort { return netip.AddrPortFrom(s.anywhere(), 0) }

// sockaddr is a as the socket's family writes it.
func (s *inet) sockaddr(a netip.AddrPort) []byte {
	p := binary.LittleEndian.AppendUint16(nil, uint16(s.family))
	p = binary.BigEndian.AppendUint16(p, a.Port())
	if s.family == unix.AF_INET {
		p = append(p, a.Addr().AsSlice()...)
		return append(p, make([]byte, sockaddrIn-len(p))...)
	}
	b := a.Addr().As16()
	p = append(append(p, 0, 0, 0, 0), b[:]...)
	return append(p, 0, 0, 0, 0) // sin6_scope_id
}

// parse reads an address of the socket's own family. EINVAL, EAFNOSUPPORT.
func (s *inet) parse(p []byte) (netip.AddrPort, error) {
	least := sockaddrIn
	if s.family == unix.AF_INET6 {
		least = sockaddrIn6Old
	}
	if len(p) < least {
		return netip.AddrPort{}, unix.EINVAL
	}
	if int(binary.LittleEndian.Uint16(p)) != s.family {
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	}
	return parseAny(p), nil
}

// parseAny reads a sockaddr_in or a sockaddr_in6 that is long enough.
func parseAny(p []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(p[2:])
	if binary.LittleEndian.Uint16(p) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[8:24])).Unmap(), port)
}

// Sockname is getsockname(2).
func (s *inet) Sockname() []byte { return s.sockaddr(s.local) }

// v6only is IPV6_V6ONLY.
func (s *inet) v6only() bool { return s.ints[option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}] != 0 }

// accepts reports whether what is sent to a comes to s, or whether s has it.
func (s *inet) accepts(a netip.Addr) bool {
	l := s.local.Addr()
	return l == a || l.IsUnspecified() && (l.Is4() == a.Is4() || l.Is6() && !s.v6only())
}

// isLocal reports whether a is an address of this jail.
func (n *Net) isLocal(a netip.Addr) bool {
	return a.IsLoopback() || n.Outside != nil && (a == Outside4 || a == Outside6)
}

// table is the ports of the socket's protocol.
func (s *inet) table() portTable {
	t := &s.net.ports[tcpPorts]
	switch s.protocol {
	case unix.IPPROTO_UDP:
		t = &s.net.ports[udpPorts]
	case unix.IPPROTO_UDPLITE:
		t = &s.net.ports[udpLitePorts]
	}
	if *t == nil {
		*t = make(portTable)
	}
	return *t
}

// Bind is __inet_bind and __inet6_bind. EINVAL, EAFNOSUPPORT, EADDRNOTAVAIL,
// EADDRINUSE.
func (s *inet) Bind(p []byte) error {
	a, err := s.parse(p)
	if err == unix.EAFNOSUPPORT && s.family == unix.AF_INET && family(p) == unix.AF_UNSPEC && leUint32(p[4:]) == 0 {
		a, err = netip.AddrPortFrom(s.anywhere(), binary.BigEndian.Uint16(p[2:])), nil
	}
	if err != nil {
		return err
	}
	ip := a.Addr()
	switch {
	case s.family == unix.AF_INET6 && ip.Is4() && s.v6only():
		return unix.EINVAL
	case s.family == unix.AF_INET6 && ip.IsMulticast() && s.kind == unix.SOCK_STREAM:
		return unix.EINVAL
	case ip.IsUnspecified() || s.net.isLocal(ip) || ip.IsMulticast() || ip == broadcast || s.freebind():
	default:
		return unix.EADDRNOTAVAIL
	}
	if s.state != closed || s.local.Port() != 0 {
		return unix.EINVAL
	}
	if err := s.take(a); err != nil {
		return err
	}
	s.keepAddr, s.keepPort = !ip.IsUnspecified(), a.Port() != 0
	return nil
}

func (s *inet) freebind() bool {
	return s.ints[option{unix.IPPROTO_IP, unix.IP_FREEBIND}] != 0 || s.ints[option{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND}] != 0
}

// take gives s the address a, with a free port if it has none. EADDRINUSE.
func (s *inet) take(a netip.AddrPort) error {
	was := s.local
	if a.Port() != 0 {
		if s.local = a; !s.free() {
			s.local = was
			return unix.EADDRINUSE
		}
	} else if !s.findPort(a.Addr()) {
		s.local = was
		return unix.EADDRINUSE
	}
	s.join()
	return nil
}

// findPort looks for a port that nobody else has.
func (s *inet) findPort(ip netip.Addr) bool {
	const ports = lastEphemeral - firstEphemeral + 1
	for range ports {
		s.net.lastPort++
		port := uint16(firstEphemeral + s.net.lastPort%ports)
		if len(s.table()[port]) == 0 {
			s.local = netip.AddrPortFrom(ip, port)
			return true
		}
	}
	return false
}

// free is inet_csk_bind_conflict and inet_rcv_saddr_equal: nobody else has an
// address at the port that s would share.
func (s *inet) free() bool {
	const reuse, group = 1 << unix.SO_REUSEADDR, 1 << unix.SO_REUSEPORT
	for _, o := range s.table()[s.local.Port()] {
		both := s.options & o.options
		switch {
		case o == s, !s.accepts(o.local.Addr()) && !o.accepts(s.local.Addr()):
		case both&group != 0:
		case both&reuse != 0 && o.state != listening:
		default:
			return false
		}
	}
	return true
}

// join puts s into the port table, leave takes it out.
func (s *inet) join() {
	t := s.table()
	t[s.local.Port()] = append(t[s.local.Port()], s)
}

func (s *inet) leave() {
	t, port := s.table(), s.local.Port()
	list := slices.DeleteFunc(slices.Clone(t[port]), func(o *inet) bool { return o == s })
	if t[port] = list; len(list) == 0 {
		delete(t, port)
	}
}

// release takes away what bind(2) did not give.
func (s *inet) release() {
	ip, port := s.local.Addr(), s.local.Port()
	if !s.keepPort && port != 0 {
		s.leave()
		port = 0
	}
	if !s.keepAddr {
		ip = s.anywhere()
	}
	s.local = netip.AddrPortFrom(ip, port)
}

// autobind gives s a port. EAGAIN: all are taken.
func (s *inet) autobind() error {
	if s.local.Port() != 0 {
		return nil
	}
	if s.take(s.local) != nil {
		return unix.EAGAIN
	}
	return nil
}

// source is the address that a packet to ip comes from.
func (s *inet) source(ip netip.Addr) netip.Addr {
	switch {
	case !s.local.Addr().IsUnspecified():
		return s.local.Addr()
	case s.net.isLocal(ip) || s.net.Outside == nil:
	case ip.Is4():
		return Outside4
	default:
		return Outside6
	}
	if ip.Is4() {
		return loopback4
	}
	return loopback6
}

// target is where a packet to a goes: the unspecified address is this host.
func (s *inet) target(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().IsUnspecified() {
		return a
	}
	ip := loopback6
	if a.Addr().Is4() || s.local.Addr().Is4() {
		ip = loopback4
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// reaches says whether there is a way from s to an address. ENETUNREACH, EAFNOSUPPORT.
func (s *inet) reaches(to netip.AddrPort) error {
	l, ip := s.local.Addr(), to.Addr()
	switch {
	case s.family == unix.AF_INET6 && ip.Is4() && s.v6only():
		return unix.ENETUNREACH
	case !l.IsUnspecified() && l.Is4() != ip.Is4():
		if l.Is4() {
			return unix.ENETUNREACH
		}
		return unix.EINVAL
	case !s.net.isLocal(ip):
		return s.route(to)
	}
	return nil
}

// family is sa_family, -1 if p is too short for one.
func family(p []byte) int {
	if len(p) < 2 {
		return -1
	}
	return int(binary.LittleEndian.Uint16(p))
}

func leUint32(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
