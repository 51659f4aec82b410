//go:build linux

package emulate

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// Bounds of ipc/msg.c; maxMsgBytes is ours, for all queues of a jail: ENOMEM.
const (
	msgMax      = 8192  // bytes of a message
	msgMNB      = 16384 // bytes of a queue, unless msgctl says otherwise
	maxMsgBytes = 32 << 20
	msgOverhead = 64 // what a message costs beside its text

	msgNoError = 0o10000
	msgExcept  = 0o20000
	msgCopy    = 0o40000
	msgStat    = 11
	msgInfo    = 12
	msgStatAny = 13
)

// msgQueue is struct msg_queue.
type msgQueue struct {
	ipcEntry
	msgs                []message
	bytes, limit        uint64
	stime, rtime, ctime int64
	lspid, lrpid        int
}

type message struct {
	kind int64
	text []byte
}

func msgget(c *Call) (uint64, error) {
	key, msgflg := int32(c.Int(0)), c.Flags(1)
	return c.ipcGet(&c.Sys.ipc.msg, key, msgflg, func(ipcObject) error { return nil },
		func() (ipcObject, error) { return &msgQueue{limit: msgMNB, ctime: c.seconds()}, nil })
}

// queue is argument 0 as a message queue that may be used so. EINVAL, EACCES.
func (c *Call) msgQueue(mode int) (*msgQueue, error) {
	o, err := c.Sys.ipc.msg.find(c.Int(0), false)
	if err != nil {
		return nil, err
	}
	return o.(*msgQueue), c.ipcAccess(o.entry(), mode)
}

// sleepOn waits for a change of the queue. EIDRM, ERESTARTNOHAND.
func (c *Call) sleepOn(e *ipcEntry) error {
	err := c.Wait(0, &e.queue)
	switch {
	case e.removed:
		return unix.EIDRM
	case err == ErrInterrupted:
		return ERESTARTNOHAND
	}
	return err
}

func msgsnd(c *Call) (uint64, error) {
	msqid, msgp, msgsz, msgflg := c.Int(0), c.Addr(1), c.Size(2), c.Flags(3)
	var kind int64
	if err := c.ReadValue(msgp, &kind); err != nil {
		return 0, err
	}
	if msgsz > msgMax || msqid < 0 || kind < 1 {
		return 0, unix.EINVAL
	}
	text := make([]byte, msgsz)
	if err := c.Read(msgp+8, text); err != nil {
		return 0, err
	}
	q, err := c.msgQueue(writeBits)
	if err != nil {
		return 0, err
	}
	for q.bytes+msgsz > q.limit || uint64(len(q.msgs)) >= q.limit {
		if msgflg&unix.IPC_NOWAIT != 0 {
			return 0, unix.EAGAIN
		}
		if err := c.sleepOn(&q.ipcEntry); err != nil {
			return 0, err
		}
	}
	ipc := &c.Sys.ipc
	if ipc.msgBytes+msgOverhead+int(msgsz) > maxMsgBytes {
		return 0, unix.ENOMEM
	}
	ipc.msgBytes += msgOverhead + int(msgsz)
	q.msgs = append(q.msgs, message{kind, text})
	q.bytes += msgsz
	q.stime, q.lspid = c.seconds(), c.Task.Process.PID
	q.queue.Wake()
	return 0, nil
}

// pick is find_msg: the index of the message asked for, -1 for none.
func (q *msgQueue) pick(kind int64, flags int) int {
	best := -1
	for i, m := range q.msgs {
		switch {
		case flags&msgCopy != 0:
			if int64(i) == kind {
				return i
			}
		case kind == 0 || kind > 0 && (m.kind == kind) != (flags&msgExcept != 0):
			return i
		case kind < 0 && m.kind <= -max(kind, -math.MaxInt64) && (best < 0 || m.kind < q.msgs[best].kind):
			best = i
		}
	}
	return best
}

