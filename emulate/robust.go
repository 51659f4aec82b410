//go:build linux

package emulate

const (
	robustLimit = 2048 // ROBUST_LIST_LIMIT of include/linux/futex.h
	robustPI    = 1    // in a pointer of the list: the futex inherits priority

	futexWaiters   = 1 << 31
	futexOwnerDied = 1 << 30
	futexTIDMask   = futexOwnerDied - 1
)

// robustHead is struct robust_list_head.
type robustHead struct{ Next, Offset, Pending uint64 }

// LeaveRobust does at the end of thread tid, or before its execve, what
// set_robust_list(2) promises: head is what the host's kernel has been told there, in t's
// memory. That goes through the list too, later, but looks for the host's thread id in
// the words, where the guest has put its own (kernel/futex/core.c:exit_robust_list).
// It reports false if there is no such head.
func (t *Task) LeaveRobust(tid int, head uint64) bool {
	c := Call{Task: t, Sys: t.Sys}
	var h robustHead
	if c.ReadValue(head, &h) != nil {
		return false
	}
	pending, owned := h.Pending&^robustPI, false
	defer func() {
		if owned && !t.Sys.Repeatable {
			t.Sys.restartSleepers(t)
		}
	}()
	for entry, left := h.Next, robustLimit; entry&^robustPI != head && left > 0; left-- {
		at, next := entry&^robustPI, uint64(0)
		err := c.ReadValue(at, &next)
		if at != pending && !c.ownerDied(tid, at+h.Offset, entry&robustPI != 0, false, &owned) || err != nil {
			return true
		}
		entry = next
	}
	if pending != 0 {
		c.ownerDied(tid, pending+h.Offset, h.Pending&robustPI != 0, true, &owned)
	}
	return true
}

// ownerDied marks the futex at addr if it is tid's. It reports false if there is
// none that could be (handle_futex_death). One that the thread was about to unlock may be
// free, and who waits for it not woken yet. All that others may do meanwhile is to set
// FUTEX_WAITERS and sleep: if that is lost, the sleeper finds out, see restartSleepers.
func (c *Call) ownerDied(tid int, addr uint64, pi, pending bool, owned *bool) bool {
	v, err := c.word(addr)
	if addr%4 != 0 || err != nil {
		return false
	}
	switch {
	case v&futexTIDMask == uint32(tid):
		*owned = true
		if c.WriteValue(addr, v&futexWaiters|futexOwnerDied) != nil {
			return false
		}
	case v != 0 || !pending:
		return true
	}
	if c.Sys.Repeatable && !pi {
		if key, err := c.Task.futexKey(addr, 0); err == nil {
			c.Sys.futexWake(key, 1, futexAny)
		}
	}
	return true
}

// restartSleepers has all threads but one look at the futex again that they wait for.
func (s *System) restartSleepers(but *Task) {
	for _, t := range s.tasks {
		if t != but {
			t.Machine.Restart()
		}
	}
}
