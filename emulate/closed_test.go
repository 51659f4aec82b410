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
	closed bool
}

func (f *endless) use(n int) (int, error) {
	if f.closed {
		f.t.Fatal("the file is used after its end")
	}
	if f.first != nil {
		f.first()
		f.first = nil
	}
	return n, nil
}

func (f *endless) ReadAt(p []byte, _ int64) (int, error)  { return f.use(len(p)) }
func (f *endless) WriteAt(p []byte, _ int64) (int, error) { return f.use(len(p)) }

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
