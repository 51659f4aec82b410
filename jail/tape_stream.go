//go:build linux && amd64

package jail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/recording"
)

// armedBit is in the N of an event whose stream is being waited for since.
const armedBit = 1 << 32

// tapedStream is a hostFile whose answers are recorded or replayed. A replay has one of
// its caller's to write to where the guest writes, if there is one.
type tapedStream struct {
	t      *tape
	h      *hostFile // nil: a replay writes nowhere
	name   string
	queue  fdtable.Queue
	armed  bool // somebody waits for what the host does
	closed bool
	opened int
}

// openStream gives descriptor fd of cmd's, nil for one that is not there.
func (t *tape) openStream(s *streams, fd int, f *os.File) (*fdtable.Description, error) {
	name := "stream " + strconv.Itoa(fd)
	var h *hostFile
	var err error
	e := t.ask(name, func() (e recording.Event) {
		if f == nil {
			return e
		}
		if h, err = s.newHostFile(f); err == nil {
			h.number = fd
			e.N = int64(h.mode)<<32 | int64(h.accessMode())
		}
		return e
	})
	if err != nil || e.N == 0 {
		return nil, err
	}
	mode, flags := uint32(e.N>>32), int(uint32(e.N))
	if t.replays() && f != nil && flags&unix.O_ACCMODE != unix.O_RDONLY {
		if h, err = s.newHostFile(f); err != nil {
			return nil, err
		}
	}
	n := t.newStream(h, name)
	return fdtable.NewDescription(n, vfs.NewAnonymous(n, streamLabel(mode, fd)), flags), nil
}

func (t *tape) newStream(h *hostFile, name string) *tapedStream {
	f := &tapedStream{t: t, h: h, name: name}
	ready := t.door(t.w, name+" ready", func(outcome) {
		f.armed = false
		if !t.replays() {
			h.wake()
		}
		f.queue.Wake()
		f.shut()
	})
	if h != nil && !t.replays() {
		h.woken = func() { ready(outcome{}) }
	}
	t.streams = append(t.streams, f)
	return f
}

// waits reports that a guest waits for a stream.
func (t *tape) waits() bool {
	if t == nil {
		return false
	}
	return slices.ContainsFunc(t.streams, func(f *tapedStream) bool { return f.armed && !f.queue.Empty() })
}

// ask is tape.ask about an operation with a number and an error for a result.
func (f *tapedStream) ask(what string, get func(*recording.Event) (int64, error)) (recording.Event, error) {
	e := f.t.ask(f.name+" "+what, func() (e recording.Event) {
		var err error
		if e.N, err = get(&e); err != nil {
			if errno, ok := err.(unix.Errno); ok {
				e.Errno = errno
			} else {
				e.Errno = unix.EIO
			}
		}
		return e
	})
	if e.Errno != 0 {
		return e, e.Errno
	}
	return e, nil
}

// Close is [fdtable.File].
func (f *tapedStream) Close() error {
	f.t.streams = slices.DeleteFunc(f.t.streams, func(o *tapedStream) bool { return o == f })
	f.closed = true
	f.shut()
	f.queue.Wake()
	if f.h == nil {
		return nil
	}
	return f.h.Close()
}

// Hold is [vfs.Holder].
func (f *tapedStream) Hold() func() {
	if f.h == nil {
		return func() {}
	}
	return f.h.Hold()
}

// shut closes the door of a closed stream for which nobody polls any more.
func (f *tapedStream) shut() {
	if f.closed && !f.armed {
		f.t.shut(f.name + " ready")
	}
}

// read is Read and Pread.
func (f *tapedStream) read(what string, p []byte, read func() (int, error)) (int, error) {
	e, err := f.ask(what, func(e *recording.Event) (int64, error) {
		n, err := read()
		e.Data = p[:max(n, 0)]
		return 0, err
	})
	if len(e.Data) > len(p) {
		f.t.diverged("%s: %d bytes, for which it has room for %d", e.What, len(e.Data), len(p))
		return 0, unix.EIO
	}
	return copy(p, e.Data), err
}

func (f *tapedStream) Read(p []byte) (int, error) {
	return f.read("read", p, func() (int, error) { return f.h.Read(p) })
}

// Pread is [fdtable.Preader].
func (f *tapedStream) Pread(p []byte, off int64) (int, error) {
	return f.read("pread", p, func() (int, error) { return f.h.Pread(p, off) })
}

// write is Write and Pwrite: what was written must be the same in a replay, and is
// written again.
func (f *tapedStream) write(what string, p []byte, write func([]byte) (int, error)) (int, error) {
	e, err := f.ask(what, func(e *recording.Event) (int64, error) {
		n, err := f.all(p, write)
		e.Data = p[:n]
		return 0, err
	})
	if f.t.replays() && !bytes.HasPrefix(p, e.Data) {
		got, want := apart(p, e.Data)
		f.t.diverged("%s: %q, in the recorded run %q", e.What, got, want)
		return 0, unix.EIO
	}
	if f.t.replays() {
		f.t.w.meters.output.used.Add(int64(len(e.Data)))
	}
	f.also(func(*hostFile) { _, _ = f.all(e.Data, write) }) // perhaps nobody reads it, as somebody did then
	return len(e.Data), err
}

