//go:build linux && amd64

package jail

import (
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
	for len(w.threads) > 2 && w.fetch() {
	}
}

// fetch puts one more answer of wait4 into the backlog, if there is one.
func (w *warden) fetch() bool {
	var e stopEvent
	var err error
	if e.tid, e.status, err = ptrace.Wait(w.pgid, unix.WNOHANG, &e.usage); err != nil || e.tid == 0 {
		return false
	}
	if t := w.threads[e.tid]; t != nil && e.last() {
		t.reaped = true
	}
	w.backlog = append(w.backlog, e)
	return true
}

// afterOld runs fn once what p was before execve, which was killed then, has been
// reaped: its times belong to p's end. Nothing waits for it: the kernel tells a
// leader's end only when its other threads have been waited for.
func (w *warden) afterOld(p *emulate.Process, fn func()) {
	if w.hasOld(p) {
		w.late[p] = append(w.late[p], fn)
		return
	}
	fn()
}

func (w *warden) hasOld(p *emulate.Process) bool {
	for _, of := range w.doomed {
		if of == p {
			return true
		}
	}
	return false
}

// oldReaped is told that one of what p was is gone.
func (w *warden) oldReaped(p *emulate.Process) {
	if p == nil || w.hasOld(p) {
		return
	}
	late := w.late[p]
	delete(w.late, p)
	for _, fn := range late {
		w.guard(fn)
	}
}
