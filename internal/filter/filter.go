// Package filter compiles a policy's calls to a seccomp program. The program is
// a shortcut of [policy.Policy.Lookup]: it lets pass what Lookup allows without
// an audit, as far as BPF can tell, and stops everything else at the warden, where Lookup decides.
// It never lets pass what Lookup does not. [Check] holds a program to that.
package filter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/net/bpf"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

// What the kernel shows a filter, struct seccomp_data of <linux/seccomp.h>:
// nr, arch (32 bits each), instruction_pointer, args[6] (64 bits each).
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
	dataSize   = offsetArgs + 6*8

	archX86_64 = 0xc000003e // AUDIT_ARCH_X86_64
	// Numbers from here are x32's, or negative: programs that try them expect
	// ENOSYS, and no table of ours reaches so far.
	firstForeign = 1 << 30

	enosys = 38
)

// Verdicts of a program.
const (
	retKill   = uint32(seccomp.ActionKillProcess)
	retENOSYS = uint32(seccomp.ActionErrno) | enosys
	retTrace  = uint32(seccomp.ActionTrace)
	retAllow  = uint32(seccomp.ActionAllow)
)

const (
	maxProgram = 4096 // BPF_MAXINSNS: the kernel takes no longer program
	maxJump    = 255  // a conditional jump reaches no further
)

// Compile is the program for p's calls. It fails if the conditions on allowed
// calls make too long a program. Of a policy that does not validate nothing
// passes that Lookup would not let pass.
//
// The number is found by halving. What counts is not a call's way through the
// program, for the kernel remembers which numbers pass whatever their arguments
// (since 5.11): to know them it runs the program for every number when a process
// installs it (kernel/seccomp.c:seccomp_cache_prepare), which was most of the
// cost of a start when the numbers were tried one after the other.
func Compile(p policy.Policy) ([]bpf.RawInstruction, error) {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: archX86_64, SkipTrue: 1},
		bpf.RetConstant{Val: retKill},
		bpf.LoadAbsolute{Off: offsetNr, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: firstForeign, SkipFalse: 1},
		bpf.RetConstant{Val: retENOSYS},
	}
	allow, trace := ret(retAllow), ret(retTrace)
	var spans []span
	add := func(nr int, do []bpf.Instruction) {
		if n := len(spans); n == 0 || len(do) > 1 || len(spans[n-1].do) > 1 || do[0] != spans[n-1].do[0] {
			spans = append(spans, span{uint32(nr), do})
		}
	}
	for nr, rs := range deciding(p) {
		body, err := call(rs)
		switch {
		case err != nil:
			return nil, fmt.Errorf("filter for %s: %w", sysno.Name(nr), err)
		case len(rs) == 1 && len(rs[0].When) == 0 && passes(rs[0]):
			add(nr, allow)
		case len(body) == 0:
			add(nr, trace)
		default:
			add(nr, body)
		}
	}
	add(sysno.Max+1, trace)
	program = append(program, halves(spans)...)
	if len(program) > maxProgram {
		return nil, fmt.Errorf("filter: %d instructions, the kernel takes %d: allow fewer calls with conditions", len(program), maxProgram)
	}
	return bpf.Assemble(program)
}

// span is what happens to the numbers from first up to the next span's. Each way
// through do ends in a verdict, so the number in the accumulator may get lost.
type span struct {
	first uint32
	do    []bpf.Instruction
}

func ret(verdict uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.RetConstant{Val: verdict}}
}

// halves finds the number's span.
func halves(spans []span) []bpf.Instruction {
	if len(spans) == 1 {
		return spans[0].do
	}
	m := len(spans) / 2
	low, high := halves(spans[:m]), halves(spans[m:])
	jump := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: spans[m].first, SkipTrue: uint8(len(low))}}
	if len(low) > maxJump {
		jump = []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: spans[m].first, SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))}}
	}
	return slices.Concat(jump, low, high)
}

