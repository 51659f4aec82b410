package filter_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/bpf"

	"oubliette/internal/filter"
	"oubliette/internal/sysno"
	"oubliette/policy"
)

// compile compiles and checks p.
func compile(t testing.TB, p policy.Policy) []bpf.RawInstruction {
	t.Helper()
	program, err := filter.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := filter.Check(program, p); err != nil {
		t.Fatalf("%v\n%s", err, p)
	}
	return program
}

func rules(rs ...policy.Rule) policy.Policy { return policy.Policy{Calls: rs} }

func TestCompile(t *testing.T) {
	every := policy.Rule{Action: policy.Allow}
	for nr := 0; nr <= sysno.Max; nr += 2 {
		if r := (policy.Policy{Calls: []policy.Rule{{Calls: []string{sysno.Name(nr)}, Action: policy.Allow}}}); r.Validate() == nil {
			every.Calls = append(every.Calls, sysno.Name(nr))
		}
	}
	deep := policy.Rule{Calls: []string{"read"}, Action: policy.Allow}
	for i := range 400 { // longer than a jump reaches
		deep.When = append(deep.When, policy.Condition{Arg: i % 6, Op: "!=", Value: uint64(i)})
	}
	for name, p := range map[string]policy.Policy{
		"zero": {}, "strict": policy.Strict(), "server": policy.Server(), "prison": policy.Prison(), "tool": policy.Tool(), "overlay": policy.Overlay(), "every other": rules(every),
		"deep": rules(deep),
		"a condition's argument is no call number": rules(
			policy.Rule{Calls: []string{"write"}, When: []policy.Condition{{Arg: 0, Op: "==", Value: 1}}, Action: policy.Allow},
			policy.Rule{Calls: []string{"getpid"}, Action: policy.Allow}),
		"deny first": rules(
			policy.Rule{Calls: []string{"read"}, When: []policy.Condition{{Arg: 0, Op: ">", Value: 1 << 33}}, Action: policy.Deny},
			policy.Rule{Calls: []string{"read"}, Action: policy.Allow},
			policy.Rule{Calls: []string{"read"}, Action: policy.Kill}),
		"undecidable": rules(
			policy.Rule{Calls: []string{"read"}, When: []policy.Condition{{Arg: 0, Op: "<", Mask: 0x7f, Value: 6}}, Action: policy.Kill},
			policy.Rule{Calls: []string{"read"}, Action: policy.Allow}),
	} {
		t.Run(name, func(t *testing.T) {
			program := compile(t, p)
			t.Log(len(program), "instructions")
			if code := filter.Encode(program); len(code) != 8*len(program) || binary.LittleEndian.Uint32(code[4:]) != 4 {
				t.Errorf("encoded as % x", code)
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	var p policy.Policy
	for nr := range 100 {
		r := policy.Rule{Calls: []string{sysno.Name(nr)}, Action: policy.Allow}
		for i := range 60 {
			r.When = append(r.When, policy.Condition{Op: "!=", Value: uint64(i)})
		}
		if p.Calls = append(p.Calls, r); p.Validate() != nil {
			p.Calls = p.Calls[:len(p.Calls)-1]
		}
	}
	if _, err := filter.Compile(p); err == nil {
		t.Error("a program that is too long compiled")
	}
}

// TestCheck shows that Check finds what it is there for.
func TestCheck(t *testing.T) {
	when := func(arg int, mask uint64, op string, value uint64) []policy.Condition {
		return []policy.Condition{{Arg: arg, Mask: mask, Op: op, Value: value}}
	}
	p := rules(
		policy.Rule{Calls: []string{"mmap"}, When: when(3, 0x20, "==", 0x20), Action: policy.Allow},
		policy.Rule{Calls: []string{"write"}, When: when(0, 1<<32-1, "!=", 17), Action: policy.Allow},
		policy.Rule{Calls: []string{"futex"}, When: when(1, 0xfffffe7f, "==", 5), Action: policy.Allow},
		policy.Rule{Calls: []string{"read"}, When: when(2, 0, "<", 1<<33+5), Action: policy.Allow},
		policy.Rule{Calls: []string{"readv"}, When: when(2, 0, ">", 1<<33+5), Action: policy.Allow},
		policy.Rule{Calls: []string{"brk", "munmap", "mprotect", "exit"}, Action: policy.Allow})
	program := compile(t, p)
	caught := 0
	for i := range program {
		broken := append([]bpf.RawInstruction(nil), program...)
		switch inst := broken[i].Disassemble().(type) {
		case bpf.RetConstant:
			if broken[i].K = 0x7fff0000; inst.Val == broken[i].K {
				broken[i].K = 0x7ff00000
			}
		case bpf.JumpIf:
			broken[i].Jt, broken[i].Jf = broken[i].Jf, broken[i].Jt
		case bpf.LoadAbsolute:
			broken[i].K ^= 4
		}
		if filter.Check(broken, p) != nil {
			caught++
		} else {
			t.Logf("instruction %d (%v) changed to %v unnoticed", i, program[i].Disassemble(), broken[i].Disassemble())
		}
	}
	if caught < len(program) {
		t.Errorf("%d of %d changes caught", caught, len(program))
	}
}

// randomPolicy is full of rules about few calls, so that they meet.
func randomPolicy(r *rand.Rand) policy.Policy {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	number := func() uint64 {
		n := r.Uint64() >> r.IntN(64)
		return []uint64{n, n, 1 << r.IntN(64), 1<<r.IntN(64) - 1, uint64(r.IntN(400))}[r.IntN(5)]
	}
	p := policy.Policy{Default: policy.Action(pick("kill", "emulate", "deny"))}
	for range r.IntN(12) {
		rule := policy.Rule{Action: policy.Action(pick("allow", "allow", "allow", "emulate", "deny", "kill")), Audit: r.IntN(9) == 0}
		for range 1 + r.IntN(4) {
			rule.Calls = append(rule.Calls, pick("read", "write", "raed", "open", "close", "getpid", "mmap", "futex", "rseq_slice_yield", "@stdio", "@ids", "@none",
				sysno.Name(r.IntN(330)), pick(policy.PartNames()...)))
		}
		for range r.IntN(4) {
			c := policy.Condition{Arg: r.IntN(6), Op: pick("==", "==", "!=", "<", "<=", ">", ">="), Value: number()}
			if r.IntN(50) == 0 {
				c.Arg, c.Op = r.IntN(9)-2, pick(c.Op, "=") // does not validate, and must not pass either
			}
			if r.IntN(2) == 0 {
				c.Mask = []uint64{number(), 1<<32 - 1, 1<<64 - 1<<32}[r.IntN(3)]
			}
			if c.Mask != 0 && r.IntN(50) > 0 {
				c.Value &= c.Mask
			}
			rule.When = append(rule.When, c)
		}
		p.Calls = append(p.Calls, rule)
	}
	return p
}

// TestRandomPolicies holds the programs of many policies, always the same, against
// Lookup.
func TestRandomPolicies(t *testing.T) {
	policies, calls := uint64(10_000), new(atomic.Int64)
	if testing.Short() {
		policies = 300
	}
	var all sync.WaitGroup
	workers := uint64(runtime.GOMAXPROCS(0))
	for first := range workers {
		all.Go(func() {
			for seed := first; seed < policies && !t.Failed(); seed += workers {
				p := randomPolicy(rand.New(rand.NewPCG(seed, 2)))
				program, err := filter.Compile(p)
				n := 0
				if err == nil {
					n, err = filter.CheckSome(program, p, 64)
				}
				if calls.Add(int64(n)); err != nil {
					t.Errorf("policy %d: %v\n%s", seed, err, p)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d policies, %d calls", policies, calls.Load())
}

func FuzzFilter(f *testing.F) {
	for seed := range uint64(30) { // TestRandomPolicies has more
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		p := randomPolicy(rand.New(rand.NewPCG(seed, 0)))
		compile(t, p)
		table := p.Table()
		r := rand.New(rand.NewPCG(seed, 1))
		for range 100 {
			nr := []int{0, 1, 2, 3, 9, 39, 202, 471}[r.IntN(8)]
			var args [6]uint64
			for i := range args {
				args[i] = r.Uint64() >> r.IntN(64)
			}
			if got, want := table.Lookup(nr, args), p.Lookup(sysno.Name(nr), args); got != want {
				t.Fatalf("call %d, %#x: the table says %+v, Lookup %+v\n%s", nr, args, got, want, p)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	p := policy.Prison()
	for b.Loop() {
		if _, err := filter.Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
