//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock is a decoded CPU-time clock id (include/linux/posix-timers_types.h).
type cpuClock struct {
	pid    int  // 0: the caller
	thread bool // of one thread, not the whole process
	kind   int
	fixed  bool // named by a CLOCK_ constant, not made of a pid
}

const (
	cpuProf = iota // user and system time, in ticks
	cpuVirt        // user time, in ticks
	cpuSched
)

// cpuClockOf decodes a clock id. ok is false for one that is not a CPU clock.
func cpuClockOf(id int32) (c cpuClock, ok bool) {
	switch {
	case id == unix.CLOCK_PROCESS_CPUTIME_ID:
		return cpuClock{kind: cpuSched, fixed: true}, true
	case id == unix.CLOCK_THREAD_CPUTIME_ID:
		return cpuClock{kind: cpuSched, thread: true, fixed: true}, true
	case id < 0 && !isDeviceClock(id):
		return cpuClock{pid: int(^(id >> 3)), thread: id&4 != 0, kind: int(id & 3)}, true
	}
	return cpuClock{}, false
}

// isDeviceClock reports the id of a clock behind a descriptor (/dev/ptp0).
func isDeviceClock(id int32) bool { return id < 0 && id&7 == 3 }

// cpuTime is what clock shows, in ns. EINVAL: a thread of another process, or no
// such process (kernel/time/posix-cpu-timers.c:pid_for_clock).
func (c *Call) cpuTime(clock cpuClock) (int64, error) {
	t := c.Task
	if clock.kind > cpuSched {
		return 0, unix.EINVAL
	}
	if clock.pid != 0 {
		if t = c.Sys.tasks[clock.pid]; t == nil {
			return 0, unix.EINVAL
		}
		own := t.Process == c.Task.Process
		if clock.thread && !own || !clock.thread && t.TID != t.Process.PID && t != c.Task {
			return 0, unix.EINVAL
		}
	}
	if clock.kind == cpuVirt || c.Sys.Repeatable {
		u, err := t.Usage(clock.thread)
		if clock.kind != cpuVirt {
			u.User += u.System
		}
		return int64(u.User), err
	}
	d, err := t.Machine.CPUTime(clock.thread)
	if err == nil && (!clock.thread || t.TID == t.Process.PID) {
		d += t.Process.beforeExec.User + t.Process.beforeExec.System
	}
	return int64(d), err
}

// Usage is what the task's process or thread has used, before execve too: the
// host has another process since.
func (t *Task) Usage(thread bool) (Usage, error) {
	if t.Sys.Repeatable {
		if thread {
			return spent(t.used), nil
		}
		return spent(t.Process.used), nil
	}
	u, err := t.Machine.Usage(thread)
	if err == nil && (!thread || t.TID == t.Process.PID) {
		u.add(t.Process.beforeExec)
	}
	return u, err
}

// Spend adds to the CPU time of a task where runs are repeatable: what the host
// measures is never the same.
func (t *Task) Spend(d time.Duration) {
	t.used += d
	t.Process.used += d
}

// spent is CPU time d and nothing else, which getrusage(2) may leave out.
func spent(d time.Duration) Usage { return Usage{User: d - d/2, System: d / 2} }

func getrusage(c *Call) (uint64, error) {
	who, usage := c.Int(0), c.Addr(1)
	var u Usage
	var err error
	switch who {
	case unix.RUSAGE_SELF, unix.RUSAGE_THREAD:
		u, err = c.Task.Usage(who == unix.RUSAGE_THREAD)
	case unix.RUSAGE_CHILDREN:
		u = c.Task.Process.childUsage
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	return 0, c.WriteValue(usage, u.rusage())
}

// ticks is d in the unit of times(2).
func ticks(d time.Duration) int64 { return int64(d / (time.Second / userHZ)) }

func times(c *Call) (uint64, error) {
	buf := c.Addr(0)
	if buf != 0 {
		u, err := c.Task.Usage(false)
		if err != nil {
			return 0, err
		}
		child := c.Task.Process.childUsage
		if err := c.WriteValue(buf, [4]int64{ticks(u.User), ticks(u.System),
			ticks(child.User), ticks(child.System)}); err != nil {
			return 0, err
		}
	}
	return uint64(ticks(time.Duration(c.Sys.Now()))), nil
}
