//go:build linux

package emulate

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/abi"
)

// Bounds of /proc/sys/fs/inotify, and one for the events of a whole jail, because
// they lie in the host's memory.
const (
	maxInotify        = 128   // instances
	maxInotifyWatches = 65536 // in all instances
	maxEvents         = 16384 // of an instance
	maxEventsOfAll    = 65536 // of all: about 20 MiB with the longest names
	inotifyEventSize  = 16    // struct inotify_event without the name
)

// inotify is an inotify instance: a File that reads as a stream of events.
type inotify struct {
	sys      *System
	byWd     map[int32]*watch
	byNode   map[vfs.Node]*watch
	lastWd   int32
	events   []event
	lost     bool // an overflow event is in the queue
	readable fdtable.Queue
}

// watch is one watch; it ends with its inode, its instance or by itself.
type watch struct {
	in   *inotify
	dn   *dnotify // instead of in
	wd   int32
	node vfs.Node
	mask uint32
}

// event is struct inotify_event.
type event struct {
	wd           int32
	mask, cookie uint32
	name         string
}

func (e event) size() int {
	if e.name == "" {
		return inotifyEventSize
	}
	return inotifyEventSize + (len(e.name)+16)&^15
}

func inotify_init(c *Call) (uint64, error) { return c.as(inotify_init1) }

