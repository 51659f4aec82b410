//go:build linux

package vfs

import (
	"io"
	"weak"

	"golang.org/x/sys/unix"
)

// overlay is a tree whose changes are taken in memory.
//
// There is one node for each inode whichever layer its parts are in, and a
// directory holds only the names that differ from its lower directory's. So an
// inode keeps its number, its device and its other names when it is changed,
// open files see the change, and a lower directory is renamed by moving its node,
// which still refers to the lower one. Of a file's content the blocks that were
// written are above, the others are read below.
type overlay struct {
	mem      *Mem // holds what was changed, without names
	root     *ovNode
	dev      uint64
	ino      uint64                        // last one given
	nodes    map[Node]weak.Pointer[ovNode] // by lower node
	changed  map[*ovNode]struct{}          // lower nodes that must not be forgotten
	sweep    int                           // size of nodes at which the dead are removed
	linked   bool                          // a lower file with several links has changed
	volatile bool
}

// firstInode is where inode numbers of new files start: above what file systems
// of the host use, and exact in a float64.
const firstInode = 1 << 52

// NewOverlay shows the tree of lower and takes every change of it in memory, in
// an upper layer with the bounds and the clock of upper: lower is never written.
// What was changed keeps its inode and device number, and new files are on their
// directory's device. The Node is an io.Closer, which closes lower.
//
// The lower tree should be frozen; what changes in it shows where the guest has
// changed nothing. What the caller may not read there the guest cannot read
// either, whatever permissions it gives itself. A read-only mapping made before a file was first changed keeps
// the old content, unless its descriptor was open for writing.
func NewOverlay(lower Node, upper MemOptions) (Node, error) {
	a, err := lower.Attr()
	if err != nil {
		return nil, err
	}
	o := &overlay{
		mem: NewMem(upper), dev: a.Dev, ino: firstInode,
		nodes: make(map[Node]weak.Pointer[ovNode]), changed: make(map[*ovNode]struct{}),
	}
	if v, ok := lower.(Volatile); ok {
		o.volatile = v.Volatile()
	}
	o.root = o.wrap(lower)
	return o.root, nil
}

// ovNode is an inode of an overlay.
type ovNode struct {
	o     *overlay
	lower Node     // nil: made here
	up    *memNode // attributes and content of what was changed; nil: as lower
	links int      // names, or subdirectories, more than lower has or than the first
	opens int      // Files and holds
	dir   *ovNode  // a name of the node, the one that was used last
	name  string
	slot  any // FIFO, socket

	// Directory.
	names map[string]*ovNode // what differs from lower; nil: removed
	list  []DirEntry         // what ReadDir gives; nil after a change
	gone  bool

	// Regular file.
	lent   int64    // bytes, from the start, that lower gives but for those copied
	copied []blocks // that up gives, ascending, none beside another
	blocks int64    // how many those are
	wrote  bool     // the content has changed
}

// wrap gives the node of a lower one.
func (o *overlay) wrap(lower Node) *ovNode {
	if n := o.nodes[lower].Value(); n != nil {
		return n
	}
	if len(o.nodes) >= o.sweep {
		for k, w := range o.nodes {
			if w.Value() == nil {
				delete(o.nodes, k)
			}
		}
		o.sweep = max(1024, 2*len(o.nodes))
	}
	n := &ovNode{o: o, lower: lower}
	o.nodes[lower] = weak.Make(n)
	return n
}

// make gives a new inode without a name. ENOSPC.
func (o *overlay) make(mode uint32, rdev uint64, owner Owner) (*ovNode, error) {
	up, err := o.inode(mode, owner)
	if err != nil {
		return nil, err
	}
	o.ino++
	up.attr.Ino, up.attr.Dev, up.attr.Rdev = o.ino, o.dev, rdev
	return &ovNode{o: o, up: up}, nil
}

func (o *overlay) inode(mode uint32, owner Owner) (*memNode, error) {
	if err := o.mem.quota.inode(); err != nil {
		return nil, err
	}
	n := o.mem.newNode(mode, 0, owner)
	n.attr.Nlink = 0
	return n, nil
}

// raise copies the attributes of a lower inode up, so that they can be changed;
// its content stays below. ENOSPC.
func (n *ovNode) raise() error {
	if n.up != nil {
		return nil
	}
	a, err := n.lower.Attr()
	if err != nil {
		return err
	}
	up, err := n.o.inode(a.Mode, Owner{a.UID, a.GID})
	if err != nil {
		return err
	}
	if err := n.raiseContent(up, a); err != nil {
		up.drop()
		return err
	}
	b := &up.attr
	b.Dev, b.Ino, b.Rdev, b.Nlink = a.Dev, a.Ino, a.Rdev, n.nlink(a)
	b.Atime, b.Mtime, b.Ctime, b.Btime = a.Atime, a.Mtime, a.Ctime, a.Btime
	up.opens += n.opens
	n.up = up
	n.o.linked = n.o.linked || a.Nlink > 1 && !a.IsDir()
	n.keep()
	return nil
}

