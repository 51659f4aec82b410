//go:build linux

package arena_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/arena"
)

func newArena(t testing.TB) *arena.Arena {
	t.Helper()
	a, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func alloc(t testing.TB, a *arena.Arena) arena.Slot {
	t.Helper()
	s, err := a.Alloc()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t testing.TB, s arena.Slot, off int64, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := s.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestSlots(t *testing.T) {
	a := newArena(t)
	one, two := alloc(t, a), alloc(t, a)
	if two.Offset()-one.Offset() != arena.Stride {
		t.Errorf("slots at %#x and %#x", one.Offset(), two.Offset())
	}
	for s, text := range map[arena.Slot]string{one: "first", two: "second"} {
		if _, err := s.WriteAt([]byte(text), 8190); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, one, 8189, 7); got != "\x00first\x00" {
		t.Errorf("%q", got)
	}
	if _, err := one.WriteAt([]byte("xx"), arena.Stride-1); err != unix.EFBIG {
		t.Errorf("write across the gap: %v", err)
	}
	if _, err := one.ReadAt(make([]byte, 1), arena.Stride); err != unix.EFBIG {
		t.Errorf("read of the neighbour: %v", err)
	}
	at, err := one.SeekData(0, 1<<20)
	end, err2 := one.SeekHole(4096, 1<<20)
	none, err3 := one.SeekData(end, 1<<20)
	if d := cmp.Diff([]int64{4096, 12288, 1 << 20}, []int64{at, end, none}); d != "" || errors.Join(err, err2, err3) != nil {
		t.Error(d, err, err2, err3)
	}
	if err := one.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	if got := read(t, one, 8190, 4); got != "fi\x00\x00" {
		t.Errorf("after truncate: %q", got)
	}
	if got := read(t, two, 8190, 6); got != "second" {
		t.Errorf("the neighbour: %q", got)
	}
	if err := one.Free(); err != nil {
		t.Fatal(err)
	}
	again := alloc(t, a)
	if again.Offset() != one.Offset() || read(t, again, 8190, 2) != "\x00\x00" {
		t.Error("a freed slot is not used again, or not empty")
	}
}

// TestEverySlot uses the last slot, where the largest file offset is near.
func TestEverySlot(t *testing.T) {
	a := newArena(t)
	var last arena.Slot
	for range arena.MaxSlots {
		last = alloc(t, a)
	}
	if _, err := a.Alloc(); err != unix.ENFILE {
		t.Errorf("one too many: %v", err)
	}
	if _, err := last.WriteAt([]byte("end"), 1<<30); err != nil {
		t.Error(err)
	}
	p, err := unix.Mmap(int(a.File().Fd()), last.Offset()+1<<30, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	if string(p[:3]) != "end" {
		t.Errorf("%q", p[:3])
	}
}

func TestReadOnly(t *testing.T) {
	a := newArena(t)
	f, err := a.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("written through the read-only descriptor")
	}
	p, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	if err := unix.Mprotect(p, unix.PROT_READ|unix.PROT_WRITE); err != unix.EACCES {
		t.Errorf("mprotect: %v", err)
	}
	for _, flags := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE} {
		code, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, flags)
		if err != nil {
			t.Fatalf("map a library's code: %v", err)
		}
		defer unix.Munmap(code)
	}
	for _, f := range []*os.File{a.File(), f} {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: flags %#x, %v", f.Name(), flags, err)
		}
	}
}

// TestRetire frees slots only when no process maps them, as /proc tells.
func TestRetire(t *testing.T) {
	a := newArena(t)
	a.InUse = func(mapped map[int]bool) error {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			return err
		}
		return a.MarkSlots(string(maps), mapped)
	}
	kept, gone := alloc(t, a), alloc(t, a)
	p, err := unix.Mmap(int(a.File().Fd()), kept.Offset()+1<<32, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	var freed []string
	a.Retire(kept, func() { freed = append(freed, "kept") })
	a.Retire(gone, func() { freed = append(freed, "gone") })
	if n := a.Reclaim(); n != 1 {
		t.Errorf("%d freed", n)
	}
	if err := unix.Munmap(p); err != nil {
		t.Fatal(err)
	}
	a.Reclaim()
	if d := cmp.Diff([]string{"gone", "kept"}, freed); d != "" {
		t.Error(d)
	}
}

