//go:build linux

package vfs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
)

func mustHost(t testing.TB, dir string, o vfs.HostOptions) vfs.Node {
	t.Helper()
	n, err := vfs.NewHost(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.(io.Closer).Close() })
	return n
}

// lookup walks names without following anything.
func lookup(n vfs.Node, path string) (vfs.Node, error) {
	for name := range strings.SplitSeq(path, "/") {
		d, ok := n.(vfs.Directory)
		if !ok {
			return nil, unix.ENOTDIR
		}
		var err error
		if n, err = d.Lookup(name); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func mustLookup(t testing.TB, n vfs.Node, path string) vfs.Node {
	t.Helper()
	n, err := lookup(n, path)
	if err != nil {
		t.Fatalf("lookup %s: %v", path, err)
	}
	return n
}

func mustOpen(t testing.TB, n vfs.Node, flags int) fdtable.File {
	t.Helper()
	f, err := n.(vfs.Opener).Open(flags)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func content(f fdtable.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f.(io.ReaderAt), 0, 1<<40))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func mustWrite(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func ino(t testing.TB, name string) vfs.Attr {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(err)
	}
	return vfs.Attr{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid, Rdev: st.Rdev,
		Size: st.Size, Blocks: st.Blocks, BlockSize: int64(st.Blksize), Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim,
	}
}

func TestHostPassesAttributesThrough(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/a/b/file", "hello")
	os.Symlink("file", dir+"/a/b/link")
	os.Link(dir+"/a/b/file", dir+"/a/other")
	unix.Mkfifo(dir+"/a/fifo", 0o600)
	for _, frozen := range []bool{false, true} {
		root := mustHost(t, dir, vfs.HostOptions{Frozen: frozen})
		for _, name := range []string{"a", "a/b", "a/b/file", "a/b/link", "a/other", "a/fifo"} {
			got, err := mustLookup(t, root, name).Attr()
			if err != nil {
				t.Fatal(err)
			}
			got.Btime = unix.Timespec{}
			if d := cmp.Diff(ino(t, dir+"/"+name), got); d != "" {
				t.Errorf("frozen %v: %s: (-native +vfs)\n%s", frozen, name, d)
			}
		}
		if mustLookup(t, root, "a/b/file") != mustLookup(t, root, "a/other") {
			t.Error("two links of one inode are two nodes")
		}
		if s, err := mustLookup(t, root, "a/b/link").(vfs.Readlinker).Readlink(); s != "file" || err != nil {
			t.Errorf("readlink: %q, %v", s, err)
		}
		if _, err := mustLookup(t, root, "a/fifo").(vfs.Opener).Open(unix.O_RDONLY); err != unix.ENXIO {
			t.Errorf("opening a FIFO of the host: %v", err)
		}
		f := mustOpen(t, mustLookup(t, root, "a/b/file"), unix.O_RDONLY)
		if s := content(f); s != "hello" {
			t.Errorf("content %q", s)
		}
		f.Close()
		list, err := mustLookup(t, root, "a").(vfs.Directory).ReadDir()
		names := map[string]uint32{}
		for _, e := range list {
			names[e.Name] = e.Type
		}
		want := map[string]uint32{"b": unix.S_IFDIR, "other": unix.S_IFREG, "fifo": unix.S_IFIFO}
		if d := cmp.Diff(want, names); d != "" || err != nil {
			t.Errorf("listing: %v %s", err, d)
		}
		if _, ok := root.(vfs.Creator); ok {
			t.Error("a read-only mount can make files")
		}
	}
}

// TestHostEscapes tries every way out of a mount by name.
func TestHostEscapes(t *testing.T) {
	base := t.TempDir()
	mustWrite(t, base+"/secret", "secret")
	mustWrite(t, base+"/in/dir/x", "x")
	os.Symlink("../secret", base+"/in/rel")
	os.Symlink(base+"/secret", base+"/in/abs")
	os.Symlink("..", base+"/in/up")
	for _, o := range []vfs.HostOptions{{}, {Frozen: true}, {Write: true}} {
		root := mustHost(t, base+"/in", o)
		for _, name := range []string{"..", ".", "", "../secret", "dir/../../secret", "rel/", "/etc/passwd", "a\x00b"} {
			if _, err := root.(vfs.Directory).Lookup(name); err == nil {
				t.Errorf("%+v: lookup %q gave a node", o, name)
			}
		}
		for _, name := range []string{"rel", "abs"} {
			n := mustLookup(t, root, name)
			if _, err := n.(vfs.Opener).Open(unix.O_RDONLY); err != unix.ENXIO {
				t.Errorf("open of link %s: %v", name, err)
			}
			if o.Write {
				mode := uint32(0o777)
				n.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: &mode})
				n.(vfs.AttrSetter).SetAttr(vfs.Change{Mtime: &unix.Timespec{Sec: 5}})
				n.(vfs.Xattrer).SetXattr("user.a", []byte("x"), 0)
				if err := n.(vfs.Truncater).Truncate(0); err == nil {
					t.Error("truncate through a link")
				}
			}
		}
		if _, err := lookup(root, "up/secret"); err != unix.ENOTDIR {
			t.Errorf("through a link as directory: %v", err)
		}
		if !o.Write {
			continue
		}
		for _, name := range []string{"../made", "..", "/tmp/made", "dir/../../made", "rel", "up"} {
			if _, err := root.(vfs.Creator).Create(name, unix.S_IFREG|0o644, 0, vfs.Owner{}); err == nil {
				t.Errorf("created %q", name)
			}
			if _, err := root.(vfs.Mkdirer).Mkdir(name, 0o755, vfs.Owner{}); err == nil {
				t.Errorf("made directory %q", name)
			}
		}
		if err := root.(vfs.Renamer).Rename("dir", root, "../stolen", 0); err == nil {
			t.Error("renamed out of the mount")
		}
		if err := root.(vfs.Linker).Link("../stolen", mustLookup(t, root, "dir/x")); err == nil {
			t.Error("linked out of the mount")
		}
		other := mustHost(t, base, o)
		if err := root.(vfs.Linker).Link("taken", mustLookup(t, other, "secret")); err != unix.EXDEV {
			t.Errorf("link from another mount: %v", err)
		}
		for _, dev := range []uint32{unix.S_IFCHR, unix.S_IFBLK} {
			if _, err := root.(vfs.Creator).Create("dev", dev|0o666, unix.Mkdev(1, 3), vfs.Owner{}); err != unix.EPERM {
				t.Errorf("device node: %v", err)
			}
		}
	}
	if b, _ := os.ReadFile(base + "/secret"); string(b) != "secret" {
		t.Errorf("the secret is now %q", b)
	}
	if a := ino(t, base+"/secret"); a.Mode&0o777 != 0o644 || a.Mtime.Sec == 5 {
		t.Errorf("the secret's attributes changed: %+v", a)
	}
	list, _ := os.ReadDir(base)
	if len(list) != 2 {
		t.Errorf("something was made outside: %v", list)
	}
}

// TestHostSwap replaces directories by links while a guest works below them.
func TestHostSwap(t *testing.T) {
	t.Run("openat2", func(t *testing.T) { hostSwap(t, false) })
	t.Run("plain", func(t *testing.T) { hostSwap(t, true) })
}

func hostSwap(t *testing.T, plain bool) {
	base := t.TempDir()
	mustWrite(t, base+"/out/dir/sub/file", "secret")
	mustWrite(t, base+"/in/dir/sub/file", "public")
	root := mustHost(t, base+"/in", vfs.HostOptions{Write: true})
	if plain {
		vfs.HideOpenat2(root)
	}
	read := 0
	held := mustLookup(t, root, "dir/sub").(vfs.Directory)
	stop, done := make(chan bool), make(chan bool)
	end := sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	defer end()
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(base+"/in/dir", base+"/in/away")
			os.Symlink(base+"/out/dir", base+"/in/dir")
			os.Remove(base + "/in/dir")
			os.Rename(base+"/in/away", base+"/in/dir")
			if i%3 == 0 {
				os.Remove(base + "/in/dir/sub/file")
				os.Symlink(base+"/out/dir/sub/file", base+"/in/dir/sub/file")
				os.Remove(base + "/in/dir/sub/file")
				os.WriteFile(base+"/in/dir/sub/file", []byte("public"), 0o644)
			}
		}
	}()
	for i := 0; i < 200000 && read < 2000; i++ {
		n, err := lookup(root, "dir/sub/file")
		if i%2 == 0 {
			root.(io.Closer).Close() // so that directories are opened by path
			n, err = held.Lookup("file")
		}
		if err != nil {
			continue
		}
		f, err := n.(vfs.Opener).Open(unix.O_RDWR)
		if err != nil {
			continue
		}
		if s := content(f); s != "public" && s != "" && s != "PUBLIC" {
			t.Fatalf("read %q", s)
		}
		read++
		f.(io.WriterAt).WriteAt([]byte("PUBLIC"), 0)
		f.Close()
		if d, err := lookup(root, "dir/sub"); err == nil && i%16 == 0 {
			d.(vfs.Creator).Create(fmt.Sprint("made", i), unix.S_IFREG|0o644, 0, vfs.Owner{})
		}
	}
	end()
	list, _ := os.ReadDir(base + "/out/dir/sub")
	if b, _ := os.ReadFile(base + "/out/dir/sub/file"); string(b) != "secret" || len(list) != 1 {
		t.Errorf("outside: %q, %v", b, list)
	}
	if read == 0 {
		t.Error("never got through: the test shows nothing")
	}
}

