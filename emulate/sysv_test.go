//go:build linux

package emulate_test

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

const (
	ipcCreat  = 0o1000
	ipcExcl   = 0o2000
	ipcNowait = 0o4000
)

// ipcID is a call whose result is an id that differs between the kernels.
func ipcID(s *Script, rmid func(id FD), name string, args ...any) FD {
	s.T.Helper()
	id, errno := s.Quiet(name, args...)
	s.Logf("%s %v", name, errno)
	if errno == 0 && !s.Emulated {
		s.T.Cleanup(func() { rmid(FD(id)) })
	}
	return FD(id)
}

// perms logs the parts of a struct ipc64_perm that are the same everywhere.
func perms(s *Script, p []byte) {
	le := binary.LittleEndian
	s.Logf("uid %v gid %v mode %o", le.Uint32(p[4:]) == le.Uint32(p[12:]), le.Uint32(p[8:]) == le.Uint32(p[16:]), le.Uint32(p[20:]))
}

func sembuf(v ...int16) []byte {
	var p []byte
	for _, x := range v {
		p = binary.LittleEndian.AppendUint16(p, uint16(x))
	}
	return p
}

func TestSem(t *testing.T) {
	const undo = 0x1000
	Twin(t, func(s *Script) {
		rmid := func(id FD) { _, _ = s.Quiet("semctl", id, 0, 0, 0) }
		s.Call("semget", 0, -1, 0o600)
		s.Call("semget", 0, 32001, 0o600)
		s.Call("semget", 0, 0, 0o600)
		s.Call("semget", 0x0badcafe, 1, 0o600)
		id := ipcID(s, rmid, "semget", 0, 3, 0o600)
		op := func(v ...int16) { s.T.Helper(); s.Call("semop", id, sembuf(v...), len(v)/3) }
		op(0, 5, 0, 2, 1, 0)
		op(0, -2, 0, 0, -4, ipcNowait)
		op(0, 0, ipcNowait)
		op(1, 0, 0)
		op(3, 1, 0)
		op(0, 32767, 0)
		op(0, 1, undo, 0, 2, 0)
		s.Call("semop", id, Bad, 1)
		s.Call("semop", id, Bad, 0)
		s.Call("semop", id, Bad, 501)
		s.Call("semop", -1, sembuf(0, 0, 0), 1)
		s.Call("semtimedop", id, sembuf(0, 0, 0), 1, timespec(0, 1e6))
		s.Call("semtimedop", id, sembuf(0, 0, 0), 1, timespec(0, 0))
		s.Call("semtimedop", id, sembuf(0, 0, 0), 1, timespec(0, -1))
		for cmd := range 21 {
			if cmd == 0 || cmd == 1 || cmd == 3 || cmd == 18 || cmd == 19 || cmd == 20 || cmd == 2 || cmd == 11 {
				continue
			}
			s.Call("semctl", id, 0, cmd, make([]byte, 8))
		}
		s.Call("semctl", id, 1, 16, 40000)
		s.Call("semctl", id, 1, 16, -1)
		s.Call("semctl", id, 3, 16, 1)
		s.Call("semctl", id, -1, 12, 0)
		s.Call("semctl", id, 1, 16, 7)
		s.Call("semctl", id, 1, 12, 0)
		s.Call("semctl", id, 0, 17, sembuf(1, -1, 3))
		s.Call("semctl", id, 0, 17, sembuf(1, 2, 3))
		s.Call("semctl", id, 0, 13, make([]byte, 6))
		ds := make([]byte, 104)
		s.Quiet("semctl", id, 0, 2, ds)
		perms(s, ds)
		s.Logf("sems %d otime %v", ds[80], binary.LittleEndian.Uint64(ds[48:]) != 0)
		ds[20] = 0o77
		s.Quiet("semctl", id, 0, 1, ds)
		s.Quiet("semctl", id, 0, 2, ds)
		perms(s, ds)
		s.Call("semctl", id, 0, 0, 0)
		s.Call("semctl", id, 0, 0, 0)
		op(0, 1, 0)
	})
}

