//go:build linux && amd64

package loader_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/loader"
	"oubliette/internal/stub"
)

// world is an arena and an open function over the host's files.
type world struct {
	arena *os.File
	slots int64
	open  int // files not closed yet
}

const slotSize = 1 << 36

func newWorld(t testing.TB) *world {
	t.Helper()
	fd, err := unix.MemfdCreate("arena", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{arena: os.NewFile(uintptr(fd), "arena")}
	if err := w.arena.Truncate(1<<63 - 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.arena.Close() })
	return w
}

// file is a host file; mapping it copies it to a slot.
type file struct {
	*bytes.Reader
	data []byte
	w    *world
	slot int64
}

func (w *world) bytes(data []byte) *file {
	w.open++
	return &file{Reader: bytes.NewReader(data), data: data, w: w, slot: -1}
}

// Open is open_exec for the host's files.
func (w *world) Open(path string) (loader.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.EACCES
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return w.bytes(data), nil
}

func (f *file) Close() error         { f.w.open--; return nil }
func (f *file) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *file) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	if off < 0 || n <= 0 || off+n > int64(len(f.data)) || write {
		return fdtable.Mapping{}, unix.EINVAL
	}
	if f.slot < 0 {
		f.slot = f.w.slots * slotSize
		f.w.slots++
		if _, err := f.w.arena.WriteAt(f.data, f.slot); err != nil {
			return fdtable.Mapping{}, err
		}
	}
	return fdtable.Mapping{Arena: fdtable.ArenaOwn, Offset: f.slot + off}, nil
}

// kill ends the process if it is still there.
func (p *process) kill() {
	if p.pid > 0 {
		_ = unix.Kill(p.pid, unix.SIGKILL)
		_, _ = unix.Wait4(p.pid, nil, unix.WALL, nil)
		p.pid = 0
	}
}

// process is a stub that is being filled.
type process struct {
	t   testing.TB
	pid int
	out *os.File
}

func (p *process) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) wait() (ws unix.WaitStatus) {
	p.t.Helper()
	_, err := unix.Wait4(p.pid, &ws, unix.WALL, nil)
	p.check(err)
	return ws
}

func (p *process) write(writes ...stub.Write) {
	p.t.Helper()
	for _, w := range writes {
		_, err := unix.PtracePokeData(p.pid, uintptr(w.Addr), w.Data)
		p.check(err)
	}
}

const room = 100

// start runs the stub with image's arguments and stops it. The calling
// goroutine stays on its thread until the test ends.
func start(t testing.TB, args, env []string, arena *os.File) *process {
	t.Helper()
	prog, err := stub.Memfd()
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	p := &process{t: t, out: out}
	attr := syscall.ProcAttr{Env: env, Files: []uintptr{0, out.Fd(), out.Fd(), arena.Fd(), prog.Fd()}}
	p.pid, err = syscall.ForkExec(stub.Path(4, room), args, &attr)
	p.check(err)
	t.Cleanup(func() {
		p.kill()
		_ = out.Close()
		runtime.UnlockOSThread()
	})
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(p.pid), 0, unix.PTRACE_O_EXITKILL, 0, 0); e != 0 {
		t.Fatal(e)
	}
	p.check(unix.PtraceInterrupt(p.pid))
	p.wait()
	return p
}

