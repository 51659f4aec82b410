//go:build linux

package vnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// struct ifreq: a name, and a union at 16.
const (
	ifreqSize   = 40
	ifreqUnion  = unix.IFNAMSIZ
	ifmapSize   = 21  // without padding
	ethGetLink  = 0xa // ETHTOOL_GLINK
	sockIocType = 0x89
)

// ifModify are the requests that change a device, an address or a route.
var ifModify = []uint32{unix.SIOCADDRT, unix.SIOCDELRT, unix.SIOCSIFFLAGS, unix.SIOCSIFMETRIC, unix.SIOCSIFMTU,
	unix.SIOCSIFHWADDR, unix.SIOCSIFHWBROADCAST, unix.SIOCSIFMAP, unix.SIOCSIFTXQLEN, unix.SIOCSIFNAME,
	unix.SIOCSIFSLAVE, unix.SIOCADDMULTI, unix.SIOCDELMULTI, unix.SIOCGMIIPHY, unix.SIOCGMIIREG, unix.SIOCSMIIREG}

// ioctl is what sockets of all families have in common: sock_do_ioctl,
// net/core/dev_ioctl.c, and of AF_INET sockets net/ipv4/devinet.c:devinet_ioctl.
// ENOTTY, EFAULT, ENODEV, EADDRNOTAVAIL, EPERM.
func (s *base) ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	if request>>8&0xff != sockIocType {
		return 0, unix.ENOTTY
	}
	if request == unix.SIOCGIFCONF {
		return 0, s.net.ifconf(mem, arg)
	}
	var req [ifreqSize]byte
	if err := mem.Read(arg, req[:]); err != nil {
		return 0, err
	}
	name, _, _ := bytes.Cut(req[:unix.IFNAMSIZ-1], []byte{0})
	name, _, _ = bytes.Cut(name, []byte{':'})
	i := s.net.findInterface(string(name), 0)
	if len(name) == 0 {
		i = nil
	}
	if request == unix.SIOCGIFNAME {
		if i = s.net.findInterface("", int(int32(binary.LittleEndian.Uint32(req[ifreqUnion:])))); i != nil {
			clear(req[:unix.IFNAMSIZ])
			copy(req[:], i.Name)
		}
	}
	switch answer, err := s.ifreq(mem, request, i, &req); {
	case err != nil:
		return 0, err
	case !answer:
		return 0, nil
	}
	return 0, mem.Write(arg, req[:])
}

// ifreq answers one request about i, which is nil if there is no such device.
func (s *base) ifreq(mem fdtable.Memory, request uint32, i *Interface, req *[ifreqSize]byte) (answer bool, err error) {
	union := req[ifreqUnion:]
	inet := s.family == unix.AF_INET
	switch request {
	case unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK:
		if !inet {
			return false, unix.ENOTTY
		}
		return true, ifAddress(request, i, req)
	case unix.SIOCSIFADDR, unix.SIOCSIFDSTADDR, unix.SIOCSIFBRDADDR, unix.SIOCSIFNETMASK:
		if !inet {
			return false, unix.ENOTTY
		}
		return false, unix.EPERM
	case unix.SIOCGIFFLAGS, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFSLAVE, unix.SIOCGIFMAP,
		unix.SIOCGIFINDEX, unix.SIOCGIFTXQLEN, unix.SIOCGIFNAME:
		if i == nil {
			return false, unix.ENODEV
		}
	case unix.SIOCETHTOOL:
		return false, ethtool(mem, binary.LittleEndian.Uint64(union), i)
	default:
		if slices.Contains(ifModify, request) {
			return false, unix.EPERM
		}
		return false, unix.ENOTTY
	}
	switch request {
	case unix.SIOCGIFFLAGS:
		binary.LittleEndian.PutUint16(union, uint16(i.Flags))
	case unix.SIOCGIFMETRIC:
		clear(union[:4])
	case unix.SIOCGIFMTU:
		binary.LittleEndian.PutUint32(union, uint32(i.MTU))
	case unix.SIOCGIFHWADDR:
		binary.LittleEndian.PutUint16(union, i.Kind)
		copy(union[2:], i.MAC[:])
	case unix.SIOCGIFMAP:
		clear(union[:ifmapSize])
	case unix.SIOCGIFINDEX:
		binary.LittleEndian.PutUint32(union, uint32(i.Index))
	case unix.SIOCGIFTXQLEN:
		binary.LittleEndian.PutUint32(union, txQueueLen)
	case unix.SIOCGIFSLAVE:
		return false, unix.EINVAL
	}
	return true, nil
}

// ifAddress is devinet_ioctl: the address that the sockaddr in req asks about, or
// the first one. No address has the label of an alias.
func ifAddress(request uint32, i *Interface, req *[ifreqSize]byte) error {
	if i == nil {
		return unix.ENODEV
	}
	union := req[ifreqUnion:]
	var found netip.Prefix
	for _, p := range i.Addrs {
		asked := union[0] == unix.AF_INET && union[1] == 0 && netip.AddrFrom4([4]byte(union[4:8])) == p.Addr()
		if p.Addr().Is4() && req[len(i.Name)] == 0 && (!found.IsValid() || asked) {
			found = p
		}
	}
	if !found.IsValid() {
		return unix.EADDRNOTAVAIL
	}
	clear(union[:16])
	binary.LittleEndian.PutUint16(union, unix.AF_INET)
	switch addr := found.Addr().As4(); request {
	case unix.SIOCGIFNETMASK:
		binary.BigEndian.PutUint32(union[4:], ^uint32(0)<<(32-found.Bits()))
	case unix.SIOCGIFBRDADDR:
		if i.Flags&unix.IFF_BROADCAST != 0 {
			copy(union[4:], last(found).AsSlice())
		}
	default:
		copy(union[4:], addr[:])
	}
	return nil
}

// ethtool is net/ethtool/ioctl.c of a device that knows only whether it is up.
func ethtool(mem fdtable.Memory, addr uint64, i *Interface) error {
	var cmd [4]byte
	if err := mem.Read(addr, cmd[:]); err != nil {
		return err
	}
	switch {
	case i == nil:
		return unix.ENODEV
	case binary.LittleEndian.Uint32(cmd[:]) != ethGetLink:
		return unix.EOPNOTSUPP
	}
	return mem.Write(addr+4, le32(i.Flags/unix.IFF_RUNNING&1))
}

// ifconf is dev_ifconf: a struct ifreq for each IPv4 address, or without a buffer
// how long they are.
func (n *Net) ifconf(mem fdtable.Memory, arg uint64) error {
	var conf [16]byte // struct ifconf
	if err := mem.Read(arg, conf[:]); err != nil {
		return err
	}
	room, buf := int32(binary.LittleEndian.Uint32(conf[:])), binary.LittleEndian.Uint64(conf[8:])
	total := int32(0)
	for _, i := range n.Interfaces() {
		for _, p := range i.Addrs {
			if !p.Addr().Is4() || buf != 0 && room-total < ifreqSize {
				continue
			}
			var req [ifreqSize]byte
			copy(req[:unix.IFNAMSIZ-1], i.Name)
			req[ifreqUnion] = unix.AF_INET
			copy(req[ifreqUnion+4:], p.Addr().AsSlice())
			if buf != 0 && mem.Write(buf+uint64(total), req[:]) != nil {
				return unix.EFAULT
			}
			total += ifreqSize
		}
	}
	return mem.Write(arg, le32(uint32(total)))
}
