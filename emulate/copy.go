//go:build linux

package emulate

import (
	"io"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// offsetAt reads the off_t that addr points to, or gives the description's
// offset if addr is 0. EFAULT.
func (c *Call) offsetAt(addr uint64, d *fdtable.Description) (int64, error) {
	if addr == 0 {
		return d.Offset, nil
	}
	var at int64
	err := c.ReadValue(addr, &at)
	return at, err
}

// setOffset is offsetAt's reverse.
func (c *Call) setOffset(addr uint64, d *fdtable.Description, at int64) error {
	if addr == 0 {
		d.Offset = at
		return nil
	}
	return c.WriteValue(addr, at)
}

// sendfile is fs/read_write.c:do_sendfile.
func sendfile(c *Call) (uint64, error) {
	outfd, infd, offset, count := c.FD(0), c.FD(1), c.Addr(2), c.Size(3)
	var given int64
	if offset != 0 {
		if err := c.ReadValue(offset, &given); err != nil {
			return 0, err
		}
	}
	in, err := c.Task.opened(infd)
	if err != nil {
		return 0, err
	}
	at := in.Offset
	if offset != 0 {
		at = given
	}
	from, seeks := in.File.(io.ReaderAt)
	switch {
	case !in.Reads():
		return 0, unix.EBADF
	case offset != 0 && !seeks && !isDir(in):
		return 0, unix.ESPIPE
	case at < 0:
		return 0, unix.EINVAL
	}
	out, err := c.Task.opened(outfd)
	if err != nil {
		return 0, err
	}
	if !out.Writes() {
		return 0, unix.EBADF
	}
	_, writesAt := out.File.(io.WriterAt)
	_, writes := out.File.(io.Writer)
	to, toPipe := out.File.(*pipeFile)
	if !seeks && !toPipe || int64(count) < 0 || out.Flags&unix.O_APPEND != 0 || !writesAt && !writes {
		return 0, unix.EINVAL
	}
	in.Retain()
	defer in.Release()
	if toPipe { // what fits, as splice(2)
		defer out.Retain().Release()
		end := spliceEnd{d: in, off: -1}
		if seeks {
			end.off = at
		}
		n, err := c.fileToPipe(end, spliceEnd{d: out, pipe: to.pipe}, int(min(count, maxRW)), out.Flags&unix.O_NONBLOCK != 0)
		if err != nil || !seeks {
			return uint64(n), err
		}
		return uint64(n), c.setOffset(offset, in, at+int64(n))
	}
	t := transfer{c: c, d: out, n: min(count, maxRW), off: -1}
	n, err := t.copy(from, at)
	if n > 0 {
		c.Sys.notifyFile(in, unix.IN_ACCESS)
	}
	if err != nil {
		return 0, err
	}
	return n, c.setOffset(offset, in, at+int64(n))
}

// copy is a write whose source is another file.
func (t *transfer) copy(from io.ReaderAt, at int64) (uint64, error) {
	return t.write(func(done uint64, p []byte) (int, error) {
		n, err := from.ReadAt(p, at+int64(done))
		if err == io.EOF {
			err = nil
		}
		return n, err
	})
}

// copy_file_range is fs/read_write.c:vfs_copy_file_range.
func copy_file_range(c *Call) (uint64, error) {
	infd, offin, outfd, offout, length, flags := c.FD(0), c.Addr(1), c.FD(2), c.Addr(3), c.Size(4), c.Flags(5)
	in, err := c.Task.opened(infd)
	if err != nil {
		return 0, err
	}
	out, err := c.Task.opened(outfd)
	if err != nil {
		return 0, err
	}
	from, err := c.offsetAt(offin, in)
	if err != nil {
		return 0, err
	}
	to, err := c.offsetAt(offout, out)
	if err != nil {
		return 0, err
	}
	n, err := copyLength(in, out, from, to, length, flags)
	if err != nil || n == 0 {
		return 0, err
	}
	in.Retain()
	defer in.Release()
	t := transfer{c: c, d: out, n: n, off: to}
	done, err := t.copy(in.File.(io.ReaderAt), from)
	if err != nil {
		return 0, err
	}
	if done > 0 {
		c.Sys.notifyFile(in, unix.IN_ACCESS)
	}
	if err := c.setOffset(offin, in, from+int64(done)); err != nil {
		return 0, err
	}
	return done, c.setOffset(offout, out, to+int64(done))
}

// copyLength is fs/read_write.c:generic_copy_file_checks: how much there is to
// copy. EINVAL, EISDIR, EBADF, EXDEV, EOVERFLOW.
func copyLength(in, out *fdtable.Description, from, to int64, length uint64, flags int) (uint64, error) {
	if flags != 0 {
		return 0, unix.EINVAL
	}
	if isDir(in) || isDir(out) {
		return 0, unix.EISDIR
	}
	ie, oe := entryOf(in), entryOf(out)
	ia, err := ie.Attr()
	if err != nil {
		return 0, err
	}
	oa, err := oe.Attr()
	if err != nil {
		return 0, err
	}
	_, reads := in.File.(io.ReaderAt)
	_, writes := out.File.(io.WriterAt)
	switch {
	case !ia.IsRegular() || !oa.IsRegular():
		return 0, unix.EINVAL
	case !in.Reads() || !out.Writes() || out.Flags&unix.O_APPEND != 0:
		return 0, unix.EBADF
	case !reads || !writes:
		return 0, unix.EINVAL
	case ia.Dev != oa.Dev: // one file system only, since 5.19
		return 0, unix.EXDEV
	case uint64(from)+length < length || uint64(to)+length < length:
		return 0, unix.EOVERFLOW
	}
	n := int64(min(length, maxRW, uint64(max(ia.Size-from, 0))))
	if ie.Node == oe.Node && to+n > from && to < from+n || from < 0 || to < 0 {
		return 0, unix.EINVAL
	}
	return uint64(n), nil
}
