//go:build linux

package vfs_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// memFile is everything an open file of Mem can do.
type memFile interface {
	fdtable.File
	io.ReaderAt
	io.WriterAt
	fdtable.Sizer
	fdtable.Appender
	fdtable.Truncater
	fdtable.Allocater
	fdtable.HoleSeeker
	fdtable.Mapper
	fdtable.Sealer
}

func newFile(t testing.TB, m *vfs.Mem) (memFile, *vfs.Dentry) {
	t.Helper()
	d, err := vfs.NewNamespace(m.Root()).Root().Create(vfs.Cred{}, "f", 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return f.(memFile), d
}

// extents is the file's map of data and holes, and what is in use.
func extents(seek func(off int64, whence int) (int64, error), blocks int64) string {
	var b strings.Builder
	for at := int64(0); ; {
		from, err := seek(at, unix.SEEK_DATA)
		if err != nil {
			fmt.Fprintf(&b, "%v, %d blocks", err, blocks)
			return b.String()
		}
		at, _ = seek(from, unix.SEEK_HOLE)
		fmt.Fprintf(&b, "%d-%d ", from, at)
	}
}

func nativeExtents(t *testing.T, fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return extents(func(off int64, whence int) (int64, error) { return unix.Seek(fd, off, whence) }, st.Blocks)
}

func memExtents(t *testing.T, f memFile, d *vfs.Dentry) string {
	s := extents(f.SeekHole, 0)
	a, err := d.Attr()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(s, "0 blocks") + fmt.Sprintf("%d blocks", a.Blocks)
}

func bytesOf(t *testing.T, r io.ReaderAt, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); int64(n) != size || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	return b
}

// TestMemFile runs random calls on a file of Mem and on one of the kernel's: a
// memfd, which knows holes page by page but not all of fallocate, or one in the
// temporary directory.
func TestMemFile(t *testing.T) {
	for seed := range uint64(24) {
		onDisk, withArena := seed%2 == 0, seed%4 < 2
		t.Run(fmt.Sprintf("%d,disk=%v,arena=%v", seed, onDisk, withArena), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			m := vfs.NewMem(vfs.MemOptions{Bytes: 1 << 30})
			var a *arena.Arena
			if withArena {
				a = useArena(t, m)
			}
			f, d := newFile(t, m)
			fd, err := unix.MemfdCreate("oracle", unix.MFD_CLOEXEC)
			if onDisk {
				fd, err = unix.Open(t.TempDir()+"/f", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			oracle := os.NewFile(uintptr(fd), "oracle")
			defer oracle.Close()
			var log []string
			for range 120 {
				name, want, got := fileStep(r, fd, f, a, onDisk)
				log = append(log, name+": "+want)
				if want != got {
					t.Fatalf("%s\nkernel: %s, Mem: %s", strings.Join(log, "\n"), want, got)
				}
				size, _ := f.Size()
				if !bytes.Equal(bytesOf(t, oracle, size), bytesOf(t, f, size)) {
					t.Fatalf("%s\ncontent differs", strings.Join(log, "\n"))
				}
				if want, got := nativeExtents(t, fd), memExtents(t, f, d); want != got && !onDisk {
					t.Fatalf("%s\nkernel: %s\n   Mem: %s", strings.Join(log, "\n"), want, got)
				}
			}
			before := bytesOf(t, f, size(f))
			if err := m.UseArena(nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, bytesOf(t, f, size(f))) {
				t.Error("content changed with the arena gone")
			}
			if _, err := f.WriteAt([]byte("x"), 3); err != nil {
				t.Error(err)
			}
		})
	}
}

func size(f memFile) int64 {
	n, _ := f.Size()
	return n
}

// fileStep does one call on both and tells what each said.
func fileStep(r *rand.Rand, fd int, f memFile, a *arena.Arena, onDisk bool) (name, want, got string) {
	span := int64(300_000)
	off, n := r.Int64N(span), r.Int64N(40_000)
	if r.IntN(2) == 0 {
		off, n = off&^4095, n&^4095
	}
	say := func(n int, size int64, err error) string { return fmt.Sprint(n, size, err) }
	both := func(name string, native, mem func() (int, error)) (string, string, string) {
		a, aerr := native()
		if aerr == unix.EOPNOTSUPP {
			return name + " (not asked)", "", ""
		}
		b, berr := mem()
		var st unix.Stat_t
		_ = unix.Fstat(fd, &st)
		return name, say(a, st.Size, aerr), say(b, size(f), berr)
	}
	switch k := r.IntN(12); k {
	case 0, 1, 2:
		p := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, int(n))
		return both(fmt.Sprintf("pwrite %d %d", n, off),
			func() (int, error) { return unix.Pwrite(fd, p, off) },
			func() (int, error) { return f.WriteAt(p, off) })
	case 3:
		return both(fmt.Sprintf("ftruncate %d", off),
			func() (int, error) { return 0, unix.Ftruncate(fd, off) },
			func() (int, error) { return 0, f.Truncate(off) })
	case 4:
		if size(f) == 0 || a == nil {
			return "nothing", "", ""
		}
		off %= size(f)
		n = min(n, (size(f)+4095)&^4095-off)
		if !onDisk { // tmpfs does not clear behind the end as others do.
			n = min(n, size(f)-off)
		}
		p := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, int(n))
		return both(fmt.Sprintf("write mapped %d %d", n, off),
			func() (int, error) { return poke(fd, 0, off, p) },
			func() (int, error) {
				m, err := f.Map(0, off+n, true)
				if err != nil {
					return 0, err
				}
				return poke(int(a.File().Fd()), m.Offset, off, p)
			})
	case 5:
		if _, err := f.Map(0, n, false); err != nil && err != unix.ENODEV {
			return "map", "nil", err.Error()
		}
		return "map", "", ""
	default:
		modes := []uint32{0, 1, 3, 3, 3}
		if onDisk {
			modes = append(modes, 0x10, 0x11, 0x08, 0x08, 0x20, 0x20, 0x02, 0x28)
		}
		mode := modes[r.IntN(len(modes))]
		return both(fmt.Sprintf("fallocate %#x %d %d", mode, off, n),
			func() (int, error) { return 0, unix.Fallocate(fd, mode, off, n) },
			func() (int, error) { return 0, f.Allocate(mode, off, n) })
	}
}