func inotify_init1(c *Call) (uint64, error) {
	flags := c.Flags(0)
	if flags&^(unix.IN_CLOEXEC|unix.IN_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	if c.Sys.watches.instances >= maxInotify {
		return 0, unix.EMFILE
	}
	c.Sys.watches.instances++
	in := &inotify{sys: c.Sys, byWd: make(map[int32]*watch), byNode: make(map[vfs.Node]*watch)}
	d := fdtable.NewDescription(in, vfs.NewAnonymous(anonInode{}, "anon_inode:inotify"), flags&unix.IN_NONBLOCK)
	return c.install(d, flags&unix.IN_CLOEXEC != 0)
}

// Bits of inotify_add_watch's mask that are no events.
const (
	inKept = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
	inAll  = inKept | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW | unix.IN_IGNORED | unix.IN_ONLYDIR |
		unix.IN_DONT_FOLLOW | unix.IN_MASK_ADD | unix.IN_MASK_CREATE | unix.IN_ISDIR
)

func inotify_add_watch(c *Call) (uint64, error) {
	fd, pathname, mask := c.FD(0), 1, c.Uint(2)
	if mask&^inAll != 0 || mask == 0 {
		return 0, unix.EINVAL
	}
	in, _, err := fileOf[*inotify](c.Task, fd, unix.EINVAL)
	switch {
	case err == unix.EBADF:
		return 0, err
	case mask&(unix.IN_MASK_ADD|unix.IN_MASK_CREATE) == unix.IN_MASK_ADD|unix.IN_MASK_CREATE:
		return 0, unix.EINVAL
	case err != nil:
		return 0, err
	}
	path, err := c.pathArg(pathname, 0)
	if err != nil {
		return 0, err
	}
	flags := 0
	if mask&unix.IN_DONT_FOLLOW != 0 {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	e, err := c.entryAt(unix.AT_FDCWD, path, flags)
	if err != nil {
		return 0, err
	}
	if mask&unix.IN_ONLYDIR != 0 && !e.IsDir() {
		return 0, unix.ENOTDIR
	}
	a, err := e.Attr()
	if err == nil {
		err = vfs.Access(a, c.Task.Access(), vfs.MayRead)
	}
	if err != nil {
		return 0, err
	}
	wd, err := in.add(e.Node, mask)
	return uint64(wd), err
}

// add watches n, or changes the watch there is. EEXIST, ENOSPC.
func (in *inotify) add(n vfs.Node, mask uint32) (int32, error) {
	if w := in.byNode[n]; w != nil {
		switch {
		case mask&unix.IN_MASK_CREATE != 0:
			return 0, unix.EEXIST
		case mask&unix.IN_MASK_ADD != 0:
			w.mask |= mask & inKept
		default:
			w.mask = mask & inKept
		}
		return w.wd, nil
	}
	if in.sys.watches.count >= maxInotifyWatches {
		return 0, unix.ENOSPC
	}
	in.lastWd++
	w := &watch{in: in, wd: in.lastWd, node: n, mask: mask & inKept}
	in.byWd[w.wd], in.byNode[n] = w, w
	in.sys.watches.hook(w)
	return w.wd, nil
}

func (all *watches) hook(w *watch) {
	all.count++
	if all.by == nil {
		all.by = make(map[vfs.Node][]*watch)
	}
	all.by[w.node] = append(all.by[w.node], w)
}

func inotify_rm_watch(c *Call) (uint64, error) {
	fd, wd := c.FD(0), int32(c.Int(1))
	in, _, err := fileOf[*inotify](c.Task, fd, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	w := in.byWd[wd]
	if w == nil {
		return 0, unix.EINVAL
	}
	w.remove(&in.sys.watches)
	return 0, nil
}

// remove ends the watch and says so with IN_IGNORED.
func (w *watch) remove(all *watches) {
	w.unhook(all)
	if w.in != nil {
		w.in.queue(event{wd: w.wd, mask: unix.IN_IGNORED})
	}
}

func (w *watch) unhook(all *watches) {
	all.count--
	if in := w.in; in != nil {
		delete(in.byWd, w.wd)
		delete(in.byNode, w.node)
	}
	list := slices.DeleteFunc(slices.Clone(all.by[w.node]), func(x *watch) bool { return x == w })
	if len(list) > 0 {
		all.by[w.node] = list
	} else {
		delete(all.by, w.node)
	}
}

// queue adds an event unless it repeats the last one not read yet
// (fs/notify/inotify/inotify_fsnotify.c:inotify_merge); one too many becomes
// IN_Q_OVERFLOW.
func (in *inotify) queue(e event) {
	if e.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
		e.mask &^= unix.IN_ISDIR
	}
	if n := len(in.events); n > 0 {
		if last := in.events[n-1]; last.mask&unix.IN_IGNORED == 0 && last.wd == e.wd &&
			last.mask == e.mask && last.name == e.name {
			return
		}
	}
	if len(in.events) >= maxEvents || in.sys.watches.queued >= maxEventsOfAll {
		if in.lost {
			return
		}
		in.lost = true
		e = event{wd: -1, mask: unix.IN_Q_OVERFLOW}
	}
	// The path that the name is cut from must not live as long as the event.
	e.name = strings.Clone(e.name)
	in.events = append(in.events, e)
	in.sys.watches.queued++
	in.readable.Wake()
}

// Read gives as many whole events as fit. EAGAIN: none is there. EINVAL: the
// first does not fit.
func (in *inotify) Read(p []byte) (int, error) {
	if len(in.events) == 0 {
		return 0, unix.EAGAIN
	}
	out := p[:0]
	i := 0
	for ; i < len(in.events) && len(out)+in.events[i].size() <= len(p); i++ {
		e := in.events[i]
		out = abi.AppendInotify(out, e.wd, e.mask, e.cookie, e.name)
		in.lost = in.lost && e.mask&unix.IN_Q_OVERFLOW == 0
	}
	if i == 0 {
		return 0, unix.EINVAL
	}
	in.drop(i)
	return len(out), nil
}

// drop forgets the first n events.
func (in *inotify) drop(n int) {
	clear(in.events[:n])
	in.events = in.events[n:]
	in.sys.watches.queued -= n
}

func (in *inotify) Poll() fdtable.Events {
	if len(in.events) == 0 {
		return 0
	}
	return fdtable.In | fdtable.RdNorm
}

func (in *inotify) Queue() *fdtable.Queue { return &in.readable }

// Ioctl knows FIONREAD: the bytes that a read could give.
func (in *inotify) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	n := 0
	for _, e := range in.events {
		n += e.size()
	}
	return 0, mem.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(n)))
}

// Seek does nothing (noop_llseek).
func (in *inotify) Seek(d *fdtable.Description, _ int64, _ int) (int64, error) { return d.Offset, nil }

// Close ends every watch.
func (in *inotify) Close() error {
	for _, w := range in.byWd {
		w.unhook(&in.sys.watches)
	}
	in.drop(len(in.events))
	in.sys.watches.instances--
	return nil
}
