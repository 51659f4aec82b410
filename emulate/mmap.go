//go:build linux

package emulate

import (
	"bytes"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/sysno"
)

const (
	pageSize = 4096
	// mapKnown is LEGACY_MAP_MASK of include/linux/mman.h, beyond which
	// MAP_SHARED_VALIDATE refuses.
	mapKnown = unix.MAP_SHARED | unix.MAP_PRIVATE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE |
		unix.MAP_EXECUTABLE | unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE |
		unix.MAP_NONBLOCK | unix.MAP_STACK | unix.MAP_HUGETLB | map32bit | mapAbove4G | 0x4000000 |
		21<<26 | 30<<26 // MAP_UNINITIALIZED, MAP_HUGE_2MB, MAP_HUGE_1GB
	map32bit   = 0x40
	mapAbove4G = 0x80
	mapType    = 0x0f

	// madvHWPoison and what follows act on the machine's memory.
	madvHWPoison = 100
)

// slot is a place in an arena that holds one file.
type slot struct {
	shared bool // fdtable.ArenaShared, not the jail's own
	index  int64
}

func slotOf(a fdtable.Arena, off int64) slot {
	return slot{a == fdtable.ArenaShared, off % arena.Void / arena.Stride}
}

// placed is the file that was last put into a slot.
type placed struct {
	entry *vfs.Dentry
	owner fdtable.Owner // nil: of nothing more than is mapped
}

// Mapped tells the name of the file that a guest has mapped from an arena's
// offset, and the offset in that file: what /proc/PID/maps shows.
func (s *System) Mapped(a fdtable.Arena, off int64) (e *vfs.Dentry, at int64, ok bool) {
	p, ok := s.mapped[slotOf(a, off)]
	return p.entry, off % arena.Stride, ok
}

// mmap is mm/mmap.c:do_mmap for files: the checks, then the kernel maps the
// file's place in an arena.
func mmap(c *Call) (uint64, error) {
	length, prot, flags, fd, offset := c.Size(1), c.Int(2), c.Int(3), c.FD(4), c.Size(5)
	if flags&unix.MAP_ANONYMOUS != 0 {
		if flags&unix.MAP_HUGETLB != 0 { // the host's are not for guests
			return 0, unix.ENOMEM
		}
		return c.Kernel()
	}
	if offset%pageSize != 0 {
		return 0, unix.EINVAL
	}
	d, err := c.Task.opened(fd)
	switch {
	case err != nil:
		return 0, err
	case flags&unix.MAP_HUGETLB != 0, length == 0:
		return 0, unix.EINVAL
	case length > taskSize:
		return 0, unix.ENOMEM
	case offset > 1<<63-1-taskSize:
		return 0, unix.EOVERFLOW
	}
	shared := false
	switch flags & mapType {
	case unix.MAP_SHARED_VALIDATE:
		if flags&^mapKnown != 0 {
			return 0, unix.EOPNOTSUPP
		}
		shared = true
	case unix.MAP_SHARED:
		shared = true
	case unix.MAP_PRIVATE:
	default:
		return 0, unix.EINVAL
	}
	writes := prot&unix.PROT_WRITE != 0
	if shared && writes && !d.Writes() || !d.Reads() {
		return 0, unix.EACCES
	}
	args := c.Args
	if _, ok := d.File.(fdtable.ZeroMapper); ok && flags&unix.MAP_GROWSDOWN == 0 {
		args[3] |= unix.MAP_ANONYMOUS
		args[4], args[5] = ^uint64(0), 0
		return c.Task.Machine.Native(c.Nr, args)
	}
	return c.mapFile(d, int64(offset), shared && d.Writes(), writes, args)
}

