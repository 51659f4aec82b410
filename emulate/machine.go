//go:build linux

package emulate

import (
	"time"

	"oubliette/emulate/vfs"
)

// Machine is one guest thread as the emulated kernel sees it: its memory, its
// registers as far as a call needs them, and the real kernel underneath. Package
// jail makes it out of a ptraced thread; the tests make it out of a byte slice.
//
// Any method may return [ErrGone]: the thread was killed at this very moment.
// The handler returns it at once and nothing more happens to the thread.
type Machine interface {
	// ReadMemory copies guest memory at addr to p and returns how much could be
	// read before the first unmapped page. EFAULT if nothing.
	ReadMemory(p []byte, addr uint64) (int, error)
	// WriteMemory is the reverse, and obeys page protection.
	WriteMemory(p []byte, addr uint64) (int, error)
	// Native makes a system call in the guest's thread with the real kernel.
	// Every register but the result is as before afterwards.
	Native(nr int, args [6]uint64) (uint64, error)
	// Clone makes a real thread or process; see CloneRequest.
	Clone(r CloneRequest) (Machine, error)
	// Exec replaces the process's image. On success the other threads are
	// being killed, Commit has been called and the call's result is ignored;
	// on error everything is as before.
	Exec(r ExecRequest) error
	// Park sleeps until Unpark, a signal (ErrInterrupted) or death (ErrGone).
	Park() error
	// ParkUninterruptible is Park without ErrInterrupted.
	ParkUninterruptible() error
	// Unpark makes a parked thread runnable; else it does nothing.
	Unpark()
	// Signal queues a signal to this thread, or to its process.
	Signal(s Signal, process bool) error
	// SignalState tells the thread's blocked mask and its process's ignored
	// and caught signals, bit n-1 for signal n.
	SignalState() (SignalState, error)
	// SetWaitMask says which signals do not interrupt Park, instead of the
	// blocked mask; nil goes back to that. The blocked mask itself stays. If a
	// call ends with a restart code or EINTR while it is set, it holds for the
	// delivery of the signals too, and their handler returns to the blocked mask.
	SetWaitMask(mask *uint64)
	// TakeSignal takes a pending signal in set off the thread and its process.
	// EAGAIN if there is none.
	TakeSignal(set uint64) (Signal, error)
	// Usage is the process's resource use as the host knows it.
	Usage(thread bool) (Usage, error)
	// CPUTime is the user and system time of Usage, at the scheduler's resolution.
	CPUTime(thread bool) (time.Duration, error)
	// ProcFile reads a file of the host's /proc/PID (maps, stat, status,
	// smaps, statm, cmdline, environ) for this thread. The caller removes host names from it.
	// ErrGone, and what the host gives: EMFILE for example.
	ProcFile(name string) ([]byte, error)
	// Restart has the native call that the thread sleeps in begin again, if it does:
	// a futex's word is compared again.
	Restart()
	// Kill ends the whole process the thread belongs to.
	Kill()
}

// Signal is a signal to send with the siginfo fields the receiver sees.
type Signal struct {
	Number int
	Code   int32 // si_code: SI_USER, SI_TKILL, SI_QUEUE, SI_KERNEL, CLD_*
	PID    int   // virtual
	UID    uint32
	Value  uint64 // si_value, or si_status for SIGCHLD
}

// SignalState is see Machine.SignalState.
type SignalState struct {
	Blocked, Ignored, Caught, Pending uint64
}

// Usage is what getrusage(2) and times(2) are made of.
type Usage struct {
	User, System        time.Duration
	MaxRSS              int64 // KiB
	MinorFaults         int64
	MajorFaults         int64
	VoluntarySwitches   int64
	InvoluntarySwitches int64
}

// CloneRequest is clone(2) after the emulated kernel has checked it: Flags
// holds only what the real kernel may see, CLONE_PARENT is added by Clone.
// SETTID words are the caller's to write, before the child runs.
type CloneRequest struct {
	Flags    uint64
	Stack    uint64 // 0: the parent's
	TLS      uint64
	ChildTID uint64 // for CLONE_CHILD_CLEARTID
	// Child is called with the new thread before it runs and makes its task.
	Child func(Machine) (*Task, error)
}

// ExecRequest is execve(2) after path and permission checks.
type ExecRequest struct {
	Path string // of the program in the tree, and AT_EXECFN
	// PathClosed: Path names nothing after the execve, so a script is ENOENT.
	PathClosed bool
	Args       []string
	Env        []string
	// Open opens a program or interpreter by its path in the guest's tree,
	// checking that the task may execute it.
	Open func(path string) (*vfs.Dentry, error)
	// Commit is called when nothing can fail any more: exe is the program file
	// ("#!" followed), args what it is given.
	Commit func(exe *vfs.Dentry, args []string)
}
