//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/dns"
	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["dials"] = dialsGuest
	guests["talk"] = talkGuest
}

// dialsGuest dials each argument (network/address) and says what comes of it and,
// if it is TCP, what the other side says.
func dialsGuest(args []string) {
	for _, a := range args {
		network, address, _ := strings.Cut(a, "/")
		c, err := net.DialTimeout(network, address, 10*time.Second)
		if err != nil {
			var errno unix.Errno
			var dns *net.DNSError
			if errors.As(err, &dns) {
				fmt.Println(a, "not found:", dns.IsNotFound)
			} else if errors.As(err, &errno) {
				fmt.Println(a, unix.ErrnoName(errno))
			} else {
				fmt.Println(a, err)
			}
			continue
		}
		b, err := io.ReadAll(c)
		fmt.Printf("%s %q %v\n", a, b, err)
		c.Close()
	}
}

// talkGuest writes its second argument to the first, and reads to the end.
func talkGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	_, err = io.WriteString(c, args[1])
	check(err)
	check(c.(*net.TCPConn).CloseWrite())
	b, err := io.ReadAll(c)
	fmt.Printf("%q %v\n", b, err)
}

// greeter listens on the host's loopback and greets who comes.
func greeter(t *testing.T, greeting string) (port int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, greeting)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

// netPolicy is what a Go guest needs, and n.
func netPolicy(n policy.Net) policy.Policy {
	p := policy.Tool()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/exe", Kind: policy.KindHost, Host: must(os.Executable())})
	p.Net = n
	return p
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// netGuest runs a guest function under netPolicy.
func netGuest(t *testing.T, j *jail.Jail, n policy.Net, name string, args ...string) string {
	t.Helper()
	cmd := guestCommand(name, args...)
	cmd.Path = "/exe"
	r := jailed(t, j, cmd, netPolicy(n))
	if r.Err != "" || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	return r.Stdout
}

// TestNoNetwork: without a rule neither the host's loopback nor any name can be
// reached.
func TestNoNetwork(t *testing.T) {
	at := fmt.Sprintf("127.0.0.1:%d", greeter(t, "hello"))
	got := netGuest(t, &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("Dial is asked without a rule")
		return nil, unix.EPERM
	}}, policy.Net{}, "dials", "tcp/"+at, "tcp/192.0.2.1:80", "udp/192.0.2.1:80", "tcp/198.18.0.1:80", "tcp/[2001:db8::1]:80")
	want := "tcp/" + at + " ECONNREFUSED\ntcp/192.0.2.1:80 ENETUNREACH\nudp/192.0.2.1:80 ENETUNREACH\n" +
		"tcp/198.18.0.1:80 ENETUNREACH\ntcp/[2001:db8::1]:80 ENETUNREACH\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestAllowLocalhost: exactly the port that is allowed.
func TestAllowLocalhost(t *testing.T) {
	one, two := greeter(t, "one"), greeter(t, "two")
	got := netGuest(t, &jail.Jail{}, policy.Net{Allow: []string{fmt.Sprintf("localhost:%d", one)}}, "dials",
		fmt.Sprintf("tcp/127.0.0.1:%d", one), fmt.Sprintf("tcp/localhost:%d", one), fmt.Sprintf("tcp/127.0.0.1:%d", two), "tcp/192.0.2.1:1")
	want := fmt.Sprintf("tcp/127.0.0.1:%d \"one\" <nil>\ntcp/localhost:%[1]d \"one\" <nil>\ntcp/127.0.0.1:%d ECONNREFUSED\n"+
		"tcp/192.0.2.1:1 ENETUNREACH\n", one, two)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// fakeDial answers every dial with what was dialled.
func fakeDial(dialled *[]string) func(ctx context.Context, network, address string) (net.Conn, error) {
	var mu sync.Mutex
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		*dialled = append(*dialled, network+" "+address)
		ours, theirs := net.Pipe()
		go func() {
			_, _ = io.WriteString(ours, address)
			ours.Close()
		}()
		return theirs, nil
	}
}

