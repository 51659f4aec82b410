//go:build linux

package vfs_test

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

func mustOverlay(t testing.TB, lower vfs.Node, o vfs.MemOptions) vfs.Node {
	t.Helper()
	n, err := vfs.NewOverlay(lower, o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// top is the path of a native world's root.
func (n native) top(t *testing.T) string {
	p, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.dir))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(p, strings.Repeat("/up", nesting))
}

// over is the jailed world with a tree of newNative's shape as root.
func over(t *testing.T, root vfs.Node, uid, gid uint32) jailed {
	t.Helper()
	ns := vfs.NewNamespace(root)
	f, err := vfs.Walk{Root: ns.Root()}.Do(strings.Repeat("/up", nesting))
	if err != nil {
		t.Fatal(err)
	}
	return jailed{ns.Root(), f.Dentry, &vfs.Cred{UID: uid, GID: gid}}
}

// twins runs the same random calls on a kernel and a jailed world. The warden's
// calls are made as who runs the test.
func twins(t *testing.T, r *rand.Rand, n native, j jailed, steps int) {
	t.Helper()
	root := os.Getuid() == 0
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	me := [2]uint32{uid, gid}
	var log []string
	for range steps {
		if root && r.IntN(10) == 0 {
			uid, gid = []uint32{0, 0, 1000, 1001}[r.IntN(4)], []uint32{0, 1000, 1001}[r.IntN(3)]
			log = append(log, fmt.Sprintf("as %d:%d", uid, gid))
			j.as(uid, gid)
		}
		name, do := step(r, root && uid == 0)
		n.as(uid, gid)
		want := do(n)
		n.as(me[0], me[1])
		got := do(j)
		log = append(log, fmt.Sprintf("%s: %v", name, want))
		if want != got {
			t.Fatalf("%s\n(-kernel +jailed)\n%s\nkernel: %v, jailed: %v", strings.Join(log, "\n"), compare(t, n, j), want, got)
		}
	}
	if d := compare(t, n, j); d != "" {
		t.Errorf("%s\n(-kernel +jailed)\n%s", strings.Join(log, "\n"), d)
	}
}

// pair makes two equal random trees.
func pair(t *testing.T, r *rand.Rand) (a, b native) {
	a, b = newNative(t), newNative(t)
	for range 150 {
		name, do := step(r, os.Getuid() == 0)
		if x, y := do(a), do(b); x != y {
			t.Fatalf("%s: %v and %v", name, x, y)
		}
	}
	for _, n := range []native{a, b} { // A warden cannot show what its user may not read.
		err := filepath.WalkDir(n.top(t), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink != 0 {
				return err
			}
			fi, err := d.Info()
			if err == nil {
				err = unix.Chmod(p, unix.S_ISVTX&uint32(fi.Sys().(*syscall.Stat_t).Mode)|uint32(fi.Mode().Perm())|0o700)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func TestTwinHost(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			n, m := pair(t, r)
			o := vfs.HostOptions{Write: true, Frozen: seed%2 == 1, Chown: os.Getuid() == 0}
			j := over(t, mustHost(t, m.top(t), o), uint32(os.Getuid()), uint32(os.Getgid()))
			twins(t, r, n, j, 200)
			if os.Getuid() == 0 {
				if d := cmp.Diff(n.snapshot(t), m.snapshot(t)); d != "" {
					t.Errorf("on the host: (-kernel +mount)\n%s", d)
				}
			}
		})
	}
}

// fingerprint is all that a change could leave in a tree.
func fingerprint(t *testing.T, dir string) []string {
	var out []string
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		a := ino(t, p)
		a.Atime = unix.Timespec{}
		data := ""
		if a.IsRegular() {
			b, err := os.ReadFile(p)
			data = fmt.Sprint(string(b), err)
		}
		out = append(out, fmt.Sprintf("%s %+v %q", p, a, data))
		return nil
	})
	if err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	return out
}

// pathsOf maps each path of a snapshot to all of it but what a name says about
// other names.
func pathsOf(list []string) map[string]string {
	m := make(map[string]string)
	for _, s := range list {
		p, rest, _ := strings.Cut(s, " ")
		f := strings.Fields(rest)
		f = slices.Delete(f, 1, 2) // links
		m[p] = strings.Join(f[:len(f)-1], " ")
	}
	return m
}

