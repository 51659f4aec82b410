//go:build linux

package emulate

import (
	"bytes"
	"cmp"

	"golang.org/x/sys/unix"

	"oubliette/internal/sysno"
)

// commLen is TASK_COMM_LEN less its NUL.
const commLen = 15

// timerSlack is what every task starts with, in ns.
const timerSlack = 50_000

// prctl answers what a jail can honour or must at least be asked for. Options
// that are not here are EINVAL, as in a kernel built without them.
func prctl(c *Call) (uint64, error) {
	option, arg2, arg3 := c.Int(0), c.Args[1], c.Args[2]
	rest := c.Args[2] | c.Args[3] | c.Args[4]
	switch option {
	case unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_THP_DISABLE, unix.PR_MCE_KILL_GET:
		if arg2|rest != 0 {
			return 0, unix.EINVAL
		}
	case unix.PR_SET_NO_NEW_PRIVS, unix.PR_SET_THP_DISABLE:
		if rest != 0 {
			return 0, unix.EINVAL
		}
	}
	switch option {
	case unix.PR_SET_NAME, unix.PR_GET_NAME:
		return 0, c.prctlName(option == unix.PR_SET_NAME, arg2)
	case unix.PR_GET_KEEPCAPS, unix.PR_SET_KEEPCAPS, unix.PR_GET_SECUREBITS, unix.PR_SET_SECUREBITS,
		unix.PR_CAPBSET_READ, unix.PR_CAPBSET_DROP, unix.PR_CAP_AMBIENT:
		return c.prctlCaps(option, arg2, arg3, c.Args[3]|c.Args[4])
	case unix.PR_SET_PDEATHSIG, unix.PR_SET_DUMPABLE, unix.PR_SET_NO_NEW_PRIVS, unix.PR_SET_CHILD_SUBREAPER,
		unix.PR_SET_THP_DISABLE, unix.PR_SET_TIMERSLACK, unix.PR_SET_TSC, unix.PR_SET_TIMING:
		return 0, c.prctlSet(option, arg2)
	case unix.PR_GET_TID_ADDRESS, unix.PR_GET_SPECULATION_CTRL: // of this thread's own
		return c.Kernel()
	case unix.PR_SET_MM, unix.PR_SET_IO_FLUSHER, unix.PR_GET_IO_FLUSHER:
		return 0, unix.EPERM
	}
	return c.prctlGet(option, arg2)
}

func (c *Call) prctlGet(option int, addr uint64) (uint64, error) {
	t, p := c.Task, c.Task.Process
	switch option {
	case unix.PR_GET_PDEATHSIG:
		return 0, c.WriteValue(addr, int32(t.DeathSignal))
	case unix.PR_GET_DUMPABLE:
		return oneIf(!p.Attr.Undumpable), nil
	case unix.PR_GET_NO_NEW_PRIVS:
		return oneIf(t.Attr.NoNewPrivs), nil
	case unix.PR_GET_CHILD_SUBREAPER:
		return 0, c.WriteValue(addr, uint32(oneIf(p.Subreaper)))
	case unix.PR_GET_THP_DISABLE:
		return oneIf(p.Attr.NoHugePages), nil
	case unix.PR_GET_TIMERSLACK:
		return cmp.Or(t.Attr.TimerSlack, timerSlack), nil
	case unix.PR_GET_TSC:
		return 0, c.WriteValue(addr, int32(unix.PR_TSC_ENABLE))
	case unix.PR_GET_TIMING, unix.PR_GET_SECCOMP, unix.PR_GET_MDWE:
		return 0, nil // statistical; no filter of the guest's; none
	case unix.PR_MCE_KILL_GET:
		return unix.PR_MCE_KILL_DEFAULT, nil
	}
	return 0, unix.EINVAL
}

func (c *Call) prctlSet(option int, arg2 uint64) error {
	t, p := c.Task, c.Task.Process
	switch option {
	case unix.PR_SET_PDEATHSIG:
		if arg2 > 64 {
			return unix.EINVAL
		}
		t.DeathSignal = int(arg2)
	case unix.PR_SET_DUMPABLE:
		if arg2 > 1 {
			return unix.EINVAL
		}
		p.Attr.Undumpable = arg2 == 0
	case unix.PR_SET_NO_NEW_PRIVS:
		if arg2 != 1 {
			return unix.EINVAL
		}
		t.Attr.NoNewPrivs = true
	case unix.PR_SET_CHILD_SUBREAPER:
		p.Subreaper = arg2 != 0
	case unix.PR_SET_THP_DISABLE:
		if _, err := c.Kernel(); err != nil {
			return err
		}
		p.Attr.NoHugePages = arg2 != 0
	case unix.PR_SET_TIMERSLACK: // kept and shown; 0 is the usual
		t.Attr.TimerSlack = arg2
	case unix.PR_SET_TSC: // the jail's clock decides
		if arg2 != unix.PR_TSC_ENABLE {
			return unix.EINVAL
		}
	case unix.PR_SET_TIMING:
		if arg2 != unix.PR_TIMING_STATISTICAL {
			return unix.EINVAL
		}
	}
	return nil
}

// prctlName is PR_SET_NAME and PR_GET_NAME: 16 bytes, the last one 0.
func (c *Call) prctlName(set bool, addr uint64) error {
	var name [commLen + 1]byte
	if !set {
		copy(name[:commLen], c.Task.Comm)
		return c.Write(addr, name[:])
	}
	n, err := c.Task.Machine.ReadMemory(name[:commLen], addr)
	if err != nil {
		return err
	}
	end := bytes.IndexByte(name[:n], 0)
	if end < 0 && n < commLen {
		return unix.EFAULT
	}
	if end < 0 {
		end = commLen
	}
	c.Task.Comm = string(name[:end])
	return nil
}

