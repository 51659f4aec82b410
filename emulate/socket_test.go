//go:build linux

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// msg is struct msghdr, or with others behind it an array of struct mmsghdr.
type msg struct {
	Name    []byte
	NameLen int32 // in: what to say, 0: len(Name)
	Iov     Iov
	Control []byte
	Flags   uint32
	Space   uint64 // out: msg_controllen
	Len     uint32 // out: msg_len
	Vector  []*msg // instead of all this
}

func (m *msg) Marshal(put func([]byte) (uint64, func() []byte)) (uint64, func()) {
	if m.Vector == nil {
		p, after := m.header(put)
		addr, get := put(p)
		return addr, func() { after(get()) }
	}
	var all []byte
	var afters []func([]byte)
	for _, v := range m.Vector {
		p, after := v.header(put)
		all = append(append(all, p...), make([]byte, 8)...)
		afters = append(afters, after)
	}
	addr, get := put(all)
	return addr, func() {
		for i, after := range afters {
			p := get()[64*i:]
			after(p)
			m.Vector[i].Len = binary.LittleEndian.Uint32(p[56:])
		}
	}
}

func (m *msg) header(put func([]byte) (uint64, func() []byte)) ([]byte, func([]byte)) {
	none := func() []byte { return nil }
	var iov, p []byte
	var gets []func() []byte
	for _, b := range m.Iov {
		addr, get := put(b)
		iov = append(append(iov, le64(addr)...), le64(uint64(len(b)))...)
		gets = append(gets, get)
	}
	optional := func(b []byte) (uint64, func() []byte) {
		if b == nil {
			return 0, none
		}
		return put(b)
	}
	name, getName := optional(m.Name)
	control, getControl := optional(m.Control)
	v, _ := put(iov)
	n := m.NameLen
	if n == 0 {
		n = int32(len(m.Name))
	}
	p = append(le64(name), le64(uint64(uint32(n)))...)
	p = append(append(p, le64(v)...), le64(uint64(len(m.Iov)))...)
	p = append(append(p, le64(control)...), le64(uint64(len(m.Control)))...)
	return append(p, le64(uint64(m.Flags))...), func(p []byte) {
		for i, get := range gets {
			copy(m.Iov[i], get())
		}
		copy(m.Name, getName())
		copy(m.Control, getControl())
		m.NameLen = int32(binary.LittleEndian.Uint32(p[8:]))
		m.Space = binary.LittleEndian.Uint64(p[40:])
		m.Flags = binary.LittleEndian.Uint32(p[48:])
	}
}

func cmsg(level, kind int32, data ...byte) []byte {
	p := le64(uint64(16 + len(data)))
	p = append(p, byte(level), byte(level>>8), byte(level>>16), byte(level>>24), byte(kind), 0, 0, 0)
	p = append(p, data...)
	return append(p, make([]byte, (8-len(p)%8)%8)...)
}

func rights(fds ...FD) []byte {
	var p []byte
	for _, fd := range fds {
		p = binary.LittleEndian.AppendUint32(p, uint32(fd))
	}
	return cmsg(unix.SOL_SOCKET, unix.SCM_RIGHTS, p...)
}

// sockets is a script about sockets.
type sockets struct {
	*Script
	fds []FD
}

func socketTwin(t *testing.T, script func(s *sockets)) {
	t.Helper()
	Twin(t, func(e *Script) {
		s := &sockets{Script: e}
		defer func() {
			for _, fd := range s.fds {
				s.Quiet("close", fd)
			}
		}()
		script(s)
	})
}

func (s *sockets) close(fd FD) {
	for i, f := range s.fds {
		if f == fd {
			s.fds = append(s.fds[:i:i], s.fds[i+1:]...)
			break
		}
	}
	s.Call("close", fd)
}

func (s *sockets) socket(kind int) FD {
	return s.Open("socket", unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0)
}

func (s *sockets) pair(kind int) (a, b FD) {
	s.T.Helper()
	var sv [2]int32
	if _, errno := s.Quiet("socketpair", unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0, &sv); errno != 0 {
		s.T.Fatal(errno)
	}
	a, b = FD(sv[0]), FD(sv[1])
	s.fds = append(s.fds, a, b)
	return a, b
}

// poll notes the events of each.
func (s *sockets) poll(fds ...FD) {
	s.T.Helper()
	for _, fd := range fds {
		p := binary.LittleEndian.AppendUint32(nil, uint32(fd))
		p = append(p, 0xff, 0xff, 0, 0)
		n, errno := s.Quiet("poll", p, 1, 0)
		s.Logf("poll %d %v %#x", n, errno, binary.LittleEndian.Uint16(p[6:]))
	}
}

// queued notes what FIONREAD and SIOCOUTQ say.
func (s *sockets) queued(fds ...FD) {
	for _, fd := range fds {
		var in, out int32
		_, e1 := s.Quiet("ioctl", fd, unix.TIOCINQ, &in)
		_, e2 := s.Quiet("ioctl", fd, unix.TIOCOUTQ, &out)
		s.Logf("in %d %v, out %d %v", in, e1, out, e2)
	}
}

