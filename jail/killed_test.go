//go:build linux && amd64

package jail_test

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// TestKilledFromOutside kills guests of busy jails at random moments, 2,000 times or,
// with OUBLIETTE_SOAK, 10,000. Nothing may hang or leak, and Wait says what happened
// to the first process.
func TestKilledFromOutside(t *testing.T) {
	noLeak(t)
	watchdog(t, 5*time.Minute+soak())
	kills := times(2000)
	if soak() > 0 {
		kills = 10000
	}
	script := `while :; do echo a b c | tr ' ' '\n' | sort -r | (read x; echo $x) >/dev/null; (exit 3); x=$(echo y); sleep 0.001 & wait $!; done`
	restless := guestProgram(t, "restless")
	ways := []string{"script", "threads", "execs", "forks", "asleep", "stops", "maps", "exits"}
	killed := make(map[string]int)
	for total := 0; total < kills; {
		way := ways[len(killed)%len(ways)]
		if len(killed) == len(ways) {
			way = ways[rand.IntN(len(ways))]
		}
		cmd, p := exec.Command(restless, way), policy.Prison()
		if way == "script" {
			cmd, p = exec.Command("/bin/sh", "-c", script), policy.Tool()
		}
		n := killOff(t, way, cmd, p)
		killed[way] += n
		total += n
	}
	t.Log(killed)
}

// killOff kills processes of a guest that never ends until all are gone, and
// returns how many it killed.
func killOff(t *testing.T, way string, cmd *exec.Cmd, p policy.Policy) (kills int) {
	proc, err := jail.Spawn(cmd, p)
	if err != nil {
		t.Fatal(way, err)
	}
	done := make(chan error, 1)
	go func() { done <- proc.Wait() }()
	for {
		select {
		case err := <-done:
			var exit *jail.ExitError
			if !errors.As(err, &exit) || way != "script" && exit.Signal() != unix.SIGKILL { // a shell may give up
				t.Fatalf("%s: Wait: %v", way, err)
			}
			return kills
		case <-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond):
			pids := guestProcesses(t)
			if len(pids) > 0 && unix.Kill(pids[rand.IntN(len(pids))], unix.SIGKILL) == nil {
				kills++
			}
		}
	}
}

// TestKilledInExec: Kill ends a jail also while new images are being loaded.
func TestKilledInExec(t *testing.T) {
	noLeak(t)
	watchdog(t, time.Minute)
	program := guestProgram(t, "restless")
	for range times(300) {
		proc, err := jail.Spawn(exec.Command(program, "execs"), policy.Prison())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(10000)) * time.Microsecond)
		if err := proc.Kill(); err != nil {
			t.Error(err)
		}
		var exit *jail.ExitError
		if err := proc.Wait(); !errors.As(err, &exit) || exit.Signal() != unix.SIGKILL {
			t.Errorf("Wait: %v", err)
		}
	}
}

// TestShotInExec: SIGKILL ends a process whose next image is being loaded.
func TestShotInExec(t *testing.T) {
	watchdog(t, time.Minute)
	if got := jailed(t, &jail.Jail{}, exec.Command(guestProgram(t, "restless"), "shot"), policy.Prison()); got != (result{}) {
		t.Errorf("%+v", got)
	}
}

// TestOrphans: of a process killed while it forked nothing stays on the host.
func TestOrphans(t *testing.T) {
	before := len(guestProcesses(t))
	cmd := exec.Command(guestProgram(t, "restless"), "killed")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := jail.Spawn(cmd, policy.Prison())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if n := len(guestProcesses(t)) - before; n != 2 {
		t.Errorf("%d host processes, want the guest and the bell", n)
	}
	_ = in.Close()
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
}
