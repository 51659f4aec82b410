//go:build linux

package fdtable

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// File is what an open file description refers to: a regular file, directory,
// pipe, terminal, socket or anything else a Go value can play. Close is called
// once, when the last description that holds the file is released.
//
// Every further ability is one interface with one method, found by assertion in
// a helper function of this package; the helper gives the errno Linux gives when
// the slot in struct file_operations (include/linux/fs.h) is nil. All methods run
// on the warden's thread, one at a time, and must not block: a file that has
// nothing to give returns unix.EAGAIN and wakes its Queue when that changes.
type File interface {
	Close() error
}

// Besides the interfaces below, io.Reader and io.Writer are a stream's read(2)
// and write(2), io.ReaderAt and io.WriterAt a seekable file's pread(2) and
// pwrite(2) (and, through the description's offset, its read and write).
// ReadAt follows Go: io.EOF at the end, which becomes 0 for the guest.
type (
	// Sizer tells a seekable file's size in bytes. Missing: lseek is ESPIPE.
	Sizer interface{ Size() (int64, error) }
	// Appender writes at the end of the file and returns the offset after the
	// last byte written (O_APPEND). Missing: WriteAt at Size.
	Appender interface {
		Append(p []byte) (n int, end int64, err error)
	}
	// Truncater is ftruncate(2). Missing: EINVAL.
	Truncater interface{ Truncate(size int64) error }
	// Syncer is fsync(2) and fdatasync(2). Missing: EINVAL.
	Syncer interface{ Sync() error }
	// Blocker says that Sync waits for a disk and, as long as the File is open,
	// may run on another goroutine. Missing, or false: Sync is quick.
	Blocker interface{ Blocks() bool }
	// Flusher writes what guests have stored through mappings to where Sync
	// expects it. Missing: it is there.
	Flusher interface{ Flush() error }
	// Allocater is fallocate(2) with mode bits FALLOC_FL_*. Missing: EOPNOTSUPP.
	Allocater interface {
		Allocate(mode uint32, off, n int64) error
	}
	// HoleSeeker is lseek(2) with SEEK_DATA or SEEK_HOLE. Missing: the whole
	// file is data.
	HoleSeeker interface {
		SeekHole(off int64, whence int) (int64, error)
	}
	// Seeker is lseek(2) for a file whose offset is not a byte count (a
	// directory, a /proc file). Missing: the common rule over Size.
	Seeker interface {
		Seek(d *Description, off int64, whence int) (int64, error)
	}
	// Poller tells readiness as poll(2) does and the queue that is woken when
	// it changes. Missing: always readable and writable.
	Poller interface {
		Poll() Events
		Queue() *Queue
	}
	// Mapper makes bytes [off, off+n) of the file available in an arena for
	// mmap(2); write is true for a shared mapping that may be written, now or
	// after mprotect(2). EPERM: sealed; a caller that did not ask for PROT_WRITE
	// tries again with write false. Missing: ENODEV.
	Mapper interface {
		Map(off, n int64, write bool) (Mapping, error)
	}
	// ZeroMapper marks /dev/zero, of which mmap(2) makes anonymous memory.
	ZeroMapper interface{ MapZero() }
	// Ioctler is ioctl(2). arg is the third argument as the guest gave it; mem
	// reads and writes what it points to. Missing: ENOTTY.
	Ioctler interface {
		Ioctl(mem Memory, request uint32, arg uint64) (uint64, error)
	}
	// Sealer is fcntl(2) with F_GET_SEALS and F_ADD_SEALS. Missing: EINVAL.
	Sealer interface {
		Seals() (int, error)
		AddSeals(seals int) error
	}
	// Timeouter is a socket's SO_RCVTIMEO (write false) and SO_SNDTIMEO: how long
	// a blocking read or write waits before EAGAIN, 0 for ever. Missing: for ever.
	Timeouter interface {
		Timeout(write bool) time.Duration
	}
	// Preader is pread(2) of a file whose Read has an offset of its own, one
	// shared with the host. Missing: ESPIPE.
	Preader interface {
		Pread(p []byte, off int64) (int, error)
	}
	// Pwriter is pwrite(2) likewise.
	Pwriter interface {
		Pwrite(p []byte, off int64) (int, error)
	}
	// FlagSetter is told of fcntl(F_SETFL). Missing: the flags are kept in the
	// description only.
	FlagSetter interface{ SetFlags(flags int) error }
)

// Memory is guest memory as a File sees it. Both copy all of p or fail with
// EFAULT.
type Memory interface {
	Read(addr uint64, p []byte) error
	Write(addr uint64, p []byte) error
}

