//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// POLLRDBAND and POLLWRBAND of include/uapi/asm-generic/poll.h.
const (
	pollRdBand fdtable.Events = 0x80
	pollWrBand fdtable.Events = 0x200
)

// What the three sets of select(2) mean in poll(2)'s terms, fs/select.c.
var selectEvents = [3]fdtable.Events{
	fdtable.In | fdtable.RdNorm | pollRdBand | fdtable.Hup | fdtable.Err | unix.POLLNVAL,
	fdtable.Out | fdtable.WrNorm | pollWrBand | fdtable.Err | unix.POLLNVAL,
	fdtable.Pri | unix.POLLNVAL,
}

// selection is one select(2): the descriptors asked for and in which sets.
type selection struct {
	asked [3][]byte
	ready [3][]byte
	files []*fdtable.Description
	fds   []int
}

func bit(set []byte, i int) bool { return set != nil && set[i/8]>>(i%8)&1 != 0 }

// doSelect is fs/select.c:core_sys_select. It looks at no more descriptors than
// the table has room for, so a set may be shorter than nfds says. EINVAL,
// EFAULT, EBADF, ENOMEM, ERESTARTNOHAND.
func (c *Call) doSelect(nfds int, sets [3]uint64, s sleep) (uint64, error) {
	if nfds < 0 {
		return 0, unix.EINVAL
	}
	nfds = min(nfds, c.Task.FDs.Size())
	if err := c.Sys.ipc.poll(nfds); err != nil {
		return 0, err
	}
	defer c.Sys.ipc.poll(-nfds)
	var q selection
	size := (nfds + 63) / 64 * 8
	for i, addr := range sets {
		q.ready[i] = make([]byte, size)
		if addr == 0 {
			continue
		}
		q.asked[i] = make([]byte, size)
		if err := c.Read(addr, q.asked[i]); err != nil {
			return 0, err
		}
	}
	for fd := range nfds {
		if !bit(q.asked[0], fd) && !bit(q.asked[1], fd) && !bit(q.asked[2], fd) {
			continue
		}
		d, err := c.Task.opened(fd)
		if err != nil {
			return 0, err
		}
		q.fds = append(q.fds, fd)
		q.files = append(q.files, d)
	}
	n, err := c.await(s, q.files, q.look)
	if err == ErrInterrupted {
		err = ERESTARTNOHAND
	}
	if err != nil {
		return 0, err
	}
	for i, addr := range sets {
		if addr != 0 {
			if err := c.Write(addr, q.ready[i]); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// look marks what is ready and counts the marks.
func (q *selection) look() uint64 {
	var n uint64
	for k, fd := range q.fds {
		ev := q.files[k].Ready()
		for i := range q.asked {
			if bit(q.asked[i], fd) && ev&selectEvents[i] != 0 {
				q.ready[i][fd/8] |= 1 << (fd % 8)
				n++
			}
		}
	}
	return n
}

func selectCall(c *Call) (uint64, error) {
	nfds, timeout := c.Int(0), c.Addr(4)
	s, err := c.sleepFor(timeout, 1000)
	if err != nil {
		return 0, err
	}
	n, err := c.doSelect(nfds, [3]uint64{c.Addr(1), c.Addr(2), c.Addr(3)}, s)
	return c.remaining(timeout, 1000, s, n, err)
}

func pselect6(c *Call) (uint64, error) {
	nfds, timeout, sigmask := c.Int(0), c.Addr(4), c.Addr(5)
	var sig [16]byte // const sigset_t *; size_t
	if sigmask != 0 {
		if err := c.Read(sigmask, sig[:]); err != nil {
			return 0, err
		}
	}
	s, err := c.sleepFor(timeout, 1)
	if err != nil {
		return 0, err
	}
	mask, err := c.readMask(leUint64(sig[:]), leUint64(sig[8:]))
	if err != nil {
		return 0, err
	}
	n, err := c.orSignal(mask, func() (uint64, error) {
		return c.doSelect(nfds, [3]uint64{c.Addr(1), c.Addr(2), c.Addr(3)}, s)
	})
	return c.remaining(timeout, 1, s, n, err)
}
