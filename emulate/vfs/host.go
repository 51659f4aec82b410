//go:build linux

package vfs

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"oubliette/internal/arena"
)

// HostOptions says how a directory or file of the host is shown. The zero value
// is read-only and live.
type HostOptions struct {
	// Write lets the guest write through to the host. What it makes belongs to
	// the caller, see Owner; set-user-ID and set-group-ID bits of files, device nodes and
	// attributes outside "user." never reach the host, because a program with
	// them would act as the caller for whoever runs it.
	Write bool
	// Frozen promises that nobody but the guest changes the files meanwhile:
	// attributes, links and listings are asked once, files are opened when
	// they are first read.
	Frozen bool
	// Chown gives new files to the guest's user and lets it change owners. The
	// caller needs CAP_CHOWN.
	Chown bool
	// Owner is whose the caller's own files are to the guest: their user and group,
	// each where it is the caller's. Nil: they are as the host has them, and a guest
	// that is another user may not write again what it has made.
	Owner *Owner
	// Repeatable leaves out what differs from run to run without anybody having
	// changed the files: listings are sorted by name, the time of the last access is
	// that of the last change, the space in use follows from the size, and half of
	// the file system is free.
	Repeatable bool
	// Room is asked before n bytes are written to the host's files, on the thread of
	// the call, and says how many may be; none is EDQUOT. Those that were not written
	// it gets back as a negative n. Nil: all may.
	Room func(n int64) int64
}

// Bounds of what a mount holds on to.
const (
	// maxIdle is how many descriptors of directories, and of frozen files, a
	// mount keeps for the next call: about the depth of a walk.
	maxIdle = 8
	// maxListed is how many names of cached listings a frozen mount holds,
	// about 8 MiB.
	maxListed = 1 << 17
	// maxPlaces is how many names a file with hard links is remembered by.
	maxPlaces = 64
	// maxDepth ends the climb to the mount's root, where host renames have
	// bent what a live mount remembers into a circle.
	maxDepth = 1 << 14
	// attrFresh is how long the attributes that Lookup fetched answer the one
	// Attr that follows it.
	attrFresh = 20 * time.Microsecond
)

// host is one mounted directory or file.
//
// A node is reached from the mount's root descriptor by openat2(2) with
// RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, or component by component with
// O_NOFOLLOW where seccomp hides openat2, and everything else is one *at call on
// a single name: no link and no ".." is ever followed by the host. os.Root gives
// the same promise, but opens every directory on the way and for reading, which
// is ten times slower and fails in directories that may only be searched.
type host struct {
	HostOptions
	path   string
	root   *hostNode
	nodes  map[inode]weak.Pointer[hostNode]
	sweep  int             // size of nodes at which the dead are removed
	idle   []*hostFD       // not in use, least recently used first
	proc   map[uint64]bool // by device: is it procfs
	plain  bool            // no openat2
	closed bool
	caller Owner
	listed int // names in cached listings
	epoch  int // of cached listings
	buf    []byte
	images images
	arena  *arena.Arena // nil: no guest runs
	shared []*hostNode  // those with pages of their own
}

// inode is an inode's identity.
type inode struct{ dev, ino uint64 }

// place is a name in a directory.
type place struct {
	dir  *hostNode
	name string
}

// hostNode is an inode of the host.
type hostNode struct {
	h     *host
	attr  Attr // as last seen
	at    place
	also  []place // further names of a file with hard links
	fds   [3]*hostFD
	seen  time.Time // when Lookup fetched attr; zero: it was used up
	known bool      // attr is good for ever (frozen)
	gone  bool      // the guest removed the last name
	link  string    // frozen: what Readlink gave
	list  []DirEntry
	epoch int
	slot  any // FIFO, socket

	shared *shared // nil: the host's file has all there is
}

