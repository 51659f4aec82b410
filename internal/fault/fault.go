// Package fault is where tests make things fail that hardly ever do. The code
// asks [At] before them; while no test has injected faults that costs one load.
package fault

import "sync/atomic"

// Point is a kind of thing that can fail.
type Point string

const (
	Ptrace Point = "ptrace" // a request to a tracee; id is its tid
	Memory Point = "memory" // a copy from or to a tracee's memory; id is its tid
	Park   Point = "park"   // a task goes to sleep; id is the tid
	Arena  Point = "arena"  // a write to an arena; id is the slot
	Host   Point = "host"   // a call about the host's files; id is 0
)

var injected atomic.Pointer[func(Point, int) error]

// At is the error that a test wants here, nil for none.
func At(p Point, id int) error {
	if f := injected.Load(); f != nil {
		return (*f)(p, id)
	}
	return nil
}

// Inject makes At ask f, from any goroutine, until the returned function is
// called. There is one f at a time in a process.
func Inject(f func(p Point, id int) error) (remove func()) {
	injected.Store(&f)
	return func() { injected.Store(nil) }
}
