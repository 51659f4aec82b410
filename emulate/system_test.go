//go:build linux

package emulate_test

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

const minus1 = ^uint64(0)

func TestClocks(t *testing.T) {
	var s script
	for _, clock := range []int{0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 63, -1, -2, -3, -5, -6, -7, -1 << 31, 1<<31 - 1} {
		s = append(s,
			do("clock_gettime", clock, buf(8)).only(onlyError),
			do("clock_gettime", clock, hole).only(onlyError),
			do("clock_gettime", clock, 0).only(onlyError),
			do("clock_getres", clock, buf(8)),
			do("clock_getres", clock, 0),
			do("clock_getres", clock, hole),
			do("clock_nanosleep", clock, 0, buf(0), 0).with(0, 1_000_000_000),
			do("clock_nanosleep", clock, 0, buf(0), 0).with(-1, 0),
			do("clock_nanosleep", clock, 0, brink(4), 0),
			do("clock_nanosleep", clock, 1, hole, 0),
		)
		if clock >= 0 && clock != unix.CLOCK_PROCESS_CPUTIME_ID { // no sleep of unknown length
			s = append(s, do("clock_nanosleep", clock, 0, buf(0), buf(16)).with(0, 1),
				do("clock_nanosleep", clock, 1, buf(0), 0).with(0, 1))
		}
	}
	s = append(s,
		do("gettimeofday", buf(0), buf(16)).only(onlyError), do("gettimeofday", 0, 0), do("gettimeofday", hole, 0),
		do("gettimeofday", 0, buf(0)), do("gettimeofday", 0, hole), do("gettimeofday", brink(4), 0),
		do("time", 0).only(onlyError), do("time", buf(0)).only(onlyError), do("time", hole),
		do("times", 0).only(onlyError), do("times", buf(0)).only(onlyError), do("times", hole),
		do("nanosleep", buf(0), 0).with(0, 1), do("nanosleep", buf(0), buf(16)).with(0, 0),
		do("nanosleep", buf(0), 0).with(0, -1), do("nanosleep", buf(0), 0).with(-5, 0), do("nanosleep", hole, 0),
		do("nanosleep", 0, 0), do("nanosleep", brink(4), 0),
		do("getrusage", 0, buf(0)).only(onlyError), do("getrusage", -1, buf(0)).only(onlyError), do("getrusage", 1, buf(0)).only(onlyError),
		do("getrusage", 2, buf(0)), do("getrusage", -2, hole), do("getrusage", 0, hole), do("getrusage", 0, brink(143)),
	)
	s.twin(t)
}