func msgrcv(c *Call) (uint64, error) {
	msqid, msgp, msgsz, msgtyp, msgflg := c.Int(0), c.Addr(1), c.Size(2), c.Long(3), c.Flags(4)
	if msqid < 0 || int64(msgsz) < 0 {
		return 0, unix.EINVAL
	}
	if msgflg&msgCopy != 0 && (msgflg&msgExcept != 0 || msgflg&unix.IPC_NOWAIT == 0) {
		return 0, unix.EINVAL
	}
	q, err := c.msgQueue(readBits)
	if err != nil {
		return 0, err
	}
	i := q.pick(msgtyp, msgflg)
	for ; i < 0; i = q.pick(msgtyp, msgflg) {
		if msgflg&unix.IPC_NOWAIT != 0 {
			return 0, unix.ENOMSG
		}
		if err := c.sleepOn(&q.ipcEntry); err != nil {
			return 0, err
		}
	}
	m := q.msgs[i]
	if uint64(len(m.text)) > msgsz && msgflg&msgNoError == 0 {
		return 0, unix.E2BIG
	}
	if msgflg&msgCopy == 0 {
		q.msgs = slices.Delete(q.msgs, i, i+1)
		q.bytes -= uint64(len(m.text))
		c.Sys.ipc.msgBytes -= msgOverhead + len(m.text)
		q.rtime, q.lrpid = c.seconds(), c.Task.Process.PID
		q.queue.Wake()
	}
	text := m.text[:min(uint64(len(m.text)), msgsz)]
	if err := c.WriteValue(msgp, m.kind); err != nil {
		return 0, err
	}
	return uint64(len(text)), c.Write(msgp+8, text)
}

// msqidDS is struct msqid64_ds.
type msqidDS struct {
	Perm                 ipcPerm
	Stime, Rtime, Ctime  int64
	Cbytes, Qnum, Qbytes uint64
	Lspid, Lrpid         int32
	_, _                 uint64
}

func msgctl(c *Call) (uint64, error) {
	msqid, cmd, buf := c.Int(0), c.Int(1), c.Addr(2)
	ipc := &c.Sys.ipc
	if msqid < 0 || cmd < 0 {
		return 0, unix.EINVAL
	}
	if cmd == ipcInfo || cmd == msgInfo {
		// struct msginfo: pool, map, max, mnb, mni, ssz, tql, and seg as a short.
		info := [8]int32{512000, msgMNB, msgMax, msgMNB, 32000, 16, msgMNB, 0xffff}
		if cmd == msgInfo {
			info[0], info[1], info[6] = int32(len(ipc.msg.byIndex)), 0, 0
			for _, o := range ipc.msg.byIndex {
				info[1] += int32(len(o.(*msgQueue).msgs))
				info[6] += int32(o.(*msgQueue).bytes)
			}
		}
		return ipc.msg.highest(), c.WriteValue(buf, info)
	}
	o, err := ipc.msg.find(msqid, cmd == msgStat || cmd == msgStatAny)
	if err != nil {
		return 0, err
	}
	q := o.(*msgQueue)
	switch cmd {
	case unix.IPC_STAT, msgStat, msgStatAny:
		return c.ipcTell(&q.ipcEntry, cmd, msgStatAny, buf, msqidDS{Perm: q.perm, Stime: q.stime, Rtime: q.rtime, Ctime: q.ctime,
			Cbytes: q.bytes, Qnum: uint64(len(q.msgs)), Qbytes: q.limit, Lspid: int32(q.lspid), Lrpid: int32(q.lrpid)})
	case unix.IPC_SET, unix.IPC_RMID:
		return 0, c.msgOwn(q, cmd, buf)
	}
	return 0, unix.EINVAL
}

// msgOwn is IPC_SET and IPC_RMID.
func (c *Call) msgOwn(q *msgQueue, cmd int, buf uint64) error {
	var ds msqidDS
	if cmd == unix.IPC_SET {
		if err := c.ReadValue(buf, &ds); err != nil {
			return err
		}
	}
	if err := c.ipcOwner(&q.ipcEntry); err != nil {
		return err
	}
	if cmd == unix.IPC_RMID {
		for _, m := range q.msgs {
			c.Sys.ipc.msgBytes -= msgOverhead + len(m.text)
		}
		c.Sys.ipc.msg.remove(q)
		return nil
	}
	if ds.Qbytes > msgMNB && c.Task.Cred.EUID != 0 { // CAP_SYS_RESOURCE
		return unix.EPERM
	}
	if err := q.set(ds.Perm); err != nil {
		return err
	}
	q.limit, q.ctime = ds.Qbytes, c.seconds()
	q.queue.Wake()
	return nil
}
