//go:build linux && amd64

package emulate_test

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// What a read-only mount refuses, and which of two errors comes first: on the
// native side a mount of its own, made read-only after the tree was made, on the
// other the same directory as a read-only mount of the host's.
func TestReadOnly(t *testing.T) {
	if self.uid != 0 {
		t.Skip("only root can mount")
	}
	for _, who := range []ids{self, nobody} {
		var dir string
		refused := false
		want := nativeTwin(t, self, func(k *twin) {
			dir = k.dir
			k.tree()
			k.quiet("setxattr", "f", "user.x", "v", 1, 0)
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				refused = true
				return
			}
			for _, m := range []uintptr{unix.MS_PRIVATE | unix.MS_REC, unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
				target := dir
				if m&unix.MS_PRIVATE != 0 {
					target = "/"
				}
				if err := unix.Mount(dir, target, "", m, ""); err != nil {
					refused = true
					return
				}
			}
			if err := unix.Chdir(dir); err != nil {
				t.Error(err)
			}
			if who != self {
				k.quiet("setgroups", 0, nil)
				k.quiet("setresgid", who.gid, who.gid, who.gid)
				k.quiet("setresuid", who.uid, who.uid, who.uid)
			}
			readOnly(k)
		})
		if refused {
			t.Skip("no mounts here")
		}
		k := &twin{t: t, mem: newGuestMemory(t), emulated: true}
		task := newGuest(t, k.mem, who)
		node, err := vfs.NewHost(dir, vfs.HostOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Sys.FS.Mount("/ro", node); err != nil {
			t.Fatal(err)
		}
		k.answer(task)
		k.quiet("chdir", "/ro")
		readOnly(k)
		task.FDs.Release()
		if c, ok := node.(io.Closer); ok {
			_ = c.Close()
		}
		if diff := cmp.Diff(want, k.log); diff != "" {
			t.Errorf("as %v: kernel (-), emulated (+):\n%s", who, diff)
		}
	}
}

func readOnly(k *twin) {
	for _, p := range paths {
		if p == "/" || p == ".." || p == "d/.." || p == "d/sub/.." || p == "." || p == longName {
			continue
		}
		k.call("access", p, unix.W_OK)
		k.call("access", p, unix.R_OK)
		k.call("mkdir", p, 0o755)
		k.call("mknod", p, 0o644, 0)
		k.call("mknod", p, unix.S_IFCHR|0o644, 0x103)
		k.call("symlink", "x", p)
		k.call("link", "f", p)
		k.call("link", p, "new")
		k.call("unlink", p)
		k.call("rmdir", p)
		k.call("rename", p, "new")
		k.call("rename", "f", p)
		k.call("chmod", p, 0o600)
		k.call("chown", p, -1, -1)
		k.call("lchown", p, 0, 0)
		k.call("utimensat", at, p, nil, 0)
		k.call("utimensat", at, p, []uint64{1, 2, 3, 4}, 0)
		k.call("utimensat", at, p, []uint64{1, 2e9, 3, 4}, 0)
		k.call("setxattr", p, "user.x", "v", 1, 0)
		k.call("setxattr", p, "trusted.x", "v", 1, 0)
		k.call("removexattr", p, "user.x")
	}
}
