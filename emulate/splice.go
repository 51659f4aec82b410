//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// spliceAll is SPLICE_F_ALL of include/linux/splice.h.
const spliceAll = 0xf

// spliceEnd is one side of a transfer: what kind it is and where.
type spliceEnd struct {
	d    *fdtable.Description
	pipe *pipe // nil: some other file
	off  int64 // -1: the description's own offset
	odd  bool  // a stream with an offset, or a negative one: EINVAL
}

func (e spliceEnd) nonblock() bool { return e.d.Flags&unix.O_NONBLOCK != 0 }

// spliceEnd is descriptor argument i as one side; off is the pointer to its
// offset. EBADF, ESPIPE, EFAULT.
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
	e.odd = !seeks || e.off < 0
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
	if in.odd || out.odd {
		return 0, unix.EINVAL
	}
	defer in.d.Retain().Release()
	defer out.d.Retain().Release()
	n := int(min(size, 1<<30))
	nonblock := flags&unix.SPLICE_F_NONBLOCK != 0
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

// fill puts in what there is room for, in pages that no write is merged into.
func (p *pipe) fill(b []byte) {
	for len(b) > 0 {
		n := min(len(b), pipePage)
		p.bufs = append(p.bufs, pipeBuffer{data: append(p.page(), b[:n]...)})
		b = b[n:]
	}
	p.wakeReaders()
}

// splices says whether a file that is no pipe has splice_read or splice_write in
// its struct file_operations.
func splices(f fdtable.File) bool {
	switch f.(type) {
	case *pipeFile, *eventCounter, *inotify, *signalFile, *timerFile:
		return false
	}
	return true
}

// fileToPipe is splice_file_to_pipe: what there is and fits. EINVAL: the file is
// not one to splice from.
func (c *Call) fileToPipe(in, out spliceEnd, n int, nonblock bool) (int, error) {
	for {
		if err := c.awaitRoom(out.pipe, nonblock); err != nil {
			return 0, err
		}
		if !splices(in.d.File) {
			return 0, unix.EINVAL
		}
		p := c.Sys.chunk(uint64(min(n, out.pipe.room())))
		k, err := in.d.ReadFile(p, in.off)
		if err == nil {
			out.pipe.fill(p[:k])
			c.Sys.notifyFile(in.d, unix.IN_ACCESS)
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
	if out.d.Flags&unix.O_APPEND != 0 || !splices(out.d.File) {
		return 0, unix.EINVAL
	}
	if err := c.awaitData(in.pipe, nonblock); err != nil {
		return 0, err
	}
	if _, seeks := out.d.File.(io.WriterAt); seeks {
		t := transfer{c: c, d: out.d, n: uint64(n)}
		at := out.off
		if at < 0 {
			at = out.d.Offset
		}
		if err := t.limit(at); err != nil {
			return 0, err
		}
		n = int(t.n)
	}
	done, err := c.drain(in.pipe, out, n)
	if err == unix.EPIPE {
		c.brokenPipe()
	}
	if done > 0 {
		c.Sys.notifyFile(out.d, unix.IN_MODIFY)
		err = nil
	}
	return done, err
}

// drain writes what is in the pipe, at most n bytes, waiting only for the first.
func (c *Call) drain(from *pipe, to spliceEnd, n int) (done int, err error) {
	for done < n && len(from.bufs) > 0 {
		b := from.next()
		b = b[:min(len(b), n-done)]
		off := to.off
		if off >= 0 {
			off += int64(done)
		}
		k, err := to.d.WriteFile(b, off)
		if err == unix.EAGAIN && done == 0 && !to.nonblock() && to.d.Queue() != nil {
			if err := c.Wait(0, to.d.Queue()); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return done, err
		}
		from.take(k)
		done += k
		if k < len(b) {
			break
		}
	}
	return done, nil
}

// vmsplice copies between guest memory and a pipe, whichever way the descriptor
// allows.
func vmsplice(c *Call) (uint64, error) {
	fd, iov, count, flags := c.FD(0), c.Addr(1), c.Size(2), c.Uint(3)
	if flags&^spliceAll != 0 {
		return 0, unix.EINVAL
	}
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	v, total, err := c.buffers(iov, uint32(min(count, maxIov+1)))
	if err != nil || total == 0 {
		return 0, err
	}
	f, ok := d.File.(*pipeFile)
	if !ok {
		return 0, unix.EBADF
	}
	defer d.Retain().Release()
	nonblock := flags&unix.SPLICE_F_NONBLOCK != 0
	if f.writes() {
		if err := c.awaitRoom(f.pipe, nonblock); err != nil {
			return 0, err
		}
		p := c.Sys.chunk(min(total, uint64(f.room())))
		n, err := c.gather(v, 0, p)
		f.fill(p[:n])
		return uint64(n), err
	}
	if err := c.awaitData(f.pipe, nonblock); err != nil {
		return 0, err
	}
	for done := uint64(0); ; {
		p := f.next()
		n, err := c.scatter(v, done, p[:min(uint64(len(p)), total-done)])
		f.take(n)
		done += uint64(n)
		if err != nil && done == 0 {
			return 0, err
		}
		if n == 0 || n < len(p) {
			return done, nil
		}
	}
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
	n, err := c.pipeToPipe(in, out, int(min(size, 1<<30)), flags&unix.SPLICE_F_NONBLOCK != 0, true)
	return uint64(n), err
}
