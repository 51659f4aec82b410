//go:build linux

package loader

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/internal/stub"
)

// The same addresses on every run and host. The kernel's are random, and
// personality(2) with ADDR_NO_RANDOMIZE, which Docker's default seccomp profile
// refuses, gives each kernel's own. So nothing may lie where the kernel would begin to
// look for room (arch/x86/mm/mmap.c:mmap_base): its choice is the first address below.
// The stack is made here, at the end of the address space, and the kernel is told of
// it and of the heap by prctl(2) PR_SET_MM_MAP.
const (
	// placeFrom is below any mmap_base: 16 TiB for vm.mmap_rnd_bits of 32, the most,
	// 16 GiB for a random stack, and as much as maxStack.
	placeFrom = 0x6fe000000000
	minStack  = 128 << 20 // the room that mmap_base leaves for the stack, by its limit
	maxStack  = 64 << 30
	// With an unlimited stack mmap_base is a sixth of the address space.
	lowFrom = 0x054000000000
	lowTo   = 0x155555555000

	heapStart = stub.Base + stub.Size
	stackRoom = 128 << 10 // mapped below the stack pointer: fs/exec.c:setup_arg_pages
)

// placedAuxv are the entries of a placed stack, so many on every kernel: without those
// about rseq(2), which the C library does not miss.
var placedAuxv = []uint64{atHWCap2, atHWCap, atPageSize, atClockTick, atPhdr, atPhent, atPhnum, atBase, atFlags, atEntry,
	atUID, atEUID, atGID, atEGID, atSecure, atRandom, atExecFn, atPlatform, atMinSigStack}

// platform is AT_PLATFORM (arch/x86/include/asm/elf.h).
const platform = "x86_64\x00"

// Stack is an initial stack in its own place. The strings are at its end: argv, envp,
// the program's name and a zero word.
type Stack struct {
	SP                         uint64
	from, to                   uint64 // where nothing may lie
	room                       uint64 // the address space behind to
	args, env                  []string
	execFn                     string
	argv, envp, name, randomAt uint64 // addresses of strings
}

// NewStack is the stack of a program with these arguments. limit is the RLIMIT_STACK
// that the stub was executed with, in bytes.
func NewStack(args, env []string, execFn string, limit uint64) *Stack {
	s := &Stack{args: args, env: env, execFn: execFn, from: placeFrom}
	s.room = pageUp(min(max(limit, minStack), maxStack))
	if s.to = taskSize - s.room; limit > maxStack {
		s.from, s.to = lowFrom, lowTo
	}
	s.name = taskSize - 8 - size(execFn)
	s.envp = s.name - size(env...)
	s.argv = s.envp - size(args...)
	s.randomAt = (s.argv - uint64(len(platform)) - 16) &^ 15
	words := 1 + len(args) + 1 + len(env) + 1 + 2*(len(placedAuxv)+1)
	s.SP = (s.randomAt - uint64(8*words)) &^ 15
	return s
}

// size is of strings with their NULs.
func size(list ...string) (n uint64) {
	for _, v := range list {
		n += uint64(len(v) + 1)
	}
	return n
}

// Reserved is how much of the address space the guest has less, in bytes.
func (s *Stack) Reserved() uint64 { return s.to - s.from }

// Batch takes away what the kernel has put where it likes and maps the stack. It comes
// before the image's own batch.
func (s *Stack) Batch(b *stub.Batch) {
	end, low := uint64(taskSize)-s.room, pageDown(s.SP)-stackRoom
	if s.from != placeFrom {
		end = placeFrom
	}
	const none, zero = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | unix.MAP_FIXED,
		unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED | unix.MAP_GROWSDOWN | unix.MAP_STACK
	b.Call(sysMmap, s.from, s.Reserved(), unix.PROT_NONE, none, ^uint64(0), 0)
	b.Call(sysMunmap, end, taskSize-end)
	b.Call(sysMmap, low, taskSize-low, unix.PROT_READ|unix.PROT_WRITE, zero, ^uint64(0), 0)
	// struct prctl_mm_map: code and data, of which only the order counts, heap, stack,
	// argv, envp, no auxv, no exe_fd.
	var m []byte
	for _, v := range []uint64{stub.Base, stub.Base + 1, stub.Base, stub.Base, heapStart, heapStart, s.SP,
		s.argv, s.envp, s.envp, s.name, 0, 0xffffffff << 32} {
		m = binary.LittleEndian.AppendUint64(m, v)
	}
	b.Call(sysPrctl, unix.PR_SET_MM, unix.PR_SET_MM_MAP, b.Data(m), uint64(len(m)), 0)
}

// Bytes is what to write to SP: the values of p, and what p does not know of kernel,
// the stack that the kernel has built for the stub. EFAULT: it is none.
func (s *Stack) Bytes(kernel []byte, p Patch) ([]byte, error) {
	start, end, ok := auxv(kernel)
	if !ok || len(p.Random) != 16 {
		return nil, unix.EFAULT
	}
	le := binary.LittleEndian
	values := p.values()
	for v := kernel[start:end]; len(v) > 0; v = v[16:] {
		if _, known := values[le.Uint64(v)]; !known {
			values[le.Uint64(v)] = le.Uint64(v[8:])
		}
	}
	values[atRandom], values[atPlatform], values[atExecFn] = s.randomAt, s.randomAt+16, s.name
	out := le.AppendUint64(nil, uint64(len(s.args)))
	at := s.argv
	for _, list := range [][]string{s.args, s.env} {
		for _, v := range list {
			out = le.AppendUint64(out, at)
			at += size(v)
		}
		out = le.AppendUint64(out, 0)
	}
	for _, typ := range placedAuxv {
		out = le.AppendUint64(le.AppendUint64(out, typ), values[typ])
	}
	out = append(out, make([]byte, taskSize-s.SP-uint64(len(out)))...)
	copy(out[s.randomAt-s.SP:], append(slices.Clip(p.Random), platform...))
	rest := out[s.argv-s.SP:]
	for _, v := range slices.Concat(s.args, s.env, []string{s.execFn}) {
		rest = rest[copy(rest, v)+1:]
	}
	return out, nil
}
