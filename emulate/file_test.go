//go:build linux

package emulate_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

const cwd = unix.AT_FDCWD

func TestOpenTwin(t *testing.T) {
	names := []string{"/f", "/d", "/l", "/dangling", "/ldir", "/loop", "/none", "/f/", "/d/", "/l/", "/none/", "/d/none", "/none/x",
		"/f/x", "/.", "/d/..", "/", "", "/d/none/", "/dangling/", "/ldir/"}
	flags := []int{
		unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, 3,
		unix.O_CREAT, unix.O_CREAT | unix.O_RDWR, unix.O_CREAT | unix.O_EXCL | unix.O_RDWR,
		unix.O_TRUNC, unix.O_TRUNC | unix.O_WRONLY, unix.O_CREAT | unix.O_TRUNC | unix.O_WRONLY,
		unix.O_DIRECTORY, unix.O_DIRECTORY | unix.O_RDWR, unix.O_NOFOLLOW, unix.O_NOFOLLOW | unix.O_DIRECTORY,
		unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW, unix.O_PATH | unix.O_DIRECTORY, unix.O_PATH | unix.O_RDWR | unix.O_CREAT,
		unix.O_CREAT | unix.O_DIRECTORY, unix.O_CREAT | unix.O_NOFOLLOW, unix.O_EXCL,
		unix.O_TMPFILE, unix.O_TMPFILE | unix.O_RDWR, unix.O_TMPFILE | unix.O_RDWR | unix.O_EXCL, 0x400000 | unix.O_RDWR,
		unix.O_APPEND | unix.O_NONBLOCK | unix.O_RDWR | unix.O_SYNC, unix.O_DSYNC | unix.O_NOATIME,
		0x40000000 | unix.O_RDWR, unix.O_CLOEXEC, unix.O_NOCTTY, unix.O_ASYNC,
	}
	Twin(t, func(s *Script) {
		for _, f := range flags {
			for _, name := range names {
				tree(s)
				fd, errno := s.Call("openat", cwd, name, f, 0o640)
				if errno == 0 {
					s.Call("fcntl", FD(fd), unix.F_GETFL)
					s.Call("fcntl", FD(fd), unix.F_GETFD)
					s.Call("fcntl", FD(fd), 1024+4)
					s.Call("read", FD(fd), make([]byte, 8), 8)
					s.Call("write", FD(fd), []byte("abc"), 3)
					s.Call("lseek", FD(fd), 0, unix.SEEK_CUR)
					s.Call("close", FD(fd))
				}
				for _, clean := range []string{"/none", "/d/none"} {
					_, errno := s.Quiet("unlinkat", cwd, clean, 0)
					s.Logf("%s made: %v", clean, errno == 0)
				}
			}
		}
	})
}

// tree makes what TestOpenTwin opens.
func tree(s *Script) {
	for _, f := range []string{"/f"} {
		fd, _ := s.Quiet("openat", cwd, f, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o644)
		s.Quiet("write", fd, []byte("content"), 7)
		s.Quiet("close", fd)
	}
	s.Quiet("mkdirat", cwd, "/d", 0o755)
	s.Quiet("symlinkat", "f", cwd, "/l")
	s.Quiet("symlinkat", "none", cwd, "/dangling")
	s.Quiet("symlinkat", "d", cwd, "/ldir")
	s.Quiet("symlinkat", "loop", cwd, "/loop")
}

