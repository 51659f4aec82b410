//go:build linux

package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// world is a tree and the calls that change it; each returns what the call
// would. Paths are relative to the tree's root.
type world interface {
	as(uid, gid uint32)
	open(path string, flags int, mode uint32) error
	mkdir(path string, mode uint32) error
	mknod(path string, mode uint32, dev uint64) error
	symlink(target, path string) error
	link(old, new string) error
	unlink(path string) error
	rmdir(path string) error
	rename(old, new string, flags uint32) error
	chmod(path string, mode uint32) error
	truncate(path string, size int64) error
	appendTo(path, data string) error
	readlink(path string) (string, error)
	stat(path string, nofollow bool) (string, error)
	snapshot(t *testing.T) []string
}

// nesting is how deep the trees lie, because links lead out of them.
const nesting = 10

// native is the kernel, in a directory.
type native struct{ dir int }

func newNative(t *testing.T) native {
	t.Helper()
	runtime.LockOSThread()
	root := t.TempDir()
	for _, d := range []string{root, path.Dir(root)} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	top := root
	for range nesting {
		root += "/up"
		if err := errors.Join(os.Mkdir(root, 0o777), os.Chmod(root, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // What cannot be entered cannot be removed.
		_ = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(p, 0o700)
			}
			return nil
		})
	})
	umask := unix.Umask(0)
	t.Cleanup(func() {
		native{}.as(uint32(os.Getuid()), uint32(os.Getgid()))
		unix.Close(fd)
		unix.Umask(umask)
		runtime.UnlockOSThread()
	})
	return native{fd}
}

func (n native) as(uid, gid uint32) {
	_ = unix.Setfsgid(int(gid))
	_ = unix.Setfsuid(int(uid))
}

func (n native) open(p string, flags int, mode uint32) error {
	fd, err := unix.Openat(n.dir, p, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, mode)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func (n native) mkdir(p string, mode uint32) error { return unix.Mkdirat(n.dir, p, mode) }
func (n native) mknod(p string, mode uint32, dev uint64) error {
	return unix.Mknodat(n.dir, p, mode, int(dev))
}
func (n native) symlink(target, p string) error { return unix.Symlinkat(target, n.dir, p) }
func (n native) link(a, b string) error         { return unix.Linkat(n.dir, a, n.dir, b, 0) }
func (n native) unlink(p string) error          { return unix.Unlinkat(n.dir, p, 0) }
func (n native) rmdir(p string) error           { return unix.Unlinkat(n.dir, p, unix.AT_REMOVEDIR) }
func (n native) rename(a, b string, flags uint32) error {
	return unix.Renameat2(n.dir, a, n.dir, b, uint(flags))
}
func (n native) chmod(p string, mode uint32) error { return unix.Fchmodat(n.dir, p, mode, 0) }

func (n native) truncate(p string, size int64) error {
	return unix.Truncate(fmt.Sprintf("/proc/self/fd/%d/%s", n.dir, p), size)
}

func (n native) appendTo(p, data string) error {
	fd, err := unix.Openat(n.dir, p, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(data))
	return err
}

func (n native) readlink(p string) (string, error) {
	b := make([]byte, 4096)
	k, err := unix.Readlinkat(n.dir, p, b)
	return string(b[:max(k, 0)]), err
}

func (n native) stat(p string, nofollow bool) (string, error) {
	var st unix.Stat_t
	flags := 0
	if nofollow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	if err := unix.Fstatat(n.dir, p, &st, flags); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		st.Size = 0
	}
	return fmt.Sprintf("%o n%d %d:%d s%d r%x", st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Rdev), nil
}

func (n native) snapshot(t *testing.T) []string {
	return snapshot(t, n, func(p string) ([]string, error) {
		fd, err := unix.Openat(n.dir, p, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), p)
		defer f.Close()
		return f.Readdirnames(-1)
	}, func(p string) (uint64, string) {
		var st unix.Stat_t
		if err := unix.Fstatat(n.dir, p, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return st.Ino, ""
		}
		fd, err := unix.Openat(n.dir, p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		b := make([]byte, 1<<16)
		k, err := unix.Read(fd, b)
		if err != nil {
			t.Fatal(err)
		}
		return st.Ino, string(b[:k])
	})
}