func (s *sockets) option(fd FD, name int) {
	s.T.Helper()
	p, n := bytes.Repeat([]byte{'?'}, 24), int32(24)
	_, errno := s.Quiet("getsockopt", fd, unix.SOL_SOCKET, name, p, &n)
	s.Logf("getsockopt %d: %v %d %q", name, errno, n, p)
}

func (s *sockets) names(fds ...FD) {
	for _, fd := range fds {
		for _, call := range []string{"getsockname", "getpeername"} {
			p, n := bytes.Repeat([]byte{'?'}, 120), int32(120)
			_, errno := s.Quiet(call, fd, p, &n)
			if i := bytes.LastIndexByte(p, '/'); i > 2 { // what stands for "/"
				p, n = append(p[:2:2], p[i:]...), n-int32(i)+2
			}
			s.Logf("%s: %v %d %q", call, errno, n, bytes.TrimRight(p, "?"))
		}
	}
}

// path is an address in the script's tree.
func (s *sockets) path(name string) []byte {
	if !s.Emulated {
		name = s.Root() + name
	}
	return append([]byte{unix.AF_UNIX, 0}, name...)
}

func (s *sockets) on(call string, fd FD, addr []byte) {
	s.T.Helper()
	_, errno := s.Quiet(call, fd, addr, len(addr))
	what := string(addr)
	if i := strings.LastIndexByte(what, '/'); i >= 0 {
		what = what[i:]
	}
	s.Logf("%s %q: %v", call, what, errno)
}

// abstract is an address that no other run of the test uses.
func (s *sockets) abstract(name string) []byte {
	return append([]byte{unix.AF_UNIX, 0, 0}, fmt.Sprintf("oubliette-%s-%d", name, unix.Getpid())...)
}

// gave is what a call gave, 0 for nothing.
func gave(n uint64, errno unix.Errno) int {
	if errno != 0 {
		return 0
	}
	return int(n)
}

// drain notes every message until there is none.
func (s *sockets) drain(fd FD, size int) {
	for range 20 {
		p := make([]byte, size)
		n, errno := s.Quiet("read", fd, p, size)
		s.Logf("read %d %v %.40q", gave(n, errno), errno, p[:min(gave(n, errno), size)])
		if errno != 0 || n == 0 {
			return
		}
	}
}

var socketKinds = []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET}

func TestSocketCreate(t *testing.T) {
	socketTwin(t, func(s *sockets) {
		for _, a := range [][3]int{{unix.AF_UNIX, 3, 0}, {unix.AF_UNIX, 4, 0}, {unix.AF_UNIX, 0, 0}, {unix.AF_UNIX, 11, 0}, {-1, 11, 0},
			{46, 1, 0}, {45, 99, 0}, {unix.AF_UNIX, 1, 1}, {unix.AF_UNIX, 2, 2}, {unix.AF_UNIX, 5 | unix.SOCK_CLOEXEC, 1},
			{unix.AF_UNIX, 1 | 0x100, 0}, {unix.AF_UNIX, 1 | 1<<31, 0}, {unix.AF_UNIX, 9, 77}, {0, 1, 0}, {200, 1, 0}} {
			fd, errno := s.Quiet("socket", a[0], a[1], a[2])
			s.Logf("socket %v: %v", a, errno)
			if errno == 0 {
				s.Call("fcntl", FD(fd), unix.F_GETFD)
				s.Call("fcntl", FD(fd), unix.F_GETFL)
				s.option(FD(fd), unix.SO_TYPE)
				s.Call("close", FD(fd))
			}
			var sv [2]int32
			_, errno = s.Quiet("socketpair", a[0], a[1], a[2], &sv)
			s.Logf("socketpair %v: %v", a, errno)
			if errno == 0 {
				s.Quiet("close", sv[0])
				s.Quiet("close", sv[1])
			}
		}
		s.Call("socketpair", unix.AF_UNIX, 1, 0, Bad)
		s.Call("socketpair", unix.AF_UNIX, 0x100, 0, Bad)
		s.Call("socketpair", -5, 1, 0, Bad)
		fd := s.Open("eventfd2", 0, 0)
		for _, f := range []any{-1, fd} {
			for _, call := range []string{"bind", "connect", "listen", "accept", "accept4", "getsockname", "getpeername", "getsockopt",
				"setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown"} {
				s.Call(call, f, 0, 0, 0, 0)
				s.Call(call, f, Bad, -1, Bad, Bad, Bad)
				s.Call(call, f, Bad, 7, 77, Bad, 200)
			}
		}
		var st unix.Stat_t
		a, _ := s.pair(unix.SOCK_STREAM)
		s.Quiet("fstat", a, &st)
		s.Logf("%o %d %d %d", st.Mode, st.Size, st.Nlink, st.Blksize)
		s.Call("fchmod", a, 0o640)
		s.Quiet("fstat", a, &st)
		s.Logf("%o", st.Mode)
		s.Call("lseek", a, 0, 0)
		s.Call("pread64", a, make([]byte, 4), 4, 0)
		s.Call("pwrite64", a, make([]byte, 4), 4, 0)
		s.Call("fsync", a)
		s.Call("ftruncate", a, 0)
		s.Call("ioctl", a, unix.TCGETS, Bad)
		s.Call("ioctl", a, unix.TIOCINQ, Bad)
		s.Call("fcntl", a, unix.F_SETPIPE_SZ, 4096)
	})
}

