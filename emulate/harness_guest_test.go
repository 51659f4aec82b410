//go:build linux

package emulate_test

import (
	"encoding/binary"
	"iter"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/sysno"
)

// stuck is how long Call waits for a parked call before the test fails.
const stuck = 20 * time.Second

// world is what the guests of one test share: the System and its Host.
type world struct {
	t        testing.TB
	sys      *emulate.System
	handlers map[string]emulate.Handler
	guests   map[int]*Guest
	machines []*Machine
	rng      uint64
	timers   int // that were started

	mu     sync.Mutex
	posted []func()
	bell   chan struct{}
}

// The harness runs the emulated kernel without a guest process, for tests.
//
// [NewGuest] gives a [Guest]: a task of an emulated system whose memory is a few byte
// slices and whose root is a file system in memory. Its Call makes a system call
// and waits for the answer; Start makes one that may park:
//
//	g := NewGuest(t)
//	fd, errno := g.Call("openat", unix.AT_FDCWD, "/file", unix.O_CREAT|unix.O_RDWR, 0o644)
//	n, errno := g.Call("write", fd, []byte("hello"), 5)
//
// Arguments may be integers, strings (a path, NUL behind it), byte slices and
// pointers to fixed-size structures (copied in and out), [Iov] and [Edge]. Every
// buffer lies between '?' bytes that are checked after the call.
//
// [Twin] runs one script of calls on the real kernel and on the emulated one and
// compares what they say.

// Guest is one task and the calls it makes.
type Guest struct {
	Task    *emulate.Task
	Machine *Machine
	Sys     *emulate.System
	Mem     *vfs.Mem     // the root file system
	Arena   *arena.Arena // where Mem's files are mapped from

	world *world
}

// NewGuest makes a system with an empty file system in memory at "/" (which is also
// the working directory), and task 1 with the identity of the test and the umask
// 022. Everything ends with the test.
func NewGuest(t testing.TB) *Guest {
	w := &world{t: t, handlers: make(map[string]emulate.Handler), guests: make(map[int]*Guest),
		bell: make(chan struct{}, 1), rng: 1}
	for _, r := range emulate.Calls() {
		w.handlers[r.Name] = r.Do
	}
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	a, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	mem := vfs.NewMem(vfs.MemOptions{Owner: vfs.Owner{UID: uid, GID: gid}})
	if err := mem.UseArena(a); err != nil {
		t.Fatal(err)
	}
	w.sys = &emulate.System{Host: host{w}, FS: vfs.NewNamespace(mem.Root()), Hostname: "jail", CPUs: 2, Shm: mem,
		Handlers: make(map[int]emulate.Handler)}
	for name, do := range w.handlers {
		if nr, ok := sysno.Number(name); ok && do != nil {
			w.sys.Handlers[nr] = do
		}
	}
	cred := emulate.Cred{RUID: uid, EUID: uid, SUID: uid, FSUID: uid, RGID: gid, EGID: gid, SGID: gid, FSGID: gid}
	task := w.sys.NewInit(w.sys.FS.Root(), cred, fdtable.NewTable(nil))
	task.Comm = "test"
	for i := range task.Process.Rlimits {
		task.Process.Rlimits[i] = unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	}
	task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1024, Max: 4096}
	m := &Machine{Memory: newMemory(), world: w, task: task}
	task.Machine = m
	g := &Guest{Task: task, Machine: m, Sys: w.sys, Mem: mem, Arena: a, world: w}
	w.guests[task.TID] = g
	w.machines = []*Machine{m}
	t.Cleanup(w.end)
	return g
}

// end kills what still runs, and waits for what [emulate.Call.Go] has running: fsync(2)
// of a host file holds its descriptor as long as the disk takes.
func (w *world) end() {
	for _, m := range w.machines {
		m.gone = true
	}
	deadline := time.After(stuck)
	for w.pump(); w.sys.Away > 0; w.pump() {
		select {
		case <-w.bell:
		case <-deadline:
			w.t.Fatalf("%d functions of Call.Go do not return", w.sys.Away)
		}
	}
	for _, m := range w.machines {
		m.check(w.t, "end of test")
	}
}

// Fork gives the guest of a new process, a child of g's.
func (g *Guest) Fork() *Guest { return g.child("fork") }

// Thread gives the guest of a new thread that shares everything.
func (g *Guest) Thread() *Guest {
	return g.child("clone", unix.CLONE_VM|unix.CLONE_FS|unix.CLONE_FILES|unix.CLONE_SIGHAND|unix.CLONE_THREAD, 0, 0, 0, 0)
}

func (g *Guest) child(name string, args ...any) *Guest {
	g.world.t.Helper()
	tid, errno := g.Call(name, args...)
	if errno != 0 {
		g.world.t.Fatalf("%s: %v", name, errno)
	}
	n := g.world.guests[int(tid)]
	n.Mem, n.Arena = g.Mem, g.Arena
	return n
}

