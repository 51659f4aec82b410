//go:build linux

package emulate

// TaskAttr is what a task keeps for the asking and clone(2) copies.
// Slices in it are never written, only replaced.
type TaskAttr struct {
	Policy      int // SCHED_OTHER, SCHED_BATCH or SCHED_IDLE
	ResetOnFork bool
	Nice        int
	Slice       uint64   // sched_runtime of sched_setattr(2), 0: the usual
	Affinity    []uint64 // nil: every CPU
	IOPriority  int      // as ioprio_get(2) gives it
	TimerSlack  uint64   // ns; 0: the usual 50 µs
	Personality uint32
	NoNewPrivs  bool // what the guest asked; the kernel's bit is always set
	SecureBits  uint32
}

// forked is what a new task gets (kernel/sched/core.c:sched_fork).
func (a TaskAttr) forked() TaskAttr {
	if a.ResetOnFork {
		a.ResetOnFork, a.Nice = false, max(a.Nice, 0)
	}
	return a
}

// ProcessAttr is the same for a process, copied by fork(2) and kept by
// execve(2), which clears Undumpable.
type ProcessAttr struct {
	Undumpable  bool
	NoHugePages bool // PR_SET_THP_DISABLE
	OOMScoreAdj int
	NoDump      uint64 // bits of coredump_filter that differ from the usual
}
