//go:build linux

package emulate

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// watches are a jail's inotify watches by inode. What changes a file or a name
// tells of it through the notify methods below (the kernel's fsnotify), each of
// which looks at one length while nobody watches anything.
//
// Changes that the host makes in a live directory are not seen.
type watches struct {
	by        map[vfs.Node][]*watch
	instances int
	count     int // watches
	queued    int // events not read yet, in all instances
	cookie    uint32
}

// notify tells of a change of e: to those who watch the directory that holds it,
// by name, and to those who watch e itself (fs/notify/fsnotify.c:fsnotify_dentry).
func (s *System) notify(e *vfs.Dentry, mask uint32) {
	if s.Changed != nil && mask&(unix.IN_ATTRIB|unix.IN_MODIFY) != 0 {
		s.Changed(e.Path())
	}
	if len(s.watches.by) > 0 {
		s.emitBoth(e, mask, false)
	}
}

func (s *System) emitBoth(e *vfs.Dentry, mask uint32, excl bool) {
	if e.IsDir() {
		mask |= unix.IN_ISDIR
	}
	if dir := e.Dir(); dir != nil {
		s.emit(dir.Node, event{mask: mask, name: e.Name()}, excl)
	}
	s.emit(e.Node, event{mask: mask}, false)
}

// notifyFile is notify for what happens through an open file (IN_OPEN,
// IN_ACCESS, IN_MODIFY), which IN_EXCL_UNLINK is about.
func (s *System) notifyFile(d *fdtable.Description, mask uint32) {
	if len(s.watches.by) == 0 || d.Flags&unix.O_PATH != 0 {
		return
	}
	if e, ok := d.Entry.(*vfs.Dentry); ok && e != nil {
		s.emitBoth(e, mask, e.Unlinked())
	}
}

// notifyClose tells that d's last descriptor was closed, and, if that was what
// kept a removed file, that the file is gone.
func (s *System) notifyClose(d *fdtable.Description) {
	e, ok := d.Entry.(*vfs.Dentry)
	if len(s.watches.by) == 0 || !ok || e == nil {
		return
	}
	mask := uint32(unix.IN_CLOSE_NOWRITE)
	if d.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		mask = unix.IN_CLOSE_WRITE
	}
	s.notifyFile(d, mask)
	s.notifyLeft(e)
}

// notifyLeft: e, a working directory or what a descriptor was for, is not held
// any more. If it was removed before, that may have been its end.
func (s *System) notifyLeft(e *vfs.Dentry) {
	if len(s.watches.by) > 0 && e.Unlinked() {
		s.notifyGone(e)
	}
}

// notifyName tells those who watch dir of a name that came or went in it.
func (s *System) notifyName(dir *vfs.Dentry, name string, mask, cookie uint32) {
	if s.Changed != nil {
		s.Changed(path.Join(dir.Path(), name))
	}
	if len(s.watches.by) > 0 {
		s.emit(dir.Node, event{mask: mask, cookie: cookie, name: name}, false)
	}
}

// notifyInode tells those who watch n itself.
func (s *System) notifyInode(n vfs.Node, mask uint32) {
	if len(s.watches.by) > 0 {
		s.emit(n, event{mask: mask}, false)
	}
}

// notifyUnlink tells of a name of e that went, to those who watch e.
func (s *System) notifyUnlink(e *vfs.Dentry) {
	if len(s.watches.by) == 0 {
		return
	}
	if !e.IsDir() {
		s.emit(e.Node, event{mask: unix.IN_ATTRIB}, false)
	}
	s.notifyGone(e)
}

// notifyGone is the end of an inode without names that nothing holds open: its
// watches end with it.
func (s *System) notifyGone(e *vfs.Dentry) {
	list := s.watches.by[e.Node]
	if len(list) == 0 {
		return
	}
	if a, err := e.Node.Attr(); err == nil && a.Nlink > 0 && !e.IsDir() || s.isOpen(e.Node) {
		return
	}
	s.emit(e.Node, event{mask: unix.IN_DELETE_SELF}, false)
	for _, w := range slices.Clone(s.watches.by[e.Node]) {
		w.remove(&s.watches)
	}
}

// isOpen reports that some task holds n open or works in it. Asked only of a
// removed inode that is watched.
func (s *System) isOpen(n vfs.Node) bool {
	is := func(e *vfs.Dentry) bool { return e != nil && e.Node == n }
	seen := make(map[*fdtable.Table]bool)
	for _, t := range s.tasks {
		if t.FS != nil && (is(t.FS.Cwd) || is(t.FS.Root)) {
			return true
		}
		if t.FDs == nil || seen[t.FDs] {
			continue
		}
		seen[t.FDs] = true
		if t.FDs.Any(func(d *fdtable.Description) bool {
			e, ok := d.Entry.(*vfs.Dentry)
			return ok && is(e)
		}) {
			return true
		}
	}
	return false
}

// notifyMove tells of a rename that has happened
// (include/linux/fsnotify.h:fsnotify_move); exchange: both names moved.
func (s *System) notifyMove(from, to vfs.Found, exchange bool) {
	if len(s.watches.by) == 0 && s.Changed == nil || to.Dentry != nil && to.Dentry.Node == from.Dentry.Node {
		return
	}
	over := !exchange && to.Dentry != nil
	s.move(from, to, from.Dentry)
	if over {
		mask := uint32(unix.IN_ATTRIB)
		if to.Dentry.IsDir() {
			mask |= unix.IN_ISDIR
		}
		s.emit(to.Dentry.Node, event{mask: mask}, false)
	}
	s.emit(from.Dentry.Node, event{mask: unix.IN_MOVE_SELF}, false)
	if over {
		s.notifyGone(to.Dentry)
	}
	if exchange {
		s.move(to, from, to.Dentry)
		s.emit(to.Dentry.Node, event{mask: unix.IN_MOVE_SELF}, false)
	}
}

func (s *System) move(from, to vfs.Found, e *vfs.Dentry) {
	s.watches.cookie++
	mask := uint32(0)
	if e.IsDir() {
		mask = unix.IN_ISDIR
	}
	s.notifyName(from.Dir, from.Name, mask|unix.IN_MOVED_FROM, s.watches.cookie)
	s.notifyName(to.Dir, to.Name, mask|unix.IN_MOVED_TO, s.watches.cookie)
}

// emit queues ev for every watch of n that asks for it, but not for those with
// IN_EXCL_UNLINK if excl.
func (s *System) emit(n vfs.Node, ev event, excl bool) {
	for _, w := range s.watches.by[n] { // unhook leaves this slice as it is.
		if w.mask&ev.mask&unix.IN_ALL_EVENTS == 0 || excl && w.mask&unix.IN_EXCL_UNLINK != 0 {
			continue
		}
		if w.dn != nil {
			w.dn.tell(s)
		} else {
			ev.wd = w.wd
			w.in.queue(ev)
		}
		if w.mask&unix.IN_ONESHOT != 0 {
			w.remove(&s.watches)
		}
	}
}
