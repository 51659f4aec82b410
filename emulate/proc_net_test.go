//go:build linux && amd64

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// procNet is a file of /proc/net.
func procNet(s *Script, name string) string {
	s.T.Helper()
	if s.Emulated {
		return mustSlurp(s.T, s.Guest, "/proc/net/"+name)
	}
	text, err := os.ReadFile("/proc/thread-self/net/" + name)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(text)
}

// inodes are numbers of inodes as their place among fds.
func inodes(s *Script, fds []FD) map[string]int {
	m := make(map[string]int)
	for i, fd := range fds {
		st := make([]byte, 144)
		s.Quiet("fstat", fd, st)
		m[fmt.Sprint(binary.LittleEndian.Uint64(st[8:]))] = i
	}
	return m
}

// listed notes the lines about fds in a table whose column col is the inode: the
// columns of keep.
func listed(s *Script, name string, fds []FD, col int, keep ...int) {
	s.T.Helper()
	known := inodes(s, fds)
	var lines []string
	head, rest, _ := strings.Cut(procNet(s, name), "\n")
	s.Logf("%s: %q", name, strings.TrimLeft(head, " "))
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) <= col {
			s.T.Fatalf("%s: %q", name, line)
		}
		i, ok := known[f[col]]
		if !ok {
			continue
		}
		note := fmt.Sprintf("  socket %d:", i)
		for _, k := range keep {
			if k < len(f) {
				note += " " + f[k]
			}
		}
		if col == 11 || col == 9 {
			note += fmt.Sprintf(" of %d bytes", len(strings.TrimRight(line, "\n"))/10)
		}
		lines = append(lines, note)
	}
	slices.Sort(lines)
	for _, line := range lines {
		s.Logf("%s", line)
	}
}

// netSockets are some of all kinds.
func netSockets(s *Script) (fds []FD) {
	open := func(family, kind int) FD {
		fd := s.Open("socket", family, kind|unix.SOCK_NONBLOCK, 0)
		fds = append(fds, fd)
		s.Quiet("setsockopt", fd, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 8) // no TIME_WAIT
		return fd
	}
	in := func(port uint16) []byte {
		return append([]byte{unix.AF_INET, 0, byte(port >> 8), byte(port), 127, 0, 0, 1}, make([]byte, 8)...)
	}
	in6 := func(port uint16, addr byte) []byte {
		p := append([]byte{unix.AF_INET6, 0, byte(port >> 8), byte(port)}, make([]byte, 24)...)
		p[23] = addr
		return p
	}
	on := func(call string, fd FD, addr []byte) { s.Call(call, fd, addr, len(addr)) }
	accept := func(fd FD) { fds = append(fds, s.Open("accept4", fd, nil, nil, unix.SOCK_NONBLOCK)) }
	const base = 28300 // not one that connect(2) takes
	l := open(unix.AF_INET, unix.SOCK_STREAM)
	on("bind", l, in(base))
	s.Call("listen", l, 5)
	for i := range uint16(3) {
		c := open(unix.AF_INET, unix.SOCK_STREAM)
		on("bind", c, in(base+1+i))
		on("connect", c, in(base))
		if i == 1 {
			s.Call("write", c, []byte("12345"), 5)
		}
		if i < 2 {
			accept(l)
		}
	}
	l6 := open(unix.AF_INET6, unix.SOCK_STREAM)
	on("bind", l6, in6(base+5, 0))
	s.Call("listen", l6, 5)
	c := open(unix.AF_INET, unix.SOCK_STREAM)
	on("bind", c, in(base+6))
	on("connect", c, in(base+5))
	accept(l6)
	c = open(unix.AF_INET6, unix.SOCK_STREAM)
	on("bind", c, in6(base+7, 1))
	on("connect", c, in6(base+5, 1))
	accept(l6)
	u := open(unix.AF_INET, unix.SOCK_DGRAM)
	on("bind", u, in(base+10))
	u = open(unix.AF_INET, unix.SOCK_DGRAM)
	on("bind", u, in(base+11))
	on("connect", u, in(base+10))
	u = open(unix.AF_INET6, unix.SOCK_DGRAM)
	on("bind", u, in6(base+12, 1))
	open(unix.AF_INET, unix.SOCK_STREAM)
	open(unix.AF_INET, unix.SOCK_DGRAM)
	return fds
}