// Encode is the program as the kernel reads it, an array of struct sock_filter.
func Encode(program []bpf.RawInstruction) []byte {
	b := make([]byte, 0, 8*len(program))
	for _, i := range program {
		b = binary.LittleEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}

// deciding are, by call number, the rules that can decide a call: in order, none
// after the first without conditions.
func deciding(p policy.Policy) (rules [sysno.Max + 1][]policy.Rule) {
	for _, r := range p.Calls {
		for _, name := range r.Names() {
			nr, ok := sysno.Number(name)
			if n := len(rules[nr]); ok && (n == 0 || len(rules[nr][n-1].When) > 0) {
				rules[nr] = append(rules[nr], r)
			}
		}
	}
	return rules
}

// passes tells whether what r decides need not stop: a call to record must.
func passes(r policy.Rule) bool { return r.Action == policy.Allow && !r.Audit }

// call is the part for one call, nil if nothing of it can pass.
func call(rules []policy.Rule) ([]bpf.Instruction, error) {
	if !slices.ContainsFunc(rules, passes) {
		return nil, nil
	}
	p := seccomp.NewProgram()
	some, ended := false, false
	for _, r := range rules {
		verdict := seccomp.ActionTrace
		if passes(r) {
			verdict = seccomp.ActionAllow
		}
		tested, next := false, p.NewLabel()
		for _, c := range r.When {
			if !decidable(c) {
				verdict = seccomp.ActionTrace // the rule may hold or not: ask Lookup
				continue
			}
			tested = true
			holds := p.NewLabel()
			test(&p, c, holds, next)
			p.SetLabel(holds)
		}
		p.Ret(verdict)
		p.SetLabel(next)
		some = some || verdict == seccomp.ActionAllow
		if ended = !tested; ended {
			break
		}
	}
	if !some {
		return nil, nil
	}
	if !ended {
		p.Ret(seccomp.ActionTrace)
	}
	return p.Assemble()
}

// decidable tells whether the program can compute c. The assembler has no AND,
// so an order under a mask can be computed only where the mask takes whole words.
func decidable(c policy.Condition) bool {
	if c.Arg < 0 || c.Arg > 5 {
		return false
	}
	switch c.Op {
	case "==", "!=":
		return c.Mask == 0 || c.Value&^c.Mask == 0
	case "<", "<=", ">", ">=":
		return c.Mask == 0 || c.Mask == 1<<64-1 || c.Mask == 1<<32-1 && c.Value <= c.Mask
	}
	return false
}

// test jumps to yes if c holds and to no if not. One of them must come next.
func test(p *seccomp.Program, c policy.Condition, yes, no seccomp.Label) {
	switch c.Op {
	case "==":
		equal(p, c, yes, no)
	case "!=":
		equal(p, c, no, yes)
	case "<":
		less(p, c, bpf.JumpLessThan, yes, no)
	case ">=":
		less(p, c, bpf.JumpLessThan, no, yes)
	case "<=":
		less(p, c, bpf.JumpLessOrEqual, yes, no)
	case ">":
		less(p, c, bpf.JumpLessOrEqual, no, yes)
	}
}

// equal tests arg & Mask == Value one word after the other: a whole word by
// comparing; part of one by what must be clear in it at once, and what must be
// set bit by bit.
func equal(p *seccomp.Program, c policy.Condition, yes, no seccomp.Label) {
	mask := c.Mask
	if mask == 0 {
		mask = 1<<64 - 1
	}
	type check struct {
		load func(uint32) // before it, if not nil
		cond bpf.JumpTest
		val  uint32
	}
	var checks []check
	word := func(load func(uint32), mask, value uint32) {
		first := len(checks)
		switch {
		case mask == 1<<32-1:
			checks = append(checks, check{nil, bpf.JumpEqual, value})
		case mask != 0:
			if clear := mask &^ value; clear != 0 {
				checks = append(checks, check{nil, bpf.JumpBitsNotSet, clear})
			}
			for set := value; set != 0; set &= set - 1 {
				checks = append(checks, check{nil, bpf.JumpBitsSet, 1 << bits.TrailingZeros32(set)})
			}
		}
		if len(checks) > first {
			checks[first].load = load
		}
	}
	word(p.LdLo, uint32(mask), uint32(c.Value)) // first, as it differs more often
	word(p.LdHi, uint32(mask>>32), uint32(c.Value>>32))
	for i, k := range checks {
		if k.load != nil {
			k.load(uint32(c.Arg))
		}
		if i == len(checks)-1 {
			p.JmpIf(k.cond, k.val, yes, no)
			break
		}
		next := p.NewLabel()
		p.JmpIf(k.cond, k.val, next, no)
		p.SetLabel(next)
	}
}

// less tests arg < Value or arg <= Value, unsigned; cond compares the low words.
func less(p *seccomp.Program, c policy.Condition, cond bpf.JumpTest, yes, no seccomp.Label) {
	if c.Mask != 1<<32-1 {
		high, same, low := uint32(c.Value>>32), p.NewLabel(), p.NewLabel()
		p.LdHi(uint32(c.Arg))
		p.JmpIf(bpf.JumpLessThan, high, yes, same)
		p.SetLabel(same)
		p.JmpIf(bpf.JumpGreaterThan, high, no, low)
		p.SetLabel(low)
	}
	p.LdLo(uint32(c.Arg))
	p.JmpIf(cond, uint32(c.Value), yes, no)
}
