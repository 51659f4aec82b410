//go:build linux && amd64

package jail

import (
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// hostFile is a descriptor of the caller's (a standard stream, an extra file) as
// the guest's File. It owns a duplicate, shares the caller's offset as a child
// process would, and never blocks the warden: a read or write that would block is
// EAGAIN, and one goroutine sleeps in poll(2) for the file's queue.
type hostFile struct {
	fd      int    // -1 once users is 0
	users   int    // itself and holds
	mode    uint32 // S_IFMT
	queue   fdtable.Queue
	streams *streams
	missing int16  // poll events that were last found wanting
	armed   bool   // a goroutine polls
	again   func() // not nil: Open made it, and this ends its hold of what it was made of
	woken   func() // not nil: to be called instead of wake, on any goroutine
	number  int    // the descriptor that the guest has first
	stop    int    // while armed: eventfd that ends the goroutine, -1 for none
	waits   bool   // a terminal that lets who reads or writes wait, see nonBlocking
	writing atomic.Bool
}

// streams are the host files of one jail and what wakes their goroutines.
type streams struct {
	post   func(func())
	owner  vfs.Owner
	born   time.Time // under a virtual clock, of all
	wg     sync.WaitGroup
	closed bool
	// writers are the goroutines that write to terminals, one to each.
	writers sync.WaitGroup
	// reopened counts the descriptors that Open has made.
	reopened int
	polled   []*hostFile // those with a goroutine
	terminal *terminal   // whose files nobody waits for
	output   *meter      // bytes that leave the jail; slow files have a goroutine that writes
	full     func()      // more than that was to be written
}

// part says how many of n bytes may still leave the jail.
func (s *streams) part(n int) int {
	may := int(s.output.take(int64(n)))
	if may < n {
		s.full()
	}
	return may
}

// whole says whether all of n bytes may, none of which leaves else.
func (s *streams) whole(n int) bool {
	may := s.part(n)
	if may < n {
		s.output.used.Add(-int64(may))
	}
	return may == n
}

// metered gives as much of p to write as may still come out.
func (s *streams) metered(p []byte, write func([]byte) (int, error)) (int, error) {
	n := s.output.take(int64(len(p)))
	if n == 0 && len(p) > 0 {
		s.full()
		return 0, unix.EDQUOT
	}
	wrote, err := write(p[:n])
	s.output.used.Add(int64(max(wrote, 0)) - n)
	return wrote, err
}

// maxReopened is how often a jail has its streams open beside what it was given:
// each is a descriptor of the caller's process. ENFILE.
const maxReopened = 256

// newHostFile duplicates f. The caller keeps f.
func (s *streams) newHostFile(f *os.File) (*hostFile, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	h := &hostFile{fd: -1, users: 1, streams: s}
	cerr := raw.Control(func(fd uintptr) { h.fd, h.waits, err = nonBlocking(int(fd)) })
	if cerr != nil {
		return nil, os.ErrClosed // the only reason there is
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		_ = unix.Close(h.fd)
		return nil, err
	}
	h.mode = st.Mode & unix.S_IFMT
	return h, nil
}

// nonBlocking duplicates a descriptor. That of a terminal gets a description of its
// own, not to block and not to make the caller's non-blocking: what polls writable may
// have room for a byte only, and what polls readable may wait for more (termios(3),
// VTIME). Another user's terminal cannot be opened again, nor a pty's master: it waits.
func nonBlocking(fd int) (own int, waits bool, err error) {
	device, err := unix.IoctlGetInt(fd, unix.TIOCGDEV)
	if err != nil {
		own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return own, false, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1, false, err
	}
	own, err = unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags&unix.O_ACCMODE|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		if d, err := unix.IoctlGetInt(own, unix.TIOCGDEV); err == nil && d == device {
			return own, false, nil
		}
		_ = unix.Close(own)
	}
	own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	return own, flags&unix.O_NONBLOCK == 0, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// plain files never block for long and poll always ready.
func (h *hostFile) plain() bool {
	return h.mode == unix.S_IFREG || h.mode == unix.S_IFDIR || h.mode == unix.S_IFBLK
}

// Close closes the duplicate, unless it is held.
func (h *hostFile) Close() error {
	h.queue.Wake()
	if h.again != nil {
		h.streams.reopened--
		h.again()
	}
	if h.armed {
		h.halt()
	}
	return h.drop()
}

// Hold is [vfs.Holder]: the guest may ask about the stream, and open it, by an entry
// that outlives the File.
func (h *hostFile) Hold() func() {
	h.users++
	return func() { _ = h.drop() }
}

func (h *hostFile) drop() error {
	if h.users--; h.users > 0 {
		return nil
	}
	fd := h.fd
	h.fd = -1 // the number may be another file's of this program soon
	return unix.Close(fd)
}

// pipeChunk is what a pipe or terminal that polls writable takes without
// blocking: PIPE_BUF.
const pipeChunk = 4096

// Read reads at the shared offset.
func (h *hostFile) Read(p []byte) (int, error) {
	if h.plain() {
		return ignoreEINTR(func() (int, error) { return unix.Read(h.fd, p) })
	}
	n, err := unix.Preadv2(h.fd, [][]byte{p}, -1, unix.RWF_NOWAIT)
	if err == unix.EOPNOTSUPP || err == unix.EINVAL {
		if h.poll(unix.POLLIN)&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) == 0 {
			err = unix.EAGAIN
		} else {
			if there, e := unix.IoctlGetInt(h.fd, unix.TIOCINQ); h.waits && e == nil && there > 0 {
				p = p[:min(len(p), there)]
			}
			n, err = unix.Read(h.fd, p)
		}
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		h.missing = unix.POLLIN
		return 0, unix.EAGAIN
	}
	return max(n, 0), err
}

