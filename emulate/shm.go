//go:build linux

package emulate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/sysno"
)

const (
	shmMNI = 4096 // segments
	// shmAttachMax bounds a process's attachments, as vm.max_map_count does.
	shmAttachMax = 65530
	shmMax       = 1<<64 - 1 - 1<<24
	shmRemap     = 0o40000
	shmExec      = 0o100000
	shmHugetlb   = 0o4000
	shmDest      = 0o1000 // in the mode: goes with the last attachment

	shmLock    = 11
	shmUnlock  = 12
	shmStat    = 13
	shmInfo    = 14
	shmStatAny = 15
)

// shmSegment is struct shmid_kernel over a file in memory.
type shmSegment struct {
	ipcEntry
	d            *fdtable.Description
	size         uint64
	attached     int
	atime, dtime int64
	ctime        int64
	cpid, lpid   int
}

// shmAttached is what a process has attached, by address.
type shmAttached map[uint64]*shmSegment

func (s *shmSegment) length() uint64 { return pageAlign(s.size) }

func shmget(c *Call) (uint64, error) {
	key, size, shmflg := int32(c.Int(0)), c.Size(1), c.Flags(2)
	if c.Sys.Shm == nil {
		return 0, unix.ENOSYS
	}
	table := &c.Sys.ipc.shm
	return c.ipcGet(table, key, shmflg, func(o ipcObject) error {
		if size > o.(*shmSegment).size {
			return unix.EINVAL
		}
		return nil
	}, func() (ipcObject, error) {
		switch {
		case size == 0, size > shmMax:
			return nil, unix.EINVAL
		case size > taskSize, shmflg&shmHugetlb != 0:
			return nil, unix.ENOMEM
		case len(table.byIndex) >= shmMNI:
			return nil, unix.ENOSPC
		}
		s := &shmSegment{size: size, ctime: c.seconds(), cpid: c.Task.Process.PID}
		cred := c.Task.Access()
		e, err := vfs.NewMemFile(c.Sys.Shm, fmt.Sprintf("/SYSV%08x (deleted)", uint32(key)), 0o600,
			vfs.Owner{UID: cred.UID, GID: cred.GID}, unix.F_SEAL_SEAL)
		if err != nil {
			return nil, unix.ENOSPC
		}
		file, err := e.Open(unix.O_RDWR)
		if err != nil {
			return nil, unix.ENOMEM
		}
		s.d = fdtable.NewDescription(file, e, unix.O_RDWR)
		if t, ok := file.(fdtable.Truncater); !ok || t.Truncate(int64(s.length())) != nil {
			_ = s.d.Release()
			return nil, unix.ENOMEM
		}
		return s, nil
	})
}

