//go:build linux && amd64

package jail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/ptrace"
)

// signalInfos holds what the guest shall see of signals on their way: each
// travels through the kernel with an id as its si_value.
type signalInfos struct {
	byID map[uint64]emulate.Signal
	last uint64
}

// maxSignalInfos bounds them: the kernel drops a signal that is pending already,
// so what is older than so many others is on no way any more, or comes from nobody.
const maxSignalInfos = 1 << 16

// signalTag marks our ids among values the guest chose: the id is below it.
const signalTag = 0x6f75_0000_0000_0000

func (s *signalInfos) add(sig emulate.Signal) uint64 {
	if s.byID == nil {
		s.byID = make(map[uint64]emulate.Signal)
	}
	s.last++
	s.byID[s.last] = sig
	delete(s.byID, s.last-maxSignalInfos)
	return signalTag | s.last
}

// take returns the signal a siginfo stands for; ok is false if it is none of
// ours.
func (s *signalInfos) take(si *ptrace.SigInfo) (emulate.Signal, bool) {
	const siQueue = -1
	id := binary.LittleEndian.Uint64(si.Fields[8:])
	if si.Code != siQueue || id>>48 != signalTag>>48 {
		return emulate.Signal{}, false
	}
	id &= 1<<48 - 1
	sig, ok := s.byID[id]
	if !ok {
		sig = emulate.Signal{Number: int(si.Signo)}
	}
	delete(s.byID, id)
	return sig, true
}

// Signal queues a signal to the thread or its process.
func (t *thread) Signal(s emulate.Signal, process bool) error {
	if t.dead || t.reaped {
		return nil // its number may be another's by now
	}
	if s.Number == int(unix.SIGKILL) {
		t.kill()
		return nil
	}
	if s.Number == int(unix.SIGCHLD) && process && t.ignoresChild() {
		return nil
	}
	t.w.sent++
	if s.Number == int(unix.SIGCONT) {
		for _, other := range t.task.Process.Threads {
			if o, ok := other.Machine.(*thread); ok && o.listening {
				o.moves()
			}
		}
	}
	tid := t.tid
	if process {
		tid = 0
	}
	if err := ptrace.Send(t.tgid, tid, s.Number, t.w.signals.add(s)); err != nil {
		if err == unix.ESRCH {
			return nil // dying
		}
		return err
	}
	if !process {
		t.signalled()
		return nil
	}
	// A sleeping handler does not see signals: one that may take it is woken.
	for _, other := range t.task.Process.Tasks() {
		if o, ok := other.Machine.(*thread); ok && o.signalled() {
			break
		}
	}
	return nil
}

// ignoresChild reports that SIGCHLD does nothing to the process: no handler, and
// not blocked by the leader t (kernel/signal.c:sig_ignored). Most of them come to a
// parent that sleeps in wait4, and queued for a traced process even one that does
// nothing would be a stop.
func (t *thread) ignoresChild() bool {
	if !t.parked || t.task.Process.CatchesChild() {
		return false
	}
	mask, err := ptrace.SigMask(t.tid)
	return err == nil && mask>>(unix.SIGCHLD-1)&1 == 0
}

// signalled notes a signal sent; it reports whether that woke the thread.
func (t *thread) signalled() bool {
	t.maybePending = true
	if !t.parked || t.interrupted {
		return t.interrupted
	}
	t.lookForSignals()
	if t.interrupted {
		t.enqueue()
	}
	return t.interrupted
}

// lookForSignals sets interrupted if a signal is pending that the thread would
// take: not blocked, not ignored.
func (t *thread) lookForSignals() {
	st, err := t.signalState()
	if err != nil {
		return
	}
	blocked := st.Blocked
	if t.waitMask != nil {
		blocked = *t.waitMask
	}
	t.maybePending = st.Pending != 0
	// What is blocked was queued even if it does nothing, for rt_sigtimedwait(2).
	if st.Pending&^blocked&^(st.discarded()&^st.Blocked) != 0 {
		t.interrupted = true
	}
}

