//go:build linux

package abi

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Stat is what struct stat and struct statx are filled from.
type Stat struct {
	Dev, Rdev           uint64 // as unix.Mkdev makes them
	Ino                 uint64
	Mode, Nlink         uint32
	UID, GID            uint32
	Size                int64
	Blocks, BlockSize   int64
	Atime, Mtime, Ctime unix.Timespec
	Btime               unix.Timespec
}

// Sizes of the structures in bytes.
const (
	StatSize  = 144 // struct stat
	StatxSize = 256 // struct statx
)

// PutStat fills p, of StatSize, as arch/x86/include/uapi/asm/stat.h lays it out.
func PutStat(p []byte, s *Stat) {
	p = p[:StatSize]
	clear(p)
	le.PutUint64(p[0:], s.Dev)
	le.PutUint64(p[8:], s.Ino)
	le.PutUint64(p[16:], uint64(s.Nlink))
	le.PutUint32(p[24:], s.Mode)
	le.PutUint32(p[28:], s.UID)
	le.PutUint32(p[32:], s.GID)
	le.PutUint64(p[40:], s.Rdev)
	le.PutUint64(p[48:], uint64(s.Size))
	le.PutUint64(p[56:], uint64(s.BlockSize))
	le.PutUint64(p[64:], uint64(s.Blocks))
	PutTimespec(p[72:], s.Atime)
	PutTimespec(p[88:], s.Mtime)
	PutTimespec(p[104:], s.Ctime)
}

// PutTimespec fills 16 bytes of p.
func PutTimespec(p []byte, t unix.Timespec) {
	le.PutUint64(p, uint64(t.Sec))
	le.PutUint64(p[8:], uint64(t.Nsec))
}

// Timespec reads 16 bytes of p, a struct timespec.
func Timespec(p []byte) unix.Timespec {
	return unix.Timespec{Sec: int64(le.Uint64(p)), Nsec: int64(le.Uint64(p[8:]))}
}

// Statx is what struct statx tells beyond Stat.
type Statx struct {
	Mask                       uint32 // STATX_* that are valid
	Attributes, AttributesMask uint64
	MountID                    uint64
}

// PutStatx fills p, of StatxSize, as include/uapi/linux/stat.h lays it out.
func PutStatx(p []byte, s *Stat, x Statx) {
	p = p[:StatxSize]
	clear(p)
	le.PutUint32(p[0:], x.Mask)
	le.PutUint32(p[4:], uint32(s.BlockSize))
	le.PutUint64(p[8:], x.Attributes)
	le.PutUint32(p[16:], s.Nlink)
	le.PutUint32(p[20:], s.UID)
	le.PutUint32(p[24:], s.GID)
	le.PutUint16(p[28:], uint16(s.Mode))
	le.PutUint64(p[32:], s.Ino)
	le.PutUint64(p[40:], uint64(s.Size))
	le.PutUint64(p[48:], uint64(s.Blocks))
	le.PutUint64(p[56:], x.AttributesMask)
	for i, t := range [4]unix.Timespec{s.Atime, s.Btime, s.Ctime, s.Mtime} {
		le.PutUint64(p[64+16*i:], uint64(t.Sec))
		le.PutUint32(p[72+16*i:], uint32(t.Nsec))
	}
	le.PutUint32(p[128:], unix.Major(s.Rdev))
	le.PutUint32(p[132:], unix.Minor(s.Rdev))
	le.PutUint32(p[136:], unix.Major(s.Dev))
	le.PutUint32(p[140:], unix.Minor(s.Dev))
	le.PutUint64(p[144:], x.MountID)
}
