//go:build linux

package emulate

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func nanosleep(c *Call) (uint64, error) {
	req, rem := c.Addr(0), c.Addr(1)
	ns, err := c.sleepTime(req)
	if err != nil {
		return 0, err
	}
	return 0, c.sleep(ns, rem)
}

func clock_nanosleep(c *Call) (uint64, error) {
	clockid, flags, req, rem := int32(c.Int(0)), c.Flags(1), c.Addr(2), c.Addr(3)
	cpu, isCPU := cpuClockOf(clockid)
	device := isDeviceClock(clockid)
	if !isCPU && !device && !isClock(clockid) {
		return 0, unix.EINVAL
	}
	switch {
	case device, isCPU && cpu.fixed && cpu.thread,
		clockid == unix.CLOCK_MONOTONIC_RAW, clockid == unix.CLOCK_REALTIME_COARSE,
		clockid == unix.CLOCK_MONOTONIC_COARSE, clockid == unix.CLOCK_REALTIME_ALARM,
		clockid == unix.CLOCK_BOOTTIME_ALARM: // no wake-up clock in a jail
		return 0, unix.EOPNOTSUPP
	}
	ns, err := c.sleepTime(req)
	if err != nil {
		return 0, err
	}
	if isCPU {
		return 0, c.sleepCPU(cpu, flags, ns, rem)
	}
	if flags&unix.TIMER_ABSTIME == 0 {
		return 0, c.sleep(ns, rem)
	}
	now, err := c.gettime(clockid)
	if err != nil {
		return 0, err
	}
	deadline := Deadline(0)
	if ns != math.MaxInt64 {
		deadline = c.Sys.After(time.Duration(ns - now))
	}
	if err = c.Wait(deadline); err == ErrInterrupted {
		err = ERESTARTNOHAND
	}
	return 0, timedOut(err)
}

// sleepTime reads the timespec of a sleep, in ns. EFAULT, EINVAL.
func (c *Call) sleepTime(addr uint64) (int64, error) {
	var ts unix.Timespec
	if err := c.ReadValue(addr, &ts); err != nil {
		return 0, err
	}
	if !validTimespec(ts) {
		return 0, unix.EINVAL
	}
	return nanoseconds(ts), nil
}

// timedOut makes the end of a sleep, which is Wait's ETIMEDOUT, a success.
func timedOut(err error) error {
	if err == unix.ETIMEDOUT {
		return nil
	}
	return err
}

// sleep is a relative sleep of ns, or the rest of it after a restart. What is
// left goes to rem when a signal comes.
func (c *Call) sleep(ns int64, rem uint64) error {
	deadline := c.KeepDeadline(c.Sys.After(time.Duration(ns)))
	err := c.Wait(deadline)
	if err != ErrInterrupted {
		return timedOut(err)
	}
	left := int64(math.MaxInt64)
	if deadline != 0 {
		left = int64(deadline - c.Sys.Now())
	}
	return c.interrupted(deadline, left, rem)
}

// interrupted ends a relative sleep that a signal cut short with left ns to go.
func (c *Call) interrupted(deadline Deadline, left int64, rem uint64) error {
	if left <= 0 {
		return nil
	}
	if rem != 0 {
		if err := c.WriteValue(rem, unix.NsecToTimespec(left)); err != nil {
			return err
		}
	}
	return c.RestartAt(deadline, ErrInterrupted)
}

// sleepCPU sleeps until a CPU clock shows a time. It looks again whenever the
// clock can have got there at the earliest, with every CPU running for it.
func (c *Call) sleepCPU(cpu cpuClock, flags int, ns int64, rem uint64) error {
	if cpu.thread && (cpu.pid == 0 || cpu.pid == c.Task.TID) {
		return unix.EINVAL // it would sleep for ever
	}
	now, err := c.cpuTime(cpu)
	if err != nil {
		return err
	}
	until := ns
	if flags&unix.TIMER_ABSTIME == 0 {
		until = int64(c.KeepDeadline(Deadline(now + min(ns, math.MaxInt64-now))))
	}
	for now < until {
		pause := max(time.Duration(until-now)/time.Duration(max(c.Sys.CPUs, 1)), 2*time.Millisecond)
		err := c.Wait(c.Sys.After(pause))
		if err == ErrInterrupted && flags&unix.TIMER_ABSTIME != 0 {
			return ERESTARTNOHAND
		}
		if err == ErrInterrupted {
			return c.interrupted(Deadline(until), until-now, rem)
		}
		if err := timedOut(err); err != nil {
			return err
		}
		if now, err = c.cpuTime(cpu); err != nil {
			return nil // the process is gone, and its clock with it
		}
	}
	return nil
}
