//go:build linux && amd64

package loader_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/loader"
	"oubliette/internal/stub"
)

// The kernel is the oracle: the same files are executed by it, stopped before
// the first instruction, and mapped by the loader, and the two processes are
// compared page by page.

// Where the two files are found, in the test and in the child.
const (
	progPath   = "/proc/self/fd/8"
	interpPath = "/proc/self/fd/9"
)

// layout is a process before its first instruction.
type layout struct {
	Regions []string // start-end perms
	Content string
	Auxv    map[uint64]uint64
	Start   uint64
	Strings string // AT_EXECFN
}

// memfds opens the two files for a child.
func memfds(t testing.TB, files ...[]byte) (fds []uintptr) {
	t.Helper()
	fds = []uintptr{0, 1, 2}
	for len(fds) < 8 {
		fds = append(fds, ^uintptr(0))
	}
	for _, data := range files {
		fd, err := unix.MemfdCreate("elf", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "elf")
		t.Cleanup(func() { _ = f.Close() })
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, f.Fd())
	}
	return fds
}

// fixed runs fn with address randomization off for what it forks. The goroutine
// keeps its thread.
func fixed(t testing.TB) {
	t.Helper()
	const addrNoRandomize = 0x0040000
	runtime.LockOSThread()
	old, _, e := unix.Syscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0)
	if e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(func() {
		_, _, _ = unix.Syscall(unix.SYS_PERSONALITY, old, 0, 0)
		runtime.UnlockOSThread()
	})
}

// errKilled: the kernel found out too late and killed the process.
var errKilled = errors.New("killed in execve")

// nativeLayout executes the program with the kernel's execve.
func nativeLayout(t testing.TB, prog, interp []byte) (*layout, error) {
	t.Helper()
	attr := syscall.ProcAttr{Files: memfds(t, prog, interp), Sys: &syscall.SysProcAttr{Ptrace: true}}
	pid, err := syscall.ForkExec(progPath, []string{"guest"}, &attr)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
	}()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if !ws.Stopped() || ws.StopSignal() != unix.SIGTRAP {
		return nil, errKilled
	}
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		t.Fatal(err)
	}
	return observe(t, pid, r.Rsp, r.Rip, isPIE(prog)), nil
}

// loadedLayout does the same with the loader. err is Load's error, errno what
// failed in the stub.
func loadedLayout(t testing.TB, prog, interp []byte) (l *layout, im *loader.Image, err error) {
	t.Helper()
	w := newWorld(t)
	im, err = loader.Load(func(path string) (loader.File, error) {
		switch path {
		case progPath:
			return w.bytes(prog), nil
		case interpPath:
			return w.bytes(interp), nil
		}
		return w.Open(path)
	}, progPath, []string{"guest"}, loader.Options{})
	if w.open != 0 {
		t.Errorf("%d files left open", w.open)
	}
	if err != nil {
		return nil, nil, err
	}
	p := start(t, im.Args, []string{}, w.arena)
	defer p.kill()
	if e := p.load(im, im.Args, nil); e != 0 {
		return nil, im, e
	}
	var r unix.PtraceRegs
	p.check(unix.PtraceGetRegs(p.pid, &r))
	return observe(t, p.pid, r.Rsp, r.Rip, isPIE(prog)), im, nil
}

// observe reads a stopped process. Addresses in the mmap area, where the
// interpreter is, are made relative to the first one there, and those of a
// static-PIE program relative to its entry.
func observe(t testing.TB, pid int, sp, ip uint64, pie bool) *layout {
	t.Helper()
	l := &layout{Auxv: map[uint64]uint64{}}
	le := binary.LittleEndian
	stack := read(pid, sp, loader.StackSize(1, 0))
	at := 8 * 4 // argc, argv[0], 0, 0
	for ; le.Uint64(stack[at:]) != 0; at += 16 {
		l.Auxv[le.Uint64(stack[at:])] = le.Uint64(stack[at+8:])
	}
	name, _, _ := bytes.Cut(read(pid, l.Auxv[31], 256), []byte{0})
	l.Strings = string(name)
	for _, ptr := range []uint64{15, 25, 31, 33} { // PLATFORM, RANDOM, EXECFN, SYSINFO_EHDR
		l.Auxv[ptr] = 0
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	const mmapArea = 0x7f0000000000
	var origin uint64
	if pie {
		origin = l.Auxv[9]
	}
	rel := func(a uint64) uint64 {
		if a >= mmapArea && origin == 0 {
			origin = a
		}
		if a >= mmapArea || pie {
			return a - origin
		}
		return a
	}
	var from, to uint64
	var perms string
	flush := func() {
		if to > from {
			l.Regions = append(l.Regions, fmt.Sprintf("%x-%x %s", rel(from), rel(to-1)+1, perms))
		}
	}
	var content strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(string(maps)), "\n") {
		f := strings.Fields(line)
		if len(f) > 5 && strings.HasPrefix(f[5], "[") && f[5] != "[heap]" {
			continue
		}
		var a, b uint64
		_, _ = fmt.Sscanf(f[0], "%x-%x", &a, &b)
		if a != to || f[1] != perms {
			flush()
			from, perms = a, f[1]
		}
		to = b
		data := read(pid, a, int(min(b-a, 1<<20)))
		for p := a; len(data) > 0; p, data = p+4096, data[4096:] {
			if page := bytes.TrimRight(data[:4096], "\x00"); len(page) > 0 {
				fmt.Fprintf(&content, "%x %x\n", rel(p), page)
			}
		}
	}
	flush()
	l.Content, l.Start = content.String(), rel(ip)
	if l.Auxv[7] != 0 {
		l.Start = ip - l.Auxv[7]
		l.Auxv[7] -= origin
	}
	if pie {
		l.Auxv[3], l.Auxv[9] = rel(l.Auxv[3]), 0
	}
	return l
}

