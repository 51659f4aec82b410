//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"
)

// si_code values (include/uapi/asm-generic/siginfo.h).
const (
	siUser   = 0
	siKernel = 0x80
	siQueue  = -1
	siTkill  = -6
)

// maxSignal is _NSIG.
const maxSignal = 64

// SignalGroup sends to every process of a group. ESRCH if there is none.
func (s *System) SignalGroup(pgid int, sig Signal) error {
	err := error(unix.ESRCH)
	for _, p := range s.Processes() {
		if p.PGID == pgid && p.state == alive {
			err = nil
			_ = p.Signal(sig)
		}
	}
	return err
}

// Signal sends to the process. A zombie takes it and nothing happens.
func (p *Process) Signal(sig Signal) error {
	l := p.Leader()
	if l == nil || sig.Number == 0 {
		return nil
	}
	return l.post(sig, true)
}

// post sends to the task or its process and tells those who wait for it with
// signalfd(2).
func (t *Task) post(sig Signal, process bool) error {
	err := t.Machine.Signal(sig, process)
	t.Process.signalled.Wake()
	return err
}

// maySignal is kernel/signal.c:kill_ok_by_cred and its SIGCONT exception.
func (t *Task) maySignal(p *Process, sig int) bool {
	l := p.Leader()
	if l == nil || t.Cred.EUID == 0 || sig == int(unix.SIGCONT) && p.SID == t.Process.SID {
		return true
	}
	c, o := t.Cred, l.Cred
	return c.EUID == o.SUID || c.EUID == o.RUID || c.RUID == o.SUID || c.RUID == o.RUID
}

func kill(c *Call) (uint64, error) {
	pid, sig := c.Int(0), c.Int(1)
	match := c.named(pid)
	switch {
	case sig < 0 || sig > maxSignal:
		return 0, unix.EINVAL
	case pid == -1<<31:
		return 0, unix.ESRCH
	case pid == -1:
		match = func(p *Process) bool { return p.PID != 1 && p != c.Task.Process }
	}
	return 0, c.signalProcesses(c.userSignal(sig, siUser), match)
}

// named are the processes that a pid_t stands for in kill(2) and wait4(2), but for -1:
// one, the caller's group or another group.
func (c *Call) named(pid int) func(*Process) bool {
	if pid > 0 {
		return func(p *Process) bool { return p.PID == pid }
	}
	group := c.Task.Process.PGID
	if pid < 0 {
		group = -pid
	}
	return func(p *Process) bool { return p.PGID == group }
}

// signalProcesses sends to all that match and may be sent to, the caller's own
// last, so that a SIGKILL reaches the others. ESRCH, EPERM.
func (c *Call) signalProcesses(info Signal, match func(*Process) bool) error {
	t := c.Task
	found, sent := false, false
	for _, p := range c.Sys.Processes() {
		if !match(p) {
			continue
		}
		found = true
		if t.maySignal(p, info.Number) {
			sent = true
			if p != t.Process {
				_ = p.Signal(info)
			}
		}
	}
	switch {
	case !found:
		return unix.ESRCH
	case !sent:
		return unix.EPERM
	}
	if match(t.Process) {
		return t.selfSignal(info)
	}
	return nil
}

// selfSignal sends to the caller's own process; the kernel picks a thread.
func (t *Task) selfSignal(info Signal) error {
	if info.Number == 0 {
		return nil
	}
	return t.post(info, true)
}

func tkill(c *Call) (uint64, error) {
	tid, sig := c.Int(0), c.Int(1)
	if tid <= 0 {
		return 0, unix.EINVAL
	}
	return 0, c.sendThread(0, tid, c.userSignal(sig, siTkill))
}

func tgkill(c *Call) (uint64, error) {
	tgid, tid, sig := c.Int(0), c.Int(1), c.Int(2)
	if tgid <= 0 || tid <= 0 {
		return 0, unix.EINVAL
	}
	return 0, c.sendThread(tgid, tid, c.userSignal(sig, siTkill))
}

func (c *Call) userSignal(sig int, code int32) Signal {
	return Signal{Number: sig, Code: code, PID: c.Task.Process.PID, UID: c.Task.Cred.RUID}
}

func (c *Call) sendThread(tgid, tid int, info Signal) error {
	target := c.Sys.Task(tid)
	switch {
	case info.Number < 0 || info.Number > maxSignal:
		return unix.EINVAL
	case target == nil || tgid != 0 && target.Process.PID != tgid:
		return unix.ESRCH
	case !c.Task.maySignal(target.Process, info.Number):
		return unix.EPERM
	case info.Number == 0:
		return nil
	}
	return target.post(info, false)
}

func rt_sigqueueinfo(c *Call) (uint64, error) {
	tgid, sig, uinfo := c.Int(0), c.Int(1), c.Addr(2)
	info, _, err := c.queuedSignal(uinfo, tgid == c.Task.Process.PID)
	if err != nil {
		return 0, err
	}
	info.Number = sig
	p := c.Sys.Process(tgid)
	switch {
	case sig < 0 || sig > maxSignal:
		return 0, unix.EINVAL
	case p == nil:
		return 0, unix.ESRCH
	case !c.Task.maySignal(p, sig):
		return 0, unix.EPERM
	}
	return 0, p.Signal(info)
}

