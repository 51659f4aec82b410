//go:build linux && amd64

package emulate_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dirent is one decoded entry.
type dirent struct {
	name string
	off  int64
	kind byte
}

// dirents reads a directory from its offset on with a buffer of size bytes, at
// most limit calls.
func (k *twin) dirents(call string, dir, size, limit int) []dirent {
	var list []dirent
	for range limit {
		n := k.quiet(call, fd(dir), out(size), size)
		if n <= 0 {
			if n < 0 {
				k.note("%s = %s", call, unix.ErrnoName(unix.Errno(-n)))
			}
			break
		}
		for p := k.buf[:n]; len(p) > 0; {
			reclen := binary.LittleEndian.Uint16(p[16:])
			rec := p[:reclen]
			d := dirent{off: int64(binary.LittleEndian.Uint64(rec[8:]))}
			if call == "getdents" {
				d.kind, d.name = rec[reclen-1], string(rec[18:reclen-1])
			} else {
				d.kind, d.name = rec[18], string(rec[19:])
			}
			d.name, _, _ = strings.Cut(d.name, "\x00")
			list = append(list, d)
			p = p[reclen:]
		}
	}
	return list
}

// names logs the sorted names and types, which is all that every file system
// has in common.
func (k *twin) names(what string, list []dirent) {
	var s []string
	for _, d := range list {
		s = append(s, fmt.Sprintf("%s:%d", d.name, d.kind))
	}
	slices.Sort(s)
	k.note("%s: %s", what, strings.Join(s, " "))
}

func TestGetdents(t *testing.T) {
	everybody(t, func(k *twin) {
		k.tree()
		for i := range 40 {
			k.quiet("mknod", fmt.Sprintf("d/%s%d", strings.Repeat("n", i*6), i), 0o666, 0)
		}
		for _, call := range []string{"getdents", "getdents64"} {
			for _, p := range []string{".", "d", "full", "d/sub"} {
				d := k.open("openat", at, p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
				k.names(p, k.dirents(call, d, 4096, 1000))
				k.call(call, fd(d), out(4096), 4096)
				k.call("lseek", fd(d), 0, unix.SEEK_SET)
				k.names(p, k.dirents(call, d, 300, 1000))
				k.call("lseek", fd(d), 0, unix.SEEK_SET)
				for _, size := range []int{0, 1, 23, -1} {
					if size < 0 {
						k.call(call, fd(d), bad{}, size)
					} else {
						k.call(call, fd(d), out(100), size)
					}
				}
				k.call(call, fd(d), edge(10), 400)
				k.call(call, fd(d), nil, 400)
				k.names("after errors", k.dirents(call, d, 4096, 1000))

				// Every offset leads to what followed it.
				k.call("lseek", fd(d), 0, unix.SEEK_SET)
				all := k.dirents(call, d, 4096, 1000)
				for i, e := range all {
					if k.quiet("lseek", fd(d), int(e.off), unix.SEEK_SET) < 0 {
						k.t.Errorf("lseek to %d failed", e.off)
					}
					rest := k.dirents(call, d, 4096, 1000)
					if !slices.Equal(rest, all[i+1:]) {
						k.t.Errorf("%s: after seeking behind %s: %v, want %v", p, e.name, rest, all[i+1:])
					}
				}
				k.call("close", fd(d))
			}
			for _, p := range []string{"f", "fifo"} {
				d := k.open("openat", at, p, unix.O_RDWR, 0)
				k.call(call, fd(d), out(400), 400)
				k.call("close", fd(d))
			}
			k.call(call, 99, out(400), 400)
		}
	})
}

// A listing that is under way misses nothing that stays and shows nothing twice
// while names come and go.
func TestGetdentsChanging(t *testing.T) {
	twins(t, self, func(k *twin) {
		for i := range 100 {
			k.quiet("mknod", fmt.Sprintf("stay%03d", i), 0o666, 0)
			k.quiet("mknod", fmt.Sprintf("go%03d", i), 0o666, 0)
		}
		d := k.open("openat", at, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		var stay []dirent
		for i := range 100 {
			for _, e := range k.dirents("getdents64", d, 300, 1) {
				if strings.HasPrefix(e.name, "stay") {
					stay = append(stay, e)
				}
			}
			k.quiet("unlink", fmt.Sprintf("go%03d", i))
			k.quiet("mknod", fmt.Sprintf("new%03d", i), 0o666, 0)
		}
		for _, e := range k.dirents("getdents64", d, 300, 1000) {
			if strings.HasPrefix(e.name, "stay") {
				stay = append(stay, e)
			}
		}
		k.names("what stays", stay)
		k.call("lseek", fd(d), 0, unix.SEEK_SET)
		k.names("again", k.dirents("getdents64", d, 4096, 1000))
	})
}