// TestHostLive checks that a live mount shows what the host does.
func TestHostLive(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/a/f", "one")
	root := mustHost(t, dir, vfs.HostOptions{})
	n := mustLookup(t, root, "a/f")
	f := mustOpen(t, n, unix.O_RDONLY)
	mustWrite(t, dir+"/a/f", "three")
	if a, err := n.Attr(); a.Size != 5 || err != nil {
		t.Errorf("size %d, %v", a.Size, err)
	}
	if mustLookup(t, root, "a/f") != n {
		t.Error("another node for the same inode")
	}
	// Replaced: the open file stays what it was, the name is another inode.
	mustWrite(t, dir+"/a/new", "new")
	os.Rename(dir+"/a/new", dir+"/a/f")
	if s := content(f); s != "three" {
		t.Errorf("open file has %q", s)
	}
	m := mustLookup(t, root, "a/f")
	if m == n {
		t.Error("same node for another inode")
	}
	f.Close()
	if _, err := n.(vfs.Opener).Open(unix.O_RDONLY); err != unix.ESTALE {
		t.Errorf("opening a replaced inode: %v", err)
	}
	// A directory moved: found again under the new name.
	os.Rename(dir+"/a", dir+"/b")
	if s := content(mustOpenClose(t, mustLookup(t, root, "b/f"))); s != "new" {
		t.Errorf("after the move: %q", s)
	}
	if _, err := lookup(root, "a/f"); err != unix.ENOENT {
		t.Errorf("old name: %v", err)
	}
}

func mustOpenClose(t testing.TB, n vfs.Node) fdtable.File {
	f := mustOpen(t, n, unix.O_RDONLY)
	t.Cleanup(func() { f.Close() })
	return f
}

