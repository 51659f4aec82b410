//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	// SPLICE_F_MOVE, NONBLOCK, MORE and GIFT, fcntl.h.
	spliceNonblock = 2
	spliceAll      = 0xf
)

// spliceEnd is one side of a transfer: what kind it is and where.
type spliceEnd struct {
	d    *fdtable.Description
	pipe *pipe // nil: some other file
	off  int64 // -1: the description's own offset
}

func (e spliceEnd) nonblock() bool { return e.d.Flags&unix.O_NONBLOCK != 0 }

// spliceEnd is descriptor argument i as one side; off is the pointer to its
// offset. EBADF, ESPIPE, EFAULT, and EINVAL for a stream with an offset or a
// negative one.
func (c *Call) spliceEnd(i int, off uint64, out bool) (spliceEnd, error) {
	d, err := c.Task.opened(c.FD(i))
	if err != nil {
		return spliceEnd{}, err
	}
	e := spliceEnd{d: d, off: -1}
	if f, ok := d.File.(*pipeFile); ok {
		e.pipe = f.pipe
	}
	if off == 0 {
		return e, nil
	}
	if e.pipe != nil {
		return e, unix.ESPIPE
	}
	if err := c.ReadValue(off, &e.off); err != nil {
		return e, err
	}
	_, seeks := d.File.(io.ReaderAt)
	if out {
		_, seeks = d.File.(io.WriterAt)
	}
	if !seeks || e.off < 0 {
		return e, unix.EINVAL
	}
	return e, nil
}

// awaitRoom is fs/splice.c:wait_for_space and opipe_prep.
func (c *Call) awaitRoom(p *pipe, nonblock bool) error {
	for {
		switch {
		case p.readers == 0:
			c.brokenPipe()
			return unix.EPIPE
		case !p.full():
			return nil
		case nonblock:
			return unix.EAGAIN
		}
		if err := c.Wait(0, &p.write); err != nil {
			return err
		}
	}
}

// awaitData is ipipe_prep: nil also at the end of file.
func (c *Call) awaitData(p *pipe, nonblock bool) error {
	for len(p.bufs) == 0 && p.writers > 0 {
		if nonblock {
			return unix.EAGAIN
		}
		if err := c.Wait(0, &p.read); err != nil {
			return err
		}
	}
	return nil
}

// brokenPipe sends SIGPIPE to the calling thread, as a write that nobody will
// read does.
func (c *Call) brokenPipe() { _ = c.Task.post(c.userSignal(int(unix.SIGPIPE), siUser), false) }

// move is splice_pipe_to_pipe; with keep set link_pipe, which copies (tee).
func (p *pipe) move(to *pipe, n int, keep bool) int {
	moved, full := 0, p.full()
	for i := 0; moved < n && len(p.bufs) > i && !to.full(); {
		b := &p.bufs[i]
		k := min(len(b.data)-b.off, n-moved)
		switch {
		case !keep && k == len(b.data)-b.off:
			to.bufs = append(to.bufs, *b)
			p.bufs = p.bufs[1:]
		default:
			to.bufs = append(to.bufs, pipeBuffer{data: append(to.page(), b.data[b.off:b.off+k]...), packet: b.packet})
			if keep {
				i++
			} else {
				b.off += k
			}
		}
		moved += k
	}
	if full && !p.full() {
		p.wakeWriters()
	}
	if moved > 0 {
		to.wakeReaders()
	}
	return moved
}

func splice(c *Call) (uint64, error) {
	offIn, offOut, size, flags := c.Addr(1), c.Addr(3), c.Size(4), c.Uint(5)
	if size == 0 {
		return 0, nil
	}
	if flags&^spliceAll != 0 {
		return 0, unix.EINVAL
	}
	in, err := c.spliceEnd(0, offIn, false)
	if _, e := c.Task.opened(c.FD(2)); e != nil && err != unix.EBADF {
		err = e
	}
	if err != nil {
		return 0, err
	}
	out, err := c.spliceEnd(2, offOut, true)
	if err != nil {
		return 0, err
	}
	if in.d.Flags&unix.O_ACCMODE == unix.O_WRONLY || out.d.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, unix.EBADF
	}
	defer in.d.Retain().Release()
	defer out.d.Retain().Release()
	n := int(min(size, 1<<30))
	nonblock := flags&spliceNonblock != 0
	switch {
	case in.pipe != nil && out.pipe != nil:
		n, err = c.pipeToPipe(in, out, n, nonblock, false)
	case in.pipe != nil:
		n, err = c.pipeToFile(in, out, n, nonblock || in.nonblock())
	case out.pipe != nil:
		n, err = c.fileToPipe(in, out, n, nonblock || out.nonblock())
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	for _, e := range []struct {
		spliceEnd
		addr uint64
	}{{in, offIn}, {out, offOut}} {
		if e.addr != 0 {
			if err := c.WriteValue(e.addr, e.off+int64(n)); err != nil {
				return 0, err
			}
		}
	}
	return uint64(n), nil
}

