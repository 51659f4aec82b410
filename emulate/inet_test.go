//go:build linux

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inetSockets is a script about internet sockets, in which every port has a name.
type inetSockets struct {
	*sockets
	ports map[uint16]int
}

func inetTwin(t *testing.T, script func(s *inetSockets)) {
	t.Helper()
	socketTwin(t, func(s *sockets) { script(&inetSockets{s, map[uint16]int{0: 0}}) })
}

// settle gives the wire of the native run its time.
func (s *inetSockets) settle() {
	if !s.Emulated {
		time.Sleep(200 * time.Microsecond)
	}
}

func (s *inetSockets) open(family, kind int) FD {
	s.T.Helper()
	fd := s.Open("socket", family, kind|unix.SOCK_NONBLOCK, 0)
	s.fds = append(s.fds, fd)
	if kind == unix.SOCK_STREAM { // nothing waits for what was sent before
		s.Quiet("setsockopt", fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, []byte{1, 0, 0, 0}, 4)
	}
	return fd
}

// in4 and in6 are addresses; the port is in host order.
func in4(a, b, c, d byte, port int) []byte {
	p := make([]byte, 16)
	p[0] = unix.AF_INET
	binary.BigEndian.PutUint16(p[2:], uint16(port))
	copy(p[4:], []byte{a, b, c, d})
	return p
}

func in6(ip string, port int) []byte {
	p := make([]byte, 28)
	p[0] = unix.AF_INET6
	binary.BigEndian.PutUint16(p[2:], uint16(port))
	switch ip {
	case "::1":
		p[23] = 1
	case "::":
	default: // mapped
		copy(p[18:], []byte{0xff, 0xff, 127, 0, 0, 1})
	}
	return p
}

func any4(port int) []byte  { return in4(0, 0, 0, 0, port) }
func loop4(port int) []byte { return in4(127, 0, 0, 1, port) }

// show is an address with the name of its port.
func (s *inetSockets) show(p []byte, n int32) string {
	if n < 8 {
		return fmt.Sprintf("%d %x", n, p[:max(n, 0)])
	}
	port := binary.BigEndian.Uint16(p[2:])
	if _, ok := s.ports[port]; !ok {
		s.ports[port] = len(s.ports)
	}
	return fmt.Sprintf("%d %x port#%d", n, append(append([]byte(nil), p[:2]...), p[4:n]...), s.ports[port])
}

func (s *inetSockets) names(fds ...FD) {
	for _, fd := range fds {
		for _, call := range []string{"getsockname", "getpeername"} {
			p, n := make([]byte, 120), int32(120)
			_, errno := s.Quiet(call, fd, p, &n)
			if errno != 0 {
				n = 0
			}
			s.Logf("%s %v: %s", call, errno, s.show(p, n))
		}
	}
}

// port is the local port of fd.
func (s *inetSockets) port(fd FD) int {
	p, n := make([]byte, 28), int32(28)
	_, _ = s.Quiet("getsockname", fd, p, &n)
	return int(binary.BigEndian.Uint16(p[2:]))
}

func (s *inetSockets) on(call string, fd FD, addr []byte) {
	_, errno := s.Quiet(call, fd, addr, len(addr))
	s.Logf("%s %d bytes: %v", call, len(addr), errno)
	s.settle()
}

func (s *inetSockets) error(fd FD) {
	var v int32
	n := int32(4)
	_, errno := s.Quiet("getsockopt", fd, unix.SOL_SOCKET, unix.SO_ERROR, &v, &n)
	s.Logf("SO_ERROR %v %v", errno, unix.Errno(v))
}

// none is no descriptor.
const none = FD(1 << 30)

// accept notes a connection and gives it, or none.
func (s *inetSockets) accept(fd FD) FD {
	p, n := make([]byte, 28), int32(28)
	got, errno := s.Quiet("accept4", fd, p, &n, unix.SOCK_NONBLOCK)
	if errno != 0 {
		s.Logf("accept4 %v", errno)
		return none
	}
	s.Logf("accept4 %s", s.show(p, n))
	s.fds = append(s.fds, FD(got))
	s.settle()
	return FD(got)
}

