//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/policy"
)

// host is what a service may not leave behind.
func host() (s string, goroutines int) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, f := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "anon_inode:[event") {
			s += f.Name() + " " + to + "\n"
		}
	}
	return s + fmt.Sprintf("children %v\n", children()), runtime.NumGoroutine()
}

// children are this process's: every guest process is one.
func children() (pids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// client is a service and who asks it. After the test nothing of it may be left.
type client struct {
	http.Client
	t       testing.TB
	service *service
	url     string
}

func newClient(t testing.TB, workers int, limit time.Duration) *client {
	t.Helper()
	before, goroutines := host()
	s, err := newService(workers, limit)
	if err != nil {
		skip(t, err.Error())
	}
	for _, why := range s.missing {
		if os.Getenv("OUBLIETTE_STRICT") == "1" {
			t.Error("skipped in strict mode: ", why)
		}
		t.Log("skipped: ", why)
	}
	server := httptest.NewServer(s)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(func() {
		if err := s.Close(); err != nil { // first: a server waits for its requests
			t.Error(err)
		}
		transport.CloseIdleConnections()
		server.Close()
		after, n := host()
		for range 100 {
			if after == before && n <= goroutines {
				return
			}
			time.Sleep(20 * time.Millisecond)
			after, n = host()
		}
		t.Errorf("left behind: %d goroutines\n%s\nthere were %d\n%s", n, after, goroutines, before)
	})
	return &client{http.Client{Transport: transport}, t, s, server.URL}
}

func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("OUBLIETTE_STRICT") == "1" {
		t.Fatal("skipped in strict mode: ", reason)
	}
	t.Skip(reason)
}

// ask posts a request to the workers of a language.
func (c *client) ask(lang, request string) (status int, response string) {
	r, err := c.Post(c.url+"/"+lang, "text/plain", strings.NewReader(request))
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	return r.StatusCode, string(body)
}

// page is the page of the workers.
func (c *client) page() string {
	r, err := c.Get(c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		c.t.Fatal(r.Status, err)
	}
	return string(body)
}

// TestRequests: workers answer many requests each, up to the bounds of size.
func TestRequests(t *testing.T) {
	c := newClient(t, 1, time.Minute)
	const bytes = 1 + 2 + 4096 + 4097 + maxRequest
	for _, p := range c.service.pools {
		lang := p.lang.name
		for i, n := range []int{1, 2, 4096, 4097, maxRequest} {
			request := strings.Repeat(string(rune('a'+i)), n)
			if status, got := c.ask(lang, request); status != http.StatusOK || got != strings.ToUpper(request) {
				t.Errorf("%s: %d bytes give status %d and %d bytes: %.99q", lang, n, status, len(got), got)
			}
		}
		if status, got := c.ask(lang, strings.Repeat("x", maxRequest+1)); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: too large: status %d, %s", lang, status, got)
		}
		if status, got := c.ask(lang, ""); status != http.StatusBadRequest {
			t.Errorf("%s: empty: status %d, %s", lang, status, got)
		}
		for _, w := range p.view().Workers {
			if w.Served != 5 || w.State != "waits in read" {
				t.Errorf("%s: %+v", lang, w)
			}
			for _, call := range w.Calls {
				if call.Name == "write" && (call.Stops != 5 || call.Bytes != bytes) {
					t.Errorf("%s: %v", lang, call)
				}
			}
		}
		if p.ends != 0 {
			t.Errorf("%s: %v", lang, p.history)
		}
	}
	for request, want := range map[string]int{"GET /c": http.StatusMethodNotAllowed, "POST /none": http.StatusNotFound} {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequest(method, c.url+path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s", request, answer.Status)
		}
	}
	if page := c.page(); !strings.Contains(page, "emulate write if arg0&amp;0xffffffff == 0x1 # its response, whole") ||
		!strings.Contains(page, fmt.Sprintf("write 5 (%d bytes)", bytes)) {
		t.Errorf("the page has no policy or no calls:\n%s", page)
	}
}

