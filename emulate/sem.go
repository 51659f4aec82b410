//go:build linux

package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Bounds of ipc/sem.c; the last two are ours, for all sets of a jail: ENOSPC for
// semaphores, ENOMEM for what processes have to undo.
const (
	semMSL  = 32000 // semaphores of a set
	semOPM  = 500   // operations of a call
	semVMX  = 32767 // a value, and an adjustment
	maxSems = 1 << 20
	maxUndo = 4 << 20
	semUndo = 0x1000
)

// Commands of semctl(2).
const (
	semGetPID  = 11 + iota
	semGetVal  // 12
	semGetAll  // 13
	semGetNCnt // 14
	semGetZCnt // 15
	semSetVal  // 16
	semSetAll  // 17
	semStat    // 18
	semInfo    // 19
	semStatAny // 20
)

// semSet is struct sem_array.
type semSet struct {
	ipcEntry
	sems         []semaphore
	otime, ctime int64
	undo         map[*Process][]int32 // semadj
	waits        map[*semWait]struct{}
}

type semaphore struct {
	value int32
	pid   int
}

// semWait is what one sleeper waits for.
type semWait struct {
	num  uint16
	zero bool
}

// sembuf is struct sembuf.
type sembuf struct {
	Num uint16
	Op  int16
	Flg int16
}

func semget(c *Call) (uint64, error) {
	key, nsems, semflg := int32(c.Int(0)), c.Int(1), c.Flags(2)
	if nsems < 0 || nsems > semMSL {
		return 0, unix.EINVAL
	}
	ipc := &c.Sys.ipc
	return c.ipcGet(&ipc.sem, key, semflg, func(o ipcObject) error {
		if nsems > len(o.(*semSet).sems) {
			return unix.EINVAL
		}
		return nil
	}, func() (ipcObject, error) {
		if nsems == 0 {
			return nil, unix.EINVAL
		}
		if ipc.sems+nsems > maxSems {
			return nil, unix.ENOSPC
		}
		ipc.sems += nsems
		return &semSet{sems: make([]semaphore, nsems), ctime: c.seconds(),
			undo: make(map[*Process][]int32), waits: make(map[*semWait]struct{})}, nil
	})
}

// attempt is perform_atomic_semop: all operations or none. A nil wait and error
// is success; a wait says which operation cannot go on. ERANGE, EAGAIN.
func (s *semSet) attempt(ops []sembuf, p *Process) (*semWait, error) {
	was := make([]int32, len(ops))
	back := func(n int) {
		for i := n - 1; i >= 0; i-- {
			s.sems[ops[i].Num].value = was[i]
		}
	}
	for i, op := range ops {
		sem := &s.sems[op.Num]
		was[i] = sem.value
		result := sem.value + int32(op.Op)
		var err error
		switch {
		case op.Op == 0 && sem.value != 0 || result < 0:
			back(i)
			if op.Flg&unix.IPC_NOWAIT != 0 {
				return nil, unix.EAGAIN
			}
			return &semWait{op.Num, op.Op == 0}, nil
		case result > semVMX:
			err = unix.ERANGE
		case op.Flg&semUndo != 0:
			if adj := s.undo[p][op.Num] - int32(op.Op); adj < -semVMX-1 || adj > semVMX {
				err = unix.ERANGE
			}
		}
		if err != nil {
			back(i)
			return nil, err
		}
		sem.value = result
	}
	return nil, nil
}

// undoable gives a process that undoes what it did to a set room to note it.
// ENOMEM.
func (c *Call) undoable(s *semSet) error {
	ipc, p := &c.Sys.ipc, c.Task.Process
	if s.undo[p] != nil {
		return nil
	}
	if ipc.undo+len(s.sems) > maxUndo {
		return unix.ENOMEM
	}
	ipc.undo += len(s.sems)
	s.undo[p] = make([]int32, len(s.sems))
	if !p.undoes {
		p.undoes = true
		p.AtExit(func() {
			for _, o := range ipc.sem.byIndex {
				o.(*semSet).exit(ipc, p)
			}
		})
	}
	return nil
}

// exit is exit_sem: the process's adjustments are made.
func (s *semSet) exit(ipc *ipcState, p *Process) {
	ipc.undo -= len(s.undo[p])
	for i, adj := range s.undo[p] {
		if adj != 0 {
			s.sems[i] = semaphore{min(max(s.sems[i].value+adj, 0), semVMX), p.PID}
		}
	}
	if s.undo[p] != nil {
		delete(s.undo, p)
		s.queue.Wake()
	}
}

// commit notes what a successful attempt changed beside the values.
func (s *semSet) commit(ops []sembuf, p *Process, now int64) {
	alters := false
	for _, op := range ops {
		s.sems[op.Num].pid = p.PID
		alters = alters || op.Op != 0
		if op.Flg&semUndo != 0 {
			s.undo[p][op.Num] -= int32(op.Op)
		}
	}
	s.otime = now
	if alters {
		s.queue.Wake()
	}
}

func semop(c *Call) (uint64, error) { return c.as(semtimedop, c.Args[0], c.Args[1], c.Args[2]) }

func semtimedop(c *Call) (uint64, error) {
	semid, sops, nsops, timeout := c.Int(0), c.Addr(1), c.Uint(2), c.Addr(3)
	s, err := c.sleepFor(timeout, 1)
	if err != nil {
		return 0, err
	}
	if nsops < 1 || semid < 0 {
		return 0, unix.EINVAL
	}
	if nsops > semOPM {
		return 0, unix.E2BIG
	}
	ops := make([]sembuf, nsops)
	if err := c.ReadValue(sops, ops); err != nil {
		return 0, err
	}
	o, err := c.Sys.ipc.sem.find(semid, false)
	if err != nil {
		return 0, err
	}
	set, mode, undo := o.(*semSet), readBits, false
	for _, op := range ops {
		if int(op.Num) >= len(set.sems) {
			return 0, unix.EFBIG
		}
		if op.Op != 0 {
			mode = writeBits
		}
		undo = undo || op.Flg&semUndo != 0
	}
	if err := c.ipcAccess(&set.ipcEntry, mode); err != nil {
		return 0, err
	}
	if undo {
		if err := c.undoable(set); err != nil {
			return 0, err
		}
	}
	return 0, c.doSemop(set, ops, s)
}