// TestClockIsNotSet is not a twin test: as root it could set the host's clock.
func TestClockIsNotSet(t *testing.T) {
	g := NewGuest(t)
	timespec := func(sec, nsec int64) *unix.Timespec { return &unix.Timespec{Sec: sec, Nsec: nsec} }
	timeval := func(sec, usec int64) *unix.Timeval { return &unix.Timeval{Sec: sec, Usec: usec} }
	for _, c := range []struct {
		call string
		args []any
		want unix.Errno
	}{
		{"clock_settime", []any{0, hole}, unix.EFAULT},
		{"clock_settime", []any{0, timespec(-1, 0)}, unix.EINVAL},
		{"clock_settime", []any{0, timespec(0, 1e9)}, unix.EINVAL},
		{"clock_settime", []any{0, timespec(1<<62, 0)}, unix.EINVAL},
		{"clock_settime", []any{0, timespec(1e9, 0)}, unix.EPERM},
		{"clock_settime", []any{1, timespec(1e9, 0)}, unix.EINVAL},
		{"clock_settime", []any{2, hole}, unix.EINVAL},
		{"clock_settime", []any{-6, hole}, unix.EFAULT},
		{"clock_settime", []any{-6, timespec(0, 0)}, unix.EPERM},
		{"clock_settime", []any{-5, timespec(0, 0)}, unix.EINVAL},
		{"clock_settime", []any{99, hole}, unix.EINVAL},
		{"settimeofday", []any{hole, 0}, unix.EFAULT},
		{"settimeofday", []any{0, hole}, unix.EFAULT},
		{"settimeofday", []any{timeval(0, -1), 0}, unix.EINVAL},
		{"settimeofday", []any{timeval(0, 1_000_001), 0}, unix.EINVAL},
		{"settimeofday", []any{timeval(-1, 0), 0}, unix.EINVAL},
		{"settimeofday", []any{timeval(1e9, 0), 0}, unix.EPERM},
		{"settimeofday", []any{0, 0}, unix.EPERM},
		{"adjtimex", []any{hole}, unix.EFAULT},
		{"adjtimex", []any{append([]byte{1}, make([]byte, 207)...)}, unix.EPERM},
		{"adjtimex", []any{append([]byte{0, 0x80}, make([]byte, 206)...)}, unix.EINVAL},
		{"clock_adjtime", []any{1, make([]byte, 208)}, unix.EOPNOTSUPP},
		{"clock_adjtime", []any{99, make([]byte, 208)}, unix.EINVAL},
		{"clock_adjtime", []any{99, hole}, unix.EFAULT},
	} {
		if _, err := g.Call(c.call, c.args...); err != c.want {
			t.Errorf("%s%v: %v, want %v", c.call, c.args, err, c.want)
		}
	}
	var tx unix.Timex // has holes that encoding/binary does not know
	raw := make([]byte, unsafe.Sizeof(tx)+1)
	raw[len(raw)-1] = '?'
	clear(raw[:len(raw)-1])
	state := g.Must("adjtimex", raw)
	tx = *(*unix.Timex)(unsafe.Pointer(&raw[0]))
	if now := time.Now().Unix(); state != 5 || tx.Time.Sec < now-5 || tx.Time.Sec > now || tx.Status != 0x40 || tx.Tick != 10000 {
		t.Errorf("state %d, %+v", state, tx)
	}
	if raw[len(raw)-1] != '?' {
		t.Error("adjtimex writes too much")
	}
}

// TestSysinfo holds the layout and the numbers that do not move against the
// host's.
func TestSysinfo(t *testing.T) {
	g := NewGuest(t)
	var want, got unix.Sysinfo_t
	if err := unix.Sysinfo(&want); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, unsafe.Sizeof(got))
	g.Must("sysinfo", raw)
	got = *(*unix.Sysinfo_t)(unsafe.Pointer(&raw[0]))
	if got.Totalram*uint64(got.Unit) != want.Totalram*uint64(want.Unit) || got.Procs != 1 || got.Uptime < want.Uptime || got.Freeram == 0 {
		t.Errorf("got %+v, the host says %+v", got, want)
	}
	g.Task.Process.Rlimits[unix.RLIMIT_AS].Cur = 1 << 20
	g.Must("sysinfo", raw)
	if got = *(*unix.Sysinfo_t)(unsafe.Pointer(&raw[0])); got.Totalram != 1<<20 {
		t.Errorf("%d bytes under a limit of a MiB", got.Totalram)
	}
}

