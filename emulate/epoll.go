//go:build linux

package emulate

import (
	"container/list"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	// maxEpollNests is EP_MAX_NESTS: epolls that watch epolls.
	maxEpollNests = 4
	// maxWatches bounds the items of a jail (fs.epoll.max_user_watches): ENOSPC.
	maxWatches = 1 << 18

	epollPrivate  fdtable.Events = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	epollOwn                     = epollPrivate &^ unix.EPOLLONESHOT
	epollShutdown                = fdtable.Err | fdtable.Hup
)

// epoll is struct eventpoll. What is perhaps ready is in a list, so that a wait
// costs as much as there is to report.
type epoll struct {
	ipc      *ipcState
	items    map[epollKey]*epollItem
	nested   map[*epollItem]struct{} // those of items that are epolls
	refs     map[*epollItem]struct{} // items of other epolls for this one
	ready    list.List               // of *epollItem
	queue    fdtable.Queue
	sleepers int    // tasks in epoll_wait
	woken    uint64 // the wake-up that was passed on last
	checked  uint64 // the loop check that came by last, and what it found
	depth    int
}

// epollKey: one description may be watched under several numbers.
type epollKey struct {
	fd int
	d  *fdtable.Description
}

// epollItem is struct epitem.
type epollItem struct {
	epollKey
	ep     *epoll
	events fdtable.Events
	data   uint64
	waiter fdtable.Waiter
	queue  *fdtable.Queue // the waiter's
	listed *list.Element  // its place in the ready list, or nil
}

// push puts i at the end of the ready list.
func (ep *epoll) push(i *epollItem) {
	if i.listed == nil {
		i.listed = ep.ready.PushBack(i)
	}
}

// unlist takes i out of the ready list.
func (ep *epoll) unlist(i *epollItem) {
	if i.listed != nil {
		ep.ready.Remove(i.listed)
		i.listed = nil
	}
}

// first is what has been in the ready list longest, nil if that is empty.
func (ep *epoll) first() *epollItem {
	if front := ep.ready.Front(); front != nil {
		return front.Value.(*epollItem)
	}
	return nil
}

// notice is ep_poll_callback: the file may be ready. One event passes each epoll
// only once, however many ways lead there.
func (i *epollItem) notice() {
	if i.events&^epollPrivate == 0 {
		return // EPOLLONESHOT is spent
	}
	i.ep.push(i)
	if _, nested := i.d.File.(*epoll); !nested {
		i.ep.ipc.wakes++
	}
	if i.ep.woken != i.ep.ipc.wakes {
		i.ep.woken = i.ep.ipc.wakes
		i.ep.queue.Wake()
	}
}

// current is what i has to report now.
func (i *epollItem) current() fdtable.Events { return i.d.Ready() & i.events &^ epollPrivate }

// arm sets what i waits for and looks once.
func (i *epollItem) arm(events fdtable.Events, data uint64) {
	i.events, i.data = events|epollShutdown, data
	i.waiter.Events = i.events &^ epollPrivate
	if i.current() != 0 {
		i.ep.ipc.wakes++
		i.notice()
	}
}

// Ioctl knows none (fs/eventpoll.c:ep_eventpoll_ioctl), and says so in its own way.
func (ep *epoll) Ioctl(fdtable.Memory, uint32, uint64) (uint64, error) { return 0, unix.EINVAL }

// insert is ep_insert. ENOSPC, ELOOP.
func (ep *epoll) insert(k epollKey, events fdtable.Events, data uint64) error {
	if ep.ipc.watches >= maxWatches {
		return unix.ENOSPC
	}
	i := &epollItem{epollKey: k, ep: ep, queue: k.d.Queue()}
	if below, ok := k.d.File.(*epoll); ok {
		below.refs[i] = struct{}{}
		ep.nested[i] = struct{}{}
	}
	ep.items[k] = i
	ep.ipc.watches++
	ep.ipc.watch(i)
	i.waiter.Woken = i.notice
	switch {
	case i.queue == nil:
	case events&unix.EPOLLEXCLUSIVE != 0:
		i.waiter.Exclusive = func() bool { return ep.sleepers > 0 }
		i.queue.Add(&i.waiter)
	default:
		i.queue.AddFirst(&i.waiter)
	}
	i.arm(events, data)
	return nil
}

// remove is ep_remove.
func (ep *epoll) remove(i *epollItem) {
	if i.queue != nil {
		i.queue.Remove(&i.waiter)
	}
	if below, ok := i.d.File.(*epoll); ok {
		delete(below.refs, i)
		delete(ep.nested, i)
	}
	ep.unlist(i)
	delete(ep.items, i.epollKey)
	delete(ep.ipc.watched[i.d], i)
	ep.ipc.watches--
}

