//go:build linux

package loader

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/stub"
)

// Image is a program ready to be mapped. It holds no open file, but Mappings in
// the arenas.
type Image struct {
	Program   File     // the ELF program, closed; behind every "#!"
	Path      string   // the path Program was opened by
	Args      []string // argv, rewritten by "#!" lines
	ExecFn    string   // AT_EXECFN: the path as Load was given it
	ExecStack bool     // the stack must be made executable (Batch does not)
	Ops       []Op     // in this order

	// Phdr, Phnum and Entry are the auxv's AT_PHDR, AT_PHNUM and AT_ENTRY.
	Phdr, Phnum, Entry uint64

	start  uint64 // where to jump
	interp bool   // start and base are relative to the saved result
	base   uint64 // AT_BASE
}

// Kind is what an Op does.
type Kind int

// The kinds of Op. All addresses are those of an Op: see Op.Relative.
const (
	Reserve Kind = iota // keep the range free; EEXIST if it is not
	Unmap               // give the range back
	MapFile             // map private pages of an arena
	MapZero             // map zero pages
	Clear               // write zeros: the rest of a segment's last page
)

// Op is one step of mapping a program.
type Op struct {
	Kind Kind
	// Relative: Addr counts from the address that the kernel chose for the
	// interpreter in the one Reserve that is Relative.
	Relative  bool
	NoReplace bool // EEXIST if something is mapped there
	Addr, Len uint64
	Prot      int
	Mapping   fdtable.Mapping // of MapFile
}

// Where the kernel puts ET_DYN programs: ELF_ET_DYN_BASE of asm/elf.h and
// vm.mmap_rnd_bits.
const (
	dynBase    = taskSize / 3 * 2
	randomBits = 28 // pages
)

// minAddr is the usual vm.mmap_min_addr. It is kept here too because the stub may
// have root's leave to map below it.
const minAddr = 1 << 16

// loadELF is fs/binfmt_elf.c:load_elf_binary up to where it maps.
func loadELF(open Open, f File, head []byte, random io.Reader) (*Image, error) {
	prog, err := parse(f, head, unix.ENOEXEC)
	if err != nil {
		return nil, err
	}
	im := &Image{ExecStack: prog.execStack(), Phnum: uint64(len(prog.phdrs))}
	path, found, err := prog.interpreter()
	if err != nil {
		return nil, err
	}
	var interp *object
	if found {
		if interp, err = openInterpreter(open, path); err != nil {
			return nil, err
		}
		defer func() { _ = interp.file.Close() }()
	}
	if err := prog.check(); err != nil {
		return nil, err
	}
	bias, err := prog.bias(random)
	if err != nil {
		return nil, err
	}
	if err := im.add(prog, bias, false); err != nil {
		return nil, err
	}
	im.Phdr, im.Entry = prog.phdrAddr()+bias, prog.entry+bias
	im.start = im.Entry
	if interp != nil {
		if err := interp.check(); err != nil {
			return nil, err
		}
		bias = 0
		if im.interp = interp.dyn; im.interp {
			bias = -interp.lo
		}
		if err := im.add(interp, bias, interp.dyn); err != nil {
			return nil, err
		}
		im.base, im.start = bias, interp.entry+bias
	}
	if interp == nil && im.start >= taskSize {
		return nil, unix.ENOEXEC
	}
	return im, nil
}

func openInterpreter(open Open, path string) (*object, error) {
	f, err := open.interpreter(path)
	if err != nil {
		return nil, err
	}
	var head [headerSize]byte
	if err = readFull(f, head[:], 0); err == nil {
		var o *object
		if o, err = parse(f, head[:], unix.ELIBBAD); err == nil {
			return o, nil
		}
	}
	_ = f.Close()
	return nil, err
}

// bias is what to add to the addresses of a program: its first segment, which
// need not be its lowest, lies at the base.
func (o *object) bias(random io.Reader) (uint64, error) {
	if !o.dyn || o.hi == o.lo {
		return 0, nil
	}
	base := uint64(dynBase)
	if random != nil {
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, err
		}
		base += binary.LittleEndian.Uint64(b[:]) % (1 << randomBits) * pageSize
	}
	if a := o.align(); a > 0 {
		base &^= a - 1
	}
	return pageDown(base - o.first), nil
}

// add plans the mappings of one object. An ET_DYN object's whole span is taken
// first: at its address, or, for the interpreter, where the kernel likes.
func (im *Image) add(o *object, bias uint64, relative bool) error {
	first := len(im.Ops)
	if o.dyn && o.hi > o.lo {
		span := Op{Kind: Reserve, Relative: relative, NoReplace: !relative, Addr: o.lo + bias, Len: pageUp(o.hi) - o.lo}
		im.Ops = append(im.Ops, span)
		if o.holes() {
			span.Kind, span.NoReplace = Unmap, false
			im.Ops = append(im.Ops, span)
		}
	}
	for p := range o.loads {
		if err := im.segment(o, p, bias, relative); err != nil {
			return err
		}
	}
	added := im.Ops[first:]
	if !o.dyn && len(added) > 0 && added[0].Kind == MapFile {
		added[0].NoReplace = true // as Linux does, which replaces with the rest
	}
	for _, op := range added {
		if op.Relative {
			continue // inside the reserved span, by check
		}
		if op.Addr < minAddr || op.Addr >= taskSize || taskSize-op.Addr < op.Len || op.Addr < stub.Base+stub.Size && op.Addr+op.Len > stub.Base {
			return unix.ENOMEM
		}
	}
	return nil
}