// load maps image and moves the process to its first instruction, still
// stopped. errno is the result of the call that failed.
func (p *process) load(im *loader.Image, args, env []string) (errno unix.Errno) {
	p.t.Helper()
	var b stub.Batch
	var r unix.PtraceRegs
	p.check(unix.PtraceGetRegs(p.pid, &r))
	im.Batch(&b, [3]int{-1, 3, -1})
	if im.ExecStack {
		const growsDown = 0x01000000
		b.Call(unix.SYS_MPROTECT, r.Rsp&^4095, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC|growsDown)
	}
	b.Call(unix.SYS_CLOSE_RANGE, 3, 1<<32-1, 0)
	last := b.Call(unix.SYS_KILL, 1<<64-1<<31, 0) // ESRCH: to stop
	if !b.Fits() {
		p.t.Fatal("batch too large")
	}
	p.write(stub.Write{Addr: stub.DataAddr, Data: b.Bytes()})
	r.Rip, r.Orig_rax = stub.RunAddr, 1<<64-1
	p.check(unix.PtraceSetRegs(p.pid, &r))
	p.check(unix.PtraceCont(p.pid, 0))
	if ws := p.wait(); ws.StopSignal() != unix.SIGTRAP {
		p.t.Fatalf("stub: status %#x", ws)
	}
	p.check(unix.PtraceGetRegs(p.pid, &r))
	if i := b.Index(r.Rbx); i != last {
		p.t.Logf("call %d of %d failed: %+v", i, b.Len(), b.Entry(i))
		return unix.Errno(-r.Rax)
	}
	base := r.R15
	patch := im.Patch(base)
	patch.Room = room
	patch.UID, patch.EUID = uint32(os.Getuid()), uint32(os.Geteuid())
	patch.GID, patch.EGID = uint32(os.Getgid()), uint32(os.Getegid())
	stack := make([]byte, loader.StackSize(len(args), len(env)))
	n, err := unix.PtracePeekData(p.pid, uintptr(r.Rsp), stack)
	if n == 0 {
		p.check(err)
	}
	writes, err := loader.PatchStack(r.Rsp, stack[:n], patch)
	p.check(err)
	p.write(writes...)
	// munmap of the stub with rip at the entry, by the stub's own syscall
	// instruction.
	r = unix.PtraceRegs{Rsp: r.Rsp, Rip: stub.IdleAddr + 5, Rax: unix.SYS_MUNMAP, Rdi: stub.Base, Rsi: stub.Size,
		Orig_rax: 1<<64 - 1, Cs: r.Cs, Ss: r.Ss, Eflags: r.Eflags}
	p.check(unix.PtraceSetRegs(p.pid, &r))
	p.syscallStop()
	p.syscallStop()
	p.check(unix.PtraceGetRegs(p.pid, &r))
	if r.Rax != 0 {
		p.t.Fatalf("munmap: %d", int64(r.Rax))
	}
	clear := unix.PtraceRegs{Rsp: r.Rsp, Rip: im.Start(base), Orig_rax: 1<<64 - 1, Cs: r.Cs, Ss: r.Ss, Eflags: r.Eflags}
	p.check(unix.PtraceSetRegs(p.pid, &clear))
	return 0
}

func (p *process) syscallStop() {
	p.t.Helper()
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SYSCALL, uintptr(p.pid), 0, 0, 0, 0); e != 0 {
		p.t.Fatal(e)
	}
	p.wait()
}

// finish lets the guest run to its end and returns what it wrote.
func (p *process) finish() (string, unix.WaitStatus) {
	p.t.Helper()
	p.check(unix.PtraceCont(p.pid, 0))
	for {
		ws := p.wait()
		if !ws.Stopped() {
			p.pid = 0
			b, err := os.ReadFile(p.out.Name())
			p.check(err)
			return string(b), ws
		}
		sig := ws.StopSignal()
		if ws.TrapCause() > 0 {
			sig = 0
		}
		p.check(unix.PtraceCont(p.pid, int(sig)))
	}
}

// run loads and runs a program with the loader.
func run(t *testing.T, path string, args, env []string) (string, unix.WaitStatus) {
	t.Helper()
	w := newWorld(t)
	im, err := loader.Load(w.Open, path, args, loader.Options{Random: random{}})
	if err != nil {
		t.Fatal(err)
	}
	if w.open != 0 {
		t.Errorf("%d files left open", w.open)
	}
	p := start(t, im.Args, env, w.arena)
	if e := p.load(im, im.Args, env); e != 0 {
		t.Fatal(e)
	}
	return p.finish()
}

// random is crypto-grade enough for a test.
type random struct{}

func (random) Read(p []byte) (int, error) { return unix.Getrandom(p, 0) }

var _ io.Reader = random{}

// native runs the same program by the kernel's own execve.
func native(t *testing.T, path string, args, env []string) (string, unix.WaitStatus) {
	t.Helper()
	c := &exec.Cmd{Path: path, Args: args, Env: env}
	if env == nil {
		c.Env = []string{}
	}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), unix.WaitStatus(c.ProcessState.Sys().(syscall.WaitStatus))
}

// compile builds C code, or skips.
func compile(t *testing.T, cc, code string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath(cc)
	if err != nil {
		skip(t, err.Error())
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "p.c"), filepath.Join(dir, "p")
	if err := os.WriteFile(src, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, append([]string{"-O1", "-o", bin, src}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cc, err, out)
	}
	return bin
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("OUBLIETTE_STRICT") == "1" && !strings.Contains(why, "not found") {
		t.Fatal("skipped:", why)
	}
	t.Skip(why)
}

// execError is what the kernel's execve of path fails with; nothing is run.
func execError(t *testing.T, path string, args, env []string) unix.Errno {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: env, Sys: &syscall.SysProcAttr{Ptrace: true}})
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
			return 0
		}
	}
}

// broken is a file that cannot be read or mapped.
type broken struct {
	*file
	read, mapping error
}

func (b *broken) ReadAt(p []byte, off int64) (int, error) {
	if b.read != nil {
		return 0, b.read
	}
	return b.file.ReadAt(p, off)
}

func (b *broken) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	if b.mapping != nil {
		return fdtable.Mapping{}, b.mapping
	}
	return b.file.Map(off, n, write)
}
