//go:build linux

package emulate

import (
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// atCwd is AT_FDCWD as an argument.
const atCwd = 1<<64 + unix.AT_FDCWD

// pathArg reads argument i as the path of an *at call. The empty path is ENOENT
// without AT_EMPTY_PATH in flags (fs/namei.c:getname_flags). EFAULT,
// ENAMETOOLONG.
func (c *Call) pathArg(i, flags int) (string, error) {
	path, err := c.Path(i)
	if err == nil && path == "" && flags&unix.AT_EMPTY_PATH == 0 {
		err = unix.ENOENT
	}
	return path, err
}

// pathOrNull is pathArg for the calls that since 6.11 take a null pointer as
// the empty path (fs/namei.c:getname_maybe_null).
func (c *Call) pathOrNull(i, flags int) (string, error) {
	if c.Args[i] == 0 && flags&unix.AT_EMPTY_PATH != 0 {
		return "", nil
	}
	return c.pathArg(i, flags)
}

// start is the directory a walk of path begins at: dirfd is not even looked at
// if path is absolute. EBADF, ENOTDIR.
func (c *Call) start(dirfd int, path string) (*vfs.Dentry, error) {
	if dirfd == unix.AT_FDCWD || strings.HasPrefix(path, "/") {
		return c.Task.FS.Cwd, nil
	}
	d, err := c.Task.FDs.Get(dirfd)
	if err != nil {
		return nil, err
	}
	e := entryOf(d)
	if _, ok := e.Node.(vfs.Directory); !ok {
		return nil, unix.ENOTDIR
	}
	return e, nil
}

// walkAt resolves a path as w says; w's Root, Start and Cred are filled in here.
// ENOENT (path is empty), EBADF, and what Walk.Do gives.
func (c *Call) walkAt(dirfd int, path string, w vfs.Walk) (vfs.Found, error) {
	if path == "" {
		return vfs.Found{}, unix.ENOENT
	}
	start, err := c.start(dirfd, path)
	if err != nil {
		return vfs.Found{}, err
	}
	w.Root, w.Start, w.Cred = c.Task.FS.Root, start, c.Task.Access()
	return w.Do(path)
}

// entryAt finds the entry that (dirfd, path, flags) names, as AT_EMPTY_PATH,
// AT_SYMLINK_NOFOLLOW say. With the empty path that is the descriptor itself,
// O_PATH or not, or the working directory.
func (c *Call) entryAt(dirfd int, path string, flags int) (*vfs.Dentry, error) {
	return c.entryAs(dirfd, path, flags, c.Task.Access())
}

// entryAs is entryAt with another identity (access(2) uses the real one).
func (c *Call) entryAs(dirfd int, path string, flags int, cred vfs.Cred) (*vfs.Dentry, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if dirfd == unix.AT_FDCWD {
			return c.Task.FS.Cwd, nil
		}
		d, err := c.Task.FDs.Get(dirfd)
		if err != nil {
			return nil, err
		}
		return entryOf(d), nil
	}
	if path == "" {
		return nil, unix.ENOENT
	}
	start, err := c.start(dirfd, path)
	if err != nil {
		return nil, err
	}
	w := vfs.Walk{Root: c.Task.FS.Root, Start: start, Cred: cred,
		NoFollow: flags&unix.AT_SYMLINK_NOFOLLOW != 0}
	found, err := w.Do(path)
	return found.Dentry, err
}

// attrAt is entryAs and the entry's attributes. A file of the host's that is
// replaced in between is looked up again.
func (c *Call) attrAt(dirfd int, path string, flags int, cred vfs.Cred) (e *vfs.Dentry, a vfs.Attr, err error) {
	for range estaleTries {
		if e, err = c.entryAs(dirfd, path, flags, cred); err == nil {
			a, err = e.Attr()
		}
		if err != unix.ESTALE {
			break
		}
	}
	return e, a, err
}

// parentAt finds the directory a last component is to be made in, removed from
// or renamed in. A link in the last place is not followed, not even before a
// slash (fs/namei.c:filename_parentat). Found.Dentry is nil if the name is free.
func (c *Call) parentAt(dirfd int, path string) (vfs.Found, error) {
	return c.walkAt(dirfd, path, vfs.Walk{NoFollow: true, Missing: true})
}

// entryOf is the entry of an open description; one that was not opened by name
// gets a nameless entry around its inode.
func entryOf(d *fdtable.Description) *vfs.Dentry {
	if e, ok := d.Entry.(*vfs.Dentry); ok && e != nil {
		return e
	}
	if n, ok := d.File.(vfs.Node); ok {
		return vfs.NewAnonymous(n, "")
	}
	return vfs.NewAnonymous(anonInode{}, "anon_inode:")
}

// anonInode is the one inode of files that are no file (fs/anon_inodes.c): event
// descriptors, epoll, timers.
type anonInode struct{}

func (anonInode) Attr() (vfs.Attr, error) {
	return vfs.Attr{Dev: anonDev + 1, Ino: 1, Mode: 0o600, Nlink: 1, BlockSize: 4096}, nil
}
