//go:build linux && amd64

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var inNames = []string{"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM", "MOVED_TO", "CREATE",
	"DELETE", "DELETE_SELF", "MOVE_SELF"}

// events reads what an inotify descriptor has and logs it.
func (k *twin) events(in int, what string) {
	cookies := make(map[uint32]int)
	n := k.quiet("read", fd(in), out(65536), 65536)
	if n < 0 {
		k.note("%s: %s", what, unix.ErrnoName(unix.Errno(-n)))
		return
	}
	for p := k.buf[:n]; len(p) > 0; {
		le := binary.LittleEndian
		mask, cookie, length := le.Uint32(p[4:]), le.Uint32(p[8:]), le.Uint32(p[12:])
		var bits []string
		for i, name := range inNames {
			if mask>>i&1 != 0 {
				bits = append(bits, name)
			}
		}
		if mask>>12 != 0 {
			bits = append(bits, fmt.Sprintf("%#x", mask>>12<<12))
		}
		if cookie != 0 && cookies[cookie] == 0 {
			cookies[cookie] = len(cookies) + 1
		}
		name := strings.TrimRight(string(p[16:16+length]), "\x00")
		k.note("%s: wd %d %s cookie %d len %d %q", what, int32(le.Uint32(p)), strings.Join(bits, "|"), cookies[cookie], length, name)
		p = p[16+length:]
	}
}

// do makes a call and logs the events it led to.
func (k *twin) do1(in int, name string, args ...any) int {
	r := k.call(name, args...)
	k.events(in, name)
	return r
}

func TestInotify(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		in := k.open("inotify_init1", unix.IN_NONBLOCK|unix.IN_CLOEXEC)
		for _, p := range []string{".", "d", "f", "d/sub", "link", "full"} {
			k.call("inotify_add_watch", fd(in), p, unix.IN_ALL_EVENTS)
		}
		k.events(in, "before")
		f := k.open("openat", at, "f", unix.O_RDWR, 0)
		k.events(in, "open")
		k.do1(in, "write", fd(f), "hello", 5)
		k.do1(in, "write", fd(f), "hello", 0)
		k.do1(in, "pread64", fd(f), out(5), 5, 0)
		k.do1(in, "pread64", fd(f), out(5), 5, 100)
		k.do1(in, "ftruncate", fd(f), 3)
		k.do1(in, "truncate", "f", 2)
		k.do1(in, "fallocate", fd(f), 0, 0, 100)
		k.do1(in, "fchmod", fd(f), 0o600)
		k.do1(in, "fchown", fd(f), -1, -1)
		k.do1(in, "utimensat", at, "f", nil, 0)
		k.do1(in, "utimensat", at, "f", []uint64{1, 2, 3, unix.UTIME_OMIT}, 0)
		k.do1(in, "utimensat", at, "f", []uint64{1, unix.UTIME_OMIT, 3, 4}, 0)
		k.do1(in, "setxattr", "f", "user.x", "v", 1, 0)
		k.do1(in, "removexattr", "f", "user.x")
		k.do1(in, "close", fd(f))
		g := k.open("openat", at, "new", unix.O_CREAT|unix.O_WRONLY, 0o600)
		k.events(in, "create")
		k.do1(in, "close", fd(g))
		g = k.open("openat", at, "new", unix.O_TRUNC|unix.O_WRONLY, 0o600)
		k.events(in, "truncate")
		k.do1(in, "close", fd(g))
		g = k.open("openat", at, "new", unix.O_PATH, 0)
		k.events(in, "path")
		k.do1(in, "close", fd(g))
		g = k.open("openat", at, "d", unix.O_RDONLY, 0)
		k.events(in, "directory")
		k.dirents("getdents64", g, 4096, 10)
		k.events(in, "getdents64")
		k.do1(in, "close", fd(g))
		k.do1(in, "mkdir", "d/m", 0o755)
		k.do1(in, "chmod", "d/m", 0o700)
		k.do1(in, "rmdir", "d/m")
		k.do1(in, "symlink", "x", "d/l")
		k.do1(in, "mknod", "d/n", 0o600, 0)
		k.do1(in, "link", "f", "d/hard")
		k.do1(in, "chmod", "d/hard", 0o644)
		k.do1(in, "unlink", "f")
		k.do1(in, "rename", "d/hard", "d/harder")
		k.do1(in, "rename", "d/harder", "f")
		k.do1(in, "renameat2", at, "f", at, "d/n", unix.RENAME_EXCHANGE)
		k.do1(in, "rename", "d", "e")
		k.do1(in, "rename", "e", "d")
		k.do1(in, "rename", "d/n", "f")
		k.do1(in, "link", "f", "same")
		k.do1(in, "rename", "f", "same")
		k.do1(in, "rmdir", "d/sub")
		k.do1(in, "unlink", "f")
		k.do1(in, "unlink", "same")
		k.do1(in, "close", fd(in))
	})
}

