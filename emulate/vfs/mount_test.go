//go:build linux

package vfs_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

func mount(t testing.TB, ns *vfs.Namespace, path string, n vfs.Node) {
	t.Helper()
	if err := ns.Mount(path, n); err != nil {
		t.Fatalf("mount %s: %v", path, err)
	}
}

// sealed is a directory that cannot be changed.
type sealed struct{ vfs.Directory }

// text is a node that is nothing but its attributes.
type text struct{ ino uint64 }

func (n text) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: n.ino, Mode: unix.S_IFREG | 0o444, Nlink: 1}, nil
}

// jump is a magic link.
type jump struct{ to func() *vfs.Dentry }

func (n *jump) Attr() (vfs.Attr, error)    { return vfs.Attr{Mode: unix.S_IFLNK | 0o777}, nil }
func (n *jump) Jump() (*vfs.Dentry, error) { return n.to(), nil }
func (n *jump) Readlink() (string, error)  { return "/what/ever", nil }

func listing(t testing.TB, d *vfs.Dentry) []string {
	t.Helper()
	f, err := d.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	desc := fdtable.NewDescription(f, d, 0)
	defer desc.Release()
	list, err := f.(vfs.DirReader).Entries(desc)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, fmt.Sprintf("%s %o", e.Name, e.Type>>12))
	}
	return names
}

func mounted(t *testing.T) *vfs.Namespace {
	below := tree(t, "etc/", "etc/passwd", "lib/", "lib/a")
	d, err := below.Root().Lookup(vfs.Cred{}, "lib")
	if err != nil {
		t.Fatal(err)
	}
	ns := vfs.NewNamespace(sealed{below.Root().Node.(vfs.Directory)})
	mount(t, ns, "/tmp", vfs.NewMem(vfs.MemOptions{}).Root())
	mount(t, ns, "/usr/local/lib", d.Node)
	mount(t, ns, "/usr/share/name", text{7})
	mount(t, ns, "/etc/passwd", text{8})
	mount(t, ns, "/tmp/inner", vfs.NewMem(vfs.MemOptions{}).Root())
	mount(t, ns, "/link", &jump{func() *vfs.Dentry {
		f, _ := vfs.Walk{Root: ns.Root()}.Do("/tmp/inner")
		return f.Dentry
	}})
	return ns
}

