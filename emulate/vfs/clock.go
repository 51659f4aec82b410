//go:build linux

package vfs

import "time"

// Clocked is a file system that stamps files with the clock of the jail it is
// mounted in: a [Mem] or an overlay whose MemOptions name no clock, and files of
// [NewText], [NewBytes] and [NewLink], which are as old as the mount. Other nodes
// know the time themselves.
type Clocked interface {
	UseClock(now func() time.Time)
}

// UseClock sets the clock, unless MemOptions.Now has.
func (m *Mem) UseClock(now func() time.Time) {
	if m.unclocked {
		m.opt.Now = now
	}
}

// UseClock is [Clocked].
func (n *memNode) UseClock(now func() time.Time) { n.fs.UseClock(now) }

// UseClock is [Clocked].
func (n *textNode) UseClock(now func() time.Time) { n.attr.stamp(now()) }

// UseClock is [Clocked].
func (n *linkNode) UseClock(now func() time.Time) { n.attr.stamp(now()) }

// UseClock is [Clocked].
func (n *ovNode) UseClock(now func() time.Time) { n.o.mem.UseClock(now) }
