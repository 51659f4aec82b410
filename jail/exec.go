//go:build linux && amd64

package jail

import (
	"encoding/binary"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/loader"
	"oubliette/internal/ptrace"
	"oubliette/internal/stub"
)

// Descriptors of the arenas in every guest process, by fdtable.Arena: at the
// usual soft limit, where a call that was let through by mistake does not look.
var arenaFDs = [3]int{1021, 1022, 1023}

// running is the status of a process that was not waited for yet: 0 would be its
// exit.
const running = unix.WaitStatus(0xffff)

// maxPending bounds the signals that a guest may have queued.
const maxPending = 4096

// options are what a guest is traced with.
const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP |
	unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK

// newImage is a process being loaded. Its stops go to the coroutine that loads.
type newImage struct {
	owner   *thread
	tid     int
	status  unix.WaitStatus
	stopped bool
	regs    ptrace.Regs
	walls   []wallCall
	stack   []byte        // as the kernel has built it for the stub
	place   *loader.Stack // nil: the guest has that one
}

// Exec replaces the process by a fresh stub running r: the kernel never sees a
// path, a file or an argument of the guest's own execve, so nothing can change
// under it. A bad program is an honest errno, for the old image lives until the
// end.
func (t *thread) Exec(r emulate.ExecRequest) error {
	state, err := t.SignalState()
	if err != nil {
		return err
	}
	err = t.load(r, state)
	t.w.auditExec(t, r, err)
	return err
}

// load runs r in a fresh stub and makes t its thread.
func (t *thread) load(r emulate.ExecRequest, state emulate.SignalState) error {
	w, sent := t.w, t.w.sent
	w.execs++
	defer func() { w.execs-- }()
	entries := make(map[string]*vfs.Dentry)
	var files []io.Closer // until they are mapped, for an open file's place in an arena is its own
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	open := func(path string) (loader.File, error) {
		d, err := r.Open(path)
		if err != nil {
			w.refused.file(t, path, false, false) // an interpreter, maybe
			return nil, err
		}
		f, err := d.Open(unix.O_RDONLY)
		if err != nil {
			return nil, err
		}
		lf, ok := f.(loader.File)
		if !ok {
			_ = f.Close()
			return nil, unix.EACCES
		}
		entries[path], files = d, append(files, f)
		return programFile{lf, w.sys, d}, nil
	}
	im, err := loader.Load(open, r.Path, r.Args, loader.Options{Random: guestRandom{w}, PathInaccessible: r.PathClosed})
	if err != nil {
		return err
	}
	n, err := w.startStub(t, im, r.Env)
	if err != nil {
		return err
	}
	if err := n.fill(im, r, state); err != nil {
		n.discard()
		return err
	}
	if w.ended || t.killed() {
		n.discard()
		return emulate.ErrGone
	}
	if t.tid != 0 && w.sent != sent { // what was sent while the new image was loaded comes along
		if now, err := t.SignalState(); err == nil {
			state.Pending = now.Pending
		}
	}
	t.leaveRobust()
	r.Commit(entries[im.Path], im.Args)
	t.become(n)
	return n.enter(im, state)
}

// programFile tells the emulated kernel what is mapped of a program.
type programFile struct {
	loader.File
	sys *emulate.System
	at  *vfs.Dentry
}

// Close is fdtable.File. load closes what it opened.
func (programFile) Close() error { return nil }

// Map is fdtable.Mapper.
func (f programFile) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	m, err := f.File.Map(off, n, write)
	if err == nil {
		f.sys.NoteMapped(f.at, m)
	}
	return m, err
}

