//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// openFIFO is open(2) of a FIFO, or of a pipe by way of /proc/self/fd
// (fs/pipe.c:fifo_open): without O_NONBLOCK each side waits for the other, which
// may come and go meanwhile. ENXIO, EINVAL (an access mode of 3), ENFILE, and
// what Wait gives.
func (c *Call) openFIFO(node vfs.Node, flags int) (fdtable.File, error) {
	o, opens := node.(vfs.Opener)
	if _, named := node.(vfs.Slotter); opens && !named { // a pipe of the caller's
		return o.Open(flags)
	}
	p, err := c.Sys.pipeFor(node, true)
	if err != nil {
		return nil, err
	}
	f := &pipeFile{pipe: p, mode: flags & unix.O_ACCMODE}
	nonblock := flags&unix.O_NONBLOCK != 0
	if f.mode == unix.O_ACCMODE {
		err = unix.EINVAL
	} else if f.mode == unix.O_WRONLY && p.fifo && nonblock && p.readers == 0 {
		err = unix.ENXIO
	}
	if err != nil {
		p.put()
		return nil, err
	}
	if f.reads() {
		p.readers++
		p.readOpens++
	}
	if f.writes() {
		p.writers++
		p.writeOpens++
	}
	p.wakeReaders()
	p.wakeWriters()
	switch {
	case !p.fifo || f.mode == unix.O_RDWR:
	case f.mode == unix.O_RDONLY && p.writers == 0:
		if nonblock {
			f.quiet, f.hush = p.writeOpens, true
			break
		}
		err = c.partner(&p.read, &p.writeOpens)
	case f.mode == unix.O_WRONLY && p.readers == 0:
		err = c.partner(&p.write, &p.readOpens)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// partner waits until someone opens the other side.
func (c *Call) partner(q *fdtable.Queue, opens *uint64) error {
	for before := *opens; *opens == before; {
		if err := c.Wait(0, q); err != nil {
			return err
		}
	}
	return nil
}