// TestSocketPair: what can be read, written and polled in every state of a pair.
func TestSocketPair(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a, b := s.pair(kind)
				s.poll(a, b)
				s.names(a, b)
				s.Call("read", a, make([]byte, 4), 4)
				s.Call("read", a, make([]byte, 4), 0)
				s.Call("recvfrom", a, make([]byte, 4), 0, 0, nil, nil)
				s.Call("write", a, []byte("first"), 5)
				s.Call("write", a, []byte{}, 0)
				s.Call("sendto", a, []byte("second"), 6, unix.MSG_EOR, nil, 0)
				if kind != unix.SOCK_STREAM {
					s.Call("sendto", a, []byte("x"), 1, unix.MSG_OOB, nil, 0)
				}
				s.Call("write", a, Bad, 5)
				s.Call("write", a, Edge("cut"), 5)
				s.Call("writev", a, Iov{[]byte("vec"), nil, []byte("tor")}, 3)
				s.queued(a, b)
				s.poll(a, b)
				for _, flags := range []int{unix.MSG_PEEK, unix.MSG_PEEK | unix.MSG_TRUNC, unix.MSG_TRUNC, 0, unix.MSG_WAITALL, unix.MSG_PEEK | unix.MSG_WAITALL} {
					s.Call("recvfrom", b, make([]byte, 4), 4, flags, nil, nil)
				}
				s.Call("read", b, Bad, 5)
				s.Call("read", b, make(Edge, 2), 5)
				s.queued(a, b)
				s.drain(b, 9)
				s.Call("recvfrom", b, make([]byte, 4), 4, unix.MSG_WAITALL, nil, nil)
				s.Call("recvfrom", b, make([]byte, 4), 4, 0, nil, nil)
				s.poll(a, b)
				for _, how := range []int{-1, 3, 1 << 31} {
					s.Call("shutdown", a, how)
				}
				s.Call("write", a, []byte("before"), 6)
				s.Call("shutdown", a, unix.SHUT_WR)
				s.poll(a, b)
				s.Call("write", a, []byte("after"), 5)
				s.Call("write", a, []byte("after"), 0)
				s.drain(b, 9)
				s.Call("write", b, []byte("back"), 4)
				s.drain(a, 9)
				s.Call("shutdown", b, unix.SHUT_RDWR)
				s.poll(a, b)
				s.Call("write", b, []byte("after"), 5)
				s.drain(a, 9)
				s.drain(b, 9)
				s.close(b)
				s.poll(a)
				s.option(a, unix.SO_ERROR)
				s.names(a)
				s.Call("write", a, []byte("after"), 5)
				s.drain(a, 9)
			})
		})
	}
}

// TestSocketClose: with and without something unread.
func TestSocketClose(t *testing.T) {
	for _, kind := range socketKinds {
		for mode := range 4 {
			t.Run(fmt.Sprint(kind, mode), func(t *testing.T) {
				socketTwin(t, func(s *sockets) {
					a, b := s.pair(kind)
					if mode&1 != 0 {
						s.Call("write", a, []byte("unread"), 6)
					}
					s.Call("write", b, []byte("parting"), 7)
					s.close(b)
					s.poll(a)
					s.queued(a)
					if mode&2 != 0 {
						s.option(a, unix.SO_ERROR)
					}
					s.Call("write", a, []byte("x"), 1)
					s.drain(a, 3)
					s.drain(a, 3)
					s.Call("write", a, []byte("x"), 1)
					s.poll(a)
				})
			})
		}
	}
}

// TestSocketFull: how much goes in before EAGAIN, and when poll says writable.
func TestSocketFull(t *testing.T) {
	for _, kind := range socketKinds {
		for _, size := range []int{1, 100, 1000, 3776, 3777, 5000, 20000, 48833, 100000, 212960, 212961, 300000} {
			t.Run(fmt.Sprint(kind, size), func(t *testing.T) {
				socketTwin(t, func(s *sockets) {
					a, b := s.pair(kind)
					p := make([]byte, size)
					for range 300 {
						n, errno := s.Quiet("write", a, p, size)
						s.Logf("%d %v", gave(n, errno), errno)
						if errno != 0 {
							break
						}
					}
					s.queued(a, b)
					for range 100 {
						n, errno := s.Quiet("read", b, p, size)
						s.Logf("%d %v", gave(n, errno), errno)
						s.poll(a)
					}
				})
			})
		}
	}
}

