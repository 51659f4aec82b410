package elfneeds

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// object is what loading needs of one ELF file.
type object struct {
	path           string   // as it was found, for $ORIGIN
	parent         *object  // who needed it first; nil for the program
	interpreter    string   // "": static
	needed         []string // DT_NEEDED
	rpath, runpath []string // split; nil if the file has none
}

const (
	maxString  = 4096    // PATH_MAX; the kernel takes no longer PT_INTERP
	maxDynamic = 1 << 20 // bytes of a dynamic section; large ones have 1 KiB
)

// readObject reads an x86-64 ELF file by its program headers, as the loaders do:
// section headers may be missing or lie. ENOEXEC if it is nothing they would load.
func readObject(path string) (o *object, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a FIFO would wait
		return nil, fmt.Errorf("%s: %w: not a regular file", path, syscall.EACCES)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if r := recover(); r != nil { // debug/elf reads files nobody checked
			o, err = nil, fmt.Errorf("%s: %w: %v", path, syscall.ENOEXEC, r)
		}
	}()
	file, err := elf.NewFile(headers{f})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %v", path, syscall.ENOEXEC, err)
	}
	if file.Class != elf.ELFCLASS64 || file.Machine != elf.EM_X86_64 || file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return nil, fmt.Errorf("%s: %w: %s %s %s, not an x86-64 program or library", path, syscall.ENOEXEC, file.Class, file.Machine, file.Type)
	}
	o = &object{path: path}
	for _, p := range file.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			o.interpreter = cString(p.Open(), 0)
		case elf.PT_DYNAMIC:
			o.dynamic(file, p)
		}
	}
	return o, nil
}

// headers hides the section headers from debug/elf, which refuses a file over
// mistakes in them that no loader sees: e_shoff, e_shnum and e_shstrndx read 0.
type headers struct{ io.ReaderAt }

func (h headers) ReadAt(p []byte, at int64) (int, error) {
	n, err := h.ReaderAt.ReadAt(p, at)
	for i := range p[:n] {
		if b := at + int64(i); b >= 0x28 && b < 0x30 || b >= 0x3c && b < 0x40 {
			p[i] = 0
		}
		if at+int64(i) >= 0x40 {
			break
		}
	}
	return n, err
}

// dynamic reads the dynamic section d.
func (o *object) dynamic(file *elf.File, d *elf.Prog) {
	table := make([]byte, min(d.Filesz, maxDynamic))
	n, _ := d.ReadAt(table, 0) // a short one ends where it ends
	table = table[:n]
	var strtab uint64
	entries := func(do func(tag elf.DynTag, value uint64)) {
		for e := table; len(e) >= 16; e = e[16:] {
			tag := elf.DynTag(binary.LittleEndian.Uint64(e))
			if tag == elf.DT_NULL {
				return
			}
			do(tag, binary.LittleEndian.Uint64(e[8:]))
		}
	}
	entries(func(tag elf.DynTag, value uint64) {
		if tag == elf.DT_STRTAB {
			strtab = value
		}
	})
	str := func(at uint64) string {
		for _, p := range file.Progs {
			if a := strtab + at; p.Type == elf.PT_LOAD && a >= p.Vaddr && a-p.Vaddr < p.Filesz {
				return cString(p.Open(), int64(a-p.Vaddr))
			}
		}
		return ""
	}
	entries(func(tag elf.DynTag, value uint64) {
		switch tag {
		case elf.DT_NEEDED:
			if name := str(value); name != "" && len(o.needed) < maxObjects {
				o.needed = append(o.needed, name)
			}
		case elf.DT_RPATH:
			o.rpath = strings.Split(str(value), ":")
		case elf.DT_RUNPATH:
			o.runpath = strings.Split(str(value), ":")
		}
	})
}

// cString is the string at an offset of r.
func cString(r io.ReadSeeker, at int64) string {
	text := make([]byte, maxString)
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		return ""
	}
	n, _ := io.ReadFull(r, text) // short at the end of the file
	text, _, _ = bytes.Cut(text[:n], []byte{0})
	return string(text)
}