func TestIdentity(t *testing.T) {
	get := script{
		do("getuid"), do("geteuid"), do("getgid"), do("getegid"),
		do("getresuid", buf(0), buf(4), buf(8)), do("getresgid", buf(0), buf(4), buf(8)),
		do("setfsuid", minus1), do("setfsgid", minus1),
		do("capget", buf(0), buf(8)).with(uint32(0x20080522), uint32(0)),
		do("prctl", unix.PR_GET_DUMPABLE), do("prctl", unix.PR_GET_KEEPCAPS),
		do("getgroups", 0, 0),
	}
	for name, s := range map[string]script{
		"errors": {
			do("getresuid", hole, buf(0), buf(4)), do("getresuid", buf(0), hole, buf(4)), do("getresuid", buf(0), buf(4), 0),
			do("setuid", minus1), do("setgid", minus1), do("setreuid", minus1, minus1), do("setresuid", minus1, minus1, minus1),
			do("setregid", minus1, minus1), do("setresgid", minus1, minus1, minus1),
			do("getgroups", -1, 0), do("getgroups", 1<<16, hole).only(onlyError), do("setgroups", 1, hole), do("setgroups", 65537, buf(0)),
			do("setgroups", minus1, buf(0)),
		},
		"setuid": {do("setuid", 1000), do("setuid", 0), do("setuid", 1001), do("setgid", 5)},
		"setgid": {do("setgid", 1000), do("setregid", 7, 8), do("setresgid", 9, minus1, 10), do("setfsgid", 11)},
		"seteuid": {do("setreuid", minus1, 1000), do("setuid", 7), do("setreuid", minus1, 0),
			do("setresuid", minus1, 2000, minus1), do("setresuid", 2000, 0, 2000), do("setfsuid", 3)},
		"setreuid":  {do("setreuid", 1000, 1001), do("setreuid", 1001, 1000), do("setreuid", 1000, minus1), do("setuid", 1001)},
		"setresuid": {do("setresuid", 1, 2, 3), do("setresuid", 2, 3, 1), do("setresuid", 4, minus1, minus1), do("setfsuid", 1), do("setfsuid", 9)},
		"keepcaps": {do("prctl", unix.PR_SET_KEEPCAPS, 1), do("setresuid", 1000, 1000, 1000),
			do("capset", buf(0), buf(8)).with(uint32(0x20080522), uint32(0), uint32(0x80), uint32(0x80), uint32(0), uint32(0), uint32(0), uint32(0)),
			do("setuid", 1001), do("setresuid", 1, 1, 1)},
		"groups": {do("setgroups", 3, buf(0)).with(uint32(9), uint32(4), uint32(7)), do("getgroups", 9, buf(0)), do("getgroups", 2, buf(0)),
			do("getgroups", 3, hole), do("setgroups", 0, 0), do("getgroups", 1, buf(0))},
	} {
		t.Run(name, func(t *testing.T) {
			full := script{do("prctl", unix.PR_SET_DUMPABLE, 1)}
			for _, st := range s {
				full = append(append(full, st), get...)
			}
			full.twin(t)
		})
	}
}

