//go:build linux

package vfs

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// memFile is an open regular file.
type memFile struct{ *memNode }

func (n *memNode) Open(int) (fdtable.File, error) {
	if n.data == nil {
		return nil, unix.ENXIO
	}
	n.opens++
	return &memFile{n}, nil
}

func (f *memFile) Close() error {
	f.opens--
	f.drop()
	return nil
}

func (f *memFile) Sync() error { return nil }

func (f *memFile) Size() (int64, error) { return f.data.size, nil }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.accessed()
	return f.data.readAt(p, off)
}

// readAt is io.ReaderAt.
func (c *content) readAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	if off >= c.size {
		return 0, io.EOF
	}
	if left := c.size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	if e := c.read(p, off); e != nil {
		return 0, e
	}
	return len(p), err
}

// WriteAt writes what there is room for: EFBIG, ENOSPC or EPERM (seals) only if
// that is nothing.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	c := f.data
	if off < 0 {
		return 0, unix.EINVAL
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return 0, unix.EPERM
	}
	if off >= maxFileSize {
		return 0, unix.EFBIG
	}
	p = p[:min(int64(len(p)), maxFileSize-off)]
	if f.seals&unix.F_SEAL_GROW != 0 && off+int64(len(p)) > c.size {
		// Page by page, as the kernel writes: those that end in the file.
		whole := c.size/blockSize*blockSize - off
		if whole <= 0 {
			return 0, unix.EPERM
		}
		p = p[:whole]
	}
	fit, err := f.reserve(off, int64(len(p)))
	if fit == 0 {
		return 0, err
	}
	p = p[:fit]
	if off > c.size {
		if err := c.resize(off); err != nil {
			return 0, err
		}
	}
	if c.pages > chunkPages || fit > chunkSize {
		_ = f.settle() // Without a free slot it stays in Go memory.
	}
	if err := c.write(p, off); err != nil {
		return 0, err
	}
	c.size = max(c.size, off+fit)
	c.account()
	f.modified()
	return len(p), nil
}

func (f *memFile) Append(p []byte) (n int, end int64, err error) {
	n, err = f.WriteAt(p, f.data.size)
	return n, f.data.size, err
}

// reserve asks for the pages of [off, off+n): fit bytes can be written. ENOSPC.
func (n *memNode) reserve(off, size int64) (fit int64, err error) {
	for try := 0; ; try++ {
		room := n.fs.quota.room() / blockSize
		if _, fit = n.data.missing(off, size, room); fit == size {
			return fit, nil
		}
		// Files that are gone but were mapped count until they are looked for.
		if a := n.fs.arena; try > 0 || a == nil || a.Reclaim() == 0 {
			return fit, unix.ENOSPC
		}
	}
}

func (n *memNode) Truncate(size int64) error {
	switch {
	case n.names != nil:
		return unix.EISDIR
	case n.data == nil || size < 0:
		return unix.EINVAL
	case size > maxFileSize:
		return unix.EFBIG
	case size < n.data.size && n.seals&unix.F_SEAL_SHRINK != 0,
		size > n.data.size && n.seals&unix.F_SEAL_GROW != 0:
		return unix.EPERM
	}
	err := n.data.resize(size)
	n.data.account()
	n.modified()
	return err
}

// SeekHole is lseek(2) with SEEK_DATA or SEEK_HOLE. ENXIO.
func (f *memFile) SeekHole(off int64, whence int) (int64, error) {
	c := f.data
	if off < 0 || off >= c.size {
		return 0, unix.ENXIO
	}
	at := c.seek(off, whence == unix.SEEK_DATA)
	c.account()
	if at == c.size && whence == unix.SEEK_DATA {
		return 0, unix.ENXIO
	}
	return at, nil
}

