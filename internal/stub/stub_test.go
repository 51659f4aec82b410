//go:build linux && amd64

package stub_test

import (
	"bytes"
	"debug/elf"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/stub"
)

func TestImage(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(stub.Image()))
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(len(stub.Image()))
	if n > stub.DataAddr-stub.Base {
		t.Errorf("image is %d bytes", n)
	}
	var got []elf.ProgHeader
	for _, p := range f.Progs {
		got = append(got, p.ProgHeader)
	}
	want := []elf.ProgHeader{
		{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Vaddr: stub.Base, Paddr: stub.Base, Filesz: n, Memsz: n, Align: 4096},
		{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_W, Vaddr: stub.DataAddr, Paddr: stub.DataAddr, Memsz: stub.DataSize, Align: 4096},
		{Type: elf.PT_GNU_STACK, Flags: elf.PF_R | elf.PF_W, Align: 4096},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if f.Entry != stub.IdleAddr {
		t.Errorf("entry %#x", f.Entry)
	}
}

// start runs the stub and stops it.
func start(t *testing.T) int {
	t.Helper()
	f, err := stub.Memfd()
	if err != nil {
		t.Fatal(err)
	}
	return startFile(t, f)
}

// startFile does it with a given file. Takes over f.
func startFile(t *testing.T, f *os.File) int {
	t.Helper()
	defer f.Close()
	runtime.LockOSThread()
	pid, err := syscall.ForkExec(stub.Path(3, 64), []string{"guest"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2, f.Fd()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
		runtime.UnlockOSThread()
	})
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, unix.PTRACE_O_EXITKILL, 0, 0); e != 0 {
		t.Fatal(e)
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		t.Fatal(err)
	}
	wait(t, pid)
	return pid
}

func wait(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	return ws
}

// runBatch runs b to a failing last call and returns the registers and results.
func runBatch(t *testing.T, pid int, b *stub.Batch) (unix.PtraceRegs, []uint64) {
	t.Helper()
	buf := b.Bytes()
	mem := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	at := []unix.RemoteIovec{{Base: stub.DataAddr, Len: len(buf)}}
	if n, err := unix.ProcessVMWritev(pid, mem, at, 0); err != nil || n != len(buf) {
		t.Fatal(n, err)
	}
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		t.Fatal(err)
	}
	sp := r.Rsp
	r.Rip, r.Orig_rax = stub.RunAddr, ^uint64(0)
	if err := unix.PtraceSetRegs(pid, &r); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceCont(pid, 0); err != nil {
		t.Fatal(err)
	}
	if ws := wait(t, pid); ws.StopSignal() != unix.SIGTRAP {
		t.Fatalf("status %#x", ws)
	}
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		t.Fatal(err)
	}
	if r.Rsp != sp {
		t.Errorf("rsp %#x, was %#x", r.Rsp, sp)
	}
	back := make([]byte, len(buf))
	mem[0].Base = &back[0]
	if n, err := unix.ProcessVMReadv(pid, mem, at, 0); err != nil || n != len(buf) {
		t.Fatal(n, err)
	}
	var results []uint64
	for i := range b.Len() {
		results = append(results, b.Result(back, i))
	}
	return r, results
}

