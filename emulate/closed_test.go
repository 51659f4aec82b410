//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// endless is a file of any size, which is not used once it is closed.
type endless struct {
	t      *testing.T
	first  func() // runs at the first read or write
	steps  int
	closed bool
}

func (f *endless) use(n int) (int, error) {
	if f.closed {
		f.t.Fatal("the file is used after its end")
	}
	f.steps++
	if f.first != nil {
		f.first()
		f.first = nil
	}
	return n, nil
}

func (f *endless) ReadAt(p []byte, _ int64) (int, error)  { return f.use(len(p)) }
func (f *endless) WriteAt(p []byte, _ int64) (int, error) { return f.use(len(p)) }

// stream is one without an offset.
type stream struct{ f *endless }

func (s stream) Read(p []byte) (int, error)  { return s.f.use(len(p)) }
func (s stream) Write(p []byte) (int, error) { return s.f.use(len(p)) }
func (s stream) Close() error                { return s.f.Close() }

func (f *endless) Close() error {
	f.closed = true
	return nil
}

// A thread that closes the descriptor of a transfer of several turns does not end the
// file under it: what the host's descriptor was may be another of its files by then.
func TestTransferClosed(t *testing.T) {
	for _, call := range []string{"read", "write", "pread64", "pwrite64"} {
		t.Run(call, func(t *testing.T) {
			g, f := NewGuest(t), &endless{t: t}
			fd, err := g.Task.FDs.Install(fdtable.NewDescription(f, nil, unix.O_RDWR), 0, 1024, false)
			if err != nil {
				t.Fatal(err)
			}
			f.first = func() { g.Sys.Host.Post(func() { _ = g.Task.FDs.Close(fd) }) }
			const size = 40 << 20
			buf := g.Machine.Map(0, size, unix.PROT_READ|unix.PROT_WRITE)
			if n := g.Must(call, fd, buf, size, 0); n != size {
				t.Errorf("%d bytes", n)
			}
			if !f.closed {
				t.Error("the file stays open")
			}
		})
	}
}

// What is always ready does not keep the warden from other work.
func TestStreamTurns(t *testing.T) {
	for _, call := range []string{"read", "write"} {
		t.Run(call, func(t *testing.T) {
			g, f := NewGuest(t), &endless{t: t}
			fd, err := g.Task.FDs.Install(fdtable.NewDescription(stream{f}, nil, unix.O_RDWR), 0, 1024, false)
			if err != nil {
				t.Fatal(err)
			}
			after := 0
			f.first = func() { g.Sys.Host.Post(func() { after = f.steps }) }
			const size = 40 << 20
			if n := g.Must(call, fd, g.Machine.Map(0, size, unix.PROT_READ|unix.PROT_WRITE), size); n != size {
				t.Errorf("%d bytes", n)
			}
			if after == 0 || after == f.steps {
				t.Errorf("others had to wait for %d of %d steps", after, f.steps)
			}
		})
	}
}

// A mapping that waits for another is of its own file, though its descriptor is closed
// and the file is gone.
func TestMapClosed(t *testing.T) {
	g := NewGuest(t)
	first, second := g.Thread(), g.Thread()
	g.WriteFile("/f", "content")
	g.WriteFile("/g", "")
	fd := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	other := g.Must("openat", cwd, "/g", unix.O_RDWR, 0)
	g.Arena.InUse = func(map[int]bool) error { return nil } // not yet
	var wait *Started
	first.Machine.OnNative = func(int, [6]uint64) (uint64, error) {
		wait = second.Start("mmap", 0, 4096, unix.PROT_READ, unix.MAP_SHARED, fd, 0)
		g.Must("close", fd)
		g.Must("unlinkat", cwd, "/f", 0)
		g.Arena.Reclaim()
		return 0x10000, nil
	}
	second.Machine.OnNative = func(int, [6]uint64) (uint64, error) {
		if slot, err := g.Arena.Alloc(); err != nil || slot.Offset() == int64(second.Machine.Natives[0].Args[5]) {
			t.Errorf("another file has the place, %v", err)
		}
		return 0x20000, nil
	}
	first.Must("mmap", 0, 4096, unix.PROT_READ, unix.MAP_SHARED, other, 0)
	if _, errno := wait.Wait(); errno != 0 {
		t.Error(errno)
	}
}
