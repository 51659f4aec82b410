//go:build linux

package emulate_test

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/sysno"
)

// interrupt starts a call, lets a signal end it and gives the errno.
func interrupt(t *testing.T, g *Guest, call string, args ...any) unix.Errno {
	t.Helper()
	p := g.Start(call, args...)
	if p.Done() {
		t.Fatalf("%s%v does not sleep", call, args)
	}
	if err := g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false); err != nil {
		t.Fatal(err)
	}
	_, err := p.Wait()
	g.Machine.Signals()
	return err
}

func TestSleepRestart(t *testing.T) {
	g := NewGuest(t)
	g.Machine.State.Caught = 1 << (unix.SIGUSR1 - 1)
	rem := &unix.Timespec{Sec: 77}
	req := g.Machine.Alloc(16)
	if _, err := g.Machine.WriteMemory(le(uint64(999_000_000), 8), req+8); err != nil { // 999 ms
		t.Fatal(err)
	}
	if _, err := g.Machine.WriteMemory(le(0, 8), req); err != nil {
		t.Fatal(err)
	}
	remAddr := g.Machine.Alloc(16)
	start := time.Now()
	if err := interrupt(t, g, "nanosleep", req, remAddr); err != emulate.ERESTART_RESTARTBLOCK {
		t.Fatalf("nanosleep: %v", err)
	}
	if left := slices.Equal(g.Machine.Bytes(remAddr, 16), []byte("????????????????")); left {
		t.Error("no remaining time")
	}
	// Other arguments: the kernel's own restart, of a futex.
	g.Machine.OnNative = func(nr int, args [6]uint64) (uint64, error) { return 5, nil }
	if r, err := g.Call("restart_syscall", 1, 2, 3); r != 5 || err != 0 {
		t.Errorf("restart of a native call: %d, %v", r, err)
	}
	if want := (NativeCall{Nr: sysno.Must("restart_syscall"), Args: [6]uint64{1, 2, 3}}); !slices.Contains(g.Machine.Natives, want) {
		t.Errorf("the kernel was asked %v", g.Machine.Natives)
	}
	time.Sleep(900 * time.Millisecond)
	g.Must("restart_syscall", req, remAddr)
	if d := time.Since(start); d < 999*time.Millisecond || d > 1800*time.Millisecond {
		t.Errorf("slept %v in all, want 999ms: the deadline must stay", d)
	}

	for _, c := range []struct {
		call string
		args []any
		want unix.Errno
	}{
		{"nanosleep", []any{&unix.Timespec{Sec: 1 << 62}, rem}, emulate.ERESTART_RESTARTBLOCK},
		{"nanosleep", []any{&unix.Timespec{Sec: 9}, hole}, unix.EFAULT},
		{"clock_nanosleep", []any{0, 0, &unix.Timespec{Sec: 9}, 0}, emulate.ERESTART_RESTARTBLOCK},
		{"clock_nanosleep", []any{0, 1, &unix.Timespec{Sec: 1 << 40}, hole}, emulate.ERESTARTNOHAND},
		{"clock_nanosleep", []any{1, 1, &unix.Timespec{Sec: 1 << 62}, 0}, emulate.ERESTARTNOHAND},
		{"clock_nanosleep", []any{7, 0, &unix.Timespec{Sec: 1 << 62}, 0}, emulate.ERESTART_RESTARTBLOCK},
		{"clock_nanosleep", []any{2, 0, &unix.Timespec{Sec: 9}, 0}, emulate.ERESTART_RESTARTBLOCK},
		{"clock_nanosleep", []any{2, 1, &unix.Timespec{Sec: 9}, 0}, emulate.ERESTARTNOHAND},
	} {
		if err := interrupt(t, g, c.call, c.args...); err != c.want {
			t.Errorf("%s%v interrupted: %v, want %v", c.call, c.args, err, c.want)
		}
	}
	if rem.Sec < 1<<33 {
		t.Errorf("%v left of for ever", *rem)
	}
}

// TestSleepCPU: a process that computes reaches its CPU clock's time.
func TestSleepCPU(t *testing.T) {
	g := NewGuest(t)
	p := g.Start("clock_nanosleep", 2, 0, &unix.Timespec{Nsec: 5_000_000}, 0)
	if p.Done() {
		t.Fatal("an idle process is done")
	}
	g.Machine.Spent.User += 5 * time.Millisecond
	if _, err := p.Wait(); err != 0 {
		t.Error(err)
	}
	if _, err := g.Call("clock_nanosleep", -2&^4|4, 0, &unix.Timespec{Nsec: 1}, 0); err != unix.EINVAL {
		t.Errorf("its own thread's clock: %v", err)
	}
}