// isPIE: ET_DYN without an interpreter.
func isPIE(prog []byte) bool {
	for _, s := range segments(prog) {
		if s.typ == 3 {
			return false
		}
	}
	return len(prog) >= 64 && binary.LittleEndian.Uint16(prog[16:]) == etDyn
}

// strange interpreters are not mapped as Linux does it: one that is ET_DYN and
// does not begin at 0 may get that address as a hint, one whose first segment
// has no bytes in the file is mapped at 0 over whatever is there, and one that
// needs half of the address space does not find it around the stub.
func strange(interp []byte) bool {
	first := true
	for _, s := range segments(interp) {
		if s.typ != load {
			continue
		}
		if s.vaddr >= 1<<40 || s.memsz >= 1<<40 || first && (s.vaddr >= 4096 || s.filesz == 0) {
			return true
		}
		first = false
	}
	return false
}

// segments reads back what makeELF wrote, or what a mutation made of it.
func segments(e []byte) (all []segment) {
	le := binary.LittleEndian
	if len(e) < 64 {
		return nil
	}
	table := e[min(le.Uint64(e[32:]), uint64(len(e))):]
	for range le.Uint16(e[56:]) {
		if len(table) < 56 {
			break
		}
		all = append(all, segment{le.Uint32(table), le.Uint32(table[4:]), le.Uint64(table[8:]), le.Uint64(table[16:]),
			le.Uint64(table[32:]), le.Uint64(table[40:]), le.Uint64(table[48:])})
		table = table[56:]
	}
	return all
}

// read reads memory, whatever its protection; what is not there is zero.
func read(pid int, addr uint64, n int) []byte {
	b := make([]byte, n)
	if f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid)); err == nil {
		_, _ = f.ReadAt(b, int64(addr))
		_ = f.Close()
	}
	return b
}

// compare checks Load against execve on two files.
func compare(t testing.TB, prog, interp []byte) {
	t.Helper()
	want, wantErr := nativeLayout(t, prog, interp)
	got, im, err := loadedLayout(t, prog, interp)
	if im != nil {
		checkOps(t, im)
	}
	complain := t.Errorf
	if strange(interp) {
		complain = t.Logf
	}
	switch {
	case wantErr == errKilled:
		// An entry far outside the file may be no address natively and be
		// one here, because the base is another, or the other way round.
		wild := len(prog) > 32 && binary.LittleEndian.Uint64(prog[24:]) > 1<<24 ||
			len(interp) > 32 && binary.LittleEndian.Uint64(interp[24:]) > 1<<24
		if err == nil && !wild {
			complain("loaded what the kernel kills: %+v", im)
		}
	case wantErr != nil || err != nil:
		// An ENOMEM of Load's own is an address of the stub's, or one too
		// low that root may have natively.
		if taken := wantErr == nil && im == nil && err == unix.ENOMEM; err != wantErr && !taken {
			complain("error %v, want %v", err, wantErr)
		}
	default:
		if d := cmp.Diff(want, got); d != "" {
			complain("%s\n%+v", d, im)
		}
	}
}

// checkOps: nothing in an image may touch the stub, or lie outside the
// interpreter's span.
func checkOps(t testing.TB, im *loader.Image) {
	t.Helper()
	span := uint64(0)
	for _, op := range im.Ops {
		end := op.Addr + op.Len
		switch {
		case end < op.Addr || end > 1<<47:
			t.Errorf("%+v overflows", op)
		case op.Relative && op.Kind == loader.Reserve:
			span = op.Len
		case op.Relative && end > span:
			t.Errorf("%+v is outside the %#x bytes of the interpreter", op, span)
		case !op.Relative && op.Addr < stub.Base+stub.Size && end > stub.Base:
			t.Errorf("%+v touches the stub", op)
		}
	}
}
