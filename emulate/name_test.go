//go:build linux && amd64

package emulate_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// everybody runs script as whom the test runs as, and as an ordinary user if
// that is root.
func everybody(t *testing.T, script func(k *twin)) {
	t.Run("self", func(t *testing.T) { twins(t, self, script) })
	if self.uid == 0 {
		t.Run("nobody", func(t *testing.T) { twins(t, nobody, script) })
	}
}

// tree makes a few names of every kind, most of them with rights missing.
func (k *twin) tree() {
	k.quiet("umask", 0)
	k.quiet("mkdir", "d", 0o755)
	k.quiet("mkdir", "d/sub", 0o755)
	k.quiet("mkdir", "full", 0o755)
	k.quiet("mknod", "full/x", unix.S_IFREG|0o644, 0)
	k.quiet("mkdir", "closed", 0o755)
	k.quiet("mknod", "closed/x", unix.S_IFREG|0o644, 0)
	k.quiet("mkdir", "unwritable", 0o755)
	k.quiet("mknod", "unwritable/x", unix.S_IFREG|0o644, 0)
	k.quiet("mkdir", "unwritable/sub", 0o755)
	k.quiet("mknod", "f", unix.S_IFREG|0o640, 0)
	k.quiet("mknod", "g", unix.S_IFREG|0o400, 0)
	k.quiet("mknod", "fifo", unix.S_IFIFO|0o644, 0)
	k.quiet("mknod", "sock", unix.S_IFSOCK|0o755, 0)
	k.quiet("symlink", "f", "link")
	k.quiet("symlink", "d", "dirlink")
	k.quiet("symlink", "nowhere", "dangling")
	k.quiet("symlink", "loop", "loop")
	k.quiet("chmod", "closed", 0)
	k.quiet("chmod", "unwritable", 0o555)
	k.quiet("umask", 0o022)
}

// longName is one byte longer than NAME_MAX.
var longName = strings.Repeat("n", 256)

// paths are the names of tree, and what is wrong in one way or another.
var paths = []any{"d", "d/", "d/sub", "d/.", "d/..", "d/sub/..", "full", "closed", "closed/x", "unwritable", "unwritable/x",
	"unwritable/new", "f", "f/", "f/x", "g", "fifo", "sock", "link", "link/", "dirlink", "dirlink/", "dirlink/.", "dangling",
	"dangling/", "loop", "loop/x", "new", "new/", "new/x", ".", "..", "/", "", "d//sub//", strings.Repeat("n", 255),
	longName, strings.Repeat("d/../", 900) + "f", strings.Repeat("./", 2048), bad{}, nil, edge(1)}

func TestAccess(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			if p == "/" || p == ".." { // not the same directory on both sides
				continue
			}
			for mode := range 9 {
				k.call("access", p, mode)
			}
			k.call("faccessat", at, p, unix.R_OK|unix.W_OK)
			for _, flags := range []int{unix.AT_EACCESS, unix.AT_SYMLINK_NOFOLLOW, unix.AT_EMPTY_PATH, 1, -1} {
				k.call("faccessat2", at, p, unix.R_OK, flags)
			}
		}
		k.call("access", "f", -1)
		k.call("faccessat", 99, "f", 0)
	})
}

// A program with set-id bits asks for what its user may do.
func TestAccessRealID(t *testing.T) {
	if self.uid != 0 {
		t.Skip("only root can have two identities")
	}
	twins(t, self, func(k *twin) {
		k.tree()
		k.quiet("setresuid", 65534, 0, 0)
		for _, p := range paths {
			if p == "/" || p == ".." {
				continue
			}
			k.call("access", p, unix.W_OK)
			k.call("faccessat2", at, p, unix.W_OK, unix.AT_EACCESS)
		}
	})
}

