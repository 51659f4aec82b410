//go:build linux

package vfs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// kept is the contents that Answers have stored, by name.
type kept map[string]string

func (k kept) answers(failed *[]string) *vfs.Answers {
	section := func(s string) *io.SectionReader { return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s))) }
	return &vfs.Answers{
		Store: func(path string, r io.Reader) (string, *io.SectionReader, error) {
			b, err := io.ReadAll(r)
			k[path] = string(b)
			return path, section(string(b)), err
		},
		Load: func(name string) *io.SectionReader {
			s, ok := k[name]
			if !ok {
				return nil
			}
			return section(s)
		},
		Failed: func(err error) { *failed = append(*failed, err.Error()) },
	}
}

// tour tells all that there is in a tree, in the order of asking.
func tour(n vfs.Node) string {
	var b strings.Builder
	var walk func(at string, n vfs.Node)
	walk = func(at string, n vfs.Node) {
		a, err := n.Attr()
		a.Atime = unix.Timespec{} // looking changes it
		fmt.Fprintf(&b, "%q %+v %v\n", at, a, err)
		link, err := n.(vfs.Readlinker).Readlink()
		fmt.Fprintf(&b, "%q %v\n", link, err)
		x := n.(vfs.Xattrer)
		names, err := x.ListXattr()
		fmt.Fprintf(&b, "%q %v\n", names, err)
		for _, name := range append(names, "user.none") {
			v, err := x.Xattr(name)
			fmt.Fprintf(&b, "%q %v\n", v, err)
		}
		st, err := n.(vfs.StatFSer).StatFS()
		st.Bfree, st.Bavail, st.Ffree = 0, 0, 0 // others write there
		fmt.Fprintln(&b, st, err)
		if a.IsRegular() {
			f, err := n.(vfs.Opener).Open(unix.O_RDONLY)
			if err != nil {
				fmt.Fprintln(&b, err)
				return
			}
			text, err := io.ReadAll(io.NewSectionReader(f.(io.ReaderAt), 0, 1<<20))
			fmt.Fprintf(&b, "%q %v\n", text, err)
			f.Close()
		}
		d := n.(vfs.Directory)
		list, err := d.ReadDir()
		fmt.Fprintln(&b, list, err)
		_, err = d.Lookup("none")
		fmt.Fprintln(&b, err)
		for _, e := range list {
			c, err := d.Lookup(e.Name)
			if err != nil {
				fmt.Fprintln(&b, e.Name, err)
				continue
			}
			walk(filepath.Join(at, e.Name), c)
		}
	}
	walk("/", n)
	return b.String()
}

// TestAnswers: a tree that is asked, and what there is of it later, are the same.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.WriteFile(filepath.Join(dir, "a"), []byte("text"), 0o640))
	check(os.Mkdir(filepath.Join(dir, "dir \xff\n\"\\"), 0o711))
	check(os.WriteFile(filepath.Join(dir, "dir \xff\n\"\\", "b"), bytes.Repeat([]byte("b"), 1000), 0o755))
	check(os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "c")))
	check(os.Symlink("to \xfe", filepath.Join(dir, "link")))
	check(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	_ = unix.Setxattr(filepath.Join(dir, "a"), "user.x", []byte{0, 0xff}, 0) // not every file system has them

	lower, err := vfs.NewHost(dir, vfs.HostOptions{})
	check(err)
	contents := make(kept)
	var failed []string
	recorded := contents.answers(&failed)
	n, id := recorded.Add("/at", lower)
	want := tour(n)
	if got := tour(n); got != want {
		t.Errorf("asked again:\n%s", cmp.Diff(want, got))
	}
	if plain := tour(lower); plain != want {
		t.Errorf("without answers:\n%s", cmp.Diff(plain, want))
	}
	check(os.RemoveAll(dir))
	if got := tour(n); got != want {
		t.Errorf("asked when it was gone:\n%s", cmp.Diff(want, got))
	}
	text, err := json.Marshal(recorded)
	check(err)
	if len(failed) > 0 {
		t.Error(failed)
	}

	replayed := contents.answers(&failed)
	check(json.Unmarshal(text, replayed))
	n, err = replayed.Tree("/at", id)
	check(err)
	if got := tour(n); got != want || len(failed) > 0 {
		t.Errorf("of what there is left: %q\n%s", failed, cmp.Diff(want, got))
	}
	if c, _ := n.(vfs.Directory).Lookup("c"); c == nil {
		t.Error("no c")
	} else if a, _ := n.(vfs.Directory).Lookup("a"); a != c {
		t.Error("two names of a file are two files")
	}
	if _, err := n.(vfs.Directory).Lookup("other"); err != unix.EIO || len(failed) != 1 || !strings.Contains(failed[0], `"lookup other" of /at`) {
		t.Errorf("what was not asked: %v, %q", err, failed)
	}
}

// TestAnswersBound: a guest cannot have the warden remember names for ever.
func TestAnswersBound(t *testing.T) {
	var failed []string
	k := make(kept).answers(&failed)
	n, _ := k.Add("/", vfs.NewMem(vfs.MemOptions{}).Root())
	d := n.(vfs.Directory)
	k.Remember(100 << 10)
	name := strings.Repeat("x", 200)
	asked := 0
	for ; len(failed) == 0 && asked < 1000; asked++ {
		if _, err := d.Lookup(fmt.Sprint(asked, name)); err != unix.ENOENT {
			t.Fatal(err)
		}
	}
	if asked < 100 || asked == 1000 {
		t.Errorf("100 KiB are enough for %d names of 200 bytes", asked)
	}
}

// FuzzAnswers: whatever answers there are make a tree that can be looked at, or none.
func FuzzAnswers(f *testing.F) {
	k := make(kept).answers(new([]string))
	lower, err := vfs.NewIOFS(fstest.MapFS{"dir/x": {Data: []byte("hello")}, "link": {Data: []byte("x"), Mode: fs.ModeSymlink}}, vfs.IOFSOptions{})
	if err != nil {
		f.Fatal(err)
	}
	n, _ := k.Add("/", lower)
	tour(n)
	text, err := json.Marshal(k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`[{"attr":{"is":{"Mode":16877}},"lookup x":{"is":0},"lookup y":{"errno":2},"list":{"is":[{"name":"x","ino":1,"type":16384},{"name":"\\xff","ino":2,"type":0}]}}]`)
	f.Add(`[{"attr":{"is":{"Mode":33261,"Size":5}},"open":{"is":"x"},"link":{"is":""}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var failed []string
		k := kept{"x": "hello"}.answers(&failed)
		if json.Unmarshal([]byte(text), k) != nil {
			return
		}
		again, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		l := kept{"x": "hello"}.answers(&failed)
		if err := json.Unmarshal(again, l); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		n, err := l.Tree("/", 0)
		if err != nil {
			return
		}
		names := 0
		_ = fs.WalkDir(vfs.FS(vfs.NewNamespace(n).Root(), nil), ".", func(path string, d fs.DirEntry, err error) error {
			if names++; names > 1000 || strings.Count(path, "/") > 20 {
				return fs.SkipAll
			}
			return nil
		})
	})
}
