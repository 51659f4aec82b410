//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// pidFD is a descriptor of a process (fs/pidfs.c), which is readable from its end
// on.
type pidFD struct{ p *Process }

func (f *pidFD) Close() error { return nil }

// Poll is pidfd_poll.
func (f *pidFD) Poll() fdtable.Events {
	switch f.p.state {
	case zombie:
		return fdtable.In | fdtable.RdNorm
	case reaped:
		return fdtable.In | fdtable.RdNorm | fdtable.Hup
	}
	return 0
}

func (f *pidFD) Queue() *fdtable.Queue { return &f.p.ended }

// pidFD is argument i as the descriptor of a process. EBADF.
func (c *Call) pidFD(i int) (*Process, *fdtable.Description, error) {
	f, d, err := fileOf[*pidFD](c.Task, c.FD(i), unix.EBADF)
	if err != nil {
		return nil, nil, err
	}
	return f.p, d, nil
}

// processOf is whose descriptor d is, also as a directory of /proc
// (fs/proc/base.c:tgid_pidfd_to_pid).
func processOf(d *fdtable.Description) (*Process, bool) {
	if f, ok := d.File.(*pidFD); ok {
		return f.p, true
	}
	n, ok := entryOf(d).Node.(procDir)
	return n.p, ok && n.p != nil && n.t == nil && n.row.name == ""
}

func (c *Call) installPIDFD(p *Process, flags int) (uint64, error) {
	return c.installAnon(&pidFD{p}, "[pidfd]", flags, true)
}

func pidfd_open(c *Call) (uint64, error) {
	pid, flags := c.Int(0), c.Flags(1)
	if flags&^unix.PIDFD_NONBLOCK != 0 || pid <= 0 {
		return 0, unix.EINVAL
	}
	if p := c.Sys.Process(pid); p != nil {
		return c.installPIDFD(p, flags)
	}
	if c.Sys.Task(pid) != nil {
		return 0, unix.ENOENT
	}
	return 0, unix.ESRCH
}

func pidfd_send_signal(c *Call) (uint64, error) {
	sig, uinfo, flags, t := c.Int(1), c.Addr(2), c.Flags(3), c.Task
	switch flags {
	case 0, unix.PIDFD_SIGNAL_THREAD, unix.PIDFD_SIGNAL_THREAD_GROUP, unix.PIDFD_SIGNAL_PROCESS_GROUP:
	default:
		return 0, unix.EINVAL
	}
	d, err := c.Task.opened(c.FD(0))
	if err != nil {
		return 0, err
	}
	p, ok := processOf(d)
	if !ok {
		return 0, unix.EBADF
	}
	info := c.userSignal(sig, siUser)
	if flags == unix.PIDFD_SIGNAL_THREAD {
		info.Code = siTkill
	}
	if uinfo != 0 {
		self := p.PID == t.TID && flags != unix.PIDFD_SIGNAL_PROCESS_GROUP
		number := 0
		if info, number, err = c.queuedSignal(uinfo, true); err == nil && number != sig {
			err = unix.EINVAL
		}
		if err == nil && !self && (info.Code >= 0 || info.Code == siTkill) {
			err = unix.EPERM
		}
		if err != nil {
			return 0, err
		}
	}
	info.Number = sig
	switch {
	case flags == unix.PIDFD_SIGNAL_PROCESS_GROUP:
		if sig < 0 || sig > maxSignal {
			return 0, unix.EINVAL
		}
		return 0, c.signalProcesses(info, func(o *Process) bool { return o.PGID == p.PID })
	case p.state == reaped:
		return 0, unix.ESRCH
	case flags == unix.PIDFD_SIGNAL_THREAD:
		return 0, c.sendThread(0, p.PID, info)
	case sig < 0 || sig > maxSignal:
		return 0, unix.EINVAL
	case !t.maySignal(p, sig):
		return 0, unix.EPERM
	}
	return 0, p.Signal(info)
}

func pidfd_getfd(c *Call) (uint64, error) {
	fd, flags := c.FD(1), c.Flags(2)
	if flags != 0 {
		return 0, unix.EINVAL
	}
	p, _, err := c.pidFD(0)
	if err != nil {
		return 0, err
	}
	t := p.Leader()
	if t == nil {
		return 0, unix.ESRCH
	}
	if !c.Task.mayTrace(t, c.Task.Cred.RUID, c.Task.Cred.RGID) {
		return 0, unix.EPERM
	}
	d, err := t.FDs.Get(fd)
	if err != nil {
		return 0, err
	}
	return c.install(d.Retain(), true)
}

// clonePIDFD is CLONE_PIDFD: the descriptor is in the parent's table and its
// number at addr before there is a child, so that nothing can fail afterwards.
func (c *Call) clonePIDFD(addr uint64, clone func(made func(*Task)) error) error {
	t, f := c.Task, &pidFD{&Process{}}
	fd, err := c.installAnon(f, "[pidfd]", 0, true)
	if err != nil {
		return err
	}
	d, _ := t.FDs.Get(int(fd))
	if err = c.WriteValue(addr, int32(fd)); err == nil {
		err = clone(func(child *Task) { f.p = child.Process })
	}
	if now, _ := t.FDs.Get(int(fd)); err != nil && err != ErrGone && now == d {
		_ = t.FDs.Close(int(fd))
	}
	return err
}
