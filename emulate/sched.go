//go:build linux

package emulate

import (
	"cmp"
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/unix"
)

// maxRTPriority is the highest priority of SCHED_FIFO and SCHED_RR. A guest may be an
// ordinary, batch or idle task; what would take CPU time from the host's other work is
// EPERM, as for any process without CAP_SYS_NICE.
const maxRTPriority = 99

// schedSlice is the slice of an ordinary task, in ns: what sched_rr_get_interval
// and sched_getattr show.
const schedSlice = 3_000_000

// targetTask is the task argument 0 names; a negative pid is EINVAL.
func (c *Call) targetTask() (*Task, error) {
	if c.Int(0) < 0 {
		return nil, unix.EINVAL
	}
	return c.taskArg(c.Int(0))
}

// owns is kernel/sched/syscalls.c:check_same_owner with CAP_SYS_NICE.
func (t *Task) owns(other *Task) bool {
	e := t.Cred.EUID
	return e == other.Cred.EUID || e == other.Cred.RUID || t.Cred.Capable(unix.CAP_SYS_NICE)
}

// cpuWords is the CPU mask's size in 64-bit words.
func (s *System) cpuWords() int { return (max(s.CPUs, 1) + 63) / 64 }

// affinity is the CPUs a task may run on, of those there are.
func (t *Task) affinity() []uint64 {
	if t.Attr.Affinity != nil {
		return t.Attr.Affinity
	}
	mask := make([]uint64, t.Sys.cpuWords())
	for i := range max(t.Sys.CPUs, 1) {
		mask[i/64] |= 1 << (i % 64)
	}
	return mask
}

func sched_getaffinity(c *Call) (uint64, error) {
	length, addr := uint64(c.Uint(1)), c.Addr(2)
	if length*8 < uint64(max(c.Sys.CPUs, 1)) || length%8 != 0 {
		return 0, unix.EINVAL
	}
	t, err := c.taskArg(c.Int(0))
	if err != nil {
		return 0, err
	}
	mask := t.affinity()
	return uint64(8 * len(mask)), c.WriteValue(addr, mask)
}

func sched_setaffinity(c *Call) (uint64, error) {
	length, addr := uint64(c.Uint(1)), c.Addr(2)
	all := (&Task{Sys: c.Sys}).affinity()
	p := make([]byte, 8*len(all))
	if err := c.Read(addr, p[:min(length, uint64(len(p)))]); err != nil {
		return 0, err
	}
	t, err := c.taskArg(c.Int(0))
	if err != nil {
		return 0, err
	}
	if !c.Task.owns(t) {
		return 0, unix.EPERM
	}
	some := uint64(0)
	for i := range all {
		all[i] &= leUint64(p[8*i:])
		some |= all[i]
	}
	if some == 0 {
		return 0, unix.EINVAL
	}
	t.Attr.Affinity = all
	return 0, nil
}

// sched_yield lets others go first where one guest thread runs at a time.
func sched_yield(c *Call) (uint64, error) {
	if c.Sys.Repeatable {
		c.Task.Yielded = true
		return 0, nil
	}
	return c.Kernel()
}

// rseq would have the kernel write the host's CPU into the guest's memory; without it
// the C library asks getcpu(2).
func rseq(c *Call) (uint64, error) {
	if c.Sys.Repeatable {
		return 0, unix.ENOSYS
	}
	return c.Kernel()
}

func sched_getscheduler(c *Call) (uint64, error) {
	t, err := c.targetTask()
	if err != nil {
		return 0, err
	}
	policy := uint64(t.Attr.Policy)
	if t.Attr.ResetOnFork {
		policy |= unix.SCHED_RESET_ON_FORK
	}
	return policy, nil
}

func sched_getparam(c *Call) (uint64, error) {
	param := c.Addr(1)
	if param == 0 {
		return 0, unix.EINVAL
	}
	if _, err := c.targetTask(); err != nil {
		return 0, err
	}
	return 0, c.WriteValue(param, int32(0))
}

func sched_setscheduler(c *Call) (uint64, error) {
	policy := c.Int(1)
	if policy < 0 {
		return 0, unix.EINVAL
	}
	return 0, c.setScheduler(policy, c.Addr(2))
}

func sched_setparam(c *Call) (uint64, error) { return 0, c.setScheduler(-1, c.Addr(1)) }

// setScheduler is sched_setscheduler(2), or with policy -1 sched_setparam(2).
func (c *Call) setScheduler(policy int, param uint64) error {
	if param == 0 || c.Int(0) < 0 {
		return unix.EINVAL
	}
	var priority int32
	if err := c.ReadValue(param, &priority); err != nil {
		return err
	}
	t, err := c.taskArg(c.Int(0))
	if err != nil {
		return err
	}
	a := unix.SchedAttr{Policy: uint32(policy &^ unix.SCHED_RESET_ON_FORK), Priority: uint32(priority), Nice: int32(t.Attr.Nice)}
	if policy == -1 {
		a.Flags, a.Policy = unix.SCHED_FLAG_KEEP_POLICY, uint32(t.Attr.Policy)
	}
	if policy&unix.SCHED_RESET_ON_FORK != 0 && policy != -1 || policy == -1 && t.Attr.ResetOnFork {
		a.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
	}
	return c.setSched(t, a)
}

const (
	schedAttrSize0 = 48 // SCHED_ATTR_SIZE_VER0
	schedAttrSize  = 56
)

