//go:build linux

package loader

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
)

// taskSize is where user addresses end: TASK_SIZE of a 4-level page table.
const taskSize = 1<<47 - pageSize

const pageSize = 4096

func pageDown(a uint64) uint64 { return a &^ (pageSize - 1) }
func pageUp(a uint64) uint64   { return pageDown(a + pageSize - 1) }

// The ELF header and program header table of the System V ABI, by byte offsets.
const (
	headerSize = 64
	phdrSize   = 56
	maxTable   = 65536 // bytes; fs/binfmt_elf.c:load_elf_phdrs

	typeExec, typeDyn = 2, 3
	machineX86        = 62

	ptLoad, ptInterp, ptGNUStack = 1, 3, 0x6474e551

	flagX, flagW, flagR = 1, 2, 4
)

type phdr struct {
	typ, flags                      uint32
	off, vaddr, filesz, memsz, algn uint64
}

// object is one parsed ELF file: the program or its interpreter.
type object struct {
	file  File
	size  uint64 // of the file
	dyn   bool   // ET_DYN: may lie anywhere
	entry uint64
	phoff uint64
	phdrs []phdr
	// bad is the error for what the kernel finds out too late to refuse.
	bad unix.Errno
	// lo, hi: the page of the lowest and the end of the highest segment; first:
	// the address of the first one. All 0 without segments.
	lo, hi, first uint64
}

// parse reads f's headers; head is at least its first headerSize bytes. Every
// error is bad, as in fs/binfmt_elf.c, where even an unreadable table is.
func parse(f File, head []byte, bad unix.Errno) (*object, error) {
	le := binary.LittleEndian
	typ := le.Uint16(head[16:])
	// The class and byte order in e_ident are not looked at by Linux either;
	// the machine and the size of a program header decide.
	if string(head[:4]) != "\x7fELF" || typ != typeExec && typ != typeDyn ||
		le.Uint16(head[18:]) != machineX86 || le.Uint16(head[54:]) != phdrSize {
		return nil, bad
	}
	o := &object{file: f, dyn: typ == typeDyn, entry: le.Uint64(head[24:]), phoff: le.Uint64(head[32:]), bad: bad}
	table := make([]byte, int(le.Uint16(head[56:]))*phdrSize)
	if len(table) == 0 || len(table) > maxTable || readFull(f, table, o.phoff) != nil {
		return nil, bad
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	o.size = uint64(max(size, 0))
	for ; len(table) > 0; table = table[phdrSize:] {
		o.phdrs = append(o.phdrs, phdr{
			typ: le.Uint32(table), flags: le.Uint32(table[4:]), off: le.Uint64(table[8:]), vaddr: le.Uint64(table[16:]),
			filesz: le.Uint64(table[32:]), memsz: le.Uint64(table[40:]), algn: le.Uint64(table[48:]),
		})
	}
	return o, nil
}

// check finds the bounds of the segments and refuses those that overflow the
// address space or the file, or whose file offset and address do not agree
// within a page. The kernel kills the process for that, so it comes after all
// the kernel gives an error for.
func (o *object) check() error {
	some := false
	for p := range o.loads {
		if p.vaddr >= taskSize || p.filesz > p.memsz || p.memsz > taskSize || taskSize-p.memsz < p.vaddr {
			return o.bad
		}
		if !some {
			some, o.lo, o.first = true, pageDown(p.vaddr), p.vaddr
		}
		o.lo, o.hi = min(o.lo, pageDown(p.vaddr)), max(o.hi, p.vaddr+p.memsz)
		if p.filesz > 0 && ((p.off^p.vaddr)%pageSize != 0 || p.off > math.MaxInt64-2*taskSize) {
			return o.bad
		}
	}
	// total_mapping_size may not be 0, but a program without segments may be.
	interp := o.bad == unix.ELIBBAD
	if o.hi == o.lo && (interp || o.dyn && some) || interp && !o.dyn && o.entry >= taskSize {
		return o.bad
	}
	return nil
}

// loads iterates over the PT_LOAD segments.
func (o *object) loads(yield func(*phdr) bool) {
	for i := range o.phdrs {
		if o.phdrs[i].typ == ptLoad && !yield(&o.phdrs[i]) {
			return
		}
	}
}

// align is the largest alignment a segment asks for, in whole pages; 0 if none
// asks. One that is no power of two does not count.
func (o *object) align() (a uint64) {
	for p := range o.loads {
		if bits.OnesCount64(p.algn) == 1 {
			a = max(a, p.algn)
		}
	}
	return pageUp(a)
}

// prot is the segment's protection as mmap(2) has it.
func (p *phdr) prot() (prot int) {
	if p.flags&flagR != 0 {
		prot |= unix.PROT_READ
	}
	if p.flags&flagW != 0 {
		prot |= unix.PROT_WRITE
	}
	if p.flags&flagX != 0 {
		prot |= unix.PROT_EXEC
	}
	return prot
}

// phdrAddr is where the program header table lies in memory, before relocation;
// 0 if no segment holds it. The last one wins.
func (o *object) phdrAddr() (a uint64) {
	for p := range o.loads {
		if p.off <= o.phoff && o.phoff-p.off < p.filesz {
			a = o.phoff - p.off + p.vaddr
		}
	}
	return a
}

// interpreter returns the path in the first PT_INTERP, "" if there is none.
func (o *object) interpreter() (path string, found bool, err error) {
	for _, p := range o.phdrs {
		if p.typ != ptInterp {
			continue
		}
		if p.filesz < 2 || p.filesz > unix.PathMax {
			return "", false, unix.ENOEXEC
		}
		b := make([]byte, p.filesz)
		if err := readFull(o.file, b, p.off); err != nil {
			return "", false, err
		}
		if b[len(b)-1] != 0 {
			return "", false, unix.ENOEXEC
		}
		return cString(b), true, nil
	}
	return "", false, nil
}

// execStack reports whether the program asks for an executable stack; a missing
// PT_GNU_STACK does not, on x86-64.
func (o *object) execStack() (x bool) {
	for _, p := range o.phdrs {
		if p.typ == ptGNUStack {
			x = p.flags&flagX != 0
		}
	}
	return x
}

// readFull is fs/binfmt_elf.c:elf_read: all of p, or EIO.
func readFull(f File, p []byte, off uint64) error {
	if off > math.MaxInt64-uint64(len(p)) {
		return unix.EINVAL
	}
	n, err := f.ReadAt(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return unix.EIO
	}
	return err
}
