//go:build linux && amd64

package jail

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"oubliette/internal/arena"
	"oubliette/internal/ptrace"
	"oubliette/internal/stub"
)

// parts are what all jails of the host process share while one of them lives: the
// stub, and the arena of immutable files. They are the one exception to "no
// package state": content that a hundred jails map is held once.
type parts struct {
	stub  *os.File
	cache *arena.Cache
	ro    *os.File // the cache's arena for guests
	ids   hostIDs
	users int

	mu   sync.Mutex
	last [2]*calls // of the last policies
}

var shared struct {
	sync.Mutex
	*parts
}

// cacheKeep bounds the content of immutable files kept for the next jail, in
// bytes. What running jails have mapped may take half of the host's memory: native
// programs map files that are larger, and all of them once.
const cacheKeep = 256 << 20

func cacheMost() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return cacheKeep
	}
	return max(cacheKeep, int64(si.Totalram)*int64(si.Unit)/2)
}

// acquireParts returns the shared parts, made by the first user.
func acquireParts() (*parts, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.parts == nil {
		p, err := newParts()
		if err != nil {
			return nil, err
		}
		shared.parts = p
	}
	shared.users++
	return shared.parts, nil
}

func newParts() (*parts, error) {
	s, err := stub.Memfd()
	if err != nil {
		return nil, refused("memfd", err)
	}
	c, err := arena.NewCache(cacheKeep, cacheMost())
	if err != nil {
		_ = s.Close()
		return nil, refused("spawn", err)
	}
	ro, err := c.ReadOnly()
	if err != nil {
		_ = s.Close()
		_ = c.Close()
		return nil, refused("spawn", err)
	}
	return &parts{stub: s, cache: c, ro: ro, ids: readHostIDs()}, nil
}

// release closes the parts with their last user.
func (p *parts) release() {
	shared.Lock()
	defer shared.Unlock()
	if p.users--; p.users > 0 {
		return
	}
	shared.parts = nil
	_ = p.stub.Close()
	_ = p.ro.Close()
	_ = p.cache.Close()
}

// files are the stub's descriptors, by fdtable.Arena, and the stub itself: by the
// number that it has here another may stand in the child (syscall.ForkExec moves them).
func (p *parts) files(own *arena.Arena, ownRead *os.File) []uintptr {
	return []uintptr{p.ro.Fd(), own.File().Fd(), ownRead.Fd(), stubFD: p.stub.Fd()}
}

// stubFD is the stub in its own process, which closes it.
const stubFD = 3

// Warm keeps the content of the programs and libraries that jails have mapped
// until Close, so that the next jail starts without reading them again. It holds
// three descriptors. A service that spawns many helpers one after another wants
// one; jails that run at the same time share content anyhow.
type Warm struct{ p *parts }

// KeepWarm returns a Warm. The caller closes it.
func KeepWarm() (*Warm, error) {
	p, err := acquireParts()
	if err != nil {
		return nil, spawnError(err)
	}
	return &Warm{p}, nil
}

// Close lets the content go with the last jail that uses it.
func (w *Warm) Close() error {
	if w.p != nil {
		w.p.release()
		w.p = nil
	}
	return nil
}

// QuietStops makes this process no longer get SIGCHLD when a child stops or goes on
// (SA_NOCLDSTOP, sigaction(2)), for good; one that ends it hears of as before. Every
// stop of a guest is such a stop, and if it is the thread that traces the jail that
// runs Go's handler for it, a call takes a quarter more time. It is no part of Spawn
// because it is the whole process's: the program that owns it may call this, a library
// should not, nor should who waits for stopped children.
func QuietStops() error {
	if err := ptrace.QuietStops(); err != nil {
		return &Error{Op: "rt_sigaction", Err: err}
	}
	return nil
}
