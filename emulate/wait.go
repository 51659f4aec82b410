//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Deadline is a moment on the guest's CLOCK_MONOTONIC in nanoseconds. 0 is
// never.
type Deadline int64

// Host is what the emulated kernel needs of the program around it. Package jail
// supplies it.
type Host interface {
	// Post runs fn on the warden's thread, soon. Any goroutine may call it.
	Post(fn func())
	// AfterFunc runs fn on the warden's thread after d, on the guest's clock.
	// stop cancels it; fn does not run after stop returned.
	AfterFunc(d time.Duration, fn func()) (stop func())
	// Gettime is clock_gettime(2) on the guest's clock, in nanoseconds. EINVAL
	// for a clock it does not have.
	Gettime(clock int32) (int64, error)
	// Random fills p from the guest's random source.
	Random(p []byte)
	// Warn takes a note that an operator should see, with the call's name.
	Warn(msg, call string, err error)
	// Kill ends the whole jail; reason is what Wait returns, nil for the
	// ordinary end of task 1.
	Kill(reason error)
}

// Now is the guest's CLOCK_MONOTONIC.
func (s *System) Now() Deadline {
	ns, err := s.Host.Gettime(unix.CLOCK_MONOTONIC)
	if err != nil {
		return 1
	}
	return Deadline(max(ns, 1))
}

// After is the deadline d from now; a negative d is now, one too far is never.
func (s *System) After(d time.Duration) Deadline {
	now := s.Now()
	if t := now + Deadline(max(d, 0)); t >= now {
		return t
	}
	return 0
}

// Wait parks the task until one of the queues is woken, the deadline passes
// (ETIMEDOUT) or a signal is due (ErrInterrupted). nil means woken, which is a
// hint: look again, in a loop. Nil queues are ignored. After ErrGone it must not
// be called again.
func (c *Call) Wait(deadline Deadline, queues ...*fdtable.Queue) error {
	t := c.Task
	woken := false
	wake := func() {
		woken = true
		t.Machine.Unpark()
	}
	waiters := make([]fdtable.Waiter, len(queues))
	for i, q := range queues {
		if q != nil {
			waiters[i].Woken = wake
			q.Add(&waiters[i])
		}
	}
	defer func() {
		for i, q := range queues {
			if q != nil {
				q.Remove(&waiters[i])
			}
		}
	}()
	expired := false
	if deadline != 0 {
		left := time.Duration(deadline - c.Sys.Now())
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		stop := c.Sys.Host.AfterFunc(left, func() {
			expired = true
			t.Machine.Unpark()
		})
		defer stop()
	}
	for !woken && !expired {
		if err := t.Machine.Park(); err != nil {
			return err
		}
	}
	if woken {
		return nil
	}
	return unix.ETIMEDOUT
}

// Go runs fn, which may block, on another goroutine while only this task is
// parked. interrupt, if not nil, is called when a signal or death comes first; it
// must make fn return soon. Go returns fn's error, or ErrInterrupted or ErrGone
// if that came first and interrupt is not nil; without interrupt a signal waits
// for fn.
func (c *Call) Go(fn func() error, interrupt func()) error {
	t := c.Task
	var err error
	done := false
	host := c.Sys.Host
	c.Sys.Away++
	go func() {
		e, panicked := error(nil), any(nil)
		func() {
			defer func() { panicked = recover() }()
			e = fn()
		}()
		host.Post(func() {
			c.Sys.Away--
			if panicked != nil {
				panic(panicked) // the jail's end, not the program's
			}
			err, done = e, true
			t.Machine.Unpark()
		})
	}()
	for !done {
		e := t.Machine.Park()
		if e == nil {
			continue
		}
		if interrupt != nil {
			interrupt()
			return e
		}
		if e == ErrGone {
			return e
		}
		// A signal is due but fn cannot be stopped: sleep on without asking
		// again, the signal is delivered with the result.
		for !done {
			if e := t.Machine.ParkUninterruptible(); e != nil {
				return e
			}
		}
	}
	return err
}

// Retry calls try until it gives something other than EAGAIN, parking on the
// queue of d in between: what a blocking call does over a File. With O_NONBLOCK
// it tries once.
func (c *Call) Retry(d *fdtable.Description, deadline Deadline, try func() (uint64, error)) (uint64, error) {
	d.Retain()
	defer d.Release()
	for {
		n, err := try()
		if err != unix.EAGAIN || d.Flags&unix.O_NONBLOCK != 0 || d.Queue() == nil {
			return n, err
		}
		if err := c.Wait(deadline, d.Queue()); err != nil {
			return 0, err
		}
	}
}
