//go:build linux && amd64

package jail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["web"] = webGuest
	guests["listens"] = listensGuest
	guests["occupy"] = occupyGuest
	guests["short"] = shortGuest
}

// webGuest serves its second argument as every page.
func webGuest(args []string) {
	check(http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", args[1], r.URL.Path)
	})))
}

// listensGuest listens at each argument and says what comes of it.
func listensGuest(args []string) {
	for _, a := range args {
		network, address, _ := strings.Cut(a, "/")
		l, err := net.Listen(network, address)
		var errno unix.Errno
		if errors.As(err, &errno) {
			fmt.Println(a, unix.ErrnoName(errno))
			continue
		}
		check(err)
		fmt.Println(a, "listens")
		check(l.Close())
	}
}

// listenWith is a Jail.Listen that expects one question and gives l for it.
func listenWith(t *testing.T, l net.Listener, want string) func(context.Context, string, string) (net.Listener, error) {
	return func(_ context.Context, network, address string) (net.Listener, error) {
		if got := network + " " + address; got != want {
			t.Errorf("Listen is asked for %s, want %s", got, want)
			return nil, nil
		}
		return l, nil
	}
}

// hammer makes n requests over at most k connections.
func hammer(t *testing.T, url, want string, n, k int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: k, MaxIdleConnsPerHost: k}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	work := make(chan int)
	for range k {
		wg.Go(func() {
			for range work {
				r, err := client.Get(url)
				if err != nil {
					t.Error(err)
					continue
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || string(b) != want {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
	start := time.Now()
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	t.Logf("%d requests over %d connections: %v", n, k, time.Since(start))
}

// TestListen: an unmodified Go web server on a listener of the host's.
func TestListen(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	cmd := guestCommand("web", ":8080", "page")
	cmd.Path = "/exe"
	proc, err := (&jail.Jail{Listen: listenWith(t, l, "tcp :8080")}).Spawn(cmd, netPolicy(policy.Net{}))
	if err != nil {
		t.Fatal(err)
	}
	hammer(t, "http://"+l.Addr().String()+"/path", "page for /path", 1000, 50)
	_ = proc.Kill()
	_ = proc.Wait()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener after the end: %v", err)
	}
}

// freePort is a port of the host's that nobody has at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

// TestPublish: an unmodified Python web server at a host address of the policy's.
// Whoever comes before it listens waits.
func TestPublish(t *testing.T) {
	need(t, "python3")
	at := freePort(t)
	p := policy.Tool()
	p.Net.Publish = []policy.Publish{{Host: at, Guest: 8000}}
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/site/page", Kind: policy.KindText, Text: "of Python\n"})
	cmd := exec.Command("/usr/bin/python3", "-m", "http.server", "8000", "-d", "/site")
	proc, err := jail.Spawn(cmd, p)
	if err != nil {
		t.Fatal(err)
	}
	hammer(t, "http://"+at+"/page", "of Python\n", 1000, 50)
	if _, err := jail.Spawn(exec.Command("/bin/true"), p); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "publish "+at) {
		t.Errorf("publishing twice: %v", err)
	}
	_ = proc.Kill()
	_ = proc.Wait()
	if c, err := net.Dial("tcp", at); err == nil {
		c.Close()
		t.Error("the address is there after the jail's end")
	}
}

// occupyGuest listens and stops more often than it may have listeners, and then has
// as many as it can.
func occupyGuest([]string) {
	for i := range 1100 {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.%d.%d:80", i/250, 1+i%250))
		check(err)
		check(l.Close())
	}
	time.Sleep(time.Second)
	for i := range 2000 {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.%d.%d:80", i/250, 1+i%250))
		if err != nil {
			var errno unix.Errno
			fmt.Println(i, errors.As(err, &errno), unix.ErrnoName(errno))
			return
		}
		defer l.Close()
	}
}

// idle is a listener to whom nobody comes.
type idle struct {
	net.Listener
	once   *sync.Once
	closed chan struct{}
}

func (l idle) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l idle) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// TestListeners: those that Jail.Listen gives are bounded, and closed ones count no
// more.
func TestListeners(t *testing.T) {
	j := &jail.Jail{Listen: func(context.Context, string, string) (net.Listener, error) {
		return idle{nil, new(sync.Once), make(chan struct{})}, nil
	}}
	if got := netGuest(t, j, policy.Net{}, "occupy"); got != "1024 true EADDRINUSE\n" {
		t.Errorf("%q", got)
	}
}

// shortGuest listens with hardly any backlog, for a short time and again, and says how
// many sockets there are before and after.
func shortGuest([]string) {
	used := func() string {
		text, _, _ := strings.Cut(string(must(os.ReadFile("/proc/net/sockstat"))), "\n")
		return text
	}
	before := used()
	for i := range 10 {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
		check(unix.Bind(fd, &unix.SockaddrInet4{Port: 80 + i}))
		check(unix.Listen(fd, 0))
		time.Sleep(50 * time.Millisecond)
		check(unix.Close(fd))
	}
	time.Sleep(200 * time.Millisecond)
	fmt.Println(before == used(), before, used())
}

// eager is a listener to whom somebody always comes.
type eager struct{ idle }

func (l eager) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, ours) }()
	return theirs, nil
}

// TestWaitingAtTheEnd: whoever waits for room in a backlog when the guest stops
// listening leaves nothing behind.
func TestWaitingAtTheEnd(t *testing.T) {
	j := &jail.Jail{Listen: func(context.Context, string, string) (net.Listener, error) {
		return eager{idle{nil, new(sync.Once), make(chan struct{})}}, nil
	}}
	if got := netGuest(t, j, policy.Net{}, "short"); !strings.HasPrefix(got, "true") {
		t.Error(got)
	}
}

// TestListenAnswers: what Jail.Listen says is what the guest sees, and a port can be
// listened at again.
func TestListenAnswers(t *testing.T) {
	var asked []string
	j := &jail.Jail{Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
		asked = append(asked, network+" "+address)
		switch address {
		case "127.0.0.1:81":
			return nil, os.ErrPermission
		case ":82":
			return nil, errors.New("no")
		case ":83":
			return nil, nil
		}
		return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}}
	got := netGuest(t, j, policy.Net{}, "listens", "tcp/127.0.0.1:81", "tcp4/:82", "tcp6/:83", "tcp/:84", "tcp/:84", "tcp/:84", "tcp/[::1]:85")
	want := "tcp/127.0.0.1:81 EACCES\ntcp4/:82 EADDRINUSE\ntcp6/:83 listens\ntcp/:84 listens\ntcp/:84 listens\ntcp/:84 listens\ntcp/[::1]:85 listens\n"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if s := strings.Join(asked, ", "); s != "tcp4 127.0.0.1:81, tcp4 :82, tcp6 :83, tcp :84, tcp :84, tcp :84, tcp [::1]:85" {
		t.Errorf("asked: %s", s)
	}
}
