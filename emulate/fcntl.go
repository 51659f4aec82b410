//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

const (
	maxRWHint = 5 // RWH_WRITE_LIFE_EXTREME
	setflMask = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME
)

// fcntl is fs/fcntl.c:do_fcntl.
func fcntl(c *Call) (uint64, error) {
	fd, cmd, arg := c.FD(0), c.Int(1), c.Size(2)
	t := c.Task
	d, err := t.FDs.Get(fd)
	if err != nil {
		return 0, err
	}
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		if low := uint32(arg); uint64(low) < uint64(t.maxFD()) {
			n, err := t.InstallFD(d.Retain(), int(low), cmd == unix.F_DUPFD_CLOEXEC)
			return uint64(n), err
		}
		return 0, unix.EINVAL
	case unix.F_DUPFD_QUERY:
		if o, err := t.FDs.Get(int(int32(arg))); err != nil {
			return 0, err
		} else if o == d {
			return 1, nil
		}
		return 0, nil
	case unix.F_CREATED_QUERY:
		return oneIf(d.Created), nil
	case unix.F_GETFD:
		s, err := t.FDs.Slot(fd)
		return oneIf(s.CloseOnExec), err // FD_CLOEXEC is 1
	case unix.F_SETFD:
		return 0, t.FDs.SetCloseOnExec(fd, arg&unix.FD_CLOEXEC != 0)
	case unix.F_GETFL:
		return uint64(d.Flags), nil
	}
	if d.Flags&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	switch cmd {
	case unix.F_SETFL:
		return 0, c.setFlags(d, int(uint32(arg)))
	case unix.F_GETLK, unix.F_OFD_GETLK:
		return 0, c.getlk(d, cmd, arg)
	case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return 0, c.setlk(fd, d, cmd, arg)
	case unix.F_SETPIPE_SZ, unix.F_GETPIPE_SZ:
		return pipeSize(d, cmd, uint32(arg))
	case unix.F_ADD_SEALS, unix.F_GET_SEALS:
		return c.seal(d, cmd, arg)
	case unix.F_NOTIFY:
		return 0, c.fNotify(fd, d, uint32(arg))
	case unix.F_GETLEASE:
		return unix.F_UNLCK, nil
	case unix.F_GET_RW_HINT, unix.F_SET_RW_HINT:
		return 0, c.rwHint(d, cmd, arg)
	}
	return c.fowner(d, cmd, arg)
}

func oneIf(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// setFlags is fs/fcntl.c:setfl.
func (c *Call) setFlags(d *fdtable.Description, flags int) error {
	if changed := flags &^ d.Flags; changed&(unix.O_NOATIME|unix.O_DIRECT) != 0 {
		a, err := entryOf(d).Attr()
		cred := c.Task.Access()
		switch {
		case err != nil:
			return err
		case changed&unix.O_NOATIME != 0 && cred.UID != 0 && cred.UID != a.UID:
			return unix.EPERM
		case flags&unix.O_DIRECT != 0 && !a.IsRegular() && a.Mode&unix.S_IFMT != unix.S_IFIFO:
			return unix.EINVAL
		}
	}
	return setStatus(d, d.Flags&^setflMask|flags&setflMask)
}

// setStatus gives d new status flags, once its file has taken them.
func setStatus(d *fdtable.Description, flags int) error {
	if f, ok := d.File.(fdtable.FlagSetter); ok {
		if err := f.SetFlags(flags); err != nil {
			return err
		}
	}
	d.Flags = flags
	return nil
}

// seal is mm/memfd.c:memfd_fcntl.
func (c *Call) seal(d *fdtable.Description, cmd int, arg uint64) (uint64, error) {
	f, ok := d.File.(fdtable.Sealer)
	switch {
	case cmd == unix.F_ADD_SEALS && arg <= 1<<32-1 && !d.Writes():
		return 0, unix.EPERM
	case cmd == unix.F_ADD_SEALS && arg > 1<<32-1, !ok:
		return 0, unix.EINVAL
	case cmd == unix.F_ADD_SEALS: // a mapping that is being made is not seen
		defer d.Retain().Release()
		if err := c.Sys.placing.lock(c); err != nil {
			return 0, err
		}
		defer c.Sys.placing.unlock()
		return 0, f.AddSeals(int(arg))
	}
	n, err := f.Seals()
	return uint64(n), err
}

// rwHint checks and forgets: nothing here writes to flash.
func (c *Call) rwHint(d *fdtable.Description, cmd int, arg uint64) error {
	var p [8]byte
	if cmd == unix.F_GET_RW_HINT {
		return c.Write(arg, p[:])
	}
	a, err := entryOf(d).Attr()
	if err != nil {
		return err
	}
	if cred := c.Task.Access(); cred.UID != 0 && cred.UID != a.UID {
		return unix.EPERM
	}
	if err := c.Read(arg, p[:]); err != nil {
		return err
	}
	if leUint64(p[:]) > maxRWHint {
		return unix.EINVAL
	}
	return nil
}

// fowner keeps whom SIGIO would go to. EINVAL for a command that does not exist.
func (c *Call) fowner(d *fdtable.Description, cmd int, arg uint64) (uint64, error) {
	const ownerTID, ownerPID, ownerPGRP = 0, 1, 2
	switch cmd {
	case unix.F_GETOWN:
		return uint64(d.Owner), nil
	case unix.F_GETOWN_EX:
		kind, who := ownerPID, d.Owner
		switch {
		case d.OwnerThread:
			kind = ownerTID
		case who < 0:
			kind, who = ownerPGRP, -who
		}
		return 0, c.WriteValue(arg, [2]int32{int32(kind), int32(who)})
	case unix.F_SETOWN:
		return 0, c.setOwner(d, int(int32(arg)), false)
	case unix.F_SETOWN_EX:
		var ex [2]int32
		if err := c.ReadValue(arg, &ex); err != nil {
			return 0, err
		}
		who := int(ex[1])
		switch {
		case ex[0] < ownerTID || ex[0] > ownerPGRP:
			return 0, unix.EINVAL
		case who < 0:
			return 0, unix.ESRCH
		case ex[0] == ownerPGRP:
			who = -who
		}
		return 0, c.setOwner(d, who, ex[0] == ownerTID)
	case unix.F_GETSIG:
		return uint64(d.Signal), nil
	case unix.F_SETSIG:
		if arg > maxSignal {
			return 0, unix.EINVAL
		}
		d.Signal = int(arg)
		return 0, nil
	}
	return 0, unix.EINVAL
}

// setOwner is fs/fcntl.c:f_setown; who below 0 is a process group. ESRCH, EINVAL.
func (c *Call) setOwner(d *fdtable.Description, who int, thread bool) error {
	s := c.Sys
	switch {
	case who == -1<<31:
		return unix.EINVAL
	case thread && who != 0 && s.Task(who) == nil,
		!thread && who > 0 && s.Process(who) == nil,
		who < 0 && !s.groupInUse(-who):
		return unix.ESRCH
	}
	d.Owner, d.OwnerThread = who, thread
	return nil
}

// flockData is struct flock, padding spelled out.
type flockData struct {
	Type, Whence int16
	Pad          int32
	Start, Len   int64
	PID, Pad2    int32
}

// readLock decodes a struct flock (fs/locks.c:flock_to_posix_lock). EFAULT,
// EINVAL, EOVERFLOW.
func (c *Call) readLock(d *fdtable.Description, addr uint64, l *flockData) (r record, err error) {
	if err := c.ReadValue(addr, l); err != nil {
		return r, err
	}
	start, length := l.Start, l.Len
	base := int64(0)
	switch l.Whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = d.Offset
	case unix.SEEK_END:
		a, err := entryOf(d).Attr()
		if err != nil {
			return r, err
		}
		base = a.Size
	default:
		return r, unix.EINVAL
	}
	const last = 1<<63 - 1
	if start > last-base {
		return r, unix.EOVERFLOW
	}
	r.start, r.end = base+start, last
	switch {
	case r.start < 0:
		return r, unix.EINVAL
	case length > 0 && length-1 > last-r.start:
		return r, unix.EOVERFLOW
	case length > 0:
		r.end = r.start + length - 1
	case length < 0 && r.start+length < 0:
		return r, unix.EINVAL
	case length < 0:
		r.start, r.end = r.start+length, r.start-1
	}
	if l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK && l.Type != unix.F_UNLCK {
		return r, unix.EINVAL
	}
	r.write = l.Type == unix.F_WRLCK
	return r, nil
}

