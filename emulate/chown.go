//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func chown(c *Call) (uint64, error) {
	return c.as(fchownat, atCwd, c.Args[0], c.Args[1], c.Args[2])
}

func lchown(c *Call) (uint64, error) {
	return c.as(fchownat, atCwd, c.Args[0], c.Args[1], c.Args[2], unix.AT_SYMLINK_NOFOLLOW)
}

func fchownat(c *Call) (uint64, error) {
	dirfd, pathname, owner, group, flags := c.FD(0), 1, c.Uint(2), c.Uint(3), c.Flags(4)
	e, err := c.changed(dirfd, pathname, flags)
	if err != nil {
		return 0, err
	}
	return 0, c.chownEntry(e, owner, group)
}

func fchown(c *Call) (uint64, error) {
	owner, group := c.Uint(1), c.Uint(2)
	e, err := c.opened()
	if err != nil {
		return 0, err
	}
	return 0, c.chownEntry(e, owner, group)
}

// chownEntry is fs/open.c:chown_common: whatever is not a directory loses its
// set-id bits, also if nothing else changes and root does it.
func (c *Call) chownEntry(e *vfs.Dentry, owner, group uint32) error {
	s, a, err := settable(e)
	if err != nil {
		return err
	}
	var ch vfs.Change
	if owner != keep {
		ch.UID = &owner
	}
	if group != keep {
		ch.GID = &group
	}
	if kept := withoutSetID(a, c.Task.Access()); !a.IsDir() && kept != a.Mode {
		ch.Mode = new(kept & 0o7777)
	}
	return c.setAttr(e, s, a, ch)
}

// withoutSetID is a's mode without S_ISUID, and without S_ISGID where that means
// a program's group and not mandatory locking (fs/attr.c:setattr_should_drop_sgid).
func withoutSetID(a vfs.Attr, cred vfs.Cred) uint32 {
	mode := a.Mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 || cred.UID != 0 && !cred.InGroup(a.GID) {
		mode &^= unix.S_ISGID
	}
	return mode
}
