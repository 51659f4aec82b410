//go:build linux

package emulate

import (
	"cmp"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// maxLocks bounds a jail's locks, which Linux charges to the guest's memory:
// ENOLCK beyond.
const maxLocks = 1 << 16

// lockMand is LOCK_MAND, a kind of lock that no longer is one.
const lockMand = 32

// deadlockSteps is MAX_DEADLK_ITERATIONS of fs/locks.c.
const deadlockSteps = 10

// locks are a jail's advisory locks.
type locks struct {
	by    map[any]*inodeLocks
	count int
	// waits are the owners of POSIX locks that wait, and for whom.
	waits []*lockWait
	// hooked are the descriptions whose end releases locks.
	hooked map[*fdtable.Description]struct{}
}

type lockWait struct{ owner, on any }

// inodeLocks are those of one inode.
type inodeLocks struct {
	records []record    // grouped by owner, within a group by place
	owned   map[any]int // how many of them each owner has
	flocks  map[*fdtable.Description]bool
	queue   fdtable.Queue
}

// record is a lock on bytes [start, end]. Those of one owner do not overlap.
type record struct {
	// owner is the descriptor table for a POSIX lock (the kernel's
	// files_struct), the description for an OFD lock.
	owner      any
	pid        int // -1 for an OFD lock
	write      bool
	start, end int64
}

// inodeOf is what locks are kept by.
func inodeOf(d *fdtable.Description) any {
	if e, ok := d.Entry.(*vfs.Dentry); ok && e != nil && e.Node != (anonInode{}) {
		return e.Node
	}
	return d.File
}

// of gives the locks of d's inode, which drop frees when there are none left.
func (k *locks) of(d *fdtable.Description) *inodeLocks {
	key := inodeOf(d)
	l := k.by[key]
	if l == nil {
		if k.by == nil {
			k.by = make(map[any]*inodeLocks)
		}
		l = &inodeLocks{owned: make(map[any]int), flocks: make(map[*fdtable.Description]bool)}
		k.by[key] = l
	}
	return l
}

func (k *locks) drop(d *fdtable.Description) {
	if l := k.by[inodeOf(d)]; l != nil && len(l.records)+len(l.flocks) == 0 && l.queue.Empty() {
		delete(k.by, inodeOf(d))
	}
}

// closed releases what a process has locked through POSIX locks when it closes
// any descriptor of the file (fs/locks.c:locks_remove_posix).
func (k *locks) closed(t *fdtable.Table, d *fdtable.Description) {
	if len(k.by) == 0 || d.Flags&unix.O_PATH != 0 {
		return
	}
	if l := k.by[inodeOf(d)]; l != nil {
		k.set(l, record{owner: t, end: math.MaxInt64}, false)
		k.drop(d)
	}
}

// hook makes the end of d release its own locks.
func (k *locks) hook(d *fdtable.Description) {
	if _, ok := k.hooked[d]; ok {
		return
	}
	if k.hooked == nil {
		k.hooked = make(map[*fdtable.Description]struct{})
	}
	k.hooked[d] = struct{}{}
	d.OnRelease(func() {
		delete(k.hooked, d)
		if l := k.by[inodeOf(d)]; l != nil {
			k.unflock(l, d)
			k.set(l, record{owner: d, end: math.MaxInt64}, false)
			k.drop(d)
		}
	})
}

// conflict is the first lock that keeps r from being set, or nil.
func (l *inodeLocks) conflict(r record) *record {
	for i := range l.records {
		o := &l.records[i]
		if o.owner != r.owner && (o.write || r.write) && o.start <= r.end && r.start <= o.end {
			return o
		}
	}
	return nil
}

// set makes r's bytes locked as r says, or unlocked if lock is false, for its
// owner alone: it cuts, joins and replaces the owner's records
// (fs/locks.c:posix_lock_inode). ENOLCK.
func (k *locks) set(l *inodeLocks, r record, lock bool) error {
	if !lock && l.owned[r.owner] == 0 {
		return nil // as most descriptors that are closed
	}
	same := func(o record) bool { return o.owner == r.owner }
	from := slices.IndexFunc(l.records, same)
	if from < 0 {
		from = len(l.records)
	}
	to := from
	for to < len(l.records) && same(l.records[to]) {
		to++
	}
	var group []record
	for _, o := range l.records[from:to] {
		joins := lock && o.write == r.write
		switch {
		case joins && o.start <= next(r.end) && r.start <= next(o.end):
			r.start, r.end = min(r.start, o.start), max(r.end, o.end)
		case o.start > r.end || r.start > o.end:
			group = append(group, o)
		default:
			if left := o; o.start < r.start {
				left.end = r.start - 1
				group = append(group, left)
			}
			if right := o; o.end > r.end {
				right.start = r.end + 1
				group = append(group, right)
			}
		}
	}
	if lock {
		group = append(group, r)
		slices.SortFunc(group, func(a, b record) int { return cmp.Compare(a.start, b.start) })
	}
	grown := len(group) - (to - from) // also by unlocking a part
	if grown > 0 && k.count+grown > maxLocks {
		return unix.ENOLCK
	}
	k.count += grown
	if l.owned[r.owner] = len(group); len(group) == 0 {
		delete(l.owned, r.owner)
	}
	l.records = slices.Replace(l.records, from, to, group...)
	l.queue.Wake()
	return nil
}

// next is the byte after, which the last byte does not have.
func next(end int64) int64 {
	if end == math.MaxInt64 {
		return end
	}
	return end + 1
}

// deadlock reports that owner would wait for itself by way of on
// (fs/locks.c:posix_locks_deadlock). OFD locks belong to nobody who waits.
func (k *locks) deadlock(owner, on any) bool {
	for range deadlockSteps {
		i := slices.IndexFunc(k.waits, func(w *lockWait) bool { return w.owner == on })
		if i < 0 {
			return false
		}
		if on = k.waits[i].on; on == owner {
			return true
		}
	}
	return false
}

// setLock is fcntl(F_SETLK) and its like. EAGAIN, EDEADLK, ENOLCK, and what Wait
// gives.
func (c *Call) setLock(d *fdtable.Description, r record, lock, wait bool) error {
	k := &c.Sys.locks
	l := k.of(d)
	defer k.drop(d)
	for lock {
		o := l.conflict(r)
		if o == nil {
			break
		}
		if !wait {
			return unix.EAGAIN
		}
		w := &lockWait{r.owner, o.owner}
		if _, posix := r.owner.(*fdtable.Table); posix {
			if k.deadlock(r.owner, o.owner) {
				return unix.EDEADLK
			}
			k.waits = append(k.waits, w)
		}
		err := c.Wait(0, &l.queue)
		k.waits = slices.DeleteFunc(k.waits, func(x *lockWait) bool { return x == w })
		if err != nil {
			return err
		}
	}
	return k.set(l, r, lock)
}

func flock(c *Call) (uint64, error) {
	fd, operation := c.FD(0), c.Int(1)
	if operation&lockMand != 0 {
		return 0, nil
	}
	switch operation &^ unix.LOCK_NB {
	case unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN:
	default:
		return 0, unix.EINVAL
	}
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	k := &c.Sys.locks
	if operation&unix.LOCK_UN != 0 {
		if l := k.by[inodeOf(d)]; l != nil {
			k.unflock(l, d)
			k.drop(d)
		}
		return 0, nil
	}
	if !d.Reads() && !d.Writes() {
		return 0, unix.EBADF
	}
	d.Retain()
	defer d.Release()
	return 0, c.flock(d, operation&unix.LOCK_EX != 0, operation&unix.LOCK_NB == 0)
}

// flock is fs/locks.c:flock_lock_inode: a conversion gives up the old lock
// before it asks for the new one.
func (c *Call) flock(d *fdtable.Description, exclusive, wait bool) error {
	k := &c.Sys.locks
	l := k.of(d)
	defer k.drop(d)
	if was, ok := l.flocks[d]; ok && was == exclusive {
		return nil
	}
	k.unflock(l, d)
	for l.flocked(d, exclusive) {
		if !wait {
			return unix.EAGAIN
		}
		if err := c.Wait(0, &l.queue); err != nil {
			return err
		}
	}
	k.unflock(l, d) // Another thread may have locked d meanwhile.
	if k.count >= maxLocks {
		return unix.ENOLCK
	}
	k.hook(d)
	k.count++
	l.flocks[d] = exclusive
	return nil
}

// flocked reports that a lock of another than d keeps d from having one. An
// exclusive one is alone, so one look at another's tells.
func (l *inodeLocks) flocked(d *fdtable.Description, exclusive bool) bool {
	for o, alone := range l.flocks {
		if o != d {
			return exclusive || alone
		}
	}
	return false
}

// unflock gives up d's lock of flock(2), if it has one.
func (k *locks) unflock(l *inodeLocks, d *fdtable.Description) {
	if _, ok := l.flocks[d]; !ok {
		return
	}
	k.count--
	delete(l.flocks, d)
	l.queue.Wake()
}
