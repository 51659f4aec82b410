//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

func fsync(c *Call) (uint64, error)     { return c.syncFD() }
func fdatasync(c *Call) (uint64, error) { return c.syncFD() }

// msync lets the kernel check its arguments; that the mapping is of a file is
// known, of which is not.
func msync(c *Call) (uint64, error) {
	if n, err := c.Kernel(); err != nil {
		return n, err
	}
	return 0, c.Sys.FS.Flush()
}

func (c *Call) syncFD() (uint64, error) {
	fd := c.FD(0)
	f, d, err := fileOf[fdtable.Syncer](c.Task, fd, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	if l, ok := d.File.(fdtable.Flusher); ok {
		if err := l.Flush(); err != nil {
			return 0, err
		}
	}
	if b, ok := d.File.(fdtable.Blocker); !ok || !b.Blocks() {
		return 0, f.Sync()
	}
	d.Retain() // For the other goroutine, which may outlive the task.
	return 0, c.Go(func() error {
		defer c.Sys.Host.Post(func() { _ = d.Release() })
		return f.Sync()
	}, nil)
}

// sync has nothing to do: what the guest wrote is where others read it.
func syncCall(*Call) (uint64, error) { return 0, nil }

func syncfs(c *Call) (uint64, error) {
	fd := c.FD(0)
	_, err := c.Task.opened(fd)
	return 0, err
}

// sync_file_range is fs/sync.c:sync_file_range, which writes nothing back that
// fsync does not.
func sync_file_range(c *Call) (uint64, error) {
	fd, offset, nbytes, flags := c.FD(0), c.Long(1), c.Long(2), c.Flags(3)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	const known = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if flags&^known != 0 || offset < 0 || nbytes < 0 || offset+nbytes < 0 {
		return 0, unix.EINVAL
	}
	if !plain(d) {
		return 0, unix.ESPIPE
	}
	return 0, nil
}

// plain reports a regular file, block device, directory or link.
func plain(d *fdtable.Description) bool {
	a, err := entryOf(d).Attr()
	if err != nil {
		return false
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFBLK, unix.S_IFDIR, unix.S_IFLNK:
		return true
	}
	return false
}

// readahead and fadvise64 have nothing to prepare: the host does.
func readahead(c *Call) (uint64, error) {
	fd := c.FD(0)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	if !d.Reads() {
		return 0, unix.EBADF
	}
	if a, err := entryOf(d).Attr(); err != nil || !a.IsRegular() && a.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, unix.EINVAL
	}
	return 0, nil
}

// fadvise64 is mm/fadvise.c:generic_fadvise.
func fadvise64(c *Call) (uint64, error) {
	fd, length, advice := c.FD(0), c.Long(2), c.Int(3)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	if e := entryOf(d); e.IsFIFO() {
		return 0, unix.ESPIPE
	}
	if length < 0 || advice < unix.FADV_NORMAL || advice > unix.FADV_NOREUSE {
		return 0, unix.EINVAL
	}
	return 0, nil
}
