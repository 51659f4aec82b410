//go:build linux

package fdtable

import "golang.org/x/sys/unix"

// Events is a set of poll(2) events (POLLIN, POLLOUT, …), the same bits as
// epoll's.
type Events uint32

// The events that files report most.
const (
	In    Events = unix.POLLIN
	Pri   Events = unix.POLLPRI
	Out   Events = unix.POLLOUT
	Err   Events = unix.POLLERR
	Hup   Events = unix.POLLHUP
	RdHup Events = unix.POLLRDHUP
	// POLLRDNORM and POLLWRNORM of include/uapi/asm-generic/poll.h.
	RdNorm Events = 0x40
	WrNorm Events = 0x100
)

// Queue is a wait queue: what sleeps until a file's readiness changes. The zero
// Queue is empty. Like everything here it belongs to the warden's thread, so it
// has no lock. A list, so that a guest cannot make leaving it slow.
type Queue struct {
	first, last *Waiter
}

// Waiter is one sleeper, in at most one queue. Woken is called by Wake and must
// only take note (mark a task runnable, an epoll item ready). Being woken is a
// hint: look again.
type Waiter struct {
	Woken func()
	// Exclusive is asked after Woken whether the wake-up found its taker; then
	// no other waiter that has an Exclusive is told (EPOLLEXCLUSIVE). Nil: this
	// one takes nothing from others.
	Exclusive func() bool
	// Events that concern this waiter; 0 is all.
	Events Events

	queue      *Queue
	prev, next *Waiter
}

// Add puts w at the end of q. The caller removes it.
func (q *Queue) Add(w *Waiter) {
	q.take(w)
	q.tie(q.last, w)
	q.tie(w, nil)
}

// AddFirst puts w at the beginning, where Linux has those that take nothing from
// others (kernel/sched/wait.c:add_wait_queue). The caller removes it.
func (q *Queue) AddFirst(w *Waiter) {
	q.take(w)
	q.tie(w, q.first)
	q.tie(nil, w)
}

// take makes w one of q's that has no place yet.
func (q *Queue) take(w *Waiter) {
	if w.queue != nil {
		w.queue.Remove(w)
	}
	w.queue = q
}

// tie makes a and b neighbours; nil is the end of q there.
func (q *Queue) tie(a, b *Waiter) {
	if a == nil {
		q.first = b
	} else {
		a.next = b
	}
	if b == nil {
		q.last = a
	} else {
		b.prev = a
	}
}

// Remove takes w out of q; not being there is no error.
func (q *Queue) Remove(w *Waiter) {
	if w.queue == q {
		q.tie(w.prev, w.next)
		w.queue, w.prev, w.next = nil, nil, nil
	}
}

// Wake tells every waiter, the first first, and then exclusive ones until one takes
// it.
func (q *Queue) Wake() { q.WakeFor(^Events(0)) }

// WakeFor is Wake for those whom one of the events concerns, so that an
// edge-triggered reader is not told of room to write. A waiter may add and
// remove waiters while it is told; one removed is not told any more.
func (q *Queue) WakeFor(ev Events) {
	if q.first == nil {
		return
	}
	var few [8]*Waiter
	told := few[:0]
	for w := q.first; w != nil; w = w.next {
		if w.Events == 0 || w.Events&ev != 0 {
			told = append(told, w)
		}
	}
	for _, w := range told {
		if w.queue == q && w.Exclusive == nil {
			w.Woken()
		}
	}
	for _, w := range told { // behind all others (kernel/sched/wait.c:add_wait_queue_exclusive)
		if w.queue == q && w.Exclusive != nil {
			if w.Woken(); w.Exclusive() {
				break
			}
		}
	}
}

// Empty reports whether nobody waits.
func (q *Queue) Empty() bool { return q.first == nil }

// Watch adds a waiter for whatever happens, until stop is called.
func (q *Queue) Watch(woken func()) (stop func()) {
	w := &Waiter{Woken: woken}
	q.Add(w)
	return func() { q.Remove(w) }
}
