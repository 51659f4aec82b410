package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"oubliette/internal/sysno"
)

// Error is one thing that is wrong with a policy.
type Error struct {
	Where string // "calls[2].when[0].op", "mounts[1].guest", as in JSON; "" for the whole
	What  string // what is wrong, and what to write instead
	Line  int    // of the JSON text, from 1; 0 if it did not come from [Parse]
	Col   int    // in bytes, from 1
}

func (e *Error) Error() string {
	s := "policy: "
	if e.Line > 0 {
		s = fmt.Sprintf("policy: line %d, column %d: ", e.Line, e.Col)
	}
	if e.Where != "" {
		s += e.Where + ": "
	}
	return s + e.What
}

// mustStop are the calls a guest could leave the warden's sight with: they can
// be emulated, denied or killed, never allowed.
var mustStop = map[string]string{
	"clone": "its child must be known to the warden", "clone3": "its child must be known to the warden",
	"fork": "its child must be known to the warden", "vfork": "its child must be known to the warden",
	"mremap": "it reaches other files of the arena", "remap_file_pages": "it reaches other files of the arena",
	"execve": "the warden loads programs", "execveat": "the warden loads programs",
	"pause":   "with it a new process says that it is loaded",
	"setpgid": "the warden waits for a process group", "setsid": "the warden waits for a process group",
	"seccomp": "a filter of the guest's own can hide calls from the warden",
	"ptrace":  "it reaches the host's processes", "restart_syscall": "only the warden knows what it restarts",
	"io_uring_setup": "its calls pass no filter", "io_uring_enter": "its calls pass no filter",
	"io_uring_register": "its calls pass no filter",
}

// problems gathers what is wrong.
type problems []error

func (ps *problems) add(where, format string, args ...any) {
	*ps = append(*ps, &Error{Where: where, What: fmt.Sprintf(format, args...)})
}

// item is element i of a list.
func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// Validate tells everything that is wrong with p, as joined [*Error] values.
func (p Policy) Validate() error {
	var ps problems
	for i, r := range p.Calls {
		ps.rule(item("calls", i), r)
	}
	ps.order(p.Calls)
	switch p.Default {
	case "", Kill, Emulate, Deny:
	case Allow:
		ps.add("default", "allow would let every call nobody thought of reach the real kernel: "+
			"name the calls to allow in a rule, and make the default emulate, deny or kill")
	default:
		ps.add("default", "%q is no default: write emulate, deny or kill", p.Default)
	}
	ps.mounts(p.Mounts)
	ps.limits(p.Limits)
	ps.net(p.Net)
	ps.audit(p.Audit)
	if len(p.Identity.Hostname) > 64 { // HOST_NAME_MAX
		ps.add("identity.hostname", "%d bytes: write at most 64", len(p.Identity.Hostname))
	}
	if p.Identity.CPUs < 0 {
		ps.add("identity.cpus", "%d is negative: leave it out for the host's number", p.Identity.CPUs)
	}
	return errors.Join(ps...)
}

func (ps *problems) rule(where string, r Rule) {
	if len(r.Calls) == 0 {
		ps.add(where+".calls", "names no call: name one, or remove the rule; the policy's default is for calls without one")
	}
	for i, name := range r.Calls {
		ps.call(item(where+".calls", i), name, r.Action)
	}
	for i, c := range r.When {
		at := item(where+".when", i)
		ps.condition(at, c)
		for _, name := range r.Names() {
			// What has neither arguments nor an answer is of no Linux of today.
			if info := infoOf(name); info.part != "" && c.Arg <= 5 && c.Arg >= info.args && (info.args > 0 || info.answer != answerNone) {
				ps.add(at+".arg", "%s has %d arguments, and arg %d would be another: arguments count from 0", name, info.args, c.Arg)
				break
			}
		}
		for j, d := range r.When[:i] {
			if c.Op == "==" && d.Op == "==" && c.Arg == d.Arg && (c.Value^d.Value)&bits(c.Mask)&bits(d.Mask) != 0 {
				ps.add(at, "never holds together with %s.when[%d] (%s): remove one, or make two rules", where, j, d)
			}
		}
	}
	switch r.Action {
	case Kill, Emulate, Allow, Deny:
	case "":
		ps.add(where+".action", "is missing: write kill, emulate, allow or deny")
	default:
		ps.add(where+".action", "%q is no action: write kill, emulate, allow or deny", r.Action)
	}
	if _, ok := errno(r.Errno); !ok {
		ps.add(where+".errno", "%q is no error: write a name such as EPERM", r.Errno)
	} else if r.Errno != "" && r.Action != Deny {
		ps.add(where+".errno", "is only for deny: remove it, or make the action deny")
	}
}

// call checks a name in a rule's Calls.
func (ps *problems) call(at, name string, action Action) {
	_, part := partNamed(name)
	_, call := sysno.Number(name)
	switch {
	case !part && strings.HasPrefix(name, "@"):
		ps.add(at, "no part is named %q: write one of %s", name, strings.Join(PartNames(), " "))
	case !part && !call:
		ps.add(at, "no x86-64 call is named %q%s", name, suggest(name))
	}
	if action != Allow {
		return
	}
	for _, name := range (Rule{Calls: []string{name}}).Names() {
		if why := mustStop[name]; why != "" {
			ps.add(at, "%s may not be allowed (%s): emulate or deny it", name, why)
			return
		}
	}
}

