//go:build linux

package emulate_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// terminalGuest is a guest with a pty: descriptor 0 is the slave, its controlling
// terminal, and the Terminal its master.
func terminalGuest(t testing.TB) (*Guest, *emulate.Terminal) {
	g := NewGuest(t)
	emulate.RegisterDevices(g.Sys)
	term, err := g.Sys.NewTerminal(vfs.Owner{}, &unix.Termios{Lflag: unix.ICANON | unix.ISIG, Cc: [19]uint8{unix.VINTR: 3}}, unix.Winsize{Row: 24, Col: 80})
	if err != nil {
		t.Fatal(err)
	}
	d, err := term.Control(g.Task)
	if err == nil {
		err = g.Task.FDs.Replace(0, 1, d, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g, term
}

// TestTerminal: Go code types, the guest reads, and the foreground group hears of
// keys and sizes.
func TestTerminal(t *testing.T) {
	g, term := terminalGuest(t)
	if n, err := term.Write([]byte("typed\n")); n != 6 || err != nil {
		t.Errorf("typed %d, %v", n, err)
	}
	p := make([]byte, 10)
	if n, errno := g.Call("read", 0, p, 10); errno != 0 || string(p[:n]) != "typed\n" {
		t.Errorf("%q, %v", p[:n], errno)
	}
	g.Call("write", 0, []byte("shown"), 5)
	if n, err := term.Read(p); err != nil || string(p[:n]) != "shown" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if _, err := term.Read(p); err != unix.EAGAIN || term.Poll()&fdtable.In != 0 {
		t.Error(err)
	}
	term.Resize(unix.Winsize{Row: 30, Col: 80})
	term.Resize(unix.Winsize{Row: 30, Col: 80})
	_, _ = term.Write([]byte{3, 3, 3})
	var got []int
	for _, s := range g.Machine.Signals() {
		got = append(got, s.Number)
	}
	if len(got) != 2 || got[0] != int(unix.SIGWINCH) || got[1] != int(unix.SIGINT) {
		t.Errorf("signals %v", got)
	}
	if _, errno := g.Call("ioctl", 0, unix.TIOCSTI, []byte("x")); errno != unix.EIO {
		t.Errorf("TIOCSTI: %v", errno)
	}
	if err := term.Close(); err != nil {
		t.Error(err)
	}
	if n, errno := g.Call("read", 0, p, 10); n != 0 || errno != 0 {
		t.Errorf("read after hangup: %d, %v", n, errno)
	}
	if _, errno := g.Call("open", "/dev/tty", unix.O_RDWR); errno != unix.ENOENT {
		t.Errorf("there is no /dev: %v", errno)
	}
}

// TestManyPTYs: there is an end to them, and their numbers come back.
func TestManyPTYs(t *testing.T) {
	g := NewGuest(t)
	emulate.RegisterDevices(g.Sys)
	dev, err := emulate.NewDev(g.Sys, vfs.MemOptions{})
	if err == nil {
		err = g.Sys.FS.Mount("/dev", dev.Root())
	}
	if err != nil {
		t.Fatal(err)
	}
	g.Task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1 << 14, Max: 1 << 14}
	const most = 4096 // kernel.pty.max
	for range most {
		if _, errno := g.Call("open", "/dev/ptmx", unix.O_RDWR); errno != 0 {
			t.Fatal(errno)
		}
	}
	if _, errno := g.Call("open", "/dev/ptmx", unix.O_RDWR); errno != unix.ENOSPC {
		t.Errorf("one more: %v", errno)
	}
	g.Call("close", 7)
	fd, errno := g.Call("open", "/dev/ptmx", unix.O_RDWR)
	p := make([]byte, 4)
	g.Call("ioctl", fd, unix.TIOCGPTN, p)
	if n := binary.LittleEndian.Uint32(p); errno != 0 || n != 7 {
		t.Errorf("number %d, %v", n, errno)
	}
}

// FuzzTerminal: no bytes, modes or requests make the line discipline panic or
// keep more than its bounds.
func FuzzTerminal(f *testing.F) {
	f.Add([]byte("hello\x7f\x17\x15\x16\x03\n\x04\x11\x13\t\b"), uint32(0o5402), uint32(0o5), uint32(0o105073), uint32(unix.TCFLSH), uint64(0))
	f.Add([]byte("\xff\xff\t\t\x7f\x7f\x12"), uint32(0o177777), uint32(0o177777), uint32(0o3777777), uint32(unix.TCXONC), uint64(2))
	f.Fuzz(func(t *testing.T, typed []byte, iflag, oflag, lflag, request uint32, arg uint64) {
		g, term := terminalGuest(t)
		g.Call("fcntl", 0, unix.F_SETFL, unix.O_NONBLOCK)
		mode := make([]byte, 44)
		g.Call("ioctl", 0, unix.TCGETS2, mode)
		binary.LittleEndian.PutUint32(mode, iflag)
		binary.LittleEndian.PutUint32(mode[4:], oflag)
		binary.LittleEndian.PutUint32(mode[12:], lflag)
		copy(mode[17:], typed)
		p := make([]byte, 8192)
		for i := range 3 {
			for n := 0; n < 3000; n += len(typed) + 1 {
				_, _ = term.Write(typed)
				g.Call("write", 0, typed, len(typed))
			}
			switch i {
			case 0:
				g.Call("ioctl", 0, unix.TCSETS2, mode)
			case 1:
				g.Call("ioctl", 0, request, arg)
			}
			g.Call("read", 0, p[:16], 16)
			if n, _ := term.Read(p); n == len(p) {
				if n, _ = term.Read(p); n > 4096+8192-len(p)+16 {
					t.Errorf("%d bytes more", n)
				}
			}
		}
		g.Machine.Signals()
	})
}