// all writes all of p, however long that takes: that it takes long is not for the guest
// to see. Meanwhile the jail stands still.
func (f *tapedStream) all(p []byte, write func([]byte) (int, error)) (n int, err error) {
	for n < len(p) && (err == nil || err == unix.EAGAIN && f.h.await(f.t.over)) {
		var m int
		m, err = write(p[n:])
		n += max(m, 0)
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *tapedStream) Write(p []byte) (int, error) {
	return f.write("write", p, func(p []byte) (int, error) {
		if f.t.replays() {
			return f.h.write(p)
		}
		return f.h.Write(p)
	})
}

// Pwrite is [fdtable.Pwriter].
func (f *tapedStream) Pwrite(p []byte, off int64) (int, error) {
	return f.write(fmt.Sprint("write at ", off), p, func(p []byte) (int, error) {
		pwrite := f.h.Pwrite
		if f.t.replays() {
			pwrite = func(p []byte, off int64) (int, error) { return unix.Pwrite(f.h.fd, p, off) }
		}
		n, err := pwrite(p, off)
		off += int64(max(n, 0))
		return n, err
	})
}

// also does in a replay to the caller's stream what was done to the recorded one.
func (f *tapedStream) also(do func(*hostFile)) {
	if f.t.replays() && f.h != nil {
		do(f.h)
	}
}

// Seek is [fdtable.Seeker].
func (f *tapedStream) Seek(d *fdtable.Description, off int64, whence int) (int64, error) {
	e, err := f.ask("seek", func(*recording.Event) (int64, error) { return f.h.Seek(d, off, whence) })
	f.also(func(h *hostFile) { _, _ = h.Seek(d, off, whence) })
	return e.N, err
}

// Truncate is [fdtable.Truncater].
func (f *tapedStream) Truncate(size int64) error {
	_, err := f.ask("truncate", func(*recording.Event) (int64, error) { return 0, f.h.Truncate(size) })
	f.also(func(h *hostFile) { _ = h.Truncate(size) })
	return err
}

// Sync is [fdtable.Syncer].
func (f *tapedStream) Sync() error {
	_, err := f.ask("sync", func(*recording.Event) (int64, error) { return 0, f.h.Sync() })
	f.also(func(h *hostFile) { _ = h.Sync() })
	return err
}

// Size is [fdtable.Sizer].
func (f *tapedStream) Size() (int64, error) {
	e, err := f.ask("size", func(*recording.Event) (int64, error) { return f.h.Size() })
	return e.N, err
}

// Attr is [vfs.Node].
func (f *tapedStream) Attr() (a vfs.Attr, err error) {
	e, err := f.ask("attr", func(e *recording.Event) (int64, error) {
		a, err := f.h.Attr()
		if err == nil {
			e.Data, err = json.Marshal(a)
		}
		return 0, err
	})
	if err == nil && json.Unmarshal(e.Data, &a) != nil {
		err = unix.EIO
	}
	return a, err
}

// Open is [vfs.Opener].
func (f *tapedStream) Open(flags int) (fdtable.File, error) {
	var h *hostFile
	open := func(from *hostFile) error {
		n, err := from.Open(flags)
		h, _ = n.(*hostFile)
		return err
	}
	_, err := f.ask("open", func(*recording.Event) (int64, error) { return 0, open(f.h) })
	if err != nil {
		return nil, err
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		f.also(func(from *hostFile) { _ = open(from) })
	}
	f.opened++
	return f.t.newStream(h, f.name+"."+strconv.Itoa(f.opened)), nil
}

// Poll is [fdtable.Poller].
func (f *tapedStream) Poll() fdtable.Events {
	e, _ := f.ask("poll", func(*recording.Event) (int64, error) {
		events := f.h.Poll()
		if !f.queue.Empty() {
			f.h.arm()
		}
		if f.h.accessMode()&unix.O_ACCMODE != unix.O_RDONLY { // see all
			events |= fdtable.Out | fdtable.WrNorm
		}
		return int64(events) | f.h.waiting(), nil
	})
	f.armed = e.N&armedBit != 0
	return fdtable.Events(uint16(e.N))
}

// Queue is [fdtable.Poller].
func (f *tapedStream) Queue() *fdtable.Queue {
	e, _ := f.ask("queue", func(*recording.Event) (int64, error) {
		if f.h.Queue() == nil {
			return 0, nil
		}
		return 1 | f.h.waiting(), nil
	})
	f.armed = e.N&armedBit != 0
	if e.N == 0 {
		return nil
	}
	return &f.queue
}

func (h *hostFile) waiting() int64 {
	if h.armed {
		return armedBit
	}
	return 0
}

// Ioctl is [fdtable.Ioctler].
func (f *tapedStream) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	e, err := f.ask("ioctl", func(e *recording.Event) (int64, error) {
		n, err := f.h.Ioctl(&copied{mem, &e.Data}, request, arg)
		return int64(n), err
	})
	if f.t.replays() && err == nil && len(e.Data) > 0 {
		err = mem.Write(arg, e.Data)
	}
	return uint64(e.N), err
}

// copied is guest memory that keeps what is written to it.
type copied struct {
	fdtable.Memory
	data *[]byte
}

func (c *copied) Write(addr uint64, p []byte) error {
	*c.data = p
	return c.Memory.Write(addr, p)
}
