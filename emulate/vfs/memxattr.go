//go:build linux

package vfs

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattrBytes is what all attributes of an inode may hold, names included:
// xfs's and btrfs's order of magnitude.
const maxXattrBytes = 64 << 10

// xattrOf checks an attribute's name and that the inode may have it: user.* is
// for regular files and directories (fs/xattr.c:xattr_permission).
func (n *memNode) xattrOf(name string) error {
	space, rest, _ := strings.Cut(name, ".")
	switch space {
	case "user":
		if n.data == nil && n.names == nil {
			return unix.EPERM
		}
	case "trusted", "security":
	default:
		return unix.EOPNOTSUPP
	}
	if rest == "" {
		return unix.EINVAL
	}
	return nil
}

func (n *memNode) xattrBytes() (sum int64) {
	for name, v := range n.xattrs {
		sum += int64(len(name) + len(v))
	}
	return sum
}

func (n *memNode) Xattr(name string) ([]byte, error) {
	if err := n.xattrOf(name); err == unix.EPERM {
		return nil, unix.ENODATA
	} else if err != nil {
		return nil, err
	}
	v, ok := n.xattrs[name]
	if !ok {
		return nil, unix.ENODATA
	}
	return v, nil
}

// SetXattr sets name under XATTR_CREATE or XATTR_REPLACE. EEXIST, ENODATA,
// ENOSPC, EPERM, EOPNOTSUPP.
func (n *memNode) SetXattr(name string, value []byte, flags int) error {
	if err := n.xattrOf(name); err != nil {
		return err
	}
	old, exists := n.xattrs[name]
	switch {
	case exists && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case !exists && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	}
	grown := int64(len(value) - len(old))
	if !exists {
		grown += int64(len(name))
	}
	if grown > 0 && (n.xattrBytes()+grown > maxXattrBytes || grown > n.fs.quota.room()) {
		return unix.ENOSPC
	}
	n.fs.quota.add(grown, 0)
	if n.xattrs == nil {
		n.xattrs = make(map[string][]byte)
	}
	n.xattrs[name] = slices.Clone(value)
	n.changed()
	return nil
}

func (n *memNode) ListXattr() ([]string, error) { return slices.Sorted(maps.Keys(n.xattrs)), nil }

func (n *memNode) RemoveXattr(name string) error {
	if err := n.xattrOf(name); err != nil {
		return err
	}
	v, ok := n.xattrs[name]
	if !ok {
		return unix.ENODATA
	}
	delete(n.xattrs, name)
	n.fs.quota.add(-int64(len(name)+len(v)), 0)
	n.changed()
	return nil
}
