//go:build linux && amd64

package jail_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["inetd"] = inetdGuest
	guests["activated"] = activatedGuest
	guests["packets"] = packetsGuest
}

// inetdGuest answers each line that comes in at descriptor 3.
func inetdGuest([]string) {
	f := os.NewFile(3, "conn")
	c, err := net.FileConn(f)
	check(err)
	check(f.Close())
	fmt.Println(c.LocalAddr().Network(), c.LocalAddr(), c.RemoteAddr())
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		fmt.Fprintf(c, "got %s\n", lines.Text())
	}
	check(lines.Err())
	fmt.Fprint(c, "end\n")
	check(c.Close())
}

// activatedGuest accepts three connections at the descriptors that systemd's protocol
// tells, sd_listen_fds(3).
func activatedGuest([]string) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		check(errors.New("not activated"))
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	check(err)
	fmt.Println(l.Addr())
	for i := range 3 {
		c, err := l.Accept()
		check(err)
		fmt.Fprintf(c, "%d", i)
		check(c.Close())
	}
	check(l.Close())
}

// packetsGuest sends each datagram that comes to descriptor 3 back, until an empty one.
func packetsGuest([]string) {
	c, err := net.FilePacketConn(os.NewFile(3, "packets"))
	check(err)
	p := make([]byte, 100)
	for {
		n, from, err := c.ReadFrom(p)
		check(err)
		fmt.Printf("%q from %v\n", p[:n], from)
		_, err = c.WriteTo(append([]byte("back "), p[:n]...), from)
		check(err)
		if n == 0 {
			return
		}
	}
}

// handed starts a guest function with a value at descriptor 3.
func handed(t *testing.T, value any, name string) (wait func() string) {
	t.Helper()
	cmd := guestCommand(name)
	cmd.Path = "/exe"
	cmd.Env = append(cmd.Env, "LISTEN_PID=1", "LISTEN_FDS=1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	proc, err := (&jail.Jail{Sockets: map[int]any{3: value}}).Spawn(cmd, netPolicy(policy.Net{}))
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		if err := proc.Wait(); err != nil || errs.Len() > 0 {
			t.Errorf("%v, %s", err, errs.String())
		}
		return out.String()
	}
}

// TestHandedConn: a connection of TCP, of AF_UNIX and of Go's own.
func TestHandedConn(t *testing.T) {
	unixPath := filepath.Join(t.TempDir(), "socket")
	for _, a := range []string{"tcp 127.0.0.1:0", "unix " + unixPath, ""} {
		var ours, theirs net.Conn
		if network, address, ok := strings.Cut(a, " "); ok {
			l := must(net.Listen(network, address))
			ours = must(net.Dial(network, l.Addr().String()))
			theirs = must(l.Accept())
			l.Close()
		} else {
			ours, theirs = net.Pipe()
		}
		wait := handed(t, theirs, "inetd")
		fmt.Fprint(ours, "one\n")
		fmt.Fprint(ours, "two\n")
		if c, ok := ours.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
			b, err := io.ReadAll(ours)
			if string(b) != "got one\ngot two\nend\n" || err != nil {
				t.Errorf("%s: %q, %v", a, b, err)
			}
		} else {
			b := make([]byte, 16)
			if _, err := io.ReadFull(ours, b); string(b) != "got one\ngot two\n" {
				t.Errorf("%q, %v", b, err)
			}
		}
		ours.Close()
		got := wait()
		want := "unix @ @\n"
		if strings.HasPrefix(a, "tcp") {
			want = fmt.Sprintf("tcp %v %v\n", ours.RemoteAddr(), ours.LocalAddr())
		}
		if got != want {
			t.Errorf("the guest has %q, want %q", got, want)
		}
	}
}

// TestHandedListener: socket activation, of TCP and AF_UNIX.
func TestHandedListener(t *testing.T) {
	for _, a := range []string{"tcp 127.0.0.1:0", "tcp [::]:0", "unix " + filepath.Join(t.TempDir(), "socket")} {
		network, address, _ := strings.Cut(a, " ")
		l := must(net.Listen(network, address))
		address = l.Addr().String()
		wait := handed(t, l, "activated")
		for i := range 3 {
			c := must(net.Dial(network, address))
			if b, err := io.ReadAll(c); string(b) != strconv.Itoa(i) || err != nil {
				t.Errorf("%s: %q, %v", a, b, err)
			}
			c.Close()
		}
		if got := strings.TrimSpace(wait()); network == "tcp" && got != address {
			t.Errorf("the guest listens at %s, the host at %s", got, address)
		}
		if c, err := net.Dial(network, address); err == nil {
			t.Error("the listener is there after the end")
			c.Close()
		}
	}
}

// TestHandedPackets: a UDP socket.
func TestHandedPackets(t *testing.T) {
	p := must(net.ListenPacket("udp", "127.0.0.1:0"))
	c := must(net.Dial("udp", p.LocalAddr().String()))
	defer c.Close()
	wait := handed(t, p, "packets")
	var want string
	for _, s := range []string{"one", "two", ""} {
		fmt.Fprint(c, s)
		if s == "" {
			_, _ = c.Write(nil)
		}
		b := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(b)
		if string(b[:n]) != "back "+s || err != nil {
			t.Errorf("%q, %v", b[:n], err)
		}
		want += fmt.Sprintf("%q from %v\n", s, c.LocalAddr())
	}
	if got := wait(); got != want {
		t.Errorf("the guest has %s, want %s", got, want)
	}
}

// TestHandedErrors: what cannot be handed over is Spawn's error, and closed.
func TestHandedErrors(t *testing.T) {
	for _, c := range []struct {
		fd    int
		value any
		want  string
	}{
		{3, must(os.Open("/dev/null")), "spawn: Jail.Sockets[3]: a *os.File is no net.Conn, net.Listener or net.PacketConn"},
		{3, nil, "Jail.Sockets[3]: a <nil> is no net.Conn"},
		{2, 0, "Jail.Sockets[2]: the number is taken: the streams and extra files of cmd are 0 to 2"},
		{-1, 0, "Jail.Sockets[-1]: the number is taken"},
		{1 << 20, 0, unix.EMFILE.Error()},
	} {
		var ours net.Conn
		if c.value == 0 {
			ours, c.value = net.Pipe()
		}
		_, err := (&jail.Jail{Sockets: map[int]any{c.fd: c.value}}).Spawn(exec.Command("/bin/true"), policy.Tool())
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(c.want, "spawn: ")) {
			t.Errorf("%d, %T: %v", c.fd, c.value, err)
		}
		if ours != nil {
			if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%d: not closed: %v", c.fd, err)
			}
		}
	}
}
