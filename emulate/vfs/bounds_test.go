//go:build linux

package vfs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// deep makes n directories, each in the one before, and returns the last.
func deep(t *testing.T, root *vfs.Dentry, name string, n int) *vfs.Dentry {
	t.Helper()
	d := root
	for range n {
		var err error
		if d, err = d.Mkdir(vfs.Cred{}, name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// A tree may be deeper than any stack, and its paths longer than memory.
func TestDeepTree(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(4 << 20))
	m := vfs.NewMem(vfs.MemOptions{})
	ns := vfs.NewNamespace(m.Root())
	end := deep(t, ns.Root(), strings.Repeat("n", 200), 100_000)
	if n := len(end.Path()); n <= unix.PathMax || n > 4*unix.PathMax {
		t.Errorf("the path has %d bytes", n)
	}
	if _, ok := end.PathFrom(ns.Root()); !ok {
		t.Error("the end is not below the root")
	}
	for i := range 2 * vfs.MaxCached { // Names fade.
		if _, err := end.Create(vfs.Cred{}, fmt.Sprint(i), 0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	list := vfs.Changes(m.Root(), nil)
	if n := len(list); n == 0 || n > 30 {
		t.Errorf("%d changes", n)
	}
}

// Directories that are open and read in part do not hold their names once each.
func TestOpenListings(t *testing.T) {
	const files, opens = 10_000, 60
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	for i := range files {
		if _, err := ns.Root().Create(vfs.Cred{}, fmt.Sprint(i), 0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	var open []*fdtable.Description
	for range opens {
		f, err := ns.Root().Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		d := fdtable.NewDescription(f, ns.Root(), unix.O_RDONLY)
		open = append(open, d)
		list, err := f.(vfs.DirReader).Entries(d)
		if err != nil || len(list) != files+2 {
			t.Fatal(len(list), err)
		}
		d.Offset = list[99].Next
	}
	if n := ns.Listed(); n > vfs.MaxListing {
		t.Errorf("%d names are held", n)
	}
	for _, d := range open { // Also those whose names had to go.
		list, err := d.File.(vfs.DirReader).Entries(d)
		if err != nil || len(list) != files+2-100 {
			t.Fatal(len(list), err)
		}
		_ = d.Release()
	}
	if n := ns.Listed(); n != 0 {
		t.Errorf("%d names are held for nobody", n)
	}
}

// One fallocate(2) over a file with many holes does not move the file once for
// each.
func TestAllocateHoles(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{})
	n, err := m.Root().(vfs.Creator).Create("f", unix.S_IFREG|0o644, 0, vfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.(vfs.Opener).Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const chunk, holes = 64 << 10, 60_000
	a := f.(fdtable.Allocater)
	for i := range int64(holes) {
		if err := a.Allocate(0, 2*i*chunk, 4096); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if err := a.Allocate(0, 0, 2*holes*chunk); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it takes %v", took)
	}
	attr, err := n.Attr()
	if want := int64(2 * holes * chunk / 512); err != nil || attr.Blocks != want {
		t.Errorf("%d blocks, want %d", attr.Blocks, want)
	}
}

// The text of symbolic links counts.
func TestLinkQuota(t *testing.T) {
	lower := vfs.NewMem(vfs.MemOptions{})
	over, err := vfs.NewOverlay(lower.Root(), vfs.MemOptions{Bytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]vfs.Node{"mem": vfs.NewMem(vfs.MemOptions{Bytes: 16 << 10}).Root(), "overlay": over} {
		d := vfs.NewNamespace(root).Root()
		text := strings.Repeat("x", 4000)
		for round := range 3 {
			made := 0
			for ; made < 10; made++ {
				if _, err := d.Symlink(vfs.Cred{}, fmt.Sprint(made), text); err == unix.ENOSPC {
					break
				} else if err != nil {
					t.Fatal(name, err)
				}
			}
			if made != 4 {
				t.Errorf("%s, round %d: %d links of 4000 bytes in 16 KiB", name, round, made)
			}
			for i := range made {
				if err := d.Unlink(vfs.Cred{}, fmt.Sprint(i)); err != nil {
					t.Fatal(name, err)
				}
			}
		}
	}
}

// Files that guests open never take the last descriptors of the process.
func TestHostDescriptorBound(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		if err := os.WriteFile(fmt.Sprint(dir, "/", i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n, err := vfs.NewHost(dir, vfs.HostOptions{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.(io.Closer).Close()
	const bound = 20
	defer vfs.SetMaxHostFDs(bound)()
	root := vfs.NewNamespace(n).Root()
	var open []fdtable.File
	opened := func(e *vfs.Dentry, err error, flags int) error {
		if err != nil {
			return err
		}
		f, err := e.Open(flags)
		if err == nil && flags&unix.O_PATH == 0 {
			open = append(open, f)
		}
		return err
	}
	full := false
	for i := range 100 {
		e, err := root.Lookup(vfs.Cred{}, fmt.Sprint(i))
		if err := opened(e, err, unix.O_RDONLY); err == unix.ENFILE {
			full = true
		} else if err != nil {
			t.Fatal(err)
		}
		if err := opened(e, err, unix.O_PATH); err != nil {
			t.Errorf("O_PATH: %v", err)
		}
	}
	e, err := root.Create(vfs.Cred{}, "new", unix.S_IFREG|0o644, 0)
	if err := opened(e, err, unix.O_RDWR); err != unix.ENFILE {
		t.Errorf("a new file: %v", err)
	}
	if !full || len(open) > bound {
		t.Errorf("%d files are open", len(open))
	}
	for _, f := range open {
		_ = f.Close()
	}
	e, err = root.Create(vfs.Cred{}, "new", unix.S_IFREG|0o644, 0)
	if err := opened(e, err, unix.O_RDWR); err != nil {
		t.Errorf("a new file, after closing: %v", err)
	}
}

// To punch a hole costs no look at the pages behind it.
func TestScatteredHoles(t *testing.T) {
	const pages = 1 << 14
	f, _ := newFile(t, vfs.NewMem(vfs.MemOptions{}))
	for i := range int64(pages) {
		if _, err := f.WriteAt([]byte{1}, i<<16); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, 300*time.Millisecond, func() {
		for i := range int64(pages) {
			if err := f.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, i<<16, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// soon runs fn, which must take less time of the CPU.
func soon(t *testing.T, most time.Duration, fn func()) {
	t.Helper()
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := spent()
	fn()
	if d := spent() - before; d > most {
		t.Errorf("it took %v", d)
	}
}

// To take out or put in a range costs no look at all pages for each.
func TestScatteredRanges(t *testing.T) {
	const pages = 1 << 14
	for _, mapped := range []bool{false, true} {
		m := vfs.NewMem(vfs.MemOptions{})
		f, _ := newFile(t, m)
		for i := range int64(pages) {
			if _, err := f.WriteAt([]byte{byte(i), byte(i >> 8)}, i<<16); err != nil {
				t.Fatal(err)
			}
		}
		if mapped {
			useArena(t, m)
			if _, err := f.Map(0, 4096, true); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			mode  uint32
			moved int64
		}{{unix.FALLOC_FL_COLLAPSE_RANGE, -4096}, {unix.FALLOC_FL_INSERT_RANGE, 0}} {
			soon(t, 500*time.Millisecond, func() {
				if err := f.Allocate(c.mode, 4096, 4096); err != nil {
					t.Fatal(err)
				}
			})
			for i := int64(1); i < pages; i++ {
				p := make([]byte, 2)
				if _, err := f.ReadAt(p, i<<16+c.moved); err != nil || p[0] != byte(i) || p[1] != byte(i>>8) {
					t.Fatalf("%#x: page %d is % x, %v", c.mode, i, p, err)
				}
			}
		}
	}
}

// A hole in a large file below costs nothing by its size, and many holes have a bound.
func TestOverlayHoles(t *testing.T) {
	const size = 1 << 40
	dir := t.TempDir()
	for _, name := range []string{"f", "g"} {
		mustWrite(t, dir+"/"+name, strings.Repeat("x", 8192))
		if err := os.Truncate(dir+"/"+name, size); err != nil {
			t.Fatal(err)
		}
	}
	root := mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{})
	open := func(name string) (f fdtable.File, punch func(off, n int64) error) {
		f = mustOpen(t, mustLookup(t, root, name), unix.O_RDWR)
		t.Cleanup(func() { _ = f.Close() })
		return f, func(off, n int64) error {
			return f.(fdtable.Allocater).Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		}
	}
	f, punch := open("f")
	soon(t, 300*time.Millisecond, func() {
		if err := punch(4096, size-8192); err != nil {
			t.Fatal(err)
		}
	})
	p := make([]byte, 8192)
	if _, err := f.(io.ReaderAt).ReadAt(p, 0); err != nil || string(p) != strings.Repeat("x", 4096)+string(make([]byte, 4096)) {
		t.Errorf("%.8q … %.8q, %v", p, p[4096:], err)
	}
	if a, err := mustLookup(t, root, "f").Attr(); err != nil || a.Blocks != 2*8 {
		t.Errorf("%d blocks, %v", a.Blocks, err)
	}
	_, punch = open("g")
	soon(t, 2*time.Second, func() {
		var err error
		n := int64(0)
		for ; err == nil && n < 1<<19; n++ {
			err = punch(n*8192, 4096)
		}
		if err != unix.ENOSPC || n < 1<<17 {
			t.Errorf("%d holes, %v", n, err)
		}
	})
}

// A file below that is larger than what is copied at once is not copied at all.
func TestOverlayLarge(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir+"/f", "")
	const size = 1 << 40
	if err := os.Truncate(dir+"/f", size); err != nil {
		t.Fatal(err)
	}
	root := mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{Bytes: 256 << 20})
	f := mustOpen(t, mustLookup(t, root, "f"), unix.O_RDWR).(interface {
		fdtable.File
		fdtable.Mapper
		fdtable.Allocater
	})
	defer f.Close()
	free := func() uint64 {
		s, err := root.(vfs.StatFSer).StatFS()
		if err != nil {
			t.Fatal(err)
		}
		return s.Bfree
	}
	before := free()
	if _, err := f.Map(0, 4096, true); err != unix.ENOMEM {
		t.Errorf("a mapping gives %v", err)
	}
	if err := f.Allocate(unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096); err != unix.EOPNOTSUPP {
		t.Errorf("a range taken out gives %v", err)
	}
	if n := before - free(); n > 2 {
		t.Errorf("%d pages were copied", n)
	}
}

// What a file takes of memory is what counts, however its pages are scattered.
func TestScatteredQuota(t *testing.T) {
	const limit = 16 << 20
	m := vfs.NewMem(vfs.MemOptions{Bytes: limit})
	root := vfs.NewNamespace(m.Root()).Root()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const perFile = 64
	pages, err := 0, error(nil)
	for n := 0; err == nil; n++ {
		d, e := root.Create(vfs.Cred{}, fmt.Sprint(n), 0o644, 0)
		if e != nil {
			t.Fatal(e)
		}
		f, e := d.Open(unix.O_RDWR)
		if e != nil {
			t.Fatal(e)
		}
		for i := int64(0); i < perFile && err == nil; i++ {
			if _, err = f.(memFile).WriteAt([]byte{1}, i<<16+15<<12+4095); err == nil {
				pages++
			}
		}
		f.Close()
	}
	if err != unix.ENOSPC || pages != limit>>12 {
		t.Errorf("%d pages, then %v", pages, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > limit*11/10 {
		t.Errorf("they hold %d bytes", n)
	}
	runtime.KeepAlive(m)
}

// A file that is gone while a guest maps it counts until none does, at the latest until
// the arena ends.
func TestGoneWhileMapped(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{Bytes: 1 << 20})
	free := func() uint64 {
		s, err := m.Root().(vfs.StatFSer).StatFS()
		if err != nil {
			t.Fatal(err)
		}
		return s.Bfree
	}
	all := free()
	a := useArena(t, m)
	a.InUse = func(slots map[int]bool) error { slots[0] = true; return nil }
	f, _ := newFile(t, m)
	if _, err := f.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Map(0, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(vfs.NewNamespace(m.Root()).Root().Unlink(vfs.Cred{}, "f"), f.Close()); err != nil {
		t.Fatal(err)
	}
	if a.Reclaim(); free() != 0 {
		t.Errorf("%d blocks are free while it is mapped", free())
	}
	if err := m.UseArena(nil); err != nil || free() != all {
		t.Errorf("%d blocks are free at last, of %d, %v", free(), all, err)
	}
}

// All of a large file is a guest's to touch after few faults, in whatever order they
// come.
func TestAdmitSoon(t *testing.T) {
	const size, page = 1 << 30, 4096
	m := vfs.NewMem(vfs.MemOptions{})
	useArena(t, m)
	f, _ := newFile(t, m)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	p, err := f.Map(0, size, true)
	if err != nil {
		t.Fatal(err)
	}
	touched, faults := make([]bool, size/page), 0
	for i := range len(touched) {
		at := i * 100_003 % len(touched) // a prime: each page once
		if touched[at] {
			continue
		}
		n, err := p.Owner.Admit(int64(at)*page, size-int64(at)*page)
		if n < page || err != nil {
			t.Fatalf("page %d: %d bytes, %v", at, n, err)
		}
		for j := range int(n / page) {
			touched[at+j] = true
		}
		faults++
	}
	if faults > 3000 {
		t.Errorf("%d faults", faults)
	}
}

// What guests may touch of a mapped file counts, page by page, until none maps it.
func TestAdmit(t *testing.T) {
	const limit, page = 1 << 20, 4096
	m := vfs.NewMem(vfs.MemOptions{Bytes: limit})
	a := useArena(t, m)
	mapped := true
	a.InUse = func(slots map[int]bool) error { slots[0] = mapped; return nil }
	f, _ := newFile(t, m)
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	p, err := f.Map(0, 1<<31, true)
	ahead := 1<<31 - p.Beyond
	if err != nil || ahead != limit/16 {
		t.Fatalf("%d bytes may be touched, %v", ahead, err)
	}
	pages, slot := ahead/page, p.Offset
	for at := int64(1 << 29); ; at += 2 * page {
		n, err := p.Owner.Admit(at, 1<<29)
		if err == unix.ENOSPC && pages == limit/page {
			break
		}
		if n < page || err != nil {
			t.Fatalf("after %d pages: %d bytes, %v", pages, n, err)
		}
		pages += n / page
		if _, err := a.File().WriteAt([]byte{1}, slot+at); err != nil { // a guest's store
			t.Fatal(err)
		}
	}
	if n, err := p.Owner.Admit(0, ahead); n != ahead || err != nil {
		t.Errorf("again: %d bytes, %v", n, err)
	}
	if n, err := p.Owner.Admit(1<<30, page); n != 0 || err != nil {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
	if err := f.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1<<30); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte{1}, 1<<28); n != 0 || err != unix.ENOSPC {
		t.Errorf("a write while it is mapped: %d, %v", n, err)
	}
	mapped = false
	if n, err := f.WriteAt(make([]byte, limit), 1<<28); n != limit || err != nil {
		t.Errorf("a write of all there is: %d, %v", n, err)
	}
	if ahead, err := a.Ahead(); ahead != 0 || err != nil {
		t.Errorf("%d bytes ahead, %v", ahead, err)
	}
}
