//go:build linux

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
)

// Bounds of what one call may cost the warden, whatever its arguments.
const (
	stormTime  = 250 * time.Millisecond // of the thread's own CPU time
	stormAlloc = 96 << 20               // bytes allocated
	stormHeap  = 1 << 30                // bytes alive at the end of a storm
)

// storm is a guest whose only aim is to harm the warden: any call, with the
// arguments that programs never make.
type storm struct {
	t      testing.TB
	rng    *rand.Rand
	first  *Guest
	parked map[*Guest]*Started
	rows   []emulate.Row
	data   [4]uint64 // buffers of stormBuf bytes
	text   [2]uint64 // of PATH_MAX + 1 bytes
	edge   uint64    // 64 bytes, nothing mapped behind
	doing  atomic.Pointer[string]
	since  atomic.Int64
}

const stormBuf = 64 << 10

var stormPaths = []string{"/", ".", "..", "a", "b", "d", "d/e", "d/e/f", "l", "loop", "d/../a", "a/", "//d//", "./d/./e", "",
	"/proc", "/proc/self/fd", "/proc/self/fd/3", "/proc/self/fd/5/..", "/proc/self/maps", "/proc/self/cwd", "/proc/self/root/..",
	"/proc/self/exe", "/proc/1/task/2/stat", "/proc/self/status", "/proc/mounts", "/proc/999999999999999999999", "/proc/sys/kernel/hostname",
	"/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "/dev/tty", "/dev/fd/0", "/dev/stdin", "/dev/shm/x", "/dev/ptmx",
	"/over", "/over/file", "/over/dir", "/over/dir/sub", "/over/new", "/over/link", "/over/..", "/ro/file", "/ro/dir", "/ro/new",
	"/host/file", "/host/dir", "/host/new", "/host/dir/sub", "/host/out", "/host/fifo", "/text", "/mem/a", "/mem/d", "/mem/d/e",
	"/q", "user.a", "security.capability", "trusted.overlay.opaque", "system.posix_acl_access", "\xff\xfe", "%s%n", strings.Repeat("n", 255),
	strings.Repeat("n", 256), strings.Repeat("../", 1300), strings.Repeat("d/../", 800), strings.Repeat("x", 4095), strings.Repeat("l/", 2000)}

