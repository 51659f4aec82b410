//go:build linux

package vfs

// Use is what was done with an entry, for who wants to know what a guest needs.
type Use uint8

// The uses of an entry. What failed is none, but that it was looked up.
const (
	Seen    Use = 1 << iota // found, as the end of a path or a link on its way
	Read                    // opened
	Written                 // opened to be written, or its attributes were to be set
	Listed                  // a directory's names
	Names                   // names in a directory were made or removed
	Moved                   // the name was removed, replaced, or given to another file too
)

// used tells [Namespace.Used].
func (d *Dentry) used(u Use) {
	if d.mount != nil && d.mount.ns.Used != nil {
		d.mount.ns.Used(d, u)
	}
}

// moves notes that a name went from d to e: they must be in one mount.
func (d *Dentry) moves(e *Dentry) {
	d.used(Names)
	e.used(Names)
	if d == e || d.mount == nil || d.mount.ns.Used == nil {
		return
	}
	for d != nil && !e.below(d) {
		d = d.parent
	}
	if d != nil {
		d.used(Names | Listed)
	}
}
