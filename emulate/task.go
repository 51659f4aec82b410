//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

// System is the emulated kernel of one jail. It belongs to the warden's thread:
// nothing in it is locked.
type System struct {
	Host     Host
	FS       *vfs.Namespace
	Handlers map[int]Handler // by number; no entry is ENOSYS
	Hostname string
	Domain   string // NIS domain name, "(none)" if empty
	CPUs     int    // what sched_getaffinity and /proc/cpuinfo show
	// CPUInfo is the text of the host's /proc/cpuinfo; nil: that is read.
	CPUInfo  func() ([]byte, error)
	HideVDSO bool // the clock is not the host one, or addresses are not the kernel's
	Limits   Limits
	// Repeatable: the clock is virtual, and one guest thread runs at a time. Calls
	// that would sleep or wake others in the kernel are answered here, and figures
	// that are the host's, such as of memory in use, are made up.
	Repeatable bool
	// Away is how many functions of [Call.Go] run.
	Away int
	// Reserved is how much of each process's address space the host has mapped so
	// that nothing else lies there, in bytes.
	Reserved uint64
	// Changed, if not nil, is told the path of what the current call makes,
	// opens for writing, changes or removes.
	Changed func(path string)

	// ArenaFDs are the numbers of the guest's inherited arena descriptors, by
	// fdtable.Arena.
	ArenaFDs [3]int
	// Shm is where the files of memfd_create lie; nil: it is ENOSYS.
	Shm *vfs.Mem

	tasks     map[int]*Task    // by tid
	processes map[int]*Process // by tgid, zombies included
	zombies   int              // of processes
	lastPID   int

	// Current is the task whose handler runs, for /proc/self. Whoever runs
	// handlers sets it whenever a task's coroutine goes on.
	Current *Task
	ipc     ipcState
	placing placing
	net     vnet.Net
	watches watches
	// scratch is for bytes on their way to or from a guest's memory, nothing
	// that stays while a task parks.
	scratch [stringChunk]byte
	ptys    ptys
	locks   locks
	futexes map[futexKey][]*futexWaiter // where Repeatable; the oldest first
	mapped  map[slot]placed             // what was put in the guest's memory, by where it lies
	voids   bool                        // some of that only as arena.Void
	buf     []byte                      // see chunk
}

// Limits bounds a whole jail; 0 is no bound. The rest is counted.
type Limits struct {
	Tasks     int   // alive or not waited for
	MostTasks int   // that there were
	Refused   int64 // tasks
	making    int   // tasks that clone(2) is making
	MostFiles int   // descriptors of one process
	// Descriptors are those of all processes: the Budget of task 1's table.
	Descriptors fdtable.Budget
}

// Process is a thread group.
type Process struct {
	PID      int
	Parent   *Process // nil for task 1
	Children []*Process
	PGID     int
	SID      int
	Threads  map[int]*Task // by tid
	Rlimits  [16]unix.Rlimit
	Exe      *vfs.Dentry
	strings  int // of execve's argv and envp, behind which the auxiliary vector lies
	Attr     ProcessAttr
	Started  Deadline // when fork made it

	// Subreaper is PR_SET_CHILD_SUBREAPER; a new process is none.
	Subreaper bool

	// Job control: the signal it is stopped by (0: running), and what wait4 has
	// still to report.
	stopSig                unix.Signal
	stopReport, contReport bool
	tty                    *pty // its controlling terminal
	ttyOldPGRP             int  // of a session leader that lost it: its foreground group
	// What rt_sigaction said of SIGCHLD: SIG_IGN, a handler, SA_NOCLDWAIT,
	// SA_NOCLDSTOP.
	chldIgnored, chldCaught, chldNoWait, chldNoStop bool

	exited                fdtable.Queue // woken when a child changes state
	ended                 fdtable.Queue // woken when it has ended itself, and when it was waited for
	status                unix.WaitStatus
	state                 processState
	forker                int           // TID of the thread of Parent's that is its parent
	exitSig               int           // signal to the parent at exit, 0 none
	parentExeced          bool          // the parent is not the program any more that chose exitSig
	uid                   uint32        // real uid, for the parent's siginfo
	execed                bool          // since its fork (setpgid)
	last                  *Task         // of a zombie: what /proc shows of it
	selfUsage, childUsage Usage         // of the ended process; of its reaped children
	beforeExec            Usage         // of the host processes it was before execve
	signalled             fdtable.Queue // woken when a signal was sent to it
	used                  time.Duration // CPU time, where runs are repeatable
	vm                    *vm
	timers                processTimers
	shm                   shmAttached
	undoes                bool // it has semaphores to adjust at its end
	atExit                []func()
}

type processState int

const (
	alive processState = iota
	zombie
	reaped
)

// Task is one guest thread: struct task_struct.
type Task struct {
	TID     int
	Process *Process
	Machine Machine
	Sys     *System
	FDs     *fdtable.Table
	FS      *FSContext
	Cred    Cred
	Comm    string // at most 15 bytes
	Attr    TaskAttr
	Restart Restart
	// DeathSignal is PR_SET_PDEATHSIG: what the task gets when its parent
	// exits. A new task has none.
	DeathSignal int
	// Yielded is set by sched_yield(2) where runs are repeatable: others go first.
	Yielded bool

	used       time.Duration // CPU time, where runs are repeatable
	tidAddress uint64        // see ClearTID
	atExit     []func()
}

// FSContext is what CLONE_FS shares: struct fs_struct.
type FSContext struct {
	Root, Cwd *vfs.Dentry
	Umask     uint32
	refs      int
}

// Cred is who a task is: struct cred. A guest has all capabilities of its own
// world exactly if EUID is 0, unless it gave some up; see Capable.
type Cred struct {
	RUID, EUID, SUID, FSUID uint32
	RGID, EGID, SGID, FSGID uint32
	Groups                  []uint32 // never written, only replaced
	// Caps, if not nil, are capability sets other than what the user ids give;
	// shared, so never written.
	Caps *Caps
}

// Access is the identity file checks use.
func (t *Task) Access() vfs.Cred {
	return vfs.Cred{UID: t.Cred.FSUID, GID: t.Cred.FSGID, Groups: t.Cred.Groups}
}

// Limit is the soft limit of an RLIMIT_ resource.
func (t *Task) Limit(resource int) uint64 { return t.Process.Rlimits[resource].Cur }

// InstallFD gives d the lowest free descriptor that is at least low. On error d
// is released. EMFILE, ENFILE. Takes over d.
func (t *Task) InstallFD(d *fdtable.Description, low int, cloexec bool) (int, error) {
	fd, err := t.FDs.Install(d, low, t.maxFD(), cloexec)
	if err != nil {
		_ = d.Release()
	}
	t.Sys.Limits.MostFiles = max(t.Sys.Limits.MostFiles, t.FDs.Len())
	return fd, err
}

// mayHaveFD says, before anything is made, whether the task may have n more
// descriptors of which fd is the highest. EMFILE, ENFILE.
func (t *Task) mayHaveFD(fd, n int) error {
	if fd >= t.maxFD() {
		return unix.EMFILE
	}
	return t.FDs.Budget.Room(n)
}

// maxFD is one more than the highest descriptor the task may have.
func (t *Task) maxFD() int { return int(min(t.Limit(unix.RLIMIT_NOFILE), maxFiles)) }

// maxFiles is fs.nr_open's default: no process has more descriptors.
const maxFiles = 1 << 20
