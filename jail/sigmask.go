//go:build linux && amd64

package jail

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
)

// A call with a mask of its own, such as ppoll(2), was interrupted: the signal
// is delivered under that mask, and the handler's frame gets the blocked one to
// return to. That is what saved_sigmask and TIF_RESTORE_SIGMASK do in Linux.

// frameMask is where struct rt_sigframe of x86-64 has the mask to return to,
// from the stack pointer a handler begins with.
const frameMask = 304

// mask gives the thread its wait mask and keeps the blocked one in oldMask.
func (t *thread) mask() {
	old, err := ptrace.SigMask(t.tid)
	if err != nil {
		return
	}
	_ = ptrace.SetSigMask(t.tid, *t.waitMask)
	t.oldMask, t.waitMask = &old, nil
}

// unmask gives the thread its blocked mask back where the call is made again,
// because no handler ran. It reports true if the call has been answered: some
// calls are interrupted even so.
func (t *thread) unmask() bool {
	_ = ptrace.SetSigMask(t.tid, *t.oldMask)
	t.oldMask, t.maybePending = nil, true
	if t.rewound != unix.EINTR {
		return false
	}
	t.rewound = 0
	t.finish(0, unix.EINTR)
	return true
}

// catches reports that the guest has a handler for sig.
func (t *thread) catches(sig unix.Signal) bool {
	st, err := t.signalState()
	return err == nil && st.Caught>>(sig-1)&1 != 0
}

// enterHandler delivers sig and corrects the frame of its handler.
func (t *thread) enterHandler(sig unix.Signal) {
	mask := *t.oldMask
	t.oldMask = nil
	ws, err := t.resumed(func(tid, _ int) error { return ptrace.Step(tid, int(sig)) })
	if err != nil {
		return
	}
	var regs ptrace.Regs
	if ws>>16 != 0 || ws.StopSignal() != unix.SIGTRAP || ptrace.GetRegs(t.tid, &regs) != nil {
		t.stopped, t.status = true, ws // no room for a frame, or no handler any more
		return
	}
	_, _ = t.WriteMemory(binary.LittleEndian.AppendUint64(nil, mask), regs.Rsp+frameMask)
	t.cont(0)
}
