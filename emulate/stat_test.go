//go:build linux && amd64

package emulate_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const statSize = 144

// at is AT_FDCWD as an argument.
const at = unix.AT_FDCWD

func TestStat(t *testing.T) {
	twins(t, self, func(k *twin) {
		k.call("mkdir", "d", 0o750)
		k.call("mknod", "d/f", unix.S_IFREG|0o640, 0)
		k.call("mknod", "fifo", unix.S_IFIFO|0o666, 0)
		k.call("symlink", "d/f", "l")
		k.call("symlink", "nowhere", "dangling")
		k.call("symlink", "loop", "loop")
		for _, path := range []string{"d", "d/", "d/.", "d/f", "d/f/", "d/f/.", "d/../d/f", "l", "l/", "dangling", "dangling/",
			"fifo", "loop", "", "nowhere", "nowhere/x", ".", "..", "/", "//", strings.Repeat("x", 256), strings.Repeat("x", 255),
			strings.Repeat("x/", 2047), strings.Repeat("x/", 2048), strings.Repeat("./", 2000) + "d"} {
			for _, call := range []string{"stat", "lstat"} {
				if strings.Trim(path, "/") == "" && path != "" || path == ".." {
					k.call(call, path, out(statSize))
					continue
				}
				k.stat(call, path, out(statSize))
			}
			k.call("newfstatat", at, path, out(statSize), unix.AT_EMPTY_PATH)
			k.call("newfstatat", at, path, out(statSize), unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		}
		for _, p := range []any{bad{}, nil, edge(3)} {
			k.call("stat", p, out(statSize))
		}
		for _, p := range []any{bad{}, nil, edge(100)} {
			k.call("stat", "d", p)
			k.call("newfstatat", at, "d", p, 0)
			k.call("statx", at, "d", 0, unix.STATX_ALL, p)
		}
		k.call("newfstatat", at, nil, out(statSize), unix.AT_EMPTY_PATH)
		k.call("newfstatat", at, nil, out(statSize), 0)
		k.call("newfstatat", at, "d", out(statSize), 0x4000000)
		k.call("newfstatat", at, "d", out(statSize), -1)
		k.call("newfstatat", 99, "d", out(statSize), 0)
		k.call("newfstatat", 99, "/", out(statSize), 0)
		k.call("newfstatat", 99, "", out(statSize), 0)
		k.call("newfstatat", 99, "", out(statSize), unix.AT_EMPTY_PATH)
		k.call("newfstatat", -5, "", out(statSize), unix.AT_EMPTY_PATH)
		k.call("newfstatat", -5, "d", out(statSize), 0)
		k.call("fstat", 99, out(statSize))
		k.call("fstat", -1, out(statSize))
	})
}
