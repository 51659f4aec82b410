//go:build linux && amd64

package jail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/recording"
)

// Process is a running jail: the first guest process and all that came of it.
// Its methods may be called from any goroutine.
type Process struct {
	cmd   *exec.Cmd
	c     *command
	w     *warden
	trace func(TraceEvent)

	ended  chan struct{} // the warden has finished
	copied chan error    // one per copying goroutine

	ctxDone chan error // what the context's watcher has to say

	mu     sync.Mutex // after the end: guards the tree
	waited bool
}

// Stats is what a jail did so far.
type Stats struct {
	Calls  map[string]CallStats  `json:"calls"`  // that happened, by name
	Limits map[string]LimitStats `json:"limits"` // by name, as in the JSON of policy.Limits
	Audit  map[string]AuditStats `json:"audit"`  // by kind: those of policy.Policy.Audit, "rule" and "missing"
	// Disorder is how often, under a virtual clock, a thread was interrupted that
	// computed while others or a timer waited for too long. If it is not 0, another
	// run may differ.
	Disorder int64 `json:"disorder"`
}

// LimitStats is one of policy.Limits, in its unit, times in nanoseconds.
type LimitStats struct {
	// Used is the most that was in use at once, of output, cpu and wall all in
	// all, of calls the most in a second. Memory is looked at if it is limited.
	Used  int64
	Bound int64 // 0: none
	// Hits is how often the guest wanted more: tasks, descriptors or space
	// refused, SIGXCPU, calls that had to wait, and the end of the jail. The
	// kernel refuses memory by itself, uncounted.
	Hits int64
}

// CallStats is what Stats tells of one call.
type CallStats struct {
	Stops int64         // times the call stopped at the warden
	Time  time.Duration // spent answering, waiting included
	Bytes int64         // moved by reads and writes
}

// Wait waits until the jail has ended and the copying of its streams is done. It
// returns nil for exit status 0, an *ExitError for the guest's own end, a
// *Violation or *LimitError if the jail was ended for it, an *Error if something
// of ours failed, and else what os/exec's Wait does: the context's error, an
// error of copying, exec.ErrWaitDelay. Nothing of the jail remains then. Of a
// Process that Spawn has not given, Wait, Signal and Kill give an error.
func (p *Process) Wait() error {
	if p.w == nil {
		return errNotSpawned
	}
	p.mu.Lock()
	if p.waited {
		p.mu.Unlock()
		return errors.New("jail: Wait was already called")
	}
	p.waited = true
	p.mu.Unlock()

	<-p.ended
	err := p.result()
	if p.ctxDone != nil {
		if e := <-p.ctxDone; err == nil {
			err = e
		}
	}
	if e := p.awaitCopies(); err == nil {
		err = e
	}
	return err
}

// result is how the guest ended.
func (p *Process) result() error {
	w := p.w
	switch {
	case w.err == errKilled:
		return &ExitError{Status: unix.WaitStatus(unix.SIGKILL)}
	case w.err != nil:
		return w.err
	case w.meters.ranOut && w.status.Signaled() && (w.status.Signal() == unix.SIGXCPU || w.status.Signal() == unix.SIGKILL):
		return &LimitError{Limit: "cpu", Bound: w.policy.Limits.CPU.String(), Err: &ExitError{Status: w.status}}
	case w.status != 0:
		return &ExitError{Status: w.status, Limits: w.meters.hit()}
	}
	return nil
}

// awaitCopies waits for the copying goroutines, at most WaitDelay if there is
// one, and closes our ends of the pipes then.
func (p *Process) awaitCopies() error {
	defer func() {
		for _, f := range p.c.parents {
			_ = f.Close()
		}
	}()
	var expired <-chan time.Time
	if p.cmd.WaitDelay > 0 {
		timer := time.NewTimer(p.cmd.WaitDelay)
		defer timer.Stop()
		expired = timer.C
	}
	var first error
	for range p.c.copies {
		select {
		case err := <-p.copied:
			first = firstError(first, err)
		case <-expired:
			for _, f := range p.c.parents {
				_ = f.Close()
			}
			expired = nil
			first = firstError(first, exec.ErrWaitDelay)
			if err := <-p.copied; err != nil && !errors.Is(err, os.ErrClosed) {
				first = firstError(first, err)
			}
		}
	}
	return first
}

// startCopies starts what moves bytes between pipes and Go streams.
func (p *Process) startCopies() {
	p.copied = make(chan error, len(p.c.copies))
	for _, fn := range p.c.copies {
		go func() { p.copied <- fn() }()
	}
}

