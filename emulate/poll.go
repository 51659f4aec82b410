//go:build linux

package emulate

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// opened is the description of fd, EBADF also for one opened with O_PATH, which
// has no file operations.
func (t *Task) opened(fd int) (*fdtable.Description, error) {
	d, err := t.FDs.Get(fd)
	if err == nil && d.Flags&unix.O_PATH != 0 {
		return nil, unix.EBADF
	}
	return d, err
}

// fileOf is open file fd as one of kind F, and its description. EBADF; other: it is
// of another kind.
func fileOf[F any](t *Task, fd int, other unix.Errno) (f F, d *fdtable.Description, err error) {
	if d, err = t.opened(fd); err != nil {
		return f, nil, err
	}
	f, ok := d.File.(F)
	if !ok {
		return f, nil, other
	}
	return f, d, nil
}

// WithSignalMask does fn under another signal mask, as one step: what ppoll(2)
// and its like promise. If fn is interrupted the mask is still there for the
// signal's delivery, whose frame brings back the old one.
func (c *Call) WithSignalMask(mask *uint64, fn func() (uint64, error)) (uint64, error) {
	if mask == nil {
		return fn()
	}
	c.Task.Machine.SetWaitMask(mask)
	n, err := fn()
	if err != ERESTARTNOHAND && err != unix.EINTR {
		c.Task.Machine.SetWaitMask(nil)
	}
	return n, err
}

// orSignal is for select and poll under a mask, where a signal that is due wins
// over having found nothing, even without sleeping (fs/select.c:do_poll).
func (c *Call) orSignal(mask *uint64, fn func() (uint64, error)) (uint64, error) {
	return c.WithSignalMask(mask, func() (uint64, error) {
		n, err := fn()
		if mask == nil || n != 0 || err != nil {
			return n, err
		}
		st, err := c.Task.Machine.SignalState()
		if err == nil && st.Pending&^*mask&^st.Ignored != 0 {
			err = ERESTARTNOHAND
		}
		return 0, err
	})
}

// readMask is kernel/signal.c:set_user_sigmask's reading: nil for a null
// pointer. EINVAL, EFAULT.
func (c *Call) readMask(addr, size uint64) (*uint64, error) {
	if addr == 0 {
		return nil, nil
	}
	if size != 8 {
		return nil, unix.EINVAL
	}
	var mask uint64
	if err := c.ReadValue(addr, &mask); err != nil {
		return nil, err
	}
	return &mask, nil
}

// sleep is how long poll(2) and its like wait: until deadline, unless zero.
type sleep struct {
	deadline Deadline // 0 never
	zero     bool     // only look
}

// sleepFor is the sleep from a timespec (unit 1) or timeval (unit 1000) at
// addr, for ever for a null pointer. EFAULT, EINVAL.
func (c *Call) sleepFor(addr uint64, unit int64) (sleep, error) {
	if addr == 0 {
		return sleep{}, nil
	}
	var t unix.Timespec
	if err := c.ReadValue(addr, &t); err != nil {
		return sleep{}, err
	}
	if unit == 1000 { // fs/select.c:kern_select
		t = unix.Timespec{Sec: t.Sec + t.Nsec/1e6, Nsec: t.Nsec % 1e6 * 1000}
	}
	if !validTimespec(t) {
		return sleep{}, unix.EINVAL
	}
	return sleep{c.Sys.After(time.Duration(nanoseconds(t))), t == unix.Timespec{}}, nil
}

// remaining writes what is left of the sleep to where it was read, as
// fs/select.c:poll_select_finish does. A call whose timeout cannot be written
// cannot be restarted.
func (c *Call) remaining(addr uint64, unit int64, s sleep, n uint64, err error) (uint64, error) {
	if addr == 0 || s.zero {
		return n, err
	}
	var t [2]int64
	if s.deadline == 0 {
		t = [2]int64{1<<63 - 1, 0}
	} else if left := int64(s.deadline - c.Sys.Now()); left > 0 {
		t = [2]int64{left / 1e9, left % 1e9 / unit}
	}
	if c.WriteValue(addr, t) != nil && err == ERESTARTNOHAND {
		err = unix.EINTR
	}
	return n, err
}

