//go:build linux

package emulate

import (
	"encoding/binary"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

const (
	maxRights   = 253       // SCM_MAX_FD
	maxControl  = 128 << 10 // net.core.optmem_max
	maxMessages = 1024      // UIO_MAXIOV, of sendmmsg and recvmmsg
	maxMessage  = 1 << 20   // no message of an Addressed socket is longer
	cmsgHeader  = 16        // sizeof struct cmsghdr
	msgCompat   = 0x80000000
)

// msghdr is struct msghdr, mmsghdr struct mmsghdr.
type msghdr struct {
	Name       uint64
	NameLen    int32
	_          uint32
	Iov        uint64
	IovLen     uint64
	Control    uint64
	ControlLen uint64
	Flags      uint32
	_          uint32
}

const (
	msghdrNameLen    = 8 // offsets
	msghdrControlLen = 40
	msghdrFlags      = 48
	mmsghdrLen       = 56
	mmsghdrSize      = 64
)

// message reads a struct msghdr and its buffers. EFAULT, EINVAL, EMSGSIZE.
func (c *Call) message(addr uint64) (h msghdr, v []iovec, n uint64, err error) {
	if err = c.ReadValue(addr, &h); err != nil {
		return h, nil, 0, err
	}
	if h.Name == 0 {
		h.NameLen = 0
	}
	switch {
	case h.NameLen < 0:
		return h, nil, 0, unix.EINVAL
	case h.IovLen > maxIov:
		return h, nil, 0, unix.EMSGSIZE
	}
	v, n, err = c.buffers(h.Iov, uint32(h.IovLen))
	return h, v, n, err
}

func sendmsg(c *Call) (uint64, error) {
	msg, flags := c.Addr(1), c.Flags(2)
	if flags&msgCompat != 0 {
		return 0, unix.EINVAL
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	return c.sendMessage(d, s, msg, flags)
}

// sendMessage is net/socket.c:___sys_sendmsg.
func (c *Call) sendMessage(d *fdtable.Description, s vnet.Socket, msg uint64, flags int) (uint64, error) {
	h, v, n, err := c.message(msg)
	if err != nil {
		return 0, err
	}
	o := &outgoing{v: v, n: n, flags: flags}
	if h.NameLen > 0 {
		if o.to, err = c.sockaddr(h.Name, min(int(h.NameLen), maxSockaddr)); err != nil {
			return 0, err
		}
	}
	if h.ControlLen > math.MaxInt32 || h.ControlLen > maxControl {
		return 0, unix.ENOBUFS
	}
	control := make([]byte, h.ControlLen)
	if err := c.Read(h.Control, control); err != nil {
		return 0, err
	}
	if err := c.readControl(control, &o.Outgoing); err != nil {
		return 0, err
	}
	return c.send(d, s, o)
}

// readControl is __scm_send: descriptors and credentials to send along. On error
// it holds no files. EINVAL, EBADF, EPERM, ESRCH, ETOOMANYREFS.
func (c *Call) readControl(p []byte, o *vnet.Outgoing) error {
	err := c.eachControl(p, o)
	if err == nil && len(o.Files) > 0 {
		limit := c.Task.Limit(unix.RLIMIT_NOFILE)
		if c.Task.Cred.EUID == 0 {
			limit = unix.RLIM_INFINITY
		}
		err = c.Sys.net.MayFly(len(o.Files), limit)
	}
	if err != nil {
		c.Sys.net.Release(o.Files)
		o.Files = nil
	}
	return err
}

func (c *Call) eachControl(p []byte, o *vnet.Outgoing) error {
	for len(p) >= cmsgHeader {
		size, level, kind := leUint64(p), int32(leUint32(p[8:])), int32(leUint32(p[12:]))
		if size < cmsgHeader || size > uint64(len(p)) {
			return unix.EINVAL
		}
		data := p[cmsgHeader:size]
		switch {
		case level != unix.SOL_SOCKET:
			o.Control = append(o.Control, vnet.Control{Level: level, Type: kind, Data: data})
		case kind == unix.SCM_RIGHTS:
			if err := c.addRights(data, o); err != nil {
				return err
			}
		case kind == unix.SCM_CREDENTIALS && len(data) == 12:
			cred := &vnet.Cred{PID: int32(leUint32(data)), UID: leUint32(data[4:]), GID: leUint32(data[8:])}
			if err := c.mayClaim(cred); err != nil {
				return err
			}
			o.Explicit = cred
		default:
			return unix.EINVAL
		}
		p = p[min(align8(size), uint64(len(p))):]
	}
	return nil
}

func align8(n uint64) uint64 { return (n + 7) &^ 7 }

// addRights is scm_fp_copy.
func (c *Call) addRights(data []byte, o *vnet.Outgoing) error {
	count := len(data) / 4
	if count+len(o.Files) > maxRights {
		return unix.EINVAL
	}
	for ; count > 0; count-- {
		d, err := c.Task.FDs.Get(int(int32(leUint32(data))))
		if err != nil {
			return err
		}
		o.Files = append(o.Files, d.Retain())
		data = data[4:]
	}
	return nil
}

// mayClaim is scm_check_creds: who is not root tells the truth. EPERM, ESRCH.
func (c *Call) mayClaim(k *vnet.Cred) error {
	me := c.Task.Cred
	if me.EUID != 0 {
		if int(k.PID) != c.Task.Process.PID || !slices.Contains([]uint32{me.RUID, me.EUID, me.SUID}, k.UID) ||
			!slices.Contains([]uint32{me.RGID, me.EGID, me.SGID}, k.GID) {
			return unix.EPERM
		}
	}
	if c.Sys.Task(int(k.PID)) == nil {
		return unix.ESRCH
	}
	return nil
}

func recvmsg(c *Call) (uint64, error) {
	msg, flags := c.Addr(1), c.Flags(2)
	if flags&msgCompat != 0 {
		return 0, unix.EINVAL
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	return c.receiveMessage(d, s, msg, flags)
}

// receiveMessage is net/socket.c:___sys_recvmsg.
func (c *Call) receiveMessage(d *fdtable.Description, s vnet.Socket, msg uint64, flags int) (uint64, error) {
	h, v, n, err := c.message(msg)
	if err != nil {
		return 0, err
	}
	r, n, err := c.receive(d, s, v, n, flags)
	if err != nil {
		return 0, err
	}
	defer func() { c.Sys.net.Release(r.Files) }()
	out := control{c: c, at: h.Control, room: h.ControlLen, flags: uint32(flags & unix.MSG_CMSG_CLOEXEC)}
	if r.Truncated {
		out.flags |= unix.MSG_TRUNC
	}
	out.flags |= r.Flags
	if err := out.put(s, &r); err != nil {
		return 0, err
	}
	if h.Name != 0 {
		name := r.Name
		if err := c.WriteValue(msg+msghdrNameLen, int32(len(name))); err != nil {
			return 0, err
		}
		if err := c.Write(h.Name, name[:min(len(name), int(h.NameLen))]); err != nil {
			return 0, err
		}
	}
	if err := c.WriteValue(msg+msghdrFlags, out.flags); err != nil {
		return 0, err
	}
	return n, c.WriteValue(msg+msghdrControlLen, out.at-h.Control)
}

// control is the buffer of recvmsg(2) for what comes beside the bytes.
type control struct {
	c        *Call
	at, room uint64
	flags    uint32 // msg_flags so far
}

// put is what the families add, and scm_recv_unix. EFAULT; files that do not fit stay with r.
func (o *control) put(s vnet.Socket, r *vnet.Received) error {
	for _, m := range r.Control {
		if err := o.putData(m.Level, m.Type, m.Data); err != nil {
			return err
		}
	}
	if s, ok := s.(*vnet.Unix); ok {
		return o.putUnix(s, r)
	}
	return nil
}

func (o *control) putUnix(s *vnet.Unix, r *vnet.Received) error {
	if o.at == 0 {
		if s.PassCred() || r.Files != nil {
			o.flags |= unix.MSG_CTRUNC
		}
		return nil
	}
	if s.PassCred() {
		if err := o.putData(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, r.Cred.Bytes()); err != nil {
			return err
		}
	}
	if r.Files == nil {
		return nil
	}
	return o.putRights(r)
}

// header is struct cmsghdr.
func header(n uint64, level, kind int32) []byte {
	p := binary.LittleEndian.AppendUint64(nil, cmsgHeader+n)
	p = binary.LittleEndian.AppendUint32(p, uint32(level))
	return binary.LittleEndian.AppendUint32(p, uint32(kind))
}

// putData is put_cmsg, which cuts.
func (o *control) putData(level, kind int32, data []byte) error {
	if o.room < cmsgHeader {
		o.flags |= unix.MSG_CTRUNC
		return nil
	}
	n := uint64(cmsgHeader + len(data))
	if n > o.room {
		o.flags |= unix.MSG_CTRUNC
		n = o.room
	}
	if err := o.c.Write(o.at, append(header(n-cmsgHeader, level, kind), data...)[:n]); err != nil {
		return err
	}
	o.advance(cmsgHeader + uint64(len(data)))
	return nil
}

func (o *control) advance(n uint64) {
	n = min(align8(n), o.room)
	o.at += n
	o.room -= n
}

// putRights is scm_detach_fds: it installs as many as fit.
func (o *control) putRights(r *vnet.Received) error {
	most := 0
	if o.room > cmsgHeader {
		most = int(min((o.room-cmsgHeader)/4, uint64(len(r.Files))))
	}
	var fds []byte
	files, task := r.Files, o.c.Task
	for len(fds)/4 < most {
		// The number is written before the descriptor is there.
		fd := task.FDs.Free(0)
		if task.mayHaveFD(fd, 1) != nil ||
			o.c.WriteValue(o.at+cmsgHeader+uint64(len(fds)), int32(fd)) != nil {
			break
		}
		d := files[0]
		files = files[1:]
		if _, err := task.InstallFD(d, 0, o.flags&unix.MSG_CMSG_CLOEXEC != 0); err != nil {
			break
		}
		fds = binary.LittleEndian.AppendUint32(fds, uint32(fd))
	}
	r.Files = files
	if len(files) > 0 {
		o.flags |= unix.MSG_CTRUNC
	}
	if len(fds) == 0 {
		return nil
	}
	if o.c.Write(o.at, header(uint64(len(fds)), unix.SOL_SOCKET, unix.SCM_RIGHTS)) == nil {
		o.advance(cmsgHeader + uint64(len(fds)))
	}
	return nil
}

func sendmmsg(c *Call) (uint64, error) {
	msgvec, vlen, flags := c.Addr(1), c.Uint(2), c.Flags(3)
	if flags&msgCompat != 0 {
		return 0, unix.EINVAL
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	d.Retain()
	defer d.Release()
	sent := uint64(0)
	for ; sent < uint64(min(vlen, maxMessages)); sent++ {
		at := msgvec + sent*mmsghdrSize
		var n uint64
		n, err = c.sendMessage(d, s, at, flags)
		if err == nil {
			err = c.WriteValue(at+mmsghdrLen, uint32(n))
		}
		if err != nil {
			break
		}
	}
	if sent > 0 && err != ErrGone {
		return sent, nil
	}
	return 0, err
}

func recvmmsg(c *Call) (uint64, error) {
	msgvec, vlen, flags, timeout := c.Addr(1), c.Uint(2), c.Flags(3), c.Addr(4)
	if flags&msgCompat != 0 {
		return 0, unix.EINVAL
	}
	wait, err := c.sleepFor(timeout, 1)
	if err != nil {
		return 0, err
	}
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	d.Retain()
	defer d.Release()
	got := uint64(0)
	for got < uint64(min(vlen, maxMessages)) {
		at := msgvec + got*mmsghdrSize
		var n uint64
		n, err = c.receiveMessage(d, s, at, flags&^unix.MSG_WAITFORONE)
		if err == nil {
			err = c.WriteValue(at+mmsghdrLen, uint32(n))
		}
		if err != nil {
			break
		}
		got++
		if flags&unix.MSG_WAITFORONE != 0 {
			flags |= unix.MSG_DONTWAIT
		}
		// The timeout is looked at between messages only, recvmmsg(2), BUGS.
		if timeout != 0 && (wait.zero || wait.deadline != 0 && wait.deadline <= c.Sys.Now()) {
			break
		}
	}
	if got == 0 || err == ErrGone {
		return 0, err
	}
	return c.remaining(timeout, 1, wait, got, nil)
}