func TestCapabilities(t *testing.T) {
	hdr := func(v uint32, pid int32) []any { return []any{v, pid} }
	set := func(sets ...uint32) step {
		s := do("capset", buf(0), buf(8)).with(uint32(0x20080522), uint32(0))
		for _, v := range sets {
			s = s.with(v)
		}
		return s
	}
	get := do("capget", buf(0), buf(8)).with(uint32(0x20080522), uint32(0))
	for name, s := range map[string]script{
		"header": {
			do("capget", buf(0), 0).with(hdr(0, 0)...), do("capget", buf(0), buf(8)).with(hdr(0, 0)...),
			do("capget", buf(0), buf(8)).with(hdr(0x19980330, 0)...), do("capget", buf(0), buf(8)).with(hdr(0x20071026, 0)...),
			do("capget", buf(0), 0).with(hdr(0x20080522, 0)...), do("capget", buf(0), buf(8)).with(hdr(0x20080522, -1)...),
			do("capget", buf(0), buf(8)).with(hdr(0x20080522, 1<<30)...), do("capget", hole, buf(8)), do("capget", brink(4), buf(8)).only(onlyError),
			do("capget", buf(0), hole).with(hdr(0x20080522, 0)...), do("capget", hole, 0), do("capset", buf(0), hole).with(hdr(0x20080522, 0)...),
			do("capset", buf(0), buf(8)).with(hdr(0x20080522, 1)...), do("capset", buf(0), buf(8)).with(hdr(7, 0)...), do("capset", hole, hole),
			do("capset", buf(0), 0).with(hdr(0, 0)...),
		},
		"drop":        {set(0xff, 0xff, 0, 0, 0, 0), get, set(0, 0xff, 0, 0, 0, 0), get, set(1, 0xff, 0, 0, 0, 0), get, set(0x1ff, 0x1ff, 0, 0, 0, 0), get},
		"beyond":      {set(2, 1, 0, 0, 0, 0), get, set(0, 0, 0, ^uint32(0), ^uint32(0), 0), get},
		"inheritable": {set(0xff, 0xff, 0xff, 0, 0, 0), get, set(0, 1, 2, 0, 0, 0), set(0, 1, 2, 0, 0, 0), get},
		"bounding": {do("prctl", unix.PR_CAPBSET_READ, 0), do("prctl", unix.PR_CAPBSET_READ, 40), do("prctl", unix.PR_CAPBSET_READ, 41),
			do("prctl", unix.PR_CAPBSET_DROP, 0), do("prctl", unix.PR_CAPBSET_READ, 0), do("prctl", unix.PR_CAPBSET_DROP, 41),
			set(0xff, 0xff, 1, 0, 0, 0), get},
		"ambient": {do("prctl", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, 3), set(0xff, 0xff, 8, 0, 0, 0),
			do("prctl", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, 3), do("prctl", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, 3),
			do("prctl", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, 4), do("prctl", unix.PR_CAP_AMBIENT, 9, 4), do("prctl", unix.PR_CAP_AMBIENT, 2, 41),
			do("prctl", unix.PR_CAP_AMBIENT, 2, 3, 1), do("prctl", unix.PR_CAP_AMBIENT, 4, 3), do("prctl", unix.PR_CAP_AMBIENT, 3, 3),
			do("prctl", unix.PR_CAP_AMBIENT, 1, 3), do("prctl", unix.PR_CAP_AMBIENT, 2, 3), do("prctl", unix.PR_CAP_AMBIENT, 4)},
		"securebits": {do("prctl", unix.PR_GET_SECUREBITS), do("prctl", unix.PR_SET_SECUREBITS, 0x100), do("prctl", unix.PR_SET_SECUREBITS, 0xc),
			do("prctl", unix.PR_GET_SECUREBITS), do("prctl", unix.PR_SET_SECUREBITS, 0), do("setresuid", 1000, 1000, 1000), get,
			do("prctl", unix.PR_SET_KEEPCAPS, 1), do("prctl", unix.PR_SET_KEEPCAPS, 2)},
		"keep locked": {do("prctl", unix.PR_SET_SECUREBITS, 0x20), do("prctl", unix.PR_SET_KEEPCAPS, 1), do("prctl", unix.PR_GET_KEEPCAPS)},
	} {
		t.Run(name, s.twin)
	}
}

func TestLimits(t *testing.T) {
	s := script{
		do("getrlimit", 16, buf(0)), do("getrlimit", -1, buf(0)), do("getrlimit", 7, hole), do("getrlimit", 7, brink(8)),
		do("setrlimit", 16, buf(0)).with(0, 0), do("setrlimit", 7, hole), do("setrlimit", 7, buf(0)).with(2, 1), do("setrlimit", -1, hole),
		do("setrlimit", 7, buf(0)).with(0, 1<<31),
		do("prlimit64", 1<<30, 7, 0, buf(0)), do("prlimit64", 0, 16, buf(0), buf(16)).with(0, 0), do("prlimit64", -1, 7, 0, buf(0)),
		do("prlimit64", 0, 7, hole, 0), do("prlimit64", 1<<30, 99, hole, 0), do("prlimit64", 0, 7, 0, hole), do("prlimit64", 0, 7, 0, 0),
		do("prlimit64", 0, 7, buf(0), 0).with(3, 2), do("prlimit64", 0, 99, 0, 0), do("prlimit64", me{}, 99, 0, 0),
	}
	for r := range 16 {
		s = append(s, do("getrlimit", r, buf(0)), do("prlimit64", 0, r, 0, buf(0)), do("prlimit64", me{}, r, 0, buf(0)))
	}
	s.twin(t)
}