func TestSocketNames(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				s.Call("mkdirat", unix.AT_FDCWD, "/dir", 0o755)
				s.Call("close", s.Open("openat", unix.AT_FDCWD, "/file", unix.O_CREAT|unix.O_RDWR, 0o644))
				s.Call("umask", 0o027)
				a, b := s.socket(kind), s.socket(kind)
				s.poll(a)
				s.names(a)
				for _, p := range [][]byte{nil, {1}, {1, 0}, {2, 0, 'x'}, {2, 0}, make([]byte, 111), make([]byte, 129),
					s.path("/dir"), s.path("/file"), s.path("/"), s.path("/none/x"), s.path("/file/x"), s.path("/new/"), s.path("/dir/.")} {
					if len(p) > 4 || len(p) != 2 || p[0] != 1 {
						s.on("bind", a, p)
					}
					s.on("connect", b, p)
				}
				s.Call("bind", a, Bad, 10)
				s.Call("bind", a, Bad, -1)
				s.Call("connect", a, Bad, 10)
				s.Call("listen", b, 5)
				s.on("bind", a, s.path("/sock"))
				s.on("bind", b, s.path("/sock"))
				s.on("bind", a, s.path("/sock2"))
				var st unix.Stat_t
				_, errno := s.Quiet("newfstatat", unix.AT_FDCWD, "/sock", &st, 0)
				s.Logf("%v %o %d", errno, st.Mode, st.Size)
				_, errno = s.Quiet("newfstatat", unix.AT_FDCWD, "/sock2", &st, 0)
				s.Logf("%v", errno)
				s.Call("openat", unix.AT_FDCWD, "/sock", unix.O_RDWR, 0)
				s.names(a)
				s.on("connect", b, s.path("/sock"))
				s.poll(a, b)
				s.Call("listen", a, 0)
				s.option(a, unix.SO_ACCEPTCONN)
				s.poll(a)
				for _, other := range socketKinds {
					o := s.socket(other)
					s.on("connect", o, s.path("/sock"))
					s.poll(o)
					s.names(o)
					s.on("connect", o, s.path("/sock"))
					s.on("connect", o, []byte{0, 0})
					s.on("connect", o, []byte{0, 0, 0})
					s.names(o)
					to := s.path("/sock")
					n, errno := s.Quiet("sendto", o, []byte("named"), 5, 0, to, len(to))
					s.Logf("sendto %d %v", gave(n, errno), errno)
				}
				s.poll(a)
				s.queued(a)
				s.Call("linkat", unix.AT_FDCWD, "/sock", unix.AT_FDCWD, "/other", 0)
				s.Call("unlinkat", unix.AT_FDCWD, "/sock", 0)
				c := s.socket(kind)
				s.on("connect", c, s.path("/sock"))
				s.on("connect", c, s.path("/other"))
				s.Call("symlinkat", "other", unix.AT_FDCWD, "/link")
				d := s.socket(kind)
				s.on("connect", d, s.path("/link"))
				s.on("bind", d, s.path("/link"))
				s.names(a)
				s.close(a)
				e := s.socket(kind)
				s.on("connect", e, s.path("/other"))
				s.on("bind", e, s.path("/other"))
				s.poll(b, c, d)
				for _, f := range []FD{b, c, d} {
					s.Call("write", f, []byte("x"), 1)
					s.drain(f, 4)
					s.names(f)
				}
				s.Call("umask", 0o022)
			})
		})
	}
}

func TestSocketAbstract(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a, b := s.socket(kind), s.socket(kind)
				name := s.abstract("a")
				s.on("connect", b, name)
				s.on("bind", a, name)
				s.on("bind", b, name)
				s.on("bind", b, append(name, 0))
				s.names(a, b)
				for _, n := range []int32{-1, 0, 1, 2, 5, 300} {
					p := bytes.Repeat([]byte{'?'}, 130)
					_, errno := s.Quiet("getsockname", a, p, &n)
					s.Logf("%v %d %q", errno, n, p)
				}
				var n int32 = 9
				s.Call("getsockname", a, Bad, &n)
				s.Call("getsockname", a, Bad, Bad)
				for _, other := range socketKinds {
					o := s.socket(other)
					s.on("connect", o, name)
					s.on("bind", o, name)
				}
				// Autobind.
				c := s.socket(kind)
				s.on("bind", c, []byte{1, 0})
				s.on("bind", c, []byte{1, 0})
				p := make([]byte, 20)
				s.Quiet("getsockname", c, p, &n)
				s.Logf("%d %q", n, p[:3])
				s.on("bind", c, name)
				d := s.socket(kind)
				s.Call("setsockopt", d, unix.SOL_SOCKET, unix.SO_PASSCRED, []byte{1, 0, 0, 0}, 4)
				s.on("connect", d, name)
				n = 20
				s.Quiet("getsockname", d, p, &n)
				s.Logf("%d", n)
				s.close(a)
				s.on("bind", s.socket(kind), name)
			})
		})
	}
}

