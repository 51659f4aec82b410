//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

func TestSplice(t *testing.T) {
	const nonblock = 2
	Twin(t, func(s *Script) {
		file := s.Open("openat", unix.AT_FDCWD, "/f", unix.O_CREAT|unix.O_RDWR, 0o600)
		add := s.Open("openat", unix.AT_FDCWD, "/f", unix.O_WRONLY|unix.O_APPEND, 0)
		s.Call("write", file, []byte("hello, wide world"), 17)
		r, w := pipe2(s, unix.O_NONBLOCK)
		r2, w2 := pipe2(s, unix.O_NONBLOCK)
		off := func(v int64, call func(p *int64)) {
			call(&v)
			s.Logf("offset %d", v)
		}
		s.Call("splice", -1, nil, -1, nil, 0, 99)
		s.Call("splice", -1, nil, -1, nil, 1, 99)
		s.Call("splice", -1, nil, w, nil, 1, 0)
		s.Call("splice", r, nil, -1, nil, 1, 0)
		s.Call("splice", file, nil, file, nil, 1, 0)
		s.Call("splice", r, nil, w, nil, 1, 0)
		s.Call("splice", w, nil, r, nil, 1, 0)
		s.Call("splice", r, Bad, file, nil, 1, 0)
		s.Call("splice", file, nil, w, Bad, 1, 0)
		s.Call("splice", file, Bad, w, nil, 1, 0)
		s.Call("splice", file, nil, w, nil, 100, 0)
		off(7, func(p *int64) { s.Call("splice", file, p, w, nil, 4, 0) })
		off(-1, func(p *int64) { s.Call("splice", file, p, w, nil, 4, 0) })
		off(100, func(p *int64) { s.Call("splice", file, p, w, nil, 4, 0) })
		s.Call("splice", r, nil, file, nil, 100, nonblock)
		s.Call("write", w, []byte("abcdefgh"), 8)
		s.Call("splice", r, nil, add, nil, 100, nonblock)
		s.Call("tee", r, w2, 3, 0)
		s.Call("tee", r, w2, 0, 0)
		s.Call("tee", r, w2, 3, 99)
		s.Call("tee", r, file, 3, 0)
		s.Call("tee", r, w, 3, 0)
		s.Call("tee", w, w2, 3, 0)
		s.Call("tee", -1, w2, 3, 0)
		s.Call("splice", r, nil, w2, nil, 2, 0)
		off(3, func(p *int64) { s.Call("splice", r, nil, file, p, 4, 0) })
		s.Call("read", r, make([]byte, 100), 100)
		s.Call("read", r2, make([]byte, 100), 100)
		s.Call("splice", r, nil, w2, nil, 2, 0)
		s.Call("tee", r, w2, 2, 0)
		iov := Iov{[]byte("iov"), nil, []byte("ec")}
		s.Call("vmsplice", w, iov, 3, 99)
		s.Call("vmsplice", file, iov, 3, 0)
		s.Call("vmsplice", -1, iov, 3, 0)
		s.Call("vmsplice", w, iov, 1025, 0)
		s.Call("vmsplice", w, Bad, 1, 0)
		s.Call("vmsplice", w, iov, 0, 0)
		s.Call("vmsplice", w, iov, 3, nonblock)
		s.Call("vmsplice", r, Iov{make([]byte, 2), make([]byte, 9)}, 2, nonblock)
		s.Call("vmsplice", r, Iov{make([]byte, 2), make([]byte, 9)}, 2, nonblock)
		s.Call("pread64", file, make([]byte, 100), 100, 0)
		s.Call("close", r2)
		hold(s, r2)
		s.Call("write", w, []byte("x"), 1)
		s.Call("splice", r, nil, w2, nil, 2, 0)
		s.Call("splice", file, nil, w2, nil, 2, 0)
		s.Call("tee", r, w2, 2, 0)
		s.Call("close", w)
		hold(s, w)
		s.Call("splice", r, nil, file, nil, 2, 0)
		s.Call("splice", r, nil, file, nil, 2, 0)
	})
}

