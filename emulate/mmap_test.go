//go:build linux

package emulate_test

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/sysno"
)

// mapper makes g's native mmap calls in this process, with the real arena.
func mapper(t *testing.T, g *Guest) {
	t.Helper()
	ro, err := g.Arena.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ro.Close() })
	g.Sys.ArenaFDs = [3]int{-1, int(g.Arena.File().Fd()), int(ro.Fd())}
	g.Machine.OnNative = func(nr int, a [6]uint64) (uint64, error) {
		n, _, errno := unix.Syscall6(uintptr(nr), uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
		if errno != 0 {
			return 0, errno
		}
		if nr == sysno.Mmap {
			t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MUNMAP, n, uintptr(a[1]), 0) })
		}
		return uint64(n), nil
	}
}

// TestMmapErrors: the checks of do_mmap, which need no mapping.
func TestMmapErrors(t *testing.T) {
	Twin(t, func(s *Script) {
		if s.Emulated {
			mapper(t, s.Guest)
		}
		rw := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		s.Call("write", rw, []byte("content"), 7)
		ro := s.Open("openat", cwd, "/f", unix.O_RDONLY, 0)
		wo := s.Open("openat", cwd, "/f", unix.O_WRONLY, 0)
		path := s.Open("openat", cwd, "/f", unix.O_PATH, 0)
		dir := s.Open("openat", cwd, "/", unix.O_RDONLY, 0)
		ev := s.Open("eventfd2", 0, 0)
		for _, f := range []any{rw, ro, wo, path, dir, ev, -1} {
			for _, flags := range []int{0, unix.MAP_SHARED, unix.MAP_PRIVATE, unix.MAP_SHARED_VALIDATE, 8, 15,
				unix.MAP_SHARED_VALIDATE | 1<<21, unix.MAP_PRIVATE | unix.MAP_HUGETLB, unix.MAP_PRIVATE | unix.MAP_GROWSDOWN} {
				for _, prot := range []int{0, unix.PROT_READ, unix.PROT_WRITE, unix.PROT_READ | unix.PROT_WRITE} {
					for _, n := range []uint64{0, 1, 1 << 47, 1 << 63, ^uint64(0)} {
						for _, off := range []int64{0, 1, 4096, -4096} {
							at, errno := s.Quiet("mmap", nil, n, prot, flags, f, off)
							s.Logf("mmap(%#x, %#x, %#x, %v, %#x) = %s", n, prot, flags, f == any(-1), off, unix.ErrnoName(errno))
							if errno == 0 && !s.Emulated {
								s.Quiet("munmap", at, n)
							}
						}
					}
				}
			}
		}
	})
}

// TestMmap: a mapping shows the file, a shared one writes it, and what may not
// be written can never be.
func TestMmap(t *testing.T) {
	g := NewGuest(t)
	mapper(t, g)
	g.WriteFile("/f", "hello, world")
	rw := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	ro := g.Must("openat", cwd, "/f", unix.O_RDONLY, 0)
	shared := g.Must("mmap", 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, rw, 0)
	private := g.Must("mmap", 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE, ro, 0)
	readOnly := g.Must("mmap", 0, 4096, unix.PROT_READ, unix.MAP_SHARED, ro, 0)
	mem := func(at uint64) []byte { return memoryAt(at)[:12] }
	if got := string(mem(shared)); got != "hello, world" {
		t.Errorf("mapped: %q", got)
	}
	copy(mem(shared), "HELLO")
	copy(mem(private)[7:], "WORLD")
	got := []string{string(mem(readOnly)), string(mem(private)), g.ReadFile("/f")}
	if diff := cmp.Diff([]string{"HELLO, world", "HELLO, WORLD", "HELLO, world"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g.Must("pwrite64", rw, []byte("J"), 1, 0)
	if mem(readOnly)[0] != 'J' {
		t.Error("a write does not show in a mapping")
	}
	if err := unix.Mprotect(memoryAt(readOnly), unix.PROT_READ|unix.PROT_WRITE); err != unix.EACCES {
		t.Errorf("mprotect of a read-only descriptor's mapping gives %v", err)
	}
	last := g.Machine.Natives[0]
	e, at, ok := g.Sys.Mapped(fdtable.ArenaOwn, int64(last.Args[5])+100)
	if !ok || e.Path() != "/f" || at != 100 {
		t.Errorf("Mapped gives %v, %d, %v", e, at, ok)
	}
	vec := make([]byte, 3)
	g.Must("mincore", shared, 4096, vec)
	if vec[0] != 1 || vec[1] != 0 {
		t.Errorf("mincore: %v", vec)
	}
	if _, errno := g.Call("mincore", 1<<20, 4096, vec); errno != unix.ENOMEM {
		t.Errorf("mincore of nothing: %v", errno)
	}
	asked := len(g.Machine.Natives)
	_, errno := g.Call("mmap", nil, 2<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB, -1, 0)
	if errno != unix.ENOMEM || len(g.Machine.Natives) != asked {
		t.Errorf("mmap of huge pages: %s, the kernel was asked %v", unix.ErrnoName(errno), g.Machine.Natives[asked:])
	}
	if _, errno := g.Call("madvise", shared, 4096, 100); errno != unix.EINVAL {
		t.Errorf("MADV_HWPOISON: %v", errno)
	}
}

// TestMmapSealed: a sealed file maps for reading.
func TestMmapSealed(t *testing.T) {
	g := NewGuest(t)
	mapper(t, g)
	fd := g.Must("memfd_create", "x", unix.MFD_ALLOW_SEALING)
	g.Must("write", fd, []byte("abc"), 3)
	g.Must("fcntl", fd, unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	if _, errno := g.Call("mmap", 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED, fd, 0); errno != unix.EPERM {
		t.Errorf("a writable mapping of a sealed file: %v", errno)
	}
	at := g.Must("mmap", 0, 4096, unix.PROT_READ, unix.MAP_SHARED, fd, 0)
	if err := unix.Mprotect(memoryAt(at), unix.PROT_WRITE); err != unix.EACCES {
		t.Errorf("mprotect of a sealed file's mapping gives %v", err)
	}
}

// memoryAt is a page of this process that the tests have mapped.
func memoryAt(at uint64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), 4096)
}

// TestMmapAccessed: mapping a file is an access to it.
func TestMmapAccessed(t *testing.T) {
	Twin(t, func(s *Script) {
		if s.Emulated {
			mapper(t, s.Guest)
		}
		f := s.Open("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		s.Call("write", f, []byte("content"), 7)
		moved := func(access func()) bool {
			var st unix.Stat_t
			s.Quiet("utimensat", f, nil, &[4]int64{1000, 0, 2000, 0}, 0)
			access()
			s.Quiet("fstat", f, &st)
			return st.Atim.Sec > 2000
		}
		read := moved(func() { s.Quiet("pread64", f, make([]byte, 1), 1, 0) }) // not on noatime mounts
		for _, flags := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE} {
			mapped := moved(func() {
				at, errno := s.Quiet("mmap", nil, 4096, unix.PROT_READ, flags, f, 0)
				s.Logf("mmap %v", errno)
				if !s.Emulated {
					s.Quiet("munmap", at, 4096)
				}
			})
			s.Logf("as a read: %v", mapped == read)
		}
	})
}
