//go:build linux

package emulate

import (
	"bytes"
	"cmp"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/sysno"
)

// placing is held while the kernel puts pages of an arena into a guest's memory,
// so that mremap's look at what it grows is still true when it grows.
type placing struct {
	held   bool
	moves  bool // what was mapped before
	places bool // a file, at
	at     fdtable.Mapping
	free   fdtable.Queue
}

// Remapping reports that the kernel may be moving a mapping, which who reads
// /proc/PID/maps meanwhile may miss.
func (s *System) Remapping() bool { return s.placing.moves }

// Placing tells what the kernel may be mapping at this moment, if that is a file of
// the jail's own arena.
func (s *System) Placing() (m fdtable.Mapping, ok bool) {
	return s.placing.at, s.placing.places && s.placing.at.Arena != fdtable.ArenaShared
}

// lock sleeps until no other task places. ERESTARTNOINTR, for neither mmap(2) nor
// mremap(2) is ever interrupted.
func (p *placing) lock(c *Call) error {
	for p.held {
		if err := c.Wait(0, &p.free); err == ErrInterrupted {
			return ERESTARTNOINTR
		} else if err != nil {
			return err
		}
	}
	p.held = true
	return nil
}

func (p *placing) unlock() {
	p.held, p.moves, p.places, p.at = false, false, false, fdtable.Mapping{}
	p.free.Wake()
}

// mremap is the kernel's own, but a mapping may not grow out of its file's slot
// of an arena: the next slot is another file. However far the slots are apart,
// its last page can be moved away and grown again. One of an immutable file does
// not grow at all: what comes next was not read, or is behind the file's end. What
// the jail's own grow by may be touched only if it is admitted.
func mremap(c *Call) (uint64, error) {
	oldAddr, oldSize, newSize := c.Addr(0), pageAlign(c.Size(1)), pageAlign(c.Size(2))
	if err := c.Sys.placing.lock(c); err != nil {
		return 0, err
	}
	defer c.Sys.placing.unlock()
	c.Sys.placing.moves = true
	grows := oldSize == 0 || newSize > oldSize // 0: another mapping of the same pages
	if grows || c.Sys.voids {
		m, err := c.Task.mappingAt(oldAddr)
		if err != nil {
			return 0, err
		}
		if grows && m.name != "" && (newSize > arena.Stride || m.offset%arena.Stride > arena.Stride-newSize || m.name == "/memfd:"+arena.SharedName) {
			return 0, unix.ENOMEM
		}
		if m.name == "/memfd:"+arena.OwnName {
			if err := c.whole(m, oldAddr, oldSize, newSize); err != nil {
				return 0, err
			}
		}
	}
	return c.Kernel()
}

// whole prepares m, at addr, for mremap(2): it must be one mapping of the kernel's,
// and must not grow to what may not be touched. ENOMEM.
func (c *Call) whole(m mapping, addr, oldSize, newSize uint64) error {
	pieces := m.end < addr+oldSize
	if m.void && !pieces || pieces && (!m.shared || m.run < addr+oldSize) {
		return nil // or the kernel says EFAULT
	}
	if !pieces {
		grown := max(newSize, oldSize) - oldSize
		fit, err := int64(0), error(nil)
		if owner := c.Sys.owner(m); owner != nil && grown > 0 {
			fit, err = owner.Admit(int64((m.offset+oldSize)%arena.Stride), int64(grown))
		}
		if uint64(fit) == grown {
			return nil
		}
		if !m.shared { // what it has of its own would be lost
			return cmp.Or(err, error(unix.ENOMEM))
		}
	}
	// Pages of the file come back one fault after another.
	c.Sys.voids = true
	return c.remap(m, addr, max(oldSize, pageSize), m.offset%arena.Void+arena.Void)
}

// remap maps [addr, addr+n) of what is m, shared or not, to another offset, with the
// same rights.
func (c *Call) remap(m mapping, addr, n, offset uint64) error {
	if m.shared { // keeps the right to write, which cannot be seen; EINVAL if there is none
		_, err := c.Task.Machine.Native(sysno.Must("remap_file_pages"), [6]uint64{addr, n, 0, offset / pageSize, unix.MAP_NONBLOCK})
		if err != unix.EINVAL {
			return err
		}
	}
	flags := uint64(unix.MAP_FIXED | unix.MAP_PRIVATE)
	if m.shared {
		flags = unix.MAP_FIXED | unix.MAP_SHARED
	}
	_, err := c.Task.Machine.Native(sysno.Mmap, [6]uint64{addr, n, m.prot, flags, uint64(c.Sys.ArenaFDs[fdtable.ArenaOwnRead]), offset})
	return err
}

// owner is who counts the memory of m's file, nil if nobody does.
func (s *System) owner(m mapping) fdtable.Owner {
	return s.mapped[slotOf(fdtable.ArenaOwn, int64(m.offset))].owner
}

// Fault is what becomes of a bus error of c's task at addr: where it may touch more
// of a file than is mapped so, that is mapped, and true says to try again. ENOSPC:
// the bound on memory does not let it.
func (c *Call) Fault(addr uint64) (again bool, err error) {
	s := c.Sys
	if err := s.placing.lock(c); err != nil {
		return err == ERESTARTNOINTR, err // the signal first
	}
	defer s.placing.unlock()
	m, err := c.Task.mappingAt(addr &^ (pageSize - 1))
	if err != nil || m.name != "/memfd:"+arena.OwnName {
		return false, err
	}
	owner := s.owner(m)
	switch {
	case !m.void: // another thread was sooner
		return true, nil
	case owner == nil:
		return false, nil
	}
	addr &^= pageSize - 1
	fit, err := owner.Admit(int64(m.offset%arena.Stride), int64(m.end-addr))
	if fit == 0 {
		return false, err
	}
	s.placing.at, s.placing.places = fdtable.Mapping{Arena: fdtable.ArenaOwn, Offset: int64(m.offset % arena.Void)}, true
	err = c.remap(m, addr, uint64(fit), m.offset%arena.Void)
	return err == nil || err == unix.EACCES, err // EACCES: another thread has put something else there
}

