//go:build linux

package emulate

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Bounds of fs/pipe.c and include/linux/pipe_fs_i.h. A pipe is counted by its
// capacity; its memory is what is in it.
const (
	pipePage     = 4096    // PAGE_SIZE: one buffer, and PIPE_BUF
	pipeSlots    = 16      // PIPE_DEF_BUFFERS: 64 KiB
	pipeMaxSize  = 1 << 20 // fs.pipe-max-size, here for privileged guests too
	pipeSoft     = 16384   // pages of all pipes; beyond it a new pipe gets two
	pipeHard     = 65536   // pages of all pipes; beyond it there is no new pipe
	pipeMinSlots = 2       // PIPE_MIN_DEF_BUFFERS
	pipeSpare    = 64      // pages kept for reuse in a jail
)

// pipe is struct pipe_inode_info. It keeps Linux's pages instead of a byte
// ring, because how writes merge into pages decides when a pipe is full, and
// programs can tell.
type pipe struct {
	ipc              *ipcState
	node             vfs.Node
	fifo             bool // has a name, so its opening waits for the other side
	bufs             []pipeBuffer
	slots            int // capacity in pages
	files            int // open descriptions, and openings under way
	readers, writers int
	// How many readers and writers there ever were, for openings that wait.
	readOpens, writeOpens uint64
	// Whoever has both sides of a FIFO waits for both.
	read, write, both fdtable.Queue
}

// pipeBuffer is one page; data[off:] is unread.
type pipeBuffer struct {
	data          []byte
	off           int
	packet, merge bool // PIPE_BUF_FLAG_PACKET, PIPE_BUF_FLAG_CAN_MERGE
}

// pipeFor is the pipe behind an inode, made if it is not open anywhere, with
// one more file. ENFILE.
func (s *System) pipeFor(node vfs.Node, fifo bool) (*pipe, error) {
	ipc := &s.ipc
	p := ipc.pipes[node]
	if p == nil {
		slots := pipeSlots
		if ipc.pipePages+slots > pipeSoft {
			slots = pipeMinSlots
		}
		if ipc.pipePages+slots > pipeHard {
			return nil, unix.ENFILE
		}
		p = &pipe{ipc: ipc, node: node, fifo: fifo, slots: slots}
		if ipc.pipes == nil {
			ipc.pipes = make(map[vfs.Node]*pipe)
		}
		ipc.pipes[node] = p
		ipc.pipePages += slots
	}
	p.files++
	return p, nil
}

// put drops a file and with the last one what the pipe holds.
func (p *pipe) put() {
	p.files--
	if p.files > 0 {
		return
	}
	p.take(p.len())
	p.ipc.pipePages -= p.slots
	delete(p.ipc.pipes, p.node)
}

// len is how many bytes can be read.
func (p *pipe) len() int {
	n := 0
	for _, b := range p.bufs {
		n += len(b.data) - b.off
	}
	return n
}

func (p *pipe) full() bool { return len(p.bufs) >= p.slots }

// room is how many bytes a splice can put in.
func (p *pipe) room() int { return max(p.slots-len(p.bufs), 0) * pipePage }

// next is the oldest unread bytes, nil if there are none; take consumes them.
func (p *pipe) next() []byte {
	if len(p.bufs) == 0 {
		return nil
	}
	return p.bufs[0].data[p.bufs[0].off:]
}

// take consumes n bytes and wakes writers if the pipe was full.
func (p *pipe) take(n int) {
	full := p.full()
	for n > 0 {
		b := &p.bufs[0]
		k := min(n, len(b.data)-b.off)
		b.off += k
		n -= k
		if b.off == len(b.data) {
			p.drop()
		}
	}
	if full && !p.full() {
		p.wakeWriters()
	}
}

// drop removes the oldest buffer.
func (p *pipe) drop() {
	if len(p.ipc.pages) < pipeSpare {
		p.ipc.pages = append(p.ipc.pages, p.bufs[0].data[:0])
	}
	p.bufs[0].data = nil
	if p.bufs = p.bufs[1:]; len(p.bufs) == 0 {
		p.bufs = nil
	}
}

