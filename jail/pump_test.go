//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["flood"] = floodGuest
	guests["proxy"] = proxyGuest
	guests["leave"] = leaveGuest
	guests["sip"] = sipGuest
}

const floodSize = 64 << 20

// flood writes floodSize bytes to w.
func flood(w io.Writer) (n int, err error) {
	chunk := pattern(1 << 20)
	for n < floodSize && err == nil {
		var k int
		k, err = w.Write(chunk)
		n += k
	}
	return n, err
}

// pattern is bytes that repeat only after a long time.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16 ^ i>>8*7 ^ i*13)
	}
	return b
}

// floodGuest writes floodSize to its argument, or reads until the end, and tells the
// sum.
func floodGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	h := sha256.New()
	if args[1] == "write" {
		_, err = flood(c)
		check(err)
		check(c.Close())
		return
	}
	n, err := io.Copy(h, c)
	fmt.Printf("%d %x %v\n", n, h.Sum(nil), err)
}

// accepted listens on the host's loopback and runs serve for the one connection that
// comes.
func accepted(t *testing.T, serve func(c *net.TCPConn)) (address string, wait func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err == nil {
			serve(c.(*net.TCPConn))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), func() { <-done }
}

var loopback = policy.Net{Allow: []string{"localhost:*"}}

// TestFlood: much in each direction, with a slow reader, and not much memory.
func TestFlood(t *testing.T) {
	s := sha256.New()
	_, _ = flood(s)
	sum := s.Sum(nil)
	runtime.GC()
	most, stop := watchHeap()
	for _, slow := range []bool{false, true} {
		pause := func(i int) {
			if slow && i%16 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		address, wait := accepted(t, func(c *net.TCPConn) {
			h := sha256.New()
			n := 0
			buf := make([]byte, 32<<10)
			for i := 0; ; i++ {
				k, err := c.Read(buf)
				h.Write(buf[:k])
				if n += k; err != nil {
					break
				}
				pause(i)
			}
			if n != floodSize || !bytes.Equal(h.Sum(nil), sum) {
				t.Errorf("of the guest's bytes came %d", n)
			}
		})
		start := time.Now()
		netGuest(t, &jail.Jail{}, loopback, "flood", address, "write")
		wait()
		t.Logf("guest to host, slow reader %v: %v", slow, time.Since(start))
	}
	address, _ := accepted(t, func(c *net.TCPConn) { _, _ = flood(c) })
	start := time.Now()
	got := netGuest(t, &jail.Jail{}, loopback, "flood", address, "read")
	t.Logf("host to guest: %v", time.Since(start))
	if want := fmt.Sprintf("%d %x <nil>\n", floodSize, sum); got != want {
		t.Errorf("the guest has read %s, want %s", got, want)
	}
	stop()
	if m := most(); m > floodSize/2 {
		t.Errorf("%d MiB of heap", m>>20)
	}
}

// watchHeap samples the heap until stop.
func watchHeap() (most func() uint64, stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	var m uint64
	go func() {
		defer close(done)
		for {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			m = max(m, s.HeapInuse)
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { return m }, func() { close(quit); <-done }
}

// sipGuest reads a little of its argument's and says so, and reads no more.
func sipGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	_, err = io.ReadFull(c, make([]byte, 1000))
	check(err)
	fmt.Println("read")
	time.Sleep(time.Hour)
}

// TestKilledInTransfer: the host's side of a connection ends with its guest, which
// does not read, or is not read from.
func TestKilledInTransfer(t *testing.T) {
	for _, what := range []string{"sip", "flood"} {
		reached := make(chan struct{})
		address, wait := accepted(t, func(c *net.TCPConn) {
			if what == "flood" {
				_, _ = io.ReadFull(c, make([]byte, 1<<20))
				close(reached)
				time.Sleep(100 * time.Millisecond)
				_, err := io.Copy(io.Discard, c)
				t.Log("flood:", err)
				return
			}
			n, err := flood(c)
			if err == nil || n > 16<<20 {
				t.Errorf("a guest that does not read has taken %d bytes, %v", n, err)
			}
		})
		cmd := guestCommand(what, address, "write")
		cmd.Path = "/exe"
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		proc, err := jail.Spawn(cmd, netPolicy(loopback))
		if err != nil {
			t.Fatal(err)
		}
		if what == "sip" {
			_, _ = io.ReadFull(out, make([]byte, 4))
			time.Sleep(50 * time.Millisecond)
		} else {
			<-reached
		}
		before := time.Now()
		_ = proc.Kill()
		if err := proc.Wait(); err == nil {
			t.Error("Wait gives nil for a killed jail")
		}
		if d := time.Since(before); d > 5*time.Second {
			t.Errorf("%s: the end took %v", what, d)
		}
		wait()
	}
}

// leaveGuest writes and is gone.
func leaveGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	_, err = c.Write(pattern(2 << 20))
	check(err)
	os.Exit(0)
}

// TestWrittenBeforeExit: what a guest wrote before its end comes, though the reader is
// slow.
func TestWrittenBeforeExit(t *testing.T) {
	address, wait := accepted(t, func(c *net.TCPConn) {
		time.Sleep(300 * time.Millisecond)
		n, err := io.Copy(io.Discard, c)
		if n != 2<<20 {
			t.Errorf("%d bytes came, %v", n, err)
		}
	})
	netGuest(t, &jail.Jail{}, loopback, "leave", address)
	wait()
}

func init() {
	guests["abandon"] = abandonGuest
	guests["endure"] = endureGuest
}

// abandonGuest writes as much as its argument takes, closes the connection and
// lives on.
func abandonGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	check(c.SetWriteDeadline(time.Now().Add(time.Second)))
	if n, err := flood(c); err == nil {
		panic(n)
	}
	check(c.Close())
	fmt.Println("closed")
	time.Sleep(time.Hour)
}

