//go:build linux && amd64

package jail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/internal/arena"
	"oubliette/internal/ptrace"
	"oubliette/internal/sysno"
	"oubliette/policy"
)

// warden traces one jail. One goroutine, locked to one OS thread, owns all of
// it but the mailbox: it makes every ptrace request and every wait and runs every
// handler, so nothing here is locked.
type warden struct {
	proc   *Process
	sys    *emulate.System
	tape   *tape // nil: neither recorded nor a replay
	policy *policy.Policy
	calls  *calls
	log    *zap.Logger
	audits audits
	stats  [maxCalls]CallStats

	pgid    int // host process group of all guests and the bell, which keeps it alive; 0 none yet
	box     mailbox
	threads map[int]*thread   // by host tid
	early   map[int]earlyStop // stops of threads not yet adopted
	loading map[int]*newImage // processes being filled
	execs   int               // load is at work on
	backlog []stopEvent       // taken from wait4, not yet dispatched
	// doomed are being killed and their end is nobody's news; but of what a
	// process was before execve its times are.
	doomed  map[int]*emulate.Process
	late    map[*emulate.Process][]func() // to do after that, see afterOld
	exits   map[int]*groupExit            // by tgid
	steps   uint64                        // coroutines resumed, and processes killed
	ready   []*thread                     // parked threads to resume
	signals signalInfos
	sent    int // signals, counted
	pin     pinning
	init    *emulate.Task
	logged  map[string]int

	learn       *learning // Jail.Learn, nil without
	refused     *refusals // Jail.Refused, nil without
	parts       *parts
	walls       *walls
	arena       *arena.Arena // of this jail's in-memory files
	arenaRead   *os.File
	disk        vfs.Quota // policy.Limits.Disk and Inodes over all in-memory files
	meters      meters
	streams     streams
	outside     *outside         // nil: there is none
	terminal    *terminal        // Jail.Terminal, nil without
	clock       func() time.Time // nil: the host's
	virtual     *virtualClock    // nil: clock, or the host one
	turns       *turns           // of the guest threads, under virtual; nil: they run as they like
	random      io.Reader
	seeded      bool
	hostLimits  [16]unix.Rlimit
	hostFiles   unix.Rlimit
	hostIgnored uint64
	hostNice    int
	inherited   inherited

	told map[string]func(outcome) // doors of what the caller says

	loaded func(error)   // tells Spawn, once
	asleep chan struct{} // see lookAtLimits; nil if nobody waits for it
	ended  bool          // every guest is being killed
	err    error         // why, for Wait; nil is the end of task 1
	status unix.WaitStatus
	usage  unix.Rusage
}

// run is the warden's goroutine: from the first process to the last.
func (w *warden) run(start func() error) {
	runtime.LockOSThread()
	defer close(w.proc.ended)
	defer runtime.UnlockOSThread()
	w.pinAll() // loading stops often
	w.guard(func() {
		if err := start(); err != nil {
			w.fail(err)
		}
	})
	if w.err != nil {
		w.loaded(w.err) // what came first
	}
	w.loop()
	w.close()
	w.meters.wall.most(int64(time.Since(w.meters.since)))
	w.closeAudit()
	w.loaded(w.err)
}

// loop runs until no guest is left.
func (w *warden) loop() {
	for {
		for _, fn := range w.box.take() {
			w.guard(fn)
		}
		for len(w.ready) > 0 {
			t := w.ready[0]
			w.ready = w.ready[1:]
			t.queued = false
			w.resume(t)
		}
		if len(w.backlog) > 0 {
			e := w.backlog[0]
			w.backlog = w.backlog[1:]
			w.usage = e.usage
			w.dispatch(e.tid, e.status)
			continue
		}
		if len(w.threads) == 0 && len(w.doomed) == 0 && len(w.loading) == 0 {
			return
		}
		if w.turns != nil {
			quiet := w.quiet()
			switch {
			case w.tape.deliver(quiet):
				continue
			case !quiet:
				w.watchOver()
			case w.turn():
				w.tape.step()
				continue
			default:
				w.tape.stand()
			}
		}
		if !w.box.sleep() {
			w.fetch() // a call that takes long, or timers, may post without end
			continue
		}
		tid, ws, err := ptrace.Wait(w.pgid, 0, &w.usage)
		if err != nil { // ECHILD: all are gone, even those we thought alive
			w.fail(&Error{Op: "wait4", Err: err})
			w.abandon()
			return
		}
		w.gather()
		w.dispatch(tid, ws)
	}
}

