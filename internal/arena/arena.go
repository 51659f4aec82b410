//go:build linux

package arena

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/internal/fault"
)

const (
	// Stride is the distance of two slots: the size of a user address space
	// with four-level page tables.
	Stride = 1 << 47
	// Void is how far behind a page of a slot the same page lies as none: behind the
	// end of the arena, where to touch it is SIGBUS.
	Void = 1 << 62
	// MaxSlots is how many fit below Void, and their voids below the largest offset.
	MaxSlots = Void/Stride - 1

	pageSize = 4096
	// minReclaim is how many retired slots are worth reading the guests' maps.
	minReclaim = 64
)

// Arena is a sparse memfd cut into slots.
type Arena struct {
	// InUse marks the slots that guests have mapped, see [MarkSlots]. Nil, or
	// an error: all of them, so that retired slots are never used again.
	InUse func(mapped map[int]bool) error
	// Limit bounds Foreign, in bytes; 0: no limit.
	Limit int64
	// Refused counts what was refused for it.
	Refused int64

	file    *os.File
	foreign int64
	held    int64 // bytes that may come to be
	next    int   // slots never given yet start here
	free    []int // given back, and empty
	idle    map[int]func()
	retired []retired
	patient int // how many retired slots start a Reclaim
}

type retired struct {
	slot  Slot
	freed func()
}

// New makes an empty arena. It fails if vm.memfd_noexec or a seccomp profile
// forbids memfd_create, or if RLIMIT_FSIZE is set: a write beyond it would kill
// the process with SIGXFSZ.
func New() (*Arena, error) { return newArena(OwnName) }

// The names of the memfds of [New] and of [NewCache], by which /proc/PID/maps
// tells them apart.
const (
	OwnName    = "arena"
	SharedName = "images"
)

func newArena(name string) (*Arena, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &lim); err == nil && lim.Cur != unix.RLIM_INFINITY {
		return nil, fmt.Errorf("arena: RLIMIT_FSIZE is %d bytes; it must be unlimited (ulimit -f unlimited)", lim.Cur)
	}
	// NOEXEC_SEAL is about execve only; mappings may be executable. Kernels
	// before 6.3 do not know it, vm.memfd_noexec=2 wants it.
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("arena: memfd_create: %w", err)
	}
	a := &Arena{file: os.NewFile(uintptr(fd), name), idle: make(map[int]func()), patient: minReclaim}
	if err := unix.Ftruncate(fd, Void); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("arena: ftruncate to 2^62: %w", err)
	}
	return a, nil
}

// File is the descriptor a jail's stub inherits for writing. It stays the
// arena's.
func (a *Arena) File() *os.File { return a.file }

// ReadOnly opens the arena anew without the right to write, which no mapping of
// it can gain. The caller closes it.
func (a *Arena) ReadOnly() (*os.File, error) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(a.file.Fd())))
	if err != nil {
		return nil, fmt.Errorf("arena: %w (is /proc mounted?)", err)
	}
	return f, nil
}

// Close drops the descriptor; what is mapped stays.
func (a *Arena) Close() error { return a.file.Close() }

// Ahead is how many bytes may come to be in the arena that are not there yet.
func (a *Arena) Ahead() (int64, error) {
	var st unix.Stat_t
	err := a.control(func(fd int) error { return unix.Fstat(fd, &st) })
	return max(a.held-st.Blocks*512, 0), err
}

// Foreign takes note of n bytes, or n fewer, that may come to be in the arena and are
// copies of what is bounded elsewhere. There may be as many as the Limit. ENOMEM.
func (a *Arena) Foreign(n int64) error {
	if a.Limit > 0 && n > 0 && a.foreign+n > a.Limit {
		a.Refused++
		return unix.ENOMEM
	}
	a.foreign += n
	a.held += n
	return nil
}