// TestAhead: what may come to be and is not there yet.
func TestAhead(t *testing.T) {
	a := newArena(t)
	a.Limit = 10 << 10
	s := alloc(t, a)
	ahead := func(want int64) {
		t.Helper()
		if n, err := a.Ahead(); n != want || err != nil {
			t.Errorf("%d bytes ahead, %v, want %d", n, err, want)
		}
	}
	s.Hold(16 << 10)
	ahead(16 << 10)
	if _, err := s.WriteAt(make([]byte, 12<<10), 0); err != nil {
		t.Fatal(err)
	}
	ahead(4 << 10)
	if err := a.Foreign(9 << 10); err != nil {
		t.Error(err)
	}
	ahead(13 << 10)
	if err := a.Foreign(2 << 10); err != unix.ENOMEM {
		t.Errorf("more of others' than the limit: %v", err)
	}
	if err := a.Foreign(-9 << 10); err != nil {
		t.Error(err)
	}
	ahead(4 << 10)
}

// TestIdle: who waits for a slot's last mapping hears of it once, and may wait again.
func TestIdle(t *testing.T) {
	a := newArena(t)
	s, calls, mapped := alloc(t, a), 0, true
	a.InUse = func(m map[int]bool) error { m[int(s.Offset()/arena.Stride)] = mapped; return nil }
	var fn func()
	fn = func() {
		if calls++; calls == 1 {
			s.OnIdle(fn)
		}
	}
	s.OnIdle(fn)
	for i, want := range []int{0, 1, 2, 2} {
		mapped = i == 0
		if a.Reclaim(); calls != want {
			t.Errorf("%d calls after %d looks, want %d", calls, i+1, want)
		}
	}
}

