//go:build linux

package fdtable_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// text is a File: a string that can be read anywhere.
type text string

func (t text) Close() error { return nil }

func (t text) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(t)) {
		return 0, io.EOF
	}
	n := copy(p, t[off:])
	return n, nil
}

func Example() {
	table := fdtable.NewTable(nil)
	d := fdtable.NewDescription(text("hello, world"), nil, unix.O_RDONLY)
	fd, _ := table.Install(d, 0, 1024, false)
	_ = table.Replace(7, 1024, d.Retain(), true) // dup2

	p := make([]byte, 5)
	n, _ := d.ReadFile(p, -1)
	fmt.Printf("%d: %s, offset %d\n", fd, p[:n], d.Offset)
	_, err := d.WriteFile(p, -1)
	fmt.Println(err)

	table.CloseOnExec()
	fmt.Println(table.Numbers())
	// Output:
	// 0: hello, offset 5
	// bad file descriptor
	// [0]
}

// counted is a File that notes its Close.
type counted struct{ closes int }

func (c *counted) Close() error {
	c.closes++
	return unix.EIO
}

func TestTable(t *testing.T) {
	table := fdtable.NewTable(nil)
	var events []string
	table.Closed = func(t *fdtable.Table, d *fdtable.Description) {
		events = append(events, fmt.Sprint("closed ", d.Flags))
	}
	install := func(flags, low, limit int) (int, error) {
		d := fdtable.NewDescription(new(counted), nil, flags)
		d.OnRelease(func() { events = append(events, fmt.Sprint("released ", flags)) })
		return table.Install(d, low, limit, false)
	}
	var got []int
	for _, low := range []int{0, 0, 5, 5, 1, -3, 4} {
		fd, err := install(low, low, 8)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fd)
	}
	if diff := cmp.Diff([]int{0, 1, 5, 6, 2, 3, 4}, got); diff != "" {
		t.Errorf("lowest free numbers (-want +got):\n%s", diff)
	}
	if _, err := install(0, 0, 7); err != unix.EMFILE {
		t.Errorf("full: %v", err)
	}
	if err := table.Close(3); err != unix.EIO {
		t.Errorf("Close does not give the file's error: %v", err)
	}
	if fd := table.Free(0); fd != 3 {
		t.Errorf("Free gives %d", fd)
	}
	d, _ := table.Get(0)
	if err := table.Replace(1, 8, d.Retain(), true); err != nil {
		t.Error(err)
	}
	for _, fd := range []int{-1, 8} {
		if err := table.Replace(fd, 8, d, false); err != unix.EBADF {
			t.Errorf("Replace(%d): %v", fd, err)
		}
	}
	for name, err := range map[string]error{
		"Close": table.Close(100), "SetCloseOnExec": table.SetCloseOnExec(-1, true),
	} {
		if err != unix.EBADF {
			t.Errorf("%s: %v", name, err)
		}
	}
	clone, err := table.Clone()
	if err != nil {
		t.Fatal(err)
	}
	table.Release()
	if d.File.(*counted).closes != 0 {
		t.Error("a description that a clone shares was closed")
	}
	clone.CloseOnExec()
	if diff := cmp.Diff([]int{0, 2, 4, 5, 6}, clone.Numbers()); diff != "" {
		t.Errorf("after exec (-want +got):\n%s", diff)
	}
	clone.Release()
	if d.File.(*counted).closes != 1 {
		t.Errorf("closed %d times", d.File.(*counted).closes)
	}
	closed, released := 0, 0
	for _, e := range events {
		if e[:6] == "closed" {
			closed++
		} else {
			released++
		}
	}
	if closed != 14 || released != 7 {
		t.Errorf("%d descriptors closed and %d descriptions released: %q", closed, released, events)
	}
}

func TestAccessMode(t *testing.T) {
	for flags, want := range map[int][2]error{
		unix.O_RDONLY: {nil, unix.EBADF}, unix.O_WRONLY: {unix.EBADF, unix.EINVAL}, unix.O_RDWR: {nil, unix.EINVAL},
		unix.O_ACCMODE: {unix.EBADF, unix.EBADF}, unix.O_PATH: {unix.EBADF, unix.EBADF}, unix.O_PATH | unix.O_RDWR: {unix.EBADF, unix.EBADF},
	} {
		d := fdtable.NewDescription(text("x"), nil, flags)
		_, rerr := d.ReadFile(make([]byte, 1), 0)
		_, werr := d.WriteFile(make([]byte, 1), 0)
		if !errors.Is(rerr, want[0]) || !errors.Is(werr, want[1]) {
			t.Errorf("flags %#x: read gives %v and write %v", flags, rerr, werr)
		}
	}
}

// TestBudget: tables that share a Budget have no more descriptors together, and
// what is refused changes nothing.
func TestBudget(t *testing.T) {
	budget := &fdtable.Budget{Max: 5}
	table := fdtable.NewTable(budget)
	d := fdtable.NewDescription(text(""), nil, unix.O_RDONLY)
	for want := range 2 {
		if fd, err := table.Install(d.Retain(), 0, 10, false); fd != want || err != nil {
			t.Fatal(fd, err)
		}
	}
	clone, err := table.Clone() // 4 in use
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Clone(); err != unix.ENFILE {
		t.Errorf("Clone of 2 where 1 may be: %v", err)
	}
	if err := clone.Replace(9, 10, d.Retain(), true); err != nil { // 5
		t.Error(err)
	}
	if err := clone.Replace(9, 10, d.Retain(), true); err != nil {
		t.Errorf("a number in use: %v", err)
	}
	if err := table.Replace(9, 10, d, true); err != unix.ENFILE {
		t.Errorf("Replace: %v", err)
	}
	if fd, err := table.Install(d, 0, 10, false); err != unix.ENFILE {
		t.Errorf("Install: %d, %v", fd, err)
	}
	if _, err := table.Install(d, 0, 2, false); err != unix.EMFILE { // the process's own bound comes first
		t.Errorf("Install below 2: %v", err)
	}
	clone.CloseOnExec() // 4
	if fd, err := table.Install(d.Retain(), 0, 10, false); fd != 2 || err != nil {
		t.Errorf("after a close: %d, %v", fd, err)
	}
	clone.Release()
	table.Release()
	if want := (fdtable.Budget{Max: 5, Most: 5, Refused: 3}); *budget != want {
		t.Errorf("%+v, want %+v", *budget, want)
	}
	if d.Refs() != 1 {
		t.Errorf("%d references remain of 1", d.Refs())
	}
}
