//go:build linux && amd64

package loader_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"oubliette/internal/stub"
)

// FuzzLoad: whatever the two files hold, Load agrees with execve about the
// error, and otherwise about every page, and it never panics. The fuzzer makes
// the first page of each file, so that it does not waste its time on the rest.
func FuzzLoad(f *testing.F) {
	first := func(e []byte) []byte { return bytes.TrimRight(e[:min(len(e), 4096)], "\x00") }
	whole := func(head []byte) []byte {
		if len(head) < 64 || len(head) > 4096 {
			return head
		}
		return append(append(head[:len(head):len(head)], make([]byte, 4096-len(head))...), body()...)
	}
	all := elfs()
	for _, e := range all {
		f.Add(first(e), first(all["dyn"]))
		f.Add(first(all["interp"]), first(e))
	}
	if data, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(data, first(all["dyn"]))
	}
	f.Add([]byte("#!"+interpPath+" x\n"), first(all["exec"]))
	f.Fuzz(func(t *testing.T, prog, interp []byte) {
		fixed(t)
		compare(t, whole(prog), whole(interp))
	})
}

// mutations is how many are tried: about one in a thousand finds something in a
// loader that is nearly right.
const mutations = 300

// TestMutations does what the fuzzer rarely does: it puts likely numbers into
// the fields of the headers.
func TestMutations(t *testing.T) {
	all := elfs()
	names := slices.Sorted(maps.Keys(all))
	numbers := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 56, 64, 100, 4095, 4096, 4097, 8192, 12288, 12388, 1 << 16, 1 << 21, 0x400000,
		0x401010, 1 << 31, 1 << 32, 0x4fffffffe000, stub.Base, stub.DataAddr, stub.Base + stub.Size - 1, 1<<47 - 8192, 1<<47 - 4096, 1 << 47,
		1<<63 - 1, 1 << 63, 1<<64 - 4096, 1<<64 - 1}
	for seed := range uint64(mutations) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, seed))
			prog := slices.Clone(all[names[r.IntN(len(names))]])
			interp := slices.Clone(all["dyn"])
			if r.IntN(2) == 0 {
				prog, interp = slices.Clone(all["interp"]), slices.Clone(all[names[r.IntN(len(names))]])
			}
			for range 1 + r.IntN(4) {
				e := prog
				if r.IntN(2) == 0 {
					e = interp
				}
				if len(e) < 300 {
					continue
				}
				at := []int{24, 32, 56}[r.IntN(3)] // entry, table, number of headers
				size := 8
				if n := r.IntN(5); n > 0 {
					at = 64 + 56*r.IntN(3)
					field := r.IntN(8)
					at += []int{0, 4, 8, 16, 32, 40, 40, 48}[field]
					if field < 2 {
						size = 4
					}
				} else if at == 56 {
					size = 1
				}
				var b [8]byte
				v := numbers[r.IntN(len(numbers))]
				if r.IntN(3) == 0 {
					v += binary.LittleEndian.Uint64(e[at:]) // keeps the page offset
				}
				binary.LittleEndian.PutUint64(b[:], v)
				copy(e[at:], b[:size])
			}
			fixed(t)
			compare(t, prog, interp)
		})
	}
}
