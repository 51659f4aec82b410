//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func link(c *Call) (uint64, error) {
	oldpath, newpath := 0, 1
	return c.linkAt(unix.AT_FDCWD, oldpath, unix.AT_FDCWD, newpath, 0)
}

func linkat(c *Call) (uint64, error) {
	olddirfd, oldpath, newdirfd, newpath, flags := c.FD(0), 1, c.FD(2), 3, c.Flags(4)
	return c.linkAt(olddirfd, oldpath, newdirfd, newpath, flags)
}

// linkAt is fs/namei.c:do_linkat.
func (c *Call) linkAt(olddirfd, oldpath, newdirfd, newpath, flags int) (uint64, error) {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	path, err := c.pathArg(oldpath, flags)
	if err != nil {
		return 0, err
	}
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	old, err := c.entryAt(olddirfd, path, flags)
	if err != nil {
		return 0, err
	}
	f, err := c.newName(newdirfd, newpath, false)
	if err != nil {
		return 0, err
	}
	_, err = f.Dir.Link(c.Task.Access(), f.Name, old)
	if err == unix.ESTALE { // Of the host's, and removed.
		err = unix.ENOENT
	}
	if err != nil {
		return 0, err
	}
	c.Sys.notifyInode(old.Node, unix.IN_ATTRIB)
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE, 0)
	return 0, nil
}

func symlink(c *Call) (uint64, error) {
	target, linkpath := 0, 1
	return c.symlinkAt(target, unix.AT_FDCWD, linkpath)
}

func symlinkat(c *Call) (uint64, error) {
	target, newdirfd, linkpath := 0, c.FD(1), 2
	return c.symlinkAt(target, newdirfd, linkpath)
}

func (c *Call) symlinkAt(target, newdirfd, linkpath int) (uint64, error) {
	text, err := c.pathArg(target, 0)
	if err != nil {
		return 0, err
	}
	f, err := c.newName(newdirfd, linkpath, false)
	if err != nil {
		return 0, err
	}
	if _, err := f.Dir.Symlink(c.Task.Access(), f.Name, text); err != nil {
		return 0, err
	}
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE, 0)
	return 0, nil
}

func unlink(c *Call) (uint64, error) {
	pathname := 0
	return c.unlinkAt(unix.AT_FDCWD, pathname)
}

func unlinkat(c *Call) (uint64, error) {
	dirfd, pathname, flags := c.FD(0), 1, c.Flags(2)
	switch flags {
	case 0:
		return c.unlinkAt(dirfd, pathname)
	case unix.AT_REMOVEDIR:
		return c.rmdirAt(dirfd, pathname)
	}
	return 0, unix.EINVAL
}

// unlinkAt is fs/namei.c:do_unlinkat.
func (c *Call) unlinkAt(dirfd, pathname int) (uint64, error) {
	path, err := c.pathArg(pathname, 0)
	if err != nil {
		return 0, err
	}
	f, err := c.parentAt(dirfd, path)
	switch {
	case err != nil:
		return 0, err
	case special(f.Name):
		return 0, unix.EISDIR
	case f.Dir.ReadOnly():
		return 0, unix.EROFS
	case f.Dentry == nil:
		return 0, unix.ENOENT
	case f.Slash && f.Dentry.IsDir():
		return 0, unix.EISDIR
	case f.Slash:
		return 0, unix.ENOTDIR
	}
	if err := f.Dir.Unlink(c.Task.Access(), f.Name); err != nil {
		return 0, err
	}
	c.Sys.notifyUnlink(f.Dentry)
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_DELETE, 0)
	return 0, nil
}

// special reports a last component that is no name: "/", "." or "..".
func special(name string) bool { return name == "" || name == "." || name == ".." }

func readlink(c *Call) (uint64, error) {
	pathname, buf, bufsiz := 0, c.Addr(1), c.Int(2)
	return c.readlinkAt(unix.AT_FDCWD, pathname, buf, bufsiz)
}

func readlinkat(c *Call) (uint64, error) {
	dirfd, pathname, buf, bufsiz := c.FD(0), 1, c.Addr(2), c.Int(3)
	return c.readlinkAt(dirfd, pathname, buf, bufsiz)
}

// readlinkAt is fs/stat.c:do_readlinkat. An empty path is the descriptor.
func (c *Call) readlinkAt(dirfd, pathname int, buf uint64, bufsiz int) (uint64, error) {
	if bufsiz <= 0 {
		return 0, unix.EINVAL
	}
	path, err := c.pathArg(pathname, unix.AT_EMPTY_PATH)
	if err != nil {
		return 0, err
	}
	e, err := c.entryAt(dirfd, path, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return 0, err
	}
	l, ok := e.Node.(vfs.Readlinker)
	switch {
	case e.IsSymlink() && ok:
	case path == "":
		return 0, unix.ENOENT
	default:
		return 0, unix.EINVAL
	}
	target, err := l.Readlink()
	if err != nil {
		return 0, err
	}
	n := min(len(target), bufsiz)
	return uint64(n), c.Write(buf, []byte(target[:n]))
}
