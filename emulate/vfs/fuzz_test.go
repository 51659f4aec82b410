//go:build linux

package vfs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// fuzzTree is what FuzzWalk resolves paths in; a directory is made before what
// lies in it.
var fuzzTree = []string{
	"a/", "a/b/", "a/b/c/", "a/f", "a/b/g", "d/", "d/e/",
	"l -> a", "a/l -> b", "a/b/l -> ../..", "abs -> /a/b", "absf -> /a/f", "out -> ../../a", "loop -> loop",
	"x -> y", "y -> x", "gone -> nowhere", "d/gone -> ../nowhere/z", "slash -> a/", "fslash -> a/f/", "d/dot -> .", "d/dd -> ..",
	"d/e/root -> /", "d/chain -> ../l/l/l", "d/absgone -> /nowhere", "deep -> d/e/root/d/chain/abs",
	"twice -> slash/l/", "empty/",
}

// resolved is the kernel's answer: the path below root, or an errno.
func resolved(dirfd int, root, path string, nofollow bool, resolve uint64) string {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve}
	if nofollow {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(dirfd, path, &how)
	for err == unix.EAGAIN { // another process renamed something meanwhile, anywhere
		fd, err = unix.Openat2(dirfd, path, &how)
	}
	if err != nil {
		return unix.ErrnoName(err.(unix.Errno))
	}
	defer unix.Close(fd)
	at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err.Error()
	}
	if at = strings.TrimPrefix(at, root); at == "" {
		at = "/"
	}
	return at
}

// walked is the same of the walker.
func walked(w vfs.Walk, path string) string {
	f, err := w.Do(path)
	if err != nil {
		return unix.ErrnoName(err.(unix.Errno))
	}
	return f.Dentry.Path()
}

func realTree(t testing.TB, lines []string) string {
	t.Helper()
	root := t.TempDir()
	for _, l := range lines {
		path, target, link := strings.Cut(l, " -> ")
		path = root + "/" + path
		var err error
		switch {
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(path, "/"):
			err = os.Mkdir(path, 0o755)
		default:
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// spell makes words of control characters, so that few bytes say much.
func spell(s string) string {
	words := []string{"/", "..", ".", "../", "a/", "b", "c", "d/", "e/", "f", "l", "l/", "abs", "out/", "loop", "gone", "slash", "dot/", "dd/", "root", "chain", "deep", "twice/", "fslash", "absf"}
	var b strings.Builder
	for i := range len(s) {
		if int(s[i]) < len(words) {
			b.WriteString(words[s[i]])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// FuzzWalk holds the walker against openat2(2) on the same tree.
func FuzzWalk(f *testing.F) {
	root := realTree(f, fuzzTree)
	ns := tree(f, fuzzTree...)
	starts := []string{"", "a", "a/b", "d/e", "empty"}
	for i, p := range []string{
		"a/b", "/", "//a//f", "l/l/l", "out", "loop", "x", "gone", "abs/..", "a/f/", "a/f/.", "fslash", "slash/", "deep", "twice/..",
		"../..", "", ".", "..", "d/chain/", "d/dd/d/dot/dd/a", strings.Repeat("d/dd/", 40) + "a", strings.Repeat("l/../", 41), "d/dot/absgone/..", "\x04\x0b\x03\x12", "\x15\x00\x05",
		strings.Repeat("a", 256), strings.Repeat("/", 4096), strings.Repeat("./", 2047),
	} {
		f.Add(p, uint8(i%len(starts)), uint8(i%4), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, path string, start, how uint8, nofollow bool) {
		path = spell(path)
		at := starts[int(start)%len(starts)]
		fd, err := unix.Open(root+"/"+at, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		top := root
		from, err := vfs.Walk{Root: ns.Root()}.Do("/" + at)
		if err != nil {
			t.Fatal(err)
		}
		w := vfs.Walk{Root: ns.Root(), Start: from.Dentry, NoFollow: nofollow}
		w.Resolve = [...]uint64{unix.RESOLVE_IN_ROOT, unix.RESOLVE_BENEATH, unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS, unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV}[how%4]
		want := resolved(fd, top, path, nofollow, w.Resolve)
		// Before it says EXDEV the kernel starts again without RCU, and counts
		// the links it went through twice.
		if got := walked(w, path); got != want && !(got == "EXDEV" && want == "ELOOP") {
			t.Errorf("%q from /%s, resolve %#x, nofollow %v: %s, kernel: %s", path, at, w.Resolve, nofollow, got, want)
		}
		if at == "" && w.Resolve == unix.RESOLVE_IN_ROOT {
			// The same as a plain walk of a process whose root this is.
			w.Resolve = 0
			if got := walked(w, path); got != want {
				t.Errorf("%q, nofollow %v: %s, kernel: %s", path, nofollow, got, want)
			}
		}
	})
}
