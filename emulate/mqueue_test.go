//go:build linux

package emulate_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

func TestMqueue(t *testing.T) {
	name := fmt.Sprintf("oubliette-%d", os.Getpid())
	Twin(t, func(s *Script) {
		if !s.Emulated {
			s.T.Cleanup(func() { _, _ = s.Quiet("mq_unlink", name) })
		}
		open := func(flags, mode int, attr any) FD {
			s.T.Helper()
			fd, errno := s.Quiet("mq_open", name, flags, mode, attr)
			s.Logf("mq_open %v", errno)
			if errno == 0 && !s.Emulated {
				s.T.Cleanup(func() { _ = unix.Close(int(fd)) })
			}
			return FD(fd)
		}
		attr := func(maxmsg, size int64) *[8]int64 { return &[8]int64{0, maxmsg, size} }
		open(unix.O_RDWR, 0, nil)
		open(unix.O_RDWR|unix.O_CREAT, 0o600, Bad)
		for _, a := range [][2]int64{{0, 10}, {10, 0}, {1 << 40, 10}, {10, 1 << 40}} {
			open(unix.O_RDWR|unix.O_CREAT, 0o600, attr(a[0], a[1]))
		}
		for _, bad := range []string{"", "a/b", "/x", ".", "..", strings.Repeat("n", 256), strings.Repeat("n", 5000)} {
			_, errno := s.Quiet("mq_unlink", []byte(bad+"\x00"))
			s.Logf("mq_unlink %.9q %v", bad, errno)
		}
		q := open(unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o600, attr(3, 16))
		open(unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600, nil)
		open(3, 0, nil)
		ro := open(unix.O_RDONLY, 0, nil)
		pollBits(s, q)
		send := func(fd FD, text string, prio int) {
			s.T.Helper()
			s.Call("mq_timedsend", fd, []byte(text), len(text), prio, nil)
		}
		send(q, "low", 1)
		send(ro, "ro", 1)
		send(q, "high", 9)
		send(q, "bad", 32768)
		send(q, strings.Repeat("x", 17), 0)
		send(q, "low again", 1)
		send(q, "full", 1)
		pollBits(s, q)
		s.Call("mq_timedsend", q, Bad, 4, 0, nil)
		s.Call("mq_timedsend", q, Bad, 4, 0, timespec(0, -1))
		s.Call("mq_timedsend", -1, Bad, 4, 0, nil)
		got := [8]int64{}
		s.Call("mq_getsetattr", q, nil, &got)
		s.Logf("%v", got)
		s.Call("read", q, make([]byte, 20), 20)
		s.Call("read", q, make([]byte, 100), 100)
		s.Call("write", q, make([]byte, 100), 100)
		s.Call("mq_getsetattr", q, attr(1, 1), Bad)
		s.Call("mq_getsetattr", q, &[8]int64{1}, nil)
		s.Call("mq_getsetattr", q, nil, &got)
		s.Logf("%v", got)
		s.Call("mq_timedsend", q, []byte("full"), 4, 0, timespec(1, 0))
		recv := func(n int) {
			s.T.Helper()
			var prio uint32
			s.Call("mq_timedreceive", q, make([]byte, n), n, &prio, timespec(1, 0))
			s.Logf("priority %d", prio)
		}
		recv(15)
		for range 4 {
			recv(16)
		}
		s.Call("mq_notify", q, Bad)
		s.Call("mq_notify", q, append(make([]byte, 8), 70, 0, 0, 0, 0, 0, 0, 0))
		s.Call("mq_notify", q, nil)
		s.Call("mq_unlink", name)
		s.Call("mq_unlink", name)
	})
}

// TestMqueueWaits: sender and receiver wait for each other; the notification
// comes once, and not to a queue somebody waits at.
func TestMqueueWaits(t *testing.T) {
	g := NewGuest(t)
	q := g.Must("mq_open", "q", unix.O_RDWR|unix.O_CREAT, 0o600, &[8]int64{0, 1, 8})
	other := g.Fork()
	sev := make([]byte, 64)
	sev[8] = byte(unix.SIGUSR1)
	g.Must("mq_notify", q, sev)
	if _, errno := other.Call("mq_notify", q, sev); errno != unix.EBUSY {
		t.Errorf("second mq_notify gives %v", errno)
	}
	buf := make([]byte, 8)
	wait := other.Start("mq_timedreceive", q, buf, 8, nil, nil)
	g.Must("mq_timedsend", q, []byte("a"), 1, 0, nil)
	if n, errno := wait.Wait(); n != 1 || errno != 0 || buf[0] != 'a' {
		t.Errorf("receive gives %d, %v, %q", n, errno, buf)
	}
	other.Must("mq_timedsend", q, []byte("b"), 1, 0, nil)
	if sigs := g.Machine.Signals(); len(sigs) != 1 || sigs[0].PID != 2 || sigs[0].Code != -3 {
		t.Errorf("signals %v", sigs)
	}
	wait = other.Start("mq_timedsend", q, []byte("c"), 1, 0, nil)
	if wait.Done() {
		t.Fatal("sending to a full queue does not wait")
	}
	g.Must("mq_timedreceive", q, buf, 8, nil, nil)
	if _, errno := wait.Wait(); errno != 0 || len(g.Machine.Signals()) != 0 {
		t.Errorf("send gives %v, or a second notification came", errno)
	}
	wait = other.Start("mq_timedsend", q, []byte("d"), 1, 0, nil)
	other.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR2)}, true)
	if _, errno := wait.Wait(); errno != emulate.ERESTARTSYS {
		t.Errorf("interrupted send gives %v", errno)
	}
}