func (s *inetSockets) send(fd FD, data string) {
	n, errno := s.Quiet("sendto", fd, []byte(data), len(data), unix.MSG_NOSIGNAL, nil, 0)
	s.Logf("send %d %v", gave(n, errno), errno)
	s.settle()
}

func (s *inetSockets) listener(family int, addr []byte, backlog int) FD {
	l := s.open(family, unix.SOCK_STREAM)
	s.on("bind", l, addr)
	s.Call("listen", l, backlog)
	return l
}

var families = map[int][]byte{unix.AF_INET: loop4(0), unix.AF_INET6: in6("::1", 0)}

func withPort(addr []byte, port int) []byte {
	addr = bytes.Clone(addr)
	binary.BigEndian.PutUint16(addr[2:], uint16(port))
	return addr
}

func TestInetCreate(t *testing.T) {
	inetTwin(t, func(s *inetSockets) {
		for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
			for _, a := range [][2]int{{1, 0}, {1, 6}, {1, 17}, {2, 0}, {2, 17}, {2, 6}, {4, 0}, {5, 1}, {0, 0}, {11, 0}, {1, 256}, {1, -1}, {2, 255}} {
				fd, errno := s.Quiet("socket", f, a[0], a[1])
				s.Logf("socket %d %v: %v", f, a, errno)
				var sv [2]int32
				_, errno2 := s.Quiet("socketpair", f, a[0], a[1], &sv)
				s.Logf("socketpair %v", errno2)
				if errno == 0 {
					s.poll(FD(fd))
					s.names(FD(fd))
					for _, o := range []int{unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_ACCEPTCONN, unix.SO_ERROR, unix.SO_PEERCRED} {
						s.option(FD(fd), o)
					}
					s.Call("close", FD(fd))
				}
			}
		}
	})
}

// TestTCPStates: what each call says in each state of two ends.
func TestTCPStates(t *testing.T) {
	for family, addr := range families {
		t.Run(fmt.Sprint(family), func(t *testing.T) {
			inetTwin(t, func(s *inetSockets) {
				l := s.listener(family, addr, 5)
				s.poll(l)
				s.names(l)
				s.Call("accept4", l, nil, nil, 0)
				s.Call("recvfrom", l, make([]byte, 4), 4, 0, nil, nil)
				s.send(l, "x")
				s.queued(l)
				s.on("connect", l, withPort(addr, 7))
				s.on("bind", l, addr)
				a := s.open(family, unix.SOCK_STREAM)
				s.Call("recvfrom", a, make([]byte, 4), 4, 0, nil, nil)
				s.send(a, "x")
				s.Call("shutdown", a, 1)
				a = s.open(family, unix.SOCK_STREAM)
				to := withPort(addr, s.port(l))
				s.on("connect", a, to)
				s.poll(a, l)
				s.names(a)
				s.error(a)
				s.on("connect", a, to)
				s.on("connect", a, to)
				s.send(a, "hello")
				b := s.accept(l)
				s.names(b)
				s.poll(a, b, l)
				s.on("bind", a, addr)
				s.Call("listen", a, 1)
				s.Call("listen", b, 1)
				s.queued(a, b)
				for _, flags := range []int{unix.MSG_PEEK, unix.MSG_PEEK | unix.MSG_TRUNC, unix.MSG_TRUNC, 0, unix.MSG_WAITALL} {
					p, n := make([]byte, 28), int32(28)
					buf := make([]byte, 2)
					got, errno := s.Quiet("recvfrom", b, buf, 2, flags|unix.MSG_DONTWAIT, p, &n)
					s.Logf("recvfrom %d %v %q from %d", gave(got, errno), errno, buf, n)
				}
				s.send(b, "one")
				s.send(b, "two")
				s.drain(a, 4)
				s.Call("write", a, Bad, 5)
				s.Call("write", a, []byte{}, 0)
				s.Call("shutdown", a, unix.SHUT_WR)
				s.settle()
				s.poll(a, b)
				s.names(a, b)
				s.send(a, "x")
				s.drain(b, 4)
				s.send(b, "more")
				s.drain(a, 10)
				s.Call("shutdown", b, unix.SHUT_WR)
				s.settle()
				s.poll(a, b)
				s.names(a, b)
				s.drain(a, 4)
				s.send(b, "x")
				s.Call("shutdown", b, unix.SHUT_RD)
				s.on("connect", a, to)
				s.error(a)
				s.close(a)
				s.close(l)
				s.settle()
				s.poll(b)
				s.close(b)
			})
		})
	}
}