func rt_tgsigqueueinfo(c *Call) (uint64, error) {
	tgid, tid, sig, uinfo := c.Int(0), c.Int(1), c.Int(2), c.Addr(3)
	if tgid <= 0 || tid <= 0 {
		return 0, unix.EINVAL
	}
	info, _, err := c.queuedSignal(uinfo, tgid == c.Task.Process.PID)
	if err != nil {
		return 0, err
	}
	info.Number = sig
	return 0, c.sendThread(tgid, tid, info)
}

// siginfoSize is SI_MAX_SIZE.
const siginfoSize = 128

// queuedSignal reads a siginfo_t of the guest's making. Only to itself may a
// process claim to be the kernel. Its si_signo only pidfd_send_signal(2) looks at.
func (c *Call) queuedSignal(addr uint64, self bool) (s Signal, signo int, err error) {
	var p [siginfoSize]byte
	if err := c.Read(addr, p[:]); err != nil {
		return s, 0, err
	}
	code := int32(leUint32(p[8:]))
	if (code >= 0 || code == siTkill) && !self {
		return s, 0, unix.EPERM
	}
	s = Signal{Code: code, PID: int(int32(leUint32(p[16:]))), UID: leUint32(p[20:]), Value: leUint64(p[24:])}
	return s, int(int32(leUint32(p[:]))), nil
}

// encode is siginfo_t.
func (g Signal) encode() []byte {
	p := make([]byte, siginfoSize)
	putLeUint32(p, uint32(g.Number))
	putLeUint32(p[8:], uint32(g.Code))
	g.EncodeFields(p[16:])
	return p
}

// EncodeFields writes the union of a siginfo_t, which begins at byte 16.
func (g Signal) EncodeFields(p []byte) {
	putLeUint32(p, uint32(g.PID))
	putLeUint32(p[4:], g.UID)
	putLeUint64(p[8:], g.Value)
}

// rt_sigaction stops only for SIGCHLD, whose disposition decides what becomes of
// dead children; the kernel keeps it as it keeps all the others.
func rt_sigaction(c *Call) (uint64, error) {
	sig, act := c.Int(0), c.Addr(1)
	var sa [16]byte
	if sig == int(unix.SIGCHLD) && act != 0 {
		if err := c.Read(act, sa[:]); err != nil {
			return 0, err
		}
	}
	n, err := c.Kernel()
	if err == nil && sig == int(unix.SIGCHLD) && act != 0 {
		handler, flags := leUint64(sa[:]), leUint64(sa[8:])
		p := c.Task.Process
		p.chldIgnored = handler == 1 // SIG_IGN
		p.chldCaught = handler > 1
		p.chldNoWait = flags&2 != 0 // SA_NOCLDWAIT
		p.chldNoStop = flags&1 != 0 // SA_NOCLDSTOP
	}
	return n, err
}

func pause(c *Call) (uint64, error) {
	if err := c.Wait(0); err != ErrInterrupted {
		return 0, err
	}
	return 0, ERESTARTNOHAND
}

func rt_sigsuspend(c *Call) (uint64, error) {
	unewset, sigsetsize := c.Addr(0), c.Size(1)
	if sigsetsize != 8 {
		return 0, unix.EINVAL
	}
	var mask uint64
	if err := c.ReadValue(unewset, &mask); err != nil {
		return 0, err
	}
	return c.WithSignalMask(&mask, func() (uint64, error) { return pause(c) })
}

func rt_sigtimedwait(c *Call) (uint64, error) {
	set, uinfo, timeout, size := c.Addr(0), c.Addr(1), c.Addr(2), c.Size(3)
	if size != 8 {
		return 0, unix.EINVAL
	}
	var wanted uint64
	if err := c.ReadValue(set, &wanted); err != nil {
		return 0, err
	}
	wanted &^= 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	s, err := c.sleepFor(timeout, 1)
	if err != nil {
		return 0, err
	}
	sig, err := c.takeSignal(wanted, s.deadline)
	if err != nil {
		return 0, err
	}
	if uinfo != 0 {
		if err := c.Write(uinfo, sig.encode()); err != nil {
			return 0, err
		}
	}
	return uint64(sig.Number), nil
}

// takeSignal takes a pending signal of a set, or sleeps until one comes. EAGAIN
// at the deadline, EINTR for another signal.
func (c *Call) takeSignal(wanted uint64, deadline Deadline) (Signal, error) {
	m := c.Task.Machine
	for {
		sig, err := m.TakeSignal(wanted)
		if err != unix.EAGAIN {
			return sig, err
		}
		st, err := m.SignalState()
		if err != nil {
			return Signal{}, err
		}
		// While it sleeps the wanted signals interrupt, as if unblocked.
		mask := st.Blocked &^ wanted
		m.SetWaitMask(&mask)
		err = c.Wait(deadline)
		m.SetWaitMask(nil)
		switch err {
		case unix.ETIMEDOUT:
			return Signal{}, unix.EAGAIN
		case ErrInterrupted:
			if sig, err = m.TakeSignal(wanted); err == unix.EAGAIN {
				err = unix.EINTR
			}
			return sig, err
		case nil:
		default:
			return Signal{}, err
		}
	}
}
