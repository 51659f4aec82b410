//go:build linux && amd64

package jail_test

import (
	"os/exec"
	"testing"
	"time"

	"oubliette/jail"
)

// TestBombs: programs that fork, make threads, execute, signal or stop without end
// have what the limits say, disturb nobody, and end when the jail does.
func TestBombs(t *testing.T) {
	noLeak(t)
	program := guestProgram(t, "bomb")
	for _, name := range []string{"forks", "orphans", "threads", "execs", "signals", "stops", "stop and go"} {
		t.Run(name, func(t *testing.T) {
			p := own(t.TempDir())
			p.Limits.Tasks = 60
			p.Limits.Wall = time.Second
			proc, err := jail.Spawn(exec.Command(program, name), p)
			if err != nil {
				t.Fatal(err)
			}
			most := 0
			ended := make(chan error, 1)
			go func() { ended <- await(t, proc) }()
			for {
				select {
				case err := <-ended:
					if errText(err) != "jail: limit wall (1s) reached" {
						t.Errorf("Wait: %v", err)
					}
					if most > 2*p.Limits.Tasks+2 { // those of execve are there twice for a moment; the bell
						t.Errorf("%d processes at once", most)
					}
					return
				case <-time.After(100 * time.Millisecond):
				}
				most = max(most, len(guestProcesses(t)))
				start := time.Now()
				if out, err := exec.Command("/bin/echo", "ok").Output(); err != nil || string(out) != "ok\n" {
					t.Errorf("the host's own command: %q, %v", out, err)
				}
				if d := time.Since(start); d > 5*time.Second {
					t.Errorf("it took %v", d)
				}
			}
		})
	}
}
