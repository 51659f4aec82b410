//go:build linux

package emulate

import (
	"bytes"
	"path"
	"reflect"
	"strconv"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Bounds of execve(2): MAX_ARG_STRLEN, and what _STK_LIM/4*3 leaves for all
// strings and pointers together (fs/exec.c:bprm_stack_limits).
const (
	maxArgLen = 128 << 10
	maxArgs   = 6 << 20
)

func execve(c *Call) (uint64, error) {
	filename, argv, envp := c.Addr(0), c.Addr(1), c.Addr(2)
	name, err := c.String(filename, unix.PathMax)
	if err != nil {
		return 0, err
	}
	return c.exec(unix.AT_FDCWD, name, argv, envp, 0)
}

func execveat(c *Call) (uint64, error) {
	dirfd, argv, envp, flags := c.FD(0), c.Addr(2), c.Addr(3), c.Flags(4)
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	name, err := c.Path(1)
	if err != nil {
		return 0, err
	}
	return c.exec(dirfd, name, argv, envp, flags)
}

func (c *Call) exec(dirfd int, name string, argv, envp uint64, flags int) (uint64, error) {
	t := c.Task
	d, err := c.entryAt(dirfd, name, flags)
	if err != nil {
		return 0, err
	}
	if err := t.mayExec(d); err != nil {
		return 0, err
	}
	r := blockReader{c: c}
	left := maxArgs
	args, err := r.strings(argv, &left)
	if err != nil {
		return 0, err
	}
	env, err := r.strings(envp, &left)
	if err != nil {
		return 0, err
	}
	if len(args) == 0 {
		args = []string{""} // fs/exec.c: an empty argv becomes { "" }
	}
	file, comm, closed := name, path.Base(name), false
	if name == "" { // begin_new_exec takes it from the dentry then
		comm = path.Base(d.Path())
	}
	if dirfd != unix.AT_FDCWD && !path.IsAbs(name) {
		s, err := t.FDs.Slot(dirfd)
		if err != nil { // another thread's close
			return 0, err
		}
		file, closed = execFDName(dirfd, name), s.CloseOnExec
	}
	return 0, c.execFile(file, comm, closed, d, args, env)
}

// execFDName is what execveat calls a program given by descriptor.
func execFDName(dirfd int, name string) string {
	s := "/dev/fd/" + strconv.Itoa(dirfd)
	if name != "" {
		s += "/" + name
	}
	return s
}

// execFile replaces the process by the program d, called name, its thread comm. closed:
// name goes through a descriptor that will not be there.
func (c *Call) execFile(name, comm string, closed bool, d *vfs.Dentry, args, env []string) error {
	t := c.Task
	var own *fdtable.Table // for CommitExec, which cannot fail
	if t.FDs.Shared() {
		var err error
		if own, err = t.FDs.Clone(); err != nil {
			return err
		}
		defer func() { own.Release() }()
	}
	return t.Machine.Exec(ExecRequest{
		Path: name, PathClosed: closed, Args: args, Env: env,
		Open: func(p string) (*vfs.Dentry, error) {
			if p == name {
				return d, nil
			}
			return t.OpenExec(p)
		},
		Commit: func(exe *vfs.Dentry, args []string) {
			t.CommitExec(exe, comm, args, env)
			if t.FDs.Shared() { // with another process, too
				t.FDs, own = own, t.FDs
			}
			t.FDs.CloseOnExec()
		},
	})
}

// OpenExec finds the program at a path of the guest's and checks that the task
// may execute it. EACCES also for what is not a regular file.
func (t *Task) OpenExec(p string) (*vfs.Dentry, error) {
	w := vfs.Walk{Root: t.FS.Root, Start: t.FS.Cwd, Cred: t.Access()}
	found, err := w.Do(p)
	if err != nil {
		return nil, err
	}
	return found.Dentry, t.mayExec(found.Dentry)
}

func (t *Task) mayExec(d *vfs.Dentry) error {
	a, err := d.Node.Attr()
	if err != nil {
		return err
	}
	if a.IsSymlink() {
		return unix.ELOOP
	}
	if !a.IsRegular() {
		return unix.EACCES
	}
	if err := vfs.Access(a, t.Access(), vfs.MayExec); err != nil {
		return err
	}
	return t.Sys.denyWrite(d)
}

// denyWrite is fs/exec.c:exe_file_deny_write_access: ETXTBSY for a program that
// somebody has open to write.
func (s *System) denyWrite(d *vfs.Dentry) error {
	for _, t := range s.tasks {
		if t.FDs.Any(func(o *fdtable.Description) bool { return o.Writes() && !o.Uncounted && sameFile(o.Entry, d) }) {
			return unix.ETXTBSY
		}
	}
	return nil
}

// sameFile reports that entry, of an open description, and d are one inode.
func sameFile(entry any, d *vfs.Dentry) bool {
	e, ok := entry.(*vfs.Dentry)
	return ok && e != nil && (e == d || reflect.TypeOf(e.Node).Comparable() && e.Node == d.Node)
}

// running is the other side: ETXTBSY for a file to write that is a process's
// program.
func (s *System) running(d *vfs.Dentry) error {
	if s.anyProcess(func(p *Process) bool { return p.state == alive && p.Exe != nil && sameFile(p.Exe, d) }) {
		return unix.ETXTBSY
	}
	return nil
}

// CommitExec is fs/exec.c:begin_new_exec over our data: the calling thread
// becomes the leader and only thread, dispositions are cut.
func (t *Task) CommitExec(exe *vfs.Dentry, comm string, args, env []string) {
	s, p := t.Sys, t.Process
	for _, other := range p.Tasks() {
		if other != t {
			delete(p.Threads, other.TID)
			delete(s.tasks, other.TID)
			other.release()
		}
	}
	p.orphan(func(forker int) bool { return forker != t.TID })
	for _, c := range p.Children {
		c.forker = p.PID
	}
	delete(p.Threads, t.TID)
	delete(s.tasks, t.TID)
	t.TID, t.tidAddress, p.vm = p.PID, 0, new(vm)
	p.Threads[t.TID] = t
	s.tasks[t.TID] = t
	p.timers.drop(&s.ipc)
	p.detachAll(s)
	p.Exe, p.strings, p.execed = exe, len(args)+len(env), true
	p.exitSig = int(unix.SIGCHLD) // fs/exec.c:de_thread
	for _, c := range p.Children {
		c.parentExeced = true
	}
	p.chldCaught, p.chldNoWait, p.chldNoStop = false, false, false // SIG_IGN stays, handlers and their flags go
	t.Comm = comm[:min(len(comm), 15)]
	t.Cred = t.Cred.Exec()
	t.Attr.SecureBits &^= secKeepCaps
	p.Attr.Undumpable = false
}

// blockReader reads guest memory in aligned blocks and keeps the last, so that argv
// and envp are fetched in few reads. Many reads let other tasks run.
type blockReader struct {
	c     *Call
	addr  uint64
	data  []byte // of buf, good until the next block
	reads int
	buf   [readBlock]byte
}

const readBlock = 4096

// at returns the bytes from addr to the end of their block.
func (r *blockReader) at(addr uint64) ([]byte, error) {
	start := addr &^ (readBlock - 1)
	if r.data == nil || start != r.addr {
		if r.reads++; r.reads%turn == 0 {
			if err := r.c.yield(); err != nil {
				return nil, err
			}
		}
		n, err := r.c.Task.Machine.ReadMemory(r.buf[:], start)
		if err != nil {
			r.data = nil
			return nil, err
		}
		r.addr, r.data = start, r.buf[:n]
	}
	if i := int(addr - start); i < len(r.data) {
		return r.data[i:], nil
	}
	return nil, unix.EFAULT
}

// strings reads a NULL-terminated array of strings. E2BIG when left runs out.
func (r *blockReader) strings(array uint64, left *int) ([]string, error) {
	if array == 0 {
		return nil, nil
	}
	ptrs := blockReader{c: r.c}
	var list []string
	for {
		addr, err := ptrs.pointer(array + 8*uint64(len(list)))
		if err != nil || addr == 0 {
			return list, err
		}
		s, err := r.string(addr)
		if err != nil {
			return nil, err
		}
		if *left -= len(s) + 1 + 8; *left < 0 {
			return nil, unix.E2BIG
		}
		list = append(list, s)
	}
}

func (r *blockReader) pointer(addr uint64) (uint64, error) {
	p, err := r.at(addr)
	if err != nil {
		return 0, err
	}
	if len(p) >= 8 {
		return leUint64(p), nil
	}
	var b [8]byte
	err = r.c.Read(addr, b[:])
	return leUint64(b[:]), err
}

func (r *blockReader) string(addr uint64) (string, error) {
	var s []byte
	for {
		p, err := r.at(addr + uint64(len(s)))
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(p, 0); i >= 0 {
			return string(append(s, p[:i]...)), nil
		}
		s = append(s, p...)
		if len(s) >= maxArgLen {
			return "", unix.E2BIG
		}
	}
}

// Chdir sets the working directory to a path of the guest's. ENOENT, ENOTDIR,
// EACCES.
func (t *Task) Chdir(p string) error {
	w := vfs.Walk{Root: t.FS.Root, Start: t.FS.Cwd, Cred: t.Access()}
	found, err := w.Do(p)
	if err != nil {
		return err
	}
	if err := t.mayEnter(found.Dentry); err != nil {
		return err
	}
	t.FS.Cwd = found.Dentry
	return nil
}
