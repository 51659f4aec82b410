//go:build linux

package vfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Changed is a path that differs from what was there at the start. A renamed
// file is one removed and one created.
type Changed struct {
	Path string // absolute, from the root asked about
	Kind ChangeKind
	Mode fs.FileMode // type and permissions, of what was removed those it had
}

func (c Changed) String() string { return fmt.Sprintf("%-8s %s", c.Kind, c.Path) }

// ChangeKind says what happened to a path.
type ChangeKind string

// The kinds of a Changed. A directory is modified if its permissions, owner or
// attributes are, not if names in it changed.
const (
	Created  ChangeKind = "created"
	Modified ChangeKind = "modified"
	Removed  ChangeKind = "removed"
)

// State is what a tree looked like, by path.
type State map[string]Attr

// Record looks at the whole tree below root, for [Changes]. What cannot be read
// is left out, and so is what lies below a path of PATH_MAX bytes.
func Record(root Node) State {
	s := make(State)
	record(s, "/", root)
	return s
}

func record(s State, p string, n Node) {
	a, err := n.Attr()
	if err != nil {
		return
	}
	s[p] = a
	if a.IsDir() && len(p) < unix.PathMax {
		for _, name := range namesIn(n) {
			if c := child(n, name); c != nil {
				record(s, path.Join(p, name), c)
			}
		}
	}
}

// Changes lists what differs in the tree below root, sorted by path: against
// start; if that is nil, for the root of an overlay against its lower tree, and
// for any other tree against an empty one. What cannot be read is left out.
func Changes(root Node, start State) []Changed {
	var d differ
	if o, ok := root.(*ovNode); ok && start == nil && o.lower != nil {
		d.full = o.o.linked
		d.overlay("/", o, o.lower)
	} else {
		d.state(Record(root), start)
	}
	slices.SortFunc(d.list, func(a, b Changed) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return d.list
}

// Record notes how the in-memory trees look now, for Changes.
func (ns *Namespace) Record() {
	for _, m := range ns.mounts {
		if _, ok := m.root.Node.(*memNode); ok {
			m.start = Record(m.root.Node)
		}
	}
}

// Changes is [Changes] of every overlay and in-memory tree that is mounted, with
// the paths of the namespace. What a guest wrote through to the host is not in
// it.
func (ns *Namespace) Changes() []Changed {
	var all []Changed
	for _, m := range ns.mounts {
		switch m.root.Node.(type) {
		case *memNode, *ovNode:
			for _, c := range Changes(m.root.Node, m.start) {
				c.Path = path.Join(m.root.Path(), c.Path)
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Changed) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

type differ struct {
	list []Changed
	full bool // look also where an overlay directory says that nothing changed
}

func (d *differ) add(p string, k ChangeKind, mode uint32) {
	d.list = append(d.list, Changed{p, k, fileMode(mode)})
}

func (d *differ) state(now, start State) {
	for p, a := range now {
		b, was := start[p]
		switch {
		case was && (differs(a, b) || a.Ino != b.Ino || !a.IsDir() && a.Ctime != b.Ctime):
			d.add(p, Modified, a.Mode)
		case !was && p != "/":
			d.add(p, Created, a.Mode)
		}
	}
	for p, b := range start {
		if _, is := now[p]; !is {
			d.add(p, Removed, b.Mode)
		}
	}
}

// differs compares what a program can have set.
func differs(a, b Attr) bool {
	return a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Rdev != b.Rdev ||
		!a.IsDir() && (a.Size != b.Size || a.Mtime != b.Mtime)
}

// overlay compares what is at p with what the lower tree has there; either may be
// nil.
func (d *differ) overlay(p string, now *ovNode, was Node) {
	var a, b Attr
	var err error
	if now != nil {
		a, err = now.Attr()
	}
	if was != nil && err == nil {
		b, err = was.Attr()
	}
	same := now != nil && now.lower == was
	switch {
	case err != nil:
		return
	case now == nil:
		d.add(p, Removed, b.Mode)
	case was == nil:
		d.add(p, Created, a.Mode)
	case (a.Mode^b.Mode)&unix.S_IFMT != 0, differs(a, b), now.wrote, !same && !a.IsDir(), !sameXattrs(now, was):
		d.add(p, Modified, a.Mode)
	}
	if len(p) >= unix.PathMax {
		return
	}
	names := make(map[string]bool)
	if same && !d.full {
		for name := range now.names {
			names[name] = true
		}
	} else {
		for i, n := range []Node{now, was} {
			if (i == 0 && a.IsDir()) || (i == 1 && b.IsDir()) {
				for _, name := range namesIn(n) {
					names[name] = true
				}
			}
		}
	}
	for name := range names {
		var c *ovNode
		if now != nil && a.IsDir() {
			c, _ = now.find(name)
		}
		var low Node
		if was != nil && b.IsDir() {
			low = child(was, name)
		}
		if c != nil || low != nil {
			d.overlay(path.Join(p, name), c, low)
		}
	}
}

func namesIn(n Node) []string {
	dir, ok := n.(Directory)
	if !ok {
		return nil
	}
	list, err := dir.ReadDir()
	if err != nil {
		return nil
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name
	}
	return names
}

func child(n Node, name string) Node {
	dir, ok := n.(Directory)
	if !ok {
		return nil
	}
	c, err := dir.Lookup(name)
	if err != nil {
		return nil
	}
	return c
}

// sameXattrs compares the attributes that an upper layer can hold.
func sameXattrs(now *ovNode, was Node) bool {
	if now.up == nil {
		return true
	}
	same := 0
	if x, ok := was.(Xattrer); ok {
		names, _ := x.ListXattr()
		for _, name := range names {
			if now.up.xattrOf(name) != nil {
				continue
			}
			v, _ := x.Xattr(name)
			if w, ok := now.up.xattrs[name]; !ok || !bytes.Equal(v, w) {
				return false
			}
			same++
		}
	}
	return same == len(now.up.xattrs)
}
