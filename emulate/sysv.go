//go:build linux

package emulate

import (
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// What shm, sem and msg have in common, ipc/util.c.
const (
	ipcInfo = 3
	// ipcMax is IPCMNI: objects of one kind, and what an id's low part counts to.
	ipcMax     = 32768
	readBits   = 0o444
	writeBits  = 0o222
	accessBits = 0o777
)

// ipcPerm is struct ipc64_perm.
type ipcPerm struct {
	Key                        int32
	UID, GID, CUID, CGID, Mode uint32
	Seq                        uint16
	_                          [6]byte
	_                          [2]uint64
}

// ipcObject is a segment, a set or a queue: an ipcEntry and what is its own.
type ipcObject interface{ entry() *ipcEntry }

type ipcEntry struct {
	perm    ipcPerm
	id      int
	removed bool
	queue   fdtable.Queue // woken by every change
}

func (e *ipcEntry) entry() *ipcEntry { return e }

// ipcTable is struct ipc_ids; the zero value is an empty one.
type ipcTable struct {
	byIndex map[int]ipcObject
	byKey   map[int32]ipcObject
	last    int
	seq     uint16
}

// ipcGet is ipcget: an id for a key. ENOENT, EEXIST, EACCES, ENOSPC, and what
// check says of an object that exists and fresh of one that is made.
func (c *Call) ipcGet(t *ipcTable, key int32, flags int, check func(ipcObject) error, fresh func() (ipcObject, error)) (uint64, error) {
	o := t.byKey[key]
	switch {
	case key == 0 || o == nil && flags&unix.IPC_CREAT != 0: // IPC_PRIVATE
		return c.ipcNew(t, key, flags, fresh)
	case o == nil:
		return 0, unix.ENOENT
	case flags&unix.IPC_CREAT != 0 && flags&unix.IPC_EXCL != 0:
		return 0, unix.EEXIST
	}
	if err := check(o); err != nil {
		return 0, err
	}
	return uint64(o.entry().id), c.ipcAccess(o.entry(), flags)
}

func (c *Call) ipcNew(t *ipcTable, key int32, flags int, fresh func() (ipcObject, error)) (uint64, error) {
	if t.byIndex == nil {
		t.byIndex, t.byKey, t.last = make(map[int]ipcObject), make(map[int32]ipcObject), -1
	}
	if len(t.byIndex) >= ipcMax {
		return 0, unix.ENOSPC
	}
	o, err := fresh()
	if err != nil {
		return 0, err
	}
	index := 0
	for t.byIndex[index] != nil {
		index++
	}
	if index <= t.last {
		t.seq = (t.seq + 1) & 0x7fff
	}
	t.last = index
	cred := c.Task.Cred
	e := o.entry()
	e.id = int(t.seq)*ipcMax + index
	e.perm = ipcPerm{Key: key, UID: cred.EUID, GID: cred.EGID, CUID: cred.EUID, CGID: cred.EGID,
		Mode: uint32(flags & accessBits), Seq: t.seq}
	t.byIndex[index] = o
	if key != 0 {
		t.byKey[key] = o
	}
	return uint64(e.id), nil
}

// find is the object with an id; with stat an index will do (SEM_STAT). EINVAL.
func (t *ipcTable) find(id int, stat bool) (ipcObject, error) {
	if id < 0 {
		return nil, unix.EINVAL
	}
	o := t.byIndex[id%ipcMax]
	if o == nil || !stat && o.entry().id != id {
		return nil, unix.EINVAL
	}
	return o, nil
}

// remove is IPC_RMID: whoever waits wakes up to EIDRM.
func (t *ipcTable) remove(o ipcObject) {
	e := o.entry()
	t.hide(o)
	delete(t.byIndex, e.id%ipcMax)
	e.removed = true
	e.queue.Wake()
}

// hide takes the key away.
func (t *ipcTable) hide(o ipcObject) {
	if key := o.entry().perm.Key; key != 0 && t.byKey[key] == o {
		delete(t.byKey, key)
	}
	o.entry().perm.Key = 0
}

// highest is the largest index in use, which the _INFO commands give.
func (t *ipcTable) highest() uint64 {
	top := 0
	for i := range t.byIndex {
		top = max(top, i)
	}
	return uint64(top)
}

// ipcAccess is ipcperms. EACCES.
func (c *Call) ipcAccess(e *ipcEntry, flags int) error {
	cred, p := c.Task.Cred, e.perm
	asked := uint32(flags>>6 | flags>>3 | flags)
	granted := p.Mode
	switch {
	case cred.EUID == p.CUID || cred.EUID == p.UID:
		granted >>= 6
	case c.inGroup(p.CGID) || c.inGroup(p.GID):
		granted >>= 3
	}
	if asked&^granted&7 != 0 && cred.EUID != 0 {
		return unix.EACCES
	}
	return nil
}

func (c *Call) inGroup(gid uint32) bool {
	return c.Task.Cred.EGID == gid || slices.Contains(c.Task.Cred.Groups, gid)
}

// ipcOwner is ipcctl_obtain_check: only owner, creator and root may change or
// remove. EPERM.
func (c *Call) ipcOwner(e *ipcEntry) error {
	if u := c.Task.Cred.EUID; u != 0 && u != e.perm.UID && u != e.perm.CUID {
		return unix.EPERM
	}
	return nil
}

// set is IPC_SET's common part. EINVAL for an id that is none.
func (e *ipcEntry) set(p ipcPerm) error {
	if p.UID == 1<<32-1 || p.GID == 1<<32-1 {
		return unix.EINVAL
	}
	e.perm.UID, e.perm.GID = p.UID, p.GID
	e.perm.Mode = e.perm.Mode&^accessBits | p.Mode&accessBits
	return nil
}

// seconds is the guest's CLOCK_REALTIME.
func (c *Call) seconds() int64 { return c.Sys.realtime() / 1e9 }

// ipcTell is IPC_STAT, and those of the commands like it that give an id; anybody is
// the one that asks for no right to read.
func (c *Call) ipcTell(e *ipcEntry, cmd, anybody int, buf uint64, ds any) (uint64, error) {
	if err := c.ipcAccess(e, readBits); err != nil && cmd != anybody {
		return 0, err
	}
	id := uint64(e.id)
	if cmd == unix.IPC_STAT {
		id = 0
	}
	return id, c.WriteValue(buf, ds)
}
