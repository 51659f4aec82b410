//go:build linux

package vfs

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// memFile is an open regular file.
type memFile struct{ *memNode }

func (n *memNode) Open(flags int) (fdtable.File, error) {
	if !n.attr.IsRegular() {
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

func (f *memFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.accessed()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.resize(max(int64(len(f.data)), off+int64(len(p)))); err != nil {
		return 0, err
	}
	f.modified()
	return copy(f.data[off:], p), nil
}

func (n *memNode) Truncate(size int64) error {
	if n.names != nil {
		return unix.EISDIR
	}
	n.modified()
	return n.resize(size)
}

func (n *memNode) resize(size int64) error {
	if size < 0 || size > 1<<40 {
		return unix.EFBIG
	}
	grown := size - int64(len(n.data))
	if n.fs.opt.Bytes > 0 && n.fs.bytes+grown > n.fs.opt.Bytes {
		return unix.ENOSPC
	}
	n.fs.bytes += grown
	data := n.data
	if size > int64(cap(data)) {
		data = make([]byte, size, size+size/4)
		copy(data, n.data)
	}
	n.data = data[:size]
	return nil
}
