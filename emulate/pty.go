//go:build linux

package emulate

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

const (
	// maxPTY is kernel.pty.max.
	maxPTY = 4096
	// ptyBuffer is how much lies between two sides: tty_buffer_set_limit of
	// drivers/tty/pty.c. The master's own line discipline holds nttySize-1 more.
	ptyBuffer = 8192
	// ttyChunk is what one write hands over at a time (drivers/tty/tty_io.c).
	ttyChunk = 2048

	ptmxMajor, ptmxMinor = 5, 2
	ptsMajor             = 136 // UNIX98_PTY_SLAVE_MAJOR
	ttyGroup             = 5   // gid=5,mode=620, as systems mount devpts
)

// Readiness as tty code wakes for it.
const (
	evIn  = fdtable.In | fdtable.RdNorm
	evOut = fdtable.Out | fdtable.WrNorm
)

// pty is a pair of pseudoterminals: both struct tty_struct of drivers/tty/pty.c.
// Only the slave has a line discipline, a mode, a session and a size; what
// a master is asked for is its slave's.
type pty struct {
	ntty
	s             *System
	index         int
	node          *ptsNode
	master, slave side
	term          termios
	window        [8]byte // struct winsize
	flip          []byte  // written to the master, not yet received by the slave
	out           []byte  // sent to the master
	// sent are the signals of what the slave receives at once: a second ^C is none,
	// so that a guest cannot make one write a million signals.
	sent          []unix.Signal
	locked        bool // TIOCSPTLCK
	packet        bool // TIOCPKT
	status        byte // of packet mode, not yet told: pktstatus
	slaves        int  // open descriptions
	left          bool // the last slave was closed: the master's TTY_OTHER_CLOSED
	closed        bool // the master was
	session, pgrp int  // whom it controls, 0 nobody
}

// side is what master and slave have of their own.
type side struct {
	queue      fdtable.Queue
	stopped    bool // flow.stopped
	tcoStopped bool // by TCOOFF, which no VSTART undoes
	exclusive  bool // TIOCEXCL
}

// ptys are the pseudoterminals of a jail, and the file system devpts.
type ptys struct {
	byIndex map[int]*pty
	root    *ptsRoot
}

// newPTY is ptmx_open: a master whose slave is locked. ENOSPC.
func (s *System) newPTY(owner vfs.Owner) (*pty, error) {
	if len(s.ptys.byIndex) >= maxPTY {
		return nil, unix.ENOSPC
	}
	if s.ptys.byIndex == nil {
		s.ptys.byIndex = make(map[int]*pty)
	}
	index := 0
	for s.ptys.byIndex[index] != nil {
		index++
	}
	p := &pty{s: s, index: index, locked: true, term: stdTermios}
	p.setMode(termios{})
	now := unix.NsecToTimespec(s.realtime())
	p.node = &ptsNode{pty: p, attr: vfs.Attr{Ino: uint64(index) + 3, Rdev: unix.Mkdev(ptsMajor, uint32(index)),
		Mode: unix.S_IFCHR | 0o620, Nlink: 1, UID: owner.UID, GID: ttyGroup, BlockSize: 1024,
		Atime: now, Mtime: now, Ctime: now}}
	s.ptys.byIndex[index] = p
	return p, nil
}

// realtime is CLOCK_REALTIME in nanoseconds.
func (s *System) realtime() int64 {
	ns, _ := s.Host.Gettime(unix.CLOCK_REALTIME)
	return ns
}

// openSlave is tty_open of a slave: EBUSY under TIOCEXCL, EIO while it is locked
// and after the master was closed.
func (p *pty) openSlave(flags int) (fdtable.File, error) {
	if p.slave.exclusive && !p.capable(unix.CAP_SYS_ADMIN) {
		return nil, unix.EBUSY
	}
	if p.locked || p.closed {
		return nil, unix.EIO
	}
	p.slaves++
	p.left = false
	return &ttyFile{pty: p, side: &p.slave, flags: flags}, nil
}

// capable asks the task that makes the call.
func (p *pty) capable(capability int) bool {
	t := p.s.Current
	return t != nil && t.Cred.Capable(capability)
}

// wake tells a side's sleepers.
func (p *pty) wake(to *side, ev fdtable.Events) { to.queue.WakeFor(ev) }

// room is pty_write_room: how much a side can send to the other.
func (p *pty) room(from *side) int {
	switch {
	case from.stopped:
		return 0
	case from == &p.master:
		return max(ptyBuffer-len(p.flip), 0)
	}
	return max(ptyBuffer+nttySize-1-len(p.out), 0)
}

// send gives the master bytes for which there is room.
func (p *pty) send(c ...byte) {
	if p.closed {
		return // nobody will ever read it
	}
	if len(p.out) == 0 && len(c) > 0 {
		defer p.wake(&p.master, evIn)
	}
	p.out = append(p.out, c...)
}

// shove is flush_to_ldisc: the slave receives what was written to the master, as
// much as it has room for.
func (p *pty) shove() {
	full := len(p.flip) >= ptyBuffer
	for len(p.flip) > 0 {
		p.sent = p.sent[:0]
		n := p.receive(p.flip[:min(len(p.flip), ttyChunk)])
		if n == 0 {
			break
		}
		p.flip = p.flip[n:]
	}
	if len(p.flip) == 0 {
		p.flip = nil
	}
	if full && len(p.flip) < ptyBuffer {
		p.wake(&p.master, evOut)
	}
}