// holes reports whether pages between the segments belong to none.
func (o *object) holes() bool {
	var all []*phdr
	for p := range o.loads {
		if p.memsz > 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *phdr) int {
		if a.vaddr < b.vaddr {
			return -1
		}
		return 1
	})
	end := o.lo
	for _, p := range all {
		if pageDown(p.vaddr) > end {
			return true
		}
		end = max(end, pageUp(p.vaddr+p.memsz))
	}
	return end < pageUp(o.hi)
}

// segment plans one PT_LOAD: fs/binfmt_elf.c:elf_load. Pages beyond the end of
// the file, where Linux gives SIGBUS, are zero.
func (im *Image) segment(o *object, p *phdr, bias uint64, relative bool) error {
	add := func(op Op) {
		if op.Len > 0 {
			op.Relative = relative
			im.Ops = append(im.Ops, op)
		}
	}
	prot := p.prot()
	addr := p.vaddr + bias
	start, zero := pageDown(addr), pageDown(addr)
	if p.filesz > 0 {
		zero = pageUp(addr + p.filesz)
		off, inFile := p.off-p.vaddr%pageSize, uint64(0)
		if off < o.size {
			inFile = min(zero-start, pageUp(o.size-off))
			m, err := o.file.Map(int64(off), int64(min(inFile, o.size-off)), false)
			if errors.Is(err, unix.ENODEV) {
				err = o.bad // can_mmap_file
			}
			if err != nil {
				return err
			}
			rest := pageUp(uint64(m.Beyond))
			add(Op{Kind: MapFile, Addr: start, Len: inFile - rest, Prot: prot, Mapping: m})
			m.Offset += int64(inFile-rest) + arena.Void
			add(Op{Kind: MapFile, Addr: start + inFile - rest, Len: rest, Prot: prot, Mapping: m})
		}
		add(Op{Kind: MapZero, Addr: start + inFile, Len: zero - start - inFile, Prot: prot})
		if p.memsz > p.filesz && prot&unix.PROT_WRITE != 0 && addr+p.filesz < zero {
			if start+inFile < zero {
				return o.bad // padzero meets SIGBUS
			}
			add(Op{Kind: Clear, Addr: addr + p.filesz, Len: zero - addr - p.filesz})
		}
	}
	if p.memsz > p.filesz {
		prot = unix.PROT_READ | unix.PROT_WRITE | prot&unix.PROT_EXEC
		add(Op{Kind: MapZero, Addr: zero, Len: pageUp(addr+p.memsz) - zero, Prot: prot})
	}
	return nil
}

// Numbers of the calls below in the table of x86-64, for the stub is x86-64.
const (
	sysMmap   = 9
	sysMunmap = 11
	sysPrctl  = 157
)

// Batch adds the image's mappings to b. arenas are the descriptors of the
// arenas in the stub, by fdtable.Arena. After the batch has run, the saved
// result is what Start and Patch take as base.
func (im *Image) Batch(b *stub.Batch, arenas [3]int) {
	for _, op := range im.Ops {
		e := stub.Entry{Nr: sysMmap, Flags: stub.Must}
		if op.Relative {
			e.Flags |= stub.AddBase
		}
		flags, fd, off := uint64(unix.MAP_PRIVATE|unix.MAP_FIXED), -1, int64(0)
		if op.NoReplace {
			flags = unix.MAP_PRIVATE | unix.MAP_FIXED_NOREPLACE
		}
		switch op.Kind {
		case Reserve:
			flags |= unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
			if op.Relative {
				e.Flags = stub.Must | stub.Save
				flags &^= unix.MAP_FIXED
			}
		case MapFile:
			fd, off = arenas[op.Mapping.Arena], op.Mapping.Offset
		case MapZero:
			flags |= unix.MAP_ANONYMOUS
		case Unmap:
			e.Nr = sysMunmap
		case Clear:
			e.Flags |= stub.Clear
		}
		e.Args = [6]uint64{op.Addr, op.Len, uint64(op.Prot), flags, uint64(fd), uint64(off)}
		b.Add(e)
	}
}

// Start is the address to jump to. It may be no user address at all if the
// interpreter is malformed: the first instruction then faults.
func (im *Image) Start(base uint64) uint64 {
	if im.interp {
		return im.start + base
	}
	return im.start
}

// Base is AT_BASE: what was added to the interpreter's addresses.
func (im *Image) Base(base uint64) uint64 {
	if im.interp {
		return im.base + base
	}
	return im.base
}