// Arena says which of the guest's inherited descriptors a Mapping lies in.
type Arena int

// The arenas a stub inherits, see package arena.
const (
	ArenaShared  Arena = iota // immutable files, one arena for all jails, read-only
	ArenaOwn                  // this jail's in-memory files
	ArenaOwnRead              // the same, through a read-only descriptor
)

// Mapping is a place in an arena.
type Mapping struct {
	Arena  Arena
	Offset int64 // of the byte the Map call asked for
	// Beyond is how many of the bytes asked for, the last ones, may not be touched:
	// they are behind the file's last page, or memory for them is to be asked of
	// Owner first. They are mapped arena.Void farther, where to touch them is SIGBUS.
	Beyond int64
	Owner  Owner // nil: what is Beyond stays so
}

// Owner is who counts the memory of a Mapping's file.
type Owner interface {
	// Admit lets guests touch bytes from off on, whole pages, of the file, and tells
	// how many: n at most, none behind the file's last page. ENOSPC.
	Admit(off, n int64) (int64, error)
	// Load and Store are io.ReaderAt and io.WriterAt, for what calls read or write
	// there. io.EOF and ENOSPC behind what guests may touch.
	Load(p []byte, off int64) (int, error)
	Store(p []byte, off int64) (int, error)
}

// ReadFile reads at the description's offset, or at off if off >= 0 (pread).
// Errors: EBADF not open for reading, EISDIR, EINVAL no read method, ESPIPE
// pread on a stream, EAGAIN nothing there yet. 0 and nil is end of file.
func (d *Description) ReadFile(p []byte, off int64) (int, error) {
	if !d.Reads() {
		return 0, unix.EBADF
	}
	switch f := d.File.(type) {
	case io.ReaderAt:
		at := off
		if off < 0 {
			at = d.Offset
		}
		n, err := f.ReadAt(p, at)
		if off < 0 {
			d.Offset += int64(n)
		}
		return n, eof(n, err)
	case io.Reader:
		if off >= 0 {
			if r, ok := d.File.(Preader); ok {
				return r.Pread(p, off)
			}
			return 0, unix.ESPIPE
		}
		n, err := f.Read(p)
		return n, eof(n, err)
	}
	return 0, unix.EINVAL
}

// eof turns Go's end of file into the guest's, and drops an error that came
// with bytes: the next call will meet it again.
func eof(n int, err error) error {
	if n > 0 || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// WriteFile writes at the description's offset (at the end under O_APPEND), or
// at off if off >= 0 (pwrite; O_APPEND still appends, as Linux does). Errors:
// EBADF, EINVAL no write method, ESPIPE, EAGAIN, and what the file gives.
func (d *Description) WriteFile(p []byte, off int64) (int, error) {
	if !d.Writes() {
		return 0, unix.EBADF
	}
	switch f := d.File.(type) {
	case io.WriterAt:
		if d.Flags&unix.O_APPEND != 0 {
			n, end, err := appendTo(d.File, f, p)
			if off < 0 && n > 0 {
				d.Offset = end
			}
			return n, partial(n, err)
		}
		at := off
		if off < 0 {
			at = d.Offset
		}
		n, err := f.WriteAt(p, at)
		if off < 0 {
			d.Offset += int64(n)
		}
		return n, partial(n, err)
	case io.Writer:
		if off >= 0 {
			if w, ok := d.File.(Pwriter); ok {
				return w.Pwrite(p, off)
			}
			return 0, unix.ESPIPE
		}
		n, err := f.Write(p)
		return n, partial(n, err)
	}
	return 0, unix.EINVAL
}

func partial(n int, err error) error {
	if n > 0 {
		return nil
	}
	return err
}

func appendTo(file File, w io.WriterAt, p []byte) (int, int64, error) {
	if a, ok := file.(Appender); ok {
		return a.Append(p)
	}
	s, ok := file.(Sizer)
	if !ok {
		return 0, 0, unix.EINVAL
	}
	size, err := s.Size()
	if err != nil {
		return 0, 0, err
	}
	n, err := w.WriteAt(p, size)
	return n, size + int64(n), err
}

// Ready is the file's readiness; a file without Poller is always ready.
func (d *Description) Ready() Events {
	if p, ok := d.File.(Poller); ok {
		return p.Poll()
	}
	return In | Out | RdNorm | WrNorm
}

// Queue is the queue woken when Ready changes, or nil when it never does.
func (d *Description) Queue() *Queue {
	if p, ok := d.File.(Poller); ok {
		return p.Queue()
	}
	return nil
}
