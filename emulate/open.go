//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Flags of open(2) that package unix lacks for 64-bit machines.
const (
	oLargefile = 0x8000
	oTmpfile   = unix.O_TMPFILE &^ unix.O_DIRECTORY // __O_TMPFILE
	oSync      = unix.O_SYNC &^ unix.O_DSYNC        // __O_SYNC

	// VALID_OPEN_FLAGS and O_PATH_FLAGS of include/linux/fcntl.h.
	openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND |
		unix.O_NONBLOCK | unix.O_SYNC | unix.O_ASYNC | unix.O_DIRECT | oLargefile | unix.O_DIRECTORY |
		unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | oTmpfile
	pathFlags = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_PATH | unix.O_CLOEXEC

	resolveCached = 0x20 // RESOLVE_CACHED
	resolveFlags  = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | resolveCached
)

// openHow is struct open_how.
type openHow struct{ Flags, Mode, Resolve uint64 }

// estaleTries is how often a path is walked again that changed under the walk.
const estaleTries = 3

func open(c *Call) (uint64, error) {
	return c.as(openat, atCwd, c.Args[0], c.Args[1], c.Args[2])
}

func creat(c *Call) (uint64, error) {
	return c.as(openat, atCwd, c.Args[0], unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, c.Args[1])
}

func openat(c *Call) (uint64, error) {
	dirfd, pathname, flags, mode := c.FD(0), 1, c.Flags(2), c.Uint(3)
	return c.open(dirfd, pathname, buildHow(flags, mode))
}

func openat2(c *Call) (uint64, error) {
	dirfd, pathname, how, size := c.FD(0), 1, c.Addr(2), c.Size(3)
	const first = 24 // OPEN_HOW_SIZE_VER0
	var h openHow
	if err := c.readStruct(how, size, first, &h); err != nil {
		return 0, err
	}
	if h.Flags&unix.O_PATH == 0 {
		h.Flags |= oLargefile
	}
	return c.open(dirfd, pathname, h)
}

// buildHow is fs/open.c:build_open_how: open and openat never minded flags and
// modes without a meaning.
func buildHow(flags int, mode uint32) openHow {
	flags = (flags | oLargefile) & openFlags
	if flags&unix.O_PATH != 0 {
		flags &= pathFlags
	}
	if flags&(unix.O_CREAT|oTmpfile) == 0 {
		mode = 0
	}
	return openHow{Flags: uint64(flags), Mode: uint64(mode & 0o7777)}
}

// check is fs/open.c:build_open_flags: the flags without O_CLOEXEC and the
// permission an existing file must give. EINVAL, EAGAIN.
func (h openHow) check() (flags int, mask uint32, err error) {
	h.Flags &^= unix.O_CLOEXEC
	f := int(h.Flags)
	mask = []uint32{vfs.MayRead, vfs.MayWrite, vfs.MayRead | vfs.MayWrite, vfs.MayRead | vfs.MayWrite}[f&unix.O_ACCMODE]
	creates := f&(unix.O_CREAT|oTmpfile) != 0
	switch {
	case h.Flags&^openFlags != 0, h.Resolve&^resolveFlags != 0,
		h.Resolve&unix.RESOLVE_BENEATH != 0 && h.Resolve&unix.RESOLVE_IN_ROOT != 0,
		h.Mode != 0 && !creates, h.Mode&^0o7777 != 0,
		f&unix.O_DIRECTORY != 0 && f&unix.O_CREAT != 0,
		f&oTmpfile != 0 && (f&unix.O_DIRECTORY == 0 || mask&vfs.MayWrite == 0),
		f&unix.O_PATH != 0 && f&^pathFlags != 0:
		return 0, 0, unix.EINVAL
	case h.Resolve&resolveCached != 0 && (creates || f&unix.O_TRUNC != 0):
		return 0, 0, unix.EAGAIN
	}
	if f&oSync != 0 {
		f |= unix.O_DSYNC
	}
	if f&unix.O_PATH != 0 {
		mask = 0
	} else if f&unix.O_TRUNC != 0 {
		mask |= vfs.MayWrite
	}
	return f, mask, nil
}

