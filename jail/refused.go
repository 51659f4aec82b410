//go:build linux && amd64

package jail

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/policy"
)

// Bounds of what is told of what a guest was refused, and of what is remembered:
// most files that a program does not find the host does not have either.
const (
	maxRefused    = 256
	maxRemembered = 4096
)

// refusals gathers what Jail.Refused is told. It is the warden's; a nil one gathers
// nothing.
type refusals struct {
	w    *warden
	to   *[]policy.Explanation
	list []refusal
	seen map[string]bool
}

// refusal is an explanation, and for a file whether it was to be written, and was not
// because another user's.
type refusal struct {
	policy.Explanation
	write, denied bool
}

// add notes what was not noted before; key says what it is.
func (r *refusals) add(key string, explain func() refusal) {
	if !r.seen[key] && len(r.list) < maxRemembered {
		r.seen[key] = true
		r.list = append(r.list, explain())
	}
}

// call notes why t's call fails with err, if that is the policy's doing.
func (r *refusals) call(t *thread, d policy.Decision, err error) {
	c, row := &t.call, &r.w.calls.rows[t.call.Nr]
	if d.Action == policy.Deny || d.Action == policy.Emulate && row.do == nil {
		r.add(fmt.Sprint(row.name, d.Rule), func() refusal { return refusal{Explanation: r.w.explain(c)} })
		return
	}
	if err != unix.ENOENT && err != unix.EROFS && err != unix.ENOSPC && err != unix.EACCES {
		return
	}
	write, denied := err == unix.EROFS || err == unix.ENOSPC, err == unix.EACCES
	kinds := strings.Fields(row.args)
	for i, kind := range kinds[:min(len(kinds), len(c.Args))] {
		write = write || kind == "flags:open" && c.Args[i]&(unix.O_ACCMODE|unix.O_CREAT) != 0
	}
	if denied && !write {
		return
	}
	for i, kind := range kinds[:min(len(kinds), len(c.Args))] {
		name, seen := c.Seen[c.Args[i]]
		if kind != "path" || !seen || name == "" {
			continue
		}
		if !path.IsAbs(name) {
			dir := t.task.FS.Cwd
			if i > 0 && kinds[i-1] == "dirfd" && c.FD(i-1) != unix.AT_FDCWD {
				f, err := t.task.FDs.Get(c.FD(i - 1))
				if err != nil {
					continue
				}
				dir, _ = f.Entry.(*vfs.Dentry)
			}
			if dir == nil {
				continue
			}
			name = path.Join(dir.Path(), name)
		}
		r.file(t, name, write, denied)
	}
}

// file notes a file that t's call could not have.
func (r *refusals) file(t *thread, name string, write, denied bool) {
	if r == nil {
		return
	}
	name = path.Clean(name)
	r.add(fmt.Sprint(name, write, denied), func() refusal {
		e := r.w.explain(&t.call)
		e.File = name
		return refusal{e, write, denied}
	})
}

// outside notes an address, or a name with the port *, that no rule of the policy's
// Net allows.
func (r *refusals) outside(address string) {
	if r == nil {
		return
	}
	r.add(address, func() refusal {
		var e policy.Explanation
		if t := r.w.current(); t != nil {
			e = r.w.explain(&t.call)
		}
		e.Allow = address
		return refusal{Explanation: e}
	})
}

// meantFile is the host's file, without links, that a guest may mean by a name that
// no mount shows: beside what a mount shows, else of that name. "": there is none.
func meantFile(name string, mounts []policy.Mount) string {
	for _, m := range mounts {
		guest, host := m.Guest, m.Host
		for host != "" && guest != "/" && host != "/" && path.Base(guest) == path.Base(host) {
			guest, host = path.Dir(guest), path.Dir(host)
		}
		below, ok := strings.CutPrefix(name, strings.TrimSuffix(guest, "/")+"/")
		if !ok || m.Kind != policy.KindHost || host == "" {
			continue
		}
		if file, err := filepath.EvalSymlinks(path.Join(host, below)); err == nil {
			return file
		}
	}
	file, _ := filepath.EvalSymlinks(name) // "" with an error
	return file
}

// callers reports that a file of the host's is the caller's own, which in a mount for
// writing is the guest's.
func callers(file string) bool {
	var st unix.Stat_t
	return unix.Stat(file, &st) == nil && int(st.Uid) == unix.Geteuid()
}

// finish gives the caller what was refused. Of files that a mount could show it
// looks whether the host has them: no guest is left that could notice.
func (r *refusals) finish() {
	if r == nil {
		return
	}
	for _, e := range r.list {
		if e.File == "/etc/resolv.conf" && !e.write { // comes with Net; the host's names nobody within reach
			continue
		}
		if e.File != "" {
			host := meantFile(e.File, r.w.policy.Mounts)
			if e.denied && !callers(host) {
				continue
			}
			if e.Mount = r.w.policy.ExplainFile(e.File, e.write, host); e.Mount == nil {
				continue
			}
		}
		if len(*r.to) < maxRefused {
			*r.to = append(*r.to, e.Explanation)
		}
	}
}
