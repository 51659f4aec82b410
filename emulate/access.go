//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func access(c *Call) (uint64, error) { return c.as(faccessat2, atCwd, c.Args[0], c.Args[1]) }

func faccessat(c *Call) (uint64, error) {
	return c.as(faccessat2, c.Args[0], c.Args[1], c.Args[2])
}

// faccessat2 is fs/open.c:do_faccessat: the real identity walks and is asked,
// unless AT_EACCESS.
func faccessat2(c *Call) (uint64, error) {
	dirfd, pathname, mode, flags := c.FD(0), 1, c.Int(2), c.Flags(3)
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
