//go:build linux

package emulate

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

const (
	sockTypeMask  = 0xf // SOCK_TYPE_MASK
	sockTypes     = 11  // SOCK_MAX
	familyNote    = "AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK for routes; others are EAFNOSUPPORT, like a kernel without them"
	messageNote   = "MSG_OOB is TCP's only and sends no SIGURG"
	optionNote    = "without filters, pidfds and devices"
	maxSockaddr   = 128 // sizeof struct sockaddr_storage
	sockaddrUnix  = 2   // offsetof(struct sockaddr_un, sun_path)
	unixProtocols = unix.AF_UNIX
)

// newSocket is net/socket.c:__sock_create. EAFNOSUPPORT, EINVAL,
// EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM, EACCES.
func (c *Call) newSocket(domain, kind, protocol int) (vnet.Socket, error) {
	kind &= sockTypeMask
	switch {
	case domain < 0 || domain >= unix.AF_MAX:
		return nil, unix.EAFNOSUPPORT
	case kind >= sockTypes:
		return nil, unix.EINVAL
	case domain == unix.AF_INET, domain == unix.AF_INET6:
		c.Sys.net.Now = c.Sys.realtime
		return c.Sys.net.NewInet(domain, kind, protocol)
	case domain == unix.AF_NETLINK:
		return c.Sys.net.NewNetlink(kind, protocol, c.Task.Process.PID)
	case domain != unix.AF_UNIX:
		return nil, unix.EAFNOSUPPORT
	}
	kind, err := unixKind(kind, protocol)
	if err != nil {
		return nil, err
	}
	return c.Sys.net.New(kind)
}

// unixKind is unix_create: the type of an AF_UNIX socket. EPROTONOSUPPORT,
// ESOCKTNOSUPPORT.
func unixKind(kind, protocol int) (int, error) {
	if protocol != 0 && protocol != unixProtocols {
		return 0, unix.EPROTONOSUPPORT
	}
	switch kind {
	case unix.SOCK_RAW: // Believe it or not BSD has AF_UNIX, SOCK_RAW though nothing uses it.
		return unix.SOCK_DGRAM, nil
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
		return kind, nil
	}
	return 0, unix.ESOCKTNOSUPPORT
}

// socketFile is the description of a socket, with an inode in sockfs. flags are
// SOCK_NONBLOCK and SOCK_CLOEXEC, of which the first matters here.
func (c *Call) socketFile(s vnet.Socket, flags int) *fdtable.Description {
	node := c.anonNode(unix.S_IFSOCK | 0o777)
	s.SetIno(node.attr.Ino, node.attr.UID)
	return fdtable.NewDescription(s, vfs.NewAnonymous(node, fmt.Sprintf("socket:[%d]", node.attr.Ino)),
		unix.O_RDWR|flags&unix.SOCK_NONBLOCK)
}

// Net is the jail's sockets.
func (s *System) Net() *vnet.Net {
	s.net.Now = s.realtime
	return &s.net
}

// SocketFile is an open file of a socket made in Net.
func (t *Task) SocketFile(s vnet.Socket) *fdtable.Description {
	return (&Call{Task: t, Sys: t.Sys}).socketFile(s, 0)
}

func socket(c *Call) (uint64, error) {
	domain, kind, protocol := c.Int(0), c.Flags(1), c.Int(2)
	flags := kind &^ sockTypeMask
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	s, err := c.newSocket(domain, kind, protocol)
	if err != nil {
		return 0, err
	}
	return c.install(c.socketFile(s, flags), flags&unix.SOCK_CLOEXEC != 0)
}

func socketpair(c *Call) (uint64, error) {
	domain, kind, protocol, sv := c.Int(0), c.Flags(1), c.Int(2), c.Addr(3)
	flags := kind &^ sockTypeMask
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	// The numbers are taken and written before anything is made.
	table := c.Task.FDs
	one := table.Free(0)
	two := table.Free(one + 1)
	if err := c.Task.mayHaveFD(two, 2); err != nil {
		return 0, err
	}
	if err := c.WriteValue(sv, [2]int32{int32(one), int32(two)}); err != nil {
		return 0, err
	}
	a, b, err := c.newPair(domain, kind, protocol)
	if err != nil {
		return 0, err
	}
	da, db := c.socketFile(a, flags), c.socketFile(b, flags)
	if _, err = c.Task.InstallFD(da, one, flags&unix.SOCK_CLOEXEC != 0); err != nil {
		_ = db.Release()
		return 0, err
	}
	if _, err = c.Task.InstallFD(db, two, flags&unix.SOCK_CLOEXEC != 0); err != nil {
		_ = table.Close(one)
	}
	return 0, err
}

// newPair makes two connected sockets. EOPNOTSUPP, and what newSocket gives.
func (c *Call) newPair(domain, kind, protocol int) (a, b *vnet.Unix, err error) {
	if domain != unix.AF_UNIX || kind&sockTypeMask >= sockTypes {
		s, err := c.newSocket(domain, kind, protocol)
		if err == nil {
			_ = s.Close()
			err = unix.EOPNOTSUPP
		}
		return nil, nil, err
	}
	if kind, err = unixKind(kind&sockTypeMask, protocol); err != nil {
		return nil, nil, err
	}
	return c.Sys.net.Pair(kind, c.peerCred())
}

// peerCred is what SO_PEERCRED tells the other side.
func (c *Call) peerCred() *vnet.Cred {
	cred := c.Task.Cred
	return &vnet.Cred{PID: int32(c.Task.Process.PID), UID: cred.EUID, GID: cred.EGID, Groups: cred.Groups}
}

