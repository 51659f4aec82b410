//go:build linux

package vfs

import (
	"io"
	"math/bits"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"oubliette/internal/arena"
)

// survey takes note of the pages that guests have touched through mappings, and
// tells whether those are all.
func (c *content) survey() bool {
	if !c.mapped || !c.slot.Valid() {
		return true
	}
	n := 0
	for at := int64(0); at < c.size && n < maxExtents; n++ {
		from, err := c.slot.SeekData(at, c.size)
		if err != nil || from >= c.size {
			return err == nil
		}
		to, err := c.slot.SeekHole(from, c.size)
		if err != nil || to <= from {
			return false
		}
		c.mark(from, to-from, true)
		at = to
	}
	return n < maxExtents
}

// Admit is [fdtable.Owner], for a guest that has met a page it may not touch. Each
// time is worth another page, lest the guest's mappings get too many
// (vm.max_map_count) and its faults too slow.
func (c *content) Admit(off, n int64) (int64, error) {
	c.faults++
	pages := c.faults
	if off == c.next {
		pages = max(pages, 2*c.ahead)
	}
	return c.admit(off, n, min(pages, maxAhead), 1)
}

// admit lets guests touch [off, off+n), up to the file's end and as many as ahead
// pages that are not there yet; at least so many, if the first is none. Those count
// as used until no guest maps the file.
func (c *content) admit(off, n, ahead, least int64) (fit int64, err error) {
	end := (c.size + blockSize - 1) / blockSize * blockSize
	if n = min(n, end-off); n <= 0 {
		return 0, nil
	}
	pages, fit := c.missing(off, n, 0)
	if fit < n && (fit == 0 || least == 0) {
		pages, fit = c.missing(off, n, c.affordable(ahead, least))
	}
	if fit == 0 {
		return 0, unix.ENOSPC
	}
	c.fill(off, fit)
	for p := range parts(off, fit) {
		k := c.need(p.index)
		m := span(p.from, p.to)
		c.taken += int64(bits.OnesCount16(m &^ (k.alloc | k.open)))
		k.open |= m
	}
	c.next, c.ahead = off+fit, pages
	c.account()
	c.slot.OnIdle(c.idle)
	return fit, nil
}

// affordable is how many of so many pages guests may be let touch, least if there is
// room at all.
func (c *content) affordable(pages, least int64) int64 {
	room := c.quota.room() / blockSize
	if a := c.slot.Arena(); room < pages && a.Reclaim() > 0 {
		room = c.quota.room() / blockSize
	}
	ahead, err := c.slot.Arena().Ahead()
	if err != nil {
		return 0
	}
	return min(pages, room, max((c.quota.bound()/maxAheadPart-ahead)/blockSize, least))
}

// idle ends what guests may touch: none maps the file.
func (c *content) idle() {
	if !c.survey() || c.slot.Truncate((c.size+blockSize-1)/blockSize*blockSize) != nil {
		c.slot.OnIdle(c.idle)
		return
	}
	c.close()
	c.account()
}

// close makes no page open.
func (c *content) close() {
	c.chunks = slices.DeleteFunc(c.chunks, func(k chunk) bool { return k.alloc == 0 })
	for i := range c.chunks {
		c.chunks[i].open = 0
	}
	c.taken = c.pages
}

// account charges what the content has come to use.
func (c *content) account() { c.charge(c.taken) }

func (c *content) charge(pages int64) {
	more := (pages - c.charged) * blockSize
	c.quota.add(more, 0)
	if c.slot.Valid() {
		c.slot.Hold(more)
	}
	c.charged = pages
}

// Load is [fdtable.Owner].
func (c *content) Load(p []byte, off int64) (int, error) {
	p, end := mappable(p, off, c.size)
	if err := c.read(p, off); err != nil {
		return 0, err
	}
	return len(p), end
}

// mappable is what of p, at off, lies in the pages of a file of a size; io.EOF if that
// is not all.
func mappable(p []byte, off, size int64) ([]byte, error) {
	if left := max(blocksOf(size)*blockSize-off, 0); left < int64(len(p)) {
		return p[:left], io.EOF
	}
	return p, nil
}

// Store is [fdtable.Owner].
func (c *content) Store(p []byte, off int64) (int, error) {
	page := off % blockSize
	fit, err := c.Admit(off-page, page+int64(len(p)))
	if err != nil || fit <= page {
		return 0, unix.ENOSPC
	}
	p = p[:min(int64(len(p)), fit-page)]
	if err := c.write(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// settle moves the bytes from Go memory into a slot of a.
func (c *content) settle(a *arena.Arena) error {
	slot, err := a.Alloc()
	if err != nil {
		return err
	}
	for i := range c.chunks {
		k := &c.chunks[i]
		for b := range int64(chunkPages) {
			if k.data&k.held>>b&1 == 0 {
				continue
			}
			if _, err := slot.WriteAt(k.page(b), k.index*chunkSize+b*blockSize); err != nil {
				_ = slot.Free()
				return err
			}
		}
	}
	for i := range c.chunks {
		c.chunks[i].free(^uint16(0))
	}
	runtime.KeepAlive(c.image)
	c.slot, c.image = slot, nil
	slot.Hold(c.charged * blockSize)
	return nil
}

// detach turns the slot into a mapping of this process, so that the arena can
// be closed, or into Go memory if it cannot be mapped.
func (c *content) detach() error {
	if !c.slot.Valid() {
		return nil
	}
	if c.survey() {
		c.close()
	}
	for i := range c.chunks { // what was not found may be there
		k := &c.chunks[i]
		c.take(k, k.open, true)
	}
	if len(c.chunks) > 0 {
		last := &c.chunks[len(c.chunks)-1]
		if p, err := c.slot.Map((last.index + 1) * chunkSize); err == nil {
			c.image = &image{p}
			runtime.AddCleanup(c.image, func(p []byte) { _ = unix.Munmap(p) }, p)
		}
	}
	for i := range c.chunks {
		k := &c.chunks[i]
		for b := range int64(chunkPages) {
			at := k.index*chunkSize + b*blockSize
			switch {
			case k.alloc>>b&1 == 0: // a hole, which to read would take a page
			case c.image != nil:
				k.pages = append(k.pages, c.image.bytes[at:at+blockSize:at+blockSize])
				k.held, k.image = k.held|1<<b, k.image|1<<b
			default:
				if _, err := c.slot.ReadAt(k.own(b, blockSize), at); err != nil {
					return err
				}
			}
		}
	}
	c.close()
	c.account()
	c.slot, c.shared, c.mapped = arena.Slot{}, false, false
	return nil
}