func TestCPUClocks(t *testing.T) {
	g := NewGuest(t)
	thread, child := g.Thread(), g.Fork()
	g.Machine.Spent = emulate.Usage{User: 3 * time.Second, System: 2 * time.Second, MaxRSS: 7}
	clock := func(pid int, kind int) int { return ^pid<<3 | kind }
	for _, c := range []struct {
		clock int
		sec   int64
		want  unix.Errno
	}{
		{clock(1, 2), 5, 0}, {clock(1, 0), 5, 0}, {clock(1, 1), 3, 0}, {clock(1, 3), 0, unix.EINVAL},
		{clock(thread.Task.TID, 4|2), 0, 0}, {clock(thread.Task.TID, 2), 0, unix.EINVAL},
		{clock(child.Task.TID, 2), 0, 0}, {clock(child.Task.TID, 4|2), 0, unix.EINVAL}, {clock(99, 2), 0, unix.EINVAL},
	} {
		var ts unix.Timespec
		if _, err := g.Call("clock_gettime", c.clock, &ts); err != c.want || ts.Sec != c.sec {
			t.Errorf("clock %#x: %v, %v; want %d s, %v", uint32(c.clock), ts, err, c.sec, c.want)
		}
	}
	var ru unix.Rusage
	g.Must("getrusage", 0, &ru)
	if ru.Utime.Sec != 3 || ru.Stime.Sec != 2 || ru.Maxrss != 7 {
		t.Errorf("%+v", ru)
	}
}

func TestRandomIsWhole(t *testing.T) {
	g := NewGuest(t)
	const n = 1<<20 + 3
	addr := g.Machine.Map(0, n, unix.PROT_READ|unix.PROT_WRITE)
	if r := g.Must("getrandom", addr, n, 0); r != n {
		t.Errorf("%d bytes, want %d", r, n)
	}
	if p := g.Machine.Bytes(addr+n-64, 64); slices.Equal(p, make([]byte, 64)) {
		t.Error("the end is zeros")
	}
	g.Machine.State.Caught = 1 << (unix.SIGUSR1 - 1)
	_ = g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
	if r := g.Must("getrandom", addr, n, 0); r == 0 || r >= n {
		t.Errorf("%d bytes with a signal due, want some", r)
	}
}

func TestKept(t *testing.T) {
	g := NewGuest(t)
	g.Machine.OnNative = func(int, [6]uint64) (uint64, error) { return 0, nil }
	g.Must("setpriority", 0, 0, 5)
	if want := (NativeCall{Nr: sysno.Must("setpriority"), Args: [6]uint64{0, 0, 5}}); !slices.Contains(g.Machine.Natives, want) {
		t.Errorf("the kernel was told %v", g.Machine.Natives)
	}
	g.Must("prctl", unix.PR_SET_CHILD_SUBREAPER, 1)
	child := g.Fork()
	if p := child.Must("getpriority", 0, 0); p != 15 {
		t.Errorf("the child's priority is %d", p)
	}
	grand := child.Fork()
	grand.Must("prctl", unix.PR_SET_PDEATHSIG, unix.SIGUSR2)
	child.Exit(0)
	got := grand.Machine.Signals()
	if len(got) != 1 || got[0].Number != int(unix.SIGUSR2) || got[0].PID != child.Task.Process.PID {
		t.Errorf("the grandchild got %+v", got)
	}
	if ppid := grand.Must("getppid"); ppid != 1 {
		t.Errorf("adopted by %d", ppid)
	}
	g.Task.Cred.EUID = 0
	g.Must("sethostname", "prison", 6)
	var u unix.Utsname
	g.Must("uname", &u)
	if name := unix.ByteSliceToString(u.Nodename[:]); name != "prison" {
		t.Errorf("hostname %q", name)
	}
	g.Task.Cred.EUID = 7
	if _, err := g.Call("sethostname", "x", 1); err != unix.EPERM {
		t.Errorf("sethostname: %v", err)
	}
}

func TestSubreaper(t *testing.T) {
	g := NewGuest(t)
	reaper := g.Fork()
	reaper.Must("prctl", unix.PR_SET_CHILD_SUBREAPER, 1)
	child := reaper.Fork()
	grand := child.Fork()
	child.Exit(0)
	if ppid := grand.Must("getppid"); ppid != uint64(reaper.Task.Process.PID) {
		t.Errorf("adopted by %d", ppid)
	}
	reaper.Exit(0)
	if ppid := grand.Must("getppid"); ppid != 1 {
		t.Errorf("adopted by %d", ppid)
	}
}