// startStub starts the stub with the guest's arguments and stops it.
func (w *warden) startStub(t *thread, im *loader.Image, env []string) (*newImage, error) {
	path := stub.Path(stubFD, len(im.ExecFn))
	pid, err := syscall.ForkExec(path, im.Args, &syscall.ProcAttr{
		Env:   env,
		Files: w.parts.files(w.arena, w.arenaRead),
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pgid: w.pgid},
	})
	if err != nil {
		if e, ok := err.(syscall.Errno); ok {
			return nil, unix.Errno(e)
		}
		return nil, err
	}
	if w.pgid == 0 {
		w.pgid = pid
	}
	// It has done so itself (EACCES), or was killed before it could: wait4 must
	// find it all the same.
	_ = unix.Setpgid(pid, w.pgid)
	w.pin.join(pid)
	n := &newImage{owner: t, tid: pid, status: running}
	w.loading[pid] = n
	if err := ptrace.Seize(pid, unix.PTRACE_O_EXITKILL); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		n.discard()
		return nil, ptraceRefused(err)
	}
	_ = ptrace.Interrupt(pid)
	if _, err := n.awaitStop(); err != nil {
		n.discard()
		return nil, err
	}
	if err := ptrace.SetOptions(pid, options); err != nil {
		n.discard()
		return nil, gone(err)
	}
	return n, nil
}

// awaitStop sleeps until the new process stops. ErrGone if it died.
func (n *newImage) awaitStop() (unix.WaitStatus, error) {
	for !n.stopped {
		n.owner.toLoop()
	}
	n.stopped = false
	if n.status.Exited() || n.status.Signaled() {
		return n.status, emulate.ErrGone
	}
	return n.status, nil
}

// discard kills a new process that will not be used.
func (n *newImage) discard() {
	w := n.owner.w
	delete(w.loading, n.tid)
	if n.status.Exited() || n.status.Signaled() {
		return
	}
	_ = unix.Kill(n.tid, unix.SIGKILL)
	w.doomed[n.tid] = nil
}

// fill runs the batch that makes the stub's process the guest's: mappings,
// descriptors, identity, limits and last the filter.
func (n *newImage) fill(im *loader.Image, r emulate.ExecRequest, state emulate.SignalState) error {
	w := n.owner.w
	if err := ptrace.GetRegs(n.tid, &n.regs); err != nil {
		return gone(err)
	}
	n.stack = make([]byte, loader.StackSize(len(im.Args), len(r.Env)))
	size, err := ptrace.Read(n.tid, n.stack, n.regs.Rsp)
	if err != nil {
		return gone(err)
	}
	n.stack = n.stack[:size]
	if w.seeded {
		n.place = loader.NewStack(im.Args, r.Env, im.ExecFn, w.inherited.Limits[unix.RLIMIT_STACK].Cur)
		w.sys.Reserved = n.place.Reserved()
	}
	var b stub.Batch
	if err := w.batch(&b, im, n, state); err != nil {
		return err
	}
	if !b.Fits() {
		return unix.ENOMEM
	}
	if _, err := ptrace.Write(n.tid, b.Bytes(), stub.DataAddr); err != nil {
		return gone(err)
	}
	// SIGTRAP is how a failed batch ends.
	if err := ptrace.SetSigMask(n.tid, ^uint64(1<<(unix.SIGTRAP-1))); err != nil {
		return gone(err)
	}
	regs := n.regs
	regs.Rip, regs.Orig_rax = stub.RunAddr, ^uint64(0)
	if err := ptrace.SetRegs(n.tid, &regs); err != nil {
		return gone(err)
	}
	ws := unix.WaitStatus(unix.PTRACE_EVENT_FORK << 16)
	for int(ws>>16) == unix.PTRACE_EVENT_FORK { // the bell's birth
		_ = ptrace.Cont(n.tid, 0)
		var err error
		if ws, err = n.awaitStop(); err != nil {
			return err
		}
	}
	if err := ptrace.GetRegs(n.tid, &n.regs); err != nil {
		return gone(err)
	}
	if int(ws>>16) != unix.PTRACE_EVENT_SECCOMP {
		return n.batchError(&b, ws)
	}
	if err := w.walls.check(&b, n); err != nil {
		return gone(err)
	}
	return n.patchStack(im)
}

