//go:build linux

package vfs

import (
	"io"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// copyStep is how much of a lower file is copied at once, bytes.
const copyStep = 1 << 20

// ovFile is an open regular file of an overlay.
type ovFile struct {
	n     *ovNode
	low   fdtable.File // nil: lower gives nothing
	up    *memFile     // nil: not opened yet
	write bool
}

// Open is [Opener]. Nothing is copied before the first write.
func (n *ovNode) Open(flags int) (fdtable.File, error) {
	f := &ovFile{n: n, write: flags&unix.O_ACCMODE != unix.O_RDONLY}
	if n.up == nil || n.lent > 0 {
		o, ok := n.lower.(Opener)
		if !ok {
			return nil, unix.ENXIO
		}
		var err error
		if f.low, err = o.Open(unix.O_RDONLY); err != nil {
			return nil, err
		}
	} else if !n.up.attr.IsRegular() {
		return nil, unix.ENXIO
	}
	n.hold(1)
	return f, nil
}

func (f *ovFile) Close() error {
	if f.up != nil {
		_ = f.up.Close()
	}
	f.n.hold(-1)
	if f.low != nil {
		return f.low.Close()
	}
	return nil
}

// raise makes the upper file, if there is none, and opens it.
func (f *ovFile) raise() error {
	if err := f.n.raise(); err != nil {
		return err
	}
	if f.up == nil {
		up, err := f.n.up.Open(unix.O_RDWR)
		if err != nil {
			return err
		}
		f.up = up.(*memFile)
	}
	return nil
}

func blocksOf(size int64) int64 { return (size + blockSize - 1) / blockSize }

// maxCopied is how many ranges of a file its holes may make, each 16 bytes: beyond,
// as where an extent tree cannot grow, ENOSPC. What is written counts as pages do.
const maxCopied = 1 << 18

// blocks is a range of a file's blocks.
type blocks struct{ from, to int64 }

// rangeAt gives the first range that ends behind block.
func (n *ovNode) rangeAt(block int64) int {
	return sort.Search(len(n.copied), func(i int) bool { return n.copied[i].to > block })
}

// run tells whether up gives byte off, and for how many of the next bytes that
// stays so.
func (n *ovNode) run(off, size int64) (up bool, run int64) {
	if off >= n.lent {
		return true, size
	}
	size = min(size, n.lent-off)
	i := n.rangeAt(off / blockSize)
	if i == len(n.copied) {
		return false, size
	}
	if r := n.copied[i]; r.from*blockSize > off {
		return false, min(size, r.from*blockSize-off)
	}
	return true, min(size, n.copied[i].to*blockSize-off)
}

// mark notes that up gives the blocks that [off, end) covers a part of.
func (n *ovNode) mark(off, end int64) {
	r := blocks{off / blockSize, blocksOf(min(end, n.lent))}
	if r.from >= r.to {
		return
	}
	first := n.rangeAt(r.from - 1) // what ends there is joined
	last := first
	for ; last < len(n.copied) && n.copied[last].from <= r.to; last++ {
		have := n.copied[last]
		n.blocks -= have.to - have.from
		r = blocks{min(r.from, have.from), max(r.to, have.to)}
	}
	n.blocks += r.to - r.from
	n.copied = slices.Replace(n.copied, first, last, r)
	n.settle()
}

// settle is done with lower when up gives every block.
func (n *ovNode) settle() {
	if n.blocks == blocksOf(n.lent) {
		n.lent, n.blocks, n.copied = 0, 0, nil
	}
}

// shorten lets lower give no more than size bytes.
func (n *ovNode) shorten(size int64) {
	if size >= n.lent {
		return
	}
	n.lent = size
	end := blocksOf(size)
	for i := len(n.copied) - 1; i >= 0 && n.copied[i].to > end; i-- {
		r := &n.copied[i]
		keep := max(end, r.from)
		n.blocks -= r.to - keep
		if r.to = keep; r.from == r.to {
			n.copied = n.copied[:i]
		}
	}
	n.settle()
}

// fill copies what lower gives of [off, end) up, and leaves the times alone.
func (f *ovFile) fill(off, end int64) error {
	n := f.n
	mtime, ctime := n.up.attr.Mtime, n.up.attr.Ctime
	defer func() { n.up.attr.Mtime, n.up.attr.Ctime = mtime, ctime }()
	off -= off % blockSize
	end = min(blocksOf(end)*blockSize, n.lent)
	var buf []byte
	for off < end {
		up, run := n.run(off, end-off)
		if up {
			off += run
			continue
		}
		run = min(run, copyStep)
		if int64(len(buf)) < run {
			buf = make([]byte, run)
		}
		p := buf[:run]
		if err := f.readLow(p, off); err != nil {
			return err
		}
		if size, err := f.up.WriteAt(p, off); err != nil || int64(size) < run {
			return unix.ENOSPC
		}
		n.mark(off, off+run)
		off += run
	}
	return nil
}

// readLow reads all of p; what a lower file has lost meanwhile is zeros.
func (f *ovFile) readLow(p []byte, off int64) error {
	r, ok := f.low.(io.ReaderAt)
	if !ok {
		return unix.EIO
	}
	for len(p) > 0 {
		size, err := r.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return err
		}
		if size == 0 {
			clear(p)
			return nil
		}
		p, off = p[size:], off+int64(size)
	}
	return nil
}

