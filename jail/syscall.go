//go:build linux && amd64

package jail

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/fdtable"
	"oubliette/internal/ptrace"
	"oubliette/policy"
)

// syscall answers the call the thread has stopped at.
func (t *thread) syscall() {
	w := t.w
	if ptrace.SyscallInfo(t.tid, &t.info) != nil || t.info.Op != ptrace.OpSeccomp {
		return // killed: its death is the next status, or the stop before
	}
	t.looked = w.steps
	nr := int(int32(t.info.Nr))
	c := &t.call
	clear(t.seen)
	*c = emulate.Call{Task: t.task, Sys: w.sys, Nr: nr, Args: t.info.Args, Seen: t.seen}
	t.woken, t.exited, t.regsOK, t.fresh, t.leaving = false, false, false, false, nr == unix.SYS_EXIT
	if t.rewound == emulate.ERESTART_RESTARTBLOCK && nr == t.task.Restart.Nr {
		c.Restarted = true // repeated without a signal frame in between
	}
	if t.oldMask != nil && t.unmask() {
		return
	}
	t.rewound = 0
	w.sys.Current = t.task
	began := w.tick(t)
	start := time.Now()
	if w.policy.Limits.Calls > 0 {
		if t.throttle(start) != nil {
			return
		}
		start = time.Now()
	}
	w.stops(start)
	d := w.decide(c)
	if t.again && nr == unix.SYS_RESTART_SYSCALL { // not the guest's wish
		d = policy.Decision{Action: policy.Allow, Rule: -1}
	}
	t.again = false
	result, err := w.answer(t, d)
	if err == nil && w.policy.Limits.Memory > 0 {
		w.grew(t, result)
	}
	if w.audits != nil && uint(nr) < maxCalls {
		w.auditCall(t, d, result, err)
	}
	if t.dead {
		return
	}
	if w.refused != nil && err != nil && uint(nr) < maxCalls {
		w.refused.call(t, d, err)
	}
	spent := time.Since(start)
	took := spent
	if w.virtual != nil {
		took = w.virtual.passed - began
	}
	w.account(t, nr, result, err, spent, took)
	switch err {
	case nil:
		if nr == unix.SYS_BRK && result < c.Args[0] { // which has no errno
			w.full(t, result, unix.ENOMEM)
		}
	case unix.ENOSPC, unix.EMFILE, unix.ENFILE, unix.EAGAIN, unix.ENOMEM:
		w.full(t, result, err)
	}
	t.finish(result, err)
}

// decide finds out what the policy says of a call.
func (w *warden) decide(c *emulate.Call) policy.Decision {
	if uint(c.Nr) >= maxCalls {
		return policy.Decision{Action: policy.Deny, Errno: int(unix.ENOSYS), Rule: -1}
	}
	row := &w.calls.rows[c.Nr]
	if !row.conditional {
		w.learn.call(c, row.decision, row)
		return row.decision
	}
	d := w.calls.table.Lookup(c.Nr, c.Args)
	w.learn.call(c, d, row)
	return d
}

// answer does what was decided.
func (w *warden) answer(t *thread, d policy.Decision) (uint64, error) {
	switch d.Action {
	case policy.Emulate:
		row := &w.calls.rows[t.call.Nr]
		if row.do == nil {
			return 0, unix.ENOSYS
		}
		result, err := row.do(&t.call)
		if v, ok := err.(*Violation); ok {
			w.violate(t, &Violation{Rule: v.Rule})
			return 0, emulate.ErrGone
		}
		return result, err
	case policy.Allow:
		if row := &baseTable().rows[t.call.Nr]; w.turns != nil && row.waits || w.policy.Limits.Memory > 0 && row.grows {
			return row.do(&t.call)
		}
		return 0, emulate.ErrPass
	case policy.Deny:
		return 0, unix.Errno(d.Errno)
	}
	w.violate(t, &Violation{Rule: w.ruleText(d.Rule)})
	return 0, emulate.ErrGone
}

