//go:build linux

package emulate

import (
	"cmp"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// proc is the file system proc(5) of one jail: a table of rows, and nodes that
// are a row and what it is about. Nodes are values, so that the same name gives
// an equal Node while nothing has to be kept.
type proc struct {
	s      *System
	root   *procRow
	rows   uint64 // how many there are
	born   int64  // what CLOCK_REALTIME showed at 0 of CLOCK_MONOTONIC, ns; see times
	held   []*procFile
	bytes  int      // in held
	cpus   []byte   // of cpuinfo, which the kernel takes long to make
	busy   [2]int64 // what /proc/stat showed last: user and system ticks
	bootID []byte
}

// procRow is a name and what is behind it; nil fields are abilities it lacks.
type procRow struct {
	name string
	mode uint32 // permission bits, and S_IFDIR or S_IFLNK
	text func(procAt) ([]byte, error)
	// write is a write(2) of all of p at once.
	write func(a procAt, p []byte) error
	// jump is a magic link, its text the entry's path.
	jump func(procAt) (*vfs.Dentry, error)
	open func(procAt) (fdtable.File, error)
	rows []*procRow
	// list and find are a directory's further names.
	list func(procAt) []vfs.DirEntry
	find func(procAt, string) (vfs.Node, error)
	// private is the errno for who may not look into the process
	// (kernel/ptrace.c:ptrace_may_access); 0: everybody may.
	private unix.Errno
	id      uint64
}

// procAt is what a node is about. Of a file that is about the jail only p is set.
type procAt struct {
	*proc
	p    *Process
	t    *Task // a thread's own directory; nil: the process
	fd   int
	slot *fdtable.Description // what fd is
}

// NewProc makes the file system of the jail's processes. Its table, of hundreds of
// rows, is made when somebody looks: most programs never do.
func NewProc(s *System) vfs.Node {
	p := &proc{s: s, root: &procRow{mode: unix.S_IFDIR | 0o555, id: 1}, rows: 1}
	return p.node(p.root, procAt{proc: p})
}

// under are the names in r that are always there.
func (p *proc) under(r *procRow) []*procRow {
	if r == p.root && r.rows == nil {
		t := p.table()
		r.rows, r.find, r.list = t.rows, t.find, t.list
		for _, c := range r.rows {
			p.number(c)
		}
	}
	return r.rows
}

func (p *proc) number(r *procRow) {
	if r.id != 0 {
		return
	}
	p.rows++
	r.id = p.rows
	for _, c := range r.rows {
		p.number(c)
	}
}

type (
	procNode struct {
		procAt
		row *procRow
	}
	procDir   struct{ procNode }
	procReg   struct{ procNode }
	procLink  struct{ procNode }
	procMagic struct{ procLink }
)

func (p *proc) node(r *procRow, a procAt) vfs.Node {
	n := procNode{a, r}
	switch {
	case r.mode&unix.S_IFMT == unix.S_IFDIR:
		return procDir{n}
	case r.jump != nil:
		return procMagic{procLink{n}}
	case r.mode&unix.S_IFMT == unix.S_IFLNK:
		return procLink{n}
	}
	return procReg{n}
}

// alive is ENOENT for what is about a process or thread that is gone.
func (a procAt) alive() error {
	switch {
	case a.t != nil && a.s.tasks[a.t.TID] != a.t,
		a.p != nil && a.s.processes[a.p.PID] != a.p:
		return unix.ENOENT
	}
	return nil
}

// task is the thread that speaks for the node: its own, or the leader. ESRCH: a
// zombie has none.
func (a procAt) task() (*Task, error) {
	t := a.t
	if t == nil && a.p != nil {
		t = a.p.Leader()
	}
	if t == nil || a.s.tasks[t.TID] != t {
		return nil, unix.ESRCH
	}
	return t, nil
}

// someTask is task, or the last one of a zombie.
func (a procAt) someTask() (*Task, error) {
	t, err := a.task()
	if err != nil && a.t == nil && a.p != nil && a.p.last != nil && a.alive() == nil {
		return a.p.last, nil
	}
	return t, err
}

// own reports that a process asks about itself.
func (a procAt) own() bool { return a.s.Current != nil && a.s.Current.Process == a.p }

// mayLook: the caller may look into the process.
func (a procAt) mayLook(refused unix.Errno) error {
	if refused == 0 || a.own() {
		return nil
	}
	t, err := a.someTask()
	if err != nil {
		return err
	}
	if a.s.Current == nil {
		return refused
	}
	if by := a.s.Current; !by.mayTrace(t, by.Cred.FSUID, by.Cred.FSGID) {
		return refused
	}
	return nil
}

// mayTrace is __ptrace_may_access with the ids that the mode asks for.
func (t *Task) mayTrace(of *Task, uid, gid uint32) bool {
	k := of.Cred
	return t.Process == of.Process || t.Cred.Capable(unix.CAP_SYS_PTRACE) ||
		uid == k.EUID && uid == k.SUID && uid == k.RUID && gid == k.EGID && gid == k.SGID && gid == k.RGID && !of.Process.Attr.Undumpable
}

// Attr is the node's: a process's belong to who it runs as, or to root if it
// cannot be dumped and another asks.
func (n procNode) Attr() (vfs.Attr, error) {
	r := n.row
	a := vfs.Attr{Ino: n.ino(), Mode: r.mode, Nlink: 1, BlockSize: 1024}
	since := Deadline(0)
	if n.p != nil {
		if err := n.alive(); err != nil {
			return a, err
		}
		since = n.p.Started
		t, err := n.someTask()
		public := r.mode == unix.S_IFDIR|0o555
		if err == nil && (public || !n.p.Attr.Undumpable || n.own()) {
			a.UID, a.GID = t.Cred.EUID, t.Cred.EGID
		}
	}
	if a.Mode&unix.S_IFMT == 0 {
		a.Mode |= unix.S_IFREG
	}
	if a.IsDir() {
		a.Nlink = 2
		for _, c := range r.rows {
			a.Nlink += c.mode & unix.S_IFDIR / unix.S_IFDIR
		}
		if r == n.root { // fs/proc/root.c:proc_root_getattr; sys is the only other directory
			a.Nlink = uint32(3 + len(n.s.processes))
		}
	}
	if n.slot != nil && a.IsSymlink() { // fs/proc/fd.c:tid_fd_update_inode
		a.Size, a.Mode = 64, unix.S_IFLNK
		if n.slot.Reads() {
			a.Mode |= 0o500
		}
		if n.slot.Writes() {
			a.Mode |= 0o300
		}
	}
	if n.born == 0 {
		real, _ := n.s.Host.Gettime(unix.CLOCK_REALTIME)
		n.born = real - int64(n.s.Now())
	}
	a.Mtime = unix.NsecToTimespec(n.born + int64(since))
	a.Atime, a.Ctime = a.Mtime, a.Mtime
	return a, nil
}

// MountInfo is vfs.Mounted.
func (n procDir) MountInfo() (source, kind, options string) {
	return "proc", "proc", "rw,nosuid,nodev,noexec,relatime"
}

// StatFS is vfs.StatFSer.
func (n procNode) StatFS() (unix.Statfs_t, error) {
	return unix.Statfs_t{Type: unix.PROC_SUPER_MAGIC, Bsize: pageSize, Frsize: pageSize, Namelen: unix.NAME_MAX,
		Flags: unix.ST_RELATIME}, nil
}

// Volatile is vfs.Volatile: processes and descriptors come and go.
func (n procDir) Volatile() bool { return true }

// Nothing can be made, removed or changed.

func (n procDir) Create(string, uint32, uint64, vfs.Owner) (vfs.Node, error) { return nil, unix.ENOENT }
func (n procDir) Mkdir(string, uint32, vfs.Owner) (vfs.Node, error)          { return nil, unix.ENOENT }
func (n procDir) Symlink(string, string, vfs.Owner) (vfs.Node, error)        { return nil, unix.ENOENT }
func (n procDir) Unlink(string) error                                        { return unix.EPERM }
func (n procDir) Rmdir(string) error                                         { return unix.EPERM }

// SetAttr is vfs.AttrSetter: times are taken and forgotten.
func (n procNode) SetAttr(c vfs.Change) error {
	if c.Mode == nil && c.UID == nil && c.GID == nil {
		return nil
	}
	return unix.EPERM
}

// Lookup is vfs.Directory.
func (n procDir) Lookup(name string) (vfs.Node, error) {
	if err := n.alive(); err != nil {
		return nil, err
	}
	for _, r := range n.under(n.row) {
		if r.name == name {
			return n.node(r, n.procAt), nil
		}
	}
	if n.row.find == nil {
		return nil, unix.ENOENT
	}
	if err := n.mayLook(n.row.private); err != nil {
		return nil, err
	}
	return n.row.find(n.procAt, name)
}

// ReadDir is vfs.Directory.
func (n procDir) ReadDir() ([]vfs.DirEntry, error) {
	if err := n.alive(); err != nil {
		return nil, err
	}
	if err := n.mayLook(n.row.private); err != nil {
		return nil, err
	}
	var list []vfs.DirEntry
	for _, r := range n.under(n.row) {
		list = append(list, n.entry(r.name, r))
	}
	if n.row.list != nil {
		list = append(list, n.row.list(n.procAt)...)
	}
	return list, nil
}

// entry is how a directory lists r under name.
func (a procAt) entry(name string, r *procRow) vfs.DirEntry {
	return vfs.DirEntry{Name: name, Ino: procNode{a, r}.ino(), Type: cmp.Or(r.mode&unix.S_IFMT, unix.S_IFREG)}
}

// ino is made of the row, the thread or process and the descriptor.
func (n procNode) ino() uint64 {
	switch {
	case n.p == nil:
		return n.row.id
	case n.t == nil:
		return n.row.id | uint64(n.p.PID)<<10 | uint64(n.fd)<<32
	}
	return n.row.id | 1<<9 | uint64(n.t.TID)<<10 | uint64(n.fd)<<32
}

// parseNumber is fs/proc/util.c:name_to_int: digits without leading zeros.
func parseNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == name
}

