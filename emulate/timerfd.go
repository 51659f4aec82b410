//go:build linux

package emulate

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// ticker is the arithmetic of a timer that may repeat: struct hrtimer and
// hrtimer_forward. How often it has expired is computed when somebody asks, so
// a short interval costs nothing.
type ticker struct {
	sys      *System
	next     Deadline // 0: disarmed
	interval int64    // ns, 0: once
	ring     func()   // runs when next has come
	stop     func()
}

// set arms it for next, 0 is never.
func (k *ticker) set(next Deadline, interval int64) {
	k.next, k.interval = next, interval
	k.start(0)
}

// start waits for next, at least for pause.
func (k *ticker) start(pause time.Duration) {
	k.cancel()
	if k.next == 0 {
		return
	}
	wait := max(time.Duration(k.next-k.sys.Now()), pause, 0)
	k.stop = k.sys.Host.AfterFunc(wait, func() {
		k.stop = nil
		if k.sys.Now() < k.next {
			k.start(0)
			return
		}
		k.ring()
	})
}

// repeat waits for next, at least until it is its turn among the jail's timers: they
// expire at no cost to the guest that has thousands with its signals blocked.
func (k *ticker) repeat() {
	if k.next != 0 {
		now, turn := k.sys.Now(), &k.sys.ipc.timerTurn
		*turn = max(*turn, now) + Deadline(timerPause)
		k.start(time.Duration(*turn - now))
	}
}

func (k *ticker) cancel() {
	if k.stop != nil {
		k.stop()
		k.stop = nil
	}
}

// expired is how many times it has expired, take counts them as seen.
func (k *ticker) expired() uint64 {
	now := k.sys.Now()
	switch {
	case k.next == 0 || now < k.next:
		return 0
	case k.interval == 0:
		return 1
	}
	return 1 + uint64(int64(now-k.next)/k.interval)
}

func (k *ticker) take() uint64 {
	n := k.expired()
	if n == 0 {
		return 0
	}
	if k.interval == 0 {
		k.next = 0
	} else {
		k.next = later(k.next, int64(n)*k.interval)
	}
	return n
}

// later adds to a deadline; what is beyond the clock's end stays at its end.
func later(d Deadline, ns int64) Deadline {
	if sum := d + Deadline(ns); sum >= d {
		return max(sum, 1)
	}
	return math.MaxInt64
}

// left is the time to the next expiration, 0 for none.
func (k *ticker) left() int64 {
	if k.next == 0 {
		return 0
	}
	left := int64(k.next - k.sys.Now())
	if left <= 0 && k.interval > 0 {
		left = k.interval - -left%k.interval
	}
	return max(left, 0)
}

func validTimer(t unix.ItimerSpec) bool { return validTimespec(t.Interval) && validTimespec(t.Value) }

// setting is what timer_gettime(2) and timerfd_gettime(2) tell.
func (k *ticker) setting() unix.ItimerSpec {
	return unix.ItimerSpec{Interval: unix.NsecToTimespec(k.interval), Value: unix.NsecToTimespec(k.left())}
}

// setTo arms it as t says, on a clock and as a point in time if absolute.
func (k *ticker) setTo(t unix.ItimerSpec, clock int32, absolute bool) {
	value := nanoseconds(t.Value)
	if value == 0 {
		k.set(0, 0)
		return
	}
	now := k.sys.Now()
	if absolute {
		if then, err := k.sys.Host.Gettime(clock); err == nil {
			value = max(value-then, 0)
		}
	}
	k.set(later(now, value), nanoseconds(t.Interval))
}

// timerFile is timerfd_create(2), fs/timerfd.c.
type timerFile struct {
	ticker
	clock int32
	queue fdtable.Queue
}

func (f *timerFile) Close() error {
	f.cancel()
	return nil
}

func (f *timerFile) Read(p []byte) (int, error) {
	if len(p) < 8 {
		return 0, unix.EINVAL
	}
	n := f.take()
	if n == 0 {
		return 0, unix.EAGAIN
	}
	f.start(0)
	putLeUint64(p, n)
	return 8, nil
}

func (f *timerFile) Poll() fdtable.Events {
	if f.expired() > 0 {
		return fdtable.In
	}
	return 0
}

func (f *timerFile) Queue() *fdtable.Queue { return &f.queue }

func timerfd_create(c *Call) (uint64, error) {
	clockid, flags := int32(c.Int(0)), c.Flags(1)
	if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	clock := clockid
	switch clockid {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if c.Task.Cred.EUID != 0 { // CAP_WAKE_ALARM
			return 0, unix.EPERM
		}
		if clock = unix.CLOCK_REALTIME; clockid == unix.CLOCK_BOOTTIME_ALARM {
			clock = unix.CLOCK_BOOTTIME
		}
	default:
		return 0, unix.EINVAL
	}
	f := &timerFile{clock: clock}
	f.ticker = ticker{sys: c.Sys, ring: f.queue.Wake}
	return c.installAnon(f, "[timerfd]", flags&unix.TFD_NONBLOCK, flags&unix.TFD_CLOEXEC != 0)
}

func timerfd_settime(c *Call) (uint64, error) {
	fd, flags, newValue, oldValue := c.FD(0), c.Flags(1), c.Addr(2), c.Addr(3)
	var t unix.ItimerSpec
	if err := c.ReadValue(newValue, &t); err != nil {
		return 0, err
	}
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 || !validTimer(t) {
		return 0, unix.EINVAL
	}
	f, _, err := fileOf[*timerFile](c.Task, fd, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	old := f.setting()
	f.setTo(t, f.clock, flags&unix.TFD_TIMER_ABSTIME != 0)
	if oldValue != 0 {
		return 0, c.WriteValue(oldValue, old)
	}
	return 0, nil
}

func timerfd_gettime(c *Call) (uint64, error) {
	fd, curr := c.FD(0), c.Addr(1)
	f, _, err := fileOf[*timerFile](c.Task, fd, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	return 0, c.WriteValue(curr, f.setting())
}
