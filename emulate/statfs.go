//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func statfs(c *Call) (uint64, error) {
	buf := c.Addr(1)
	e, err := c.byPath()
	if err != nil {
		return 0, err
	}
	return 0, c.putStatfs(e, buf)
}

func fstatfs(c *Call) (uint64, error) {
	buf := c.Addr(1)
	d, err := c.File(0)
	if err != nil {
		return 0, err
	}
	return 0, c.putStatfs(entryOf(d), buf)
}

// ST_VALID says that the other flags are filled in (include/linux/statfs.h).
const stValid = 0x20

func (c *Call) putStatfs(e *vfs.Dentry, buf uint64) error {
	s := unix.Statfs_t{Bsize: 4096, Frsize: 4096, Namelen: unix.NAME_MAX}
	if f, ok := e.Node.(vfs.StatFSer); ok {
		var err error
		if s, err = f.StatFS(); err != nil {
			return err
		}
	}
	s.Flags |= stValid
	s.Spare = [4]int64{}
	return c.WriteValue(buf, s) // the layout is the same on all 64-bit machines
}

func name_to_handle_at(c *Call) (uint64, error) {
	dirfd, pathname, flags := c.FD(0), 1, c.Flags(4)
	const handleFlags = 0x203 // AT_HANDLE_FID, _MNT_ID_UNIQUE, _CONNECTABLE
	const known = unix.AT_SYMLINK_FOLLOW | unix.AT_EMPTY_PATH | handleFlags
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	path, err := c.pathArg(pathname, flags)
	if err != nil {
		return 0, err
	}
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	if _, err := c.entryAt(dirfd, path, flags); err != nil {
		return 0, err
	}
	return 0, unix.EOPNOTSUPP
}
