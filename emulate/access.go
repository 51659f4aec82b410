//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func access(c *Call) (uint64, error) {
	pathname, mode := 0, c.Int(1)
	return c.accessAt(unix.AT_FDCWD, pathname, mode, 0)
}

func faccessat(c *Call) (uint64, error) {
	dirfd, pathname, mode := c.FD(0), 1, c.Int(2)
	return c.accessAt(dirfd, pathname, mode, 0)
}

func faccessat2(c *Call) (uint64, error) {
	dirfd, pathname, mode, flags := c.FD(0), 1, c.Int(2), c.Flags(3)
	return c.accessAt(dirfd, pathname, mode, flags)
}

// accessAt is fs/open.c:do_faccessat: the real identity walks and is asked,
// unless AT_EACCESS.
func (c *Call) accessAt(dirfd, pathname, mode, flags int) (uint64, error) {
	if mode&^0o7 != 0 || flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	path, err := c.pathArg(pathname, flags)
	if err != nil {
		return 0, err
	}
	cred := c.Task.Access()
	if flags&unix.AT_EACCESS == 0 {
		cred.UID, cred.GID = c.Task.Cred.RUID, c.Task.Cred.RGID
	}
	e, a, err := c.attrAt(dirfd, path, flags, cred)
	if err != nil {
		return 0, err
	}
	if err := vfs.Access(a, cred, uint32(mode)); err != nil {
		return 0, err
	}
	if mode&vfs.MayWrite != 0 && e.ReadOnly() && (a.IsRegular() || a.IsDir() || a.IsSymlink()) {
		return 0, unix.EROFS
	}
	return 0, nil
}
