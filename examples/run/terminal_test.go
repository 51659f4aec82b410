//go:build linux && amd64

package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// session is the command in the foreground of a terminal of its own.
type session struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	tty    int
	shown  string
}

func startSession(t *testing.T, args ...string) *session {
	t.Helper()
	s := newSession(t, args...)
	s.start()
	return s
}

// newSession is a session whose command does not run yet.
func newSession(t *testing.T, args ...string) *session {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if e != 0 {
		t.Fatal(e)
	}
	s := &session{t: t, cmd: launcher(t, args...), master: os.NewFile(uintptr(fd), "master"), tty: int(tty)}
	s.resize(24, 80)
	f := os.NewFile(tty, "tty")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = f, f, f
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	t.Cleanup(func() {
		_ = s.master.Close()
		_ = f.Close()
	})
	return s
}

func (s *session) start() {
	s.t.Helper()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
}

func (s *session) resize(rows, cols uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		s.t.Fatal(err)
	}
	_ = unix.SetNonblock(int(s.master.Fd()), true)
}

// expect waits until text was shown and forgets all up to it.
func (s *session) expect(text string) {
	s.t.Helper()
	p := make([]byte, 4096)
	for end := time.Now().Add(20 * time.Second); ; {
		if i := strings.Index(s.shown, text); i >= 0 {
			s.shown = s.shown[i+len(text):]
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%q was not shown, but %q", text, s.shown)
		}
		_ = s.master.SetReadDeadline(time.Now().Add(time.Second))
		n, err := s.master.Read(p)
		if s.shown += string(p[:n]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			s.t.Fatalf("%v after %q", err, s.shown)
		}
	}
}

// says types a line and waits for what is shown.
func (s *session) says(line, text string) {
	s.t.Helper()
	time.Sleep(50 * time.Millisecond) // bash loses what is typed before it is ready
	if _, err := s.master.WriteString(line); err != nil {
		s.t.Fatal(err)
	}
	s.expect(text)
}

// raw tells whether the terminal is the guest's.
func (s *session) raw() bool {
	m, err := unix.IoctlGetTermios(s.tty, unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Lflag&unix.ICANON == 0
}

func (s *session) await(raw bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); s.raw() != raw; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the terminal is raw: %v", !raw)
		}
	}
}

// TestInteractive: a shell with job control on the caller's terminal.
func TestInteractive(t *testing.T) {
	s := startSession(t, "-env", "PS1=@ ", "-env", "TERM=dumb", "--", "/bin/bash", "--norc", "--noprofile", "-i")
	s.expect("@ ")
	s.says("ech\x08\x08\x08echo a$((40+2))\n", "\r\na42\r\n@ ")
	const cat = "sh -c 'echo up; cat'"
	s.says(cat+"\n", "\r\nup\r\n") // what is typed before, bash may swallow
	s.says("one\n", "one\r\none\r\n")
	s.says("\x03", "^C\r\n@ ")
	s.says("echo $?\n", "130\r\n@ ")
	s.says(cat+"\n", "\r\nup\r\n")
	s.says("\x1a", "Stopped                 "+cat+"\r\n@ ")
	s.says("sleep 100 & jobs\n", "Running                 sleep 100 &\r\n@ ")
	s.says("fg %1\n", "\r\n"+cat+"\r\n")
	time.Sleep(100 * time.Millisecond)
	s.says("two\n", "two\r\ntwo\r\n")
	s.says("\x04", "@ ")
	s.says("kill %2; wait; echo end\n", "end\r\n@ ")
	s.resize(40, 132)
	time.Sleep(100 * time.Millisecond)
	s.says("stty size\n", "40 132\r\n@ ")

	// The launcher is stopped: its caller has the terminal back.
	if !s.raw() {
		t.Error("not raw")
	}
	if err := s.cmd.Process.Signal(unix.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(s.cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatalf("%v, status %#x", err, ws)
	}
	s.await(false)
	if err := s.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.await(true)
	s.says("echo back\n", "\r\nback\r\n@ ")
	s.says("exit 5\n", "exit")
	if _ = s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 5 {
		t.Error(s.cmd.ProcessState)
	}
	s.await(false)
}

// TestInteractiveKilled: a signal that ends the launcher restores the mode.
func TestInteractiveKilled(t *testing.T) {
	s := startSession(t, "--", "/bin/sh", "-c", "echo ready; exec cat")
	s.expect("ready")
	s.await(true)
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 128+15 {
		t.Error(s.cmd.ProcessState)
	}
	s.await(false)
}

// TestPipeline: with its output elsewhere the launcher leaves the terminal alone.
func TestPipeline(t *testing.T) {
	s := newSession(t, "--", "/bin/sh", "-c", "tty >/dev/null; echo $?; [ -t 0 ] && echo tty >&2; read x; echo $x >&2")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.cmd.Stdout = w
	s.start()
	w.Close()
	s.expect("tty\r\n")
	if s.raw() {
		t.Error("raw")
	}
	s.says("line\n", "line\r\nline\r\n")
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