// readInto is fs/pipe.c:pipe_read without the waiting: EAGAIN while there are
// writers, 0 at the end. A packet that does not fit is cut.
func (p *pipe) readInto(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, full := 0, p.full()
	for n < len(b) && len(p.bufs) > 0 {
		head := &p.bufs[0]
		k := copy(b[n:], head.data[head.off:])
		n += k
		head.off += k
		packet := head.packet
		if packet || head.off == len(head.data) {
			p.drop()
		}
		if packet {
			break
		}
	}
	if full && !p.full() {
		p.wakeWriters()
	}
	if n == 0 && p.writers > 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}

// writeFrom is fs/pipe.c:pipe_write without the waiting: it takes what fits,
// EAGAIN if nothing does. What is not longer than a page goes in whole.
func (p *pipe) writeFrom(b []byte, packet bool) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.readers == 0 {
		return 0, unix.EPIPE
	}
	n := 0
	if k := len(b) % pipePage; k > 0 && len(p.bufs) > 0 {
		if last := &p.bufs[len(p.bufs)-1]; last.merge && len(last.data)+k <= pipePage {
			last.data = append(last.data, b[:k]...)
			n = k
		}
	}
	for n < len(b) && !p.full() {
		k := min(len(b)-n, pipePage)
		p.bufs = append(p.bufs, pipeBuffer{data: append(p.page(), b[n:n+k]...), packet: packet, merge: !packet})
		n += k
	}
	p.wakeReaders() // even for nothing: an edge for epoll, as on Linux
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}

// unread puts back what the reader's memory did not take (fs/pipe.c:pipe_read
// moves on only after the copy).
func (p *pipe) unread(b []byte) {
	if len(p.bufs) > 0 { // the head it was not the whole of
		k := min(p.bufs[0].off, len(b))
		p.bufs[0].off -= k
		b = b[:len(b)-k]
	}
	var bufs []pipeBuffer
	for chunk := range slices.Chunk(b, pipePage) {
		bufs = append(bufs, pipeBuffer{data: append(p.page(), chunk...), merge: true})
	}
	p.bufs = append(bufs, p.bufs...)
	p.wakeReaders()
}

func (p *pipe) page() []byte {
	if n := len(p.ipc.pages); n > 0 {
		page := p.ipc.pages[n-1]
		p.ipc.pages = p.ipc.pages[:n-1]
		return page
	}
	return make([]byte, 0, pipePage)
}

func (p *pipe) wakeReaders() {
	p.read.Wake()
	p.both.WakeFor(fdtable.In | fdtable.RdNorm | fdtable.Hup)
}

func (p *pipe) wakeWriters() {
	p.write.Wake()
	p.both.WakeFor(fdtable.Out | fdtable.WrNorm | fdtable.Err)
}

// resize is F_SETPIPE_SZ. EINVAL, EPERM over a bound, EBUSY for less than is in it.
func (p *pipe) resize(size uint32) error {
	if size > 1<<31 {
		return unix.EINVAL
	}
	slots := 1
	for slots*pipePage < int(size) {
		slots *= 2
	}
	grow := slots - p.slots
	if grow > 0 && (slots*pipePage > pipeMaxSize || p.ipc.pipePages+grow > pipeSoft) {
		return unix.EPERM
	}
	if slots < len(p.bufs) {
		return unix.EBUSY
	}
	p.slots = slots
	p.ipc.pipePages += grow
	p.wakeWriters()
	return nil
}

// pipeFile is one open description of a pipe.
type pipeFile struct {
	*pipe
	mode   int // O_ACCMODE
	packet bool
	// quiet is writeOpens when a FIFO was opened without a writer: no POLLHUP
	// until there has been one.
	quiet uint64
	hush  bool
}

func (f *pipeFile) reads() bool  { return f.mode != unix.O_WRONLY }
func (f *pipeFile) writes() bool { return f.mode != unix.O_RDONLY }

