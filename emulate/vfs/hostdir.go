//go:build linux

package vfs

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadDir is [Directory].
func (n *hostNode) ReadDir() ([]DirEntry, error) {
	h := n.h
	if n.list != nil && n.epoch == h.epoch {
		return n.list, nil
	}
	if !n.attr.IsDir() {
		return nil, unix.ENOTDIR
	}
	dir, err := n.acquire(asPath) // for two calls
	if err != nil {
		return nil, err
	}
	defer h.release(dir)
	fd, err := h.openat(dir.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == unix.EACCES { // To read "." one must search it, to read the directory not.
		fd, err = h.openat(unix.AT_FDCWD, procFD(dir.fd), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	list, err := h.readDir(fd)
	if err != nil || !h.Frozen {
		return list, err
	}
	if h.listed += len(list); h.listed > maxListed {
		h.listed = len(list)
		h.epoch++
	}
	n.list, n.epoch = list, h.epoch
	return list, nil
}

// direntBuffer is how much of a directory one getdents64 call takes.
const direntBuffer = 32 << 10

func (h *host) readDir(fd int) ([]DirEntry, error) {
	if h.buf == nil {
		h.buf = make([]byte, direntBuffer)
	}
	list := []DirEntry{}
	for {
		size, err := again(func() (int, error) { return unix.Getdents(fd, h.buf) })
		if err != nil || size <= 0 {
			if h.Repeatable {
				slices.SortFunc(list, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
			}
			return list, err
		}
		// struct linux_dirent64: ino, off, reclen, type, name.
		for p := h.buf[:size]; len(p) > 19; {
			ino := binary.NativeEndian.Uint64(p)
			length := int(binary.NativeEndian.Uint16(p[16:]))
			kind := uint32(p[18]) << 12
			name, _, _ := bytes.Cut(p[19:length], []byte{0})
			p = p[length:]
			if s := string(name); s != "." && s != ".." {
				list = append(list, DirEntry{Name: s, Ino: ino, Type: kind})
			}
		}
	}
}

// hostRW is a hostNode of a mount with Write: what may be changed has the
// methods to do it.
type hostRW struct{ *hostNode }

// node is n as the world outside has it.
func (n *hostNode) node() Node {
	if n.h.Write {
		return hostRW{n}
	}
	return n
}

// own is the hostNode of a Node of the same mount. EXDEV.
func (h *host) own(node Node) (*hostNode, error) {
	if n, ok := node.(hostRW); ok && n.h == h {
		return n.hostNode, nil
	}
	return nil, unix.EXDEV
}

// made gives the node of a new inode, after setting its owner, and its mode where
// the umask of the warden's process has come between.
func (n *hostNode) made(at place, fd int, mode uint32, o Owner) (Node, error) {
	n.changed()
	var a Attr
	if err := n.h.stat(fd, at.name, &a); err != nil {
		return nil, err
	}
	m, err := n.h.node(at, a)
	if err != nil {
		return nil, err
	}
	var c Change
	if a.Mode&0o7777 != mode&0o7777 && !a.IsSymlink() {
		c.Mode = &mode
	}
	if n.h.Chown {
		c.UID, c.GID = &o.UID, &o.GID
	}
	return m.node(), hostRW{m}.SetAttr(c)
}

// Create is [Creator]. EPERM: devices.
func (n hostRW) Create(name string, mode uint32, rdev uint64, o Owner) (Node, error) {
	at, dirfd, err := n.name(name)
	if err != nil {
		return nil, err
	}
	fd := -1
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, 0:
		if tooMany() {
			return nil, unix.ENFILE
		}
		fd, err = n.h.openat(dirfd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode&0o777)
	case unix.S_IFIFO, unix.S_IFSOCK:
		err = unix.Mknodat(dirfd, name, mode&^setID, 0)
	default:
		err = unix.EPERM
	}
	if err != nil {
		return nil, err
	}
	if fd < 0 {
		return n.made(at, dirfd, mode, o)
	}
	var a Attr
	if err := n.h.stat(fd, "", &a); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	m, err := n.h.node(at, a)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// The descriptor waits for the open that made the file: git makes files
	// with mode 0444 and writes them.
	m.fds[toWrite] = newHostFD(m, toWrite, fd)
	n.h.keep(m.fds[toWrite])
	return n.made(at, dirfd, mode, o)
}

// Mkdir is [Mkdirer].
func (n hostRW) Mkdir(name string, mode uint32, o Owner) (Node, error) {
	at, dirfd, err := n.name(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(dirfd, name, mode&0o777); err != nil {
		return nil, err
	}
	return n.made(at, dirfd, mode, o)
}

// Symlink is [Symlinker].
func (n hostRW) Symlink(name, target string, o Owner) (Node, error) {
	at, dirfd, err := n.name(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Symlinkat(target, dirfd, name); err != nil {
		return nil, err
	}
	return n.made(at, dirfd, 0, o)
}

// Link is [Linker].
func (n hostRW) Link(name string, node Node) error {
	m, err := n.h.own(node)
	if err != nil {
		return err
	}
	held, err := n.acquire(asPath) // m's directories do not take its place
	if err != nil {
		return err
	}
	defer n.h.release(held)
	at, dirfd, err := n.name(name)
	if err != nil {
		return err
	}
	if m.gone {
		return unix.ENOENT
	}
	err = m.each(func(from int, old string) error { return unix.Linkat(from, old, dirfd, name, 0) })
	if err != nil {
		return err
	}
	n.changed()
	m.changed()
	if a, err := m.Attr(); err == nil && a.Nlink > 1 {
		m.place(at)
	}
	return nil
}

// Unlink is [Unlinker].
func (n hostRW) Unlink(name string) error { return n.remove(name, 0) }

// Rmdir is [Rmdirer].
func (n hostRW) Rmdir(name string) error { return n.remove(name, unix.AT_REMOVEDIR) }

func (n *hostNode) remove(name string, flags int) error {
	at, dirfd, err := n.name(name)
	if err != nil {
		return err
	}
	m := n.h.known(at, dirfd)
	if err := unix.Unlinkat(dirfd, name, flags); err != nil {
		return err
	}
	n.changed()
	m.unlinked(at)
	return nil
}

// known is the node under a name, if somebody may hold it.
func (h *host) known(at place, dirfd int) *hostNode {
	var a Attr
	if h.stat(dirfd, at.name, &a) != nil {
		return nil
	}
	n := h.nodes[inode{a.Dev, a.Ino}].Value()
	if n != nil {
		n.attr = a
	}
	return n
}

// unlinked takes note that a name of n is gone.
func (n *hostNode) unlinked(at place) {
	if n == nil {
		return
	}
	n.unplace(at)
	n.changed()
	if n.attr.Nlink--; n.attr.Nlink == 0 || n.attr.IsDir() {
		n.lost()
	}
}

// Rename is [Renamer]. EINVAL: flags other than RENAME_NOREPLACE and
// RENAME_EXCHANGE.
func (n hostRW) Rename(name string, dir Node, newname string, flags uint32) error {
	to, err := n.h.own(dir)
	if err != nil {
		return err
	}
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return unix.EINVAL
	}
	held, err := to.acquire(asPath) // n's does not take its place
	if err != nil {
		return err
	}
	defer n.h.release(held)
	newAt, tofd, err := to.name(newname)
	if err != nil {
		return err
	}
	at, fromfd, err := n.name(name)
	if err != nil {
		return err
	}
	moved, over := n.h.known(at, fromfd), n.h.known(newAt, tofd)
	if err := unix.Renameat2(fromfd, name, tofd, newname, uint(flags)); err != nil {
		return err
	}
	n.changed()
	to.changed()
	if moved != nil && moved == over { // Two links to one inode: nothing happened.
		return nil
	}
	if moved != nil {
		moved.changed()
		moved.unplace(at)
		moved.place(newAt)
	}
	if flags&unix.RENAME_EXCHANGE == 0 {
		over.unlinked(newAt)
	} else if over != nil {
		over.changed()
		over.unplace(newAt)
		over.place(at)
	}
	return nil
}