func TestMount(t *testing.T) {
	ns := mounted(t)
	walk := func(path string, start *vfs.Dentry, resolve uint64) string {
		f, err := vfs.Walk{Root: ns.Root(), Start: start, Resolve: resolve}.Do(path)
		if err != nil {
			return err.(unix.Errno).Error()
		}
		return f.Dentry.Path()
	}
	tmp, _ := vfs.Walk{Root: ns.Root()}.Do("/tmp")
	for _, c := range []struct {
		path    string
		start   *vfs.Dentry
		resolve uint64
		want    string
	}{
		{"/usr/local/lib/a", nil, 0, "/usr/local/lib/a"}, {"/usr/local/lib/..", nil, 0, "/usr/local"}, {"/tmp/inner/../..", nil, 0, "/"},
		{"/usr/share/name", nil, 0, "/usr/share/name"}, {"/usr/share/name/x", nil, 0, "not a directory"}, {"/usr/none", nil, 0, "no such file or directory"},
		{"/etc/passwd", nil, 0, "/etc/passwd"}, {"/lib/a", nil, 0, "/lib/a"},
		{"tmp", nil, unix.RESOLVE_NO_XDEV, "invalid cross-device link"}, {"lib/a", nil, unix.RESOLVE_NO_XDEV, "/lib/a"},
		{"..", tmp.Dentry, unix.RESOLVE_NO_XDEV, "invalid cross-device link"}, {"/lib", tmp.Dentry, unix.RESOLVE_NO_XDEV, "invalid cross-device link"},
		{"../tmp/.", tmp.Dentry, 0, "/tmp"}, {"..", tmp.Dentry, unix.RESOLVE_IN_ROOT, "/tmp"},
		{"/link", nil, 0, "/tmp/inner"}, {"/link/..", nil, 0, "/tmp"}, {"/link", nil, unix.RESOLVE_NO_MAGICLINKS, "too many levels of symbolic links"},
		{"/link", nil, unix.RESOLVE_NO_SYMLINKS, "too many levels of symbolic links"}, {"/link", nil, unix.RESOLVE_IN_ROOT, "invalid cross-device link"},
		{"link", nil, unix.RESOLVE_BENEATH, "invalid cross-device link"}, {"link", nil, unix.RESOLVE_NO_XDEV, "invalid cross-device link"},
	} {
		if got := walk(c.path, c.start, c.resolve); got != c.want {
			t.Errorf("%s, resolve %#x: %s, want %s", c.path, c.resolve, got, c.want)
		}
	}
	for dir, want := range map[string][]string{
		"/":          {". 4", ".. 4", "etc 4", "lib 4", "link 10", "tmp 4", "usr 4"},
		"/usr":       {". 4", ".. 4", "local 4", "share 4"},
		"/usr/share": {". 4", ".. 4", "name 10"},
		"/etc":       {". 4", ".. 4", "passwd 10"},
		"/tmp":       {". 4", ".. 4", "inner 4"},
	} {
		f, err := vfs.Walk{Root: ns.Root()}.Do(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, listing(t, f.Dentry)); d != "" && dir != "/" {
			t.Errorf("%s: %s", dir, d)
		} else if len(listing(t, f.Dentry)) != len(want) {
			t.Errorf("%s: %s", dir, d)
		}
	}
}

