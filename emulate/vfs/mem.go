//go:build linux

package vfs

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/arena"
)

const (
	blockSize = 4096
	// maxLinkCount is tmpfs's and ext4's order of magnitude: EMLINK beyond.
	maxLinkCount = 65000
	// tmpfsMagic is f_type of statfs(2): programs know it as memory.
	tmpfsMagic = 0x01021994
	// dirEntryBytes is what a directory's size grows by for each name, as on
	// tmpfs.
	dirEntryBytes = 20
)

// MemOptions says what a Mem may hold. The zero value is an empty tree with
// bounds wider than need be, owned by user 0, on the host's clock.
type MemOptions struct {
	Bytes  int64  // of pages in use; 0: 64 GiB. ENOSPC beyond
	Inodes int64  // inodes and further names; 0: one for each KiB, at most a million
	Within *Quota // a bound shared with others; nil: none
	Mode   uint32 // of the root directory; 0: 0755
	Owner  Owner  // of the root directory
	// Now is the clock of the time stamps; nil: time.Now, and in a jail the
	// jail's.
	Now func() time.Time
}

// Mem is a POSIX file system in memory.
type Mem struct {
	opt     MemOptions
	quota   *Quota
	root    *memNode
	ino     uint64 // last one given
	arena   *arena.Arena
	settled map[*content]bool // those with a slot of arena; false: the file is gone

	unclocked bool // MemOptions named no clock
}

// NewMem returns an empty file system; Root is what to mount.
func NewMem(opt MemOptions) *Mem {
	unclocked := opt.Now == nil
	if unclocked {
		opt.Now = time.Now
	}
	if opt.Mode == 0 {
		opt.Mode = 0o755
	}
	if opt.Bytes == 0 {
		opt.Bytes = 64 << 30
	}
	if opt.Inodes == 0 {
		opt.Inodes = min(max(opt.Bytes/1024, 1024), 1<<20)
	}
	m := &Mem{opt: opt, quota: &Quota{Bytes: opt.Bytes, Inodes: opt.Inodes, Within: opt.Within}, settled: make(map[*content]bool), unclocked: unclocked}
	m.root = m.newNode(unix.S_IFDIR|opt.Mode&0o7777, 0, opt.Owner)
	m.root.parent = m.root
	m.quota.add(0, 1)
	return m
}

// UseArena makes files mappable, by slots of a. Nil ends that: all content is
// taken out of the arena, which may then be closed; this can fail for want of
// memory.
func (m *Mem) UseArena(a *arena.Arena) error {
	if m.arena == a {
		return nil
	}
	for c, there := range m.settled {
		if !there {
			c.charge(0)
		} else if err := c.detach(); err != nil {
			return err
		}
		delete(m.settled, c)
	}
	m.arena = a
	return nil
}

// Root is the file system's root directory.
func (m *Mem) Root() Node { return m.root }

func (m *Mem) now() unix.Timespec { return unix.NsecToTimespec(m.opt.Now().UnixNano()) }

// memNode is an inode of any type.
type memNode struct {
	fs     *Mem
	attr   Attr
	opens  int  // Files and holds
	dead   bool // no name, no use: content is gone
	tmp    bool // made by Tmpfile: may get a name
	xattrs map[string][]byte

	// Directory.
	parent *memNode // itself for the root, nil once removed
	names  map[string]*memNode
	list   []DirEntry // what ReadDir gives, nil after a change

	target string // symbolic link
	slot   any    // FIFO, socket

	// Regular file.
	data  *content
	seals int // F_SEAL_*
}

// newNode makes an inode with no name yet.
func (m *Mem) newNode(mode uint32, rdev uint64, o Owner) *memNode {
	m.ino++
	t := m.now()
	n := &memNode{fs: m, attr: Attr{
		Ino: m.ino, Rdev: rdev, Mode: mode, Nlink: 1, UID: o.UID, GID: o.GID,
		BlockSize: blockSize, Atime: t, Mtime: t, Ctime: t, Btime: t,
	}}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.attr.Nlink, n.names = 2, make(map[string]*memNode)
	case unix.S_IFREG:
		n.data, n.seals = &content{quota: m.quota}, unix.F_SEAL_SEAL
	}
	return n
}

// isMem asserts that a Node given back to the file system is one of its own.
func (m *Mem) isMem(n Node) (*memNode, error) {
	if k, ok := n.(*memNode); ok && k.fs == m {
		return k, nil
	}
	return nil, unix.EXDEV
}

