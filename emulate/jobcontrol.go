//go:build linux

package emulate

import "golang.org/x/sys/unix"

// Whose terminal it is: sessions, foreground and background
// (drivers/tty/tty_jobctrl.c).

// leads: the process is a session leader.
func (p *Process) leads() bool { return p.SID == p.PID }

// signalGroup is kill_pgrp by the kernel.
func (s *System) signalGroup(pgid int, sigs ...unix.Signal) {
	for _, sig := range sigs {
		if pgid != 0 {
			_ = s.SignalGroup(pgid, Signal{Number: int(sig), Code: siKernel}) // ESRCH: nobody is in it
		}
	}
}

// signalForeground is what ^C and a new window size do.
func (p *pty) signalForeground(sig unix.Signal) { p.s.signalGroup(p.pgrp, sig) }

// checkChange is __tty_check_change: a background process of the terminal's
// session that would read it (SIGTTIN) or change it (SIGTTOU) is stopped, or, if
// it will not hear of that, fails or goes on. EIO, ERESTARTSYS.
func (p *pty) checkChange(sig unix.Signal) error {
	t := p.s.Current
	if t == nil || t.Process.tty != p || p.pgrp == 0 || t.Process.PGID == p.pgrp {
		return nil
	}
	st, err := t.Machine.SignalState()
	switch {
	case err != nil:
		return err
	case (st.Blocked|st.Ignored)>>(sig-1)&1 != 0:
		if sig == unix.SIGTTIN {
			return unix.EIO
		}
		return nil
	case p.s.groupOrphaned(t.Process.PGID, nil):
		return unix.EIO
	}
	p.s.signalGroup(t.Process.PGID, sig)
	return ERESTARTSYS
}

// control gives the terminal to the process's session: __proc_set_tty.
func (p *pty) control(q *Process) {
	p.session, p.pgrp = q.SID, q.PGID
	q.tty, q.ttyOldPGRP = p, 0
}

// openedBy is tty_open_proc_set_tty: a session leader without a controlling
// terminal gets the one it opens for reading, if that is nobody's.
func (f *ttyFile) openedBy(t *Task, flags int) {
	p, q := f.pty, t.Process
	if flags&unix.O_NOCTTY == 0 && !f.isMaster() && q.leads() && q.tty == nil && p.session == 0 &&
		flags&unix.O_ACCMODE != unix.O_WRONLY {
		p.control(q)
	}
}

// clearSession takes the controlling terminal from all of a session:
// session_clear_tty.
func (s *System) clearSession(sid int) {
	for _, p := range s.processes {
		if sid != 0 && p.SID == sid {
			p.tty = nil
		}
	}
}

// hangupSession is tty_signal_session_leader: the leader hears of it, and tells
// the foreground group when it ends.
func (p *pty) hangupSession() {
	for _, q := range p.s.Processes() {
		if q.SID != p.session {
			continue
		}
		if q.tty == p {
			q.tty = nil
		}
		if q.leads() {
			_ = q.Signal(Signal{Number: int(unix.SIGHUP), Code: siKernel})
			_ = q.Signal(Signal{Number: int(unix.SIGCONT), Code: siKernel})
			q.ttyOldPGRP = p.pgrp
		}
	}
	p.session, p.pgrp = 0, 0
}

// disassociate is disassociate_ctty: a session leader ends (exit), or gives the
// terminal up.
func (s *System) disassociate(q *Process, exit bool) {
	if !q.leads() {
		return
	}
	switch p := q.tty; {
	case p != nil:
		s.signalGroup(p.pgrp, unix.SIGHUP)
		if !exit {
			s.signalGroup(p.pgrp, unix.SIGCONT)
		}
		p.session, p.pgrp = 0, 0
	case exit:
		s.signalGroup(q.ttyOldPGRP, unix.SIGHUP, unix.SIGCONT)
	}
	q.ttyOldPGRP = 0
	s.clearSession(q.SID)
}

// setControlling is TIOCSCTTY. EPERM.
func (f *ttyFile) setControlling(t *Task, steal bool) error {
	p, q := f.pty, t.Process
	admin := t.Cred.Capable(unix.CAP_SYS_ADMIN)
	switch {
	case q.leads() && p.session == q.SID:
		return nil
	case !q.leads() || q.tty != nil, p.session != 0 && !(steal && admin),
		f.flags&unix.O_ACCMODE == unix.O_WRONLY && !admin:
		return unix.EPERM
	}
	p.s.clearSession(p.session)
	p.control(q)
	return nil
}

// setForeground is tiocspgrp. ENOTTY, EINVAL, ESRCH, EPERM.
func (p *pty) setForeground(t *Task, pgrp int) error {
	s, sid := p.s, t.Process.SID
	switch {
	case pgrp < 0:
		return unix.EINVAL
	case t.Process.tty != p || p.session != sid:
		return unix.ENOTTY
	}
	if q := s.Process(pgrp); !s.groupInSession(pgrp, sid) && (s.groupExists(pgrp) || q == nil || q.SID != sid) {
		if q == nil && s.tasks[pgrp] == nil && !s.groupInUse(pgrp) {
			return unix.ESRCH
		}
		return unix.EPERM
	}
	p.pgrp = pgrp
	return nil
}

// StopsNothing reports that a stop signal from a terminal does nothing to the
// process, because nobody is there to continue its group
// (kernel/signal.c:get_signal).
func (s *System) StopsNothing(p *Process, sig unix.Signal) bool {
	stops := sig == unix.SIGTSTP || sig == unix.SIGTTIN || sig == unix.SIGTTOU
	return stops && s.groupOrphaned(p.PGID, nil)
}

// orphanedGroups is kernel/exit.c:exit_notify's part in job control: groups whose
// last tie to the rest of their session p was are woken with SIGHUP, if they
// are stopped. children are those that p leaves.
func (s *System) orphanedGroups(p *Process, children []*Process) {
	if p.Parent != nil {
		s.orphanedGroup(p, p.Parent, p)
	}
	for _, c := range children {
		s.orphanedGroup(c, p, nil)
	}
}

// orphanedGroup is kill_orphaned_pgrp.
func (s *System) orphanedGroup(p, parent, ignored *Process) {
	if parent.PGID != p.PGID && parent.SID == p.SID && s.groupOrphaned(p.PGID, ignored) && s.groupStopped(p.PGID) {
		s.signalGroup(p.PGID, unix.SIGHUP, unix.SIGCONT)
	}
}

// groupOrphaned is will_become_orphaned_pgrp: no member but ignored has a parent
// in another group of the same session.
func (s *System) groupOrphaned(pgid int, ignored *Process) bool {
	return !s.anyProcess(func(p *Process) bool {
		return p.PGID == pgid && p != ignored && p.state == alive && p.Parent != nil &&
			p.Parent.PGID != pgid && p.Parent.SID == p.SID
	})
}

func (s *System) groupStopped(pgid int) bool {
	return s.anyProcess(func(p *Process) bool { return p.PGID == pgid && p.state == alive && p.stopSig != 0 })
}

// ttyNumbers are tty_nr and tpgid of /proc/PID/stat (fs/proc/array.c).
func (p *Process) ttyNumbers() (number, pgrp int64) {
	if p.tty == nil {
		return 0, -1
	}
	minor := int64(p.tty.index)
	return minor&0xff | ptsMajor<<8 | minor&^0xff<<12, int64(p.tty.pgrp)
}
