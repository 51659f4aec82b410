//go:build linux

package emulate

import "golang.org/x/sys/unix"

// Options of wait4 and waitid. __WALL and its kin say which kinds of children;
// every child of a guest is of the ordinary kind or has no exit signal.
const (
	waitKinds  = unix.WALL | unix.WCLONE | unix.WNOTHREAD
	wait4Opts  = unix.WNOHANG | unix.WUNTRACED | unix.WCONTINUED | waitKinds
	waitidOpts = unix.WNOHANG | unix.WNOWAIT | unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED | waitKinds
)

// waitFor is what a wait call asks for.
type waitFor struct {
	match   func(*Process) bool
	options int // WEXITED included
}

func wait4(c *Call) (uint64, error) {
	pid, wstatus, options, rusage := c.Int(0), c.Addr(1), c.Flags(2), c.Addr(3)
	if options&^wait4Opts != 0 {
		return 0, unix.EINVAL
	}
	if pid == -1<<31 {
		return 0, unix.ESRCH
	}
	w := waitFor{c.named(pid), options | unix.WEXITED}
	if pid == -1 {
		w.match = func(*Process) bool { return true }
	}
	p, sig, u, err := c.waitChild(w)
	if p == nil || err != nil {
		return 0, err
	}
	if wstatus != 0 {
		if err := c.WriteValue(wstatus, sig.status()); err != nil {
			return 0, err
		}
	}
	if rusage != 0 {
		if err := c.WriteValue(rusage, u.rusage()); err != nil {
			return 0, err
		}
	}
	return uint64(p.PID), nil
}

// status is wait4's encoding of a SIGCHLD.
func (g Signal) status() int32 {
	v := int32(g.Value)
	switch g.Code {
	case cldExited:
		return v & 0xff << 8
	case cldDumped:
		return v | 0x80
	case cldStopped:
		return v<<8 | 0x7f
	case cldContinued:
		return 0xffff
	}
	return v
}

func waitid(c *Call) (uint64, error) {
	idtype, id, infop, options, rusage := c.Int(0), c.Int(1), c.Addr(2), c.Flags(3), c.Addr(4)
	if options&^waitidOpts != 0 || options&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return 0, unix.EINVAL
	}
	w := waitFor{options: options}
	switch {
	case idtype == unix.P_ALL:
		w.match = func(*Process) bool { return true }
	case idtype == unix.P_PID && id > 0:
		w.match = c.named(id)
	case idtype == unix.P_PGID && id >= 0:
		w.match = c.named(-id)
	case idtype == unix.P_PIDFD && id >= 0:
		of, d, err := c.pidFD(1)
		if err != nil {
			return 0, err
		}
		if d.Flags&unix.O_NONBLOCK != 0 {
			w.options |= unix.WNOHANG
		}
		w.match = func(p *Process) bool { return p == of }
	default:
		return 0, unix.EINVAL
	}
	p, sig, u, err := c.waitChild(w)
	if err == ErrGone {
		return 0, err
	}
	if p == nil && err == nil && options&unix.WNOHANG == 0 { // of a descriptor with O_NONBLOCK
		err = unix.EAGAIN
	}
	if rusage != 0 && p != nil {
		if err := c.WriteValue(rusage, u.rusage()); err != nil {
			return 0, err
		}
	}
	if infop != 0 { // zeros if there is none to tell of, whatever the error
		info := make([]byte, siginfoSize)
		if p != nil {
			sig.Number, sig.PID, sig.UID = int(unix.SIGCHLD), p.PID, p.uid
			info = sig.encode()
		}
		if e := c.Write(infop, info[:28]); e != nil { // as far as si_status
			err = e
		}
	}
	return 0, err
}

// waitChild finds a child that has changed state, or sleeps until one does. nil
// and no error: WNOHANG and none yet. ECHILD, ERESTARTSYS.
func (c *Call) waitChild(w waitFor) (*Process, Signal, Usage, error) {
	parent := c.Task.Process
	for {
		found := false
		for _, p := range parent.Children {
			if !w.match(p) || !w.kind(p) || p.state == zombie && w.options&unix.WEXITED == 0 {
				continue // a zombie will not stop or go on any more
			}
			found = true
			if sig, ok := c.Sys.waitReport(p, w.options); ok {
				return p, sig, p.selfUsage, nil
			}
		}
		if !found {
			return nil, Signal{}, Usage{}, unix.ECHILD
		}
		if w.options&unix.WNOHANG != 0 {
			return nil, Signal{}, Usage{}, nil
		}
		if err := c.Wait(0, &parent.exited); err != nil {
			return nil, Signal{}, Usage{}, err
		}
	}
}

// kind: __WCLONE asks for children without SIGCHLD, the default for those with.
func (w waitFor) kind(p *Process) bool {
	if w.options&unix.WALL != 0 {
		return true
	}
	return (w.options&unix.WCLONE != 0) == (p.exitSig != int(unix.SIGCHLD))
}

// waitReport takes what p has to report of what options ask for.
func (s *System) waitReport(p *Process, options int) (Signal, bool) {
	keep := options&unix.WNOWAIT != 0
	switch {
	case p.state == zombie && options&unix.WEXITED != 0:
		sig := p.exitInfo()
		if !keep {
			s.reap(p, true)
		}
		return sig, true
	case p.stopReport && options&unix.WSTOPPED != 0:
		p.stopReport = keep
		return Signal{Code: cldStopped, Value: uint64(p.stopSig)}, true
	case p.contReport && options&unix.WCONTINUED != 0:
		p.contReport = keep
		return Signal{Code: cldContinued, Value: uint64(unix.SIGCONT)}, true
	}
	return Signal{}, false
}

func (u Usage) rusage() unix.Rusage {
	return unix.Rusage{Utime: unix.NsecToTimeval(int64(u.User)), Stime: unix.NsecToTimeval(int64(u.System)), Maxrss: u.MaxRSS,
		Minflt: u.MinorFaults, Majflt: u.MajorFaults, Nvcsw: u.VoluntarySwitches, Nivcsw: u.InvoluntarySwitches}
}
