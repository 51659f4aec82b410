//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

const (
	// maxChunk is how much is copied at a time: what one datagram may hold
	// (net.core.wmem_max), and small beside a cache.
	maxChunk = 256 << 10
	// turn is how many steps one call makes before other tasks have theirs.
	turn = 64
)

// chunk is the system's one copying buffer, as long as n needs and maxChunk
// allows. It is good until the task parks.
func (s *System) chunk(n uint64) []byte {
	n = min(n, maxChunk)
	if uint64(len(s.buf)) < n {
		s.buf = make([]byte, max(n, 2*uint64(len(s.buf)), 16<<10))
	}
	return s.buf[:n]
}

// yield lets other tasks run before this one goes on.
func (c *Call) yield() error {
	m, ready := c.Task.Machine, false
	c.Sys.Host.Post(func() {
		ready = true
		m.Unpark()
	})
	for !ready {
		if err := m.ParkUninterruptible(); err != nil {
			return err
		}
	}
	return nil
}

// transfer is a read or write of n bytes of d that may take several steps.
type transfer struct {
	c   *Call
	d   *fdtable.Description
	n   uint64
	off int64 // of pread and pwrite; below 0: the description's offset
	// grows: write at the end, O_APPEND or RWF_APPEND.
	grows bool
	once  bool // RWF_NOWAIT
	mute  bool // RWF_NOSIGNAL
	done  uint64
	steps int
}

// read moves bytes of the file to sink, which is told how many came before. It
// ends with the file, or where sink takes less than it is given.
func (t *transfer) read(sink func(done uint64, p []byte) (int, error)) (uint64, error) {
	if isDir(t.d) {
		return 0, unix.EISDIR
	}
	defer t.d.Retain().Release()
	var err error
	if _, seekable := t.d.File.(io.ReaderAt); seekable || t.off >= 0 {
		err = t.readAt(sink)
	} else {
		err = t.stream(false, func() error { return t.readStream(sink) })
	}
	if t.done > 0 {
		t.c.Sys.notifyFile(t.d, unix.IN_ACCESS)
	}
	return t.result(err)
}

func (t *transfer) result(err error) (uint64, error) {
	if t.done > 0 && err != ErrGone {
		err = nil
	}
	return t.done, err
}

func (t *transfer) readAt(sink func(uint64, []byte) (int, error)) error {
	at := t.off
	if at < 0 {
		at = t.d.Offset
		defer func() { t.d.Offset = at }()
	}
	for {
		p := t.c.Sys.chunk(t.n - t.done)
		n, err := t.d.ReadFile(p, at)
		if n == 0 || err != nil {
			return err
		}
		took, err := sink(t.done, p[:n])
		t.done += uint64(took)
		at += int64(took)
		if err != nil || took < len(p) || t.done == t.n {
			return err
		}
		if err := t.pause(); err != nil {
			return err
		}
	}
}

// pause yields now and then in a long transfer.
func (t *transfer) pause() error {
	if t.steps++; t.steps%turn != 0 {
		return nil
	}
	return t.c.yield()
}

// readStream is one try: EAGAIN only if there was nothing at all. What sink does
// not take of a stream is lost, as on Linux for all but pipes.
func (t *transfer) readStream(sink func(uint64, []byte) (int, error)) error {
	for {
		p := t.c.Sys.chunk(t.n - t.done)
		n, err := t.d.ReadFile(p, -1)
		if n == 0 || err != nil {
			return err
		}
		took, err := sink(t.done, p[:n])
		t.done += uint64(took)
		if f, ok := t.d.File.(*pipeFile); ok && took < n {
			f.unread(p[took:n])
		}
		if err != nil || took < len(p) || t.done == t.n {
			return err
		}
		if err := t.pause(); err != nil {
			return err
		}
	}
}