// getlk is fs/locks.c:fcntl_getlk.
func (c *Call) getlk(d *fdtable.Description, cmd int, addr uint64) error {
	var l flockData
	r, err := c.readLock(d, addr, &l)
	ofd := cmd == unix.F_OFD_GETLK
	switch {
	case err != nil:
		return err
	case l.Type == unix.F_UNLCK && !ofd, ofd && l.PID != 0:
		return unix.EINVAL
	}
	r.owner = c.Task.FDs
	if ofd {
		r.owner = d
	}
	var o *record
	if there := c.Sys.locks.by[inodeOf(d)]; there != nil {
		if l.Type == unix.F_UNLCK {
			o = there.own(r)
		} else {
			o = there.conflict(r)
		}
	}
	l.Type = unix.F_UNLCK
	if o != nil {
		l.Type, l.Whence, l.Start, l.Len, l.PID = unix.F_RDLCK, unix.SEEK_SET, o.start, 0, int32(o.pid)
		if o.write {
			l.Type = unix.F_WRLCK
		}
		if o.end != 1<<63-1 {
			l.Len = o.end - o.start + 1
		}
	}
	return c.WriteValue(addr, l)
}

// own is the first lock of r's owner on its bytes: what F_OFD_GETLK with F_UNLCK
// asks for.
func (l *inodeLocks) own(r record) *record {
	for i := range l.records {
		if o := &l.records[i]; o.owner == r.owner && o.start <= r.end && r.start <= o.end {
			return o
		}
	}
	return nil
}

// setlk is fs/locks.c:fcntl_setlk.
func (c *Call) setlk(fd int, d *fdtable.Description, cmd int, addr uint64) error {
	var l flockData
	r, err := c.readLock(d, addr, &l)
	ofd := cmd == unix.F_OFD_SETLK || cmd == unix.F_OFD_SETLKW
	switch {
	case err != nil:
		return err
	case l.Type == unix.F_RDLCK && !d.Reads(), l.Type == unix.F_WRLCK && !d.Writes():
		return unix.EBADF
	case ofd && l.PID != 0:
		return unix.EINVAL
	}
	table := c.Task.FDs
	r.owner, r.pid = table, c.Task.Process.PID
	if ofd {
		r.owner, r.pid = d, -1
		c.Sys.locks.hook(d)
	}
	d.Retain()
	defer d.Release()
	lock := l.Type != unix.F_UNLCK
	if err := c.setLock(d, r, lock, cmd == unix.F_SETLKW || cmd == unix.F_OFD_SETLKW); err != nil {
		return err
	}
	// A thread may have closed fd while this one waited; then its close came too
	// early to release the lock.
	if now, _ := table.Get(fd); lock && !ofd && now != d {
		_ = c.setLock(d, r, false, false)
		return unix.EBADF
	}
	return nil
}