// watch notes that i goes when its description is released. One hook serves all
// items a description ever has.
func (ipc *ipcState) watch(i *epollItem) {
	d := i.d
	if ipc.watched == nil {
		ipc.watched = make(map[*fdtable.Description]map[*epollItem]struct{})
	}
	if ipc.watched[d] == nil {
		ipc.watched[d] = make(map[*epollItem]struct{})
		d.OnRelease(func() {
			for i := range ipc.watched[d] {
				i.ep.remove(i)
			}
			delete(ipc.watched, d)
		})
	}
	ipc.watched[d][i] = struct{}{}
}

// below is ep_loop_check_proc: how deep the epolls under ep are nested, too deep
// if one of them is top.
func (ep *epoll) below(top *epoll, depth int) int {
	if ep.checked == ep.ipc.checks {
		return ep.depth
	}
	ep.checked, ep.depth = ep.ipc.checks, 0
	for i := range ep.nested {
		next := i.d.File.(*epoll)
		if next == top || depth > maxEpollNests {
			ep.depth = maxEpollNests + 1
		} else {
			ep.depth = max(ep.depth, next.below(top, depth+1)+1)
		}
		if ep.depth > maxEpollNests {
			break
		}
	}
	return ep.depth
}

// above is ep_get_upwards_depth_proc.
func (ep *epoll) above(depth int) int {
	if ep.checked == ep.ipc.checks {
		return ep.depth
	}
	ep.checked, ep.depth = ep.ipc.checks, 0
	for i := range ep.refs {
		if depth > maxEpollNests {
			break
		}
		ep.depth = max(ep.depth, i.ep.above(depth+1)+1)
	}
	return ep.depth
}

// loops is ep_loop_check: whether ep may not watch target.
func (ep *epoll) loops(target *epoll) bool {
	ep.ipc.checks++
	down := target.below(ep, 0)
	if down > maxEpollNests {
		return true
	}
	ep.ipc.checks++
	return down+1+ep.above(0) > maxEpollNests
}

func (ep *epoll) Close() error {
	for _, i := range ep.items {
		ep.remove(i)
	}
	return nil
}

// Poll drops from the ready list what is not ready after all.
func (ep *epoll) Poll() fdtable.Events {
	for i := ep.first(); i != nil; i = ep.first() {
		if i.current() != 0 {
			return fdtable.In | fdtable.RdNorm
		}
		ep.unlist(i)
	}
	return 0
}

func (ep *epoll) Queue() *fdtable.Queue { return &ep.queue }

func epoll_create1(c *Call) (uint64, error) {
	flags := c.Flags(0)
	if flags&^unix.EPOLL_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	ep := &epoll{ipc: &c.Sys.ipc, items: make(map[epollKey]*epollItem),
		nested: make(map[*epollItem]struct{}), refs: make(map[*epollItem]struct{})}
	return c.installAnon(ep, "[eventpoll]", 0, flags&unix.EPOLL_CLOEXEC != 0)
}

func epoll_create(c *Call) (uint64, error) {
	if size := c.Int(0); size <= 0 {
		return 0, unix.EINVAL
	}
	return c.as(epoll_create1)
}

func epoll_ctl(c *Call) (uint64, error) {
	epfd, op, fd, event := c.FD(0), c.Int(1), c.FD(2), c.Addr(3)
	var ev struct {
		Events fdtable.Events
		Data   uint64
	}
	if op != unix.EPOLL_CTL_DEL {
		if err := c.ReadValue(event, &ev); err != nil {
			return 0, err
		}
	}
	epd, err := c.Task.opened(epfd)
	if err != nil {
		return 0, err
	}
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	if _, ok := d.File.(fdtable.Poller); !ok {
		return 0, unix.EPERM
	}
	ep, ok := epd.File.(*epoll)
	if !ok || d == epd {
		return 0, unix.EINVAL
	}
	below, nested := d.File.(*epoll)
	if op != unix.EPOLL_CTL_DEL && ev.Events&unix.EPOLLEXCLUSIVE != 0 {
		const allowed = fdtable.In | fdtable.Out | epollShutdown | epollOwn
		if op == unix.EPOLL_CTL_MOD || nested || ev.Events&^allowed != 0 {
			return 0, unix.EINVAL
		}
	}
	if op == unix.EPOLL_CTL_ADD && nested && ep.loops(below) {
		return 0, unix.ELOOP
	}
	key := epollKey{fd, d}
	i := ep.items[key]
	switch {
	case op == unix.EPOLL_CTL_ADD && i != nil:
		return 0, unix.EEXIST
	case op == unix.EPOLL_CTL_ADD:
		return 0, ep.insert(key, ev.Events, ev.Data)
	case op != unix.EPOLL_CTL_MOD && op != unix.EPOLL_CTL_DEL:
		return 0, unix.EINVAL
	case i == nil:
		return 0, unix.ENOENT
	case op == unix.EPOLL_CTL_DEL:
		ep.remove(i)
	case i.events&unix.EPOLLEXCLUSIVE != 0:
		return 0, unix.EINVAL
	default:
		i.arm(ev.Events, ev.Data)
	}
	return 0, nil
}
