//go:build linux

package vfs

import (
	"strings"
	"weak"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Dentry is a name in the guest's tree: a node, where it hangs and what it is
// called there. It is how a description, a working directory and a root remember
// their place, and it moves with a rename.
//
// Dentries are also the name cache: while one is held, the same name gives the
// same Dentry. See [Volatile] for who is trusted to be asked only once.
type Dentry struct {
	Node   Node
	parent *Dentry // in the same mount; nil for its root. Kept after unlink
	name   string
	kind   uint32    // S_IFMT bits
	dir    Directory // Node, if it is a directory
	ask    bool      // dir is Volatile
	gone   bool      // unlinked
	mount  *mount    // nil: anonymous
	cover  *mount    // mounted here

	pinned   map[string]*Dentry // names that mounts keep, over what dir says
	children map[string]*Dentry // cache; absent for a known missing name
	faded    map[string]weak.Pointer[Dentry]
}

// absent is what children holds for a name known to be missing.
var absent = new(Dentry)

// maxCached is how many names a namespace's cache holds before it lets those
// fade that nothing else holds: about 8 MiB.
const maxCached = 32768

func newDentry(n Node, parent *Dentry, name string, m *mount) (*Dentry, error) {
	a, err := n.Attr()
	if err != nil {
		return nil, err
	}
	d := &Dentry{Node: n, parent: parent, name: name, mount: m, kind: a.Mode & unix.S_IFMT}
	if d.kind == unix.S_IFDIR {
		d.dir, _ = n.(Directory)
		if v, ok := n.(Volatile); ok {
			d.ask = v.Volatile()
		}
	}
	return d, nil
}

// NewAnonymous returns a nameless entry for what has no place in the tree
// (pipes, memfd); Path gives label, for example "pipe:[7]".
func NewAnonymous(n Node, label string) *Dentry {
	d := &Dentry{Node: n, name: label}
	if a, err := n.Attr(); err == nil {
		d.kind = a.Mode & unix.S_IFMT
	}
	return d
}

// Attr is the node's, with the mount's device number where the file system has
// none of its own.
func (d *Dentry) Attr() (Attr, error) {
	a, err := d.Node.Attr()
	if a.Dev == 0 {
		a.Dev = anonymousDev
		if d.mount != nil {
			a.Dev = d.mount.dev
			if d.parent == nil && !d.IsDir() { // alone in its file system
				a.Ino = 1
			}
		}
	}
	return a, err
}

// IsDir reports a directory.
func (d *Dentry) IsDir() bool { return d.kind == unix.S_IFDIR }

// IsSymlink reports a symbolic link.
func (d *Dentry) IsSymlink() bool { return d.kind == unix.S_IFLNK }

// IsFIFO reports a pipe with or without a name.
func (d *Dentry) IsFIFO() bool { return d.kind == unix.S_IFIFO }

// Name is the last component.
func (d *Dentry) Name() string { return d.name }

// Dir is the directory that has d's name, or had it until it was removed; nil for
// the root of a mount and for what has no name.
func (d *Dentry) Dir() *Dentry { return d.parent }

// Unlinked reports that the name was removed while d was held.
func (d *Dentry) Unlinked() bool { return d.gone }

// up is the entry above d, through mount points; nil at the top.
func (d *Dentry) up() *Dentry {
	for d.parent == nil {
		if d.mount == nil || d.mount.point == nil {
			return nil
		}
		d = d.mount.point
	}
	return d.parent
}

// top is what is mounted on d last, or d.
func (d *Dentry) top() *Dentry {
	for d.cover != nil {
		d = d.cover.root
	}
	return d
}

// Parent is "..", crossing mounts and stopping at root.
func (d *Dentry) Parent(root *Dentry) *Dentry {
	for d.parent == nil {
		if d == root || d.mount == nil || d.mount.point == nil {
			return d
		}
		d = d.mount.point
	}
	if d == root {
		return d
	}
	return d.parent.top()
}

// Path is the absolute name from the namespace's root, as /proc/self/fd shows
// it: with " (deleted)" behind an unlinked name.
func (d *Dentry) Path() string {
	if d.mount == nil {
		return d.name
	}
	p, _ := d.PathFrom(nil)
	return p
}

// PathFrom is Path as seen under root; ok is false if d is not below root, and
// path then is the one from the top. Of a path much longer than PATH_MAX only the
// last part is given: every use of it is ENAMETOOLONG.
func (d *Dentry) PathFrom(root *Dentry) (path string, ok bool) {
	var names []string
	size := 0
	at := d
	for at != nil && at != root {
		for at.parent == nil && at != root && at.mount != nil && at.mount.point != nil {
			at = at.mount.point
		}
		if at == root || at.parent == nil {
			break
		}
		if size <= 2*unix.PathMax {
			names, size = append(names, at.name), size+1+len(at.name)
		}
		at = at.parent
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if len(names) == 0 {
		b.WriteByte('/')
	}
	if d.gone {
		b.WriteString(" (deleted)")
	}
	return b.String(), at == root || root == nil
}

// child finds one name without crossing the mount there. ENOENT, ENOTDIR,
// ENAMETOOLONG, and what the file system gives.
func (d *Dentry) child(name string) (*Dentry, error) {
	if d.pinned != nil {
		if c := d.pinned[name]; c != nil {
			return c, nil
		}
	}
	c := d.children[name]
	if c != nil && !d.ask {
		if c == absent {
			return nil, unix.ENOENT
		}
		return c, nil
	}
	switch {
	case d.dir == nil:
		return nil, unix.ENOTDIR
	case len(name) > unix.NAME_MAX:
		return nil, unix.ENAMETOOLONG
	case d.gone:
		return nil, unix.ENOENT
	}
	n, err := d.dir.Lookup(name)
	if err == unix.ENOENT {
		if c != nil {
			d.forget(name)
			c.gone = true
		}
		if !d.ask {
			d.remember(name, absent)
		}
	}
	if err != nil {
		return nil, err
	}
	if c != nil {
		if c.Node == n {
			return c, nil
		}
		d.forget(name)
		c.gone = true
	}
	return d.adopt(name, n)
}

// adopt gives the entry of a node that dir has under name: the faded one, if
// somebody still holds it, or a new one.
func (d *Dentry) adopt(name string, n Node) (*Dentry, error) {
	if w, ok := d.faded[name]; ok {
		delete(d.faded, name)
		if c := w.Value(); c != nil {
			if c.Node == n {
				d.remember(name, c)
				return c, nil
			}
			c.gone = true
		}
	}
	c, err := newDentry(n, d, name, d.mount)
	if err != nil {
		return nil, err
	}
	d.remember(name, c)
	return c, nil
}

func (d *Dentry) remember(name string, c *Dentry) {
	if d.children == nil {
		d.children = make(map[string]*Dentry)
	}
	// The path that name is cut from would live as long as the cache.
	d.children[strings.Clone(name)] = c
	if ns := d.mount.ns; ns.cached < ns.maxCached {
		ns.cached++
	} else {
		ns.cached = 0
		ns.fade()
	}
}

func (d *Dentry) forget(name string) {
	delete(d.children, name)
	delete(d.faded, name)
}

// fadeNames makes every cached name below d a weak one: what is not held by a
// descriptor, working directory or mount goes with the next garbage collection.
// Not recursive: a tree may be deeper than a stack.
func (d *Dentry) fadeNames() {
	for todo := []*Dentry{d}; len(todo) > 0; {
		d, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, c := range d.pinned {
			todo = append(todo, c)
		}
		for name, w := range d.faded {
			if c := w.Value(); c != nil {
				todo = append(todo, c)
			} else {
				delete(d.faded, name)
			}
		}
		for name, c := range d.children {
			if c == absent {
				continue
			}
			todo = append(todo, c)
			if d.faded == nil {
				d.faded = make(map[string]weak.Pointer[Dentry])
			}
			d.faded[name] = weak.Make(c)
		}
		d.children = nil
	}
}

// Lookup finds one name in directory d, checking search permission, and what is
// mounted there.
func (d *Dentry) Lookup(c Cred, name string) (*Dentry, error) {
	if err := d.search(c); err != nil {
		return nil, err
	}
	e, err := d.child(name)
	if err != nil {
		return nil, err
	}
	return e.top(), nil
}

// search checks that d is a directory c may search.
func (d *Dentry) search(c Cred) error {
	if d.dir == nil {
		return unix.ENOTDIR
	}
	if c.UID == 0 {
		return nil
	}
	a, err := d.Node.Attr()
	if err != nil {
		return err
	}
	return Access(a, c, MayExec)
}

// Open makes the File of a regular file or device; directories get the File
// that getdents64 reads, and O_PATH one without abilities that keeps an unlinked
// inode. Flags as Opener. ENXIO: a device nobody drives, a socket or FIFO.
func (d *Dentry) Open(flags int) (fdtable.File, error) {
	if flags&unix.O_PATH != 0 {
		return newPathFile(d.Node), nil
	}
	if flags&(unix.O_ACCMODE|unix.O_TRUNC) != 0 {
		d.used(Read | Written)
	} else {
		d.used(Read)
	}
	switch d.kind {
	case unix.S_IFDIR:
		return &dirFile{entry: d}, nil
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFCHR:
		a, err := d.Node.Attr()
		if err != nil {
			return nil, err
		}
		if d.mount != nil {
			if open := d.mount.ns.Devices[a.Rdev]; open != nil {
				return open(flags)
			}
		}
	}
	if o, ok := d.Node.(Opener); ok {
		return o.Open(flags)
	}
	return nil, unix.ENXIO
}

// pathFile is what an O_PATH descriptor holds.
type pathFile struct{ release func() }

func newPathFile(n Node) pathFile {
	if h, ok := n.(Holder); ok {
		return pathFile{h.Hold()}
	}
	return pathFile{func() {}}
}

func (f pathFile) Close() error {
	f.release()
	return nil
}
