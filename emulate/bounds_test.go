//go:build linux

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Unlocking a part makes two locks of one: that is bounded, too.
func TestSplitLocks(t *testing.T) {
	g := NewGuest(t)
	const files, splits = 720, 100 // more than maxLocks in all
	made := 0
	addr := g.Machine.Alloc(64)
	lock := func(fd uint64, l lockArg) unix.Errno {
		p, err := binary.Append(nil, binary.LittleEndian, l)
		if err == nil {
			_, err = g.Machine.WriteMemory(p, addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, errno := g.Call("fcntl", fd, unix.F_SETLK, addr)
		return errno
	}
	for i := range files {
		fd := g.Must("openat", cwd, fmt.Sprint("/f", i), unix.O_CREAT|unix.O_RDWR, 0o600)
		if errno := lock(fd, lockArg{Type: unix.F_WRLCK}); errno == unix.ENOLCK {
			break
		} else if errno != 0 {
			t.Fatal(errno)
		}
		made++
		for j := range splits {
			errno := lock(fd, lockArg{Type: unix.F_UNLCK, Start: int64(2*j + 1), Len: 1})
			if errno == unix.ENOLCK {
				break
			} else if errno != 0 {
				t.Fatal(errno)
			}
			made++
		}
	}
	if made != 1<<16 {
		t.Errorf("there are %d locks", made)
	}
	// A whole lock can always be given up.
	if errno := lock(0, lockArg{Type: unix.F_UNLCK}); errno != 0 {
		t.Error(errno)
	}
}

// A guest that unmaps what it attached behind the warden's back, or maps it
// thousands of times, does not fill the list of attachments.
func TestAttachments(t *testing.T) {
	g := NewGuest(t)
	g.Machine.OnNative = func(_ int, args [6]uint64) (uint64, error) { return args[0], nil }
	id := g.Must("shmget", 0, 4096, 0o600)
	for i := range 65530 {
		g.Must("shmat", id, 0x1000_0000+i*4096, 0)
	}
	if _, errno := g.Call("shmat", id, 0x1000, 0); errno != unix.ENOMEM {
		t.Errorf("one more attachment: %v", errno)
	}
}

// The descriptors that selects wait for are bounded, as those of polls are.
func TestSelects(t *testing.T) {
	g := NewGuest(t)
	const most = 1 << 20
	g.Task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: most, Max: most}
	var p [2]int32
	g.Must("pipe2", &p, 0)
	g.Must("dup2", p[0], most-1)
	set := g.Machine.Map(0, most/8, unix.PROT_READ|unix.PROT_WRITE)
	if _, err := g.Machine.WriteMemory([]byte{1 << p[0]}, set); err != nil {
		t.Fatal(err)
	}
	var waits []*Started
	for range 4 {
		s := g.Thread().Start("select", most, set, 0, 0, 0)
		if s.Done() {
			t.Fatal("select does not wait")
		}
		waits = append(waits, s)
	}
	if _, errno := g.Call("select", most, set, 0, 0, 0); errno != unix.ENOMEM {
		t.Errorf("one more gives %v", errno)
	}
	g.Must("write", p[1], []byte{0}, 1)
	for _, s := range waits {
		if n, errno := s.Wait(); n != 1 || errno != 0 {
			t.Errorf("select gives %d, %v", n, errno)
		}
	}
	g.Must("select", most, set, 0, 0, 0)
}

// What waits to be sent is bounded: threads cost less than their messages.
func TestMessagesInSending(t *testing.T) {
	g := NewGuest(t)
	g.Task.Cred.EUID = 0
	const size = 8 << 20
	fd := g.Must("mq_open", "q", unix.O_CREAT|unix.O_RDWR, 0o600, &[8]int64{0, 1, size})
	text := g.Machine.Map(0, size, unix.PROT_READ)
	g.Must("mq_timedsend", fd, text, size, 0, 0)
	for range 64 << 20 / size {
		if s := g.Thread().Start("mq_timedsend", fd, text, size, 0, 0); s.Done() {
			t.Fatal("a send to a full queue does not wait")
		}
	}
	if _, errno := g.Call("mq_timedsend", fd, text, size, 0, 0); errno != unix.ENOMEM {
		t.Errorf("one more gives %v", errno)
	}
	g.Must("mq_timedreceive", fd, g.Machine.Map(0, size, unix.PROT_READ|unix.PROT_WRITE), size, 0, 0)
	if s := g.Thread().Start("mq_timedsend", fd, text, size, 0, 0); s.Done() {
		t.Error("a message that was sent counts as one to be sent")
	}
}

// To close a file that others have locked costs no look at their locks.
func TestCloseLocked(t *testing.T) {
	g := NewGuest(t)
	const locks, opens = 1 << 12, 1 << 14
	g.Task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 2 * opens, Max: 2 * opens}
	g.WriteFile("/f", "")
	fd := g.Must("openat", cwd, "/f", unix.O_RDWR, 0)
	child := g.Fork()
	for i := range locks {
		if errno := lockCall(child, fd, unix.F_SETLK, unix.F_WRLCK, int64(2*i), 1); errno != 0 {
			t.Fatal(errno)
		}
	}
	for range opens {
		g.Must("flock", g.Must("openat", cwd, "/f", unix.O_RDONLY, 0), unix.LOCK_SH)
	}
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := spent()
	g.Must("close_range", fd+1, 1<<31, 0)
	if d := spent() - before; d > 250*time.Millisecond {
		t.Errorf("to close %d descriptors took %v", opens, d)
	}
}

// A thousand timers that expire all the time have no more of the warden's time than one.
func TestTimersTakeTurns(t *testing.T) {
	g := NewGuest(t)
	var id int32
	for range 1000 {
		g.Must("timer_create", unix.CLOCK_MONOTONIC, nil, &id)
		g.Must("timer_settime", id, 0, &[4]int64{0, 1, 0, 1}, nil)
	}
	before, start := g.world.timers, time.Now()
	for time.Since(start) < 200*time.Millisecond {
		g.world.pump()
	}
	if n, most := g.world.timers-before, int(time.Since(start)/(100*time.Microsecond))+2000; n > most {
		t.Errorf("%d timers were started, not %d", n, most)
	}
}

// One event is not any number of signals.
func TestDnotifyWatches(t *testing.T) {
	const fNotify, create = 1026, 1 << 2
	g := NewGuest(t)
	g.Must("mkdir", "/d", 0o755)
	for i := range 20 {
		fd := g.Must("openat", cwd, "/d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if _, errno := g.Call("fcntl", fd, fNotify, create); errno != 0 && (i < 16 || errno != unix.ENOMEM) || errno == 0 && i >= 16 {
			t.Errorf("watch %d: %v", i, errno)
		}
	}
	root := g.Must("openat", cwd, "/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	g.Must("fcntl", root, fNotify, create)
}
