//go:build linux && amd64

package jail_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// screen is the test's side of a host terminal: what was shown on it so far.
type screen struct {
	t      *testing.T
	master *os.File
	tty    *os.File
	mu     sync.Mutex
	shown  bytes.Buffer
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	s := &screen{t: t}
	s.master, s.tty = newTerminal(t)
	s.resize(24, 80)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 4096)
		for {
			n, err := s.master.Read(p)
			s.mu.Lock()
			s.shown.Write(p[:n])
			s.mu.Unlock()
			if errors.Is(err, unix.EIO) { // nobody has it open
				time.Sleep(time.Millisecond)
			} else if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.master.Close()
		<-done
	})
	return s
}

// newTerminal opens a host terminal, of which nobody reads the master.
func newTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	peer, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if e != 0 {
		t.Fatal(e)
	}
	master, tty = os.NewFile(uintptr(fd), "master"), os.NewFile(peer, "tty")
	t.Cleanup(func() {
		_ = master.Close()
		_ = tty.Close()
	})
	return master, tty
}

func (s *screen) resize(rows, cols uint16) {
	if err := unix.IoctlSetWinsize(int(s.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until text was shown and forgets all up to it.
func (s *screen) expect(text string) {
	s.t.Helper()
	for end := time.Now().Add(hung); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		all := s.shown.String()
		if i := strings.Index(all, text); i >= 0 {
			s.shown.Next(i + len(text))
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if time.Now().After(end) {
			s.t.Fatalf("%q was not shown, but %q", text, all)
		}
	}
}

func (s *screen) typed(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) mode() unix.Termios {
	m, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *m
}

// spawn starts a shell script on the screen.
func (s *screen) spawn(script string) *jail.Process {
	s.t.Helper()
	cmd := exec.Command("/bin/bash", "--norc", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.Env = []string{"PATH=/bin:/usr/bin", "TERM=dumb", "PS1=@ "}
	proc, err := (&jail.Jail{Terminal: s.tty}).Spawn(cmd, policy.Tool())
	if err != nil {
		s.t.Fatal(err)
	}
	return proc
}

// TestTerminal: the guest has the caller's terminal, and the caller has it back.
func TestTerminal(t *testing.T) {
	need(t, "bash", "stty")
	s := newScreen(t)
	before := s.mode()
	proc := s.spawn(`stty size; tty; [ -t 2 ] && echo tty; read x; echo "<$x>"
		trap 'echo int' INT; trap 'stty size' WINCH; echo ready
		while read x; [ "$x" != end ]; do :; done; ps -o tty= $$; exit 3`)
	s.expect("24 80\r\n/dev/pts/0\r\ntty\r\n")
	if m := s.mode(); m.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("mode %o", m.Lflag)
	}
	s.typed("ab\x7fc\n")
	s.expect("ab\b \bc\r\n<ac>\r\nready\r\n")
	time.Sleep(100 * time.Millisecond) // bash runs no trap until read(2) returns if the signal comes just before it
	s.typed("\x03")
	s.expect("^Cint\r\n")
	s.resize(30, 100)
	if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil { // it is not the test's own terminal
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	s.typed("\n")
	s.expect("30 100\r\n")
	s.typed("end\n")
	s.expect("pts/0")
	var exit *jail.ExitError
	if err := await(t, proc); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Error(err)
	}
	if d := cmp.Diff(before, s.mode()); d != "" {
		t.Errorf("the mode is not restored:\n%s", d)
	}
}

// TestTerminalOutput: all that was printed last is shown before Wait returns.
func TestTerminalOutput(t *testing.T) {
	need(t, "bash", "seq")
	s := newScreen(t)
	if err := await(t, s.spawn("seq 30000")); err != nil {
		t.Error(err)
	}
	s.expect("29998\r\n29999\r\n30000\r\n")
}

// TestTerminalGone: a window that is closed hangs up the guest's terminal.
func TestTerminalGone(t *testing.T) {
	need(t, "bash")
	s := newScreen(t)
	proc := s.spawn("trap 'exit 9' HUP; echo ready; while :; do read x; done")
	s.expect("ready")
	if err := s.master.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *jail.ExitError
	if err := await(t, proc); !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Error(err)
	}
}

// TestNoTerminal: what cannot be had is an error, and leaves the mode alone.
func TestNoTerminal(t *testing.T) {
	s := newScreen(t)
	before := s.mode()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, c := range []struct {
		tty  *os.File
		path string
	}{{null, "/bin/true"}, {s.tty, "/no/such/program"}} {
		cmd := &exec.Cmd{Path: c.path, Args: []string{c.path}}
		if _, err := (&jail.Jail{Terminal: c.tty}).Spawn(cmd, policy.Tool()); err == nil {
			t.Errorf("%s: no error", c.path)
		} else {
			t.Log(err)
		}
	}
	if d := cmp.Diff(before, s.mode()); d != "" {
		t.Errorf("the mode was changed:\n%s", d)
	}
}

// TestTerminalStreams: only the streams that are the terminal become the guest's.
func TestTerminalStreams(t *testing.T) {
	need(t, "bash", "tty")
	s := newScreen(t)
	var out bytes.Buffer
	cmd := exec.Command("/bin/bash", "-c", "[ -t 0 ] && [ ! -t 1 ] && [ -t 2 ] && echo shown >/dev/tty && tty && tr a-z A-Z; stty -echo")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, &out, s.tty
	proc, err := (&jail.Jail{Terminal: s.tty}).Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	s.expect("shown\r\n")
	s.typed("abc\n\x04")
	if err := await(t, proc); err != nil || out.String() != "/dev/pts/0\nABC\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

// TestTerminalStuck: a terminal that takes nothing, and one that was told to wait for
// more than was typed, stop the guest and not the warden; one that cannot be opened
// again, such as a pty's master, neither.
func TestTerminalStuck(t *testing.T) {
	need(t, "bash", "stty", "yes", "dd", "sleep")
	for name, script := range map[string]string{
		"full":  "echo; exec yes",
		"waits": "exec yes",
		"typed": "stty raw min 255 time 255; dd bs=9 count=1 2>/dev/null; wait",
	} {
		t.Run(name, func(t *testing.T) {
			master, tty := newTerminal(t)
			if name == "waits" {
				tty, master = waitingTerminal(t)
			}
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			defer in.Close()
			cmd := exec.Command("/bin/bash", "-c", "(sleep .3; echo alive) >&2 & "+script)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, in
			proc, err := jail.Spawn(cmd, policy.Tool())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(150 * time.Millisecond)
			if _, err := master.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			if err := out.SetReadDeadline(time.Now().Add(hung / 2)); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 80)
			if n, err := out.Read(p); string(p[:n]) != "alive\n" {
				t.Errorf("another guest says %q, %v", p[:n], err)
			}
			_ = proc.Kill()
			_ = await(t, proc)
		})
	}
}

// waitingTerminal is a terminal that lets its writers wait: a pty's master, which
// cannot be opened again. The other side takes bytes as they are.
func waitingTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, tty = newTerminal(t)
	mode := must(unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS))
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	check(unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode))
	check(must(master.SyscallConn()).Control(func(fd uintptr) { check(unix.SetNonblock(int(fd), false)) }))
	return master, tty
}

// TestTerminalAside: what is written to such a terminal comes out whole and in order,
// also as the jail's end finds it.
func TestTerminalAside(t *testing.T) {
	need(t, "seq")
	var lines bytes.Buffer
	for i := 1; i <= 20_000; i++ {
		fmt.Fprintln(&lines, i)
	}
	master, tty := waitingTerminal(t)
	cmd := exec.Command("seq", "20000")
	cmd.Stdout = master
	proc := must(jail.Spawn(cmd, policy.Tool()))
	got := make([]byte, lines.Len())
	if _, err := io.ReadFull(tty, got); err != nil || !bytes.Equal(got, lines.Bytes()) {
		t.Errorf("%v; %d bytes are not as written", err, len(got))
	}
	if err := await(t, proc); err != nil {
		t.Error(err)
	}
}