func TestProcNetSockets(t *testing.T) {
	loopbackOnly(t)
	Twin(t, func(s *Script) {
		mountProc(s)
		fds := netSockets(s)
		for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
			listed(s, name, fds, 9, 1, 2, 3, 4, 7, 8)
		}
		// AF_UNIX
		var list []FD
		open := func(kind int, name string) FD {
			fd := s.Open("socket", unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0)
			list = append(list, fd)
			if name != "" {
				s.Call("bind", fd, []byte("\x01\x00"+name), 2+len(name))
			}
			return fd
		}
		l := open(unix.SOCK_STREAM, "\x00oubliette\x00test")
		s.Call("listen", l, 5)
		for range 2 {
			s.Call("connect", open(unix.SOCK_STREAM, ""), []byte("\x01\x00\x00oubliette\x00test"), 17)
		}
		list = append(list, s.Open("accept4", l, nil, nil, 0))
		open(unix.SOCK_DGRAM, "\x00oubliette.datagram")
		open(unix.SOCK_SEQPACKET, "")
		listed(s, "unix", list, 6, 2, 3, 4, 5, 7)
		nl := s.Open("socket", unix.AF_NETLINK, unix.SOCK_RAW, 0)
		s.Call("bind", nl, append([]byte{unix.AF_NETLINK, 0, 0, 0, 77, 0, 0, 0, 5}, 0, 0, 0), 12)
		listed(s, "netlink", []FD{nl}, 9, 1, 2, 3, 4, 5, 6, 7, 8)
	})
}

// mountProc gives the emulated side a /proc.
func mountProc(s *Script) {
	if s.Emulated {
		if err := s.Guest.Sys.FS.Mount("/proc", emulate.NewProc(s.Guest.Sys)); err != nil {
			s.T.Fatal(err)
		}
	}
}

// TestProcNet: what there is without sockets, as far as it is about lo.
func TestProcNet(t *testing.T) {
	loopbackOnly(t)
	Twin(t, func(s *Script) {
		mountProc(s)
		for _, name := range []string{"arp", "dev", "if_inet6", "ipv6_route", "igmp", "packet", "raw", "raw6", "route", "snmp",
			"netstat", "sockstat", "sockstat6"} {
			head, rest, _ := strings.Cut(procNet(s, name), "\n")
			for line := range strings.Lines(head + "\n" + rest) {
				f := strings.Fields(line)
				switch {
				case name == "ipv6_route" && f[len(f)-1] != "lo", name == "if_inet6" && f[len(f)-1] != "lo",
					name == "dev" && strings.Contains(line, ":") && f[0] != "lo:",
					name == "ipv6_route" && (strings.HasPrefix(line, "ff") || f[len(f)-2] == "00200200"), f[0] == "IcmpMsg:":
					continue
				case name == "ipv6_route":
					line = strings.Join(append(slices.Delete(f, 6, 8), ""), " ") // how often it is held and used
				case name == "dev" && f[0] == "lo:":
					line = fmt.Sprint(f[0], len(f))
				case name == "netstat", name == "snmp", strings.HasPrefix(name, "sockstat"):
					line = f[0] // numbers are the host's; of netstat we know fewer
				case name == "arp" && len(f) > 4 && f[0] != "IP", name == "route" && f[0] != "Iface", name == "igmp" && f[0] != "Idx":
					continue
				}
				if f[0] != "MPTcpExt:" {
					s.Logf("%s: %q", name, line)
				}
			}
		}
	})
}

// TestProcNetGone: the table of a jail has only its own sockets, and none when
// they are closed.
func TestProcNetGone(t *testing.T) {
	g := newProc(t)
	fd := g.Must("socket", unix.AF_UNIX, unix.SOCK_STREAM, 0)
	nl := g.Must("socket", unix.AF_NETLINK, unix.SOCK_RAW, 0)
	for _, name := range []string{"unix", "netlink"} {
		if n := bytes.Count([]byte(mustSlurp(t, g, "/proc/net/"+name)), []byte("\n")); n != 2 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
	g.Must("close", fd)
	g.Must("close", nl)
	for _, name := range []string{"unix", "netlink"} {
		if n := bytes.Count([]byte(mustSlurp(t, g, "/proc/net/"+name)), []byte("\n")); n != 1 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}
