//go:build linux

package emulate

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// placing is held while the kernel puts pages of an arena into a guest's memory,
// so that mremap's look at what it grows is still true when it grows.
type placing struct {
	held  bool
	moves bool // what was mapped before
	free  fdtable.Queue
}

// Remapping reports that the kernel may be moving a mapping, which who reads
// /proc/PID/maps meanwhile may miss.
func (s *System) Remapping() bool { return s.placing.moves }

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
	p.held, p.moves = false, false
	p.free.Wake()
}

// mremap is the kernel's own, but a mapping may not grow out of its file's slot
// of an arena: the next slot is another file. However far the slots are apart,
// its last page can be moved away and grown again. One of an immutable file does
// not grow at all: what comes next was not read, or is behind the file's end.
func mremap(c *Call) (uint64, error) {
	oldAddr, oldSize, newSize := c.Addr(0), pageAlign(c.Size(1)), pageAlign(c.Size(2))
	if err := c.Sys.placing.lock(c); err != nil {
		return 0, err
	}
	defer c.Sys.placing.unlock()
	c.Sys.placing.moves = true
	if oldSize == 0 || newSize > oldSize { // 0: another mapping of the same pages
		m, err := c.Task.mappingAt(oldAddr)
		if err != nil {
			return 0, err
		}
		if m.name != "" && (newSize > arena.Stride || m.offset%arena.Stride > arena.Stride-newSize || m.name == "/memfd:"+arena.SharedName) {
			return 0, unix.ENOMEM
		}
	}
	return c.Kernel()
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
		args[3] += m.offset / arena.Stride * (arena.Stride / pageSize)
	case "", "/dev/zero": // memory, shared or not, of no file
	default:
		return 0, unix.EINVAL
	}
	return c.Task.Machine.Native(c.Nr, args)
}

// pageAlign is PAGE_ALIGN, which makes 0 of the last page's addresses.
func pageAlign(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// mapping is what a guest has mapped of a file, zero for none.
type mapping struct {
	name   string // the host's
	inode  string // with the device
	offset uint64
	shared bool
}

// mappingAt tells what the task has mapped at addr.
func (t *Task) mappingAt(addr uint64) (m mapping, err error) {
	text, err := t.Machine.ProcFile("maps")
	if err != nil {
		return m, err
	}
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line) // range perms offset dev inode name
		if len(f) < 6 {         // no name: no file
			continue
		}
		from, to, _ := bytes.Cut(f[0], []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, 64)
		end, err2 := strconv.ParseUint(string(to), 16, 64)
		off, err3 := strconv.ParseUint(string(f[2]), 16, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			return m, unix.EFAULT
		}
		if start <= addr && addr < end {
			if string(f[4]) == "0" { // the inode: [stack] and its like
				return m, nil
			}
			return mapping{string(f[5]), string(f[3]) + " " + string(f[4]), off + addr - start, f[1][3] == 's'}, nil
		}
	}
	return m, nil // the kernel says EFAULT
}