// Exit ends the task as if its thread had died.
func (g *Guest) Exit(status unix.WaitStatus) {
	g.Machine.gone = true
	g.world.pump()
	g.Sys.ExitTask(g.Task, status, emulate.Usage{})
	g.world.pump()
}

// Started is a call under way.
type Started struct {
	g             *Guest
	name          string
	ret           uint64
	err           error
	done          bool
	interruptible bool
	yield         func(struct{}) bool
	next          func() (struct{}, bool)
	after         []func() // copies out
	buffers       []buffer // of its arguments
}

// NewCall builds a call of the task. Its arguments are as Call's; after must be
// run to copy results out.
func (g *Guest) NewCall(name string, args ...any) (c *emulate.Call, after []func()) {
	g.world.t.Helper()
	if len(args) > 6 {
		g.world.t.Fatalf("%s: more than six arguments", name)
	}
	nr, _ := sysno.Number(name)
	c = &emulate.Call{Task: g.Task, Sys: g.Sys, Nr: nr}
	for i, a := range args {
		v, out := g.marshal(a)
		c.Args[i] = v
		if out != nil {
			after = append(after, out)
		}
	}
	return c, after
}

// Handler is what answers the named call.
func (g *Guest) Handler(name string) emulate.Handler {
	g.world.t.Helper()
	h, ok := g.world.handlers[name]
	if !ok {
		g.world.t.Fatalf("the table has no call %q", name)
	}
	if h == nil {
		return func(*emulate.Call) (uint64, error) { return 0, unix.ENOSYS }
	}
	return h
}

// Direct makes a call that cannot park, without a coroutine around it.
func (g *Guest) Direct(c *emulate.Call, h emulate.Handler) (uint64, error) {
	g.Sys.Current = g.Task
	return h(c)
}

// Start makes a call and returns when it is done or parked.
func (g *Guest) Start(name string, args ...any) *Started {
	g.world.t.Helper()
	m := g.Machine
	if m.call != nil {
		g.world.t.Fatalf("%s while the task is in %s: use another Thread", name, m.call.name)
	}
	h := g.Handler(name)
	before := len(m.buffers)
	c, after := g.NewCall(name, args...)
	s := &Started{g: g, name: name, after: after, buffers: slices.Clone(m.buffers[before:])}
	s.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		s.yield = yield
		s.ret, s.err = h(c)
	})
	m.call, m.woken = s, true
	g.world.pump()
	return s
}

// Done reports whether the call is done, after running what can run.
func (s *Started) Done() bool {
	s.g.world.pump()
	return s.done
}

// Wait waits until the call is done and returns its result. A restart code comes
// out as the errno it is; of a task that was killed the errno is ESRCH.
func (s *Started) Wait() (uint64, unix.Errno) {
	s.g.world.t.Helper()
	deadline := time.NewTimer(stuck)
	defer deadline.Stop()
	for !s.Done() {
		select {
		case <-s.g.world.bell:
		case <-deadline.C:
			s.g.world.t.Fatalf("%s still sleeps", s.name)
		}
	}
	if s.err == nil {
		return s.ret, 0
	}
	if s.err == emulate.ErrGone {
		return 0, unix.ESRCH
	}
	errno, ok := emulate.Errno(s.err)
	if !ok {
		s.g.world.t.Errorf("%s: no errno for %v", s.name, s.err)
	}
	return 0, errno
}

// Call makes a call and waits for its result, as Start and Wait.
func (g *Guest) Call(name string, args ...any) (uint64, unix.Errno) {
	g.world.t.Helper()
	return g.Start(name, args...).Wait()
}

// Must is Call that fails the test on an error.
func (g *Guest) Must(name string, args ...any) uint64 {
	g.world.t.Helper()
	n, errno := g.Call(name, args...)
	if errno != 0 {
		g.world.t.Fatalf("%s%v: %v", name, args, errno)
	}
	return n
}

// pump runs what was posted and what can go on, until nothing moves.
func (w *world) pump() {
	for moved := true; moved; {
		moved = false
		w.mu.Lock()
		posted := w.posted
		w.posted = nil
		w.mu.Unlock()
		for _, fn := range posted {
			fn()
			moved = true
		}
		for i := 0; i < len(w.machines); i++ { // a call may add machines
			moved = w.machines[i].step() || moved
		}
	}
}

// step goes on with the machine's call if it can.
func (m *Machine) step() bool {
	s := m.call
	if s == nil || !(m.woken || m.gone || s.interruptible && m.due()) {
		return false
	}
	if s.yield == nil { // not begun
		m.woken = false
	}
	m.world.sys.Current = m.task
	if _, parked := s.next(); parked {
		return true
	}
	m.call, s.done = nil, true
	for _, out := range s.after {
		out()
	}
	m.check(m.world.t, s.name)
	m.buffers = slices.DeleteFunc(m.buffers, func(b buffer) bool { return slices.Contains(s.buffers, b) })
	return true
}

// host is the emulate.Host: real time, and random numbers that repeat.
type host struct{ w *world }

func (h host) Post(fn func()) {
	h.w.mu.Lock()
	h.w.posted = append(h.w.posted, fn)
	h.w.mu.Unlock()
	select {
	case h.w.bell <- struct{}{}:
	default:
	}
}

