//go:build linux

package vfs

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// find is Lookup.
func (n *ovNode) find(name string) (*ovNode, error) {
	c, set := n.names[name]
	switch {
	case c != nil:
		c.dir, c.name = n, name
		return c, nil
	case set || n.lower == nil && n.isDir():
		return nil, unix.ENOENT
	}
	d, ok := n.lower.(Directory)
	if !ok {
		return nil, unix.ENOTDIR
	}
	low, err := d.Lookup(name)
	if err != nil {
		return nil, err
	}
	c = n.o.wrap(low)
	if c.dir != n || c.name != name {
		c.dir, c.name = n, strings.Clone(name)
	}
	return c, nil
}

// Lookup is [Directory].
func (n *ovNode) Lookup(name string) (Node, error) {
	c, err := n.find(name)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ReadDir is [Directory]: the lower names in their order, then the new ones.
func (n *ovNode) ReadDir() ([]DirEntry, error) {
	if n.list != nil {
		return n.list, nil
	}
	var list []DirEntry
	if d, ok := n.lower.(Directory); ok {
		var err error
		if list, err = d.ReadDir(); err != nil || len(n.names) == 0 {
			return list, err
		}
	} else if !n.isDir() {
		return nil, unix.ENOTDIR
	}
	old := make(map[string]bool)
	merged := make([]DirEntry, 0, len(list)+len(n.names))
	for _, e := range list {
		c, set := n.names[e.Name]
		if !set {
			merged = append(merged, e)
		} else if c != nil {
			old[e.Name] = true
			merged = append(merged, c.entry(e.Name))
		}
	}
	made := len(merged)
	for name, c := range n.names {
		if c != nil && !old[name] {
			merged = append(merged, c.entry(name))
		}
	}
	slices.SortFunc(merged[made:], func(a, b DirEntry) int {
		return cmp.Or(cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.Name, b.Name))
	})
	if !n.o.volatile {
		n.list = merged
	}
	return merged, nil
}

func (n *ovNode) entry(name string) DirEntry {
	a, _ := n.Attr()
	return DirEntry{name, a.Ino, a.Mode & unix.S_IFMT}
}

// set makes c the node of a name, or removes the lower one.
func (n *ovNode) set(name string, c *ovNode) {
	if n.names == nil {
		n.names = make(map[string]*ovNode)
	}
	n.names[strings.Clone(name)] = c
	n.list = nil
}

// put gives c a name and take removes it; both mark the directory.
func (n *ovNode) put(name string, c *ovNode) {
	n.set(name, c)
	c.dir, c.name = n, strings.Clone(name)
	n.changedNames(c, 1)
}

func (n *ovNode) take(name string, c *ovNode) {
	below := false
	if d, ok := n.lower.(Directory); ok {
		_, err := d.Lookup(name)
		below = err != unix.ENOENT
	}
	if below {
		n.set(name, nil)
	} else {
		delete(n.names, name)
		n.list = nil
	}
	n.changedNames(c, -1)
}

// changedNames marks directory n after a name of c came or went. Times are not
// worth failing for when the quota is used up.
func (n *ovNode) changedNames(c *ovNode, d int) {
	n.keep()
	if n.raise() == nil {
		n.up.modified()
	}
	if c.isDir() {
		n.relink(d)
	}
}

// relink counts a name of n more or less.
func (n *ovNode) relink(d int) {
	n.links += d
	if n.up == nil {
		n.keep()
		return
	}
	if a := &n.up.attr; !a.IsDir() || a.Nlink > 1 {
		a.Nlink = uint32(max(int(a.Nlink)+d, 0))
	}
}

// touch moves ctime.
func (n *ovNode) touch() {
	if n.raise() == nil {
		n.up.changed()
	}
}

// add makes an inode with a name. EEXIST, ENOENT, ENOSPC.
func (n *ovNode) add(name string, mode uint32, rdev uint64, owner Owner) (*ovNode, error) {
	switch _, err := n.find(name); {
	case err == nil:
		return nil, unix.EEXIST
	case err != unix.ENOENT:
		return nil, err
	case n.gone:
		return nil, unix.ENOENT
	}
	dir, err := n.Attr()
	if err != nil {
		return nil, err
	}
	c, err := n.o.make(mode, rdev, owner)
	if err != nil {
		return nil, err
	}
	c.up.attr.Dev, c.up.attr.Nlink = dir.Dev, 1
	if c.up.attr.IsDir() {
		c.up.attr.Nlink = 2
	}
	n.put(name, c)
	return c, nil
}

