//go:build linux

package emulate_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/fdtable"
)

// TestTransferAllocates: the hot calls allocate nothing.
func TestTransferAllocates(t *testing.T) {
	g := NewGuest(t)
	g.WriteFile("/f", string(make([]byte, 1<<17)))
	fd := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	buf := g.Machine.Map(0, 1<<17, unix.PROT_READ|unix.PROT_WRITE)
	for _, n := range []int{1, 4096, 65536} {
		for _, name := range []string{"pread64", "pwrite64", "read", "write"} {
			c, _ := g.NewCall(name, fd, buf, n, 0)
			h := g.Handler(name)
			allocs := testing.AllocsPerRun(50, func() {
				if _, err := h(c); err != nil {
					t.Fatal(err)
				}
				g.Task.FDs.Any(nilDescription)
			})
			if allocs > 0 {
				t.Errorf("%s of %d bytes allocates %v times", name, n, allocs)
			}
		}
		g.Must("lseek", fd, 0, unix.SEEK_SET)
	}
}

func nilDescription(d *fdtable.Description) bool { d.Offset = 0; return false }

// TestTransferLarge: more than one chunk, and more than one turn.
func TestTransferLarge(t *testing.T) {
	g := NewGuest(t)
	const size = 40<<20 + 123
	data := g.Machine.Map(0, size, unix.PROT_READ|unix.PROT_WRITE)
	pattern := make([]byte, size)
	for i := range pattern {
		pattern[i] = byte(i>>12) ^ byte(i)
	}
	if n, err := g.Machine.WriteMemory(pattern, data); n != size || err != nil {
		t.Fatal(n, err)
	}
	fd := g.Must("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	if n := g.Must("write", fd, data, size); n != size {
		t.Errorf("wrote %d", n)
	}
	out := g.Must("openat", cwd, "/g", unix.O_CREAT|unix.O_RDWR, 0o644)
	if n := g.Must("copy_file_range", fd, make([]byte, 8), out, nil, uint64(1)<<40, 0); n != size {
		t.Errorf("copied %d", n)
	}
	back := g.Machine.Map(0, size+1000, unix.PROT_READ|unix.PROT_WRITE)
	if n := g.Must("pread64", out, back, uint64(1)<<32, 0); n != size {
		t.Errorf("read %d", n)
	}
	if !bytes.Equal(pattern, g.Machine.Bytes(back, size)) {
		t.Error("the copy differs")
	}
	// The memory ends before the file does.
	small := g.Machine.Map(0, 300<<10, unix.PROT_READ|unix.PROT_WRITE)
	if n := g.Must("pread64", out, small+5, 1<<20, 0); n != 300<<10-5 {
		t.Errorf("read %d bytes up to the end of memory", n)
	}
	g.Must("lseek", out, 7, unix.SEEK_SET)
	if n := g.Must("read", out, small+5, 1<<20); n != 300<<10-5 {
		t.Errorf("read %d bytes up to the end of memory", n)
	}
	if at := g.Must("lseek", out, 0, unix.SEEK_CUR); at != 300<<10+2 {
		t.Errorf("the offset is %d", at)
	}
	if n := g.Must("pwrite64", out, small, 1<<20, 0); n != 300<<10 {
		t.Errorf("wrote %d bytes up to the end of memory", n)
	}
}

