//go:build linux && amd64

package jail

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vnet"
	"oubliette/fdtable"
)

// checkSockets finds what Spawn cannot hand over, before there is a jail.
func (j *Jail) checkSockets(streams int) error {
	for _, fd := range slices.Sorted(maps.Keys(j.Sockets)) {
		switch v := j.Sockets[fd].(type) {
		case net.Conn, net.Listener, net.PacketConn:
		default:
			return &Error{Op: fmt.Sprintf("Jail.Sockets[%d]", fd), Err: fmt.Errorf("a %T is no net.Conn, net.Listener or net.PacketConn", v)}
		}
		if fd < 0 || fd < streams {
			return &Error{Op: fmt.Sprintf("Jail.Sockets[%d]", fd), Err: fmt.Errorf("the number is taken: the streams and extra files of cmd are 0 to %d", streams-1)}
		}
	}
	return nil
}

// closeSockets is what becomes of them when there is no jail.
func (j *Jail) closeSockets() {
	for _, v := range j.Sockets {
		if c, ok := v.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// openSockets gives task 1 what Jail.Sockets has.
func (w *warden) openSockets(j *Jail, t *emulate.Task) error {
	for _, fd := range slices.Sorted(maps.Keys(j.Sockets)) {
		s, err := w.outside.hand(j.Sockets[fd])
		if err == nil && uint64(fd) >= t.Limit(unix.RLIMIT_NOFILE) {
			err = unix.EMFILE
		}
		if err == nil {
			err = t.FDs.Replace(fd, fd+1, t.SocketFile(s), false)
		}
		if err != nil {
			return &Error{Op: fmt.Sprintf("Jail.Sockets[%d]", fd), Err: err}
		}
	}
	return nil
}

// hand makes a socket of a value of the net package's.
func (o *outside) hand(value any) (vnet.Socket, error) {
	if l, ok := value.(net.Listener); ok {
		return o.handListener(l)
	}
	conn, isConn := value.(net.Conn)
	packet, isPacket := value.(net.PacketConn)
	if isPacket && (!isConn || conn.RemoteAddr() == nil || isUDP(conn)) {
		return o.handPacket(packet, conn)
	}
	if isConn && isUDP(conn) {
		return o.handPacket(nil, conn)
	}
	if !o.acquire() {
		return nil, unix.ENFILE
	}
	local, ok1 := addrPort(conn.LocalAddr())
	remote, ok2 := addrPort(conn.RemoteAddr())
	if ok1 && ok2 && local.Addr().Is4() == remote.Addr().Is4() {
		s, far, err := o.w.sys.Net().NewConn(local, remote)
		if err != nil {
			return nil, err
		}
		o.newPipe(far, conn)
		return s, nil
	}
	s, far, err := o.w.sys.Net().Pair(unix.SOCK_STREAM, nil)
	if err != nil {
		return nil, err
	}
	o.newPipe(far, conn)
	return s, nil
}

func isUDP(c net.Conn) bool {
	_, ok := c.LocalAddr().(*net.UDPAddr)
	return ok
}

// handListener makes a listening socket: of TCP, or for anything else of AF_UNIX.
func (o *outside) handListener(l net.Listener) (vnet.Socket, error) {
	p := o.newPublication(l, 0)
	o.published = append(o.published, p)
	if at, ok := addrPort(l.Addr()); ok {
		s, err := o.w.sys.Net().NewListener(at)
		if err != nil {
			return nil, err
		}
		p.to = s
		p.watch()
		p.start()
		return s, nil
	}
	s, err := o.w.sys.Net().New(unix.SOCK_STREAM)
	if err == nil {
		err = s.Autobind()
	}
	if err == nil {
		err = s.Listen(unix.SOMAXCONN, nil)
	}
	if err != nil {
		return nil, err
	}
	p.unix = s
	p.unwatch = s.Queue().Watch(func() {
		if s.Poll()&fdtable.Hup != 0 {
			p.close()
		}
	})
	p.start()
	return s, nil
}

// packets is a net.PacketConn, or a net.Conn of datagrams, as a guest's UDP socket.
type packets struct {
	o       *outside
	conn    net.Conn       // connected, or
	packet  net.PacketConn // not
	remote  netip.AddrPort
	out     chan packetOut
	unwatch func()
	ended   bool
}

type packetOut struct {
	to   netip.AddrPort
	data []byte
}

func (o *outside) handPacket(packet net.PacketConn, conn net.Conn) (vnet.Socket, error) {
	p := &packets{o: o, out: make(chan packetOut, flowBacklog)}
	var closer io.Closer
	var addr net.Addr
	if conn != nil && conn.RemoteAddr() != nil {
		p.conn, closer, addr = conn, conn, conn.LocalAddr()
		p.remote, _ = addrPort(conn.RemoteAddr())
	} else {
		p.packet, closer, addr = packet, packet, packet.LocalAddr()
	}
	local, ok := addrPort(addr)
	if !ok {
		return nil, fmt.Errorf("its address is %v, not one of UDP", addr)
	}
	if !o.acquire() {
		return nil, unix.ENFILE
	}
	s, err := o.w.sys.Net().NewPacket(local, p.remote, p)
	if err != nil {
		return nil, err
	}
	p.unwatch = s.Queue().Watch(func() {
		if s.Dead() {
			p.end()
		}
	})
	o.given = append(o.given, p)
	stop := context.AfterFunc(o.last, func() { _ = closer.Close() })
	o.run(func() { p.receive(s) })
	o.run(func() {
		defer o.release()
		for d := range p.out {
			o.sent(d.data)
			if p.conn != nil {
				_, _ = p.conn.Write(d.data)
			} else {
				_, _ = p.packet.WriteTo(d.data, net.UDPAddrFromAddrPort(d.to))
			}
		}
		stop()
		_ = closer.Close()
	})
	return s, nil
}

// Send is vnet.Sender.
func (p *packets) Send(_ *vnet.UDP, to netip.AddrPort, data []byte) error {
	if len(p.out) < cap(p.out) && p.o.mayWait(data) { // else it is lost
		p.out <- packetOut{to, data}
	}
	return nil
}

func (p *packets) end() {
	if !p.ended {
		p.ended = true
		p.unwatch()
		close(p.out)
	}
}

// receive is the receiving goroutine.
func (p *packets) receive(s *vnet.UDP) {
	buf, came := make([]byte, maxDatagram), p.o.w.tape.door(p.o.w, "", arrives(s))
	for {
		var n int
		var err error
		from := p.remote
		if p.conn != nil {
			n, err = p.conn.Read(buf)
		} else {
			var a net.Addr
			n, a, err = p.packet.ReadFrom(buf)
			from, _ = addrPort(a)
		}
		if err != nil && !isRefused(err) || err == nil && !p.o.bring(came, from, buf[:n]) {
			return
		}
	}
}