func TestMakeNames(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			k.call("mkdir", p, 0o7777)
			k.call("mkdirat", at, p, 0o700)
			k.stat("lstat", p, out(statSize))
			k.call("rmdir", p)
		}
		for _, p := range paths {
			k.call("mknod", p, 0o666, 0)
			k.stat("lstat", p, out(statSize))
			k.call("unlinkat", at, p, unix.AT_REMOVEDIR)
			k.call("unlinkat", at, p, 0)
		}
		k.tree()
		for _, p := range paths {
			k.call("symlink", "f", p)
			k.call("symlink", p, "newlink")
			k.call("readlink", "newlink", out(300), 300)
			k.call("unlink", "newlink")
			k.call("symlinkat", p, at, "newlink")
			k.call("unlink", "newlink")
		}
		for _, mode := range []int{unix.S_IFDIR, unix.S_IFLNK, 0o170000, 0o030000, unix.S_IFIFO | 0o7777, unix.S_IFREG | 0o7777,
			unix.S_IFCHR | 0o644, unix.S_IFBLK | 0o644, unix.S_IFSOCK, 0} {
			k.call("mknodat", at, "made", mode, 0x103)
			k.stat("lstat", "made", out(statSize))
			k.call("mknodat", at, "unwritable/made", mode, 0x103)
			k.call("mknodat", at, "f", mode, 0x103)
			k.call("unlink", "made")
			k.call("mknod", bad{}, mode, 0x103)
		}
		k.call("unlinkat", at, "f", 1)
		k.call("unlinkat", at, "f", -1)
		k.call("unlinkat", 99, "f", 0)
		k.call("mkdirat", 99, "f", 0)
		k.call("symlinkat", "f", 99, "x")
		k.call("mknodat", 99, "f", 0, 0)
	})
}

func TestGroupDirectories(t *testing.T) {
	everybody(t, func(k *twin) {
		k.quiet("umask", 0)
		k.call("mkdir", "s", 0o777)
		k.call("chmod", "s", 0o2777)
		if self.uid == 0 {
			k.quiet("chown", "s", -1, 7)
		}
		k.call("mkdir", "s/d", 0o777)
		k.call("mknod", "s/f", 0o2775, 0)
		k.call("mknod", "s/g", 0o2765, 0)
		for _, p := range []string{"s", "s/d", "s/f", "s/g"} {
			k.stat("stat", p, out(statSize))
		}
	})
}

func TestReadlink(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			k.call("readlink", p, out(40), 40)
			k.call("readlinkat", at, p, out(2), 2)
		}
		for _, size := range []int{0, -1, 1, 1 << 31, 1<<32 + 5} {
			k.call("readlink", "link", out(40), size)
			k.call("readlink", "dangling", out(40), size)
			k.note("%q", k.buf)
		}
		for _, p := range []any{bad{}, nil, edge(3)} {
			k.call("readlink", "dangling", p, 40)
		}
		k.call("readlinkat", 99, "link", out(40), 40)
		k.call("readlinkat", 99, "", out(40), 40)
	})
}

func TestLink(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			k.call("link", p, "hard")
			k.stat("lstat", "hard", out(statSize))
			k.call("unlink", "hard")
			k.call("link", "f", p)
			k.call("linkat", at, p, at, "hard", unix.AT_SYMLINK_FOLLOW)
			k.stat("lstat", "hard", out(statSize))
			k.call("unlink", "hard")
			k.call("linkat", at, p, at, "hard", unix.AT_EMPTY_PATH)
			k.call("unlink", "hard")
			k.call("linkat", at, p, at, p, 0)
		}
		k.call("linkat", at, "f", at, "hard", unix.AT_SYMLINK_NOFOLLOW)
		k.call("linkat", 99, "f", at, "hard", 0)
		k.call("linkat", at, "f", 99, "hard", 0)
		k.call("linkat", 99, "", at, "hard", unix.AT_EMPTY_PATH)
	})
}

