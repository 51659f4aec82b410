//go:build linux

package emulate_test

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func TestEventfd(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Call("eventfd2", 0, 2)
		fd := s.Open("eventfd2", 3, unix.EFD_NONBLOCK)
		sem := s.Open("eventfd2", 2, unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		s.Call("fcntl", fd, unix.F_GETFL)
		for _, f := range []FD{fd, sem} {
			pollBits(s, f)
			s.Call("read", f, make([]byte, 7), 7)
			s.Call("read", f, make([]byte, 16), 16)
			s.Call("read", f, make([]byte, 8), 8)
			s.Call("read", f, make([]byte, 8), 8)
			pollBits(s, f)
			s.Call("write", f, le64(5), 7)
			s.Call("write", f, le64(^uint64(0)), 8)
			s.Call("write", f, le64(^uint64(0)-1), 8)
			pollBits(s, f)
			s.Call("write", f, le64(0), 8)
			s.Call("write", f, le64(1), 8)
			s.Call("write", f, make([]byte, 24), 24)
			s.Call("read", f, make([]byte, 8), 8)
			s.Call("read", f, Bad, 8)
		}
	})
}

func TestTimerfd(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Call("timerfd_create", unix.CLOCK_MONOTONIC, 1)
		s.Call("timerfd_create", 2, 0)
		s.Call("timerfd_create", 99, 0)
		ev := s.Open("eventfd2", 0, 0)
		for _, clock := range []int{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME} {
			fd := s.Open("timerfd_create", clock, unix.TFD_NONBLOCK)
			set := func(flags int, v [4]int64) {
				s.T.Helper()
				old := [4]int64{9, 9, 9, 9}
				_, errno := s.Quiet("timerfd_settime", fd, flags, &v, &old)
				s.Logf("settime %v, old %v and about %d ks", errno, old[:2], (old[2]+500)/1000)
			}
			set(0, [4]int64{0, 0, 0, -1})
			set(0, [4]int64{0, 1e9, 0, 1})
			set(4, [4]int64{0, 0, 0, 1})
			pollBits(s, fd)
			s.Call("read", fd, make([]byte, 8), 8)
			s.Call("write", fd, make([]byte, 8), 8)
			set(0, [4]int64{7, 8, 100, 500})
			set(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, [4]int64{0, 0, 0, 1})
			time.Sleep(3 * time.Millisecond)
			pollBits(s, fd)
			s.Call("read", fd, make([]byte, 7), 7)
			s.Call("read", fd, make([]byte, 8), 8)
			s.Call("read", fd, make([]byte, 8), 8)
			var now [4]int64
			s.Call("timerfd_gettime", fd, &now)
			s.Logf("%v", now)
			set(0, [4]int64{1 << 62, 0, 1 << 62, 0})
			set(0, [4]int64{})
			s.Call("timerfd_gettime", fd, Bad)
		}
		s.Call("timerfd_gettime", ev, Bad)
		s.Call("timerfd_settime", ev, 0, &[4]int64{}, nil)
		s.Call("timerfd_settime", ev, 0, Bad, nil)
		s.Call("timerfd_settime", -1, 0, &[4]int64{}, nil)
		s.Call("timerfd_settime", -1, 8, &[4]int64{}, nil)
	})
}

// TestTimerfdWaits: a read waits for the first expiration and counts them all.
func TestTimerfdWaits(t *testing.T) {
	g := NewGuest(t)
	fd := g.Must("timerfd_create", unix.CLOCK_MONOTONIC, 0)
	began := time.Now()
	g.Must("timerfd_settime", fd, 0, &[4]int64{0, 5e6, 0, 20e6}, nil)
	var n uint64
	g.Must("read", fd, &n, 8)
	if d := time.Since(began); n == 0 || d < 20*time.Millisecond {
		t.Errorf("%d expirations after %v", n, d)
	}
	time.Sleep(31 * time.Millisecond)
	g.Must("read", fd, &n, 8)
	if n < 6 || n > 1000 {
		t.Errorf("%d expirations", n)
	}
	g.Must("timerfd_settime", fd, 0, &[4]int64{0, 1, 0, 1}, nil) // no flood
	time.Sleep(time.Millisecond)
	g.Must("read", fd, &n, 8)
	if n < 1e6 {
		t.Errorf("%d expirations of 1 ns in 1 ms", n)
	}
}