func TestOpenat2Twin(t *testing.T) {
	type how struct{ Flags, Mode, Resolve uint64 }
	Twin(t, func(s *Script) {
		tree(s)
		dir := s.Open("openat", cwd, "/d", unix.O_PATH)
		hows := []how{{}, {unix.O_RDWR, 0, 0}, {unix.O_RDWR, 0o600, 0}, {unix.O_CREAT, 0o10000, 0}, {unix.O_CREAT, 0o644, 0},
			{1 << 40, 0, 0}, {0x40000000, 0, 0}, {0, 0, 0x40}, {0, 0, unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT},
			{unix.O_PATH | unix.O_RDWR, 0, 0}, {unix.O_PATH, 0, 0}, {unix.O_CREAT | unix.O_DIRECTORY, 0o600, 0},
			{unix.O_CREAT, 0o600, 0x20}, {0, 0, unix.RESOLVE_NO_SYMLINKS}, {unix.O_PATH | unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS},
			{unix.O_TMPFILE | unix.O_RDWR, 0o600, 0}, {unix.O_TMPFILE, 0o600, 0}}
		for _, h := range hows {
			for _, name := range []string{"/f", "/l", "/new", "/d"} {
				s.Logf("%+v", h)
				fd, errno := s.Call("openat2", cwd, name, &h, 24)
				if errno == 0 {
					s.Call("fcntl", FD(fd), unix.F_GETFL)
					s.Call("close", FD(fd))
				}
				s.Quiet("unlinkat", cwd, "/new", 0)
			}
		}
		for _, r := range []uint64{unix.RESOLVE_BENEATH, unix.RESOLVE_IN_ROOT} {
			for _, name := range []string{"../f", "..", "x", "."} {
				h := how{unix.O_PATH, 0, r}
				s.Call("openat2", dir, name, &h, 24)
			}
		}
		h := how{}
		s.Call("openat2", cwd, "/f", &h, 23)
		s.Call("openat2", cwd, "/f", &h, 4097)
		s.Call("openat2", cwd, "/f", Bad, 24)
		s.Call("openat2", cwd, Bad, &h, 24)
		s.Call("openat2", cwd, "/f", make([]byte, 40), 40)
		s.Call("openat2", cwd, "/f", append(make([]byte, 39), 1), 40)
		s.Call("openat2", cwd, "", &h, 24)
		s.Call("creat", "/new", 0o666)
		s.Call("open", "/new", unix.O_RDONLY, 0)
		s.Call("openat", dir, "f", 0, 0)
		s.Call("openat", -1, "f", 0, 0)
		s.Call("openat", -1, "/f", 0, 0)
		file := s.Open("openat", cwd, "/f", 0, 0)
		s.Call("openat", file, "x", 0, 0)
	})
}

func TestPermissionTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		tree(s)
		for mode := range 8 {
			s.Quiet("fchmodat", cwd, "/f", mode<<6)
			for _, f := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, 3, unix.O_TRUNC, unix.O_PATH} {
				s.Call("openat", cwd, "/f", f, 0)
			}
			s.Call("truncate", "/f", 3)
		}
		s.Quiet("fchmodat", cwd, "/d", 0o500)
		s.Call("openat", cwd, "/d/new", unix.O_CREAT|unix.O_RDWR, 0)
		s.Quiet("fchmodat", cwd, "/d", 0o300)
		fd := s.Open("openat", cwd, "/d/new", unix.O_CREAT|unix.O_RDWR|unix.O_EXCL, 0)
		s.Call("write", fd, []byte("x"), 1)
		s.Call("openat", cwd, "/d", unix.O_RDONLY, 0)
		s.Quiet("fchmodat", cwd, "/d", 0o700)
	})
}

func TestReadWriteTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		dir := s.Open("openat", cwd, "/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		wo := s.Open("openat", cwd, "/f", unix.O_WRONLY, 0)
		app := s.Open("openat", cwd, "/f", unix.O_RDWR|unix.O_APPEND, 0)
		none := s.Open("openat", cwd, "/f", 3, 0)
		s.Call("write", fd, []byte("hello world"), 11)
		all := []any{fd, dir, path, ro, wo, app, none, -1, 1 << 31}
		for _, f := range all {
			for _, n := range []any{0, 1, 5, 4096, uint64(1) << 47, uint64(1) << 62, uint64(1) << 63, ^uint64(0)} {
				s.Call("pread64", f, Bad, n, 0)
				s.Call("pwrite64", f, Bad, n, 5)
				s.Call("pread64", f, uint64(1)<<63, n, 0)
				s.Call("read", f, Bad, n)
				s.Call("write", f, uint64(1)<<63, n)
			}
			s.Call("pread64", f, make([]byte, 5), 5, -1)
			s.Call("pread64", f, make([]byte, 5), 5, 3)
			s.Call("pread64", f, make([]byte, 5), 5, int64(1)<<62)
			s.Call("pwrite64", f, []byte("XY"), 2, 1)
			s.Call("pwrite64", f, []byte("XY"), 2, -1)
			s.Call("write", f, []byte("123"), 3)
			s.Call("lseek", f, 0, unix.SEEK_CUR)
			s.Call("lseek", f, 2, unix.SEEK_SET)
			s.Call("read", f, Edge("wxyz"), 100)
			s.Call("lseek", f, 0, unix.SEEK_CUR)
			s.Call("write", f, Edge("abc"), 100)
			s.Call("write", f, []byte{}, 0)
			s.Call("read", f, []byte{}, 0)
			s.Call("ftruncate", f, 9)
			s.Call("pread64", f, make([]byte, 64), 64, 0)
		}
		s.Call("ftruncate", fd, -1)
		s.Call("ftruncate", fd, 5000)
		s.Call("pread64", fd, make([]byte, 64), 64, 4990)
	})
}

func TestVectorTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		s.Call("writev", fd, Iov{[]byte("one"), {}, []byte("two"), []byte("three")}, 4)
		s.Call("pwritev", fd, Iov{[]byte("ONE"), []byte("TWO")}, 2, 1)
		s.Call("lseek", fd, 0, 0)
		bufs := func() Iov {
			return Iov{make([]byte, 2), make([]byte, 0), make([]byte, 4), make([]byte, 9)}
		}
		s.Call("readv", fd, bufs(), 4)
		s.Call("readv", fd, bufs(), 3)
		s.Call("preadv", fd, bufs(), 4, 3)
		s.Call("preadv", fd, bufs(), 4, -1)
		s.Call("preadv", fd, bufs(), 4, -2)
		for _, n := range []any{0, 1024, 1025, -1, uint64(1) << 32} {
			s.Call("readv", fd, Bad, n)
			s.Call("writev", fd, Bad, n)
			s.Call("preadv", fd, Bad, n, 0)
			s.Call("readv", -1, Bad, n)
		}
		for _, f := range []int{0, 1, 2, 4, 8, 0x10, 0x20, 0x30, 0x100, 0x200, 1 << 30} {
			s.Call("preadv2", fd, bufs(), 4, 0, 0, f)
			s.Logf("flags %#x", f)
			s.Call("pwritev2", fd, Iov{[]byte("zz")}, 1, 2, 0, f)
			s.Call("lseek", fd, 0, unix.SEEK_CUR)
			s.Call("pwritev2", fd, Iov{[]byte("yy")}, 1, -1, -1, f)
			s.Call("lseek", fd, 0, unix.SEEK_CUR)
			s.Call("preadv2", fd, bufs(), 4, -1, -1, f)
		}
		s.Call("preadv2", fd, bufs(), 4, -2, 0, 0)
		app := s.Open("openat", cwd, "/f", unix.O_RDWR|unix.O_APPEND, 0)
		s.Call("pwritev2", app, Iov{[]byte("end")}, 1, 1, 0, 0)
		s.Call("pwritev2", app, Iov{[]byte("mid")}, 1, 1, 0, 0x20)
		s.Call("fcntl", app, unix.F_GETFL)
		s.Call("pread64", fd, make([]byte, 100), 100, 0)
		// Structures with hostile addresses and lengths: base, length.
		type iov struct{ Base, Len uint64 }
		for _, v := range [][2]iov{
			{{0x1000, 1}, {0x1000, 1}}, {{0x1000, 1 << 63}, {0x1000, 1}}, {{0x1000, 0}, {0x1000, ^uint64(0)}},
			{{1 << 63, 1}, {0, 0}}, {{0x1000, 0x7fffffff}, {0x1000, 1 << 40}}, {{0, 0}, {0, 0}}, {{1 << 47, 4096}, {0, 0}},
			{{1 << 62, 0}, {0, 0}}, {{0, 0}, {1 << 62, 0}}, {{^uint64(0), 0}, {1, 0}}, {{0x1000, 1 << 50}, {1 << 63, 1 << 63}},
		} {
			for n := 1; n <= 2; n++ {
				s.Logf("%x", v)
				s.Call("readv", fd, &v, n)
				s.Call("pwritev", fd, &v, n, 0)
			}
		}
	})
}

func TestSeekTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		s.Call("pwrite64", fd, []byte("x"), 1, 100000)
		var p [2]int32
		s.Call("pipe2", &p, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		for _, f := range []any{fd, FD(p[0]), path, -1} {
			for whence := -1; whence < 6; whence++ {
				for _, off := range []int64{0, 1, 99999, 100001, 100002, -1, -100001, -100002, 1<<63 - 1, -1 << 63, 1 << 40} {
					if whence == 0 && off > 1<<40 {
						continue // ext4's files end earlier
					}
					s.Call("lseek", f, off, whence)
				}
			}
		}
	})
}

func TestTruncateTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		tree(s)
		s.Quiet("mknodat", cwd, "/fifo", unix.S_IFIFO|0o600, 0)
		for _, name := range []string{"/f", "/d", "/l", "/none", "/fifo", "", "/loop", "/f/"} {
			for _, n := range []int64{0, 5, -1, 100, 1 << 62} {
				s.Call("truncate", name, n)
			}
		}
		s.Call("truncate", Bad, 0)
		fd := s.Open("openat", cwd, "/f", unix.O_RDWR, 0)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		dir := s.Open("openat", cwd, "/d", unix.O_RDONLY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		var p [2]int32
		s.Call("pipe2", &p, 0)
		for _, f := range []any{ro, dir, path, FD(p[1]), -1, fd} {
			s.Call("ftruncate", f, 10)
			for _, mode := range []int{0, 1, 2, 3, 8, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80, 0x81, 0x100, 9, 0x21} {
				if mode == 0x80 || mode == 0x40 {
					continue // differs by file system
				}
				s.Call("fallocate", f, mode, 0, 0)
				s.Call("fallocate", f, mode, -1, 10)
				s.Call("fallocate", f, mode, int64(1)<<62, int64(1)<<62)
			}
			s.Call("fallocate", f, 0, 0, 100)
			s.Call("fallocate", f, 1, 0, 200)
			for _, call := range []string{"fsync", "fdatasync", "syncfs"} {
				s.Call(call, f)
			}
			s.Call("sync_file_range", f, 0, 0, 7)
			s.Call("sync_file_range", f, 0, 0, 8)
			s.Call("sync_file_range", f, -1, 0, 0)
			s.Call("readahead", f, 0, 10)
			for _, a := range []int{-1, 0, 5, 6} {
				s.Call("fadvise64", f, 0, 0, a)
			}
			s.Call("fadvise64", f, 0, -1, 0)
		}
		s.Call("pread64", fd, make([]byte, 64), 64, 0)
	})
}

func TestCopyTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		tree(s)
		a := s.Open("openat", cwd, "/f", unix.O_RDWR, 0)
		b := s.Open("openat", cwd, "/g", unix.O_RDWR|unix.O_CREAT, 0o600)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		wo := s.Open("openat", cwd, "/g", unix.O_WRONLY, 0)
		app := s.Open("openat", cwd, "/g", unix.O_WRONLY|unix.O_APPEND, 0)
		dir := s.Open("openat", cwd, "/d", unix.O_RDONLY, 0)
		var p [2]int32
		s.Call("pipe2", &p, unix.O_NONBLOCK)
		off := func(n int64) *int64 { return &n }
		files := []any{a, b, ro, wo, app, dir, FD(p[0]), FD(p[1]), -1}
		for _, in := range files {
			for _, out := range files {
				at := off(2)
				s.Call("sendfile", out, in, at, 3)
				s.Logf("at %d", *at)
				s.Call("sendfile", out, in, off(-1), 3)
				s.Call("sendfile", out, in, Bad, 3)
				x, y := off(1), off(4)
				s.Call("copy_file_range", in, x, out, y, 3, 0)
				s.Logf("at %d %d", *x, *y)
				s.Call("copy_file_range", in, off(100), out, off(0), 3, 0)
				s.Call("copy_file_range", in, off(0), out, off(0), uint64(1)<<63, 0)
				s.Call("copy_file_range", in, off(1), out, off(1<<62), uint64(1)<<62, 0)
				s.Call("copy_file_range", in, off(-1), out, off(1), 1, 0)
				s.Call("copy_file_range", in, off(0), out, off(0), 1, 1)
				s.Call("copy_file_range", in, Bad, out, off(0), 1, 0)
			}
		}
		s.Call("lseek", a, 0, 0)
		s.Call("lseek", b, 0, 0)
		s.Call("sendfile", b, a, nil, 100)
		s.Call("lseek", a, 0, unix.SEEK_CUR)
		s.Call("lseek", b, 0, unix.SEEK_CUR)
		s.Call("lseek", a, 0, 0)
		s.Call("copy_file_range", a, nil, b, nil, 100, 0)
		s.Call("copy_file_range", a, off(0), a, off(3), 4, 0)
		s.Call("copy_file_range", a, off(0), a, off(100), 4, 0)
		s.Call("pread64", a, make([]byte, 200), 200, 0)
		s.Call("pread64", b, make([]byte, 200), 200, 0)
	})
}

func TestDupTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		other := s.Open("openat", cwd, "/f", unix.O_RDWR, 0o644)
		d := s.Open("dup", fd)
		s.Call("fcntl", d, unix.F_GETFD)
		s.Call("fcntl", fd, unix.F_GETFD)
		s.Call("fcntl", fd, 1024+3, d)
		s.Call("fcntl", fd, 1024+3, other)
		s.Call("fcntl", fd, 1024+3, -1)
		s.Call("dup2", fd, fd)
		s.Call("dup2", -1, -1)
		s.Call("dup2", fd, -1)
		s.Call("dup2", fd, 1<<30)
		s.Call("dup2", 987, fd)
		s.Call("dup3", fd, fd, 0)
		s.Call("dup3", fd, 600, 1)
		s.Call("dup3", fd, 600, unix.O_CLOEXEC)
		s.Call("fcntl", 600, unix.F_GETFD)
		s.Call("dup3", -1, 601, unix.O_CLOEXEC)
		s.Call("dup2", fd, 600)
		s.Call("fcntl", 600, unix.F_GETFD)
		n, _ := s.Quiet("fcntl", fd, unix.F_DUPFD, 700)
		s.Logf("%d", n)
		n, _ = s.Quiet("fcntl", fd, unix.F_DUPFD_CLOEXEC, 700)
		s.Logf("%d", n)
		s.Call("fcntl", 701, unix.F_GETFD)
		s.Call("fcntl", fd, unix.F_DUPFD, -1)
		s.Call("fcntl", fd, unix.F_DUPFD, 1<<30)
		s.Call("write", 700, []byte("abc"), 3)
		s.Call("lseek", d, 0, unix.SEEK_CUR)
		s.Call("close_range", 600, 599, 0)
		s.Call("close_range", 600, 700, 8)
		s.Call("close_range", 699, 700, 4)
		s.Call("fcntl", 700, unix.F_GETFD)
		s.Call("close_range", 600, 700, 0)
		s.Call("fcntl", 600, unix.F_GETFD)
		s.Call("fcntl", 701, unix.F_GETFD)
		s.Call("close", 701)
		s.Call("close", -1)
	})
}

func TestFcntlTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		mem := s.Open("eventfd2", 0, 0)
		for _, f := range []any{fd, ro, path, mem, -1} {
			for cmd := -1; cmd < 45; cmd++ {
				switch cmd {
				case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
					s.Call("fcntl", f, cmd, Bad)
				case unix.F_SETOWN, unix.F_SETSIG:
					s.Call("fcntl", f, cmd, 0)
					s.Call("fcntl", f, cmd, 4000000)
					s.Call("fcntl", f, cmd, -1<<31)
				case unix.F_SETOWN_EX:
					for _, ex := range [][2]int32{{0, 0}, {3, 0}, {1, 4000000}, {2, -1}, {-1, 1}} {
						s.Logf("%d", ex)
						s.Call("fcntl", f, cmd, &ex)
					}
				case unix.F_GETOWN_EX:
					var ex [2]int32
					s.Call("fcntl", f, cmd, &ex)
					s.Logf("%d", ex)
				case unix.F_SETFL:
					for _, fl := range []int{unix.O_APPEND, unix.O_NONBLOCK | unix.O_WRONLY | unix.O_CREAT, unix.O_NOATIME, 0} {
						s.Call("fcntl", f, cmd, fl)
						s.Call("fcntl", f, unix.F_GETFL)
					}
				case unix.F_DUPFD: // below RLIMIT_NOFILE or not
				case 17: // F_GETOWNER_UIDS: a debugging option of the kernel
				default:
					s.Call("fcntl", f, cmd, 0)
				}
			}
			for _, cmd := range []int{unix.F_GETLEASE, unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ, unix.F_GET_SEALS, unix.F_ADD_SEALS, 1024 + 30} {
				if f == ro || f == fd || cmd == 1024+30 {
					continue // seals: a file of tmpfs has them
				}
				s.Call("fcntl", f, cmd, 0)
			}
			var hint uint64 = 77
			s.Call("fcntl", f, unix.F_GET_RW_HINT, &hint)
			hint = 2
			s.Call("fcntl", f, unix.F_SET_RW_HINT, &hint)
			hint = 6
			s.Call("fcntl", f, unix.F_SET_RW_HINT, &hint)
			s.Call("fcntl", f, unix.F_SET_RW_HINT, Bad)
		}
		var p [2]int32
		s.Call("pipe2", &p, 0)
		s.Call("fcntl", FD(p[0]), unix.F_GETPIPE_SZ)
		s.Call("fcntl", FD(p[0]), unix.F_SETPIPE_SZ, 5000)
	})
}

func TestIoctlTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		fd := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		s.Call("write", fd, []byte("12345"), 5)
		s.Call("lseek", fd, 2, 0)
		dir := s.Open("openat", cwd, "/", unix.O_RDONLY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		ev := s.Open("eventfd2", 0, 0)
		var p [2]int32
		s.Call("pipe2", &p, 0)
		for _, f := range []any{fd, path, ev, FD(p[0]), -1, dir} {
			for _, r := range []int{0x541b, 0x5460, 2} {
				if out := make([]byte, 8); r != 0x5460 { // blocks in use
					s.Call("ioctl", f, r, out)
				}
				s.Call("ioctl", f, r, Bad)
			}
			s.Call("ioctl", f, 0x5451, 0)
			s.Call("fcntl", f, unix.F_GETFD)
			s.Call("ioctl", f, 0x5450, 0)
			s.Call("fcntl", f, unix.F_GETFD)
			for _, on := range []int32{1, 0} {
				s.Call("ioctl", f, 0x5421, &on)
				s.Call("fcntl", f, unix.F_GETFL)
			}
			s.Call("ioctl", f, 0x5421, Bad)
			s.Call("ioctl", f, 0x5401, Bad)
			s.Call("ioctl", f, 0x5413, Bad)
			s.Call("ioctl", f, 0xdeadbeef, Bad)
		}
	})
}

func TestFlockTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		a := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		b := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		dup := s.Open("dup", a)
		none := s.Open("openat", cwd, "/f", 3, 0)
		for _, f := range []any{-1, path, none} {
			for _, op := range []int{0, 3, 1 | 4, 8, 16, 32, 33, 64} {
				s.Call("flock", f, op)
			}
		}
		s.Call("flock", a, unix.LOCK_EX)
		s.Call("flock", dup, unix.LOCK_EX|unix.LOCK_NB)
		s.Call("flock", b, unix.LOCK_SH|unix.LOCK_NB)
		s.Call("flock", dup, unix.LOCK_SH)
		s.Call("flock", b, unix.LOCK_SH|unix.LOCK_NB)
		s.Call("flock", a, unix.LOCK_EX|unix.LOCK_NB)
		s.Call("flock", b, unix.LOCK_EX|unix.LOCK_NB)
		s.Call("close", a)
		s.Call("flock", dup, unix.LOCK_EX|unix.LOCK_NB)
		s.Call("close", b)
		s.Call("flock", dup, unix.LOCK_EX|unix.LOCK_NB)
		s.Call("close", dup)
		c := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		s.Call("flock", c, unix.LOCK_EX|unix.LOCK_NB)
	})
}

// lockArg is struct flock.
type lockArg struct {
	Type, Whence int16
	_            int32
	Start, Len   int64
	PID          int32
	_            int32
}

