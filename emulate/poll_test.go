//go:build linux

package emulate_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/sysno"
)

// pollfd is struct pollfd.
type pollfd struct {
	FD              int32
	Events, Revents uint16
}

// result is what a call gave, 0 with an error.
func result(n uint64, errno unix.Errno) int64 {
	if errno != 0 {
		return 0
	}
	return int64(n)
}

func timespec(sec, nsec int64) *[2]int64 { return &[2]int64{sec, nsec} }

func TestPoll(t *testing.T) {
	Twin(t, func(s *Script) {
		r, w := pipe2(s, 0)
		set := [3]pollfd{{int32(r), unix.POLLIN, 9}, {-5, unix.POLLIN, 9}, {int32(w), unix.POLLOUT, 9}}
		poll := func(name string, args ...any) {
			s.T.Helper()
			n, errno := s.Quiet(name, append([]any{&set}, args...)...)
			s.Logf("%s %d %v %#x %#x %#x", name, result(n, errno), errno, set[0].Revents, set[1].Revents, set[2].Revents)
		}
		poll("poll", 3, 0)
		poll("poll", 2, 1)
		poll("poll", 1, 0)
		poll("poll", 0, 0)
		s.Quiet("write", w, []byte("x"), 1)
		poll("poll", 3, -1)
		poll("ppoll", 3, nil, nil, 0)
		poll("ppoll", 3, timespec(0, 0), nil, 99)
		poll("ppoll", 3, timespec(-1, 0), nil, 8)
		poll("ppoll", 3, timespec(0, 1e9), Bad, 8)
		poll("ppoll", 3, timespec(1, 0), Bad, 8)
		poll("ppoll", 3, timespec(1, 0), Bad, 4)
		poll("ppoll", 3, Bad, nil, 8)
		set[1].FD = 1000
		poll("poll", 3, -1)
		s.Call("poll", Bad, 1, 0)
		s.Call("poll", nil, 0, 1)
		s.Call("poll", nil, -1, 0)
		s.Call("poll", nil, 1<<30, 0)
		s.Call("poll", Edge(make([]byte, 12)), 2, 0)
		left := timespec(0, 2e6)
		s.Quiet("ppoll", nil, 0, left, nil, 0)
		s.Logf("left %v", *left)
		left = timespec(50, 0)
		set[1].FD = -1
		s.Quiet("ppoll", &set, 3, left, nil, 0)
		s.Logf("left %d s", left[0])
	})
}

func TestSelect(t *testing.T) {
	Twin(t, func(s *Script) {
		r, w := pipe2(s, 0)
		var in, out, ex [16]uint64
		sel := func(name string, nfds int, tail ...any) {
			s.T.Helper()
			n, errno := s.Quiet(name, append([]any{nfds, &in, &out, &ex}, tail...)...)
			has := func(set [16]uint64, fd FD) bool { return set[fd/64]>>(fd%64)&1 != 0 }
			s.Logf("%s %d %v r %v w %v ex %v", name, result(n, errno), errno, has(in, r), has(out, w), has(ex, r))
		}
		all := func() {
			in, out, ex = [16]uint64{}, [16]uint64{}, [16]uint64{}
			in[r/64] |= 1 << (r % 64)
			out[w/64] |= 1 << (w % 64)
			ex[r/64] |= 1 << (r % 64)
		}
		nfds := int(max(r, w)) + 1
		all()
		sel("select", nfds, timespec(0, 0))
		all()
		sel("select", nfds, nil)
		sel("select", -1, timespec(0, 0))
		sel("select", nfds, timespec(0, -1))
		sel("select", nfds, Bad)
		s.Quiet("write", w, []byte("x"), 1)
		all()
		sel("select", nfds, timespec(9, 9000000))
		all()
		sel("pselect6", nfds, timespec(0, 999999999), nil)
		sel("pselect6", nfds, timespec(0, 1e9), nil)
		sel("pselect6", nfds, nil, Bad)
		sel("pselect6", nfds, nil, &[2]uint64{Bad, 8})
		sel("pselect6", nfds, nil, &[2]uint64{Bad, 7})
		sel("pselect6", nfds, timespec(0, 0), &[2]uint64{0, 7})
		all()
		in[0] |= 1 << 50 // not open
		sel("select", 51, timespec(0, 0))
		s.Call("select", 1<<31-1, Bad, nil, nil, timespec(0, 0))
		s.Call("select", 0, Bad, nil, nil, timespec(0, 0))
		left := timespec(0, 3000)
		s.Call("select", 0, nil, nil, nil, left)
		s.Logf("left %v", *left)
	})
}