// TestHostDescriptors bounds what a mount holds open.
func TestHostDescriptors(t *testing.T) {
	for _, o := range []vfs.HostOptions{{}, {Frozen: true}, {Write: true}} {
		dir := t.TempDir()
		for i := range 40 {
			mustWrite(t, fmt.Sprintf("%s/d%d/e/f", dir, i), "x")
		}
		held := func() (n int) { // of this mount: the collector closes others' meanwhile
			list, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, dir) {
					n++
				}
			}
			return n
		}
		root, err := vfs.NewHost(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			n := mustLookup(t, root, fmt.Sprintf("d%d/e/f", i))
			f, g := mustOpen(t, n, unix.O_RDONLY), mustOpen(t, n, unix.O_RDONLY)
			content(f)
			content(g)
			f.Close()
			g.Close()
		}
		if n := held(); n == 0 || n > 9 {
			t.Errorf("%+v: %d descriptors", o, n)
		}
		root.(io.Closer).Close()
		root.(io.Closer).Close()
		if n := held(); n != 0 {
			t.Errorf("%+v: %d descriptors after Close", o, n)
		}
		// The tree can still be read.
		if s := content(mustOpenClose(t, mustLookup(t, root, "d3/e/f"))); s != "x" {
			t.Errorf("after Close: %q", s)
		}
		root.(io.Closer).Close()
	}
}

func TestHostFile(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/file", "text")
	for _, o := range []vfs.HostOptions{{}, {Write: true}, {Frozen: true}} {
		n := mustHost(t, dir+"/file", o)
		if s := content(mustOpenClose(t, n)); s != "text" {
			t.Errorf("%+v: %q", o, s)
		}
		if _, err := n.(vfs.Directory).Lookup("x"); err != unix.ENOTDIR {
			t.Errorf("lookup in a file: %v", err)
		}
		if o.Write {
			f := mustOpen(t, n, unix.O_RDWR)
			if _, err := f.(io.WriterAt).WriteAt([]byte("T"), 0); err != nil {
				t.Error(err)
			}
			if err := f.(fdtable.Syncer).Sync(); err != nil {
				t.Error(err)
			}
			f.Close()
			mustWrite(t, dir+"/file", "text")
		}
	}
	for _, bad := range []string{dir + "/none", "/dev/null", "/proc", "/proc/self/maps"} {
		if n, err := vfs.NewHost(bad, vfs.HostOptions{}); err == nil {
			t.Errorf("%s: mounted as %v", bad, n)
		} else if pe := (*os.PathError)(nil); !errors.As(err, &pe) {
			t.Errorf("%s: error %v names no path", bad, err)
		}
	}
}

// TestHostProcfs: the warden's own /proc never shows through a mount above it.
func TestHostProcfs(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		root := mustHost(t, "/", vfs.HostOptions{Frozen: frozen})
		if n, err := lookup(root, "proc"); err != unix.EACCES {
			t.Errorf("proc: %v, %v", n, err)
		}
		mustLookup(t, root, "usr")
	}
}

