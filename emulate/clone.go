//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Flags of clone(2) the guest may give. Namespaces (EPERM, as for an
// unprivileged process) and cgroups are not among them.
const (
	cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME
	// What the real kernel is told; CLONE_UNTRACED above all is not.
	cloneNative = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SETTLS |
		unix.CLONE_CHILD_CLEARTID | unix.CLONE_VFORK
	// What clone3 knows and clone cannot say.
	cloneHigh = ^uint64(0xffffffff)
)

// cloneArgs is struct clone_args in its first version; more of it must be 0.
type cloneArgs struct {
	Flags, PIDFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS uint64
	SetTID, SetTIDSize, Cgroup                                           uint64
}

func fork(c *Call) (uint64, error) {
	return c.clone(cloneArgs{ExitSignal: uint64(unix.SIGCHLD)})
}

func vfork(c *Call) (uint64, error) {
	return c.clone(cloneArgs{Flags: unix.CLONE_VFORK | unix.CLONE_VM, ExitSignal: uint64(unix.SIGCHLD)})
}

func clone(c *Call) (uint64, error) {
	flags, stack, ptid, ctid, tls := c.Size(0), c.Addr(1), c.Addr(2), c.Addr(3), c.Addr(4)
	if flags&unix.CLONE_PIDFD != 0 && flags&unix.CLONE_PARENT_SETTID != 0 {
		return 0, unix.EINVAL
	}
	return c.clone(cloneArgs{Flags: flags & 0xffffff00, ExitSignal: flags & 0xff,
		Stack: stack, PIDFD: ptid, ParentTID: ptid, ChildTID: ctid, TLS: tls})
}

func clone3(c *Call) (uint64, error) {
	const first = 64 // CLONE_ARGS_SIZE_VER0
	addr, size := c.Addr(0), c.Size(1)
	var a cloneArgs
	if err := c.readStruct(addr, size, first, &a); err != nil {
		return 0, err
	}
	const cloneIntoCgroup, cloneClearSighand = 1 << 33, 1 << 32
	switch {
	case a.Flags&^(0xffffff00|cloneIntoCgroup|cloneClearSighand) != 0 && a.Flags&0xff&^unix.CLONE_NEWTIME != 0,
		a.Flags&(unix.CLONE_DETACHED|0xff&^unix.CLONE_NEWTIME) != 0,
		a.ExitSignal > 64, (a.Stack == 0) != (a.StackSize == 0),
		a.Flags&(cloneIntoCgroup|cloneClearSighand) != 0:
		return 0, unix.EINVAL
	case a.SetTIDSize != 0:
		return 0, unix.EPERM
	}
	a.Stack += a.StackSize
	return c.clone(a)
}

// maxTasks bounds what a jail without limits may have alive or not waited for:
// half of the pids, so that a free one is found soon.
const maxTasks = maxPID / 2

func (c *Call) clone(a cloneArgs) (uint64, error) {
	t, s := c.Task, c.Sys
	f := a.Flags
	switch {
	case f&cloneNamespaces != 0:
		return 0, unix.EPERM
	case f&cloneHigh != 0, f&unix.CLONE_PIDFD != 0 && f&(unix.CLONE_THREAD|unix.CLONE_DETACHED) != 0,
		f&unix.CLONE_THREAD != 0 && f&unix.CLONE_SIGHAND == 0,
		f&unix.CLONE_SIGHAND != 0 && f&unix.CLONE_VM == 0,
		f&unix.CLONE_PARENT != 0 && t.Process.PID == 1:
		return 0, unix.EINVAL
	case s.Limits.Tasks > 0 && s.Tasks()+s.zombies+s.Limits.making >= s.Limits.Tasks:
		s.Limits.Refused++
		return 0, unix.EAGAIN
	case uint64(s.Tasks()+s.zombies+s.Limits.making) >= min(t.Limit(unix.RLIMIT_NPROC), maxTasks):
		return 0, unix.EAGAIN
	}
	var child *Task
	var fds *fdtable.Table
	var err error
	if f&unix.CLONE_FILES != 0 {
		fds = t.FDs.Retain()
	} else if fds, err = t.FDs.Clone(); err != nil {
		return 0, err
	}
	s.Limits.making++
	defer func() {
		if child == nil {
			s.Limits.making--
			fds.Release()
		}
	}()
	if f&unix.CLONE_PIDFD != 0 {
		err = c.clonePIDFD(a.PIDFD, func(made func(*Task)) error { return c.cloneNative(a, fds, &child, made) })
	} else {
		err = c.cloneNative(a, fds, &child, func(*Task) {})
	}
	if err != nil {
		return 0, err
	}
	s.Limits.MostTasks = max(s.Limits.MostTasks, s.Tasks()+s.zombies)
	return uint64(child.TID), nil
}