// Reach reads p from what t has mapped at addr and may not touch, or writes it there:
// what the kernel finds no page for, the warden does. It tells how much.
func (t *Task) Reach(sys *System, p []byte, addr uint64, write bool) (n int) {
	if !sys.voids {
		return 0
	}
	m, err := t.mappingAt(addr)
	owner := sys.owner(m)
	if err != nil || m.name != "/memfd:"+arena.OwnName || !m.void || owner == nil {
		return 0
	}
	p = p[:min(uint64(len(p)), m.end-addr)]
	switch off := int64(m.offset % arena.Stride); {
	case write && m.shared && m.prot&unix.PROT_WRITE != 0:
		n, _ = owner.Store(p, off)
	case !write && m.prot&unix.PROT_READ != 0:
		n, _ = owner.Load(p, off)
	}
	return n
}

// remap_file_pages is the kernel's own. What a file is in the arena begins at its
// slot, and what is mapped must lie in it.
func remap_file_pages(c *Call) (uint64, error) {
	start, size, pgoff := c.Addr(0), c.Size(1)&^(pageSize-1), c.Size(3)
	if err := c.Sys.placing.lock(c); err != nil {
		return 0, err
	}
	defer c.Sys.placing.unlock()
	c.Sys.placing.moves = true
	m, err := c.Task.mappingAt(start)
	if err != nil {
		return 0, err
	}
	args := c.Args
	switch m.name {
	case "/memfd:" + arena.OwnName:
		e, _, ok := c.Sys.Mapped(fdtable.ArenaOwn, int64(m.offset))
		if !ok {
			return 0, unix.EINVAL
		}
		attr, err := e.Attr()
		if err != nil {
			return 0, err
		}
		if end := pageAlign(uint64(attr.Size)); size > end || pgoff > (end-size)/pageSize {
			return 0, unix.EINVAL
		}
		c.Sys.voids = true
		args[3] += (m.offset%arena.Void/arena.Stride*arena.Stride + arena.Void) / pageSize
	case "", "/dev/zero": // memory, shared or not, of no file
	default:
		return 0, unix.EINVAL
	}
	return c.Task.Machine.Native(c.Nr, args)
}

// mapping is what a guest has mapped of a file, zero for none.
type mapping struct {
	name   string // the host's
	inode  string // with the device
	offset uint64
	shared bool
	prot   uint64
	void   bool   // arena.Void of an arena
	end    uint64 // of it, and of what goes on with the same file and rights
	run    uint64
}

// mappingAt tells what the task has mapped at addr.
func (t *Task) mappingAt(addr uint64) (m mapping, err error) {
	text, err := t.Machine.ProcFile("maps")
	if err != nil {
		return m, err
	}
	for line := range bytes.Lines(text) {
		if m.end == 0 && before(line, addr) {
			continue
		}
		next, start, err := parseMapping(line)
		switch {
		case err != nil:
			return m, err
		case m.end != 0: // found
			if start != m.run || next.inode != m.inode || next.prot != m.prot || next.shared != m.shared ||
				next.offset%arena.Void != (m.offset+m.run-addr)%arena.Void {
				return m, nil
			}
			m.run = next.end
		case addr < start || next.name == "":
			return m, nil // the kernel says EFAULT
		default:
			next.offset += addr - start
			m = next
		}
	}
	return m, nil
}

// before tells quickly of a line of /proc/PID/maps that it ends at addr or sooner.
func before(line []byte, addr uint64) bool {
	_, rest, _ := bytes.Cut(line, []byte("-"))
	end := uint64(0)
	for _, c := range rest {
		switch {
		case '0' <= c && c <= '9':
			end = end<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			end = end<<4 | uint64(c-'a'+10)
		default:
			return c == ' ' && end <= addr
		}
	}
	return false
}

// parseMapping reads a line of /proc/PID/maps; name is "" of what is no file.
func parseMapping(line []byte) (m mapping, start uint64, err error) {
	f := bytes.Fields(line) // range perms offset dev inode name
	if len(f) < 5 {
		return m, 0, unix.EFAULT
	}
	from, to, _ := bytes.Cut(f[0], []byte("-"))
	start, err1 := strconv.ParseUint(string(from), 16, 64)
	end, err2 := strconv.ParseUint(string(to), 16, 64)
	off, err3 := strconv.ParseUint(string(f[2]), 16, 64)
	if err1 != nil || err2 != nil || err3 != nil || len(f[1]) < 4 {
		return m, 0, unix.EFAULT
	}
	m = mapping{offset: off, shared: f[1][3] == 's', end: end, run: end, void: off >= arena.Void}
	if len(f) > 5 && string(f[4]) != "0" { // the inode: [stack] and its like
		m.name, m.inode = string(f[5]), string(f[3])+" "+string(f[4])
	}
	for i, bit := range []uint64{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if f[1][i] != '-' {
			m.prot |= bit
		}
	}
	return m, start, nil
}

// pageAlign is PAGE_ALIGN, which makes 0 of the last page's addresses.
func pageAlign(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }
