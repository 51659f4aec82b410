//go:build linux

package vfs

import "oubliette/fdtable"

// Dentry is a name in the guest's tree: a node, where it hangs and what it is
// called there. It is how a description, a working directory and a root remember
// their place, and it moves with a rename.
type Dentry struct {
	Node   Node
	parent *Dentry // nil for a root, and for an unlinked name
	name   string
}

// Namespace is the tree of mounts a jail shows.
type Namespace struct {
	root *Dentry
}

// Cred is whom permission checks are for. UID 0 passes them all but execute on
// a file nobody may execute.
type Cred struct {
	UID, GID uint32
	Groups   []uint32
}

// Bits of the mask Access checks.
const (
	MayRead  = 4
	MayWrite = 2
	MayExec  = 1
)

// Walk says how a path is resolved; its methods are the one path walker.
type Walk struct {
	Root, Start *Dentry
	Cred        Cred
	NoFollow    bool   // do not follow a symbolic link in the last place
	Missing     bool   // the last component may be missing
	Resolve     uint64 // RESOLVE_* of openat2(2)
}

// Found is where a walk ended.
type Found struct {
	Dir    *Dentry // directory of the last component, links followed
	Name   string  // the last component; "" for the root itself, or "." or ".."
	Dentry *Dentry // nil: missing, only if Walk.Missing
	Slash  bool    // the path ended in a slash
}

const unwritten = "unwritten"

// NewNamespace returns a tree with root node root.
func NewNamespace(root Node) *Namespace { panic(unwritten) }

// Root is the namespace's root.
func (ns *Namespace) Root() *Dentry { return ns.root }

// Mount covers the entry at path, which is made (as a virtual name that only the
// mount gives) if the file system below has none.
func (ns *Namespace) Mount(path string, n Node) error { panic(unwritten) }

// Do resolves path. ENOENT, ENOTDIR, EACCES, ELOOP (40 links), ENAMETOOLONG,
// EXDEV and EAGAIN (Resolve).
func (w Walk) Do(path string) (Found, error) { panic(unwritten) }

// Access checks permission bits: mask of MayRead, MayWrite, MayExec. EACCES.
func Access(a Attr, c Cred, mask uint32) error { panic(unwritten) }

// Path is the absolute name from the namespace's root, as /proc/self/fd shows
// it: with " (deleted)" behind an unlinked name.
func (d *Dentry) Path() string { panic(unwritten) }

// PathFrom is Path as seen under root; ok is false if d is not below root.
func (d *Dentry) PathFrom(root *Dentry) (path string, ok bool) { panic(unwritten) }

// Parent is "..", crossing mounts and stopping at root.
func (d *Dentry) Parent(root *Dentry) *Dentry { panic(unwritten) }

// Name is the last component.
func (d *Dentry) Name() string { return d.name }

// Unlinked reports that the name was removed while d was held.
func (d *Dentry) Unlinked() bool { panic(unwritten) }

// NewAnonymous returns a nameless entry for what has no place in the tree
// (pipes, memfd); Path gives label, for example "pipe:[7]".
func NewAnonymous(n Node, label string) *Dentry { panic(unwritten) }

// Lookup finds one name in directory d, checking search permission.
func (d *Dentry) Lookup(c Cred, name string) (*Dentry, error) { panic(unwritten) }

// Create, Mkdir and Symlink make name in directory d after checking write and
// search permission; mode has the umask applied already. S_ISGID directories
// give their group. EEXIST, EACCES, EROFS, ENOENT (d was removed).
func (d *Dentry) Create(c Cred, name string, mode uint32, rdev uint64) (*Dentry, error) {
	panic(unwritten)
}

// Mkdir is see Create.
func (d *Dentry) Mkdir(c Cred, name string, mode uint32) (*Dentry, error) { panic(unwritten) }

// Symlink is see Create.
func (d *Dentry) Symlink(c Cred, name, target string) (*Dentry, error) { panic(unwritten) }

// Link gives target one more name in d. EXDEV, EPERM (a directory), EEXIST.
func (d *Dentry) Link(c Cred, name string, target *Dentry) (*Dentry, error) { panic(unwritten) }

// Unlink and Rmdir remove name; sticky directories are honoured, mount points
// are EBUSY.
func (d *Dentry) Unlink(c Cred, name string) error { panic(unwritten) }

// Rmdir is see Unlink.
func (d *Dentry) Rmdir(c Cred, name string) error { panic(unwritten) }

// Rename moves name to newname in newdir. EXDEV across mounts, EINVAL into
// itself, and the rest of renameat2(2).
func (d *Dentry) Rename(c Cred, name string, newdir *Dentry, newname string, flags uint32) error {
	panic(unwritten)
}

// Open makes the File of a regular file or device; directories get the File
// that getdents64 reads. Flags as Opener.
func (d *Dentry) Open(flags int) (fdtable.File, error) { panic(unwritten) }