// snapshot lists a whole tree; inodes are named by the first path they have.
func snapshot(t *testing.T, w world, list func(string) ([]string, error), look func(string) (uint64, string)) []string {
	t.Helper()
	var out []string
	first := make(map[uint64]string)
	var walk func(string)
	walk = func(dir string) {
		names, err := list(dir)
		if err != nil {
			t.Fatal(dir, err)
		}
		sort.Strings(names)
		for _, name := range names {
			p := path.Join(dir, name)
			s, err := w.stat(p, true)
			if err != nil {
				t.Fatal(p, err)
			}
			target, _ := w.readlink(p)
			ino, data := look(p)
			if first[ino] == "" {
				first[ino] = p
			}
			out = append(out, fmt.Sprintf("%s %s %q %q =%s", p, s, target, data, first[ino]))
			if strings.HasPrefix(s, "4") {
				walk(p)
			}
		}
	}
	walk(".")
	return out
}

// jailed is the same on Mem, with what the handlers do around the namespace.
type jailed struct {
	root, cwd *vfs.Dentry
	cred      *vfs.Cred
}

func newJailed(t *testing.T, uid, gid uint32, trusted bool) jailed {
	t.Helper()
	root := vfs.NewMem(vfs.MemOptions{Mode: 0o777, Owner: vfs.Owner{UID: uid, GID: gid}}).Root()
	if trusted {
		root = &still{root, map[vfs.Node]*still{}}
	}
	ns := vfs.NewNamespace(root)
	if trusted {
		ns.SetCacheLimit(5)
	}
	j := jailed{ns.Root(), ns.Root(), &vfs.Cred{UID: uid, GID: gid}}
	for range nesting {
		d, err := j.cwd.Mkdir(*j.cred, "up", 0o777)
		if err != nil {
			t.Fatal(err)
		}
		j.cwd = d
	}
	return j
}

func (j jailed) as(uid, gid uint32) { *j.cred = vfs.Cred{UID: uid, GID: gid} }

func (j jailed) walk(p string, nofollow, missing bool) (vfs.Found, error) {
	return vfs.Walk{Root: j.root, Start: j.cwd, Cred: *j.cred, NoFollow: nofollow, Missing: missing}.Do(p)
}

func plain(f vfs.Found) bool { return f.Name != "" && f.Name != "." && f.Name != ".." }

func (j jailed) open(p string, flags int, mode uint32) error {
	create := flags&unix.O_CREAT != 0
	f, err := j.walk(p, flags&unix.O_NOFOLLOW != 0 || flags&unix.O_EXCL != 0, create)
	switch {
	case err != nil:
		return err
	case create && f.Slash && plain(f):
		return unix.EISDIR
	case f.Dentry == nil:
		_, err := f.Dir.Create(*j.cred, f.Name, mode, 0)
		return err
	case create && flags&unix.O_EXCL != 0:
		return unix.EEXIST
	case f.Dentry.IsSymlink():
		return unix.ELOOP
	}
	write := flags&unix.O_ACCMODE != unix.O_RDONLY
	if f.Dentry.IsDir() && (create || write) {
		return unix.EISDIR
	}
	mask := uint32(vfs.MayRead)
	if write {
		mask = vfs.MayWrite
	}
	a, err := f.Dentry.Attr()
	if err != nil {
		return err
	}
	if err := vfs.Access(a, *j.cred, mask); err != nil {
		return err
	}
	if a.Mode&unix.S_IFMT == unix.S_IFIFO {
		if write {
			return unix.ENXIO // O_NONBLOCK, and nobody reads
		}
		return nil
	}
	file, err := f.Dentry.Open(flags)
	if err == nil {
		err = file.Close()
	}
	return err
}

// made is for the calls that make something other than a directory.
func (j jailed) made(p string, do func(d *vfs.Dentry, name string) (*vfs.Dentry, error)) error {
	f, err := j.walk(p, true, true)
	if err != nil {
		return err
	}
	if f.Slash && plain(f) && f.Dentry == nil {
		return unix.ENOENT
	}
	_, err = do(f.Dir, f.Name)
	return err
}