// pipeToPipe waits for something to move and for room. EINVAL for one pipe.
func (c *Call) pipeToPipe(in, out spliceEnd, n int, nonblock, keep bool) (int, error) {
	if in.pipe == out.pipe {
		return 0, unix.EINVAL
	}
	nonblock = nonblock || in.nonblock() || out.nonblock()
	for {
		if err := c.awaitData(in.pipe, nonblock); err != nil {
			return 0, err
		}
		if err := c.awaitRoom(out.pipe, nonblock); err != nil {
			return 0, err
		}
		if k := in.pipe.move(out.pipe, n, keep); k > 0 || in.pipe.writers == 0 {
			return k, nil
		}
	}
}

// fileToPipe is splice_file_to_pipe: what there is and fits.
func (c *Call) fileToPipe(in, out spliceEnd, n int, nonblock bool) (int, error) {
	for {
		if err := c.awaitRoom(out.pipe, nonblock); err != nil {
			return 0, err
		}
		p := make([]byte, min(n, out.pipe.room()))
		k, err := in.d.ReadFile(p, in.off)
		if err == nil {
			for b := p[:k]; len(b) > 0; {
				page := min(len(b), pipePage)
				out.pipe.bufs = append(out.pipe.bufs, pipeBuffer{data: append(out.pipe.page(), b[:page]...)})
				b = b[page:]
			}
			out.pipe.wakeReaders()
			return k, nil
		}
		if err != unix.EAGAIN || in.nonblock() || in.d.Queue() == nil {
			return 0, err
		}
		if err := c.Wait(0, in.d.Queue()); err != nil {
			return 0, err
		}
	}
}

// pipeToFile is iter_file_splice_write: until n, or the pipe is empty.
func (c *Call) pipeToFile(in, out spliceEnd, n int, nonblock bool) (int, error) {
	if out.d.Flags&unix.O_APPEND != 0 {
		return 0, unix.EINVAL
	}
	if err := c.awaitData(in.pipe, nonblock); err != nil {
		return 0, err
	}
	done := 0
	for done < n && len(in.pipe.bufs) > 0 {
		b := in.pipe.next()
		b = b[:min(len(b), n-done)]
		off := out.off
		if off >= 0 {
			off += int64(done)
		}
		k, err := out.d.WriteFile(b, off)
		if err == unix.EAGAIN && done == 0 && !out.nonblock() && out.d.Queue() != nil {
			if err := c.Wait(0, out.d.Queue()); err != nil {
				return 0, err
			}
			continue
		}
		if err == unix.EPIPE {
			c.brokenPipe()
		}
		if err != nil && done == 0 {
			return 0, err
		}
		in.pipe.take(k)
		done += k
		if err != nil || k < len(b) {
			break
		}
	}
	return done, nil
}

func tee(c *Call) (uint64, error) {
	size, flags := c.Size(2), c.Uint(3)
	if flags&^spliceAll != 0 {
		return 0, unix.EINVAL
	}
	if size == 0 {
		return 0, nil
	}
	in, err := c.spliceEnd(0, 0, false)
	if err != nil {
		return 0, err
	}
	out, err := c.spliceEnd(1, 0, true)
	if err != nil {
		return 0, err
	}
	if in.d.Flags&unix.O_ACCMODE == unix.O_WRONLY || out.d.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, unix.EBADF
	}
	if in.pipe == nil || out.pipe == nil {
		return 0, unix.EINVAL
	}
	defer in.d.Retain().Release()
	defer out.d.Retain().Release()
	n, err := c.pipeToPipe(in, out, int(min(size, 1<<30)), flags&spliceNonblock != 0, true)
	return uint64(n), err
}
