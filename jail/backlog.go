//go:build linux && amd64

package jail

import (
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/ptrace"
)

// stopEvent is one answer of wait4.
type stopEvent struct {
	tid    int
	status unix.WaitStatus
	usage  unix.Rusage
}

// last: nothing comes after it.
func (e stopEvent) last() bool { return e.status.Exited() || e.status.Signaled() }

// gather takes what other threads have to report before the first one goes on:
// wait4 looks at the youngest first, and while those are busy the rest would
// starve.
func (w *warden) gather() {
	for len(w.threads) > 2 && w.fetch(unix.WNOHANG) {
	}
}

// fetch puts one more answer of wait4 into the backlog, if there is one.
func (w *warden) fetch(flags int) bool {
	var e stopEvent
	var err error
	if e.tid, e.status, err = ptrace.Wait(w.pgid, flags, &e.usage); err != nil || e.tid == 0 {
		return false
	}
	if t := w.threads[e.tid]; t != nil && e.last() {
		t.reaped = true
	}
	w.backlog = append(w.backlog, e)
	return true
}

// reapOld waits for what p was before execve, which was killed then: its times
// belong to p's end. What others have to report meanwhile is for later, but it is
// taken: a leader's end is told when its other threads have been waited for.
func (w *warden) reapOld(p *emulate.Process) {
	for tid, of := range w.doomed {
		if of != p {
			continue
		}
		for !w.takeFromBacklog(tid) {
			if !w.fetch(0) {
				delete(w.doomed, tid)
				break
			}
		}
	}
}

// takeFromBacklog handles the end of tid, if it is there already, and forgets the
// stops from before.
func (w *warden) takeFromBacklog(tid int) bool {
	i := slices.IndexFunc(w.backlog, func(e stopEvent) bool { return e.tid == tid && e.last() })
	if i < 0 {
		return false
	}
	e := w.backlog[i]
	w.backlog = slices.DeleteFunc(w.backlog, func(e stopEvent) bool { return e.tid == tid })
	w.usage = e.usage
	w.unknown(tid, e.status)
	return true
}