// guard runs what may call the embedder's code; its panic is the jail's end, not the
// host's.
func (w *warden) guard(fn func()) {
	defer func() {
		if r := recover(); r != nil {
			w.fail(&Error{Op: "post", Err: fmt.Errorf("panic: %v", r)})
		}
	}()
	fn()
}

// dispatch gives a status to the thread it belongs to.
func (w *warden) dispatch(tid int, ws unix.WaitStatus) {
	if int(ws>>16) == unix.PTRACE_EVENT_EXIT {
		w.atLastStop(tid)
		return
	}
	if n := w.loading[tid]; n != nil {
		n.status, n.stopped = ws, true
		w.resume(n.owner)
		return
	}
	t := w.threads[tid]
	switch {
	case t == nil && tid == w.box.bell:
		w.bellStopped(ws)
		return
	case t == nil:
		w.unknown(tid, ws)
		return
	}
	if ws.Exited() || ws.Signaled() {
		t.ends()
	}
	if w.turns != nil && w.turns.arrived(t, stopEvent{tid, ws, w.usage}) {
		return
	}
	w.give(t, ws)
}

// give lets a thread's coroutine see its host thread's status.
func (w *warden) give(t *thread, ws unix.WaitStatus) {
	t.status, t.stopped = ws, true
	if ws.Exited() || ws.Signaled() {
		t.dead, t.reaped = true, true
	}
	w.resume(t)
}

// unknown handles the status of a host thread that is no guest thread, or not yet.
func (w *warden) unknown(tid int, ws unix.WaitStatus) {
	if _, ok := w.doomed[tid]; !ok && w.box.bell == 0 && !w.ended {
		if err := w.bellBorn(tid, ws); err != nil {
			w.fail(err)
		}
		return
	}
	if ws.Exited() || ws.Signaled() {
		p := w.doomed[tid]
		if u := usage(&w.usage); p != nil {
			p.UsedBefore(u)
			w.meters.past += u.User + u.System
		}
		delete(w.doomed, tid)
		delete(w.early, tid)
		w.oldReaped(p)
		return
	}
	if _, ok := w.doomed[tid]; ok {
		_ = ptrace.Cont(tid, 0)
		return
	}
	var regs ptrace.Regs
	_ = ptrace.GetRegs(tid, &regs) // gone: of nobody's
	parent := int(regs.R9)         // see Clone
	w.early[tid] = earlyStop{ws, parent}
	if t := w.threads[parent]; w.ended || t == nil || !t.cloning {
		w.disown(parent)
	}
}

// earlyStop is a stop of a thread whose parent has not told of it yet.
type earlyStop struct {
	status unix.WaitStatus
	parent int // its tid
}

// disown kills the children that a thread never told of.
func (w *warden) disown(parent int) {
	for tid, e := range w.early {
		if e.parent == parent {
			_ = unix.Kill(tid, unix.SIGKILL)
			w.doomed[tid] = nil
			delete(w.early, tid)
		}
	}
}

// resume switches into a thread's coroutine until it gives the warden back.
// What panics after the coroutine's own recover, at the task's end, is the jail's
// end.
func (w *warden) resume(t *thread) {
	defer func() {
		if r := recover(); r != nil {
			w.fail(&Error{Op: "exit", Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())})
		}
	}()
	if w.asleep != nil {
		close(w.asleep)
		w.asleep = nil
	}
	w.steps++
	t.next()
	if w.turns != nil {
		w.turns.since = time.Now() // the kernel has had nothing to tell in the time that took
	}
}

// abandon unwinds the coroutines of threads that vanished.
func (w *warden) abandon() {
	for tid, t := range w.threads {
		t.dead = true
		t.stop()
		delete(w.threads, tid)
	}
	clear(w.doomed)
	for p := range w.late {
		w.oldReaped(p)
	}
}

// fail ends the jail with err as what Wait returns, unless it ends already.
func (w *warden) fail(err error) {
	if !w.ended {
		w.err = err
	}
	w.killAll()
}

// openDoors makes the ways in of what the caller, or a limit, says to the jail.
func (w *warden) openDoors() {
	w.told = make(map[string]func(outcome))
	for what, enter := range map[string]func(outcome){
		"signal": func(o outcome) { w.signalInit(unix.Signal(o.N)) },
		"group signal": func(o outcome) {
			_ = w.sys.SignalGroup(1, emulate.Signal{Number: int(o.N), Code: siKernel}) // ESRCH: all have left it
		},
		"kill":  func(outcome) { w.fail(errKilled) },
		"limit": w.limited,
	} {
		door := w.tape.door(w, what, enter)
		w.told[what] = door
		if w.tape != nil && urgent(what) {
			w.told[what] = func(o outcome) {
				w.tape.halted.Store(true)
				if door(o); w.tape.replays() { // which ends by these too
					w.box.post(func() { enter(o) })
				}
			}
		}
	}
}

