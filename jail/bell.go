//go:build linux && amd64

package jail

import (
	"os"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/ptrace"
	"oubliette/internal/recording"
	"oubliette/internal/stub"
)

// bellBorn makes a process that nobody knows the warden's bell. Before the first
// image runs there is only one: the copy that the first stub made of itself, which
// is cheaper than another exec.
func (w *warden) bellBorn(pid int, ws unix.WaitStatus) error {
	if ws.Exited() || ws.Signaled() {
		return &Error{Op: "bell", Err: unix.ESRCH}
	}
	w.box.setBell(pid) // reapAll kills it whatever happens now
	if err := w.emptyBell(pid); err != nil {
		return &Error{Op: "bell", Err: err}
	}
	if h, err := os.FindProcess(pid); err == nil {
		w.proc.cmd.Process = h
	}
	return nil
}

// awaitBell waits for the bell's first stop, if it was not seen yet. Stops of
// others that come meanwhile are kept for the loop.
func (w *warden) awaitBell() error {
	for w.box.bell == 0 {
		tid, ws, err := ptrace.Wait(w.pgid, 0, nil)
		if err != nil {
			return &Error{Op: "wait4", Err: err}
		}
		if w.threads[tid] == nil && w.loading[tid] == nil {
			return w.bellBorn(tid, ws)
		}
		w.backlog = append(w.backlog, stopEvent{tid: tid, status: ws})
	}
	return nil
}

// emptyBell takes from the bell what it has of the stub: the arenas, and the
// caller's rights. Then it pauses.
func (w *warden) emptyBell(pid int) error {
	var b stub.Batch
	for _, fd := range arenaFDs {
		b.Call(unix.SYS_CLOSE, uint64(fd))
	}
	w.parts.ids.batch(&b)
	if _, err := ptrace.Write(pid, b.Bytes(), stub.DataAddr); err != nil {
		return err
	}
	var regs ptrace.Regs
	if err := ptrace.GetRegs(pid, &regs); err != nil {
		return err
	}
	regs.Rip, regs.Orig_rax = stub.RunAddr, ^uint64(0)
	if err := ptrace.SetRegs(pid, &regs); err != nil {
		return err
	}
	if err := ptrace.SetSigMask(pid, 0); err != nil { // the stub's blocks all while it is filled
		return err
	}
	return ptrace.Cont(pid, 0)
}

// killBell ends the bell, which nobody rings any more.
func (w *warden) killBell() {
	w.box.close()
	if pid := w.box.bell; pid != 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// reapAll ends whatever else is left in the jail's group: a child whose parent
// died in the act of making it may not have been seen yet.
func (w *warden) reapAll() {
	for {
		tid, ws, err := ptrace.Wait(w.pgid, 0, nil)
		if err != nil {
			return // ECHILD
		}
		if !ws.Exited() && !ws.Signaled() {
			_ = unix.Kill(tid, unix.SIGKILL)
			_ = ptrace.Cont(tid, 0) // one that dies takes no signal any more
		}
	}
}

// reapBell has cmd.Process know that the jail has ended, before its pid is another's.
func (w *warden) reapBell() {
	if h := w.proc.cmd.Process; h != nil && w.box.bell != 0 {
		if _, err := h.Wait(); err != nil {
			_ = h.Release()
		}
	}
}

// bellStopped handles the bell: our own ring, or a signal that somebody sent to
// cmd.Process, which the bell stands for.
func (w *warden) bellStopped(ws unix.WaitStatus) {
	if ws.Exited() || ws.Signaled() { // cmd.Process.Kill
		w.box.setBell(0)
		if h := w.proc.cmd.Process; h != nil {
			_ = h.Release() // its pid will be another's
		}
		if !w.ended {
			w.tape.note(recording.Event{What: "kill"})
		}
		w.fail(errKilled)
		return
	}
	sig := ws.StopSignal()
	if int(ws>>16) != 0 || sig == unix.SIGTRAP|0x80 {
		_ = ptrace.Cont(w.box.bell, 0)
		return
	}
	if sig != unix.SIGSTOP || !w.fromUs() {
		w.told["signal"](outcome{Event: recording.Event{N: int64(sig)}})
	}
	_ = ptrace.Cont(w.box.bell, 0)
}

func (w *warden) fromUs() bool {
	const siTkill = -6
	var si ptrace.SigInfo
	return ptrace.GetSigInfo(w.box.bell, &si) == nil && si.Code == siTkill
}

// signalInit sends a signal of the host's to task 1.
func (w *warden) signalInit(sig unix.Signal) {
	if p := w.sys.Process(1); p != nil {
		_ = p.Signal(emulate.Signal{Number: int(sig)})
	}
}
