//go:build linux && amd64

package jail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// Bounds of what a jail has of the host's network.
const (
	maxOutside  = 1024             // connections and flows at once, and listeners of Jail.Listen's: each is a descriptor of the caller's
	maxNames    = 1 << 16          // addresses that stand for names; 198.18.0.0/15 has twice as many
	maxLookups  = 64               // at once
	dialTimeout = 2 * time.Minute  // what Linux takes to give up (net.ipv4.tcp_syn_retries)
	flushTime   = 5 * time.Second  // for what a guest wrote before its end
	udpIdle     = 60 * time.Second // until a flow is over: nf_conntrack_udp_timeout_stream is 120
)

// outside is the way between a jail's sockets and the host's network: what the
// policy allows, under the names that it uses. It belongs to the warden's thread;
// what may wait runs on goroutines that it counts.
type outside struct {
	w    *warden
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// far is dial for what policy.Net.Host opens and no rule names: not the host's
	// own loopback, whatever name it has.
	far  func(ctx context.Context, network, address string) (net.Conn, error)
	look func(ctx context.Context, network, name string) ([]netip.Addr, error)
	hook func(ctx context.Context, network, address string) (net.Listener, error)

	host   bool                       // policy.Net.Host
	lookup bool                       // names are the host resolver's
	rules  map[string]map[uint16]bool // policy.Net.Allow by name or address; port 0 is any
	index  map[string]int             // of names that have an address
	names  []string

	published []*publication
	hooked    map[netip.AddrPort]*publication
	pipes     map[*pipe]struct{}
	flows     map[flowKey]*flow
	given     []*packets
	waiting   atomic.Int64 // bytes of datagrams for the host

	slots    chan struct{}  // as many as there are connections
	numbers  map[string]int // given, see number
	lookups  int
	busy     int             // dials and lookups in progress, connections dialled
	ctx      context.Context // ends with the last guest
	cancel   func()
	last     context.Context // ends when flushing must
	cancelAt func()
	wg       sync.WaitGroup
	ended    bool
}

