package stub

import "encoding/binary"

// Flags say what the stub does with one call of a batch.
type Flags uint64

// The saved result ("base") is 0 until a Save. It is how later calls use an
// address that the kernel chose in an earlier one.
const (
	AddBase Flags = 1 << iota // add the saved result to argument 0
	Save                      // keep the result as the saved result
	Must                      // a result in -4095..-1 ends the batch
	Clear                     // no call: zero a1 bytes at a0; the result is 0
)

// Entry is one call: number, arguments, and what to do with them.
type Entry struct {
	Nr    int
	Flags Flags
	Args  [6]uint64
}

// The layout of an entry in memory, in bytes: the address of the next entry (0
// in the last one), number, flags, six arguments, result. Data lies between.
const (
	nextOff   = 0
	nrOff     = 8
	flagsOff  = 16
	argsOff   = 24
	resultOff = 72
	entrySize = 80
)

// Batch is a table of calls for the stub, and the data they point to. The zero
// Batch is empty.
type Batch struct {
	buf     []byte
	offsets []int
}

// Add appends a call and returns its index. Nothing is checked: Fits says
// whether the batch can be run.
func (b *Batch) Add(e Entry) int {
	b.init()
	b.align()
	off, prev := len(b.buf), 0
	if n := len(b.offsets); n > 0 {
		prev = b.offsets[n-1]
	}
	le := binary.LittleEndian
	le.PutUint64(b.buf[prev+nextOff:], uint64(DataAddr+off))
	b.buf = append(b.buf, make([]byte, entrySize)...)
	le.PutUint64(b.buf[off+nrOff:], uint64(e.Nr))
	le.PutUint64(b.buf[off+flagsOff:], uint64(e.Flags))
	for i, a := range e.Args {
		le.PutUint64(b.buf[off+argsOff+8*i:], a)
	}
	b.offsets = append(b.offsets, off)
	return len(b.offsets) - 1
}

// Call adds a call that must succeed.
func (b *Batch) Call(nr int, args ...uint64) int {
	e := Entry{Nr: nr, Flags: Must}
	copy(e.Args[:], args)
	return b.Add(e)
}

// Data puts p into the batch, 8-byte aligned, and returns its address.
func (b *Batch) Data(p []byte) uint64 {
	b.init()
	b.align()
	b.buf = append(b.buf, p...)
	return uint64(DataAddr + len(b.buf) - len(p))
}

// init makes room for the address of the first entry.
func (b *Batch) init() {
	if len(b.buf) == 0 {
		b.buf = make([]byte, 8, 4096)
	}
}

func (b *Batch) align() {
	b.buf = append(b.buf, make([]byte, -len(b.buf)&7)...)
}

// Fits reports whether the batch is no larger than the stub's data pages.
func (b *Batch) Fits() bool { return len(b.buf) <= DataSize }

// Len is how many calls the batch has.
func (b *Batch) Len() int { return len(b.offsets) }

// Bytes is what to write to DataAddr. It is valid until the next Add or Data.
func (b *Batch) Bytes() []byte {
	b.init()
	return b.buf
}

// Index tells which call lies at addr (rbx after a failure), -1 if none.
func (b *Batch) Index(addr uint64) int {
	for i, off := range b.offsets {
		if uint64(DataAddr+off) == addr {
			return i
		}
	}
	return -1
}

// Entry is call i as it was added.
func (b *Batch) Entry(i int) Entry {
	le, off := binary.LittleEndian, b.offsets[i]
	e := Entry{Nr: int(le.Uint64(b.buf[off+nrOff:])), Flags: Flags(le.Uint64(b.buf[off+flagsOff:]))}
	for j := range e.Args {
		e.Args[j] = le.Uint64(b.buf[off+argsOff+8*j:])
	}
	return e
}

// Result is call i's result in mem, the len(Bytes()) bytes read back from
// DataAddr. It is 0 if the call was not made or mem is too short.
func (b *Batch) Result(mem []byte, i int) uint64 {
	at := b.offsets[i] + resultOff
	if at+8 > len(mem) {
		return 0
	}
	return binary.LittleEndian.Uint64(mem[at:])
}

// Write is bytes to put at an address of a stopped process.
type Write struct {
	Addr uint64
	Data []byte
}
