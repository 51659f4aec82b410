//go:build linux && amd64

package emulate_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestChmod(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			if p == "/" || p == ".." {
				continue
			}
			for _, mode := range []int{0o7777, 0o700, 0o100755, -1, 0o2755} {
				k.call("chmod", p, mode)
				k.stat("lstat", p, out(statSize))
			}
			for _, flags := range []int{0, unix.AT_SYMLINK_NOFOLLOW, unix.AT_EMPTY_PATH, 1, -1} {
				k.call("fchmodat2", at, p, 0o755, flags)
			}
			k.call("fchmodat", at, p, 0o751)
			k.stat("stat", p, out(statSize))
		}
		k.call("fchmod", 99, 0o700)
		k.call("fchmodat", 99, "f", 0o700)
	})
}

// What an ordinary user may do with files of others, and of groups he is not in.
func TestChangeForeign(t *testing.T) {
	if self.uid != 0 {
		t.Skip("only root can make files of two users")
	}
	twins(t, self, func(k *twin) {
		k.quiet("umask", 0)
		owners := [][2]int{{0, 0}, {7, 65534}, {65534, 7}, {65534, 65534}, {65534, 8}}
		modes := []int{0o666, 0o444, 0o6777, 0o6767, 0o2644}
		name := func(i, mode int) string { return fmt.Sprintf("f%d%o", i, mode) }
		for i, o := range owners {
			for _, mode := range modes {
				n := name(i, mode)
				k.quiet("mknod", n, 0o666, 0)
				k.quiet("chown", n, o[0], o[1])
				k.quiet("chmod", n, mode)
			}
		}
		k.quiet("setgroups", 1, []byte{8, 0, 0, 0})
		k.quiet("setresgid", 65534, 65534, 65534)
		k.quiet("setresuid", 65534, 65534, 65534)
		for i := range owners {
			for _, mode := range modes {
				n := name(i, mode)
				k.call("utimensat", at, n, nil, 0)
				k.call("utimensat", at, n, []uint64{0, unix.UTIME_NOW, 0, unix.UTIME_NOW}, 0)
				k.call("utimensat", at, n, []uint64{0, unix.UTIME_NOW, 0, unix.UTIME_OMIT}, 0)
				k.call("utimensat", at, n, []uint64{1, 2, 3, 4}, 0)
				k.call("setxattr", n, "user.x", "v", 1, 0)
				k.call("getxattr", n, "user.x", out(9), 9)
				for _, ug := range [][2]int{{-1, -1}, {65534, -1}, {-1, 65534}, {-1, 8}, {-1, 7}, {0, 0}, {65534, 65534}, {7, -1}} {
					k.call("chown", n, ug[0], ug[1])
					k.stat("stat", n, out(statSize))
					k.call("chmod", n, mode)
					k.stat("stat", n, out(statSize))
				}
			}
		}
	})
}

func TestChown(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			if p == "/" || p == ".." {
				continue
			}
			for _, call := range []string{"chown", "lchown"} {
				for _, mode := range []int{0o6755, 0o6745, 0o4644} {
					k.call("chmod", p, mode)
					for _, ug := range [][2]int{{-1, -1}, {5, -1}, {-1, 6}, {7, 8}, {0, 0}, {1 << 31, 1<<32 - 2}} {
						k.call(call, p, ug[0], ug[1])
						k.stat("lstat", p, out(statSize))
					}
				}
			}
			for _, flags := range []int{0, unix.AT_SYMLINK_NOFOLLOW, unix.AT_EMPTY_PATH, 1, -1} {
				k.call("fchownat", at, p, -1, -1, flags)
			}
		}
		k.call("fchown", 99, -1, -1)
		k.call("fchownat", 99, "f", -1, -1, 0)
	})
}

// times logs a file's times where they lie far from now, "now" or nothing else.
func (k *twin) times(path string) {
	if r := k.quiet("lstat", path, out(statSize)); r < 0 {
		k.note("times %s: %s", path, unix.ErrnoName(unix.Errno(-r)))
		return
	}
	s := *(*unix.Stat_t)(unsafe.Pointer(unsafe.SliceData(k.buf)))
	show := func(ts unix.Timespec) string {
		if ts.Sec > 1_600_000_000 && ts.Sec < 5_000_000_000 {
			return "now"
		}
		return fmt.Sprintf("%d.%09d", ts.Sec, ts.Nsec)
	}
	k.note("times %s: %s %s %s", path, show(s.Atim), show(s.Mtim), show(s.Ctim))
}