// batch lists what the stub does.
func (w *warden) batch(b *stub.Batch, im *loader.Image, n *newImage, state emulate.SignalState) error {
	limits := n.owner.task.Process.Rlimits
	call := func(nr uintptr, args ...uint64) { b.Call(int(nr), args...) }
	limit := func(resource int, l unix.Rlimit) {
		var p [16]byte
		binary.LittleEndian.PutUint64(p[:], l.Cur)
		binary.LittleEndian.PutUint64(p[8:], l.Max)
		call(unix.SYS_PRLIMIT64, 0, uint64(resource), b.Data(p[:]), 0)
	}
	limit(unix.RLIMIT_NOFILE, w.hostFiles)
	for i, fd := range arenaFDs {
		call(unix.SYS_DUP2, uint64(i), uint64(fd))
	}
	if err := batchClose(b, n.tid); err != nil {
		return err
	}
	if w.box.bell == 0 {
		call(unix.SYS_CLONE, unix.CLONE_PARENT|uint64(unix.SIGCHLD), 0, 0, 0, 0)
	}
	sp := n.regs.Rsp
	if n.place != nil {
		most := w.hostLimits[unix.RLIMIT_AS].Max
		limit(unix.RLIMIT_AS, unix.Rlimit{Cur: most, Max: most})
		n.place.Batch(b)
		sp = n.place.SP
	}
	im.Batch(b, arenaFDs)
	if im.ExecStack {
		call(unix.SYS_MPROTECT, sp&^4095, 4096,
			unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC|unix.PROT_GROWSDOWN)
	}
	w.batchSignals(b, state)
	w.walls.early(b, n, w.parts.ids)
	w.parts.ids.batch(b)
	// Pending signals are counted by user: a guest's must leave room for others'.
	pending := min(maxPending, w.hostLimits[unix.RLIMIT_SIGPENDING].Cur)
	limit(unix.RLIMIT_SIGPENDING, unix.Rlimit{Cur: pending, Max: pending})
	for _, r := range []int{unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_STACK, unix.RLIMIT_CPU} {
		if limits[r] != w.hostLimits[r] || r == unix.RLIMIT_CPU && limits[r].Max != unix.RLIM_INFINITY || r == unix.RLIMIT_AS && n.place != nil {
			limit(r, n.left(r, limits[r]))
		}
	}
	if nice := n.owner.task.Attr.Nice; nice > w.hostNice { // a new process has the warden's
		call(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uint64(nice))
	}
	if !w.hostClock() {
		call(unix.SYS_PRCTL, unix.PR_SET_TSC, unix.PR_TSC_SIGSEGV, 0, 0, 0)
	}
	w.walls.late(b, n, w.parts.ids)
	prog := make([]byte, 16)
	binary.LittleEndian.PutUint16(prog, uint16(len(w.calls.filter)/8))
	binary.LittleEndian.PutUint64(prog[8:], b.Data(w.calls.filter))
	call(unix.SYS_SECCOMP, 1 /* SECCOMP_SET_MODE_FILTER */, 0, b.Data(prog))
	return nil
}

// left is a limit of the new process. It starts with no time used, whatever the
// guest's process has used already, and without the address space that is reserved.
func (n *newImage) left(resource int, l unix.Rlimit) unix.Rlimit {
	switch resource {
	case unix.RLIMIT_AS:
		return n.owner.w.sys.WithReserved(l)
	case unix.RLIMIT_CPU:
	default:
		return l
	}
	u, err := n.owner.task.Usage(false)
	if err != nil { // task 1 before its first image
		return l
	}
	used := uint64((u.User + u.System) / time.Second)
	for _, p := range []*uint64{&l.Cur, &l.Max} {
		if *p != unix.RLIM_INFINITY {
			*p -= min(*p, used)
		}
	}
	return l
}

