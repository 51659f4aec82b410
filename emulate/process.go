//go:build linux

package emulate

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// maxPID is kernel.pid_max on 64-bit machines; numbers wrap below it.
const maxPID = 1 << 22

// NewInit makes task 1, the first process of the jail. The caller gives it a
// Machine before anything runs. Takes over fds.
func (s *System) NewInit(root *vfs.Dentry, cred Cred, fds *fdtable.Table) *Task {
	s.tasks = make(map[int]*Task)
	s.processes = make(map[int]*Process)
	p := &Process{PID: 1, PGID: 1, SID: 1, Threads: make(map[int]*Task), exitSig: int(unix.SIGCHLD), Started: s.Now(), vm: new(vm)}
	t := &Task{TID: 1, Process: p, Sys: s, FDs: fds, Cred: cred,
		FS: &FSContext{Root: root, Cwd: root, Umask: 0o022, refs: 1}}
	p.Threads[1] = t
	fds.Closed = func(t *fdtable.Table, d *fdtable.Description) {
		s.locks.closed(t, d)
		s.dropDnotify(t, d)
	}
	s.lastPID = 1
	s.tasks[1] = t
	s.processes[1] = p
	return t
}

// Task returns the task with a tid, nil if there is none.
func (s *System) Task(tid int) *Task { return s.tasks[tid] }

// Process returns the process with a tgid, a zombie too; nil if there is none.
func (s *System) Process(pid int) *Process { return s.processes[pid] }

// Processes returns all processes in ascending order of pid.
func (s *System) Processes() []*Process {
	return slices.SortedFunc(maps.Values(s.processes), func(a, b *Process) int { return a.PID - b.PID })
}

// anyProcess reports that there is a process as is says, zombies included.
func (s *System) anyProcess(is func(*Process) bool) bool {
	for _, p := range s.processes {
		if is(p) {
			return true
		}
	}
	return false
}

// Tasks is how many threads are alive.
func (s *System) Tasks() int { return len(s.tasks) }

// newPID returns a number that no task, process, group or session uses.
func (s *System) newPID() int {
	for {
		s.lastPID++
		if s.lastPID >= maxPID {
			s.lastPID = 300 // RESERVED_PIDS of kernel/pid.c
		}
		if s.tasks[s.lastPID] == nil && s.processes[s.lastPID] == nil && !s.groupInUse(s.lastPID) {
			return s.lastPID
		}
	}
}

func (s *System) groupInUse(id int) bool {
	return s.anyProcess(func(p *Process) bool { return p.PGID == id || p.SID == id })
}