// A removed file's watches end when the last descriptor goes.
func TestInotifyOpenFile(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		in := k.open("inotify_init1", unix.IN_NONBLOCK)
		k.call("inotify_add_watch", fd(in), "g", unix.IN_ALL_EVENTS)
		k.call("inotify_add_watch", fd(in), ".", unix.IN_ALL_EVENTS|unix.IN_EXCL_UNLINK)
		k.call("inotify_add_watch", fd(in), "full", unix.IN_ALL_EVENTS)
		f := k.open("openat", at, "g", unix.O_RDONLY, 0)
		x := k.open("openat", at, "full/x", unix.O_RDONLY, 0)
		d := k.open("dup", fd(f))
		k.events(in, "open")
		k.do1(in, "unlink", "g")
		k.do1(in, "unlink", "full/x")
		k.do1(in, "fchmod", fd(f), 0o644)
		k.do1(in, "fchmod", fd(x), 0o644)
		k.do1(in, "pread64", fd(f), out(1), 1, 0)
		k.do1(in, "pread64", fd(x), out(1), 1, 0)
		k.do1(in, "close", fd(f))
		k.do1(in, "close", fd(d))
		k.do1(in, "close", fd(x))
		k.call("mkdir", "dir", 0o755)
		k.call("mkdir", "over", 0o755)
		k.call("inotify_add_watch", fd(in), "dir", unix.IN_ALL_EVENTS)
		k.call("inotify_add_watch", fd(in), "over", unix.IN_ALL_EVENTS)
		k.events(in, "mkdir")
		k.do1(in, "rename", "dir", "over")
		k.call("chdir", "over")
		k.events(in, "chdir")
		k.do1(in, "rmdir", "../over")
		k.do1(in, "chdir", "..")
	})
}

func TestInotifyMasks(t *testing.T) {
	everybody(t, func(k *twin) {
		const create, add = 0x10000000, unix.IN_MASK_ADD
		k.tree()
		in := k.open("inotify_init1", unix.IN_NONBLOCK)
		for _, flags := range []int{1, -1} {
			k.call("inotify_init1", flags)
		}
		for _, mask := range []uint32{0, unix.IN_ISDIR, unix.IN_ONLYDIR, 1 << 31, 0x1000, 0x20000, unix.IN_ALL_EVENTS, add, create | add | 1, unix.IN_UNMOUNT, 1 << 27, 1 << 23, ^uint32(0)} {
			for _, p := range []any{"f", "d", "link", "dirlink", "dangling", "closed/x", "closed", "new", "", bad{}, nil} {
				wd := k.call("inotify_add_watch", fd(in), p, mask)
				k.call("inotify_add_watch", fd(in), p, mask|unix.IN_DONT_FOLLOW)
				k.call("inotify_add_watch", fd(in), p, mask|unix.IN_ONLYDIR)
				k.call("inotify_add_watch", fd(in), p, mask|create)
				k.call("inotify_add_watch", 99, p, mask)
				if wd > 0 {
					k.call("inotify_rm_watch", fd(in), wd)
					k.call("inotify_rm_watch", fd(in), wd)
				}
				k.events(in, "removed")
			}
		}
		k.call("inotify_rm_watch", fd(in), -1)
		k.call("inotify_rm_watch", 99, 1)
		f := k.open("openat", at, "f", unix.O_RDONLY, 0)
		k.call("inotify_add_watch", fd(f), "f", 1)
		k.call("inotify_add_watch", fd(f), "f", create|add|1)
		k.call("inotify_rm_watch", fd(f), 1)

		k.call("inotify_add_watch", fd(in), "d", unix.IN_CREATE)
		k.call("inotify_add_watch", fd(in), "d", unix.IN_DELETE|add)
		k.do1(in, "mkdir", "d/x", 0o755)
		k.do1(in, "rmdir", "d/x")
		k.call("inotify_add_watch", fd(in), "d", unix.IN_DELETE)
		k.do1(in, "mkdir", "d/x", 0o755)
		k.do1(in, "rmdir", "d/x")
		k.call("inotify_add_watch", fd(in), "d", unix.IN_CREATE|unix.IN_ONESHOT)
		k.do1(in, "mkdir", "d/x", 0o755)
		k.do1(in, "rmdir", "d/x")
		k.do1(in, "mkdir", "d/x", 0o755)
		for _, p := range []any{"d", "f"} {
			k.call("inotify_add_watch", fd(in), p, unix.IN_ATTRIB|unix.IN_ONESHOT)
		}
		k.do1(in, "chmod", "d", 0o755)
		k.do1(in, "chmod", "f", 0o640)
	})
}

