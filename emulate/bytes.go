//go:build linux

package emulate

import "encoding/binary"

// The guest is little-endian.

func leUint32(p []byte) uint32       { return binary.LittleEndian.Uint32(p) }
func leUint64(p []byte) uint64       { return binary.LittleEndian.Uint64(p) }
func putLeUint32(p []byte, v uint32) { binary.LittleEndian.PutUint32(p, v) }
func putLeUint64(p []byte, v uint64) { binary.LittleEndian.PutUint64(p, v) }
