//go:build linux

package vfs

import (
	"iter"
	"math/bits"
	"runtime"
	"slices"
	"sort"

	"oubliette/internal/arena"
)

const (
	// chunkSize is the part of a file whose pages are counted together; a file of
	// as many pages never needs an arena slot.
	chunkSize  = 16 * blockSize
	chunkPages = chunkSize / blockSize
	// maxFileSize is s_maxbytes: a slot of the arena.
	maxFileSize = arena.Stride - blockSize
	// maxMove is how many pages fallocate's COLLAPSE_RANGE and INSERT_RANGE
	// shift, which takes the warden's time: 64 MiB.
	maxMove = 64 << 20 / blockSize
	// maxExtents is how many extents of a mapped file are looked for at a time.
	maxExtents = 4096
	// maxAhead is how many pages without memory a guest may touch after one call or
	// fault, which takes the warden's time: 64 MiB. All of them together are a
	// maxAheadPart of the bound at most, for they count as used.
	maxAhead     = 64 << 20 / blockSize
	maxAheadPart = 16
)

// content is the bytes of a regular file. It knows which pages exist; the bytes
// are in Go memory, in a slot of the jail's arena (once mapped, or larger than a
// chunk), or, after the run, in a mapping of what was that slot.
type content struct {
	size    int64
	chunks  []chunk // ascending, none without pages
	pages   int64   // in use
	taken   int64   // pages in use or open
	quota   *Quota
	charged int64 // pages that it knows of
	slot    arena.Slot

	faults int64 // of guests, see Admit
	next   int64 // where the last admission ended
	ahead  int64 // pages it was of

	image  *image
	shared bool // guests have had it mapped for writing
	mapped bool // guests have had it mapped at all
}

// chunk is 64 KiB of a file that has at least one page.
type chunk struct {
	index int64
	alloc uint16   // pages that count as used
	data  uint16   // those of them that were written: SEEK_DATA
	open  uint16   // pages that guests may touch, by mappings, without our seeing
	held  uint16   // those that pages has, none with a slot
	image uint16   // those of them that are of a read-only mapping
	pages [][]byte // ascending; zeros beyond each
}

// image is a mapping of a file's slot that outlives the arena.
type image struct{ bytes []byte }

// span is the mask of the pages that bytes [from, to) of a chunk touch.
func span(from, to int64) uint16 {
	lo, hi := from/blockSize, (to+blockSize-1)/blockSize
	return uint16(1<<hi-1) &^ uint16(1<<lo-1)
}

// part is bytes [from, to) of a chunk, or of a page.
type part struct{ index, from, to int64 }

// parts cuts [off, off+n) at chunk borders.
func parts(off, n int64) iter.Seq[part] {
	return func(yield func(part) bool) {
		for n > 0 {
			from := off % chunkSize
			to := min(from+n, chunkSize)
			if !yield(part{off / chunkSize, from, to}) {
				return
			}
			off, n = off+to-from, n-(to-from)
		}
	}
}

// find gives the place of a chunk in c.chunks, and whether it is there.
func (c *content) find(index int64) (int, bool) {
	if n := len(c.chunks); n == 0 || c.chunks[n-1].index < index {
		return n, false
	}
	i := sort.Search(len(c.chunks), func(i int) bool { return c.chunks[i].index >= index })
	return i, c.chunks[i].index == index
}

// need gives the chunk, made if need be. The pointer is good until the next one.
func (c *content) need(index int64) *chunk {
	i, ok := c.find(index)
	if !ok {
		c.chunks = slices.Insert(c.chunks, i, chunk{index: index})
	}
	return &c.chunks[i]
}

// take puts the pages of mask m in use. One that fallocate(2) gets twice counts
// as data (mm/shmem.c:shmem_get_folio_gfp).
func (c *content) take(k *chunk, m uint16, written bool) {
	c.pages += int64(bits.OnesCount16(m &^ k.alloc))
	c.taken += int64(bits.OnesCount16(m &^ (k.alloc | k.open)))
	if written {
		k.data |= m
	} else {
		k.data |= m & k.alloc
	}
	k.alloc |= m
}

// missing counts the pages of [off, off+n) that do not count as used, and stops where
// there are more than limit: fit is how many bytes can be had.
func (c *content) missing(off, n, limit int64) (pages, fit int64) {
	i, _ := c.find(off / chunkSize)
	for p := range parts(off, n) {
		need := span(p.from, p.to)
		if i < len(c.chunks) && c.chunks[i].index == p.index {
			need &^= c.chunks[i].alloc | c.chunks[i].open
			i++
		}
		left := limit - pages
		if k := int64(bits.OnesCount16(need)); k <= left {
			pages, fit = pages+k, fit+p.to-p.from
			continue
		}
		for ; left > 0; left-- {
			need &= need - 1 // this one can be had
		}
		first := int64(bits.TrailingZeros16(need)) * blockSize
		return limit, fit + max(first-p.from, 0)
	}
	return pages, fit
}