func TestUtime(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		const now, omit = unix.UTIME_NOW, unix.UTIME_OMIT
		minus := ^uint64(0)
		for _, p := range paths {
			s, ok := p.(string)
			if p == "/" || p == ".." {
				continue
			}
			for _, v := range []any{[]uint64{1, 2, 3, 4}, []uint64{5, now, 6, 7}, []uint64{8, 9, 10, omit}, []uint64{1, omit, 2, omit},
				[]uint64{1, now, 2, now}, []uint64{1, 1e9, 2, 2}, []uint64{1, minus, 2, 2}, []uint64{1, 2, 3, 1e9}, nil, bad{}, edge(31)} {
				k.call("utimensat", at, p, v, 0)
				k.call("utimensat", at, p, v, unix.AT_SYMLINK_NOFOLLOW)
				if ok && s != "" {
					k.times(s)
				}
			}
			for _, v := range []any{[]uint64{11, 12, 13, 14}, []uint64{11, 1e6, 13, 14}, []uint64{11, 12, 13, minus}, []uint64{1, now, 2, omit}, nil, bad{}} {
				k.call("utimes", p, v)
				k.call("futimesat", at, p, v)
				k.call("utime", p, v)
				if ok && s != "" {
					k.times(s)
				}
			}
			k.call("utimensat", at, p, nil, unix.AT_EMPTY_PATH)
			k.call("utimensat", at, p, nil, 1)
		}
		k.call("utimensat", 99, nil, nil, 0)
		k.call("utimensat", 99, nil, nil, unix.AT_SYMLINK_NOFOLLOW)
		k.call("utimensat", 99, "f", nil, 0)
		k.call("utimensat", 99, "f", []uint64{0, omit, 0, omit}, -1)
		k.call("futimesat", 99, nil, nil)
		k.call("utimensat", at, "f", []uint64{minus, 0, 1 << 40, 0}, 0)
	})
}

func TestXattr(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		names := []any{"user.a", "user.", "user", "trusted.a", "trusted.", "security.a", "security.", "system.x", "other.a", "", "user." + strings.Repeat("n", 250),
			"user." + strings.Repeat("n", 251), strings.Repeat("n", 300), bad{}, nil, edge(1)}
		for _, p := range []any{"f", "d", "fifo", "sock", "link", "dangling", "loop", "new", "closed/x", "unwritable", "g", "", bad{}, nil} {
			for _, n := range names {
				for _, l := range []string{"", "l"} {
					k.call(l+"getxattr", p, n, out(100), 100)
					k.call(l+"setxattr", p, n, "value", 5, unix.XATTR_REPLACE)
					k.call(l+"setxattr", p, n, "value", 5, unix.XATTR_CREATE)
					k.call(l+"setxattr", p, n, "value", 5, unix.XATTR_CREATE)
					k.call(l+"setxattr", p, n, "other", 4, unix.XATTR_REPLACE)
					k.call(l+"setxattr", p, n, "other", 4, 4)
					if k.call(l+"getxattr", p, n, out(100), 100) > 0 {
						k.note("%q", k.buf[:5])
					}
					if r := k.call(l+"listxattr", p, out(1000), 1000); r > 0 {
						k.note("%q", k.buf[:r])
					}
					k.call(l+"removexattr", p, n)
					k.call(l+"removexattr", p, n)
				}
			}
		}
	})
}