// cloneNative lets the kernel make the thread or process, which takes over fds; made is
// called before that runs.
func (c *Call) cloneNative(a cloneArgs, fds *fdtable.Table, child **Task, made func(*Task)) error {
	t, s, f := c.Task, c.Sys, a.Flags
	_, err := t.Machine.Clone(CloneRequest{
		Flags: f & cloneNative, Stack: a.Stack, TLS: a.TLS, ChildTID: a.ChildTID,
		Child: func(m Machine) (*Task, error) {
			n := s.newTask(t, a, fds)
			s.Limits.making--
			n.Machine = m
			made(n)
			*child = n
			var tid [4]byte
			putLeUint32(tid[:], uint32(n.TID))
			if f&unix.CLONE_PARENT_SETTID != 0 {
				_, _ = t.Machine.WriteMemory(tid[:], a.ParentTID)
			}
			if f&unix.CLONE_CHILD_SETTID != 0 {
				_, _ = m.WriteMemory(tid[:], a.ChildTID)
			}
			return n, nil
		}})
	return err
}

// newTask is kernel/fork.c:copy_process over our data.
func (s *System) newTask(t *Task, a cloneArgs, fds *fdtable.Table) *Task {
	f := a.Flags
	n := &Task{TID: s.newPID(), Sys: s, Cred: t.Cred, Comm: t.Comm, FDs: fds, FS: t.FS, Attr: t.Attr.forked()}
	if f&unix.CLONE_FS != 0 {
		n.FS.refs++
	} else {
		n.FS = t.FS.clone()
	}
	if f&unix.CLONE_CHILD_CLEARTID != 0 {
		n.tidAddress = a.ChildTID
	}
	p := t.Process
	if f&unix.CLONE_THREAD == 0 {
		old := p
		p = &Process{PID: n.TID, Parent: old, forker: t.TID, PGID: old.PGID, SID: old.SID, Rlimits: old.Rlimits, Exe: old.Exe,
			strings: old.strings, Attr: old.Attr, Started: s.Now(), Threads: make(map[int]*Task), exitSig: int(a.ExitSignal & 0xff), uid: t.Cred.RUID,
			tty: old.tty, chldIgnored: old.chldIgnored, chldCaught: old.chldCaught, chldNoWait: old.chldNoWait, chldNoStop: old.chldNoStop, vm: new(vm)}
		if f&unix.CLONE_VM != 0 {
			p.vm = old.vm
		}
		if f&unix.CLONE_PARENT != 0 {
			p.Parent, p.forker, p.exitSig, p.parentExeced = old.Parent, old.forker, old.exitSig, old.parentExeced
		}
		p.Parent.Children = append(p.Parent.Children, p)
		s.processes[p.PID] = p
		p.inheritShm(s, old)
	}
	n.Process = p
	p.Threads[n.TID] = n
	s.tasks[n.TID] = n
	return n
}

func unshare(c *Call) (uint64, error) {
	flags, t := uint64(c.Flags(0)), c.Task
	switch {
	case flags&^(cloneNamespaces|unix.CLONE_FILES|unix.CLONE_FS|unix.CLONE_SYSVSEM|unix.CLONE_THREAD|
		unix.CLONE_SIGHAND|unix.CLONE_VM) != 0:
		return 0, unix.EINVAL
	case flags&cloneNamespaces != 0:
		return 0, unix.EPERM
	case flags&(unix.CLONE_THREAD|unix.CLONE_SIGHAND|unix.CLONE_VM) != 0 && len(t.Process.Threads) > 1:
		return 0, unix.EINVAL
	}
	if flags&unix.CLONE_FILES != 0 {
		if err := t.UnshareFiles(); err != nil {
			return 0, err
		}
	}
	if flags&unix.CLONE_FS != 0 && t.FS.refs > 1 {
		t.FS.refs--
		t.FS = t.FS.clone()
	}
	return 0, nil
}

// clone is copy_fs_struct.
func (f *FSContext) clone() *FSContext {
	own := *f
	own.refs = 1
	return &own
}

// UnshareFiles gives the task a descriptor table of its own. ENFILE.
func (t *Task) UnshareFiles() error {
	if !t.FDs.Shared() {
		return nil
	}
	own, err := t.FDs.Clone()
	if err == nil {
		t.FDs.Release()
		t.FDs = own
	}
	return err
}
