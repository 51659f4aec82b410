//go:build linux && amd64

package loader_test

import (
	"encoding/binary"
	"os"
	"testing"
)

// segment is a program header of a hand-made ELF.
type segment struct {
	typ, flags                       uint32
	off, vaddr, filesz, memsz, align uint64
}

// makeELF builds a file: header, program headers, and body at the first page.
func makeELF(typ uint16, entry uint64, segments []segment, body []byte) []byte {
	le := binary.LittleEndian
	e := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	e = le.AppendUint16(e, typ)
	e = le.AppendUint16(e, 62)
	e = le.AppendUint32(e, 1)
	e = le.AppendUint64(e, entry)
	e = le.AppendUint64(e, 64)
	e = le.AppendUint64(e, 0)
	e = le.AppendUint32(e, 0)
	for _, v := range []uint16{64, 56, uint16(len(segments)), 64, 0, 0} {
		e = le.AppendUint16(e, v)
	}
	for _, s := range segments {
		e = le.AppendUint32(e, s.typ)
		e = le.AppendUint32(e, s.flags)
		for _, v := range []uint64{s.off, s.vaddr, s.vaddr, s.filesz, s.memsz, s.align} {
			e = le.AppendUint64(e, v)
		}
	}
	e = append(e, make([]byte, max(0, 4096-len(e)))...)
	return append(e, body...)
}

const (
	etExec, etDyn = 2, 3
	load          = 1
	rx, rw, r     = 5, 6, 4
	gnuStack      = 0x6474e551
)

// body is two and a bit pages of recognizable bytes.
func body() []byte {
	b := make([]byte, 2*4096+100)
	for i := range b {
		b[i] = byte(i/256) | 0x80
	}
	copy(b, interpPath+"\x00")
	return b
}

var text = segment{load, rx, 0, 0, 8192, 8192, 4096}

var interpSegment = segment{3, r, 4096, 4096, uint64(len(interpPath) + 1), uint64(len(interpPath) + 1), 1}

