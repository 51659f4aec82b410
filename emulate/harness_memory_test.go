//go:build linux

package emulate_test

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	page     = 4096
	firstMap = 0x10_0000
	// pool is how much is mapped at a time for buffers.
	pool = 256 << 10
	// guard is how many '?' bytes lie on either side of a buffer.
	guard = 32
)

// region is mapped memory.
type region struct {
	addr uint64
	data []byte
	prot int
}

// Memory is a guest's address space: regions of whole pages, nothing between.
type Memory struct {
	regions  []*region // ascending
	next     uint64    // where Map goes when asked to choose
	free     uint64    // rest of the pool
	freeEnd  uint64
	buffers  []buffer
	overruns int
}

type buffer struct{ addr, n uint64 }

func newMemory() *Memory { return &Memory{next: firstMap} }

// Map makes n bytes of zeros (rounded up to pages) appear at addr, or at a free
// place if addr is 0, with an unmapped page behind. prot is PROT_READ|PROT_WRITE
// or less.
func (m *Memory) Map(addr, n uint64, prot int) uint64 {
	n = (n + page - 1) &^ (page - 1)
	if addr == 0 {
		addr = m.next
	}
	m.next = max(m.next, addr+n+page)
	m.regions = append(m.regions, &region{addr, make([]byte, n), prot})
	slices.SortFunc(m.regions, func(a, b *region) int {
		if a.addr < b.addr {
			return -1
		}
		return 1
	})
	return addr
}

// Alloc makes a buffer of n '?' bytes between guards.
func (m *Memory) Alloc(n uint64) uint64 {
	need := (n + 2*guard + 15) &^ 15
	if m.freeEnd-m.free < need {
		size := max(need, pool)
		m.free = m.Map(0, size, unix.PROT_READ|unix.PROT_WRITE)
		m.freeEnd = m.free + size
		m.poke(m.free, bytes.Repeat([]byte{'?'}, int(size)))
	}
	addr := m.free + guard
	m.free += need
	m.buffers = append(m.buffers, buffer{addr, n})
	return addr
}

// AllocEdge makes a buffer whose end is the end of mapped memory.
func (m *Memory) AllocEdge(n uint64) uint64 {
	size := (n + guard + page - 1) &^ (page - 1)
	base := m.Map(0, size, unix.PROT_READ|unix.PROT_WRITE)
	m.poke(base, bytes.Repeat([]byte{'?'}, int(size)))
	return base + size - n
}

// Bytes is a copy of n mapped bytes at addr, whatever their protection.
func (m *Memory) Bytes(addr, n uint64) []byte {
	p := make([]byte, n)
	return p[:m.copy(p, addr, 0, false)]
}

func (m *Memory) poke(addr uint64, p []byte) { m.copy(p, addr, 0, true) }

// copy moves bytes until the first page that is not mapped with prot.
func (m *Memory) copy(p []byte, addr uint64, prot int, in bool) int {
	n := 0
	for n < len(p) {
		r := m.find(addr + uint64(n))
		if r == nil || r.prot&prot != prot {
			break
		}
		at := r.data[addr+uint64(n)-r.addr:]
		if in {
			n += copy(at, p[n:])
		} else {
			n += copy(p[n:], at)
		}
	}
	return n
}

func (m *Memory) find(addr uint64) *region {
	for _, r := range m.regions {
		if addr >= r.addr && addr-r.addr < uint64(len(r.data)) {
			return r
		}
	}
	return nil
}

// check fails the test if a guard byte was overwritten.
func (m *Memory) check(t testing.TB, call string) {
	t.Helper()
	for _, b := range m.buffers {
		for _, at := range []uint64{b.addr - guard, b.addr + b.n} {
			g := m.Bytes(at, guard)
			if i := bytes.IndexFunc(g, func(r rune) bool { return r != '?' }); i >= 0 && m.overruns == 0 {
				m.overruns++
				t.Errorf("%s: wrote beside a buffer of %d bytes: guard byte at offset %d is %#x",
					call, b.n, int64(at-b.addr)+int64(i), g[i])
			}
		}
	}
}

// fork is a copy for a child process.
func (m *Memory) fork() *Memory {
	c := *m
	c.regions = nil
	for _, r := range m.regions {
		c.regions = append(c.regions, &region{r.addr, bytes.Clone(r.data), r.prot})
	}
	c.buffers = slices.Clone(m.buffers)
	return &c
}
