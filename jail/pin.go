//go:build linux && amd64

package jail

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
)

// pinning keeps the warden and its guests on one CPU while stops come fast: a
// stop then costs 10 µs instead of 48. Where stops are rare, or more than one
// task computes, everybody runs where the scheduler likes.
//
// It is the only file that knows affinity; without it everything works, slower.
type pinning struct {
	on     bool
	own    unix.CPUSet // the warden thread's mask before
	one    unix.CPUSet // the CPU chosen
	window time.Time   // start of the counting window
	count  int
	saved  bool
}

// A window of pinWindow with at least pinStops stops pins; one with fewer than
// unpinStops, seen at its end or by the ticker, lets go.
const (
	pinWindow  = time.Millisecond
	pinStops   = 8
	pinTick    = 20 * time.Millisecond
	unpinStops = 100 // in a tick, with more than one task
)

// stops counts one stop.
func (w *warden) stops(now time.Time) {
	p := &w.pin
	p.count++
	if p.on || p.count < pinStops {
		return
	}
	fast := now.Sub(p.window) < pinWindow
	p.window, p.count = now, 0
	if fast {
		w.pinAll()
	}
}

func (w *warden) pinAll() {
	p := &w.pin
	if !p.saved {
		if unix.SchedGetaffinity(0, &p.own) != nil {
			return
		}
		p.saved = true
	}
	_, cpu, err := ptrace.Getcpu()
	if err != nil || p.own.Count() < 2 || !p.own.IsSet(cpu) {
		return
	}
	p.one.Zero()
	p.one.Set(cpu)
	if unix.SchedSetaffinity(0, &p.one) != nil {
		return
	}
	p.on = true
	for tid := range w.threads {
		_ = unix.SchedSetaffinity(tid, &p.one)
	}
	w.pinTicker()
}

// pinTicker looks again every pinTick while pinned.
func (w *warden) pinTicker() {
	p := &w.pin
	p.count = 0
	time.AfterFunc(pinTick, func() {
		w.box.post(func() {
			if !p.on {
				return
			}
			if len(w.threads) > 1 && p.count < unpinStops || p.count < pinStops {
				w.unpin()
				return
			}
			w.pinTicker()
		})
	})
}

func (w *warden) unpin() {
	p := &w.pin
	p.on, p.window, p.count = false, time.Now(), 0
	_ = unix.SchedSetaffinity(0, &p.own)
	for tid := range w.threads {
		_ = unix.SchedSetaffinity(tid, &p.own)
	}
}

// restore gives the warden's thread its mask back.
func (p *pinning) restore() {
	if p.on {
		p.on = false
		_ = unix.SchedSetaffinity(0, &p.own)
	}
}

// join puts a new process where the jail's tasks are: it has the warden's mask.
func (p *pinning) join(pid int) {
	if p.saved && !p.on {
		_ = unix.SchedSetaffinity(pid, &p.own)
	}
}
