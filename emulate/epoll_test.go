//go:build linux

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// epollEvent is struct epoll_event as encoding/binary packs it.
type epollEvent struct {
	Events uint32
	Data   uint64
}

// epollNow logs what epoll_wait gives without waiting.
func epollNow(s *Script, ep FD, room int) {
	s.T.Helper()
	p := make([]byte, room*12)
	n, errno := s.Quiet("epoll_pwait", ep, p, room, 0, nil, 8)
	line := fmt.Sprintf("epoll %d %v", int(n), errno)
	for i := range n {
		line += fmt.Sprintf(" %#x:%d", binary.LittleEndian.Uint32(p[i*12:]), binary.LittleEndian.Uint64(p[i*12+4:]))
	}
	s.Logf("%s", line)
}

func TestEpoll(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Call("epoll_create", 0)
		s.Call("epoll_create1", 1)
		ep := s.Open("epoll_create", 1)
		r, w := pipe2(s, unix.O_NONBLOCK)
		ctl := func(ep FD, op int, fd any, events uint32, data uint64) {
			s.T.Helper()
			s.Call("epoll_ctl", ep, op, fd, &epollEvent{events, data})
		}
		const add, del, mod = unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_DEL, unix.EPOLL_CTL_MOD
		s.Call("epoll_ctl", -1, add, -1, Bad)
		s.Call("epoll_ctl", ep, add, r, nil)
		s.Call("epoll_ctl", ep, del, r, Bad)
		ctl(ep, add, -1, unix.EPOLLIN, 1)
		ctl(r, add, w, unix.EPOLLIN, 1)
		ctl(ep, add, ep, unix.EPOLLIN, 1)
		ctl(ep, 7, r, unix.EPOLLIN, 1)
		ctl(ep, mod, r, unix.EPOLLIN, 1)
		ctl(ep, add, r, unix.EPOLLIN, 1)
		ctl(ep, add, r, unix.EPOLLIN, 1)
		ctl(ep, add, w, unix.EPOLLOUT|unix.EPOLLET, 2)
		epollNow(s, ep, 4)
		epollNow(s, ep, 4)
		s.Quiet("write", w, []byte("xy"), 2)
		epollNow(s, ep, 1)
		epollNow(s, ep, 4)
		ctl(ep, mod, r, unix.EPOLLIN|unix.EPOLLONESHOT, 3)
		epollNow(s, ep, 4)
		epollNow(s, ep, 4)
		ctl(ep, mod, r, unix.EPOLLIN|unix.EPOLLET, 4)
		epollNow(s, ep, 4)
		epollNow(s, ep, 4)
		s.Quiet("write", w, []byte("xy"), 2)
		epollNow(s, ep, 4)
		ctl(ep, mod, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 4)
		ctl(ep, del, r, 0, 0)
		ctl(ep, add, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE|unix.EPOLLONESHOT, 4)
		ctl(ep, add, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 4)
		ctl(ep, mod, r, unix.EPOLLIN, 4)
		pollBits(s, ep)
		s.Call("epoll_wait", ep, make([]byte, 12), 0, 0)
		s.Call("epoll_wait", ep, make([]byte, 12), 1<<31-1, 0)
		s.Call("epoll_wait", ep, make([]byte, 12), -1, 0)
		s.Call("epoll_wait", r, make([]byte, 12), 1, 0)
		s.Call("epoll_wait", -1, make([]byte, 12), 0, 0)
		s.Call("epoll_wait", ep, Bad, 1, 0)
		s.Call("epoll_wait", ep, uint64(1)<<63, 1, 0)
		s.Call("epoll_pwait2", ep, make([]byte, 12), 1, timespec(0, -1), nil, 8)
		s.Call("epoll_pwait2", ep, make([]byte, 12), 1, Bad, nil, 8)
		s.Call("epoll_pwait", ep, make([]byte, 12), 1, 0, Bad, 7)
		epollNow(s, ep, 4)
		s.Call("read", ep, make([]byte, 8), 8)

		// A number closed and its description alive is still watched.
		dup := s.Open("dup", r)
		s.Call("close", r)
		hold(s, r)
		epollNow(s, ep, 4)
		s.Call("close", dup)
		hold(s, dup)
		epollNow(s, ep, 4)
	})
}

func TestEpollNested(t *testing.T) {
	Twin(t, func(s *Script) {
		var eps [8]FD
		for i := range eps {
			eps[i] = s.Open("epoll_create1", 0)
		}
		add := func(a, b int, events uint32) {
			s.T.Helper()
			s.Call("epoll_ctl", eps[a], unix.EPOLL_CTL_ADD, eps[b], &epollEvent{events, uint64(10*a + b)})
		}
		for i := range 6 {
			add(i, i+1, unix.EPOLLIN)
		}
		add(3, 0, unix.EPOLLIN)
		add(1, 0, unix.EPOLLIN)
		add(7, 0, unix.EPOLLIN)
		add(7, 4, unix.EPOLLIN|unix.EPOLLET)
		ev := s.Open("eventfd2", 0, 0)
		s.Call("epoll_ctl", eps[4], unix.EPOLL_CTL_ADD, ev, &epollEvent{unix.EPOLLIN, 77})
		for range 2 {
			s.Quiet("write", ev, []byte("\x01\x00\x00\x00\x00\x00\x00\x00"), 8)
			for _, ep := range eps {
				pollBits(s, ep)
				epollNow(s, ep, 2)
				epollNow(s, ep, 2)
			}
		}
		s.Quiet("read", ev, make([]byte, 8), 8)
		for _, ep := range eps {
			epollNow(s, ep, 2)
		}
	})
}

