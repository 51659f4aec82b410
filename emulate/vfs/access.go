//go:build linux

package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Cred is whom permission checks are for. UID 0 passes them all but execute on
// a file nobody may execute (CAP_DAC_OVERRIDE).
type Cred struct {
	UID, GID uint32
	Groups   []uint32
}

// Bits of the mask Access checks.
const (
	MayRead  = 4
	MayWrite = 2
	MayExec  = 1
)

// InGroup reports whether gid is the group or a supplementary group.
func (c Cred) InGroup(gid uint32) bool { return c.GID == gid || slices.Contains(c.Groups, gid) }

// Access checks permission bits: mask of MayRead, MayWrite, MayExec. EACCES.
func Access(a Attr, c Cred, mask uint32) error {
	if c.UID == 0 {
		if mask&MayExec == 0 || a.IsDir() || a.Mode&0o111 != 0 {
			return nil
		}
		return unix.EACCES
	}
	bits := a.Mode
	if c.UID == a.UID {
		bits >>= 6
	} else if c.InGroup(a.GID) {
		bits >>= 3
	}
	if bits&mask != mask {
		return unix.EACCES
	}
	return nil
}

// sticky reports whether dir's sticky bit keeps c from removing or replacing
// the inode a (include/linux/fs.h:check_sticky).
func sticky(dir, a Attr, c Cred) bool {
	return dir.Mode&unix.S_ISVTX != 0 && c.UID != 0 && c.UID != a.UID && c.UID != dir.UID
}

// mayLink is the kernel with fs.protected_hardlinks on, as distributions have
// it: only an inode one could write anyway gets a further name. EPERM.
func mayLink(a Attr, c Cred) error {
	if c.UID == 0 || c.UID == a.UID {
		return nil
	}
	risky := a.Mode&unix.S_ISUID != 0 || a.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP
	if !a.IsRegular() || risky || Access(a, c, MayRead|MayWrite) != nil {
		return unix.EPERM
	}
	return nil
}