func TestTwinOverlay(t *testing.T) {
	for seed := range uint64(120) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			n, m := pair(t, r)
			lower := mustHost(t, m.top(t), vfs.HostOptions{Frozen: seed%2 == 1})
			before := fingerprint(t, m.top(t))
			root := mustOverlay(t, lower, vfs.MemOptions{})
			j := over(t, root, uint32(os.Getuid()), uint32(os.Getgid()))
			var start []string
			if os.Getuid() == 0 {
				start = n.snapshot(t)
			}
			twins(t, r, n, j, 200)
			if d := cmp.Diff(before, fingerprint(t, m.top(t))); d != "" {
				t.Errorf("the lower tree changed: %s", d)
			}
			if start != nil {
				checkChanges(t, root, pathsOf(start), pathsOf(j.snapshot(t)))
			}
		})
	}
}

// checkChanges holds Changes against two looks at the tree.
func checkChanges(t *testing.T, root vfs.Node, was, is map[string]string) {
	t.Helper()
	want, got := map[string]vfs.ChangeKind{}, map[string]vfs.ChangeKind{}
	for p, s := range is {
		if w, ok := was[p]; !ok {
			want[p] = vfs.Created
		} else if w != s {
			want[p] = vfs.Modified
		}
	}
	for p := range was {
		if _, ok := is[p]; !ok {
			want[p] = vfs.Removed
		}
	}
	for _, c := range vfs.Changes(root, nil) {
		p, ok := strings.CutPrefix(c.Path, strings.Repeat("/up", nesting)+"/")
		if !ok {
			continue
		}
		if c.Kind == vfs.Modified && want[p] == "" {
			continue // Replaced by something that looks the same.
		}
		got[p] = c.Kind
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes: (-want +got)\n%s", d)
	}
}

// TestOverlayFile runs random calls on one file of the kernel's and of an
// overlay's, by descriptors of all ages.
func TestOverlayFile(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 4))
		dir := t.TempDir()
		size := []int{0, 100, 4096, 5000, 20000, 70000}[r.IntN(6)]
		data := make([]byte, size)
		for i := range data {
			data[i] = byte('a' + (i/7)%26)
		}
		mustWrite(t, dir+"/low/f", string(data))
		mustWrite(t, dir+"/native", string(data))
		root := mustOverlay(t, mustHost(t, dir+"/low", vfs.HostOptions{Frozen: seed%2 == 0}), vfs.MemOptions{})
		n := mustLookup(t, root, "f")
		nat, err := os.OpenFile(dir+"/native", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd := int(nat.Fd())
		files := []fdtable.File{mustOpen(t, n, unix.O_RDONLY), mustOpen(t, n, unix.O_RDWR)}
		var log []string
		for range 40 {
			off := int64(r.IntN(size + 9000))
			if r.IntN(3) == 0 {
				off -= off % 4096
			}
			length := []int{1, 10, 4096, 5000, 9000, 30000}[r.IntN(6)]
			f := files[1+r.IntN(len(files)-1)]
			var want, got string
			var name string
			switch r.IntN(10) {
			case 0, 1, 2:
				name = fmt.Sprintf("pwrite %d %d", off, length)
				p := []byte(strings.Repeat("W", length))
				k, err := unix.Pwrite(fd, p, off)
				want = fmt.Sprint(k, err)
				k, err = f.(io.WriterAt).WriteAt(p, off)
				got = fmt.Sprint(k, err)
			case 3:
				size := int64(r.IntN(size + 9000))
				name = fmt.Sprintf("truncate %d", size)
				want = fmt.Sprint(unix.Ftruncate(fd, size))
				got = fmt.Sprint(f.(fdtable.Truncater).Truncate(size))
			case 4:
				mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
					unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE}[r.IntN(6)]
				if mode == unix.FALLOC_FL_COLLAPSE_RANGE || mode == unix.FALLOC_FL_INSERT_RANGE {
					off, length = off-off%4096, length&^4095
				}
				name = fmt.Sprintf("fallocate %#x %d %d", mode, off, length)
				err := unix.Fallocate(fd, mode, off, int64(length))
				if err == unix.EOPNOTSUPP {
					continue // of the file system under the test
				}
				want = fmt.Sprint(err)
				got = fmt.Sprint(f.(fdtable.Allocater).Allocate(mode, off, int64(length)))
			case 5:
				name = "append"
				end, _ := unix.Seek(fd, 0, io.SeekEnd)
				k, err := unix.Pwrite(fd, []byte("append"), end)
				want = fmt.Sprint(k, end+6, err)
				k, end, err = f.(fdtable.Appender).Append([]byte("append"))
				got = fmt.Sprint(k, end, err)
			case 6:
				name = "open"
				files = append(files, mustOpen(t, n, []int{unix.O_RDONLY, unix.O_RDWR}[r.IntN(2)]))
			case 7:
				name = "chmod"
				n.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: new(uint32(0o600))})
			default:
				name = fmt.Sprintf("pread %d %d", off, length)
				p, q := make([]byte, length), make([]byte, length)
				k, err := unix.Pread(fd, p, off)
				want = fmt.Sprintf("%q %v", p[:k], err)
				k, err = files[r.IntN(len(files))].(io.ReaderAt).ReadAt(q, off)
				if err == io.EOF {
					err = nil
				}
				got = fmt.Sprintf("%q %v", q[:k], err)
			}
			log = append(log, name)
			if want != got {
				t.Fatalf("seed %d: %s\nkernel: %.200s\noverlay: %.200s", seed, strings.Join(log, "; "), want, got)
			}
		}
		want, _ := os.ReadFile(dir + "/native")
		for i, f := range files {
			if got := content(f); got != string(want) {
				t.Fatalf("seed %d: %s: file %d differs: %s", seed, strings.Join(log, "; "), i, cmp.Diff(string(want), got))
			}
			size, err := f.(fdtable.Sizer).Size()
			if size != int64(len(want)) || err != nil {
				t.Errorf("size %d, want %d; %v", size, len(want), err)
			}
			f.Close()
		}
		nat.Close()
		if b, _ := os.ReadFile(dir + "/low/f"); string(b) != string(data) {
			t.Fatal("the lower file changed")
		}
	}
}