// signalState is a thread's signal state with helpers.
type signalState struct{ emulate.SignalState }

// defaultIgnored are the signals whose default action is nothing.
const defaultIgnored = 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1) | 1<<(unix.SIGCONT-1)

// faults are the signals that an instruction causes.
const faults = 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGILL-1) | 1<<(unix.SIGFPE-1) | 1<<(unix.SIGTRAP-1)

// discarded are the signals that do nothing when they are delivered.
func (s signalState) discarded() uint64 { return s.Ignored | defaultIgnored&^s.Caught }

func (t *thread) signalState() (signalState, error) {
	var s signalState
	text, err := t.ProcFile("status")
	if err != nil {
		return s, emulate.ErrGone
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		set := func(mask *uint64) {
			v, _ := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			*mask |= v
		}
		switch name {
		case "SigPnd", "ShdPnd":
			set(&s.Pending)
		case "SigBlk":
			set(&s.Blocked)
		case "SigIgn":
			set(&s.Ignored)
		case "SigCgt":
			set(&s.Caught)
		}
	}
	return s, nil
}

// SignalState tells masks and dispositions.
func (t *thread) SignalState() (emulate.SignalState, error) {
	s, err := t.signalState()
	return s.SignalState, err
}

// SetWaitMask is see emulate.Machine.
func (t *thread) SetWaitMask(mask *uint64) {
	t.waitMask = mask
	t.interrupted = false
	t.maybePending = true
}

// TakeSignal dequeues a pending signal with a call the guest's thread makes. The
// call's structs lie for a moment at the start of the page of the stack pointer,
// which is mapped and writable; what was there is put back.
func (t *thread) TakeSignal(set uint64) (emulate.Signal, error) {
	st, err := t.signalState()
	if err != nil {
		return emulate.Signal{}, err
	}
	if st.Pending&set == 0 {
		return emulate.Signal{}, unix.EAGAIN
	}
	if err := t.loadRegs(); err != nil {
		return emulate.Signal{}, err
	}
	const setOff, timeoutOff, infoOff, size = 0, 8, 24, 24 + 128
	addr := t.regs.Rsp &^ 4095
	var old, p [size]byte
	if _, err := t.ReadMemory(old[:], addr); err != nil {
		return emulate.Signal{}, err
	}
	binary.LittleEndian.PutUint64(p[setOff:], set)
	if _, err := t.WriteMemory(p[:], addr); err != nil {
		return emulate.Signal{}, err
	}
	_, err = t.Native(unix.SYS_RT_SIGTIMEDWAIT, [6]uint64{addr + setOff, addr + infoOff, addr + timeoutOff, 8})
	if err == nil {
		_, err = t.ReadMemory(p[:], addr)
	}
	if _, e := t.WriteMemory(old[:], addr); err == nil {
		err = e
	}
	if err != nil {
		return emulate.Signal{}, err
	}
	si := ptrace.SigInfo{Signo: int32(binary.LittleEndian.Uint32(p[infoOff:])), Code: int32(binary.LittleEndian.Uint32(p[infoOff+8:]))}
	copy(si.Fields[:], p[infoOff+16:])
	if s, ok := t.w.signals.take(&si); ok {
		return s, nil
	}
	return emulate.Signal{Number: int(si.Signo), Code: si.Code, Value: binary.LittleEndian.Uint64(si.Fields[8:])}, nil
}

