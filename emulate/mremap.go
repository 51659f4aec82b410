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
	held bool
	free fdtable.Queue
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
	p.held = false
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
	if oldSize == 0 || newSize > oldSize { // 0: another mapping of the same pages
		at, name, err := c.Task.fileOffset(oldAddr)
		if err != nil {
			return 0, err
		}
		if name != "" && (newSize > arena.Stride || at%arena.Stride > arena.Stride-newSize || name == "/memfd:"+arena.SharedName) {
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
	at, name, err := c.Task.fileOffset(start)
	if err != nil {
		return 0, err
	}
	args := c.Args
	switch name {
	case "/memfd:" + arena.OwnName:
		e, _, ok := c.Sys.Mapped(fdtable.ArenaOwn, int64(at))
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
		args[3] += at / arena.Stride * (arena.Stride / pageSize)
	case "", "/dev/zero": // memory, shared or not, of no file
	default:
		return 0, unix.EINVAL
	}
	return c.Task.Machine.Native(c.Nr, args)
}

// pageAlign is PAGE_ALIGN, which makes 0 of the last page's addresses.
func pageAlign(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// fileOffset tells what offset of which file the task has mapped at addr, by the
// host's name; "" is no file.
func (t *Task) fileOffset(addr uint64) (offset uint64, name string, err error) {
	text, err := t.Machine.ProcFile("maps")
	if err != nil {
		return 0, "", err
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
			return 0, "", unix.EFAULT
		}
		if start <= addr && addr < end {
			if string(f[4]) == "0" { // the inode: [stack] and its like
				return 0, "", nil
			}
			return off + addr - start, string(f[5]), nil
		}
	}
	return 0, "", nil // the kernel says EFAULT
}
