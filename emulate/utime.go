//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/abi"
)

func utime(c *Call) (uint64, error) {
	filename, times := 0, c.Addr(1)
	if times == 0 {
		return 0, c.utimesAt(unix.AT_FDCWD, filename, nil, 0)
	}
	var p [16]byte
	if err := c.Read(times, p[:]); err != nil {
		return 0, err
	}
	var t [2]unix.Timespec
	for i := range t {
		t[i].Sec = int64(leUint64(p[8*i:]))
	}
	return 0, c.utimesAt(unix.AT_FDCWD, filename, &t, 0)
}

func utimes(c *Call) (uint64, error) { return c.as(futimesat, atCwd, c.Args[0], c.Args[1]) }

// futimesat is fs/utimes.c:do_futimesat. EINVAL: microseconds out of range,
// also those that mean something to utimensat.
func futimesat(c *Call) (uint64, error) {
	dirfd, filename, times := c.FD(0), 1, c.Addr(2)
	t, err := c.timePair(times)
	if err != nil {
		return 0, err
	}
	if t != nil {
		for i := range t {
			if t[i].Nsec < 0 || t[i].Nsec >= 1e6 {
				return 0, unix.EINVAL
			}
			t[i].Nsec *= 1000
		}
	}
	return 0, c.utimesAt(dirfd, filename, t, 0)
}

func utimensat(c *Call) (uint64, error) {
	dirfd, filename, times, flags := c.FD(0), 1, c.Addr(2), c.Flags(3)
	t, err := c.timePair(times)
	if err != nil {
		return 0, err
	}
	if t != nil && t[0].Nsec == unix.UTIME_OMIT && t[1].Nsec == unix.UTIME_OMIT {
		return 0, nil // Not even the path is looked at.
	}
	return 0, c.utimesAt(dirfd, filename, t, flags)
}

// timePair reads two timespecs or timevals; nil for the null pointer.
func (c *Call) timePair(addr uint64) (*[2]unix.Timespec, error) {
	if addr == 0 {
		return nil, nil
	}
	var p [32]byte
	if err := c.Read(addr, p[:]); err != nil {
		return nil, err
	}
	return &[2]unix.Timespec{abi.Timespec(p[:]), abi.Timespec(p[16:])}, nil
}

// utimesAt is fs/utimes.c:do_utimes: a null path means the descriptor.
func (c *Call) utimesAt(dirfd, filename int, t *[2]unix.Timespec, flags int) error {
	var e *vfs.Dentry
	var err error
	if c.Addr(filename) == 0 && dirfd != unix.AT_FDCWD {
		if flags != 0 {
			return unix.EINVAL
		}
		e, err = c.opened()
	} else {
		e, err = c.changed(dirfd, filename, flags)
	}
	if err != nil {
		return err
	}
	return c.setTimes(e, t)
}

// setTimes is fs/utimes.c:vfs_utimes. Both times now is for everybody who may
// write; anything else for the owner.
func (c *Call) setTimes(e *vfs.Dentry, t *[2]unix.Timespec) error {
	if t != nil && (!validNsec(t[0].Nsec) || !validNsec(t[1].Nsec)) {
		return unix.EINVAL
	}
	s, a, err := settable(e)
	if err != nil {
		return err
	}
	cred := c.Task.Access()
	if cred.UID != 0 && cred.UID != a.UID {
		if t != nil && (t[0].Nsec != unix.UTIME_NOW || t[1].Nsec != unix.UTIME_NOW) {
			return unix.EPERM
		}
		if err := vfs.Access(a, cred, vfs.MayWrite); err != nil {
			return err
		}
	}
	if t == nil {
		t = &[2]unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	}
	ch := vfs.Change{Atime: c.newTime(t[0]), Mtime: c.newTime(t[1])}
	if err := s.SetAttr(ch); err != nil {
		return err
	}
	switch { // As include/linux/fsnotify.h:fsnotify_change has it.
	case ch.Atime != nil && ch.Mtime != nil:
		c.Sys.notify(e, unix.IN_ATTRIB)
	case ch.Atime != nil:
		c.Sys.notify(e, unix.IN_ACCESS)
	default:
		c.Sys.notify(e, unix.IN_MODIFY)
	}
	return nil
}

func validNsec(n int64) bool {
	return n == unix.UTIME_NOW || n == unix.UTIME_OMIT || n >= 0 && n < 1e9
}

// newTime is the time t means, nil for none.
func (c *Call) newTime(t unix.Timespec) *unix.Timespec {
	switch t.Nsec {
	case unix.UTIME_OMIT:
		return nil
	case unix.UTIME_NOW:
		t = unix.NsecToTimespec(c.Sys.realtime())
	}
	return &t
}