// TestLimitsApply checks which limits the real kernel is told.
func TestLimitsApply(t *testing.T) {
	g := NewGuest(t)
	g.Machine.OnNative = func(int, [6]uint64) (uint64, error) { return 0, nil }
	g.Task.Cred.EUID, g.Task.Cred.RUID, g.Task.Cred.SUID = 1000, 1000, 1000
	for r := range g.Task.Process.Rlimits {
		g.Task.Process.Rlimits[r] = unix.Rlimit{Cur: 50, Max: 100}
		g.Machine.Natives = nil
		lower, old := &unix.Rlimit{Cur: 40, Max: 90}, &unix.Rlimit{}
		g.Must("prlimit64", 0, r, lower, old)
		if want := (unix.Rlimit{Cur: 50, Max: 100}); *old != want {
			t.Errorf("resource %d was %v, want %v", r, *old, want)
		}
		if got := g.Task.Process.Rlimits[r]; got != *lower {
			t.Errorf("resource %d is %v, want %v", r, got, *lower)
		}
		if _, err := g.Call("setrlimit", r, old); err != unix.EPERM {
			t.Errorf("resource %d raised: %v", r, err)
		}
		native := r == unix.RLIMIT_AS || r == unix.RLIMIT_DATA || r == unix.RLIMIT_STACK || r == unix.RLIMIT_CPU
		if got := len(g.Machine.Natives) == 1; got != native {
			t.Errorf("resource %d: told the kernel: %v, want %v", r, got, native)
		}
	}
}

func TestScheduling(t *testing.T) {
	attr := func(size, policy uint32, flags uint64, nice int32, prio uint32, rest ...uint64) step {
		s := do("sched_setattr", 0, buf(0), 0).with(size, policy, flags, nice, prio)
		for _, v := range rest {
			s = s.with(v)
		}
		return s
	}
	get := do("sched_getattr", 0, buf(0), 48, 0).only(onlyError)
	s := script{
		do("sched_getscheduler", 0), do("sched_getscheduler", -1), do("sched_getscheduler", 1<<30), do("sched_getscheduler", me{}),
		do("sched_getparam", 0, buf(0)), do("sched_getparam", 0, 0), do("sched_getparam", -1, buf(0)), do("sched_getparam", 1<<30, buf(0)),
		do("sched_getparam", 0, hole),
		do("sched_setscheduler", 0, 3, buf(0)).with(int32(0)), do("sched_getscheduler", 0),
		do("sched_setscheduler", 0, 0x40000000, buf(0)).with(int32(0)), do("sched_getscheduler", 0),
		do("sched_setparam", 0, buf(0)).with(int32(0)), do("sched_getscheduler", 0),
		do("sched_setparam", 0, buf(0)).with(int32(1)), do("sched_setparam", 0, 0), do("sched_setparam", 0, hole),
		do("sched_setscheduler", 0, 0, buf(0)).with(int32(1)), do("sched_setscheduler", 0, 4, buf(0)).with(int32(0)),
		do("sched_setscheduler", 0, -1, buf(0)).with(int32(0)), do("sched_setscheduler", 0, 0, hole), do("sched_setscheduler", 0, 0, 0),
		do("sched_setscheduler", -1, 0, buf(0)).with(int32(0)), do("sched_setscheduler", 1<<30, 0, buf(0)).with(int32(0)),
		do("sched_setscheduler", 0, 1, buf(0)).with(int32(0)), do("sched_setscheduler", 0, 2, buf(0)).with(int32(100)),
		do("sched_setscheduler", 0, 99, buf(0)).with(int32(0)),
		do("sched_setscheduler", 0, 6, buf(0)).with(int32(0)),
		attr(48, 0, 0, 5, 0, 0, 0, 0), get, do("getpriority", 0, 0), attr(0, 3, 0, 5, 0, 0, 0, 0), do("sched_getscheduler", 0),
		attr(47, 0, 0, 0, 0), attr(4097, 0, 0, 0, 0), attr(56, 0, 0, 5, 0, 0, 0, 0, 0), attr(64, 0, 0, 5, 0, 0, 0, 0, 0, 0),
		attr(64, 0, 0, 5, 0, 0, 0, 0, 0, 1), attr(48, 0, 0x100, 5, 0, 0, 0, 0), attr(48, ^uint32(0), 0, 5, 0, 0, 0, 0), attr(48, 0, 0, 5, 1, 0, 0, 0),
		attr(48, 0, 0x20, 5, 0, 0, 0, 0),
		do("sched_setattr", 0, hole, 0), do("sched_setattr", 0, 0, 0), do("sched_setattr", 0, buf(0), 1), do("sched_setattr", -1, buf(0), 0),
		do("sched_getattr", 0, 0, 48, 0), do("sched_getattr", 0, buf(0), 47, 0), do("sched_getattr", 0, buf(0), 4097, 0),
		do("sched_getattr", 0, hole, 48, 0), do("sched_getattr", 0, buf(0), 48, 1), do("sched_getattr", 1<<30, buf(0), 48, 0),
		do("sched_get_priority_max", 0), do("sched_get_priority_max", 1), do("sched_get_priority_max", 2), do("sched_get_priority_max", 3),
		do("sched_get_priority_max", 4), do("sched_get_priority_max", 5), do("sched_get_priority_max", 6), do("sched_get_priority_max", -1),
		do("sched_get_priority_min", 0), do("sched_get_priority_min", 1), do("sched_get_priority_min", 99),
		do("sched_rr_get_interval", 0, hole), do("sched_rr_get_interval", -1, buf(0)), do("sched_rr_get_interval", 1<<30, buf(0)),
		do("sched_rr_get_interval", 0, buf(0)).only(onlyError),
		do("getpriority", 0, 0), do("getpriority", -1, 0), do("getpriority", 3, 0), do("getpriority", 0, 1<<30), do("getpriority", 0, me{}),
		do("getpriority", 1, 1<<30), do("getpriority", 2, 1<<30),
		do("setpriority", 0, 0, 7), do("getpriority", 0, 0), do("setpriority", 0, 0, 100), do("getpriority", 0, 0),
		do("setpriority", 9, 0, 0), do("setpriority", 0, 1<<30, 0), do("setpriority", 1, 1<<30, 0), do("setpriority", 2, 1<<30, 0),
		do("sched_setscheduler", 0, 5, buf(0)).with(int32(0)), do("sched_getscheduler", 0),
		do("ioprio_get", 1, 0), do("ioprio_get", 0, 0), do("ioprio_get", 4, 0), do("ioprio_get", 1, 1<<30), do("ioprio_get", 2, 1<<30),
		do("ioprio_set", 1, 0, 2<<13|4), do("ioprio_get", 1, 0), do("ioprio_get", 1, me{}), do("ioprio_set", 1, 0, 3<<13), do("ioprio_get", 1, 0),
		do("ioprio_set", 1, 0, 1), do("ioprio_set", 1, 0, 4<<13), do("ioprio_set", 1, 0, 7<<13), do("ioprio_set", 1, 0, -1),
		do("ioprio_set", 9, 0, 0), do("ioprio_set", 1, 1<<30, 0), do("ioprio_set", 1, 0, 0), do("ioprio_get", 1, 0), do("ioprio_set", 9, 0, 5<<13),
		do("ioprio_set", 1, 0, 2<<13|8), do("ioprio_get", 1, 0), do("ioprio_set", 1, 0, 0x10000|2<<13|1), do("ioprio_get", 1, 0),
	}
	s.twin(t)
}

