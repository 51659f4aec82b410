//go:build linux

package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Requests of ioctl(2) that every file knows, include/uapi/linux/fs.h and
// asm-generic/ioctls.h.
const (
	fionbio     = 0x5421
	fionclex    = 0x5450
	fioclex     = 0x5451
	fioasync    = 0x5452
	fioqsize    = 0x5460
	figetbsz    = 2
	fiemap      = 0xc020660b
	fsGetXattr  = 0x801c581f
	fsSetXattr  = 0x401c5820
	fsGetFSUUID = 0x80111500
	fioSetOwn   = 0x8901
	fioGetOwn   = 0x8903
)

// ioctl is fs/ioctl.c:do_vfs_ioctl, and then the file's own.
func ioctl(c *Call) (uint64, error) {
	fd, request, arg := c.FD(0), c.Uint(1), c.Addr(2)
	d, err := c.Task.opened(fd)
	if err != nil {
		return 0, err
	}
	switch request {
	case fioclex, fionclex:
		return 0, c.Task.FDs.SetCloseOnExec(fd, request == fioclex)
	case fionbio, fioasync:
		return 0, c.ioctlFlag(d, request, arg)
	case fiemap, unix.FICLONE, unix.FICLONERANGE, unix.FIDEDUPERANGE:
		return 0, unix.EOPNOTSUPP
	case unix.FS_IOC_GETFLAGS, unix.FS_IOC_SETFLAGS, fsGetXattr, fsSetXattr, fsGetFSUUID:
		return 0, unix.ENOTTY
	case figetbsz, fioqsize, unix.TIOCINQ:
		if done, err := c.ioctlSize(d, request, arg); done {
			return 0, err
		}
	}
	if _, err := asSocket(d); err == nil {
		switch request { // net/socket.c:sock_ioctl
		case fioGetOwn, unix.SIOCGPGRP:
			return 0, c.WriteValue(arg, int32(d.Owner))
		case fioSetOwn, unix.SIOCSPGRP:
			var who int32
			if err := c.ReadValue(arg, &who); err != nil {
				return 0, err
			}
			return 0, c.setOwner(d, int(who), false)
		}
	}
	f, ok := d.File.(fdtable.Ioctler)
	if !ok {
		return 0, unix.ENOTTY
	}
	return f.Ioctl(c.Memory(), request, arg)
}

// ioctlFlag switches a status flag by the int that arg points to.
func (c *Call) ioctlFlag(d *fdtable.Description, request uint32, arg uint64) error {
	var p [4]byte
	if err := c.Read(arg, p[:]); err != nil {
		return err
	}
	flag := unix.O_NONBLOCK
	if request == fioasync {
		flag = unix.O_ASYNC
		if _, ok := d.File.(fdtable.Poller); !ok {
			return unix.ENOTTY
		}
	}
	flags := d.Flags &^ flag
	if leUint32(p[:]) != 0 {
		flags |= flag
	}
	return setStatus(d, flags)
}

// ioctlSize answers what an inode's attributes tell; not done: the file is to be
// asked.
func (c *Call) ioctlSize(d *fdtable.Description, request uint32, arg uint64) (done bool, err error) {
	a, err := entryOf(d).Attr()
	if err != nil {
		return true, err
	}
	switch {
	case request == figetbsz:
		return true, c.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(a.BlockSize)))
	case request == fioqsize && (a.IsRegular() || a.IsDir()):
		return true, c.Write(arg, binary.LittleEndian.AppendUint64(nil, uint64(a.Blocks)*512))
	case request == fioqsize:
		return true, unix.ENOTTY
	case a.IsRegular():
		return true, c.Write(arg, binary.LittleEndian.AppendUint32(nil, uint32(a.Size-d.Offset)))
	}
	return false, nil
}