// mark puts the pages of [off, off+n) in use; written is false for what only
// fallocate(2) asked for.
func (c *content) mark(off, n int64, written bool) {
	c.fill(off, n)
	for p := range parts(off, n) {
		c.take(c.need(p.index), span(p.from, p.to), written)
	}
}

// fill puts in the chunks that [off, off+n) lacks, in one pass where one by one
// would move what lies behind them too often.
func (c *content) fill(off, n int64) {
	first, last := off/chunkSize, (off+n-1)/chunkSize
	from, _ := c.find(first)
	to, _ := c.find(last + 1)
	have := c.chunks[from:to]
	lack := int(last-first) + 1 - len(have)
	if lack < 16 || from == len(c.chunks) {
		return
	}
	all := append(make([]chunk, 0, len(c.chunks)+lack), c.chunks[:from]...)
	for i := first; i <= last; i++ {
		if len(have) > 0 && have[0].index == i {
			all, have = append(all, have[0]), have[1:]
		} else {
			all = append(all, chunk{index: i})
		}
	}
	c.chunks = append(all, c.chunks[to:]...)
}

// rank is the place of page b in k.pages.
func (k *chunk) rank(b int64) int { return bits.OnesCount16(k.held & (1<<b - 1)) }

// page is what the chunk holds of page b, nil if nothing.
func (k *chunk) page(b int64) []byte {
	if k.held>>b&1 == 0 {
		return nil
	}
	return k.pages[k.rank(b)]
}

// own makes page b writable and at least n bytes long.
func (k *chunk) own(b, n int64) []byte {
	i, bit := k.rank(b), uint16(1)<<b
	if k.held&bit == 0 {
		k.pages = slices.Insert(k.pages, i, nil)
		k.held |= bit
	}
	p := k.pages[i]
	switch {
	case k.image&bit == 0 && int64(len(p)) >= n:
		return p
	case k.image&bit == 0 && int64(cap(p)) >= n:
		p = p[:n] // zeros since make
	default:
		grow := max(n, int64(len(p)))
		if len(p) > 0 {
			grow = min(blockSize, max(grow, 2*int64(len(p))))
		}
		p = append(make([]byte, 0, grow), p...)[:max(n, int64(len(p)))]
	}
	k.pages[i], k.image = p, k.image&^bit
	return p
}

// free gives back the bytes of the pages of mask m.
func (k *chunk) free(m uint16) {
	if k.held&m == 0 {
		return
	}
	var kept [][]byte
	for b := range int64(chunkPages) {
		if k.held&^m>>b&1 == 1 {
			kept = append(kept, k.page(b))
		}
	}
	k.pages, k.held, k.image = kept, k.held&^m, k.image&^m
}

// perPage cuts bytes [from, to) of a chunk at page borders.
func perPage(from, to int64) iter.Seq[part] {
	return func(yield func(part) bool) {
		for from < to {
			end := min(from/blockSize*blockSize+blockSize, to)
			if !yield(part{from / blockSize, from % blockSize, end - from/blockSize*blockSize}) {
				return
			}
			from = end
		}
	}
}

// write writes p, all of it: room was made before.
func (c *content) write(p []byte, off int64) error {
	if c.slot.Valid() {
		if _, err := c.slot.WriteAt(p, off); err != nil {
			return err
		}
		c.mark(off, int64(len(p)), true)
		return nil
	}
	for at := range parts(off, int64(len(p))) {
		k := c.need(at.index)
		c.take(k, span(at.from, at.to), true)
		for b := range perPage(at.from, at.to) {
			p = p[copy(k.own(b.index, b.to)[b.from:b.to], p):]
		}
	}
	return nil
}

// read fills p, holes with zeros.
func (c *content) read(p []byte, off int64) error {
	if c.slot.Valid() {
		_, err := c.slot.ReadAt(p, off)
		return err
	}
	for at := range parts(off, int64(len(p))) {
		i, ok := c.find(at.index)
		for b := range perPage(at.from, at.to) {
			n, size := 0, b.to-b.from
			if ok {
				if have := c.chunks[i].page(b.index); b.from < int64(len(have)) {
					n = copy(p[:size], have[b.from:])
				}
			}
			clear(p[n:size])
			p = p[size:]
		}
	}
	runtime.KeepAlive(c.image)
	return nil
}

