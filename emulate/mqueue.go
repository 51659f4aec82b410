//go:build linux

package emulate

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Bounds of ipc/mqueue.c.
const (
	mqPrioMax   = 32768
	mqMaxMsg    = 10 // messages of a queue, unless root asks for more
	mqMsgSize   = 8192
	mqHardMsg   = 65536
	mqHardSize  = 16 << 20
	mqMaxQueues = 256
	mqMaxBytes  = 64 << 20 // of a jail whose RLIMIT_MSGQUEUE is unlimited, and of what waits for room
	mqOverhead  = 96       // what each message a queue may hold counts beside its text
	mqNameMax   = 255
	siMesgQ     = -3
)

// mqAttr is struct mq_attr.
type mqAttr struct {
	Flags, MaxMsg, MsgSize, CurMsgs int64
	_                               [4]int64
}

// mqueue is struct mqueue_inode_info.
type mqueue struct {
	ipc       *ipcState
	node      *anonNode
	attr      mqAttr
	msgs      []mqMessage // most urgent first
	queue     fdtable.Queue
	receivers int // asleep: they come before the notification
	notify    *mqNotify
	opens     int
	linked    bool
}

type mqMessage struct {
	prio uint32
	text []byte
}

// mqNotify is who asked for a signal when a message comes to the empty queue.
type mqNotify struct {
	process *Process
	signo   int // 0: SIGEV_NONE
	value   uint64
}

// mqFile is one open description of a queue.
type mqFile struct {
	*mqueue
	sys *System
}

// bytes is what the queue counts against RLIMIT_MSGQUEUE.
func (a mqAttr) bytes() int64 { return a.MaxMsg * (a.MsgSize + mqOverhead) }

func (f *mqFile) Close() error {
	if t := f.sys.Current; f.notify != nil && t != nil && f.notify.process == t.Process {
		f.notify = nil
	}
	f.opens--
	f.drop()
	return nil
}

// ReadAt is read(2) of a queue, which tells its state in words.
func (f *mqFile) ReadAt(p []byte, off int64) (int, error) {
	size, signo, pid := 0, 0, 0
	for _, m := range f.msgs {
		size += len(m.text)
	}
	if f.notify != nil {
		signo, pid = f.notify.signo, f.notify.process.PID
	}
	kind := 0
	if f.notify != nil && signo == 0 {
		kind = sigevNone
	}
	text := fmt.Sprintf("QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", size, kind, signo, pid)
	if off >= int64(len(text)) {
		return 0, io.EOF
	}
	return copy(p, text[off:]), nil
}

// drop forgets a queue that has neither name nor user.
func (q *mqueue) drop() {
	if q.opens == 0 && !q.linked {
		q.ipc.mqBytes -= q.attr.bytes()
		q.msgs = nil
	}
}

func (f *mqFile) Poll() fdtable.Events {
	var ev fdtable.Events
	if len(f.msgs) > 0 {
		ev |= fdtable.In | fdtable.RdNorm
	}
	if int64(len(f.msgs)) < f.attr.MaxMsg {
		ev |= fdtable.Out | fdtable.WrNorm
	}
	return ev
}

func (f *mqFile) Queue() *fdtable.Queue { return &f.mqueue.queue }

// mqName is argument 0 as a queue's name, which has no slash.
func (c *Call) mqName() (string, error) {
	name, err := c.Path(0)
	switch {
	case err != nil:
		return "", err
	case name == "":
		return "", unix.ENOENT
	case strings.Contains(name, "/"), name == ".", name == "..":
		return "", unix.EACCES
	case len(name) > mqNameMax:
		return "", unix.ENAMETOOLONG
	}
	return name, nil
}