// stop and start are stop_tty and start_tty: flow control of what a side sends.
func (p *pty) stop(from *side) {
	if !from.stopped {
		from.stopped = true
		p.tellFlow(from, unix.TIOCPKT_STOP, unix.TIOCPKT_START)
	}
}

func (p *pty) start(from *side) {
	if from.stopped && !from.tcoStopped {
		from.stopped = false
		p.tellFlow(from, unix.TIOCPKT_START, unix.TIOCPKT_STOP)
		p.wake(from, evOut)
	}
}

func (p *pty) tellFlow(from *side, set, clear byte) {
	if from == &p.slave {
		p.tell(set, clear)
	}
}

// tell changes what a master in packet mode is told next.
func (p *pty) tell(set, clear byte) {
	if p.packet {
		p.status = p.status&^clear | set
		p.wake(&p.master, evIn|fdtable.Pri)
	}
}

// flushOutput is pty_flush_buffer: what the other side's line discipline has
// not taken yet is dropped.
func (p *pty) flushOutput(from *side) {
	if from == &p.master {
		p.flip = nil
		return
	}
	p.out = p.out[:min(len(p.out), nttySize-1)]
	p.tell(unix.TIOCPKT_FLUSHWRITE, 0)
	p.wake(&p.slave, evOut)
}

// closeMaster is pty_close of the master: the slave is hung up, which takes its
// name away and the terminal from its session.
func (p *pty) closeMaster() {
	p.closed, p.packet = true, false
	delete(p.s.ptys.byIndex, p.index)
	p.node.attr.Nlink = 0
	p.hangupSession()
	p.flip, p.out = nil, nil
	p.resetInput()
	p.slave.queue.Wake()
}

// closeSlave: with the last one the master reads EIO, until there is another.
func (p *pty) closeSlave() {
	if p.slaves--; p.slaves == 0 && !p.closed {
		p.left = true
		p.wake(&p.master, evIn|fdtable.Hup)
	}
}

// ptsNode is the slave's name in devpts.
type ptsNode struct {
	pty  *pty
	attr vfs.Attr
}

func (n *ptsNode) Attr() (vfs.Attr, error) { return n.attr, nil }

// Open is [vfs.Opener].
func (n *ptsNode) Open(flags int) (fdtable.File, error) { return n.pty.openSlave(flags) }

// SetAttr is [vfs.AttrSetter]: grantpt(3), mesg(1).
func (n *ptsNode) SetAttr(c vfs.Change) error {
	change(&n.attr, c)
	n.attr.Ctime = unix.NsecToTimespec(n.pty.s.realtime())
	return nil
}

// ptsRoot is the root of devpts: ptmx, and the slaves whose master is open.
type ptsRoot struct{ s *System }

// ptmxNode is /dev/pts/ptmx; a device number says all of it.
type ptmxNode struct{}

func (ptmxNode) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: 2, Rdev: unix.Mkdev(ptmxMajor, ptmxMinor), Mode: unix.S_IFCHR | 0o666, Nlink: 1, BlockSize: 1024}, nil
}

// NewPts returns the file system of the jail's pseudoterminals, for /dev/pts.
func NewPts(s *System) vfs.Node {
	if s.ptys.root == nil {
		s.ptys.root = &ptsRoot{s}
	}
	return s.ptys.root
}

func (r *ptsRoot) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: 1, Mode: unix.S_IFDIR | 0o755, Nlink: 2, BlockSize: 1024}, nil
}

// MountInfo is [vfs.Mounted].
func (r *ptsRoot) MountInfo() (source, kind, options string) {
	return "devpts", "devpts", "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"
}

// StatFS is [vfs.StatFSer].
func (r *ptsRoot) StatFS() (unix.Statfs_t, error) {
	return unix.Statfs_t{Type: unix.DEVPTS_SUPER_MAGIC, Bsize: 4096, Frsize: 4096, Namelen: 255}, nil
}

// Volatile is [vfs.Volatile]: ptys come and go.
func (r *ptsRoot) Volatile() bool { return true }

// Unlink is [vfs.Unlinker]: only closing the master takes a name away.
func (r *ptsRoot) Unlink(string) error { return unix.EPERM }

func (r *ptsRoot) Lookup(name string) (vfs.Node, error) {
	if name == "ptmx" {
		return ptmxNode{}, nil
	}
	index, ok := parseNumber(name)
	if p := r.s.ptys.byIndex[index]; ok && p != nil {
		return p.node, nil
	}
	return nil, unix.ENOENT
}

func (r *ptsRoot) ReadDir() ([]vfs.DirEntry, error) {
	list := []vfs.DirEntry{{Name: "ptmx", Ino: 2, Type: unix.S_IFCHR}}
	for index := range r.s.ptys.byIndex {
		list = append(list, vfs.DirEntry{Name: strconv.Itoa(index), Ino: uint64(index) + 3, Type: unix.S_IFCHR})
	}
	slices.SortFunc(list, func(a, b vfs.DirEntry) int { return int(a.Ino) - int(b.Ino) })
	return list, nil
}

// entry is the slave's place in the tree, or its name alone where devpts is not
// mounted.
func (p *pty) entry() *vfs.Dentry {
	name := strconv.Itoa(p.index)
	for _, m := range p.s.FS.Mounts() {
		if r, ok := m.Root.Node.(*ptsRoot); ok && r.s == p.s {
			if e, err := m.Root.Lookup(vfs.Cred{}, name); err == nil {
				return e
			}
		}
	}
	return vfs.NewAnonymous(p.node, "/dev/pts/"+name)
}
