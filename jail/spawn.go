//go:build linux && amd64

package jail

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/ptrace"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// defaultEnv is the environment of a cmd without one.
var defaultEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/guest", "LANG=C.UTF-8"}

// spawn makes the warden and lets it start the first process.
func (j *Jail) spawn(cmd *exec.Cmd, pol policy.Policy) (*Process, error) {
	if err := pol.Validate(); err != nil {
		return nil, &Error{Op: "spawn", Err: err}
	}
	if err := canLimit(pol.Limits); err != nil {
		return nil, err
	}
	tape, err := j.newTape(cmd, &pol)
	if err != nil {
		return nil, err
	}
	w, err := newWarden(j, pol, tape)
	if err != nil {
		return nil, err
	}
	c, err := readCommand(cmd)
	if err == nil {
		if err := j.checkSockets(len(c.files)); err != nil {
			c.abort()
			w.discard()
			return nil, err
		}
	}
	if err != nil {
		w.discard()
		return nil, &Error{Op: "cmd", Err: err}
	}
	if err := w.openTerminal(j.Terminal); err != nil {
		c.abort()
		w.discard()
		return nil, err
	}
	p := &Process{cmd: cmd, c: c, w: w, trace: j.Trace, ended: make(chan struct{})}
	w.proc = p
	started := make(chan error, 1)
	var once sync.Once
	w.loaded = func(err error) { once.Do(func() { started <- err }) }
	go w.run(func() error { return w.begin(j, cmd) })
	if err := <-started; err != nil {
		<-p.ended
		c.abort()
		return nil, err
	}
	c.handedOver()
	p.startCopies()
	p.watch()
	p.watchLimits(pol.Limits)
	cmd.Err = errors.New("jail: the command was spawned in a jail: use Process.Wait") // of Run, which would start it outside
	return p, nil
}

// newWarden makes everything that needs no process yet.
func newWarden(j *Jail, pol policy.Policy, tape *tape) (_ *warden, err error) {
	w := &warden{policy: &pol, tape: tape, log: j.Logger, audits: newAudits(j.Logger, pol), threads: make(map[int]*thread),
		early: make(map[int]earlyStop), doomed: make(map[int]*emulate.Process), late: make(map[*emulate.Process][]func()), loading: make(map[int]*newImage), exits: make(map[int]*groupExit),
		logged: make(map[string]int)}
	if w.log == nil {
		w.log = zap.NewNop()
	}
	if j.Refused != nil {
		w.refused = &refusals{w: w, to: j.Refused, seen: make(map[string]bool)}
	}
	tape.use(w)
	w.openDoors()
	if err := w.chooseClock(j, pol.Time); err != nil {
		return nil, err
	}
	w.chooseRandom(j, pol)
	if w.parts, err = acquireParts(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.discard()
		}
	}()
	if w.walls, err = newWalls(j.Walls, w.parts.ids); err != nil {
		return nil, err
	}
	if w.calls, err = w.parts.compile(pol); err == nil && j.Learn != nil {
		err = w.startLearning(j.Learn)
	} else if err == nil {
		var stop []policy.Rule
		if w.turns != nil {
			stop = append(stop, takingTurns)
		}
		if pol.Limits.Memory > 0 {
			stop = append(stop, growing...)
		}
		if stop != nil {
			err = w.passOnly(append(stop, pol.Calls...))
		}
	}
	if err != nil {
		return nil, err
	}
	if w.arena, err = arena.New(); err != nil {
		return nil, refused("spawn", err)
	}
	w.arena.InUse, w.arena.Limit = w.slotsInUse, pol.Limits.Disk
	w.disk.Bytes, w.disk.Inodes = pol.Limits.Disk, pol.Limits.Inodes
	if w.arenaRead, err = w.arena.ReadOnly(); err != nil {
		return nil, refused("spawn", err)
	}
	if err := w.hostState(); err != nil {
		return nil, err
	}
	id := pol.Identity
	w.sys = &emulate.System{Host: w, Hostname: id.Hostname, CPUs: id.CPUs, ArenaFDs: arenaFDs,
		HideVDSO: !w.hostClock() || w.seeded, Repeatable: w.turns != nil,
		Limits: emulate.Limits{Tasks: pol.Limits.Tasks, Descriptors: fdtable.Budget{Max: pol.Limits.Descriptors}}}
	if tape != nil {
		w.sys.CPUInfo = tape.cpuinfo
	}
	w.meters.start(pol.Limits)
	if w.audits[policy.AuditWrite] != nil {
		w.sys.Changed = w.changed
	}
	if w.sys.Hostname == "" {
		w.sys.Hostname = "oubliette"
	}
	switch {
	case w.sys.CPUs > 0:
	case w.turns != nil:
		w.sys.CPUs = 1
	default:
		w.sys.CPUs = runtime.NumCPU()
	}
	if w.outside, err = w.newOutside(j, pol.Net); err != nil {
		return nil, err
	}
	return w, w.handlers(j)
}

