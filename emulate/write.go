//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

func write(c *Call) (uint64, error) {
	fd, buf, count := c.FD(0), c.Addr(1), c.Size(2)
	return c.writeFrom(fd, buf, count, -1)
}

func pwrite64(c *Call) (uint64, error) {
	fd, buf, count, offset := c.FD(0), c.Addr(1), c.Size(2), c.Long(3)
	if offset < 0 {
		return 0, unix.EINVAL
	}
	return c.writeFrom(fd, buf, count, offset)
}

// writeFrom is fs/read_write.c:vfs_write.
func (c *Call) writeFrom(fd int, buf, count uint64, offset int64) (uint64, error) {
	d, err := c.writable(fd, offset)
	if err != nil {
		return 0, err
	}
	b, err := buffer(buf, count)
	if err != nil {
		return 0, err
	}
	if s, ok := d.File.(vnet.Socket); ok {
		return c.writeSocket(d, s, []iovec{b}, b.len, 0)
	}
	t := transfer{c: c, d: d, n: b.len, off: offset, grows: d.Flags&unix.O_APPEND != 0}
	v := [1]iovec{b}
	return t.write(func(done uint64, p []byte) (int, error) { return c.fetch(d, v[:], done, p) })
}

// fetch is gather for d: of a page that cannot be read whole a pipe takes nothing
// (fs/pipe.c:pipe_write).
func (c *Call) fetch(d *fdtable.Description, v []iovec, done uint64, p []byte) (int, error) {
	got, err := c.gather(v, done, p)
	if f, ok := d.File.(*pipeFile); ok && got < len(p) {
		switch got &^= pageSize - 1; {
		case got == 0 && f.pipe.readers == 0:
			err = unix.EPIPE
		case got == 0:
			err = unix.EFAULT
		}
	}
	return got, err
}

func writev(c *Call) (uint64, error) {
	return c.as(pwritev2, c.Args[0], c.Args[1], c.Args[2], ownOffset)
}

func pwritev(c *Call) (uint64, error) {
	if offset := c.Long(3); offset < 0 {
		return 0, unix.EINVAL
	}
	return c.as(pwritev2, c.Args[0], c.Args[1], c.Args[2], c.Args[3])
}

// pwritev2 is fs/read_write.c:vfs_writev.
func pwritev2(c *Call) (uint64, error) {
	fd, iov, iovcnt, offset, flags := c.FD(0), c.Addr(1), c.Uint(2), c.Long(3), c.Flags(5)
	if offset < -1 {
		return 0, unix.EINVAL
	}
	d, err := c.writable(fd, offset)
	if err != nil {
		return 0, err
	}
	v, n, err := c.buffers(iov, iovcnt)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := rwFlags(flags); err != nil {
		return 0, err
	}
	if _, seeks := d.File.(io.WriterAt); seeks && flags&unix.RWF_NOWAIT != 0 {
		return 0, unix.EOPNOTSUPP // as ext4 without O_DIRECT
	}
	if s, ok := d.File.(vnet.Socket); ok {
		return c.writeSocket(d, s, v, n, flags)
	}
	t := transfer{c: c, d: d, n: n, off: offset, grows: d.Flags&unix.O_APPEND != 0,
		once: flags&unix.RWF_NOWAIT != 0, mute: flags&unix.RWF_NOSIGNAL != 0}
	t.grows = (t.grows || flags&unix.RWF_APPEND != 0) && flags&unix.RWF_NOAPPEND == 0
	return t.write(func(done uint64, p []byte) (int, error) { return c.fetch(d, v, done, p) })
}
