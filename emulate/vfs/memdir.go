//go:build linux

package vfs

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

func (n *memNode) Lookup(name string) (Node, error) {
	if n.names == nil {
		return nil, unix.ENOTDIR
	}
	if c := n.names[name]; c != nil {
		return c, nil
	}
	return nil, unix.ENOENT
}

// ReadDir sorts by inode number: the order of creation.
func (n *memNode) ReadDir() ([]DirEntry, error) {
	if n.names == nil {
		return nil, unix.ENOTDIR
	}
	n.accessed()
	if n.list == nil {
		n.list = make([]DirEntry, 0, len(n.names))
		for name, c := range n.names {
			n.list = append(n.list, DirEntry{name, c.attr.Ino, c.attr.Mode & unix.S_IFMT})
		}
		slices.SortFunc(n.list, func(a, b DirEntry) int {
			return cmp.Or(cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.Name, b.Name))
		})
	}
	return n.list, nil
}

// put gives c the name, take removes it; both mark the directory.
func (n *memNode) put(name string, c *memNode) {
	n.names[name] = c
	n.list = nil
	n.modified()
	if c.names != nil {
		c.parent = n
		n.attr.Nlink++
	}
}

func (n *memNode) take(name string, c *memNode) {
	delete(n.names, name)
	n.list = nil
	n.modified()
	if c.names != nil {
		n.attr.Nlink--
	}
}

// add makes an inode named name. ENOSPC.
func (n *memNode) add(name string, mode uint32, rdev uint64, o Owner) (*memNode, error) {
	if n.names == nil {
		return nil, unix.ENOTDIR
	}
	if n.names[name] != nil {
		return nil, unix.EEXIST
	}
	if n.parent == nil {
		return nil, unix.ENOENT
	}
	if err := n.fs.quota.inode(); err != nil {
		return nil, err
	}
	c := n.fs.newNode(mode, rdev, o)
	n.put(name, c)
	return c, nil
}

func (n *memNode) Create(name string, mode uint32, rdev uint64, o Owner) (Node, error) {
	c, err := n.add(name, mode, rdev, o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (n *memNode) Mkdir(name string, mode uint32, o Owner) (Node, error) {
	if n.attr.Nlink >= maxLinkCount {
		return nil, unix.EMLINK
	}
	return n.Create(name, mode&0o7777|unix.S_IFDIR, 0, o)
}

func (n *memNode) Symlink(name, target string, o Owner) (Node, error) {
	if int64(len(target)) > n.fs.quota.room() {
		return nil, unix.ENOSPC
	}
	c, err := n.add(name, unix.S_IFLNK|0o777, 0, o)
	if err != nil {
		return nil, err
	}
	c.setTarget(target)
	return c, nil
}

func (n *memNode) Tmpfile(mode uint32, o Owner) (Node, error) {
	if err := n.fs.quota.inode(); err != nil {
		return nil, err
	}
	c := n.fs.newNode(mode, 0, o)
	c.attr.Nlink, c.tmp = 0, true
	return c, nil
}

func (n *memNode) Link(name string, node Node) error {
	c, err := n.fs.isMem(node)
	switch {
	case err != nil:
		return err
	case n.names[name] != nil:
		return unix.EEXIST
	case n.parent == nil:
		return unix.ENOENT
	case c.attr.Nlink >= maxLinkCount:
		return unix.EMLINK
	case c.attr.Nlink == 0 && (!c.tmp || c.dead):
		return unix.ENOENT
	}
	if c.attr.Nlink > 0 { // The first name comes with the inode.
		if err := n.fs.quota.inode(); err != nil {
			return err
		}
	}
	c.tmp = false
	c.attr.Nlink++
	c.changed()
	n.put(name, c)
	return nil
}

func (n *memNode) Unlink(name string) error {
	c := n.names[name]
	switch {
	case c == nil:
		return unix.ENOENT
	case c.names != nil:
		return unix.EISDIR
	}
	n.take(name, c)
	c.unlinked()
	return nil
}

func (n *memNode) Rmdir(name string) error {
	c := n.names[name]
	switch {
	case c == nil:
		return unix.ENOENT
	case c.names == nil:
		return unix.ENOTDIR
	case len(c.names) > 0:
		return unix.ENOTEMPTY
	}
	n.take(name, c)
	c.unlinked()
	return nil
}

func (n *memNode) Rename(name string, dir Node, newname string, flags uint32) error {
	to, err := n.fs.isMem(dir)
	if err != nil {
		return err
	}
	c, old := n.names[name], to.names[newname]
	switch {
	case c == nil || flags&unix.RENAME_EXCHANGE != 0 && old == nil:
		return unix.ENOENT
	case to.parent == nil:
		return unix.ENOENT
	case old != nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case c == old:
		return nil
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		n.take(name, c)
		to.take(newname, old)
		n.put(name, old)
		to.put(newname, c)
		c.changed()
		old.changed()
		return nil
	}
	if old != nil {
		remove := to.Unlink
		switch {
		case old.names != nil && c.names == nil:
			return unix.EISDIR
		case old.names == nil && c.names != nil:
			return unix.ENOTDIR
		case c.names != nil:
			remove = to.Rmdir
		}
		if err := remove(newname); err != nil {
			return err
		}
	}
	n.take(name, c)
	to.put(newname, c)
	c.changed()
	return nil
}