// punch makes [off, off+n) zero and gives back the pages that lie in it whole.
func (c *content) punch(off, n int64) error {
	if c.slot.Valid() {
		if err := c.slot.Punch(off, n); err != nil {
			return err
		}
	}
	end := off + n
	if end < off {
		end = maxFileSize
	}
	i, _ := c.find(off / chunkSize)
	kept := i
	for ; i < len(c.chunks) && c.chunks[i].index*chunkSize < end; i++ {
		k := &c.chunks[i]
		base := k.index * chunkSize
		if from, to := max(off-base, 0), min(end-base, chunkSize); from < to {
			lo, hi := (from+blockSize-1)/blockSize*blockSize, to/blockSize*blockSize
			if lo < hi {
				gone := k.alloc & span(lo, hi)
				c.pages -= int64(bits.OnesCount16(gone))
				c.taken -= int64(bits.OnesCount16(gone &^ k.open))
				k.alloc &^= span(lo, hi)
				k.data &^= span(lo, hi)
				k.free(span(lo, hi))
			}
			for b := range perPage(from, to) {
				if top := int64(len(k.page(b.index))); b.from < top {
					clear(k.own(b.index, top)[b.from:min(b.to, top)])
				}
			}
		}
		if k.alloc|k.open != 0 {
			c.chunks[kept] = *k
			kept++
		}
	}
	c.chunks = slices.Delete(c.chunks, kept, i)
	return nil
}

// resize sets the size. What lies behind the end is zeros before and after; a
// guest may have written there through a mapping.
func (c *content) resize(size int64) error {
	var err error
	switch {
	case size <= c.size:
		err = c.punch(size, maxFileSize-size)
	case c.mapped: // Only the bytes: pages may have been allocated there.
		err = c.slot.Punch(c.size, maxFileSize-c.size)
	}
	if err == nil {
		c.size = size
	}
	return err
}

// seek finds the next data, or hole, at or after off < size.
func (c *content) seek(off int64, data bool) int64 {
	c.survey()
	i, _ := c.find(off / chunkSize)
	for at := off; at < c.size; {
		var have uint16
		if i < len(c.chunks) && c.chunks[i].index == at/chunkSize {
			have = c.chunks[i].data
			i++
		} else if data {
			if i == len(c.chunks) {
				break
			}
			at = c.chunks[i].index * chunkSize
			continue
		}
		for {
			if have>>(at%chunkSize/blockSize)&1 == 1 == data {
				return min(at, c.size)
			}
			at = at/blockSize*blockSize + blockSize
			if at%chunkSize == 0 {
				break
			}
		}
	}
	return c.size
}

// move shifts what lies from start on by delta bytes, both whole pages. What was
// between the old and new place must be empty.
func (c *content) move(start, delta int64) error {
	first, _ := c.find(start / chunkSize)
	old := c.chunks[first:]
	pages := func(yield func(k *chunk, at int64) bool) {
		for i := range old {
			for b := range int64(chunkPages) {
				if old[i].alloc>>b&1 == 1 && !yield(&old[i], b*blockSize) {
					return
				}
			}
		}
	}
	if c.slot.Valid() {
		if err := c.moveSlot(pages, start, delta); err != nil {
			return err
		}
	}
	c.chunks = slices.Clone(c.chunks[:first])
	for i := range old {
		c.pages -= int64(bits.OnesCount16(old[i].alloc))
		c.taken -= int64(bits.OnesCount16(old[i].alloc &^ old[i].open))
		if open := old[i].open; open != 0 { // where guests have them mapped
			c.need(old[i].index).open = open
		}
	}
	for k, at := range pages {
		to := k.index*chunkSize + at
		if to >= start {
			to += delta
		}
		written := k.data>>(at/blockSize)&1 == 1
		n := c.need(to / chunkSize)
		c.take(n, span(to%chunkSize, to%chunkSize+blockSize), written)
		if p := k.page(at / blockSize); written && len(p) > 0 {
			copy(n.own(to%chunkSize/blockSize, int64(len(p))), p)
		}
	}
	return nil
}

// moveSlot is move's work on the bytes in a slot.
func (c *content) moveSlot(pages iter.Seq2[*chunk, int64], start, delta int64) error {
	var list []int64
	for k, at := range pages {
		if from := k.index*chunkSize + at; from >= start && k.data>>(at/blockSize)&1 == 1 {
			list = append(list, from)
		}
	}
	if delta > 0 {
		slices.Reverse(list)
	}
	buf := make([]byte, blockSize)
	for _, at := range list {
		if _, err := c.slot.ReadAt(buf, at); err != nil {
			return err
		}
		if _, err := c.slot.WriteAt(buf, at+delta); err != nil {
			return err
		}
		if err := c.slot.Punch(at, blockSize); err != nil {
			return err
		}
	}
	return nil
}