// TestAllowNames: names that are allowed have addresses that stand for them.
func TestAllowNames(t *testing.T) {
	var dialled []string
	j := &jail.Jail{Dial: fakeDial(&dialled)}
	n := policy.Net{Allow: []string{"example.com:80", "Other.Example.org:*", "192.0.2.7:443"}}
	got := netGuest(t, j, n, "dials", "tcp/example.com:80", "tcp4/EXAMPLE.com:80", "tcp6/example.com:80", "tcp/example.com:81",
		"tcp/other.example.org:1234", "tcp/example.org:80", "tcp/192.0.2.7:443", "tcp/192.0.2.7:80", "tcp/198.18.0.9:80",
		"tcp/[fd6f:7562:6c69::1:2]:80")
	want := "tcp/example.com:80 \"example.com:80\" <nil>\ntcp4/EXAMPLE.com:80 \"example.com:80\" <nil>\n" +
		"tcp6/example.com:80 \"example.com:80\" <nil>\ntcp/example.com:81 ECONNREFUSED\n" +
		"tcp/other.example.org:1234 \"other.example.org:1234\" <nil>\ntcp/example.org:80 not found: true\n" +
		"tcp/192.0.2.7:443 \"192.0.2.7:443\" <nil>\ntcp/192.0.2.7:80 ECONNREFUSED\ntcp/198.18.0.9:80 ENETUNREACH\n" +
		"tcp/[fd6f:7562:6c69::1:2]:80 ENETUNREACH\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	wantDialled := []string{"tcp example.com:80", "tcp example.com:80", "tcp example.com:80", "tcp other.example.org:1234", "tcp 192.0.2.7:443"}
	if d := cmp.Diff(wantDialled, dialled); d != "" {
		t.Errorf("dialled (-want +got):\n%s", d)
	}
}

// TestHalfClose: the end of what the guest writes reaches the host, whose answer
// reaches the guest.
func TestHalfClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		heard <- fmt.Sprint(string(b), err)
		_, _ = c.Write(bytes.ToUpper(b))
	}()
	got := netGuest(t, &jail.Jail{}, policy.Net{Allow: []string{"localhost:*"}}, "talk", l.Addr().String(), "some words")
	if got != "\"SOME WORDS\" <nil>\n" {
		t.Errorf("the guest reads %s", got)
	}
	if h := <-heard; h != "some words<nil>" {
		t.Errorf("the host reads %q", h)
	}
}

// TestHost: through the host to any address but its loopback, under the names that
// the host's resolver knows.
func TestHost(t *testing.T) {
	l := must(net.Listen("tcp", ":0"))
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "host")
			c.Close()
		}
	}()
	name := must(os.Hostname())
	addrs, err := net.LookupHost(name)
	if err != nil {
		skip(t, "the host does not know its own name")
	}
	port := l.Addr().(*net.TCPAddr).Port
	byName := "\"host\" <nil>"
	if net.ParseIP(addrs[0]).IsLoopback() {
		byName = "ECONNREFUSED" // that is the jail's own
	}
	address := ""
	for _, a := range must(net.InterfaceAddrs()) {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() && ip.To4() != nil {
			address = ip.String()
		}
	}
	if address == "" {
		skip(t, "the host has no address but the loopback's")
	}
	got := netGuest(t, &jail.Jail{}, policy.Net{Host: true}, "dials", fmt.Sprintf("tcp/%s:%d", name, port),
		fmt.Sprintf("tcp/%s:%d", address, port), fmt.Sprintf("tcp/127.0.0.1:%d", port), fmt.Sprintf("tcp/localhost:%d", port), "tcp/198.18.7.7:1")
	want := fmt.Sprintf("tcp/%s:%d %s\ntcp/%s:%[2]d \"host\" <nil>\ntcp/127.0.0.1:%[2]d ECONNREFUSED\n"+
		"tcp/localhost:%[2]d ECONNREFUSED\ntcp/198.18.7.7:1 ENETUNREACH\n", name, port, byName, address)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// resolveTo has the host's resolver say that every name has the addresses.
func resolveTo(t *testing.T, addrs ...netip.Addr) {
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			var size [2]byte
			if _, err := io.ReadFull(ours, size[:]); err != nil {
				return
			}
			msg := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(ours, msg); err != nil {
				return
			}
			if q, _ := dns.Parse(msg); q != nil {
				b := q.Reply(dns.OK, addrs)
				_, _ = ours.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			}
		}()
		return theirs, nil
	}}
}

// TestHostLoopbackName: of a name that means the host's loopback a rule opens its own
// port, and Host no other.
func TestHostLoopbackName(t *testing.T) {
	for _, ip := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv4Unspecified()} {
		resolveTo(t, ip)
		one, two := greeter(t, "one"), greeter(t, "two")
		got := netGuest(t, &jail.Jail{}, policy.Net{Host: true, Allow: []string{fmt.Sprintf("db.test:%d", one)}}, "dials",
			fmt.Sprintf("tcp4/db.test:%d", one), fmt.Sprintf("tcp4/db.test:%d", two))
		want := fmt.Sprintf("tcp4/db.test:%d \"one\" <nil>\ntcp4/db.test:%d ECONNREFUSED\n", one, two)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%v (-want +got):\n%s", ip, d)
		}
	}
}

// TestHostNames: what the guest asks for and is no host name has no address that
// stands for it, so that Dial never sees it.
func TestHostNames(t *testing.T) {
	need(t, "python3")
	p := policy.Tool()
	p.Net.Host = true
	const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('127.0.0.53', 53))