// TestSemBlocks: two processes, adjustments at exit, removal.
func TestSemBlocks(t *testing.T) {
	g := NewGuest(t)
	other, third := g.Fork(), g.Fork()
	id := g.Must("semget", 77, 2, ipcCreat|0o600)
	if n := other.Must("semget", 77, 1, 0o600); n != id {
		t.Errorf("key gives id %d, not %d", n, id)
	}
	if _, errno := g.Call("semget", 77, 1, ipcCreat|ipcExcl|0o600); errno != unix.EEXIST {
		t.Errorf("IPC_EXCL gives %v", errno)
	}
	wait := g.Start("semop", id, sembuf(0, -3, 0), 1)
	other.Must("semop", id, sembuf(0, 2, 0x1000), 1)
	if wait.Done() || other.Must("semctl", id, 0, 14, 0) != 1 || other.Must("semctl", id, 0, 15, 0) != 0 {
		t.Fatal("GETNCNT does not show the one that waits")
	}
	other.Must("semop", id, sembuf(0, 1, 0), 1)
	if _, errno := wait.Wait(); errno != 0 {
		t.Errorf("semop gives %v", errno)
	}
	g.Must("semop", id, sembuf(0, 5, 0), 1)
	wait = g.Start("semop", id, sembuf(0, -4, 0, 1, -1, 0), 2)
	other.Exit(0)
	if n := third.Must("semctl", id, 0, 12, 0); n != 3 {
		t.Errorf("value %d after the adjustment at exit", n)
	}
	third.Must("semctl", id, 0, 0, 0)
	if _, errno := wait.Wait(); errno != unix.EIDRM {
		t.Errorf("semop of a removed set gives %v", errno)
	}
}

func TestMsg(t *testing.T) {
	const noError, except, msgCopy = 0o10000, 0o20000, 0o40000
	Twin(t, func(s *Script) {
		rmid := func(id FD) { _, _ = s.Quiet("msgctl", id, 0, 0) }
		id := ipcID(s, rmid, "msgget", 0, 0o600)
		send := func(kind int64, text string) {
			s.T.Helper()
			s.Call("msgsnd", id, append(le64(uint64(kind)), text...), len(text), ipcNowait)
		}
		recv := func(n int, kind int64, flags int) {
			s.T.Helper()
			s.Call("msgrcv", id, make([]byte, 8+n), n, kind, flags|ipcNowait)
		}
		for i, text := range []string{"three", "one", "two", "", "three again", "five"} {
			send([]int64{3, 1, 2, 4, 3, 5}[i], text)
		}
		send(0, "x")
		send(-1, "x")
		s.Call("msgsnd", id, Bad, 1, 0)
		s.Call("msgsnd", id, Edge(le64(1)), 1, 0)
		s.Call("msgsnd", id, make([]byte, 9000), 8193, 0)
		s.Call("msgsnd", -1, le64(1), 0, 0)
		recv(2, 3, msgCopy)
		recv(20, 2, msgCopy)
		recv(20, 9, msgCopy)
		recv(2, 0, 0)
		recv(2, 0, noError)
		recv(20, 4, 0)
		recv(20, -2, 0)
		recv(20, -1<<63, 0)
		recv(20, 3, except)
		recv(20, 7, 0)
		recv(-1, 0, 0)
		s.Call("msgrcv", id, Bad, 20, 0, 0)
		recv(20, 0, 0)
		for range 3 {
			s.Call("msgsnd", id, append(le64(1), make([]byte, 8000)...), 8000, ipcNowait)
		}
		ds := make([]byte, 120)
		s.Quiet("msgctl", id, 2, ds)
		perms(s, ds)
		s.Logf("%x", ds[72:96])
		clear(ds) // the kernel numbers its queues
		s.Call("msgctl", id, 99, ds)
		s.Call("msgctl", id, 0, 0)
		s.Call("msgctl", id, 0, 0)
		send(1, "x")
	})
	g := NewGuest(t)
	other := g.Fork()
	id := g.Must("msgget", 5, ipcCreat|0o600)
	buf := make([]byte, 16)
	wait := g.Start("msgrcv", id, buf, 8, 2, 0)
	other.Must("msgsnd", id, append(le64(1), 'a'), 1, 0)
	if wait.Done() {
		t.Fatal("msgrcv takes the wrong type")
	}
	other.Must("msgsnd", id, append(le64(2), 'b'), 1, 0)
	if n, errno := wait.Wait(); n != 1 || errno != 0 || buf[8] != 'b' {
		t.Errorf("msgrcv gives %d, %v, %q", n, errno, buf)
	}
	wait = g.Start("msgrcv", id, buf, 8, 2, 0)
	g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, true)
	if _, errno := wait.Wait(); errno != emulate.ERESTARTNOHAND {
		t.Errorf("interrupted msgrcv gives %v", errno)
	}
	g.Machine.Signals()
	wait = g.Start("msgrcv", id, buf, 8, 2, 0)
	other.Must("msgctl", id, 0, 0)
	if _, errno := wait.Wait(); errno != unix.EIDRM {
		t.Errorf("msgrcv of a removed queue gives %v", errno)
	}
}

