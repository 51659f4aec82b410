//go:build linux

package vfs

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"oubliette/internal/fault"
)

// use is what a descriptor of the host is open for.
type use int

const (
	asPath  use = iota // O_PATH
	toRead             // O_RDONLY
	toWrite            // O_RDWR, or O_WRONLY if that is all the host allows
)

// hostFD is a descriptor of the host that all Files of one inode share: reads
// and writes give their offset, so one is enough.
type hostFD struct {
	fd      int
	users   int
	use     use
	blind   bool // O_WRONLY
	node    *hostNode
	cleanup runtime.Cleanup
}

func newHostFD(n *hostNode, u use, fd int) *hostFD {
	f := &hostFD{fd: fd, use: u, node: n}
	hostFDs.Add(1)
	f.cleanup = runtime.AddCleanup(f, closeHost, fd)
	return f
}

func closeHost(fd int) {
	_ = unix.Close(fd)
	hostFDs.Add(-1)
}

// hostFDs counts the descriptors that all mounts of this process have open, and
// maxHostFDs is half of what RLIMIT_NOFILE allows: the rest is the caller's, which
// must not fail because a guest opens files.
var (
	hostFDs    atomic.Int64
	maxHostFDs = sync.OnceValue(func() int64 {
		var l unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
			return 512
		}
		return int64(min(l.Cur, 1<<20)) / 2
	})
)

func tooMany() bool { return hostFDs.Load() >= maxHostFDs() }

// acquire gives n's descriptor for a use, opened if it is not yet. The caller
// releases it. Only regular files are opened to read or write. ENXIO: a FIFO,
// socket or device; ESTALE: the name is another inode now; ENFILE: too many are
// open.
func (n *hostNode) acquire(u use) (*hostFD, error) {
	f := n.fds[u]
	if f == nil {
		var err error
		if u != asPath && tooMany() {
			return nil, unix.ENFILE
		}
		if f, err = n.open(u); err != nil {
			return nil, err
		}
		n.fds[u] = f
	} else if f.users == 0 {
		n.h.idle = remove(n.h.idle, f)
	}
	f.users++
	return f, nil
}

func (n *hostNode) open(u use) (*hostFD, error) {
	if u == asPath {
		if n.attr.IsDir() && n != n.h.root {
			fd, err := n.descend()
			if err != nil {
				return nil, err
			}
			return newHostFD(n, u, fd), nil
		}
		return n.openName(u, unix.O_PATH)
	}
	if !n.attr.IsRegular() {
		return nil, unix.ENXIO
	}
	if u == toRead {
		return n.openName(u, unix.O_RDONLY)
	}
	f, err := n.openName(u, unix.O_RDWR)
	if err == unix.EACCES {
		if f, err = n.openName(u, unix.O_WRONLY); err == nil {
			f.blind = true
		}
	}
	return f, err
}

// openName opens n by one of its names. A FIFO or device that took the name's
// place cannot block.
func (n *hostNode) openName(u use, flags int) (*hostFD, error) {
	flags |= unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	if flags&unix.O_PATH != 0 {
		flags = unix.O_PATH | unix.O_NOFOLLOW
	}
	var f *hostFD
	try := func(dirfd int, name string) error {
		fd, err := n.h.openat(dirfd, name, flags, 0)
		if err == unix.ELOOP {
			return unix.ESTALE // A link is there now.
		}
		if err != nil {
			return err
		}
		var a Attr
		if err = n.h.stat(fd, "", &a); err == nil && (inode{a.Dev, a.Ino}) != n.key() {
			err = unix.ESTALE
		}
		if err != nil {
			_ = unix.Close(fd)
			return err
		}
		n.attr, n.known = a, n.h.Frozen
		f = newHostFD(n, u, fd)
		return nil
	}
	for _, held := range n.fds { // An open file needs no name.
		if held != nil {
			flags &^= unix.O_NOFOLLOW
			held, _ = n.acquire(held.use) // openat gives up idle ones
			defer n.h.release(held)
			err := try(unix.AT_FDCWD, procFD(held.fd))
			return f, err
		}
	}
	if n == n.h.root {
		flags &^= unix.O_NOFOLLOW
		err := try(unix.AT_FDCWD, n.h.path)
		return f, err
	}
	err := n.each(try)
	return f, err
}

// pin calls do with some descriptor of n, which may be an O_PATH one.
func (n *hostNode) pin(do func(fd int) error) error {
	for _, f := range n.fds {
		if f != nil {
			return do(f.fd)
		}
	}
	f, err := n.acquire(asPath)
	if err != nil {
		return err
	}
	defer n.h.release(f)
	return do(f.fd)
}

