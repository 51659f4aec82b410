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
// has no lock.
type Queue struct {
	waiters []*Waiter
}

// Waiter is one sleeper. Woken is called by Wake and must only take note (mark a
// task runnable, an epoll item ready). Being woken is a hint: look again.
type Waiter struct {
	Woken func()
	// Exclusive: Wake stops after the first exclusive waiter (EPOLLEXCLUSIVE,
	// accept).
	Exclusive bool
}

// Add puts w at the end of q. The caller removes it.
func (q *Queue) Add(w *Waiter) { q.waiters = append(q.waiters, w) }

// Remove takes w out of q; not being there is no error.
func (q *Queue) Remove(w *Waiter) {
	for i, x := range q.waiters {
		if x == w {
			q.waiters = append(q.waiters[:i:i], q.waiters[i+1:]...)
			return
		}
	}
}

// Wake tells every waiter, oldest first, up to and including the first
// exclusive one. A waiter may add and remove waiters while it is told.
func (q *Queue) Wake() {
	if len(q.waiters) == 0 {
		return
	}
	for _, w := range append([]*Waiter(nil), q.waiters...) {
		w.Woken()
		if w.Exclusive {
			return
		}
	}
}

// Empty reports whether nobody waits.
func (q *Queue) Empty() bool { return len(q.waiters) == 0 }
