//go:build linux

package emulate

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	// epollEventSize is sizeof(struct epoll_event), packed on x86-64.
	epollEventSize = 12
	// maxEpollEvents is EP_MAX_EVENTS.
	maxEpollEvents = (1<<31 - 1) / epollEventSize
)

// collect is ep_send_events: at most room events, each item's turn in order. What
// is level-triggered goes to the end of the list to be asked again.
func (c *Call) collect(ep *epoll, events uint64, room int) (uint64, error) {
	var out []byte
	var taken []*epollItem
	var masks []fdtable.Events
	for n := ep.ready.Len(); n > 0 && len(taken) < room; n-- {
		i := ep.first()
		ep.unlist(i)
		ev := i.current()
		if ev == 0 {
			continue
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(ev))
		out = binary.LittleEndian.AppendUint64(out, i.data)
		taken, masks = append(taken, i), append(masks, i.events)
		if i.events&unix.EPOLLONESHOT != 0 {
			i.events &= epollPrivate
		} else if i.events&unix.EPOLLET == 0 {
			ep.push(i)
		}
	}
	if err := c.Write(events, out); err != nil {
		for k, i := range taken {
			i.events = masks[k]
			ep.push(i)
		}
		return 0, err
	}
	return uint64(len(taken)), nil
}

// doEpollWait is fs/eventpoll.c:do_epoll_wait. EBADF, EINVAL, EFAULT, EINTR.
func (c *Call) doEpollWait(epfd int, events uint64, maxevents int, s sleep, mask *uint64) (uint64, error) {
	d, err := c.Task.opened(epfd)
	if err != nil {
		return 0, err
	}
	if maxevents <= 0 || maxevents > maxEpollEvents {
		return 0, unix.EINVAL
	}
	if events > taskSize || events+uint64(maxevents)*epollEventSize > taskSize {
		return 0, unix.EFAULT
	}
	ep, ok := d.File.(*epoll)
	if !ok {
		return 0, unix.EINVAL
	}
	d.Retain()
	defer d.Release()
	return c.WithSignalMask(mask, func() (uint64, error) {
		var stop error
		for {
			n, err := c.collect(ep, events, maxevents)
			if n > 0 || err != nil || s.zero {
				return n, err
			}
			if stop != nil {
				return 0, stop
			}
			ep.sleepers++
			stop = c.Wait(s.deadline, &ep.queue)
			ep.sleepers--
			switch stop {
			case unix.ETIMEDOUT:
				s.zero = true
			case ErrInterrupted:
				stop = unix.EINTR // what is ready goes first
			}
		}
	})
}

// milliseconds is a timeout of poll(2) and epoll_wait(2).
func (c *Call) milliseconds(ms int) sleep {
	if ms < 0 {
		return sleep{}
	}
	return sleep{c.Sys.After(time.Duration(ms) * time.Millisecond), ms == 0}
}

func epoll_wait(c *Call) (uint64, error) {
	epfd, events, maxevents, timeout := c.FD(0), c.Addr(1), c.Int(2), c.Int(3)
	return c.doEpollWait(epfd, events, maxevents, c.milliseconds(timeout), nil)
}

func epoll_pwait(c *Call) (uint64, error) {
	epfd, events, maxevents, timeout, sigmask, sigsetsize := c.FD(0), c.Addr(1), c.Int(2), c.Int(3), c.Addr(4), c.Size(5)
	mask, err := c.readMask(sigmask, sigsetsize)
	if err != nil {
		return 0, err
	}
	return c.doEpollWait(epfd, events, maxevents, c.milliseconds(timeout), mask)
}

func epoll_pwait2(c *Call) (uint64, error) {
	epfd, events, maxevents, timeout, sigmask, sigsetsize := c.FD(0), c.Addr(1), c.Int(2), c.Addr(3), c.Addr(4), c.Size(5)
	s, err := c.sleepFor(timeout, 1)
	if err != nil {
		return 0, err
	}
	mask, err := c.readMask(sigmask, sigsetsize)
	if err != nil {
		return 0, err
	}
	return c.doEpollWait(epfd, events, maxevents, s, mask)
}