// mapFile lets the kernel map bytes from off on of d's file where they lie in an
// arena; the first four arguments are mmap's own, write and now are [place]'s. It
// notes whose place it is, which stays d's whoever closes d meanwhile.
func (c *Call) mapFile(d *fdtable.Description, off int64, write, now bool, args [6]uint64) (uint64, error) {
	defer d.Retain().Release()
	s := c.Sys
	if err := s.placing.lock(c); err != nil {
		return 0, err
	}
	defer s.placing.unlock()
	m, err := place(d, off, int64(pageAlign(args[1])), write, now)
	if err != nil {
		return 0, err
	}
	if args[3]&unix.MAP_GROWSDOWN != 0 {
		return 0, unix.EINVAL
	}
	s.placing.at, s.placing.places = m, true
	args[4], args[5] = uint64(s.ArenaFDs[m.Arena]), uint64(m.Offset)
	native := c.Task.Machine.Native
	at := uint64(0)
	if beyond := uint64(m.Beyond); beyond == 0 {
		at, err = native(sysno.Mmap, args)
	} else { // all of it as nothing, and the file over that
		s.voids = true
		none := args
		none[5] += arena.Void
		at, err = native(sysno.Mmap, none)
		if args[0], args[1] = at, pageAlign(args[1])-beyond; err == nil && args[1] > 0 {
			args[3] = args[3]&^unix.MAP_FIXED_NOREPLACE | unix.MAP_FIXED
			if _, err = native(sysno.Mmap, args); err != nil && err != ErrGone {
				_, _ = native(sysno.Must("munmap"), [6]uint64{at, args[1] + beyond})
			}
		}
	}
	if err == nil {
		s.NoteMapped(entryOf(d), m)
	}
	return at, err
}

// NoteMapped takes note that e lies at m, for [System.Mapped].
func (s *System) NoteMapped(e *vfs.Dentry, m fdtable.Mapping) {
	if s.mapped == nil {
		s.mapped = make(map[slot]placed)
	}
	s.mapped[slotOf(m.Arena, m.Offset)] = placed{e, m.Owner}
	s.voids = s.voids || m.Beyond > 0
}

// place puts the file in an arena. What may not be written through the mapping
// is mapped from a read-only descriptor, so that mprotect(2) refuses, too.
// ENODEV, EPERM, and what Map gives.
func place(d *fdtable.Description, off, n int64, write, now bool) (fdtable.Mapping, error) {
	f, ok := d.File.(fdtable.Mapper)
	if !ok {
		return fdtable.Mapping{}, unix.ENODEV
	}
	m, err := f.Map(off, n, write)
	if err == unix.EPERM && write && !now {
		write = false
		m, err = f.Map(off, n, false)
	}
	if !write && m.Arena == fdtable.ArenaOwn {
		m.Arena = fdtable.ArenaOwnRead
	}
	return m, err
}

func madvise(c *Call) (uint64, error) {
	advice := c.Int(2)
	if advice >= madvHWPoison {
		return 0, unix.EINVAL
	}
	return c.Kernel()
}

// mincore says of all mapped pages that they are there: whether others have
// read a shared file is not the guest's to know.
func mincore(c *Call) (uint64, error) {
	addr, length, vec := c.Addr(0), c.Size(1), c.Addr(2)
	if addr%pageSize != 0 {
		return 0, unix.EINVAL
	}
	if addr > taskSize || length > taskSize-addr {
		return 0, unix.ENOMEM
	}
	if length == 0 {
		return 0, nil
	}
	length = (length + pageSize - 1) &^ (pageSize - 1)
	// msync of nothing in particular: ENOMEM where nothing is mapped.
	if _, err := c.Task.Machine.Native(sysno.Must("msync"), [6]uint64{addr, length, 0}); err != nil {
		return 0, err
	}
	ones := bytes.Repeat([]byte{1}, int(min(length/pageSize, maxChunk)))
	for left, steps := length/pageSize, 1; left > 0; steps++ {
		p := ones[:min(left, uint64(len(ones)))]
		if err := c.Write(vec, p); err != nil {
			return 0, err
		}
		vec += uint64(len(p))
		left -= uint64(len(p))
		if steps%turn == 0 {
			if err := c.yield(); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}