// counting is a file that knows what was read of it.
type counting struct {
	io.ReaderAt
	mu   sync.Mutex
	read int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.read += int64(len(p))
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

func newCache(t testing.TB, idle, limit int64) *arena.Cache {
	t.Helper()
	c, err := arena.NewCache(idle, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func get(t testing.TB, c *arena.Cache, ino uint64, size int64) *arena.Image {
	t.Helper()
	m, err := c.Get(arena.Key{Ino: ino, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFill(t *testing.T) {
	const size = 3<<20 + 1234
	text := []byte(strings.Repeat("0123456789abcde\n", size/16+1))[:size]
	src := &counting{ReaderAt: bytes.NewReader(text)}
	c := newCache(t, 1<<30, 1<<30)
	m := get(t, c, 1, size)
	f, err := c.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range []struct{ off, n, read int64 }{
		{5000, 10, 4096}, {4096, 4096, 0}, {0, 12288, 8192}, {size - 1, 100, 1234}, {size + 4096, 1 << 30, 0}, {0, size, 3<<20 - 12288}, {0, 1 << 40, 0},
	} {
		src.read = 0
		at, err := m.Fill(src, s.off, s.n)
		if err != nil {
			t.Fatal(err)
		}
		if src.read != s.read {
			t.Errorf("Fill(%d, %d) read %d bytes, want %d", s.off, s.n, src.read, s.read)
		}
		want := make([]byte, min(s.n, 1<<16))
		copy(want, text[min(s.off, size):])
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Fill(%d, %d): wrong bytes, %v", s.off, s.n, err)
		}
	}
	if c.Used() != (size+4095)/4096*4096 {
		t.Errorf("used %d", c.Used())
	}
}

// TestFillTogether fills one image from many goroutines: every byte once.
func TestFillTogether(t *testing.T) {
	const size = 4 << 20
	src := &counting{ReaderAt: bytes.NewReader(make([]byte, size))}
	c := newCache(t, 1<<30, 1<<30)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			m, err := c.Get(arena.Key{Ino: 1, Size: size})
			if err != nil {
				t.Error(err)
				return
			}
			defer m.Release()
			if _, err := m.Fill(src, int64(i)<<18, 3<<20); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if src.read > size {
		t.Errorf("%d bytes read of %d", src.read, size)
	}
}

func TestEvict(t *testing.T) {
	c := newCache(t, 9*4096, 13*4096)
	zero := bytes.NewReader(make([]byte, 4*4096))
	fill := func(m *arena.Image) error {
		_, err := m.Fill(zero, 0, 4*4096)
		return err
	}
	one, two := get(t, c, 1, 4*4096), get(t, c, 2, 4*4096)
	if err := errors.Join(fill(one), fill(two)); err != nil {
		t.Fatal(err)
	}
	three, four := get(t, c, 3, 4*4096), get(t, c, 4, 4*4096)
	if err := fill(three); err != nil {
		t.Errorf("in use and beyond what may be idle: %v", err)
	}
	if err := fill(four); err != unix.ENOMEM {
		t.Errorf("over the limit with all in use: %v", err)
	}
	large := get(t, c, 5, 1<<40)
	if _, err := large.Fill(nil, 4096, 14*4096); err != unix.ENOMEM { // not one page of it
		t.Errorf("more than there may be: %v", err)
	}
	large.Release()
	one.Release()
	if c.Used() != 8*4096 {
		t.Errorf("%d bytes are kept, more than may be idle", c.Used())
	}
	four.Release()
	at, err := two.Fill(nil, 0, 1) // still there: no reader needed
	if err != nil || at%arena.Stride != 0 {
		t.Error(at, err)
	}
	two.Release()
	again := get(t, c, 2, 4*4096)
	if back, err := again.Fill(nil, 0, 1); err != nil || back != at {
		t.Errorf("an idle image was not kept: %d, %v", back, err)
	}
	own, err := c.Get(arena.Key{Owner: t, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.Fill(zero, 0, 4096); err != nil {
		t.Fatal(err)
	}
	used := c.Used()
	own.Release()
	if c.Used() != used-4096 {
		t.Error("owned content outlives its last reference")
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, unix.EIO }

func TestFillFails(t *testing.T) {
	c := newCache(t, 1<<20, 1<<20)
	m := get(t, c, 1, 8192)
	if _, err := m.Fill(failing{}, 0, 8192); err != unix.EIO {
		t.Error(err)
	}
	if c.Used() != 0 {
		t.Errorf("%d bytes counted", c.Used())
	}
}

// TestFileSizeLimit lowers the soft limit for a moment; nothing else runs.
func TestFileSizeLimit(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	lim := old
	lim.Cur = 1 << 40
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &lim); err != nil {
		t.Fatal(err)
	}
	a, err := arena.New()
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if err == nil || !strings.Contains(err.Error(), "RLIMIT_FSIZE") {
		t.Errorf("New: %v", err)
	}
	if a != nil {
		a.Close()
	}
}

// TestKeep: images in use may take more than is kept of them afterwards, and
// holes of a file are none in memory.
func TestKeep(t *testing.T) {
	c, err := arena.NewCache(4*4096, 12*4096)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	content := bytes.Repeat([]byte{1}, 4*4096)
	clear(content[4096 : 3*4096])
	one, two := get(t, c, 1, 4*4096), get(t, c, 2, 4*4096)
	for _, m := range []*arena.Image{one, two} {
		if _, err := m.Fill(bytes.NewReader(content), 0, 4*4096); err != nil {
			t.Error(err)
		}
	}
	if got := c.Used(); got != 8*4096 {
		t.Errorf("%d bytes in use", got)
	}
	one.Release()
	two.Release()
	three := get(t, c, 3, 4096)
	if _, err := three.Fill(bytes.NewReader(content), 0, 4096); err != nil {
		t.Error(err)
	}
	if got := c.Used(); got > 4*4096 {
		t.Errorf("%d bytes are kept", got)
	}
	f, err := c.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > 1*4096 {
		t.Errorf("%d blocks for one page, %v", st.Blocks, err)
	}
	four := get(t, c, 4, 4*4096)
	if at, err := four.Fill(bytes.NewReader(content), 0, 4*4096); err != nil {
		t.Error(err)
	} else {
		got := make([]byte, len(content))
		if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the content is not the file's, %v", err)
		}
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > 3*4096 {
		t.Errorf("%d blocks for one page and two of four, %v", st.Blocks, err)
	}
}