// Write writes at the shared offset.
func (h *hostFile) Write(p []byte) (int, error) { return h.streams.metered(p, h.write) }

func (h *hostFile) write(p []byte) (int, error) {
	if h.plain() {
		return ignoreEINTR(func() (int, error) { return unix.Write(h.fd, p) })
	}
	n, err := unix.Pwritev2(h.fd, [][]byte{p}, -1, unix.RWF_NOWAIT)
	if err == unix.EOPNOTSUPP || err == unix.EINVAL {
		p = p[:min(len(p), pipeChunk)]
		switch {
		case h.poll(unix.POLLOUT)&(unix.POLLOUT|unix.POLLERR) == 0:
			err = unix.EAGAIN
		case h.waits:
			n, err = h.writeAside(p)
		default:
			n, err = unix.Write(h.fd, p)
		}
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		h.missing = unix.POLLOUT
		return 0, unix.EAGAIN
	}
	return max(n, 0), err
}

// writeAside has a goroutine write p. There is no room for more until it has. Who
// writes next is told of an error.
func (h *hostFile) writeAside(p []byte) (int, error) {
	fd, err := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return 0, unix.EAGAIN
	}
	rest := slices.Clone(p)
	h.writing.Store(true)
	h.streams.writers.Go(func() {
		for len(rest) > 0 {
			n, err := ignoreEINTR(func() (int, error) { return unix.Write(fd, rest) })
			if err != nil {
				break
			}
			rest = rest[n:]
		}
		_ = unix.Close(fd)
		h.writing.Store(false)
		h.streams.post(func() {
			if h.armed { // for something else
				h.halt()
			} else {
				h.queue.Wake()
			}
		})
	})
	return len(p), nil
}

func ignoreEINTR(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// Pread and Pwrite are positional; ESPIPE for streams.
func (h *hostFile) Pread(p []byte, off int64) (int, error) { return unix.Pread(h.fd, p, off) }

// Pwrite is see Pread.
func (h *hostFile) Pwrite(p []byte, off int64) (int, error) {
	return h.streams.metered(p, func(p []byte) (int, error) { return unix.Pwrite(h.fd, p, off) })
}

// Seek moves the shared offset.
func (h *hostFile) Seek(_ *fdtable.Description, off int64, whence int) (int64, error) {
	return unix.Seek(h.fd, off, whence)
}

// Truncate is ftruncate(2).
func (h *hostFile) Truncate(size int64) error { return unix.Ftruncate(h.fd, size) }

// Sync is fsync(2).
func (h *hostFile) Sync() error { return unix.Fsync(h.fd) }

// Blocks is [fdtable.Blocker]: a disk may be slow.
func (h *hostFile) Blocks() bool { return h.plain() }

// Size is the size of a regular file.
func (h *hostFile) Size() (int64, error) {
	a, err := h.Attr()
	if err == nil && !a.IsRegular() {
		err = unix.ESPIPE
	}
	return a.Size, err
}

// Attr is fstat(2), with the guest as the owner: what it was given it may open
// again through /proc/self/fd. Under a virtual clock nothing of it is by chance.
func (h *hostFile) Attr() (vfs.Attr, error) {
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		return vfs.Attr{}, err
	}
	o := h.streams.owner
	if born := h.streams.born; !born.IsZero() {
		st.Dev, st.Ino, st.Blocks = 0, uint64(h.number)+1, (st.Size+511)/512
		st.Atim = unix.NsecToTimespec(born.UnixNano())
		st.Mtim, st.Ctim = st.Atim, st.Atim
	}
	return vfs.Attr{Dev: st.Dev, Rdev: st.Rdev, Ino: st.Ino, Mode: st.Mode | 0o600, Nlink: uint32(st.Nlink), UID: o.UID,
		GID: o.GID, Size: st.Size, Blocks: st.Blocks, BlockSize: int64(st.Blksize),
		Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim}, nil
}

