//go:build linux

package vnet

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcFile is a file of /proc/net, proc_pid_net(5).
type ProcFile struct {
	Name string
	Text func(*Net) string
}

const (
	inetColumns  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	inet6Columns = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	dropColumns  = " ref pointer drops"
	noPointer    = "0000000000000000" // what %pK shows to who has no privileges
)

// ProcFiles are all of them.
func ProcFiles() []ProcFile {
	is := func(text string) func(*Net) string { return func(*Net) string { return text } }
	padded := func(width int, line string) string { return fmt.Sprintf("%-*s\n", width, line) }
	return []ProcFile{
		{"arp", is("IP address       HW type     Flags       HW address            Mask     Device\n")},
		{"dev", (*Net).procDev},
		{"dev_mcast", is("")},
		{"if_inet6", (*Net).procIfInet6},
		{"igmp", is("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n")},
		{"ipv6_route", (*Net).procRoute6},
		{"netlink", (*Net).procNetlink},
		{"netstat", is(counters(netstatNames))},
		{"packet", is("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")},
		{"protocols", is("protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n")},
		{"raw", is(inetColumns + dropColumns + "\n")},
		{"raw6", is(inet6Columns + dropColumns + "\n")},
		{"route", is(padded(127, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"))},
		{"snmp", is(counters(snmpNames))},
		{"sockstat", func(n *Net) string {
			return fmt.Sprintf("sockets: used %d\nTCP: inuse %d orphan 0 tw 0 alloc %d mem 0\nUDP: inuse %d mem 0\n"+
				"UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n", n.sockets, n.inUse(unix.AF_INET, unix.SOCK_STREAM),
				n.inUse(unix.AF_INET, unix.SOCK_STREAM)+n.inUse(unix.AF_INET6, unix.SOCK_STREAM), n.inUse(unix.AF_INET, unix.SOCK_DGRAM))
		}},
		{"sockstat6", func(n *Net) string {
			return fmt.Sprintf("TCP6: inuse %d\nUDP6: inuse %d\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
				n.inUse(unix.AF_INET6, unix.SOCK_STREAM), n.inUse(unix.AF_INET6, unix.SOCK_DGRAM))
		}},
		{"tcp", func(n *Net) string {
			return padded(149, inetColumns) + n.procInet(unix.AF_INET, unix.SOCK_STREAM, 149)
		}},
		{"tcp6", func(n *Net) string { return inet6Columns + "\n" + n.procInet(unix.AF_INET6, unix.SOCK_STREAM, 0) }},
		{"udp", func(n *Net) string {
			return padded(127, " "+inetColumns+dropColumns) + n.procInet(unix.AF_INET, unix.SOCK_DGRAM, 127)
		}},
		{"udp6", func(n *Net) string {
			return inet6Columns + dropColumns + "\n" + n.procInet(unix.AF_INET6, unix.SOCK_DGRAM, 0)
		}},
		{"unix", (*Net).procUnix},
	}
}

func (n *Net) inUse(family, kind int) int { return len(n.Entries(family, kind)) }

// procDev is net/core/net-procfs.c:dev_seq_show: nothing is counted.
func (n *Net) procDev() string {
	text := "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
	for _, i := range n.Interfaces() {
		text += fmt.Sprintf("%6s:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n", i.Name)
	}
	return text
}

// procIfInet6 is net/ipv6/addrconf.c:if6_seq_show.
func (n *Net) procIfInet6() (text string) {
	kinds := map[byte]int{unix.RT_SCOPE_HOST: 0x10, unix.RT_SCOPE_LINK: 0x20} // IPV6_ADDR_SCOPE_MASK
	for _, i := range n.Interfaces() {
		for _, p := range i.Addrs {
			if p.Addr().Is6() {
				text += fmt.Sprintf("%x %02x %02x %02x %02x %8s\n", p.Addr().AsSlice(), i.Index, p.Bits(),
					kinds[scope(p.Addr())], unix.IFA_F_PERMANENT, i.Name)
			}
		}
	}
	return text
}

// procRoute6 is net/ipv6/route.c:ipv6_route_native_seq_show: between two that
// reject everything, those of the addresses.
func (n *Net) procRoute6() string {
	const (
		line   = "%x %02x %032x 00 %032x %08x %08x %08x %08x %8s\n"
		reject = 0x00200200 // RTF_NONEXTHOP | RTF_REJECT
		local  = 0x80200001 // RTF_LOCAL | RTF_NONEXTHOP | RTF_UP
	)
	none := fmt.Sprintf(line, make([]byte, 16), 0, 0, 0, uint32(1<<32-1), 1, 0, reject, "lo")
	text := none
	for _, e := range n.routes() {
		if e.dst.Addr().Is6() {
			text += fmt.Sprintf(line, e.dst.Addr().AsSlice(), e.dst.Bits(), 0, 0, 0, 2, 0, local, n.findInterface("", e.index).Name)
		}
	}
	return text + none
}

// procNetlink is net/netlink/af_netlink.c:netlink_seq_show.
func (n *Net) procNetlink() string {
	text := "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
	for _, s := range slices.SortedFunc(maps.Keys(n.netlinks), func(a, b *Netlink) int { return cmp.Compare(a.ino, b.ino) }) {
		text += fmt.Sprintf("%s %-3d %-10d %08x %-8d %-8d %-5d %-8d %-8d %-8d\n", noPointer, s.protocol, s.port,
			uint32(s.groups), s.queued, 0, 0, 2, 0, s.ino)
	}
	return text
}

// procAddr is an address and port as /proc/net/tcp has them: words of the machine.
func procAddr(a netip.AddrPort, family int) string {
	p := a.Addr().AsSlice()
	if family == unix.AF_INET6 {
		b := a.Addr().As16()
		p = b[:]
	}
	for i := 0; i < len(p); i += 4 {
		slices.Reverse(p[i : i+4])
	}
	return strings.ToUpper(hex.EncodeToString(p)) + fmt.Sprintf(":%04X", a.Port())
}

// procInet is tcp4_seq_show and udp4_seq_show, and those of IPv6; lines are as
// wide as width says.
func (n *Net) procInet(family, kind, width int) string {
	var text strings.Builder
	for i, e := range n.Entries(family, kind) {
		slot, rest := fmt.Sprintf("%4d", i), ""
		switch {
		case kind == unix.SOCK_DGRAM:
			slot, rest = fmt.Sprintf("%5d", e.Local.Port()), " 0"
		case e.State == tcpListen:
			rest = " 100 0 0 10 0"
		default:
			rest = " 20 4 0 10 -1"
		}
		line := fmt.Sprintf("%s: %s %s %02X %08X:%08X 00:%08X %08X %5d %8d %d 1 %s%s", slot, procAddr(e.Local, family),
			procAddr(e.Remote, family), e.State, e.Send, e.Receive, 0, 0, e.UID, 0, e.Ino, noPointer, rest)
		if kind == unix.SOCK_DGRAM {
			line = strings.Replace(line, " 1 "+noPointer, " 2 "+noPointer, 1)
		}
		fmt.Fprintf(&text, "%-*s\n", width, line)
	}
	return text.String()
}

// procUnix is net/unix/af_unix.c:unix_seq_show.
func (n *Net) procUnix() string {
	var text strings.Builder
	text.WriteString("Num       RefCount Protocol Flags    Type St Inode Path\n")
	for _, s := range slices.SortedFunc(maps.Keys(n.unix), func(a, b *Unix) int { return cmp.Compare(a.ino, b.ino) }) {
		flags, state, refs := 0, 1, 2 // SS_UNCONNECTED
		switch {
		case s.state == listening:
			flags = 1 << 16 // __SO_ACCEPTCON
		case s.state == established && s.ino == 0:
			state = 2 // SS_CONNECTING: nobody has accepted it
		case s.state == established:
			state = 3
		}
		if s.peer != nil {
			refs++
		}
		fmt.Fprintf(&text, "%s: %08X %08X %08X %04X %02X %5d", noPointer, refs, 0, flags, s.kind, state, s.ino)
		if s.addr != nil {
			name := s.addr.name
			if name[0] != 0 {
				name = strings.TrimSuffix(name, "\x00")
			}
			text.WriteString(" " + strings.ReplaceAll(name, "\x00", "@"))
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// snmpNames and netstatNames are the counters that programs look for, of
// net/ipv4/proc.c: nothing is counted, and what is not 0 is said.
const (
	snmpNames = `Ip: Forwarding=2 DefaultTTL=64 InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps
Tcp: RtoAlgorithm=1 RtoMin=200 RtoMax=120000 MaxConn=-1 ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors`
	netstatNames = `TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled TW TWRecycled TWKilled DelayedACKs ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPLostRetransmit TCPFastRetrans TCPTimeouts TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPMemoryPressures TCPBacklogDrop TCPRcvCoalesce TCPOFOQueue TCPOFODrop TCPKeepAlive TCPSynRetrans TCPOrigDataSent TCPDelivered
IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts ReasmOverlaps`
)

// counters are two lines for each of names: what they are called, and how many.
func counters(names string) (text string) {
	for line := range strings.Lines(names) {
		fields := strings.Fields(line)
		heads, values := fields[0], fields[0]
		for _, f := range fields[1:] {
			name, value, ok := strings.Cut(f, "=")
			if !ok {
				value = "0"
			}
			heads, values = heads+" "+name, values+" "+value
		}
		text += heads + "\n" + values + "\n"
	}
	return text
}

// States of Entry, include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpFinWait2    = 5
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpListen      = 10
)