// poke writes p through a shared mapping of what starts at base.
func poke(fd int, base, off int64, p []byte) (int, error) {
	b, err := unix.Mmap(fd, base, int(off)+len(p)+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(b)
	return copy(b[off:], p), nil
}

// useArena gives m an arena of which no slot is ever mapped.
func useArena(t testing.TB, m *vfs.Mem) *arena.Arena {
	t.Helper()
	a, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	a.InUse = func(map[int]bool) error { return nil }
	if err := m.UseArena(a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.UseArena(nil); err != nil {
			t.Error(err)
		}
		a.Close()
	})
	return a
}

func TestQuota(t *testing.T) {
	for _, withArena := range []bool{false, true} {
		outer := &vfs.Quota{Bytes: 200 << 10}
		m := vfs.NewMem(vfs.MemOptions{Bytes: 300 << 10, Within: outer})
		if withArena {
			useArena(t, m)
		}
		f, d := newFile(t, m)
		p := make([]byte, 150<<10)
		var got []string
		for range 3 {
			n, err := f.WriteAt(p, size(f))
			got = append(got, fmt.Sprint(n, err))
		}
		if _, err := f.Map(0, 1, false); (err == nil) != withArena {
			t.Error(err)
		}
		root := vfs.NewNamespace(m.Root()).Root()
		got = append(got, fmt.Sprint(root.Unlink(vfs.Cred{}, "f"), f.Close()))
		g, err := root.Create(vfs.Cred{}, "g", 0o644, 0)
		if err != nil {
			t.Fatal(err)
		}
		file, err := g.Open(unix.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		n, err := file.(memFile).WriteAt(p, 1<<40)
		got = append(got, fmt.Sprint(n, err))
		if d := cmp.Diff([]string{"153600 <nil>", "51200 <nil>", "0 no space left on device", "<nil> <nil>", "153600 <nil>"}, got); d != "" {
			t.Error(d)
		}
		_ = d
	}
}

func TestInodeQuota(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{Inodes: 3})
	root := vfs.NewNamespace(m.Root()).Root()
	a, err := root.Create(vfs.Cred{}, "a", 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Link(vfs.Cred{}, "b", a); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() (*vfs.Dentry, error){
		"create": func() (*vfs.Dentry, error) { return root.Create(vfs.Cred{}, "c", 0o644, 0) },
		"mkdir":  func() (*vfs.Dentry, error) { return root.Mkdir(vfs.Cred{}, "c", 0o755) },
		"link":   func() (*vfs.Dentry, error) { return root.Link(vfs.Cred{}, "c", a) },
		"tmp":    func() (*vfs.Dentry, error) { return root.Tmpfile(vfs.Cred{}, 0o600) },
	} {
		if _, err := do(); err != unix.ENOSPC {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := root.Unlink(vfs.Cred{}, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Symlink(vfs.Cred{}, "c", "b"); err != nil {
		t.Error(err)
	}
}

// TestExtremes gives calls the largest numbers there are.
func TestExtremes(t *testing.T) {
	m := vfs.NewMem(vfs.MemOptions{Bytes: 1 << 20})
	useArena(t, m)
	f, _ := newFile(t, m)
	const far = 1<<47 - 4096
	numbers := []int64{-1 << 63, -1, 0, 1, 4096, far - 4096, far, far + 4096, 1 << 47, 1<<63 - 4096, 1<<63 - 1}
	for _, a := range numbers {
		_, _ = f.WriteAt([]byte("x"), a)
		_, _ = f.ReadAt(make([]byte, 1), a)
		_, _ = f.SeekHole(a, unix.SEEK_DATA)
		_, _ = f.SeekHole(a, unix.SEEK_HOLE)
		for _, b := range numbers {
			for _, mode := range []uint32{0, 1, 3, 0x08, 0x10, 0x11, 0x20, 1 << 31} {
				if err := f.Allocate(mode, a, b); err == nil && b > 1<<20 && mode <= 1 {
					t.Errorf("fallocate %d, %d, %d", mode, a, b)
				}
			}
			_, _ = f.Map(a, b, false)
		}
		_ = f.Truncate(a)
	}
	for _, size := range []int64{0, far} {
		if err := f.Truncate(size); err != nil {
			t.Error(err)
		}
	}
	if n, err := f.WriteAt([]byte("xy"), far-1); n != 1 || err != nil {
		t.Error(n, err)
	}
	if _, err := f.WriteAt([]byte("x"), far); err != unix.EFBIG {
		t.Error(err)
	}
	if at, err := f.SeekHole(0, unix.SEEK_DATA); at != far-4096 || err != nil {
		t.Error(at, err)
	}
}
