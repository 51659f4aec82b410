//go:build linux

package vfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// makeName is what all calls that make a name check first, in the kernel's
// order (fs/namei.c:filename_create, may_create), and the owner and mode the new
// inode gets. able: the file system has the operation.
func (d *Dentry) makeName(c Cred, name string, mode uint32, able bool) (Owner, uint32, error) {
	if name == "" || name == "." || name == ".." {
		return Owner{}, 0, unix.EEXIST
	}
	if _, err := d.child(name); err != unix.ENOENT {
		if err == nil {
			err = unix.EEXIST
		}
		return Owner{}, 0, err
	}
	if d.gone {
		return Owner{}, 0, unix.ENOENT
	}
	if !able {
		return Owner{}, 0, unix.EROFS
	}
	a, err := d.writable(c)
	if err != nil {
		return Owner{}, 0, err
	}
	o, mode := inherit(a, c, mode)
	return o, mode, nil
}

// inherit is who a new inode in directory dir belongs to, and its mode
// (fs/inode.c:inode_init_owner, mode_strip_sgid).
func inherit(dir Attr, c Cred, mode uint32) (Owner, uint32) {
	o := Owner{c.UID, c.GID}
	if dir.Mode&unix.S_ISGID != 0 {
		o.GID = dir.GID
		switch {
		case mode&unix.S_IFMT == unix.S_IFDIR:
			mode |= unix.S_ISGID
		case mode&unix.S_IXGRP != 0 && c.UID != 0 && !c.InGroup(o.GID):
			mode &^= unix.S_ISGID
		}
	}
	return o, mode
}

// writable checks that c may change names in d.
func (d *Dentry) writable(c Cred) (Attr, error) {
	a, err := d.Node.Attr()
	if err != nil {
		return a, err
	}
	return a, Access(a, c, MayWrite|MayExec)
}

// Create, Mkdir and Symlink make name in directory d after checking write and
// search permission; mode has the umask applied already. S_ISGID directories
// give their group. EEXIST, EACCES, EROFS, ENOENT (d was removed).
func (d *Dentry) Create(c Cred, name string, mode uint32, rdev uint64) (*Dentry, error) {
	maker, able := d.Node.(Creator)
	if mode&unix.S_IFMT == 0 {
		mode |= unix.S_IFREG
	}
	o, mode, err := d.makeName(c, name, mode, able)
	if err != nil {
		return nil, err
	}
	n, err := maker.Create(name, mode, rdev, o)
	return d.made(name, n, err)
}

// Mkdir is see Create.
func (d *Dentry) Mkdir(c Cred, name string, mode uint32) (*Dentry, error) {
	maker, able := d.Node.(Mkdirer)
	o, mode, err := d.makeName(c, name, mode&(unix.S_ISVTX|0o777)|unix.S_IFDIR, able)
	if err != nil {
		return nil, err
	}
	n, err := maker.Mkdir(name, mode, o)
	return d.made(name, n, err)
}

// Symlink is see Create.
func (d *Dentry) Symlink(c Cred, name, target string) (*Dentry, error) {
	maker, able := d.Node.(Symlinker)
	o, _, err := d.makeName(c, name, unix.S_IFLNK|0o777, able)
	if err != nil {
		return nil, err
	}
	n, err := maker.Symlink(name, target, o)
	return d.made(name, n, err)
}

// Tmpfile makes a regular file in d's file system that has no name yet; Link
// may give it one. EOPNOTSUPP, EACCES.
func (d *Dentry) Tmpfile(c Cred, mode uint32) (*Dentry, error) {
	if d.dir == nil {
		return nil, unix.ENOTDIR
	}
	a, err := d.writable(c)
	if err != nil {
		return nil, err
	}
	maker, able := d.Node.(TmpfileMaker)
	if !able {
		return nil, unix.EOPNOTSUPP
	}
	d.used(Names)
	o, mode := inherit(a, c, mode&^unix.S_IFMT|unix.S_IFREG)
	n, err := maker.Tmpfile(mode, o)
	if err != nil {
		return nil, err
	}
	e, err := newDentry(n, d, "", d.mount)
	if err != nil {
		return nil, err
	}
	a, err = n.Attr()
	e.name, e.gone = "#"+strconv.FormatUint(a.Ino, 10), true
	return e, err
}

func (d *Dentry) made(name string, n Node, err error) (*Dentry, error) {
	if err != nil {
		return nil, err
	}
	d.used(Names)
	d.forget(name)
	return d.adopt(name, n)
}

// Link gives target one more name in d. EXDEV, EPERM (a directory, or another's
// file), EEXIST, ENOENT (its last name is gone).
func (d *Dentry) Link(c Cred, name string, target *Dentry) (*Dentry, error) {
	maker, able := d.Node.(Linker)
	_, _, err := d.makeName(c, name, 0, able)
	if err == unix.EEXIST || err == unix.ENOTDIR || err == unix.ENAMETOOLONG {
		return nil, err
	}
	if d.mount != target.mount {
		return nil, unix.EXDEV
	}
	a, e := target.Node.Attr()
	if e == nil {
		e = mayLink(a, c)
	}
	if e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	if target.IsDir() {
		return nil, unix.EPERM
	}
	if target.used(Moved); target.parent != nil {
		target.parent.moves(d)
	}
	err = maker.Link(name, target.Node)
	return d.made(name, target.Node, err)
}