func (f *pipeFile) Read(b []byte) (int, error)  { return f.readInto(b) }
func (f *pipeFile) Write(b []byte) (int, error) { return f.writeFrom(b, f.packet) }

// SetFlags: O_DIRECT is packet mode, pipe(2).
func (f *pipeFile) SetFlags(flags int) error {
	f.packet = flags&unix.O_DIRECT != 0
	return nil
}

func (f *pipeFile) Poll() fdtable.Events {
	var ev fdtable.Events
	if f.reads() {
		if len(f.bufs) > 0 {
			ev |= fdtable.In | fdtable.RdNorm
		}
		if f.writers == 0 && !(f.hush && f.quiet == f.writeOpens) {
			ev |= fdtable.Hup
		}
	}
	if f.writes() {
		if !f.full() {
			ev |= fdtable.Out | fdtable.WrNorm
		}
		if f.readers == 0 {
			ev |= fdtable.Err
		}
	}
	return ev
}

func (f *pipeFile) Queue() *fdtable.Queue {
	switch f.mode {
	case unix.O_RDONLY:
		return &f.read
	case unix.O_WRONLY:
		return &f.write
	}
	return &f.both
}

func (f *pipeFile) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	return 0, mem.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(f.len())))
}

func (f *pipeFile) Close() error {
	if f.reads() {
		f.readers--
	}
	if f.writes() {
		f.writers--
	}
	if (f.readers == 0) != (f.writers == 0) {
		f.wakeReaders()
		f.wakeWriters()
	}
	f.put()
	return nil
}

// pipeSize is fcntl's F_SETPIPE_SZ and F_GETPIPE_SZ. EBADF for what is no pipe.
func pipeSize(d *fdtable.Description, cmd int, arg uint32) (uint64, error) {
	f, ok := d.File.(*pipeFile)
	if !ok {
		return 0, unix.EBADF
	}
	if cmd == unix.F_SETPIPE_SZ {
		if err := f.resize(arg); err != nil {
			return 0, err
		}
	}
	return uint64(f.slots * pipePage), nil
}

// newPipe makes an anonymous pipe, its reading and its writing end. ENFILE.
func (c *Call) newPipe(flags int) (r, w *fdtable.Description, err error) {
	node := c.anonNode(unix.S_IFIFO | 0o600)
	p, err := c.Sys.pipeFor(node, false)
	if err != nil {
		return nil, nil, err
	}
	p.files, p.readers, p.writers = 2, 1, 1
	entry := vfs.NewAnonymous(node, fmt.Sprintf("pipe:[%d]", node.attr.Ino))
	r = fdtable.NewDescription(&pipeFile{pipe: p, mode: unix.O_RDONLY}, entry,
		unix.O_RDONLY|flags&unix.O_NONBLOCK)
	w = fdtable.NewDescription(&pipeFile{pipe: p, mode: unix.O_WRONLY, packet: flags&unix.O_DIRECT != 0}, entry,
		unix.O_WRONLY|flags&(unix.O_NONBLOCK|unix.O_DIRECT))
	return r, w, nil
}

func pipe2(c *Call) (uint64, error) {
	pipefd, flags := c.Addr(0), c.Flags(1)
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return 0, unix.EINVAL
	}
	r, w, err := c.newPipe(flags)
	if err != nil {
		return 0, err
	}
	cloexec := flags&unix.O_CLOEXEC != 0
	rfd, err := c.Task.InstallFD(r, 0, cloexec)
	if err != nil {
		_ = w.Release()
		return 0, err
	}
	wfd, err := c.Task.InstallFD(w, 0, cloexec)
	if err == nil {
		err = c.WriteValue(pipefd, [2]int32{int32(rfd), int32(wfd)})
		if err == nil {
			return 0, nil
		}
		_ = c.Task.FDs.Close(wfd)
	}
	_ = c.Task.FDs.Close(rfd)
	return 0, err
}

func pipeCall(c *Call) (uint64, error) { return c.as(pipe2, c.Args[0]) }