// stream tries until something else than EAGAIN comes.
func (t *transfer) stream(write bool, try func() error) error {
	if t.once {
		return try()
	}
	if f, ok := t.d.File.(*ttyFile); ok && !write {
		return f.await(t, try)
	}
	var deadline Deadline
	if f, ok := t.d.File.(fdtable.Timeouter); ok {
		if after := f.Timeout(write); after > 0 {
			deadline = t.c.Sys.After(after)
		}
	}
	_, err := t.c.Retry(t.d, deadline, func() (uint64, error) {
		err := try()
		if err == unix.EAGAIN && !write && t.done > 0 {
			err = nil
		}
		return 0, err
	})
	if err == unix.ETIMEDOUT && deadline != 0 {
		err = unix.EAGAIN
	}
	return err
}

// write moves bytes from source, which is told how many came before, to the
// file. source gives nothing where the guest's memory or another file ends.
func (t *transfer) write(source func(done uint64, p []byte) (int, error)) (uint64, error) {
	defer t.d.Retain().Release()
	var err error
	if _, seekable := t.d.File.(io.WriterAt); seekable || t.off >= 0 {
		err = t.writeAt(source)
	} else {
		err = t.stream(true, func() error { return t.writeStream(source) })
	}
	if t.done > 0 {
		t.c.Sys.notifyFile(t.d, unix.IN_MODIFY)
	}
	if err == unix.EPIPE && !t.mute {
		sig := t.c.userSignal(int(unix.SIGPIPE), siUser)
		if e := t.c.Task.post(sig, false); e == ErrGone {
			return 0, e
		}
	}
	return t.result(err)
}

func (t *transfer) writeAt(source func(uint64, []byte) (int, error)) error {
	at := t.off
	if at < 0 {
		at = t.d.Offset
	}
	if err := t.limit(at); err != nil {
		return err
	}
	if t.off < 0 && !t.grows {
		defer func() { t.d.Offset = at }()
	}
	for t.n > 0 {
		p := t.c.Sys.chunk(t.n - t.done)
		got, err := source(t.done, p)
		if got == 0 {
			return err
		}
		n, err := t.put(p[:got], at)
		t.done += uint64(n)
		at += int64(n)
		if err != nil || n < got || t.done == t.n {
			return err
		}
		if err := t.pause(); err != nil {
			return err
		}
	}
	return nil
}

// put writes at at, or at the end. The append flag is this call's, not the
// description's.
func (t *transfer) put(p []byte, at int64) (int, error) {
	if t.grows {
		at = t.off
	}
	flags := t.d.Flags
	t.d.Flags &^= unix.O_APPEND
	if t.grows {
		t.d.Flags |= unix.O_APPEND
	}
	n, err := t.d.WriteFile(p, at)
	t.d.Flags = flags
	return n, err
}

// limit cuts a write at RLIMIT_FSIZE (fs/read_write.c:generic_write_check_limits).
func (t *transfer) limit(at int64) error {
	most := t.c.Task.Limit(unix.RLIMIT_FSIZE)
	if most == unix.RLIM_INFINITY || t.n == 0 {
		return nil
	}
	if s, ok := t.d.File.(fdtable.Sizer); t.grows && ok {
		size, err := s.Size()
		if err != nil {
			return err
		}
		at = size
	}
	if uint64(at) >= most {
		return t.c.tooBig()
	}
	t.n = min(t.n, most-uint64(at))
	return nil
}

// tooBig is what exceeding RLIMIT_FSIZE gives.
func (c *Call) tooBig() error {
	if err := c.Task.post(c.userSignal(int(unix.SIGXFSZ), siUser), false); err == ErrGone {
		return err
	}
	return unix.EFBIG
}

// writeStream is one try: EAGAIN if the file has no room for what is left.
func (t *transfer) writeStream(source func(uint64, []byte) (int, error)) error {
	for {
		p := t.c.Sys.chunk(t.n - t.done)
		got, err := source(t.done, p)
		if got == 0 && len(p) > 0 {
			return err
		}
		n, err := t.d.WriteFile(p[:got], -1)
		t.done += uint64(n)
		switch {
		case err != nil:
			return err
		case t.done == t.n:
			return nil
		case n == 0:
			return unix.EAGAIN
		}
		if err := t.pause(); err != nil {
			return err
		}
	}
}

// isDir reports an open directory.
func isDir(d *fdtable.Description) bool {
	e, ok := d.Entry.(*vfs.Dentry)
	return ok && e != nil && e.IsDir()
}