// TestHostWrite checks what a guest's writes leave on the host.
func TestHostWrite(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dir := t.TempDir()
	root := mustHost(t, dir, vfs.HostOptions{Write: true})
	me := vfs.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	n, err := root.(vfs.Creator).Create("f", unix.S_IFREG|0o444, 0, me)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, n, unix.O_RDWR) // although nobody may write it by now
	if _, err := f.(io.WriterAt).WriteAt([]byte("data"), 3); err != nil {
		t.Error(err)
	}
	if a, _ := n.Attr(); a.Size != 7 || a.Mode != unix.S_IFREG|0o444 {
		t.Errorf("size %d mode %o", a.Size, a.Mode)
	}
	mode := uint32(0o6755)
	if err := n.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: &mode, Mtime: &unix.Timespec{Sec: 7}}); err != nil {
		t.Error(err)
	}
	if a := ino(t, dir+"/f"); a.Mode&0o7777 != 0o755 || a.Mtime.Sec != 7 {
		t.Errorf("mode %o, mtime %v: set-ID bits must not reach the host", a.Mode, a.Mtime)
	}
	if err := root.(vfs.Unlinker).Unlink("f"); err != nil {
		t.Error(err)
	}
	if a, err := n.Attr(); a.Nlink != 0 || a.Size != 7 || err != nil {
		t.Errorf("unlinked: %+v, %v", a, err)
	}
	if s := content(f); s != "\x00\x00\x00data" {
		t.Errorf("unlinked: %q", s)
	}
	f.Close()
	if a, err := n.Attr(); a.Nlink != 0 || err != nil {
		t.Errorf("closed: %+v, %v", a, err)
	}
	d, err := root.(vfs.Mkdirer).Mkdir("d", 0o777, me)
	if a, _ := d.Attr(); err != nil || a.Mode != unix.S_IFDIR|0o777 {
		t.Errorf("mkdir: %o, %v", a.Mode, err)
	}
	fifo, err := d.(vfs.Creator).Create("p", unix.S_IFIFO|0o622, 0, me)
	if a, _ := fifo.Attr(); err != nil || a.Mode != unix.S_IFIFO|0o622 {
		t.Errorf("mkfifo: %o, %v", a.Mode, err)
	}
	if err := fifo.(vfs.AttrSetter).SetAttr(vfs.Change{UID: new(uint32(12345))}); err != unix.EPERM {
		t.Errorf("chown without Chown: %v", err)
	}
	x := d.(vfs.Xattrer)
	if err := x.SetXattr("user.k", []byte("v"), 0); err != nil && err != unix.EOPNOTSUPP {
		t.Error(err)
	} else if err == nil {
		v, err := x.Xattr("user.k")
		names, err2 := x.ListXattr()
		if string(v) != "v" || err != nil || err2 != nil || !cmp.Equal(names, []string{"user.k"}) {
			t.Errorf("xattr %q %v, list %q %v", v, err, names, err2)
		}
	}
	for _, name := range []string{"security.capability", "trusted.x", "system.posix_acl_access"} {
		if err := x.SetXattr(name, []byte("v"), 0); err != unix.EPERM {
			t.Errorf("setxattr %s: %v", name, err)
		}
	}
}

// TestHostRoom: what does not fit whole takes nothing, and what fails is given back.
func TestHostRoom(t *testing.T) {
	dir, room := t.TempDir(), int64(10)
	mustWrite(t, dir+"/f", "")
	root := mustHost(t, dir, vfs.HostOptions{Write: true, Room: func(n int64) int64 {
		n = min(n, room)
		room -= n
		return n
	}})
	n := mustLookup(t, root, "f")
	f := mustOpen(t, n, unix.O_RDWR)
	defer f.Close()
	x := n.(vfs.Xattrer)
	if err := x.SetXattr("user.k", []byte("eleven byte"), 0); err != unix.EDQUOT || room != 10 {
		t.Errorf("setxattr: %v, room for %d", err, room)
	}
	if err := x.SetXattr("user."+strings.Repeat("k", 300), []byte("v"), 0); err == nil || room != 10 {
		t.Errorf("setxattr of too long a name: %v, room for %d", err, room)
	}
	if err := f.(fdtable.Allocater).Allocate(0, 0, 11); err != unix.EDQUOT || room != 10 {
		t.Errorf("fallocate: %v, room for %d", err, room)
	}
	if _, err := f.(io.WriterAt).WriteAt([]byte("v"), -1); err == nil || room != 10 {
		t.Errorf("pwrite before the file: %v, room for %d", err, room)
	}
	if n, err := f.(io.WriterAt).WriteAt([]byte("eleven byte"), 0); n != 10 || err != nil || room != 0 {
		t.Errorf("pwrite: %d, %v, room for %d", n, err, room)
	}
	if _, _, err := f.(fdtable.Appender).Append([]byte("v")); err != unix.EDQUOT {
		t.Errorf("append: %v", err)
	}
}

