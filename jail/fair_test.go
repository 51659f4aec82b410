//go:build linux && amd64

package jail_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

// fairProgram has threads that sleep and wake all the time, younger than those
// they wait for.
const fairProgram = `
import queue, threading, time, random
q, left, got = queue.SimpleQueue(), list(range(10000)), []
def feed():
    while True:
        try:
            q.put(left.pop())
        except IndexError:
            return q.put(None)
        if random.random() > 0.5:
            time.sleep(random.random() * 1e-3)
def consume():
    while True:
        try:
            v = q.get(block=False)
        except queue.Empty:
            time.sleep(1e-5)
            continue
        if v is None:
            return
        got.append(v)
threads = [threading.Thread(target=f) for f in [feed] * 50 + [consume] * 50]
for t in threads: t.start()
for t in threads: t.join()
print(len(got))
`

// TestFair: busy threads do not starve others.
func TestFair(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, python)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := func() *exec.Cmd { return exec.CommandContext(ctx, python, "-c", fairProgram) }
	want := native(t, command())
	got := jailed(t, new(jail.Jail), command(), policy.Tool())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("jailed differs (-native +jailed):\n%s", diff)
	}
}