// TestTCPRefused: connections that do not come about, and listeners that end.
func TestTCPRefused(t *testing.T) {
	for family, addr := range families {
		t.Run(fmt.Sprint(family), func(t *testing.T) {
			inetTwin(t, func(s *inetSockets) {
				l := s.listener(family, addr, 1)
				to := withPort(addr, s.port(l))
				a, b := s.open(family, unix.SOCK_STREAM), s.open(family, unix.SOCK_STREAM)
				s.on("connect", a, to)
				s.on("connect", b, to)
				s.send(a, "lost")
				s.Call("shutdown", l, unix.SHUT_RD)
				s.settle()
				s.poll(l, a, b)
				s.drain(a, 4)
				s.drain(a, 4)
				s.send(a, "x")
				s.error(b)
				s.error(b)
				s.poll(a, b)
				s.names(a)
				s.close(l)
				c := s.open(family, unix.SOCK_STREAM)
				s.on("connect", c, to)
				s.poll(c)
				s.drain(c, 4)
				s.poll(c)
				s.on("connect", c, to)
				s.on("connect", c, to)
				s.on("connect", c, to)
				s.error(c)
				s.Call("shutdown", c, 2)
				d := s.open(family, unix.SOCK_STREAM)
				s.Quiet("fcntl", d, unix.F_SETFL, 0)
				s.on("connect", d, to)
				s.on("connect", d, to)
				s.poll(d)
				s.names(d)
				for _, bad := range [][]byte{nil, {2}, {2, 0}, to[:15], to[:16], withPort(in6("::1", 0), s.port(l))[:23], {0, 0}, in4(224, 0, 0, 1, 40009), in4(255, 255, 255, 255, 40009),
					withPort(addr, 0), {99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
					for _, call := range []string{"connect", "bind"} {
						e := s.open(family, unix.SOCK_STREAM)
						s.on(call, e, bad)
						s.poll(e)
						s.error(e)
						s.close(e)
					}
				}
			})
		})
	}
}

// TestTCPResets: how an end learns that the other is gone.
func TestTCPResets(t *testing.T) {
	for how := range 8 {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			inetTwin(t, func(s *inetSockets) {
				l := s.listener(unix.AF_INET, loop4(0), 5)
				a := s.open(unix.AF_INET, unix.SOCK_STREAM)
				s.on("connect", a, loop4(s.port(l)))
				b := s.accept(l)
				if how&1 != 0 {
					s.send(a, "unread")
				}
				if how&2 != 0 {
					s.send(b, "for a")
				}
				if how&4 != 0 {
					s.Call("setsockopt", b, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 8)
				}
				s.close(b)
				s.settle()
				s.poll(a)
				s.names(a)
				s.send(a, "after")
				s.poll(a)
				s.send(a, "after")
				s.drain(a, 3)
				s.drain(a, 3)
				s.error(a)
				s.poll(a)
				s.Call("shutdown", a, unix.SHUT_WR)
				s.on("connect", a, loop4(s.port(l)))
				s.on("connect", a, []byte{0, 0})
				s.poll(a)
				s.on("connect", a, loop4(s.port(l)))
				s.poll(a, l)
			})
		})
	}
}

