//go:build linux && amd64

package jail

import (
	"errors"
	"fmt"
	"iter"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/fault"
	"oubliette/internal/ptrace"
)

// thread is one guest thread: the ptraced host thread, and the coroutine that
// runs its life as straight-line code on the warden's own thread. Nothing of it
// is touched from any other thread.
type thread struct {
	w         *warden
	tid, tgid int // of the host
	task      *emulate.Task

	// The coroutine. next switches into it, yield back to the warden's loop.
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool

	status  unix.WaitStatus // of the last stop, valid if stopped
	stopped bool            // a status arrived and was not taken
	dead    bool            // status is the last one
	reaped  bool            // its last status was taken, and may wait in w.backlog
	cloning bool            // in Clone, without a child yet
	parked  bool            // the handler sleeps in Park
	queued  bool            // in w.ready
	woken   bool            // Unpark was called
	// interrupted: a signal is due. maybePending: one was sent that may not
	// have been delivered.
	interrupted, maybePending bool
	waitMask                  *uint64
	oldMask                   *uint64          // see mask
	held                      []emulate.Signal // see hold

	call   emulate.Call
	seen   map[uint64]string // call.Seen, if anybody is told of calls
	wrote  []string          // paths that the call has changed, for the audit
	info   ptrace.Info
	exited bool        // the call has been made natively and thread stands at its exit
	regs   ptrace.Regs // at the seccomp stop, valid if regsOK
	regsOK bool
	fresh  bool // execve has replaced the image
	sigsys bool // a SIGSYS was delivered the ordinary way
	// rewound is the restart code of a call that is about to be repeated, 0
	// none; see restart.
	rewound unix.Errno
	lastCPU int
	lastStops

	// Of turns: the signal to go on with, whether the kernel is to tell something,
	// the thread stands in a group-stop, is about to end alone, or sleeps in vfork(2)
	// until its child has gone, whose thread knows it by vforker.
	signal                               int
	moving, listening, leaving, vforking bool
	vforker                              *thread
}

// newThread makes the coroutine of host thread tid and registers it. The body
// starts with the thread's next stop.
func (w *warden) newThread(tid, tgid int, first func(*thread) error) *thread {
	t := &thread{w: w, tid: tid, tgid: tgid}
	if w.proc.trace != nil || w.audits != nil || w.refused != nil {
		t.seen = make(map[uint64]string)
	}
	w.threads[tid] = t
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer t.finished()
		if first != nil {
			if err := first(t); err != nil {
				w.fail(err)
				t.kill()
				t.drain()
				return
			}
		}
		t.live()
	})
	return t
}

// errStopped unwinds a coroutine whose warden is going away.
var errStopped = errors.New("warden stopped")

// finished runs at the end of the coroutine, however it came.
func (t *thread) finished() {
	if r := recover(); r != nil && r != errStopped {
		t.w.fail(&Error{Op: "handler", Err: fmt.Errorf("panic in %s: %v\n%s", t.w.callName(t.call.Nr), r, debug.Stack())})
		t.kill()
		if !t.dead {
			t.w.doomed[t.tid] = nil
		}
	}
	if t.w.threads[t.tid] == t {
		delete(t.w.threads, t.tid)
	}
	if t.task != nil {
		t.w.exitTask(t)
	}
}

// toLoop gives the warden's thread back to the loop until something resumes t.
func (t *thread) toLoop() {
	if !t.yield(struct{}{}) {
		panic(errStopped)
	}
}

// awaitStop sleeps until the guest thread stops or dies.
func (t *thread) awaitStop() unix.WaitStatus {
	for !t.stopped && !t.dead {
		t.toLoop()
	}
	t.stopped = false
	return t.status
}

// drain swallows stops until the guest thread has died.
func (t *thread) drain() {
	for !t.dead {
		t.awaitStop()
		if !t.dead {
			t.moves()
			_ = ptrace.Cont(t.tid, 0)
		}
	}
}

// kill ends the guest process that the thread belongs to. A thread that has no
// process yet has tgid 0, which kill(2) would take for the caller's own group; of
// one that was reaped the number may be another's.
func (t *thread) kill() {
	if t.tgid > 0 && !t.dead && !t.reaped {
		_ = unix.Kill(t.tgid, unix.SIGKILL)
		t.w.steps++
		t.w.processMoves(t.tgid)
	}
}