func TestMountPoints(t *testing.T) {
	ns := mounted(t)
	var lines []string
	devs := map[uint64]bool{}
	for _, m := range ns.Mounts() {
		lines = append(lines, strings.Join([]string{m.Source, m.Path, m.Type, m.Options}, " "))
		a, err := m.Root.Attr()
		if err != nil || a.Dev != m.Dev || devs[a.Dev] {
			t.Errorf("%s: device %#x, %v", m.Path, a.Dev, err)
		}
		devs[a.Dev] = true
	}
	if d := cmp.Diff([]string{
		"none / oubliette rw,relatime", "tmpfs /tmp tmpfs rw,relatime", "tmpfs /usr/local/lib tmpfs rw,relatime",
		"none /usr/share/name oubliette rw,relatime", "none /etc/passwd oubliette rw,relatime", "tmpfs /tmp/inner tmpfs rw,relatime",
		"none /link oubliette rw,relatime",
	}, lines); d != "" {
		t.Error(d)
	}
	root := ns.Root()
	look := func(path string) *vfs.Dentry {
		f, err := vfs.Walk{Root: root}.Do(path)
		if err != nil {
			t.Fatal(path, err)
		}
		return f.Dentry
	}
	c := vfs.Cred{}
	tmp, usr := look("/tmp"), look("/usr")
	f, err := tmp.Create(c, "f", 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, linked := usr.Link(c, "g", f)
	_, made := usr.Create(c, "g", 0o644, 0)
	for what, err := range map[string][2]error{
		"remove a mount point":     {tmp.Rmdir(c, "inner"), unix.EBUSY},
		"unlink a mount point":     {tmp.Unlink(c, "inner"), unix.EISDIR},
		"rename a mount point":     {tmp.Rename(c, "inner", tmp, "x", 0), unix.EBUSY},
		"replace a mount point":    {tmp.Rename(c, "f", tmp, "inner", 0), unix.EISDIR},
		"move across mounts":       {tmp.Rename(c, "f", look("/tmp/inner"), "f", 0), unix.EXDEV},
		"link across mounts":       {linked, unix.EXDEV},
		"create in a virtual one":  {made, unix.EROFS},
		"remove a virtual one":     {usr.Rmdir(c, "local"), unix.EROFS},
		"rename in a virtual one":  {usr.Rename(c, "local", usr, "x", 0), unix.EROFS},
		"mount below a file":       {ns.Mount("/usr/share/name/x", text{1}), unix.ENOTDIR},
		"mount a file over a tree": {ns.Mount("/tmp/inner", text{1}), unix.ENOTDIR},
	} {
		if err[0] != err[1] {
			t.Errorf("%s: %v, want %v", what, err[0], err[1])
		}
	}
	if got := len(ns.Mounts()); got != 7 {
		t.Errorf("%d mounts", got)
	}
}

// TestMountRoot covers the namespace's root.
func TestMountRoot(t *testing.T) {
	ns := tree(t, "a/")
	mount(t, ns, "/", tree(t, "b/").Root().Node)
	f, err := vfs.Walk{Root: ns.Root()}.Do("/b/../..")
	if err != nil || f.Dentry != ns.Root() || f.Dentry.Path() != "/" {
		t.Error(f, err)
	}
	if _, err := (vfs.Walk{Root: ns.Root()}).Do("/a"); err != unix.ENOENT {
		t.Error(err)
	}
}

func TestChroot(t *testing.T) {
	ns := tree(t, "jail/", "jail/etc/", "jail/abs -> /etc", "out/")
	f, _ := vfs.Walk{Root: ns.Root()}.Do("/jail")
	root := f.Dentry
	for path, want := range map[string]string{"/..": "/", "/etc/../..": "/", "abs": "/etc", "../../etc": "/etc"} {
		f, err := vfs.Walk{Root: root, Start: root}.Do(path)
		if err != nil {
			t.Error(path, err)
			continue
		}
		if got, ok := f.Dentry.PathFrom(root); got != want || !ok {
			t.Errorf("%s: %s, %v", path, got, ok)
		}
	}
	out, _ := vfs.Walk{Root: ns.Root()}.Do("/out")
	if p, ok := out.Dentry.PathFrom(root); ok || p != "/out" {
		t.Error(p, ok)
	}
	if p := out.Dentry.Parent(root); p != ns.Root() {
		t.Error(p.Path())
	}
}

func TestDevice(t *testing.T) {
	ns := tree(t, "d/")
	null := unix.Mkdev(1, 3)
	opened := 0
	ns.Devices[null] = func(flags int) (fdtable.File, error) {
		opened = flags
		return nil, nil
	}
	for name, dev := range map[string]uint64{"null": null, "other": unix.Mkdev(9, 9)} {
		if _, err := ns.Root().Create(vfs.Cred{}, name, unix.S_IFCHR|0o666, dev); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{"null": nil, "other": unix.ENXIO} {
		e, _ := ns.Root().Lookup(vfs.Cred{}, name)
		if _, err := e.Open(unix.O_WRONLY); err != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if opened != unix.O_WRONLY {
		t.Error("not opened through the registry")
	}
	fifo, err := ns.Root().Create(vfs.Cred{}, "fifo", unix.S_IFIFO|0o600, 0)
	if err != nil {
		t.Fatal(err)
	}
	*fifo.Node.(vfs.Slotter).Slot() = "a pipe"
	again, _ := ns.Root().Lookup(vfs.Cred{}, "fifo")
	if *again.Node.(vfs.Slotter).Slot() != "a pipe" {
		t.Error("the FIFO lost what was kept with it")
	}
	if _, err := fifo.Open(unix.O_RDONLY); err != unix.ENXIO {
		t.Error(err)
	}
}

// TestDirOffsets reads a directory in parts while it changes.
func TestDirOffsets(t *testing.T) {
	ns := tree(t, "a", "b", "c", "d")
	root := ns.Root()
	f, err := root.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	d := fdtable.NewDescription(f, root, 0)
	defer d.Release()
	var got []string
	take := func(n int) {
		t.Helper()
		list, err := f.(vfs.DirReader).Entries(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list[:min(n, len(list))] {
			got = append(got, e.Name)
			d.Offset = e.Next
		}
	}
	take(3)
	at := d.Offset
	if err := root.Unlink(vfs.Cred{}, "a"); err != nil {
		t.Fatal(err)
	}
	take(10)
	take(10)
	seek := func(off int64, whence int) {
		t.Helper()
		if _, err := f.(fdtable.Seeker).Seek(d, off, whence); err != nil {
			t.Fatal(err)
		}
	}
	seek(at, unix.SEEK_SET)
	take(1)
	seek(0, unix.SEEK_SET)
	take(10)
	if d := cmp.Diff(strings.Fields(". .. a b c d b . .. b c d"), got); d != "" {
		t.Error(d)
	}
	if _, err := f.(fdtable.Seeker).Seek(d, -1, unix.SEEK_SET); err != unix.EINVAL {
		t.Error(err)
	}
}

// TestRemovedDirectory is what is left in a directory without a name.
func TestRemovedDirectory(t *testing.T) {
	ns := tree(t, "a/", "a/b/")
	f, _ := vfs.Walk{Root: ns.Root()}.Do("/a/b")
	b, c := f.Dentry, vfs.Cred{}
	file, err := b.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Dir.Rmdir(c, "b"); err != nil {
		t.Fatal(err)
	}
	_, create := b.Create(c, "f", 0o644, 0)
	_, mkdir := b.Mkdir(c, "f", 0o755)
	_, list := file.(vfs.DirReader).Entries(fdtable.NewDescription(file, b, 0))
	_, lookup := vfs.Walk{Root: ns.Root(), Start: b}.Do("x")
	for what, err := range map[string]error{"create": create, "mkdir": mkdir, "getdents64": list, "lookup": lookup} {
		if err != unix.ENOENT {
			t.Errorf("%s: %v", what, err)
		}
	}
	up, err := vfs.Walk{Root: ns.Root(), Start: b}.Do("..")
	if err != nil || up.Dentry != f.Dir {
		t.Error(err)
	}
	if a, _ := b.Attr(); a.Nlink != 0 || b.Path() != "/a/b (deleted)" {
		t.Error(a.Nlink, b.Path())
	}
}

func TestFSMounts(t *testing.T) {
	ns := mounted(t)
	var got []string
	err := fs.WalkDir(vfs.FS(ns.Root(), nil), ".", func(p string, d fs.DirEntry, err error) error {
		got = append(got, fmt.Sprint(d.Type().String()[:1], p))
		return err
	})
	if d := cmp.Diff(strings.Fields("d. detc -etc/passwd dlib -lib/a Llink dtmp dtmp/inner dusr dusr/local dusr/local/lib -usr/local/lib/a dusr/share -usr/share/name"), got); d != "" || err != nil {
		t.Error(d, err)
	}
}

// TestMountFile: a file mounted by itself is as old as the clock says and has the same
// inode number in every process.
func TestMountFile(t *testing.T) {
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	for path, n := range map[string]vfs.Node{"/a": vfs.NewBytes(0, []byte("x")), "/b": vfs.NewText(0, nil), "/c": vfs.NewLink("a")} {
		n.(vfs.Clocked).UseClock(func() time.Time { return time.Unix(77, 0) })
		if err := ns.Mount(path, n); err != nil {
			t.Fatal(err)
		}
	}
	devices := make(map[uint64]bool)
	for _, m := range ns.Mounts()[1:] {
		a, err := m.Root.Attr()
		if err != nil || a.Ino != 1 || devices[a.Dev] || a.Mtime.Sec != 77 || a.Ctime != a.Mtime || a.Atime != a.Mtime {
			t.Errorf("%s: %+v %v", m.Path, a, err)
		}
		devices[a.Dev] = true
	}
}
