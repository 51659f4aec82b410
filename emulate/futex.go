//go:build linux

package emulate

import "golang.org/x/sys/unix"

// futex is the kernel's own but for the operations with priority inheritance:
// they take a thread id out of memory, and the kernel would take it for one of
// the host's.
func futex(c *Call) (uint64, error) {
	const options = 128 | 256 // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
	switch c.Flags(1) &^ options {
	case 0, 1, 3, 4, 5, 9, 10: // as policy.Native has them
		return c.Kernel()
	}
	return 0, unix.ENOSYS
}
