//go:build linux

package vfs

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/fault"
)

// setID are the bits a guest's file never has on the host.
const setID = unix.S_ISUID | unix.S_ISGID

// Attr is statx(2). ESTALE: somebody else took the inode away.
func (n *hostNode) Attr() (Attr, error) {
	if n.known {
		return n.attr, nil
	}
	if !n.seen.IsZero() {
		fresh := time.Since(n.seen) < attrFresh
		n.seen = time.Time{}
		if fresh {
			return n.attr, nil
		}
	}
	var a Attr
	if err := n.stat(&a); err != nil {
		return Attr{}, err
	}
	n.h.steady(&a)
	n.attr, n.known = a, n.h.Frozen
	return a, nil
}

// steady is HostOptions.Repeatable for attributes.
func (h *host) steady(a *Attr) {
	if !h.Repeatable {
		return
	}
	a.Atime = a.Mtime
	if a.IsRegular() {
		a.Blocks = blocksOf(a.Size) * (blockSize / 512)
	}
}

func (n *hostNode) stat(a *Attr) error {
	for _, f := range n.fds {
		if f != nil {
			return n.h.stat(f.fd, "", a)
		}
	}
	if n.gone {
		*a = n.attr
		return nil
	}
	if n == n.h.root { // after Close
		return n.pin(func(fd int) error { return n.h.stat(fd, "", a) })
	}
	return n.each(func(dirfd int, name string) error {
		if err := n.h.stat(dirfd, name, a); err != nil {
			return err
		}
		if (inode{a.Dev, a.Ino}) != n.key() {
			return unix.ESTALE
		}
		return nil
	})
}

// changed forgets the attributes after a write.
func (n *hostNode) changed() { n.known, n.seen, n.list = false, time.Time{}, nil }

// lost is the end of n's last name.
func (n *hostNode) lost() {
	n.changed()
	n.gone, n.attr.Nlink = true, 0
	for _, f := range n.fds {
		if f != nil && f.users == 0 {
			n.h.drop(f)
		}
	}
}

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
		if uid = int(*c.UID); n.h.Owner != nil && *c.UID == n.h.Owner.UID {
			uid = int(n.h.caller.UID)
		}
	}
	if c.GID != nil && *c.GID != n.attr.GID {
		if gid = int(*c.GID); n.h.Owner != nil && *c.GID == n.h.Owner.GID {
			gid = int(n.h.caller.GID)
		}
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

// SetXattr is [Xattrer]. EROFS, EDQUOT, EPERM: names outside "user.".
func (n *hostNode) SetXattr(name string, value []byte, flags int) error {
	return n.changeXattr(name, func(path string) error {
		return n.h.whole(int64(len(value)), func() error { return unix.Setxattr(path, name, value, flags) })
	})
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

// stat is statx(2) of one name, or of fd itself if name is empty, as the guest sees it.
func (h *host) stat(fd int, name string, a *Attr) error {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	if err := fault.At(fault.Host, 0); err != nil {
		return err
	}
	if err := unix.Statx(fd, name, flags, mask, &st); err != nil {
		return err
	}
	*a = Attr{
		Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		Ino: st.Ino, Mode: uint32(st.Mode), Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		Size: int64(st.Size), Blocks: int64(st.Blocks), BlockSize: int64(st.Blksize),
		Atime: stamp(st.Atime), Mtime: stamp(st.Mtime), Ctime: stamp(st.Ctime), Btime: stamp(st.Btime),
	}
	if o := h.Owner; o != nil {
		if a.UID == h.caller.UID {
			a.UID = o.UID
		}
		if a.GID == h.caller.GID {
			a.GID = o.GID
		}
	}
	return nil
}

func stamp(t unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}