// watch ends the jail when the context does, as exec.CommandContext says.
func (p *Process) watch() {
	if p.c.ctx == nil || p.c.ctx.Done() == nil {
		return
	}
	p.ctxDone = make(chan error, 1)
	go func() {
		select {
		case <-p.ended:
			p.ctxDone <- nil
			return
		case <-p.c.ctx.Done():
		}
		var err error
		if p.cmd.Cancel != nil {
			switch e := p.cmd.Cancel(); {
			case e == nil:
				err = p.c.ctx.Err()
			case !errors.Is(e, os.ErrProcessDone):
				err = fmt.Errorf("exec: canceling Cmd: %w", e)
			}
		}
		if d := p.cmd.WaitDelay; d > 0 {
			t := time.AfterFunc(d, func() { _ = p.Kill() })
			defer t.Stop()
		}
		<-p.ended
		p.ctxDone <- err
	}()
}

// Signal sends a signal to the jail's first process. os.ErrProcessDone after the
// end.
func (p *Process) Signal(sig os.Signal) error { return p.signal(sig, "signal") }

// SignalGroup sends a signal to the process group the jail began with, as a
// terminal does when ^C is typed. os.ErrProcessDone after the end.
func (p *Process) SignalGroup(sig os.Signal) error { return p.signal(sig, "group signal") }

// siKernel is SI_KERNEL: sent by the kernel, here its terminal.
const siKernel = 0x80

func (p *Process) signal(sig os.Signal, door string) error {
	s, ok := sig.(unix.Signal)
	if !ok {
		return errors.New("jail: unsupported signal type")
	}
	if s < 0 || s > 64 { // _NSIG
		return unix.EINVAL
	}
	if s == unix.SIGKILL {
		return p.Kill()
	}
	if err := p.running(); err != nil {
		return err
	}
	p.w.told[door](outcome{Event: recording.Event{N: int64(s)}})
	return nil
}

// Kill ends the jail. os.ErrProcessDone after the end.
func (p *Process) Kill() error {
	if err := p.running(); err != nil {
		return err
	}
	p.w.told["kill"](outcome{})
	return nil
}

var errNotSpawned = errors.New("jail: not spawned: use a Process that Spawn returned")

// running is nil while there is something to send signals to.
func (p *Process) running() error {
	if p.w == nil {
		return errNotSpawned
	}
	select {
	case <-p.ended:
		return os.ErrProcessDone
	default:
		return nil
	}
}

// do runs fn where nothing else touches the jail's data: on the warden's thread,
// or, after the end, here.
func (p *Process) do(fn func()) {
	ran := make(chan struct{})
	p.w.box.post(func() {
		defer close(ran)
		fn()
	})
	select {
	case <-ran:
	case <-p.ended:
		select {
		case <-ran: // just before the end
			return
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		fn()
		if p.w.sys.FS != nil {
			_ = p.w.sys.FS.Close() // what fn opened of host mounts
		}
	}
}

// Stats tells stops, time and bytes by call, and what was used of each limit.
func (p *Process) Stats() Stats {
	m := Stats{Calls: make(map[string]CallStats)}
	p.do(func() {
		for nr, s := range p.w.stats {
			if s.Stops > 0 {
				m.Calls[p.w.callName(nr)] = s
			}
		}
		m.Limits, m.Audit = p.w.limitStats(), p.w.auditStats()
		if p.w.turns != nil {
			m.Disorder = p.w.turns.broken
		}
	})
	return m
}

// Tree is the guest's file tree, during the run and after it. It is read with
// the rights of the caller, mounts included. Devices are there and cannot be read;
// of /proc there is after the end what needs no process, and the first as a zombie.
func (p *Process) Tree() fs.FS {
	return vfs.FS(p.w.sys.FS.Root(), func(fn func()) { p.aside(fn) })
}

// Changes lists what the guest created, modified and removed in memory and
// overlay mounts, sorted by path.
func (p *Process) Changes() []vfs.Changed {
	var list []vfs.Changed
	p.aside(func() { list = p.w.sys.FS.Changes() })
	return list
}

// aside is do for a look at the tree, which is no use that a guest makes of it.
func (p *Process) aside(fn func()) {
	p.do(func() { p.w.learn.aside(func() { p.w.tape.aside(fn) }) })
}

// isBrokenPipe: the guest closed its end, which is its right.
func isBrokenPipe(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
