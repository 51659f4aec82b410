//go:build linux && amd64

package jail

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"oubliette/emulate/vnet"
	"oubliette/internal/dns"
	"oubliette/internal/recording"
	"oubliette/policy"
)

const dnsPort = 53

// resolvConf names a server at the jail's own loopback, where nobody listens, so
// that the resolver answers.
const resolvConf = "nameserver 127.0.0.53\n"

// The addresses that stand for names are of the networks that vnet.Outside4 and
// vnet.Outside6 are in, from the second on.
var (
	standIn4 = netip.PrefixFrom(vnet.Outside4, 15).Masked()
	standIn6 = netip.PrefixFrom(vnet.Outside6, 64).Masked()
)

const firstStandIn = 2

func portText(port uint16) string { return strconv.Itoa(int(port)) }

// standsFor is the addresses that stand for a name, none if there are too many.
func (o *outside) standsFor(name string) []netip.Addr {
	i, ok := o.index[name]
	if !ok {
		if i = len(o.names); i >= maxNames {
			return nil
		}
		o.index[name] = i
		o.names = append(o.names, name)
	}
	four, six := standIn4.Addr().As4(), standIn6.Addr().As16()
	n := uint32(i + firstStandIn)
	binary.BigEndian.PutUint32(four[:], binary.BigEndian.Uint32(four[:])+n)
	binary.BigEndian.PutUint32(six[12:], n)
	return []netip.Addr{netip.AddrFrom4(four), netip.AddrFrom16(six)}
}

// nameOf is the name that an address stands for, "" for none.
func (o *outside) nameOf(ip netip.Addr) string {
	n := 0
	switch b := ip.As16(); {
	case standIn4.Contains(ip):
		first := standIn4.Addr().As4()
		n = int(binary.BigEndian.Uint32(b[12:]) - binary.BigEndian.Uint32(first[:]))
	case standIn6.Contains(ip) && binary.BigEndian.Uint32(b[8:]) == 0:
		n = int(binary.BigEndian.Uint32(b[12:]))
	}
	if n -= firstStandIn; n < 0 || n >= len(o.names) {
		return ""
	}
	return o.names[n]
}

// answer gives reply the answer to a query, at once or later, on the warden's
// thread; nil for none.
func (o *outside) answer(msg []byte, reply func([]byte)) {
	q, no := dns.Parse(msg)
	if q == nil {
		reply(no)
		return
	}
	_, isIP := netip.ParseAddr(q.Name)
	_, _, isName := policy.SplitAllow(q.Name + ":1")
	switch {
	case q.Name == "localhost" || strings.HasSuffix(q.Name, ".localhost"): // RFC 6761
		reply(q.Reply(dns.OK, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}))
	case isIP == nil:
		reply(q.Reply(dns.NoName, nil))
	case o.host && isName != nil: // whoever dials it may take it for an address, or for more than a name
		reply(q.Reply(dns.NoName, nil))
	case o.rules[q.Name] != nil, o.host && !o.lookup && q.Addresses:
		addrs := o.standsFor(q.Name)
		if addrs == nil {
			reply(q.Reply(dns.Failed, nil))
			return
		}
		reply(q.Reply(dns.OK, addrs))
	case !o.host:
		o.w.unnamed(q)
		reply(q.Reply(dns.NoName, nil))
	case !q.Addresses:
		reply(q.Reply(dns.NotKnown, nil))
	case o.lookups >= maxLookups || !o.w.streams.whole(len(q.Name)):
		reply(q.Reply(dns.Failed, nil))
	default:
		o.ask(q, reply)
	}
}

// ask asks the host's resolver. It asks for both families: a name that has only the
// other is one without an error.
func (o *outside) ask(q *dns.Query, reply func([]byte)) {
	o.lookups++
	o.busy++
	name := o.number("name")
	o.w.tape.say(name, []byte(q.Name))
	found := o.w.tape.door(o.w, name+" found", func(a outcome) {
		o.w.tape.shut(name + " found")
		o.lookups--
		o.busy--
		o.w.learn.name(q.Name, a.Addrs)
		reply(q.Reply(dnsmessage.RCode(a.N), a.Addrs))
	})
	o.run(func() {
		addrs, err := o.look(o.ctx, "ip", q.Name)
		found(outcome{Event: recording.Event{N: int64(lookupCode(err)), Addrs: unmap(addrs)}})
	})
}

func lookupCode(err error) dnsmessage.RCode {
	var e *net.DNSError
	switch {
	case err == nil:
		return dns.OK
	case errors.As(err, &e) && e.IsNotFound:
		return dns.NoName
	}
	return dns.Failed
}

func unmap(addrs []netip.Addr) []netip.Addr {
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs
}

// resolver dials the resolver, for queries over TCP (RFC 7766), as name's dial.
func (o *outside) resolver(name string) func(ctx context.Context, _, _ string) (net.Conn, error) {
	answered := make(chan []byte, 1)
	asked := o.w.tape.door(o.w, name+" query", func(q outcome) {
		o.answer(q.Data, func(b []byte) {
			select {
			case answered <- b:
			default: // a replay: nobody waits
			}
		})
	})
	if o.w.tape.replays() {
		return silentDial
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		o.run(func() { o.serve(ours, asked, answered) })
		return theirs, ctx.Err()
	}
}

// serve answers the queries of a connection.
func (o *outside) serve(ours net.Conn, asked func(outcome), answered chan []byte) {
	defer ours.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(ours, size[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(ours, msg); err != nil {
			return
		}
		asked(outcome{Event: recording.Event{Data: msg}})
		select {
		case b := <-answered:
			if _, err := ours.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
				return
			}
		case <-o.ctx.Done():
			return
		}
	}
}
