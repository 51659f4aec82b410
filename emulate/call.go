//go:build linux

package emulate

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Handler emulates one system call: it decodes the arguments, looks up what they
// name, acts, and encodes the result. The returned error becomes -errno. It runs
// on the warden's thread, so it must not block except in [Call.Wait] and
// [Call.Go]; a panic kills this jail and reaches Wait as an error.
type Handler func(c *Call) (uint64, error)

// Call is one system call of one task.
type Call struct {
	Task *Task
	Sys  *System
	Nr   int       // x86-64 number
	Args [6]uint64 // as in the registers
	// Restarted: the call was interrupted with ERESTART_RESTARTBLOCK and no
	// handler ran; Deadline is what it slept for then.
	Restarted bool
	// Seen, if not nil, takes down what String reads, by address: who tells of
	// the call must not read again what the guest may have changed meanwhile.
	Seen map[uint64]string
}

// Int is argument i as a C int.
func (c *Call) Int(i int) int { return int(int32(c.Args[i])) }

// FD is argument i as a descriptor.
func (c *Call) FD(i int) int { return int(int32(c.Args[i])) }

// Flags is argument i as an int of flag bits, without sign.
func (c *Call) Flags(i int) int { return int(uint32(c.Args[i])) }

// Uint is argument i as an unsigned int (mode_t, uid_t, socklen_t).
func (c *Call) Uint(i int) uint32 { return uint32(c.Args[i]) }

// Long is argument i as a long (off_t).
func (c *Call) Long(i int) int64 { return int64(c.Args[i]) }

// Size is argument i as a size_t.
func (c *Call) Size(i int) uint64 { return c.Args[i] }

// Addr is argument i as a pointer into guest memory.
func (c *Call) Addr(i int) uint64 { return c.Args[i] }

// File is the description of descriptor argument i. EBADF.
func (c *Call) File(i int) (*fdtable.Description, error) { return c.Task.FDs.Get(c.FD(i)) }

// Kernel lets the real kernel do this call as it stands.
func (c *Call) Kernel() (uint64, error) { return c.Task.Machine.Native(c.Nr, c.Args) }

// as makes another call of the family in c's place, with these arguments and 0 for the
// rest: most old calls are a newer one that can do more. c stays as the guest made it.
func (c *Call) as(do Handler, args ...uint64) (uint64, error) {
	other := *c
	other.Args = [6]uint64{}
	copy(other.Args[:], args)
	return do(&other)
}

// Read fills p from guest memory. EFAULT if any of it cannot be read.
func (c *Call) Read(addr uint64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := c.Task.Machine.ReadMemory(p, addr)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return err
}

// Write copies p to guest memory. EFAULT if any of it cannot be written; a part
// may have been.
func (c *Call) Write(addr uint64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := c.Task.Machine.WriteMemory(p, addr)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return err
}

// ReadValue decodes a fixed-size value (see encoding/binary) at addr. That package
// knows no padding: a struct with holes in C has fields named _ for them here.
func (c *Call) ReadValue(addr uint64, v any) error {
	p := make([]byte, binary.Size(v))
	if err := c.Read(addr, p); err != nil {
		return err
	}
	_, err := binary.Decode(p, binary.LittleEndian, v)
	return err
}

// readStruct is ReadValue of a struct that grows with the versions of Linux, of size
// bytes by the guest's account and at least least (copy_struct_from_user). EINVAL: less.
// E2BIG: more than a page, or what v does not have is not 0.
func (c *Call) readStruct(addr, size, least uint64, v any) error {
	switch {
	case size < least:
		return unix.EINVAL
	case size > pageSize:
		return unix.E2BIG
	}
	known := binary.Size(v)
	p := make([]byte, max(int(size), known))
	if err := c.Read(addr, p[:size]); err != nil {
		return err
	}
	if len(bytes.Trim(p[known:], "\x00")) > 0 {
		return unix.E2BIG
	}
	_, err := binary.Decode(p, binary.LittleEndian, v)
	return err
}

// WriteValue encodes a fixed-size value at addr.
func (c *Call) WriteValue(addr uint64, v any) error {
	p, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		return err
	}
	return c.Write(addr, p)
}

// stringChunk is what one read of a C string asks for first: nearly every path
// is shorter, and a short read at the end of a mapping is no error.
const stringChunk = 256

// String reads a C string of at most limit bytes including its NUL. EFAULT,
// ENAMETOOLONG. Every byte is read once.
func (c *Call) String(addr uint64, limit int) (string, error) {
	s, err := c.fetchString(addr, limit)
	if c.Seen != nil && err == nil {
		c.Seen[addr] = s
	}
	return s, err
}

func (c *Call) fetchString(addr uint64, limit int) (string, error) {
	var s []byte
	for len(s) < limit {
		p := c.Sys.scratch[:min(stringChunk, limit-len(s))]
		n, err := c.Task.Machine.ReadMemory(p, addr+uint64(len(s)))
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(p[:n], 0); i >= 0 {
			if s == nil {
				return string(p[:i]), nil
			}
			return string(append(s, p[:i]...)), nil
		}
		if n < len(p) {
			return "", unix.EFAULT
		}
		s = append(s, p...)
	}
	return "", unix.ENAMETOOLONG
}

// Path is argument i as a path: PATH_MAX bytes with the NUL. EFAULT,
// ENAMETOOLONG.
func (c *Call) Path(i int) (string, error) { return c.String(c.Args[i], unix.PathMax) }

// memory is fdtable.Memory over a call.
type memory struct{ c *Call }

func (m memory) Read(addr uint64, p []byte) error  { return m.c.Read(addr, p) }
func (m memory) Write(addr uint64, p []byte) error { return m.c.Write(addr, p) }

// Memory is the guest's memory for a File's Ioctl.
func (c *Call) Memory() fdtable.Memory { return memory{c} }
