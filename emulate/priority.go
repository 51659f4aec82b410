//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/internal/sysno"
)

// whose lists the tasks that (which, who) of getpriority(2) or ioprio_get(2)
// means: which is PRIO_PROCESS, PRIO_PGRP or PRIO_USER.
func (c *Call) whose(which, who int) []*Task {
	var list []*Task
	if which == unix.PRIO_PROCESS {
		if t, err := c.taskArg(who); err == nil {
			list = append(list, t)
		}
		return list
	}
	if who == 0 && which == unix.PRIO_PGRP {
		who = c.Task.Process.PGID
	} else if who == 0 {
		who = int(c.Task.Cred.RUID)
	}
	for _, p := range c.Sys.Processes() {
		for _, t := range p.Threads {
			if which == unix.PRIO_PGRP && p.PGID == who || which == unix.PRIO_USER && int(t.Cred.RUID) == who {
				list = append(list, t)
			}
		}
	}
	return list
}

// getpriority gives 20 - nice, so that no result looks like an errno; libc turns
// it back.
func getpriority(c *Call) (uint64, error) {
	which, who := c.Int(0), c.Int(1)
	if which < unix.PRIO_PROCESS || which > unix.PRIO_USER {
		return 0, unix.EINVAL
	}
	best := 0
	for _, t := range c.whose(which, who) {
		best = max(best, 20-t.Attr.Nice)
	}
	if best == 0 {
		return 0, unix.ESRCH
	}
	return uint64(best), nil
}

func setpriority(c *Call) (uint64, error) {
	which, who, nice := c.Int(0), c.Int(1), min(max(c.Int(2), -20), 19)
	if which < unix.PRIO_PROCESS || which > unix.PRIO_USER {
		return 0, unix.EINVAL
	}
	err := error(unix.ESRCH)
	for _, t := range c.whose(which, who) {
		if e := c.setNice(t, nice); e != nil {
			err = e
		} else if err == unix.ESRCH {
			err = nil
		}
	}
	return 0, err
}

// setNice makes t's real thread nicer if it is the caller; another's takes
// effect in what is shown only, and so does what a capability allows that the
// caller has in the jail and not of the host.
func (c *Call) setNice(t *Task, nice int) error {
	if !c.Task.owns(t) {
		return unix.EPERM
	}
	if nice < t.Attr.Nice && !c.canNice(t, nice) {
		return unix.EACCES
	}
	if t == c.Task {
		args := [6]uint64{unix.PRIO_PROCESS, 0, uint64(nice)}
		_, err := t.Machine.Native(sysno.Must("setpriority"), args)
		if err != nil && !(err == unix.EACCES && c.Task.Cred.Capable(unix.CAP_SYS_NICE)) {
			return err
		}
	}
	t.Attr.Nice = nice
	return nil
}

// I/O priorities (include/uapi/linux/ioprio.h): a class above 13 bits of data.
// There is no disk they could apply to; they are kept and shown.
const (
	ioClassShift                                   = 13
	ioClassNone, ioClassRT, ioClassBE, ioClassIdle = 0, 1, 2, 3
	ioLevels                                       = 7 // mask
)

func ioprio_set(c *Call) (uint64, error) {
	which, who, ioprio := c.Int(0), c.Int(1), c.Int(2)
	switch ioprio >> ioClassShift & 7 {
	case ioClassRT:
		if !c.Task.Cred.Capable(unix.CAP_SYS_NICE) && !c.Task.Cred.Capable(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
	case ioClassNone:
		if ioprio&ioLevels != 0 {
			return 0, unix.EINVAL
		}
	case ioClassBE, ioClassIdle:
	default:
		return 0, unix.EINVAL
	}
	if which < 1 || which > 3 {
		return 0, unix.EINVAL
	}
	err := error(unix.ESRCH)
	for _, t := range c.whose(which-1, who) {
		me := c.Task.Cred
		if me.EUID != t.Cred.RUID && me.RUID != t.Cred.RUID && !me.Capable(unix.CAP_SYS_NICE) {
			return 0, unix.EPERM
		}
		t.Attr.IOPriority = ioprio & 0xffff
		err = nil
	}
	return 0, err
}

func ioprio_get(c *Call) (uint64, error) {
	which, who := c.Int(0), c.Int(1)
	if which < 1 || which > 3 {
		return 0, unix.EINVAL
	}
	best := -1
	for _, t := range c.whose(which-1, who) {
		p := t.Attr.IOPriority
		if p>>ioClassShift == ioClassNone && which != 1 { // block/blk-ioc.c: from the nice value
			p = ioClassBE<<ioClassShift | (t.Attr.Nice+20)/5
		}
		if best < 0 || p < best {
			best = p
		}
	}
	if best < 0 {
		return 0, unix.ESRCH
	}
	return uint64(best), nil
}