func TestAffinity(t *testing.T) {
	script{
		do("sched_getaffinity", 0, 0, buf(0)), do("sched_getaffinity", 0, 7, buf(0)), do("sched_getaffinity", 0, 12, buf(0)),
		do("sched_getaffinity", 0, 128, hole), do("sched_getaffinity", 1<<30, 128, buf(0)), do("sched_getaffinity", -1, 128, buf(0)),
		do("sched_getaffinity", 0, 8, buf(0)),
		do("sched_setaffinity", 0, 8, buf(0)).with(1), do("sched_getaffinity", 0, 8, buf(0)), do("getcpu", buf(0), 0, 0),
		do("sched_setaffinity", 0, 8, buf(0)).with(0), do("sched_setaffinity", 0, 8, buf(0)).with(uint64(1) << 62),
		do("sched_setaffinity", 0, 0, buf(0)).with(1), do("sched_setaffinity", 0, 1, buf(0)).with(minus1), do("sched_getaffinity", me{}, 8, buf(0)),
		do("sched_setaffinity", 0, 8, hole), do("sched_setaffinity", 1<<30, 8, buf(0)).with(1), do("sched_setaffinity", 1<<30, 8, hole),
		do("getcpu", hole, 0, 0), do("getcpu", 0, hole, 0), do("getcpu", 0, 0, 0), do("getcpu", 0, buf(0), hole),
	}.twin(t)
}

