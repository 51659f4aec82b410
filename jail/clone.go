//go:build linux && amd64

package jail

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/ptrace"
)

// Clone lets the real kernel make a thread or process. CLONE_PARENT makes every
// guest process the warden thread's own child, so that wait4 inside the guest is
// pure emulation and no zombie is left. CLONE_FILES and CLONE_FS are always
// shared below: the guest's descriptors and directories are ours, and copying the
// host's would only cost.
func (t *thread) Clone(r emulate.CloneRequest) (emulate.Machine, error) {
	if err := t.loadRegs(); err != nil {
		return nil, err
	}
	if r.Flags&(unix.CLONE_VFORK|unix.CLONE_THREAD) != unix.CLONE_VFORK {
		if err := t.stopAtExit(); err != nil {
			return nil, err
		}
	}
	flags := r.Flags | unix.CLONE_FILES | unix.CLONE_FS
	if r.Flags&unix.CLONE_THREAD == 0 {
		flags |= unix.CLONE_PARENT
	}
	regs := t.regs
	// The sixth argument is nobody's: by it a child that stops before its parent's
	// event is known for the parent's.
	ptrace.SetCall(&regs, unix.SYS_CLONE, [6]uint64{flags, r.Stack, 0, r.ChildTID, r.TLS, uint64(t.tid)})
	if err := ptrace.SetRegs(t.tid, &regs); err != nil {
		return nil, gone(err)
	}
	t.cloning = true
	defer func() {
		t.cloning, t.vforking = false, false
		t.w.disown(t.tid)
	}()
	var child *thread
	for {
		ws, err := t.resumed(ptrace.Syscall)
		if err != nil {
			return nil, err
		}
		switch int(ws >> 16) {
		case unix.PTRACE_EVENT_CLONE, unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK:
			if child, err = t.adopt(r, child); err != nil {
				return nil, err
			}
			continue
		}
		if ws.StopSignal() != unix.SIGTRAP|0x80 {
			continue
		}
		var info ptrace.Info
		if err := ptrace.SyscallInfo(t.tid, &info); err != nil {
			return nil, gone(err)
		}
		if info.Op != ptrace.OpExit {
			continue
		}
		t.exited = true
		if e := int64(info.Nr); e < 0 {
			return nil, unix.Errno(-e)
		}
		return child, nil
	}
}

// adopt takes the child of a clone event into the jail.
func (t *thread) adopt(r emulate.CloneRequest, child *thread) (*thread, error) {
	msg, err := ptrace.EventMessage(t.tid)
	if err != nil {
		return child, gone(err)
	}
	if t.exits() { // of which the message was
		return child, emulate.ErrGone
	}
	tid := int(msg)
	tgid := tid
	if r.Flags&unix.CLONE_THREAD != 0 {
		tgid = t.tgid
	}
	w := t.w
	child = w.newThread(tid, tgid, (*thread).firstStop)
	child.regs, child.info.IP = t.regs, t.info.IP
	child.lastCPU, child.exitStops = t.lastCPU, t.exitStops
	child.maybePending = false
	child.moves()
	if r.Flags&unix.CLONE_VFORK != 0 {
		child.vforker, t.vforking = t, true
	}
	if child.task, err = r.Child(child); err != nil {
		return child, err
	}
	w.resume(child) // it runs to its first wait
	t.cloning = false
	if e, ok := w.early[tid]; ok {
		delete(w.early, tid)
		w.dispatch(tid, e.status)
	}
	return child, nil
}

// firstStop is a new thread's way from its attach stop into the guest: it has
// the registers of the rewritten call and gets those of the guest's.
func (t *thread) firstStop() error {
	for {
		ws := t.awaitStop()
		if t.dead {
			t.stopped = true
			return nil
		}
		if int(ws>>16) == unix.PTRACE_EVENT_STOP {
			break
		}
		t.moves()
		_ = ptrace.Cont(t.tid, 0)
	}
	var now ptrace.Regs
	if ptrace.GetRegs(t.tid, &now) == nil {
		regs := t.regs
		regs.Rax = 0
		regs.Rsp, regs.Fs_base = now.Rsp, now.Fs_base
		regs.Orig_rax = ^uint64(0)
		_ = ptrace.SetRegs(t.tid, &regs)
	}
	t.cont(0)
	return nil
}
