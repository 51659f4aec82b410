//go:build linux

package loader

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/internal/stub"
)

// The types of auxiliary vector entries: include/uapi/linux/auxvec.h.
const (
	atNull        = 0
	atIgnore      = 1
	atPhdr        = 3
	atPhent       = 4
	atPhnum       = 5
	atPageSize    = 6
	atBase        = 7
	atFlags       = 8
	atEntry       = 9
	atUID         = 11
	atEUID        = 12
	atGID         = 13
	atEGID        = 14
	atPlatform    = 15
	atHWCap       = 16
	atClockTick   = 17
	atSecure      = 23
	atRandom      = 25
	atHWCap2      = 26
	atExecFn      = 31
	atSysinfoEHDR = 33
	atMinSigStack = 51
)

// maxAuxv is more entries than any kernel writes (AT_VECTOR_SIZE is below 30).
const maxAuxv = 64

// Patch is what the stack that the kernel built for the stub must say instead.
type Patch struct {
	Phdr, Phnum, Base, Entry uint64
	UID, EUID, GID, EGID     uint32
	// ExecFn overwrites the path the stub was executed by, which was Room
	// bytes long (see stub.Path).
	ExecFn string
	Room   int
	// Random replaces the 16 bytes AT_RANDOM points to; nil leaves them.
	Random []byte
	// HideVDSO makes AT_SYSINFO_EHDR an AT_IGNORE.
	HideVDSO bool
}

// Patch returns a Patch with what the image knows. base is the saved result of
// its batch.
func (im *Image) Patch(base uint64) Patch {
	return Patch{Phdr: im.Phdr, Phnum: im.Phnum, Base: im.Base(base), Entry: im.Entry, ExecFn: im.ExecFn}
}

// values are the entries of the auxiliary vector that p knows.
func (p Patch) values() map[uint64]uint64 {
	return map[uint64]uint64{
		atPhdr: p.Phdr, atPhent: phdrSize, atPhnum: p.Phnum, atBase: p.Base, atEntry: p.Entry,
		atUID: uint64(p.UID), atEUID: uint64(p.EUID), atGID: uint64(p.GID), atEGID: uint64(p.EGID), atSecure: 0,
	}
}

// StackSize is how many bytes from the initial stack pointer PatchStack needs at
// most: argc, the two lists with their ends, and the auxiliary vector. Fewer do
// if the stack ends before.
func StackSize(argc, envc int) int { return 8 * (1 + argc + 1 + envc + 1 + 2*maxAuxv) }

// PatchStack returns what to write to a process whose initial stack pointer is
// sp and whose memory there is stack. Errors: EFAULT if stack is not an initial
// stack up to the end of its auxiliary vector, ENAMETOOLONG if ExecFn does not
// fit, EINVAL if Random is neither nil nor 16 bytes.
func PatchStack(sp uint64, stack []byte, p Patch) ([]stub.Write, error) {
	if len(p.ExecFn) > p.Room {
		return nil, unix.ENAMETOOLONG
	}
	if p.Random != nil && len(p.Random) != 16 {
		return nil, unix.EINVAL
	}
	start, end, ok := auxv(stack)
	if !ok {
		return nil, unix.EFAULT
	}
	le := binary.LittleEndian
	values := p.values()
	block := append([]byte(nil), stack[start:end]...)
	writes := []stub.Write{{Addr: sp + uint64(start), Data: block}}
	for ; len(block) > 0; block = block[16:] {
		typ, value := le.Uint64(block), le.Uint64(block[8:])
		v, changed := values[typ]
		switch {
		case changed:
			le.PutUint64(block[8:], v)
		case typ == atExecFn:
			writes = append(writes, stub.Write{Addr: value, Data: append([]byte(p.ExecFn), 0)})
		case typ == atRandom && p.Random != nil:
			writes = append(writes, stub.Write{Addr: value, Data: p.Random})
		case typ == atSysinfoEHDR && p.HideVDSO:
			le.PutUint64(block, atIgnore)
			le.PutUint64(block[8:], 0)
		}
	}
	return writes, nil
}

// auxv finds the auxiliary vector in an initial stack: behind argc, argv, a zero
// word, envp and another. The range does not include AT_NULL.
func auxv(stack []byte) (start, end int, ok bool) {
	word := func(at int) (uint64, bool) {
		if at > len(stack)-8 {
			return 0, false
		}
		return binary.LittleEndian.Uint64(stack[at:]), true
	}
	argc, ok := word(0)
	if !ok || argc > uint64(len(stack)/8) {
		return 0, 0, false
	}
	at := 8 * (2 + int(argc))
	for v := uint64(1); v != 0; at += 8 {
		if v, ok = word(at); !ok {
			return 0, 0, false
		}
	}
	for start, end = at, at; ; end += 16 {
		typ, ok := word(end)
		if !ok || typ == atNull {
			return start, end, ok
		}
		if end+16 > len(stack) {
			return 0, 0, false
		}
	}
}