// FuzzSplice: random moves between two pipes and writes and reads on them.
func FuzzSplice(f *testing.F) {
	f.Add([]byte{0, 9, 2, 4, 3, 2, 1, 5, 6, 9})
	f.Add([]byte{0, 200, 2, 255, 0, 3, 3, 130, 4, 3, 1, 255, 5, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		Twin(t, func(s *Script) {
			r, w := pipe2(s, unix.O_NONBLOCK)
			r2, w2 := pipe2(s, unix.O_NONBLOCK)
			seq := byte(0)
			for i := 0; i+1 < len(ops) && i < 100; i += 2 {
				n := int(ops[i+1])
				if n >= 128 {
					n = (n - 127) * 1024
				}
				p := make([]byte, n)
				to, from := w, r
				if ops[i]&8 != 0 {
					to, from = w2, r2
				}
				switch ops[i] % 8 {
				case 0, 6:
					for j := range p {
						seq++
						p[j] = seq
					}
					s.Call("write", to, p, n)
				case 1, 7:
					s.Call("read", from, p, n)
				case 2:
					s.Call("splice", r, nil, w2, nil, n, 0)
				case 3:
					s.Call("splice", r2, nil, w, nil, n, 0)
				case 4:
					s.Call("tee", r, w2, n, 0)
				case 5:
					s.Call("tee", r2, w, n, 0)
				}
				pollBits(s, to)
				pollBits(s, from)
			}
		})
	})
}

// TestSpliceBlocks: it waits for data and for room, and broken pipes signal.
func TestSpliceBlocks(t *testing.T) {
	g := NewGuest(t)
	var a, b [2]int32
	g.Must("pipe2", &a, 0)
	g.Must("pipe2", &b, 0)
	g.Must("fcntl", b[1], unix.F_SETPIPE_SZ, 4096)
	g.Must("write", b[1], []byte("full"), 4)
	other := g.Thread()
	wait := g.Start("splice", a[0], nil, b[1], nil, 100, 0)
	other.Must("write", a[1], []byte("data"), 4)
	if wait.Done() {
		t.Fatal("splice to a full pipe does not wait")
	}
	other.Must("read", b[0], make([]byte, 4), 4)
	if n, errno := wait.Wait(); n != 4 || errno != 0 {
		t.Errorf("splice gives %d, %v", n, errno)
	}
	wait = g.Start("tee", a[0], b[1], 100, 0)
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, true)
	if _, errno := wait.Wait(); errno != emulate.ERESTARTSYS {
		t.Errorf("interrupted tee gives %v", errno)
	}
	g.Machine.Signals()
	g.Must("close", b[0])
	g.Must("write", a[1], []byte("data"), 4)
	if _, errno := g.Call("splice", a[0], nil, b[1], nil, 100, 0); errno != unix.EPIPE {
		t.Errorf("splice to a broken pipe gives %v", errno)
	}
	if sigs := g.Machine.Signals(); len(sigs) != 1 || sigs[0].Number != int(unix.SIGPIPE) {
		t.Errorf("signals %v", sigs)
	}
}

// TestSendStream: what can be sent to a pipe from files that have no offset.
func TestSendStream(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Quiet("rt_sigprocmask", unix.SIG_BLOCK, []byte{0, 0x10, 0, 0, 0, 0, 0, 0}, nil, 8) // SIGPIPE
		r, w := pipe2(s, unix.O_NONBLOCK)
		broken, none := pipe2(s, unix.O_NONBLOCK)
		s.Quiet("close", broken)
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
			var sv [2]int32
			s.Quiet("socketpair", unix.AF_UNIX, kind|unix.SOCK_NONBLOCK, 0, &sv)
			a, b := FD(sv[0]), FD(sv[1])
			s.Call("sendfile", w, b, nil, 10)
			s.Call("write", a, []byte("some bytes"), 10)
			s.Call("sendfile", w, b, nil, 4)
			s.Call("splice", b, nil, w, nil, 4, 2)
			s.Call("sendfile", w, b, new(int64), 4)
			s.Call("read", r, make([]byte, 20), 20)
			s.Call("sendfile", a, b, nil, 4)
			s.Quiet("close", a)
			s.Quiet("close", b)
		}
		file := s.Open("openat", unix.AT_FDCWD, "/f", unix.O_CREAT|unix.O_RDWR, 0o600)
		s.Call("sendfile", none, file, nil, 8)
		s.Call("pwrite64", file, make([]byte, 100000), 100000, 0)
		s.Call("sendfile", none, file, nil, 8)
		s.Call("sendfile", w, file, nil, 100000)
		s.Call("lseek", file, 0, unix.SEEK_CUR)
		s.Call("sendfile", w, file, nil, 100000)
		s.Call("read", r, make([]byte, 70000), 70000)
		event := s.Open("eventfd2", 7, unix.O_NONBLOCK)
		timer := s.Open("timerfd_create", unix.CLOCK_MONOTONIC, unix.O_NONBLOCK)
		watch := s.Open("inotify_init1", unix.O_NONBLOCK)
		for _, in := range []FD{event, timer, watch, r} {
			for _, out := range []FD{w, none, event} {
				s.Call("sendfile", out, in, nil, 8)
				s.Call("splice", in, nil, out, nil, 8, 2)
			}
		}
	})
}
