//go:build linux

package loader_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/loader"
	"oubliette/internal/stub"
)

// words lays out 64-bit words in memory.
func words(w ...uint64) []byte {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func TestPatchStack(t *testing.T) {
	const sp = 0x7ffe0000
	head := words(2, 0x111, 0x222, 0, 0x333, 0)
	stack := append(head, words(33, 0xdd, 51, 9, 16, 0xfeed, 6, 4096, 3, 1, 4, 1, 5, 1, 7, 1, 8, 0, 9, 1,
		11, 0, 12, 0, 13, 0, 14, 0, 23, 1, 25, 0x7fff1000, 31, 0x7fff2000, 15, 0x99, 0, 0, 0xbad, 0xbad)...)
	p := loader.Patch{Phdr: 0x40, Phnum: 7, Base: 0x7f00, Entry: 0x1234, UID: 1, EUID: 2, GID: 3, EGID: 4,
		ExecFn: "/bin/x", Room: 6, Random: bytes.Repeat([]byte{5}, 16), HideVDSO: true}
	got, err := loader.PatchStack(sp, stack, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []stub.Write{
		{Addr: sp + uint64(len(head)), Data: words(1, 0, 51, 9, 16, 0xfeed, 6, 4096, 3, 0x40, 4, 56, 5, 7, 7, 0x7f00, 8, 0, 9, 0x1234,
			11, 1, 12, 2, 13, 3, 14, 4, 23, 0, 25, 0x7fff1000, 31, 0x7fff2000, 15, 0x99)},
		{Addr: 0x7fff1000, Data: p.Random},
		{Addr: 0x7fff2000, Data: []byte("/bin/x\x00")},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	for n := range len(stack) - 32 {
		if _, err := loader.PatchStack(sp, stack[:n], p); err != unix.EFAULT {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := loader.PatchStack(sp, words(1<<63), p); err != unix.EFAULT {
		t.Error("argc of 2^63:", err)
	}
	p.Room = 5
	if _, err := loader.PatchStack(sp, stack, p); err != unix.ENAMETOOLONG {
		t.Error("no room:", err)
	}
	p.Room, p.Random = 6, []byte{1}
	if _, err := loader.PatchStack(sp, stack, p); err != unix.EINVAL {
		t.Error("short random:", err)
	}
}
