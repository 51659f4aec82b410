//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestFutex: no operation that names a thread reaches the kernel.
func TestFutex(t *testing.T) {
	g := NewGuest(t)
	made := false
	g.Machine.OnNative = func(int, [6]uint64) (uint64, error) { made = true; return 0, nil }
	for op := range 1 << 10 {
		made = false
		_, errno := g.Call("futex", 0, op, 0, 0, 0, 0)
		names := op&127 != 0 && op&127 != 1 && op&127 != 3 && op&127 != 4 && op&127 != 5 && op&127 != 9 && op&127 != 10 || op >= 512
		if made == names || names != (errno == unix.ENOSYS) {
			t.Errorf("futex(%d): native %v, %v", op, made, errno)
		}
	}
}