func (j jailed) mkdir(p string, mode uint32) error {
	f, err := j.walk(p, true, true)
	if err == nil {
		_, err = f.Dir.Mkdir(*j.cred, f.Name, mode)
	}
	return err
}

func (j jailed) mknod(p string, mode uint32, dev uint64) error {
	return j.made(p, func(d *vfs.Dentry, name string) (*vfs.Dentry, error) {
		return d.Create(*j.cred, name, mode, dev)
	})
}

func (j jailed) symlink(target, p string) error {
	if target == "" {
		return unix.ENOENT
	}
	return j.made(p, func(d *vfs.Dentry, name string) (*vfs.Dentry, error) {
		return d.Symlink(*j.cred, name, target)
	})
}

func (j jailed) link(a, b string) error {
	old, err := j.walk(a, true, false)
	if err != nil {
		return err
	}
	return j.made(b, func(d *vfs.Dentry, name string) (*vfs.Dentry, error) {
		return d.Link(*j.cred, name, old.Dentry)
	})
}

func (j jailed) unlink(p string) error {
	f, err := j.walk(p, true, true)
	if err != nil {
		return err
	}
	if f.Slash && plain(f) && f.Dentry != nil {
		if f.Dentry.IsDir() {
			return unix.EISDIR
		}
		return unix.ENOTDIR
	}
	return f.Dir.Unlink(*j.cred, f.Name)
}

func (j jailed) rmdir(p string) error {
	f, err := j.walk(p, true, true)
	if err != nil {
		return err
	}
	return f.Dir.Rmdir(*j.cred, f.Name)
}

func (j jailed) rename(a, b string, flags uint32) error {
	if flags > 7 || flags&unix.RENAME_EXCHANGE != 0 && flags&^unix.RENAME_EXCHANGE != 0 {
		return unix.EINVAL
	}
	old, err := j.walk(a, true, true)
	if err != nil {
		return err
	}
	to, err := j.walk(b, true, true)
	if err != nil {
		return err
	}
	exchange := flags&unix.RENAME_EXCHANGE != 0
	if plain(old) && plain(to) && old.Dentry != nil && (to.Dentry != nil || !exchange) && !(to.Dentry != nil && flags&unix.RENAME_NOREPLACE != 0) {
		if exchange && !to.Dentry.IsDir() && to.Slash || !old.Dentry.IsDir() && (old.Slash || !exchange && to.Slash) {
			return unix.ENOTDIR
		}
	}
	return old.Dir.Rename(*j.cred, old.Name, to.Dir, to.Name, flags)
}

func (j jailed) chmod(p string, mode uint32) error {
	f, err := j.walk(p, false, false)
	if err != nil {
		return err
	}
	if a, _ := f.Dentry.Attr(); j.cred.UID != 0 && j.cred.UID != a.UID {
		return unix.EPERM
	}
	return f.Dentry.Node.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: &mode})
}

func (j jailed) truncate(p string, size int64) error {
	f, err := j.walk(p, false, false)
	if err != nil {
		return err
	}
	a, err := f.Dentry.Attr()
	switch {
	case err != nil:
		return err
	case a.IsDir():
		return unix.EISDIR
	case !a.IsRegular():
		return unix.EINVAL
	}
	if err := vfs.Access(a, *j.cred, vfs.MayWrite); err != nil {
		return err
	}
	return f.Dentry.Node.(vfs.Truncater).Truncate(size)
}

func (j jailed) appendTo(p, data string) error {
	if err := j.open(p, unix.O_WRONLY, 0); err != nil {
		return err
	}
	f, err := j.walk(p, false, false)
	if err != nil {
		return err
	}
	file, err := f.Dentry.Open(unix.O_WRONLY)
	if err != nil {
		return err
	}
	d := fdtable.NewDescription(file, f.Dentry, unix.O_WRONLY|unix.O_APPEND)
	defer d.Release()
	_, err = d.WriteFile([]byte(data), -1)
	return err
}

