package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"golang.org/x/net/bpf"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

const (
	checkNumbers = 1024 // call numbers checked, past every table
	checkArgs    = 2048 // argument lists checked for one call with conditions
)

// Check runs program in x/net's BPF machine against p.Lookup, for all numbers,
// foreign architectures, and the argument values around those that the policy's
// conditions compare with. It fails on the first call that passes and may not,
// or that may pass, could be decided, and does not.
func Check(program []bpf.RawInstruction, p policy.Policy) error {
	_, err := check(program, p, checkArgs)
	return err
}

// check is Check with at most most argument lists for one call. It tells how many
// calls it compared.
func check(program []bpf.RawInstruction, p policy.Policy, most int) (calls int, err error) {
	vm, err := machine(program)
	if err != nil {
		return 0, err
	}
	expect := func(arch, nr uint32, args [6]uint64, want ...uint32) error {
		calls++
		got, err := run(vm, arch, nr, args)
		for _, w := range want {
			if got == w {
				return err
			}
		}
		return fmt.Errorf("filter: arch %#x, call %d (%s), arguments %#x: verdict %#x, want %#x (%w)",
			arch, nr, sysno.Name(int(nr)), args, got, want, err)
	}
	for _, arch := range []uint32{0, 0x40000003, 0xc00000b7, archX86_64 ^ 1<<31} { // i386, arm64
		for nr := range uint32(checkNumbers) {
			if err := expect(arch, nr, [6]uint64{}, retKill); err != nil {
				return calls, err
			}
		}
	}
	for _, nr := range []uint32{1 << 30, 1<<30 | 1, 1<<30 | 512, 1 << 31, 1<<31 - 1, 1<<32 - 2, 1<<32 - 1} {
		if err := expect(archX86_64, nr, [6]uint64{}, retENOSYS); err != nil {
			return calls, err
		}
	}
	rules := deciding(p)
	for nr := range uint32(checkNumbers) {
		var rs []policy.Rule
		if int(nr) < len(rules) {
			rs = rules[nr]
		}
		exact := exact(rs)
		for args := range edges(rs, most) {
			want := []uint32{retTrace}
			if d := p.Lookup(sysno.Name(int(nr)), args); d.Action == policy.Allow && !d.Audit {
				if want = append(want, retAllow); exact {
					want = want[1:]
				}
			}
			if err := expect(archX86_64, nr, args, want...); err != nil {
				return calls, err
			}
		}
	}
	return calls, nil
}

// machine is one that runs program.
func machine(program []bpf.RawInstruction) (*bpf.VM, error) {
	if len(program) > maxProgram {
		return nil, fmt.Errorf("filter: %d instructions, the kernel takes %d", len(program), maxProgram)
	}
	decoded, all := bpf.Disassemble(program)
	if !all {
		return nil, fmt.Errorf("filter: not all instructions are BPF")
	}
	vm, err := bpf.NewVM(decoded)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return vm, nil
}

// exact tells whether the program can tell all that rules say of one call.
func exact(rules []policy.Rule) bool {
	for _, r := range rules {
		for _, c := range r.When {
			if !decidable(c) {
				return false
			}
		}
	}
	return true
}

// run gives vm the call. The machine reads words as a network does.
func run(vm *bpf.VM, arch, nr uint32, args [6]uint64) (uint32, error) {
	var data [dataSize]byte
	binary.BigEndian.PutUint32(data[offsetNr:], nr)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offsetArgs+8*i:], uint32(a)) // the low word first, as x86 has it
		binary.BigEndian.PutUint32(data[offsetArgs+8*i+4:], uint32(a>>32))
	}
	verdict, err := vm.Run(data[:])
	return uint32(verdict), err
}

// edges are argument lists that take the rules' conditions to both sides: all
// combinations of each argument's values, or a repeatable choice of most of them.
func edges(rules []policy.Rule, most int) func(yield func([6]uint64) bool) {
	values := [6][]uint64{{0}, {0}, {0}, {0}, {0}, {0}}
	for _, r := range rules {
		for _, c := range r.When {
			if c.Arg < 0 || c.Arg > 5 {
				continue
			}
			v, m := c.Value, c.Mask
			values[c.Arg] = append(values[c.Arg], v, v-1, v+1, v|^m, v^1<<32, v^1<<63, v^m, v&^1|1<<32, v^(m&-m), 1<<64-1)
			for bit := v; bit != 0; bit &= bit - 1 {
				values[c.Arg] = append(values[c.Arg], v^(bit&-bit))
			}
		}
	}
	combinations := 1
	for _, v := range values {
		combinations = min(combinations*len(v), 2*most)
	}
	return func(yield func([6]uint64) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		for n := range min(combinations, most) {
			var args [6]uint64
			for i, v := range values {
				if args[i] = v[n%len(v)]; combinations > most {
					args[i] = v[random.IntN(len(v))]
				}
				n /= len(v)
			}
			if !yield(args) {
				return
			}
		}
	}
}