func TestRename(t *testing.T) {
	everybody(t, func(k *twin) {
		for _, from := range paths {
			k.tree()
			if from == "/" || from == ".." {
				continue
			}
			for _, to := range paths {
				if (from == longName) != (to == longName) && from != "f" && to != "f" {
					continue // Which of two errors comes first is not kept here.
				}
				for _, flags := range []int{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE} {
					if k.call("renameat2", at, from, at, to, flags) == 0 {
						k.stat("lstat", from, out(statSize))
						k.stat("lstat", to, out(statSize))
						k.tree()
					}
				}
			}
		}
		for _, flags := range []int{3, 8, -1} {
			k.call("renameat2", at, "f", at, "new", flags)
			k.call("renameat2", at, strings.Repeat("n", 256), at, ".", flags)
			k.call("renameat2", at, ".", at, strings.Repeat("n", 256), flags)
		}
		k.call("renameat2", 99, "f", at, "new", 0)
		k.call("renameat", at, "f", 99, "new")
		k.call("rename", "link", "new")
		k.call("rename", "d", "d/sub/x")
		k.call("rename", "d/sub", "d")
		k.call("renameat2", at, "d/sub", at, "d", unix.RENAME_EXCHANGE)
	})
}

func TestSticky(t *testing.T) {
	if self.uid != 0 {
		t.Skip("only root can make files of two users")
	}
	twins(t, self, func(k *twin) {
		k.quiet("umask", 0)
		k.call("mkdir", "s", 0o1777)
		for _, n := range []string{"root", "other", "mine"} {
			k.call("mknod", "s/"+n, 0o666, 0)
			k.call("mkdir", "s/d"+n, 0o777)
			k.call("symlink", "../f", "s/l"+n)
		}
		k.call("mknod", "f", 0o666, 0)
		for _, n := range []string{"s/other", "s/dother", "s/lother"} {
			k.call("lchown", n, 7, 7)
		}
		for _, n := range []string{"s/mine", "s/dmine", "s/lmine"} {
			k.call("lchown", n, 65534, 65534)
		}
		k.call("setresuid", 65534, 65534, 65534)
		for _, n := range []string{"root", "other", "mine"} {
			k.call("stat", "s/l"+n, out(statSize))
			k.call("link", "s/"+n, "s/hard")
			k.call("rename", "s/"+n, "s/new")
			k.call("mknod", "s/x", 0o666, 0)
			k.call("rename", "s/x", "s/"+n)
			k.call("renameat2", at, "s/x", at, "s/"+n, unix.RENAME_EXCHANGE)
			k.call("unlink", "s/"+n)
			k.call("rmdir", "s/d"+n)
			k.call("unlink", "s/l"+n)
			k.call("unlink", "s/x")
			k.call("setxattr", "s", "user.a", []byte("x"), 1, 0)
		}
	})
}

func TestUnlinkOpen(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		f := k.open("openat", at, "f", unix.O_RDWR, 0)
		k.call("link", "f", "hard")
		k.stat("fstat", fd(f), out(statSize))
		k.call("unlink", "hard")
		k.call("unlink", "f")
		k.stat("fstat", fd(f), out(statSize))
		k.call("fchmod", fd(f), 0o600)
		k.stat("newfstatat", fd(f), "", out(statSize), unix.AT_EMPTY_PATH)
		k.call("linkat", fd(f), "", at, "back", unix.AT_EMPTY_PATH)
		k.call("close", fd(f))
		d := k.open("openat", at, "d/sub", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		k.call("rmdir", "d/sub")
		k.call("getdents64", fd(d), out(4096), 4096)
		k.call("mkdirat", fd(d), "x", 0o777)
		k.call("mknodat", fd(d), "x", 0o777, 0)
		k.call("newfstatat", fd(d), "x", out(statSize), 0)
		k.call("newfstatat", fd(d), ".", out(statSize), 0)
		k.call("newfstatat", fd(d), "..", out(statSize), 0)
		k.call("fchdir", fd(d))
		k.call("getcwd", out(4096), 4096)
		k.call("chdir", "..")
		k.call("getcwd", out(4096), 0)
		k.call("close", fd(d))
	})
}