// NewHost shows directory or regular file path of the host; links in path
// itself are followed. The Node is an io.Closer, which gives back what the mount
// holds when no guest uses it any more; a Node that is asked later opens the path
// again. Needs /proc.
func NewHost(path string, o HostOptions) (Node, error) {
	n, err := newHost(path, o)
	if err != nil {
		return nil, &fs.PathError{Op: "mount", Path: path, Err: err}
	}
	return n.node(), nil
}

func newHost(path string, o HostOptions) (*hostNode, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	h := &host{
		HostOptions: o,
		path:        path,
		nodes:       make(map[inode]weak.Pointer[hostNode]),
		proc:        make(map[uint64]bool),
		caller:      Owner{UID: uint32(unix.Geteuid()), GID: uint32(unix.Getegid())},
	}
	if h.Room == nil {
		h.Room = func(n int64) int64 { return n }
	}
	n := &hostNode{h: h}
	n.fds[asPath] = newHostFD(n, asPath, fd)
	n.fds[asPath].users++
	h.root = n
	if err := h.stat(fd, "", &n.attr); err != nil {
		n.Close()
		return nil, err
	}
	if err := h.enter(fd, n.attr.Dev); err != nil {
		n.Close()
		return nil, fmt.Errorf("%w: procfs shows the caller's own memory; mount a virtual one", err)
	}
	h.nodes[n.key()] = weak.Make(n)
	switch {
	case n.attr.IsDir():
		return n, nil
	case !n.attr.IsRegular():
		err = fmt.Errorf("%w: neither a directory nor a regular file", unix.ENODEV)
	default: // The mount's one descriptor is the open file.
		_, err = n.acquire(toRead)
		if err == nil && o.Write {
			_, err = n.acquire(toWrite)
		}
	}
	h.drop(n.fds[asPath])
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Close gives back the descriptors of the whole mount that no open File holds.
// Call it on the node NewHost gave.
func (n *hostNode) Close() error {
	h := n.h
	for _, f := range h.root.fds {
		if f != nil && !h.closed {
			h.release(f)
		}
	}
	h.closed = true
	for len(h.idle) > 0 {
		h.drop(h.idle[0])
	}
	return nil
}

// MountInfo is [Mounted].
func (n *hostNode) MountInfo() (source, kind, options string) {
	if n.h.Write {
		return "host", "oubliette", "rw,relatime"
	}
	return "host", "oubliette", "ro,relatime"
}

// Volatile is [Volatile].
func (n *hostNode) Volatile() bool { return !n.h.Frozen }

// Slot is [Slotter].
func (n *hostNode) Slot() *any { return &n.slot }

func (n *hostNode) key() inode { return inode{n.attr.Dev, n.attr.Ino} }

// enter looks at a file system when the tree first reaches it. EACCES: it is
// procfs, where /proc/self is the warden: its memory, environment and files.
func (h *host) enter(fd int, dev uint64) error {
	proc, ok := h.proc[dev]
	if !ok {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err != nil {
			return err
		}
		proc = st.Type == unix.PROC_SUPER_MAGIC
		h.proc[dev] = proc
	}
	if proc {
		return unix.EACCES
	}
	return nil
}

// node gives the node of an inode found under a name: the one that is in use,
// if its type and birth say that it is the same.
func (h *host) node(at place, a Attr) (*hostNode, error) {
	if a.Dev != at.dir.attr.Dev {
		if _, ok := h.proc[a.Dev]; !ok || h.proc[a.Dev] {
			if err := h.look(at, a.Dev); err != nil {
				return nil, err
			}
		}
	}
	key := inode{a.Dev, a.Ino}
	n := h.nodes[key].Value()
	if n != nil && (n.gone || (n.attr.Mode^a.Mode)&unix.S_IFMT != 0 || n.attr.Btime != a.Btime && n.fds == [3]*hostFD{}) {
		n.lost()
		n = nil
	}
	if n == nil {
		n = &hostNode{h: h}
		if len(h.nodes) >= h.sweep {
			h.bury()
		}
		h.nodes[key] = weak.Make(n)
	}
	h.steady(&a)
	n.attr, n.known = a, h.Frozen
	if !h.Frozen {
		n.seen = time.Now()
	}
	n.place(at)
	return n, nil
}

// look is enter for the file system mounted at a name.
func (h *host) look(at place, dev uint64) error {
	fd, err := at.dir.dirfd()
	if err != nil {
		return err
	}
	fd, err = h.openat(fd, at.name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return h.enter(fd, dev)
}

// bury removes the identities nobody holds any more.
func (h *host) bury() {
	for k, w := range h.nodes {
		if w.Value() == nil {
			delete(h.nodes, k)
		}
	}
	h.sweep = max(1024, 2*len(h.nodes))
}

// place remembers a name of n, the latest first to be tried.
func (n *hostNode) place(at place) {
	if n.at == at || n == n.h.root {
		return
	}
	if n.at.dir != nil && n.attr.Nlink > 1 && !n.attr.IsDir() {
		n.unplace(at)
		if n.at.dir != nil && len(n.also) < maxPlaces {
			n.also = append(n.also, n.at)
		}
	}
	at.name = strings.Clone(at.name)
	n.at = at
}

// unplace forgets a name of n.
func (n *hostNode) unplace(at place) {
	for i, p := range n.also {
		if p == at {
			n.also = append(n.also[:i:i], n.also[i+1:]...)
			break
		}
	}
	if n.at != at {
		return
	}
	n.at = place{}
	if last := len(n.also) - 1; last >= 0 {
		n.at, n.also = n.also[last], n.also[:last]
	}
}

// each calls try with the places n may be at until one does not say ESTALE.
func (n *hostNode) each(try func(dirfd int, name string) error) error {
	for {
		if n.at.dir == nil || n.gone {
			return unix.ESTALE
		}
		fd, err := n.at.dir.dirfd()
		if err == nil {
			err = try(fd, n.at.name)
		}
		if err != unix.ESTALE && err != unix.ENOENT {
			return err
		}
		if len(n.also) == 0 {
			return unix.ESTALE
		}
		n.unplace(n.at)
	}
}

// Lookup is [Directory].
func (n *hostNode) Lookup(name string) (Node, error) {
	at, fd, err := n.name(name)
	if err != nil {
		return nil, err
	}
	var a Attr
	if err := n.h.stat(fd, name, &a); err != nil {
		return nil, err
	}
	m, err := n.h.node(at, a)
	if err != nil {
		return nil, err
	}
	return m.node(), nil
}

// name prepares a call on one name in n: the only way a name gets to the host.
func (n *hostNode) name(name string) (place, int, error) {
	switch {
	case !n.attr.IsDir():
		return place{}, -1, unix.ENOTDIR
	case name == "", name == ".", name == "..", strings.ContainsAny(name, "/\x00"):
		return place{}, -1, unix.EINVAL
	}
	fd, err := n.dirfd()
	return place{n, name}, fd, err
}

// Readlink is [Readlinker].
func (n *hostNode) Readlink() (string, error) {
	if !n.attr.IsSymlink() {
		return "", unix.EINVAL
	}
	if n.link != "" {
		return n.link, nil
	}
	var buf [unix.PathMax]byte
	var link string
	err := n.each(func(dirfd int, name string) error {
		size, err := unix.Readlinkat(dirfd, name, buf[:])
		if err == unix.EINVAL {
			return unix.ESTALE // No link any more.
		}
		if err == nil {
			link = string(buf[:size])
		}
		return err
	})
	if n.h.Frozen {
		n.link = link
	}
	return link, err
}

// StatFS is [StatFSer].
func (n *hostNode) StatFS() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	err := n.pin(func(fd int) error { return unix.Fstatfs(fd, &st) })
	if n.h.Repeatable {
		const size = 1 << 24
		st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree = size, size/2, size/2, size, size/2
		st.Fsid = unix.Fsid{}
	}
	return st, err
}
