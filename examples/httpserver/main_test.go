//go:build linux && amd64

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		main()
	}
	os.Exit(m.Run())
}

// serve starts a server and returns its URL.
func serve(t *testing.T, name, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	proc, _, err := start(ctx, name, dir, l)
	if err != nil {
		cancel()
		l.Close()
		if os.Getenv("OUBLIETTE_STRICT") == "1" {
			t.Fatal("skipped in strict mode: ", err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { cancel(); _ = proc.Wait() })
	return "http://" + l.Addr().String()
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return r.StatusCode, string(b)
}

// TestServers: each server serves the site, and nothing of the host's.
func TestServers(t *testing.T) {
	index, err := embedded.ReadFile("site/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			url := serve(t, s.name, "")
			c := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 20, MaxIdleConnsPerHost: 20}, Timeout: 20 * time.Second}
			defer c.CloseIdleConnections()
			for path, want := range map[string]int{"/style.css": 200, "/none": 404, "/../etc/passwd": 404, "/%2e%2e/etc/passwd": 404} {
				if code, body := get(t, c, url+path); code != want && (code != 400 || want != 404) || strings.Contains(body, "root:") {
					t.Errorf("%s: %d %s", path, code, body)
				}
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					for range 10 {
						if code, body := get(t, c, url+"/"); code != 200 || body != string(index) {
							t.Errorf("%d %q", code, body)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestSite: a directory as the site, and a file larger than all buffers.
func TestSite(t *testing.T) {
	dir := t.TempDir()
	large := strings.Repeat("a line of a large file\n", 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "large"), []byte(large), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			url := serve(t, s.name, dir)
			if code, body := get(t, &http.Client{Timeout: time.Minute}, url+"/large"); code != 200 || body != large {
				t.Errorf("%d, %d bytes of %d", code, len(body), len(large))
			}
		})
	}
}
