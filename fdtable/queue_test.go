//go:build linux

package fdtable_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/fdtable"
)

func TestQueue(t *testing.T) {
	var q fdtable.Queue
	var got string
	waiter := func(name string) *fdtable.Waiter {
		return &fdtable.Waiter{Woken: func() { got += name }}
	}
	check := func(what, want string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		got = ""
	}
	a, b, c, d := waiter("a"), waiter("b"), waiter("c"), waiter("d")
	taken := true
	b.Exclusive = func() bool { return taken }
	c.Exclusive = b.Exclusive
	d.Events = fdtable.Out
	for _, w := range []*fdtable.Waiter{a, b, c, d} {
		q.Add(w)
	}
	q.Wake()
	check("one exclusive waiter, behind the others", "adb")
	q.WakeFor(fdtable.In)
	check("events", "ab")
	taken = false
	q.Wake()
	check("no exclusive waiter takes it", "adbc")
	q.Remove(b)
	q.Remove(b)
	q.Add(a) // moves to the end
	q.Wake()
	check("order", "dac")
	d.Woken = func() { got += "d"; q.Remove(a); q.Add(b) }
	q.Wake()
	check("changed while told", "dc")
	for _, w := range []*fdtable.Waiter{a, b, c, d} {
		q.Remove(w)
	}
	if !q.Empty() {
		t.Error("not empty")
	}
}