// chooseRandom sets the source of all randomness the guest sees.
func (w *warden) chooseRandom(j *Jail, pol policy.Policy) {
	switch {
	case j.Random != nil:
		w.random, w.seeded = j.Random, true
	case pol.Seed != nil:
		var seed [32]byte
		binary.LittleEndian.PutUint64(seed[:], *pol.Seed)
		w.random, w.seeded = rand.NewChaCha8(seed), true
	default:
		w.random = hostRandom{}
	}
}

// hostRandom is getrandom(2).
type hostRandom struct{}

func (hostRandom) Read(p []byte) (int, error) { return unix.Getrandom(p, 0) }

// hostState reads what the guest inherits of the caller: limits, niceness and
// ignored signals.
func (w *warden) hostState() error {
	for r := range w.hostLimits {
		if err := unix.Prlimit(0, r, nil, &w.hostLimits[r]); err != nil {
			return &Error{Op: "prlimit", Err: err}
		}
	}
	w.hostFiles = w.hostLimits[unix.RLIMIT_NOFILE]
	w.hostFiles.Cur = min(w.hostFiles.Max, max(w.hostFiles.Cur, uint64(arenaFDs[2]+1)))
	if w.hostFiles.Cur <= uint64(arenaFDs[2]) {
		return &Error{Op: "prlimit", Err: fmt.Errorf("RLIMIT_NOFILE is %d, it must be at least %d (ulimit -n)", w.hostFiles.Max, arenaFDs[2]+1)}
	}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return &Error{Op: "getpriority", Err: err}
	}
	w.hostNice = 20 - raw // so that no result looks like an errno
	for sig := 1; sig <= 64; sig++ {
		if ptrace.Ignored(sig) {
			w.hostIgnored |= 1 << (sig - 1)
		}
	}
	w.inherited = inherited{w.hostLimits, w.hostNice, w.hostIgnored}
	e := w.tape.ask("the caller's limits", func() (e recording.Event) {
		e.Data, _ = json.Marshal(w.inherited) // numbers
		return e
	})
	if w.tape.replays() && w.err == nil && json.Unmarshal(e.Data, &w.inherited) != nil {
		w.tape.diverged("%s are %q", e.What, e.Data)
	}
	return w.err
}

// inherited is what the guest has of the caller: in a replay, of the recorded run's.
type inherited struct {
	Limits  [16]unix.Rlimit
	Nice    int
	Ignored uint64
}

// discard gives back what newWarden took.
func (w *warden) discard() {
	w.outside.close()
	w.streams.close(w.patience(drainTime))
	if w.arenaRead != nil {
		_ = w.arenaRead.Close()
	}
	if w.arena != nil {
		_ = w.arena.Close()
	}
	if w.parts != nil {
		w.parts.release()
	}
	w.arenaRead, w.arena, w.parts = nil, nil, nil
}