// Leader is the process's main thread, or any other once that is gone; nil for
// a zombie.
func (p *Process) Leader() *Task {
	if t := p.Threads[p.PID]; t != nil {
		return t
	}
	if all := p.Tasks(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Tasks returns the process's threads in ascending order of tid.
func (p *Process) Tasks() []*Task {
	return slices.SortedFunc(maps.Values(p.Threads), func(a, b *Task) int { return a.TID - b.TID })
}

// Zombie reports that the process has ended and was not waited for.
func (p *Process) Zombie() bool { return p.state != alive }

// PPID is the parent's pid, 0 for task 1.
func (p *Process) PPID() int {
	if p.Parent == nil {
		return 0
	}
	return p.Parent.PID
}

// ExitTask takes note that the host thread of t has died. The process ends with
// its last thread, with status as wait4 reported it for the leader.
func (s *System) ExitTask(t *Task, status unix.WaitStatus, u Usage) {
	p := t.Process
	if s.tasks[t.TID] != t {
		return
	}
	delete(s.tasks, t.TID)
	delete(p.Threads, t.TID)
	t.ClearTID()
	t.release()
	if len(p.Threads) > 0 {
		p.orphan(func(forker int) bool { return forker == t.TID })
		return
	}
	p.last = t
	s.exitProcess(p, status, u)
}

// release gives back what a task holds.
func (t *Task) release() {
	for _, fn := range t.atExit {
		fn()
	}
	t.atExit = nil
	t.FDs.Release()
	t.FS.refs--
	if t.FS.refs == 0 {
		t.Sys.notifyLeft(t.FS.Cwd)
	}
}

// AtExit runs fn when the task ends, for what its calls leave behind (locks,
// timers).
func (t *Task) AtExit(fn func()) { t.atExit = append(t.atExit, fn) }

func (s *System) exitProcess(p *Process, status unix.WaitStatus, u Usage) {
	if u.add(p.beforeExec); s.Repeatable {
		u = spent(p.used)
	}
	p.state, p.status, p.selfUsage = zombie, status, u
	s.zombies++
	defer p.ended.Wake()
	for _, fn := range p.atExit {
		fn()
	}
	p.atExit = nil
	s.disassociate(p, true)
	if p.PID == 1 {
		s.Host.Kill(nil)
		return
	}
	reaper, children := s.reaper(p), p.Children
	for _, c := range children {
		c.forker = reaper.PID
		c.Parent, c.exitSig = reaper, int(unix.SIGCHLD) // its exit signal was meant for p
		reaper.Children = append(reaper.Children, c)
		c.bereave(p)
		if c.state == zombie {
			s.notifyParent(c, c.exitInfo())
		}
	}
	p.Children = nil
	s.orphanedGroups(p, children)
	s.notifyParent(p, p.exitInfo())
}

// reaper is who adopts p's children: the nearest ancestor that asked for it, or
// task 1 (kernel/exit.c:find_new_reaper).
func (s *System) reaper(p *Process) *Process {
	for a := p.Parent; a != nil; a = a.Parent {
		if a.Subreaper && a.state == alive {
			return a
		}
	}
	return s.processes[1]
}

// orphan hands children of threads that end to another one, and tells them: the
// parent of PR_SET_PDEATHSIG is a thread (kernel/exit.c:forget_original_parent).
func (p *Process) orphan(of func(forker int) bool) {
	for _, c := range p.Children {
		if of(c.forker) {
			c.forker = p.PID
			c.bereave(p)
		}
	}
}

// bereave sends the PR_SET_PDEATHSIG of p's threads, whose parent has ended.
func (p *Process) bereave(parent *Process) {
	for _, t := range p.Tasks() {
		if t.DeathSignal != 0 {
			_ = t.Machine.Signal(Signal{Number: t.DeathSignal, PID: parent.PID, UID: parent.uid}, true)
		}
	}
}

// AtExit runs fn when the process ends.
func (p *Process) AtExit(fn func()) { p.atExit = append(p.atExit, fn) }

// exitInfo is the SIGCHLD of a process that ended (kernel/signal.c:do_notify_parent).
func (p *Process) exitInfo() Signal {
	sig := Signal{Number: p.exitSig, PID: p.PID, Code: cldExited, Value: uint64(p.status.ExitStatus())}
	if p.parentExeced {
		sig.Number = int(unix.SIGCHLD)
	}
	if p.status.Signaled() {
		sig.Code, sig.Value = cldKilled, uint64(p.status.Signal())
		if p.status.CoreDump() {
			sig.Code = cldDumped
		}
	}
	return sig
}

// si_code values of SIGCHLD (include/uapi/asm-generic/siginfo.h).
const (
	cldExited    = 1
	cldKilled    = 2
	cldDumped    = 3
	cldTrapped   = 4
	cldStopped   = 5
	cldContinued = 6
)

// notifyParent tells p's parent of a change of state. A parent that ignores
// SIGCHLD has its dead children reaped for it.
func (s *System) notifyParent(p *Process, sig Signal) {
	parent := p.Parent
	if parent == nil || parent.state != alive {
		return
	}
	isChild := sig.Number == int(unix.SIGCHLD)
	stopped := sig.Code >= cldTrapped
	if !stopped && isChild && (parent.chldIgnored || parent.chldNoWait) {
		s.reap(p, false)
	}
	if sig.Number != 0 && !(isChild && (parent.chldIgnored || stopped && parent.chldNoStop)) {
		sig.UID = p.uid
		if l := parent.Leader(); l != nil {
			_ = l.post(sig, true)
		}
	}
	parent.exited.Wake()
}

// reap removes a zombie; its times go to the parent if count is set.
func (s *System) reap(p *Process, count bool) {
	p.state = reaped
	p.ended.Wake()
	s.zombies--
	delete(s.processes, p.PID)
	if parent := p.Parent; parent != nil {
		if i := slices.Index(parent.Children, p); i >= 0 {
			parent.Children = slices.Delete(parent.Children, i, i+1)
		}
		if count {
			parent.childUsage.add(p.selfUsage)
			parent.childUsage.add(p.childUsage)
		}
	}
}

// CatchesChild reports that p has a handler for SIGCHLD, or had one that reset
// itself. Without one, and if nobody blocks it, the signal does nothing.
func (p *Process) CatchesChild() bool { return p.chldCaught }

// UsedBefore adds what p used as a host process that execve has replaced.
func (p *Process) UsedBefore(u Usage) { p.beforeExec.add(u) }

func (u *Usage) add(v Usage) {
	u.User += v.User
	u.System += v.System
	u.MaxRSS = max(u.MaxRSS, v.MaxRSS)
	u.MinorFaults += v.MinorFaults
	u.MajorFaults += v.MajorFaults
	u.VoluntarySwitches += v.VoluntarySwitches
	u.InvoluntarySwitches += v.InvoluntarySwitches
}

// Stopped and Continued take note of job control: the process's threads have
// stopped for signal sig, or run again.
func (s *System) Stopped(p *Process, sig unix.Signal) {
	if p.stopSig == sig || p.state != alive {
		return
	}
	p.stopSig, p.stopReport, p.contReport = sig, true, false
	s.notifyParent(p, Signal{Number: int(unix.SIGCHLD), PID: p.PID, Code: cldStopped, Value: uint64(sig)})
}

// Continued is see Stopped.
func (s *System) Continued(p *Process) {
	if p.stopSig == 0 || p.state != alive {
		return
	}
	p.stopSig, p.stopReport, p.contReport = 0, false, true
	s.notifyParent(p, Signal{Number: int(unix.SIGCHLD), PID: p.PID, Code: cldContinued, Value: uint64(unix.SIGCONT)})
}