// open is fs/open.c:do_sys_openat2; pathname is the index of the argument.
func (c *Call) open(dirfd, pathname int, how openHow) (uint64, error) {
	flags, mask, err := how.check()
	if err != nil {
		return 0, err
	}
	path, err := c.pathArg(pathname, 0)
	if err != nil {
		return 0, err
	}
	if err := c.Task.mayHaveFD(c.Task.FDs.Free(0), 1); err != nil { // Before a file is made.
		return 0, err
	}
	o := opening{c: c, flags: flags, mask: mask, mode: uint32(how.Mode)}
	var d *fdtable.Description
	for range estaleTries {
		if d, err = o.open(dirfd, path, how.Resolve); err != unix.ESTALE {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	return c.install(d, how.Flags&unix.O_CLOEXEC != 0)
}

// opening is one open(2) under way.
type opening struct {
	c       *Call
	flags   int
	mask    uint32
	mode    uint32
	created bool
}

func (o *opening) open(dirfd int, path string, resolve uint64) (*fdtable.Description, error) {
	exclusive := o.flags&unix.O_CREAT != 0 && o.flags&unix.O_EXCL != 0
	f, err := o.c.walkAt(dirfd, path, vfs.Walk{
		NoFollow: o.flags&unix.O_NOFOLLOW != 0 || exclusive,
		Missing:  o.flags&unix.O_CREAT != 0,
		Resolve:  resolve,
	})
	if err != nil {
		return nil, err
	}
	e := f.Dentry
	switch {
	case o.flags&oTmpfile != 0:
		o.created = true
		e, err = f.Dentry.Tmpfile(o.c.Task.Access(), o.mode&^o.c.Task.FS.Umask)
	case o.flags&unix.O_CREAT != 0:
		e, err = o.create(f, exclusive)
	}
	if err != nil {
		return nil, err
	}
	regular, err := o.check(e)
	if err != nil {
		return nil, err
	}
	return o.describe(e, regular)
}

// create is the O_CREAT part of fs/namei.c:open_last_lookups.
func (o *opening) create(f vfs.Found, exclusive bool) (*vfs.Dentry, error) {
	switch {
	case f.Slash && !special(f.Name):
		return nil, unix.EISDIR
	case f.Dentry != nil && exclusive:
		return nil, unix.EEXIST
	case f.Dentry != nil && f.Dentry.IsDir():
		return nil, unix.EISDIR
	case f.Dentry != nil:
		return f.Dentry, nil
	}
	o.created = true
	e, err := f.Dir.Create(o.c.Task.Access(), f.Name, unix.S_IFREG|o.mode&^o.c.Task.FS.Umask, 0)
	if err == nil {
		o.c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE, 0)
	}
	return e, err
}

// check is fs/namei.c:may_open. A file that was just made may be opened in any
// mode, whatever its permissions.
func (o *opening) check(e *vfs.Dentry) (regular bool, err error) {
	a, err := e.Attr()
	if err != nil || o.created {
		return true, err
	}
	cred := o.c.Task.Access()
	switch {
	case o.flags&unix.O_DIRECTORY != 0 && !a.IsDir():
		return false, unix.ENOTDIR
	case o.flags&unix.O_PATH != 0:
		return false, nil
	case a.IsSymlink():
		return false, unix.ELOOP
	case a.IsDir() && o.mask&vfs.MayWrite != 0:
		return false, unix.EISDIR
	}
	if err := vfs.Access(a, cred, o.mask); err != nil {
		return false, err
	}
	if o.flags&unix.O_NOATIME != 0 && cred.UID != a.UID && cred.UID != 0 {
		return false, unix.EPERM
	}
	return a.IsRegular(), nil
}

// describe makes the File and its description.
func (o *opening) describe(e *vfs.Dentry, regular bool) (*fdtable.Description, error) {
	s := o.c.Sys
	if regular && o.mask&vfs.MayWrite != 0 {
		if err := s.running(e); err != nil {
			return nil, err
		}
	}
	var file fdtable.File
	var err error
	if e.IsFIFO() && o.flags&unix.O_PATH == 0 {
		file, err = o.c.openFIFO(e.Node, o.flags)
	} else {
		file, err = e.Open(o.flags)
	}
	if err != nil {
		return nil, err
	}
	if t, ok := file.(*ttyFile); ok {
		t.openedBy(o.c.Task, o.flags)
	}
	if o.flags&unix.O_PATH == 0 {
		s.notify(e, unix.IN_OPEN)
		if s.Changed != nil && o.flags&unix.O_ACCMODE != unix.O_RDONLY {
			s.Changed(e.Path())
		}
	}
	if o.flags&unix.O_TRUNC != 0 && regular && !o.created {
		through := file
		if o.flags&unix.O_ACCMODE == unix.O_RDONLY {
			through = nil
		}
		if err := truncateNode(e.Node, through, 0); err != nil {
			_ = file.Close()
			return nil, err
		}
		s.notify(e, unix.IN_MODIFY)
	}
	d := fdtable.NewDescription(file, e, o.flags&^(unix.O_CREAT|unix.O_EXCL|unix.O_NOCTTY|unix.O_TRUNC))
	d.Created = o.created && o.flags&oTmpfile == 0
	if o.flags&unix.O_PATH == 0 {
		d.OnRelease(func() { s.notifyClose(d) })
	}
	return d, nil
}

// memfdNameMax is MFD_NAME_MAX_LEN of mm/memfd.c.
const memfdNameMax = unix.NAME_MAX - len("memfd:")

func memfd_create(c *Call) (uint64, error) {
	name, flags := c.Addr(0), c.Flags(1)
	const known = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	if flags&^known != 0 || flags&unix.MFD_NOEXEC_SEAL != 0 && flags&unix.MFD_EXEC != 0 {
		return 0, unix.EINVAL
	}
	label, err := c.String(name, memfdNameMax+1)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	if c.Sys.Shm == nil {
		return 0, unix.ENOSYS
	}
	mode, seals := uint32(0o777), unix.F_SEAL_SEAL
	if flags&(unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL) != 0 {
		seals = 0
	}
	if flags&unix.MFD_NOEXEC_SEAL != 0 {
		mode, seals = 0o666, unix.F_SEAL_EXEC
	}
	cred := c.Task.Access()
	e, err := vfs.NewMemFile(c.Sys.Shm, "/memfd:"+label+" (deleted)", mode, vfs.Owner{UID: cred.UID, GID: cred.GID}, seals)
	if err != nil {
		return 0, err
	}
	file, err := e.Open(unix.O_RDWR)
	if err != nil {
		return 0, err
	}
	d := fdtable.NewDescription(file, e, unix.O_RDWR|oLargefile)
	d.Uncounted = true
	return c.install(d, flags&unix.MFD_CLOEXEC != 0)
}