// Readlink is vfs.Readlinker.
func (n procLink) Readlink() (string, error) {
	if n.row.jump == nil {
		p, err := n.row.text(n.procAt)
		return string(p), err
	}
	e, err := procMagic{n}.Jump()
	if err != nil {
		return "", err
	}
	return n.s.shown(e), nil
}

// Jump is vfs.Jumper.
func (n procMagic) Jump() (*vfs.Dentry, error) {
	if err := n.mayLook(n.row.private); err != nil {
		return nil, err
	}
	e, err := n.row.jump(n.procAt)
	if err == nil && e == nil {
		err = unix.ENOENT
	}
	return e, err
}

// shown is e's path as the running task's root has it.
func (s *System) shown(e *vfs.Dentry) string {
	if id, _ := e.Mount(); id == 0 || s.Current == nil {
		return e.Path()
	}
	path, _ := e.PathFrom(s.Current.FS.Root)
	return path
}

// Open is vfs.Opener.
func (n procReg) Open(flags int) (fdtable.File, error) {
	if err := n.mayLook(n.row.private); err != nil {
		return nil, err
	}
	if n.row.open != nil {
		return n.row.open(n.procAt)
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY && n.row.write == nil ||
		flags&unix.O_ACCMODE != unix.O_WRONLY && n.row.text == nil {
		return nil, unix.EACCES
	}
	if n.row.write != nil {
		return &procWritable{procFile{n: n.procNode}}, nil
	}
	return &procFile{n: n.procNode}, nil
}

// Truncate is vfs.Truncater for open(2) with O_TRUNC, which means nothing here.
func (n procReg) Truncate(int64) error {
	if n.row.write == nil {
		return unix.EACCES
	}
	return nil
}