// TestTCPUrgent: MSG_OOB, in the line and out of it.
func TestTCPUrgent(t *testing.T) {
	for inline := range 2 {
		t.Run(fmt.Sprint(inline), func(t *testing.T) {
			inetTwin(t, func(s *inetSockets) {
				l := s.listener(unix.AF_INET, loop4(0), 5)
				a := s.open(unix.AF_INET, unix.SOCK_STREAM)
				s.on("connect", a, loop4(s.port(l)))
				b := s.accept(l)
				s.Quiet("setsockopt", b, unix.SOL_SOCKET, unix.SO_OOBINLINE, []byte{byte(inline), 0, 0, 0}, 4)
				look := func() {
					var mark int32
					_, errno := s.Quiet("ioctl", b, unix.SIOCATMARK, &mark)
					s.Logf("mark %v %d", errno, mark)
					s.queued(b)
					s.events(b)
				}
				urgent := func(data string) {
					s.Call("sendto", a, []byte(data), len(data), unix.MSG_OOB, nil, 0)
					s.settle()
				}
				take := func(size, flags int) {
					p := make([]byte, size)
					n, errno := s.Quiet("recvfrom", b, p, size, flags, nil, nil)
					s.Logf("recv %d %#x: %d %v %q", size, flags, gave(n, errno), errno, p)
				}
				take(1, unix.MSG_OOB)
				s.send(a, "before")
				urgent("urgent!")
				s.send(a, "after")
				look()
				take(3, 0)
				take(20, unix.MSG_PEEK)
				take(1, unix.MSG_OOB|unix.MSG_PEEK)
				take(0, unix.MSG_OOB)
				look()
				take(20, 0)
				look()
				take(20, unix.MSG_PEEK)
				take(1, unix.MSG_OOB)
				take(2, 0)
				look()
				take(20, 0)
				urgent("x")
				look()
				take(20, 0)
				urgent("y")
				urgent("z")
				take(20, 0)
				take(1, unix.MSG_OOB)
				take(20, 0)
				urgent("")
				s.Call("sendto", a, []byte("q"), 1, unix.MSG_OOB, nil, 0)
				s.close(a)
				s.settle()
				look()
				take(20, unix.MSG_WAITALL)
				take(1, unix.MSG_OOB)
				take(20, 0)
			})
		})
	}
}

// TestInetBind: who may have which address beside whom.
func TestInetBind(t *testing.T) {
	addrs := map[string]func(port int) (int, []byte){
		"any4":   func(p int) (int, []byte) { return unix.AF_INET, any4(p) },
		"loop4":  func(p int) (int, []byte) { return unix.AF_INET, loop4(p) },
		"other4": func(p int) (int, []byte) { return unix.AF_INET, in4(127, 0, 0, 2, p) },
		"any6":   func(p int) (int, []byte) { return unix.AF_INET6, in6("::", p) },
		"loop6":  func(p int) (int, []byte) { return unix.AF_INET6, in6("::1", p) },
		"mapped": func(p int) (int, []byte) { return unix.AF_INET6, in6("mapped", p) },
	}
	names := []string{"any4", "loop4", "other4", "any6", "loop6", "mapped"}
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		for option := range 6 { // nothing, reuse both, reuse one, group both, v6only, reuse and listening
			t.Run(fmt.Sprintf("%d-%d", kind, option), func(t *testing.T) {
				inetTwin(t, func(s *inetSockets) {
					for _, first := range names {
						for _, second := range names {
							s.Logf("%s then %s", first, second)
							s.ports = map[uint16]int{0: 0}
							family, addr := addrs[first](0)
							a := s.open(family, kind)
							s.reuse(a, family, option, true)
							s.on("bind", a, addr)
							if option == 5 {
								s.Call("listen", a, 1)
							}
							s.names(a)
							family, addr = addrs[second](s.port(a))
							b := s.open(family, kind)
							s.reuse(b, family, option, false)
							s.on("bind", b, addr)
							if kind == unix.SOCK_STREAM {
								s.Call("listen", b, 1)
								s.Call("listen", a, 1)
							}
							s.close(a)
							s.close(b)
						}
					}
				})
			})
		}
	}
}

func (s *inetSockets) reuse(fd FD, family, option int, first bool) {
	one := []byte{1, 0, 0, 0}
	switch {
	case option == 1, option == 5, option == 2 && first:
		s.Quiet("setsockopt", fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, one, 4)
	case option == 3:
		s.Quiet("setsockopt", fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, one, 4)
	case option == 4 && family == unix.AF_INET6:
		s.Quiet("setsockopt", fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, one, 4)
	}
}

