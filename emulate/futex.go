//go:build linux

package emulate

import (
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// Operations of futex(2) (include/uapi/linux/futex.h): those that policy.Native has.
const (
	futexWait       = 0
	futexWake       = 1
	futexRequeue    = 3
	futexCmpRequeue = 4
	futexWakeOp     = 5
	futexWaitBitset = 9
	futexWakeBitset = 10

	futexPrivate  = 128
	futexRealtime = 256
	futexAny      = math.MaxUint32 // FUTEX_BITSET_MATCH_ANY
)

// futex is the kernel's own but for the operations with priority inheritance:
// they take a thread id out of memory, and the kernel would take it for one of
// the host's. Where runs are repeatable it is ours, for in the kernel's nobody sees
// who sleeps and who was woken, and timeouts are of the host's clock.
func futex(c *Call) (uint64, error) {
	op := c.Flags(1)
	switch cmd := op &^ (futexPrivate | futexRealtime); {
	case cmd != futexWait && cmd != futexWake && cmd != futexRequeue && cmd != futexCmpRequeue && cmd != futexWakeOp &&
		cmd != futexWaitBitset && cmd != futexWakeBitset:
		return 0, unix.ENOSYS
	case !c.Sys.Repeatable:
		return c.Kernel()
	case op&futexRealtime != 0 && cmd != futexWaitBitset:
		return 0, unix.ENOSYS
	case cmd == futexWait:
		return 0, c.futexWait(op, futexAny)
	case cmd == futexWaitBitset:
		return 0, c.futexWait(op, c.Uint(5))
	case cmd == futexWake:
		return c.futexWake(op, futexAny)
	case cmd == futexWakeBitset:
		return c.futexWake(op, c.Uint(5))
	case cmd == futexWakeOp:
		return c.futexWakeOp(op)
	default:
		return c.futexRequeue(op, cmd == futexCmpRequeue)
	}
}

// futexKey is what two addresses have in common that are one futex: union futex_key.
type futexKey struct {
	vm      *vm    // whose private memory, nil: a shared mapping
	private bool   // FUTEX_PRIVATE_FLAG
	inode   string // of the mapping
	at      uint64 // address, or offset
}

// vm stands for an address space; vfork(2) shares it.
type vm struct{ _ byte }

// futexWaiter is a task that waits at a futex.
type futexWaiter struct {
	key    futexKey
	bitset uint32
	woken  bool
	queue  fdtable.Queue
}

// futexKey is kernel/futex/core.c:get_futex_key. EINVAL, EFAULT.
func (t *Task) futexKey(addr uint64, op int) (futexKey, error) {
	k := futexKey{vm: t.Process.vm, private: op&futexPrivate != 0, at: addr}
	switch {
	case addr%4 != 0:
		return k, unix.EINVAL
	case addr >= taskSize:
		return k, unix.EFAULT
	case k.private:
		return k, nil
	}
	m, err := t.mappingAt(addr)
	if err == nil && m.shared {
		k.vm, k.inode, k.at = nil, m.inode, m.offset%arena.Void
	}
	return k, err
}

// word is a futex's value.
func (c *Call) word(addr uint64) (v uint32, err error) {
	err = c.ReadValue(addr, &v)
	return v, err
}

// futexWait is kernel/futex/waitwake.c:futex_wait. EAGAIN: the word has another
// value. EINVAL, EFAULT, ETIMEDOUT.
func (c *Call) futexWait(op int, bitset uint32) error {
	uaddr, val, timeout := c.Addr(0), c.Uint(2), c.Addr(3)
	deadline := Deadline(0)
	if timeout != 0 {
		var err error
		if deadline, err = c.futexDeadline(op, timeout); err != nil {
			return err
		}
	}
	if bitset == 0 {
		return unix.EINVAL
	}
	key, err := c.Task.futexKey(uaddr, op)
	if err != nil {
		return err
	}
	if now, err := c.word(uaddr); err != nil || now != val {
		return orAgain(err)
	}
	w := &futexWaiter{key: key, bitset: bitset}
	s := c.Sys
	if s.futexes == nil {
		s.futexes = make(map[futexKey][]*futexWaiter)
	}
	s.futexes[key] = append(s.futexes[key], w)
	defer s.futexLeave(w)
	for !w.woken {
		switch err := c.Wait(deadline, &w.queue); {
		case w.woken || err == nil:
		case err == ErrInterrupted && timeout == 0:
			return ERESTARTSYS
		default:
			return c.RestartAt(deadline, err)
		}
	}
	return nil
}

// orAgain is err, or that a futex has not the value expected.
func orAgain(err error) error {
	if err == nil {
		return unix.EAGAIN
	}
	return err
}

// futexDeadline is when a wait ends: FUTEX_WAIT's timeout is relative, the other's a
// time of one of two clocks. EFAULT, EINVAL.
func (c *Call) futexDeadline(op int, timeout uint64) (Deadline, error) {
	ns, err := c.sleepTime(timeout)
	if err != nil || ns == math.MaxInt64 {
		return 0, err
	}
	if op&^(futexPrivate|futexRealtime) == futexWaitBitset {
		clock := int32(unix.CLOCK_MONOTONIC)
		if op&futexRealtime != 0 {
			clock = unix.CLOCK_REALTIME
		}
		now, err := c.gettime(clock)
		if err != nil {
			return 0, err
		}
		ns -= now
	}
	return c.KeepDeadline(c.Sys.After(time.Duration(ns))), nil
}

// futexLeave takes w out of its queue, where it is no more if it was woken.
func (s *System) futexLeave(w *futexWaiter) {
	list := slices.DeleteFunc(s.futexes[w.key], func(o *futexWaiter) bool { return o == w })
	if s.futexes[w.key] = list; len(list) == 0 {
		delete(s.futexes, w.key)
	}
}

// futexWake wakes val waiters, the oldest first, and at least one.
func (c *Call) futexWake(op int, bitset uint32) (uint64, error) {
	uaddr, val := c.Addr(0), int32(c.Uint(2))
	if bitset == 0 {
		return 0, unix.EINVAL
	}
	key, err := c.Task.futexKey(uaddr, op)
	if err != nil {
		return 0, err
	}
	return c.Sys.futexWake(key, val, bitset), nil
}

func (s *System) futexWake(key futexKey, most int32, bitset uint32) (n uint64) {
	for _, w := range slices.Clone(s.futexes[key]) {
		if w.bitset&bitset == 0 {
			continue
		}
		w.wake(s)
		if n++; int64(n) >= int64(most) {
			break
		}
	}
	return n
}

func (w *futexWaiter) wake(s *System) {
	s.futexLeave(w)
	w.woken = true
	w.queue.Wake()
}

// futexRequeue wakes val waiters and lets val2 wait at uaddr2 instead.
func (c *Call) futexRequeue(op int, compare bool) (uint64, error) {
	uaddr, val, val2, uaddr2, val3 := c.Addr(0), c.Int(2), c.Int(3), c.Addr(4), c.Uint(5)
	if val < 0 || val2 < 0 {
		return 0, unix.EINVAL
	}
	from, err := c.Task.futexKey(uaddr, op)
	if err != nil {
		return 0, err
	}
	to, err := c.Task.futexKey(uaddr2, op)
	if err != nil {
		return 0, err
	}
	if compare {
		if now, err := c.word(uaddr); err != nil || now != val3 {
			return 0, orAgain(err)
		}
	}
	s, n := c.Sys, 0
	for _, w := range slices.Clone(s.futexes[from]) {
		if n-val >= val2 {
			break
		}
		if n++; n <= val {
			w.wake(s)
			continue
		}
		s.futexLeave(w)
		w.key = to
		s.futexes[to] = append(s.futexes[to], w)
	}
	return uint64(n), nil
}

// futexWakeOp changes the word at uaddr2, wakes val waiters of uaddr and, if the old
// word was as asked, val2 of uaddr2 (kernel/futex/waitwake.c:futex_atomic_op_inuser).
// No other guest thread runs, so it is atomic.
func (c *Call) futexWakeOp(op int) (uint64, error) {
	uaddr, val, val2, uaddr2, encoded := c.Addr(0), int32(c.Uint(2)), int32(c.Uint(3)), c.Addr(4), c.Uint(5)
	from, err := c.Task.futexKey(uaddr, op)
	if err != nil {
		return 0, err
	}
	other, err := c.Task.futexKey(uaddr2, op)
	if err != nil {
		return 0, err
	}
	old, err := c.word(uaddr2)
	if err != nil {
		return 0, err
	}
	arg, cmpArg := uint32(int32(encoded<<8)>>20), int32(encoded<<20)>>20 // 12 bits, signed
	const shift = 8                                                      // FUTEX_OP_OPARG_SHIFT
	change := encoded >> 28
	if change&shift != 0 {
		arg = 1 << (arg & 31)
	}
	now, ok := [...]uint32{arg, old + arg, old | arg, old &^ arg, old ^ arg, 0, 0, 0}[change&7], change&7 < 5
	if !ok {
		return 0, unix.ENOSYS
	}
	if err := c.WriteValue(uaddr2, now); err != nil {
		return 0, err
	}
	o, cmp := int32(old), encoded>>24&15
	if cmp > 5 {
		return 0, unix.ENOSYS
	}
	n := c.Sys.futexWake(from, val, futexAny)
	if [...]bool{o == cmpArg, o != cmpArg, o < cmpArg, o <= cmpArg, o > cmpArg, o >= cmpArg}[cmp] {
		n += c.Sys.futexWake(other, val2, futexAny)
	}
	return n, nil
}

// ClearTID wakes, where runs are repeatable, who waits for the end of a host thread at
// the word that the kernel has cleared then, see CLONE_CHILD_CLEARTID and
// set_tid_address(2). It lies in private memory.
func (t *Task) ClearTID() {
	if len(t.Sys.futexes) == 0 || t.tidAddress == 0 {
		return
	}
	t.Sys.futexWake(futexKey{vm: t.Process.vm, at: t.tidAddress}, 1, futexAny)
	t.tidAddress = 0
}

// futex2 are the newer calls of the same kind, which no C library needs.
func futex2(c *Call) (uint64, error) {
	if c.Sys.Repeatable {
		return 0, unix.ENOSYS
	}
	return c.Kernel()
}