// TestOverlayKeepsIdentity: what git, find -xdev and make look at.
func TestOverlayKeepsIdentity(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/a/f", "text")
	os.Link(dir+"/a/f", dir+"/a/g")
	unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/a/f", []unix.Timespec{{Sec: 11}, {Sec: 22, Nsec: 33}}, 0)
	xattrs := unix.Setxattr(dir+"/a/f", "user.k", []byte("v"), 0) == nil
	root := mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{})
	f, g := mustLookup(t, root, "a/f"), mustLookup(t, root, "a/g")
	if f != g {
		t.Fatal("two nodes for two links")
	}
	old := mustOpen(t, f, unix.O_RDONLY)
	defer old.Close()
	before, _ := f.Attr()
	if err := f.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: new(uint32(0o600))}); err != nil {
		t.Fatal(err)
	}
	after, _ := g.Attr()
	if after.Mode != unix.S_IFREG|0o600 {
		t.Errorf("mode by the other name: %o", after.Mode)
	}
	after.Mode, after.Ctime = before.Mode, before.Ctime
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("chmod changed more: %s", d)
	}
	if v, err := f.(vfs.Xattrer).Xattr("user.k"); xattrs && (string(v) != "v" || err != nil) {
		t.Errorf("xattr %q, %v", v, err)
	}
	w := mustOpen(t, g, unix.O_RDWR)
	w.(io.WriterAt).WriteAt([]byte("T"), 0)
	w.Close()
	if s := content(old); s != "Text" {
		t.Errorf("the file opened before has %q", s)
	}
	after, _ = f.Attr()
	if after.Ino != before.Ino || after.Dev != before.Dev || after.Nlink != 2 || after.Mtime == before.Mtime {
		t.Errorf("after a write: %+v", after)
	}
	made, err := root.(vfs.Creator).Create("new", unix.S_IFREG|0o644, 0, vfs.Owner{})
	if a, _ := made.Attr(); err != nil || a.Dev != before.Dev || a.Ino >= 1<<53 {
		t.Errorf("new file: %+v, %v", a, err)
	}
	// A lower directory moves with what is below it, and keeps its number.
	a := mustLookup(t, root, "a")
	was, _ := a.Attr()
	d, err := root.(vfs.Mkdirer).Mkdir("d", 0o755, vfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	if err := root.(vfs.Renamer).Rename("a", d, "b", 0); err != nil {
		t.Fatal(err)
	}
	if mustLookup(t, root, "d/b") != a || mustLookup(t, root, "d/b/g") != f {
		t.Error("other nodes after a rename")
	}
	if is, _ := a.Attr(); is.Ino != was.Ino {
		t.Error("another inode number after a rename")
	}
	got := vfs.Changes(root, nil)
	want := []vfs.Changed{
		{Path: "/a", Kind: vfs.Removed, Mode: os.ModeDir | 0o755},
		{Path: "/a/f", Kind: vfs.Removed, Mode: 0o644},
		{Path: "/a/g", Kind: vfs.Removed, Mode: 0o644},
		{Path: "/d", Kind: vfs.Created, Mode: os.ModeDir | 0o755},
		{Path: "/d/b", Kind: vfs.Created, Mode: os.ModeDir | 0o755},
		{Path: "/d/b/f", Kind: vfs.Created, Mode: 0o600},
		{Path: "/d/b/g", Kind: vfs.Created, Mode: 0o600},
		{Path: "/new", Kind: vfs.Created, Mode: 0o644},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes: (-want +got)\n%s", d)
	}
}

