//go:build linux

package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// moved names the time stamps that are not what they were set to.
func moved(a, m, c, a0, m0, c0 unix.Timespec) string {
	s := ""
	for _, x := range []struct {
		name     string
		now, was unix.Timespec
	}{{"a", a, a0}, {"m", m, m0}, {"c", c, c0}} {
		if x.now != x.was {
			s += x.name
		}
	}
	return s
}

// TestTimes compares which time stamps of which inodes a call moves.
func TestTimes(t *testing.T) {
	n, j := newNative(t), newJailed(t, uint32(os.Getuid()), uint32(os.Getgid()), false)
	names := []string{".", "d", "d/f", "d/f2", "e"}
	for _, w := range []world{n, j} {
		for _, err := range []error{w.mkdir("d", 0o777), w.mkdir("e", 0o777), w.open("d/f", unix.O_CREAT, 0o666), w.open("d/f2", unix.O_CREAT, 0o666), w.symlink("f", "d/l")} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	old := unix.Timespec{Sec: 1_000_000, Nsec: 5}
	prepare := func() (before []vfs.Attr, real []unix.Stat_t) {
		for _, p := range names {
			var st unix.Stat_t
			if err := unix.UtimesNanoAt(n.dir, p, []unix.Timespec{old, old}, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Fstatat(n.dir, p, &st, 0); err != nil {
				t.Fatal(err)
			}
			real = append(real, st)
			f, err := j.walk(p, false, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Dentry.Node.(vfs.AttrSetter).SetAttr(vfs.Change{Atime: &old, Mtime: &old}); err != nil {
				t.Fatal(err)
			}
			a, _ := f.Dentry.Attr()
			before = append(before, a)
		}
		return before, real
	}
	for _, c := range []struct {
		name string
		do   func(w world) error
	}{
		{"append", func(w world) error { return w.appendTo("d/f", "x") }},
		{"truncate", func(w world) error { return w.truncate("d/f", 5) }},
		{"truncate same", func(w world) error { return w.truncate("d/f", 5) }},
		{"chmod", func(w world) error { return w.chmod("d/f", 0o600) }},
		{"link", func(w world) error { return w.link("d/f", "e/g") }},
		{"unlink", func(w world) error { return w.unlink("e/g") }},
		{"create", func(w world) error { return w.open("e/g", unix.O_CREAT, 0o666) }},
		{"rename", func(w world) error { return w.rename("e/g", "d/g", 0) }},
		{"replace", func(w world) error { return w.rename("d/g", "d/f2", 0) }},
		{"mkdir", func(w world) error { return w.mkdir("d/s", 0o777) }},
		{"exchange", func(w world) error { return w.rename("d/f", "d/s", unix.RENAME_EXCHANGE) }},
		{"exchange back", func(w world) error { return w.rename("d/f", "d/s", unix.RENAME_EXCHANGE) }},
		{"move directory", func(w world) error { return w.rename("d/s", "e/s", 0) }},
		{"rmdir", func(w world) error { return w.rmdir("e/s") }},
		{"symlink", func(w world) error { return w.symlink("x", "e/l") }},
		{"stat", func(w world) error { _, err := w.stat("d/f", false); return err }},
	} {
		before, real := prepare()
		time.Sleep(12 * time.Millisecond) // more than a tick
		if a, b := c.do(n), c.do(j); a != b {
			t.Fatalf("%s: %v, kernel: %v", c.name, b, a)
		}
		for i, p := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(n.dir, p, &st, 0); err != nil {
				t.Fatal(err)
			}
			f, err := j.walk(p, false, false)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := f.Dentry.Attr()
			want := moved(st.Atim, st.Mtim, st.Ctim, real[i].Atim, real[i].Mtim, real[i].Ctim)
			got := moved(a.Atime, a.Mtime, a.Ctime, before[i].Atime, before[i].Mtime, before[i].Ctime)
			if want != got {
				t.Errorf("%s moves %q of %s, the kernel %q", c.name, got, p, want)
			}
		}
	}
}

func TestAtime(t *testing.T) {
	now := time.Unix(2_000_000, 0)
	m := vfs.NewMem(vfs.MemOptions{Now: func() time.Time { return now }})
	f, d := newFile(t, m)
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, step := range []time.Duration{time.Hour, time.Hour, 24 * time.Hour} {
		now = now.Add(step)
		if _, err := f.ReadAt(make([]byte, 1), 0); err != nil {
			t.Fatal(err)
		}
		a, _ := d.Attr()
		got = append(got, a.Atime.Sec-2_000_000)
	}
	if d := cmp.Diff([]int64{3600, 3600, 26 * 3600}, got); d != "" {
		t.Error(d)
	}
}

func TestXattr(t *testing.T) {
	root := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root()).Root()
	f, _ := root.Create(vfs.Cred{}, "f", 0o644, 0)
	l, _ := root.Symlink(vfs.Cred{}, "l", "f")
	x, lx := f.Node.(vfs.Xattrer), l.Node.(vfs.Xattrer)
	_, missing := x.Xattr("user.a")
	for what, err := range map[string][2]error{
		"get missing":       {missing, unix.ENODATA},
		"replace missing":   {x.SetXattr("user.a", nil, unix.XATTR_REPLACE), unix.ENODATA},
		"create":            {x.SetXattr("user.a", []byte("1"), unix.XATTR_CREATE), nil},
		"trusted":           {x.SetXattr("trusted.t", []byte("2"), 0), nil},
		"system":            {x.SetXattr("system.posix_acl_access", nil, 0), unix.EOPNOTSUPP},
		"no name":           {x.SetXattr("user.", nil, 0), unix.EINVAL},
		"no space":          {x.SetXattr("plain", nil, 0), unix.EOPNOTSUPP},
		"too much":          {x.SetXattr("user.big", make([]byte, 1<<16), 0), unix.ENOSPC},
		"user on a link":    {lx.SetXattr("user.a", nil, 0), unix.EPERM},
		"trusted on a link": {lx.SetXattr("trusted.a", nil, 0), nil},
		"remove missing":    {x.RemoveXattr("user.b"), unix.ENODATA},
	} {
		if err[0] != err[1] {
			t.Errorf("%s: %v, want %v", what, err[0], err[1])
		}
	}
	if err := x.SetXattr("user.a", nil, unix.XATTR_CREATE); err != unix.EEXIST {
		t.Error(err)
	}
	list, err := x.ListXattr()
	if d := cmp.Diff([]string{"trusted.t", "user.a"}, list); d != "" || err != nil {
		t.Error(d, err)
	}
	if err := x.RemoveXattr("user.a"); err != nil {
		t.Error(err)
	}
}

// TestSeals does the same to a memfd of the kernel's and to one of Mem.
func TestSeals(t *testing.T) {
	const noexec = 0x20
	for _, seals := range []int{
		unix.F_SEAL_SEAL, unix.F_SEAL_SHRINK, unix.F_SEAL_GROW, unix.F_SEAL_WRITE, unix.F_SEAL_FUTURE_WRITE, noexec,
		unix.F_SEAL_GROW | unix.F_SEAL_SHRINK, 0x40,
	} {
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		m := vfs.NewMem(vfs.MemOptions{})
		a := useArena(t, m)
		d, err := vfs.NewMemFile(m, "/memfd:x (deleted)", 0o777, vfs.Owner{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		file, err := d.Open(unix.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		f := file.(memFile)
		native := func(err error) string { return fmt.Sprint(err) }
		two := func(n int, err error) string { return fmt.Sprint(max(n, 0), err) }
		p := []byte("text")
		mode := uint32(0o666)
		mapped := func(fd int, off int64, prot int) error {
			b, err := unix.Mmap(fd, off, 4096, prot, unix.MAP_SHARED)
			if err == nil {
				err = unix.Munmap(b)
			}
			return err
		}
		mem := func(write bool) error {
			at, err := f.Map(0, 4096, write)
			if err == nil {
				err = mapped(int(a.File().Fd()), at.Offset, unix.PROT_READ)
			}
			return err
		}
		want := []string{
			two(unix.Pwrite(fd, make([]byte, 8192), 0)), two(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)),
			two(unix.Pwrite(fd, p, 0)), two(unix.Pwrite(fd, p, 8190)), native(unix.Ftruncate(fd, 8192)), native(unix.Ftruncate(fd, 4096)), native(unix.Ftruncate(fd, 9000)),
			native(unix.Fallocate(fd, 3, 0, 4096)), native(unix.Fallocate(fd, 0, 0, 20000)), native(unix.Fallocate(fd, 1, 0, 30000)),
			native(mapped(fd, 0, unix.PROT_READ|unix.PROT_WRITE)), native(mapped(fd, 0, unix.PROT_READ)), native(unix.Fchmod(fd, mode)),
			two(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW)),
		}
		k, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		want = append(want, fmt.Sprint(k, err))
		got := []string{
			two(f.WriteAt(make([]byte, 8192), 0)), two(0, f.AddSeals(seals)),
			two(f.WriteAt(p, 0)), two(f.WriteAt(p, 8190)), native(f.Truncate(8192)), native(f.Truncate(4096)), native(f.Truncate(9000)),
			native(f.Allocate(3, 0, 4096)), native(f.Allocate(0, 0, 20000)), native(f.Allocate(1, 0, 30000)),
			native(mem(true)), native(mem(false)), native(d.Node.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: &mode})),
			two(0, f.AddSeals(unix.F_SEAL_GROW)),
		}
		k, err = f.Seals()
		got = append(got, fmt.Sprint(k, err))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("seals %#x (-kernel +Mem)\n%s", seals, d)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSealMapped(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{})
	a := useArena(t, m)
	d, err := vfs.NewMemFile(m, "m", 0o600, vfs.Owner{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := d.Open(unix.O_RDWR)
	f := file.(memFile)
	if _, err := f.Map(0, 4096, true); err != nil {
		t.Fatal(err)
	}
	a.InUse = nil
	if err := f.AddSeals(unix.F_SEAL_WRITE); err != unix.EBUSY {
		t.Error(err)
	}
	a.InUse = func(map[int]bool) error { return nil }
	if err := f.AddSeals(unix.F_SEAL_WRITE); err != nil {
		t.Error(err)
	}
}

// TestUnlinkedOpen keeps content for as long as something needs it, and counts
// it until no guest maps it.
func TestUnlinkedOpen(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{Bytes: 1 << 20})
	a := useArena(t, m)
	free := func() uint64 {
		s, _ := m.Root().(vfs.StatFSer).StatFS()
		return s.Bfree
	}
	all := free()
	root := vfs.NewNamespace(m.Root()).Root()
	e, err := root.Create(vfs.Cred{}, "f", 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	path, err := e.Open(unix.O_PATH)
	if err != nil {
		t.Fatal(err)
	}
	file, err := e.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	f := file.(memFile)
	if _, err := f.WriteAt(make([]byte, 40<<10), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Map(0, 1, true); err != nil {
		t.Fatal(err)
	}
	if err := root.Unlink(vfs.Cred{}, "f"); err != nil {
		t.Fatal(err)
	}
	if got := e.Path(); got != "/f (deleted)" || !e.Unlinked() {
		t.Error(got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := e.Open(unix.O_RDONLY) // through /proc/self/fd
	if err != nil {
		t.Fatal(err)
	}
	if b := bytesOf(t, again.(memFile), 40<<10); len(b) != 40<<10 {
		t.Error("content is gone")
	}
	if free() != all-10 {
		t.Errorf("%d blocks free of %d", free(), all)
	}
	mapped := true
	a.InUse = func(slots map[int]bool) error {
		slots[0] = mapped
		return nil
	}
	again.Close()
	path.Close()
	a.Reclaim()
	if free() != all-10 {
		t.Error("a mapped file does not count")
	}
	mapped = false
	a.Reclaim()
	if free() != all {
		t.Error("an unmapped file counts")
	}
}

func TestTmpfile(t *testing.T) {
	root := tree(t, "d/").Root()
	dir, err := root.Lookup(vfs.Cred{}, "d")
	if err != nil {
		t.Fatal(err)
	}
	e, err := dir.Tmpfile(vfs.Cred{}, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if p := e.Path(); !strings.HasPrefix(p, "/d/#") || !strings.HasSuffix(p, " (deleted)") {
		t.Error(p)
	}
	if a, _ := e.Attr(); a.Nlink != 0 || a.Mode != unix.S_IFREG|0o600 {
		t.Errorf("%+v", a)
	}
	f, err := e.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	n, err := dir.Link(vfs.Cred{}, "named", e)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := n.Attr(); a.Nlink != 1 || n.Node != e.Node || n.Path() != "/d/named" {
		t.Errorf("%+v %s", a, n.Path())
	}
	if err := dir.Unlink(vfs.Cred{}, "named"); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Link(vfs.Cred{}, "again", n); err != unix.ENOENT {
		t.Errorf("link of an unlinked file: %v", err)
	}
	f.Close()
}

func TestFS(t *testing.T) {
	ns := tree(t, "a/", "a/b/", "a/b/f", "a/x", "empty/", "l -> a/b", "abs -> /a/b/f")
	f, err := vfs.Walk{Root: ns.Root()}.Do("/a/b/f")
	if err != nil {
		t.Fatal(err)
	}
	file, _ := f.Dentry.Open(unix.O_RDWR)
	if _, err := file.(memFile).WriteAt([]byte(strings.Repeat("text ", 50_000)), 0); err != nil {
		t.Fatal(err)
	}
	runs := 0
	fsys := vfs.FS(ns.Root(), func(fn func()) { runs++; fn() })
	if err := fstest.TestFS(fsys, "a/b/f", "a/x", "empty", "l", "abs"); err != nil {
		t.Error(err)
	}
	if runs == 0 {
		t.Error("not asked through do")
	}
}

// TestDetach reads a tree whose arena is closed.
func TestDetach(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{})
	a := useArena(t, m)
	f, _ := newFile(t, m)
	want := []byte(strings.Repeat("0123456789abcdef", 20_000))
	if _, err := f.WriteAt(want, 1<<30); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(a.File().Fd()), &st); err != nil || st.Blocks*512 < int64(len(want)) {
		t.Errorf("%d blocks in the arena, %v", st.Blocks, err)
	}
	if err := m.UseArena(nil); err != nil {
		t.Fatal(err)
	}
	a.Close()
	runtime.GC()
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 1<<30); err != nil || string(got) != string(want) {
		t.Error("content differs", err)
	}
	if _, err := f.Map(0, 1, false); err != unix.ENODEV {
		t.Error(err)
	}
	d := fdtable.NewDescription(f, nil, unix.O_RDWR)
	if n, err := d.WriteFile([]byte("over"), 1<<30+5); n != 4 || err != nil {
		t.Error(n, err)
	}
	if n, err := f.ReadAt(got[:16], 1<<30); n != 16 || err != nil || string(got[:16]) != "01234over9abcdef" {
		t.Errorf("%q", got[:16])
	}
}

func BenchmarkStat(b *testing.B) {
	ns := tree(b, "usr/", "usr/lib/", "usr/lib/x/", "usr/lib/x/y")
	w := vfs.Walk{Root: ns.Root(), Cred: vfs.Cred{UID: 1000}}
	b.ReportAllocs()
	for b.Loop() {
		f, err := w.Do("/usr/lib/x/y")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Dentry.Attr(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestManyNames walks far more names than the cache holds.
func TestManyNames(t *testing.T) {
	ns := tree(t, "d/")
	ns.SetCacheLimit(100)
	dir, err := ns.Root().Lookup(vfs.Cred{}, "d")
	if err != nil {
		t.Fatal(err)
	}
	held, err := dir.Create(vfs.Cred{}, "held", 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if _, err := dir.Create(vfs.Cred{}, fmt.Sprint(i), 0o644, 0); err != nil {
			t.Fatal(err)
		}
		if i%300 == 0 {
			runtime.GC()
		}
	}
	again, err := vfs.Walk{Root: ns.Root()}.Do("/d/held")
	if err != nil || again.Dentry != held || again.Dir != dir {
		t.Error("a held entry was made anew", err)
	}
	if err := ns.Root().Rename(vfs.Cred{}, "d", ns.Root(), "e", 0); err != nil {
		t.Fatal(err)
	}
	if p := held.Path(); p != filepath.Join("/e", "held") {
		t.Error(p)
	}
}
