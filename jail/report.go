package jail

import (
	"fmt"
	"strings"
)

// Report is what [Preflight] found.
type Report struct {
	Err   error    // nil: this host can run jails; else what Spawn says
	Notes []string // what works in another way here, or may explain Err
	Walls []Wall   // the second walls of a jail that asks for none
}

// String is the report as lines of text.
func (r Report) String() string {
	var b strings.Builder
	if r.Err == nil {
		fmt.Fprintln(&b, "this host can run jails")
	} else {
		fmt.Fprintln(&b, "this host cannot run jails:", r.Err)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	for _, w := range r.Walls {
		fmt.Fprintln(&b, "second wall", w)
	}
	return b.String()
}

// Wall is a second wall around the guests, which the host puts up besides the
// first: that of a guest no call reaches the host. None of the jail's promises needs
// one. Its name is stable.
type Wall struct {
	Name   string
	Up     bool
	Reason string // of a wall that is not up, what stands in the way; else what it is
}

func (w Wall) String() string {
	state := "down"
	if w.Up {
		state = "up"
	}
	return fmt.Sprintf("%s is %s: %s", w.Name, state, w.Reason)
}
