//go:build linux

package vnet

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// header fills in what options and control messages say of the IP header:
// ip_cmsg_send and ip6_datagram_send_ctl. EINVAL.
func (s *UDP) header(d *datagram, control []Control) error {
	tos, ttl := option{unix.IPPROTO_IP, unix.IP_TOS}, option{unix.IPPROTO_IP, unix.IP_TTL}
	if d.to.Addr().Is6() {
		tos, ttl = option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}, option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}
	}
	d.tos, d.ttl = s.ints[tos], 64
	if v, set := s.ints[ttl]; set {
		d.ttl = v
	}
	for _, m := range control {
		if int(m.Level) == unix.SOL_SOCKET || int(m.Level) != tos.level {
			continue
		}
		v := int32(-1)
		if len(m.Data) == 4 {
			v = int32(leUint32(m.Data))
		}
		switch kind := (option{int(m.Level), int(m.Type)}); kind {
		case option{unix.IPPROTO_IP, unix.IP_TTL}, option{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			if len(m.Data) != 4 || v < -1 || v > 255 || v < 1 && d.to.Addr().Is4() {
				return unix.EINVAL
			}
			if v >= 0 {
				d.ttl = v
			}
		case option{unix.IPPROTO_IP, unix.IP_TOS}, option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			if len(m.Data) == 1 && kind.level == unix.IPPROTO_IP {
				v = int32(m.Data[0])
			} else if len(m.Data) != 4 || v < -1 || v > 255 {
				return unix.EINVAL
			}
			d.tos = max(v, 0)
		case option{unix.IPPROTO_IP, unix.IP_PKTINFO}, option{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}:
			if len(m.Data) < 12 {
				return unix.EINVAL
			}
		case option{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG}:
		default:
			return unix.EINVAL
		}
	}
	return nil
}

// control is ip_cmsg_recv and sock_recv_timestamp: what the options ask for.
func (s *UDP) control(d *datagram) (list []Control) {
	add := func(level, kind int, data []byte) {
		list = append(list, Control{int32(level), int32(kind), data})
	}
	sec, nsec := uint64(d.at/time.Second), uint64(d.at%time.Second)
	stamp := binary.LittleEndian.AppendUint64(nil, sec)
	switch {
	case s.options>>unix.SO_TIMESTAMPNS&1 != 0:
		add(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, binary.LittleEndian.AppendUint64(stamp, nsec))
	case s.options>>unix.SO_TIMESTAMP&1 != 0:
		add(unix.SOL_SOCKET, unix.SO_TIMESTAMP, binary.LittleEndian.AppendUint64(stamp, nsec/1000))
	}
	on := func(level, name int) bool { return s.ints[option{level, name}] != 0 }
	to := d.to.Addr()
	if s.family == unix.AF_INET || to.Is4() {
		if on(unix.IPPROTO_IP, unix.IP_PKTINFO) { // struct in_pktinfo: interface, ours, theirs
			ours := to
			if ours.IsMulticast() {
				ours = loopback4
			}
			add(unix.IPPROTO_IP, unix.IP_PKTINFO, append(append(le32(1), ours.AsSlice()...), to.AsSlice()...))
		}
		if on(unix.IPPROTO_IP, unix.IP_RECVTTL) {
			add(unix.IPPROTO_IP, unix.IP_TTL, le32(uint32(d.ttl)))
		}
		if on(unix.IPPROTO_IP, unix.IP_RECVTOS) {
			add(unix.IPPROTO_IP, unix.IP_TOS, []byte{byte(d.tos)})
		}
	}
	if s.family == unix.AF_INET6 {
		if on(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO) {
			b := to.As16()
			add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(b[:], le32(1)...))
		}
		if on(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT) && to.Is6() {
			add(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, le32(uint32(d.ttl)))
		}
		if on(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS) && to.Is6() {
			add(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, le32(uint32(d.tos)))
		}
	}
	return list
}
