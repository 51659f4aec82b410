//go:build linux

package vfs

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// hostFile is an open regular file of the host.
type hostFile struct {
	n     *hostNode
	fd    *hostFD // nil: not opened yet
	write bool
}

// Open is [Opener]. EROFS, ENXIO (a FIFO, socket or device of the host is never
// opened), ESTALE (the name is another inode by now: walk again).
func (n *hostNode) Open(flags int) (fdtable.File, error) {
	f := &hostFile{n: n, write: flags&unix.O_ACCMODE != unix.O_RDONLY}
	switch {
	case !n.attr.IsRegular():
		return nil, unix.ENXIO
	case f.write && !n.h.Write:
		return nil, unix.EROFS
	case !f.write && n.h.Frozen && !n.h.Write && n.attr.Mode&0o444 == 0o444:
		return f, nil // Nobody is refused, so the first read is early enough.
	}
	if _, err := f.open(); err != nil {
		return nil, err
	}
	if f.fd.blind && flags&unix.O_ACCMODE == unix.O_RDWR {
		f.Close()
		return nil, unix.EACCES
	}
	return f, nil
}

func (f *hostFile) open() (int, error) {
	if f.fd == nil {
		u := toRead
		if f.write {
			u = toWrite
		}
		fd, err := f.n.acquire(u)
		if err != nil {
			return -1, err
		}
		f.fd = fd
	}
	return f.fd.fd, nil
}

func (f *hostFile) Close() error {
	if f.fd != nil {
		f.n.h.release(f.fd)
	}
	return f.n.unshare(false)
}

func (f *hostFile) ReadAt(p []byte, off int64) (int, error) {
	if s := f.n.shared; s != nil {
		return s.readAt(f.n, p, off)
	}
	if _, err := f.open(); err != nil || len(p) == 0 {
		return 0, err
	}
	return f.fd.ReadAt(p, off)
}

// modify prepares a change of the contents: the kernel leaves set-ID bits on
// what root writes, but this write is the guest's.
func (f *hostFile) modify() (int, error) {
	fd, err := f.open()
	if err != nil {
		return -1, err
	}
	if a := f.n.attr; f.n.h.caller.UID == 0 && a.Mode&setID != 0 {
		if err := unix.Fchmod(fd, a.Mode&0o7777&^setID); err != nil {
			return -1, err
		}
		f.n.attr.Mode &^= setID
	}
	f.n.changed()
	return fd, nil
}

func (f *hostFile) WriteAt(p []byte, off int64) (int, error) {
	fd, err := f.modify()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := f.n.h.metered(p, func(p []byte) (int, error) { return unix.Pwrite(fd, p, off) })
	if e := f.copied(p[:n], off); err == nil {
		err = e
	}
	return n, err
}

// copied puts what was written to the host's file where guests have it mapped.
func (f *hostFile) copied(p []byte, off int64) error {
	if f.n.shared == nil || len(p) == 0 {
		return nil
	}
	err := f.n.shared.grow(off + int64(len(p)))
	if err == nil {
		_, err = f.n.shared.slot.WriteAt(p, off)
	}
	return err
}

// Append is [fdtable.Appender]: atomic also against other writers of the host.
func (f *hostFile) Append(p []byte) (int, int64, error) {
	fd, err := f.modify()
	if err != nil {
		return 0, 0, err
	}
	n := 0
	if len(p) > 0 {
		n, err = f.n.h.metered(p, func(p []byte) (int, error) { return unix.Pwritev2(fd, [][]byte{p}, 0, unix.RWF_APPEND) })
	}
	if err != nil {
		return 0, 0, err
	}
	end, err := f.Size()
	if err == nil {
		err = f.copied(p[:n], end-int64(n))
	}
	return n, end, err
}

// Size is [fdtable.Sizer].
func (f *hostFile) Size() (int64, error) {
	a, err := f.n.Attr()
	return a.Size, err
}

// Truncate is [fdtable.Truncater].
func (f *hostFile) Truncate(size int64) error {
	fd, err := f.modify()
	if err != nil {
		return err
	}
	if err := done(func() error { return unix.Ftruncate(fd, size) }); err != nil || f.n.shared == nil {
		return err
	}
	return f.n.shared.slot.Truncate(min(size, arena.Stride))
}

// Sync is [fdtable.Syncer]. It waits for the disk, touches nothing but the
// descriptor, and so may run on another goroutine while the File is open.
func (f *hostFile) Sync() error {
	if f.fd == nil {
		return nil
	}
	return done(func() error { return unix.Fsync(f.fd.fd) })
}

// Allocate is [fdtable.Allocater].
func (f *hostFile) Allocate(mode uint32, off, n int64) (err error) {
	fd, err := f.modify()
	if err != nil {
		return err
	}
	if s := f.n.shared; s != nil {
		if err := s.flush(f.n); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = s.allocated(f.n, mode, off, n)
			}
		}()
	}
	takes := n
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) != 0 {
		takes = 0
	}
	return f.n.h.whole(takes, func() error { return unix.Fallocate(fd, mode, off, n) })
}

// metered writes as much of p to the host as there is Room for.
func (h *host) metered(p []byte, write func([]byte) (int, error)) (int, error) {
	may := h.Room(int64(len(p)))
	if may == 0 && len(p) > 0 {
		return 0, unix.EDQUOT
	}
	n, err := again(func() (int, error) { return write(p[:may]) })
	n = max(n, 0)
	h.Room(int64(n) - may)
	return n, err
}

// whole has n bytes of the host's taken, or none.
func (h *host) whole(n int64, take func() error) error {
	may, err := h.Room(n), error(unix.EDQUOT)
	if may == n {
		err = done(take)
	}
	if err != nil {
		h.Room(-may)
	}
	return err
}

// SeekHole is [fdtable.HoleSeeker].
func (f *hostFile) SeekHole(off int64, whence int) (int64, error) {
	if err := f.Flush(); err != nil {
		return 0, err
	}
	fd, err := f.open()
	if err != nil {
		return 0, err
	}
	return unix.Seek(fd, off, whence)
}

// Blocks is [fdtable.Blocker].
func (f *hostFile) Blocks() bool { return f.fd != nil }

// Map is [fdtable.Mapper]: the content as it is now, unless guests share it.
func (f *hostFile) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	if write || f.n.shared != nil {
		return f.n.mapShared(off, n, write)
	}
	a, err := f.n.Attr()
	if err != nil {
		return fdtable.Mapping{}, err
	}
	k := arena.Key{Dev: a.Dev, Ino: a.Ino, Mtime: a.Mtime, Ctime: a.Ctime, Size: a.Size}
	return f.n.h.images.mapping(k, f, off, n, write)
}
