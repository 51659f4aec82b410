package filter

import (
	"golang.org/x/net/bpf"

	"oubliette/policy"
)

// CheckSome is Check with at most some argument lists for one call, which counts
// the calls it compares.
var CheckSome = check

// Verdicts of a program.
const (
	RetENOSYS = retENOSYS
	RetTrace  = retTrace
	RetAllow  = retAllow
)

// Edges are some argument lists that matter for what p says of call nr.
func Edges(p policy.Policy, nr, some int) func(yield func([6]uint64) bool) {
	var rules []policy.Rule
	if all := deciding(p); nr < len(all) {
		rules = all[nr]
	}
	return edges(rules, some)
}

// Machine gives the verdicts of program for x86-64.
func Machine(program []bpf.RawInstruction) (func(nr uint32, args [6]uint64) (uint32, error), error) {
	vm, err := machine(program)
	return func(nr uint32, args [6]uint64) (uint32, error) { return run(vm, archX86_64, nr, args) }, err
}
