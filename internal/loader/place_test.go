//go:build linux && amd64

package loader_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/loader"
	"oubliette/internal/stub"
)

// TestStack reads a placed stack as a program's first instructions do.
func TestStack(t *testing.T) {
	const end = 1<<47 - 4096
	kernel := words(1, 0x111, 0, 0, 33, 0xdd, 51, 9, 16, 0xfeed, 6, 4096, 17, 100, 25, 0x7fff1000, 27, 28, 0, 0)
	p := loader.Patch{Phdr: 0x40, Phnum: 7, Base: 0x7f00, Entry: 0x1234, UID: 1, EUID: 2, GID: 3, EGID: 4, Random: bytes.Repeat([]byte{5}, 16)}
	for _, args := range [][]string{{"x"}, {"sh", "-c", "echo"}, {"", strings.Repeat("y", 1<<17)}} {
		for _, env := range [][]string{nil, {"A=b"}, {"HOME=/", "E="}} {
			s := loader.NewStack(args, env, "/bin/x", 8<<20)
			b, err := s.Bytes(kernel, p)
			if err != nil || s.SP%16 != 0 || s.SP+uint64(len(b)) != end {
				t.Fatalf("%v; %d bytes at %#x", err, len(b), s.SP)
			}
			at := 0
			word := func() uint64 {
				at += 8
				return binary.LittleEndian.Uint64(b[at-8:])
			}
			text := func(addr uint64) string {
				v, _, _ := bytes.Cut(b[addr-s.SP:], []byte{0})
				return string(v)
			}
			list := func() (list []string) {
				for addr := word(); addr != 0; addr = word() {
					list = append(list, text(addr))
				}
				return list
			}
			if n := word(); n != uint64(len(args)) {
				t.Errorf("argc is %d", n)
			}
			if d := cmp.Diff(args, list()); d != "" {
				t.Errorf("argv:\n%s", d)
			}
			if d := cmp.Diff(env, list()); d != "" {
				t.Errorf("envp:\n%s", d)
			}
			aux := make(map[uint64]uint64)
			for typ := word(); typ != 0; typ = word() {
				aux[typ] = word()
			}
			random, platform, name := aux[25], text(aux[15]), text(aux[31])
			delete(aux, 25)
			delete(aux, 15)
			delete(aux, 31)
			want := map[uint64]uint64{3: 0x40, 4: 56, 5: 7, 7: 0x7f00, 9: 0x1234, 11: 1, 12: 2, 13: 3, 14: 4, 23: 0, 8: 0,
				6: 4096, 16: 0xfeed, 17: 100, 26: 0, 51: 9}
			if d := cmp.Diff(want, aux); d != "" || platform != "x86_64" || name != "/bin/x" || !bytes.Equal(b[random-s.SP:][:16], p.Random) {
				t.Errorf("auxv, platform %q, name %q:\n%s", platform, name, d)
			}
			other, err := s.Bytes(words(1, 0x222, 0, 0, 51, 9, 16, 0xfeed, 6, 4096, 17, 100, 0, 0), p)
			if err != nil || !bytes.Equal(other, b) {
				t.Error("another kernel's stack makes a difference")
			}
		}
	}
	s := loader.NewStack(nil, nil, "x", 1<<20)
	if _, err := s.Bytes(words(1), p); err != unix.EFAULT {
		t.Error("no stack:", err)
	}
	var b stub.Batch
	s.Batch(&b)
	for i := range b.Len() {
		e := b.Entry(i)
		if from, to := e.Args[0], e.Args[0]+e.Args[1]; e.Nr != unix.SYS_PRCTL && (from%4096 != 0 || to > end || from < stub.Base+stub.Size && to > stub.Base) {
			t.Errorf("call %d is of %#x to %#x", e.Nr, from, to)
		}
	}
}
