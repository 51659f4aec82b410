package policy

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// maxFiles is how many files of a directory a learned policy has one by one.
const maxFiles = 32

// within: p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// filesLearned is what was used of a tree, on the way to mounts.
type filesLearned struct {
	Policy
	uses  []FileUse
	whole map[string]int // directories that are there whole, and their mount
	out   map[string]Mount
}

// mountsOf is the smallest tree for uses; see Learn.
func (p Policy) mountsOf(uses []FileUse) []Mount {
	f := filesLearned{p, uses, map[string]int{}, map[string]Mount{}}
	files := map[string]int{}
	for _, u := range uses {
		m, host := f.host(u)
		dir := path.Dir(u.Path)
		switch {
		case u.List, u.Names && host && !m.Overlay:
			f.whole[u.Path] = u.Mount
		case host && u.Host && u.Path != m.Guest && (u.Moved || u.Link && m.Host != m.Guest):
			// A link stays one only in its own place; elsewhere it would lead to a file of the host's.
			f.whole[dir] = u.Mount
		case host && u.Host && !u.Dir && u.Path != m.Guest:
			if files[dir]++; files[dir] > maxFiles {
				f.whole[dir] = u.Mount
			}
		}
	}
	for _, u := range uses {
		f.use(u)
	}
	for dir, i := range f.whole {
		if i >= 0 && p.Mounts[i].Kind == KindHost && !f.wholeAbove(dir, i) {
			f.add(i, dir, f.written(dir, i))
		}
	}
	var rest []Mount
	for _, m := range p.Mounts { // what is mounted in a directory belongs to it, and may hide something
		if m.Kind == KindProgram {
			rest = append(rest, m)
		} else if _, ok := f.whole[m.Guest]; f.out[m.Guest].Guest == "" && (ok || f.wholeAbove(m.Guest, anyMount)) {
			f.out[m.Guest] = m
		}
	}
	return sortMounts(rest, f.out)
}

// host is the mount that u is in, if it is one of the host's.
func (f filesLearned) host(u FileUse) (m Mount, host bool) {
	if u.Mount >= 0 {
		m = f.Mounts[u.Mount]
	}
	return m, m.Kind == KindHost
}

// wholeAbove: a directory above p is whole, one of that mount if it is not anyMount.
func (f filesLearned) wholeAbove(p string, mount int) bool {
	for d := p; d != "/"; {
		d = path.Dir(d)
		if i, ok := f.whole[d]; ok && (i == mount || mount == anyMount) {
			return true
		}
	}
	return false
}

const anyMount = -2

// written: something of that mount was written in dir.
func (f filesLearned) written(dir string, mount int) bool {
	return slices.ContainsFunc(f.uses, func(u FileUse) bool {
		return u.Mount == mount && within(u.Path, dir) && (u.Write || u.Names || u.Moved)
	})
}

// use adds what u needs beside the directories that are whole.
func (f filesLearned) use(u FileUse) {
	m, host := f.host(u)
	_, whole := f.whole[u.Path]
	switch {
	case m.Kind == KindProgram, u.Path == "/" && u.Mount < 0:
	case u.Mount >= 0 && !host:
		f.out[m.Guest] = m
	case whole, u.Mount >= 0 && (!u.Host || f.wholeAbove(u.Path, u.Mount)):
	case !u.Dir:
		f.add(u.Mount, u.Path, u.Write)
	case u.Names:
		f.out[u.Path] = Mount{Guest: u.Path, Kind: KindMemory, Mode: u.Mode, Bytes: m.Bytes}
	default: // that it exists
		f.out[u.Path] = onlyThere(u.Path, u.Mode)
	}
}

// onlyThere is a directory in which there can be nothing: its root is its one inode.
func onlyThere(p string, mode uint32) Mount {
	return Mount{Guest: p, Kind: KindMemory, Inodes: 1, Mode: mode}
}

func (m Mount) onlyThere() bool { return m.Kind == KindMemory && m.Inodes == 1 }

// add mounts p of a host mount, which need not be there the next time.
func (f filesLearned) add(mount int, p string, write bool) {
	m := f.Mounts[mount]
	m.Host = path.Join(m.Host, strings.TrimPrefix(p, m.Guest))
	if m.Guest = p; !write {
		m.Write, m.Overlay, m.Bytes, m.Inodes = false, false, 0, 0
	}
	m.Optional = true
	f.out[p] = m
}

// sortMounts puts mounts in order, without what is in an outer one anyway.
func sortMounts(first []Mount, at map[string]Mount) []Mount {
	for p, m := range at {
		for d := p; d != "/"; {
			d = path.Dir(d)
			outer, ok := at[d]
			if !ok {
				continue
			}
			if m.sameIn(outer) {
				delete(at, p)
			}
			if outer.onlyThere() { // a directory around a mount is there
				delete(at, d)
				continue
			}
			break
		}
	}
	for _, m := range at {
		first = append(first, m)
	}
	slices.SortStableFunc(first, func(a, b Mount) int {
		return cmp.Or(cmp.Compare(b2i(b.Kind == KindProgram), b2i(a.Kind == KindProgram)), cmp.Compare(a.Guest, b.Guest))
	})
	return first
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sameIn: outer shows at m's place what m does, and gives as much.
func (m Mount) sameIn(outer Mount) bool {
	host := path.Join(outer.Host, strings.TrimPrefix(m.Guest, outer.Guest))
	return outer.Kind == KindHost && (m.onlyThere() || m.Kind == KindHost && m.Host == host &&
		(!m.Write || outer.Write) && m.Overlay == (outer.Overlay && m.Write))
}