func TestPrctl(t *testing.T) {
	s := script{
		do("prctl", unix.PR_SET_NAME, buf(0)).with("a name that is too long"), do("prctl", unix.PR_GET_NAME, buf(0)),
		do("prctl", unix.PR_SET_NAME, buf(0)).with(""), do("prctl", unix.PR_GET_NAME, buf(0)),
		do("prctl", unix.PR_SET_NAME, hole), do("prctl", unix.PR_SET_NAME, brink(4)), do("prctl", unix.PR_GET_NAME, hole), do("prctl", unix.PR_GET_NAME, brink(4)),
		do("prctl", unix.PR_SET_PDEATHSIG, 65), do("prctl", unix.PR_SET_PDEATHSIG, -1), do("prctl", unix.PR_SET_PDEATHSIG, 0),
		do("prctl", unix.PR_GET_PDEATHSIG, buf(0)), do("prctl", unix.PR_GET_PDEATHSIG, hole),
		do("prctl", unix.PR_SET_DUMPABLE, 1), do("prctl", unix.PR_SET_DUMPABLE, 2), do("prctl", unix.PR_SET_DUMPABLE, 1), do("prctl", unix.PR_GET_DUMPABLE),
		do("prctl", unix.PR_GET_NO_NEW_PRIVS), do("prctl", unix.PR_GET_NO_NEW_PRIVS, 1), do("prctl", unix.PR_SET_NO_NEW_PRIVS, 0),
		do("prctl", unix.PR_SET_NO_NEW_PRIVS, 1, 1), do("prctl", unix.PR_SET_NO_NEW_PRIVS, 1), do("prctl", unix.PR_GET_NO_NEW_PRIVS),
		do("prctl", unix.PR_GET_CHILD_SUBREAPER, buf(0)), do("prctl", unix.PR_GET_CHILD_SUBREAPER, hole),
		do("prctl", unix.PR_GET_THP_DISABLE), do("prctl", unix.PR_GET_THP_DISABLE, 1), do("prctl", unix.PR_SET_THP_DISABLE, 1, 1, 1, 1),
		do("prctl", unix.PR_GET_TIMERSLACK), do("prctl", unix.PR_SET_TIMERSLACK, 1234), do("prctl", unix.PR_GET_TIMERSLACK),
		do("prctl", unix.PR_SET_TIMERSLACK, 0), do("prctl", unix.PR_GET_TIMERSLACK), do("prctl", unix.PR_SET_TIMERSLACK, 1<<40), do("prctl", unix.PR_GET_TIMERSLACK),
		do("prctl", unix.PR_GET_TSC, buf(0)), do("prctl", unix.PR_GET_TSC, hole), do("prctl", unix.PR_SET_TSC, 1), do("prctl", unix.PR_SET_TSC, 3),
		do("prctl", unix.PR_GET_TIMING), do("prctl", unix.PR_SET_TIMING, 0), do("prctl", unix.PR_SET_TIMING, 1),
		do("prctl", unix.PR_GET_SECCOMP), do("prctl", unix.PR_SET_SECCOMP, 9), do("prctl", unix.PR_GET_MDWE),
		do("prctl", unix.PR_MCE_KILL_GET), do("prctl", unix.PR_MCE_KILL_GET, 1), do("prctl", unix.PR_GET_FPEMU, buf(0)), do("prctl", unix.PR_GET_FPEXC, buf(0)),
		do("prctl", unix.PR_GET_ENDIAN, buf(0)), do("prctl", unix.PR_GET_UNALIGN, buf(0)), do("prctl", 0), do("prctl", -1), do("prctl", 9999),
		do("prctl", unix.PR_SET_MM, 99), do("prctl", unix.PR_SVE_GET_VL),
		do("personality", 0xffffffff), do("personality", 0x40000), do("personality", 0xffffffff), do("personality", 0), do("personality", minus1),
	}
	s.twin(t)
}