// TestSelectLarge: a set may be shorter than nfds says; only what the table has
// room for is read and written.
func TestSelectLarge(t *testing.T) {
	g := NewGuest(t)
	set := Edge(make([]byte, 8))
	if n, errno := g.Call("select", 1<<31-1, set, nil, nil, timespec(0, 0)); n != 0 || errno != 0 {
		t.Errorf("select gives %d, %v", n, errno)
	}
}

// TestReadinessWaits: what sleeps wakes when another task makes it ready, and a
// descriptor closed meanwhile is still watched.
func TestReadinessWaits(t *testing.T) {
	g := NewGuest(t)
	var fds [2]int32
	g.Must("pipe2", &fds, 0)
	r, w := fds[0], fds[1]
	other := g.Thread()
	ep := g.Must("epoll_create1", 0)
	ev := epollEvent{unix.EPOLLIN, 7}
	g.Must("epoll_ctl", ep, unix.EPOLL_CTL_ADD, r, &ev)
	set := pollfd{r, unix.POLLIN, 0}
	var in [16]uint64
	start := map[string]func() *Started{
		"poll": func() *Started { return other.Start("poll", &set, 1, -1) },
		"select": func() *Started {
			in[0] = 1 << r
			return other.Start("select", r+1, &in, nil, nil, nil)
		},
		"epoll": func() *Started { return other.Start("epoll_pwait", ep, &ev, 1, -1, nil, 8) },
	}
	for name, fn := range start {
		wait := fn()
		if wait.Done() {
			t.Fatalf("%s does not wait", name)
		}
		g.Must("write", w, []byte("x"), 1)
		if n, errno := wait.Wait(); n != 1 || errno != 0 {
			t.Errorf("%s gives %d, %v", name, n, errno)
		}
		g.Must("read", r, make([]byte, 1), 1)
	}
	wait := start["poll"]()
	g.Must("close", r)
	if wait.Done() {
		t.Error("poll woke because its descriptor was closed")
	}
	other.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
	if _, errno := wait.Wait(); errno != emulate.ERESTART_RESTARTBLOCK {
		t.Errorf("interrupted poll gives %v", errno)
	}
	other.Machine.Signals()
	for name, want := range map[string]unix.Errno{"select": emulate.ERESTARTNOHAND, "ppoll": emulate.ERESTARTNOHAND, "epoll_wait": unix.EINTR} {
		wait := other.Start(name, map[string][]any{"select": {0, nil, nil, nil, nil}, "ppoll": {nil, 0, nil, nil, 0},
			"epoll_wait": {ep, &ev, 1, -1}}[name]...)
		other.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
		if _, errno := wait.Wait(); errno != want {
			t.Errorf("interrupted %s gives %v", name, errno)
		}
		other.Machine.Signals()
	}
}

// TestWaitMask: ppoll's mask holds for the sleep alone.
func TestWaitMask(t *testing.T) {
	g := NewGuest(t)
	g.Machine.State.Blocked = 1 << (unix.SIGUSR1 - 1)
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
	none := uint64(0)
	all := ^uint64(0)
	if n, errno := g.Call("ppoll", nil, 0, timespec(0, 1e6), &all, 8); n != 0 || errno != 0 {
		t.Errorf("blocked: %d, %v", n, errno)
	}
	if _, errno := g.Call("ppoll", nil, 0, timespec(0, 0), &none, 8); errno != emulate.ERESTARTNOHAND {
		t.Errorf("unblocked: %v", errno)
	}
	if _, errno := g.Call("pselect6", 0, nil, nil, nil, nil, nil); errno != emulate.ERESTARTNOHAND {
		t.Errorf("the mask went before the signal: %v", errno)
	}
}

// TestPollRestarts: a poll that goes on after a stop keeps its deadline.
func TestPollRestarts(t *testing.T) {
	g := NewGuest(t)
	nr, _ := sysno.Number("poll")
	g.Sys.Handlers = map[int]emulate.Handler{nr: g.Handler("poll")}
	began := time.Now()
	wait := g.Start("poll", nil, 0, 60)
	time.Sleep(20 * time.Millisecond)
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
	if _, errno := wait.Wait(); errno != emulate.ERESTART_RESTARTBLOCK {
		t.Fatalf("interrupted poll gives %v", errno)
	}
	g.Machine.Signals()
	args := g.Task.Restart.Args
	if n, errno := g.Call("restart_syscall", args[0], args[1], args[2], args[3], args[4], args[5]); n != 0 || errno != 0 {
		t.Fatalf("restart_syscall gives %d, %v", n, errno)
	}
	if d := time.Since(began); d < 60*time.Millisecond || d > 2*time.Second {
		t.Errorf("poll for 60 ms took %v", d)
	}
}
