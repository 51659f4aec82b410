//go:build linux

package emulate

import (
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// Limits of include/uapi/linux/limits.h and xattr.h, in bytes.
const (
	maxXattrName  = 255
	maxXattrValue = 65536
	maxXattrList  = 65536
)

// Bits of setxattr(2).
const xattrFlags = unix.XATTR_CREATE | unix.XATTR_REPLACE

// xattrName reads an attribute's name. ERANGE: empty or too long.
func (c *Call) xattrName(i int) (string, error) {
	name, err := c.String(c.Addr(i), maxXattrName+1)
	if err == unix.ENAMETOOLONG || err == nil && name == "" {
		err = unix.ERANGE
	}
	return name, err
}

// finder finds what a call is about; the name of the attribute comes first.
type finder func() (*vfs.Dentry, error)

// The first argument of every call here but the *at ones is a path, a path whose
// last link is not followed, or a descriptor.
func (c *Call) byPath() (*vfs.Dentry, error) { return c.changed(unix.AT_FDCWD, 0, 0) }
func (c *Call) byLink() (*vfs.Dentry, error) {
	return c.changed(unix.AT_FDCWD, 0, unix.AT_SYMLINK_NOFOLLOW)
}

func setxattr(c *Call) (uint64, error)  { return c.setxattr(c.byPath) }
func lsetxattr(c *Call) (uint64, error) { return c.setxattr(c.byLink) }
func fsetxattr(c *Call) (uint64, error) { return c.setxattr(c.opened) }

func (c *Call) setxattr(find finder) (uint64, error) {
	name, value, size, flags := 1, c.Addr(2), c.Size(3), c.Flags(4)
	return 0, c.setxattrTo(name, value, size, flags, find)
}

func setxattrat(c *Call) (uint64, error) {
	name := 3
	a, err := c.xattrArgs()
	if err != nil {
		return 0, err
	}
	return 0, c.setxattrTo(name, a.Value, uint64(a.Size), int(a.Flags), c.byAt)
}

// xattrArgs is struct xattr_args.
type xattrArgs struct {
	Value       uint64
	Size, Flags uint32
}

// xattrArgs reads argument 4, whose size is argument 5. EINVAL, E2BIG, EFAULT.
func (c *Call) xattrArgs() (a xattrArgs, err error) {
	const first = 16 // XATTR_ARGS_SIZE_VER0
	args, usize := c.Addr(4), c.Size(5)
	err = c.readStruct(args, usize, first, &a)
	return a, err
}

// byAt is what the *xattrat calls name: a null or empty path is the
// descriptor, which must then be more than O_PATH.
func (c *Call) byAt() (*vfs.Dentry, error) {
	dirfd, pathname, flags := c.FD(0), 1, c.Flags(2)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return nil, unix.EINVAL
	}
	path, err := c.pathOrNull(pathname, flags)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return c.opened() // EBADF for AT_FDCWD
	}
	return c.entryAt(dirfd, path, flags)
}

// setxattrTo is fs/xattr.c:path_setxattrat: flags, name and value are looked at
// before the path.
func (c *Call) setxattrTo(name int, value, size uint64, how int, find finder) error {
	if how&^xattrFlags != 0 {
		return unix.EINVAL
	}
	key, err := c.xattrName(name)
	if err != nil {
		return err
	}
	if size > maxXattrValue {
		return unix.E2BIG
	}
	p := make([]byte, size)
	if err := c.Read(value, p); err != nil {
		return err
	}
	e, err := find()
	if err != nil {
		return err
	}
	x, err := c.xattrOf(e, key, vfs.MayWrite)
	if err != nil {
		return err
	}
	if err := x.SetXattr(key, p, how); err != nil {
		return err
	}
	c.Sys.notify(e, unix.IN_ATTRIB)
	return nil
}

// xattrOf is fs/xattr.c:xattr_permission and what comes after it: who may read
// or write attribute name of e, and whether there is such a kind of attribute.
func (c *Call) xattrOf(e *vfs.Dentry, name string, mask uint32) (vfs.Xattrer, error) {
	a, err := e.Attr()
	if err != nil {
		return nil, err
	}
	if mask&vfs.MayWrite != 0 && e.ReadOnly() {
		return nil, unix.EROFS
	}
	if err := c.mayXattr(a, name, mask); err != nil {
		return nil, err
	}
	x, ok := e.Node.(vfs.Xattrer)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		if name == prefix {
			return nil, unix.EINVAL
		}
		if strings.HasPrefix(name, prefix) {
			return x, nil
		}
	}
	return nil, unix.EOPNOTSUPP
}

