//go:build linux && amd64

package jail_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"oubliette/jail"
	"oubliette/policy"
)

// soak is how long OUBLIETTE_SOAK wants the long tests to run; 0 is not at all.
func soak() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("OUBLIETTE_SOAK"))
	return d
}

// soakProgram is one of the things that TestSoak does again and again.
type soakProgram struct {
	name   string
	argv   []string
	stdout string
	err    string // "" none
	limits policy.Limits
	cancel time.Duration // Kill comes after it; 0 never
}

var soakPrograms = []soakProgram{
	{name: "true", argv: []string{"/bin/true"}},
	{name: "pipeline", argv: []string{"/bin/sh", "-c", "seq 100 | sort -rn | head -n 1; exit 3"}, stdout: "100\n", err: "exit status 3"},
	{name: "files", argv: []string{"/bin/sh", "-c", "cd /tmp; for i in 1 2 3 4 5 6 7 8; do echo $i > f$i; done; cat f* | wc -l; rm f*; mkdir d; mv d e; ls"}, stdout: "8\ne\n"},
	{name: "python", argv: []string{"/usr/bin/python3", "-c", "import threading, json; t = [threading.Thread(target=lambda: json.dumps(list(range(99)))) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]; print(len(t))"}, stdout: "4\n"},
	{name: "sockets", argv: []string{"/usr/bin/python3", "-c", "import socket; s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.sendall(b'x' * 99999); c.close(); n = 0\nwhile d := a.recv(9999): n += len(d)\nprint(n)"}, stdout: "99999\n"},
	{name: "orphans", argv: []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000 | cat & echo on"}, stdout: "on\n"},
	{name: "limit", argv: []string{"/bin/sh", "-c", "yes"}, stdout: strings.Repeat("y\n", 500), err: "jail: limit output (1000) reached", limits: policy.Limits{Output: 1000}},
	{name: "killed", argv: []string{"/bin/sh", "-c", "while :; do /bin/true; done"}, err: "signal: killed", cancel: 20 * time.Millisecond},
}

// run is nil if the program did what it should.
func (s *soakProgram) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, s.argv[0], s.argv[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p := policy.Tool()
	p.Limits = s.limits
	proc, err := jail.Spawn(cmd, p)
	if err != nil {
		return err
	}
	if s.cancel > 0 {
		time.AfterFunc(s.cancel, cancel)
	}
	err = proc.Wait()
	if s.cancel > 0 && errors.Is(err, context.Canceled) {
		return nil
	}
	if out.String() != s.stdout || errText(err) != s.err {
		return fmt.Errorf("%s: %v, output %q", s.name, err, out.String())
	}
	return nil
}

// usage of this process: resident memory in KiB and descriptors.
func usageNow() (kib, fds int) {
	runtime.GC()
	text, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		kib = pages * os.Getpagesize() >> 10
	}
	list, _ := os.ReadDir("/proc/self/fd")
	return kib, len(list)
}

// TestSoak runs jails of mixed programs, four at a time: a few hundred, or for
// OUBLIETTE_SOAK (a duration like 30m). Each must do what it does; memory and
// descriptors must not grow after the first fifth. Latencies are logged.
func TestSoak(t *testing.T) {
	need(t, "python3", "seq")
	noLeak(t)
	const workers, steps = 4, 5
	length, each := soak(), times(400)/steps
	if length > 0 {
		watchdog(t, length+5*time.Minute)
	} else {
		watchdog(t, 5*time.Minute)
	}
	var kib, fds [steps]int
	total := 0
	for step := range steps {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var took []time.Duration
		end := time.Now().Add(length / steps)
		for range workers {
			wg.Go(func() {
				for n := 0; length > 0 && time.Now().Before(end) || n < each/workers; n++ {
					start := time.Now()
					if err := soakPrograms[rand.IntN(len(soakPrograms))].run(); err != nil {
						t.Error(err)
					}
					mu.Lock()
					took = append(took, time.Since(start))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.Sort(took)
		total += len(took)
		kib[step], fds[step] = usageNow()
		t.Logf("%d jails, %d KiB resident, %d descriptors, latency median %v, 99 %% %v, most %v",
			total, kib[step], fds[step], took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	}
	// What the Go runtime keeps for later is no leak: half as much again is.
	if first, last := kib[0], kib[steps-1]; length > 0 && last > first+first/2 {
		t.Errorf("resident memory grew from %d to %d KiB", first, last)
	}
	if fds[steps-1] > fds[0] {
		t.Errorf("descriptors grew from %d to %d", fds[0], fds[steps-1])
	}
}
