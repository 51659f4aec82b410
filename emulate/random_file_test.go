//go:build linux

package emulate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRandomTwin makes random calls on a few descriptors of a few files.
func TestRandomTwin(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			Twin(t, func(s *Script) {
				r := &randomCalls{Script: s, rng: rand.New(rand.NewPCG(seed, 7))}
				for range 150 {
					r.step()
				}
				for _, name := range randomNames {
					fd, errno := s.Call("openat", cwd, name, unix.O_RDONLY, 0)
					if errno == 0 {
						s.Call("pread64", FD(fd), make([]byte, 64), 64, 0)
						s.Call("lseek", FD(fd), 0, unix.SEEK_END)
						s.Call("close", FD(fd))
					}
				}
			})
		})
	}
}

var randomNames = []string{"/a", "/b", "/l"}

type randomCalls struct {
	*Script
	rng *rand.Rand
	fds []FD
}

func (r *randomCalls) n(n int) int { return r.rng.IntN(n) }

func (r *randomCalls) fd() FD {
	if len(r.fds) == 0 {
		return FD(1 << 31)
	}
	return r.fds[r.n(len(r.fds))]
}

// pos is an offset, often one where something changes.
func (r *randomCalls) pos() int {
	return []int{0, 1, 10, 100, 4095, 4096, 4097, 8192, 10000, 65536, 70000}[r.n(11)] + r.n(3)
}

func (r *randomCalls) data() []byte {
	p := make([]byte, []int{0, 1, 7, 100, 4096, 9000}[r.n(6)])
	for i := range p {
		p[i] = byte('a' + (i+r.n(3))%26)
	}
	return p
}

func (r *randomCalls) keep(fd uint64, errno unix.Errno) {
	if errno == 0 {
		r.fds = append(r.fds, FD(fd))
	}
}

func (r *randomCalls) step() {
	name := randomNames[r.n(len(randomNames))]
	switch r.n(18) {
	case 0, 1, 2:
		flags := r.n(3) | []int{0, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND,
			unix.O_CREAT | unix.O_APPEND, unix.O_NOFOLLOW, unix.O_CREAT | unix.O_TRUNC}[r.n(8)]
		r.keep(r.Call("openat", cwd, name, flags, 0o644))
	case 3:
		r.keep(r.Call("dup", r.fd()))
	case 4:
		if len(r.fds) > 0 {
			i := r.n(len(r.fds))
			r.Call("close", r.fds[i])
			r.fds = append(r.fds[:i:i], r.fds[i+1:]...)
		}
	case 5, 6:
		p := r.data()
		r.Call("write", r.fd(), p, len(p))
	case 7:
		p := r.data()
		r.Call("pwrite64", r.fd(), p, len(p), r.pos())
	case 8:
		p := make([]byte, r.pos())
		r.Call("read", r.fd(), p, len(p))
	case 9:
		p := make([]byte, r.pos())
		r.Call("pread64", r.fd(), p, len(p), r.pos())
	case 10:
		r.Call("lseek", r.fd(), r.pos()*(r.n(3)-1), r.n(3))
	case 11:
		r.Call("ftruncate", r.fd(), r.pos())
	case 12:
		r.Call("fallocate", r.fd(), []int{0, 1, 3, 0x10, 0x11}[r.n(5)], r.pos(), r.pos())
	case 13:
		in, out := int64(r.pos()), int64(r.pos())
		r.Call("copy_file_range", r.fd(), &in, r.fd(), &out, r.pos(), 0)
		r.Logf("%d %d", in, out)
	case 14:
		r.Call("sendfile", r.fd(), r.fd(), nil, r.pos())
	case 15:
		cmd := []int{unix.F_OFD_SETLK, unix.F_OFD_GETLK, unix.F_SETLK}[r.n(3)]
		l := lockArg{Type: int16(r.n(3)), Whence: int16(r.n(3)), Start: int64(r.n(20)), Len: int64(r.n(9) - 2)}
		r.Call("fcntl", r.fd(), cmd, &l)
		l.PID = min(l.PID, 1)
		r.Logf("%+v", l)
	case 16:
		r.Call("flock", r.fd(), []int{unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN}[r.n(3)]|unix.LOCK_NB)
	case 17:
		r.names(name)
	}
}

func (r *randomCalls) names(name string) {
	switch r.n(4) {
	case 0:
		r.Call("unlinkat", cwd, name, 0)
	case 1:
		r.Call("renameat", cwd, name, cwd, randomNames[r.n(3)])
	case 2:
		r.Call("linkat", cwd, name, cwd, randomNames[r.n(3)], 0)
	case 3:
		r.Call("symlinkat", "a", cwd, "/l")
	}
}
