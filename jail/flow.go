//go:build linux && amd64

package jail

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/internal/recording"
)

// Bounds of what waits for the host; more is lost.
const (
	flowBacklog = 64      // datagrams of one flow
	flowBytes   = 8 << 20 // of all flows of a jail
)

// maxDatagram is the longest there is.
const maxDatagram = 64 << 10

// flowKey is one socket of a guest's and whom it sends to.
type flowKey struct {
	s  *vnet.UDP
	to netip.AddrPort
}

// flow is what a guest's UDP socket has at the host for one destination. It ends
// with the socket, or when it was idle for long.
type flow struct {
	o       *outside
	key     flowKey
	out     chan []byte
	used    atomic.Int64 // when last, Unix nanoseconds
	unwatch func()
	ended   bool

	name                string // its doors'
	came, refusal, over func(outcome)
}

// Send is in vnet.Outside.
func (o *outside) Send(s *vnet.UDP, to netip.AddrPort, data []byte) error {
	if to.Port() == dnsPort && o.resolves() && !o.nameServer(to.Addr()) {
		o.answer(data, func(b []byte) {
			if b != nil {
				s.Arrive(to, b)
			}
		})
		return nil
	}
	address, err := o.destination(to)
	key := flowKey{s, to}
	f := o.flows[key]
	if err != nil {
		o.w.unreached(s, o.named(to), err)
		return err
	}
	if f == nil {
		o.w.auditNetwork("send", "udp", address, nil)
		if !o.acquire() {
			return nil // lost, as on a full queue
		}
		f = &flow{o: o, key: key, out: make(chan []byte, flowBacklog), name: o.number("udp")}
		o.flows[key] = f
		o.w.tape.say(f.name, []byte(address))
		f.came = o.w.tape.door(o.w, f.name+" came", arrives(s))
		f.refusal = o.w.tape.door(o.w, f.name+" refused", func(outcome) { s.Refused(to, unix.ECONNREFUSED) })
		f.over = o.w.tape.door(o.w, f.name+" over", func(outcome) { f.end() })
		o.w.learn.dial(address, to.Addr())
		f.unwatch = s.Queue().Watch(func() {
			if s.Dead() {
				f.end()
			}
		})
		f.used.Store(time.Now().UnixNano())
		o.run(func() {
			defer o.release()
			f.send(address)
		})
	}
	o.w.tape.say(f.name+" sent", data)
	if len(f.out) < cap(f.out) && o.mayWait(data) { // else it is lost
		f.out <- data
	}
	return nil
}

// mayWait says whether a datagram may leave and there is room for it until it does,
// which sent tells on any goroutine.
func (o *outside) mayWait(data []byte) bool {
	if o.waiting.Load() >= flowBytes || !o.w.streams.whole(len(data)) {
		return false
	}
	o.waiting.Add(int64(len(data)))
	return true
}

func (o *outside) sent(data []byte) { o.waiting.Add(-int64(len(data))) }

// end lets the sender finish.
func (f *flow) end() {
	if !f.ended {
		f.ended = true
		f.unwatch()
		f.o.w.tape.shut(f.name+" came", f.name+" refused", f.name+" over")
		delete(f.o.flows, f.key)
		close(f.out)
	}
}

// send is the sending goroutine: it dials, too.
func (f *flow) send(address string) {
	defer func() {
		f.over(outcome{})
		for data := range f.out { // until end
			f.o.sent(data)
		}
	}()
	ctx, cancel := context.WithTimeout(f.o.last, dialTimeout)
	conn, err := f.o.dialer(address, f.key.to.Port())(ctx, "udp", address)
	cancel()
	if err != nil || conn == nil {
		f.refused(err)
		return
	}
	stop := context.AfterFunc(f.o.last, func() { _ = conn.Close() })
	defer stop()
	received := make(chan struct{})
	f.o.run(func() {
		defer close(received)
		f.receive(conn)
	})
	for open := true; open; {
		var data []byte
		select {
		case data, open = <-f.out:
			if open {
				f.o.sent(data)
				f.used.Store(time.Now().UnixNano())
				if _, err := conn.Write(data); err != nil {
					f.refused(err)
				}
			}
		case <-received:
			open = false
		}
	}
	_ = conn.Close()
	<-received
}

// refused tells the socket what ICMP told the host's.
func (f *flow) refused(err error) {
	if isRefused(err) {
		f.refusal(outcome{})
	}
}

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// receive is the receiving goroutine: until conn is closed, or nothing was sent or
// received for long.
func (f *flow) receive(conn net.Conn) {
	buf := make([]byte, maxDatagram)
	for {
		last := time.Unix(0, f.used.Load())
		if time.Since(last) >= udpIdle {
			return
		}
		_ = conn.SetReadDeadline(last.Add(udpIdle))
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case isRefused(err):
			f.refused(err)
			continue
		case err != nil:
			return
		}
		f.used.Store(time.Now().UnixNano())
		if !f.o.bring(f.came, f.key.to, buf[:n]) {
			return
		}
	}
}

// arrives is the door of a guest's socket, through which bring brings.
func arrives(s *vnet.UDP) func(outcome) {
	return func(d outcome) {
		s.Arrive(d.From, d.Data)
		if d.done != nil {
			close(d.done)
		}
	}
}

// bring gives a datagram to a guest's socket and waits until it is there. false:
// the jail has ended.
func (o *outside) bring(came func(outcome), from netip.AddrPort, p []byte) bool {
	done := make(chan struct{})
	came(outcome{Event: recording.Event{From: from, Data: append([]byte(nil), p...)}, done: done})
	select {
	case <-done:
		return true
	case <-o.ctx.Done():
		return false
	}
}