// deliver handles a signal-delivery stop.
func (t *thread) deliver(sig unix.Signal) {
	if sig == unix.SIGSEGV && !t.w.hostClock() && t.rdtsc() {
		t.cont(0)
		return
	}
	if sig == unix.SIGBUS && t.fault() {
		return
	}
	caught := t.oldMask != nil && t.catches(sig)
	if t.rewound != 0 && (t.oldMask == nil || caught) {
		_ = ptrace.Unwind(t.tid, &t.info, -uint64(t.rewound))
		t.rewound = 0
	}
	t.interrupted = false
	if sig == unix.SIGSYS { // the filter's own comes without a stop
		caught := t.catches(sig)
		for _, other := range t.task.Process.Threads {
			if o, ok := other.Machine.(*thread); ok {
				o.sigsys = !caught
			}
		}
	}
	var si ptrace.SigInfo
	if ptrace.GetSigInfo(t.tid, &si) == nil {
		if s, ok := t.w.signals.take(&si); ok {
			si.Code = s.Code
			clear(si.Fields[:])
			s.EncodeFields(si.Fields[:])
			_ = ptrace.SetSigInfo(t.tid, &si)
		} else if si.Code <= 0 { // from outside: the sender has no pid here
			clear(si.Fields[:8])
			_ = ptrace.SetSigInfo(t.tid, &si)
		} else if sig == unix.SIGXCPU { // the kernel's, and not from kill
			t.w.ranOut(t)
		}
	}
	if caught {
		t.enterHandler(sig)
		return
	}
	if t.w.sys.StopsNothing(t.task.Process, sig) && !t.catches(sig) {
		sig = 0 // the host judges by its own groups, and would stop it
	}
	t.cont(int(sig))
}

// fault answers a bus error where the guest may touch more of a file than is mapped
// so, see [emulate.Call.Fault]. The thread makes the calls at a syscall instruction of
// its memory. false: the error is the guest's.
func (t *thread) fault() bool {
	var si ptrace.SigInfo
	if t.rewound != 0 || ptrace.GetSigInfo(t.tid, &si) != nil || si.Code != busAdrErr {
		return false
	}
	addr := binary.LittleEndian.Uint64(si.Fields[:])
	at, ok := t.syscallSite()
	if !ok || ptrace.GetRegs(t.tid, &t.regs) != nil {
		return false
	}
	regs := t.regs
	t.call = emulate.Call{Task: t.task, Sys: t.w.sys, Nr: -1}
	t.woken, t.interrupted, t.exited, t.regsOK = false, false, true, true
	t.info.IP = at + syscallSize
	t.w.sys.Current = t.task
	again, err := t.call.Fault(addr)
	switch {
	case err == emulate.ErrGone:
		t.end()
		return true
	case err == unix.ENOSPC:
		t.w.limitHit("disk", t)
	}
	_ = ptrace.SetRegs(t.tid, &regs)
	if again {
		t.cont(0)
	}
	return again
}

// busAdrErr is BUS_ADRERR: no memory behind the address.
const busAdrErr = 2

// syscallSite is where a syscall instruction stands: the thread's last, or its maker's,
// or one of the vDSO.
func (t *thread) syscallSite() (addr uint64, ok bool) {
	const sysinfoEHDR, pages = 33, 2
	syscall := []byte{0x0f, 0x05}
	var code [pages * 4096]byte
	last := t.info.IP - syscallSize
	if n, _ := ptrace.Read(t.tid, code[:syscallSize], last); bytes.Equal(code[:n], syscall) {
		return last, true
	}
	auxv, err := t.ProcFile("auxv")
	for ; err == nil && len(auxv) >= 16; auxv = auxv[16:] {
		if binary.LittleEndian.Uint64(auxv) == sysinfoEHDR {
			addr = binary.LittleEndian.Uint64(auxv[8:])
			n, _ := ptrace.Read(t.tid, code[:], addr)
			i := bytes.Index(code[:n], syscall)
			return addr + uint64(i), i >= 0
		}
	}
	return 0, false
}

// hold keeps a signal whose delivery would break an injected call. A fault would
// only come again: the process has taken its code away.
func (t *thread) hold(sig unix.Signal) {
	var si ptrace.SigInfo
	s := emulate.Signal{Number: int(sig)}
	if ptrace.GetSigInfo(t.tid, &si) == nil {
		if known, ok := t.w.signals.take(&si); ok {
			s = known
		} else if si.Code > 0 && faults>>(sig-1)&1 != 0 {
			t.kill()
			return
		}
	}
	t.held = append(t.held, s)
}