// TestTransferBlocks: reads and writes of a pipe sleep, go on, end with a signal.
func TestTransferBlocks(t *testing.T) {
	g := NewGuest(t)
	peer := g.Thread()
	var p [2]int32
	g.Must("pipe2", &p, 0)
	buf := make([]byte, 8)
	r := g.Start("read", p[0], buf, 8)
	if r.Done() {
		t.Fatal("a read of an empty pipe does not sleep")
	}
	peer.Must("write", p[1], []byte("abc"), 3)
	if n, errno := r.Wait(); n != 3 || errno != 0 || string(buf[:3]) != "abc" {
		t.Errorf("read gives %d, %v, %q", n, errno, buf)
	}
	big := bytes.Repeat([]byte("0123456789"), 50000)
	w := g.Start("write", p[1], big, len(big))
	var got []byte
	for len(got) < len(big) {
		if w.Done() && len(got) == 0 {
			t.Fatal("a write to a full pipe does not sleep")
		}
		part := make([]byte, 30000)
		n := peer.Must("read", p[0], part, len(part))
		got = append(got, part[:n]...)
	}
	if n, errno := w.Wait(); int(n) != len(big) || errno != 0 {
		t.Errorf("write gives %d, %v", n, errno)
	}
	if !bytes.Equal(got, big) {
		t.Error("what was read differs from what was written")
	}
	// A signal ends a write that has written with what it has, another with a
	// restart.
	for _, want := range []emulate.Signal{{}, {Number: int(unix.SIGUSR1)}} {
		w = g.Start("write", p[1], big, len(big))
		peer.Must("tgkill", g.Task.Process.PID, g.Task.TID, unix.SIGUSR1)
		n, errno := w.Wait()
		if want.Number == 0 && (n != 65536 || errno != 0) || want.Number != 0 && errno != emulate.ERESTARTSYS {
			t.Errorf("interrupted write gives %d, %v", n, errno)
		}
		g.Machine.Signals()
	}
	// The reader goes away.
	w = g.Start("write", p[1], big, len(big))
	peer.Must("close", p[0])
	if _, errno := w.Wait(); errno != unix.EPIPE {
		t.Errorf("write without a reader gives %v", errno)
	}
	want := []emulate.Signal{{Number: int(unix.SIGPIPE), PID: 1, UID: g.Task.Cred.RUID}}
	if diff := cmp.Diff(want, g.Machine.Signals()); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if _, errno := g.Call("pwritev2", p[1], Iov{[]byte("x")}, 1, -1, -1, 0x100); errno != unix.EPIPE {
		t.Errorf("RWF_NOSIGNAL: %v", errno)
	}
	if s := g.Machine.Signals(); len(s) != 0 {
		t.Errorf("RWF_NOSIGNAL sends %v", s)
	}
}

// TestSendfileBlocks: what a full socket does not take is read again later.
func TestSendfileBlocks(t *testing.T) {
	g := NewGuest(t)
	peer := g.Thread()
	var text bytes.Buffer
	for i := range 40000 {
		fmt.Fprintln(&text, i)
	}
	g.WriteFile("/f", text.String())
	fd := g.Must("openat", cwd, "/f", unix.O_RDONLY, 0)
	var p [2]int32
	g.Must("socketpair", unix.AF_UNIX, unix.SOCK_STREAM, 0, &p)
	s := g.Start("sendfile", p[1], fd, nil, 1<<20)
	var got []byte
	for len(got) < text.Len() {
		part := make([]byte, 10000)
		n := peer.Must("read", p[0], part, len(part))
		got = append(got, part[:n]...)
		peer.Must("pread64", fd, part, len(part), 0) // uses the copying buffer
	}
	if n, errno := s.Wait(); int(n) != text.Len() || errno != 0 {
		t.Errorf("sendfile gives %d, %v", n, errno)
	}
	if at := g.Must("lseek", fd, 0, unix.SEEK_CUR); int(at) != text.Len() {
		t.Errorf("the offset is %d", at)
	}
	if !bytes.Equal(got, text.Bytes()) {
		t.Error("what was sent differs")
	}
}

// TestFileSizeLimit: RLIMIT_FSIZE cuts, and then sends SIGXFSZ.
func TestFileSizeLimit(t *testing.T) {
	g := NewGuest(t)
	g.Task.Process.Rlimits[unix.RLIMIT_FSIZE].Cur = 10
	fd := g.Must("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	app := g.Must("openat", cwd, "/f", unix.O_WRONLY|unix.O_APPEND, 0)
	if n := g.Must("write", fd, []byte("0123456"), 7); n != 7 {
		t.Error(n)
	}
	if n := g.Must("write", app, []byte("0123456"), 7); n != 3 {
		t.Error(n)
	}
	for _, call := range [][]any{
		{"write", app, []byte("x"), 1}, {"pwrite64", fd, []byte("x"), 1, 10}, {"ftruncate", fd, 11},
		{"truncate", "/f", 11}, {"fallocate", fd, 0, 0, 11},
	} {
		_, errno := g.Call(call[0].(string), call[1:]...)
		sig := g.Machine.Signals()
		if errno != unix.EFBIG || len(sig) != 1 || sig[0].Number != int(unix.SIGXFSZ) {
			t.Errorf("%s beyond the limit gives %v and %v", call[0], errno, sig)
		}
	}
	g.Must("pwrite64", fd, []byte("x"), 1, 9)
	g.Must("ftruncate", fd, 5)
	g.Must("write", fd, []byte{}, 0)
}
