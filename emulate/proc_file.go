//go:build linux

package emulate

import (
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// procFile is an open file. Its content is made when it is read at its start, and
// what follows is of the same moment (as fs/seq_file.c does).
type procFile struct {
	n    procNode
	text []byte
}

// Bounds of what open files keep: how many of them, and bytes in all. A file
// whose content had to go makes it anew.
const (
	maxProcHeld  = 64
	maxProcBytes = 32 << 20
)

func (f *procFile) Close() error {
	f.drop()
	return nil
}

func (f *procFile) drop() {
	if i := slices.Index(f.n.held, f); i >= 0 {
		f.n.held = slices.Delete(f.n.held, i, i+1)
		f.n.bytes -= cap(f.text)
	}
	f.text = nil
}

// ReadAt is pread(2). ESRCH: the process is gone.
func (f *procFile) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 || f.text == nil {
		f.drop()
		text, err := f.n.row.text(f.n.procAt)
		if err == ErrGone {
			err = unix.ESRCH
		}
		if err != nil {
			return 0, err
		}
		f.keep(text)
	}
	if off >= int64(len(f.text)) {
		return 0, io.EOF
	}
	return copy(p, f.text[off:]), nil
}

func (f *procFile) keep(text []byte) {
	k := f.n.proc
	for len(k.held) > 0 && (len(k.held) >= maxProcHeld || k.bytes+cap(text) > maxProcBytes) {
		k.held[0].drop()
	}
	f.text = text
	k.held = append(k.held, f)
	k.bytes += cap(text)
}

// Seek is seq_lseek: there is no end to seek from.
func (f *procFile) Seek(d *fdtable.Description, off int64, whence int) (int64, error) {
	return seekNoEnd(d, off, whence)
}

func seekNoEnd(d *fdtable.Description, off int64, whence int) (int64, error) {
	switch whence {
	case unix.SEEK_CUR:
		off += d.Offset
	case unix.SEEK_SET:
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	d.Offset = off
	return off, nil
}

// procWritable is a procFile that takes writes, each a whole one whatever the
// offset.
type procWritable struct{ procFile }

// WriteAt is pwrite(2).
func (f *procWritable) WriteAt(p []byte, _ int64) (int, error) {
	if err := f.n.row.write(f.n.procAt, p[:min(len(p), pageSize-1)]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// memFile is /proc/PID/mem, for the process itself only. Unlike Linux's it obeys
// page protection.
type memFile struct{ procAt }

func openMem(a procAt) (fdtable.File, error) {
	if !a.own() {
		return nil, unix.EACCES
	}
	return memFile{a}, nil
}

func (f memFile) Close() error { return nil }

// ReadAt is mem_read. EIO where nothing is mapped.
func (f memFile) ReadAt(p []byte, off int64) (int, error) {
	return f.transfer(Machine.ReadMemory, p, off)
}

// WriteAt is mem_write.
func (f memFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(Machine.WriteMemory, p, off)
}

func (f memFile) transfer(do func(Machine, []byte, uint64) (int, error), p []byte, off int64) (int, error) {
	t, err := f.task()
	if err != nil {
		return 0, nil
	}
	n, err := do(t.Machine, p, uint64(off))
	if err == unix.EFAULT {
		err = unix.EIO
	}
	return n, err
}

// Seek is mem_lseek.
func (f memFile) Seek(d *fdtable.Description, off int64, whence int) (int64, error) {
	return seekNoEnd(d, off, whence)
}
