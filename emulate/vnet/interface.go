//go:build linux

package vnet

import (
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Interface is one network device. What programs ask about it, by rtnetlink(7),
// netdevice(7) or /proc/net, is all made of this.
type Interface struct {
	Index int
	Name  string
	Kind  uint16 // ARPHRD_…
	Flags uint32 // IFF_…
	MTU   int
	MAC   [6]byte
	Addrs []netip.Prefix // the address itself, and how many of its bits are the network
}

const txQueueLen = 1000 // DEFAULT_TX_QUEUE_LEN

// Interfaces are the jail's, by Index: lo, and where there is an Outside eth0, for
// programs that look whether they have an address at all (AI_ADDRCONFIG of
// getaddrinfo(3)).
func (n *Net) Interfaces() []Interface {
	list := []Interface{{Index: 1, Name: "lo", Kind: unix.ARPHRD_LOOPBACK, MTU: 65536,
		Flags: unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_LOWER_UP,
		Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}}}
	if n.Outside != nil {
		list = append(list, Interface{Index: 2, Name: "eth0", Kind: unix.ARPHRD_ETHER, MTU: 1500, MAC: [6]byte{2, 0, 198, 18, 0, 1},
			Flags: unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING | unix.IFF_MULTICAST | unix.IFF_LOWER_UP,
			Addrs: []netip.Prefix{netip.PrefixFrom(Outside4, 15), netip.PrefixFrom(Outside6, 64)}})
	}
	return list
}

// findInterface is by name, or by index if name is empty; nil: there is none.
func (n *Net) findInterface(name string, index int) *Interface {
	for _, i := range n.Interfaces() {
		if name == i.Name || name == "" && index == i.Index {
			return &i
		}
	}
	return nil
}

// Entry is a socket as /proc/net and sock_diag(7) list it.
type Entry struct {
	Local, Remote netip.AddrPort
	State         uint8 // TCP_…
	Send, Receive uint32
	UID           uint32
	Ino           uint64
}

// Entries are the jail's sockets of AF_INET or AF_INET6 and one type that have a
// port, as far as Linux lists them, by port.
func (n *Net) Entries(family, kind int) (list []Entry) {
	table := n.ports[0]
	if kind == unix.SOCK_DGRAM {
		table = n.ports[1]
	}
	for _, port := range slices.Sorted(maps.Keys(table)) {
		for _, s := range table[port] {
			if e := s.entry(); s.family == family && (kind == unix.SOCK_DGRAM || e.State != tcpClose) {
				list = append(list, e)
			}
		}
	}
	return list
}

func (s *inet) entry() Entry {
	e := Entry{Local: s.local, Remote: s.remote, State: tcpClose, UID: s.uid, Ino: s.ino}
	switch o := s.self.(type) {
	case *UDP:
		e.Receive = uint32(o.rmem)
		if s.remote.Port() != 0 {
			e.State = tcpEstablished
		}
	case *TCP:
		e.State, e.Receive = o.tcpState(), uint32(o.queued)
		switch e.State {
		case tcpListen:
			e.Receive = uint32(len(o.pending))
		case tcpEstablished:
			e.Send = uint32(o.unsent())
		}
	}
	return e
}

// tcpState is the number that Linux has for the state.
func (s *TCP) tcpState() uint8 {
	switch {
	case s.state == listening:
		return tcpListen
	case s.state == connecting:
		return tcpSynSent
	case s.state == established && s.shut&shutWrite != 0:
		return tcpFinWait2
	case s.state == established && s.fin:
		return tcpCloseWait
	case s.state == established:
		return tcpEstablished
	}
	return tcpClose
}
