//go:build linux

package fdtable

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Description is an open file description (open(2), "Open file descriptions"):
// what dup and fork share.
type Description struct {
	File File
	// Entry is the name the file was opened by, nil for what has none. The *at
	// calls, /proc/self/fd and fchdir use it; vfs gives *vfs.Dentry.
	Entry Entry
	// Offset is the file offset in bytes, or a directory's position.
	Offset int64
	// Flags holds the access mode and the status flags F_GETFL gives
	// (O_APPEND, O_NONBLOCK, …; O_PATH and O_DIRECTORY too).
	Flags int
	// Owner, Signal: fcntl F_SETOWN and F_SETSIG.
	Owner, Signal int
	// OwnerThread: Owner is a thread, F_OWNER_TID of F_SETOWN_EX.
	OwnerThread bool
	// Created: this open(2) made the file, F_CREATED_QUERY.
	Created bool
	// Uncounted: it does not count among those that have the file open to write, as
	// what memfd_create(2) made does not in inode.i_writecount.
	Uncounted bool

	refs    int
	release []func()
}

// Entry is a place in the guest's tree.
type Entry interface {
	Path() string
}

// NewDescription returns a description with one reference, which the caller
// owns: Install takes it over, Release drops it. Takes over file.
func NewDescription(file File, entry Entry, flags int) *Description {
	return &Description{File: file, Entry: entry, Flags: flags, refs: 1}
}

// Retain adds a reference, for a call that parks while it uses d or for a
// descriptor in flight.
func (d *Description) Retain() *Description {
	d.refs++
	return d
}

// Refs is how many references there are.
func (d *Description) Refs() int { return d.refs }

// Reads and Writes report the access mode: O_ACCMODE (3) and O_PATH allow
// neither.
func (d *Description) Reads() bool {
	return d.Flags&unix.O_PATH == 0 && (d.Flags&unix.O_ACCMODE == unix.O_RDONLY || d.Flags&unix.O_ACCMODE == unix.O_RDWR)
}

// Writes is see Reads.
func (d *Description) Writes() bool {
	return d.Flags&unix.O_PATH == 0 && (d.Flags&unix.O_ACCMODE == unix.O_WRONLY || d.Flags&unix.O_ACCMODE == unix.O_RDWR)
}

// OnRelease adds fn to what runs when the last reference goes, before Close.
func (d *Description) OnRelease(fn func()) { d.release = append(d.release, fn) }

// Release drops a reference and closes the file with the last one.
func (d *Description) Release() error {
	d.refs--
	if d.refs > 0 {
		return nil
	}
	for _, fn := range d.release {
		fn()
	}
	return d.File.Close()
}

// Slot is one descriptor: the description and the descriptor's own flag.
type Slot struct {
	*Description
	CloseOnExec bool
}

// Table maps descriptor numbers to descriptions: struct files_struct. Tasks with
// CLONE_FILES share one; Retain and Release count them.
type Table struct {
	// Closed, if not nil, is called for every descriptor that stops referring
	// to d, before d is released: what POSIX record locks end with. Clones
	// have it too.
	Closed func(t *Table, d *Description)
	// Budget counts the descriptors; nil: nobody does. Clones share it.
	Budget *Budget

	slots map[int]Slot
	next  int // no free number below this
	size  int // see Size
	refs  int
}

// Budget bounds the descriptors of many tables together. The zero Budget only
// counts.
type Budget struct {
	Max     int   // 0: no bound
	Used    int   // in all tables
	Most    int   // that were in use at once
	Refused int64 // how often there was no room
}

// Room says whether there is room for n more. ENFILE.
func (b *Budget) Room(n int) error {
	if b != nil && b.Max > 0 && b.Used+n > b.Max {
		b.Refused++
		return unix.ENFILE
	}
	return nil
}

// count notes n more descriptors, for which there is room.
func (b *Budget) count(n int) {
	if b != nil {
		b.Used += n
		b.Most = max(b.Most, b.Used)
	}
}

// NewTable returns an empty table with one reference. b may be nil.
func NewTable(b *Budget) *Table { return &Table{Budget: b, slots: make(map[int]Slot), refs: 1} }

// Retain adds a sharing task.
func (t *Table) Retain() *Table {
	t.refs++
	return t
}

// Shared reports whether more than one task holds the table.
func (t *Table) Shared() bool { return t.refs > 1 }

