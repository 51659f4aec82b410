//go:build linux

package emulate_test

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// Machine is an emulate.Machine without a process.
type Machine struct {
	*Memory
	// OnNative answers Native; nil: ENOSYS. Natives holds what it was asked.
	OnNative func(nr int, args [6]uint64) (uint64, error)
	Natives  []NativeCall
	// State is what SignalState tells, without Pending.
	State emulate.SignalState
	// Files are what ProcFile gives by name.
	Files map[string]string
	// Spent is what Usage tells.
	Spent emulate.Usage

	world    *world
	task     *emulate.Task
	pending  []emulate.Signal
	waitMask *uint64
	call     *Started // whose coroutine is this thread's, nil between calls
	parked   bool
	woken    bool
	gone     bool
}

// NativeCall is a call that a handler left to the real kernel.
type NativeCall struct {
	Nr   int
	Args [6]uint64
}

// ReadMemory is see emulate.Machine.
func (m *Machine) ReadMemory(p []byte, addr uint64) (int, error) {
	return m.transfer(p, addr, unix.PROT_READ, false)
}

// WriteMemory is see emulate.Machine.
func (m *Machine) WriteMemory(p []byte, addr uint64) (int, error) {
	return m.transfer(p, addr, unix.PROT_WRITE, true)
}

func (m *Machine) transfer(p []byte, addr uint64, prot int, in bool) (int, error) {
	if m.gone {
		return 0, emulate.ErrGone
	}
	n := m.copy(p, addr, prot, in)
	if n == 0 && len(p) > 0 {
		return 0, unix.EFAULT
	}
	return n, nil
}

// Native is see emulate.Machine and OnNative.
func (m *Machine) Native(nr int, args [6]uint64) (uint64, error) {
	m.Natives = append(m.Natives, NativeCall{nr, args})
	if m.OnNative == nil {
		return 0, unix.ENOSYS
	}
	return m.OnNative(nr, args)
}

// Clone makes a thread that runs nothing until the test makes its calls.
func (m *Machine) Clone(r emulate.CloneRequest) (emulate.Machine, error) {
	n := &Machine{Memory: m.Memory, world: m.world, State: m.State, Files: m.Files, OnNative: m.OnNative}
	if r.Flags&unix.CLONE_VM == 0 {
		n.Memory = m.Memory.fork()
	}
	task, err := r.Child(n)
	if err != nil {
		return nil, err
	}
	n.task = task
	m.world.guests[task.TID] = &Guest{Task: task, Machine: n, Sys: m.world.sys, world: m.world}
	m.world.machines = append(m.world.machines, n)
	return n, nil
}

// Exec opens the program, says yes and keeps the memory.
func (m *Machine) Exec(r emulate.ExecRequest) error {
	exe, err := r.Open(r.Path)
	if err == nil {
		r.Commit(exe, r.Args)
	}
	return err
}

// Park is see emulate.Machine.
func (m *Machine) Park() error { return m.park(true) }

// ParkUninterruptible is see emulate.Machine.
func (m *Machine) ParkUninterruptible() error { return m.park(false) }

func (m *Machine) park(interruptible bool) error {
	if m.call == nil {
		m.world.t.Fatal("a call made with Direct parked")
	}
	m.call.interruptible = interruptible
	m.parked = true
	defer func() { m.parked = false }()
	for !m.gone {
		if interruptible && m.due() {
			return emulate.ErrInterrupted
		}
		if m.woken {
			m.woken = false
			return nil
		}
		if !m.call.yield(struct{}{}) {
			m.gone = true
		}
	}
	return emulate.ErrGone
}

// Unpark is see emulate.Machine.
func (m *Machine) Unpark() {
	if m.parked {
		m.woken = true
	}
}

// Signal queues a signal, which interrupts the parked call unless it is blocked,
// ignored, or ignored by default and not caught.
func (m *Machine) Signal(s emulate.Signal, process bool) error {
	m.pending = append(m.pending, s)
	return nil
}

// Signals takes the queued signals away and returns them.
func (m *Machine) Signals() []emulate.Signal {
	s := m.pending
	m.pending = nil
	return s
}

const defaultIgnored = 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1) | 1<<(unix.SIGCONT-1)

func (m *Machine) due() bool {
	blocked := m.State.Blocked
	if m.waitMask != nil {
		blocked = *m.waitMask
	}
	blocked |= m.State.Ignored | defaultIgnored&^m.State.Caught
	for _, s := range m.pending {
		if blocked>>(s.Number-1)&1 == 0 {
			return true
		}
	}
	return false
}

// SignalState is State with what is pending.
func (m *Machine) SignalState() (emulate.SignalState, error) {
	st := m.State
	for _, s := range m.pending {
		st.Pending |= 1 << (s.Number - 1)
	}
	return st, nil
}

// SetWaitMask is see emulate.Machine.
func (m *Machine) SetWaitMask(mask *uint64) { m.waitMask = mask }

// TakeSignal is see emulate.Machine.
func (m *Machine) TakeSignal(set uint64) (emulate.Signal, error) {
	for i, s := range m.pending {
		if set>>(s.Number-1)&1 == 1 {
			m.pending = append(m.pending[:i:i], m.pending[i+1:]...)
			return s, nil
		}
	}
	return emulate.Signal{}, unix.EAGAIN
}

// CPUTime is what Spent says.
func (m *Machine) CPUTime(bool) (time.Duration, error) { return m.Spent.User + m.Spent.System, nil }

// Usage is see emulate.Machine.
func (m *Machine) Usage(thread bool) (emulate.Usage, error) { return m.Spent, nil }

// ProcFile gives what Files holds.
func (m *Machine) ProcFile(name string) ([]byte, error) {
	if s, ok := m.Files[name]; ok {
		return []byte(s), nil
	}
	return nil, unix.ENOENT
}

// Restart does nothing: no thread sleeps in the kernel.
func (m *Machine) Restart() {}

// Kill makes every thread of the process gone.
func (m *Machine) Kill() {
	for _, o := range m.world.machines {
		if o.task != nil && o.task.Process == m.task.Process {
			o.gone = true
		}
	}
}