func TestSystem(t *testing.T) {
	script{
		do("uname", hole), do("uname", brink(300)), do("uname", 0), do("sysinfo", hole), do("sysinfo", 0), do("sysinfo", buf(0)).only(onlyError),
		do("getrandom", buf(0), 16, 8), do("getrandom", buf(0), 16, 6), do("getrandom", hole, 16, 0), do("getrandom", 0, 1, 0), do("getrandom", 0, 0, 0),
		do("getrandom", buf(0), 4096, 3).only(noMemory), do("getrandom", brink(4), 16, 0).only(noMemory), do("getrandom", buf(0), 0, 99),
		do("getrandom", brink(4), minus1>>1, 1).only(noMemory),
		do("sethostname", hole, -1), do("sethostname", hole, 65), do("sethostname", buf(0), 1<<31), do("setdomainname", buf(0), 65), do("setdomainname", buf(0), -7),
		do("sched_yield"),
	}.twin(t)
}

// TestHostile throws values of every kind at calls that must answer at once,
// whatever they are given, and leave the emulated kernel whole.
func TestHostile(t *testing.T) {
	g := NewGuest(t)
	g.Machine.OnNative = func(int, [6]uint64) (uint64, error) { return 0, nil }
	mem := g.Machine.Map(0, scriptPage, unix.PROT_READ|unix.PROT_WRITE)
	readonly := g.Machine.Map(0, scriptPage, unix.PROT_READ)
	values := []uint64{0, 1, 2, 3, 7, 8, 16, 41, 48, 56, 64, 1000, 4096, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 - 1,
		1 << 63, minus1, minus1 - 1, hole, mem, mem + 8, mem + scriptPage - 4, mem + scriptPage, readonly, 0x40000000}
	calls := []string{"adjtimex", "arch_prctl", "capget", "capset", "clock_adjtime", "clock_getres", "clock_gettime",
		"clock_settime", "get_robust_list", "getcpu", "getegid", "getgroups", "getpriority", "getrandom", "getresgid", "getresuid",
		"getrlimit", "getrusage", "gettimeofday", "ioprio_get", "ioprio_set", "personality", "prctl", "prlimit64",
		"sched_get_priority_max", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
		"sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
		"seccomp", "set_tid_address", "setdomainname", "setfsuid", "setgroups", "sethostname", "setpriority", "setresuid", "setreuid",
		"setrlimit", "settimeofday", "setuid", "sysinfo", "time", "times", "uname"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		p := make([]byte, 64)
		for i := range p {
			p[i] = byte(values[r.IntN(len(values))])
		}
		if _, err := g.Machine.WriteMemory(p, mem); err != nil {
			t.Fatal(err)
		}
		var args []any
		for range 6 {
			args = append(args, values[r.IntN(len(values))])
		}
		call := calls[r.IntN(len(calls))]
		if _, err := g.Call(call, args...); err >= emulate.ERESTARTSYS {
			t.Errorf("%s%#x: %v", call, args, err)
		}
	}
}

// TestNoSockets: the socket calls know that other files are none.
func TestNoSockets(t *testing.T) {
	Twin(t, func(k *Script) {
		fd := k.Open("openat", unix.AT_FDCWD, "/", unix.O_RDONLY, 0)
		path := k.Open("openat", unix.AT_FDCWD, "/", unix.O_PATH, 0)
		for _, fd := range []any{fd, path, -1} {
			k.Call("listen", fd, 1)
			k.Call("getpeername", fd, make([]byte, 16), []byte{16, 0, 0, 0})
			k.Call("getsockname", fd, make([]byte, 16), []byte{16, 0, 0, 0})
			k.Call("shutdown", fd, 0)
			k.Call("accept", fd, 0, 0)
			k.Call("recvfrom", fd, make([]byte, 4), 4, 0, 0, 0)
			k.Call("sendto", fd, make([]byte, 4), 4, 0, 0, 0)
		}
		k.Call("socket", 99, 1, 0)
	})
}
