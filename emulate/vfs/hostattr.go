//go:build linux

package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// setID are the bits a guest's file never has on the host.
const setID = unix.S_ISUID | unix.S_ISGID

// SetAttr is [AttrSetter]. EPERM: a change of owner without Chown.
func (n hostRW) SetAttr(c Change) error {
	if c == (Change{}) {
		return nil
	}
	defer n.changed()
	return n.pin(func(fd int) error {
		if err := n.setOwner(fd, c); err != nil {
			return err
		}
		if c.Mode != nil && !n.attr.IsSymlink() {
			mode := *c.Mode & 0o7777
			if !n.attr.IsDir() {
				mode &^= setID
			}
			if err := unix.Chmod(procFD(fd), mode); err != nil {
				return err
			}
		}
		if c.Atime == nil && c.Mtime == nil {
			return nil
		}
		ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
		for i, t := range []*unix.Timespec{c.Atime, c.Mtime} {
			if t != nil {
				ts[i] = *t
			}
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, procFD(fd), ts, 0)
	})
}

func (n *hostNode) setOwner(fd int, c Change) error {
	uid, gid := -1, -1
	if c.UID != nil && *c.UID != n.attr.UID {
		uid = int(*c.UID)
	}
	if c.GID != nil && *c.GID != n.attr.GID {
		gid = int(*c.GID)
	}
	switch {
	case uid < 0 && gid < 0:
		return nil
	case !n.h.Chown:
		return unix.EPERM
	}
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

// Truncate is [Truncater].
func (n hostRW) Truncate(size int64) error {
	f, err := n.Open(unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.(*hostFile).Truncate(size)
}

// maxXattr is XATTR_SIZE_MAX and XATTR_LIST_MAX of include/uapi/linux/limits.h.
const maxXattr = 64 << 10

// Xattr is [Xattrer].
func (n *hostNode) Xattr(name string) ([]byte, error) {
	return n.xattr(func(path string, p []byte) (int, error) { return unix.Getxattr(path, name, p) })
}

// ListXattr is [Xattrer].
func (n *hostNode) ListXattr() ([]string, error) {
	p, err := n.xattr(unix.Listxattr)
	if err != nil || len(p) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(p), "\x00"), "\x00"), nil
}

func (n *hostNode) xattr(get func(path string, p []byte) (int, error)) ([]byte, error) {
	var p []byte
	err := n.pin(func(fd int) error {
		size, err := get(procFD(fd), nil)
		if err != nil || size == 0 {
			return err
		}
		p = make([]byte, maxXattr)
		size, err = get(procFD(fd), p)
		if err == nil {
			p = append([]byte(nil), p[:size]...)
		}
		return err
	})
	return p, err
}

// SetXattr is [Xattrer]. EROFS, EPERM: names outside "user.".
func (n *hostNode) SetXattr(name string, value []byte, flags int) error {
	return n.changeXattr(name, func(path string) error { return unix.Setxattr(path, name, value, flags) })
}

// RemoveXattr is [Xattrer].
func (n *hostNode) RemoveXattr(name string) error {
	return n.changeXattr(name, func(path string) error { return unix.Removexattr(path, name) })
}

func (n *hostNode) changeXattr(name string, do func(path string) error) error {
	switch {
	case !n.h.Write:
		return unix.EROFS
	case !strings.HasPrefix(name, "user."):
		return unix.EPERM
	}
	defer n.changed()
	return n.pin(func(fd int) error { return do(procFD(fd)) })
}