// begin builds the guest's world and starts task 1, on the warden's thread.
func (w *warden) begin(j *Jail, cmd *exec.Cmd) error {
	id := w.policy.Identity
	w.streams = streams{post: w.box.post, owner: vfs.Owner{UID: id.UID, GID: id.GID}, output: &w.meters.output, terminal: w.terminal, born: w.policy.Time.Start,
		full: func() { w.reached("output", w.policy.Limits.Output) }}
	if err := w.mount(j, cmd); err != nil {
		return err
	}
	if w.outside != nil {
		w.sys.Net().Outside = w.outside
	} else {
		w.sys.Net().Missed = w.missed
	}
	fds := fdtable.NewTable(&w.sys.Limits.Descriptors)
	cred := emulate.Cred{RUID: id.UID, EUID: id.UID, SUID: id.UID, FSUID: id.UID,
		RGID: id.GID, EGID: id.GID, SGID: id.GID, FSGID: id.GID, Groups: id.Groups}
	task := w.sys.NewInit(w.sys.FS.Root(), cred, fds)
	w.init = task
	w.setLimits(task)
	task.Attr.Nice = w.inherited.Nice
	if err := firstError(w.openStreams(task), w.openSockets(j, task)); err != nil {
		fds.Release()
		return err
	}
	env := commandEnv(cmd)
	program, err := w.prepare(task, cmd, env)
	if err != nil {
		fds.Release()
		return err
	}
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	var loadErr error
	t := w.newThread(0, 0, func(t *thread) error {
		t.task, task.Machine = task, t
		loadErr = t.load(emulate.ExecRequest{Path: program, Args: args, Env: env, Open: task.OpenExec,
			Commit: func(exe *vfs.Dentry, args []string) { task.CommitExec(exe, path.Base(program), args, env) }, // nothing to close
		}, emulate.SignalState{Ignored: w.inherited.Ignored})
		if loadErr == nil {
			loadErr = w.awaitBell()
		}
		if loadErr == emulate.ErrGone && w.err != nil {
			loadErr = w.err
		}
		if loadErr != nil {
			t.dead = t.tid == 0
		}
		w.loaded(execError(program, loadErr))
		return loadErr
	})
	w.resume(t)
	return nil
}

// execError names the program in an errno of execve, and what to do about it.
func execError(program string, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	if advice := execAdvice[errno]; advice != "" {
		err = fmt.Errorf("%w: %s", errno, advice)
	}
	return &Error{Op: "exec " + program, Err: err}
}

var execAdvice = map[unix.Errno]string{
	unix.ENOENT:  "mount it, and the interpreter it names, in the guest's tree",
	unix.EACCES:  "it must be a regular file that the guest's user may execute",
	unix.ENOEXEC: "it must be a whole x86-64 ELF program, or a script that starts with #!",
	unix.ELOOP:   "its symlinks, or the interpreters of its #! line, lead in a circle",
	unix.EINVAL:  "arguments and environment may not contain a NUL byte",
	unix.EPERM:   "the host must allow process_vm_readv and process_vm_writev, as Docker's default seccomp profile does",
	unix.EAGAIN:  "no more processes: raise RLIMIT_NPROC (ulimit -u), kernel.pid_max or the cgroup's pids.max",
	unix.E2BIG:   "its arguments and environment are too long",
}

// prepare finds the working directory and the program's path in the guest.
func (w *warden) prepare(t *emulate.Task, cmd *exec.Cmd, env []string) (string, error) {
	dir := cmd.Dir
	if dir == "" {
		dir = "/"
		if home := getenv(env, "HOME"); path.IsAbs(home) && t.Chdir(home) == nil {
			dir = home
		}
	}
	if err := t.Chdir(dir); err != nil {
		return "", &Error{Op: "cmd.Dir " + dir, Err: fmt.Errorf("%w: it must be a directory of the guest's tree", err)}
	}
	bare := ""
	if len(cmd.Args) > 0 && !strings.Contains(cmd.Args[0], "/") {
		bare = cmd.Args[0]
	}
	if strings.Contains(cmd.Path, "/") {
		_, err := t.OpenExec(cmd.Path)
		if err == nil || err != unix.ENOENT || bare == "" {
			return cmd.Path, nil // load says what is wrong with it
		}
	} else if cmd.Path != "" {
		bare = cmd.Path
	}
	if bare == "" {
		return "", &Error{Op: "cmd", Err: errors.New("exec.Cmd has no Path")}
	}
	for _, dir := range strings.Split(getenv(env, "PATH"), ":") {
		p := path.Join(dir, bare)
		if _, err := t.OpenExec(p); err == nil {
			return p, nil
		}
	}
	return "", &Error{Op: "exec", Err: &exec.Error{Name: bare, Err: fmt.Errorf("%w of the guest (%s); mount the program there",
		exec.ErrNotFound, getenv(env, "PATH"))}}
}

