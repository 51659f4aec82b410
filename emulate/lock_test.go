//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

func lockCall(g *Guest, fd uint64, cmd int, kind int16, start, n int64) unix.Errno {
	_, errno := g.Call("fcntl", fd, cmd, &lockArg{Type: kind, Start: start, Len: n})
	return errno
}

func startLock(g *Guest, fd uint64, start, n int64) *Started {
	return g.Start("fcntl", fd, unix.F_SETLKW, &lockArg{Type: unix.F_WRLCK, Start: start, Len: n})
}

// TestRecordLockWaits: between processes locks conflict, wait, and end with any
// close and with the process.
func TestRecordLockWaits(t *testing.T) {
	g := NewGuest(t)
	fd := g.Must("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	child := g.Fork()
	const w, u = unix.F_WRLCK, unix.F_UNLCK
	want := func(what string, got, want unix.Errno) {
		t.Helper()
		if got != want {
			t.Errorf("%s gives %v, not %v", what, got, want)
		}
	}
	want("first lock", lockCall(g, fd, unix.F_SETLK, w, 0, 10), 0)
	want("conflict", lockCall(child, fd, unix.F_SETLK, w, 5, 10), unix.EAGAIN)
	l := lockArg{Type: w}
	child.Must("fcntl", fd, unix.F_GETLK, &l)
	if l != (lockArg{Type: w, Len: 10, PID: 1}) {
		t.Errorf("F_GETLK gives %+v", l)
	}
	wait := startLock(child, fd, 5, 10)
	if wait.Done() {
		t.Fatal("F_SETLKW does not wait")
	}
	want("unlock of a part", lockCall(g, fd, unix.F_SETLK, u, 0, 5), 0)
	if wait.Done() {
		t.Fatal("F_SETLKW does not wait any more")
	}
	want("unlock", lockCall(g, fd, unix.F_SETLK, u, 5, 5), 0)
	_, errno := wait.Wait()
	want("F_SETLKW", errno, 0)

	// Deadlock: child holds 5-14, g 20-29.
	want("second lock", lockCall(g, fd, unix.F_SETLK, w, 20, 10), 0)
	wait = startLock(child, fd, 25, 1)
	want("deadlock", lockCall(g, fd, unix.F_SETLKW, w, 5, 1), unix.EDEADLK)

	// Any close of the file releases what the process has.
	dup := g.Must("openat", cwd, "/f", unix.O_RDONLY, 0)
	if wait.Done() {
		t.Fatal("F_SETLKW does not wait")
	}
	g.Must("close", dup)
	_, errno = wait.Wait()
	want("after close", errno, 0)

	// Death releases, a signal interrupts, and a close while waiting is seen.
	wait = startLock(g, fd, 5, 1)
	child.Must("kill", g.Task.Process.PID, unix.SIGUSR1)
	_, errno = wait.Wait()
	want("interrupted", errno, emulate.ERESTARTSYS)
	g.Machine.Signals()
	other := g.Thread()
	wait = startLock(g, fd, 5, 1)
	spare := other.Must("dup", fd)
	other.Must("close", fd)
	child.Exit(0)
	_, errno = wait.Wait()
	want("closed while waiting", errno, unix.EBADF)
	again := g.Fork()
	want("nothing is left", lockCall(again, spare, unix.F_SETLK, w, 0, 0), 0)
}

// TestFlockWaits: locks belong to the description, whoever has it.
func TestFlockWaits(t *testing.T) {
	g := NewGuest(t)
	a := g.Must("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	b := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	child := g.Fork()
	g.Must("flock", a, unix.LOCK_EX)
	g.Must("close", a)
	wait := g.Start("flock", b, unix.LOCK_SH)
	if wait.Done() {
		t.Fatal("the child's descriptor does not keep the lock")
	}
	child.Exit(0)
	if _, errno := wait.Wait(); errno != 0 {
		t.Error(errno)
	}
}

// TestOFDLockWaits: so do OFD locks.
func TestOFDLockWaits(t *testing.T) {
	g := NewGuest(t)
	a := g.Must("openat", cwd, "/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	b := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	if errno := lockCall(g, a, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	other := g.Thread()
	wait := g.Start("fcntl", b, unix.F_OFD_SETLKW, &lockArg{Type: unix.F_RDLCK})
	if wait.Done() {
		t.Fatal("F_OFD_SETLKW does not wait")
	}
	other.Must("close", a)
	if _, errno := wait.Wait(); errno != 0 {
		t.Error(errno)
	}
}
