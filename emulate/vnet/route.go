//go:build linux

package vnet

import (
	"encoding/binary"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// route is what the kernel has for the addresses of an interface.
type route struct {
	dst                netip.Prefix
	table, scope, kind byte // RT_TABLE_…, RT_SCOPE_…, RTN_…
	src                netip.Addr
	index              int
}

// last is the highest address of an IPv4 network: to broadcast.
func last(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// routes is net/ipv4/fib_frontend.c:fib_add_ifaddr of each address.
func (n *Net) routes() (list []route) {
	for _, i := range n.Interfaces() {
		for _, p := range i.Addrs {
			a, host := p.Addr(), byte(unix.RT_SCOPE_HOST)
			if a.Is6() {
				host = unix.RT_SCOPE_UNIVERSE
			}
			switch net := p.Masked(); {
			case p.IsSingleIP():
			case i.Flags&unix.IFF_LOOPBACK != 0:
				list = append(list, route{net, unix.RT_TABLE_LOCAL, host, unix.RTN_LOCAL, a, i.Index})
			default:
				list = append(list, route{net, unix.RT_TABLE_MAIN, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, a, i.Index})
			}
			list = append(list, route{netip.PrefixFrom(a, a.BitLen()), unix.RT_TABLE_LOCAL, host, unix.RTN_LOCAL, a, i.Index})
			if a.Is4() && p.Bits() < 31 {
				list = append(list, route{netip.PrefixFrom(last(p), 32), unix.RT_TABLE_LOCAL, unix.RT_SCOPE_LINK,
					unix.RTN_BROADCAST, a, i.Index})
			}
		}
	}
	return list
}

// putOIF adds what routes have in common.
func (m *nlmsg) putOIF(e route, table byte) {
	m.put(unix.RTA_TABLE, le32(uint32(table)))
	m.put(unix.RTA_OIF, le32(uint32(e.index)))
	if e.dst.Addr().Is6() {
		m.put(unix.RTA_PRIORITY, le32(0))
		m.put(unix.RTA_PREF, []byte{0})
		m.put(unix.RTA_CACHEINFO, make([]byte, 32))
	}
}

// routeEntry is fib_dump_info and rt6_fill_node of one in a dump.
func (s *Netlink) routeEntry(r request, e route) nlmsg {
	m := s.message(r, unix.RTM_NEWROUTE, unix.NLM_F_MULTI, addrFamily(e.dst.Addr()), byte(e.dst.Bits()), 0, 0,
		e.table, unix.RTPROT_KERNEL, e.scope, e.kind, 0, 0, 0, 0)
	m.putAddr(unix.RTA_DST, e.dst.Addr())
	if e.dst.Addr().Is4() {
		m.putAddr(unix.RTA_PREFSRC, e.src)
	}
	m.putOIF(e, e.table)
	return m
}

// getRoute is inet_rtm_getroute and inet6_rtm_getroute: how to reach one address.
// EINVAL, ERANGE, EOPNOTSUPP, ENETUNREACH.
func (s *Netlink) getRoute(r request) (nlmsg, error) {
	if len(r.body) < rtmsg {
		return nil, unix.EINVAL
	}
	dst := netip.IPv4Unspecified()
	switch r.body[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		dst = netip.IPv6Unspecified()
	default:
		return nil, unix.EOPNOTSUPP
	}
	if p := attribute(r.body[rtmsg:], unix.RTA_DST); p != nil {
		n := dst.BitLen() / 8
		if len(p) < n {
			return nil, unix.ERANGE
		}
		dst, _ = netip.AddrFromSlice(p[:n])
	}
	to := dst
	if to == netip.IPv4Unspecified() {
		to = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var best route
	for _, e := range s.net.routes() {
		if e.dst.Contains(to) && (!best.dst.IsValid() || e.dst.Bits() > best.dst.Bits()) {
			best = e
		}
	}
	if !best.dst.IsValid() {
		return nil, unix.ENETUNREACH
	}
	return s.cloned(r, dst, best), nil
}

// cloned is rt_fill_info: the route of one destination.
func (s *Netlink) cloned(r request, dst netip.Addr, e route) nlmsg {
	const rtcfBroadcast, rtcfLocal = 0x10000000, 0x80000000
	table, proto, from := byte(unix.RT_TABLE_MAIN), byte(0), byte(0)
	flags := uint32(unix.RTM_F_CLONED)
	switch {
	case dst.Is6():
		table, proto, from, flags = e.table, unix.RTPROT_KERNEL, byte(dst.BitLen()), 0
	case e.kind == unix.RTN_BROADCAST:
		flags |= rtcfBroadcast | rtcfLocal
	case e.kind == unix.RTN_LOCAL:
		flags |= rtcfLocal
	}
	m := s.message(r, unix.RTM_NEWROUTE, 0, addrFamily(dst), byte(dst.BitLen()), from, 0, table, proto, 0, e.kind)
	m = append(m, le32(flags)...)
	m.putAddr(unix.RTA_DST, dst)
	if from != 0 {
		m.putAddr(unix.RTA_SRC, netip.IPv6Unspecified())
	}
	m.putAddr(unix.RTA_PREFSRC, e.src)
	m.putOIF(e, table)
	return m
}

// rules are those that every network namespace begins with.
func (s *Netlink) rules(r request, family4, family6 bool) (list []nlmsg) {
	const preferMain, preferDefault = 0x7ffe, 0x7fff
	for _, e := range []struct {
		wanted bool
		family byte
		table  byte
		prefer uint32
	}{{family4, unix.AF_INET, unix.RT_TABLE_LOCAL, 0}, {family4, unix.AF_INET, unix.RT_TABLE_MAIN, preferMain},
		{family4, unix.AF_INET, unix.RT_TABLE_DEFAULT, preferDefault}, {family6, unix.AF_INET6, unix.RT_TABLE_LOCAL, 0},
		{family6, unix.AF_INET6, unix.RT_TABLE_MAIN, preferMain}} {
		if !e.wanted {
			continue
		}
		m := s.message(r, unix.RTM_NEWRULE, unix.NLM_F_MULTI, e.family, 0, 0, 0, e.table, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0)
		m.put(unix.FRA_TABLE, le32(uint32(e.table)))
		m.put(unix.FRA_SUPPRESS_PREFIXLEN, le32(math.MaxUint32))
		m.put(unix.FRA_PROTOCOL, []byte{unix.RTPROT_KERNEL})
		if e.prefer != 0 {
			m.put(unix.FRA_PRIORITY, le32(e.prefer))
		}
		list = append(list, m)
	}
	return list
}
