//go:build linux && amd64

package jail

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/policy"
)

// Bounds of what a guest can have remembered.
const (
	maxLearnedCalls = 128     // combinations of constants of one call; more than a policy keeps
	maxLearnedFiles = 1 << 16 // a policy with more mounts is of no use
)

// learning gathers what a run uses, for Jail.Learn. It is the warden's; a nil one
// learns nothing.
type learning struct {
	w      *warden
	to     *policy.Record
	calls  map[learnedCall]bool
	number [maxCalls]int // of them, by call
	files  map[string]policy.FileUse
	mounts map[uint64]learnedMount // by the tree's number of the mount
	names  map[netip.Addr]string   // what the host's resolver said
	dials  map[string]bool
	ports  map[int]bool
	off    bool
}

// learnedCall is a call with the arguments that may be constants; args are 0 else.
type learnedCall struct {
	nr, rule int
	args     [6]uint32
	missing  bool
}

type learnedMount struct {
	index int    // in Policy.Mounts
	root  string // where it is, without links
}

// startLearning has every call stop.
func (w *warden) startLearning(to *policy.Record) error {
	if err := w.passOnly(nil); err != nil {
		return err
	}
	w.learn = &learning{w: w, to: to, calls: make(map[learnedCall]bool), files: make(map[string]policy.FileUse),
		mounts: make(map[uint64]learnedMount), names: make(map[netip.Addr]string), dials: make(map[string]bool), ports: make(map[int]bool)}
	return nil
}

// scalar says which arguments are one of a few numbers.
func scalar(kind string) bool {
	kind, _, _ = strings.Cut(kind, ":")
	return kind == "flags" || kind == "op" || kind == "sig"
}

// call notes a call and the rule that decided it.
func (l *learning) call(c *emulate.Call, d policy.Decision, row *callRow) {
	if l == nil {
		return
	}
	k := learnedCall{nr: c.Nr, rule: d.Rule, missing: row.do == nil}
	if d.Action == policy.Emulate {
		for i, kind := range strings.Fields(row.args) {
			if i < len(k.args) && scalar(kind) {
				k.args[i] = uint32(c.Args[i])
			}
		}
	}
	if !l.calls[k] && l.number[c.Nr] < maxLearnedCalls {
		l.calls[k] = true
		l.number[c.Nr]++
	}
}

// when are the constants as conditions. The kernel and our handlers look at the low
// half of such an argument.
func (k learnedCall) when() (when []policy.Condition) {
	for i, kind := range strings.Fields(baseTable().rows[k.nr].args) {
		if i < len(k.args) && scalar(kind) {
			when = append(when, policy.Condition{Arg: i, Mask: 1<<32 - 1, Op: "==", Value: uint64(k.args[i])})
		}
	}
	return when
}

// mounted notes the mounts that m came to, which are those after the first before.
func (l *learning) mounted(ns *vfs.Namespace, m policy.Mount, before int) {
	if l == nil {
		return
	}
	index := slices.Index(l.w.policy.Mounts, m)
	for i, at := range ns.Mounts() {
		if i >= before && index >= 0 {
			l.mounts[uint64(i)+1] = learnedMount{index, at.Path}
		}
	}
}

// used notes a use of the tree.
func (l *learning) used(d *vfs.Dentry, u vfs.Use) {
	if l.off || d.Unlinked() {
		return
	}
	f, ok := l.file(d)
	if !ok {
		return
	}
	f.Write = f.Write || u&vfs.Written != 0
	f.List = f.List || u&vfs.Listed != 0
	f.Names = f.Names || u&vfs.Names != 0
	f.Moved = f.Moved || u&vfs.Moved != 0
	l.files[f.Path] = f
}

// file is what is known of an entry.
func (l *learning) file(d *vfs.Dentry) (f policy.FileUse, ok bool) {
	id, _ := d.Mount()
	m, ok := l.mounts[id]
	f = policy.FileUse{Path: d.Path(), Mount: -1}
	var host string
	if ok {
		pm := l.w.policy.Mounts[m.index]
		below := strings.TrimPrefix(strings.TrimPrefix(f.Path, m.root), "/")
		if pm.Kind != policy.KindProgram {
			f.Path = path.Join(pm.Guest, below)
		}
		f.Mount, host = m.index, path.Join(pm.Host, below)
	} else if id != 1 { // the Jail's own, not a root without a mount
		return f, false
	}
	if known, ok := l.files[f.Path]; ok {
		return known, true
	}
	a, err := d.Attr()
	if err != nil || len(l.files) >= maxLearnedFiles {
		return f, false
	}
	f.Dir, f.Link, f.Mode = a.IsDir(), a.IsSymlink(), a.Mode&0o7777
	cred := l.w.policy.Identity
	if vfs.Access(a, vfs.Cred{UID: cred.UID, GID: cred.GID, Groups: cred.Groups}, vfs.MayWrite) != nil {
		f.Mode &^= 0o222
	}
	if host != "" && (f.Dir || f.Link || a.IsRegular()) {
		_, err := os.Lstat(host)
		f.Host = err == nil
	}
	return f, true
}

// aside runs fn, which looks at the tree for the caller.
func (l *learning) aside(fn func()) {
	if l != nil {
		defer func(was bool) { l.off = was }(l.off)
		l.off = true
	}
	fn()
}

// name notes what addresses a name has, dial and listen what is reached and served.
func (l *learning) name(name string, addrs []netip.Addr) {
	for _, a := range addrs {
		if l != nil && len(l.names) < maxNames {
			l.names[a] = name
		}
	}
}

func (l *learning) dial(address string, ip netip.Addr) {
	if l == nil || address == "" || len(l.dials) >= maxNames { // "": our resolver
		return
	}
	host, port, _ := net.SplitHostPort(address)
	if name := l.names[ip]; name != "" && l.w.outside.rules[host] == nil {
		address = net.JoinHostPort(name, port)
	}
	l.dials[address] = true
}

func (l *learning) listen(port int) {
	if l != nil {
		l.ports[port] = true
	}
}

// finish gives the record to the caller.
func (l *learning) finish() {
	if l == nil {
		return
	}
	l.off = true
	for k := range l.calls {
		l.to.Calls = append(l.to.Calls, policy.CallUse{Call: l.w.callName(k.nr), Rule: k.rule, When: k.when(), Missing: k.missing})
	}
	slices.SortFunc(l.to.Calls, func(a, b policy.CallUse) int { return cmp.Or(cmp.Compare(a.Call, b.Call), a.Rule-b.Rule) })
	for _, p := range slices.Sorted(maps.Keys(l.files)) {
		l.to.Files = append(l.to.Files, l.files[p])
	}
	l.to.Dials = append(l.to.Dials, slices.Sorted(maps.Keys(l.dials))...)
	l.to.Ports = append(l.to.Ports, slices.Sorted(maps.Keys(l.ports))...)
}

// rootMount is the policy's mount at "/", if there is one.
func (w *warden) rootMount() policy.Mount {
	for _, m := range w.policy.Mounts {
		if path.Clean(m.Guest) == "/" && m.Kind != policy.KindProgram {
			return m
		}
	}
	return policy.Mount{}
}
