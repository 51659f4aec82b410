//go:build linux

package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one walk follows (MAXSYMLINKS).
const maxLinks = 40

// resolveCached is RESOLVE_CACHED, which package unix lacks.
const resolveCached = 0x20

// Walk says how a path is resolved; its methods are the one path walker.
type Walk struct {
	Root, Start *Dentry
	Cred        Cred
	NoFollow    bool // do not follow a symbolic link in the last place
	// Missing: the last component may be missing, for calls that make or
	// remove a name. Before a trailing slash it is then not followed either:
	// what a slash means is the call's to say.
	Missing bool
	Resolve uint64 // RESOLVE_* of openat2(2)
}

// Found is where a walk ended.
type Found struct {
	Dir    *Dentry // directory of the last component, links followed
	Name   string  // the last component; "" for the root itself, or "." or ".."
	Dentry *Dentry // nil: missing, only if Walk.Missing
	Slash  bool    // the path ended in a slash
}

// walk is a Walk on its way.
type walk struct {
	Walk
	at    *Dentry // directory that rest is looked up in
	rest  string  // what is left of the path and of the links met
	links int
}

// Do resolves path. ENOENT, ENOTDIR, EACCES, ELOOP (40 links), ENAMETOOLONG,
// EXDEV and EAGAIN (Resolve).
func (w Walk) Do(path string) (Found, error) {
	switch {
	case path == "":
		return Found{}, unix.ENOENT
	case len(path) >= unix.PathMax:
		return Found{}, unix.ENAMETOOLONG
	}
	k := walk{Walk: w, at: w.Start, rest: path}
	if k.at == nil {
		k.at = k.Root
	}
	if w.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
		k.Root = k.at
	}
	if path[0] == '/' {
		if err := k.jumpRoot(); err != nil {
			return Found{}, err
		}
	}
	for {
		f, done, err := k.step()
		if done || err != nil {
			return f, err
		}
	}
}

// jumpRoot is a leading slash of the path or of a link.
func (k *walk) jumpRoot() error {
	if k.Resolve&unix.RESOLVE_BENEATH != 0 ||
		k.Resolve&unix.RESOLVE_NO_XDEV != 0 && k.at.mount != k.Root.mount {
		return unix.EXDEV
	}
	k.at = k.Root
	return nil
}

// step walks one component; done with the last one.
func (k *walk) step() (f Found, done bool, err error) {
	start := 0
	for start < len(k.rest) && k.rest[start] == '/' {
		start++
	}
	if start == len(k.rest) {
		k.at.used(Seen)
		return Found{Dir: k.at, Dentry: k.at, Slash: true}, true, nil
	}
	if err := k.at.search(k.Cred); err != nil {
		return Found{}, true, err
	}
	rest := k.rest[start:]
	name, after := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		name, after = rest[:i], rest[i:]
	}
	slash, last := after != "", true
	for i := 0; i < len(after) && last; i++ {
		last = after[i] == '/'
	}
	next, err := k.find(name)
	if err != nil {
		if last && k.Missing && err == unix.ENOENT {
			return Found{Dir: k.at, Name: name, Slash: slash}, true, nil
		}
		return Found{}, true, err
	}
	if last || next.dir == nil {
		next.used(Seen)
	}
	if next.kind == unix.S_IFLNK && (!last || slash && !k.Missing || !slash && !k.NoFollow) {
		jump, err := k.follow(next, after)
		if err != nil || jump == nil {
			return Found{}, err != nil, err
		}
		next = jump
		next.used(Seen)
	}
	if !last {
		k.at, k.rest = next, after
		if next.dir == nil {
			return Found{}, true, unix.ENOTDIR
		}
		return Found{}, false, nil
	}
	if slash && !k.Missing && next.dir == nil {
		return Found{}, true, unix.ENOTDIR
	}
	return Found{Dir: k.at, Name: name, Dentry: next, Slash: slash}, true, nil
}

// find looks one component up in k.at and crosses mounts.
func (k *walk) find(name string) (*Dentry, error) {
	if name == "." {
		return k.at, nil
	}
	if name == ".." {
		k.at.used(Seen) // it must be there to be left
		if k.at == k.Root && k.Resolve&unix.RESOLVE_BENEATH != 0 {
			return nil, unix.EXDEV
		}
		return k.crossed(k.at.Parent(k.Root))
	}
	if k.Resolve&resolveCached != 0 && k.at.pinned[name] == nil && k.at.children[name] == nil {
		return nil, unix.EAGAIN
	}
	next, err := k.at.child(name)
	if err != nil || next.cover == nil {
		return next, err
	}
	return k.crossed(next.top())
}

// crossed refuses to leave the mount under RESOLVE_NO_XDEV.
func (k *walk) crossed(to *Dentry) (*Dentry, error) {
	if k.Resolve&unix.RESOLVE_NO_XDEV != 0 && to.mount != k.at.mount {
		return nil, unix.EXDEV
	}
	return to, nil
}

// follow goes through a link before after: a magic one gives the entry it leads
// to, an ordinary one puts its text before what is left of the path.
func (k *walk) follow(link *Dentry, after string) (*Dentry, error) {
	k.links++
	if k.links > maxLinks || k.Resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return nil, unix.ELOOP
	}
	if j, ok := link.Node.(Jumper); ok {
		if k.Resolve&unix.RESOLVE_NO_MAGICLINKS != 0 {
			return nil, unix.ELOOP
		}
		to, err := j.Jump()
		if err != nil {
			return nil, err
		}
		if k.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
			return nil, unix.EXDEV
		}
		return k.crossed(to)
	}
	r, ok := link.Node.(Readlinker)
	if !ok {
		return nil, unix.EINVAL
	}
	target, err := r.Readlink()
	if err != nil {
		return nil, err
	}
	if target == "" {
		return nil, unix.ENOENT
	}
	if target[0] == '/' {
		if err := k.jumpRoot(); err != nil {
			return nil, err
		}
	}
	k.rest = target + after
	return nil, nil
}
