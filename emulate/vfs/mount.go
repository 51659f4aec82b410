//go:build linux

package vfs

import (
	"container/list"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Device numbers of virtual file systems are anonymous ones (major 0), far above
// those the host gives its own, which host mounts pass through.
const firstMinor = 0x80000

// anonymousDev is the device of what is mounted nowhere (pipes, memfd).
var anonymousDev = unix.Mkdev(0, firstMinor-1)

// Namespace is the tree of mounts a jail shows.
type Namespace struct {
	// Devices opens character devices by st_rdev, on any file system. The
	// caller of Open has checked the permission bits.
	Devices map[uint64]func(flags int) (fdtable.File, error)
	// Used, if not nil, is called at every use of an entry that has a place.
	Used func(d *Dentry, u Use)

	root      *Dentry
	mounts    []*mount
	cached    int // names remembered since the cache last faded
	maxCached int
	inode     uint64    // last one given to a virtual name
	listings  list.List // of open directories, the oldest first
	listed    int       // entries in them
}

// mount is one file system, or one node of it, in its place.
type mount struct {
	ns     *Namespace
	root   *Dentry
	point  *Dentry // what it covers; nil for the namespace's root
	dev    uint64
	id     uint64 // 1, 2, 3… in the order of mounting
	source string
	kind   string
	opts   string
	start  State // of an in-memory tree, for Changes
}

// Mountpoint is a line of /proc/self/mounts.
type Mountpoint struct {
	Path, Source, Type, Options string
	Dev                         uint64
	Root                        *Dentry
}

// Mounted is what a file system's root node tells of itself for
// /proc/self/mounts. Missing: "none", "oubliette", "rw".
type Mounted interface {
	MountInfo() (source, kind, options string)
}

// NewNamespace returns a tree with root node root.
func NewNamespace(root Node) *Namespace {
	ns := &Namespace{Devices: make(map[uint64]func(int) (fdtable.File, error)), maxCached: maxCached}
	m, err := ns.newMount(root, nil)
	if err != nil { // A root that cannot tell what it is: an empty one.
		m, _ = ns.newMount(&virtualDir{}, nil)
	}
	ns.root = m.root
	return ns
}

func (ns *Namespace) newMount(n Node, point *Dentry) (*mount, error) {
	m := &mount{ns: ns, point: point, source: "none", kind: "oubliette", opts: "rw,relatime"}
	m.dev = unix.Mkdev(0, uint32(firstMinor+len(ns.mounts)))
	m.id = uint64(len(ns.mounts)) + 1
	if i, ok := n.(Mounted); ok {
		m.source, m.kind, m.opts = i.MountInfo()
	}
	var err error
	if m.root, err = newDentry(n, nil, "", m); err != nil {
		return nil, err
	}
	ns.mounts = append(ns.mounts, m)
	return m, nil
}

// Root is the namespace's root.
func (ns *Namespace) Root() *Dentry { return ns.root }

// Mount covers the entry at path, which is made (as a virtual name that only the
// mount gives) if the file system below has none. The path is clean and
// absolute, and links in it are followed. n may be a single file. ENOTDIR: a
// component is not a directory, or n is one and the entry is not.
func (ns *Namespace) Mount(path string, n Node) error {
	at := ns.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		f, err := Walk{Root: ns.root, Start: at}.Do(name)
		if err == unix.ENOENT || err == unix.EACCES { // or hidden, as the host's procfs is
			f.Dentry, err = at.pin(name, &virtualDir{ino: ns.nextInode()})
		}
		if err != nil {
			return err
		}
		at = f.Dentry
	}
	m, err := ns.newMount(n, at)
	if err != nil {
		return err
	}
	if v, ok := at.Node.(*virtualDir); ok && !m.root.IsDir() && at.pinned == nil {
		v.file, at.kind, at.dir = true, unix.S_IFREG, nil
	}
	if m.root.IsDir() != at.IsDir() {
		ns.mounts = ns.mounts[:len(ns.mounts)-1]
		return unix.ENOTDIR
	}
	if at.parent != nil {
		at.parent.keep(at)
	}
	at.cover = m
	if at == ns.root {
		ns.root = m.root
	}
	return nil
}

// pin makes a virtual name in d.
func (d *Dentry) pin(name string, n Node) (*Dentry, error) {
	if d.dir == nil {
		return nil, unix.ENOTDIR
	}
	c, err := newDentry(n, d, name, d.mount)
	if err == nil {
		d.keep(c)
	}
	return c, err
}

// keep makes c the entry of its name whatever the file system says later.
func (d *Dentry) keep(c *Dentry) {
	d.forget(c.name)
	if d.pinned == nil {
		d.pinned = make(map[string]*Dentry)
	}
	d.pinned[c.name] = c
}

// Mounts lists what is mounted, in order, as /proc/self/mounts does.
func (ns *Namespace) Mounts() []Mountpoint {
	var list []Mountpoint
	for _, m := range ns.mounts {
		list = append(list, Mountpoint{m.root.Path(), m.source, m.kind, m.opts, m.dev, m.root})
	}
	return list
}

// Mount is the number of the mount d is in (stx_mnt_id), 0 for a nameless entry,
// and whether d is its root.
func (d *Dentry) Mount() (id uint64, root bool) {
	if d.mount == nil {
		return 0, false
	}
	return d.mount.id, d.parent == nil
}

// ReadOnly reports that d's mount takes no writes ("ro" among its options); only
// names and what they hold mind, not devices and pipes. Who asks is about to write,
// or wants to know if it could; of a directory that is no use of it yet.
func (d *Dentry) ReadOnly() bool {
	if d.dir == nil {
		d.used(Written)
	}
	return d.mount != nil && (d.mount.opts == "ro" || strings.HasPrefix(d.mount.opts, "ro,"))
}

// SameMount reports that names can be moved between d and e.
func (d *Dentry) SameMount(e *Dentry) bool { return d.mount == e.mount }

func (ns *Namespace) nextInode() uint64 {
	ns.inode++
	return ns.inode
}

// fade lets go of the cached names that nothing else holds.
func (ns *Namespace) fade() {
	for _, m := range ns.mounts {
		m.root.fadeNames()
	}
}

// virtualDir is a name that exists because something is mounted on or below it.
type virtualDir struct {
	ino  uint64
	file bool
}

func (v *virtualDir) Attr() (Attr, error) {
	a := Attr{Ino: v.ino, Mode: unix.S_IFDIR | 0o755, Nlink: 2, BlockSize: blockSize}
	if v.file {
		a.Mode, a.Nlink = unix.S_IFREG|0o444, 1
	}
	return a, nil
}

func (v *virtualDir) Lookup(string) (Node, error)  { return nil, unix.ENOENT }
func (v *virtualDir) ReadDir() ([]DirEntry, error) { return nil, nil }