// mqCreate makes a queue. EINVAL, ENOSPC, EMFILE over RLIMIT_MSGQUEUE.
func (c *Call) mqCreate(name string, mode uint32, attr *mqAttr) (*mqueue, error) {
	if attr == nil {
		attr = &mqAttr{MaxMsg: mqMaxMsg, MsgSize: mqMsgSize}
	}
	ipc := &c.Sys.ipc
	root := c.Task.Cred.EUID == 0
	msgs, size := int64(mqMaxMsg), int64(mqMsgSize)
	if root {
		msgs, size = mqHardMsg, mqHardSize
	}
	if attr.MaxMsg <= 0 || attr.MsgSize <= 0 || attr.MaxMsg > msgs || attr.MsgSize > size {
		return nil, unix.EINVAL
	}
	if len(ipc.mqueues) >= mqMaxQueues && !root || len(ipc.mqueues) >= ipcMax {
		return nil, unix.ENOSPC
	}
	a := mqAttr{MaxMsg: attr.MaxMsg, MsgSize: attr.MsgSize}
	if uint64(ipc.mqBytes+a.bytes()) > min(c.Task.Limit(unix.RLIMIT_MSGQUEUE), mqMaxBytes) {
		return nil, unix.EMFILE
	}
	q := &mqueue{ipc: ipc, node: c.anonNode(unix.S_IFREG | mode&0o777&^c.Task.FS.Umask), attr: a, linked: true}
	if ipc.mqueues == nil {
		ipc.mqueues = make(map[string]*mqueue)
	}
	ipc.mqueues[name] = q
	ipc.mqBytes += a.bytes()
	return q, nil
}

func mq_open(c *Call) (uint64, error) {
	oflag, mode, attr := c.Flags(1), c.Uint(2), c.Addr(3)
	var a *mqAttr
	if attr != 0 {
		a = new(mqAttr)
		if err := c.ReadValue(attr, a); err != nil {
			return 0, err
		}
	}
	name, err := c.mqName()
	if err != nil {
		return 0, err
	}
	q := c.Sys.ipc.mqueues[name]
	switch {
	case q == nil && oflag&unix.O_CREAT == 0:
		return 0, unix.ENOENT
	case q == nil:
		if q, err = c.mqCreate(name, mode, a); err != nil {
			return 0, err
		}
	case oflag&unix.O_CREAT != 0 && oflag&unix.O_EXCL != 0:
		return 0, unix.EEXIST
	case oflag&unix.O_ACCMODE == unix.O_ACCMODE:
		return 0, unix.EINVAL
	default:
		want := [...]uint32{vfs.MayRead, vfs.MayWrite, vfs.MayRead | vfs.MayWrite}[oflag&unix.O_ACCMODE]
		if err := vfs.Access(q.node.attr, c.Task.Access(), want); err != nil {
			return 0, err
		}
	}
	q.opens++
	d := fdtable.NewDescription(&mqFile{q, c.Sys}, vfs.NewAnonymous(q.node, "/"+name), oflag&(unix.O_ACCMODE|unix.O_NONBLOCK))
	return c.install(d, true)
}

func mq_unlink(c *Call) (uint64, error) {
	name, err := c.mqName()
	if err != nil {
		return 0, err
	}
	q := c.Sys.ipc.mqueues[name]
	if q == nil {
		return 0, unix.ENOENT
	}
	if u := c.Task.Cred.FSUID; u != 0 && u != q.node.attr.UID {
		return 0, unix.EPERM
	}
	delete(c.Sys.ipc.mqueues, name)
	q.linked = false
	q.drop()
	return 0, nil
}

// mq is argument 0 as a message queue open so. EBADF.
func (c *Call) mq(refused int) (*fdtable.Description, *mqFile, error) {
	f, d, err := fileOf[*mqFile](c.Task, c.FD(0), unix.EBADF)
	if err == nil && d.Flags&unix.O_ACCMODE == refused {
		err = unix.EBADF
	}
	return d, f, err
}

// mqDeadline is the absolute CLOCK_REALTIME at addr as a deadline.
func (c *Call) mqDeadline(addr uint64) (Deadline, error) {
	if addr == 0 {
		return 0, nil
	}
	then, err := c.sleepTime(addr)
	return later(c.Sys.Now(), max(then-c.Sys.realtime(), 0)), err
}

