//go:build linux

package vfs

import (
	"cmp"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// FS shows the tree below root as an io/fs.FS, with fs.StatFS, fs.ReadDirFS,
// fs.ReadFileFS and fs.ReadLinkFS. It reads with the rights of user 0; absolute
// links lead to root. FileInfo.Sys is an *Attr. Pipes, sockets and devices can be
// looked at but not read.
//
// Every look at the tree is run through do, so that the tree's owner can put it
// between its own steps; nil: at once.
func FS(root *Dentry, do func(func())) fs.FS {
	if do == nil {
		do = func(fn func()) { fn() }
	}
	return &tree{root, do}
}

type tree struct {
	root *Dentry
	do   func(func())
}

// at resolves name and runs fn on what is there, on the owner's side.
func (t *tree) at(op, name string, follow bool, fn func(d *Dentry) error) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	var err error
	t.do(func() {
		var f Found
		if f, err = (Walk{Root: t.root, Start: t.root, NoFollow: !follow}).Do(name); err == nil {
			err = fn(f.Dentry)
		}
	})
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (t *tree) Open(name string) (fs.File, error) {
	f := &treeFile{t: t, name: name}
	err := t.at("open", name, true, func(d *Dentry) (err error) {
		if f.info, err = newInfo(name, d); err != nil {
			return err
		}
		switch f.d = d; d.kind {
		case unix.S_IFREG:
			f.file, err = d.Open(unix.O_RDONLY)
		case unix.S_IFDIR:
			f.list, err = t.entries(d)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.d.IsDir() {
		return &treeDir{*f}, nil
	}
	return f, nil
}

func (t *tree) Stat(name string) (fi fs.FileInfo, err error) { return t.stat("stat", name, true) }

// Lstat is of fs.ReadLinkFS.
func (t *tree) Lstat(name string) (fi fs.FileInfo, err error) { return t.stat("lstat", name, false) }

func (t *tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	var i info
	err := t.at(op, name, follow, func(d *Dentry) (err error) {
		i, err = newInfo(name, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

func (t *tree) ReadLink(name string) (target string, err error) {
	err = t.at("readlink", name, false, func(d *Dentry) error {
		r, ok := d.Node.(Readlinker)
		if !ok {
			return unix.EINVAL
		}
		target, err = r.Readlink()
		return err
	})
	return target, err
}

func (t *tree) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = t.at("readdir", name, true, func(d *Dentry) error {
		list, err = t.entries(d)
		return err
	})
	return list, err
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// entries lists a directory by name.
func (t *tree) entries(d *Dentry) ([]fs.DirEntry, error) {
	names, err := d.readDir()
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, 0, len(names))
	for _, e := range names {
		mode := fileMode(e.Type)
		c, ok := d.pinned[e.Name]
		if ok || e.Type == 0 {
			if !ok {
				if c, err = d.child(e.Name); err == unix.ENOENT {
					continue
				} else if err != nil {
					return nil, err
				}
			}
			mode = fileMode(c.top().kind)
		}
		list = append(list, treeEntry{t, d, e.Name, mode.Type()})
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, nil
}

// treeEntry is an fs.DirEntry.
type treeEntry struct {
	t    *tree
	dir  *Dentry
	name string
	mode fs.FileMode
}

func (e treeEntry) Name() string      { return e.name }
func (e treeEntry) IsDir() bool       { return e.mode.IsDir() }
func (e treeEntry) Type() fs.FileMode { return e.mode }
func (e treeEntry) String() string    { return fs.FormatDirEntry(e) }

func (e treeEntry) Info() (fs.FileInfo, error) {
	var i info
	var err error
	e.t.do(func() {
		var d *Dentry
		if d, err = e.dir.child(e.name); err == nil {
			i, err = newInfo(e.name, d.top())
		}
	})
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: e.name, Err: err}
	}
	return i, nil
}

// treeFile is an open regular file, or something that cannot be read.
type treeFile struct {
	t    *tree
	name string
	d    *Dentry
	info info
	file fdtable.File
	list []fs.DirEntry // of a directory, what ReadDir has not given yet
	off  int64
	done bool
}

func (f *treeFile) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *treeFile) Stat() (fs.FileInfo, error) {
	if f.done {
		return nil, f.fail("stat", fs.ErrClosed)
	}
	return f.info, nil
}

func (f *treeFile) Close() error {
	if f.done {
		return f.fail("close", fs.ErrClosed)
	}
	f.done = true
	if f.file == nil {
		return nil
	}
	var err error
	f.t.do(func() { err = f.file.Close() })
	return f.fail("close", err)
}

func (f *treeFile) Read(p []byte) (n int, err error) {
	if f.done {
		return 0, f.fail("read", fs.ErrClosed)
	}
	f.t.do(func() {
		switch r := f.file.(type) {
		case io.ReaderAt:
			n, err = r.ReadAt(p, f.off)
		case io.Reader:
			n, err = r.Read(p)
		default:
			err = unix.EINVAL
		}
	})
	f.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, f.fail("read", err)
}

// treeDir is an open directory.
type treeDir struct{ treeFile }

func (f *treeDir) Read([]byte) (int, error) { return 0, f.fail("read", unix.EISDIR) }

func (f *treeDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(f.list)
	} else if len(f.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.list))
	list := f.list[:n:n]
	f.list = f.list[n:]
	return list, nil
}

// info is an fs.FileInfo.
type info struct {
	name string
	attr Attr
}

func newInfo(name string, d *Dentry) (info, error) {
	a, err := d.Attr()
	return info{path.Base(name), a}, err
}

func (i info) Name() string      { return i.name }
func (i info) Size() int64       { return i.attr.Size }
func (i info) Mode() fs.FileMode { return fileMode(i.attr.Mode) }
func (i info) ModTime() time.Time {
	return time.Unix(i.attr.Mtime.Unix())
}
func (i info) IsDir() bool    { return i.attr.IsDir() }
func (i info) Sys() any       { return &i.attr }
func (i info) String() string { return fs.FormatFileInfo(i) }

// fileMode is a st_mode in Go's words.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
