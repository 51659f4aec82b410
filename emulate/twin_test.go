//go:build linux && amd64

package emulate_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/sysno"
)

// A twin test is a function that makes system calls and is run twice: by the
// kernel, in a thread of its own with a temporary working directory, and by the
// handlers over an in-memory tree. What the calls gave must be the same.

// guestMemory is the memory both kinds of call point into: a mapping with a
// page that cannot be touched behind it.
type guestMemory struct {
	bytes []byte
	base  uint64
	used  int
}

const memorySize = 1 << 20

func newGuestMemory(t *testing.T) *guestMemory {
	t.Helper()
	all, err := unix.Mmap(-1, 0, memorySize+4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(all) })
	if err := unix.Mprotect(all[memorySize:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return &guestMemory{bytes: all[:memorySize], base: uint64(uintptr(unsafe.Pointer(&all[0])))}
}

// place puts p between guard bytes and gives its address.
func (m *guestMemory) place(p []byte) uint64 {
	const guard = 16
	at := m.used + guard
	copy(m.bytes[at:], p)
	for i := range guard {
		m.bytes[m.used+i], m.bytes[at+len(p)+i] = '?', '?'
	}
	m.used = (at + len(p) + guard + 15) &^ 15
	return m.base + uint64(at)
}

// at is where n bytes at the very end of the memory start.
func (m *guestMemory) end(n int) uint64 { return m.base + memorySize - uint64(n) }

func (m *guestMemory) span(addr uint64, n int) ([]byte, error) {
	off := addr - m.base
	if off >= memorySize {
		return nil, unix.EFAULT
	}
	return m.bytes[off:min(off+uint64(n), memorySize)], nil
}

// fakeMachine is a Machine over guestMemory; what else it should do it does not.
type fakeMachine struct {
	emulate.Machine
	mem *guestMemory
}

func (m fakeMachine) ReadMemory(p []byte, addr uint64) (int, error) {
	q, err := m.mem.span(addr, len(p))
	return copy(p, q), err
}

func (m fakeMachine) WriteMemory(p []byte, addr uint64) (int, error) {
	q, err := m.mem.span(addr, len(p))
	n := copy(q, p)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return n, err
}

func (fakeMachine) Park() error { return emulate.ErrInterrupted }
func (fakeMachine) Unpark()     {}

// fakeHost is a host with the real clock.
type fakeHost struct{ emulate.Host }

func (fakeHost) Gettime(clock int32) (int64, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	return ts.Nano(), err
}

// Arguments of a twin call beside numbers and strings.
type (
	out  int // a buffer of so many bytes that the call fills
	edge int // a buffer of so many bytes before memory that cannot be touched
	bad  struct{}
)

// twin is one of the two sides of a twin test.
type twin struct {
	t        *testing.T
	mem      *guestMemory
	do       func(name string, args [6]uint64) (uint64, error)
	log      []string
	emulated bool
	dir      string // natively, the directory the script starts in
	buf      []byte // what the last out argument holds
}

// call makes a call, logs it with its result and returns the result, negative
// for an error.
func (k *twin) call(name string, args ...any) int {
	r := k.quiet(name, args...)
	shown := fmt.Sprint(r)
	if r < 0 {
		shown = unix.ErrnoName(unix.Errno(-r))
	}
	k.note("%s = %s", describe(name, args), shown)
	return r
}

// open is call for what gives a descriptor, whose number is not compared.
func (k *twin) open(name string, args ...any) int {
	r := k.quiet(name, args...)
	shown := "fd"
	if r < 0 {
		shown = unix.ErrnoName(unix.Errno(-r))
	}
	k.note("%s = %s", describe(name, args), shown)
	return r
}

func (k *twin) note(format string, args ...any) { k.log = append(k.log, fmt.Sprintf(format, args...)) }

// fd is a descriptor argument.
type fd int

func describe(name string, args []any) string {
	var s []string
	for _, a := range args {
		switch a := a.(type) {
		case fd:
			s = append(s, "fd")
		case string:
			if len(a) > 60 {
				a = fmt.Sprintf("%s…(%d)", a[:10], len(a))
			}
			s = append(s, fmt.Sprintf("%q", a))
		case []byte:
			s = append(s, fmt.Sprintf("[%d]byte", len(a)))
		default:
			s = append(s, fmt.Sprintf("%v", a))
		}
	}
	return name + "(" + strings.Join(s, ", ") + ")"
}

// quiet is call without a line in the log.
func (k *twin) quiet(name string, args ...any) int {
	k.t.Helper()
	k.mem.used = 0
	k.buf = nil
	var regs [6]uint64
	var guarded [][2]int // offset and length of what the call was given
	for i, a := range args {
		var p []byte
		switch a := a.(type) {
		case nil:
			continue
		case int:
			regs[i] = uint64(a)
			continue
		case uint32:
			regs[i] = uint64(a)
			continue
		case fd:
			regs[i] = uint64(a)
			continue
		case bad:
			regs[i] = k.mem.end(0)
			continue
		case edge:
			regs[i] = k.mem.end(int(a))
			k.buf = k.mem.bytes[memorySize-int(a):]
			continue
		case string:
			p = append([]byte(a), 0)
		case []byte:
			p = a
		case []uint64:
			for _, v := range a {
				p = binary.LittleEndian.AppendUint64(p, v)
			}
		case out:
			p = bytes.Repeat([]byte{0xee}, int(a))
		default:
			k.t.Fatalf("argument %T", a)
		}
		regs[i] = k.mem.place(p)
		off := int(regs[i] - k.mem.base)
		guarded = append(guarded, [2]int{off, len(p)})
		if _, ok := a.(out); ok {
			k.buf = k.mem.bytes[off : off+len(p)]
		}
	}
	r, err := k.do(name, regs)
	for _, g := range guarded {
		around := string(k.mem.bytes[g[0]-16:g[0]]) + string(k.mem.bytes[g[0]+g[1]:g[0]+g[1]+16])
		if around != strings.Repeat("?", 32) {
			k.t.Errorf("%s wrote outside its buffer", name)
		}
	}
	if err != nil {
		errno, ok := emulate.Errno(err)
		if !ok {
			k.t.Errorf("%s: %v has no errno", describe(name, args), err)
		}
		return -int(errno)
	}
	return int(r)
}

// ids is whom a twin test runs as.
type ids struct{ uid, gid int }

var self = ids{os.Geteuid(), os.Getegid()}

// nobody is an ordinary user; only root can become it.
var nobody = ids{65534, 65534}

// twins runs script on both sides and compares the logs. The tree of both is an
// empty directory of mode 0777.
func twins(t *testing.T, who ids, script func(k *twin)) {
	t.Helper()
	if who != self && self.uid != 0 {
		t.Skip("only root can be another user")
	}
	want, got := nativeTwin(t, who, script), emulatedTwin(t, who, script)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kernel (-), emulated (+):\n%s", diff)
	}
	if testing.Verbose() && os.Getenv("TWIN_LOG") != "" {
		t.Log(strings.Join(want, "\n"))
	}
}