// Hold is [Holder].
func (n *hostNode) Hold() func() {
	if n.h.Frozen && !n.h.Write || tooMany() {
		return func() {}
	}
	f, err := n.acquire(asPath)
	if err != nil {
		return func() {}
	}
	return func() { n.h.release(f) }
}

// release gives back what acquire gave.
func (h *host) release(f *hostFD) {
	f.users--
	if f.users > 0 {
		return
	}
	keep := f.use == asPath && f.node.attr.IsDir() || f.use == toRead && h.Frozen
	if !keep || f.node.gone {
		h.drop(f)
		return
	}
	h.keep(f)
}

// keep puts a descriptor that is not in use behind the idle ones.
func (h *host) keep(f *hostFD) {
	h.idle = append(h.idle, f)
	if len(h.idle) > maxIdle {
		h.drop(h.idle[0])
	}
}

// drop closes a descriptor.
func (h *host) drop(f *hostFD) {
	h.idle = remove(h.idle, f)
	f.node.fds[f.use] = nil
	f.cleanup.Stop()
	closeHost(f.fd)
	f.fd = -1 // the number may be another file's of this program soon
}

func remove(list []*hostFD, f *hostFD) []*hostFD {
	if i := slices.Index(list, f); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// dirfd is directory n's O_PATH descriptor, good until the next but maxIdle-1.
func (n *hostNode) dirfd() (int, error) {
	f := n.fds[asPath]
	switch {
	case f == nil:
		var err error
		if f, err = n.acquire(asPath); err != nil {
			return -1, err
		}
		n.h.release(f)
	case f.users == 0: // Now the most recently used one.
		n.h.idle = append(remove(n.h.idle, f), f)
	}
	return f.fd, nil
}

// descend opens directory n from the nearest open one above it. ENOENT: it is
// not there any more.
func (n *hostNode) descend() (int, error) {
	var names []string
	top := n
	for ; top.fds[asPath] == nil && top != n.h.root; top = top.at.dir {
		if top.gone || top.at.dir == nil || len(names) > maxDepth {
			return -1, unix.ENOENT
		}
		names = append(names, top.at.name)
	}
	slices.Reverse(names)
	base, err := top.acquire(asPath)
	if err != nil {
		return -1, err
	}
	defer n.h.release(base)
	fd, own := base.fd, false
	for len(names) > 0 {
		next, used, err := n.h.step(fd, names)
		if own {
			_ = unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd, own, names = next, true, names[used:]
	}
	var a Attr
	err = n.h.stat(fd, "", &a)
	if err == nil && (inode{a.Dev, a.Ino}) != n.key() {
		err = unix.ENOENT
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// step opens as many of the directories as one call can, and tells how many.
func (h *host) step(fd int, names []string) (next, used int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
	if !h.plain && len(names) > 1 {
		size := len(names[0])
		for used = 1; used < len(names) && size+1+len(names[used]) < unix.PathMax; used++ {
			size += 1 + len(names[used])
		}
		how := unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
		next, err = again(func() (int, error) { return unix.Openat2(fd, strings.Join(names[:used], "/"), &how) })
		switch err {
		case unix.ENOSYS, unix.EPERM: // An old kernel or seccomp.
			h.plain = true
		case unix.EAGAIN, unix.EMFILE:
		default:
			return next, used, err
		}
	}
	next, err = h.openat(fd, names[0], flags, 0)
	return next, 1, err
}

// openat is openat(2) of one name, which gives up idle descriptors if the
// process has no more.
func (h *host) openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	open := func() (int, error) { return unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode) }
	fd, err := again(open)
	if err != unix.EMFILE {
		return fd, err
	}
	for i := len(h.idle) - 1; i >= 0; i-- {
		if h.idle[i].fd != dirfd {
			h.drop(h.idle[i])
		}
	}
	return again(open)
}

// procFD is a path that leads to what a descriptor stands for, without
// following it if that is a link: for the calls that take no O_PATH descriptor.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// again makes a call until no signal comes between: those that reach the warden
// are the Go runtime's, and none of the guest's business.
func again[T any](call func() (T, error)) (T, error) {
	if err := fault.At(fault.Host, 0); err != nil {
		var none T
		return none, err
	}
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// done is again for a call without a result.
func done(call func() error) error {
	_, err := again(func() (struct{}, error) { return struct{}{}, call() })
	return err
}
