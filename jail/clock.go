//go:build linux && amd64

package jail

import (
	"container/heap"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// virtualClock is the guest's time under policy.Time: it starts where the policy
// says, moves on by tick with each call that stops, and jumps to the next timer when
// every task sleeps. So a run takes the same time every time; see turns.
//
// While something that comes from outside is waited for it does not jump: timers fall
// due by the host's clock then.
type virtualClock struct {
	start  time.Time
	passed time.Duration
	timers timerHeap
	pace   *timer // that the host's clock has been asked for, by
	host   *time.Timer
}

// tick is how long a call takes, or an rdtsc: about what it does.
const tick = 10 * time.Microsecond

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

// due reports that the earliest timer has expired.
func (c *virtualClock) due() bool { return c.pending() && c.timers[0].at <= c.passed }

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
	w.virtual, w.turns = &virtualClock{start: t.Start}, &turns{}
	return nil
}

// tick lets t spend a call's time and returns when it began.
func (w *warden) tick(t *thread) time.Duration {
	v := w.virtual
	if v == nil {
		return 0
	}
	v.passed += tick
	t.task.Spend(tick)
	return v.passed - tick
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
		return v.start.Add(v.passed).UnixNano(), nil
	case v != nil:
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
	v := w.virtual
	if v == nil {
		host := time.AfterFunc(d, func() { w.box.post(once) })
		return func() {
			done = true
			host.Stop()
		}
	}
	t := &timer{at: v.passed + d, fn: once}
	heap.Push(&v.timers, t)
	return func() {
		done = true
		if t.index >= 0 {
			heap.Remove(&v.timers, t.index)
		}
	}
}

// outsideBusy reports that something is to come from outside: from what was dialled, or
// from a stream that a task reads, or that a call is let through.
func (w *warden) outsideBusy() bool {
	return w.meters.waiting > 0 || w.outside != nil && w.outside.busy > 0 || w.tape.waits() || w.tape == nil && w.streams.waitingFor(unix.POLLIN)
}

// stop forgets what keepPace has asked for.
func (c *virtualClock) stop() {
	if c.pace != nil {
		c.host.Stop()
	}
	c.pace = nil
}

// keepPace asks the host's clock for the earliest timer.
func (w *warden) keepPace() {
	v := w.virtual
	if !v.pending() || v.pace == v.timers[0] {
		return
	}
	t := v.timers[0]
	v.stop()
	if w.tape.replays() {
		return
	}
	v.pace, v.host = t, time.AfterFunc(t.at-v.passed, func() {
		w.box.post(func() {
			if v.pace != t { // which another has taken the place of
				return
			}
			if v.pace = nil; v.pending() && v.timers[0] == t && w.quiet() && len(w.ready) == 0 {
				w.tape.note(recording.Event{What: "clock"})
				v.fire()
			}
		})
	})
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
	t.w.tick(t)
	ns, err := t.w.Gettime(unix.CLOCK_MONOTONIC)
	if err != nil {
		return false
	}
	regs.Rax, regs.Rdx = uint64(ns)&0xffffffff, uint64(ns)>>32
	regs.Rip += size
	return ptrace.SetRegs(t.tid, &regs) == nil
}
