//go:build linux && amd64

package jail_test

import (
	"context"
	"os/exec"
	"strings"
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

// longProgram prints whether a call of a gigabyte let another process make its calls
// meanwhile.
const longProgram = `
import os, sys, time
zero = os.open("/dev/zero", os.O_RDONLY)
null = os.open("/dev/null", os.O_WRONLY)
file = os.open("/tmp/f", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 1 << 31)
bufs = [bytearray(1 << 20)] * 1000
for call in (lambda: os.readv(zero, bufs), lambda: os.writev(null, bufs), lambda: os.preadv(file, bufs, 0)):
    r, w = os.pipe()
    back, say = os.pipe()
    if os.fork() == 0:
        os.close(w)
        os.set_blocking(r, False)
        os.write(say, b"x")
        longest, last = 0, time.monotonic()
        while True:
            try:
                if os.read(r, 1) == b"": break
            except BlockingIOError: pass
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        os.write(say, str(longest).encode())
        os._exit(0)
    os.close(r)
    os.read(back, 1)
    began = time.monotonic()
    n = call()
    took = time.monotonic() - began
    os.close(w)
    print(n, float(os.read(back, 80)) < took / 2)
    os.close(back)
    os.close(say)
`

// TestLongCall: nor does one that makes a long call.
func TestLongCall(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, python)
	r := jailed(t, new(jail.Jail), exec.Command(python, "-c", longProgram), policy.Tool())
	want := result{strings.Repeat("1048576000 True\n", 3), "", ""}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}