// order finds rules that were put behind a preset's or part's in the belief that
// they change it. That a preset's own rules no longer decide is what rules before
// them are for.
func (ps *problems) order(rules []Rule) {
	for i, r := range rules {
		if r.From != "" {
			continue
		}
		by := -1
		for _, name := range r.Names() {
			part := infoOf(name).part
			if by = slices.IndexFunc(rules[:i], func(r Rule) bool { return r.From != "" && len(r.When) == 0 && r.about(name, part) }); by < 0 {
				break
			}
		}
		if by >= 0 {
			ps.add(item("calls", i), "never decides, because the first rule that matches does, which is calls[%d] (%s): put this one before it",
				by, rules[by])
		}
	}
}

// bits is what a Mask takes.
func bits(mask uint64) uint64 {
	if mask == 0 {
		return 1<<64 - 1
	}
	return mask
}

func (ps *problems) condition(where string, c Condition) {
	if c.Arg < 0 || c.Arg > 5 {
		ps.add(where+".arg", "%d is no argument: write 0 to 5", c.Arg)
	}
	switch c.Op {
	case "<", "<=", ">", ">=":
	case "==", "!=":
		if c.Mask != 0 && c.Value&^c.Mask != 0 {
			ps.add(where+".value", "%#x has bits outside the mask %#x, so it never equals: clear them, or widen the mask", c.Value, c.Mask)
		}
	default:
		ps.add(where+".op", "%q is no comparison: write ==, !=, <, <=, > or >=", c.Op)
	}
}

// mounts checks each mount and their order: at holds where the ones before are,
// inside, one more than the first that is below a directory.
func (ps *problems) mounts(mounts []Mount) {
	at, inside := map[string]int{}, map[string]int{}
	for i, m := range mounts {
		where := item("mounts", i)
		ps.mount(where, m)
		if m.Kind == KindProgram { // joins what is there
			continue
		}
		if j, ok := at[m.Guest]; ok {
			ps.add(where+".guest", "mounts[%d] is at %s too: remove one", j, m.Guest)
		} else if j := inside[m.Guest] - 1; j >= 0 {
			ps.add(where+".guest", "%s would hide mounts[%d] at %s: put the outer mount first", m.Guest, j, mounts[j].Guest)
		}
		at[m.Guest] = i
		for dir := m.Guest; len(dir) > 1; {
			if dir = path.Dir(dir); inside[dir] > 0 {
				break
			}
			inside[dir] = i + 1
		}
	}
}

// mountFields says which fields the mounts of each kind may have beside Guest.
var mountFields = map[string]string{
	KindHost:    "host write overlay frozen optional bytes inodes",
	KindMemory:  "write bytes inodes mode",
	KindText:    "text mode",
	KindDev:     "",
	KindProc:    "",
	KindProgram: "",
}

func (ps *problems) mount(where string, m Mount) {
	ps.path(where+".guest", m.Guest)
	fields, ok := mountFields[m.Kind]
	if !ok {
		ps.add(where+".kind", "%q is no kind: write host, memory, text, dev, proc or program", m.Kind)
		return
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"host", m.Host != ""}, {"text", m.Text != ""}, {"write", m.Write}, {"overlay", m.Overlay}, {"frozen", m.Frozen},
		{"optional", m.Optional}, {"bytes", m.Bytes != 0}, {"inodes", m.Inodes != 0}, {"mode", m.Mode != 0},
	} {
		if f.set && !strings.Contains(fields, f.name) {
			ps.add(where+"."+f.name, "means nothing to a %s mount: remove it", m.Kind)
		}
	}
	switch {
	case m.Kind == KindHost:
		ps.path(where+".host", m.Host)
		if m.Frozen && m.Write && !m.Overlay {
			ps.add(where+".frozen", "a directory the guest writes through to is not frozen: remove frozen or write")
		}
		if !m.Overlay && (m.Bytes != 0 || m.Inodes != 0) {
			ps.add(where, "bytes and inodes bound what is in memory: set overlay, or remove them")
		}
	case m.Kind == KindProgram && m.Guest != "/":
		ps.add(where+".guest", "%q: what a program needs appears at its own paths, so write /", m.Guest)
	}
	if m.Bytes < 0 || m.Inodes < 0 {
		ps.add(where, "bytes and inodes may not be negative: leave them out for no bound")
	}
	if m.Mode > 0o7777 {
		ps.add(where+".mode", "%#o is more than 07777: write permissions, and set-id and sticky bits", m.Mode)
	}
}

// path wants an absolute path in its shortest form.
func (ps *problems) path(where, name string) {
	switch {
	case name == "":
		ps.add(where, "is missing: write an absolute path")
	case !path.IsAbs(name):
		ps.add(where, "%q is relative: write an absolute path", name)
	case strings.Contains(name, "\x00"):
		ps.add(where, "%q contains a NUL byte: remove it", name)
	case path.Clean(name) != name:
		ps.add(where, "%q: write %s", name, path.Clean(name))
	}
}

func (ps *problems) limits(l Limits) {
	for _, v := range []struct {
		name string
		n    int64
	}{
		{"memory", l.Memory}, {"tasks", int64(l.Tasks)}, {"files", int64(l.Files)}, {"descriptors", int64(l.Descriptors)},
		{"disk", l.Disk}, {"inodes", l.Inodes}, {"output", l.Output}, {"cpu", int64(l.CPU)}, {"wall", int64(l.Wall)},
		{"calls", int64(l.Calls)},
	} {
		if v.n < 0 {
			ps.add("limits."+v.name, "is negative: leave it out for no bound")
		}
	}
}

// suggest finds the call a misspelt name most likely means.
func suggest(name string) string {
	best, at := "", 3 // further than two edits is another word
	for nr := range sysno.Max + 1 {
		if s := sysno.Name(nr); s != "" {
			if d := edits(name, s); d < at {
				best, at = s, d
			}
		}
	}
	if best == "" {
		return ": see syscalls(2)"
	}
	return ": write " + best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