// TestUDP: datagrams between sockets of both families, connected or not.
func TestUDP(t *testing.T) {
	inetTwin(t, func(s *inetSockets) {
		a, b, d := s.open(unix.AF_INET, unix.SOCK_DGRAM), s.open(unix.AF_INET, unix.SOCK_DGRAM), s.open(unix.AF_INET6, unix.SOCK_DGRAM)
		s.on("bind", a, loop4(0))
		s.send(b, "no one")
		to := loop4(s.port(a))
		s.sendTo(b, to, "one")
		s.sendTo(b, to, "")
		s.sendTo(d, in6("mapped", s.port(a)), "three")
		s.sendTo(d, to, "four")
		s.sendTo(b, to[:15], "bad")
		s.sendTo(b, in6("::1", 9), "bad")
		s.sendTo(b, in4(255, 255, 255, 255, 9), "bad")
		s.sendTo(b, loop4(0), "bad")
		s.names(a, b, d)
		s.queued(a)
		s.poll(a, b)
		for range 5 {
			s.receiveFrom(a, 3)
		}
		s.on("connect", b, to)
		s.names(b)
		s.on("connect", a, loop4(s.port(b)))
		s.sendTo(d, in6("mapped", s.port(a)), "not from b")
		s.send(b, "from b")
		s.receiveFrom(a, 10)
		s.receiveFrom(a, 10)
		s.send(a, "back")
		s.receiveFrom(b, 10)
		s.close(a)
		s.send(b, "to nobody")
		s.poll(b)
		s.send(b, "again")
		s.send(b, "again")
		s.receiveFrom(b, 10)
		s.receiveFrom(b, 10)
		s.on("connect", b, []byte{0, 0})
		s.names(b)
		s.Call("listen", b, 1)
		s.Call("accept4", b, nil, nil, 0)
		s.Call("shutdown", b, unix.SHUT_RD)
		s.poll(b)
		s.receiveFrom(b, 10)
		s.on("connect", b, to)
		s.Call("shutdown", b, unix.SHUT_WR)
		s.send(b, "x")
		s.poll(b)
		s.Call("sendto", b, make([]byte, 70000), 65508, 0, nil, 0)
		e := s.open(unix.AF_INET, unix.SOCK_DGRAM)
		s.on("bind", e, any4(0))
		f := s.open(unix.AF_INET, unix.SOCK_DGRAM)
		s.sendTo(f, loop4(s.port(e)), string(make([]byte, 65508)))
		s.sendTo(f, loop4(s.port(e)), string(make([]byte, 65507)))
		s.settle()
		s.receiveFrom(e, 10)
		s.on("connect", e, loop4(s.port(e)))
		s.names(e)
		s.send(e, "myself")
		s.receiveFrom(e, 10)
		// What refuses is not whom it is connected to.
		s.close(f)
		g := s.open(unix.AF_INET, unix.SOCK_DGRAM)
		s.on("connect", g, loop4(s.port(e)))
		s.sendTo(g, to, "to nobody")
		s.error(g)
		s.sendTo(g, to, "to nobody")
		s.poll(g)
	})
}

func (s *inetSockets) sendTo(fd FD, to []byte, data string) {
	n, errno := s.Quiet("sendto", fd, []byte(data), len(data), 0, to, len(to))
	s.Logf("sendto %.20q: %d %v", data, gave(n, errno), errno)
	s.settle()
}

func (s *inetSockets) receiveFrom(fd FD, size int) {
	p, n, buf := make([]byte, 28), int32(28), make([]byte, size)
	got, errno := s.Quiet("recvfrom", fd, buf, size, unix.MSG_TRUNC, p, &n)
	if errno != 0 {
		s.Logf("recvfrom %v", errno)
		return
	}
	s.Logf("recvfrom %d %q %s", got, buf, s.show(p, n))
}