// TestRecordLockTwin: OFD locks through two descriptions show splitting and
// joining; POSIX locks of one process never conflict.
func TestRecordLockTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		a := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		b := s.Open("openat", cwd, "/f", unix.O_RDWR, 0)
		s.Call("write", a, make([]byte, 50), 50)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		wo := s.Open("openat", cwd, "/f", unix.O_WRONLY, 0)
		do := func(f any, cmd int, l lockArg) {
			l2 := l
			s.Call("fcntl", f, cmd, &l2)
			if cmd == unix.F_OFD_GETLK || cmd == unix.F_GETLK {
				if l2.PID > 0 {
					l2.PID = 1
				}
				s.Logf("%+v", l2)
			}
		}
		show := func() {
			s.Logf("locks:")
			at := int64(0)
			for range 20 {
				l := lockArg{Type: unix.F_WRLCK, Start: at}
				s.Quiet("fcntl", b, unix.F_OFD_GETLK, &l)
				if l.Type == unix.F_UNLCK {
					break
				}
				l.PID = min(l.PID, 1)
				s.Logf("%+v", l)
				if l.Len == 0 {
					break
				}
				at = l.Start + l.Len
			}
		}
		r, w, u := int16(unix.F_RDLCK), int16(unix.F_WRLCK), int16(unix.F_UNLCK)
		for _, l := range []lockArg{
			{Type: r, Start: 10, Len: 10}, {Type: r, Start: 20, Len: 5}, {Type: w, Start: 12, Len: 2}, {Type: u, Start: 22, Len: 1},
			{Type: r, Start: 0, Len: 12}, {Type: w, Start: 30, Len: 0}, {Type: u, Start: 40, Len: 10}, {Type: r, Start: 35, Len: -5},
			{Type: r, Whence: 2, Start: -10, Len: 5}, {Type: w, Whence: 1, Start: 5, Len: 1}, {Type: w, Start: 0, Len: 15},
			{Type: u, Start: 1<<63 - 1, Len: 1}, {Type: u, Start: 3, Len: 1 << 62}, {Type: r, Start: 0, Len: 0}, {Type: u},
		} {
			do(a, unix.F_OFD_SETLK, l)
			show()
		}
		for _, l := range []lockArg{{Type: 3}, {Type: -1}, {Whence: 3}, {Start: -1}, {Start: 1, Len: -2}, {Start: 5, Len: 1<<63 - 1},
			{Start: 1<<63 - 1, Whence: 1}, {Start: -1 << 63}, {Start: 0, Len: -1 << 63}, {PID: 5}, {Type: u}, {Type: w}, {Type: r}} {
			for _, cmd := range []int{unix.F_GETLK, unix.F_SETLK, unix.F_OFD_GETLK, unix.F_OFD_SETLK} {
				for _, f := range []any{a, ro, wo} {
					do(f, cmd, l)
				}
			}
			show()
		}
		do(a, unix.F_SETLK, lockArg{Type: u})
		do(a, unix.F_OFD_SETLK, lockArg{Type: u})
		do(wo, unix.F_OFD_SETLK, lockArg{Type: u})
		do(ro, unix.F_OFD_SETLK, lockArg{Type: u})
		do(a, unix.F_SETLK, lockArg{Type: w, Start: 1, Len: 2})
		show()
		do(b, unix.F_OFD_SETLK, lockArg{Type: r})
		s.Call("close", ro)
		show()
		s.Call("close", b)
		do(a, unix.F_SETLK, lockArg{Type: w, Start: 1, Len: 2})
	})
}

func TestMemfdTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		long := make([]byte, 260)
		for i := range long {
			long[i] = 'x'
		}
		for _, n := range []int{0, 1, 249, 250, 259} {
			s.Call("memfd_create", string(long[:n]), 0)
		}
		s.Call("memfd_create", Bad, 0)
		for _, f := range []int{0x20, 0x18, 1 << 31, -1} {
			s.Call("memfd_create", "x", f)
		}
		for _, f := range []int{0, 1, 2, 8, 0x10, 0x12, 3} {
			fd := s.Open("memfd_create", "x", f)
			s.Call("fcntl", fd, unix.F_GETFL)
			s.Call("fcntl", fd, unix.F_GETFD)
			s.Call("fcntl", fd, unix.F_GET_SEALS)
			s.Call("write", fd, []byte("abcdef"), 6)
			s.Call("fcntl", fd, unix.F_ADD_SEALS, unix.F_SEAL_GROW)
			s.Call("write", fd, []byte("ghi"), 3)
			s.Call("fcntl", fd, unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE)
			s.Call("pwrite64", fd, []byte("g"), 1, 0)
			s.Call("ftruncate", fd, 1)
			s.Call("fcntl", fd, unix.F_ADD_SEALS, 1<<20)
			s.Call("fcntl", fd, unix.F_ADD_SEALS, unix.F_SEAL_SEAL)
			s.Call("fcntl", fd, unix.F_ADD_SEALS, 0)
			s.Call("fcntl", fd, unix.F_GET_SEALS)
			st := make([]byte, 144)
			s.Quiet("fstat", fd, st)
			s.Logf("mode %o", uint32(st[24])|uint32(st[25])<<8)
		}
	})
}

func TestPipeTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		var p [2]int32
		s.Call("pipe2", &p, unix.O_NONBLOCK)
		r, w := FD(p[0]), FD(p[1])
		for _, f := range []any{r, w} {
			s.Call("read", f, make([]byte, 4), 4)
			s.Call("read", f, make([]byte, 4), 0)
			s.Call("pread64", f, make([]byte, 4), 4, 0)
			s.Call("pwrite64", f, make([]byte, 4), 4, 0)
			s.Call("preadv2", f, Iov{make([]byte, 4)}, 1, -1, -1, 0)
			s.Call("preadv", f, Iov{make([]byte, 4)}, 1, 0)
			s.Call("pwritev", f, Iov{make([]byte, 4)}, 1, 0)
		}
		s.Call("write", w, []byte("hello"), 5)
		s.Call("write", w, Bad, 5)
		s.Call("ioctl", r, 0x541b, make([]byte, 4))
		s.Call("readv", r, Iov{make([]byte, 2), make([]byte, 9)}, 2)
		big := make([]byte, 100000)
		s.Call("write", w, big, len(big))
		s.Call("write", w, big, len(big))
		s.Call("write", w, big, 10)
		s.Call("read", r, big, len(big))
		s.Call("read", r, big, len(big))
		s.Call("close", w)
		s.Call("read", r, big, len(big))
	})
}

// hostile arguments reach every call of the table that takes a descriptor: none
// may panic or hang.
func TestHostileArguments(t *testing.T) {
	values := []uint64{0, 1, 3, 0xfff, 0x1000, 1 << 31, 1<<32 - 1, 1 << 47, 1 << 63, ^uint64(0)}
	calls := []string{"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
		"sendfile", "copy_file_range", "truncate", "ftruncate", "fallocate", "fsync", "fdatasync", "syncfs", "sync_file_range",
		"readahead", "fadvise64", "open", "openat", "openat2", "creat", "dup", "dup2", "dup3", "close_range", "fcntl", "flock",
		"ioctl", "mmap", "memfd_create", "mincore", "madvise"}
	g := NewGuest(t)
	values = append(values, g.Machine.Map(0, 1<<16, unix.PROT_READ|unix.PROT_WRITE), g.Machine.Map(0, 1<<14, unix.PROT_READ))
	seed := uint64(1)
	next := func() uint64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return seed >> 33
	}
	for i := range 20000 {
		if i%50 == 0 {
			g.Call("close_range", 0, ^uint32(0), 0)
			g.WriteFile("/f", fmt.Sprint(i))
			g.Call("openat", cwd, "/f", unix.O_RDWR, 0)
			g.Call("openat", cwd, "/", unix.O_RDONLY, 0)
			g.Call("openat", cwd, "/f", unix.O_PATH, 0)
			var p [2]int32
			g.Call("pipe2", &p, unix.O_NONBLOCK)
		}
		name := calls[next()%uint64(len(calls))]
		var args [6]any
		for j := range args {
			switch next() % 4 {
			case 0:
				args[j] = next() % 7
			case 1:
				args[j] = values[len(values)-1-int(next()%2)]
			default:
				args[j] = values[next()%uint64(len(values))]
			}
		}
		if name == "fcntl" && (args[1] == uint64(unix.F_SETLKW) || args[1] == uint64(unix.F_OFD_SETLKW)) || name == "flock" {
			continue
		}
		g.Call(name, args[:]...)
	}
}