func (n *ovNode) raiseContent(up *memNode, a Attr) error {
	if x, ok := n.lower.(Xattrer); ok {
		names, _ := x.ListXattr()
		for _, name := range names {
			if v, err := x.Xattr(name); err == nil {
				if err := up.SetXattr(name, v, 0); err == unix.ENOSPC {
					return err
				}
			}
		}
	}
	switch {
	case a.IsSymlink():
		r, ok := n.lower.(Readlinker)
		if !ok {
			return unix.EINVAL
		}
		target, err := r.Readlink()
		if err == nil {
			up.setTarget(target)
		}
		return err
	case a.IsRegular():
		n.lent = a.Size
		return up.Truncate(a.Size)
	}
	return nil
}

// nlink is st_nlink, given the lower attributes. A directory with 1 is of a file
// system that does not count.
func (n *ovNode) nlink(lower Attr) uint32 {
	if n.gone {
		return 0
	}
	if lower.IsDir() && lower.Nlink < 2 {
		return lower.Nlink
	}
	return uint32(max(int(lower.Nlink)+n.links, 0))
}

// keep holds a lower node that differs from the lower tree, and the names that
// lead to it.
func (n *ovNode) keep() {
	if n.lower != nil {
		n.o.changed[n] = struct{}{}
	}
	for ; n.dir != nil; n = n.dir {
		if _, set := n.dir.names[n.name]; set || n.gone {
			return
		}
		n.dir.set(n.name, n)
	}
}

// Attr is the lower attributes until they are changed.
func (n *ovNode) Attr() (Attr, error) {
	if n.up == nil {
		a, err := n.lower.Attr()
		if n.links != 0 || n.gone {
			a.Nlink = n.nlink(a)
		}
		return a, err
	}
	a, err := n.up.Attr()
	if n.lower == nil {
		return a, err
	}
	if a.IsDir() {
		l, err := n.lower.Attr()
		a.Size, a.Blocks = l.Size, l.Blocks
		return a, err
	}
	if n.lent > 0 {
		a.Blocks += (blocksOf(n.lent) - n.blocks) * (blockSize / 512)
	}
	return a, err
}

func (n *ovNode) isDir() bool {
	if n.up != nil {
		return n.up.attr.IsDir()
	}
	a, err := n.lower.Attr()
	return err == nil && a.IsDir()
}

// Volatile is [Volatile].
func (n *ovNode) Volatile() bool { return n.o.volatile }

// MountInfo is [Mounted].
func (n *ovNode) MountInfo() (source, kind, options string) {
	return "overlay", "overlay", "rw,relatime"
}

// StatFS is [StatFSer]: the room there is for changes.
func (n *ovNode) StatFS() (unix.Statfs_t, error) {
	s, err := n.o.mem.root.StatFS()
	s.Type = unix.OVERLAYFS_SUPER_MAGIC
	return s, err
}

// Close is the lower tree's.
func (n *ovNode) Close() error {
	if c, ok := n.o.root.lower.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Slot is [Slotter].
func (n *ovNode) Slot() *any { return &n.slot }

// Hold is [Holder].
func (n *ovNode) Hold() func() {
	n.hold(1)
	return func() { n.hold(-1) }
}

func (n *ovNode) hold(d int) {
	n.opens += d
	if n.up != nil {
		n.up.opens += d
		n.up.drop()
	}
}

// Readlink is [Readlinker].
func (n *ovNode) Readlink() (string, error) {
	if n.up != nil {
		return n.up.Readlink()
	}
	if r, ok := n.lower.(Readlinker); ok {
		return r.Readlink()
	}
	return "", unix.EINVAL
}

// SetAttr is [AttrSetter].
func (n *ovNode) SetAttr(c Change) error {
	if err := n.raise(); err != nil {
		return err
	}
	return n.up.SetAttr(c)
}

// Xattr is [Xattrer].
func (n *ovNode) Xattr(name string) ([]byte, error) {
	if n.up != nil {
		return n.up.Xattr(name)
	}
	if x, ok := n.lower.(Xattrer); ok {
		return x.Xattr(name)
	}
	return nil, unix.ENODATA
}

// ListXattr is [Xattrer].
func (n *ovNode) ListXattr() ([]string, error) {
	if n.up != nil {
		return n.up.ListXattr()
	}
	if x, ok := n.lower.(Xattrer); ok {
		return x.ListXattr()
	}
	return nil, nil
}

// SetXattr is [Xattrer].
func (n *ovNode) SetXattr(name string, value []byte, flags int) error {
	if err := n.raise(); err != nil {
		return err
	}
	return n.up.SetXattr(name, value, flags)
}

// RemoveXattr is [Xattrer].
func (n *ovNode) RemoveXattr(name string) error {
	if err := n.raise(); err != nil {
		return err
	}
	return n.up.RemoveXattr(name)
}
