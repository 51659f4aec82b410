//go:build linux

package emulate_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// TestPark: a call that waits parks, others go on, and a wake, a signal or death
// ends it.
func TestPark(t *testing.T) {
	g := NewGuest(t)
	other := g.Thread()
	p := g.Start("poll", nil, 0, 50)
	if p.Done() {
		t.Fatal("poll with a timeout does not wait")
	}
	if tid := other.Must("gettid"); tid != 2 {
		t.Errorf("the second thread is %d", tid)
	}
	if n, errno := p.Wait(); n != 0 || errno != 0 {
		t.Errorf("poll gives %d, %v", n, errno)
	}
	child := g.Fork()
	p = child.Start("poll", nil, 0, -1)
	g.Must("kill", child.Task.Process.PID, unix.SIGUSR1)
	if _, errno := p.Wait(); errno != emulate.ERESTART_RESTARTBLOCK {
		t.Errorf("interrupted poll gives %v", errno)
	}
	child.Machine.Signals()
	p = child.Start("poll", nil, 0, -1)
	child.Exit(0)
	if _, errno := p.Wait(); errno != unix.ESRCH {
		t.Errorf("killed poll gives %v", errno)
	}
}

func TestTwin(t *testing.T) {
	Twin(t, func(s *Script) {
		s.Call("eventfd2", 3, -1)
		s.Call("poll", Bad, 1, 0)
		s.Call("poll", []byte{0xff, 0xff, 0, 0, 1, 0, 9, 9}, 1, -1)
	})
}
