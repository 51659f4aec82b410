//go:build linux

package vfs

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// DirReader is the ability of an open directory that getdents64(2) reads.
type DirReader interface {
	// Entries gives what follows the description's offset. The caller takes as
	// many as fit and sets the offset to the last one's Next. ENOENT: the
	// directory was removed. Offset 0 looks at the directory anew; in between
	// the names are those of one moment, so that offsets stay good while names
	// come and go.
	Entries(d *fdtable.Description) ([]Dirent, error)
}

// Dirent is one entry of getdents64(2).
type Dirent struct {
	DirEntry
	Next int64 // d_off: the offset of the entry after this one
}

// dirFile is an open directory.
type dirFile struct {
	entry *Dentry
	list  []Dirent
}

func (f *dirFile) Close() error { return nil }

// Sync is fsync of a directory, which programs do after a rename.
func (f *dirFile) Sync() error { return nil }

func (f *dirFile) Entries(d *fdtable.Description) ([]Dirent, error) {
	if f.entry.gone {
		return nil, unix.ENOENT
	}
	if d.Offset == 0 || f.list == nil {
		if err := f.load(); err != nil {
			return nil, err
		}
	}
	if d.Offset >= int64(len(f.list)) {
		return nil, nil
	}
	return f.list[d.Offset:], nil
}

// Seek is lseek(2): an offset is the index of an entry.
func (f *dirFile) Seek(d *fdtable.Description, off int64, whence int) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		off += d.Offset
	case unix.SEEK_END:
		off += int64(len(f.list))
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	if off == 0 {
		f.list = nil
	}
	d.Offset = off
	return off, nil
}

// load reads the directory and puts in what mounts add.
func (f *dirFile) load() error {
	names, err := f.entry.readDir()
	if err != nil {
		return err
	}
	up := f.entry.up()
	if up == nil {
		up = f.entry
	}
	self, err := f.entry.Node.Attr()
	if err != nil {
		return err
	}
	above, err := up.Node.Attr()
	if err != nil {
		return err
	}
	f.list = append(make([]Dirent, 0, len(names)+2),
		Dirent{DirEntry: DirEntry{".", self.Ino, unix.S_IFDIR}},
		Dirent{DirEntry: DirEntry{"..", above.Ino, unix.S_IFDIR}})
	for _, e := range names {
		f.list = append(f.list, Dirent{DirEntry: e})
	}
	for i := range f.list {
		f.list[i].Next = int64(i) + 1
	}
	return nil
}

// readDir lists d without "." and "..", virtual names included.
func (d *Dentry) readDir() ([]DirEntry, error) {
	if d.dir == nil {
		return nil, unix.ENOTDIR
	}
	list, err := d.dir.ReadDir()
	if err != nil || len(d.pinned) == 0 {
		return list, err
	}
	added := maps.Clone(d.pinned)
	for _, e := range list {
		delete(added, e.Name)
	}
	list = slices.Clip(list)
	for _, name := range slices.Sorted(maps.Keys(added)) {
		a, err := added[name].Node.Attr()
		if err != nil {
			return nil, err
		}
		list = append(list, DirEntry{name, a.Ino, a.Mode & unix.S_IFMT})
	}
	return list, nil
}
