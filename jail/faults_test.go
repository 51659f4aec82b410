//go:build linux && amd64

package jail_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/fault"
	"oubliette/jail"
	"oubliette/policy"
)

// faultScript does a little of everything: forks, execs, pipes, files, waits.
const faultScript = `echo a b c | tr ' ' '\n' | sort -r
(exit 3); echo $?; x=$(echo y); echo "[$x]"
sleep 0.01 & wait $!; echo waited
cd /tmp; for i in 1 2; do echo $i > f$i; done; cat f1 f2; ls; rm f1
echo end`

const faultOutput = "c\nb\na\n3\n[y]\nwaited\n1\n2\nf1\nf2\nend\n"

// faultLines are what the script may say when a part of it has failed.
var faultLines = append(strings.SplitAfter(faultOutput, "\n"), "[]\n", "1\n", "127\n", "137\n", "255\n")

// eachFault runs the script again and again, with fn called at the first time
// that p comes, at the second, and so on to the last of a run. Each run must end.
// Its output must be lines of the script's, in order: none twice, none lost that
// came before, and none made up. Nothing of ours may panic.
func eachFault(t *testing.T, p fault.Point, fn func(id int) error) {
	noLeak(t)
	watchdog(t, 15*time.Minute)
	step := 23
	switch {
	case soak() > 0:
		step = 1
	case testing.Short():
		step = 37
	}
	ends := make(map[string]int)
	for n := 1; ; n += step {
		var count atomic.Int64
		remove := fault.Inject(func(at fault.Point, id int) error {
			if at != p || count.Add(1) != int64(n) {
				return nil
			}
			return fn(id)
		})
		var out, errs bytes.Buffer
		cmd := exec.Command("/bin/sh", "-c", faultScript)
		cmd.Stdout, cmd.Stderr = &out, &errs
		proc, err := jail.Spawn(cmd, policy.Tool())
		if err == nil {
			// A shell whose sigaction(2) has failed waits for ever: as it should.
			stuck := time.AfterFunc(20*time.Second, func() { _ = proc.Kill() })
			err = proc.Wait()
			stuck.Stop()
		}
		remove()
		what := fmt.Sprintf("%s %d: %v, output %q, %q", p, n, err, out.String(), errs.String())
		if strings.Contains(what, "panic") {
			t.Error(what)
		}
		// A shell does not look at all that its calls return.
		told := p == fault.Memory || errs.Len() > 0
		rest := faultOutput
		for line := range strings.Lines(out.String()) {
			_, after, ok := strings.Cut("\n"+rest, "\n"+line)
			if !ok && !(told && slices.Contains(faultLines, line)) {
				t.Error("another line: ", what)
				break
			}
			if ok {
				rest = after
			}
		}
		var exit *jail.ExitError
		switch {
		case err == nil && !told && out.String() != faultOutput:
			t.Error("lost and not told: ", what)
		case err == nil:
			ends["went on"]++
		case errors.As(err, &exit):
			ends[err.Error()]++
		default:
			ends["an error"]++
			t.Log(what)
		}
		if count.Load() < int64(n) {
			t.Logf("%s: %d places, ends %v", p, count.Load(), ends)
			if n == 1 || len(ends) < 2 {
				t.Error("no fault had an effect")
			}
			return
		}
	}
}

// TestFaultKill: a guest is killed at the very moment of each request to it, which
// then fails with ESRCH.
func TestFaultKill(t *testing.T) {
	eachFault(t, fault.Ptrace, func(tid int) error { return unix.Kill(tid, unix.SIGKILL) })
}