// killed reports that a stopped thread dies: of SIGKILL, or with its process. That is
// known before its status comes.
func (t *thread) killed() bool {
	if t.tid == 0 { // task 1 before its first image
		return t.dead
	}
	return ptrace.Killed(t.tid)
}

// end kills a process whose thread a handler has given up, but not one that dies
// already: while it would dump core, SIGKILL takes the place of the signal that it
// dies of (kernel/signal.c:complete_signal).
func (t *thread) end() {
	if !t.killed() {
		t.kill()
	}
}

// live is the thread's life from its next stop to its death.
func (t *thread) live() {
	for {
		ws := t.awaitStop()
		if t.dead {
			return
		}
		sig, event := ws.StopSignal(), int(ws>>16)
		switch {
		case event == unix.PTRACE_EVENT_SECCOMP:
			t.syscall()
		case event == unix.PTRACE_EVENT_STOP && sig != unix.SIGTRAP:
			t.w.sys.Stopped(t.task.Process, sig)
			t.listening = true
			_ = ptrace.Listen(t.tid)
		case event == unix.PTRACE_EVENT_STOP:
			t.w.sys.Continued(t.task.Process)
			t.cont(0)
		case event == 0 && sig != unix.SIGTRAP|0x80:
			t.deliver(sig)
		default:
			t.cont(0)
		}
	}
}

// resumed continues the guest thread to its next stop and returns that. It
// fails with ErrGone if the thread is dead by then.
func (t *thread) resumed(request func(tid, sig int) error) (unix.WaitStatus, error) {
	if !t.vforking {
		t.moves()
	}
	if !t.exits() {
		_ = request(t.tid, 0) // ESRCH: its death is on the way
	}
	if t.leaving {
		t.left()
	}
	ws := t.awaitStop()
	if t.dead {
		return ws, emulate.ErrGone
	}
	return ws, nil
}

// Park sleeps until Unpark, an interrupting signal or death.
func (t *thread) Park() error { return t.park(true) }

// ParkUninterruptible is Park that no signal ends.
func (t *thread) ParkUninterruptible() error { return t.park(false) }

func (t *thread) park(interruptible bool) error {
	_ = fault.At(fault.Park, t.tid)
	if interruptible && t.maybePending {
		t.lookForSignals()
	}
	for {
		switch {
		case t.dead:
			return emulate.ErrGone
		case t.woken:
			t.woken = false
			return nil
		case interruptible && t.interrupted:
			return emulate.ErrInterrupted
		}
		t.parked = true
		t.toLoop()
		t.parked = false
		t.w.sys.Current = t.task
	}
}

// Unpark makes a parked thread runnable.
func (t *thread) Unpark() {
	t.woken = true
	t.enqueue()
}

func (t *thread) enqueue() {
	if t.parked && !t.queued {
		t.queued = true
		t.w.ready = append(t.w.ready, t)
	}
}

// gone turns ESRCH of a ptrace request into ErrGone.
func gone(err error) error {
	if err == unix.ESRCH {
		return emulate.ErrGone
	}
	return err
}

// ReadMemory copies guest memory to p.
func (t *thread) ReadMemory(p []byte, addr uint64) (int, error) { return t.memory(p, addr, false) }

// WriteMemory copies p to guest memory.
func (t *thread) WriteMemory(p []byte, addr uint64) (int, error) { return t.memory(p, addr, true) }

// memory copies from guest memory or to it, and what the kernel cannot reach by way of
// the file that is mapped there.
func (t *thread) memory(p []byte, addr uint64, write bool) (done int, err error) {
	if t.reaped {
		return 0, emulate.ErrGone // the number may be another's
	}
	vm := ptrace.Read
	if write {
		vm = ptrace.Write
	}
	for {
		n, err := vm(t.tid, p[done:], addr+uint64(done))
		done += n
		if done == len(p) || err != nil && err != unix.EFAULT || t.task == nil {
			if err == unix.EINVAL { // addr+len wraps around
				err = unix.EFAULT
			}
			return done, gone(err)
		}
		reached := t.task.Reach(t.w.sys, p[done:], addr+uint64(done), write)
		if done += reached; reached == 0 || done == len(p) {
			if done > 0 {
				err = nil
			}
			return done, err
		}
	}
}

// Kill ends the process.
func (t *thread) Kill() { t.kill() }
