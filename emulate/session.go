//go:build linux

package emulate

import "golang.org/x/sys/unix"

func setpgid(c *Call) (uint64, error) {
	pid, pgid := c.Int(0), c.Int(1)
	own := c.Task.Process
	if pgid < 0 {
		return 0, unix.EINVAL
	}
	p := own
	if pid != 0 && pid != own.PID {
		if p = c.Sys.Process(pid); p == nil || p.Parent != own {
			return 0, unix.ESRCH
		}
		if p.SID != own.SID {
			return 0, unix.EPERM
		}
		if p.execed {
			return 0, unix.EACCES
		}
	}
	if pgid == 0 {
		pgid = p.PID
	}
	if p.SID == p.PID || pgid != p.PID && !c.Sys.groupInSession(pgid, own.SID) {
		return 0, unix.EPERM
	}
	p.PGID = pgid
	return 0, nil
}

func (s *System) groupInSession(pgid, sid int) bool {
	return s.anyProcess(func(p *Process) bool { return p.PGID == pgid && p.SID == sid })
}

// processArg is the process of a pid argument, 0 being the caller's. ESRCH.
func (c *Call) processArg(i int) (*Process, error) {
	pid := c.Int(i)
	if pid == 0 {
		return c.Task.Process, nil
	}
	if t := c.Sys.Task(pid); t != nil {
		return t.Process, nil
	}
	if p := c.Sys.Process(pid); p != nil {
		return p, nil
	}
	return nil, unix.ESRCH
}

func getpgid(c *Call) (uint64, error) {
	p, err := c.processArg(0)
	if err != nil {
		return 0, err
	}
	return uint64(p.PGID), nil
}

func getpgrp(c *Call) (uint64, error) { return uint64(c.Task.Process.PGID), nil }

func getsid(c *Call) (uint64, error) {
	p, err := c.processArg(0)
	if err != nil {
		return 0, err
	}
	return uint64(p.SID), nil
}

func setsid(c *Call) (uint64, error) {
	p := c.Task.Process
	if p.SID == p.PID || c.Sys.groupExists(p.PID) {
		return 0, unix.EPERM
	}
	p.SID, p.PGID, p.tty = p.PID, p.PID, nil
	return uint64(p.PID), nil
}

func (s *System) groupExists(pgid int) bool {
	return s.anyProcess(func(p *Process) bool { return p.PGID == pgid })
}