func TestSignalfd(t *testing.T) {
	Twin(t, func(s *Script) {
		mask := uint64(1 << (unix.SIGUSR1 - 1))
		s.Call("signalfd4", -1, &mask, 7, 0)
		s.Call("signalfd4", -1, &mask, 8, 1)
		s.Call("signalfd4", -1, Bad, 8, 0)
		s.Call("signalfd4", -2, &mask, 8, 0)
		fd := s.Open("signalfd4", -1, &mask, 8, unix.SFD_NONBLOCK)
		pollBits(s, fd)
		s.Call("read", fd, make([]byte, 127), 127)
		s.Call("read", fd, make([]byte, 128), 128)
		s.Call("write", fd, make([]byte, 128), 128)
		s.Call("epoll_ctl", s.Open("epoll_create1", 0), unix.EPOLL_CTL_ADD, fd, &epollEvent{1, 1})
	})
	g := NewGuest(t)
	mask := uint64(1<<(unix.SIGUSR1-1) | 1<<(unix.SIGCHLD-1))
	g.Machine.State.Blocked = mask
	fd := g.Must("signalfd4", -1, &mask, 8, 0)
	ep := g.Must("epoll_create1", 0)
	g.Must("epoll_ctl", ep, unix.EPOLL_CTL_ADD, fd, &epollEvent{unix.EPOLLIN, 1})
	other := g.Fork()
	wait := g.Start("epoll_wait", ep, make([]byte, 12), 1, -1)
	if wait.Done() {
		t.Fatal("epoll_wait without a signal")
	}
	other.Must("kill", g.Task.Process.PID, unix.SIGUSR1)
	if n, errno := wait.Wait(); n != 1 || errno != 0 {
		t.Fatalf("epoll_wait gives %d, %v", n, errno)
	}
	info := make([]byte, 256)
	if n := g.Must("read", fd, info, 256); n != 128 {
		t.Errorf("read %d bytes", n)
	}
	if sig, pid := binary.LittleEndian.Uint32(info), binary.LittleEndian.Uint32(info[12:]); sig != uint32(unix.SIGUSR1) || pid != 2 {
		t.Errorf("signal %d of process %d", sig, pid)
	}
	read := g.Start("read", fd, info, 128)
	if read.Done() {
		t.Fatal("read without a signal")
	}
	other.Exit(3 << 8)
	if n, errno := read.Wait(); n != 128 || errno != 0 || info[0] != byte(unix.SIGCHLD) {
		t.Errorf("read gives %d, %v, signal %d", n, errno, info[0])
	}
}

