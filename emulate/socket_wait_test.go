//go:build linux

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

func socketPair(g *Guest, kind int) (a, b uint64) {
	var sv [2]int32
	g.Must("socketpair", unix.AF_UNIX, kind, 0, &sv)
	return uint64(sv[0]), uint64(sv[1])
}

func unixAddr(name string) []byte { return append([]byte{unix.AF_UNIX, 0}, name...) }

func TestSocketWaits(t *testing.T) {
	g := NewGuest(t)
	other := g.Thread()
	wait := func(what string, p *Started, then func()) uint64 {
		t.Helper()
		if p.Done() {
			t.Fatalf("%s does not wait", what)
		}
		then()
		n, errno := p.Wait()
		if errno != 0 {
			t.Errorf("%s: %v", what, errno)
		}
		return n
	}
	for _, kind := range socketKinds {
		a, b := socketPair(g, kind)
		p := make([]byte, 10)
		n := wait("read", g.Start("read", a, p, 10), func() { other.Must("write", b, []byte("hello"), 5) })
		if n != 5 || string(p[:5]) != "hello" {
			t.Errorf("read %d, %q", n, p)
		}
		if kind == unix.SOCK_STREAM {
			n = wait("MSG_WAITALL", g.Start("recvfrom", a, p, 10, unix.MSG_WAITALL, nil, nil), func() {
				other.Must("write", b, []byte("hello"), 5)
				other.Must("write", b, []byte("world"), 5)
			})
			if n != 10 {
				t.Errorf("MSG_WAITALL gives %d", n)
			}
			big := make([]byte, 1<<20)
			got := 0
			n = wait("long write", g.Start("write", a, big, len(big)), func() {
				for got < len(big) {
					got += int(other.Must("read", b, big, len(big)))
				}
			})
			if n != uint64(len(big)) || got != len(big) {
				t.Errorf("wrote %d, read %d", n, got)
			}
		}
		if kind != unix.SOCK_DGRAM {
			wait("read to the end", g.Start("read", a, p, 10), func() { other.Must("shutdown", b, unix.SHUT_WR) })
			l, c := g.Must("socket", unix.AF_UNIX, kind, 0), g.Must("socket", unix.AF_UNIX, kind, 0)
			addr := unixAddr("/l" + string(rune('0'+kind)))
			g.Must("bind", l, addr, len(addr))
			g.Must("listen", l, 0)
			fd := wait("accept", g.Start("accept", l, nil, nil), func() { other.Must("connect", c, addr, len(addr)) })
			g.Must("close", fd)
			c1, c2 := g.Must("socket", unix.AF_UNIX, kind, 0), g.Must("socket", unix.AF_UNIX, kind, 0)
			g.Must("connect", c1, addr, len(addr))
			wait("connect", g.Start("connect", c2, addr, len(addr)), func() { other.Must("accept", l, nil, nil) })
		} else {
			c, d := g.Must("socket", unix.AF_UNIX, kind, 0), g.Must("socket", unix.AF_UNIX, kind, 0)
			addr := unixAddr("/d")
			g.Must("bind", d, addr, len(addr))
			g.Must("connect", c, addr, len(addr))
			for range 11 {
				g.Must("write", c, []byte("x"), 1)
			}
			wait("poll", g.Start("poll", &pollfd{FD: int32(c), Events: unix.POLLOUT}, 1, -1), func() { other.Must("read", d, p, 9) })
			g.Must("write", c, []byte("x"), 1)
			wait("write", g.Start("write", c, []byte("x"), 1), func() { other.Must("read", d, p, 9) })
			wait("sendto", g.Start("sendto", c, []byte("x"), 1, 0, addr, len(addr)), func() { other.Must("read", d, p, 9) })
			sending := g.Start("write", c, []byte("x"), 1)
			if sending.Done() {
				t.Fatal("write does not wait")
			}
			other.Must("close", d)
			if _, errno := sending.Wait(); errno != unix.ECONNREFUSED {
				t.Errorf("write to a closed socket: %v", errno)
			}
		}
	}
}

