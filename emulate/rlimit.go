//go:build linux

package emulate

import (
	"oubliette/internal/sysno"

	"golang.org/x/sys/unix"
)

func getrlimit(c *Call) (uint64, error) {
	resource, rlim := c.Uint(0), c.Addr(1)
	if resource >= uint32(len(c.Task.Process.Rlimits)) {
		return 0, unix.EINVAL
	}
	return 0, c.WriteValue(rlim, c.Task.Process.Rlimits[resource])
}

func setrlimit(c *Call) (uint64, error) {
	resource, rlim := c.Uint(0), c.Addr(1)
	var r unix.Rlimit
	if err := c.ReadValue(rlim, &r); err != nil {
		return 0, err
	}
	return 0, c.setLimit(c.Task, resource, r, rlim)
}

func prlimit64(c *Call) (uint64, error) {
	pid, resource, newLimit, oldLimit := c.Int(0), c.Uint(1), c.Addr(2), c.Addr(3)
	var r unix.Rlimit
	if newLimit != 0 {
		if err := c.ReadValue(newLimit, &r); err != nil {
			return 0, err
		}
	}
	t, err := c.taskArg(pid)
	if err != nil {
		return 0, err
	}
	me, it := c.Task.Cred, t.Cred
	same := me.RUID == it.RUID && me.RUID == it.EUID && me.RUID == it.SUID &&
		me.RGID == it.RGID && me.RGID == it.EGID && me.RGID == it.SGID
	if t != c.Task && !same && !me.Capable(unix.CAP_SYS_RESOURCE) {
		return 0, unix.EPERM
	}
	if resource >= uint32(len(t.Process.Rlimits)) {
		return 0, unix.EINVAL
	}
	old := t.Process.Rlimits[resource]
	if newLimit != 0 {
		if err := c.setLimit(t, resource, r, newLimit); err != nil {
			return 0, err
		}
	}
	if oldLimit != 0 {
		return 0, c.WriteValue(oldLimit, old)
	}
	return 0, nil
}

// setLimit sets a limit of t's process; addr is where the guest has r. Limits on
// the address space and CPU time are enforced by the real kernel, so they are
// set there too. That reads the guest's memory once more: a thread that changes
// it meanwhile gets another limit, under the same real hard limit.
func (c *Call) setLimit(t *Task, resource uint32, r unix.Rlimit, addr uint64) error {
	limits := &t.Process.Rlimits
	switch {
	case resource >= uint32(len(limits)), r.Cur > r.Max:
		return unix.EINVAL
	case resource == unix.RLIMIT_NOFILE && r.Max > maxFiles,
		r.Max > limits[resource].Max && !c.Task.Cred.Capable(unix.CAP_SYS_RESOURCE):
		return unix.EPERM
	}
	switch resource {
	case unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_STACK, unix.RLIMIT_CPU:
		if t.Process != c.Task.Process {
			return unix.EPERM
		}
		args := [6]uint64{0, uint64(resource), addr}
		if more := c.Sys.WithReserved(r); more != r && resource == unix.RLIMIT_AS {
			if err := c.WriteValue(addr, more); err != nil {
				return err
			}
			defer func() { _ = c.WriteValue(addr, r) }()
		}
		if _, err := c.Task.Machine.Native(sysno.Prlimit64, args); err != nil {
			return err
		}
	}
	limits[resource] = r
	return nil
}

// WithReserved is a limit on a guest's address space as the host must have it.
func (s *System) WithReserved(l unix.Rlimit) unix.Rlimit {
	for _, p := range []*uint64{&l.Cur, &l.Max} {
		*p += min(s.Reserved, unix.RLIM_INFINITY-*p)
	}
	return l
}
