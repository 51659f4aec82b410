//go:build linux && amd64

package emulate_test

import (
	"testing"
)

func BenchmarkStat(b *testing.B) {
	g := NewGuest(b)
	g.Must("mkdir", "/usr", 0o755)
	g.Must("mkdir", "/usr/share", 0o755)
	g.Must("mknod", "/usr/share/file", 0o644, 0)
	fd := g.Must("openat", -100, "/usr/share/file", 0, 0)
	for _, call := range []struct {
		name string
		args []any
	}{
		{"stat", []any{"/usr/share/file", make([]byte, statSize)}},
		{"fstat", []any{fd, make([]byte, statSize)}},
		{"newfstatat", []any{fd, "", make([]byte, statSize), 0x1000}},
		{"access", []any{"/usr/share/file", 4}},
	} {
		b.Run(call.name, func(b *testing.B) {
			c, _ := g.NewCall(call.name, call.args...)
			h := g.Handler(call.name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Direct(c, h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
