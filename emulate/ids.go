//go:build linux

package emulate

import (
	"slices"

	"golang.org/x/sys/unix"
)

func getpid(c *Call) (uint64, error) { return uint64(c.Task.Process.PID), nil }
func gettid(c *Call) (uint64, error) { return uint64(c.Task.TID), nil }

func getppid(c *Call) (uint64, error) {
	return uint64(c.Task.Process.PPID()), nil
}

func getuid(c *Call) (uint64, error)  { return uint64(c.Task.Cred.RUID), nil }
func geteuid(c *Call) (uint64, error) { return uint64(c.Task.Cred.EUID), nil }
func getgid(c *Call) (uint64, error)  { return uint64(c.Task.Cred.RGID), nil }
func getegid(c *Call) (uint64, error) { return uint64(c.Task.Cred.EGID), nil }

func getresuid(c *Call) (uint64, error) {
	k := c.Task.Cred
	return 0, c.writeIDs([3]uint32{k.RUID, k.EUID, k.SUID})
}

func getresgid(c *Call) (uint64, error) {
	k := c.Task.Cred
	return 0, c.writeIDs([3]uint32{k.RGID, k.EGID, k.SGID})
}

func (c *Call) writeIDs(ids [3]uint32) error {
	for i, id := range ids {
		if err := c.WriteValue(c.Addr(i), id); err != nil {
			return err
		}
	}
	return nil
}

// keep is the id that leaves one alone in the setre*, setres* and chown calls.
const keep = ^uint32(0)

// ids are the four user or group ids of a Cred, so that each rule below is
// written once.
type ids struct {
	real, effective, saved, fs *uint32
	capability                 int // what may set any id
}

func (k *Cred) uids() ids { return ids{&k.RUID, &k.EUID, &k.SUID, &k.FSUID, unix.CAP_SETUID} }
func (k *Cred) gids() ids { return ids{&k.RGID, &k.EGID, &k.SGID, &k.FSGID, unix.CAP_SETGID} }

// changeIDs runs set on a copy of the task's identity and takes it over if set
// gives no error.
func (c *Call) changeIDs(which func(*Cred) ids, set func(i ids, privileged bool) error) error {
	old := c.Task.Cred
	k := old
	i := which(&k)
	if err := set(i, old.Capable(i.capability)); err != nil {
		return err
	}
	k.fixCaps(old, c.Task.Attr.SecureBits)
	c.Task.Cred, c.Task.Process.uid = k, k.RUID
	if k.EUID != old.EUID || k.EGID != old.EGID || k.FSUID != old.FSUID || k.FSGID != old.FSGID {
		c.Task.Process.Attr.Undumpable = true
		c.Task.DeathSignal = 0
	}
	return nil
}

// setID is setuid(2) and setgid(2).
func (c *Call) setID(which func(*Cred) ids) (uint64, error) {
	id := c.Uint(0)
	return 0, c.changeIDs(which, func(i ids, privileged bool) error {
		switch {
		case id == keep:
			return unix.EINVAL
		case privileged:
			*i.real, *i.saved = id, id
		case id != *i.real && id != *i.saved:
			return unix.EPERM
		}
		*i.effective, *i.fs = id, id
		return nil
	})
}

func setuid(c *Call) (uint64, error) { return c.setID((*Cred).uids) }
func setgid(c *Call) (uint64, error) { return c.setID((*Cred).gids) }

// setReID is setreuid(2) and setregid(2).
func (c *Call) setReID(which func(*Cred) ids) (uint64, error) {
	real, effective := c.Uint(0), c.Uint(1)
	return 0, c.changeIDs(which, func(i ids, privileged bool) error {
		old := *i.real
		if real != keep && real != *i.real && real != *i.effective && !privileged {
			return unix.EPERM
		}
		if effective != keep && effective != *i.real && effective != *i.effective &&
			effective != *i.saved && !privileged {
			return unix.EPERM
		}
		if real != keep {
			*i.real = real
		}
		if effective != keep {
			*i.effective = effective
		}
		if real != keep || effective != keep && effective != old {
			*i.saved = *i.effective
		}
		*i.fs = *i.effective
		return nil
	})
}

func setreuid(c *Call) (uint64, error) { return c.setReID((*Cred).uids) }
func setregid(c *Call) (uint64, error) { return c.setReID((*Cred).gids) }

// setResID is setresuid(2) and setresgid(2).
func (c *Call) setResID(which func(*Cred) ids) (uint64, error) {
	want := [3]uint32{c.Uint(0), c.Uint(1), c.Uint(2)}
	return 0, c.changeIDs(which, func(i ids, privileged bool) error {
		fields := [3]*uint32{i.real, i.effective, i.saved}
		had := []uint32{*i.real, *i.effective, *i.saved}
		for j, id := range want {
			if id == keep {
				continue
			}
			if !privileged && !slices.Contains(had, id) {
				return unix.EPERM
			}
			*fields[j] = id
		}
		*i.fs = *i.effective
		return nil
	})
}

func setresuid(c *Call) (uint64, error) { return c.setResID((*Cred).uids) }
func setresgid(c *Call) (uint64, error) { return c.setResID((*Cred).gids) }

// setFSID is setfsuid(2) and setfsgid(2): no errors, only the old id.
func (c *Call) setFSID(which func(*Cred) ids) (uint64, error) {
	id := c.Uint(0)
	old := *which(&c.Task.Cred).fs
	_ = c.changeIDs(which, func(i ids, privileged bool) error {
		if id == keep || !privileged && id != *i.real && id != *i.effective && id != *i.saved && id != *i.fs {
			return unix.EPERM
		}
		*i.fs = id
		return nil
	})
	if k := &c.Task.Cred; which(k).fs == &k.FSUID {
		k.fixFSCaps(old)
	}
	return uint64(old), nil
}

func setfsuid(c *Call) (uint64, error) { return c.setFSID((*Cred).uids) }
func setfsgid(c *Call) (uint64, error) { return c.setFSID((*Cred).gids) }

// maxGroups is NGROUPS_MAX of include/uapi/linux/limits.h.
const maxGroups = 65536

func getgroups(c *Call) (uint64, error) {
	size, list := c.Int(0), c.Addr(1)
	groups := c.Task.Cred.Groups
	if size < 0 || size > 0 && size < len(groups) {
		return 0, unix.EINVAL
	}
	if size > 0 {
		if err := c.WriteValue(list, groups); err != nil {
			return 0, err
		}
	}
	return uint64(len(groups)), nil
}

func setgroups(c *Call) (uint64, error) {
	size, list := c.Uint(0), c.Addr(1)
	if !c.Task.Cred.Capable(unix.CAP_SETGID) {
		return 0, unix.EPERM
	}
	if size > maxGroups {
		return 0, unix.EINVAL
	}
	groups := make([]uint32, size)
	if err := c.ReadValue(list, groups); err != nil {
		return 0, err
	}
	slices.Sort(groups)
	c.Task.Cred.Groups = groups
	return 0, nil
}
