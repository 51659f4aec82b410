//go:build linux && amd64

package jail

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/internal/recording"
)

// acceptPause is how long accepting rests when the host has no descriptor or memory
// for a connection.
const acceptPause = 50 * time.Millisecond

// publication is a host listener whose connections come to a guest.
type publication struct {
	o       *outside
	l       net.Listener
	port    uint16         // of the guest, for policy.Publish
	to      *vnet.TCP      // or the listener that Jail.Listen was asked for
	unix    *vnet.Unix     // or one of Jail.Sockets
	unwatch func()         // of to or unix
	started bool           // it accepts
	closed  bool           // or does not any more
	gone    chan struct{}  // closed when l is
	more    chan struct{}  // the connection has arrived: accept the next
	at      netip.AddrPort // key in outside.hooked
	waiting *arrival
	came    func(outcome)
}

// arrival is a connection that waits for room in the guest's backlog.
type arrival struct {
	conn    net.Conn
	far     farEnd
	unwatch func()
}

func (o *outside) newPublication(l net.Listener, port uint16) *publication {
	p := &publication{o: o, l: l, port: port, gone: make(chan struct{}), more: make(chan struct{}, 1), unwatch: func() {}}
	p.came = o.w.tape.door(o.w, o.number("listener")+" came", p.arrived)
	return p
}

// start begins to accept.
func (p *publication) start() {
	if !p.started && !p.o.w.tape.replays() { // there connections come by themselves
		p.started = true
		p.o.run(p.accept)
	}
}

// next lets it accept one more.
func (p *publication) next() {
	select {
	case p.more <- struct{}{}:
	default: // a replay, in which nobody accepts
	}
}

// close stops accepting and closes the listener, elsewhere, for that may wait.
func (p *publication) close() {
	if p.closed {
		return
	}
	p.closed = true
	p.unwatch()
	p.o.run(func() {
		_ = p.l.Close()
		close(p.gone)
		p.o.w.box.post(func() {
			if p.o.hooked[p.at] == p {
				delete(p.o.hooked, p.at)
			}
		})
	})
	if a := p.waiting; a != nil {
		p.waiting = nil
		a.unwatch()
		_ = a.far.Close()
		p.o.refuse(a.conn)
	}
}

// accept is the accepting goroutine. One connection at a time waits for the guest;
// the others do at the host.
func (p *publication) accept() {
	o := p.o
	for {
		select {
		case o.slots <- struct{}{}:
		case <-p.gone:
			return
		}
		conn, err := p.l.Accept()
		if err != nil {
			o.release()
			if !isShortage(err) {
				return
			}
			select {
			case <-time.After(acceptPause):
				continue
			case <-p.gone:
				return
			}
		}
		from, _ := addrPort(conn.RemoteAddr())
		to, _ := addrPort(conn.LocalAddr())
		p.came(outcome{Event: recording.Event{From: from, To: to}, conn: conn})
		select {
		case <-p.more:
		case <-p.gone:
			return
		}
	}
}

// isShortage says that accept(2) may be tried again.
func isShortage(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refuse closes a connection that nobody takes, and frees its slot.
func (o *outside) refuse(conn net.Conn) {
	o.run(func() {
		defer o.release()
		noLinger(conn)
		_ = conn.Close()
	})
}

// arrived brings a connection to the guest's listener.
func (p *publication) arrived(c outcome) {
	conn, from := c.conn, c.From
	if p.closed || p.o.ended {
		p.o.refuse(conn)
		return
	}
	if p.unix != nil {
		p.arriveUnix(conn)
		return
	}
	if !from.IsValid() {
		from = netip.AddrPortFrom(vnet.Outside4, 0)
	}
	l, to := p.listener(c.To)
	var far *vnet.TCP
	err := error(unix.ECONNREFUSED)
	if l != nil {
		far, err = l.Arrive(from, to)
	}
	if err != nil {
		p.o.refuse(conn)
		p.next()
		return
	}
	a := &arrival{conn: conn, far: far, unwatch: func() {}}
	p.waiting = a
	settle := func() {
		if p.waiting != a || far.Waits() {
			return
		}
		p.waiting = nil
		a.unwatch()
		p.o.newPipe(far, conn) // it sees at once if far was refused
		p.next()
	}
	a.unwatch = far.Queue().Watch(func() { p.o.w.box.post(settle) })
	settle()
}

// listener is who takes a connection to local, and the address that it comes to.
func (p *publication) listener(local netip.AddrPort) (*vnet.TCP, netip.AddrPort) {
	if p.to == nil {
		for _, ip := range []netip.Addr{vnet.Outside4, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback(), vnet.Outside6} {
			at := netip.AddrPortFrom(ip, p.port)
			if l := p.o.w.sys.Net().ListenerAt(at); l != nil {
				return l, at
			}
		}
		return nil, netip.AddrPort{}
	}
	to := p.to.Local()
	if local.IsValid() && p.at == (netip.AddrPort{}) {
		to = local // of Jail.Sockets, the guest knows the host's address
	} else if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(vnet.Outside4, to.Port())
		if p.to.V6Only() {
			to = netip.AddrPortFrom(vnet.Outside6, to.Port())
		}
	}
	return p.to, to
}