// release sends what hold kept.
func (t *thread) release() {
	held := t.held
	t.held = nil
	for _, s := range held {
		_ = t.Signal(s, false)
	}
}

// hostState is the letter of the host thread's state (proc_pid_stat(5)), 'Z' also if it
// is gone.
func (t *thread) hostState() byte {
	stat, err := t.ProcFile("stat")
	if i := bytes.LastIndexByte(stat, ')') + 2; err == nil && i < len(stat) {
		return stat[i]
	}
	return 'Z'
}

// ProcFile reads a file of the host's /proc/PID of this thread. Any error but ErrGone
// is of the host, EMFILE for example.
func (t *thread) ProcFile(name string) ([]byte, error) {
	if t.reaped {
		return nil, emulate.ErrGone // the number may be another's
	}
	path := fmt.Sprintf("/proc/%d/%s", t.tgid, name)
	if t.tid != t.tgid || name == "stat" { // which for the process has all threads' times
		path = fmt.Sprintf("/proc/%d/task/%d/%s", t.tgid, t.tid, name)
	}
	p, err := readProc(path)
	if err == unix.ENOENT || err == unix.ESRCH {
		err = emulate.ErrGone
	}
	return p, err
}

// readProc is os.ReadFile without what it does for files of other kinds: a part
// of a read of /proc that counts.
func readProc(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	p := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, p[len(p):cap(p)])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return p, err
		}
		if p = p[:len(p)+n]; len(p) == cap(p) {
			p = slices.Grow(p, len(p))
		}
	}
}

// CPUTime is the process's CPU clock, whose id is made of the pid
// (clock_getcpuclockid(3)); a thread's can be read by its own process only.
func (t *thread) CPUTime(thread bool) (time.Duration, error) {
	if !thread {
		var ts unix.Timespec
		if t.reaped || unix.ClockGettime(int32(^t.tgid<<3|2), &ts) != nil {
			return 0, emulate.ErrGone
		}
		return time.Duration(ts.Nano()), nil
	}
	p, err := t.ProcFile("schedstat")
	if err != nil {
		return 0, err
	}
	ns, _, _ := strings.Cut(string(p), " ")
	v, err := strconv.ParseInt(ns, 10, 64)
	return time.Duration(v), err
}

// Usage reads resource use from the host's /proc.
func (t *thread) Usage(thread bool) (emulate.Usage, error) {
	dir := fmt.Sprintf("/proc/%d/", t.tgid)
	if thread {
		dir += fmt.Sprintf("task/%d/", t.tid)
	}
	stat, err := readProc(dir + "stat")
	if err != nil || t.reaped {
		return emulate.Usage{}, emulate.ErrGone
	}
	return parseUsage(stat, t.tgid, t.tid), nil
}

// clockTick is a tick of /proc/PID/stat, USER_HZ being 100 on every x86.
const clockTick = 10_000_000

func parseUsage(stat []byte, tgid, tid int) emulate.Usage {
	var u emulate.Usage
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	f := bytes.Fields(rest)
	num := func(i int) int64 {
		if i-3 >= len(f) {
			return 0
		}
		v, _ := strconv.ParseInt(string(f[i-3]), 10, 64)
		return v
	}
	// Fields as proc_pid_stat(5) numbers them.
	u.MinorFaults, u.MajorFaults = num(10), num(12)
	u.User, u.System = time.Duration(num(14))*clockTick, time.Duration(num(15))*clockTick
	u.MaxRSS = num(24) * 4
	status, _ := readProc(fmt.Sprintf("/proc/%d/task/%d/status", tgid, tid)) // it may be gone by now
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		v, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmHWM":
			u.MaxRSS = v
		case "voluntary_ctxt_switches":
			u.VoluntarySwitches = v
		case "nonvoluntary_ctxt_switches":
			u.InvoluntarySwitches = v
		}
	}
	return u
}
