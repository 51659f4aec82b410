//go:build linux

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"testing"

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