func TestDirectoryFDs(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range []string{"d", "f", "fifo", "link", "closed", "unwritable"} {
			d := k.open("openat", at, p, unix.O_PATH|unix.O_NOFOLLOW, 0)
			k.stat("newfstatat", fd(d), "", out(statSize), unix.AT_EMPTY_PATH)
			k.stat("newfstatat", fd(d), "sub", out(statSize), 0)
			k.stat("fstat", fd(d), out(statSize))
			k.call("faccessat2", fd(d), "", unix.W_OK, unix.AT_EMPTY_PATH)
			k.call("faccessat", fd(d), "x", 0)
			k.call("readlinkat", fd(d), "", out(20), 20)
			k.call("fchmod", fd(d), 0o777)
			k.call("fchmodat2", fd(d), "", 0o700, unix.AT_EMPTY_PATH)
			k.call("fchmodat", fd(d), "", 0o700)
			k.call("fchown", fd(d), -1, -1)
			k.call("fchownat", fd(d), "", -1, -1, unix.AT_EMPTY_PATH)
			k.call("utimensat", fd(d), nil, nil, 0)
			k.call("utimensat", fd(d), "", nil, unix.AT_EMPTY_PATH)
			k.call("utimensat", fd(d), nil, nil, unix.AT_EMPTY_PATH)
			k.call("fgetxattr", fd(d), "user.x", out(10), 10)
			k.call("fsetxattr", fd(d), "user.x", "v", 1, 0)
			k.call("flistxattr", fd(d), out(10), 10)
			k.call("fremovexattr", fd(d), "user.x")
			k.call("listxattrat", fd(d), "", unix.AT_EMPTY_PATH, out(10), 10)
			k.call("getxattrat", fd(d), "", unix.AT_EMPTY_PATH, "user.x", []uint64{0, 0}, 16)
			k.call("fstatfs", fd(d), out(120))
			k.call("getdents64", fd(d), out(400), 400)
			k.call("linkat", fd(d), "", at, "hard", unix.AT_EMPTY_PATH)
			k.call("unlink", "hard")
			k.call("mkdirat", fd(d), "made", 0o777)
			k.call("renameat", fd(d), "made", at, "moved")
			k.call("unlinkat", at, "moved", unix.AT_REMOVEDIR)
			k.call("fchdir", fd(d))
			k.call("chdir", "..")
			k.call("close", fd(d))
		}
	})
}

func TestCwd(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			if p == "/" || p == ".." || p == "d/.." || p == "d/sub/.." || p == "." {
				continue
			}
			if k.call("chdir", p) == 0 {
				k.call("access", "sub", 0)
				k.call("getcwd", out(10), 1)
				k.call("chdir", "..")
				if p == "d/sub" || p == "d//sub//" {
					k.call("chdir", "..")
				}
			}
			if k.call("chroot", p) == 0 {
				break // Root got into one; that is enough of it.
			}
		}
		k.call("fchdir", 99)
		k.call("umask", 0o12345)
		k.call("umask", -1)
		k.call("umask", 0o22)
	})
}

func TestChroot(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		k.call("mkdir", "d/inside", 0o755)
		k.call("symlink", "/inside", "d/abs")
		k.call("chroot", "d")
		k.call("getcwd", out(4096), 1)
		k.call("chdir", "/")
		k.call("stat", "abs", out(statSize))
		k.call("stat", "/../../inside", out(statSize))
		if k.call("getcwd", out(4096), 4096) == 2 {
			k.note("%q", k.buf[:2])
		}
		k.call("getcwd", out(1), 1)
		k.call("getcwd", edge(1), 100)
		k.call("getcwd", bad{}, 100)
		k.call("getcwd", nil, 100)
		k.call("getcwd", nil, 0)
	})
}

func TestStatfs(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for _, p := range paths {
			k.call("statfs", p, out(120))
			k.call("name_to_handle_at", at, p, bad{}, bad{}, 0x8000)
		}
		k.call("statfs", "f", edge(119))
		k.call("statfs", "f", nil)
		k.call("fstatfs", 99, out(120))
	})
}