func (j jailed) readlink(p string) (string, error) {
	f, err := j.walk(p, true, false)
	if err != nil {
		return "", err
	}
	return f.Dentry.Node.(vfs.Readlinker).Readlink()
}

func (j jailed) stat(p string, nofollow bool) (string, error) {
	f, err := j.walk(p, nofollow, false)
	if err != nil {
		return "", err
	}
	a, err := f.Dentry.Attr()
	if a.IsDir() {
		a.Size = 0
	}
	return fmt.Sprintf("%o n%d %d:%d s%d r%x", a.Mode, a.Nlink, a.UID, a.GID, a.Size, a.Rdev), err
}

func (j jailed) snapshot(t *testing.T) []string {
	return snapshot(t, j, func(p string) ([]string, error) {
		f, err := j.walk(p, false, false)
		if err != nil {
			return nil, err
		}
		file, err := f.Dentry.Open(unix.O_RDONLY)
		if err != nil {
			return nil, err
		}
		d := fdtable.NewDescription(file, f.Dentry, 0)
		defer d.Release()
		list, err := file.(vfs.DirReader).Entries(d)
		var names []string
		for _, e := range list[2:] {
			names = append(names, e.Name)
		}
		return names, err
	}, func(p string) (uint64, string) {
		f, err := j.walk(p, true, false)
		if err != nil {
			t.Fatal(p, err)
		}
		a, err := f.Dentry.Attr()
		if err != nil || !a.IsRegular() {
			return a.Ino, ""
		}
		file, err := f.Dentry.Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(p, err)
		}
		d := fdtable.NewDescription(file, f.Dentry, 0)
		defer d.Release()
		b := make([]byte, 1<<16)
		n, err := d.ReadFile(b, -1)
		if err != nil {
			t.Fatal(p, err)
		}
		return a.Ino, string(b[:n])
	})
}

// still is a Mem whose directories are not Volatile: the namespace remembers
// what it was told.
type still struct {
	vfs.Node
	all map[vfs.Node]*still
}

func (s *still) wrap(n vfs.Node, err error) (vfs.Node, error) {
	if err != nil {
		return nil, err
	}
	if s.all[n] == nil {
		s.all[n] = &still{n, s.all}
	}
	return s.all[n], nil
}

func (s *still) Lookup(name string) (vfs.Node, error) {
	return s.wrap(s.Node.(vfs.Directory).Lookup(name))
}
func (s *still) ReadDir() ([]vfs.DirEntry, error) { return s.Node.(vfs.Directory).ReadDir() }
func (s *still) Create(name string, mode uint32, rdev uint64, o vfs.Owner) (vfs.Node, error) {
	return s.wrap(s.Node.(vfs.Creator).Create(name, mode, rdev, o))
}
func (s *still) Mkdir(name string, mode uint32, o vfs.Owner) (vfs.Node, error) {
	return s.wrap(s.Node.(vfs.Mkdirer).Mkdir(name, mode, o))
}
func (s *still) Symlink(name, target string, o vfs.Owner) (vfs.Node, error) {
	return s.wrap(s.Node.(vfs.Symlinker).Symlink(name, target, o))
}
func (s *still) Link(name string, n vfs.Node) error {
	return s.Node.(vfs.Linker).Link(name, n.(*still).Node)
}
func (s *still) Unlink(name string) error { return s.Node.(vfs.Unlinker).Unlink(name) }
func (s *still) Rmdir(name string) error  { return s.Node.(vfs.Rmdirer).Rmdir(name) }
func (s *still) Rename(name string, dir vfs.Node, newname string, flags uint32) error {
	return s.Node.(vfs.Renamer).Rename(name, dir.(*still).Node, newname, flags)
}
func (s *still) Readlink() (string, error)            { return s.Node.(vfs.Readlinker).Readlink() }
func (s *still) Open(flags int) (fdtable.File, error) { return s.Node.(vfs.Opener).Open(flags) }
func (s *still) SetAttr(c vfs.Change) error           { return s.Node.(vfs.AttrSetter).SetAttr(c) }
func (s *still) Truncate(size int64) error            { return s.Node.(vfs.Truncater).Truncate(size) }

