//go:build linux

package emulate

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	siTimer = -2
	// sigevent(7): sigev_notify, and the size of the struct.
	sigevSignal   = 0
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
	sigeventSize  = 64
	// maxTimers bounds the timers of a jail, as RLIMIT_SIGPENDING does a user's.
	maxTimers = 1 << 15
	// timerPause is the least time between two signals of a jail's timers: what
	// expires meanwhile is overrun, and the warden does other work too.
	timerPause = 100 * time.Microsecond
)

// processTimers is what a process has of timers: the one of alarm(2) and
// setitimer(2), and those of timer_create(2).
type processTimers struct {
	real   *ticker
	posix  map[int32]*posixTimer
	lastID int32
}

// timers is the process's, which end with it.
func (c *Call) timers() *processTimers {
	p := c.Task.Process
	if p.timers.real == nil {
		p.timers.posix = make(map[int32]*posixTimer)
		k := &ticker{sys: c.Sys}
		k.ring = func() {
			_ = p.Signal(Signal{Number: int(unix.SIGALRM), Code: siKernel})
			k.take()
			k.repeat()
		}
		p.timers.real = k
		p.AtExit(func() {
			k.cancel()
			p.timers.drop(&c.Sys.ipc)
		})
	}
	return &p.timers
}

// drop ends the timers that execve(2) does not keep.
func (pt *processTimers) drop(ipc *ipcState) {
	for id, t := range pt.posix {
		t.cancel()
		delete(pt.posix, id)
		ipc.timers--
	}
}

// posixTimer is struct k_itimer.
type posixTimer struct {
	ticker
	id      int32
	clock   int32
	notify  int32
	signo   int
	value   uint64
	target  *Task // SIGEV_THREAD_ID; else nil
	process *Process
	overrun int32
}

// fire sends the signal, unless the last one is still pending: then it is one
// more overrun, however many signals the queue would hold.
func (t *posixTimer) fire() {
	n := t.take()
	to := t.target
	if to == nil {
		to = t.process.Leader()
	}
	if n == 0 || to == nil || t.notify == sigevNone {
		return
	}
	t.repeat()
	over := n - 1
	if st, err := to.Machine.SignalState(); t.interval > 0 && err == nil && st.Pending>>(t.signo-1)&1 != 0 {
		over += uint64(t.overrun) + 1
		t.overrun = int32(min(over, math.MaxInt32))
		return
	}
	t.overrun = int32(min(over, math.MaxInt32))
	_ = to.post(Signal{Number: t.signo, Code: siTimer, PID: int(t.id), UID: uint32(t.overrun), Value: t.value}, t.target == nil)
}

