//go:build linux

package vfs

import (
	"container/list"
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

// maxListing is how many entries the open directories of a namespace hold, about
// 10 MiB; one that is larger by itself is held alone. A directory whose entries
// had to go is read again in the middle.
const maxListing = 1 << 18

// dirFile is an open directory.
type dirFile struct {
	entry *Dentry
	list  []Dirent
	held  *list.Element // of Namespace.listings; nil: list is
}

func (f *dirFile) Close() error {
	f.drop()
	return nil
}

func (f *dirFile) drop() {
	if f.held != nil {
		ns := f.entry.mount.ns
		ns.listings.Remove(f.held)
		ns.listed -= len(f.list)
	}
	f.list, f.held = nil, nil
}

// keep makes room for all.
func (f *dirFile) keep(all []Dirent) {
	f.drop()
	ns := f.entry.mount.ns
	for ns.listed+len(all) > maxListing && ns.listings.Len() > 0 {
		ns.listings.Front().Value.(*dirFile).drop()
	}
	f.list, f.held = all, ns.listings.PushBack(f)
	ns.listed += len(all)
}

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
		f.drop()
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
	f.entry.used(Listed)
	all := append(make([]Dirent, 0, len(names)+2),
		Dirent{DirEntry: DirEntry{".", self.Ino, unix.S_IFDIR}},
		Dirent{DirEntry: DirEntry{"..", above.Ino, unix.S_IFDIR}})
	for _, e := range names {
		all = append(all, Dirent{DirEntry: e})
	}
	for i := range all {
		all[i].Next = int64(i) + 1
	}
	f.keep(all)
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