// Alloc gives an empty slot. ENFILE when all are taken.
func (a *Arena) Alloc() (Slot, error) {
	if len(a.free) == 0 && a.next == MaxSlots {
		a.Reclaim()
	}
	if n := len(a.free); n > 0 {
		s := Slot{a, a.free[n-1]}
		a.free = a.free[:n-1]
		return s, nil
	}
	if a.next == MaxSlots {
		return Slot{}, unix.ENFILE
	}
	a.next++
	return Slot{a, a.next - 1}, nil
}

// Retire frees s once no guest maps it any more and calls freed then. Takes
// over s.
func (a *Arena) Retire(s Slot, freed func()) {
	delete(a.idle, s.n)
	a.retired = append(a.retired, retired{s, freed})
	if len(a.retired) >= a.patient {
		a.Reclaim()
		a.patient = max(minReclaim, 2*len(a.retired))
	}
}

// Reclaim frees the retired slots that no guest maps, calls what waits for that
// with OnIdle, and tells how many they were.
func (a *Arena) Reclaim() int {
	mapped := make(map[int]bool)
	if len(a.retired)+len(a.idle) == 0 || a.InUse == nil || a.InUse(mapped) != nil {
		return 0
	}
	kept, n := a.retired[:0], 0
	for _, slot := range slices.Collect(maps.Keys(a.idle)) { // fn may wait again
		if fn := a.idle[slot]; !mapped[slot] {
			delete(a.idle, slot)
			fn()
			n++
		}
	}
	for _, r := range a.retired {
		if mapped[r.slot.n] || r.slot.Free() != nil {
			kept = append(kept, r)
			continue
		}
		n++
		r.freed()
	}
	clear(a.retired[len(kept):])
	a.retired = kept
	return n
}

// Mapped reports whether a guest maps s, or might.
func (a *Arena) Mapped(s Slot) bool {
	mapped := make(map[int]bool)
	return a.InUse == nil || a.InUse(mapped) != nil || mapped[s.n]
}

// MarkSlots sets in mapped the slots of a that a process maps, as void too, given the text of
// its /proc/PID/maps.
func (a *Arena) MarkSlots(text string, mapped map[int]bool) error {
	var st unix.Stat_t
	if err := a.control(func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	ino := strconv.FormatUint(st.Ino, 10)
	dev := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // range perms offset dev inode name
		if len(f) < 5 || f[3] != dev || f[4] != ino {
			continue
		}
		off, err := strconv.ParseUint(f[2], 16, 63)
		if err != nil {
			return fmt.Errorf("arena: maps line %q: %w", line, err)
		}
		mapped[int(off%Void/Stride)] = true
	}
	return nil
}

// control runs fn with the raw descriptor, EBADF after Close.
func (a *Arena) control(fn func(fd int) error) error {
	c, err := a.file.SyscallConn()
	if err != nil {
		return unix.EBADF
	}
	if e := c.Control(func(fd uintptr) { err = fn(int(fd)) }); e != nil {
		return unix.EBADF
	}
	return err
}

// Slot is one file's place. The zero Slot is none.
type Slot struct {
	a *Arena
	n int
}

// Valid reports whether s is a slot at all.
func (s Slot) Valid() bool { return s.a != nil }

// Offset is where the slot starts in the arena.
func (s Slot) Offset() int64 { return int64(s.n) * Stride }

// OnIdle has fn called, once, when Reclaim finds that no guest maps s. It takes the
// place of an earlier one; Free forgets it.
func (s Slot) OnIdle(fn func()) { s.a.idle[s.n] = fn }

// Hold takes note that n bytes more, or fewer, may come to be in s.
func (s Slot) Hold(n int64) { s.a.held += n }

// Arena is where s lies.
func (s Slot) Arena() *Arena { return s.a }

// Free empties the slot and gives it back. No guest may have it mapped.
func (s Slot) Free() error {
	if err := s.Truncate(0); err != nil {
		return err
	}
	delete(s.a.idle, s.n)
	s.a.free = append(s.a.free, s.n)
	return nil
}

