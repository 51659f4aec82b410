//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// pipe2 gives the ends of a pipe, closed natively when the script is over.
func pipe2(s *Script, flags int) (r, w FD) {
	s.T.Helper()
	var fds [2]int32
	if _, errno := s.Call("pipe2", &fds, flags); errno != 0 {
		s.T.Fatal(errno)
	}
	if !s.Emulated {
		s.T.Cleanup(func() {
			_ = unix.Close(int(fds[0]))
			_ = unix.Close(int(fds[1]))
		})
	}
	return FD(fds[0]), FD(fds[1])
}

// pollBits logs what poll(2) says of a descriptor.
func pollBits(s *Script, fd FD) {
	s.T.Helper()
	p := struct {
		FD              int32
		Events, Revents uint16
	}{int32(fd), 0xffff &^ unix.POLLNVAL, 0}
	n, errno := s.Quiet("poll", &p, 1, 0)
	s.Logf("poll %d %v %#x", n, errno, p.Revents)
}

// hold makes a descriptor again that cleanup closes.
func hold(s *Script, fd FD) {
	if !s.Emulated {
		null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
		if err != nil || FD(null) != fd {
			s.T.Fatalf("descriptor %d not free: %d %v", fd, null, err)
		}
	}
}

func TestPipe(t *testing.T) {
	big := make([]byte, 70000)
	Twin(t, func(s *Script) {
		s.Call("pipe2", Bad, 0)
		s.Call("pipe2", nil, 1)
		r, w := pipe2(s, unix.O_NONBLOCK)
		s.Call("fcntl", r, unix.F_GETPIPE_SZ)
		s.Call("fcntl", r, unix.F_GETFL)
		s.Call("fcntl", w, unix.F_GETFL)
		s.Call("read", r, make([]byte, 4), 4)
		s.Call("read", r, nil, 0)
		s.Call("read", w, make([]byte, 4), 4)
		s.Call("write", r, []byte("abcd"), 4)
		pollBits(s, r)
		pollBits(s, w)
		st := make([]byte, 144)
		s.Quiet("fstat", r, st)
		s.Logf("mode %x links %d block size %x", st[24:28], st[16], st[56:64])
		s.Call("fchmod", w, 0o640)
		s.Quiet("fstat", r, st)
		s.Logf("mode %x", st[24:28])
		s.Call("fsync", w)
		s.Call("ftruncate", w, 0)
		s.Call("fallocate", w, 0, 0, 1)
		s.Call("pread64", r, make([]byte, 4), 4, 0)
		s.Call("mmap", nil, 4096, unix.PROT_READ, unix.MAP_SHARED, r, 0)
		s.Call("write", w, []byte("hello, world"), 12)
		count := make([]byte, 4)
		s.Call("ioctl", r, unix.TIOCINQ, count)
		s.Call("ioctl", w, unix.TIOCINQ, Bad)
		s.Call("ioctl", w, unix.TCGETS, count)
		pollBits(s, r)
		s.Call("read", r, make([]byte, 5), 5)
		s.Call("write", w, big, len(big))
		pollBits(s, w)
		s.Call("write", w, []byte("x"), 1)
		s.Call("fcntl", w, unix.F_SETPIPE_SZ, 4096)
		s.Call("fcntl", w, unix.F_SETPIPE_SZ, 100000)
		s.Call("fcntl", w, unix.F_SETPIPE_SZ, 0)
		s.Call("fcntl", w, unix.F_SETPIPE_SZ, 1<<31+1)
		s.Call("write", w, big, len(big))
		s.Call("read", r, big, len(big))
		s.Call("close", w)
		hold(s, w)
		pollBits(s, r)
		s.Call("read", r, big, len(big))
		s.Call("read", r, big, len(big))
		s.Call("read", r, big, len(big))
		pollBits(s, r)

		r, w = pipe2(s, 0)
		s.Call("close", r)
		hold(s, r)
		pollBits(s, w)
		s.Call("write", w, []byte("x"), 1)
		s.Call("write", w, nil, 0)

		r, w = pipe2(s, unix.O_DIRECT|unix.O_NONBLOCK)
		s.Call("fcntl", w, unix.F_GETFL)
		s.Call("write", w, big, 5000)
		s.Call("write", w, []byte("packet"), 6)
		for range 4 {
			s.Call("read", r, make([]byte, 100), 100)
		}
	})
}

