//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