// elfs are programs for the comparison and for the fuzzer. A program at 0 is
// ET_DYN, else ET_EXEC with the addresses moved up.
func elfs() map[string][]byte {
	b := body()
	at := func(base uint64, s ...segment) (out []segment) {
		for _, s := range s {
			s.vaddr += base
			out = append(out, s)
		}
		return out
	}
	two := []segment{text, {load, rw, 8192 + 16, 0x4010, 100, 9000, 4096}}
	m := map[string][]byte{
		"exec":           makeELF(etExec, 0x401000, at(0x400000, text), b),
		"exec bss":       makeELF(etExec, 0x401000, at(0x400000, two...), b),
		"dyn":            makeELF(etDyn, 0x1000, two, b),
		"interp":         makeELF(etDyn, 0x1000, append(two[:2:2], interpSegment), b),
		"exec interp":    makeELF(etExec, 0x401000, append(at(0x400000, two...), interpSegment), b),
		"aligned":        makeELF(etDyn, 0x1000, []segment{interpSegment, {load, rx, 0, 0, 8192, 8192, 1 << 21}}, b),
		"aligned static": makeELF(etDyn, 0x1000, []segment{{load, rx, 0, 0, 8192, 8192, 1 << 21}}, b),
		"odd align":      makeELF(etDyn, 0x1000, []segment{interpSegment, {load, rx, 0, 0, 8192, 8192, 12345}}, b),
		"no loads":       makeELF(etExec, 0x401000, []segment{{gnuStack, rw, 0, 0, 0, 0, 16}}, b),
		"dyn no loads":   makeELF(etDyn, 0x1000, []segment{{gnuStack, rw, 0, 0, 0, 0, 16}}, b),
		"read-only bss":  makeELF(etExec, 0x401000, at(0x400000, text, segment{load, r, 8192, 0x4000, 100, 9000, 4096}), b),
		"exec only bss":  makeELF(etExec, 0x401000, at(0x400000, text, segment{load, 1, 8192, 0x4000, 100, 9000, 4096}), b),
		"bss alone":      makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 0, 0x4123, 0, 9000, 4096}), b),
		"bss first":      makeELF(etExec, 0x406000, at(0x400000, segment{load, rw, 0, 0x1000, 0, 9000, 4096}, segment{load, rx, 0, 0x5000, 8192, 8192, 4096}), b),
		"empty segment":  makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 8192, 0x4000, 0, 0, 4096}), b),
		"filesz>memsz":   makeELF(etExec, 0x401000, at(0x400000, segment{load, rx, 0, 0, 8192, 100, 4096}), b),
		"offset differs": makeELF(etExec, 0x401000, at(0x400000, segment{load, rx, 16, 0, 8192, 8192, 4096}), b),
		"beyond the end": makeELF(etExec, 0x401000, at(0x400000, segment{load, rw, 0, 0, 1 << 16, 1 << 16, 4096}), b),
		"far beyond":     makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 1 << 40, 0x4000, 4096, 8192, 4096}), b),
		"huge offset":    makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 1 << 63, 0x4000, 4096, 8192, 4096}), b),
		"overlapping": makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 8192, 0x1000, 4196, 5000, 4096},
			segment{load, r, 4096, 0x2000, 4096, 4096, 4096}), b),
		"overlapping bss": makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 8192, 0x4000, 100, 9000, 4096},
			segment{load, rw, 4096, 0x4000, 4096, 4096, 4096}), b),
		"unsorted": makeELF(etExec, 0x405000, at(0x400000, segment{load, rx, 0, 0x4000, 8192, 8192, 4096}, segment{load, rw, 8192, 0x1000, 100, 100, 4096}), b),
		"hole":     makeELF(etDyn, 0x1000, []segment{interpSegment, text, {load, rw, 8192, 0x14000, 4096, 8192, 4096}}, b),
		"hole behind an overlap": makeELF(etDyn, 0x1000, []segment{interpSegment, {load, rx, 0, 0, 8192, 0x6000, 4096},
			{load, rw, 4096, 0x2000, 4096, 4096, 4096}, {load, rw, 8192, 0x9000, 4096, 8192, 4096}}, b),
		"high vaddr":      makeELF(etDyn, 0x7f0000001000, append(at(0x7f0000000000, two...), interpSegment), b),
		"top":             makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 8192, 0x7ffffffff000 - 0x400000, 100, 100, 4096}), b),
		"wraps":           makeELF(etExec, 0x401000, at(0x400000, text, segment{load, rw, 8192, 1<<64 - 1<<13 - 0x400000, 100, 1 << 14, 4096}), b),
		"huge memsz":      makeELF(etExec, 0x401000, at(0x400000, segment{load, rx, 0, 0, 8192, 1 << 62, 4096}), b),
		"high entry":      makeELF(etExec, 0x800000000000, at(0x400000, text), b),
		"wild entry":      makeELF(etDyn, 0x500000001000, []segment{interpSegment, text}, b),
		"no phdr":         makeELF(etExec, 0x401000, at(0x400000, segment{load, rx, 4096, 0x1000, 4096, 4096, 4096}), b),
		"two phdr":        makeELF(etExec, 0x401000, at(0x400000, text, segment{load, r, 0, 0x8000, 4096, 4096, 4096}), b),
		"exec stack":      makeELF(etExec, 0x401000, append(at(0x400000, text), segment{gnuStack, rw, 0, 0, 0, 0, 16}), b),
		"short":           []byte("\x7fELF"),
		"empty":           {},
		"text":            []byte("hello\n"),
		"interp too long": makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096, 4096, 5000, 5000, 1}), b),
		"interp short":    makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096, 4096, 1, 1, 1}), b),
		"interp no nul":   makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096, 4096, 3, 3, 1}), b),
		"interp beyond":   makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 1 << 20, 4096, 3, 3, 1}), b),
		"interp negative": makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 1 << 63, 4096, 3, 3, 1}), b),
		"interp empty":    makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096 + 64, 4096, 2, 2, 1}), append(b[:64:64], make([]byte, 4096)...)),
		"interp missing":  makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096, 4096, 3, 3, 1}), append([]byte("/x\x00"), b...)),
		"interp is a dir": makeELF(etDyn, 0x1000, append(two[:2:2], segment{3, r, 4096, 4096, 5, 5, 1}), append([]byte("/dev\x00"), b...)),
	}
	for name, p := range map[string]struct {
		at int
		v  uint16
	}{"i386": {18, 3}, "arm64": {18, 183}, "core": {16, 4}, "relocatable": {16, 1}, "phentsize": {54, 32}, "no phdrs": {56, 0},
		"many phdrs": {56, 1171}, "phdrs beyond": {56, 1000}, "32 bit": {4, 0x101}, "big endian": {5, 0x102}} {
		e := append([]byte(nil), m["exec"]...)
		binary.LittleEndian.PutUint16(e[p.at:], p.v)
		m[name] = e
	}
	return m
}

func TestLayout(t *testing.T) {
	all := elfs()
	for name, prog := range all {
		t.Run(name, func(t *testing.T) {
			fixed(t)
			compare(t, prog, all["dyn"])
		})
		t.Run("as interpreter/"+name, func(t *testing.T) {
			fixed(t)
			compare(t, all["interp"], prog)
		})
	}
	for _, path := range []string{"/bin/true", "/bin/sh", "/usr/bin/python3.11"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		t.Run(path, func(t *testing.T) {
			fixed(t)
			compare(t, data, nil)
		})
	}
}
