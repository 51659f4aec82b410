//go:build linux

package vfs

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// maxShared bounds a file of the host that guests map to write, in bytes: all of
// it is copied at once, on the warden's time. The arena's limit bounds all of them.
const maxShared = 1 << 30

// shared is a file of a writable mount that guests have mapped to share what they
// write. Its bytes lie in a slot of the jail's arena, where reads of the file find
// what was stored through a mapping; writes go to the host's file as well. What was
// stored reaches the host's file with msync(2), fsync(2), close(2) and the end of
// the jail; what others change in it meanwhile does not reach the guests.
type shared struct {
	n    *hostNode
	slot arena.Slot
	size int64   // in bytes, of whole pages, that count in the arena
	fd   *hostFD // to write
}

// share copies the file into a slot. ENODEV without an arena, ENOMEM if it is too
// large.
func (n *hostNode) share() error {
	h := n.h
	if n.shared != nil {
		return nil
	}
	if h.arena == nil || !h.Write {
		return unix.ENODEV
	}
	size, err := n.size()
	switch {
	case err != nil:
		return err
	case size > maxShared:
		return unix.ENOMEM
	}
	fd, err := n.acquire(toWrite)
	if err != nil {
		return err
	}
	s := &shared{n: n, fd: fd}
	if err := s.grow(size); err != nil {
		h.release(fd)
		return err
	}
	s.slot, err = h.arena.Alloc()
	if err == nil {
		if err = s.slot.Fill(fd, 0, size); err != nil {
			_ = s.slot.Free()
		}
	}
	if err != nil {
		_ = h.arena.Foreign(-s.size)
		h.release(fd)
		return err
	}
	n.shared = s
	h.shared = append(h.shared, n)
	return nil
}

// grow has as many bytes count as are in the pages up to end. ENOMEM.
func (s *shared) grow(end int64) error {
	end = blocksOf(end) * blockSize
	if end <= s.size {
		return nil
	}
	err := s.n.h.arena.Foreign(end - s.size)
	if err == nil {
		s.size = end
	}
	return err
}

// Admit is [fdtable.Owner].
func (s *shared) Admit(off, n int64) (int64, error) {
	size, err := s.n.size()
	if err == nil {
		err = s.grow(min(size, maxShared))
	}
	if err == unix.ENOMEM {
		err = unix.ENOSPC
	}
	return max(min(n, s.size-off), 0), err
}

// Load is [fdtable.Owner].
func (s *shared) Load(p []byte, off int64) (int, error) {
	size, err := s.n.size()
	if err != nil {
		return 0, err
	}
	p, end := mappable(p, off, size)
	n, err := s.slot.ReadAt(p, off)
	return n, cmp.Or(err, end)
}

// Store is [fdtable.Owner].
func (s *shared) Store(p []byte, off int64) (int, error) {
	fit, err := s.Admit(off, int64(len(p)))
	if err != nil || fit == 0 {
		return 0, unix.ENOSPC
	}
	return s.slot.WriteAt(p[:fit], off)
}

func (n *hostNode) size() (int64, error) {
	a, err := n.Attr()
	return a.Size, err
}

// ReadAt is pread(2) on what the descriptor stands for.
func (f *hostFD) ReadAt(p []byte, off int64) (int, error) {
	n, err := again(func() (int, error) { return unix.Pread(f.fd, p, off) })
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return max(n, 0), err
}

// readAt is hostFile.ReadAt: up to the file's end, from the slot.
func (s *shared) readAt(n *hostNode, p []byte, off int64) (int, error) {
	size, err := n.size()
	if err != nil {
		return 0, err
	}
	part := p[:max(0, min(int64(len(p)), size-off))]
	m, err := s.slot.ReadAt(part, off)
	if err == nil && len(part) < len(p) {
		err = io.EOF
	}
	return m, err
}