// step is one random call on both worlds.
func step(r *rand.Rand, root bool) (string, func(w world) error) {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	p := func() string {
		n := 1 + r.IntN(5)/2
		var parts []string
		for range n {
			parts = append(parts, pick("a", "b", "c", "a", "b", "c", "a", "b", "c", "d", ".", ".."))
		}
		s := strings.Join(parts, pick("/", "/", "/", "//"))
		return s + pick("", "", "", "", "", "", "/", "/.")
	}
	a, b := p(), p()
	mode := []uint32{0o777, 0o755, 0o700, 0o1777, 0o500, 0o666, 0o2777, 0o4755}[r.IntN(8)]
	if !root {
		mode &^= 0o2000
	}
	switch r.IntN(17) {
	case 0, 1:
		flags := []int{unix.O_CREAT | unix.O_EXCL, unix.O_CREAT, unix.O_NOFOLLOW, unix.O_WRONLY, 0}[r.IntN(5)]
		return fmt.Sprintf("open %s %#x %o", a, flags, mode), func(w world) error { return w.open(a, flags, mode&0o1777) }
	case 2, 3, 4:
		return fmt.Sprintf("mkdir %s %o", a, mode), func(w world) error { return w.mkdir(a, mode) }
	case 5:
		target := pick(a, "a", "b", "../a", "a/b", "b/", "e", ".", "a/.", "d/../c")
		return "symlink " + target + " " + b, func(w world) error { return w.symlink(target, b) }
	case 6:
		return "link " + a + " " + b, func(w world) error { return w.link(a, b) }
	case 7:
		return "unlink " + a, func(w world) error { return w.unlink(a) }
	case 8:
		return "rmdir " + a, func(w world) error { return w.rmdir(a) }
	case 9, 10, 11:
		flags := []uint32{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, 3}[r.IntN(6)]
		return fmt.Sprintf("rename %s %s %d", a, b, flags), func(w world) error { return w.rename(a, b, flags) }
	case 12:
		mode &= 0o1777 // Who writes to a setuid file changes it: the caller's business.
		return fmt.Sprintf("chmod %s %o", a, mode), func(w world) error { return w.chmod(a, mode) }
	case 13:
		size := int64(r.IntN(9000))
		return fmt.Sprintf("truncate %s %d", a, size), func(w world) error { return w.truncate(a, size) }
	case 14:
		return "append " + a, func(w world) error { return w.appendTo(a, "text\n") }
	case 15:
		return "mkfifo " + a, func(w world) error { return w.mknod(a, unix.S_IFIFO|mode&0o777, 0) }
	}
	return "stat " + a, func(w world) error { _, err := w.stat(a, false); return err }
}

// TestTwin runs random calls on the kernel and on Mem.
func TestTwin(t *testing.T) {
	root := os.Getuid() == 0
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
			n, j := newNative(t), newJailed(t, uid, gid, seed%2 == 1)
			var log []string
			for range 400 {
				if root && r.IntN(10) == 0 {
					uid, gid = []uint32{0, 0, 1000, 1001}[r.IntN(4)], []uint32{0, 1000, 1001}[r.IntN(3)]
					n.as(uid, gid)
					j.as(uid, gid)
					log = append(log, fmt.Sprintf("as %d:%d", uid, gid))
				}
				name, do := step(r, root && uid == 0)
				want, got := do(n), do(j)
				log = append(log, fmt.Sprintf("%s: %v", name, want))
				if want != got {
					t.Fatalf("%s\n(-kernel +Mem)\n%s\nkernel: %v, Mem: %v", strings.Join(log, "\n"), compare(t, n, j), want, got)
				}
			}
			if d := compare(t, n, j); d != "" {
				t.Errorf("%s\n(-kernel +Mem)\n%s", strings.Join(log, "\n"), d)
			}
		})
	}
}

// compare looks at both trees as root; another user cannot see all of them.
func compare(t *testing.T, n native, j jailed) string {
	if os.Getuid() != 0 {
		return ""
	}
	n.as(0, 0)
	j.as(0, 0)
	return cmp.Diff(n.snapshot(t), j.snapshot(t))
}