// await calls look until it counts something, waiting in between for the
// queues, which it takes once from the descriptions; 0 after the sleep.
func (c *Call) await(s sleep, files []*fdtable.Description, look func() uint64) (uint64, error) {
	n := look()
	if n > 0 || s.zero {
		return n, nil
	}
	var queues []*fdtable.Queue
	seen := make(map[*fdtable.Queue]bool)
	for _, d := range files {
		if d == nil {
			continue
		}
		if q := d.Retain().Queue(); q != nil && !seen[q] {
			seen[q] = true
			queues = append(queues, q)
		}
	}
	defer func() {
		for _, d := range files {
			if d != nil {
				_ = d.Release()
			}
		}
	}()
	for {
		err := c.Wait(s.deadline, queues...)
		if n = look(); n > 0 {
			return n, nil
		}
		if err == unix.ETIMEDOUT {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

const (
	// pollfdSize is sizeof(struct pollfd): int fd; short events, revents.
	pollfdSize = 8
	// maxPolled bounds the entries of all polls and selects of a jail that sleep at
	// once, as kernel memory does: ENOMEM.
	maxPolled = 4 << 20
)

// poll counts n entries more, or fewer. ENOMEM.
func (ipc *ipcState) poll(n int) error {
	if ipc.polled+n > maxPolled {
		return unix.ENOMEM
	}
	ipc.polled += n
	return nil
}

// doPoll is fs/select.c:do_sys_poll. Only revents are written back: the rest
// may have changed meanwhile. EINVAL (more than RLIMIT_NOFILE), ENOMEM,
// EFAULT, ERESTARTNOHAND.
func (c *Call) doPoll(fds uint64, nfds uint32, s sleep) (uint64, error) {
	if uint64(nfds) > min(c.Task.Limit(unix.RLIMIT_NOFILE), maxFiles) {
		return 0, unix.EINVAL
	}
	if err := c.Sys.ipc.poll(int(nfds)); err != nil {
		return 0, err
	}
	defer c.Sys.ipc.poll(-int(nfds))
	set := make([]byte, int(nfds)*pollfdSize)
	if err := c.Read(fds, set); err != nil {
		return 0, err
	}
	files := make([]*fdtable.Description, nfds)
	for i := range files {
		fd := int(int32(leUint32(set[i*pollfdSize:])))
		files[i], _ = c.Task.opened(fd)
	}
	n, err := c.await(s, files, func() uint64 { return pollSet(set, files) })
	if err == ErrInterrupted {
		return 0, ERESTARTNOHAND
	}
	if err != nil || nfds == 0 {
		return n, err
	}
	const revents = 6
	if err := c.Write(fds+revents, set[revents:]); err != nil {
		return 0, err
	}
	return n, nil
}

// pollSet fills in every revents and counts those that say something.
func pollSet(set []byte, files []*fdtable.Description) uint64 {
	var n uint64
	for i, d := range files {
		p := set[i*pollfdSize:]
		var ev fdtable.Events
		if d != nil {
			asked := fdtable.Events(binary.LittleEndian.Uint16(p[4:]))
			ev = d.Ready() & (asked | fdtable.Err | fdtable.Hup)
		} else if int32(leUint32(p)) >= 0 {
			ev = unix.POLLNVAL
		}
		binary.LittleEndian.PutUint16(p[6:], uint16(ev))
		if ev != 0 {
			n++
		}
	}
	return n
}

func poll(c *Call) (uint64, error) {
	fds, nfds, timeout := c.Addr(0), c.Uint(1), c.Int(2)
	var s sleep
	if timeout >= 0 {
		s = sleep{c.KeepDeadline(c.Sys.After(time.Duration(timeout) * time.Millisecond)), timeout == 0}
	}
	n, err := c.doPoll(fds, nfds, s)
	if err == ERESTARTNOHAND {
		err = c.RestartAt(s.deadline, ErrInterrupted)
	}
	return n, err
}

func ppoll(c *Call) (uint64, error) {
	fds, nfds, tmo, sigmask, sigsetsize := c.Addr(0), c.Uint(1), c.Addr(2), c.Addr(3), c.Size(4)
	s, err := c.sleepFor(tmo, 1)
	if err != nil {
		return 0, err
	}
	mask, err := c.readMask(sigmask, sigsetsize)
	if err != nil {
		return 0, err
	}
	n, err := c.orSignal(mask, func() (uint64, error) { return c.doPoll(fds, nfds, s) })
	return c.remaining(tmo, 1, s, n, err)
}