// arriveUnix is arrived for a listener of AF_UNIX.
func (p *publication) arriveUnix(conn net.Conn) {
	far, err := p.o.w.sys.Net().New(unix.SOCK_STREAM)
	if err != nil {
		p.o.refuse(conn)
		p.next()
		return
	}
	a := &arrival{conn: conn, far: far, unwatch: func() {}}
	p.waiting = a
	settle := func() {
		if p.waiting != a {
			return
		}
		err := far.Connect(p.unix, nil)
		if err == unix.EAGAIN {
			return
		}
		p.waiting = nil
		a.unwatch()
		if err == nil {
			p.o.newPipe(far, conn)
		} else {
			_ = far.Close()
			p.o.refuse(conn)
		}
		p.next()
	}
	a.unwatch = p.unix.Room().Watch(func() { p.o.w.box.post(settle) })
	settle()
}

// Listen is in vnet.Outside: what policy.Publish has at the port begins to accept,
// and Jail.Listen is asked.
func (o *outside) Listen(s *vnet.TCP) func() error {
	at := s.Local()
	for _, p := range o.published {
		if p.port == at.Port() {
			o.w.auditNetwork("listen", "tcp", at.String(), nil)
			o.w.learn.listen(int(p.port))
			p.start()
		}
	}
	before := o.hooked[at]
	if o.hook == nil || before != nil && !before.closed { // of its SO_REUSEPORT group
		return nil
	}
	network, address := "tcp", at.String()
	switch {
	case at.Addr().Is4():
		network = "tcp4"
	case s.V6Only():
		network = "tcp6"
	}
	if at.Addr().IsUnspecified() {
		address = ":" + portText(at.Port())
	}
	o.w.auditNetwork("listen", network, address, nil)
	name := o.number("listen")
	if o.w.tape.replays() {
		e := o.w.tape.ask(name, nil)
		if e.N == 1 {
			o.listening(s, at, silentListener{})
		}
		return func() error { return outcome{Event: e}.err() }
	}
	full := len(o.hooked) >= maxOutside
	o.wg.Add(1)
	return func() error {
		defer o.wg.Done()
		if before != nil {
			<-before.gone
		}
		var l net.Listener
		err := error(unix.EADDRINUSE)
		if !full {
			l, err = o.hook(o.ctx, network, address)
		}
		e := recording.Event{What: name}
		switch {
		case err != nil:
			e.Errno = listenErrno(err)
		case l != nil:
			e.N = 1
		}
		o.w.box.post(func() {
			o.w.tape.note(e)
			if e.N == 1 {
				o.listening(s, at, l)
			}
		})
		return outcome{Event: e}.err()
	}
}

func listenErrno(err error) unix.Errno {
	if errors.Is(err, fs.ErrPermission) {
		return unix.EACCES
	}
	return unix.EADDRINUSE // the only other one of listen(2)
}

// listening connects a listener of Jail.Listen's with the guest's, for as long as
// that, or another of its SO_REUSEPORT group, listens.
func (o *outside) listening(s *vnet.TCP, at netip.AddrPort, l net.Listener) {
	p := o.newPublication(l, 0)
	p.to, p.at = s, at
	if o.ended || !s.Listens() {
		p.close()
		return
	}
	o.hooked[at] = p
	p.watch()
	p.start()
}

// watch closes the publication when nobody listens any more.
func (p *publication) watch() {
	p.unwatch = p.to.Queue().Watch(func() {
		if p.to.Listens() {
			return
		}
		p.unwatch()
		if p.at.IsValid() {
			if next := p.o.w.sys.Net().ListenerAt(p.at); next != nil && next.Local() == p.at {
				p.to = next
				p.watch()
				return
			}
		}
		p.close()
	})
}