func TestXattrSizes(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		big := make([]byte, 70000)
		for _, size := range []int{0, 1, 4096, 60000, 65537, -1, 1 << 40} {
			k.call("setxattr", "f", "user.a", big, size, 0)
			k.call("setxattr", "f", "user.b", edge(3), size, 0)
			k.call("setxattr", "f", "user.c", nil, size, 0)
			for _, room := range []int{0, 1, 4095, 4096, 65536, 1 << 20, -1} {
				k.call("getxattr", "f", "user.a", out(70000), room)
				k.call("getxattr", "f", "user.a", nil, room)
				k.call("listxattr", "f", out(70000), room)
				k.call("listxattr", "f", edge(1), room)
			}
		}
		for _, args := range []any{[]uint64{0, 0}, []uint64{0, 4 << 32}, []uint64{0, 1 << 32}, []uint64{0, 1, 0}, []uint64{0, 1, 5}, nil, bad{}} {
			for _, size := range []int{0, 15, 16, 17, 24, 4096, 4097} {
				k.call("setxattrat", at, "f", 0, "user.at", args, size)
				k.call("getxattrat", at, "f", 0, "user.at", args, size)
			}
		}
		k.call("setxattrat", at, "f", 1, "user.at", []uint64{0, 0}, 16)
		k.call("getxattrat", at, "f", 1, "user.at", []uint64{0, 0}, 16)
		k.call("getxattrat", 99, "f", 0, "user.at", []uint64{0, 0}, 16)
		k.call("getxattrat", 99, nil, unix.AT_EMPTY_PATH, "user.at", []uint64{0, 0}, 16)
		k.call("listxattrat", at, "f", 1, out(9), 9)
		k.call("listxattrat", at, "link", unix.AT_SYMLINK_NOFOLLOW, out(900), 900)
		k.call("listxattrat", at, "", unix.AT_EMPTY_PATH, out(900), 900)
		k.call("listxattrat", at, nil, unix.AT_EMPTY_PATH, out(900), 900)
		k.call("removexattrat", at, "f", 1, "user.at")
		k.call("removexattrat", at, "f", 0, "user.at")
		k.call("removexattrat", at, "f", 0, "user.at")
		k.call("fgetxattr", 99, "user.a", out(9), 9)
		k.call("fsetxattr", 99, "user.a", "v", 1, 0)
		k.call("flistxattr", 99, out(9), 9)
		k.call("fremovexattr", 99, "user.a")
	})
}

func TestStatxFields(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		k.quiet("utimensat", at, "f", []uint64{1, 2, 3, 4}, 0)
		for _, p := range []string{"f", "d", "fifo", "dangling", "unwritable/x"} {
			for _, mask := range []uint32{0, unix.STATX_BASIC_STATS, unix.STATX_ALL, 0x1000, 0x4000, 1 << 31, 1 << 30, ^uint32(0) >> 1} {
				if k.call("statx", at, p, unix.AT_SYMLINK_NOFOLLOW, mask, out(256)) != 0 {
					continue
				}
				x := *(*unix.Statx_t)(unsafe.Pointer(unsafe.SliceData(k.buf)))
				x.Dev_major, x.Dev_minor, x.Ino, x.Mnt_id, x.Attributes_mask = 0, 0, 0, 0, 0
				if mask&unix.STATX_BTIME == 0 {
					x.Mask, x.Btime = x.Mask&^unix.STATX_BTIME, unix.StatxTimestamp{} // Told or not, as the file system likes.
				}
				if mask&(unix.STATX_CTIME|unix.STATX_MTIME) == 0 {
					x.Mask &^= unix.STATX_CTIME | unix.STATX_MTIME
					x.Ctime, x.Mtime = unix.StatxTimestamp{}, unix.StatxTimestamp{}
				}
				for _, ts := range []*unix.StatxTimestamp{&x.Atime, &x.Btime, &x.Ctime, &x.Mtime} {
					if ts.Sec > 100 {
						*ts = unix.StatxTimestamp{Sec: -1}
					}
				}
				if x.Mode&unix.S_IFMT == unix.S_IFDIR {
					x.Size, x.Blocks = 0, 0
				}
				k.note("%s %#x: %+v", p, mask, x)
			}
		}
	})
}

func TestStatfsFields(t *testing.T) {
	twins(t, self, func(k *twin) {
		k.call("statfs", ".", out(120))
		s := *(*unix.Statfs_t)(unsafe.Pointer(unsafe.SliceData(k.buf)))
		k.note("type %#x bsize %d frsize %d namelen %d readonly %v", s.Type, s.Bsize, s.Frsize, s.Namelen, s.Flags&unix.ST_RDONLY != 0)
		k.note("blocks %v", s.Blocks >= s.Bfree && s.Bfree >= s.Bavail)
	})
}