// newOutside makes the outside that policy and Jail ask for, and listens where
// Publish says; nil if nothing is asked for.
func (w *warden) newOutside(j *Jail, n policy.Net) (*outside, error) {
	if !n.Host && len(n.Allow)+len(n.Publish)+len(j.Sockets) == 0 && j.Listen == nil {
		return nil, nil
	}
	o := &outside{w: w, dial: j.Dial, hook: j.Listen, host: n.Host, lookup: n.Host && j.Dial == nil,
		rules: make(map[string]map[uint16]bool), index: make(map[string]int), hooked: make(map[netip.AddrPort]*publication),
		pipes: make(map[*pipe]struct{}), flows: make(map[flowKey]*flow), slots: make(chan struct{}, maxOutside), numbers: make(map[string]int)}
	o.look = net.DefaultResolver.LookupNetIP
	if o.far = j.Dial; o.dial == nil {
		o.dial = new(net.Dialer).DialContext
		o.far = (&net.Dialer{Control: notLoopback}).DialContext
	}
	if w.tape.replays() {
		o.dial, o.far, o.look = silentDial, silentDial, silentLook
	}
	for _, rule := range n.Allow {
		name, port, err := policy.SplitAllow(rule)
		if err != nil {
			return nil, &Error{Op: "policy.Net", Err: err}
		}
		if o.rules[name] == nil {
			o.rules[name] = make(map[uint16]bool)
		}
		o.rules[name][port] = true
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.last, o.cancelAt = context.WithCancel(context.Background())
	for _, p := range n.Publish {
		l, err := o.listen(p.Host)
		if err != nil {
			o.close()
			return nil, &Error{Op: "policy.Net publish " + p.Host, Err: err}
		}
		o.published = append(o.published, o.newPublication(l, uint16(p.Guest)))
	}
	return o, nil
}

func (o *outside) listen(address string) (net.Listener, error) {
	if o.w.tape.replays() {
		return silentListener{}, nil
	}
	return net.Listen("tcp", address)
}

// number names one more of a kind of things that have doors.
func (o *outside) number(kind string) string {
	o.numbers[kind]++
	return fmt.Sprint(kind, " ", o.numbers[kind])
}

// resolves says that there is anything to resolve names for.
func (o *outside) resolves() bool { return o != nil && (o.host || len(o.rules) > 0) }

// run runs fn on a goroutine that the jail's end waits for. A panic, of Dial or of
// a connection it returned, is the jail's end, not the host's.
func (o *outside) run(fn func()) {
	o.wg.Add(1)
	go func() {
		defer o.wg.Done()
		defer func() {
			if r := recover(); r != nil {
				err := &Error{Op: "network", Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
				o.w.box.post(func() { o.w.fail(err) })
			}
		}()
		fn()
	}()
}

// acquire takes one of the slots; release gives it back, on any goroutine.
func (o *outside) acquire() bool {
	e := o.w.tape.ask("slot", func() (e recording.Event) {
		select {
		case o.slots <- struct{}{}:
			e.N = 1
		default:
		}
		return e
	})
	return e.N == 1 && !o.ended
}

func (o *outside) release() {
	if !o.w.tape.replays() { // which takes none
		<-o.slots
	}
}

// allowed says whether a rule names host and port.
func (o *outside) allowed(host string, port uint16) bool {
	r := o.rules[host]
	return r[port] || r[0]
}

// nameServer says whether a rule names ip, or the name it stands for, with port 53
// itself. What resolv.conf names is the jail's all the same, if localhost is allowed.
func (o *outside) nameServer(ip netip.Addr) bool {
	local := ip.IsLoopback() && !strings.Contains(resolvConf, " "+ip.String()+"\n") && o.rules["localhost"][dnsPort]
	return o.rules[ip.String()][dnsPort] || local || o.rules[o.nameOf(ip)][dnsPort]
}

// destination is what an address of the guest's stands for, as Dial takes it.
// ENETUNREACH: for nothing. ECONNREFUSED: for a host, but not at this port.
func (o *outside) destination(to netip.AddrPort) (string, error) {
	ip, port := to.Addr(), to.Port()
	name := o.nameOf(ip)
	switch {
	case o.allowed(ip.String(), port):
		return to.String(), nil
	case ip.IsLoopback() && o.allowed("localhost", port):
		return net.JoinHostPort("localhost", portText(port)), nil
	case name != "" && (o.host || o.allowed(name, port)):
		return net.JoinHostPort(name, portText(port)), nil
	case name != "", o.rules[ip.String()] != nil, ip.IsLoopback(), ip == vnet.Outside4, ip == vnet.Outside6:
		return "", unix.ECONNREFUSED
	case o.host && !standIn4.Contains(ip) && !standIn6.Contains(ip):
		return to.String(), nil
	}
	return "", unix.ENETUNREACH
}

// dialer dials an address that destination gave.
func (o *outside) dialer(address string, port uint16) func(ctx context.Context, network, address string) (net.Conn, error) {
	if host, _, _ := net.SplitHostPort(address); o.allowed(host, port) {
		return o.dial
	}
	return o.far
}

// notLoopback is a net.Dialer's Control.
func notLoopback(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || to.Addr().Unmap().IsLoopback() || to.Addr().IsUnspecified() {
		return unix.ECONNREFUSED
	}
	return nil
}

// named is how a rule would name an address of the guest's.
func (o *outside) named(to netip.AddrPort) string {
	if name := o.nameOf(to.Addr()); name != "" {
		return net.JoinHostPort(name, portText(to.Port()))
	}
	return to.String()
}

// Route is in vnet.Outside. Every address has a name server.
func (o *outside) Route(s vnet.Socket, to netip.AddrPort) error {
	if to.Port() == dnsPort && o.resolves() {
		return nil
	}
	_, err := o.destination(to)
	if err == unix.ECONNREFUSED {
		return nil
	}
	if err != nil {
		o.w.unreached(s, o.named(to), err)
	}
	return err
}

// Connect is in vnet.Outside. EADDRNOTAVAIL: there are too many connections.
func (o *outside) Connect(s *vnet.TCP, to netip.AddrPort) error {
	address, err := o.destination(to)
	if to.Port() == dnsPort && err != nil && o.resolves() {
		address, err = "", nil
	}
	if err != nil {
		o.w.unreached(s, o.named(to), err)
		return err
	}
	o.w.auditNetwork("connect", "tcp", cmp.Or(address, to.String()), nil)
	if !o.acquire() {
		return unix.EADDRNOTAVAIL
	}
	o.w.learn.dial(address, to.Addr())
	name, dial := o.number("dial"), o.dialer(address, to.Port())
	if address == "" {
		dial = o.resolver(name)
	}
	ctx, cancel := context.WithTimeout(o.ctx, dialTimeout)
	gone := false
	watch := s.Queue().Watch(func() {
		if !s.Calls() {
			gone = true
			cancel()
		}
	})
	o.busy++
	o.w.tape.say(name, []byte("tcp "+address))
	dialled := o.w.tape.door(o.w, name+" done", func(d outcome) {
		o.w.tape.shut(name + " done")
		watch()
		o.busy--
		var far *vnet.TCP
		err := d.err()
		if err == nil && !gone && !o.ended {
			far, err = s.Established()
		}
		switch {
		case far != nil:
			o.busy++
			p := o.newPipe(far, d.conn)
			p.dialled, p.inside = true, address == ""
			return
		case d.conn != nil:
			o.run(func() { _ = d.conn.Close() })
		}
		o.release()
		if err != nil && !gone && !o.ended {
			s.Refused(dialErrno(err))
		}
	})
	o.run(func() {
		conn, err := dial(ctx, "tcp", address)
		cancel()
		if err == nil && conn == nil {
			err = errors.New("Jail.Dial returned neither a connection nor an error")
		}
		d := outcome{conn: conn}
		if err != nil {
			d.Errno = dialErrno(err)
		}
		dialled(d)
	})
	return nil
}

// dialErrno is what connect(2) says of an error of Dial's.
func dialErrno(err error) unix.Errno {
	var errno unix.Errno
	var timeout interface{ Timeout() bool }
	var name *net.DNSError
	switch {
	case errors.As(err, &errno):
		switch errno {
		case unix.ECONNREFUSED, unix.ETIMEDOUT, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNRESET, unix.EACCES, unix.ENFILE:
			return errno
		case unix.EPERM: // a firewall's
			return unix.EACCES
		case unix.EMFILE:
			return unix.ENFILE
		}
	case errors.As(err, &name):
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return unix.ETIMEDOUT
	}
	return unix.EHOSTUNREACH
}

// close ends everything once no guest is left: what they wrote still goes out.
func (o *outside) close() {
	if o == nil || o.ended {
		return
	}
	o.ended = true
	o.cancel()
	for _, p := range o.published {
		p.close()
	}
	for _, p := range o.hooked {
		p.close()
	}
	for p := range o.pipes {
		p.flush()
	}
	for _, f := range o.flows {
		f.end()
	}
	for _, p := range o.given {
		p.end()
	}
	timer := time.AfterFunc(o.w.patience(flushTime), o.cancelAt)
	o.wait()
	timer.Stop()
	o.cancelAt()
	o.wait()
}

// wait waits for all goroutines and runs what they have posted, which may start
// more to close what came too late.
func (o *outside) wait() {
	for {
		o.wg.Wait()
		posts := o.w.box.take()
		for _, fn := range posts {
			o.w.guard(fn)
		}
		for o.w.tape.deliver(true) {
		}
		if len(posts) == 0 {
			return
		}
	}
}

// addrPort is a network address that has an IP address and a port.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if a == nil || a.String() == "" {
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), err == nil && !strings.HasPrefix(a.Network(), "unix")
}
