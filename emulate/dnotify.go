//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// dnotify is what a watch of fcntl(2)'s F_NOTIFY tells: a signal to the owner of
// the description (fs/notify/dnotify/dnotify.c).
type dnotify struct {
	d     *fdtable.Description
	table *fdtable.Table // whose close of d ends it
	fd    int            // what the signal calls d
}

const (
	dnMultishot = 1 << 31 // DN_MULTISHOT
	// maxDnotify bounds the watches of a directory: one event may be as many signals,
	// each to a whole process group.
	maxDnotify = 16
)

// dnotifyEvents are DN_* by bit, as inotify has them. A rename within one
// directory, DN_RENAME, is one out of it here.
var dnotifyEvents = [...]uint32{unix.IN_ACCESS, unix.IN_MODIFY, unix.IN_CREATE | unix.IN_MOVED_TO, unix.IN_DELETE | unix.IN_MOVED_FROM,
	unix.IN_MOVED_FROM, unix.IN_ATTRIB}

// fNotify is fcntl_dirnotify. ENOTDIR, ENOMEM.
func (c *Call) fNotify(fd int, d *fdtable.Description, arg uint32) error {
	s, e := c.Sys, entryOf(d)
	var mask uint32
	for i, events := range dnotifyEvents {
		if arg&(1<<i) != 0 {
			mask |= events
		}
	}
	if arg&^uint32(dnMultishot) == 0 {
		s.dropDnotify(c.Task.FDs, d)
		return nil
	}
	if !e.IsDir() {
		return unix.ENOTDIR
	}
	if arg&dnMultishot == 0 {
		mask |= unix.IN_ONESHOT
	}
	if d.Owner == 0 {
		d.Owner = c.Task.Process.PID
	}
	there := 0
	for _, w := range s.watches.by[e.Node] {
		if w.dn == nil {
			continue
		}
		if there++; w.dn.d == d && w.dn.table == c.Task.FDs {
			w.dn.fd = fd
			once := w.mask & mask & unix.IN_ONESHOT
			w.mask = (w.mask|mask)&^unix.IN_ONESHOT | once
			return nil
		}
	}
	if there >= maxDnotify || s.watches.count >= maxInotifyWatches {
		return unix.ENOMEM
	}
	s.watches.hook(&watch{node: e.Node, mask: mask, dn: &dnotify{d, c.Task.FDs, fd}})
	return nil
}

// dropDnotify is dnotify_flush: table closes d.
func (s *System) dropDnotify(table *fdtable.Table, d *fdtable.Description) {
	if len(s.watches.by) == 0 {
		return
	}
	e, ok := d.Entry.(*vfs.Dentry)
	if !ok || e == nil {
		return
	}
	for _, w := range s.watches.by[e.Node] { // unhook leaves this slice as it is
		if w.dn != nil && w.dn.d == d && w.dn.table == table {
			w.unhook(&s.watches)
			return
		}
	}
}

// tell is fs/fcntl.c:send_sigio of POLL_MSG.
func (n *dnotify) tell(s *System) {
	const pollMsg, sigio, band = 3, -5, 0x441 // POLLIN | POLLRDNORM | POLLMSG
	sig := Signal{Number: n.d.Signal, Code: pollMsg, PID: band, Value: uint64(uint32(n.fd))}
	switch {
	case sig.Number == 0:
		sig = Signal{Number: int(unix.SIGIO), Code: siKernel}
	case hasOwnCodes(sig.Number):
		sig.Code = sigio
	}
	switch who := n.d.Owner; {
	case who < 0:
		_ = s.SignalGroup(-who, sig)
	case n.d.OwnerThread && s.Task(who) != nil:
		_ = s.Task(who).post(sig, false)
	case !n.d.OwnerThread && s.Process(who) != nil:
		_ = s.Process(who).Signal(sig)
	}
}

// hasOwnCodes is sig_specific_sicodes: its si_code below SI_USER means something
// else.
func hasOwnCodes(sig int) bool {
	switch unix.Signal(sig) {
	case unix.SIGILL, unix.SIGFPE, unix.SIGSEGV, unix.SIGBUS, unix.SIGTRAP, unix.SIGCHLD, unix.SIGSYS:
		return true
	}
	return false
}