// getenv is the last value of a variable.
func getenv(env []string, name string) string {
	for _, e := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// openStreams puts cmd's files at descriptors 0, 1, 2, …, in place of the caller's
// terminal the guest's.
func (w *warden) openStreams(t *emulate.Task) error {
	var tty *fdtable.Description
	if w.terminal != nil {
		var err error
		if tty, err = w.terminal.attach(t, w.streams.owner); err != nil {
			return &Error{Op: "Jail.Terminal", Err: err}
		}
		defer tty.Release()
	}
	files := w.proc.c.files
	n := int(w.tape.ask("streams", func() recording.Event { return recording.Event{N: int64(len(files))} }).N)
	for fd := range n {
		if w.err != nil { // a recording that says other things
			return w.err
		}
		var f *os.File
		if fd < len(files) {
			f = files[fd]
		}
		d, err := w.openStream(fd, f, tty)
		if err != nil {
			return &Error{Op: "cmd", Err: fmt.Errorf("descriptor %d: %w", fd, err)}
		}
		if d == nil && fd > 2 {
			continue // closed
		}
		if d == nil {
			d = fdtable.NewDescription(&nullFile{}, vfs.NewAnonymous(&nullFile{}, "/dev/null"), unix.O_RDWR)
		}
		if err := t.FDs.Replace(fd, fd+1, d, false); err != nil {
			_ = d.Release()
			return &Error{Op: "cmd", Err: fmt.Errorf("descriptor %d: policy.Limits has no room for it: %w", fd, err)}
		}
	}
	return nil
}

// openStream gives descriptor fd of cmd's, nil for one that is not there.
func (w *warden) openStream(fd int, f *os.File, tty *fdtable.Description) (*fdtable.Description, error) {
	switch {
	case w.tape != nil:
		return w.tape.openStream(&w.streams, fd, f)
	case f == nil:
		return nil, nil
	case tty != nil && w.terminal.is(f):
		return tty.Retain(), nil
	}
	h, err := w.streams.newHostFile(f)
	if err != nil {
		return nil, err
	}
	h.number = fd
	return fdtable.NewDescription(h, vfs.NewAnonymous(h, streamLabel(h.mode, fd)), h.accessMode()), nil
}

// Random fills p from the guest's random source.
func (w *warden) Random(p []byte) {
	if _, err := io.ReadFull(w.random, p); err != nil {
		w.fail(&Error{Op: "Jail.Random", Err: fmt.Errorf("%w: it must give bytes without end", err)})
	}
}

// guestRandom is Random as an io.Reader.
type guestRandom struct{ w *warden }

func (r guestRandom) Read(p []byte) (int, error) {
	if r.w.Random(p); r.w.err != nil {
		return 0, r.w.err
	}
	return len(p), nil
}

// Post runs fn on the warden's thread.
func (w *warden) Post(fn func()) { w.box.post(fn) }

// Warn is see emulate.Host.
func (w *warden) Warn(msg, call string, err error) { w.warn(msg, call, err) }

// Kill ends the jail.
func (w *warden) Kill(reason error) {
	if reason != nil {
		w.fail(reason)
		return
	}
	w.killAll()
}

// slotsInUse marks the slots of the jail's arena that its guests have mapped. EAGAIN:
// a mapping that is being moved, or is a child's or a new image's that nobody knows
// yet, is not seen.
func (w *warden) slotsInUse(mapped map[int]bool) error {
	if w.sys.Remapping() || w.execs > 0 {
		return unix.EAGAIN
	}
	if m, ok := w.sys.Placing(); ok {
		mapped[int(m.Offset/arena.Stride)] = true
	}
	for _, t := range w.threads {
		if t.cloning {
			return unix.EAGAIN
		}
		maps, err := t.ProcFile("maps")
		if err == emulate.ErrGone {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.arena.MarkSlots(string(maps), mapped); err != nil {
			return err
		}
	}
	return nil
}
