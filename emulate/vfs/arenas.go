//go:build linux

package vfs

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// Arenas is what the root of a file system has whose files can be mapped: own
// holds what the jail's guests may change, shared what nobody changes. Nil takes
// an arena away, when no guest runs any more; content that lay in own is moved
// out of it, which can fail for want of memory. Missing: mmap(2) is ENODEV.
type Arenas interface {
	UseArenas(own *arena.Arena, shared *arena.Cache) error
}

// UseArenas tells every mounted file system.
func (ns *Namespace) UseArenas(own *arena.Arena, shared *arena.Cache) error {
	var errs []error
	for _, m := range ns.mounts {
		if a, ok := m.root.Node.(Arenas); ok {
			errs = append(errs, a.UseArenas(own, shared))
		}
	}
	return errors.Join(errs...)
}

// Close gives back what the mounted file systems hold of the host; see
// [NewHost].
func (ns *Namespace) Close() error {
	var errs []error
	for _, m := range ns.mounts {
		if c, ok := m.root.Node.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// UseArenas is [Arenas].
func (n *memNode) UseArenas(own *arena.Arena, _ *arena.Cache) error { return n.fs.UseArena(own) }

// UseArenas is [Arenas].
func (n *ovNode) UseArenas(own *arena.Arena, shared *arena.Cache) error {
	var err error
	if a, ok := n.o.root.lower.(Arenas); ok {
		err = a.UseArenas(own, shared)
	}
	return errors.Join(err, n.o.mem.UseArena(own))
}

// UseArenas is [Arenas].
func (n *hostNode) UseArenas(own *arena.Arena, shared *arena.Cache) error {
	var errs []error
	for len(n.h.shared) > 0 {
		errs = append(errs, n.h.shared[0].unshare(true))
	}
	n.h.arena = own
	n.h.images.use(shared)
	return errors.Join(errs...)
}

// UseArenas is [Arenas].
func (n *ioNode) UseArenas(_ *arena.Arena, shared *arena.Cache) error {
	n.f.images.use(shared)
	return nil
}

// images is what a mount has put into the shared arena. Guests may have mapped
// it, so it stays there as long as they run.
type images struct {
	cache *arena.Cache
	held  map[arena.Key]*arena.Image
}

func (m *images) use(c *arena.Cache) {
	for _, i := range m.held {
		i.Release()
	}
	m.cache, m.held = c, make(map[arena.Key]*arena.Image)
}

// mapping is [fdtable.Mapper] for the content k, which r gives. ENODEV: without
// a shared arena, and for a shared writable mapping, whose writes could not reach
// r.
func (m *images) mapping(k arena.Key, r io.ReaderAt, off, n int64, write bool) (fdtable.Mapping, error) {
	if m.cache == nil || write {
		return fdtable.Mapping{}, unix.ENODEV
	}
	i := m.held[k]
	if i == nil {
		var err error
		if i, err = m.cache.Get(k); err != nil {
			return fdtable.Mapping{}, err
		}
		m.held[k] = i
	}
	at, err := i.Fill(r, off, n)
	end := (k.Size + blockSize - 1) / blockSize * blockSize
	return fdtable.Mapping{Arena: fdtable.ArenaShared, Offset: at, Beyond: min(max(off+n-end, 0), n)}, err
}
