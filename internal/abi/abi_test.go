//go:build linux && amd64

package abi_test

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/internal/abi"
)

// The kernel's own structures are the oracle: what it filled in for a file must
// be what we encode for the same attributes.
func TestPutStat(t *testing.T) {
	for _, path := range []string{"/", "/dev/null", "/proc/self/exe"} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, abi.StatSize)
		abi.PutStat(got, &abi.Stat{Dev: st.Dev, Rdev: st.Rdev, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink),
			UID: st.Uid, GID: st.Gid, Size: st.Size, Blocks: st.Blocks, BlockSize: st.Blksize,
			Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim})
		want := unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-kernel +ours):\n%s", path, diff)
		}
	}
}

func TestPutStatx(t *testing.T) {
	for _, path := range []string{"/", "/dev/null"} {
		var x unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &x); err != nil {
			t.Fatal(err)
		}
		ts := func(s unix.StatxTimestamp) unix.Timespec { return unix.Timespec{Sec: s.Sec, Nsec: int64(s.Nsec)} }
		got := make([]byte, abi.StatxSize)
		abi.PutStatx(got, &abi.Stat{Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor),
			Ino: x.Ino, Mode: uint32(x.Mode), Nlink: x.Nlink, UID: x.Uid, GID: x.Gid, Size: int64(x.Size),
			Blocks: int64(x.Blocks), BlockSize: int64(x.Blksize), Btime: ts(x.Btime),
			Atime: ts(x.Atime), Mtime: ts(x.Mtime), Ctime: ts(x.Ctime)},
			abi.Statx{Mask: x.Mask, Attributes: x.Attributes, AttributesMask: x.Attributes_mask, MountID: x.Mnt_id})
		want := unsafe.Slice((*byte)(unsafe.Pointer(&x)), unsafe.Sizeof(x))
		clear(want[152:]) // what block devices and subvolumes tell of themselves
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-kernel +ours):\n%s", path, diff)
		}
	}
}