func (n *memNode) Attr() (Attr, error) {
	a := n.attr
	switch {
	case n.names != nil:
		a.Size = int64(2+len(n.names)) * dirEntryBytes
	case a.IsSymlink():
		a.Size = int64(len(n.target))
	case n.data != nil:
		if n.data.shared {
			n.data.survey()
			n.data.account()
		}
		a.Size, a.Blocks = n.data.size, n.data.pages*(blockSize/512)
	}
	return a, nil
}

// Volatile: Go code may write to the tree behind the namespace's back, and to
// ask a map is as quick as to remember its answer.
func (n *memNode) Volatile() bool { return true }

// MountInfo is the line of /proc/self/mounts.
func (n *memNode) MountInfo() (source, kind, options string) { return "tmpfs", "tmpfs", "rw,relatime" }

// accessed is relatime: a read moves atime only if it is behind the last change,
// or a day old (fs/inode.c:relatime_need_update).
func (n *memNode) accessed() {
	now, a := n.fs.now(), &n.attr
	if !after(a.Atime, a.Mtime) || !after(a.Atime, a.Ctime) || now.Sec-a.Atime.Sec >= 24*60*60 {
		a.Atime = now
	}
}

func after(t, u unix.Timespec) bool { return t.Sec > u.Sec || t.Sec == u.Sec && t.Nsec > u.Nsec }

// changed notes a change of the inode, modified also one of its content.
func (n *memNode) changed() { n.attr.Ctime = n.fs.now() }

func (n *memNode) modified() {
	n.attr.Ctime = n.fs.now()
	n.attr.Mtime = n.attr.Ctime
}

// unlinked notes that one name of n is gone.
func (n *memNode) unlinked() {
	n.changed()
	n.attr.Nlink--
	if n.names != nil {
		n.attr.Nlink, n.parent = 0, nil
	}
	if n.attr.Nlink > 0 {
		n.fs.quota.add(0, -1)
	}
	n.drop()
}

// drop frees what an inode without names or users holds. A slot that guests may
// have mapped counts until the arena knows that none has.
func (n *memNode) drop() {
	if n.attr.Nlink > 0 || n.opens > 0 || n.dead {
		return
	}
	n.dead = true
	n.fs.quota.add(-n.xattrBytes()-int64(len(n.target)), -1)
	n.xattrs = nil
	c := n.data
	if c == nil {
		return
	}
	n.data = &content{quota: c.quota}
	gone := func() {
		delete(n.fs.settled, c)
		c.charge(0)
	}
	switch {
	case c.slot.Valid() && c.mapped:
		n.fs.settled[c] = false
		n.fs.arena.Retire(c.slot, gone)
		return
	case c.slot.Valid():
		_ = c.slot.Free() // One that cannot be emptied is not used again.
	}
	gone()
}

// Hold keeps the content of an inode without a name.
func (n *memNode) Hold() func() {
	n.opens++
	return func() {
		n.opens--
		n.drop()
	}
}

func (n *memNode) Readlink() (string, error) {
	if !n.attr.IsSymlink() {
		return "", unix.EINVAL
	}
	n.accessed()
	return n.target, nil
}

// setTarget makes n a link to target, whose bytes count: a million links of the
// longest paths are no small thing.
func (n *memNode) setTarget(target string) {
	n.target = target
	n.fs.quota.add(int64(len(target)), 0)
}

// Slot is where a FIFO or socket keeps what is behind its name.
func (n *memNode) Slot() *any { return &n.slot }

func (n *memNode) SetAttr(c Change) error {
	a := &n.attr
	if c.Mode != nil {
		if n.seals&unix.F_SEAL_EXEC != 0 && (a.Mode^*c.Mode)&0o111 != 0 {
			return unix.EPERM
		}
		a.Mode = a.Mode&unix.S_IFMT | *c.Mode&0o7777
	}
	if c.UID != nil {
		a.UID = *c.UID
	}
	if c.GID != nil {
		a.GID = *c.GID
	}
	if c.Atime != nil {
		a.Atime = *c.Atime
	}
	if c.Mtime != nil {
		a.Mtime = *c.Mtime
	}
	n.changed()
	return nil
}

func (n *memNode) StatFS() (unix.Statfs_t, error) {
	m := n.fs
	s := unix.Statfs_t{Type: tmpfsMagic, Bsize: blockSize, Frsize: blockSize, Namelen: unix.NAME_MAX}
	s.Blocks = uint64(m.opt.Bytes+blockSize-1) / blockSize
	s.Bfree = uint64(m.quota.room()) / blockSize
	s.Bavail = s.Bfree
	s.Files = uint64(m.opt.Inodes)
	s.Ffree = uint64(max(m.opt.Inodes-m.quota.inodes, 0))
	return s, nil
}