// Allocate is fallocate(2) as ext4 has it, but that a file of more than maxMove
// pages cannot have ranges taken out or put in.
func (f *memFile) Allocate(mode uint32, off, n int64) error {
	const keep = unix.FALLOC_FL_KEEP_SIZE
	c, end := f.data, off+n
	if off < 0 || n <= 0 {
		return unix.EINVAL
	}
	grows := mode&keep == 0 && end > c.size
	switch mode &^ keep {
	case 0, unix.FALLOC_FL_ZERO_RANGE:
	case unix.FALLOC_FL_PUNCH_HOLE:
		if mode&keep == 0 {
			return unix.EOPNOTSUPP
		}
	case unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE:
		if mode&keep != 0 {
			return unix.EOPNOTSUPP
		}
	default:
		return unix.EOPNOTSUPP
	}
	if end < 0 || end > maxFileSize {
		return unix.EFBIG
	}
	if mode&^keep != 0 && f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 || end > c.size && f.seals&unix.F_SEAL_GROW != 0 {
		return unix.EPERM
	}
	c.survey()
	err := f.allocate(mode&^keep, off, n)
	if err == nil && grows && mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) == 0 {
		err = c.resize(end)
	}
	c.account()
	if err == nil {
		f.modified()
	}
	return err
}

func (f *memFile) allocate(mode uint32, off, n int64) error {
	c := f.data
	aligned := off%blockSize == 0 && n%blockSize == 0
	switch mode {
	case unix.FALLOC_FL_PUNCH_HOLE:
		return c.punch(off, n)
	case unix.FALLOC_FL_COLLAPSE_RANGE:
		switch {
		case !aligned || off+n >= c.size:
			return unix.EINVAL
		case c.pages > maxMove:
			return unix.EOPNOTSUPP
		case c.mapped && c.quota.room()/blockSize < c.pages: // where they were they may come again
			return unix.ENOSPC
		}
		if err := c.punch(off, n); err != nil {
			return err
		}
		if err := c.move(off+n, -n); err != nil {
			return err
		}
		return c.resize(c.size - n)
	case unix.FALLOC_FL_INSERT_RANGE:
		switch {
		case !aligned || off >= c.size:
			return unix.EINVAL
		case c.size > maxFileSize-n:
			return unix.EFBIG
		case c.pages > maxMove:
			return unix.EOPNOTSUPP
		case c.mapped && c.quota.room()/blockSize < c.pages: // where they were they may come again
			return unix.ENOSPC
		}
		size := c.size + n
		if err := c.resize(size); err != nil {
			return err
		}
		return c.move(off, n)
	}
	if fit, err := f.reserve(off, n); fit < n {
		return err
	}
	if mode == unix.FALLOC_FL_ZERO_RANGE {
		if err := c.punch(off, n); err != nil {
			return err
		}
	}
	c.mark(off, n, false)
	return nil
}

// settle moves the content into a slot, if there is an arena.
func (n *memNode) settle() error {
	c, m := n.data, n.fs
	if m.arena == nil || c.slot.Valid() {
		return nil
	}
	err := c.settle(m.arena)
	if err == nil {
		m.settled[c] = true
	}
	return err
}

// Map gives the file a slot of the jail's arena. write: the guest may write
// through the mapping, now or after mprotect(2). ENODEV without an arena; EPERM
// if sealed against writing: without PROT_WRITE the caller asks again with write
// false.
func (f *memFile) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	a, c := f.fs.arena, f.data
	if a == nil {
		return fdtable.Mapping{}, unix.ENODEV
	}
	if off < 0 || n < 0 || off > maxFileSize-n {
		return fdtable.Mapping{}, unix.EOVERFLOW
	}
	if write {
		if f.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			return fdtable.Mapping{}, unix.EPERM
		}
	}
	if err := f.settle(); err != nil {
		return fdtable.Mapping{}, unix.ENOMEM
	}
	f.accessed() // mm/shmem.c:shmem_mmap
	c.mapped, c.shared = true, c.shared || write
	fit, _ := c.admit(off, n, maxAhead, 0) // ENOSPC is the store's
	m := fdtable.Mapping{Arena: fdtable.ArenaOwnRead, Offset: c.slot.Offset() + off, Beyond: n - fit, Owner: c}
	if write {
		m.Arena = fdtable.ArenaOwn
	}
	return m, nil
}