// asSocket is an open description as a socket. ENOTSOCK.
func asSocket(d *fdtable.Description) (vnet.Socket, error) {
	s, ok := d.File.(vnet.Socket)
	if !ok {
		return nil, unix.ENOTSOCK
	}
	return s, nil
}

// socketArg is descriptor argument 0 as a socket. EBADF, ENOTSOCK.
func (c *Call) socketArg() (*fdtable.Description, vnet.Socket, error) {
	s, d, err := fileOf[vnet.Socket](c.Task, c.FD(0), unix.ENOTSOCK)
	return d, s, err
}

// sockaddr is move_addr_to_kernel: n bytes of an address. EINVAL, EFAULT.
func (c *Call) sockaddr(addr uint64, n int) ([]byte, error) {
	if n < 0 || n > maxSockaddr {
		return nil, unix.EINVAL
	}
	p := make([]byte, n)
	return p, c.Read(addr, p)
}

// unixName is unix_validate_addr: the sun_path of an address that has one. EINVAL.
func unixName(p []byte) (string, error) {
	if len(p) <= sockaddrUnix || len(p) > sockaddrUnix+vnet.PathMax || family(p) != unix.AF_UNIX {
		return "", unix.EINVAL
	}
	return string(p[sockaddrUnix:]), nil
}

// family is an address's sa_family, -1 if it is too short for one.
func family(p []byte) int {
	if len(p) < sockaddrUnix {
		return -1
	}
	return int(p[0]) | int(p[1])<<8
}

// findSocket is unix_find_other. ECONNREFUSED, EPROTOTYPE, and what the path gives.
func (c *Call) findSocket(kind int, name string) (*vnet.Unix, error) {
	if name[0] == 0 {
		return c.Sys.net.Abstract(kind, name)
	}
	e, err := c.entryAt(unix.AT_FDCWD, cString(name), 0)
	if err != nil {
		return nil, err
	}
	a, err := e.Attr()
	if err == nil {
		err = vfs.Access(a, c.Task.Access(), vfs.MayWrite)
	}
	if err != nil {
		return nil, err
	}
	if a.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, unix.ECONNREFUSED
	}
	return c.Sys.net.Path(kind, e.Node)
}

// putSockaddr is move_addr_to_user: an address, cut to the room that the int at
// lenAddr says. EFAULT, EINVAL.
func (c *Call) putSockaddr(name []byte, addr, lenAddr uint64) error {
	var room int32
	if err := c.ReadValue(lenAddr, &room); err != nil {
		return err
	}
	if room < 0 {
		return unix.EINVAL
	}
	if err := c.WriteValue(lenAddr, int32(len(name))); err != nil {
		return err
	}
	return c.Write(addr, name[:min(len(name), int(room))])
}

func bind(c *Call) (uint64, error) {
	addr, addrlen := c.Addr(1), c.Int(2)
	d, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	p, err := c.sockaddr(addr, addrlen)
	if err != nil {
		return 0, err
	}
	if s, ok := s.(vnet.Addressed); ok {
		return 0, s.Bind(p)
	}
	return 0, c.bindUnix(d, s.(*vnet.Unix), p)
}

// bindUnix is unix_bind.
func (c *Call) bindUnix(d *fdtable.Description, s *vnet.Unix, p []byte) error {
	if len(p) == sockaddrUnix && family(p) == unix.AF_UNIX {
		return s.Autobind()
	}
	name, err := unixName(p)
	if err != nil {
		return err
	}
	if name[0] == 0 {
		return s.Bind(name, nil)
	}
	return c.bindPath(d, s, cString(name))
}

// bindPath is unix_bind_bsd: the name is made first, and taken back if the socket
// has one already.
func (c *Call) bindPath(d *fdtable.Description, s *vnet.Unix, path string) error {
	f, err := c.parentAt(unix.AT_FDCWD, path)
	switch {
	case err != nil:
		return err
	case f.Dentry != nil || special(f.Name):
		return unix.EADDRINUSE
	case f.Slash:
		return unix.ENOENT
	case f.Dir.ReadOnly():
		return unix.EROFS
	}
	a, err := entryOf(d).Attr()
	if err != nil {
		return err
	}
	e, err := f.Dir.Create(c.Task.Access(), f.Name, a.Mode&^c.Task.FS.Umask, 0)
	if err == unix.EEXIST {
		return unix.EADDRINUSE
	}
	if err != nil {
		return err
	}
	if err := s.Bind(path+"\x00", e.Node); err != nil {
		_ = f.Dir.Unlink(c.Task.Access(), f.Name)
		return err
	}
	c.Sys.notifyName(f.Dir, f.Name, unix.IN_CREATE, 0)
	return nil
}

// cString is s up to its NUL.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

func listen(c *Call) (uint64, error) {
	backlog := c.Int(1)
	_, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	if err := s.Listen(backlog, c.peerCred()); err != nil {
		return 0, err
	}
	t, ok := s.(*vnet.TCP)
	if !ok || c.Sys.net.Outside == nil {
		return 0, nil
	}
	if wait := c.Sys.net.Outside.Listen(t); wait != nil {
		if err = c.Go(wait, nil); err != nil && err != ErrGone {
			t.Unlisten()
		}
	}
	return 0, err
}

func getsockname(c *Call) (uint64, error) {
	addr, addrlen := c.Addr(1), c.Addr(2)
	_, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	return 0, c.putSockaddr(s.Sockname(), addr, addrlen)
}

func getpeername(c *Call) (uint64, error) {
	addr, addrlen := c.Addr(1), c.Addr(2)
	_, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	name, err := s.Peername()
	if err != nil {
		return 0, err
	}
	return 0, c.putSockaddr(name, addr, addrlen)
}

func shutdown(c *Call) (uint64, error) {
	how := c.Int(1)
	_, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	return 0, s.Shutdown(how)
}