// doSemop sleeps until the operations can be done. EAGAIN after the time, EINTR,
// EIDRM.
func (c *Call) doSemop(set *semSet, ops []sembuf, s sleep) error {
	p := c.Task.Process
	for {
		wait, err := set.attempt(ops, p)
		if wait == nil {
			if err == nil {
				set.commit(ops, p, c.seconds())
			}
			return err
		}
		if s.zero {
			return unix.EAGAIN
		}
		set.waits[wait] = struct{}{}
		err = c.Wait(s.deadline, &set.queue)
		delete(set.waits, wait)
		switch {
		case set.removed:
			return unix.EIDRM
		case err == unix.ETIMEDOUT:
			s.zero = true
		case err == ErrInterrupted:
			return unix.EINTR
		case err != nil:
			return err
		}
	}
}

// semidDS is struct semid64_ds.
type semidDS struct {
	Perm     ipcPerm
	Otime, _ int64
	Ctime, _ int64
	Nsems    uint64
	_        [2]uint64
}

func semctl(c *Call) (uint64, error) {
	semid, semnum, cmd, arg := c.Int(0), c.Int(1), c.Int(2), c.Addr(3)
	ipc := &c.Sys.ipc
	if semid < 0 {
		return 0, unix.EINVAL
	}
	if cmd == ipcInfo || cmd == semInfo {
		info := [10]int32{1024000000, 32000, 1024000000, 1024000000, semMSL, semOPM, 1024000000, 20, semVMX, semVMX}
		if cmd == semInfo {
			info[7], info[9] = int32(len(ipc.sem.byIndex)), int32(ipc.sems)
		}
		return ipc.sem.highest(), c.WriteValue(arg, info)
	}
	o, err := ipc.sem.find(semid, cmd == semStat || cmd == semStatAny)
	if err != nil {
		return 0, err
	}
	set := o.(*semSet)
	switch cmd {
	case unix.IPC_STAT, semStat, semStatAny:
		return c.ipcTell(&set.ipcEntry, cmd, semStatAny, arg, semidDS{Perm: set.perm, Otime: set.otime, Ctime: set.ctime, Nsems: uint64(len(set.sems))})
	case unix.IPC_SET, unix.IPC_RMID:
		return 0, c.semOwn(set, cmd, arg)
	case semGetAll, semSetAll, semSetVal, semGetVal, semGetPID, semGetNCnt, semGetZCnt:
		return c.semValues(set, semnum, cmd, arg)
	}
	return 0, unix.EINVAL
}

// semOwn is IPC_SET and IPC_RMID.
func (c *Call) semOwn(set *semSet, cmd int, arg uint64) error {
	var ds semidDS
	if cmd == unix.IPC_SET {
		if err := c.ReadValue(arg, &ds); err != nil {
			return err
		}
	}
	if err := c.ipcOwner(&set.ipcEntry); err != nil {
		return err
	}
	if cmd == unix.IPC_SET {
		set.ctime = c.seconds()
		return set.set(ds.Perm)
	}
	c.Sys.ipc.sems -= len(set.sems)
	c.Sys.ipc.undo -= len(set.undo) * len(set.sems)
	c.Sys.ipc.sem.remove(set)
	return nil
}

// semValues is the commands on values.
func (c *Call) semValues(set *semSet, semnum, cmd int, arg uint64) (uint64, error) {
	mode := readBits
	if cmd == semSetVal || cmd == semSetAll {
		mode = writeBits
	}
	all := cmd == semGetAll || cmd == semSetAll
	if cmd == semSetVal && (int32(arg) < 0 || int32(arg) > semVMX) {
		return 0, unix.ERANGE
	}
	if err := c.ipcAccess(&set.ipcEntry, mode); err != nil {
		return 0, err
	}
	if !all && (semnum < 0 || semnum >= len(set.sems)) {
		return 0, unix.EINVAL
	}
	switch cmd {
	case semGetVal:
		return uint64(set.sems[semnum].value), nil
	case semGetPID:
		return uint64(set.sems[semnum].pid), nil
	case semGetAll:
		var p []byte
		for _, s := range set.sems {
			p = binary.LittleEndian.AppendUint16(p, uint16(s.value))
		}
		return 0, c.Write(arg, p)
	case semSetVal:
		c.semSet(set, semnum, []uint16{uint16(arg)})
		return 0, nil
	case semSetAll:
		values := make([]uint16, len(set.sems))
		if err := c.ReadValue(arg, values); err != nil {
			return 0, err
		}
		for _, v := range values {
			if v > semVMX {
				return 0, unix.ERANGE
			}
		}
		c.semSet(set, 0, values)
		return 0, nil
	}
	n := uint64(0)
	for w := range set.waits {
		if int(w.num) == semnum && w.zero == (cmd == semGetZCnt) {
			n++
		}
	}
	return n, nil
}

// semSet sets values, which forgets everybody's adjustments.
func (c *Call) semSet(set *semSet, first int, values []uint16) {
	for i, v := range values {
		set.sems[first+i] = semaphore{int32(v), c.Task.Process.PID}
		for _, adj := range set.undo {
			adj[first+i] = 0
		}
	}
	set.ctime = c.seconds()
	set.queue.Wake()
}
