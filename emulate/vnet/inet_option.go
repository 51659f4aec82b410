//go:build linux

package vnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// option names an option of a protocol.
type option struct{ level, name int }

// number is an option that is a number, kept and shown; a few mean something here.
type number struct {
	first, least, most int32
	family             int   // AF_INET6: of IPv6 sockets only
	kind               int   // SOCK_…, 0 any; others see IPPROTO_IP's first values
	not                int32 // between least and most, but EINVAL
	exact              bool  // of the two values 0 and 1 only these
}

const (
	maxInt = 1<<31 - 1
	none   = -maxInt - 1

	udpLiteSendCscov = 10 // include/uapi/linux/udp.h, the part that the checksum covers
	udpLiteRecvCscov = 11
)

// numbers are the options of net/ipv4/ip_sockglue.c:do_ip_setsockopt,
// net/ipv6/ipv6_sockglue.c:do_ipv6_setsockopt and net/ipv4/tcp.c:do_tcp_setsockopt
// that programs set.
var numbers = map[option]number{
	{unix.IPPROTO_IP, unix.IP_TOS}:                    {0, 0, 255, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_TTL}:                    {64, -1, 255, 0, 0, 0, false},
	{unix.IPPROTO_IP, unix.IP_RECVOPTS}:               {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_RETOPTS}:                {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_PKTINFO}:                {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}:           {unix.IP_PMTUDISC_WANT, 0, 5, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_RECVERR}:                {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_RECVTTL}:                {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_RECVTOS}:                {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_FREEBIND}:               {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR}:        {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT}:   {0, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL}:          {1, -1, 255, 0, unix.SOCK_DGRAM, none, false},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP}:         {1, 0, 1, 0, 0, none, false},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL}:          {1, 0, 1, 0, 0, none, true},
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:             {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}:       {64, -1, 255, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS}:     {1, -1, 255, unix.AF_INET6, unix.SOCK_DGRAM, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP}:     {1, 0, 1, unix.AF_INET6, 0, none, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF}:       {0, 0, 1, unix.AF_INET6, unix.SOCK_DGRAM, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}:       {unix.IPV6_PMTUDISC_WANT, 0, 5, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR}:            {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}:        {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT}:       {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}:         {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVRTHDR}:          {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVDSTOPTS}:        {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPOPTS}:        {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPATHMTU}:        {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG}:           {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:             {0, -1, 255, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_AUTOFLOWLABEL}:      {1, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND}:           {0, 0, 1, unix.AF_INET6, 0, none, false},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:              {0, 0, 1, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:               {536, 88, 32767, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_CORK}:                 {0, 0, 1, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:             {7200, 1, 32767, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:            {75, 1, 32767, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:              {9, 1, 127, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT}:               {6, 1, 127, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}:              {60, -maxInt - 1, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}:         {0, -maxInt - 1, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP}:         {0, 0, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:             {1, 0, 1, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}:         {0, 0, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN}:             {0, 0, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_TIMESTAMP}:            {0, -maxInt - 1, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}:        {0, -maxInt - 1, maxInt, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_TCP, unix.TCP_INQ}:                  {0, 0, 1, 0, unix.SOCK_STREAM, none, true},
	{unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS}: {0, 0, 1, 0, unix.SOCK_STREAM, none, true},
	{unix.IPPROTO_TCP, unix.TCP_THIN_DUPACK}:          {0, 0, 1, 0, unix.SOCK_STREAM, none, true},
	{unix.IPPROTO_TCP, unix.TCP_SAVE_SYN}:             {0, 0, 2, 0, unix.SOCK_STREAM, none, false},
	{unix.IPPROTO_UDPLITE, udpLiteSendCscov}:          {0, none + 1, maxInt, 0, 0, none, false},
	{unix.IPPROTO_UDPLITE, udpLiteRecvCscov}:          {0, none + 1, maxInt, 0, 0, none, false},
	{unix.IPPROTO_UDP, unix.UDP_CORK}:                 {0, 0, 1, 0, unix.SOCK_DGRAM, none, false},
}

// bit says that any other number than 0 sets the option to 1.
func (n number) bit() bool { return n.least == 0 && n.most == 1 }

// hasLevel says whether the socket has options at a level.
func (s *inet) hasLevel(level int) bool {
	return level == unix.SOL_SOCKET || level == unix.IPPROTO_IP || level == s.protocol ||
		level == unix.IPPROTO_IPV6 && s.family == unix.AF_INET6
}

// number looks an option up.
func (s *inet) number(o option) (number, bool) {
	n, ok := numbers[o]
	return n, ok && (n.family == 0 || n.family == s.family)
}

// Option is getsockopt(2).
func (s *inet) Option(level, name int) ([]byte, error) {
	switch {
	case s.hasLevel(level):
	case s.family == unix.AF_INET6:
		return nil, unix.ENOPROTOOPT
	default:
		return nil, unix.EOPNOTSUPP
	}
	o := option{level, name}
	if n, ok := s.number(o); ok {
		v, set := s.ints[o]
		if !set {
			v = n.first
		}
		return le32(uint32(v)), nil
	}
	switch o {
	case option{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}:
		return nil, nil
	case option{unix.SOL_SOCKET, unix.SO_INCOMING_CPU}, option{unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID},
		option{unix.SOL_SOCKET, unix.SO_ZEROCOPY}, option{unix.SOL_SOCKET, unix.SO_BUSY_POLL}:
		return le32(0), nil
	case option{unix.IPPROTO_IP, unix.IP_OPTIONS}:
		return nil, nil
	case option{unix.IPPROTO_IP, unix.IP_MTU}, option{unix.IPPROTO_IPV6, unix.IPV6_MTU}:
		if s.state != established {
			return nil, unix.ENOTCONN
		}
		return le32(loMTU), nil
	case option{unix.IPPROTO_IP, unix.IP_MULTICAST_IF}:
		return make([]byte, 4), nil
	case option{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		name := make([]byte, 16) // TCP_CA_NAME_MAX
		copy(name, s.congestionName())
		return name, nil
	case option{unix.IPPROTO_TCP, unix.TCP_INFO}:
		return s.info(), nil
	}
	if level == unix.SOL_SOCKET {
		return s.option(name)
	}
	return nil, unix.ENOPROTOOPT
}

// loMTU is the mtu of lo.
const loMTU = 65536

func (s *inet) congestionName() string {
	if s.congestion == "" {
		return "cubic"
	}
	return s.congestion
}

// info is struct tcp_info as far as there is something to tell.
func (s *inet) info() []byte {
	p := make([]byte, 248)
	p[0] = s.self.(*TCP).tcpState()
	binary.LittleEndian.PutUint32(p[16:], loMTU-40) // tcpi_snd_mss
	binary.LittleEndian.PutUint32(p[20:], 536)      // tcpi_rcv_mss
	binary.LittleEndian.PutUint32(p[80:], 10)       // tcpi_snd_cwnd
	return p
}

func (s *inet) setInt(o option, v int32) {
	if s.ints == nil {
		s.ints = make(map[option]int32)
	}
	s.ints[o] = v
}

// SetOption is setsockopt(2).
func (s *inet) SetOption(level, name int, value []byte, privileged bool) error {
	if !s.hasLevel(level) {
		return unix.ENOPROTOOPT
	}
	o := option{level, name}
	if n, ok := s.number(o); ok {
		return s.setNumber(o, n, value)
	}
	switch o {
	case option{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}:
		device, _, _ := bytes.Cut(value, []byte{0})
		if len(device) > 0 && string(device) != "lo" {
			return unix.ENODEV
		}
		return nil
	case option{unix.SOL_SOCKET, unix.SO_INCOMING_CPU}, option{unix.SOL_SOCKET, unix.SO_BUSY_POLL}:
		return nil
	case option{unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP}, option{unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP},
		option{unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP}, option{unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP}:
		return s.membership(o, value)
	case option{unix.IPPROTO_IP, unix.IP_MULTICAST_IF}:
		return nil
	case option{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		name, _, _ := bytes.Cut(value, []byte{0})
		if string(name) != "cubic" && string(name) != "reno" {
			return unix.ENOENT
		}
		s.congestion = string(name)
		return nil
	}
	if level != unix.SOL_SOCKET {
		return unix.ENOPROTOOPT
	}
	return s.setOption(name, value, privileged)
}

// setNumber sets one of the numbers; at IPPROTO_IP one byte is enough. EINVAL.
func (s *inet) setNumber(o option, n number, value []byte) error {
	var v int32
	switch {
	case len(value) >= 4:
		v = int32(leUint32(value))
	case o.level == unix.IPPROTO_IP && len(value) >= 1:
		v = int32(value[0])
	default:
		return unix.EINVAL
	}
	switch {
	case o == option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY} && s.local.Port() != 0:
		return unix.EINVAL
	case n.kind != 0 && n.kind != s.kind, n.exact && v&^1 != 0, v == n.not:
		return unix.EINVAL
	case n.bit() && v != 0:
		v = 1
	case o.name == unix.IPV6_TCLASS && v == -1:
		v = 0
	case (o == option{unix.IPPROTO_IP, unix.IP_TOS} || o.name == unix.IPV6_TCLASS) && s.kind == unix.SOCK_STREAM:
		v = v&0xfc | s.ints[o]&3 // INET_ECN_MASK is TCP's
	case o == option{unix.IPPROTO_IP, unix.IP_TOS}:
		v &= 0xff
	case v < n.least || v > n.most:
		return unix.EINVAL
	case v == -1 && n.least == -1:
		v = n.first
	}
	s.setInt(o, v)
	return nil
}

// membership is ip_mc_join_group and its like. EINVAL, EADDRINUSE,
// EADDRNOTAVAIL, ENODEV.
func (s *inet) membership(o option, value []byte) error {
	u, ok := s.self.(*UDP)
	var group netip.Addr
	switch {
	case o.level == unix.IPPROTO_IP && len(value) >= 8: // struct ip_mreq
		group = netip.AddrFrom4([4]byte(value[:4]))
	case o.level == unix.IPPROTO_IPV6 && len(value) >= 20: // struct ipv6_mreq
		group = netip.AddrFrom16([16]byte(value[:16]))
		if i := leUint32(value[16:]); i > 1 {
			return unix.ENODEV
		}
	default:
		return unix.EINVAL
	}
	if !ok || !group.IsMulticast() {
		return unix.EINVAL
	}
	at := slices.Index(u.groups, group)
	switch join := o.name == unix.IP_ADD_MEMBERSHIP && o.level == unix.IPPROTO_IP || o.name == unix.IPV6_JOIN_GROUP && o.level == unix.IPPROTO_IPV6; {
	case join && at >= 0:
		return unix.EADDRINUSE
	case join && len(u.groups) >= maxGroups:
		return unix.ENOBUFS
	case join:
		u.groups = append(u.groups, group)
	case at < 0:
		return unix.EADDRNOTAVAIL
	default:
		u.groups = slices.Delete(u.groups, at, at+1)
	}
	return nil
}

// maxGroups is net.ipv4.igmp_max_memberships.
const maxGroups = 20

// multicast delivers to every member of the group but, unless it wants that, not
// to those of this host, which is all there are.
func (s *UDP) multicast(d *datagram) {
	loop := option{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP}
	if d.to.Addr().Is6() {
		loop = option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP}
	}
	if v, set := s.ints[loop]; set && v == 0 {
		return
	}
	for _, o := range slices.Clone(s.table()[d.to.Port()]) {
		u := o.self.(*UDP)
		if u.accepts(d.to.Addr()) && slices.Contains(u.groups, d.to.Addr()) && (u.state != established || u.remote == d.from) {
			u.deliver(d)
		}
	}
}
