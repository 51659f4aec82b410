//go:build linux && amd64

package ptrace

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/internal/fault"
)

// Requests that x/sys has no name for (include/uapi/linux/ptrace.h).
const (
	getSyscallInfo = 0x420e
	getSigMask     = 0x420a
	setSigMask     = 0x420b
)

func request(req, tid int, addr, data uintptr) error {
	if err := fault.At(fault.Ptrace, tid); err != nil {
		return err
	}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// requestAt is request with data in our memory. The pointer becomes a number
// only in the system call's own arguments: until then the stack it may point into
// can move.
func requestAt(req, tid int, addr uintptr, data unsafe.Pointer) error {
	if err := fault.At(fault.Ptrace, tid); err != nil {
		return err
	}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, uintptr(data), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// Seize attaches to tid without stopping it.
func Seize(tid int, options uintptr) error {
	return request(unix.PTRACE_SEIZE, tid, 0, options)
}

// Interrupt stops a seized tid; the stop is a PTRACE_EVENT_STOP.
func Interrupt(tid int) error { return request(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// SetOptions sets the PTRACE_O_ bits.
func SetOptions(tid int, options uintptr) error {
	return request(unix.PTRACE_SETOPTIONS, tid, 0, options)
}

// Cont continues a stopped tid, delivering signal sig if it is not 0.
func Cont(tid, sig int) error { return request(unix.PTRACE_CONT, tid, 0, uintptr(sig)) }

// Syscall is Cont up to the next entry to or exit from a system call.
func Syscall(tid, sig int) error { return request(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig)) }

// Step delivers sig and stops at the first instruction of its handler.
func Step(tid, sig int) error { return request(unix.PTRACE_SINGLESTEP, tid, 0, uintptr(sig)) }

// Listen leaves tid in its group-stop, to hear of SIGCONT.
func Listen(tid int) error { return request(unix.PTRACE_LISTEN, tid, 0, 0) }

// EventMessage is what the last event stop has to tell (PTRACE_GETEVENTMSG).
func EventMessage(tid int) (uint64, error) {
	var msg uint64
	err := requestAt(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&msg))
	return msg, err
}

// Killed reports that tid, which was stopped, is dying since: it is on its way, or at
// its PTRACE_EVENT_EXIT.
func Killed(tid int) bool {
	var si SigInfo
	err := GetSigInfo(tid, &si)
	return err == unix.ESRCH || err == nil && si.Signo == int32(unix.SIGTRAP) && si.Code == int32(unix.SIGTRAP)|unix.PTRACE_EVENT_EXIT<<8 &&
		binary.LittleEndian.Uint32(si.Fields[:]) == uint32(tid) // which no guest that sends itself such a signal knows
}

// RobustList is what tid has told set_robust_list(2), 0 nothing.
func RobustList(tid int) (head uint64, err error) {
	var size uint64
	_, _, e := unix.Syscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return 0, e
	}
	return head, nil
}

// Info is struct ptrace_syscall_info of a seccomp, entry or exit stop.
type Info struct {
	Op   uint8 // OpEntry, OpExit, OpSeccomp
	_    [3]uint8
	Arch uint32
	IP   uint64
	SP   uint64
	Nr   uint64 // of an exit stop: the result
	Args [6]uint64
	Data uint32 // SECCOMP_RET_DATA
	_    uint32
}

// Kinds of stop in Info.Op.
const (
	OpEntry   = 1
	OpExit    = 2
	OpSeccomp = 3
)

// SyscallInfo fills info for the stop tid is in.
func SyscallInfo(tid int, info *Info) error {
	return requestAt(getSyscallInfo, tid, unsafe.Sizeof(*info), unsafe.Pointer(info))
}

// Offsets in struct user (arch/x86/include/asm/user_64.h).
const (
	offRAX     = 10 * 8
	offOrigRAX = 15 * 8
	offRIP     = 16 * 8
)

// Skip makes tid, in a seccomp stop, leave out the call and return result.
func Skip(tid int, result uint64) error {
	if err := request(unix.PTRACE_POKEUSR, tid, offOrigRAX, ^uintptr(0)); err != nil {
		return err
	}
	return request(unix.PTRACE_POKEUSR, tid, offRAX, uintptr(result))
}

// syscallSize is the length of the syscall instruction.
const syscallSize = 2

// Rewind makes tid, in a seccomp stop whose Info is given, leave out the call
// and stand before its syscall instruction again.
func Rewind(tid int, info *Info) error {
	if err := Skip(tid, info.Nr); err != nil {
		return err
	}
	return request(unix.PTRACE_POKEUSR, tid, offRIP, uintptr(info.IP-syscallSize))
}

// Unwind undoes Rewind at the signal-delivery stop that follows, and leaves
// code as the call's result for the kernel's restart logic
// (arch/x86/kernel/signal.c:arch_do_signal_or_restart).
func Unwind(tid int, info *Info, code uint64) error {
	for _, p := range [...]struct{ off, val uint64 }{
		{offRIP, info.IP}, {offOrigRAX, info.Nr}, {offRAX, code},
	} {
		if err := request(unix.PTRACE_POKEUSR, tid, uintptr(p.off), uintptr(p.val)); err != nil {
			return err
		}
	}
	return nil
}

// Regs is the general register set (struct user_regs_struct).
type Regs = unix.PtraceRegs

// GetRegs and SetRegs read and write all of them.
func GetRegs(tid int, r *Regs) error {
	return requestAt(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(r))
}

// SetRegs is see GetRegs.
func SetRegs(tid int, r *Regs) error {
	return requestAt(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(r))
}

// SetCall puts a system call's number and arguments into r, for a seccomp or
// entry stop.
func SetCall(r *Regs, nr int, a [6]uint64) {
	r.Orig_rax = uint64(nr)
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
}

// SigInfo is the kernel's siginfo_t: signo, errno, code and a union.
type SigInfo struct {
	Signo, Errno, Code, _ int32
	Fields                [112]byte
}

// GetSigInfo and SetSigInfo read and write the signal of a signal-delivery stop.
func GetSigInfo(tid int, si *SigInfo) error {
	return requestAt(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(si))
}

// SetSigInfo is see GetSigInfo.
func SetSigInfo(tid int, si *SigInfo) error {
	return requestAt(unix.PTRACE_SETSIGINFO, tid, 0, unsafe.Pointer(si))
}

// SigMask is the blocked mask.
func SigMask(tid int) (mask uint64, err error) {
	err = requestAt(getSigMask, tid, 8, unsafe.Pointer(&mask))
	return mask, err
}

// SetSigMask replaces the blocked mask: bit n-1 for signal n.
func SetSigMask(tid int, mask uint64) error {
	return requestAt(setSigMask, tid, 8, unsafe.Pointer(&mask))
}

// Send queues signal sig to thread tid of process tgid, or to the process if
// tid is 0, with si_code SI_QUEUE and value as si_value.
func Send(tgid, tid, sig int, value uint64) error {
	si := SigInfo{Signo: int32(sig), Code: -1}
	*(*uint64)(unsafe.Pointer(&si.Fields[8])) = value
	var e unix.Errno
	if tid == 0 {
		_, _, e = unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(tgid), uintptr(sig), uintptr(unsafe.Pointer(&si)))
	} else {
		_, _, e = unix.Syscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(tgid), uintptr(tid), uintptr(sig),
			uintptr(unsafe.Pointer(&si)), 0, 0)
	}
	if e != 0 {
		return e
	}
	return nil
}

