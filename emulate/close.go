//go:build linux

package emulate

import "golang.org/x/sys/unix"

func closeCall(c *Call) (uint64, error) {
	fd := c.FD(0)
	return 0, c.Task.FDs.Close(fd)
}

func close_range(c *Call) (uint64, error) {
	first, last, flags := c.Uint(0), c.Uint(1), c.Flags(2)
	if flags&^(unix.CLOSE_RANGE_UNSHARE|unix.CLOSE_RANGE_CLOEXEC) != 0 || first > last {
		return 0, unix.EINVAL
	}
	t := c.Task
	if flags&unix.CLOSE_RANGE_UNSHARE != 0 {
		if err := t.UnshareFiles(); err != nil {
			return 0, err
		}
	}
	for _, fd := range t.FDs.Numbers() {
		if uint32(fd) < first || uint32(fd) > last {
			continue
		}
		if flags&unix.CLOSE_RANGE_CLOEXEC != 0 {
			_ = t.FDs.SetCloseOnExec(fd, true)
		} else {
			_ = t.FDs.Close(fd)
		}
	}
	return 0, nil
}

func dup(c *Call) (uint64, error) {
	oldfd := c.FD(0)
	d, err := c.Task.FDs.Get(oldfd)
	if err != nil {
		return 0, err
	}
	return c.install(d.Retain(), false)
}

func dup2(c *Call) (uint64, error) {
	oldfd, newfd := c.FD(0), c.FD(1)
	if oldfd == newfd {
		_, err := c.Task.FDs.Get(oldfd)
		return uint64(newfd), err
	}
	return c.dupTo(oldfd, newfd, false)
}

func dup3(c *Call) (uint64, error) {
	oldfd, newfd, flags := c.FD(0), c.FD(1), c.Flags(2)
	if flags&^unix.O_CLOEXEC != 0 || oldfd == newfd {
		return 0, unix.EINVAL
	}
	return c.dupTo(oldfd, newfd, flags&unix.O_CLOEXEC != 0)
}

func (c *Call) dupTo(oldfd, newfd int, cloexec bool) (uint64, error) {
	d, err := c.Task.FDs.Get(oldfd)
	if err != nil {
		return 0, err
	}
	if newfd < 0 || newfd >= c.Task.maxFD() {
		return 0, unix.EBADF
	}
	if err := c.Task.FDs.Replace(newfd, c.Task.maxFD(), d.Retain(), cloexec); err != nil {
		_ = d.Release()
		return 0, err
	}
	return uint64(newfd), nil
}