// Open opens the stream once more, as open(2) of /dev/stdin does: a regular file
// anew, with an offset of its own, but never for more than the caller opened it
// for. EACCES, ENXIO for a socket.
func (h *hostFile) Open(flags int) (fdtable.File, error) {
	access := h.accessMode() & unix.O_ACCMODE
	if want := flags & unix.O_ACCMODE; access != unix.O_RDWR && want != access {
		return nil, unix.EACCES
	}
	n := &hostFile{users: 1, mode: h.mode, streams: h.streams, number: h.number, waits: h.waits}
	var err error
	if h.streams.reopened >= maxReopened {
		return nil, unix.ENFILE
	}
	switch h.mode {
	case unix.S_IFSOCK:
		return nil, unix.ENXIO
	case unix.S_IFREG:
		n.fd, err = unix.Open("/proc/self/fd/"+strconv.Itoa(h.fd),
			flags&(unix.O_ACCMODE|unix.O_APPEND)|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	default:
		n.fd, err = unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return nil, err
	}
	h.streams.reopened++
	n.again = h.Hold()
	return n, nil
}

// close ends the goroutines and waits for them, for those that write so long at most.
func (s *streams) close(most time.Duration) {
	s.closed = true
	for _, h := range s.polled {
		h.halt()
	}
	s.wg.Wait()
	for _, h := range s.polled {
		_ = unix.Close(h.stop)
	}
	s.polled = nil
	written := make(chan struct{})
	go func() {
		s.writers.Wait()
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(most):
	}
}

// Ioctl lets through what programs ask terminals: attributes and window size.
// Nothing that types (TIOCSTI), takes the terminal over or reaches its driver.
func (h *hostFile) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	var size int
	switch request {
	case unix.TCGETS:
		size = 36
	case unix.TIOCGWINSZ:
		size = 8
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		var p [36]byte
		if err := mem.Read(arg, p[:]); err != nil {
			return 0, err
		}
		if request == unix.TCSETSF {
			if err := unix.IoctlSetInt(h.fd, unix.TCFLSH, unix.TCIFLUSH); err != nil {
				return 0, err
			}
		}
		return 0, ioctlBytes(h.fd, unix.TCSETS, p[:]) // what is on the way out, as on a serial line, may be for ever
	case unix.TIOCINQ:
		size = 4
	default:
		return 0, unix.ENOTTY
	}
	p := make([]byte, size)
	if err := ioctlBytes(h.fd, request, p); err != nil {
		return 0, err
	}
	return 0, mem.Write(arg, p)
}

func ioctlBytes(fd int, request uint32, p []byte) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&p[0])))
	if e != 0 {
		return e
	}
	return nil
}

// streamLabel is what /proc/self/fd shows for stream fd: nothing of the host's names.
func streamLabel(mode uint32, fd int) string {
	n := strconv.Itoa(fd)
	switch mode {
	case unix.S_IFIFO:
		return "pipe:[" + n + "]"
	case unix.S_IFSOCK:
		return "socket:[" + n + "]"
	case unix.S_IFCHR:
		return "/dev/console"
	}
	return "/dev/fd/" + n
}

// accessMode is how the caller opened the file.
func (h *hostFile) accessMode() int {
	flags, err := unix.FcntlInt(uintptr(h.fd), unix.F_GETFL, 0)
	if err != nil {
		return unix.O_RDWR
	}
	return flags & (unix.O_ACCMODE | unix.O_APPEND)
}

// nullFile is /dev/null, for a stream that cmd leaves out.
type nullFile struct{}

func (*nullFile) Close() error                { return nil }
func (*nullFile) Read([]byte) (int, error)    { return 0, nil }
func (*nullFile) Write(p []byte) (int, error) { return len(p), nil }

// Open gives it again.
func (f *nullFile) Open(int) (fdtable.File, error) { return f, nil }

func (*nullFile) Attr() (vfs.Attr, error) {
	return vfs.Attr{Dev: 5, Ino: 4, Rdev: unix.Mkdev(1, 3), Mode: unix.S_IFCHR | 0o666, Nlink: 1, BlockSize: 4096}, nil
}