func TestInotifyRead(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		in := k.open("inotify_init1", unix.IN_NONBLOCK)
		k.call("inotify_add_watch", fd(in), "d", unix.IN_CREATE|unix.IN_ATTRIB)
		k.call("read", fd(in), out(4), 4)
		k.call("ioctl", fd(in), 0x541b, out(4))
		for _, n := range []int{1, 15, 16, 17, 31, 32, 255} {
			k.call("mknod", "d/"+strings.Repeat("x", n), 0o666, 0)
			k.call("ioctl", fd(in), 0x541b, out(4))
			k.note("FIONREAD %d", binary.LittleEndian.Uint32(k.buf))
		}
		for range 5 { // which come together
			k.call("chmod", "d", 0o755)
			k.call("chmod", "d/x", 0o644)
			k.call("chmod", "d/x", 0o644)
		}
		k.call("ioctl", fd(in), 0x541b, bad{})
		k.call("ioctl", fd(in), 0x5401, out(64))
		k.call("lseek", fd(in), 10, unix.SEEK_SET)
		k.call("write", fd(in), "x", 1)
		k.call("pread64", fd(in), out(100), 100, 0)
		k.call("fchmod", fd(in), 0o600)
		k.call("getdents64", fd(in), out(100), 100)
		for _, size := range []int{0, 15, 16, 31, 32, 33, 64, 100, 200, 300} {
			k.call("read", fd(in), out(300), size)
		}
		k.events(in, "rest")
		k.call("poll", []byte{byte(in), byte(in >> 8), 0, 0, 0xff, 0, 0, 0}, 1, 0)
		k.call("chmod", "d", 0o755)
		k.call("poll", []byte{byte(in), byte(in >> 8), 0, 0, 0xff, 0, 0, 0}, 1, 0)
		k.stat("fstat", fd(in), out(statSize))
	})
}

func TestInotifyOverflow(t *testing.T) {
	twins(t, self, func(k *twin) {
		k.tree()
		in := k.open("inotify_init1", unix.IN_NONBLOCK)
		k.call("inotify_add_watch", fd(in), ".", unix.IN_ATTRIB)
		k.call("inotify_add_watch", fd(in), "d", unix.IN_ATTRIB)
		for range 10000 { // twice as many events, no two alike in a row
			k.quiet("chmod", "d", 0o755)
		}
		k.quiet("ioctl", fd(in), 0x541b, out(4))
		k.note("FIONREAD %d", binary.LittleEndian.Uint32(k.buf))
		total, last := 0, ""
		for {
			n := k.quiet("read", fd(in), out(65536), 65536)
			if n <= 0 {
				break
			}
			total += n
			last = fmt.Sprintf("%x", k.buf[n-16:n])
		}
		k.note("%d bytes, the last %s", total, last)
		k.do1(in, "chmod", "d", 0o755)
	})
}

// A read without O_NONBLOCK sleeps until something happens, and poll tells.
func TestInotifyBlocks(t *testing.T) {
	g := NewGuest(t)
	in := g.Must("inotify_init")
	g.Must("mkdir", "/d", 0o755)
	g.Must("inotify_add_watch", in, "/d", unix.IN_CREATE)
	other := g.Thread()
	buf := make([]byte, 64)
	read := g.Start("read", in, buf, len(buf))
	if read.Done() {
		t.Fatal("read gave something before anything happened")
	}
	other.Must("mkdir", "/d/x", 0o755)
	if n, errno := read.Wait(); n != 32 || errno != 0 {
		t.Errorf("read = %d, %v", n, errno)
	}
	// A process that ends lets go of the directory it was in.
	g.Must("mkdir", "/d/cwd", 0o755)
	g.Must("read", in, buf, len(buf))
	child := g.Fork()
	child.Must("close", in)
	child.Must("chdir", "/d/cwd")
	g.Must("inotify_add_watch", in, "/d/cwd", unix.IN_DELETE_SELF)
	g.Must("rmdir", "/d/cwd")
	g.Must("fcntl", in, unix.F_SETFL, unix.O_NONBLOCK)
	if _, errno := g.Call("read", in, buf, len(buf)); errno != unix.EAGAIN {
		t.Errorf("the directory went while a process was in it: %v", errno)
	}
	child.Exit(0)
	if n, errno := g.Call("read", in, buf, len(buf)); n != 32 || errno != 0 { // and IN_IGNORED
		t.Errorf("read = %d, %v", n, errno)
	}
}

// What a guest can make the host keep is bounded.
func TestInotifyBounds(t *testing.T) {
	g := NewGuest(t)
	n := 0
	for {
		_, errno := g.Call("inotify_init1", 0)
		if errno != 0 {
			if errno != unix.EMFILE {
				t.Error(errno)
			}
			break
		}
		n++
	}
	if n != 128 {
		t.Errorf("%d instances", n)
	}
	for fd := range n {
		g.Must("close", fd)
	}
	if _, errno := g.Call("inotify_init1", 0); errno != 0 {
		t.Error("closed instances still count:", errno)
	}
	in, other := g.Must("inotify_init"), g.Must("inotify_init")
	name := []byte("/d00000\x00")
	for i := range 65536 {
		copy(name[2:], fmt.Sprintf("%05d", i))
		g.Must("mknod", name, 0o600, 0)
		g.Must("inotify_add_watch", []uint64{in, other}[i%2], name, unix.IN_ATTRIB)
	}
	if _, errno := g.Call("inotify_add_watch", in, "/", unix.IN_ATTRIB); errno != unix.ENOSPC {
		t.Error("one watch too many:", errno)
	}
	g.Must("close", other)
	g.Must("inotify_add_watch", in, "/", unix.IN_ATTRIB)
}