// timerEvent reads a struct sigevent. EFAULT, EINVAL.
func (c *Call) timerEvent(addr uint64, t *posixTimer) error {
	if addr == 0 {
		t.notify, t.signo, t.value = sigevSignal, int(unix.SIGALRM), uint64(t.id)
		return nil
	}
	var p [sigeventSize]byte
	if err := c.Read(addr, p[:]); err != nil {
		return err
	}
	t.value, t.signo, t.notify = leUint64(p[:]), int(int32(leUint32(p[8:]))), int32(leUint32(p[12:]))
	switch t.notify {
	case sigevNone:
		return nil
	case sigevSignal, sigevThread:
	case sigevSignal | sigevThreadID:
		t.target = c.Task.Process.Threads[int(int32(leUint32(p[16:])))]
		if t.target == nil {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	if t.signo <= 0 || t.signo > maxSignal {
		return unix.EINVAL
	}
	return nil
}

func timer_create(c *Call) (uint64, error) {
	clockid, sevp, timerid := int32(c.Int(0)), c.Addr(1), c.Addr(2)
	pt := c.timers()
	t := &posixTimer{id: pt.lastID, clock: clockid, process: c.Task.Process}
	if err := c.timerEvent(sevp, t); err == unix.EFAULT {
		return 0, err
	} else if e := c.timerClock(t); e != nil || err != nil {
		if e != nil {
			err = e
		}
		return 0, err
	}
	ipc := &c.Sys.ipc
	if uint64(ipc.timers) >= min(maxTimers, c.Task.Limit(unix.RLIMIT_SIGPENDING)) {
		return 0, unix.EAGAIN
	}
	for pt.posix[t.id] != nil {
		t.id = (t.id + 1) & math.MaxInt32
	}
	if sevp == 0 {
		t.value = uint64(t.id)
	}
	if err := c.WriteValue(timerid, t.id); err != nil {
		return 0, err
	}
	t.ticker = ticker{sys: c.Sys, ring: t.fire}
	pt.posix[t.id] = t
	ipc.timers++
	pt.lastID = (t.id + 1) & math.MaxInt32
	return 0, nil
}

// timerClock says which clock a timer runs on. EINVAL for none, ENOTSUP for one
// that has no timers here.
func (c *Call) timerClock(t *posixTimer) error {
	switch t.clock {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI:
		return nil
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if c.Task.Cred.EUID != 0 { // CAP_WAKE_ALARM
			return unix.EPERM
		}
		t.clock = map[int32]int32{unix.CLOCK_REALTIME_ALARM: unix.CLOCK_REALTIME,
			unix.CLOCK_BOOTTIME_ALARM: unix.CLOCK_BOOTTIME}[t.clock]
		return nil
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
		unix.CLOCK_PROCESS_CPUTIME_ID, unix.CLOCK_THREAD_CPUTIME_ID:
		return unix.ENOTSUP
	}
	return unix.EINVAL
}

// timer0 is argument 0 as a timer_t. EINVAL.
func (c *Call) timer0() (*posixTimer, error) {
	t := c.timers().posix[int32(c.Int(0))]
	if t == nil {
		return nil, unix.EINVAL
	}
	return t, nil
}

func timer_settime(c *Call) (uint64, error) {
	flags, newValue, oldValue := c.Flags(1), c.Addr(2), c.Addr(3)
	if newValue == 0 {
		return 0, unix.EINVAL
	}
	var set unix.ItimerSpec
	if err := c.ReadValue(newValue, &set); err != nil {
		return 0, err
	}
	if !validTimer(set) {
		return 0, unix.EINVAL
	}
	t, err := c.timer0()
	if err != nil {
		return 0, err
	}
	old := t.setting()
	t.overrun = 0
	t.setTo(set, t.clock, flags&unix.TIMER_ABSTIME != 0)
	if oldValue != 0 {
		return 0, c.WriteValue(oldValue, old)
	}
	return 0, nil
}

func timer_gettime(c *Call) (uint64, error) {
	curr := c.Addr(1)
	t, err := c.timer0()
	if err != nil {
		return 0, err
	}
	return 0, c.WriteValue(curr, t.setting())
}

func timer_getoverrun(c *Call) (uint64, error) {
	t, err := c.timer0()
	if err != nil {
		return 0, err
	}
	return uint64(t.overrun), nil
}

func timer_delete(c *Call) (uint64, error) {
	t, err := c.timer0()
	if err != nil {
		return 0, err
	}
	t.cancel()
	delete(c.timers().posix, t.id)
	c.Sys.ipc.timers--
	return 0, nil
}

// realTimer is ITIMER_REAL as getitimer(2) tells it. One that is just due shows
// a microsecond, for 0 would mean that there is none.
func (pt *processTimers) realTimer() unix.Itimerval {
	left := pt.real.left()
	if pt.real.next != 0 {
		left = max(left, 1000)
	}
	return unix.Itimerval{Interval: unix.NsecToTimeval(pt.real.interval), Value: unix.NsecToTimeval(left)}
}

func getitimer(c *Call) (uint64, error) {
	which, curr := c.Int(0), c.Addr(1)
	if which != unix.ITIMER_REAL {
		return c.Kernel()
	}
	return 0, c.WriteValue(curr, c.timers().realTimer())
}

func setitimer(c *Call) (uint64, error) {
	which, newValue, oldValue := c.Int(0), c.Addr(1), c.Addr(2)
	if which != unix.ITIMER_REAL {
		return c.Kernel()
	}
	var v unix.Itimerval
	if newValue != 0 {
		if err := c.ReadValue(newValue, &v); err != nil {
			return 0, err
		}
	}
	valid := func(t unix.Timeval) bool { return t.Sec >= 0 && t.Usec >= 0 && t.Usec < 1e6 }
	if !valid(v.Value) || !valid(v.Interval) {
		return 0, unix.EINVAL
	}
	pt := c.timers()
	old := pt.realTimer()
	pt.real.setTo(unix.ItimerSpec{Interval: unix.Timespec{Sec: v.Interval.Sec, Nsec: v.Interval.Usec * 1e3},
		Value: unix.Timespec{Sec: v.Value.Sec, Nsec: v.Value.Usec * 1e3}}, unix.CLOCK_MONOTONIC, false)
	if oldValue != 0 {
		return 0, c.WriteValue(oldValue, old)
	}
	return 0, nil
}

func alarm(c *Call) (uint64, error) {
	seconds := c.Uint(0)
	pt := c.timers()
	old := pt.realTimer().Value
	pt.real.setTo(unix.ItimerSpec{Value: unix.Timespec{Sec: int64(seconds)}}, unix.CLOCK_MONOTONIC, false)
	if old.Sec == 0 && old.Usec > 0 || old.Usec >= 5e5 {
		old.Sec++
	}
	return uint64(old.Sec), nil
}
