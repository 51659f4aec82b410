//go:build linux

package fdtable_test

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// greeting is a seekable File: io.ReaderAt and Sizer.
type greeting struct{ *strings.Reader }

func (greeting) Close() error           { return nil }
func (g greeting) Size() (int64, error) { return g.Reader.Size(), nil }

// mailbox is a stream that may have nothing to give: io.Reader, Poller, Ioctler.
type mailbox struct {
	letters []string
	queue   fdtable.Queue
}

func (m *mailbox) Close() error { fmt.Println("closed"); return nil }

func (m *mailbox) Read(p []byte) (int, error) {
	if len(m.letters) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(p, m.letters[0])
	m.letters = m.letters[1:]
	return n, nil
}

func (m *mailbox) Poll() fdtable.Events {
	if len(m.letters) == 0 {
		return 0
	}
	return fdtable.In
}

func (m *mailbox) Queue() *fdtable.Queue { return &m.queue }

// Ioctl is FIONREAD alone.
func (m *mailbox) Ioctl(mem fdtable.Memory, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	return 0, mem.Write(arg, []byte{byte(len(m.letters)), 0, 0, 0})
}

func (m *mailbox) post(letter string) {
	m.letters = append(m.letters, letter)
	m.queue.Wake()
}

// guestMemory is Memory.
type guestMemory []byte

func (g guestMemory) Read(addr uint64, p []byte) error  { copy(p, g[addr:]); return nil }
func (g guestMemory) Write(addr uint64, p []byte) error { copy(g[addr:], p); return nil }

// A file has the abilities that its methods say; helpers give Linux's errno for
// what is missing.
func ExampleFile() {
	d := fdtable.NewDescription(greeting{strings.NewReader("hello, world")}, nil, unix.O_RDWR)
	p := make([]byte, 5)
	n, _ := d.ReadFile(p, 7) // pread
	fmt.Printf("%s\n", p[:n])
	_, err := d.WriteFile(p, -1)
	fmt.Println("no Write:", err)

	stream := fdtable.NewDescription(&mailbox{}, nil, unix.O_RDONLY)
	_, err = stream.ReadFile(p, 7)
	fmt.Println("pread of a stream:", err)
	// Output:
	// world
	// no Write: invalid argument
	// pread of a stream: illegal seek
}

// The offset belongs to the description, which dup and fork share.
func ExampleDescription() {
	d := fdtable.NewDescription(greeting{strings.NewReader("hello, world")}, nil, unix.O_RDONLY)
	dup := d.Retain()
	p := make([]byte, 7)
	_, _ = d.ReadFile(p, -1)
	n, _ := dup.ReadFile(p, -1)
	fmt.Printf("%s at %d\n", p[:n], d.Offset)
	fmt.Println(d.Release(), dup.Release())
	// Output:
	// world at 12
	// <nil> <nil>
}

func ExampleTable() {
	table := fdtable.NewTable(nil)
	m := &mailbox{}
	fd, _ := table.Install(fdtable.NewDescription(m, nil, unix.O_RDONLY), 0, 1024, false)
	child, _ := table.Clone() // fork
	_ = table.Close(fd)
	fmt.Println(table.Len(), child.Len())
	child.Release()
	_, err := table.Get(fd)
	fmt.Println(err)
	// Output:
	// 0 1
	// closed
	// bad file descriptor
}

func ExampleSlot() {
	table := fdtable.NewTable(nil)
	fd, _ := table.Install(fdtable.NewDescription(greeting{strings.NewReader("")}, nil, unix.O_RDONLY), 3, 1024, true)
	s, _ := table.Slot(fd)
	fmt.Println(fd, s.CloseOnExec, s.Reads(), s.Writes())
	// Output: 3 true true false
}

// What waits for a file stands in its queue, and looks again when woken.
func ExampleQueue() {
	m := &mailbox{}
	d := fdtable.NewDescription(m, nil, unix.O_RDONLY)
	p := make([]byte, 10)
	_, err := d.ReadFile(p, -1)
	fmt.Println(err)

	w := &fdtable.Waiter{Woken: func() { fmt.Println("woken, ready:", d.Ready() == fdtable.In) }}
	d.Queue().Add(w)
	m.post("a letter")
	d.Queue().Remove(w)
	n, _ := d.ReadFile(p, -1)
	fmt.Printf("%s\n", p[:n])
	// Output:
	// resource temporarily unavailable
	// woken, ready: true
	// a letter
}

func ExampleWaiter() {
	var q fdtable.Queue
	for i := range 3 {
		q.Add(&fdtable.Waiter{
			Woken:     func() { fmt.Println("waiter", i) },
			Exclusive: func() bool { return i == 1 }, // it takes what there is
			Events:    fdtable.In,
		})
	}
	q.WakeFor(fdtable.Out) // concerns nobody
	q.WakeFor(fdtable.In)
	// Output:
	// waiter 0
	// waiter 1
}

func ExampleIoctler() {
	m, memory := &mailbox{}, make(guestMemory, 16)
	m.post("a")
	m.post("b")
	var file fdtable.File = m
	_, err := file.(fdtable.Ioctler).Ioctl(memory, unix.TIOCINQ, 8)
	fmt.Println(memory[8], err)
	_, err = file.(fdtable.Ioctler).Ioctl(memory, unix.TIOCSTI, 0)
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// inappropriate ioctl for device
}

// constant is a Mapper: its bytes lie in an arena that guests have inherited.
type constant struct{ greeting }

func (constant) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	if write {
		return fdtable.Mapping{}, unix.EACCES
	}
	const slot = 3 << 47
	return fdtable.Mapping{Arena: fdtable.ArenaShared, Offset: slot + off}, nil
}

func ExampleMapper() {
	var file fdtable.File = constant{}
	at, err := file.(fdtable.Mapper).Map(4096, 4096, false)
	fmt.Printf("arena %d, offset %#x, %v\n", at.Arena, at.Offset, err)
	_, err = file.(fdtable.Mapper).Map(0, 4096, true)
	fmt.Println(err)
	// Output:
	// arena 0, offset 0x1800000001000, <nil>
	// permission denied
}
