//go:build linux

package emulate

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times(2) and /proc/PID/stat: ticks a second.
const userHZ = 100

// clockSGICycle is an id that is no clock any more.
const clockSGICycle = 10

// isClock reports an id of a clock that is neither a CPU clock nor a device.
func isClock(id int32) bool { return id >= 0 && id <= unix.CLOCK_TAI && id != clockSGICycle }

// gettime is the time of any clock a guest may name (kernel/time/posix-timers.c:
// clockid_to_kclock). EINVAL.
func (c *Call) gettime(id int32) (int64, error) {
	if cpu, ok := cpuClockOf(id); ok {
		return c.cpuTime(cpu)
	}
	if !isClock(id) {
		return 0, unix.EINVAL
	}
	return c.Sys.Host.Gettime(id)
}

func clock_gettime(c *Call) (uint64, error) {
	clockid, tp := int32(c.Int(0)), c.Addr(1)
	ns, err := c.gettime(clockid)
	if err != nil {
		return 0, err
	}
	return 0, c.WriteValue(tp, unix.NsecToTimespec(ns))
}

func clock_getres(c *Call) (uint64, error) {
	clockid, res := int32(c.Int(0)), c.Addr(1)
	ts := unix.Timespec{Nsec: 1}
	if cpu, ok := cpuClockOf(clockid); ok {
		if _, err := c.cpuTime(cpu); err != nil {
			return 0, err
		}
		if cpu.kind != cpuSched {
			ts = c.Sys.jiffy()
		}
	} else if !isClock(clockid) {
		return 0, unix.EINVAL
	} else if clockid == unix.CLOCK_REALTIME_COARSE || clockid == unix.CLOCK_MONOTONIC_COARSE {
		ts = c.Sys.jiffy()
	}
	if res == 0 {
		return 0, nil
	}
	return 0, c.WriteValue(res, ts)
}

// jiffy is the length of the host kernel's tick, or of the usual one.
func (s *System) jiffy() unix.Timespec {
	ts := unix.Timespec{Nsec: 4_000_000}
	if !s.Repeatable {
		_ = unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts)
	}
	return ts
}

func gettimeofday(c *Call) (uint64, error) {
	tv, tz := c.Addr(0), c.Addr(1)
	if tv != 0 {
		ns, err := c.gettime(unix.CLOCK_REALTIME)
		if err != nil {
			return 0, err
		}
		if err := c.WriteValue(tv, unix.NsecToTimeval(ns)); err != nil {
			return 0, err
		}
	}
	if tz != 0 {
		return 0, c.WriteValue(tz, [2]int32{})
	}
	return 0, nil
}

func timeCall(c *Call) (uint64, error) {
	tloc := c.Addr(0)
	ns, err := c.gettime(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	seconds := uint64(ns / int64(time.Second))
	if tloc != 0 {
		if err := c.WriteValue(tloc, seconds); err != nil {
			return 0, err
		}
	}
	return seconds, nil
}

// The clock is the host's, or the policy's: nobody sets it, root of the jail
// neither. Errors come in the kernel's order.

func clock_settime(c *Call) (uint64, error) {
	clockid, tp := int32(c.Int(0)), c.Addr(1)
	cpu, isCPU := cpuClockOf(clockid)
	device := isDeviceClock(clockid)
	if isCPU && cpu.fixed || !isCPU && !device && clockid != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	var ts unix.Timespec
	if err := c.ReadValue(tp, &ts); err != nil {
		return 0, err
	}
	if isCPU {
		if _, err := c.cpuTime(cpu); err != nil {
			return 0, err
		}
	} else if device || !validTimespec(ts) || ts.Sec > settableSeconds {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

// settableSeconds is TIME_SETTOD_SEC_MAX of include/linux/time64.h: the end of
// ktime_t less 30 years of uptime.
const settableSeconds = math.MaxInt64/int64(time.Second) - 30*365*24*3600

func settimeofday(c *Call) (uint64, error) {
	tv, tz := c.Addr(0), c.Addr(1)
	var v unix.Timeval
	if tv != 0 {
		if err := c.ReadValue(tv, &v); err != nil {
			return 0, err
		}
		if v.Usec < 0 || v.Usec > 1_000_000 {
			return 0, unix.EINVAL
		}
	}
	if tz != 0 {
		if err := c.ReadValue(tz, new([2]int32)); err != nil {
			return 0, err
		}
	}
	if tv != 0 && !validTimespec(unix.Timespec{Sec: v.Sec, Nsec: v.Usec * 1000}) {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

func adjtimex(c *Call) (uint64, error) { return c.timex(c.Addr(0), unix.CLOCK_REALTIME) }

func clock_adjtime(c *Call) (uint64, error) { return c.timex(c.Addr(1), int32(c.Int(0))) }

// offsetRead is ADJ_OFFSET_SS_READ of include/uapi/linux/timex.h: modes that ask
// and set nothing.
const offsetRead = 0xa001

// timexData is struct __kernel_timex, padding spelled out.
type timexData struct {
	Modes                                  uint32
	_                                      uint32
	Offset, Freq, MaxError, EstError       int64
	Status                                 int32
	_                                      uint32
	Constant, Precision, Tolerance         int64
	Time                                   unix.Timeval
	Tick, PPSFreq, Jitter                  int64
	Shift                                  int32
	_                                      uint32
	Stabil, JitCnt, CalCnt, ErrCnt, StbCnt int64
	TAI                                    int32
	_                                      [11]uint32
}

// timex answers a query as a kernel whose clock nobody synchronised.
func (c *Call) timex(buf uint64, clockid int32) (uint64, error) {
	const unsynced, timeError = 0x40, 5 // STA_UNSYNC, TIME_ERROR
	var t timexData
	if err := c.ReadValue(buf, &t); err != nil {
		return 0, err
	}
	if clockid != unix.CLOCK_REALTIME {
		if _, cpu := cpuClockOf(clockid); cpu || isClock(clockid) {
			return 0, unix.EOPNOTSUPP
		}
		return 0, unix.EINVAL
	}
	const adjTime, singleShot = 0x8000, 1
	if t.Modes&adjTime != 0 && t.Modes&singleShot == 0 {
		return 0, unix.EINVAL
	}
	if t.Modes != 0 && t.Modes != offsetRead {
		return 0, unix.EPERM
	}
	ns, err := c.gettime(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	const worst = 16_000_000 // NTP_PHASE_LIMIT, µs
	t = timexData{Modes: t.Modes, MaxError: worst, EstError: worst, Status: unsynced, Constant: 2,
		Precision: 1, Tolerance: 500 << 16, Time: unix.NsecToTimeval(ns), Tick: 10_000}
	return timeError, c.WriteValue(buf, t)
}

// validTimespec is timespec64_valid of include/linux/time64.h.
func validTimespec(ts unix.Timespec) bool {
	return ts.Sec >= 0 && ts.Nsec >= 0 && ts.Nsec < int64(time.Second)
}

// nanoseconds is ts as a number, too much being the largest there is.
func nanoseconds(ts unix.Timespec) int64 {
	if ts.Sec >= math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return ts.Nano()
}