// finish gives the guest its result and lets it run on.
func (t *thread) finish(result uint64, err error) {
	switch {
	case err == nil:
	case err == emulate.ErrGone:
		t.end()
		return
	case err == emulate.ErrPass && !t.exited:
		t.cont(0)
		return
	default:
		errno, ok := emulate.Errno(err)
		if !ok {
			t.w.warn("error without an errno", t.w.callName(t.call.Nr), err)
		}
		restarts := errno >= emulate.ERESTARTSYS && errno <= emulate.ERESTART_RESTARTBLOCK
		if (restarts || errno == unix.EINTR && t.waitMask != nil) && !t.exited {
			t.restart(errno)
			return
		}
		result = -uint64(errno)
	}
	if t.fresh {
		t.fresh = false
		return // execve has set the registers and continued the thread
	}
	if !t.exited {
		_ = ptrace.Skip(t.tid, result)
	} else {
		t.regs.Rax, t.regs.Rip = result, t.info.IP
		_ = ptrace.SetRegs(t.tid, &t.regs)
	}
	t.cont(0)
}

// loadRegs reads the registers at the seccomp stop, once a call.
func (t *thread) loadRegs() error {
	if t.regsOK {
		return nil
	}
	if err := ptrace.GetRegs(t.tid, &t.regs); err != nil {
		return gone(err)
	}
	t.regsOK = true
	return nil
}

// Native makes a call in the guest's thread with the real kernel and leaves the
// thread at that call's exit; finish restores the registers.
func (t *thread) Native(nr int, args [6]uint64) (uint64, error) {
	if err := t.loadRegs(); err != nil {
		return 0, err
	}
	if nr == unix.SYS_MMAP && args[3]&unix.MAP_SHARED != 0 && args[4] == uint64(arenaFDs[fdtable.ArenaOwn]) {
		if err := t.stopAtExit(); err != nil {
			return 0, err
		}
	}
	r := t.regs
	ptrace.SetCall(&r, nr, args)
	if t.exited { // go back onto the syscall instruction
		r.Rip, r.Rax = t.info.IP-syscallSize, uint64(nr)
	}
	if t.exited || nr != t.call.Nr || args != t.call.Args {
		if err := ptrace.SetRegs(t.tid, &r); err != nil {
			return 0, gone(err)
		}
	}
	for {
		ws, err := t.resumed(ptrace.Syscall)
		if err != nil {
			return 0, err
		}
		if ws.StopSignal() != unix.SIGTRAP|0x80 && int(ws>>16) != unix.PTRACE_EVENT_SECCOMP {
			if ws>>16 == 0 { // a signal before the call was entered again: it can wait
				t.hold(ws.StopSignal())
			}
			continue
		}
		var info ptrace.Info
		if err := ptrace.SyscallInfo(t.tid, &info); err != nil {
			return 0, gone(err)
		}
		if info.Op != ptrace.OpExit {
			// Going back onto the syscall instruction runs what lies there now. If
			// another thread has changed it, this is not our call.
			if info.IP != t.info.IP || info.Nr != uint64(nr) || info.Args != args {
				t.kill()
				return 0, emulate.ErrGone
			}
			continue
		}
		t.exited = true
		t.release()
		if e := int64(info.Nr); e < 0 && e >= -4095 {
			return 0, unix.Errno(-e)
		}
		return info.Nr, nil
	}
}

// syscallSize is the length of the syscall instruction.
const syscallSize = 2

// restart stands the thread before its syscall instruction again, so that the
// kernel delivers the signal that interrupted the call; deliver then leaves
// code for the kernel's restart logic. If no signal comes after all, the call
// is simply made again.
func (t *thread) restart(code unix.Errno) {
	t.rewound = code
	t.interrupted = false
	if code == emulate.ERESTART_RESTARTBLOCK {
		t.task.Restart.Nr, t.task.Restart.Args = t.call.Nr, t.call.Args
	}
	if t.waitMask != nil {
		t.mask()
	}
	_ = ptrace.Rewind(t.tid, &t.info)
	t.cont(0)
}
