//go:build linux && amd64

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// need skips the test without a program, or fails it under OUBLIETTE_STRICT=1.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("OUBLIETTE_STRICT") == "1" {
		t.Fatal("skipped in strict mode: needs ", program)
	}
	t.Skip("needs ", program)
}

// TestAllow: curl reaches the server that is allowed and no other.
func TestAllow(t *testing.T) {
	need(t, "curl")
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %d bytes\n", r.Method, n)
	})
	one, two := httptest.NewServer(page), httptest.NewServer(page)
	defer one.Close()
	defer two.Close()
	at := strings.TrimPrefix(one.URL, "http://")
	_, port, _ := net.SplitHostPort(at)
	for _, c := range []struct {
		flags string
		curl  string
		want  string
		exit  int
	}{
		{"-allow localhost:" + port, one.URL, "GET 0 bytes\n", 0},
		{"-allow " + at, one.URL, "GET 0 bytes\n", 0},
		{"-allow localhost:*", "http://localhost:" + port, "GET 0 bytes\n", 0},
		{"-allow localhost:" + port, "-T /bin/sh " + one.URL, fmt.Sprintf("PUT %d bytes\n", size(t, "/bin/sh")), 0},
		{"-allow localhost:" + port, two.URL, "", 7}, // CURLE_COULDNT_CONNECT
		{"-allow example.com:80", one.URL, "", 7},
		{"-allow example.com:80", "http://example.org/", "", 6}, // CURLE_COULDNT_RESOLVE_HOST
		{"-net host", one.URL, "", 7},
		{"-net none", one.URL, "", 7},
		{"-net none", "http://example.org/", "", 6},
	} {
		args := append(strings.Fields(c.flags), "--", "curl", "-s", "--noproxy", "*")
		out, errs, status := launch(t, launcher(t, append(args, strings.Fields(c.curl)...)...))
		if out != c.want || errs != "" || status != c.exit {
			t.Errorf("%s curl %s: %q %q, exit status %d", c.flags, c.curl, out, errs, status)
		}
	}
}

func size(t *testing.T, name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestResolver: what real resolvers make of ours.
func TestResolver(t *testing.T) {
	need(t, "getent")
	need(t, "python3")
	const script = `getent ahostsv4 www.example.com | head -n 1
getent ahostsv6 www.example.com | head -n 1
getent hosts example.net || echo none
cat /etc/resolv.conf
python3 -c "import socket; print(socket.getaddrinfo('WWW.example.com', 443, 0, socket.SOCK_STREAM))"`
	out, errs, status := launch(t, launcher(t, sh("-allow", "www.example.com:443")(script)...))
	want := "198.18.0.2      STREAM www.example.com\nfd6f:7562:6c69::2 STREAM www.example.com\nnone\nnameserver 127.0.0.53\n" +
		"[(<AddressFamily.AF_INET6: 10>, <SocketKind.SOCK_STREAM: 1>, 6, '', ('fd6f:7562:6c69::2', 443, 0, 0)), " +
		"(<AddressFamily.AF_INET: 2>, <SocketKind.SOCK_STREAM: 1>, 6, '', ('198.18.0.2', 443))]\n"
	if out != want || errs != "" || status != 0 {
		t.Errorf("%s%s, exit status %d, want\n%s", out, errs, status, want)
	}
	out, errs, status = launch(t, launcher(t, sh()("cat /etc/resolv.conf; getent hosts www.example.com")...))
	if out != "" || !strings.Contains(errs, "No such file") || status != 2 {
		t.Errorf("without network: %q %q %d", out, errs, status)
	}
}

// TestPublish: a server in the jail at an address of the host's.
func TestPublish(t *testing.T) {
	need(t, "python3")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "page", "published\n")
	cmd := launcher(t, "-publish", at+":80", "-uid", "0", "-ro", dir+":/site", "--", "python3", "-m", "http.server", "80", "-d", "/site")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get("http://" + at + "/page")
		if err != nil && time.Now().Before(deadline) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if string(b) != "published\n" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		return
	}
}
