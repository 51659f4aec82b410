//go:build linux && amd64

package jail_test

import "encoding/binary"

// elfExec is a static ELF program of one page at 0x400000 that starts with code.
func elfExec(code string) []byte {
	const base, head = 0x400000, 64 + 56
	le := binary.LittleEndian
	e := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	e = le.AppendUint16(e, 2)
	e = le.AppendUint16(e, 62)
	e = le.AppendUint32(e, 1)
	e = le.AppendUint64(e, base+head)
	e = le.AppendUint64(e, 64)
	e = le.AppendUint64(e, 0)
	e = le.AppendUint32(e, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		e = le.AppendUint16(e, v)
	}
	e = le.AppendUint32(e, 1) // PT_LOAD
	e = le.AppendUint32(e, 5)
	size := uint64(head + len(code))
	for _, v := range []uint64{0, base, base, size, size, 4096} {
		e = le.AppendUint64(e, v)
	}
	return append(e, code...)
}