// prctlCaps is the options over capabilities (security/commoncap.c:cap_task_prctl).
func (c *Call) prctlCaps(option int, arg2, arg3, rest uint64) (uint64, error) {
	k, bits := &c.Task.Cred, &c.Task.Attr.SecureBits
	s := k.Capabilities()
	switch option {
	case unix.PR_GET_KEEPCAPS:
		return oneIf(*bits&secKeepCaps != 0), nil
	case unix.PR_SET_KEEPCAPS:
		if arg2 > 1 {
			return 0, unix.EINVAL
		}
		if *bits&(secKeepCaps<<1) != 0 {
			return 0, unix.EPERM
		}
		*bits = *bits&^secKeepCaps | uint32(arg2)*secKeepCaps
		return 0, nil
	case unix.PR_GET_SECUREBITS:
		return uint64(*bits), nil
	case unix.PR_SET_SECUREBITS:
		// SECURE_ALL_LOCKS, all bits, and those that need no privilege.
		const locks, all, unprivileged = 0xaaa, 0xfff, 0xf00
		locked, changed := *bits&locks, *bits^uint32(arg2)
		if locked>>1&changed != 0 || locked&^uint32(arg2) != 0 || arg2&^all != 0 ||
			!k.Capable(unix.CAP_SETPCAP) && (changed == 0 || changed&^unprivileged != 0) {
			return 0, unix.EPERM
		}
		*bits = uint32(arg2)
		k.setCaps(s) // from now on they follow the ids as the bits say
		return 0, nil
	case unix.PR_CAPBSET_READ:
		if arg2 > unix.CAP_LAST_CAP {
			return 0, unix.EINVAL
		}
		return s.Bounding >> arg2 & 1, nil
	case unix.PR_CAPBSET_DROP:
		if !k.Capable(unix.CAP_SETPCAP) {
			return 0, unix.EPERM
		}
		if arg2 > unix.CAP_LAST_CAP {
			return 0, unix.EINVAL
		}
		s.Bounding &^= 1 << arg2
		k.setCaps(s)
		return 0, nil
	}
	return c.capAmbient(s, arg2, arg3, rest)
}

func (c *Call) capAmbient(s Caps, op, capability, rest uint64) (uint64, error) {
	k := &c.Task.Cred
	if op == unix.PR_CAP_AMBIENT_CLEAR_ALL {
		if capability|rest != 0 {
			return 0, unix.EINVAL
		}
		s.Ambient = 0
		k.setCaps(s)
		return 0, nil
	}
	if rest != 0 || capability > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	bit := uint64(1) << capability
	switch op {
	case unix.PR_CAP_AMBIENT_IS_SET:
		return oneIf(s.Ambient&bit != 0), nil
	case unix.PR_CAP_AMBIENT_RAISE:
		const noAmbientRaise = 1 << 6
		if s.Permitted&bit == 0 || s.Inheritable&bit == 0 || c.Task.Attr.SecureBits&noAmbientRaise != 0 {
			return 0, unix.EPERM
		}
		s.Ambient |= bit
	case unix.PR_CAP_AMBIENT_LOWER:
		s.Ambient &^= bit
	default:
		return 0, unix.EINVAL
	}
	k.setCaps(s)
	return 0, nil
}

// arch_prctl: the options that change nothing but the thread's own registers run
// natively. What would map a vDSO or fault on cpuid is refused as on a CPU or
// kernel without it.
func arch_prctl(c *Call) (uint64, error) {
	const (
		setGS, setFS, getFS, getGS         = 0x1001, 0x1002, 0x1003, 0x1004
		getCPUID, setCPUID                 = 0x1011, 0x1012
		getXcompSupp, getXcomp, reqXcomp   = 0x1021, 0x1022, 0x1023
		getUntagMask, maxTagBits, cpuidBad = 0x4001, 0x4003, unix.ENODEV
	)
	switch code := c.Int(0); code {
	case setGS, setFS, getFS, getGS, getCPUID, getXcompSupp, getXcomp, reqXcomp, getUntagMask, maxTagBits:
		return c.Kernel()
	case setCPUID:
		return 0, cpuidBad
	}
	return 0, unix.EINVAL
}

// set_tid_address runs natively, so that the kernel clears the word at the
// thread's end; the thread's number is ours.
func set_tid_address(c *Call) (uint64, error) {
	if _, err := c.Kernel(); err != nil {
		return 0, err
	}
	c.Task.tidAddress = c.Addr(0)
	return uint64(c.Task.TID), nil
}

// get_robust_list tells the caller's own; another's would name a host thread.
func get_robust_list(c *Call) (uint64, error) {
	pid := c.Int(0)
	if pid != 0 && pid != c.Task.TID {
		if c.Sys.tasks[pid] == nil {
			return 0, unix.ESRCH
		}
		return 0, unix.EPERM
	}
	args := c.Args
	args[0] = 0
	return c.Task.Machine.Native(sysno.Must("get_robust_list"), args)
}

// personality knows plain Linux and ADDR_NO_RANDOMIZE, which is kept for who
// asks. EINVAL for others.
func personality(c *Call) (uint64, error) {
	const query, addrNoRandomize = 0xffffffff, 0x0040000
	persona := c.Uint(0)
	old := c.Task.Attr.Personality
	if persona != query {
		if persona&^addrNoRandomize != 0 {
			return 0, unix.EINVAL
		}
		c.Task.Attr.Personality = persona
	}
	return uint64(old), nil
}