// TestSocketTimeout: SO_RCVTIMEO and SO_SNDTIMEO end a wait with EAGAIN, and a
// signal then is EINTR, not a restart.
func TestSocketTimeout(t *testing.T) {
	g := NewGuest(t)
	a, b := socketPair(g, unix.SOCK_STREAM)
	set := func(option int, usec int64) {
		g.Must("setsockopt", a, unix.SOL_SOCKET, option, &[2]int64{usec / 1e6, usec % 1e6}, 16)
	}
	p := make([]byte, 10)
	var got []unix.Errno
	parent := g
	g = g.Fork()
	signal := func(s *Started) {
		parent.Must("kill", g.Task.Process.PID, unix.SIGUSR1)
		_, errno := s.Wait()
		g.Machine.Signals()
		got = append(got, errno)
	}
	signal(g.Start("read", a, p, 10))
	set(unix.SO_RCVTIMEO, 100e6)
	signal(g.Start("read", a, p, 10))
	set(unix.SO_RCVTIMEO, 10e3)
	set(unix.SO_SNDTIMEO, 10e3)
	began := time.Now()
	_, errno := g.Call("read", a, p, 10)
	got = append(got, errno)
	n, errno := g.Call("write", a, make([]byte, 1<<20), 1<<20)
	if n == 0 || n == 1<<20 {
		t.Errorf("wrote %d", n)
	}
	got = append(got, errno)
	_, errno = g.Call("write", a, p, 10)
	got = append(got, errno)
	if d := time.Since(began); d < 25*time.Millisecond {
		t.Errorf("three timeouts of 10 ms took %v", d)
	}
	g.Must("close", b)
	want := []unix.Errno{emulate.ERESTARTSYS, unix.EINTR, unix.EAGAIN, 0, unix.EAGAIN}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// TestSocketSIGPIPE: streams send it, datagrams and MSG_NOSIGNAL do not.
func TestSocketSIGPIPE(t *testing.T) {
	for _, kind := range socketKinds {
		g := NewGuest(t)
		a, b := socketPair(g, kind)
		g.Must("shutdown", a, unix.SHUT_WR)
		g.Must("shutdown", b, unix.SHUT_RD)
		for _, flags := range []int{unix.MSG_NOSIGNAL, 0} {
			if _, errno := g.Call("sendto", a, []byte("x"), 1, flags, nil, 0); errno != unix.EPIPE {
				t.Errorf("send: %v", errno)
			}
			want := 0
			if kind == unix.SOCK_STREAM && flags == 0 {
				want = 1
			}
			if n := len(g.Machine.Signals()); n != want {
				t.Errorf("type %d, flags %#x: %d signals", kind, flags, n)
			}
		}
	}
}

// sendFDs sends descriptors and returns the errno.
func sendFDs(g *Guest, fd uint64, fds ...uint64) unix.Errno {
	var list []FD
	for _, f := range fds {
		list = append(list, FD(f))
	}
	_, errno := g.Call("sendmsg", fd, &msg{Iov: Iov{[]byte("x")}, Control: rights(list...)}, unix.MSG_DONTWAIT)
	return errno
}

// TestSocketGarbage: a socket that waits only at itself is closed, and with it
// what else it holds.
func TestSocketGarbage(t *testing.T) {
	g := NewGuest(t)
	g.Task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1 << 16, Max: 1 << 16}
	ended := func(r uint64) bool {
		n, errno := g.Call("read", r, make([]byte, 1), 1)
		return n == 0 && errno == 0
	}
	pipe := func() (r, w uint64) {
		var p [2]int32
		g.Must("pipe2", &p, unix.O_NONBLOCK)
		return uint64(p[0]), uint64(p[1])
	}
	provoke := func() { g.Must("close", g.Must("socket", unix.AF_UNIX, unix.SOCK_STREAM, 0)) }
	// In a circle.
	r, w := pipe()
	a, b := socketPair(g, unix.SOCK_STREAM)
	sendFDs(g, a, a, b, w)
	for _, fd := range []uint64{a, w} {
		g.Must("close", fd)
	}
	provoke()
	if ended(r) {
		t.Fatal("collected while a descriptor is open")
	}
	g.Must("close", b)
	provoke()
	if !ended(r) {
		t.Error("a socket in its own queue is not collected")
	}
	// Held by one that can still be received.
	r, w = pipe()
	a, b = socketPair(g, unix.SOCK_STREAM)
	c, d := socketPair(g, unix.SOCK_DGRAM)
	sendFDs(g, a, b, w)
	sendFDs(g, c, b)
	for _, fd := range []uint64{a, b, w, c} {
		g.Must("close", fd)
	}
	provoke()
	if ended(r) {
		t.Error("collected what can be received")
	}
	m := &msg{Iov: Iov{make([]byte, 1)}, Control: make([]byte, 64)}
	g.Must("recvmsg", d, m, 0)
	got := binary.LittleEndian.Uint32(m.Control[16:])
	g.Must("read", got, make([]byte, 9), 9)
	if !ended(r) {
		t.Error("a pipe read away is not closed")
	}
	// At a connection that nobody accepts, itself in the listener's.
	r, w = pipe()
	l := g.Must("socket", unix.AF_UNIX, unix.SOCK_STREAM, 0)
	addr := unixAddr("/l")
	g.Must("bind", l, addr, len(addr))
	g.Must("listen", l, 5)
	k := g.Must("socket", unix.AF_UNIX, unix.SOCK_STREAM, 0)
	g.Must("connect", k, addr, len(addr))
	sendFDs(g, k, l, w, k)
	g.Must("close", w)
	g.Must("close", k)
	provoke()
	if ended(r) {
		t.Error("collected what can be accepted")
	}
	g.Must("close", l)
	provoke()
	if !ended(r) {
		t.Error("a listener in its own connection is not collected")
	}
	// A chain deeper than any stack.
	r, w = pipe()
	last := w
	for range 5000 {
		a, b := socketPair(g, unix.SOCK_DGRAM)
		if errno := sendFDs(g, a, last); errno != 0 {
			t.Fatal(errno)
		}
		g.Must("close", a)
		g.Must("close", last)
		last = b
	}
	g.Must("close", last)
	if !ended(r) {
		t.Error("a chain is not closed")
	}
}