// TestOverlayQuota: a full upper layer is ENOSPC, and leaves the content whole.
func TestOverlayQuota(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 4096) // 64 KiB
	mustWrite(t, dir+"/f", text)
	mustWrite(t, dir+"/g", "g")
	root := mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{Bytes: 16 << 10, Inodes: 5})
	f := mustOpen(t, mustLookup(t, root, "f"), unix.O_RDWR)
	defer f.Close()
	w := f.(io.WriterAt)
	if n, err := w.WriteAt([]byte("X"), 5000); n != 1 || err != nil {
		t.Fatalf("%d, %v: one block must do", n, err)
	}
	n, err := w.WriteAt([]byte(strings.Repeat("Y", 40000)), 20001)
	if n <= 0 || n >= 40000 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	want := []byte(text)
	want[5000] = 'X'
	copy(want[20001:], strings.Repeat("Y", n))
	if content(f) != string(want) {
		t.Error("content is damaged by a short write")
	}
	if n, err := w.WriteAt([]byte("Z"), 50000); err != unix.ENOSPC {
		t.Errorf("%d, %v", n, err)
	}
	for i := 0; ; i++ {
		if _, err := root.(vfs.Creator).Create(fmt.Sprint(i), unix.S_IFREG|0o644, 0, vfs.Owner{}); err == unix.ENOSPC {
			break
		} else if err != nil || i > 5 {
			t.Fatalf("%d files, %v", i, err)
		}
	}
	if err := root.(vfs.Unlinker).Unlink("g"); err != nil {
		t.Errorf("unlink with no inodes left: %v", err)
	}
	if err := root.(vfs.Unlinker).Unlink("0"); err != nil {
		t.Error(err)
	}
	if _, err := root.(vfs.Creator).Create("again", unix.S_IFREG|0o644, 0, vfs.Owner{}); err != nil {
		t.Errorf("after an unlink: %v", err)
	}
}

// TestOverlayUnlinked: files live until they are closed, below and above.
func TestOverlayUnlinked(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/low", "low")
	root := mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{Bytes: 8192})
	for i := range 10 {
		name := []string{"low", "new"}[min(i, 1)]
		if i > 0 {
			if _, err := root.(vfs.Creator).Create(name, unix.S_IFREG|0o644, 0, vfs.Owner{}); err != nil {
				t.Fatal(err)
			}
		}
		n := mustLookup(t, root, name)
		f := mustOpen(t, n, unix.O_RDWR)
		if err := root.(vfs.Unlinker).Unlink(name); err != nil {
			t.Fatal(err)
		}
		if _, err := root.(vfs.Directory).Lookup(name); err != unix.ENOENT {
			t.Errorf("after unlink: %v", err)
		}
		if k, err := f.(io.WriterAt).WriteAt([]byte(strings.Repeat("x", 8000)), 3); k != 8000 || err != nil {
			t.Fatalf("round %d: %d, %v: the space of closed files must come back", i, k, err)
		}
		if a, err := n.Attr(); a.Nlink != 0 || a.Size != 8003 || err != nil {
			t.Errorf("%+v, %v", a, err)
		}
		if err := root.(vfs.Linker).Link("back", n); err != unix.ENOENT {
			t.Errorf("link of an unlinked file: %v", err)
		}
		f.Close()
	}
}

// TestChangesOfMem compares a tree in memory with what was recorded.
func TestChangesOfMem(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{}).Root()
	for _, name := range []string{"kept", "gone", "written"} {
		if _, err := m.(vfs.Creator).Create(name, unix.S_IFREG|0o644, 0, vfs.Owner{}); err != nil {
			t.Fatal(err)
		}
	}
	start := vfs.Record(m)
	m.(vfs.Unlinker).Unlink("gone")
	f := mustOpen(t, mustLookup(t, m, "written"), unix.O_RDWR)
	f.(io.WriterAt).WriteAt([]byte("x"), 0)
	f.Close()
	d, _ := m.(vfs.Mkdirer).Mkdir("dir", 0o700, vfs.Owner{})
	d.(vfs.Symlinker).Symlink("link", "x", vfs.Owner{})
	var got []string
	for _, c := range vfs.Changes(m, start) {
		got = append(got, string(c.Kind)+" "+c.Path)
	}
	want := []string{"created /dir", "created /dir/link", "removed /gone", "modified /written"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	if err := ns.Mount("/tmp", m); err != nil {
		t.Fatal(err)
	}
	if got := ns.Changes(); len(got) != 4 || got[0].Path != path.Join("/tmp", "dir") {
		t.Errorf("of the namespace: %v", got)
	}
}