// TestMisdeeds: whatever a worker is told to do, the one that told hears what came
// of it, the next one is served, and the page says why.
func TestMisdeeds(t *testing.T) {
	c := newClient(t, 1, time.Second)
	const served = "status 200: "
	for _, p := range c.service.pools {
		lang := p.lang.name
		crash := map[string]string{"c": "segmentation fault", "python": "called write(2, ", "go": "called write(2, "}[lang]
		for _, m := range []struct {
			request, response, why string
		}{
			{"!passwd", "status 502: ", "called openat("},
			{"!socket", "status 502: ", "called socket(AF_INET, "},
			{"!fork", "status 502: ", "called clone("},
			{"!spin", "status 504: ", errTime.Error()},
			{"!twice", served, "there is no request that this could answer"},
			{"!big", "status 502: ", "its response is larger than"},
			{"!crash", "status 502: ", crash},
			{"!exit", "status 502: ", "exit status 3"},
			{"!both", served, "or reads twice at once"},
		} {
			if m.request == "!both" && lang != "go" { // has threads
				continue
			}
			ends := p.view().Ends
			status, response := c.ask(lang, m.request)
			got := fmt.Sprintf("status %d: %s", status, response)
			if !strings.HasPrefix(got, m.response) || m.response != served && !strings.Contains(got, m.why) {
				t.Errorf("%s %s gives %s", lang, m.request, got)
			}
			for deadline := time.Now().Add(10 * time.Second); p.view().Ends == ends && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if status, got := c.ask(lang, "and now"); status != http.StatusOK || got != "AND NOW" {
				t.Errorf("%s after %s: status %d, %s", lang, m.request, status, got)
			}
			if v := p.view(); v.Ends != ends+1 || !strings.Contains(v.History[0].Why, m.why) {
				t.Errorf("%s after %s: %d workers have ended, %+v", lang, m.request, v.Ends-ends, v.History[0])
			}
		}
		if page := c.page(); !strings.Contains(page, " have ended") || !strings.Contains(page, "called socket(") {
			t.Errorf("%s: the page does not show it:\n%s", lang, page)
		}
	}
}

// TestEveryCall: of all calls a serving worker can make none but its three.
func TestEveryCall(t *testing.T) {
	c := newClient(t, 1, time.Minute)
	if c.service.pools[0].lang.name != "c" {
		skip(t, "needs the worker in C")
	}
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for nr := 0; nr < 500; nr += stride {
		want := "jail: violation: "
		switch nr {
		case unix.SYS_READ, unix.SYS_WRITE:
			continue
		case 335, 336: // uretprobe, uprobe: newer kernels ask no filter, and refuse who is no probe
			continue
		case unix.SYS_EXIT_GROUP:
			want = "it ended"
		}
		if status, got := c.ask("c", fmt.Sprint("!call ", nr)); status != http.StatusBadGateway || !strings.Contains(got, want) {
			t.Errorf("call %d: status %d, %s", nr, status, got)
		}
	}
}

// TestPolicies: the jail's own policy says nothing that the two of a worker do not.
func TestPolicies(t *testing.T) {
	made, _ := build(t.TempDir())
	for _, l := range made {
		jailed := l.jailed()
		if err := errors.Join(jailed.Validate(), l.start.Validate(), l.serve.Validate()); err != nil {
			t.Fatal(l.name, err)
		}
		for _, row := range emulate.Calls() {
			for range 100 {
				var args [6]uint64
				for i := range args {
					args[i] = rand.Uint64() >> rand.IntN(64)
				}
				at := jailed.Lookup(row.Name, args).Action
				start, serve := l.start.Lookup(row.Name, args).Action, l.serve.Lookup(row.Name, args).Action
				if at != policy.Emulate && (at != start && at != policy.Kill || at != serve) {
					t.Errorf("%s: %s(%#x): jail %s, start %s, serve %s", l.name, row.Name, args, at, start, serve)
				}
			}
		}
	}
}

// TestClose: workers that will not end are killed, and nothing is left behind.
func TestClose(t *testing.T) {
	c := newClient(t, 1, time.Minute)
	for _, p := range c.service.pools {
		go func() { // until Close
			if r, err := c.Post(c.url+"/"+p.lang.name, "text/plain", strings.NewReader("!spin")); err == nil {
				r.Body.Close()
			}
		}()
	}
	time.Sleep(500 * time.Millisecond)
}
