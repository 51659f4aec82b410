//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func chdir(c *Call) (uint64, error) {
	e, err := c.directory()
	if err == nil {
		c.enter(e)
	}
	return 0, err
}

func (c *Call) enter(e *vfs.Dentry) {
	old := c.Task.FS.Cwd
	c.Task.FS.Cwd = e
	c.Sys.notifyLeft(old)
}

func fchdir(c *Call) (uint64, error) {
	d, err := c.File(0)
	if err != nil {
		return 0, err
	}
	e := entryOf(d)
	if err := c.Task.mayEnter(e); err != nil {
		return 0, err
	}
	c.enter(e)
	return 0, nil
}

func chroot(c *Call) (uint64, error) {
	e, err := c.directory()
	if err == nil && c.Task.Cred.EUID != 0 {
		err = unix.EPERM
	}
	if err == nil {
		c.Task.FS.Root = e
	}
	return 0, err
}

// directory is the directory argument 0 names, if the task may enter it.
func (c *Call) directory() (*vfs.Dentry, error) {
	e, err := c.byPath()
	if err != nil {
		return nil, err
	}
	return e, c.Task.mayEnter(e)
}

func (t *Task) mayEnter(e *vfs.Dentry) error {
	if !e.IsDir() {
		return unix.ENOTDIR
	}
	a, err := e.Attr()
	if err != nil {
		return err
	}
	return vfs.Access(a, t.Access(), vfs.MayExec)
}

// getcwd is fs/d_path.c:getcwd: it returns the length with the NUL.
func getcwd(c *Call) (uint64, error) {
	buf, size := c.Addr(0), c.Size(1)
	fs := c.Task.FS
	if fs.Cwd.Unlinked() {
		return 0, unix.ENOENT
	}
	path, ok := fs.Cwd.PathFrom(fs.Root)
	if !ok {
		path = "(unreachable)" + path
	}
	n := uint64(len(path) + 1)
	switch {
	case n > unix.PathMax:
		return 0, unix.ENAMETOOLONG
	case n > size:
		return 0, unix.ERANGE
	}
	return n, c.Write(buf, append([]byte(path), 0))
}

func umask(c *Call) (uint64, error) {
	mask := c.Uint(0)
	old := c.Task.FS.Umask
	c.Task.FS.Umask = mask & 0o777
	return uint64(old), nil
}
