//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// taskSize is TASK_SIZE_MAX of x86-64: no guest memory is beyond it.
const taskSize = 1<<47 - 4096

// ipcState is what a jail's pipes and other ways to talk keep; the zero value
// is an empty one.
type ipcState struct {
	pipes     map[vfs.Node]*pipe // the open ones
	pipePages int                // their capacity
	pages     [][]byte           // empty pages for pipes
	lastIno   uint64

	polled        int // entries of the polls and selects that sleep
	watched       map[*fdtable.Description]map[*epollItem]struct{}
	watches       int    // epoll items in all
	wakes, checks uint64 // counts events and loop checks, see epoll

	mqueues map[string]*mqueue
	mqBytes int64 // what they count against RLIMIT_MSGQUEUE
	mqSends int64 // bytes that are being sent, and may wait for room

	shm, sem, msg        ipcTable
	sems, undo, msgBytes int      // semaphores, adjustments and message bytes in all
	timers               int      // of timer_create
	timerTurn            Deadline // see ticker.repeat
}

// anonDev is the device number of what has no place in the tree.
const anonDev = 14

// anonNode is the inode of a pipe or another file without a name.
type anonNode struct{ attr vfs.Attr }

// anonNode makes an inode with the task's identity and the present time.
func (c *Call) anonNode(mode uint32) *anonNode {
	now := unix.NsecToTimespec(c.Sys.realtime())
	c.Sys.ipc.lastIno++
	return &anonNode{vfs.Attr{Dev: anonDev, Ino: c.Sys.ipc.lastIno, Mode: mode, Nlink: 1,
		UID: c.Task.Cred.FSUID, GID: c.Task.Cred.FSGID, BlockSize: pipePage,
		Atime: now, Mtime: now, Ctime: now}}
}

func (n *anonNode) Attr() (vfs.Attr, error) { return n.attr, nil }

// SetAttr: fchmod, fchown and futimens work on a pipe.
func (n *anonNode) SetAttr(ch vfs.Change) error {
	change(&n.attr, ch)
	return nil
}

// change does what ch says to attributes that are kept in memory.
func change(a *vfs.Attr, ch vfs.Change) {
	set(&a.UID, ch.UID)
	set(&a.GID, ch.GID)
	set(&a.Atime, ch.Atime)
	set(&a.Mtime, ch.Mtime)
	if ch.Mode != nil {
		a.Mode = a.Mode&unix.S_IFMT | *ch.Mode&^unix.S_IFMT
	}
}

func set[T any](at *T, v *T) {
	if v != nil {
		*at = *v
	}
}

// installAnon gives a file that is known by its kind alone a descriptor. flags
// is added to O_RDWR. Takes over f. EMFILE.
func (c *Call) installAnon(f fdtable.File, kind string, flags int, cloexec bool) (uint64, error) {
	d := fdtable.NewDescription(f, vfs.NewAnonymous(anonInode{}, "anon_inode:"+kind), unix.O_RDWR|flags)
	return c.install(d, cloexec)
}

// install gives d the lowest free descriptor, which is the call's result. EMFILE,
// ENFILE. Takes over d.
func (c *Call) install(d *fdtable.Description, cloexec bool) (uint64, error) {
	fd, err := c.Task.InstallFD(d, 0, cloexec)
	return uint64(fd), err
}
