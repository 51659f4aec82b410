//go:build linux

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/sysno"
)

// Script is what a twin test makes calls with, on one kernel or the other.
type Script struct {
	T testing.TB
	// Emulated tells which kernel answers.
	Emulated bool
	// Guest is the emulated side's task, nil on the native side.
	Guest *Guest

	root  string // natively, what stands for "/"
	lines []string
	fds   []uint64 // native ones to close
}

// Twin runs script natively, in a temporary directory that stands for "/" in
// string arguments, and then emulated, and compares the transcripts: the calls
// with their results and the content of byte slices afterwards. Descriptor
// numbers do not show; wrap them in FD.
func Twin(t *testing.T, script func(*Script)) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	native := &Script{T: t, root: t.TempDir()}
	script(native)
	for _, fd := range native.fds {
		_ = unix.Close(int(fd))
	}
	emulated := &Script{T: t, Emulated: true, Guest: NewGuest(t)}
	script(emulated)
	if diff := cmp.Diff(native.lines, emulated.lines); diff != "" {
		t.Errorf("the emulated kernel differs (-native +emulated):\n%s", diff)
	}
}

// givesFD are the calls whose result is a descriptor.
var givesFD = []string{"accept", "accept4", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
	"eventfd", "eventfd2", "inotify_init", "inotify_init1", "memfd_create", "open", "openat", "openat2",
	"signalfd", "signalfd4", "socket", "timerfd_create"}

// Call makes a call and notes it.
func (s *Script) Call(name string, args ...any) (uint64, unix.Errno) {
	s.T.Helper()
	n, errno := s.Quiet(name, args...)
	line := new(bytes.Buffer)
	fmt.Fprintf(line, "%s(", name)
	for i, a := range args {
		if i > 0 {
			line.WriteString(", ")
		}
		writeArg(line, a)
	}
	switch {
	case errno != 0:
		fmt.Fprintf(line, ") = %s", unix.ErrnoName(errno))
	case gives(name, args):
		line.WriteString(") = fd")
	default:
		fmt.Fprintf(line, ") = %d", int64(n))
	}
	s.lines = append(s.lines, line.String())
	return n, errno
}

// Open is Call for a call that gives a descriptor.
func (s *Script) Open(name string, args ...any) FD {
	s.T.Helper()
	fd, _ := s.Call(name, args...)
	return FD(fd)
}

// Root is what stands for "/" natively, for names inside other arguments.
func (s *Script) Root() string { return s.root }

// Quiet makes a call without noting it.
func (s *Script) Quiet(name string, args ...any) (uint64, unix.Errno) {
	s.T.Helper()
	if s.Emulated {
		return s.Guest.Call(name, args...)
	}
	return s.native(name, args)
}

// Logf adds a line to the transcript.
func (s *Script) Logf(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// gives reports whether the call's result is a new descriptor.
func gives(name string, args []any) bool {
	if slices.Contains(givesFD, name) {
		return true
	}
	cmd := any(nil)
	if name == "fcntl" && len(args) > 1 {
		cmd = args[1]
	}
	return cmd == unix.F_DUPFD || cmd == unix.F_DUPFD_CLOEXEC
}

func writeArg(w *bytes.Buffer, a any) {
	short := func(p []byte) {
		if len(p) > 64 {
			fmt.Fprintf(w, "%q… of %d", p[:64], len(p))
			return
		}
		fmt.Fprintf(w, "%q", p)
	}
	switch a := a.(type) {
	case string:
		fmt.Fprintf(w, "%q", a)
	case []byte:
		short(a)
	case Edge:
		short(a)
	case Iov:
		for _, p := range a {
			w.WriteByte('|')
			short(p)
		}
	case FD:
		w.WriteString("fd")
	default:
		if n, ok := integer(a); ok {
			fmt.Fprintf(w, "%#x", n)
			return
		}
		w.WriteString("&")
	}
}

// native makes a real system call.
func (s *Script) native(name string, args []any) (uint64, unix.Errno) {
	s.T.Helper()
	nr, ok := sysno.Number(name)
	if !ok {
		s.T.Fatalf("no call is named %q", name)
	}
	var regs [6]uintptr
	var keep []any
	var after []func()
	pin := func(p []byte) uintptr {
		if len(p) == 0 {
			p = make([]byte, 1)
		}
		keep = append(keep, p)
		return uintptr(unsafe.Pointer(&p[0]))
	}
	for i, a := range args {
		switch a := a.(type) {
		case nil:
		case string:
			if a == "/" {
				a = s.root
			} else if strings.HasPrefix(a, "/") {
				a = s.root + a
			}
			regs[i] = pin(append([]byte(a), 0))
		case []byte:
			regs[i] = pin(a)
		case Edge:
			addr, out := s.edge(a)
			regs[i] = addr
			after = append(after, out)
		case Argument:
			addr, out := a.Marshal(func(p []byte) (uint64, func() []byte) {
				p = bytes.Clone(p)
				return uint64(pin(p)), func() []byte { return p }
			})
			regs[i] = uintptr(addr)
			after = append(after, out)
		case Iov:
			iov := make([]unix.Iovec, len(a)+1)
			for j, p := range a {
				pin(p)
				iov[j].SetLen(len(p))
				if len(p) > 0 {
					iov[j].Base = &p[0]
				}
			}
			keep = append(keep, iov)
			regs[i] = uintptr(unsafe.Pointer(&iov[0]))
		default:
			if n, ok := integer(a); ok {
				regs[i] = uintptr(n)
				break
			}
			p, err := binary.Append(nil, binary.LittleEndian, a)
			if err != nil || reflect.TypeOf(a).Kind() != reflect.Pointer {
				s.T.Fatalf("argument of type %T: %v", a, err)
			}
			regs[i] = pin(p)
			after = append(after, func() { _, _ = binary.Decode(p, binary.LittleEndian, a) })
		}
	}
	errno := unix.EINTR
	var n uintptr
	for errno == unix.EINTR { // poll(2) and select(2) that find nothing, when Go's own SIGURG comes at that moment
		n, _, errno = unix.Syscall6(uintptr(nr), regs[0], regs[1], regs[2], regs[3], regs[4], regs[5])
	}
	runtime.KeepAlive(keep)
	for _, out := range after {
		out()
	}
	if errno == 0 && gives(name, args) && !slices.Contains(s.fds, uint64(n)) {
		s.fds = append(s.fds, uint64(n))
	}
	if errno == 0 && name == "close" {
		s.fds = slices.DeleteFunc(s.fds, func(fd uint64) bool { return fd == uint64(regs[0]) })
	}
	return uint64(n), errno
}

// edge copies p to the end of a mapping that nothing follows.
func (s *Script) edge(p Edge) (uintptr, func()) {
	size := (len(p) + page - 1) &^ (page - 1)
	mem, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = unix.Mprotect(mem[size:], unix.PROT_NONE)
	}
	if err != nil {
		s.T.Fatal(err)
	}
	at := mem[size-len(p) : size]
	copy(at, p)
	return uintptr(unsafe.Pointer(unsafe.SliceData(at))), func() {
		copy(p, at)
		_ = unix.Munmap(mem)
	}
}