// removable is what the calls that take a name away check (may_delete).
func (d *Dentry) removable(c Cred, e *Dentry, wantDir bool) error {
	a, err := d.writable(c)
	if err != nil {
		return err
	}
	b, err := e.Node.Attr()
	if err != nil {
		return err
	}
	switch {
	case sticky(a, b, c):
		return unix.EPERM
	case wantDir && !e.IsDir():
		return unix.ENOTDIR
	case !wantDir && e.IsDir():
		return unix.EISDIR
	}
	return nil
}

// busy reports a mount point, or a name that exists only for one.
func (d *Dentry) busy() bool {
	if d.cover != nil {
		return true
	}
	_, virtual := d.Node.(*virtualDir)
	return virtual
}

// Unlink and Rmdir remove name; sticky directories are honoured, mount points
// are EBUSY.
func (d *Dentry) Unlink(c Cred, name string) error {
	if name == "" || name == "." || name == ".." {
		return unix.EISDIR
	}
	u, able := d.Node.(Unlinker)
	return d.remove(c, name, able, false, func() error { return u.Unlink(name) })
}

// Rmdir is see Unlink.
func (d *Dentry) Rmdir(c Cred, name string) error {
	switch name {
	case "":
		return unix.EBUSY
	case ".":
		return unix.EINVAL
	case "..":
		return unix.ENOTEMPTY
	}
	r, able := d.Node.(Rmdirer)
	return d.remove(c, name, able, true, func() error { return r.Rmdir(name) })
}

func (d *Dentry) remove(c Cred, name string, able, wantDir bool, do func() error) error {
	if !able {
		return unix.EROFS
	}
	e, err := d.child(name)
	if err != nil {
		return err
	}
	if err := d.removable(c, e, wantDir); err != nil {
		return err
	}
	if e.busy() {
		return unix.EBUSY
	}
	if err := do(); err != nil {
		return err
	}
	d.used(Names)
	e.used(Moved)
	d.drop(e)
	return nil
}

// drop notes that e's name is gone.
func (d *Dentry) drop(e *Dentry) {
	d.forget(e.name)
	delete(d.pinned, e.name)
	e.gone = true
}

// Rename moves name to newname in newdir. EXDEV across mounts, EINVAL into
// itself, and the rest of renameat2(2).
func (d *Dentry) Rename(c Cred, name string, newdir *Dentry, newname string, flags uint32) error {
	const exchange, noreplace = unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE
	if flags&^(exchange|noreplace) != 0 || flags == exchange|noreplace {
		return unix.EINVAL
	}
	if d.mount != newdir.mount {
		return unix.EXDEV
	}
	for i, n := range [2]string{name, newname} {
		if n == "" || n == "." || n == ".." {
			if i == 1 && flags&noreplace != 0 {
				return unix.EEXIST
			}
			return unix.EBUSY
		}
	}
	r, able := d.Node.(Renamer)
	if !able {
		return unix.EROFS
	}
	old, err := d.child(name)
	if err != nil {
		return err
	}
	target, err := newdir.child(newname)
	switch {
	case err != nil && (err != unix.ENOENT || flags&exchange != 0):
		return err
	case target != nil && flags&noreplace != 0:
		return unix.EEXIST
	case newdir.below(old):
		return unix.EINVAL
	case target != nil && d.below(target) && flags&exchange != 0:
		return unix.EINVAL
	case target != nil && d.below(target):
		return unix.ENOTEMPTY
	case target != nil && target.Node == old.Node:
		return nil
	case newdir.gone:
		return unix.ENOENT
	}
	if err := d.movable(c, old, newdir, target, flags&exchange != 0); err != nil {
		return err
	}
	if err := r.Rename(name, newdir.Node, newname, flags); err != nil {
		return err
	}
	d.moves(newdir)
	if old.used(Moved); target != nil {
		target.used(Moved)
	}
	d.moved(old, newdir, newname, target, flags&exchange != 0)
	return nil
}

// movable is the permission part of Rename (fs/namei.c:vfs_rename).
func (d *Dentry) movable(c Cred, old, newdir, target *Dentry, exchange bool) error {
	if err := d.removable(c, old, old.IsDir()); err != nil {
		return err
	}
	if target == nil {
		if _, err := newdir.writable(c); err != nil {
			return err
		}
	} else if err := newdir.removable(c, target, target.IsDir() && exchange || old.IsDir() && !exchange); err != nil {
		return err
	}
	if d != newdir && c.UID != 0 { // ".." of a directory is about to change
		for _, e := range [2]*Dentry{old, target} {
			if e == nil || !e.IsDir() || e == target && !exchange {
				continue
			}
			a, err := e.Node.Attr()
			if err == nil {
				err = Access(a, c, MayWrite)
			}
			if err != nil {
				return err
			}
		}
	}
	if old.busy() || target != nil && target.busy() {
		return unix.EBUSY
	}
	return nil
}

// moved brings the entries in line with a rename that has happened.
func (d *Dentry) moved(old, newdir *Dentry, newname string, target *Dentry, exchange bool) {
	name := old.name
	d.forget(name)
	newdir.forget(newname)
	old.parent, old.name = newdir, newname
	newdir.remember(newname, old)
	switch {
	case exchange:
		target.parent, target.name = d, name
		d.remember(name, target)
	case target != nil:
		target.gone = true
	}
}

// below reports whether d is e or lies below it in the same mount.
func (d *Dentry) below(e *Dentry) bool {
	for ; d != nil; d = d.parent {
		if d == e {
			return true
		}
	}
	return false
}
