//go:build linux && amd64

package jail

import (
	"container/heap"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
	"oubliette/policy"
)

// virtualClock is the guest's time under policy.Time: it starts where the policy
// says, moves on by tick when it is asked, and jumps to the next timer when every
// task sleeps. So a run takes the same time every time.
//
// A task that computes without asking is waited for; timers that fall due
// meanwhile by the host's clock fire then, for the guest may be spinning until one
// does.
type virtualClock struct {
	start  time.Time
	passed time.Duration
	timers timerHeap
}

// tick is how long asking for the time takes.
const tick = time.Microsecond

// uptime is what CLOCK_MONOTONIC shows at the start: a machine that has booted.
const uptime = 1000 * time.Second

// timer is one pending AfterFunc.
type timer struct {
	at    time.Duration
	index int
	fn    func()
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = -1
	*h = old[:len(old)-1]
	return t
}

// pending reports that there is a timer.
func (c *virtualClock) pending() bool { return len(c.timers) > 0 }

// fire jumps to the earliest timer and runs it.
func (c *virtualClock) fire() {
	t := heap.Pop(&c.timers).(*timer)
	c.passed = max(c.passed, t.at)
	t.fn()
}

// chooseClock sets what Gettime and AfterFunc go by.
func (w *warden) chooseClock(j *Jail, t policy.Time) error {
	w.clock = j.Clock
	if t.Start.IsZero() {
		return nil
	}
	if j.Clock != nil {
		return &Error{Op: "policy", Err: errors.New("both Jail.Clock and Policy.Time are set; leave one out")}
	}
	w.virtual = &virtualClock{start: t.Start}
	return nil
}

// hostClock reports that the guest may see the host's time.
func (w *warden) hostClock() bool { return w.clock == nil && w.virtual == nil }

// Gettime is clock_gettime(2) on the guest's clock.
func (w *warden) Gettime(clock int32) (int64, error) {
	if clock == unix.CLOCK_REALTIME && w.hostClock() {
		return time.Now().UnixNano(), nil // without a call
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, err
	}
	wall := clock == unix.CLOCK_REALTIME || clock == unix.CLOCK_REALTIME_COARSE || clock == unix.CLOCK_TAI
	switch v := w.virtual; {
	case v != nil && wall:
		v.passed += tick
		return v.start.Add(v.passed).UnixNano(), nil
	case v != nil:
		v.passed += tick
		return int64(uptime + v.passed), nil
	case w.clock != nil && wall:
		return w.clock().UnixNano(), nil
	}
	return ts.Nano(), nil
}

// AfterFunc runs fn on the warden's thread after d of the guest's time.
func (w *warden) AfterFunc(d time.Duration, fn func()) (stop func()) {
	done := false
	once := func() {
		if !done {
			done = true
			fn()
		}
	}
	host := time.AfterFunc(d, func() { w.box.post(once) })
	v := w.virtual
	if v == nil {
		return func() {
			done = true
			host.Stop()
		}
	}
	t := &timer{at: v.passed + d, fn: once}
	heap.Push(&v.timers, t)
	return func() {
		done = true
		host.Stop()
		if t.index >= 0 {
			heap.Remove(&v.timers, t.index)
		}
	}
}

// idle reports that every guest thread sleeps in a handler, and none
// waits for what it dialled outside.
func (w *warden) idle() bool {
	for _, t := range w.threads {
		if !t.parked {
			return false
		}
	}
	return len(w.loading) == 0 && w.meters.waiting == 0 && (w.outside == nil || w.outside.busy == 0)
}

// rdtsc answers the instruction where the clock is not the host's; it faults
// there. false: it was another fault.
func (t *thread) rdtsc() bool {
	var regs ptrace.Regs
	if ptrace.GetRegs(t.tid, &regs) != nil {
		return false
	}
	var code [3]byte
	n, err := t.ReadMemory(code[:], regs.Rip)
	size := uint64(0)
	switch {
	case err == nil && n >= 2 && code[0] == 0x0f && code[1] == 0x31: // rdtsc
		size = 2
	case err == nil && n == 3 && code == [3]byte{0x0f, 0x01, 0xf9}: // rdtscp
		size = 3
		regs.Rcx = 0
	default:
		return false
	}
	ns, err := t.w.Gettime(unix.CLOCK_MONOTONIC)
	if err != nil {
		return false
	}
	regs.Rax, regs.Rdx = uint64(ns)&0xffffffff, uint64(ns)>>32
	regs.Rip += size
	return ptrace.SetRegs(t.tid, &regs) == nil
}