func TestSocketAccept(t *testing.T) {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				l := s.socket(kind)
				s.Call("accept", l, nil, nil)
				s.on("bind", l, s.path("/l"))
				s.Call("accept", l, nil, nil)
				s.Call("listen", l, 1)
				s.Call("accept", l, nil, nil)
				s.Call("accept4", l, nil, nil, 1)
				s.Call("read", l, make([]byte, 1), 1)
				s.Call("write", l, make([]byte, 1), 1)
				var clients []FD
				for i := range 4 {
					c := s.socket(kind)
					if i == 1 {
						s.on("bind", c, s.path("/client"))
					}
					s.on("connect", c, s.path("/l"))
					s.Call("write", c, []byte{'a' + byte(i)}, 1)
					clients = append(clients, c)
				}
				s.option(clients[0], 0)
				s.poll(l)
				s.Call("listen", l, 2)
				s.on("connect", clients[2], s.path("/l"))
				s.close(clients[0])
				s.poll(clients...)
				for range 4 {
					p, n := bytes.Repeat([]byte{'?'}, 120), int32(120)
					fd, errno := s.Quiet("accept4", l, p, &n, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
					if i := bytes.LastIndexByte(p, '/'); i > 2 {
						p, n = append(p[:2:2], p[i:]...), n-int32(i)+2
					}
					s.Logf("accept %v %d %.20q", errno, n, p)
					if errno == 0 {
						s.fds = append(s.fds, FD(fd))
						s.names(FD(fd))
						s.Call("fcntl", FD(fd), unix.F_GETFL)
						s.poll(FD(fd))
						s.drain(FD(fd), 5)
						s.Call("write", FD(fd), []byte("ok"), 2)
					}
				}
				s.drain(clients[1], 5)
				s.on("connect", clients[3], s.path("/l"))
				s.Call("accept", l, Bad, Bad)
				s.poll(clients[3])
				s.Call("write", clients[3], []byte("x"), 1)
				s.drain(clients[3], 5)
				c := s.socket(kind)
				s.on("connect", c, s.path("/l"))
				s.Call("write", c, []byte("never read"), 10)
				s.Call("shutdown", l, unix.SHUT_RD)
				s.poll(l)
				s.on("connect", s.socket(kind), s.path("/l"))
				s.close(l)
				s.poll(c)
				s.drain(c, 5)
				s.drain(c, 5)
				s.Call("listen", c, 1)
			})
		})
	}
}

func TestSocketDatagram(t *testing.T) {
	socketTwin(t, func(s *sockets) {
		a, b, c := s.socket(unix.SOCK_DGRAM), s.socket(unix.SOCK_DGRAM), s.socket(unix.SOCK_DGRAM)
		A, B := s.abstract("A"), s.abstract("B")
		s.on("bind", a, A)
		s.Call("write", b, []byte("nowhere"), 7)
		send := func(fd FD, text string, to []byte) {
			_, errno := s.Quiet("sendto", fd, []byte(text), len(text), 0, to, len(to))
			s.Logf("sendto %q %v", text, errno)
		}
		recv := func(fd FD) {
			p, from, n := make([]byte, 4), bytes.Repeat([]byte{'?'}, 130), int32(100)
			got, errno := s.Quiet("recvfrom", fd, p, 4, unix.MSG_TRUNC, from, &n)
			s.Logf("recvfrom %d %v %q from %d %.20q", gave(got, errno), errno, p, n, from)
		}
		send(b, "unnamed", A)
		s.on("bind", b, B)
		send(b, "named", A)
		send(b, "", A)
		send(b, "none", s.abstract("none"))
		send(b, "bad", []byte{1, 0})
		send(b, "bad", []byte{7, 0, 0})
		send(b, "bad", make([]byte, 129))
		s.queued(a, b)
		for range 4 {
			recv(a)
		}
		s.on("connect", c, A)
		s.poll(c)
		for range 12 {
			s.Call("write", c, []byte("x"), 1)
		}
		s.poll(a, b, c)
		send(b, "full", A)
		s.queued(a, b, c)
		recv(a)
		s.poll(c)
		send(b, "fits", A)
		s.on("connect", a, B)
		s.poll(a, b, c)
		send(c, "not my peer", A)
		s.Call("write", c, []byte("not my peer"), 3)
		s.on("connect", c, A)
		s.on("connect", c, B)
		s.on("connect", b, A)
		for range 15 {
			s.Call("write", b, []byte("mutual"), 6)
		}
		s.on("connect", a, []byte{0, 0}) // what is queued is lost, and b is told
		s.poll(a, b)
		s.option(b, unix.SO_ERROR)
		recv(a)
		s.Call("shutdown", a, unix.SHUT_RD)
		s.Call("write", b, []byte("shut"), 4)
		recv(a)
		s.poll(a)
		s.close(a)
		s.poll(b)
		s.Call("write", b, []byte("gone"), 4)
		s.Call("write", b, []byte("gone"), 4)
		s.names(b)
		s.Call("listen", b, 1)
		s.Call("accept", b, nil, nil)
		// To oneself, as often as the send buffer allows.
		s.on("connect", b, B)
		for range 14 {
			s.Call("write", b, []byte("self"), 4)
		}
		s.close(b)
		// Dead without a notice.
		d, e := s.pair(unix.SOCK_DGRAM)
		s.Call("write", e, []byte("last"), 4)
		s.close(e)
		s.Call("write", d, []byte("gone"), 4)
		s.Call("write", d, []byte("gone"), 4)
		recv(d)
		// Dead, and connected to another before.
		f, g, h := s.socket(unix.SOCK_DGRAM), s.socket(unix.SOCK_DGRAM), s.socket(unix.SOCK_DGRAM)
		s.on("bind", g, s.abstract("G"))
		s.on("bind", h, s.abstract("H"))
		s.on("connect", f, s.abstract("G"))
		s.on("connect", g, s.abstract("H"))
		s.Call("write", f, []byte("not my peer"), 3)
		s.close(g)
		s.Call("write", f, []byte("gone"), 4)
	})
}