func mq_timedsend(c *Call) (uint64, error) {
	ptr, size, prio, timeout := c.Addr(1), c.Size(2), c.Uint(3), c.Addr(4)
	deadline, err := c.mqDeadline(timeout)
	if err != nil {
		return 0, err
	}
	if prio >= mqPrioMax {
		return 0, unix.EINVAL
	}
	d, f, err := c.mq(unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	if size > uint64(f.attr.MsgSize) {
		return 0, unix.EMSGSIZE
	}
	ipc := &c.Sys.ipc
	if ipc.mqSends+int64(size) > mqMaxBytes {
		return 0, unix.ENOMEM
	}
	ipc.mqSends += int64(size)
	defer func() { ipc.mqSends -= int64(size) }()
	text := make([]byte, size)
	if err := c.Read(ptr, text); err != nil {
		return 0, err
	}
	return c.Retry(d, deadline, func() (uint64, error) {
		if int64(len(f.msgs)) >= f.attr.MaxMsg {
			return 0, unix.EAGAIN
		}
		f.put(mqMessage{prio, text}, c.Task)
		return 0, nil
	})
}

// put adds a message behind those as urgent, and gives notice if it is the only
// one and nobody waits for it.
func (q *mqueue) put(m mqMessage, from *Task) {
	i, _ := slices.BinarySearchFunc(q.msgs, m, func(a, b mqMessage) int {
		if a.prio >= b.prio {
			return -1
		}
		return 1
	})
	q.msgs = slices.Insert(q.msgs, i, m)
	q.queue.Wake()
	n := q.notify
	if n == nil || len(q.msgs) > 1 || q.receivers > 0 {
		return
	}
	q.notify = nil
	if n.signo != 0 {
		_ = n.process.Signal(Signal{Number: n.signo, Code: siMesgQ, PID: from.Process.PID, UID: from.Cred.RUID, Value: n.value})
	}
}

func mq_timedreceive(c *Call) (uint64, error) {
	ptr, size, prio, timeout := c.Addr(1), c.Size(2), c.Addr(3), c.Addr(4)
	deadline, err := c.mqDeadline(timeout)
	if err != nil {
		return 0, err
	}
	d, f, err := c.mq(unix.O_WRONLY)
	if err != nil {
		return 0, err
	}
	if size < uint64(f.attr.MsgSize) {
		return 0, unix.EMSGSIZE
	}
	var m mqMessage
	f.receivers++
	_, err = c.Retry(d, deadline, func() (uint64, error) {
		if len(f.msgs) == 0 {
			return 0, unix.EAGAIN
		}
		m = f.msgs[0]
		f.msgs = slices.Delete(f.msgs, 0, 1)
		f.mqueue.queue.Wake()
		return 0, nil
	})
	f.receivers--
	if err != nil {
		return 0, err
	}
	if prio != 0 {
		if err := c.WriteValue(prio, m.prio); err != nil {
			return 0, err
		}
	}
	return uint64(len(m.text)), c.Write(ptr, m.text)
}

func mq_notify(c *Call) (uint64, error) {
	sevp := c.Addr(1)
	var p [sigeventSize]byte
	n := &mqNotify{process: c.Task.Process}
	if sevp != 0 {
		if err := c.Read(sevp, p[:]); err != nil {
			return 0, err
		}
		signo, notify := leUint32(p[8:]), leUint32(p[12:])
		if notify > sigevNone || notify == sigevSignal && signo > maxSignal {
			return 0, unix.EINVAL
		}
		if notify == sigevSignal {
			n.signo, n.value = int(signo), leUint64(p[:])
		}
	}
	_, f, err := c.mq(math.MaxInt)
	switch {
	case err != nil:
		return 0, err
	case sevp == 0:
		if f.notify != nil && f.notify.process == n.process {
			f.notify = nil
		}
	case f.notify != nil && f.notify.process.state == alive:
		return 0, unix.EBUSY
	default:
		f.notify = n
	}
	return 0, nil
}

func mq_getsetattr(c *Call) (uint64, error) {
	newattr, oldattr := c.Addr(1), c.Addr(2)
	var set mqAttr
	if newattr != 0 {
		if err := c.ReadValue(newattr, &set); err != nil {
			return 0, err
		}
		if set.Flags&^unix.O_NONBLOCK != 0 {
			return 0, unix.EINVAL
		}
	}
	d, f, err := c.mq(math.MaxInt)
	if err != nil {
		return 0, err
	}
	old := f.attr
	old.CurMsgs, old.Flags = int64(len(f.msgs)), int64(d.Flags&unix.O_NONBLOCK)
	if newattr != 0 {
		d.Flags = d.Flags&^unix.O_NONBLOCK | int(set.Flags)
	}
	if oldattr != 0 {
		return 0, c.WriteValue(oldattr, old)
	}
	return 0, nil
}