// Wait blocks until a tracee or child of the calling thread that is in process
// group pgid changes state. The thread alone is not enough to tell ours from other
// goroutines' children: it may have forked some before it was locked. ECHILD when
// there is none.
func Wait(pgid, flags int, ru *unix.Rusage) (int, unix.WaitStatus, error) {
	var ws unix.WaitStatus
	if pgid <= 0 { // wait4 would take it for another set of children
		return 0, 0, unix.ECHILD
	}
	for {
		tid, err := unix.Wait4(-pgid, &ws, unix.WALL|unix.WNOTHREAD|flags, ru)
		if err != unix.EINTR {
			return tid, ws, err
		}
	}
}

// Ended reports that a child of this thread has; its status is still to be waited for,
// or was.
func Ended(pid int) bool {
	const cldDumped = 3 // the last CLD_ of an end: of a tracee stops are told, too
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL|unix.WNOTHREAD, nil)
	return err != nil || info.Signo != 0 && info.Code <= cldDumped
}

// Read copies tracee memory at addr to p and returns how much there was before
// the first page that cannot be read. EFAULT if none.
func Read(tid int, p []byte, addr uint64) (int, error) {
	return vm(unix.SYS_PROCESS_VM_READV, tid, p, addr)
}

// Write is the reverse; it obeys page protection.
func Write(tid int, p []byte, addr uint64) (int, error) {
	return vm(unix.SYS_PROCESS_VM_WRITEV, tid, p, addr)
}

func vm(call uintptr, tid int, p []byte, addr uint64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := fault.At(fault.Memory, tid); err != nil {
		return 0, err
	}
	local := unix.Iovec{Base: &p[0], Len: uint64(len(p))}
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(p)}
	n, _, e := unix.Syscall6(call, uintptr(tid), uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&remote)), 1, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// Getcpu is getcpu(2) of the calling thread.
func Getcpu() (node, cpu int, err error) {
	var c, n uint32
	_, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&c)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return 0, 0, e
	}
	return int(n), int(c), nil
}

// sigaction is the kernel's struct of rt_sigaction(2).
type sigaction struct {
	handler, flags, restorer, mask uint64
}

func (a *sigaction) get(sig int) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(a)), 8, 0, 0)
	return e
}

// Ignored reports whether the calling process ignores a signal, which a child
// inherits over execve.
func Ignored(sig int) bool {
	var act sigaction
	return act.get(sig) == 0 && act.handler == 1 // SIG_IGN
}

// QuietStops sets SA_NOCLDSTOP of the calling process's SIGCHLD and nothing else.
func QuietStops() error {
	const noCldStop = 1 // SA_NOCLDSTOP
	var act sigaction
	e := act.get(int(unix.SIGCHLD))
	if e == 0 {
		act.flags |= noCldStop
		_, _, e = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	}
	if e != 0 {
		return e
	}
	return nil
}
