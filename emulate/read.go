//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

func read(c *Call) (uint64, error) {
	fd, buf, count := c.FD(0), c.Addr(1), c.Size(2)
	return c.readInto(fd, buf, count, -1)
}

func pread64(c *Call) (uint64, error) {
	fd, buf, count, offset := c.FD(0), c.Addr(1), c.Size(2), c.Long(3)
	if offset < 0 {
		return 0, unix.EINVAL
	}
	return c.readInto(fd, buf, count, offset)
}

// readInto is fs/read_write.c:vfs_read.
func (c *Call) readInto(fd int, buf, count uint64, offset int64) (uint64, error) {
	d, err := c.readable(fd, offset)
	if err != nil {
		return 0, err
	}
	b, err := buffer(buf, count)
	if err != nil {
		return 0, err
	}
	if s, ok := d.File.(vnet.Socket); ok {
		return c.readSocket(d, s, []iovec{b}, b.len, 0)
	}
	t := transfer{c: c, d: d, n: b.len, off: offset}
	v := [1]iovec{b}
	return t.read(func(done uint64, p []byte) (int, error) { return c.scatter(v[:], done, p) })
}

// readable is the description of fd, for reading at offset unless that is below
// 0. EBADF, ESPIPE, EINVAL (it has no read).
func (c *Call) readable(fd int, offset int64) (*fdtable.Description, error) {
	d, err := c.Task.opened(fd)
	if err != nil {
		return nil, err
	}
	_, seeks := d.File.(io.ReaderAt)
	_, streams := d.File.(io.Reader)
	_, both := d.File.(fdtable.Preader)
	switch {
	case offset >= 0 && !seeks && !both && !isDir(d):
		return nil, unix.ESPIPE
	case !d.Reads():
		return nil, unix.EBADF
	case !seeks && !streams && !isDir(d):
		return nil, unix.EINVAL
	}
	return d, nil
}

// writable is readable for writing.
func (c *Call) writable(fd int, offset int64) (*fdtable.Description, error) {
	d, err := c.Task.opened(fd)
	if err != nil {
		return nil, err
	}
	_, seeks := d.File.(io.WriterAt)
	_, streams := d.File.(io.Writer)
	_, both := d.File.(fdtable.Pwriter)
	if !seeks && !streams {
		_, seeks = d.File.(io.ReaderAt) // what can only be read has places, too
	}
	switch {
	case offset >= 0 && !seeks && !both && !isDir(d):
		return nil, unix.ESPIPE
	case !d.Writes():
		return nil, unix.EBADF
	case !seeks && !streams:
		return nil, unix.EINVAL
	}
	return d, nil
}

// ownOffset is the offset of preadv2(2) and pwritev2(2) that means the description's.
const ownOffset = 1<<64 - 1

func readv(c *Call) (uint64, error) {
	return c.as(preadv2, c.Args[0], c.Args[1], c.Args[2], ownOffset)
}

func preadv(c *Call) (uint64, error) {
	if offset := c.Long(3); offset < 0 {
		return 0, unix.EINVAL
	}
	return c.as(preadv2, c.Args[0], c.Args[1], c.Args[2], c.Args[3])
}

// preadv2 is fs/read_write.c:vfs_readv.
func preadv2(c *Call) (uint64, error) {
	fd, iov, iovcnt, offset, flags := c.FD(0), c.Addr(1), c.Uint(2), c.Long(3), c.Flags(5)
	if offset < -1 {
		return 0, unix.EINVAL
	}
	d, err := c.readable(fd, offset)
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
	if s, ok := d.File.(vnet.Socket); ok {
		return c.readSocket(d, s, v, n, flags)
	}
	t := transfer{c: c, d: d, n: n, off: offset, once: flags&unix.RWF_NOWAIT != 0}
	return t.read(func(done uint64, p []byte) (int, error) { return c.scatter(v, done, p) })
}

// rwFlags is include/linux/fs.h:kiocb_set_rw_flags for files that can do neither
// atomic nor uncached writes.
func rwFlags(flags int) error {
	const known = unix.RWF_HIPRI | unix.RWF_DSYNC | unix.RWF_SYNC | unix.RWF_NOWAIT | unix.RWF_APPEND |
		unix.RWF_NOAPPEND | unix.RWF_NOSIGNAL
	if flags&^known != 0 {
		return unix.EOPNOTSUPP
	}
	if flags&unix.RWF_APPEND != 0 && flags&unix.RWF_NOAPPEND != 0 {
		return unix.EINVAL
	}
	return nil
}