func TestShm(t *testing.T) {
	const rdonly, rnd, remap = 0o10000, 0o20000, 0o40000
	Twin(t, func(s *Script) {
		if s.Emulated {
			mapper(t, s.Guest)
		}
		rmid := func(id FD) { _, _ = s.Quiet("shmctl", id, 0, 0) }
		s.Call("shmget", 0, 0, 0o600)
		s.Call("shmget", 0, -1, 0o600)
		s.Call("shmget", 0x0badcafe, 1, 0o600)
		id := ipcID(s, rmid, "shmget", 0, 5000, 0o640)
		stat := func() {
			s.T.Helper()
			ds := make([]byte, 112)
			_, errno := s.Quiet("shmctl", id, 2, ds)
			s.Logf("stat %v", errno)
			perms(s, ds)
			s.Logf("size and attached %x %x", ds[48:56], ds[88:96])
		}
		at := func(addr any, flags int) uint64 {
			s.T.Helper()
			n, errno := s.Quiet("shmat", id, addr, flags)
			s.Logf("shmat %v", errno)
			return n
		}
		stat()
		a, b := at(nil, 0), at(nil, rdonly)
		stat()
		pa, pb := (*[8192]byte)(pointer(a)), (*[8192]byte)(pointer(b))
		copy(pa[:], "hello")
		pa[8191] = 'x'
		s.Logf("%q %q", pb[:5], pb[8191:])
		s.Logf("read only: %v", unix.Mprotect(pb[:4096], unix.PROT_READ|unix.PROT_WRITE))
		at(a, 0)
		at(a+1, 0)
		at(nil, remap)
		s.Logf("remap %v", at(b+5, remap|rnd) == b)
		stat()
		s.Call("shmat", -1, nil, 0)
		s.Call("shmat", 1<<30, nil, 0)
		s.Quiet("shmdt", b)
		s.Call("shmdt", 4096)
		_, errno := s.Quiet("shmdt", b)
		s.Logf("shmdt twice %v", errno)
		for _, cmd := range []int{11, 12, 99, -1} {
			s.Call("shmctl", id, cmd, 0)
		}
		s.Call("shmctl", id, 0, 0)
		stat()
		s.Logf("%q", pa[:5])
		_, errno = s.Quiet("shmdt", a)
		s.Logf("shmdt %v", errno)
		stat()
	})
}

// TestShmProcesses: attachments are inherited, and end with the process.
func TestShmProcesses(t *testing.T) {
	g := NewGuest(t)
	mapper(t, g)
	id := g.Must("shmget", 9, 4096, ipcCreat|0o600)
	g.Must("shmat", id, nil, 0)
	attached := func(want byte) {
		t.Helper()
		ds := make([]byte, 112)
		g.Must("shmctl", id, 2, ds)
		if ds[88] != want {
			t.Errorf("%d attachments, not %d", ds[88], want)
		}
	}
	child := g.Fork()
	attached(2)
	g.Must("shmctl", id, 0, 0)
	child.Exit(0)
	attached(1)
	if _, errno := g.Call("shmget", 9, 4096, 0o600); errno != unix.ENOENT {
		t.Errorf("key of a removed segment gives %v", errno)
	}
	g.Exit(0)
	other := NewGuest(t)
	if _, errno := other.Call("shmctl", id, 2, make([]byte, 112)); errno != unix.EINVAL {
		t.Errorf("segment of another jail gives %v", errno)
	}
}

// TestShmMeanwhile: a segment that is removed while it is attached, or detached by two
// threads at once, goes once.
func TestShmMeanwhile(t *testing.T) {
	g := NewGuest(t)
	mapper(t, g)
	native := g.Machine.OnNative
	var meanwhile func()
	g.Machine.OnNative = func(nr int, args [6]uint64) (uint64, error) {
		if do := meanwhile; do != nil {
			meanwhile = nil
			do()
		}
		return native(nr, args)
	}
	thread := g.Thread()
	id, next := g.Must("shmget", 0, 4096, 0o600), uint64(0)
	meanwhile = func() {
		thread.Must("shmctl", id, 0, 0)
		next = thread.Must("shmget", 0, 4096, 0o600)
	}
	at := g.Must("shmat", id, nil, 0)
	ds := make([]byte, 112)
	meanwhile = func() { thread.Must("shmdt", at) }
	if _, errno := g.Call("shmdt", at); errno != unix.EINVAL {
		t.Errorf("detached twice: %v", errno)
	}
	if _, errno := g.Call("shmctl", next, 2, ds); errno != 0 {
		t.Errorf("another segment is gone: %v", errno)
	}
	if _, errno := g.Call("shmctl", id, 2, ds); errno != unix.EINVAL {
		t.Errorf("the segment is still there: %v", errno)
	}
}

// pointer is the memory at an address this process has mapped.
func pointer(addr uint64) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr))
}