func nativeTwin(t *testing.T, who ids, script func(k *twin)) []string {
	t.Helper()
	dir := twinDir(t)
	k := &twin{t: t, mem: newGuestMemory(t), dir: dir}
	k.do = func(name string, args [6]uint64) (uint64, error) {
		r, _, e := unix.RawSyscall6(uintptr(sysno.Must(name)), uintptr(args[0]), uintptr(args[1]),
			uintptr(args[2]), uintptr(args[3]), uintptr(args[4]), uintptr(args[5]))
		if e != 0 {
			return 0, e
		}
		return uint64(r), nil
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with its identity and directory.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Chdir(dir); err != nil {
				return err
			}
			unix.Umask(0o022)
			if who != self {
				for _, c := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, uintptr(who.gid), uintptr(who.gid), uintptr(who.gid)},
					{unix.SYS_SETRESUID, uintptr(who.uid), uintptr(who.uid), uintptr(who.uid)}} {
					if _, _, e := unix.RawSyscall(c[0], c[1], c[2], c[3]); e != 0 {
						return e
					}
				}
			}
			script(k)
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return k.log
}

// twinParent is where twinDir makes directories: on a memory file system if there
// is one, as the emulated tree is.
func twinParent() string {
	var s unix.Statfs_t
	if unix.Statfs("/dev/shm", &s) == nil && s.Type == unix.TMPFS_MAGIC && unix.Access("/dev/shm", unix.W_OK) == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

// twinDir is a temporary directory that everybody may enter.
func twinDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(twinParent(), "twin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(p, 0o700)
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func emulatedTwin(t *testing.T, who ids, script func(k *twin)) []string {
	t.Helper()
	k := &twin{t: t, mem: newGuestMemory(t), emulated: true}
	task := newGuest(t, k.mem, who)
	k.answer(task)
	script(k)
	task.FDs.Release()
	return k.log
}

// answer lets the handlers answer k's calls for task.
func (k *twin) answer(task *emulate.Task) {
	handlers := make(map[string]emulate.Handler)
	for _, row := range emulate.Calls() {
		handlers[row.Name] = row.Do
	}
	k.do = func(name string, args [6]uint64) (uint64, error) {
		do := handlers[name]
		if do == nil {
			return 0, unix.ENOSYS
		}
		return do(&emulate.Call{Task: task, Sys: task.Sys, Nr: sysno.Must(name), Args: args})
	}
}

// newGuest is a task whose working directory is an empty one of mode 0777, in a
// mount at the directory that twinDir uses.
func newGuest(t *testing.T, mem *guestMemory, who ids) *emulate.Task {
	t.Helper()
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	owner := vfs.Owner{UID: uint32(self.uid), GID: uint32(self.gid)}
	var top, parent unix.Stat_t
	if err := errors.Join(unix.Stat("/", &top), unix.Stat(twinParent(), &parent)); err != nil {
		t.Fatal(err)
	}
	if top.Dev != parent.Dev {
		if err := ns.Mount(twinParent(), vfs.NewMem(vfs.MemOptions{Mode: 0o1777}).Root()); err != nil {
			t.Fatal(err)
		}
	}
	d := ns.Root()
	for name := range strings.SplitSeq(strings.Trim(twinParent(), "/")+"/twin", "/") {
		next, err := d.Lookup(vfs.Cred{}, name)
		if err != nil {
			next, err = d.Mkdir(vfs.Cred{}, name, 0o1777)
		}
		if err != nil {
			t.Fatal(err)
		}
		d = next
	}
	if err := d.Node.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: new(uint32(0o777)), UID: &owner.UID, GID: &owner.GID}); err != nil {
		t.Fatal(err)
	}
	sys := &emulate.System{Host: fakeHost{}, FS: ns, CPUs: 1}
	cred := emulate.Cred{RUID: uint32(who.uid), EUID: uint32(who.uid), SUID: uint32(who.uid), FSUID: uint32(who.uid),
		RGID: uint32(who.gid), EGID: uint32(who.gid), SGID: uint32(who.gid), FSGID: uint32(who.gid)}
	if who == self && who.uid != 0 {
		groups, err := os.Getgroups()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			cred.Groups = append(cred.Groups, uint32(g))
		}
	}
	task := sys.NewInit(ns.Root(), cred, fdtable.NewTable(nil))
	task.Machine = fakeMachine{mem: mem}
	task.FS.Cwd = d
	task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1024, Max: 4096}
	task.Process.Rlimits[unix.RLIMIT_FSIZE] = unix.Rlimit{Cur: ^uint64(0), Max: ^uint64(0)}
	return task
}

// stat logs what is the same for equal files whatever holds them.
func (k *twin) stat(name string, args ...any) {
	k.t.Helper()
	r := k.quiet(name, args...)
	if r < 0 {
		k.note("%s = %s", describe(name, args), unix.ErrnoName(unix.Errno(-r)))
		return
	}
	shown := showStat(k.buf)
	if outside(args) {
		shown = "above the tree"
	}
	k.note("%s = %s", describe(name, args), shown)
}

func showStat(p []byte) string {
	s := (*unix.Stat_t)(unsafe.Pointer(unsafe.SliceData(slices.Clone(p))))
	text := fmt.Sprintf("mode %o nlink %d uid %d gid %d rdev %d", s.Mode, s.Nlink, s.Uid, s.Gid, s.Rdev)
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		text += fmt.Sprintf(" size %d blocks %d", s.Size, s.Blocks)
	}
	return text
}

// outside reports that the call is about what the script has not made.
func outside(args []any) bool {
	return slices.ContainsFunc(args, func(a any) bool { return a == "/" || a == ".." })
}
