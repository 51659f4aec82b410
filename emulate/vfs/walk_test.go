//go:build linux

package vfs_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// tree makes a Mem namespace from lines "dir/", "file" and "link -> target".
func tree(t testing.TB, lines ...string) *vfs.Namespace {
	t.Helper()
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	for _, l := range lines {
		path, target, link := strings.Cut(l, " -> ")
		f, err := vfs.Walk{Root: ns.Root(), Missing: true, NoFollow: true}.Do(path)
		if err == nil {
			switch {
			case link:
				_, err = f.Dir.Symlink(vfs.Cred{}, f.Name, target)
			case f.Slash:
				_, err = f.Dir.Mkdir(vfs.Cred{}, f.Name, 0o755)
			default:
				_, err = f.Dir.Create(vfs.Cred{}, f.Name, 0o644, 0)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
	}
	return ns
}

func TestWalk(t *testing.T) {
	ns := tree(t, "a/", "a/b/", "a/b/f", "l -> a/b", "abs -> /a/b/f", "self -> self", "up -> ../../a", "gone -> nowhere")
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{"/", "/", nil}, {"//a//b/", "/a/b", nil}, {"a/b/f", "/a/b/f", nil}, {"l/f", "/a/b/f", nil},
		{"abs", "/a/b/f", nil}, {"self", "", unix.ELOOP}, {"up/b/..", "/a", nil}, {"gone", "", unix.ENOENT},
		{"", "", unix.ENOENT}, {"a/b/f/", "", unix.ENOTDIR}, {"a/b/f/x", "", unix.ENOTDIR}, {"a/b/f/.", "", unix.ENOTDIR},
		{"../..", "/", nil}, {"l/", "/a/b", nil}, {strings.Repeat("x", 256), "", unix.ENAMETOOLONG},
		{strings.Repeat("/", 4096), "", unix.ENAMETOOLONG},
	} {
		f, err := vfs.Walk{Root: ns.Root(), Start: ns.Root()}.Do(c.path)
		if err != c.err {
			t.Errorf("%q: error %v, want %v", c.path, err, c.err)
		} else if err == nil && f.Dentry.Path() != c.want {
			t.Errorf("%q: %s, want %s", c.path, f.Dentry.Path(), c.want)
		}
	}
}