// FuzzEpoll: after any sequence of changes the same events come in the same
// order.
func FuzzEpoll(f *testing.F) {
	f.Add([]byte{0, 0, 0, 9, 3, 0, 6, 4, 0, 1, 3, 1, 6, 2, 4, 0, 6, 9})
	f.Add([]byte{0, 16, 0, 17, 3, 0, 3, 1, 6, 1, 6, 1, 6, 1, 1, 32, 6, 3, 2, 0, 6, 1})
	f.Add([]byte{0, 6, 0, 7, 3, 1, 7, 0, 7, 0, 3, 1, 7, 0, 4, 0, 7, 1, 5, 0, 6, 4, 7, 7})
	f.Fuzz(func(t *testing.T, ops []byte) {
		Twin(t, func(s *Script) { epollOps(s, ops) })
	})
}

// epollOps does random things to two epolls, the second watching the first, that
// watch two event counters and a pipe.
func epollOps(s *Script, ops []byte) {
	eps := []FD{s.Open("epoll_create1", 0), s.Open("epoll_create1", 0)}
	r, w := pipe2(s, unix.O_NONBLOCK)
	fds := []FD{s.Open("eventfd2", 0, unix.EFD_NONBLOCK), s.Open("eventfd2", 0, unix.EFD_NONBLOCK), r, w, eps[0]}
	masks := []uint32{unix.EPOLLIN, unix.EPOLLIN | unix.EPOLLOUT, unix.EPOLLOUT | unix.EPOLLET, unix.EPOLLIN | unix.EPOLLET,
		unix.EPOLLIN | unix.EPOLLONESHOT, unix.EPOLLIN | unix.EPOLLEXCLUSIVE, 0}
	one := []byte("\x01\x00\x00\x00\x00\x00\x00\x00")
	for i := 0; i+1 < len(ops) && i < 120; i += 2 {
		arg := int(ops[i+1])
		fd := fds[arg%5]
		ep := eps[arg/5%2]
		ev := epollEvent{masks[arg/10%len(masks)], uint64(arg)}
		switch ops[i] % 8 {
		case 0, 1, 2:
			op := []int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD, unix.EPOLL_CTL_DEL}[ops[i]%8]
			s.Call("epoll_ctl", ep, op, fd, &ev)
		case 3:
			s.Call("write", []FD{fds[0], fds[1], w}[arg%3], one, 8)
		case 4:
			s.Call("read", []FD{fds[0], fds[1], r}[arg%3], make([]byte, 8), 8)
		case 5:
			s.Call("write", w, make([]byte, 65536), 65536)
		case 6, 7:
			epollNow(s, eps[ops[i]%2], 1+arg%4)
		}
	}
	epollNow(s, eps[0], 9)
	epollNow(s, eps[1], 9)
}

// TestEpollFault: events that cannot be written are not lost.
func TestEpollFault(t *testing.T) {
	g := NewGuest(t)
	ep := g.Must("epoll_create1", 0)
	ev := g.Must("eventfd2", 1, 0)
	g.Must("epoll_ctl", ep, unix.EPOLL_CTL_ADD, ev, &epollEvent{unix.EPOLLIN | unix.EPOLLET | unix.EPOLLONESHOT, 5})
	if _, errno := g.Call("epoll_wait", ep, Bad, 1, 0); errno != unix.EFAULT {
		t.Errorf("bad pointer: %v", errno)
	}
	var got epollEvent
	if n := g.Must("epoll_wait", ep, &got, 1, 0); n != 1 || got.Data != 5 {
		t.Errorf("then %d events, %v", n, got)
	}
}

// TestEpollInterrupted: events go before the signal.
func TestEpollInterrupted(t *testing.T) {
	g := NewGuest(t)
	other := g.Thread()
	ep := g.Must("epoll_create1", 0)
	ev := g.Must("eventfd2", 0, 0)
	g.Must("epoll_ctl", ep, unix.EPOLL_CTL_ADD, ev, &epollEvent{unix.EPOLLIN, 5})
	none := uint64(0)
	g.Machine.State.Blocked = 1 << (unix.SIGUSR1 - 1)
	wait := g.Start("epoll_pwait", ep, make([]byte, 12), 1, -1, &none, 8)
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
	write, _ := other.NewCall("write", ev, []byte("\x01\x00\x00\x00\x00\x00\x00\x00"), 8)
	if _, err := other.Direct(write, other.Handler("write")); err != nil {
		t.Fatal(err)
	}
	if n, errno := wait.Wait(); n != 1 || errno != 0 {
		t.Errorf("epoll_pwait gives %d, %v", n, errno)
	}
}