for name in (b'some', b'where'), (b'a\r\nb', b'where'), (b'127', b'1'), (b'0x7f000001',), (b'a:b',), (b'',):
    s.send(b'\x12\x34\x01\0\0\1\0\0\0\0\0\0' + b''.join(bytes([len(n)]) + n for n in name if n) + b'\0\0\1\0\1')
    r = s.recv(512)
    print(name, r[3] & 15, r[7])
`
	var dialled []string
	r := jailed(t, &jail.Jail{Dial: fakeDial(&dialled)}, exec.Command("/usr/bin/python3", "-c", script), p)
	want := "(b'some', b'where') 0 1\n(b'a\\r\\nb', b'where') 3 0\n(b'127', b'1') 3 0\n(b'0x7f000001',) 3 0\n(b'a:b',) 3 0\n(b'',) 3 0\n"
	if d := cmp.Diff(result{Stdout: want}, r); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestHostDial: a Dial of one's own has the names themselves.
func TestHostDial(t *testing.T) {
	var dialled []string
	netGuest(t, &jail.Jail{Dial: fakeDial(&dialled)}, policy.Net{Host: true}, "dials", "tcp/some.where:80", "tcp/else.where:81",
		"tcp/192.0.2.1:82", "tcp/127.0.0.1:80")
	if d := cmp.Diff([]string{"tcp some.where:80", "tcp else.where:81", "tcp 192.0.2.1:82"}, dialled); d != "" {
		t.Errorf("dialled (-want +got):\n%s", d)
	}
}

// TestDialErrors: what Dial says is what connect(2) gives.
func TestDialErrors(t *testing.T) {
	started := make(chan struct{}, 1)
	ended := make(chan struct{}, 1)
	j := &jail.Jail{Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		switch address {
		case "a.test:1":
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
		case "a.test:2":
			return nil, context.DeadlineExceeded
		case "a.test:3":
			return nil, nil
		case "a.test:4":
			return nil, &net.DNSError{IsNotFound: true}
		}
		started <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	}}
	n := policy.Net{Allow: []string{"a.test:*"}}
	got := netGuest(t, j, n, "dials", "tcp4/a.test:1", "tcp4/a.test:2", "tcp4/a.test:3", "tcp4/a.test:4")
	want := "tcp4/a.test:1 ECONNREFUSED\ntcp4/a.test:2 ETIMEDOUT\ntcp4/a.test:3 EHOSTUNREACH\ntcp4/a.test:4 EHOSTUNREACH\n"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	cmd := guestCommand("dials", "tcp4/a.test:5")
	cmd.Path = "/exe"
	proc, err := j.Spawn(cmd, netPolicy(n))
	if err != nil {
		t.Fatal(err)
	}
	<-started
	_ = proc.Kill()
	_ = proc.Wait()
	select {
	case <-ended:
	default:
		t.Error("Wait has returned before Dial")
	}
}

func init() { guests["echoes"] = echoesGuest }

// echoesGuest sends to each argument over UDP, says what comes back, and sends one
// datagram more just before it exits.
func echoesGuest(args []string) {
	for _, a := range args {
		c, err := net.Dial("udp", a)
		check(err)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Write([]byte("hello"))
		check(err)
		p := make([]byte, 100)
		n, err := c.Read(p)
		var errno unix.Errno
		if errors.As(err, &errno) {
			fmt.Println(unix.ErrnoName(errno))
			continue
		}
		fmt.Printf("%q %v\n", p[:n], err)
		_, err = c.Write([]byte("last"))
		check(err)
	}
}

// TestUDP: datagrams to what is allowed, and back.
func TestUDP(t *testing.T) {
	p := must(net.ListenPacket("udp", "127.0.0.1:0"))
	last := make(chan string, 1)
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			if string(b[:n]) == "last" {
				last <- "last"
			}
			_, _ = p.WriteTo(append([]byte("you said "), b[:n]...), from)
		}
	}()
	defer p.Close()
	at := p.LocalAddr().String()
	got := netGuest(t, &jail.Jail{}, policy.Net{Allow: []string{at}}, "echoes", at, "127.0.0.1:1")
	if want := "\"you said hello\" <nil>\nECONNREFUSED\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	select {
	case <-last:
	case <-time.After(10 * time.Second):
		t.Error("the datagram before the exit did not come")
	}
}

// answers is a UDP socket that answers each datagram, of 100 bytes at most.
func answers(t *testing.T, answer func([]byte) []byte) net.PacketConn {
	t.Helper()
	p := must(net.ListenPacket("udp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = p.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(answer(b[:n]), from)
		}
	}()
	return p
}

func youSaid(b []byte) []byte { return append([]byte("you said "), b...) }

// TestNameServer: a name server that a rule names is asked itself, and what resolv.conf
// names is the jail's.
func TestNameServer(t *testing.T) {
	p := answers(t, youSaid)
	j := &jail.Jail{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "udp" || address != "10.0.0.5:53" {
			return nil, unix.EACCES
		}
		return net.Dial("udp", p.LocalAddr().String())
	}}
	n := policy.Net{Allow: []string{"10.0.0.5:53", "localhost:53", "localhost:*"}}
	if got, want := netGuest(t, j, n, "echoes", "10.0.0.5:53"), "\"you said hello\" <nil>\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := netGuest(t, j, n, "dials", "udp/none.test:80"), "udp/none.test:80 not found: true\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func init() { guests["spray"] = sprayGuest }

// sprayGuest sends 240 MiB to its first argument through 64 sockets, and then to its
// second until something comes back.
func sprayGuest(args []string) {
	for range 64 {
		c, err := net.Dial("udp4", args[0])
		check(err)
		for range 64 {
			_, err = c.Write(make([]byte, 60000))
			check(err)
		}
		defer c.Close()
	}
	c, err := net.Dial("udp4", args[1])
	check(err)
	p := make([]byte, 100)
	for range 100 {
		_, err = c.Write([]byte("hello"))
		check(err)
		check(c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)))
		if n, err := c.Read(p); err == nil {
			fmt.Printf("%s\n", p[:n])
			return
		}
	}
}

// TestUDPBytes: datagrams that wait for a slow Dial are bounded, and no more counted
// when it fails.
func TestUDPBytes(t *testing.T) {
	p := answers(t, bytes.ToUpper)
	j := &jail.Jail{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "slow.test:1" {
			return net.Dial(network, p.LocalAddr().String())
		}
		select {
		case <-ctx.Done():
		case <-time.After(4 * time.Second):
		}
		return nil, unix.ENETUNREACH
	}}
	runtime.GC()
	most, stop := watchHeap()
	got := netGuest(t, j, policy.Net{Allow: []string{"slow.test:1", "quick.test:1"}}, "spray", "slow.test:1", "quick.test:1")
	stop()
	if got != "HELLO\n" {
		t.Errorf("%q came back", got)
	}
	if m := most(); m > 120<<20 {
		t.Errorf("%d MiB of heap", m>>20)
	}
}

func init() { guests["crowd"] = crowdGuest }

// crowdGuest has as many connections to its argument as it can and says how many.
func crowdGuest(args []string) {
	var list []net.Conn
	for {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			var errno unix.Errno
			fmt.Println(len(list), errors.As(err, &errno), unix.ErrnoName(errno))
			break
		}
		list = append(list, c)
	}
	check(list[0].Close())
	time.Sleep(100 * time.Millisecond)
	c, err := net.Dial("tcp", args[0])
	check(err)
	check(c.Close())
}

// TestDialPanics: a hook that panics ends its jail, not the host.
func TestDialPanics(t *testing.T) {
	j := &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) { panic("a broken hook") }}
	cmd := guestCommand("dials", "tcp/a.test:1")
	cmd.Path = "/exe"
	if r := jailed(t, j, cmd, netPolicy(policy.Net{Allow: []string{"a.test:1"}})); !strings.Contains(r.Err, "network: panic: a broken hook") {
		t.Errorf("%+v", r)
	}
}

// TestCrowd: the connections of a jail are bounded, and closed ones count no more.
func TestCrowd(t *testing.T) {
	var n atomic.Int64 // dials run at once
	j := &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		n.Add(1)
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		return theirs, nil
	}}
	got := netGuest(t, j, policy.Net{Allow: []string{"a.test:1"}}, "crowd", "a.test:1")
	if got != "1024 true EADDRNOTAVAIL\n" {
		t.Errorf("%s, %d dialled", got, n.Load())
	}
}

// TestDNSOverTCP: the resolver answers there, too.
func TestDNSOverTCP(t *testing.T) {
	need(t, "python3")
	p := policy.Tool()
	p.Net.Allow = []string{"example.com:1"}
	const script = `import socket,struct
q = b'\x12\x34\x01\0\0\1\0\0\0\0\0\0\x07example\3com\0\0\1\0\1'
for at in ('8.8.8.8', 53), ('127.0.0.1', 53):
    s = socket.create_connection(at)
    s.sendall((struct.pack('>H', len(q)) + q) * 2)
    for i in range(2):
        n, = struct.unpack('>H', s.recv(2))
        print(s.recv(n)[-4:].hex())
`
	r := jailed(t, &jail.Jail{}, exec.Command("/usr/bin/python3", "-c", script), p)
	if d := cmp.Diff(result{Stdout: strings.Repeat("c6120002\n", 4)}, r); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