func TestSocketOptions(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a := s.socket(kind)
				known := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 15, 16, 17, 18, 19, 20, 21, 29, 30, 34, 38, 39, 40, 42, 59, 66, 67, 0, -1, 90, 200, 1 << 30}
				for _, o := range known {
					s.option(a, o)
				}
				set := func(o int, p []byte) {
					_, errno := s.Quiet("setsockopt", a, unix.SOL_SOCKET, o, p, len(p))
					s.Logf("set %d %q %v", o, p, errno)
					s.option(a, o)
				}
				le := func(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
				for _, o := range known {
					if o == unix.SO_DEBUG || o == unix.SO_RXQ_OVFL {
						continue
					}
					for _, v := range []int32{1, 0, 2, -1, 1 << 30, 5000, -1 << 31} {
						set(o, le(v))
					}
					set(o, le(1)[:3])
					set(o, nil)
				}
				for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO, 66, 67} {
					for _, v := range [][2]int64{{1, 500000}, {0, 1000000}, {0, -1}, {-5, 0}, {1 << 62, 0}, {3600, 8000}, {0, 0}} {
						p := append(le64(uint64(v[0])), le64(uint64(v[1]))...)
						_, errno := s.Quiet("setsockopt", a, unix.SOL_SOCKET, o, p, 16)
						s.Logf("%v %v", v, errno)
						if v[0] != -5 {
							s.option(a, o)
						}
					}
				}
				set(unix.SO_LINGER, append(le(7), le(9)...))
				set(unix.SO_PASSCRED, append(le(7), le(9)...))
				for _, level := range []int{0, 6, 41, -1, 2} {
					n := int32(4)
					s.Call("getsockopt", a, level, 3, make([]byte, 4), &n)
					s.Call("setsockopt", a, level, 3, make([]byte, 4), 4)
					s.Call("setsockopt", a, level, 3, make([]byte, 4), -1)
				}
				for _, n := range []int32{-1, 0, 1, 3, 5, 1 << 30} {
					p := bytes.Repeat([]byte{'?'}, 8)
					_, errno := s.Quiet("getsockopt", a, unix.SOL_SOCKET, unix.SO_TYPE, p, &n)
					s.Logf("%v %d %q", errno, n, p)
				}
				n := int32(4)
				s.Call("getsockopt", a, unix.SOL_SOCKET, unix.SO_TYPE, Bad, &n)
				s.Call("getsockopt", a, unix.SOL_SOCKET, unix.SO_TYPE, Bad, Bad)
				s.Call("getsockopt", a, unix.SOL_SOCKET, 90, Bad, &n)
				s.Call("setsockopt", a, unix.SOL_SOCKET, unix.SO_SNDBUF, Bad, 4)
				s.Call("setsockopt", a, unix.SOL_SOCKET, 90, Bad, 4)
				s.Call("setsockopt", a, unix.SOL_SOCKET, unix.SO_SNDBUF, Bad, -4)
				b, _ := s.pair(kind)
				var c [3]int32
				n = 12
				s.Quiet("getsockopt", b, unix.SOL_SOCKET, unix.SO_PEERCRED, &c, &n)
				pid, _ := s.Quiet("getpid")
				uid, _ := s.Quiet("geteuid")
				s.Logf("%v %v %d", uint64(c[0]) == pid, uint64(c[1]) == uid, n)
			})
		})
	}
}

// receive notes one recvmsg. The numbers of descriptors do not show; they are
// closed, except that use is called with the first.
func (s *sockets) receive(fd FD, size, control, flags int, use func(FD)) {
	s.T.Helper()
	m := &msg{Iov: Iov{bytes.Repeat([]byte{'?'}, size)}, Name: bytes.Repeat([]byte{'?'}, 8), Flags: 0x5555}
	if control >= 0 {
		m.Control = bytes.Repeat([]byte{'?'}, control)
	}
	n, errno := s.Quiet("recvmsg", fd, m, flags)
	s.received(m, gave(n, errno), errno, use)
}