// batchSignals makes the stub ignore what the guest ignores, and nothing that
// only the caller does.
func (w *warden) batchSignals(b *stub.Batch, state emulate.SignalState) {
	var ignore, normal uint64
	for sig := 1; sig <= 64; sig++ {
		bit := uint64(1) << (sig - 1)
		handler := uint64(0) // SIG_DFL
		if state.Ignored&bit != 0 {
			handler = 1 // SIG_IGN
		}
		if (state.Ignored^w.hostIgnored)&bit == 0 {
			continue
		}
		at := &normal
		if handler == 1 {
			at = &ignore
		}
		if *at == 0 {
			act := make([]byte, 32)
			act[0] = byte(handler)
			*at = b.Data(act)
		}
		b.Add(stub.Entry{Nr: unix.SYS_RT_SIGACTION, Args: [6]uint64{uint64(sig), *at, 0, 8}})
	}
}

// patchStack makes the stack that the kernel built for the stub the guest's.
func (n *newImage) patchStack(im *loader.Image) error {
	w := n.owner.w
	p := im.Patch(n.regs.R15)
	c := n.owner.task.Cred
	p.UID, p.EUID, p.GID, p.EGID = c.RUID, c.EUID, c.RGID, c.EGID
	p.Room = len(im.ExecFn)
	p.HideVDSO = w.sys.HideVDSO
	if w.seeded {
		p.Random = make([]byte, 16)
		w.Random(p.Random)
	}
	writes, err := loader.PatchStack(n.regs.Rsp, n.stack, p)
	if n.place != nil {
		writes = []stub.Write{{Addr: n.place.SP}}
		writes[0].Data, err = n.place.Bytes(n.stack, p)
		n.regs.Rsp = n.place.SP
	}
	if err != nil {
		return &Error{Op: "load", Err: err}
	}
	for _, wr := range writes {
		if _, err := ptrace.Write(n.tid, wr.Data, wr.Addr); err != nil {
			return gone(err)
		}
	}
	return nil
}

// become makes t the thread of the new process; the old one is killed.
func (t *thread) become(n *newImage) {
	w := t.w
	delete(w.loading, n.tid)
	delete(w.threads, t.tid)
	if t.tid != 0 {
		w.doomed[t.tid] = nil
		if t.tgid == t.tid || w.threads[t.tgid] == nil { // or a leader that exited before
			w.doomed[t.tgid] = t.task.Process
		}
		t.kill()
		t.releaseVfork()
		t.arrives()
	}
	t.tid, t.tgid = n.tid, n.tid
	w.threads[t.tid] = t
	t.fresh, t.exited, t.regsOK = true, false, false
	t.lastStops = lastStops{}
	t.waitMask, t.oldMask, t.interrupted, t.maybePending = nil, nil, false, false
}

// enter turns the stub's last pause into the munmap of the stub, behind which
// the program's first instruction stands.
func (n *newImage) enter(im *loader.Image, state emulate.SignalState) error {
	t := n.owner
	regs := ptrace.Regs{Rsp: n.regs.Rsp, Cs: n.regs.Cs, Ss: n.regs.Ss, Ds: n.regs.Ds, Es: n.regs.Es, Fs: n.regs.Fs,
		Gs: n.regs.Gs, Eflags: 0x202, Rip: im.Start(n.regs.R15)}
	ptrace.SetCall(&regs, unix.SYS_MUNMAP, [6]uint64{stub.Base, stub.Size})
	_ = ptrace.SetRegs(t.tid, &regs)
	_ = ptrace.SetSigMask(t.tid, state.Blocked)
	for sig := 1; sig <= 64; sig++ {
		if state.Pending&(1<<(sig-1)) != 0 {
			_ = t.Signal(emulate.Signal{Number: sig}, true)
		}
	}
	t.cont(0)
	return nil
}