func (c *Call) mayXattr(a vfs.Attr, name string, mask uint32) error {
	cred, write := c.Task.Access(), mask&vfs.MayWrite != 0
	refused := error(unix.ENODATA)
	if write {
		refused = unix.EPERM
	}
	switch {
	case strings.HasPrefix(name, "system."):
		return nil
	case strings.HasPrefix(name, "security."):
		if write && cred.UID != 0 {
			return unix.EPERM
		}
		return nil
	case strings.HasPrefix(name, "trusted."):
		if cred.UID != 0 {
			return refused
		}
		return nil
	case strings.HasPrefix(name, "user."):
		if !a.IsRegular() && !a.IsDir() {
			return refused
		}
		if write && a.IsDir() && a.Mode&unix.S_ISVTX != 0 && cred.UID != 0 && cred.UID != a.UID {
			return unix.EPERM
		}
	}
	return vfs.Access(a, cred, mask)
}

func getxattr(c *Call) (uint64, error)  { return c.getxattr(c.byPath) }
func lgetxattr(c *Call) (uint64, error) { return c.getxattr(c.byLink) }
func fgetxattr(c *Call) (uint64, error) { return c.getxattr(c.opened) }

func (c *Call) getxattr(find finder) (uint64, error) {
	name, value, size := 1, c.Addr(2), c.Size(3)
	return c.getxattrFrom(name, value, size, find)
}

func getxattrat(c *Call) (uint64, error) {
	name := 3
	a, err := c.xattrArgs()
	if err != nil {
		return 0, err
	}
	if a.Flags != 0 {
		return 0, unix.EINVAL
	}
	return c.getxattrFrom(name, a.Value, uint64(a.Size), c.byAt)
}

func (c *Call) getxattrFrom(name int, value, size uint64, find finder) (uint64, error) {
	key, err := c.xattrName(name)
	if err != nil {
		return 0, err
	}
	e, err := find()
	if err != nil {
		return 0, err
	}
	x, err := c.xattrOf(e, key, vfs.MayRead)
	if err != nil {
		return 0, err
	}
	p, err := x.Xattr(key)
	if err != nil {
		return 0, err
	}
	return c.giveSized(p, value, size)
}

// giveSized writes p to a buffer of size bytes; size 0 asks for the length only.
// ERANGE: it does not fit.
func (c *Call) giveSized(p []byte, buf, size uint64) (uint64, error) {
	switch {
	case size == 0:
		return uint64(len(p)), nil
	case uint64(len(p)) > size:
		return 0, unix.ERANGE
	}
	return uint64(len(p)), c.Write(buf, p)
}

func listxattr(c *Call) (uint64, error)   { return c.listxattrOf(c.Addr(1), c.Size(2), c.byPath) }
func llistxattr(c *Call) (uint64, error)  { return c.listxattrOf(c.Addr(1), c.Size(2), c.byLink) }
func flistxattr(c *Call) (uint64, error)  { return c.listxattrOf(c.Addr(1), c.Size(2), c.opened) }
func listxattrat(c *Call) (uint64, error) { return c.listxattrOf(c.Addr(3), c.Size(4), c.byAt) }

func (c *Call) listxattrOf(list, size uint64, find finder) (uint64, error) {
	e, err := find()
	if err != nil {
		return 0, err
	}
	x, ok := e.Node.(vfs.Xattrer)
	if !ok {
		return 0, nil
	}
	names, err := x.ListXattr()
	if err != nil {
		return 0, err
	}
	var p []byte
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.") && c.Task.Access().UID != 0 {
			continue
		}
		p = append(append(p, name...), 0)
	}
	if len(p) > maxXattrList {
		return 0, unix.E2BIG
	}
	return c.giveSized(p, list, size)
}

func removexattr(c *Call) (uint64, error)   { return 0, c.removexattrFrom(1, c.byPath) }
func lremovexattr(c *Call) (uint64, error)  { return 0, c.removexattrFrom(1, c.byLink) }
func fremovexattr(c *Call) (uint64, error)  { return 0, c.removexattrFrom(1, c.opened) }
func removexattrat(c *Call) (uint64, error) { return 0, c.removexattrFrom(3, c.byAt) }

func (c *Call) removexattrFrom(name int, find finder) error {
	key, err := c.xattrName(name)
	if err != nil {
		return err
	}
	e, err := find()
	if err != nil {
		return err
	}
	x, err := c.xattrOf(e, key, vfs.MayWrite)
	if err != nil {
		return err
	}
	if err := x.RemoveXattr(key); err != nil {
		return err
	}
	c.Sys.notify(e, unix.IN_ATTRIB)
	return nil
}