func newStorm(t testing.TB, src rand.Source) *storm {
	g := NewGuest(t)
	s := &storm{t: t, rng: rand.New(src), first: g, parked: make(map[*Guest]*Started)}
	g.Sys.Limits.Tasks = 8
	emulate.RegisterDevices(g.Sys)
	dir := t.TempDir()
	t.Cleanup(func() { // the storm takes away the rights that removing needs
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				return os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	for _, d := range []string{"/low/dir", "/rw/dir"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"/low/file", "/low/dir/sub", "/rw/file", "/rw/dir/sub", "/secret"} {
		if err := os.WriteFile(dir+f, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Symlink("../../secret", dir+"/rw/out")
	_ = os.Symlink("file", dir+"/low/link")
	_ = unix.Mkfifo(dir+"/rw/fifo", 0o666)
	mount := func(at string, n vfs.Node, err error) {
		if err == nil {
			err = g.Sys.FS.Mount(at, n)
		}
		if c, ok := n.(io.Closer); ok {
			t.Cleanup(func() { _ = c.Close() })
		}
		if err != nil {
			t.Fatal(at, err)
		}
	}
	low, err := vfs.NewHost(dir+"/low", vfs.HostOptions{})
	mount("/ro", low, err)
	over, err := vfs.NewHost(dir+"/low", vfs.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	top, err := vfs.NewOverlay(over, vfs.MemOptions{})
	mount("/over", top, err)
	rw, err := vfs.NewHost(dir+"/rw", vfs.HostOptions{Write: true})
	mount("/host", rw, err)
	dev, err := emulate.NewDev(g.Sys, vfs.MemOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mount("/dev", dev.Root(), nil)
	mount("/proc", emulate.NewProc(g.Sys), nil)
	mount("/text", vfs.NewBytes(0, []byte("text")), nil)
	mount("/mem", vfs.NewMem(vfs.MemOptions{Bytes: 16 << 20, Inodes: 1000, Mode: 0o1777}).Root(), nil)
	g.Sys.Shm = vfs.NewMem(vfs.MemOptions{Bytes: 16 << 20})
	g.Task.Process.Rlimits[unix.RLIMIT_FSIZE].Cur = unix.RLIM_INFINITY
	for _, p := range []string{"d", "d/e"} {
		g.Must("mkdir", p, 0o777)
	}
	g.Must("symlink", ".", "l")
	g.Must("symlink", "loop", "loop")
	g.WriteFile("a", strings.Repeat("a", 10000))
	for _, path := range []string{"a", "d", "/over/file", "/over/dir", "/host/file", "/host/dir", "/ro/file", "/dev/zero", "/dev/null",
		"/proc/self/status", "/proc/self/mem", "/proc/self/fd", "/text"} {
		if _, errno := g.Call("open", path, unix.O_RDWR, 0); errno != 0 {
			g.Must("open", path, unix.O_RDONLY, 0)
		}
	}
	g.Must("open", "/proc/self/cwd", unix.O_PATH, 0)
	g.Must("epoll_create1", 0)
	g.Must("eventfd2", 1, unix.EFD_NONBLOCK)
	g.Must("timerfd_create", unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	g.Must("inotify_init1", unix.IN_NONBLOCK)
	g.Must("memfd_create", "m", 3)
	g.Must("signalfd4", -1, new(uint64), 8, unix.SFD_NONBLOCK)
	g.Must("mq_open", "q", unix.O_CREAT|unix.O_RDWR|unix.O_NONBLOCK, 0o600, 0)
	for range 2 {
		g.Must("pipe2", make([]byte, 8), unix.O_NONBLOCK)
	}
	// Whole regions, since sizes are arbitrary: what lies behind is not mapped.
	for i := range s.data {
		s.data[i] = g.Machine.Map(0, stormBuf, unix.PROT_READ|unix.PROT_WRITE)
	}
	for i := range s.text {
		s.text[i] = g.Machine.Map(0, 2*4096, unix.PROT_READ|unix.PROT_WRITE)
	}
	s.edge = g.Machine.AllocEdge(64)
	for _, r := range emulate.Calls() {
		if r.Do != nil {
			s.rows = append(s.rows, r)
		}
	}
	return s
}

func (s *storm) n(n int) int { return s.rng.IntN(n) }

func pick[T any](s *storm, from ...T) T { return from[s.n(len(from))] }

// number is one that is likely to be taken the wrong way.
func (s *storm) number() uint64 {
	switch s.n(8) {
	case 0:
		return s.rng.Uint64()
	case 1:
		return uint64(1) << s.n(64)
	case 2:
		return uint64(1)<<s.n(64) - 1
	case 3:
		return -uint64(s.n(300))
	case 4:
		return pick(s, uint64(4096), 65536, 1<<20, 1<<21, 1<<31-1, 1<<31, 1<<32, 1<<47-4096, 1<<63-1, 1<<63, 0x7ffff000)
	default:
		return uint64(s.n(24))
	}
}

func (s *storm) address() uint64 {
	switch s.n(12) {
	case 0:
		return pick(s, 0, Bad, 1<<47-8, 1<<63, ^uint64(0), ^uint64(7))
	case 1:
		return s.edge + uint64(s.n(65))
	case 2:
		return s.text[s.n(2)]
	default:
		return s.data[s.n(len(s.data))] + pick(s, uint64(0), 0, 0, 1, 8, 4096)
	}
}

func (s *storm) fd() uint64 {
	if s.n(12) == 0 {
		return s.number()
	}
	return uint64(s.n(30))
}

// fill puts words in a buffer as structures have them.
func (s *storm) fill(g *Guest) {
	p := make([]byte, 32+s.n(8)*32)
	for i := 0; i+8 <= len(p); i += 8 {
		switch s.n(5) {
		case 0:
			binary.LittleEndian.PutUint64(p[i:], s.address())
		case 1:
			binary.LittleEndian.PutUint32(p[i:], uint32(s.fd()))
			binary.LittleEndian.PutUint32(p[i+4:], uint32(s.number()))
		case 2:
			binary.LittleEndian.PutUint16(p[i:], uint16(s.n(4)))
		default:
			binary.LittleEndian.PutUint64(p[i:], s.number())
		}
	}
	_, _ = g.Machine.WriteMemory(p, s.data[s.n(len(s.data))])
}

func (s *storm) path(g *Guest, i int) uint64 {
	if s.n(20) == 0 {
		return s.address()
	}
	p := pick(s, stormPaths...)
	if s.n(10) == 0 {
		p = fmt.Sprintf("d/%d", s.n(1<<30))
	}
	_, _ = g.Machine.WriteMemory(append([]byte(p), 0), s.text[i&1])
	return s.text[i&1]
}

func (s *storm) argument(g *Guest, kind string, i int) uint64 {
	kind, _, _ = strings.Cut(strings.TrimPrefix(kind, "out:"), ":")
	switch kind {
	case "fd":
		return s.fd()
	case "dirfd":
		if s.n(3) > 0 {
			return uint64(0xffffff9c)
		}
		return s.fd()
	case "path", "str":
		return s.path(g, i)
	case "buf", "addr", "iov", "sockaddr":
		return s.address()
	case "size", "ulong", "off":
		return pick(s, s.number(), uint64(s.n(5000)), 8)
	case "pid":
		return pick(s, 0, 1, 2, 3, s.number())
	case "sig":
		return uint64(s.n(66))
	case "flags", "mode", "uint":
		return pick(s, 0, s.number(), 1<<s.n(32), 1<<s.n(20)|1<<(20-s.n(20))|uint64(s.n(8)), 0o102, 0o777)
	}
	return pick(s, s.number(), uint64(s.n(20)), 1024+uint64(s.n(20)))
}

// step makes one call, or ends one that sleeps.
func (s *storm) step() {
	live := s.first.Guests()
	if len(live) == 0 {
		return
	}
	g := live[s.n(len(live))]
	g.Machine.Signals()
	if p := s.parked[g]; p != nil {
		s.release(g, p)
		return
	}
	row := s.rows[s.n(len(s.rows))]
	if s.n(4) > 0 { // more of the calls that hold something
		row = s.rows[s.n(len(s.rows))]
	}
	s.fill(g)
	var args []any
	for i, kind := range strings.Fields(row.Args) {
		args = append(args, s.argument(g, kind, i))
	}
	s.call(g, row.Name, args)
}

func (s *storm) release(g *Guest, p *Started) {
	if p.Done() {
		delete(s.parked, g)
	} else if s.n(2) == 0 {
		_ = g.Machine.Signal(emulate.Signal{Number: int(unix.SIGKILL)}, false)
		if p.Done() {
			delete(s.parked, g)
		}
		g.Machine.Signals()
	} else if s.n(10) == 0 && g != s.first {
		g.Exit(0)
		delete(s.parked, g)
	}
}

func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func allocated() uint64 {
	m := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(m)
	return m[0].Value.Uint64()
}

// call makes a call and looks what it cost.
func (s *storm) call(g *Guest, name string, args []any) {
	what := fmt.Sprintf("%s(%#x) by %d", name, args, g.Task.TID)
	s.doing.Store(&what)
	s.since.Store(time.Now().UnixNano())
	bytes, start := allocated(), threadTime()
	p := g.Start(name, args...)
	took, bytes := threadTime()-start, allocated()-bytes
	s.since.Store(0)
	if took > stormTime {
		s.t.Errorf("%s takes %v", what, took)
	}
	if bytes > stormAlloc {
		s.t.Errorf("%s allocates %d MiB", what, bytes>>20)
	}
	if !p.Done() {
		s.parked[g] = p
	} else if _, errno := p.Wait(); errno == unix.EIO {
		s.t.Logf("%s: EIO", what)
	}
}

// watch ends the test, with every stack, if a call does not come back.
func (s *storm) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Second):
				if at := s.since.Load(); at != 0 && time.Since(time.Unix(0, at)) > 30*time.Second {
					panic("the warden hangs in " + *s.doing.Load())
				}
			}
		}
	}()
	return func() { close(done) }
}

func openFiles(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// given is a source of the numbers in left, and then of others: package rand
// asks again while it does not like what it gets.
type given struct {
	left []byte
	rest *rand.PCG
}

func (p *given) Uint64() (n uint64) {
	if len(p.left) < 8 {
		p.left = nil
		return p.rest.Uint64()
	}
	n, p.left = binary.LittleEndian.Uint64(p.left), p.left[8:]
	return n
}

// FuzzCalls is TestStorm with the numbers chosen by the fuzzer.
func FuzzCalls(f *testing.F) {
	for seed := range uint64(4) {
		rng := rand.NewPCG(seed, 2)
		var p []byte
		for range 2000 {
			p = binary.LittleEndian.AppendUint64(p, rng.Uint64())
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		runtime.LockOSThread()
		t.Cleanup(runtime.UnlockOSThread) // after the storm's own
		src := &given{p, rand.NewPCG(0, 3)}
		s := newStorm(t, src)
		defer s.watch()()
		for n := 0; n < 500 && len(src.left) > 0; n++ {
			s.step()
		}
	})
}

// TestStorm: no arguments of any call make the warden panic, hang, grow or keep
// descriptors.
func TestStorm(t *testing.T) {
	calls, seeds := 3000, uint64(3)
	if n := os.Getenv("OUBLIETTE_STORM"); n != "" {
		_, _ = fmt.Sscan(n, &seeds)
	}
	from := uint64(0)
	_, _ = fmt.Sscan(os.Getenv("OUBLIETTE_STORM_FROM"), &from)
	newStorm(t, rand.NewPCG(0, 0)) // what the runtime opens once
	before := openFiles(t)
	for seed := range seeds {
		t.Run(fmt.Sprint(from+seed), func(t *testing.T) {
			runtime.LockOSThread()            // for threadTime
			t.Cleanup(runtime.UnlockOSThread) // after the storm's own
			s := newStorm(t, rand.NewPCG(from+seed, 1))
			defer s.watch()()
			for range calls {
				s.step()
			}
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > stormHeap {
				t.Errorf("%d MiB are held", m.HeapAlloc>>20)
			}
			for _, g := range s.first.Guests() {
				g.Exit(0)
			}
		})
	}
	runtime.GC()
	for range 50 {
		if openFiles(t) <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d host descriptors are left, %d before", openFiles(t), before)
}