func (s *sockets) received(m *msg, n int, errno unix.Errno, use func(FD)) {
	pid, _ := s.Quiet("getpid")
	uid, _ := s.Quiet("getuid")
	gid, _ := s.Quiet("getgid")
	s.Logf("recvmsg %d %v %q flags %#x name %d %.3q space %d", n, errno, m.Iov[0], m.Flags, m.NameLen, m.Name, m.Space)
	if errno != 0 {
		return
	}
	p := m.Control[:min(int(m.Space), len(m.Control))]
	for len(p) >= 16 {
		size, kind := int(binary.LittleEndian.Uint64(p)), p[12]
		data := p[16:max(min(size, len(p)), 16)]
		s.Logf("cmsg of %d, type %d", size, kind)
		switch {
		case kind == unix.SCM_CREDENTIALS && len(data) == 12:
			v := [3]uint32{binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint32(data[8:])}
			s.Logf("%v %v %v %v", v == [3]uint32{uint32(pid), uint32(uid), uint32(gid)}, v[0] == 0, v[1] == 65534, v[2] == 65534)
		case kind == unix.SCM_RIGHTS:
			for i := range len(data) / 4 {
				fd := FD(binary.LittleEndian.Uint32(data[4*i:]))
				s.Call("fcntl", fd, unix.F_GETFD)
				if i == 0 && use != nil {
					use(fd)
				}
				s.Call("close", fd)
			}
		}
		p = p[min((size+7)&^7, len(p)):]
	}
}

func (s *sockets) send(fd FD, text string, control []byte) {
	s.T.Helper()
	n, errno := s.Quiet("sendmsg", fd, &msg{Iov: Iov{[]byte(text)}, Control: control}, unix.MSG_NOSIGNAL)
	s.Logf("sendmsg %q %d %v", text, gave(n, errno), errno)
}

func TestSocketRights(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a, b := s.pair(kind)
				ev := s.Open("eventfd2", 7, unix.EFD_NONBLOCK)
				path := s.Open("openat", unix.AT_FDCWD, "/", unix.O_PATH, 0)
				read := func(fd FD) { s.Call("read", fd, make([]byte, 8), 8) }
				s.send(a, "one", rights(ev))
				s.receive(b, 9, 64, 0, read)
				for _, control := range []int{-1, 0, 8, 16, 17, 20, 23, 24, 28, 30, 32} {
					s.send(a, "two", rights(ev, path))
					s.receive(b, 3, control, unix.MSG_CMSG_CLOEXEC, nil)
				}
				s.send(a, "peek", rights(ev))
				s.receive(b, 2, 64, unix.MSG_PEEK, nil)
				s.receive(b, 2, 64, 0, nil)
				s.receive(b, 2, 64, 0, nil)
				for _, bad := range [][]byte{rights(ev, 9999), rights(ev)[:15], rights(ev)[:16], append(le64(15), rights(ev)[8:]...),
					append(le64(1<<63), rights(ev)[8:]...), append(le64(25), rights(ev)[8:]...), append(le64(19), rights(ev)[8:]...),
					cmsg(unix.SOL_SOCKET, 99, 1, 2, 3), cmsg(77, 99, 1, 2, 3), cmsg(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, 1, 2, 3),
					append(rights(ev), rights(path, ev)...), append(rights(ev), 1, 2, 3), rights(), make([]byte, 300),
					rights(make([]FD, 254)...), make([]byte, 200000)} {
					s.send(a, "bad", bad)
					s.receive(b, 9, 64, 0, nil)
				}
				many := make([]FD, 253)
				for i := range many {
					many[i] = ev
				}
				s.send(a, "many", rights(many...))
				s.send(a, "", rights(ev))
				s.receive(b, 2, 64, 0, nil)
				s.receive(b, 2, 64, 0, nil)
				// Streams join messages up to the first with descriptors.
				s.send(a, "plain", nil)
				s.send(a, "with", rights(ev))
				s.send(a, "plain", nil)
				s.receive(b, 20, 64, unix.MSG_PEEK, nil)
				s.receive(b, 20, 64, unix.MSG_WAITALL, read)
				s.receive(b, 20, 64, 0, nil)
				s.receive(b, 20, 64, 0, nil)
				s.drain(b, 10)
				// Read without taking: closed.
				r, w := pipe2(s.Script, unix.O_NONBLOCK)
				s.send(a, "lost", rights(w))
				s.Call("close", w)
				s.Call("read", r, make([]byte, 1), 1)
				s.Call("read", b, make([]byte, 9), 9)
				s.Call("read", r, make([]byte, 1), 1)
				// A socket over itself.
				s.send(a, "self", rights(a, b))
				s.receive(b, 9, 64, 0, nil)
			})
		})
	}
}