// flush writes to the host what differs of it, page by page.
func (s *shared) flush(n *hostNode) error {
	size, err := n.size()
	if err != nil {
		return err
	}
	ours, theirs := make([]byte, chunkSize), make([]byte, chunkSize)
	for off := int64(0); off < size; off += chunkSize {
		p := ours[:min(chunkSize, size-off)]
		if _, err := s.slot.ReadAt(p, off); err != nil {
			return err
		}
		m, err := s.fd.ReadAt(theirs[:len(p)], off)
		if err != nil && err != io.EOF {
			return err
		}
		clear(theirs[m:])
		for at := 0; at < len(p); at += blockSize {
			page := p[at:min(at+blockSize, len(p))]
			if bytes.Equal(page, theirs[at:at+len(page)]) {
				continue
			}
			if _, err := n.h.metered(page, func(p []byte) (int, error) { return unix.Pwrite(s.fd.fd, p, off+int64(at)) }); err != nil {
				return err
			}
			n.changed()
		}
	}
	return nil
}

// allocated does to the slot what fallocate(2) did to the host's file.
func (s *shared) allocated(n *hostNode, mode uint32, off, length int64) error {
	switch {
	case mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0:
		return s.slot.Punch(off, min(length, arena.Stride-off))
	case mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) != 0:
		size, err := n.size()
		if err == nil {
			err = s.slot.Truncate(off)
		}
		if err == nil {
			err = s.grow(size)
		}
		if err == nil {
			err = s.slot.Fill(s.fd, off, size-off)
		}
		return err
	}
	return nil
}

// inUse reports that the slot may be in somebody's hands: in those of a File, by
// which it may be about to be mapped, or of a guest that has.
func (s *shared) inUse(n *hostNode) bool {
	read := n.fds[toRead]
	return s.fd.users > 1 || read != nil && read.users > 0 || n.h.arena.Mapped(s.slot)
}

// unshare flushes the file and, if nobody uses it any more, gives the slot back.
func (n *hostNode) unshare(ended bool) error {
	s := n.shared
	if s == nil {
		return nil
	}
	used := !ended && s.inUse(n) // before the flush: what comes later comes through a mapping
	err := s.flush(n)
	if used || err != nil && !ended {
		return err
	}
	n.shared = nil
	n.h.release(s.fd)
	n.h.shared = slices.DeleteFunc(n.h.shared, func(o *hostNode) bool { return o == n })
	return errors.Join(err, s.slot.Free(), n.h.arena.Foreign(-s.size))
}

// Flush is [Flusher].
func (n *hostNode) Flush() error {
	var errs []error
	for _, n := range n.h.shared {
		errs = append(errs, n.shared.flush(n))
	}
	return errors.Join(errs...)
}

// Flush is [fdtable.Flusher].
func (f *hostFile) Flush() error {
	if s := f.n.shared; s != nil {
		return s.flush(f.n)
	}
	return nil
}

// Flusher is what the root of a file system has that keeps what guests store
// through mappings from its files for a while. Flush writes it there. Missing:
// there is no other place.
type Flusher interface{ Flush() error }

// Flush tells every mounted file system.
func (ns *Namespace) Flush() error {
	var errs []error
	for _, m := range ns.mounts {
		if f, ok := m.root.Node.(Flusher); ok {
			errs = append(errs, f.Flush())
		}
	}
	return errors.Join(errs...)
}

// mapShared is hostFile.Map for a shared mapping that may be written, or of a file
// that has one.
func (n *hostNode) mapShared(off, size int64, write bool) (fdtable.Mapping, error) {
	if err := n.share(); err != nil {
		return fdtable.Mapping{}, err
	}
	s := n.shared
	fit, _ := s.Admit(off, size)
	m := fdtable.Mapping{Arena: fdtable.ArenaOwnRead, Offset: s.slot.Offset() + off, Beyond: size - fit, Owner: s}
	if write {
		m.Arena = fdtable.ArenaOwn
	}
	return m, nil
}