// setSched is kernel/sched/syscalls.c:__sched_setscheduler.
func (c *Call) setSched(t *Task, a unix.SchedAttr) error {
	realtime := a.Policy == unix.SCHED_FIFO || a.Policy == unix.SCHED_RR
	known := realtime || a.Policy <= unix.SCHED_BATCH || a.Policy == unix.SCHED_IDLE || a.Policy == unix.SCHED_DEADLINE
	switch {
	case !known, a.Flags&^unix.SCHED_FLAG_ALL != 0, a.Priority > maxRTPriority,
		realtime != (a.Priority != 0),
		a.Policy == unix.SCHED_DEADLINE && (a.Deadline == 0 || a.Runtime < 1024 || a.Deadline < a.Runtime):
		return unix.EINVAL
	case realtime, a.Policy == unix.SCHED_DEADLINE,
		!c.Task.owns(t),
		t.Attr.ResetOnFork && a.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 && !c.Task.Cred.Capable(unix.CAP_SYS_NICE),
		a.Policy != unix.SCHED_IDLE && int(a.Nice) < t.Attr.Nice && !c.canNice(t, int(a.Nice)),
		t.Attr.Policy == unix.SCHED_IDLE && a.Policy != unix.SCHED_IDLE && !c.canNice(t, t.Attr.Nice):
		return unix.EPERM
	}
	t.Attr.Policy, t.Attr.ResetOnFork = int(a.Policy), a.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0
	if a.Flags&unix.SCHED_FLAG_KEEP_PARAMS == 0 && a.Policy != unix.SCHED_IDLE {
		t.Attr.Nice, t.Attr.Slice = int(a.Nice), a.Runtime
	}
	return nil
}

// canNice is whether RLIMIT_NICE or the caller lets t have this nice value
// (kernel/sched/syscalls.c:can_nice).
func (c *Call) canNice(t *Task, nice int) bool {
	return uint64(20-nice) <= t.Limit(unix.RLIMIT_NICE) || c.Task.Cred.Capable(unix.CAP_SYS_NICE)
}

func sched_getattr(c *Call) (uint64, error) {
	attr, size, flags := c.Addr(1), c.Uint(2), c.Flags(3)
	if attr == 0 || size > 4096 || size < schedAttrSize0 || flags != 0 {
		return 0, unix.EINVAL
	}
	t, err := c.targetTask()
	if err != nil {
		return 0, err
	}
	a := unix.SchedAttr{Size: min(size, schedAttrSize), Policy: uint32(t.Attr.Policy), Nice: int32(t.Attr.Nice),
		Runtime: cmp.Or(t.Attr.Slice, schedSlice), Util_max: 1024}
	if t.Attr.ResetOnFork {
		a.Flags = unix.SCHED_FLAG_RESET_ON_FORK
	}
	p := make([]byte, max(size, schedAttrSize))
	_, _ = binary.Encode(p, binary.LittleEndian, a)
	return 0, c.Write(attr, p[:size])
}

func sched_setattr(c *Call) (uint64, error) {
	addr, flags := c.Addr(1), c.Flags(2)
	if addr == 0 || c.Int(0) < 0 || flags != 0 {
		return 0, unix.EINVAL
	}
	a, err := c.schedAttrArg(addr)
	if err != nil {
		return 0, err
	}
	if int32(a.Policy) < 0 {
		return 0, unix.EINVAL
	}
	t, err := c.taskArg(c.Int(0))
	if err != nil {
		return 0, err
	}
	if a.Flags&unix.SCHED_FLAG_KEEP_POLICY != 0 {
		a.Policy = uint32(t.Attr.Policy)
	}
	if a.Flags&unix.SCHED_FLAG_KEEP_PARAMS != 0 {
		a.Nice, a.Priority = int32(t.Attr.Nice), 0
	}
	return 0, c.setSched(t, a)
}

// schedAttrArg reads a struct sched_attr of the size it says; one that is too
// large or too small is E2BIG, and told ours.
func (c *Call) schedAttrArg(addr uint64) (a unix.SchedAttr, err error) {
	var size uint32
	if err := c.ReadValue(addr, &size); err != nil {
		return a, err
	}
	if size == 0 {
		size = schedAttrSize0
	}
	switch err := c.readStruct(addr, uint64(size), schedAttrSize0, &a); err {
	case nil:
	case unix.EINVAL, unix.E2BIG:
		if err := c.WriteValue(addr, uint32(schedAttrSize)); err != nil {
			return a, err
		}
		return a, unix.E2BIG
	default:
		return a, err
	}
	a.Nice = min(max(a.Nice, -20), 19)
	if a.Flags&0x60 != 0 && size < schedAttrSize {
		return a, unix.EINVAL // utilisation clamps are in the second version
	}
	return a, nil
}

func sched_get_priority_max(c *Call) (uint64, error) { return priorityBound(c.Int(0), maxRTPriority) }
func sched_get_priority_min(c *Call) (uint64, error) { return priorityBound(c.Int(0), 1) }

func priorityBound(policy int, realtime uint64) (uint64, error) {
	switch policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		return realtime, nil
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, unix.SCHED_DEADLINE:
		return 0, nil
	}
	return 0, unix.EINVAL
}

func sched_rr_get_interval(c *Call) (uint64, error) {
	tp := c.Addr(1)
	if _, err := c.targetTask(); err != nil {
		return 0, err
	}
	return 0, c.WriteValue(tp, unix.Timespec{Nsec: schedSlice})
}

// firstCPU is a mask's lowest CPU.
func firstCPU(mask []uint64) int {
	for i, w := range mask {
		if w != 0 {
			return 64*i + bits.TrailingZeros64(w)
		}
	}
	return 0
}