// TestHostDeep reaches a file whose path is longer than PATH_MAX.
func TestHostDeep(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name, depth := strings.Repeat("d", 200), 50
	for range depth {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
	for _, plain := range []bool{false, true} {
		root := mustHost(t, dir, vfs.HostOptions{Write: true})
		if plain {
			vfs.HideOpenat2(root)
		}
		end := mustLookup(t, root, strings.TrimSuffix(strings.Repeat(name+"/", depth), "/"))
		root.(io.Closer).Close() // and with it every directory on the way
		n, err := end.(vfs.Creator).Create("file", unix.S_IFREG|0o600, 0, vfs.Owner{})
		if err != nil {
			t.Fatalf("plain %v: %v", plain, err)
		}
		f := mustOpen(t, n, unix.O_RDWR)
		f.(io.WriterAt).WriteAt([]byte("deep"), 0)
		root.(io.Closer).Close()
		if s := content(f); s != "deep" {
			t.Errorf("plain %v: %q", plain, s)
		}
		f.Close()
		if err := end.(vfs.Unlinker).Unlink("file"); err != nil {
			t.Error(err)
		}
	}
}

// TestHostFrozen: what was asked once is not asked again.
func TestHostFrozen(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/a/file", "x")
	os.Symlink("file", dir+"/a/link")
	ns := vfs.NewNamespace(mustHost(t, dir, vfs.HostOptions{Frozen: true}))
	look := func() (out []string) {
		for _, p := range []string{"/a", "/a/file", "/a/link", "/a/none", "/none/x"} {
			f, err := vfs.Walk{Root: ns.Root()}.Do(p)
			if err == nil {
				var a vfs.Attr
				a, err = f.Dentry.Attr()
				out = append(out, fmt.Sprintf("%s %+v", p, a))
			}
			out = append(out, fmt.Sprint(p, err))
		}
		f, err := vfs.Walk{Root: ns.Root()}.Do("/a")
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.Dentry.Node.(vfs.Directory).ReadDir()
		return append(out, fmt.Sprint(list, err))
	}
	before := look()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	defer os.Rename(dir+".away", dir)
	mustWrite(t, dir+".away/none", "x")
	os.RemoveAll(dir + ".away/a")
	if d := cmp.Diff(before, look()); d != "" {
		t.Errorf("the host was asked again: %s", d)
	}
}

// TestHostNoDescriptors: idle descriptors go before anything fails.
// TestHostSharedPlace: the place of a file that is open stays its own, though nobody
// has it mapped yet, or any more.
func TestHostSharedPlace(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"file", "other"} {
		mustWrite(t, filepath.Join(dir, name), name)
	}
	own, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	own.InUse = func(map[int]bool) error { return nil }
	root := mustHost(t, dir, vfs.HostOptions{Write: true})
	if err := root.(vfs.Arenas).UseArenas(own, nil); err != nil {
		t.Fatal(err)
	}
	place := func(f fdtable.File, write bool) int64 {
		m, err := f.(fdtable.Mapper).Map(0, 4096, write)
		if err != nil {
			t.Fatal(err)
		}
		return m.Offset
	}
	file, other := mustLookup(t, root, "file"), mustOpen(t, mustLookup(t, root, "other"), unix.O_RDWR)
	defer other.Close()
	for _, flags := range []int{unix.O_RDWR, unix.O_RDONLY} {
		first, f := mustOpen(t, file, unix.O_RDWR), mustOpen(t, file, flags)
		at := place(first, true)
		if got := place(f, flags == unix.O_RDWR); got != at {
			t.Fatalf("a file at %d and %d", at, got)
		}
		first.Close()
		if got := place(other, true); got == at {
			t.Errorf("two files at %d", at)
		}
		f.Close()
		if err := root.(vfs.Flusher).Flush(); err != nil {
			t.Error(err)
		}
	}
	last := mustOpen(t, file, unix.O_RDWR)
	defer last.Close()
	if at := place(last, true); at != 0 {
		t.Errorf("a place that nobody uses is kept: the next one is %d", at)
	}
}

func TestHostNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		mustWrite(t, fmt.Sprintf("%s/%d/f", dir, i), "x")
	}
	root := mustHost(t, dir, vfs.HostOptions{Frozen: true})
	for i := range 10 {
		f := mustOpen(t, mustLookup(t, root, fmt.Sprint(i, "/f")), unix.O_RDONLY)
		content(f)
		f.Close()
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Dup(0); err != unix.EMFILE {
		t.Fatalf("dup: %v", err)
	}
	for i := range 10 {
		n, err := lookup(root, fmt.Sprint(i, "/f"))
		if err != nil && err != unix.EMFILE {
			t.Errorf("%d: %v", i, err)
		}
		if err == nil {
			f, err := n.(vfs.Opener).Open(unix.O_RDONLY)
			if err != nil {
				t.Fatal(err)
			}
			if s := content(f); s != "x" && s != "too many open files" {
				t.Errorf("%d: %q", i, s)
			}
			f.Close()
		}
	}
}

// TestHostOpenAgain: a file is opened by the descriptor there is of it, which does not
// make room for that.
func TestHostOpenAgain(t *testing.T) {
	root := mustHost(t, t.TempDir(), vfs.HostOptions{Write: true})
	dir, err := root.(vfs.Mkdirer).Mkdir("d", unix.S_IFDIR|0o755, vfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := dir.(vfs.Creator).Create("f", unix.S_IFREG|0o644, 0, vfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	f, err := file.(vfs.Opener).Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestHostLinkMany: a link lands in its directory, however many others are looked
// through for a file of which somebody else has removed the names.
func TestHostLinkMany(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "0/file"), "text")
	mustWrite(t, filepath.Join(dir, "to/x"), "")
	root := mustHost(t, dir, vfs.HostOptions{Write: true})
	file := mustLookup(t, root, "0/file")
	var removed []string
	for i := range 20 {
		name := fmt.Sprint(i+1, "/file")
		mustWrite(t, filepath.Join(dir, fmt.Sprint(i+1), "x"), "")
		if err := os.Link(filepath.Join(dir, "0/file"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		mustLookup(t, root, name)
		removed = append(removed, filepath.Join(dir, name))
	}
	to := mustLookup(t, root, "to")
	for _, name := range removed {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	err := to.(vfs.Linker).Link("new", file)
	found, _ := filepath.Glob(filepath.Join(dir, "*/new"))
	if want := []string{filepath.Join(dir, "to/new")}; err != nil || !slices.Equal(found, want) {
		t.Errorf("linked at %q, %v", found, err)
	}
}

// TestHostRepeatable: a listing has an order, and what changes by itself is not told.
func TestHostRepeatable(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	for _, i := range []int{3, 6, 0, 2, 5, 1, 4} {
		name := filepath.Join(dir, names[i])
		if err := os.WriteFile(name, make([]byte, 5000), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{{Sec: 77}, {Sec: 99}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	root := mustHost(t, dir, vfs.HostOptions{Repeatable: true})
	list, err := root.(vfs.Directory).ReadDir()
	var got []string
	for _, e := range list {
		got = append(got, e.Name)
	}
	if d := cmp.Diff(names, got); d != "" || err != nil {
		t.Errorf("%v -want +got:\n%s", err, d)
	}
	n, err := lookup(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a, err := n.Attr(); err != nil || a.Atime.Sec != 99 || a.Mtime.Sec != 99 || a.Blocks != 16 {
			t.Errorf("%+v %v", a, err)
		}
	}
	if s, err := n.(vfs.StatFSer).StatFS(); err != nil || s.Blocks != 2*s.Bfree || s.Bfree != s.Bavail || s.Files != 2*s.Ffree {
		t.Errorf("%+v %v", s, err)
	}
}
