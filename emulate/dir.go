//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/abi"
)

// maxDirents is how many bytes one getdents gives at most: Linux has no limit,
// but any answer that makes progress is a right one.
const maxDirents = 1 << 20

func getdents(c *Call) (uint64, error) { return c.dirents(abi.AppendDirent) }

func getdents64(c *Call) (uint64, error) { return c.dirents(abi.AppendDirent64) }

// dirents is fs/readdir.c:getdents64. EINVAL: not even one entry fits.
func (c *Call) dirents(put func([]byte, abi.Dirent, int) ([]byte, bool)) (uint64, error) {
	fd, dirp, count := c.FD(0), c.Addr(1), min(c.Int(2), maxDirents)
	f, d, err := fileOf[vfs.DirReader](c.Task, fd, unix.ENOTDIR)
	if err != nil {
		return 0, err
	}
	list, err := f.Entries(d)
	if err != nil {
		return 0, err
	}
	c.Sys.notifyFile(d, unix.IN_ACCESS)
	var p []byte
	var ends []int
	for _, e := range list {
		var ok bool
		p, ok = put(p, abi.Dirent{Ino: e.Ino, Off: e.Next, Type: uint8(e.Type >> 12 & 15), Name: e.Name}, count)
		if !ok {
			break
		}
		ends = append(ends, len(p))
	}
	if len(list) == 0 {
		return 0, nil
	}
	if len(ends) == 0 {
		return 0, unix.EINVAL
	}
	n, err := c.Task.Machine.WriteMemory(p, dirp)
	if err != nil && err != unix.EFAULT {
		return 0, err
	}
	whole := len(ends)
	for whole > 0 && ends[whole-1] > n {
		whole--
	}
	if whole == 0 {
		return 0, unix.EFAULT
	}
	d.Offset = list[whole-1].Next
	return uint64(ends[whole-1]), nil
}

func mkdir(c *Call) (uint64, error) { return c.as(mkdirat, atCwd, c.Args[0], c.Args[1]) }

func mkdirat(c *Call) (uint64, error) {
	dirfd, pathname, mode := c.FD(0), 1, c.Uint(2)
	f, err := c.newName(dirfd, pathname, true)
	if err != nil {
		return 0, err
	}
	if _, err = f.Dir.Mkdir(c.Task.Access(), f.Name, mode&(0o777|unix.S_ISVTX)&^c.Task.FS.Umask); err != nil {
		return 0, err
	}
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE|unix.IN_ISDIR, 0)
	return 0, nil
}

// newName finds where the path in argument i is to be made
// (fs/namei.c:filename_create): EEXIST if it is there, "." and ".." included, and
// only a directory may be made by a name with a slash behind it.
func (c *Call) newName(dirfd, i int, dir bool) (vfs.Found, error) {
	path, err := c.pathArg(i, 0)
	if err != nil {
		return vfs.Found{}, err
	}
	f, err := c.parentAt(dirfd, path)
	switch {
	case err != nil:
	case f.Dentry != nil:
		err = unix.EEXIST
	case f.Slash && !dir:
		err = unix.ENOENT
	case f.Dir.ReadOnly():
		err = unix.EROFS
	}
	return f, err
}

func rmdir(c *Call) (uint64, error) {
	return c.as(unlinkat, atCwd, c.Args[0], unix.AT_REMOVEDIR)
}

// rmdirAt is fs/namei.c:do_rmdir.
func (c *Call) rmdirAt(dirfd, pathname int) (uint64, error) {
	path, err := c.pathArg(pathname, 0)
	if err != nil {
		return 0, err
	}
	f, err := c.parentAt(dirfd, path)
	switch {
	case err != nil:
		return 0, err
	case f.Name == "":
		return 0, unix.EBUSY
	case f.Name == ".":
		return 0, unix.EINVAL
	case f.Name == "..":
		return 0, unix.ENOTEMPTY
	case f.Dir.ReadOnly():
		return 0, unix.EROFS
	case f.Dentry == nil:
		return 0, unix.ENOENT
	}
	if err := f.Dir.Rmdir(c.Task.Access(), f.Name); err != nil {
		return 0, err
	}
	c.Sys.notifyUnlink(f.Dentry)
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_DELETE|unix.IN_ISDIR, 0)
	return 0, nil
}

func mknod(c *Call) (uint64, error) {
	return c.as(mknodat, atCwd, c.Args[0], c.Args[1], c.Args[2])
}

func mknodat(c *Call) (uint64, error) {
	dirfd, pathname, mode, dev := c.FD(0), 1, c.Uint(2), c.Uint(3)
	rdev := uint64(0)
	switch mode & unix.S_IFMT {
	case 0:
		mode |= unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFCHR, unix.S_IFBLK:
		rdev = uint64(dev) // 32 bits of it, which is all the kernel takes
	case unix.S_IFDIR:
		return 0, unix.EPERM
	default:
		return 0, unix.EINVAL
	}
	f, err := c.newName(dirfd, pathname, false)
	if err != nil {
		return 0, err
	}
	// dev 0 is a whiteout, which anybody may make.
	if kind := mode & unix.S_IFMT; kind == unix.S_IFBLK || kind == unix.S_IFCHR && rdev != 0 {
		a, err := f.Dir.Attr()
		if err == nil {
			err = vfs.Access(a, c.Task.Access(), vfs.MayWrite|vfs.MayExec)
		}
		if err == nil && c.Task.Cred.EUID != 0 {
			err = unix.EPERM
		}
		if err != nil {
			return 0, err
		}
	}
	if _, err := f.Dir.Create(c.Task.Access(), f.Name, mode&(unix.S_IFMT|0o7777)&^c.Task.FS.Umask, rdev); err != nil {
		return 0, err
	}
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE, 0)
	return 0, nil
}