// Create is [Creator].
func (n *ovNode) Create(name string, mode uint32, rdev uint64, owner Owner) (Node, error) {
	if mode&unix.S_IFMT == 0 {
		mode |= unix.S_IFREG
	}
	c, err := n.add(name, mode, rdev, owner)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Mkdir is [Mkdirer].
func (n *ovNode) Mkdir(name string, mode uint32, owner Owner) (Node, error) {
	return n.Create(name, mode&0o7777|unix.S_IFDIR, 0, owner)
}

// Symlink is [Symlinker].
func (n *ovNode) Symlink(name, target string, owner Owner) (Node, error) {
	if int64(len(target)) > n.o.mem.quota.room() {
		return nil, unix.ENOSPC
	}
	c, err := n.add(name, unix.S_IFLNK|0o777, 0, owner)
	if err != nil {
		return nil, err
	}
	c.up.setTarget(target)
	return c, nil
}

// Tmpfile is [TmpfileMaker].
func (n *ovNode) Tmpfile(mode uint32, owner Owner) (Node, error) {
	c, err := n.o.make(mode, 0, owner)
	if err != nil {
		return nil, err
	}
	c.up.tmp = true
	return c, nil
}

// own is the node of this overlay that a Node is. EXDEV.
func (n *ovNode) own(node Node) (*ovNode, error) {
	if c, ok := node.(*ovNode); ok && c.o == n.o {
		return c, nil
	}
	return nil, unix.EXDEV
}

// Link is [Linker].
func (n *ovNode) Link(name string, node Node) error {
	c, err := n.own(node)
	if err != nil {
		return err
	}
	a, err := c.Attr()
	if err != nil {
		return err
	}
	switch _, err := n.find(name); {
	case err == nil:
		return unix.EEXIST
	case err != unix.ENOENT:
		return err
	case n.gone, a.Nlink == 0 && (c.up == nil || !c.up.tmp || c.up.dead):
		return unix.ENOENT
	case a.Nlink >= maxLinkCount:
		return unix.EMLINK
	}
	if a.Nlink == 0 {
		c.up.tmp, c.up.attr.Nlink = false, 1
		c.touch()
		n.put(name, c)
		return nil
	}
	if c.links >= 0 { // A name that lower does not have.
		if err := n.o.mem.quota.inode(); err != nil {
			return err
		}
	}
	c.touch()
	c.relink(1)
	n.put(name, c)
	return nil
}

// Unlink is [Unlinker].
func (n *ovNode) Unlink(name string) error {
	c, err := n.find(name)
	if err != nil {
		return err
	}
	if c.isDir() {
		return unix.EISDIR
	}
	n.remove(name, c)
	return nil
}

// Rmdir is [Rmdirer].
func (n *ovNode) Rmdir(name string) error {
	c, err := n.find(name)
	if err != nil {
		return err
	}
	list, err := c.ReadDir()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return unix.ENOTEMPTY
	}
	n.remove(name, c)
	return nil
}

// remove takes a name from c, and the inode with its last one.
func (n *ovNode) remove(name string, c *ovNode) {
	n.take(name, c)
	c.dir = nil
	if c.isDir() {
		c.gone = true
		if c.up != nil {
			c.up.attr.Nlink = 0
		}
	} else {
		if a, err := c.Attr(); err == nil && a.Nlink > 1 {
			c.touch()
		}
		if c.links > 0 {
			c.o.mem.quota.add(0, -1)
		}
		c.relink(-1)
	}
	if a, err := c.Attr(); err == nil && a.Nlink == 0 {
		delete(c.o.changed, c)
	}
	if c.up != nil {
		c.up.drop()
	}
}

// Rename is [Renamer].
func (n *ovNode) Rename(name string, dir Node, newname string, flags uint32) error {
	to, err := n.own(dir)
	if err != nil {
		return err
	}
	c, err := n.find(name)
	if err != nil {
		return err
	}
	old, err := to.find(newname)
	switch {
	case err != nil && (err != unix.ENOENT || flags&unix.RENAME_EXCHANGE != 0):
		return err
	case to.gone:
		return unix.ENOENT
	case old != nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case c == old:
		return nil
	case flags&unix.RENAME_EXCHANGE != 0:
		n.take(name, c)
		to.take(newname, old)
		n.put(name, old)
		to.put(newname, c)
		c.touch()
		old.touch()
		return nil
	}
	if old != nil {
		remove := to.Unlink
		switch {
		case old.isDir() && !c.isDir():
			return unix.EISDIR
		case !old.isDir() && c.isDir():
			return unix.ENOTDIR
		case c.isDir():
			remove = to.Rmdir
		}
		if err := remove(newname); err != nil {
			return err
		}
	}
	n.take(name, c)
	to.put(newname, c)
	c.touch()
	return nil
}
