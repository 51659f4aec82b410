//go:build linux

package emulate

import (
	"path"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func rename(c *Call) (uint64, error) {
	return c.as(renameat2, atCwd, c.Args[0], atCwd, c.Args[1])
}

func renameat(c *Call) (uint64, error) {
	return c.as(renameat2, c.Args[0], c.Args[1], c.Args[2], c.Args[3])
}

// renameat2 is fs/namei.c:do_renameat2. RENAME_WHITEOUT is EINVAL, as on a file
// system that has no whiteouts.
func renameat2(c *Call) (uint64, error) {
	olddirfd, oldpath, newdirfd, newpath, flags := c.FD(0), 1, c.FD(2), 3, c.Uint(4)
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 ||
		flags == unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE {
		return 0, unix.EINVAL
	}
	oldname, err := c.pathArg(oldpath, 0)
	if err != nil {
		return 0, err
	}
	newname, newerr := c.pathArg(newpath, 0)
	from, err := c.parentAt(olddirfd, oldname)
	olderr := lastTooLong(oldname, &err)
	if err == nil {
		err = newerr
	}
	if err != nil {
		return 0, err
	}
	to, err := c.parentAt(newdirfd, newname)
	newerr = lastTooLong(newname, &err)
	switch {
	case err != nil:
		return 0, err
	case newerr != nil && olderr == nil && special(from.Name):
		return 0, unix.EBUSY
	case olderr != nil && newerr == nil && special(to.Name):
		if flags&unix.RENAME_NOREPLACE != 0 {
			return 0, unix.EEXIST
		}
		return 0, unix.EBUSY
	case olderr != nil:
		return 0, olderr
	case newerr != nil && from.Dentry == nil:
		return 0, unix.ENOENT
	case newerr != nil:
		return 0, newerr
	}
	if err := mayRename(from, to, flags); err != nil {
		return 0, err
	}
	if err := from.Dir.Rename(c.Task.Access(), from.Name, to.Dir, to.Name, flags); err != nil {
		return 0, err
	}
	c.Sys.notifyMove(from, to, flags&unix.RENAME_EXCHANGE != 0)
	return 0, nil
}

// lastTooLong takes out of err what the last part of a path has caused: both paths
// are followed before the last part of either is looked up.
func lastTooLong(name string, err *error) (late error) {
	if *err == unix.ENAMETOOLONG && len(path.Base(name)) > unix.NAME_MAX {
		late, *err = *err, nil
	}
	return late
}

// mayRename is what do_renameat2 checks before the file system is asked, in its
// order.
func mayRename(from, to vfs.Found, flags uint32) error {
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	case !from.Dir.SameMount(to.Dir):
		return unix.EXDEV
	case special(from.Name):
		return unix.EBUSY
	case special(to.Name) && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case special(to.Name):
		return unix.EBUSY
	case from.Dir.ReadOnly():
		return unix.EROFS
	case from.Dentry == nil:
		return unix.ENOENT
	case to.Dentry != nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case to.Dentry == nil && exchange:
		return unix.ENOENT
	case exchange && to.Slash && !to.Dentry.IsDir():
		return unix.ENOTDIR
	case !from.Dentry.IsDir() && (from.Slash || to.Slash && !exchange):
		return unix.ENOTDIR
	}
	return nil
}