// TestSocketBounds: descriptors in flight and sockets end somewhere.
func TestSocketBounds(t *testing.T) {
	g := NewGuest(t)
	g.Task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1 << 16, Max: 1 << 16}
	a, b := socketPair(g, unix.SOCK_STREAM)
	g.Must("setsockopt", a, unix.SOL_SOCKET, unix.SO_SNDBUF, &[1]int32{1 << 30}, 4)
	many := make([]uint64, 253)
	for i := range many {
		many[i] = b
	}
	sent, errno := 0, unix.Errno(0)
	for errno == 0 && sent < 1e6 {
		if errno = sendFDs(g, a, many...); errno == 0 {
			sent += len(many)
		}
	}
	if errno != unix.ETOOMANYREFS || sent > 1<<14 {
		t.Errorf("%d descriptors in flight, then %v", sent, errno)
	}
	g.Must("read", b, make([]byte, 1), 1)
	if errno := sendFDs(g, a, many...); errno != 0 {
		t.Error(errno)
	}
	g.Must("close", b)
	if errno := sendFDs(g, a, a); errno != unix.EPIPE && errno != 0 {
		t.Error(errno)
	}
}

// FuzzSocketControl: whatever a guest writes as control data and address, the
// answer is an errno.
func FuzzSocketControl(f *testing.F) {
	f.Add(rights(0, 1), []byte{1, 0, '/', 'a'}, uint16(64))
	f.Add(append(rights(3), cmsg(1, 2, make([]byte, 12)...)...), []byte{1, 0, 0}, uint16(20))
	f.Add(cmsg(1, 77, 1, 2), []byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, control, name []byte, space uint16) {
		g := NewGuest(t)
		a, b := socketPair(g, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK)
		c := g.Must("socket", unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		g.Must("setsockopt", b, unix.SOL_SOCKET, unix.SO_PASSCRED, &[1]int32{1}, 4)
		for _, call := range []string{"bind", "connect"} {
			g.Call(call, c, name, len(name))
		}
		g.Call("sendmsg", a, &msg{Name: name, Iov: Iov{[]byte("x")}, Control: control}, 0)
		g.Call("sendmsg", a, &msg{Iov: Iov{[]byte("x")}, Control: control}, 0)
		m := &msg{Iov: Iov{make([]byte, 4)}, Control: bytes.Repeat([]byte{'?'}, int(space%4096)), Name: make([]byte, 5)}
		if _, errno := g.Call("recvmsg", b, m, 0); errno != 0 && errno != unix.EAGAIN {
			t.Errorf("recvmsg: %v", errno)
		}
		g.Task.FDs.Release()
	})
}