func (h host) AfterFunc(d time.Duration, fn func()) func() {
	h.w.timers++
	stopped := false // warden's thread only
	timer := time.AfterFunc(d, func() {
		h.Post(func() {
			if !stopped {
				fn()
			}
		})
	})
	return func() {
		stopped = true
		timer.Stop()
	}
}

func (h host) Gettime(clock int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, err
	}
	return ts.Nano(), nil
}

func (h host) Random(p []byte) {
	for i := range p {
		h.w.rng = h.w.rng*6364136223846793005 + 1442695040888963407
		p[i] = byte(h.w.rng >> 56)
	}
}

func (h host) Warn(msg, call string, err error) { h.w.t.Errorf("warning: %s: %s: %v", call, msg, err) }

func (h host) Kill(reason error) {
	for _, m := range h.w.machines {
		m.gone = true
	}
}

// Iov is an array of struct iovec over buffers, as readv takes it.
type Iov [][]byte

// Edge is a buffer behind which no memory is mapped.
type Edge []byte

// FD is a descriptor. Transcripts do not show its number.
type FD uint64

// Argument is an argument of several buffers that point to each other. put copies
// one to the guest's memory and gives its address and a way to read it again.
// Marshal returns the argument and what is to be done after the call.
type Argument interface {
	Marshal(put func(p []byte) (addr uint64, get func() []byte)) (v uint64, after func())
}

// Bad is an address where nothing is mapped.
const Bad uint64 = 0x1000

// marshal puts an argument in guest memory if it is not a number. out copies
// what the call has written back.
func (g *Guest) marshal(a any) (v uint64, out func()) {
	m := g.Machine.Memory
	back := func(addr uint64, p []byte) func() {
		return func() { copy(p, m.Bytes(addr, uint64(len(p)))) }
	}
	put := func(p []byte) uint64 {
		addr := m.Alloc(uint64(len(p)))
		m.poke(addr, p)
		return addr
	}
	switch a := a.(type) {
	case nil:
		return 0, nil
	case string:
		return put(append([]byte(a), 0)), nil
	case []byte:
		addr := put(a)
		return addr, back(addr, a)
	case Edge:
		addr := m.AllocEdge(uint64(len(a)))
		m.poke(addr, a)
		return addr, back(addr, a)
	case Argument:
		return a.Marshal(func(p []byte) (uint64, func() []byte) {
			addr := put(p)
			return addr, func() []byte { return m.Bytes(addr, uint64(len(p))) }
		})
	case Iov:
		var outs []func()
		var iov []byte
		for _, p := range a {
			addr := put(p)
			outs = append(outs, back(addr, p))
			iov = binary.LittleEndian.AppendUint64(iov, addr)
			iov = binary.LittleEndian.AppendUint64(iov, uint64(len(p)))
		}
		return put(iov), func() {
			for _, out := range outs {
				out()
			}
		}
	}
	if n, ok := integer(a); ok {
		return n, nil
	}
	p, err := binary.Append(nil, binary.LittleEndian, a)
	if err != nil || reflect.TypeOf(a).Kind() != reflect.Pointer {
		g.world.t.Fatalf("argument of type %T: %v", a, err)
	}
	addr := put(p)
	return addr, func() {
		if _, err := binary.Decode(m.Bytes(addr, uint64(len(p))), binary.LittleEndian, a); err != nil {
			g.world.t.Errorf("%T: %v", a, err)
		}
	}
}

// integer is an integer of any type as a register holds it.
func integer(a any) (uint64, bool) {
	switch v := reflect.ValueOf(a); {
	case v.CanInt():
		return uint64(v.Int()), true
	case v.CanUint():
		return v.Uint(), true
	}
	return 0, false
}

// WriteFile makes a file in the guest's tree.
func (g *Guest) WriteFile(path, data string) {
	g.world.t.Helper()
	fd := g.Must("openat", unix.AT_FDCWD, path, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, 0o644)
	if n := g.Must("write", fd, []byte(data), len(data)); n != uint64(len(data)) {
		g.world.t.Fatalf("%s: wrote %d of %d bytes", path, n, len(data))
	}
	g.Must("close", fd)
}

// ReadFile reads a file of the guest's tree.
func (g *Guest) ReadFile(path string) string {
	g.world.t.Helper()
	fd := g.Must("openat", unix.AT_FDCWD, path, unix.O_RDONLY, 0)
	defer g.Must("close", fd)
	var all []byte
	for {
		p := make([]byte, 64<<10)
		n := g.Must("read", fd, p, len(p))
		if n == 0 {
			return string(all)
		}
		all = append(all, p[:n]...)
	}
}

// Guests are the tasks that are alive, in order of their thread ids.
func (g *Guest) Guests() []*Guest {
	var live []*Guest
	for _, tid := range slices.Sorted(maps.Keys(g.world.guests)) {
		if o := g.world.guests[tid]; !o.Machine.gone {
			live = append(live, o)
		}
	}
	return live
}
