//go:build linux

package vnet

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// netlinkHeader is struct nlmsghdr.
const netlinkHeader = unix.NLMSG_HDRLEN

// request is one message to the kernel: its header, and what is behind it, which
// is at least one byte, the address family.
type request struct {
	kind, flags uint16
	seq         uint32
	header      []byte
	body        []byte
}

// nlmsg is a message that grows by attributes.
type nlmsg []byte

// put adds an attribute, struct nlattr.
func (m *nlmsg) put(kind uint16, data []byte) {
	*m = binary.LittleEndian.AppendUint16(*m, uint16(4+len(data)))
	*m = binary.LittleEndian.AppendUint16(*m, kind)
	*m = append(*m, data...)
	*m = append(*m, make([]byte, -len(data)&3)...)
}

func (m *nlmsg) putAddr(kind uint16, a netip.Addr) { m.put(kind, a.AsSlice()) }

// attribute finds the last attribute of a kind in p; nil: there is none.
func attribute(p []byte, kind uint16) (found []byte) {
	for len(p) >= 4 {
		n := int(binary.LittleEndian.Uint16(p))
		if n < 4 || n > len(p) {
			break
		}
		if binary.LittleEndian.Uint16(p[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			found = p[4:n:n]
		}
		p = p[min((n+3)&^3, len(p)):]
	}
	return found
}

// requests is netlink_rcv_skb: as many messages as there are.
func (s *Netlink) requests(p []byte) {
	for len(p) >= netlinkHeader {
		size := binary.LittleEndian.Uint32(p)
		if size < netlinkHeader || uint64(size) > uint64(len(p)) {
			return
		}
		r := request{kind: binary.LittleEndian.Uint16(p[4:]), flags: binary.LittleEndian.Uint16(p[6:]),
			seq: binary.LittleEndian.Uint32(p[8:]), header: p[:netlinkHeader], body: p[netlinkHeader:size]}
		var err error
		acked := r.flags&unix.NLM_F_ACK == 0
		if r.flags&unix.NLM_F_REQUEST != 0 && r.kind >= unix.NLMSG_MIN_TYPE {
			var dumped bool
			dumped, err = s.route(r)
			acked = acked || dumped
		}
		if err != nil || !acked {
			s.ack(r, err)
		}
		p = p[min((uint64(size)+3)&^3, uint64(len(p))):]
	}
}

// message is a message of the kernel's without its attributes.
func (s *Netlink) message(r request, kind, flags uint16, body ...byte) nlmsg {
	m := binary.LittleEndian.AppendUint16(make(nlmsg, 4, 64), kind)
	m = binary.LittleEndian.AppendUint16(m, flags)
	m = append(append(m, le32(r.seq)...), le32(s.port)...)
	return append(m, body...)
}

// sealed is m with its length.
func (m nlmsg) sealed() []byte {
	binary.LittleEndian.PutUint32(m, uint32(len(m)))
	return m
}

// ack is netlink_ack: of an error the whole request is given back.
func (s *Netlink) ack(r request, err error) {
	errno, _ := err.(unix.Errno)
	flags := uint16(unix.NLM_F_CAPPED)
	back := r.header
	if err != nil && s.flags>>unix.NETLINK_CAP_ACK&1 == 0 {
		flags, back = 0, append(back[:len(back):len(back)], r.body...)
	}
	s.reply(append(s.message(r, unix.NLMSG_ERROR, flags, le32(uint32(-int32(errno)))...), back...).sealed())
}

// route is rtnetlink_rcv_msg. EPERM for whatever would change something, EOPNOTSUPP, ENOENT.
func (s *Netlink) route(r request) (dumped bool, err error) {
	const kinds, get = 3, 2 // RTNL_KIND_MASK, RTNL_KIND_GET
	switch {
	case s.protocol == unix.NETLINK_SOCK_DIAG:
		return false, unix.ENOENT
	case r.kind > unix.RTM_MAX|kinds:
		return false, unix.EOPNOTSUPP
	case len(r.body) == 0:
		return false, nil
	case r.kind&kinds != get:
		return false, unix.EPERM
	}
	if r.flags&unix.NLM_F_DUMP != 0 {
		list, err := s.dump(r, int(r.body[0]))
		if err == nil {
			s.parts(append(list, s.message(r, unix.NLMSG_DONE, unix.NLM_F_MULTI, 0, 0, 0, 0)))
		}
		return true, err
	}
	var m nlmsg
	switch r.kind {
	case unix.RTM_GETLINK:
		m, err = s.getLink(r)
	case unix.RTM_GETROUTE:
		m, err = s.getRoute(r)
	default:
		err = unix.EOPNOTSUPP
	}
	if err == nil {
		s.reply(m.sealed())
	}
	return false, err
}

// parts sends the messages of a dump, and the last one alone.
func (s *Netlink) parts(list []nlmsg) {
	var part []byte
	for i, m := range list {
		if len(part) > 0 && (len(part)+len(m) > netlinkPart || i == len(list)-1) {
			s.reply(part)
			part = nil
		}
		part = append(part, m.sealed()...)
	}
	s.reply(part)
}

// dump is everything of one kind, of one family or of all. EOPNOTSUPP.
func (s *Netlink) dump(r request, family int) (list []nlmsg, err error) {
	family4 := family != unix.AF_INET6 // unknown ones are AF_UNSPEC
	family6 := family != unix.AF_INET
	mine := func(a netip.Addr) bool { return a.Is4() && family4 || a.Is6() && family6 }
	switch r.kind {
	case unix.RTM_GETLINK:
		if family == unix.AF_BRIDGE {
			break
		}
		for _, i := range s.net.Interfaces() {
			list = append(list, s.link(r, unix.NLM_F_MULTI, i))
		}
	case unix.RTM_GETADDR:
		for _, i := range s.net.Interfaces() {
			for _, p := range i.Addrs {
				if mine(p.Addr()) {
					list = append(list, s.address(r, i, p))
				}
			}
		}
	case unix.RTM_GETROUTE:
		for _, e := range s.net.routes() {
			if mine(e.dst.Addr()) {
				list = append(list, s.routeEntry(r, e))
			}
		}
	case unix.RTM_GETRULE:
		list = s.rules(r, family4, family6)
	case unix.RTM_GETNEIGH, unix.RTM_GETQDISC, unix.RTM_GETTCLASS, unix.RTM_GETTFILTER, unix.RTM_GETNEIGHTBL,
		unix.RTM_GETNETCONF, unix.RTM_GETNSID:
		// There are none.
	default:
		return nil, unix.EOPNOTSUPP
	}
	return list, nil
}

// ifinfomsg is its size, rtmsg that of struct rtmsg.
const ifinfomsg, rtmsg = 16, 12

// getLink is rtnl_getlink: a device by index or by name. EINVAL, ENODEV.
func (s *Netlink) getLink(r request) (nlmsg, error) {
	if len(r.body) < ifinfomsg {
		return nil, unix.EINVAL
	}
	index := int(int32(binary.LittleEndian.Uint32(r.body[4:])))
	name, _, _ := bytes.Cut(attribute(r.body[ifinfomsg:], unix.IFLA_IFNAME), []byte{0})
	if len(name) == 0 {
		name, _, _ = bytes.Cut(attribute(r.body[ifinfomsg:], unix.IFLA_ALT_IFNAME), []byte{0})
	}
	if index > 0 {
		name = nil
	} else if len(name) == 0 {
		return nil, unix.EINVAL
	}
	i := s.net.findInterface(string(name), index)
	if i == nil {
		return nil, unix.ENODEV
	}
	return s.link(r, 0, *i), nil
}

// link is net/core/rtnetlink.c:rtnl_fill_ifinfo.
func (s *Netlink) link(r request, flags uint16, i Interface) nlmsg {
	m := s.message(r, unix.RTM_NEWLINK, flags, 0, 0, byte(i.Kind), byte(i.Kind>>8))
	m = append(append(append(m, le32(uint32(i.Index))...), le32(i.Flags)...), 0, 0, 0, 0)
	m.put(unix.IFLA_IFNAME, append([]byte(i.Name), 0))
	for _, a := range []struct {
		kind  uint16
		value uint32
	}{{unix.IFLA_TXQLEN, txQueueLen}, {unix.IFLA_MTU, uint32(i.MTU)}, {unix.IFLA_MIN_MTU, 0}, {unix.IFLA_MAX_MTU, 0},
		{unix.IFLA_GROUP, 0}, {unix.IFLA_PROMISCUITY, 0}, {unix.IFLA_NUM_TX_QUEUES, 1}, {unix.IFLA_GSO_MAX_SEGS, math.MaxUint16},
		{unix.IFLA_GSO_MAX_SIZE, 1 << 16}, {unix.IFLA_NUM_RX_QUEUES, 1}, {unix.IFLA_CARRIER_CHANGES, 0}} {
		m.put(a.kind, le32(a.value))
	}
	m.put(unix.IFLA_OPERSTATE, []byte{0}) // IF_OPER_UNKNOWN
	m.put(unix.IFLA_LINKMODE, []byte{0})
	m.put(unix.IFLA_CARRIER, []byte{byte(i.Flags / unix.IFF_RUNNING & 1)})
	m.put(unix.IFLA_PROTO_DOWN, []byte{0})
	m.put(unix.IFLA_MAP, make([]byte, 32))
	m.put(unix.IFLA_ADDRESS, i.MAC[:])
	broadcast := make([]byte, 6)
	if i.Flags&unix.IFF_BROADCAST != 0 {
		broadcast = bytes.Repeat([]byte{0xff}, 6)
	}
	m.put(unix.IFLA_BROADCAST, broadcast)
	m.put(unix.IFLA_STATS64, make([]byte, 25*8))
	m.put(unix.IFLA_STATS, make([]byte, 24*4))
	m.put(unix.IFLA_QDISC, []byte("noqueue\x00"))
	return m
}

// scope is RT_SCOPE_…: rtm_scope and ifa_scope.
func scope(a netip.Addr) byte {
	switch {
	case a.IsLoopback():
		return unix.RT_SCOPE_HOST
	case a.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

// addrFamily is AF_INET or AF_INET6.
func addrFamily(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address is inet_fill_ifaddr and inet6_fill_ifaddr.
func (s *Netlink) address(r request, i Interface, p netip.Prefix) nlmsg {
	const permanent = unix.IFA_F_PERMANENT
	a := p.Addr()
	m := s.message(r, unix.RTM_NEWADDR, unix.NLM_F_MULTI, addrFamily(a), byte(p.Bits()), permanent, scope(a))
	m = append(m, le32(uint32(i.Index))...)
	m.putAddr(unix.IFA_ADDRESS, a)
	if a.Is4() {
		m.putAddr(unix.IFA_LOCAL, a)
		if i.Flags&unix.IFF_BROADCAST != 0 {
			m.putAddr(unix.IFA_BROADCAST, last(p))
		}
		m.put(unix.IFA_LABEL, append([]byte(i.Name), 0))
	}
	m.put(unix.IFA_FLAGS, le32(permanent))
	m.put(unix.IFA_CACHEINFO, append(bytes.Repeat([]byte{0xff}, 8), make([]byte, 8)...))
	return m
}