// TestInetOptions: every option's first value, and what it is after setting it.
func TestInetOptions(t *testing.T) {
	levels := map[int][]int{
		unix.IPPROTO_IP:   {1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 15, 20, 24, 33, 34},
		unix.IPPROTO_IPV6: {16, 19, 23, 25, 26, 49, 51, 56, 66, 67, 78},
		unix.IPPROTO_TCP:  {1, 3, 4, 5, 6, 7, 12, 16, 18, 25, 27, 36},
		unix.IPPROTO_UDP:  {1},
		unix.SOL_SOCKET:   {2, 5, 6, 9, 10, 15, 20, 29, 35, 42},
		99:                {1},
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			t.Run(fmt.Sprintf("%d-%d", family, kind), func(t *testing.T) {
				inetTwin(t, func(s *inetSockets) {
					for _, level := range []int{0, 1, 6, 17, 41, 99} {
						for _, name := range levels[level] {
							fd, errno := s.Quiet("socket", family, kind, 0)
							line := fmt.Sprintf("%d %d: %v %s", level, name, errno, s.optionAt(FD(fd), level, name))
							for _, v := range []int32{1, 0, -1} {
								_, errno := s.Quiet("setsockopt", FD(fd), level, name, &v, 4)
								line += fmt.Sprintf("; to %d: %d %s", v, int(errno), s.optionAt(FD(fd), level, name))
							}
							_, errno = s.Quiet("setsockopt", FD(fd), level, name, []byte{1, 2}, 1)
							s.Logf("%s; a byte: %d", line, int(errno))
							s.Quiet("close", FD(fd))
						}
					}
				})
			})
		}
	}
}

func (s *inetSockets) optionAt(fd FD, level, name int) string {
	p, n := make([]byte, 24), int32(24)
	_, errno := s.Quiet("getsockopt", fd, level, name, p, &n)
	return fmt.Sprintf("%d %x", int(errno), p[:min(n, 16)])
}

// TestTCPRandom: random calls on a few sockets.
func TestTCPRandom(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inetTwin(t, func(s *inetSockets) {
				r := rand.New(rand.NewPCG(seed, 1))
				l := s.listener(unix.AF_INET, loop4(0), 2)
				fds := []FD{s.open(unix.AF_INET, unix.SOCK_STREAM), s.open(unix.AF_INET, unix.SOCK_STREAM)}
				for range 60 {
					i := r.IntN(len(fds))
					fd := fds[i]
					s.Logf("on %d:", i)
					switch r.IntN(12) {
					case 0, 1:
						s.on("connect", fd, loop4(s.port(l)))
					case 2, 3:
						if len(fds) < 8 {
							if got := s.accept(l); got != none {
								fds = append(fds, got)
							}
						}
					case 4, 5, 6:
						s.send(fd, "some words"[:r.IntN(10)])
					case 7, 8:
						p, flags := make([]byte, 4), []int{0, unix.MSG_PEEK, unix.MSG_WAITALL, unix.MSG_TRUNC}[r.IntN(4)]
						n, errno := s.Quiet("recvfrom", fd, p, 4, flags, nil, nil)
						s.Logf("recv %#x %d %v %q", flags, gave(n, errno), errno, p)
						s.settle()
					case 9:
						s.Call("shutdown", fd, r.IntN(3))
						s.settle()
					case 10:
						s.error(fd)
					case 11:
						if r.IntN(2) == 0 && len(fds) > 2 {
							s.close(fd)
							s.settle()
							fds = append(fds[:i:i], fds[i+1:]...)
						} else if r.IntN(3) == 0 {
							s.on("connect", fd, []byte{0, 0})
						}
					}
					s.events(append(fds[:len(fds):len(fds)], l)...)
				}
				s.names(fds...)
			})
		})
	}
}

// events notes what poll says of each, in one line.
func (s *inetSockets) events(fds ...FD) {
	line := "events"
	for _, fd := range fds {
		p := binary.LittleEndian.AppendUint32(nil, uint32(fd))
		p = append(p, 0xff, 0xff, 0, 0)
		s.Quiet("poll", p, 1, 0)
		line += fmt.Sprintf(" %x", binary.LittleEndian.Uint16(p[6:]))
	}
	s.Logf("%s", line)
}