// FuzzPipe: whatever is written and read without waiting, the kernel's pipe and
// ours are full and empty at the same moment.
func FuzzPipe(f *testing.F) {
	f.Add([]byte{0, 200, 1, 30, 2, 9, 3, 0, 4, 1, 0, 255, 0, 255, 1, 255, 5, 0})
	f.Add([]byte{3, 5, 0, 7, 0, 6, 2, 2, 3, 6, 0, 50, 4, 0, 0, 128, 1, 129, 1, 1})
	f.Add([]byte{0, 129, 0, 129, 0, 129, 0, 1, 1, 129, 0, 128, 1, 200, 0, 77, 2, 1, 0, 77})
	f.Fuzz(func(t *testing.T, ops []byte) {
		Twin(t, func(s *Script) {
			r, w := pipe2(s, unix.O_NONBLOCK)
			seq := byte(0)
			for i := 0; i+1 < len(ops) && i < 200; i += 2 {
				n := int(ops[i+1])
				if n >= 128 {
					n = (n - 127) * 1024
				}
				p := make([]byte, n)
				switch ops[i] % 6 {
				case 0, 5:
					for j := range p {
						seq++
						p[j] = seq
					}
					s.Call("write", w, p, n)
				case 1:
					s.Call("read", r, p, n)
				case 2:
					s.Call("fcntl", r, unix.F_SETPIPE_SZ, n%64*4096)
				case 3:
					flags := unix.O_NONBLOCK
					if n%2 == 1 {
						flags |= unix.O_DIRECT
					}
					s.Call("fcntl", w, unix.F_SETFL, flags)
				case 4:
					s.Call("ioctl", r, unix.TIOCINQ, make([]byte, 4))
				}
				pollBits(s, r)
				pollBits(s, w)
			}
		})
	})
}

// TestPipeBlocks: readers and writers wait for each other, in pieces.
func TestPipeBlocks(t *testing.T) {
	g := NewGuest(t)
	var fds [2]int32
	g.Must("pipe2", &fds, 0)
	r, w := fds[0], fds[1]
	other := g.Fork()
	closer := other.Thread()
	buf := make([]byte, 10)
	read := other.Start("read", r, buf, 10)
	if read.Done() {
		t.Fatal("read of an empty pipe does not wait")
	}
	g.Must("write", w, []byte("hello"), 5)
	if n, errno := read.Wait(); n != 5 || errno != 0 || string(buf[:5]) != "hello" {
		t.Fatalf("read gives %d, %v, %q", n, errno, buf)
	}
	big := make([]byte, 200000)
	write := g.Start("write", w, big, len(big))
	got := 0
	for !write.Done() {
		got += int(other.Must("read", r, make([]byte, 30000), 30000))
	}
	if n, errno := write.Wait(); n != uint64(len(big)) || errno != 0 {
		t.Fatalf("write gives %d, %v after %d were read", n, errno, got)
	}
	for got < len(big) {
		got += int(other.Must("read", r, make([]byte, 30000), 30000))
	}
	read = other.Start("read", r, buf, 10)
	closer.Must("close", w)
	if read.Done() {
		t.Fatal("end of file although a writer is left")
	}
	g.Must("close", w)
	if n, errno := read.Wait(); n != 0 || errno != 0 {
		t.Fatalf("read at the end gives %d, %v", n, errno)
	}
}

// TestFIFO: opening one waits for the other side, both ways.
func TestFIFO(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Call("mknodat", unix.AT_FDCWD, "/fifo", unix.S_IFIFO|0o600, 0)
		s.Call("openat", unix.AT_FDCWD, "/fifo", unix.O_WRONLY|unix.O_NONBLOCK, 0)
		r := s.Open("openat", unix.AT_FDCWD, "/fifo", unix.O_RDONLY|unix.O_NONBLOCK, 0)
		pollBits(s, r)
		s.Call("read", r, make([]byte, 4), 4)
		w := s.Open("openat", unix.AT_FDCWD, "/fifo", unix.O_WRONLY|unix.O_NONBLOCK, 0)
		pollBits(s, r)
		pollBits(s, w)
		s.Call("read", r, make([]byte, 4), 4)
		s.Call("write", w, []byte("abc"), 3)
		s.Call("close", w)
		pollBits(s, r)
		s.Call("read", r, make([]byte, 4), 4)
		rw := s.Open("openat", unix.AT_FDCWD, "/fifo", unix.O_RDWR, 0)
		pollBits(s, rw)
		s.Call("write", rw, []byte("abc"), 3)
		pollBits(s, rw)
		s.Call("close", r)
		pollBits(s, rw)
		s.Call("close", rw)
		rw = s.Open("openat", unix.AT_FDCWD, "/fifo", unix.O_RDWR|unix.O_NONBLOCK, 0)
		s.Call("read", rw, make([]byte, 4), 4)
	})
	g := NewGuest(t)
	g.Must("mknodat", unix.AT_FDCWD, "/fifo", unix.S_IFIFO|0o600, 0)
	other := g.Fork()
	read := g.Start("openat", unix.AT_FDCWD, "/fifo", unix.O_RDONLY, 0)
	if read.Done() {
		t.Fatal("opening for reading does not wait")
	}
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, true)
	if _, errno := read.Wait(); errno != emulate.ERESTARTSYS {
		t.Fatalf("interrupted open gives %v", errno)
	}
	g.Machine.Signals()
	write := other.Start("openat", unix.AT_FDCWD, "/fifo", unix.O_WRONLY, 0)
	if write.Done() {
		t.Fatal("opening for writing does not wait")
	}
	r := g.Must("openat", unix.AT_FDCWD, "/fifo", unix.O_RDONLY, 0)
	w, errno := write.Wait()
	if errno != 0 {
		t.Fatal(errno)
	}
	other.Must("write", w, []byte("x"), 1)
	if n := g.Must("read", r, make([]byte, 2), 2); n != 1 {
		t.Errorf("read %d bytes", n)
	}
}