// Release drops a sharing task; the last one closes every descriptor.
func (t *Table) Release() {
	t.refs--
	if t.refs > 0 {
		return
	}
	for _, fd := range t.Numbers() {
		_ = t.Close(fd)
	}
}

// Get returns the description of fd. EBADF if there is none.
func (t *Table) Get(fd int) (*Description, error) {
	if s, ok := t.slots[fd]; ok {
		return s.Description, nil
	}
	return nil, unix.EBADF
}

// Slot returns descriptor fd with its flag. EBADF if there is none.
func (t *Table) Slot(fd int) (Slot, error) {
	if s, ok := t.slots[fd]; ok {
		return s, nil
	}
	return Slot{}, unix.EBADF
}

// Free is the lowest free number that is at least low.
func (t *Table) Free(low int) int {
	fd := max(low, t.next)
	for {
		if _, used := t.slots[fd]; !used {
			return fd
		}
		fd++
	}
}

// Install gives d the lowest free number that is at least low and below limit
// (RLIMIT_NOFILE). EMFILE if there is none, ENFILE if the Budget has no room; d is
// then still the caller's. Takes over d on success.
func (t *Table) Install(d *Description, low, limit int, cloexec bool) (int, error) {
	fd := t.Free(low)
	if fd >= limit {
		return -1, unix.EMFILE
	}
	if err := t.Budget.Room(1); err != nil {
		return -1, err
	}
	t.Budget.count(1)
	if low <= t.next {
		t.next = fd + 1
	}
	t.slots[fd] = Slot{d, cloexec}
	t.size = max(t.size, fd+1)
	return fd, nil
}

// Replace puts d at number fd, closing what was there (dup2). EBADF if fd is
// outside [0, limit), ENFILE if the Budget has no room. Takes over d on success.
func (t *Table) Replace(fd, limit int, d *Description, cloexec bool) error {
	if fd < 0 || fd >= limit {
		return unix.EBADF
	}
	old, used := t.slots[fd]
	if !used {
		if err := t.Budget.Room(1); err != nil {
			return err
		}
		t.Budget.count(1)
	}
	t.slots[fd] = Slot{d, cloexec}
	t.size = max(t.size, fd+1)
	if used {
		_ = t.drop(old.Description)
	}
	return nil
}

// SetCloseOnExec sets fd's FD_CLOEXEC. EBADF.
func (t *Table) SetCloseOnExec(fd int, on bool) error {
	s, ok := t.slots[fd]
	if !ok {
		return unix.EBADF
	}
	s.CloseOnExec = on
	t.slots[fd] = s
	return nil
}

// Close frees fd. EBADF, or what the file's Close gave (the number is free all
// the same, as on Linux).
func (t *Table) Close(fd int) error {
	s, ok := t.slots[fd]
	if !ok {
		return unix.EBADF
	}
	delete(t.slots, fd)
	t.Budget.count(-1)
	t.next = min(t.next, fd)
	return t.drop(s.Description)
}

func (t *Table) drop(d *Description) error {
	if t.Closed != nil {
		t.Closed(t, d)
	}
	return d.Release()
}

// Clone returns a copy that shares the descriptions: what fork gives the child.
// ENFILE if the Budget has no room.
func (t *Table) Clone() (*Table, error) {
	if err := t.Budget.Room(len(t.slots)); err != nil {
		return nil, err
	}
	t.Budget.count(len(t.slots))
	n := &Table{Closed: t.Closed, Budget: t.Budget, slots: maps.Clone(t.slots), next: t.next, size: t.size, refs: 1}
	for _, s := range n.slots {
		s.Retain()
	}
	return n, nil
}

// CloseOnExec closes what execve(2) closes.
func (t *Table) CloseOnExec() {
	for _, fd := range t.Numbers() {
		if t.slots[fd].CloseOnExec {
			_ = t.Close(fd)
		}
	}
}

// Numbers returns the open descriptors in ascending order.
func (t *Table) Numbers() []int { return slices.Sorted(maps.Keys(t.slots)) }

// Any reports whether is holds for an open description.
func (t *Table) Any(is func(*Description) bool) bool {
	for _, s := range t.slots {
		if is(s.Description) {
			return true
		}
	}
	return false
}

// Size is what Linux's table would have room for, struct fdtable's max_fds:
// select(2) looks no further, whatever its first argument.
func (t *Table) Size() int {
	n := 64
	for n < t.size {
		n *= 2
	}
	return n
}

// Len is how many descriptors are open.
func (t *Table) Len() int { return len(t.slots) }