// TestTimers: the two interval timers of a process and its POSIX timers, as far
// as they do not fire.
func TestTimers(t *testing.T) {
	Twin(t, func(s *Script) {
		value := func(name string, args ...any) {
			s.T.Helper()
			v := [4]int64{9, 9, 9, 9}
			_, errno := s.Quiet(name, append(args, &v)...)
			s.Logf("%s %v %v %v", name, errno, v[:2], v[2])
		}
		value("getitimer", unix.ITIMER_REAL)
		s.Call("alarm", 1000)
		value("setitimer", unix.ITIMER_REAL, &[4]int64{5, 6, 100, 999000})
		value("getitimer", unix.ITIMER_REAL)
		s.Call("alarm", 0)
		s.Call("alarm", 0)
		s.Call("setitimer", unix.ITIMER_REAL, &[4]int64{0, 0, 0, 1e6}, nil)
		s.Call("setitimer", unix.ITIMER_REAL, &[4]int64{-1, 0, 0, 0}, nil)
		s.Call("setitimer", unix.ITIMER_REAL, Bad, nil)
		s.Call("setitimer", unix.ITIMER_REAL, nil, Bad)
		s.Call("getitimer", unix.ITIMER_REAL, Bad)

		var id int32
		type sigevent struct {
			Value         uint64
			Signo, Notify int32
			TID           int32
			_             [44]byte
		}
		create := func(clock int, ev any) {
			s.T.Helper()
			_, errno := s.Quiet("timer_create", clock, ev, &id)
			s.Logf("timer_create %v", errno)
		}
		create(99, nil)
		create(unix.CLOCK_MONOTONIC, Bad)
		create(unix.CLOCK_MONOTONIC_RAW, nil)
		create(unix.CLOCK_MONOTONIC, &sigevent{Signo: 65})
		create(unix.CLOCK_MONOTONIC, &sigevent{Signo: 0})
		create(unix.CLOCK_MONOTONIC, &sigevent{Signo: 10, Notify: 9})
		create(unix.CLOCK_MONOTONIC, &sigevent{Signo: 10, Notify: 4, TID: 1 << 30})
		s.Call("timer_create", unix.CLOCK_MONOTONIC, nil, Bad)
		create(unix.CLOCK_MONOTONIC, &sigevent{Notify: 1})
		fd := FD(id) // any number will do, it must not show
		s.Call("timer_settime", fd, 0, nil, nil)
		s.Call("timer_settime", fd, 0, Bad, nil)
		s.Call("timer_settime", fd, 0, &[4]int64{0, -1, 0, 0}, nil)
		s.Call("timer_settime", 1<<30, 0, &[4]int64{}, nil)
		value("timer_settime", fd, 0, &[4]int64{3, 4, 100, 5})
		value("timer_gettime", fd)
		s.Call("timer_getoverrun", fd)
		value("timer_settime", fd, unix.TIMER_ABSTIME, &[4]int64{0, 0, 0, 1})
		value("timer_gettime", fd)
		s.Call("timer_delete", fd)
		s.Call("timer_delete", fd)
		s.Call("timer_gettime", fd, Bad)
		s.Call("timer_getoverrun", fd)
	})
}

// TestTimersFire: signals come in time, with the timer's number and overruns.
func TestTimersFire(t *testing.T) {
	g := NewGuest(t)
	g.Machine.State.Blocked = ^uint64(0)
	pause := func(d int64) { g.Call("nanosleep", timespec(0, d), nil) }
	g.Must("setitimer", unix.ITIMER_REAL, &[4]int64{0, 0, 0, 2000}, nil)
	var sigs []emulate.Signal
	for i := 0; i < 500 && len(sigs) == 0; i++ {
		pause(5e6)
		sigs = g.Machine.Signals()
	}
	if len(sigs) != 1 || sigs[0].Number != int(unix.SIGALRM) {
		t.Errorf("setitimer sends %v", sigs)
	}
	ev := make([]byte, 64)
	binary.LittleEndian.PutUint64(ev, 0xabcd)
	binary.LittleEndian.PutUint32(ev[8:], 40)
	var id int32
	g.Must("timer_create", unix.CLOCK_MONOTONIC, ev, &id)
	g.Must("timer_settime", id, 0, &[4]int64{0, 1e6, 0, 1e6}, nil)
	overruns := uint64(0)
	for i := 0; i < 500 && overruns < 3; i++ {
		pause(5e6)
		overruns = g.Must("timer_getoverrun", id)
	}
	g.Must("timer_delete", id)
	sigs = g.Machine.Signals()
	if len(sigs) != 1 || sigs[0].Number != 40 || sigs[0].Code != -2 || sigs[0].PID != int(id) || sigs[0].Value != 0xabcd {
		t.Errorf("timer sends %v", sigs)
	}
	if overruns < 3 {
		t.Errorf("%d overruns", overruns)
	}
	pause(5e6)
	if sigs = g.Machine.Signals(); len(sigs) != 0 {
		t.Errorf("deleted timer sends %v", sigs)
	}
	child := g.Fork()
	child.Must("setitimer", unix.ITIMER_REAL, &[4]int64{0, 100, 0, 100}, nil)
	child.Exit(0)
	child.Machine.Signals()
	pause(2e6)
	for _, s := range child.Machine.Signals() {
		t.Errorf("timer of a dead process sends %v", s)
	}
}