func TestBatch(t *testing.T) {
	pid := start(t)
	var b stub.Batch
	path := b.Data([]byte("/dev/null\x00"))
	b.Add(stub.Entry{Nr: -1}) // ENOSYS, and goes on
	b.Call(unix.SYS_OPENAT, uint64(unix.AT_FDCWD&(1<<64-1)), path, unix.O_RDONLY)
	b.Add(stub.Entry{Nr: unix.SYS_MMAP, Flags: stub.Save | stub.Must,
		Args: [6]uint64{0, 1 << 16, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANON, ^uint64(0), 0}})
	b.Add(stub.Entry{Nr: unix.SYS_GETRANDOM, Flags: stub.AddBase | stub.Must, Args: [6]uint64{4096, 256, 0}})
	b.Add(stub.Entry{Flags: stub.AddBase | stub.Clear | stub.Must, Args: [6]uint64{4096 + 100, 50}})
	b.Add(stub.Entry{Nr: unix.SYS_MUNMAP, Flags: stub.AddBase | stub.Must, Args: [6]uint64{0, 4096}})
	b.Call(unix.SYS_GETPPID)
	last := b.Call(unix.SYS_CLOSE, 1000)
	b.Call(unix.SYS_EXIT_GROUP, 7)
	r, got := runBatch(t, pid, &b)
	errno := func(e unix.Errno) uint64 { return -uint64(e) }
	want := []uint64{errno(unix.ENOSYS), 4, r.R15, 256, 0, 0, uint64(os.Getpid()), errno(unix.EBADF), 0}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if i := b.Index(r.Rbx); i != last || r.Rax != errno(unix.EBADF) {
		t.Errorf("failed call %d with %d, want %d", i, int64(r.Rax), last)
	}
	page := make([]byte, 256)
	mem := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&page[0])), Len: 256}}
	if _, err := unix.ProcessVMReadv(pid, mem, []unix.RemoteIovec{{Base: uintptr(r.R15 + 4096), Len: 256}}, 0); err != nil {
		t.Fatal(err)
	}
	if z := make([]byte, 50); !bytes.Equal(page[100:150], z) || bytes.Equal(page[:50], z) || bytes.Equal(page[150:200], z) {
		t.Errorf("cleared %x", page)
	}
	maps, err := os.ReadFile("/proc/" + itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(maps), "\n") {
		if strings.Contains(line, "[stack]") && !strings.Contains(line, "rw-p") {
			t.Error(line)
		}
	}
}

// After the last call the stub pauses: rbx is 0 and the number pause's.
func TestDone(t *testing.T) {
	pid := start(t)
	var b stub.Batch
	b.Call(unix.SYS_KILL, uint64(pid), uint64(unix.SIGTRAP))
	r, _ := runBatch(t, pid, &b)
	if b.Index(r.Rbx) != 0 {
		t.Errorf("rbx %#x", r.Rbx)
	}
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SYSCALL, uintptr(pid), 0, 0, 0, 0); e != 0 {
		t.Fatal(e)
	}
	wait(t, pid)
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		t.Fatal(err)
	}
	if r.Orig_rax != unix.SYS_PAUSE || r.Rbx != 0 || r.Rip != stub.IdleAddr+7 {
		t.Errorf("call %d, rbx %#x, rip %#x", r.Orig_rax, r.Rbx, r.Rip)
	}
}

func TestMemfdIsSealed(t *testing.T) {
	f, err := stub.Memfd()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 0); err == nil {
		t.Error("written")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("truncated")
	}
}

// Where memfds may not be executed, an unlinked file does as well, and no name
// of it stays.
func TestUnlinked(t *testing.T) {
	dir := t.TempDir()
	f, err := stub.Unlinked(dir)
	if err == unix.EACCES {
		t.Skip("the temporary directory is mounted noexec")
	}
	if err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); len(names) > 0 || err != nil {
		t.Errorf("left %v, %v", names, err)
	}
	if _, err := f.WriteAt([]byte{1}, 0); err == nil {
		t.Error("written")
	}
	pid := startFile(t, f)
	var b stub.Batch
	b.Call(-1)
	if r, _ := runBatch(t, pid, &b); unix.Errno(-r.Rax) != unix.ENOSYS {
		t.Errorf("result %d", int64(r.Rax))
	}
	if _, err := stub.Unlinked("/no/such/directory"); err == nil {
		t.Error("made a file nowhere")
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		fd, room int
		want     string
	}{{3, 0, "/proc/self/fd/3"}, {3, 15, "/proc/self/fd/3"}, {3, 17, "/proc/self/fd///3"}, {12, 17, "/proc/self/fd//12"}} {
		if got := stub.Path(c.fd, c.room); got != c.want {
			t.Errorf("Path(%d, %d) = %q", c.fd, c.room, got)
		}
	}
}

func itoa(n int) string {
	return strings.TrimPrefix(strings.TrimPrefix(stub.Path(n, 0), "/proc/self/fd"), "/")
}