// shmat maps the segment's place in the arena, as mmap does for a file.
func shmat(c *Call) (uint64, error) {
	shmid, addr, shmflg := c.Int(0), c.Addr(1), c.Flags(2)
	if shmid < 0 {
		return 0, unix.EINVAL
	}
	flags := uint64(unix.MAP_SHARED)
	if addr%pageSize != 0 && shmflg&unix.SHM_RND != 0 {
		addr &^= pageSize - 1
	}
	switch {
	case addr%pageSize != 0, addr == 0 && shmflg&shmRemap != 0:
		return 0, unix.EINVAL
	case shmflg&shmRemap != 0:
		flags |= unix.MAP_FIXED
	case addr != 0:
		flags |= unix.MAP_FIXED_NOREPLACE
	}
	prot, mode, write := uint64(unix.PROT_READ), readBits, shmflg&unix.SHM_RDONLY == 0
	if write {
		prot |= unix.PROT_WRITE
		mode |= writeBits
	}
	if shmflg&shmExec != 0 {
		prot |= unix.PROT_EXEC
		mode |= 0o111
	}
	if len(c.Task.Process.shm) >= shmAttachMax {
		return 0, unix.ENOMEM
	}
	o, err := c.Sys.ipc.shm.find(shmid, false)
	if err != nil {
		return 0, err
	}
	s := o.(*shmSegment)
	if err := c.ipcAccess(&s.ipcEntry, mode); err != nil {
		return 0, err
	}
	s.attached++ // whoever removes it meanwhile
	defer s.detach(c.Sys)
	at, err := c.mapFile(s.d, 0, write, write, [6]uint64{addr, s.length(), prot, flags})
	if err == unix.EEXIST {
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	c.Task.Process.attach(c.Sys, at, s)
	s.atime, s.lpid = c.seconds(), c.Task.Process.PID
	return at, nil
}

// attach notes an attachment, which ends with the process at the latest.
func (p *Process) attach(sys *System, at uint64, s *shmSegment) {
	if p.shm == nil {
		p.shm = make(shmAttached)
		p.AtExit(func() { p.detachAll(sys) })
	}
	if old := p.shm[at]; old != nil {
		old.detach(sys)
	}
	p.shm[at] = s
	s.attached++
}

// inheritShm is what fork(2) does with the attachments of from.
func (p *Process) inheritShm(sys *System, from *Process) {
	for at, s := range from.shm {
		p.attach(sys, at, s)
	}
}

// detachAll is what execve(2) and the end of a process do.
func (p *Process) detachAll(sys *System) {
	for at, s := range p.shm {
		delete(p.shm, at)
		s.detach(sys)
	}
}

// detach drops an attachment, and with the last one a segment that was removed.
func (s *shmSegment) detach(sys *System) {
	s.attached--
	if s.attached == 0 && s.perm.Mode&shmDest != 0 {
		sys.ipc.shm.remove(s)
		_ = s.d.Release()
	}
}

func shmdt(c *Call) (uint64, error) {
	shmaddr := c.Addr(0)
	p := c.Task.Process
	s := p.shm[shmaddr]
	if s == nil {
		return 0, unix.EINVAL
	}
	if _, err := c.Task.Machine.Native(sysno.Must("munmap"), [6]uint64{shmaddr, s.length()}); err != nil {
		return 0, err
	}
	if p.shm[shmaddr] != s { // another thread was sooner
		return 0, unix.EINVAL
	}
	s.dtime, s.lpid = c.seconds(), p.PID
	delete(p.shm, shmaddr)
	s.detach(c.Sys)
	return 0, nil
}

// shmidDS is struct shmid64_ds.
type shmidDS struct {
	Perm                ipcPerm
	Segsz               uint64
	Atime, Dtime, Ctime int64
	Cpid, Lpid          int32
	Nattch              uint64
	_                   [2]uint64
}

func shmctl(c *Call) (uint64, error) {
	shmid, cmd, buf := c.Int(0), c.Int(1), c.Addr(2)
	table := &c.Sys.ipc.shm
	if cmd < 0 || shmid < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case ipcInfo: // struct shminfo64
		return table.highest(), c.WriteValue(buf, [9]uint64{shmMax, 1, shmMNI, shmMNI, shmMax})
	case shmInfo: // struct shm_info
		info := [6]uint64{uint64(len(table.byIndex))}
		for _, o := range table.byIndex {
			info[1] += o.(*shmSegment).length() / pageSize
		}
		info[2] = info[1]
		return table.highest(), c.WriteValue(buf, info)
	}
	o, err := table.find(shmid, cmd == shmStat || cmd == shmStatAny)
	if err != nil {
		return 0, err
	}
	s := o.(*shmSegment)
	switch cmd {
	case unix.IPC_STAT, shmStat, shmStatAny:
		return c.ipcTell(&s.ipcEntry, cmd, shmStatAny, buf, shmidDS{Perm: s.perm, Segsz: s.size, Atime: s.atime, Dtime: s.dtime,
			Ctime: s.ctime, Cpid: int32(s.cpid), Lpid: int32(s.lpid), Nattch: uint64(s.attached)})
	case unix.IPC_SET, unix.IPC_RMID, shmLock, shmUnlock:
		return 0, c.shmOwn(s, cmd, buf)
	}
	return 0, unix.EINVAL
}

// shmOwn is the commands of the owner. There is nothing to lock: the memory is
// the host's.
func (c *Call) shmOwn(s *shmSegment, cmd int, buf uint64) error {
	var ds shmidDS
	if cmd == unix.IPC_SET {
		if err := c.ReadValue(buf, &ds); err != nil {
			return err
		}
	}
	if err := c.ipcOwner(&s.ipcEntry); err != nil {
		return err
	}
	switch cmd {
	case unix.IPC_SET:
		s.ctime = c.seconds()
		return s.set(ds.Perm)
	case unix.IPC_RMID:
		s.attached++
		s.perm.Mode |= shmDest
		c.Sys.ipc.shm.hide(s)
		s.detach(c.Sys)
	}
	return nil
}
