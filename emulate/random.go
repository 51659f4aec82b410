//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxRW is MAX_RW_COUNT of include/linux/fs.h, the most one call moves.
	maxRW = 0x7ffff000
	// randomChunk is how much is made before other tasks have their turn.
	randomChunk = 256 << 10
	// breath is how long they have it.
	breath = 20 * time.Microsecond
)

func getrandom(c *Call) (uint64, error) {
	buf, buflen, flags := c.Addr(0), c.Size(1), c.Flags(2)
	if flags&^(unix.GRND_NONBLOCK|unix.GRND_RANDOM|unix.GRND_INSECURE) != 0 ||
		flags&(unix.GRND_RANDOM|unix.GRND_INSECURE) == unix.GRND_RANDOM|unix.GRND_INSECURE {
		return 0, unix.EINVAL
	}
	buflen = min(buflen, maxRW)
	p := make([]byte, min(buflen, randomChunk))
	done := uint64(0)
	for done < buflen {
		if done > 0 {
			if err := c.Wait(c.Sys.After(breath)); err != nil && err != unix.ETIMEDOUT {
				return done, nil
			}
		}
		p = p[:min(uint64(len(p)), buflen-done)]
		c.Sys.Host.Random(p)
		n, err := c.Task.Machine.WriteMemory(p, buf+done)
		done += uint64(n)
		if err != nil || n < len(p) {
			if done > 0 {
				return done, nil
			}
			return 0, unix.EFAULT
		}
	}
	return done, nil
}
