//go:build linux && amd64

package ptrace_test

import (
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
)

// deep makes the goroutine's stack large, so that the collector will shrink it.
func deep(n int) byte {
	var p [1 << 10]byte
	if n > 0 {
		p[n] = deep(n - 1)
	}
	return p[n]
}

// TestMovingStack reads into variables on a stack that the collector shrinks, and
// so moves, at the first call it can.
func TestMovingStack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	tid := cmd.Process.Pid
	if err := ptrace.Seize(tid, 0); err != nil {
		t.Skip(err)
	}
	if err := ptrace.Interrupt(tid); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if err := ptrace.SetSigMask(tid, 1<<63); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		deep(64)
		ts := unix.Timespec{Nsec: 1e5}
		_ = unix.Nanosleep(&ts, nil)
		if mask, err := ptrace.SigMask(tid); err != nil || mask != 1<<63 {
			t.Fatalf("mask %#x, %v", mask, err)
		}
	}
}