func (f *ovFile) ReadAt(p []byte, off int64) (int, error) {
	n := f.n
	if n.up == nil {
		r, ok := f.low.(io.ReaderAt)
		if !ok {
			return 0, unix.EINVAL
		}
		return r.ReadAt(p, off)
	}
	if err := f.raise(); err != nil {
		return 0, err
	}
	if n.lent == 0 {
		return f.up.ReadAt(p, off)
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if off >= size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > size-off {
		p, end = p[:size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		up, run := n.run(at, int64(len(p)-done))
		part := p[done : done+int(run)]
		if up {
			if _, err := f.up.ReadAt(part, at); err != nil && err != io.EOF {
				return done, err
			}
		} else if err := f.readLow(part, at); err != nil {
			return done, err
		}
		done += int(run)
	}
	return len(p), end
}

// edges copies up the blocks that a change of [off, end) covers in part.
func (f *ovFile) edges(off, end int64) error {
	n := f.n
	if off%blockSize != 0 && off-off%blockSize < n.lent {
		if err := f.fill(off, off+1); err != nil {
			return err
		}
	}
	if end%blockSize != 0 && end < n.lent {
		return f.fill(end, end+1)
	}
	return nil
}

func (f *ovFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.raise(); err != nil || len(p) == 0 {
		return 0, err
	}
	n, end := f.n, off+int64(len(p))
	if off >= 0 && end > off {
		if err := f.edges(off, end); err != nil {
			return 0, err
		}
	}
	size, err := f.up.WriteAt(p, off)
	if size <= 0 {
		return size, err
	}
	n.wrote = true
	done := off + int64(size)
	if size < len(p) && done%blockSize != 0 && done < n.lent {
		// The quota ended within a block: it is above, with its rest.
		rest := make([]byte, min(blocksOf(done)*blockSize, n.lent)-done)
		if err := f.readLow(rest, done); err != nil {
			return 0, err
		}
		if _, err := f.up.WriteAt(rest, done); err != nil {
			return 0, err
		}
	}
	n.mark(off, done)
	return size, err
}

// Append is [fdtable.Appender].
func (f *ovFile) Append(p []byte) (int, int64, error) {
	size, err := f.Size()
	if err != nil {
		return 0, 0, err
	}
	k, err := f.WriteAt(p, size)
	return k, size + int64(max(k, 0)), err
}

// Size is [fdtable.Sizer].
func (f *ovFile) Size() (int64, error) {
	a, err := f.n.Attr()
	return a.Size, err
}

// Sync is [fdtable.Syncer].
func (f *ovFile) Sync() error { return nil }

// Truncate is [fdtable.Truncater].
func (f *ovFile) Truncate(size int64) error { return f.n.Truncate(size) }

// Truncate is [Truncater].
func (n *ovNode) Truncate(size int64) error {
	if n.isDir() {
		return unix.EISDIR
	}
	if err := n.raise(); err != nil {
		return err
	}
	if err := n.up.Truncate(size); err != nil {
		return err
	}
	n.shorten(size)
	n.wrote = true
	return nil
}

// Allocate is [fdtable.Allocater].
func (f *ovFile) Allocate(mode uint32, off, size int64) error {
	if err := f.raise(); err != nil {
		return err
	}
	n := f.n
	if off >= 0 && size > 0 && off+size > 0 && n.lent > 0 {
		var err error
		switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
		case unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE:
			if len(n.copied) >= maxCopied {
				return unix.ENOSPC
			}
			err = f.edges(off, off+size)
		case unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE:
			if blocksOf(n.lent) > maxMove {
				return unix.EOPNOTSUPP
			}
			err = f.fill(0, n.lent)
		}
		if err != nil {
			return err
		}
	}
	if err := f.up.Allocate(mode, off, size); err != nil {
		return err
	}
	n.wrote = true
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		n.mark(off, off+size)
	}
	return nil
}

// SeekHole is [fdtable.HoleSeeker]: what is partly below counts as data.
func (f *ovFile) SeekHole(off int64, whence int) (int64, error) {
	n := f.n
	if n.up == nil {
		if h, ok := f.low.(fdtable.HoleSeeker); ok {
			return h.SeekHole(off, whence)
		}
	} else if err := f.raise(); err != nil {
		return 0, err
	}
	size, err := f.Size()
	switch {
	case err != nil:
		return 0, err
	case off < 0 || off >= size:
		return 0, unix.ENXIO
	case n.up == nil && whence == unix.SEEK_DATA, n.up != nil && off < n.lent && whence == unix.SEEK_DATA:
		return off, nil
	case n.up == nil || n.lent >= size:
		return size, nil
	}
	return f.up.SeekHole(max(off, n.lent), whence)
}

// Map is [fdtable.Mapper]. What is open for writing, or was written, is mapped
// above, where further writes show: all of it is copied, so ENOMEM if that is too
// much.
func (f *ovFile) Map(off, size int64, write bool) (fdtable.Mapping, error) {
	n := f.n
	if low, ok := f.low.(fdtable.Mapper); ok && !n.wrote && !f.write && !write {
		return low.Map(off, size, false)
	}
	err := f.raise()
	if err == nil && blocksOf(n.lent)-n.blocks > maxShared/blockSize {
		err = unix.ENOMEM
	}
	if err == nil {
		err = f.fill(0, n.lent)
	}
	if err != nil {
		return fdtable.Mapping{}, unix.ENOMEM
	}
	n.wrote = n.wrote || write
	return f.up.Map(off, size, write)
}
