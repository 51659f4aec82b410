//go:build linux

package vnet_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
)

// newTCP is a TCP socket of n's.
func newTCP(t *testing.T, n *vnet.Net) *vnet.TCP {
	t.Helper()
	s, err := n.NewInet(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*vnet.TCP)
}

// atPort is an address of the loopback.
func atPort(port byte) []byte {
	return append([]byte{unix.AF_INET, 0, 0, port, 127, 0, 0, 1}, make([]byte, 8)...)
}

// listener listens at a port.
func listener(t *testing.T, n *vnet.Net, port byte) *vnet.TCP {
	t.Helper()
	l := newTCP(t, n)
	if err := l.Bind(atPort(port)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(4096, nil); err != nil {
		t.Fatal(err)
	}
	return l
}

// call connects s to a port.
func call(t *testing.T, s *vnet.TCP, port byte) {
	t.Helper()
	if err := s.Connect(atPort(port)); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	if err := s.Connect(atPort(port)); err != nil {
		t.Fatal(err)
	}
}

// TestTCPBytes: what connections hold is bounded, of those that nobody accepts and
// whose caller is gone, and of those whose reader leaves a byte of each piece.
func TestTCPBytes(t *testing.T) {
	const connections, bound, page = 8000, 256 << 20, 4096
	for _, accept := range []bool{false, true} {
		var n vnet.Net
		piece, held := make([]byte, 64<<10), 0
		var l *vnet.TCP
		for i := range connections {
			if i%4000 == 0 {
				l = listener(t, &n, byte(1+i/4000))
			}
			s := newTCP(t, &n)
			call(t, s, byte(1+i/4000))
			k, err := s.Write(piece)
			if err != nil {
				t.Fatal(err)
			}
			held += k
			if !accept {
				_ = s.Close()
			} else if end, _, err := l.Accept(); err != nil {
				t.Fatal(err)
			} else if k, err = end.Read(piece[:k-1]); err != nil {
				t.Fatal(k, err)
			}
		}
		if most := bound + connections*page; held > most {
			t.Errorf("accepted %v: %d MiB are held, of at most %d", accept, held>>20, most>>20)
		}
	}
}

// TestDeadPeers: a socket that is closed does not keep those that it was connected
// to, which would be a chain as long as a guest likes.
func TestDeadPeers(t *testing.T) {
	var n vnet.Net
	first, err := n.New(unix.SOCK_DGRAM)
	if err != nil {
		t.Fatal(err)
	}
	var gone []func() bool
	for s, i := first, 0; i < 100; i++ {
		next, err := n.New(unix.SOCK_DGRAM)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ConnectDatagram(next); err != nil {
			t.Fatal(err)
		}
		if s != first {
			_ = s.Close()
			w := weak.Make(s)
			gone = append(gone, func() bool { return w.Value() == nil })
		}
		s = next
	}
	l := listener(t, &n, 1)
	root := newTCP(t, &n)
	call(t, root, 1)
	for s, i := root, 0; i < 100; i++ {
		end, _, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if s != root {
			_ = s.Close()
			w := weak.Make(s)
			gone = append(gone, func() bool { return w.Value() == nil })
		}
		s = end.(*vnet.TCP)
		if err := s.Connect([]byte{unix.AF_UNSPEC, 0}); err != nil {
			t.Fatal(err)
		}
		call(t, s, 1)
	}
	runtime.GC()
	kept := 0
	for _, f := range gone {
		if !f() {
			kept++
		}
	}
	if kept > 2 { // the peers of the first ones
		t.Errorf("%d of %d closed sockets are kept", kept, len(gone))
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(root)
	runtime.KeepAlive(l)
}

// TestForeignDatagram: one whose sender has no address of the socket's family is lost.
func TestForeignDatagram(t *testing.T) {
	var n vnet.Net
	s, err := n.NewPacket(netip.MustParseAddrPort("127.0.0.1:9"), netip.AddrPort{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []netip.AddrPort{{}, netip.MustParseAddrPort("[2001:db8::1]:9"), netip.MustParseAddrPort("192.0.2.1:9")} {
		s.Arrive(from, []byte(from.String()))
	}
	p := make([]byte, 100)
	if k, err := s.Read(p); string(p[:k]) != "192.0.2.1:9" || err != nil {
		t.Errorf("%q %v", p[:k], err)
	}
	if _, err := s.Read(p); err != unix.EAGAIN {
		t.Error(err)
	}
}

// TestNetlinkPorts: many sockets of one process have ports without a search through
// all of them for each port that is tried.
func TestNetlinkPorts(t *testing.T) {
	var n vnet.Net
	start := time.Now()
	for range 4096 {
		s, err := n.NewNetlink(unix.SOCK_RAW, unix.NETLINK_ROUTE, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Bind([]byte{unix.AF_NETLINK, 11: 0}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Fatalf("binding takes more than %v", d)
		}
	}
}
