//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/abi"
)

func stat(c *Call) (uint64, error) { return c.as(newfstatat, atCwd, c.Args[0], c.Args[1]) }

func lstat(c *Call) (uint64, error) {
	return c.as(newfstatat, atCwd, c.Args[0], c.Args[1], unix.AT_SYMLINK_NOFOLLOW)
}

func fstat(c *Call) (uint64, error) {
	statbuf := c.Addr(1)
	d, err := c.File(0)
	if err != nil {
		return 0, err
	}
	a, err := entryOf(d).Attr()
	if err != nil {
		return 0, err
	}
	return 0, c.putStat(&a, statbuf)
}

// statxSync are the bits of AT_STATX_SYNC_TYPE: all say the same here, where
// there is no server to ask.
const statxSync = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC

// statFlags is what fs/stat.c:vfs_statx lets pass.
const statFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH | statxSync

func newfstatat(c *Call) (uint64, error) {
	dirfd, pathname, statbuf, flags := c.FD(0), 1, c.Addr(2), c.Flags(3)
	path, err := c.pathOrNull(pathname, flags)
	if err != nil {
		return 0, err
	}
	// A descriptor alone is fstat, which has no flags to be wrong.
	if flags&^statFlags != 0 && (path != "" || dirfd < 0) {
		return 0, unix.EINVAL
	}
	_, a, err := c.attrAt(dirfd, path, flags, c.Task.Access())
	if err != nil {
		return 0, err
	}
	return 0, c.putStat(&a, statbuf)
}

func (c *Call) putStat(a *vfs.Attr, buf uint64) error {
	p := c.Sys.scratch[:abi.StatSize]
	abi.PutStat(p, (*abi.Stat)(a))
	return c.Write(buf, p)
}

// firstUniqueID is where the numbers of STATX_MNT_ID_UNIQUE begin.
const firstUniqueID = 1 << 31

func statx(c *Call) (uint64, error) {
	dirfd, pathname, flags, mask, buf := c.FD(0), 1, c.Flags(2), c.Uint(3), c.Addr(4)
	path, err := c.pathOrNull(pathname, flags)
	if err != nil {
		return 0, err
	}
	if mask&unix.STATX__RESERVED != 0 || flags&statxSync == statxSync || flags&^statFlags != 0 {
		return 0, unix.EINVAL
	}
	e, a, err := c.attrAt(dirfd, path, flags, c.Task.Access())
	if err != nil {
		return 0, err
	}
	x := abi.Statx{Mask: unix.STATX_BASIC_STATS, AttributesMask: unix.STATX_ATTR_MOUNT_ROOT}
	if a.Btime != (unix.Timespec{}) {
		x.Mask |= unix.STATX_BTIME
	}
	id, root := e.Mount()
	x.MountID, x.Mask = id, x.Mask|unix.STATX_MNT_ID
	if mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		x.MountID, x.Mask = firstUniqueID+id, x.Mask&^unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE
	}
	if root {
		x.Attributes |= unix.STATX_ATTR_MOUNT_ROOT
	}
	p := c.Sys.scratch[:abi.StatxSize]
	abi.PutStatx(p, (*abi.Stat)(&a), x)
	return 0, c.Write(buf, p)
}