// closing tells of its Close.
type closing struct {
	net.Conn
	closed func()
}

func (c closing) Close() error {
	c.closed()
	return c.Conn.Close()
}

// deadlines tells of a write deadline, which has come at once.
type deadlines struct {
	net.Conn
	set func(time.Time)
}

func (c deadlines) SetWriteDeadline(at time.Time) error {
	c.set(at)
	return c.Conn.SetWriteDeadline(time.Now())
}

// TestAbandoned: a connection that a living guest has closed ends at the host, too,
// though the peer does not take what was written, whether it then says something and
// resets, or nothing for ever.
func TestAbandoned(t *testing.T) {
	for _, silent := range []bool{false, true} {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		defer l.Close()
		ended := make(chan struct{})
		var once sync.Once
		var given time.Duration
		j := &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) {
			c, err := net.Dial("tcp", l.Addr().String())
			if silent {
				c = deadlines{c, func(at time.Time) { given = time.Until(at) }}
			}
			return closing{c, func() { once.Do(func() { close(ended) }) }}, err
		}}
		cmd := guestCommand("abandon", "a.test:1")
		cmd.Path = "/exe"
		out := must(cmd.StdoutPipe())
		proc, err := j.Spawn(cmd, netPolicy(policy.Net{Allow: []string{"a.test:1"}}))
		if err != nil {
			t.Fatal(err)
		}
		c := must(l.Accept()).(*net.TCPConn)
		if _, err := io.ReadFull(out, make([]byte, len("closed\n"))); err != nil {
			t.Fatal(err)
		}
		if !silent {
			_, _ = io.WriteString(c, "late")
			time.Sleep(200 * time.Millisecond)
			_ = c.SetLinger(0)
			_ = c.Close()
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("silent %v: the host's side is not closed", silent)
		}
		_ = proc.Kill()
		_ = proc.Wait()
		_ = c.Close()
		if silent && (given < time.Minute || given > 3*time.Minute) {
			t.Errorf("a peer that takes nothing has %v", given)
		}
	}
}

// endureGuest writes after the other side has said its last, as long as that is taken.
func endureGuest(args []string) {
	c, err := net.Dial("tcp", args[0])
	check(err)
	_, err = io.Copy(io.Discard, c)
	check(err)
	for err == nil {
		_, err = c.Write(make([]byte, 4096))
		time.Sleep(time.Millisecond)
	}
	fmt.Println(errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET))
}

// TestResetAfterEnd: a reset that comes behind the end of what the peer sent ends the
// guest's writing.
func TestResetAfterEnd(t *testing.T) {
	address, wait := accepted(t, func(c *net.TCPConn) {
		_ = c.CloseWrite()
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	if got := netGuest(t, &jail.Jail{}, loopback, "endure", address); got != "true\n" {
		t.Error(got)
	}
	wait()
}

// TestEmptyWrite: a write of nothing at the other end of a net.Pipe is nothing.
func TestEmptyWrite(t *testing.T) {
	j := &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			for _, s := range []string{"", "he", "", "", "llo"} {
				_, _ = io.WriteString(ours, s)
			}
		}()
		return theirs, nil
	}}
	if got := netGuest(t, j, policy.Net{Allow: []string{"a.test:1"}}, "dials", "tcp/a.test:1"); got != "tcp/a.test:1 \"hello\" <nil>\n" {
		t.Error(got)
	}
}

// proxyGuest connects whoever comes to its port with its other argument.
func proxyGuest(args []string) {
	l, err := net.Listen("tcp", args[0])
	check(err)
	for {
		a, err := l.Accept()
		check(err)
		b, err := net.Dial("tcp", args[1])
		check(err)
		go shovel(a.(*net.TCPConn), b.(*net.TCPConn))
		go shovel(b.(*net.TCPConn), a.(*net.TCPConn))
	}
}

// shovel copies what it can and passes on how it ended.
func shovel(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	if err != nil {
		_ = to.SetLinger(0)
		_ = to.Close()
		return
	}
	_ = to.CloseWrite()
}

// TestNettest: the Go project's test of connections, over one that goes through a
// guest: in by a listener of ours, out by a dial.
func TestNettest(t *testing.T) {
	front := must(net.Listen("tcp", "127.0.0.1:0"))
	back := must(net.Listen("tcp", "127.0.0.1:0"))
	defer back.Close()
	cmd := guestCommand("proxy", ":80", back.Addr().String())
	cmd.Path = "/exe"
	var errs bytes.Buffer
	cmd.Stderr = &errs
	j := &jail.Jail{Listen: listenWith(t, front, "tcp :80")}
	proc, err := j.Spawn(cmd, netPolicy(loopback))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		mu.Lock()
		defer mu.Unlock()
		if c1, err = net.Dial("tcp", front.Addr().String()); err != nil {
			return nil, nil, nil, err
		}
		if c2, err = back.Accept(); err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
	_ = proc.Kill()
	_ = proc.Wait()
	if s := errs.String(); s != "" && !strings.Contains(s, "reset") {
		t.Error(s)
	}
}
