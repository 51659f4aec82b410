//go:build linux && amd64

package jail

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// await waits until the file takes more. false: halted reports true.
func (h *hostFile) await(halted func() bool) bool {
	for !halted() {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLOUT}}
		if h.writing.Load() {
			fds[0].Fd = -1
		}
		if n, _ := unix.Poll(fds, int(haltTime/time.Millisecond)); n > 0 {
			return true
		}
	}
	return false
}

// haltTime is how long await takes to be halted.
const haltTime = 20 * time.Millisecond

// poll asks for readiness without waiting.
func (h *hostFile) poll(events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(h.fd), Events: events}}
	_, _ = unix.Poll(fds, 0)
	if h.writing.Load() {
		return fds[0].Revents &^ writable
	}
	return fds[0].Revents
}

// writable is POLLOUT and POLLWRNORM.
const writable = unix.POLLOUT | 0x100

// Poll is the file's readiness.
func (h *hostFile) Poll() fdtable.Events {
	const all = unix.POLLIN | writable | unix.POLLPRI | unix.POLLRDHUP | 0x40
	got := h.poll(all)
	if h.missing = (unix.POLLIN | unix.POLLOUT) &^ got; h.missing != 0 && !h.queue.Empty() {
		h.arm()
	}
	return fdtable.Events(uint16(got))
}

// Queue is woken when what was last missing may be there.
func (h *hostFile) Queue() *fdtable.Queue {
	if h.plain() {
		return nil
	}
	h.arm()
	return &h.queue
}

// arm starts the goroutine that sleeps in poll(2) for the queue, unless one does.
func (h *hostFile) arm() {
	s := h.streams
	if h.armed || s.closed || h.missing == 0 {
		return
	}
	timeout := -1
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	fd, err2 := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 3)
	if firstError(err, err2) != nil { // EMFILE: who waits looks again soon
		timeout = int(haltTime / time.Millisecond)
	}
	h.armed, h.stop = true, stop
	s.polled = append(s.polled, h)
	events := h.missing
	if h.writing.Load() { // which ends with a wake-up
		events &^= writable
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(stop), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, timeout); err != unix.EINTR {
				break
			}
		}
		_ = unix.Close(fd)
		if h.woken != nil {
			h.woken()
		} else {
			s.post(h.wake)
		}
	}()
}

// halt ends arm's goroutine.
func (h *hostFile) halt() { _, _ = unix.Write(h.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// wake is told that arm's goroutine has ended.
func (h *hostFile) wake() {
	h.armed = false
	_ = unix.Close(h.stop)
	h.streams.polled = slices.DeleteFunc(h.streams.polled, func(o *hostFile) bool { return o == h })
	h.queue.Wake()
}

// waitingFor reports that a task waits for a stream that it reads (POLLIN), or that has
// not taken what it wrote (POLLOUT).
func (s *streams) waitingFor(event int16) bool {
	return slices.ContainsFunc(s.polled, func(h *hostFile) bool {
		if h.queue.Empty() || s.terminal != nil && (h == s.terminal.from || h == s.terminal.to) {
			return false
		}
		if event == unix.POLLOUT {
			return h.missing == unix.POLLOUT
		}
		return h.missing&event != 0 && h.accessMode()&unix.O_ACCMODE != unix.O_WRONLY
	})
}
