//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func chmod(c *Call) (uint64, error) { return c.as(fchmodat2, atCwd, c.Args[0], c.Args[1]) }

func fchmodat(c *Call) (uint64, error) {
	return c.as(fchmodat2, c.Args[0], c.Args[1], c.Args[2])
}

func fchmodat2(c *Call) (uint64, error) {
	dirfd, pathname, mode, flags := c.FD(0), 1, c.Uint(2), c.Flags(3)
	e, err := c.changed(dirfd, pathname, flags)
	if err != nil {
		return 0, err
	}
	return 0, c.chmodEntry(e, mode)
}

func fchmod(c *Call) (uint64, error) {
	mode := c.Uint(1)
	e, err := c.opened()
	if err != nil {
		return 0, err
	}
	return 0, c.chmodEntry(e, mode)
}

// changed is the entry that a call with AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH
// is to change. EINVAL: other flags.
func (c *Call) changed(dirfd, pathname, flags int) (*vfs.Dentry, error) {
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return nil, unix.EINVAL
	}
	path, err := c.pathArg(pathname, flags)
	if err != nil {
		return nil, err
	}
	return c.entryAt(dirfd, path, flags)
}

// opened is the entry of descriptor argument 0 for a call that needs more than
// O_PATH. EBADF.
func (c *Call) opened() (*vfs.Dentry, error) {
	d, err := c.Task.opened(c.FD(0))
	if err != nil {
		return nil, err
	}
	return entryOf(d), nil
}

func (c *Call) chmodEntry(e *vfs.Dentry, mode uint32) error {
	s, a, err := settable(e)
	if err != nil {
		return err
	}
	if a.IsSymlink() {
		return unix.EOPNOTSUPP
	}
	return c.setAttr(e, s, a, vfs.Change{Mode: new(mode & 0o7777)})
}

// settable is what notify_change is to change, and how it is now. EROFS,
// EOPNOTSUPP (fs/anon_inodes.c:anon_inode_setattr).
func settable(e *vfs.Dentry) (vfs.AttrSetter, vfs.Attr, error) {
	s, ok := e.Node.(vfs.AttrSetter)
	if !ok || e.ReadOnly() {
		if _, anon := e.Node.(anonInode); anon {
			return nil, vfs.Attr{}, unix.EOPNOTSUPP
		}
		return nil, vfs.Attr{}, unix.EROFS
	}
	a, err := e.Attr()
	return s, a, err
}

// setAttr changes mode and owner as fs/attr.c:setattr_prepare allows: only the
// owner changes the mode, only to a group he is in the group, and nobody but
// root the owner; S_ISGID is for members of the group.
func (c *Call) setAttr(e *vfs.Dentry, s vfs.AttrSetter, a vfs.Attr, ch vfs.Change) error {
	cred := c.Task.Access()
	if cred.UID != 0 {
		gid := a.GID
		if ch.GID != nil {
			gid = *ch.GID
		}
		switch {
		case ch.UID != nil && (cred.UID != a.UID || *ch.UID != a.UID),
			ch.GID != nil && (cred.UID != a.UID || gid != a.GID && !cred.InGroup(gid)),
			ch.Mode != nil && cred.UID != a.UID:
			return unix.EPERM
		}
		if ch.Mode != nil && !cred.InGroup(gid) {
			*ch.Mode &^= unix.S_ISGID
		}
	}
	if err := s.SetAttr(ch); err != nil {
		return err
	}
	if ch.Mode != nil || ch.UID != nil || ch.GID != nil {
		c.Sys.notify(e, unix.IN_ATTRIB)
	}
	return nil
}
