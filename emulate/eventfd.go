//go:build linux

package emulate

import (
	"math"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// eventCounter is eventfd(2), fs/eventfd.c.
type eventCounter struct {
	count     uint64
	semaphore bool
	queue     fdtable.Queue
}

func (f *eventCounter) Close() error { return nil }

func (f *eventCounter) Read(p []byte) (int, error) {
	if len(p) < 8 {
		return 0, unix.EINVAL
	}
	n := f.count
	if n == 0 {
		return 0, unix.EAGAIN
	}
	if f.semaphore {
		n = 1
	}
	f.count -= n
	putLeUint64(p, n)
	f.queue.WakeFor(fdtable.Out)
	return 8, nil
}

func (f *eventCounter) Write(p []byte) (int, error) {
	if len(p) != 8 {
		return 0, unix.EINVAL
	}
	n := leUint64(p)
	switch {
	case n == math.MaxUint64:
		return 0, unix.EINVAL
	case math.MaxUint64-f.count <= n:
		return 0, unix.EAGAIN
	}
	f.count += n
	f.queue.WakeFor(fdtable.In)
	return 8, nil
}

func (f *eventCounter) Poll() fdtable.Events {
	var ev fdtable.Events
	if f.count > 0 {
		ev |= fdtable.In
	}
	if f.count == math.MaxUint64 {
		ev |= fdtable.Err
	}
	if f.count < math.MaxUint64-1 {
		ev |= fdtable.Out
	}
	return ev
}

func (f *eventCounter) Queue() *fdtable.Queue { return &f.queue }

func eventfd2(c *Call) (uint64, error) {
	initval, flags := c.Uint(0), c.Flags(1)
	if flags&^(unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE) != 0 {
		return 0, unix.EINVAL
	}
	f := &eventCounter{count: uint64(initval), semaphore: flags&unix.EFD_SEMAPHORE != 0}
	return c.installAnon(f, "[eventfd]", flags&unix.EFD_NONBLOCK, flags&unix.EFD_CLOEXEC != 0)
}

func eventfd(c *Call) (uint64, error) { return c.as(eventfd2, c.Args[0]) }