// TestFaultKillThreads: processes with threads are killed at requests to one of them,
// which come when that dies already. Who waits for the process does not wait for ever.
func TestFaultKillThreads(t *testing.T) {
	noLeak(t)
	watchdog(t, time.Minute)
	restless := guestProgram(t, "restless")
	for range times(30) {
		var count, first atomic.Int64
		n := 10 + rand.Int64N(100)
		remove := fault.Inject(func(at fault.Point, tid int) error {
			if at == fault.Ptrace && !first.CompareAndSwap(0, int64(tid)) && first.Load() != int64(tid) && count.Add(1)%n == 0 {
				_ = unix.Kill(tid, unix.SIGKILL)
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		if got := jailed(t, &jail.Jail{}, exec.Command(restless, "endings"), policy.Prison()); got.Err != "" && got.Err != "signal: killed" { // the bell is one of them
			t.Errorf("%+v", got)
		}
		remove()
	}
}

// TestFaultMemory: each copy of guest memory fails.
func TestFaultMemory(t *testing.T) {
	eachFault(t, fault.Memory, func(int) error { return unix.EFAULT })
}

// TestFaultHost: each call on the host's files fails.
func TestFaultHost(t *testing.T) {
	eachFault(t, fault.Host, func(int) error { return unix.EIO })
}

// TestFaultArena: no memory for each write of a file's page.
func TestFaultArena(t *testing.T) {
	eachFault(t, fault.Arena, func(int) error { return unix.ENOMEM })
}

// TestFaultMmap: a program has no memory for one mapping after the other, from
// those of its image on. It fails or goes on, as Linux has it.
func TestFaultMmap(t *testing.T) {
	noLeak(t)
	watchdog(t, 5*time.Minute)
	want, whole := "f\n", 0
	const pages, most = 64, 16 << 10 // KiB
	for limit := 0; limit <= most; limit += pages {
		r := jailed(t, &jail.Jail{}, exec.Command("/bin/sh", "-c",
			fmt.Sprintf("cd /tmp; echo > f; ulimit -v %d; exec /bin/ls", limit)), policy.Tool())
		switch {
		case r == result{Stdout: want}:
			whole++
		case r.Err == "" || r.Stdout != "" || strings.Contains(r.Err, "panic"):
			t.Errorf("ulimit -v %d: %+v", limit, r)
		}
	}
	if whole == 0 || whole > most/pages-10 {
		t.Errorf("%d of %d runs had enough memory", whole, most/pages)
	}
}

// parkScript waits in many ways and knows nothing of the signals that come
// meanwhile: its handlers do nothing, and what was interrupted is done again
// (PEP 475).
const parkScript = `
import os, queue, select, signal, socket, subprocess, threading, time
signal.signal(signal.SIGUSR1, lambda *_: None)
print("ready", flush=True)
r, w = os.pipe()
threading.Timer(0.01, os.write, (w, b"pipe")).start()
print(os.read(r, 9))
a, b = socket.socketpair()
if os.fork() == 0:
    time.sleep(0.01); b.sendall(b"x" * 300000); os._exit(7)
n = 0
while n < 300000: n += len(a.recv(300000))
print(n, os.wait()[1])
q = queue.Queue()
threading.Timer(0.01, q.put, ("queue",)).start()
print(q.get(timeout=60))
threading.Timer(0.01, os.write, (w, b"selected")).start()
print(select.select([r], [], [], 60)[0] == [r], os.read(r, 9))
e = select.epoll(); e.register(r, select.EPOLLIN)
print(e.poll(0.02), select.select([], [], [], 0.01))
s = socket.create_server(("127.0.0.1", 0))
c = threading.Thread(target=lambda: (time.sleep(0.01), socket.create_connection(s.getsockname()).sendall(b"tcp")))
c.start(); peer, _ = s.accept(); print(peer.recv(3)); c.join()
print(subprocess.run(["sh", "-c", "sleep 0.01; echo child"], capture_output=True).stdout)
time.sleep(0.01)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
signal.setitimer(signal.ITIMER_REAL, 0.01)
print(signal.sigwait([signal.SIGALRM]), flush=True)
os._exit(0) # for Python's own end takes the handler away
`

// TestFaultPark: a signal comes whenever a task goes to sleep, and the program's
// output is what it is without.
func TestFaultPark(t *testing.T) {
	need(t, "python3")
	noLeak(t)
	watchdog(t, 5*time.Minute)
	command := func() *exec.Cmd {
		cmd := exec.Command("python3", "-c", parkScript)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		return cmd
	}
	want := native(t, command())
	for range times(20) {
		cmd := command()
		var errs bytes.Buffer
		cmd.Stderr = &errs
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		proc, err := jail.Spawn(cmd, policy.Tool())
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(pipe)
		first, _ := out.ReadString('\n') // the handler is there
		var parks atomic.Int64
		remove := fault.Inject(func(p fault.Point, _ int) error {
			if p == fault.Park {
				parks.Add(1)
				go func() { _ = proc.Signal(unix.SIGUSR1) }()
			}
			return nil
		})
		rest, _ := io.ReadAll(out)
		err = proc.Wait()
		remove()
		if got := (result{first + string(rest), errs.String(), errText(err)}); got != want || parks.Load() < 10 {
			t.Errorf("%d sleeps: %+v\nnatively: %+v", parks.Load(), got, want)
		}
	}
}
