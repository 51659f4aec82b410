//go:build linux

package arena

import (
	"container/list"
	"errors"
	"io"
	"math/bits"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Key says which bytes an Image holds: one state of one file of the host, or
// whatever Owner stands for.
type Key struct {
	Dev, Ino     uint64
	Mtime, Ctime unix.Timespec
	Size         int64
	// Owner, a comparable value, is set for content that nobody will ask for
	// again once the last reference is gone.
	Owner any
}

// Cache is the arena of immutable files that all jails of this process share.
// Its methods may be called from any goroutine.
type Cache struct {
	keep, most int64 // bytes

	mu     sync.Mutex
	arena  *Arena
	used   int64
	images map[Key]*Image
	idle   list.List // of *Image without references, oldest first
}

// Image is one file's content in a Cache.
type Image struct {
	c    *Cache
	key  Key
	slot Slot

	mu     sync.Mutex // held while filling, before c.mu
	filled map[int64]uint64

	// Under c.mu.
	refs  int
	bytes int64
	idle  *list.Element
}

const (
	blockPages = 64 // pages per word of Image.filled
	// fillStep is how much one read asks of a file, bytes.
	fillStep = 1 << 20
)

// NewCache makes an empty cache. It holds at most most bytes, and more than keep
// (at most most) only while images in use take them.
func NewCache(keep, most int64) (*Cache, error) {
	a, err := newArena(SharedName)
	if err != nil {
		return nil, err
	}
	return &Cache{keep: keep, most: most, arena: a, images: make(map[Key]*Image)}, nil
}

// ReadOnly gives a descriptor for guests to inherit; the caller closes it.
func (c *Cache) ReadOnly() (*os.File, error) { return c.arena.ReadOnly() }

// Used is how many bytes the cache holds.
func (c *Cache) Used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// Close drops the memory that no guest maps.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.arena.Close()
}

// Get gives the image of k, empty at first, with a reference: it stays where it
// is until Release. A jail holds one for as long as a guest may have it mapped.
// ENFILE when all slots are referenced.
func (c *Cache) Get(k Key) (*Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.images[k]; m != nil {
		m.refs++
		if m.idle != nil {
			c.idle.Remove(m.idle)
			m.idle = nil
		}
		return m, nil
	}
	slot, err := c.arena.Alloc()
	for errors.Is(err, unix.ENFILE) && c.evict() {
		slot, err = c.arena.Alloc()
	}
	if err != nil {
		return nil, err
	}
	m := &Image{c: c, key: k, slot: slot, refs: 1, filled: make(map[int64]uint64)}
	c.images[k] = m
	return m, nil
}

// Release drops a reference.
func (m *Image) Release() {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	m.refs--
	if m.refs > 0 {
		return
	}
	if m.key.Owner != nil {
		c.remove(m)
		return
	}
	m.idle = c.idle.PushBack(m)
	for c.used > c.keep && c.evict() {
	}
}

// evict forgets the image that was released first of those not used since.
func (c *Cache) evict() bool {
	e := c.idle.Front()
	if e == nil {
		return false
	}
	c.idle.Remove(e)
	c.remove(e.Value.(*Image))
	return true
}

func (c *Cache) remove(m *Image) {
	delete(c.images, m.key)
	c.used -= m.bytes
	_ = m.slot.Free() // A slot that cannot be emptied is not used again.
}

// reserve makes room for n more bytes of m. ENOMEM.
func (c *Cache) reserve(m *Image, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used+n > c.keep && c.evict() {
	}
	if c.used+n > c.most {
		return unix.ENOMEM
	}
	c.used += n
	m.bytes += n
	return nil
}

func (c *Cache) refund(m *Image, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= n
	m.bytes -= n
}

// Fill makes bytes [off, off+n) of the file r present, whole pages of them, and
// returns where byte off lies in the arena. What lies beyond the file's end is
// zeros. ENOMEM: images in use take all there may be.
func (m *Image) Fill(r io.ReaderAt, off, n int64) (int64, error) {
	if err := check(off, n); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	end := (min(off+n, m.key.Size) + pageSize - 1) / pageSize
	if end-off/pageSize > m.c.most/pageSize {
		return 0, unix.ENOMEM // before anything is read
	}
	for page := off / pageSize; page < end; {
		word := m.filled[page/blockPages] >> (page % blockPages)
		if have := int64(bits.TrailingZeros64(^word)); have > 0 {
			page += min(have, blockPages-page%blockPages)
			continue
		}
		// Missing up to the next page that is there, a block at a time.
		run := int64(0)
		for page+run < end && run < fillStep/pageSize && !m.has(page+run) {
			run++
		}
		if err := m.load(r, page, run); err != nil {
			return 0, err
		}
		page += run
	}
	return m.slot.Offset() + off, nil
}

func (m *Image) has(page int64) bool {
	return m.filled[page/blockPages]>>(page%blockPages)&1 != 0
}

func (m *Image) load(r io.ReaderAt, page, run int64) error {
	if err := m.c.reserve(m, run*pageSize); err != nil {
		return err
	}
	// Holes count: a guest that reads them fills them.
	if err := m.slot.Fill(r, page*pageSize, min(run*pageSize, m.key.Size-page*pageSize)); err != nil {
		m.c.refund(m, run*pageSize)
		return err
	}
	for i := page; i < page+run; i++ {
		m.filled[i/blockPages] |= 1 << (i % blockPages)
	}
	return nil
}
