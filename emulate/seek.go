//go:build linux

package emulate

import (
	"math"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

func lseek(c *Call) (uint64, error) {
	fd, offset, whence := c.FD(0), c.Long(1), c.Int(2)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	if whence < 0 || whence > unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	if f, ok := d.File.(fdtable.Seeker); ok {
		at, err := f.Seek(d, offset, whence)
		return uint64(at), err
	}
	at, err := seekFile(d, offset, whence)
	if err == nil {
		d.Offset = at
	}
	return uint64(at), err
}

// The files of events have no offset, and yet their lseek(2) succeeds
// (fs/read_write.c:noop_llseek).

func (*eventCounter) Seek(*fdtable.Description, int64, int) (int64, error) { return 0, nil }
func (*timerFile) Seek(*fdtable.Description, int64, int) (int64, error)    { return 0, nil }
func (*signalFile) Seek(*fdtable.Description, int64, int) (int64, error)   { return 0, nil }
func (*epoll) Seek(*fdtable.Description, int64, int) (int64, error)        { return 0, nil }

// seekFile is fs/read_write.c:generic_file_llseek_size.
func seekFile(d *fdtable.Description, offset int64, whence int) (int64, error) {
	s, ok := d.File.(fdtable.Sizer)
	if !ok {
		return 0, unix.ESPIPE
	}
	size, err := s.Size()
	if err != nil {
		return 0, err
	}
	switch whence {
	case unix.SEEK_CUR:
		return addOffset(d.Offset, offset)
	case unix.SEEK_END:
		return addOffset(size, offset)
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if offset < 0 || offset >= size {
			return 0, unix.ENXIO
		}
		if h, ok := d.File.(fdtable.HoleSeeker); ok {
			return h.SeekHole(offset, whence)
		}
		if whence == unix.SEEK_HOLE {
			return size, nil
		}
	}
	return addOffset(0, offset)
}

// addOffset is EINVAL below 0 and, as a sum of two's complement, beyond the end.
func addOffset(base, offset int64) (int64, error) {
	if offset > math.MaxInt64-base || base+offset < 0 {
		return 0, unix.EINVAL
	}
	return base + offset, nil
}