// check refuses what would reach beyond the slot.
func check(off, n int64) error {
	if off < 0 || n < 0 || off > Stride-n {
		return unix.EFBIG
	}
	return nil
}

// ReadAt fills p; what was never written is zeros.
func (s Slot) ReadAt(p []byte, off int64) (int, error) {
	if err := check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.a.file.ReadAt(p, s.Offset()+off)
	if err == io.EOF { // the last byte a file may have
		err = io.ErrUnexpectedEOF
	}
	return n, errno(err)
}

// WriteAt writes p. ENOSPC or ENOMEM when the host's memory is out.
func (s Slot) WriteAt(p []byte, off int64) (int, error) {
	if err := check(off, int64(len(p))); err != nil {
		return 0, err
	}
	if err := fault.At(fault.Arena, s.n); err != nil {
		return 0, err
	}
	n, err := s.a.file.WriteAt(p, s.Offset()+off)
	return n, errno(err)
}

// Fill copies bytes [off, off+n) of r to the same place in the slot, which is
// empty there. Pages of zeros stay holes; r may end sooner.
func (s Slot) Fill(r io.ReaderAt, off, n int64) error {
	p := make([]byte, max(0, min(n, fillStep)))
	for end := off + n; off < end; off += int64(len(p)) {
		p = p[:min(int64(len(p)), end-off)]
		got, err := r.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return err
		}
		for at, size := nonzero(p[:got], 0); size > 0; at, size = nonzero(p[:got], at+size) {
			if _, err := s.WriteAt(p[at:at+size], off+int64(at)); err != nil {
				return err
			}
		}
		if got < len(p) {
			return nil
		}
	}
	return nil
}

// nonzero is the next run of pages in p, from page at on, that are not all zeros.
func nonzero(p []byte, at int) (start, size int) {
	var zeros [pageSize]byte
	end := func() int { return min(at+pageSize, len(p)) }
	for at < len(p) && bytes.Equal(p[at:end()], zeros[:end()-at]) {
		at = end()
	}
	for start = at; at < len(p) && !bytes.Equal(p[at:end()], zeros[:end()-at]); {
		at = end()
	}
	return start, at - start
}

// Punch makes bytes [off, off+n) zero and frees their pages, in mappings too.
func (s Slot) Punch(off, n int64) error {
	if err := check(off, n); err != nil || n == 0 {
		return err
	}
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	return s.a.control(func(fd int) error {
		return unix.Fallocate(fd, mode, s.Offset()+off, n)
	})
}

// Truncate drops everything from size on.
func (s Slot) Truncate(size int64) error { return s.Punch(size, Stride-size) }

// SeekData and SeekHole find the next byte at or after off that is (not) backed
// by memory; end, a slot-relative limit, if there is none.
func (s Slot) SeekData(off, end int64) (int64, error) { return s.seek(off, end, unix.SEEK_DATA) }

// SeekHole is see SeekData.
func (s Slot) SeekHole(off, end int64) (int64, error) { return s.seek(off, end, unix.SEEK_HOLE) }

func (s Slot) seek(off, end int64, whence int) (at int64, err error) {
	if err := check(off, 0); err != nil {
		return 0, err
	}
	err = s.a.control(func(fd int) error {
		at, err = unix.Seek(fd, s.Offset()+off, whence)
		return err
	})
	if err == unix.ENXIO {
		return end, nil
	}
	return min(at-s.Offset(), end), err
}

// Map maps bytes [0, n) of the slot into this process, readable only; they
// outlive the arena. The caller unmaps them.
func (s Slot) Map(n int64) (p []byte, err error) {
	if err := check(0, n); err != nil {
		return nil, err
	}
	err = s.a.control(func(fd int) error {
		p, err = unix.Mmap(fd, s.Offset(), int(n), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_NORESERVE)
		return err
	})
	return p, err
}

// errno unwraps what package os adds: callers hand on a bare errno.
func errno(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}
