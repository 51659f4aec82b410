//go:build linux

package emulate

import "golang.org/x/sys/unix"

// Caps are a task's capability sets. They count in the jail's own world only:
// the real thread has none.
type Caps struct {
	Effective, Permitted, Inheritable, Bounding, Ambient uint64
}

const (
	allCaps = 1<<(unix.CAP_LAST_CAP+1) - 1
	// secbits of include/uapi/linux/securebits.h.
	secNoFixup  = 1 << 2
	secKeepCaps = 1 << 4
)

// Capabilities are the sets of k: those kept in k.Caps, or what the user ids
// give while nobody touched them.
func (k Cred) Capabilities() Caps {
	if k.Caps != nil {
		return *k.Caps
	}
	s := Caps{Bounding: allCaps}
	if k.EUID == 0 {
		s.Effective = allCaps
	}
	if k.RUID == 0 || k.EUID == 0 || k.SUID == 0 {
		s.Permitted = allCaps
	}
	return s
}

// Capable reports a capability of the jail's own world.
func (k Cred) Capable(capability int) bool {
	return k.Capabilities().Effective&(1<<capability) != 0
}

// setCaps replaces the sets. The old value may be shared with other tasks.
func (k *Cred) setCaps(s Caps) { k.Caps = &s }

// fixCaps adjusts the sets after a change of user ids (capabilities(7), "Effect
// of user ID changes on capabilities"; security/commoncap.c:cap_emulate_setxuid).
func (k *Cred) fixCaps(old Cred, securebits uint32) {
	hadRoot := old.RUID == 0 || old.EUID == 0 || old.SUID == 0
	hasRoot := k.RUID == 0 || k.EUID == 0 || k.SUID == 0
	lost := hadRoot && !hasRoot
	if k.Caps == nil && !(lost && securebits&secKeepCaps != 0) || securebits&secNoFixup != 0 {
		return // the rule of Capabilities is the same
	}
	s := old.Capabilities()
	if lost {
		if securebits&secKeepCaps == 0 {
			s.Permitted, s.Effective = 0, 0
		}
		s.Ambient = 0
	}
	switch {
	case old.EUID == 0 && k.EUID != 0:
		s.Effective = 0
	case old.EUID != 0 && k.EUID == 0:
		s.Effective = s.Permitted
	}
	k.setCaps(s)
}

// fsCaps is CAP_FS_MASK of security/commoncap.c: what follows the file system
// user id.
const fsCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE |
	1<<unix.CAP_MKNOD | 1<<unix.CAP_MAC_OVERRIDE

// fixFSCaps adjusts the effective set after setfsuid(2).
func (k *Cred) fixFSCaps(old uint32) {
	s := k.Capabilities()
	switch {
	case old == 0 && k.FSUID != 0:
		s.Effective &^= fsCaps
	case old != 0 && k.FSUID == 0:
		s.Effective |= s.Permitted & fsCaps
	default:
		return
	}
	k.setCaps(s)
}

// Exec is the identity after execve(2) of a program without privileges of its
// own (capabilities(7), "Transformation of capabilities during execve()").
func (k Cred) Exec() Cred {
	k.SUID, k.FSUID, k.SGID, k.FSGID = k.EUID, k.EUID, k.EGID, k.EGID
	if k.Caps == nil {
		return k
	}
	s := *k.Caps
	root := uint64(0)
	if k.RUID == 0 || k.EUID == 0 {
		root = s.Inheritable | s.Bounding
		s.Ambient = 0
	}
	s.Permitted = root | s.Ambient
	s.Effective = s.Ambient
	if k.EUID == 0 {
		s.Effective = s.Permitted
	}
	k.setCaps(s)
	return k
}

// capHeaderArg reads the header and tells how many capData follow. For an
// unknown version it writes the one we know; EINVAL, EFAULT.
func (c *Call) capHeaderArg(addr uint64) (h unix.CapUserHeader, words int, err error) {
	if err := c.ReadValue(addr, &h.Version); err != nil {
		return h, 0, err
	}
	switch h.Version {
	case unix.LINUX_CAPABILITY_VERSION_1:
		words = 1
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		words = 2
	default:
		if err := c.WriteValue(addr, uint32(unix.LINUX_CAPABILITY_VERSION_3)); err != nil {
			return h, 0, err
		}
		return h, 0, unix.EINVAL
	}
	return h, words, nil
}

func capget(c *Call) (uint64, error) {
	hdrp, datap := c.Addr(0), c.Addr(1)
	h, words, err := c.capHeaderArg(hdrp)
	if datap == 0 && (err == nil || err == unix.EINVAL) {
		return 0, nil // only asked for the version
	}
	if err != nil {
		return 0, err
	}
	if err := c.ReadValue(hdrp+4, &h.Pid); err != nil {
		return 0, err
	}
	if h.Pid < 0 {
		return 0, unix.EINVAL
	}
	t, err := c.taskArg(int(h.Pid))
	if err != nil {
		return 0, err
	}
	s := t.Cred.Capabilities()
	data := make([]unix.CapUserData, words)
	for i := range data {
		data[i] = unix.CapUserData{Effective: uint32(s.Effective >> (32 * i)), Permitted: uint32(s.Permitted >> (32 * i)),
			Inheritable: uint32(s.Inheritable >> (32 * i))}
	}
	return 0, c.WriteValue(datap, data)
}

func capset(c *Call) (uint64, error) {
	hdrp, datap := c.Addr(0), c.Addr(1)
	h, words, err := c.capHeaderArg(hdrp)
	if err != nil {
		return 0, err
	}
	if err := c.ReadValue(hdrp+4, &h.Pid); err != nil {
		return 0, err
	}
	if h.Pid != 0 && int(h.Pid) != c.Task.TID {
		return 0, unix.EPERM
	}
	var data [2]unix.CapUserData
	if err := c.ReadValue(datap, data[:words]); err != nil {
		return 0, err
	}
	join := func(lo, hi uint32) uint64 { return (uint64(lo) | uint64(hi)<<32) & allCaps }
	old := c.Task.Cred.Capabilities()
	s := Caps{
		Effective:   join(data[0].Effective, data[1].Effective),
		Permitted:   join(data[0].Permitted, data[1].Permitted),
		Inheritable: join(data[0].Inheritable, data[1].Inheritable),
		Bounding:    old.Bounding,
	}
	switch {
	case s.Inheritable&^(old.Inheritable|old.Permitted) != 0 && !c.Task.Cred.Capable(unix.CAP_SETPCAP),
		s.Inheritable&^(old.Inheritable|old.Bounding) != 0,
		s.Permitted&^old.Permitted != 0,
		s.Effective&^s.Permitted != 0:
		return 0, unix.EPERM
	}
	s.Ambient = old.Ambient & s.Permitted & s.Inheritable
	c.Task.Cred.setCaps(s)
	return 0, nil
}

// taskArg is the task with thread id pid, 0 being the caller. ESRCH.
func (c *Call) taskArg(pid int) (*Task, error) {
	if pid == 0 {
		return c.Task, nil
	}
	if t := c.Sys.tasks[pid]; t != nil {
		return t, nil
	}
	return nil, unix.ESRCH
}
