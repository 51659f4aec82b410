//go:build linux && amd64

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const connections = 50

// load sends n requests over 50 connections at once, to the languages in turn, and
// gives what it took. each says what request i is and which status is right.
func (c *client) load(n int, each func(i int, lang string) (request string, want []int)) (took time.Duration, latency []time.Duration) {
	var next atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := time.Now()
	for range connections {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				lang := c.service.pools[i%len(c.service.pools)].lang.name
				request, want := each(i, lang)
				sent := time.Now()
				status, response := c.ask(lang, request)
				d := time.Since(sent)
				if !slices.Contains(want, status) || status == http.StatusOK && response != strings.ToUpper(request) {
					c.t.Errorf("%s: %q gives status %d, %.200s", lang, request, status, response)
				}
				mu.Lock()
				latency = append(latency, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(latency)
	return time.Since(start), latency
}

func plain(i int, lang string) (string, []int) {
	return fmt.Sprintf("request %d for %s", i, lang), []int{http.StatusOK}
}

// TestLoad: 10,000 requests over 50 connections, none fails.
func TestLoad(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	c := newClient(t, 4, 30*time.Second)
	took, latency := c.load(n, plain)
	t.Logf("%d requests in %v: %.0f a second, median %v, 99 %% %v", n, took, float64(n)/took.Seconds(), latency[n/2], latency[n*99/100])
	for _, p := range c.service.pools {
		v := p.view()
		served := 0
		for _, w := range v.Workers {
			served += w.Served
		}
		if v.Ends != 0 || served != n/len(c.service.pools)+1 && served != n/len(c.service.pools) {
			t.Errorf("%s: %d served, %d ended: %+v", v.Name, served, v.Ends, v.History)
		}
	}
}

// TestOthersGoOn: while workers are killed from outside and told to hang, to exit
// and to open files, each request that asks for none of it is served.
func TestOthersGoOn(t *testing.T) {
	c := newClient(t, 4, 3*time.Second)
	c.load(100, plain) // all have started
	quit := make(chan struct{})
	var wg sync.WaitGroup
	killed := 0
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if pids := children(); len(pids) > 0 && unix.Kill(pids[rand.IntN(len(pids))], unix.SIGKILL) == nil {
				killed++
			}
		}
	})
	n := 3_000
	if testing.Short() {
		n = 1_000
	}
	took, _ := c.load(n, func(i int, lang string) (string, []int) {
		switch {
		case i%500 == 17: // if it is not killed from outside again and again
			return "!spin", []int{http.StatusGatewayTimeout, http.StatusBadGateway}
		case i%50 == 33:
			return "!passwd", []int{http.StatusBadGateway}
		case i%50 == 44:
			return "!exit", []int{http.StatusBadGateway}
		}
		return plain(i, lang)
	})
	close(quit)
	wg.Wait()
	ends := 0
	for _, p := range c.service.pools {
		ends += p.view().Ends
	}
	t.Logf("%d requests in %v, %d kills from outside, %d workers replaced", n, took, killed, ends)
	if killed == 0 || ends < n/25 {
		t.Errorf("%d kills, %d workers replaced", killed, ends)
	}
}

// TestStopped: a worker that somebody stops is a worker that hangs. If it is killed
// before its time is up, another one answers.
func TestStopped(t *testing.T) {
	c := newClient(t, 1, 2*time.Second)
	p := c.service.pools[0]
	signal := func(sig unix.Signal) {
		for _, pid := range children() {
			_ = unix.Kill(pid, sig) // ESRCH: it has ended
		}
	}
	c.ask(p.lang.name, "start")
	signal(unix.SIGSTOP)
	if status, response := c.ask(p.lang.name, "hello"); status != http.StatusGatewayTimeout {
		t.Errorf("of a stopped worker: status %d, %s", status, response)
	}
	if status, response := c.ask(p.lang.name, "hello"); status != http.StatusOK || response != "HELLO" {
		t.Errorf("of the next: status %d, %s", status, response)
	}
	signal(unix.SIGSTOP)
	go func() {
		for !strings.HasPrefix(p.view().Workers[0].State, "busy") {
			time.Sleep(time.Millisecond)
		}
		signal(unix.SIGKILL)
	}()
	if status, response := c.ask(p.lang.name, "again"); status != http.StatusOK || response != "AGAIN" {
		t.Errorf("of the one after a killed one: status %d, %s", status, response)
	}
	if v := p.view(); v.Ends != 2 || v.History[0].Why != errOutside.Error() || v.History[1].Why != errTime.Error() {
		t.Errorf("%d ends: %+v", v.Ends, v.History)
	}
}
