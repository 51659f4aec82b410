package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

// What each preset exposes. All let the same calls through: the presets differ in
// what handlers answer, and above all in what there is to see.
func ExamplePolicy_Surface() {
	for _, name := range []string{"strict", "prison", "tool", "server", "overlay"} {
		s := presets()[name].Surface()
		fmt.Printf("%s: %d native calls, some %d handlers\n", name, len(s.NativeCalls()), (len(s.Handlers)+25)/50*50)
	}
	s := policy.Strict().Surface()
	fmt.Println(s.NativeCalls())
	fmt.Println(s.Handlers, s.Kernel)
	fmt.Println(s.Native[2])
	// Output:
	// strict: 12 native calls, some 0 handlers
	// prison: 19 native calls, some 300 handlers
	// tool: 19 native calls, some 300 handlers
	// server: 19 native calls, some 300 handlers
	// overlay: 19 native calls, some 300 handlers
	// [arch_prctl brk exit exit_group futex madvise mmap mprotect munmap rseq rt_sigprocmask set_robust_list]
	// [read readv write writev] []
	// allow madvise if arg2&0xffffffff < 0x64 # @memory: advice about the guest's own pages
}

// presets are all there are.
func presets() map[string]policy.Policy {
	return map[string]policy.Policy{"strict": policy.Strict(), "prison": policy.Prison(), "tool": policy.Tool(),
		"server": policy.Server(), "overlay": policy.Overlay()}
}

// TestSurfaceIsExact: the native rules of a Surface allow what the policy allows.
func TestSurfaceIsExact(t *testing.T) {
	for name, p := range presets() {
		t.Log(name, p.Surface())
		exact(t, p, rand.New(rand.NewPCG(1, 2)))
	}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := policy.Policy{Default: []policy.Action{policy.Kill, policy.Deny, policy.Emulate}[r.IntN(3)]}
		names := []string{"read", "write", "getpid", "mmap", "kcmp", policy.Stdio, policy.Memory, "nonsense"}
		for range r.IntN(8) {
			rule := policy.Rule{Calls: []string{names[r.IntN(len(names))], names[r.IntN(len(names))]}, Audit: r.IntN(4) == 0,
				Action: []policy.Action{policy.Kill, policy.Deny, policy.Emulate, policy.Allow}[r.IntN(4)]}
			if r.IntN(2) == 0 {
				rule.When = append(rule.When, policy.Condition{Arg: r.IntN(2), Op: []string{"==", "<"}[r.IntN(2)], Value: r.Uint64N(3)})
			}
			p.Calls = append(p.Calls, rule)
		}
		exact(t, p, r)
	}
}

func exact(t *testing.T, p policy.Policy, r *rand.Rand) {
	t.Helper()
	s := p.Surface()
	native, names := policy.Policy{Calls: s.Native, Default: policy.Deny}, s.NativeCalls()
	for nr := range sysno.Max + 1 {
		name := sysno.Name(nr)
		for range 5 {
			args := [6]uint64{r.Uint64N(4), r.Uint64N(4), r.Uint64N(200), r.Uint64N(64)}
			want := p.Lookup(name, args)
			if got := native.Lookup(name, args); (got.Action == policy.Allow) != (want.Action == policy.Allow) {
				t.Errorf("%s%v: the policy says %v, its surface %v\n%s\n%s", name, args, want, got, p, s)
			}
			if want.Action == policy.Emulate && p.Explain(name, args).Cost.Handler != "" && !slices.Contains(s.Handlers, name) {
				t.Errorf("%s is emulated and not in the surface\n%s", name, p)
			}
			if want.Action == policy.Allow && !slices.Contains(names, name) {
				t.Errorf("%s is allowed and not in the surface\n%s", name, p)
			}
		}
	}
}