func TestSocketCredentials(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a, b := s.pair(kind)
				pass := func(fd FD, on byte) {
					s.Call("setsockopt", fd, unix.SOL_SOCKET, unix.SO_PASSCRED, []byte{on, 0, 0, 0}, 4)
				}
				pid, _ := s.Quiet("getpid")
				uid, _ := s.Quiet("getuid")
				gid, _ := s.Quiet("getgid")
				cred := func(p, u, g uint64) []byte {
					v := binary.LittleEndian.AppendUint32(nil, uint32(p))
					v = binary.LittleEndian.AppendUint32(v, uint32(u))
					return cmsg(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, binary.LittleEndian.AppendUint32(v, uint32(g))...)
				}
				s.send(a, "before", nil)
				s.send(a, "explicit", cred(pid, uid, gid))
				pass(b, 1)
				s.send(a, "after", nil)
				s.Call("write", a, []byte("write"), 5)
				for range 5 {
					s.receive(b, 50, 64, 0, nil)
				}
				for _, control := range []int{-1, 0, 8, 16, 20, 27, 28, 31, 32, 40, 56} {
					s.send(a, "x", rights(a))
					s.receive(b, 50, control, 0, nil)
				}
				s.send(a, "bad", cred(1<<22+5, uid, gid))
				s.send(a, "bad", cred(pid, uid+1, gid+1)[:24])
				s.drain(b, 99)
				pass(b, 0)
				pass(a, 1)
				s.send(a, "x", nil)
				s.receive(b, 50, 64, 0, nil)
				if kind == unix.SOCK_DGRAM {
					s.Call("getsockname", b, make([]byte, 2), &[1]int32{2})
				}
			})
		})
	}
}

func TestSocketMessages(t *testing.T) {
	for _, kind := range socketKinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			socketTwin(t, func(s *sockets) {
				a, b := s.pair(kind)
				vec := func(texts ...string) *msg {
					m := new(msg)
					for _, text := range texts {
						m.Vector = append(m.Vector, &msg{Iov: Iov{[]byte(text), []byte("+")}})
					}
					return m
				}
				m := vec("one", "two", "", "three")
				s.Call("sendmmsg", a, m, 4, 0)
				s.Logf("%d %d", m.Vector[0].Len, m.Vector[3].Len)
				s.Call("sendmmsg", a, m, 0, 0)
				s.Call("sendmmsg", a, Bad, 2, 0)
				s.Call("sendmsg", a, Bad, 0)
				s.Call("sendmsg", a, m, msgCompat)
				s.Call("recvmmsg", b, Bad, 2, 0, nil)
				s.Call("recvmmsg", b, Bad, 2, 0, Bad)
				s.Call("recvmmsg", b, Bad, 2, 0, timespec(-1, 0))
				m = vec("....", ".", "..", "..", "....")
				s.Call("recvmmsg", b, m, 5, unix.MSG_WAITFORONE, nil)
				for _, v := range m.Vector {
					s.Logf("%d %#x %q", v.Len, v.Flags, v.Iov)
				}
				s.drain(b, 50)
				s.Call("recvmmsg", b, m, 5, 0, timespec(0, 0))
				s.Call("sendmmsg", a, vec("x", "y"), 2, 0)
				s.Call("recvmmsg", b, m, 5, unix.MSG_TRUNC, timespec(0, 0))
				s.drain(b, 50)
				for _, bad := range []*msg{{NameLen: -1}, {NameLen: -1, Name: []byte{1}}, {Name: []byte{1, 0}}, {Name: make([]byte, 200)},
					{Name: s.abstract("nobody")}, {Iov: make(Iov, 1024)}, {Iov: make(Iov, 1025)}} {
					n, errno := s.Quiet("sendmsg", a, bad, 0)
					s.Logf("%d %v", gave(n, errno), errno)
					s.poll(b)
					bad.NameLen = 0
					n, errno = s.Quiet("recvmsg", b, bad, 0)
					s.Logf("%d %v %d", gave(n, errno), errno, bad.NameLen)
					s.drain(b, 50)
				}
				s.Call("sendmmsg", a, vec("a", "b"), 2, 0)
				s.Call("shutdown", a, unix.SHUT_RDWR)
				s.Call("sendmmsg", a, vec("a", "b"), 2, unix.MSG_NOSIGNAL)
				s.Call("recvmmsg", b, m, 5, 0, nil)
				if kind == unix.SOCK_STREAM { // With SO_PEEK_OFF one can look further.
					a, b := s.pair(kind)
					s.send(a, "abc", nil)
					s.send(a, "defghi", nil)
					for _, off := range []byte{0, 2, 4, 9} {
						s.Call("setsockopt", b, unix.SOL_SOCKET, unix.SO_PEEK_OFF, []byte{off, 0, 0, 0}, 4)
						s.Call("recvfrom", b, make([]byte, 2), 2, unix.MSG_PEEK, nil, nil)
						s.Call("recvfrom", b, make([]byte, 2), 2, unix.MSG_PEEK, nil, nil)
						s.option(b, unix.SO_PEEK_OFF)
					}
					s.Call("recvfrom", b, make([]byte, 2), 2, 0, nil, nil)
					s.option(b, unix.SO_PEEK_OFF)
				}
			})
		})
	}
}

const msgCompat = 0x80000000 // MSG_CMSG_COMPAT
