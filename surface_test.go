//go:build linux && amd64

package oubliette_test

import (
	"slices"
	"strings"
	"testing"

	"oubliette/emulate"
	"oubliette/policy"
)

// TestSurface: few calls of a guest's reach the host's kernel as they are, and of
// those none names anything: neither by a descriptor, a path nor a process id.
func TestSurface(t *testing.T) {
	args := map[string][]string{}
	for _, row := range emulate.Calls() {
		args[row.Name] = strings.Fields(row.Args)
	}
	const mapAnonymous, mapHugeTLB = 0x20, 0x40000
	for _, c := range []struct {
		name string
		p    policy.Policy
		most int
	}{{"Strict", policy.Strict(), 12}, {"Prison", policy.Prison(), 25}, {"Tool", policy.Tool(), 25}, {"Server", policy.Server(), 25}, {"Overlay", policy.Overlay(), 25}} {
		s := c.p.Surface()
		native := s.NativeCalls()
		if len(native) > c.most || len(native) == 0 {
			t.Errorf("%s lets %d calls through, at most %d are promised: %v", c.name, len(native), c.most, native)
		}
		for _, call := range native {
			kinds, ok := args[call]
			if !ok {
				t.Errorf("%s: nothing is known of the arguments of %s", c.name, call)
			}
			for _, kind := range []string{"fd", "dirfd", "path", "pid", "sockaddr"} {
				if slices.Contains(kinds, kind) && call != "mmap" {
					t.Errorf("%s: %s has a %s", c.name, call, kind)
				}
			}
		}
		for bit := range 64 { // the descriptor of mmap is looked at without MAP_ANONYMOUS
			flags := uint64(1) << bit
			for _, flags := range []uint64{flags, ^flags} {
				for _, flags := range []uint64{flags, flags &^ mapHugeTLB} {
					d := c.p.Lookup("mmap", [6]uint64{0, 4096, 3, flags, 7, 0})
					if allowed := d.Action == policy.Allow; allowed != (flags&(mapAnonymous|mapHugeTLB) == mapAnonymous) {
						t.Errorf("%s: mmap with flags %#x is allowed: %v", c.name, flags, allowed)
					}
				}
			}
		}
	}
}
