//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func link(c *Call) (uint64, error) { return c.as(linkat, atCwd, c.Args[0], atCwd, c.Args[1]) }

// linkat is fs/namei.c:do_linkat.
func linkat(c *Call) (uint64, error) {
	olddirfd, oldpath, newdirfd, newpath, flags := c.FD(0), 1, c.FD(2), 3, c.Flags(4)
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

func symlink(c *Call) (uint64, error) { return c.as(symlinkat, c.Args[0], atCwd, c.Args[1]) }

func symlinkat(c *Call) (uint64, error) {
	target, newdirfd, linkpath := 0, c.FD(1), 2
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

func unlink(c *Call) (uint64, error) { return c.as(unlinkat, atCwd, c.Args[0]) }

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
	return c.as(readlinkat, atCwd, c.Args[0], c.Args[1], c.Args[2])
}

// readlinkat is fs/stat.c:do_readlinkat. An empty path is the descriptor.
func readlinkat(c *Call) (uint64, error) {
	dirfd, pathname, buf, bufsiz := c.FD(0), 1, c.Addr(2), c.Int(3)
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