// killAll kills every guest. Threads that appear later are killed as they do.
func (w *warden) killAll() {
	w.ended = true
	for _, g := range w.exits {
		g.letGo() // one that dies takes no signal any more
	}
	clear(w.exits)
	for _, t := range w.threads {
		t.kill()
	}
	for tid := range w.loading {
		_ = unix.Kill(tid, unix.SIGKILL)
	}
	for tid := range w.early {
		_ = unix.Kill(tid, unix.SIGKILL)
		w.doomed[tid] = nil
		delete(w.early, tid)
	}
}

// usage is u as the emulated kernel has it.
func usage(u *unix.Rusage) emulate.Usage {
	return emulate.Usage{
		User:   time.Duration(u.Utime.Nano()),
		System: time.Duration(u.Stime.Nano()),
		MaxRSS: u.Maxrss, MinorFaults: u.Minflt, MajorFaults: u.Majflt,
		VoluntarySwitches: u.Nvcsw, InvoluntarySwitches: u.Nivcsw,
	}
}

// exitTask takes note of a thread's end.
func (w *warden) exitTask(t *thread) {
	ws, u := t.status, usage(&w.usage)
	w.afterOld(t.task.Process, func() { w.endTask(t, ws, u) })
}

// endTask is exitTask when nothing of what the process was is left.
func (w *warden) endTask(t *thread, ws unix.WaitStatus, u emulate.Usage) {
	if t.tid == t.tgid && w.sys.Task(t.task.TID) != t.task { // a leader while another thread called execve
		t.task.Process.UsedBefore(u)
	}
	w.meters.ended(t, u)
	delete(w.meters.growth.brk, t.task.Process) // or of one of several threads, then it is looked once more
	if t.task.Process.PID == 1 && t.task == w.sys.Task(t.task.TID) {
		w.status = ws
	}
	if ws.Signaled() && ws.Signal() == unix.SIGSYS && !t.sigsys {
		v := &Violation{Call: "a call of another ABI (int 0x80)", PID: t.task.Process.PID, Rule: "the filter kills foreign architectures"}
		w.record(policy.AuditViolation, "violation", t, func() []zap.Field {
			return []zap.Field{zap.String("call", v.Call), zap.String("rule", v.Rule)}
		})
		w.fail(v)
	}
	w.sys.ExitTask(t.task, ws, u)
}

// close gives back what the warden holds once no guest is left. The tree stays
// readable.
func (w *warden) close() {
	w.learn.finish()
	w.refused.finish()
	w.tape.end()
	w.endTurns()
	w.outside.close() // before the mailbox
	w.terminal.close()
	w.settle()
	w.killBell()
	w.pin.restore()
	w.guard(func() {
		if w.sys.FS == nil {
			return
		}
		if err := errors.Join(w.sys.FS.UseArenas(nil, nil), w.sys.FS.Close()); err != nil {
			w.warn("the guest's tree is not whole after the end", "close", err)
		}
	})
	w.reapBell() // last: it has been dying meanwhile
	w.reapAll()
	w.discard()
}

// settle waits for what Call.Go has running, but not for ever: an fsync(2) of a slow
// disk holds a descriptor.
func (w *warden) settle() {
	for end := time.Now().Add(w.patience(flushTime)); w.sys.Away > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, fn := range w.box.take() {
			w.guard(fn)
		}
	}
}

// callName is a call's name, or its number.
func (w *warden) callName(nr int) string {
	if name := sysno.Name(nr); name != "" {
		return name
	}
	return fmt.Sprintf("syscall %d", nr)
}

// warn logs what an operator should see.
func (w *warden) warn(msg, call string, err error) {
	if os.Getenv("OUBLIETTE_STRICT") == "1" {
		w.fail(&Error{Op: call, Err: fmt.Errorf("%s: %w", msg, err)})
	}
	if ce := w.log.Check(zap.WarnLevel, msg); ce != nil {
		ce.Write(zap.String("call", call), zap.Error(err))
	}
}

// account adds to the statistics and tells the trace hook, that d of the guest's time.
func (w *warden) account(t *thread, nr int, result uint64, err error, spent, d time.Duration) {
	if uint(nr) >= maxCalls {
		return
	}
	s := &w.stats[nr]
	s.Stops++
	s.Time += spent
	if err == nil && w.calls.rows[nr].moves {
		s.Bytes += int64(result)
	}
	if w.proc.trace != nil {
		w.proc.trace(w.traceEvent(t, nr, result, err, d))
	}
}
