//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

func truncate(c *Call) (uint64, error) {
	length := c.Long(1)
	if length < 0 {
		return 0, unix.EINVAL
	}
	e, err := c.byPath()
	if err != nil {
		return 0, err
	}
	a, err := e.Attr()
	switch {
	case err != nil:
		return 0, err
	case a.IsDir():
		return 0, unix.EISDIR
	case !a.IsRegular():
		return 0, unix.EINVAL
	case e.ReadOnly():
		return 0, unix.EROFS
	}
	if err := vfs.Access(a, c.Task.Access(), vfs.MayWrite); err != nil {
		return 0, err
	}
	return 0, c.truncate(e, nil, a.Size, length)
}

func ftruncate(c *Call) (uint64, error) {
	fd, length := c.FD(0), c.Long(1)
	if length < 0 {
		return 0, unix.EINVAL
	}
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	e := entryOf(d)
	a, err := e.Attr()
	if err != nil {
		return 0, err
	}
	if !a.IsRegular() || !d.Writes() {
		return 0, unix.EINVAL
	}
	return 0, c.truncate(e, d.File, a.Size, length)
}

func (c *Call) truncate(e *vfs.Dentry, file fdtable.File, size, length int64) error {
	if length > size && uint64(length) > c.Task.Limit(unix.RLIMIT_FSIZE) {
		return c.tooBig()
	}
	if err := truncateNode(e.Node, file, length); err != nil {
		return err
	}
	c.Sys.notify(e, unix.IN_MODIFY)
	return nil
}

// truncateNode sets the size of an inode, through file if it is open for writing,
// which no later chmod(2) takes away. EROFS: neither can.
func truncateNode(n vfs.Node, file fdtable.File, size int64) error {
	if t, ok := file.(fdtable.Truncater); ok {
		return t.Truncate(size)
	}
	if t, ok := n.(vfs.Truncater); ok {
		return t.Truncate(size)
	}
	return unix.EROFS
}

// Flags of fallocate(2), include/uapi/linux/falloc.h.
const (
	fallocKeep     = unix.FALLOC_FL_KEEP_SIZE
	fallocPunch    = unix.FALLOC_FL_PUNCH_HOLE
	fallocCollapse = unix.FALLOC_FL_COLLAPSE_RANGE
	fallocZero     = unix.FALLOC_FL_ZERO_RANGE
	fallocInsert   = unix.FALLOC_FL_INSERT_RANGE
	fallocUnshare  = unix.FALLOC_FL_UNSHARE_RANGE
	fallocModes    = fallocPunch | fallocCollapse | fallocZero | fallocInsert | fallocUnshare | 0x80 // WRITE_ZEROES
)

// fallocate is fs/open.c:vfs_fallocate.
func fallocate(c *Call) (uint64, error) {
	fd, mode, offset, length := c.FD(0), c.Uint(1), c.Long(2), c.Long(3)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	if offset < 0 || length <= 0 {
		return 0, unix.EINVAL
	}
	if err := fallocMode(mode); err != nil {
		return 0, err
	}
	e := entryOf(d)
	a, err := e.Attr()
	_, able := d.File.(fdtable.Allocater)
	switch {
	case err != nil:
		return 0, err
	case !d.Writes():
		return 0, unix.EBADF
	case a.Mode&unix.S_IFMT == unix.S_IFIFO:
		return 0, unix.ESPIPE
	case a.IsDir():
		return 0, unix.EISDIR
	case !a.IsRegular() && a.Mode&unix.S_IFMT != unix.S_IFBLK:
		return 0, unix.ENODEV
	case offset+length < 0:
		return 0, unix.EFBIG
	case !able:
		return 0, unix.EOPNOTSUPP
	case mode&fallocKeep == 0 && offset+length > a.Size && uint64(offset+length) > c.Task.Limit(unix.RLIMIT_FSIZE):
		return 0, c.tooBig()
	}
	if err := d.File.(fdtable.Allocater).Allocate(mode, offset, length); err != nil {
		return 0, err
	}
	c.Sys.notify(e, unix.IN_MODIFY)
	return 0, nil
}

// fallocMode checks the combination of modes, which the kernel does before it
// looks at the file.
func fallocMode(mode uint32) error {
	const known = fallocModes | fallocKeep
	if mode&^known != 0 {
		return unix.EOPNOTSUPP
	}
	keep := mode&fallocKeep != 0
	switch mode & fallocModes {
	case 0, fallocUnshare, fallocZero:
		return nil
	case fallocPunch:
		if keep {
			return nil
		}
	case fallocCollapse, fallocInsert, 0x80:
		if !keep {
			return nil
		}
	}
	return unix.EOPNOTSUPP
}
