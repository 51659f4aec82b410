//go:build linux

package emulate_test

import (
	"slices"
	"strings"
	"testing"

	"oubliette/emulate"
	"oubliette/internal/sysno"
)

// The kinds of arguments that Row's manual names.
var argKinds = strings.Fields("fd dirfd path str buf addr int uint op long ulong size flags mode off sig pid iov sockaddr")

func TestCalls(t *testing.T) {
	last := ""
	for _, r := range emulate.Calls() {
		if r.Name <= last {
			t.Errorf("%s is there twice or not in order", r.Name)
		}
		last = r.Name
		if _, ok := sysno.Number(r.Name); !ok {
			t.Errorf("no call is named %q", r.Name)
		}
		if r.Do == nil && r.Note == "" {
			t.Errorf("%s is left out without a reason", r.Name)
		}
		args := strings.Fields(r.Args)
		if len(args) > 6 {
			t.Errorf("%s has %d arguments", r.Name, len(args))
		}
		for _, a := range args {
			kind, _, _ := strings.Cut(strings.TrimPrefix(a, "out:"), ":")
			if !slices.Contains(argKinds, kind) {
				t.Errorf("%s: no kind of argument is called %q", r.Name, a)
			}
		}
	}
}

// A call without a row would be ENOSYS without a word.
func TestMissingCalls(t *testing.T) {
	have := make(map[string]bool)
	for _, r := range emulate.Calls() {
		have[r.Name] = true
	}
	var missing []string
	for nr := range sysno.Max + 1 {
		if name := sysno.Name(nr); name != "" && !have[name] {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		t.Errorf("without a row: %s", strings.Join(missing, " "))
	}
}

// TestHandlerOf: the name of a call gives what the table does, another panics.
func TestHandlerOf(t *testing.T) {
	if emulate.HandlerOf("openat") == nil {
		t.Error("no handler of openat")
	}
	defer func() {
		if v := recover(); v != "emulate: no call is named opennat" {
			t.Errorf("panic: %v", v)
		}
	}()
	emulate.HandlerOf("opennat")
}
