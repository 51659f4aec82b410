package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Record is what one run used of what its policy let through; a jail fills it
// (jail.Jail.Learn) and [Policy.Learn] makes a policy of it.
type Record struct {
	Calls []CallUse
	Files []FileUse
	Dials []string // what was connected to outside, as Net.Allow has it
	Ports []int    // listened at, of those in Net.Publish
}

// CallUse is a call that was made, once for each combination of constants.
type CallUse struct {
	Call    string
	Rule    int         // index of the rule that decided; -1: Default
	When    []Condition // the arguments that are one of a few numbers: flags, commands, signals
	Missing bool        // it has no handler
}

// FileUse is what was done with one entry of the guest's tree.
type FileUse struct {
	Path  string // the guest's, without links in it
	Mount int    // index of the mount it is in; -1: none
	Mode  uint32 // permissions
	Dir   bool
	Link  bool // a symbolic link
	Host  bool // it was there before, on the host

	Write bool // a file's content or attributes
	List  bool // a directory's names
	Names bool // names in a directory were made or removed
	Moved bool // its name was removed, replaced or given to another file too
}

// learned is the From of rules that were learned.
const learned = "learned"

// Learned is how many runs a policy was learned from, 0 if it was not.
func (p Policy) Learned() (runs int) {
	for _, r := range p.Calls {
		if i := strings.LastIndex(r.Reason, learnedFrom); r.From == learned && i >= 0 {
			var n int
			_, _ = fmt.Sscan(r.Reason[i+len(learnedFrom):], &n)
			runs = max(runs, n)
		}
	}
	return runs
}

const learnedFrom = "; learned from "

// Learn is the smallest policy under which what r recorded under p can be done
// again: what p let through and r used, and never more than p. All else kills; what
// p denied, and what no handler answers, is denied as it was.
//
//   - A call that a handler answers is permitted with the combinations of flags,
//     commands and signals that were used (at most [maxCombinations], else any that
//     p's rule has), a native one as p's rule has it, whose conditions make it safe.
//     Where timing decides which are made, they count as used: p's native ones of
//     memory and threads if a futex was, those of signals if a handler was set, and
//     what the runtimes of languages do as threads happen to run, see [unsteady].
//   - A file is there alone, for writing only if it was written. A directory is there
//     whole, with all below it, if its names were listed, if one that it had was
//     removed, replaced or moved to another directory, if names were made in it and
//     not in memory, or if more than [maxFiles] of its files were used. One that was
//     only looked at is empty; one in an overlay in which names were made, too, but
//     takes them in memory.
//   - Mounts without a host path, limits, identity and clock are as p has them.
func (p Policy) Learn(r Record) Policy {
	q := Policy{Calls: build(p.callsOf(r.Calls), 1), Default: Kill, Mounts: p.mountsOf(r.Files), Limits: p.Limits,
		Identity: p.Identity, Time: p.Time, Seed: p.Seed}
	q.Net.Allow = unique(r.Dials)
	for _, pub := range p.Net.Publish {
		if slices.Contains(r.Ports, pub.Guest) {
			q.Net.Publish = append(q.Net.Publish, pub)
		}
	}
	return q
}

// maxCombinations bounds the rules for one call of one rule of the policy in force.
const maxCombinations = 64

// The ranks of what is learned of one call, in the order of its rules.
const (
	rankBefore = iota // denied by a rule before those that permit
	rankPermit
	rankAfter
)

// lesson is one rule for one call, of that rank.
type lesson struct {
	call, part string
	rank       int
	Rule       // without Calls
}

func lessonOf(call string, rank int, r Rule) lesson {
	r.Calls, r.From, r.Reason, r.Action = nil, "", "", cmp.Or(r.Action, Kill)
	return lesson{call, infoOf(call).part, rank, r}
}

func (l lesson) permits() bool { return l.Action == Emulate || l.Action == Allow }

// covers: l decides of all that m does, in the same way.
func (l lesson) covers(m lesson) bool {
	return l.call == m.call && l.Action == m.Action && l.Errno == m.Errno && l.Audit == m.Audit &&
		!slices.ContainsFunc(l.When, func(c Condition) bool { return !slices.Contains(m.When, c) })
}

// callsOf is what is learned of calls.
func (p Policy) callsOf(uses []CallUse) (all []lesson) {
	uses = append(slices.Clone(uses), p.byTiming(uses)...)
	combinations := map[string]int{}
	last := map[string]int{} // the last rule that permits a call
	key := func(u CallUse) string { return fmt.Sprint(u.Call, " ", u.Rule) }
	for _, u := range uses {
		combinations[key(u)]++
		if d := p.rule(u); d.Action == Emulate || d.Action == Allow {
			last[u.Call] = max(last[u.Call], u.Rule)
		}
	}
	for _, u := range uses {
		l := lessonOf(u.Call, rankAfter, p.rule(u))
		switch {
		case l.Action == Emulate && u.Missing:
			l.Action = Deny
		case l.Action == Emulate && combinations[key(u)] <= maxCombinations:
			for _, c := range u.When {
				if !slices.Contains(l.When, c) {
					l.When = append(slices.Clip(l.When), c)
				}
			}
			fallthrough
		case l.permits():
			l.rank = rankPermit
		}
		if l.Action != Kill {
			all = append(all, l)
		}
	}
	for call, end := range last { // what p refuses before it permits
		part := infoOf(call).part
		for _, r := range p.Calls[:max(end, 0)] {
			if l := lessonOf(call, rankBefore, r); r.about(call, part) && !l.permits() {
				all = append(all, l)
			}
		}
	}
	return all
}

// rule is the one that decided.
func (p Policy) rule(u CallUse) Rule {
	if u.Rule < 0 {
		return Rule{Action: cmp.Or(p.Default, Kill)}
	}
	return p.Calls[u.Rule]
}

// unsteady are calls with a handler that runtimes make or not as threads happen to
// run, and what such a program has used then; none reaches beyond its own threads.
var unsteady = []struct {
	calls []string
	with  []string // one of them, beside a futex
}{
	{[]string{"nanosleep", "restart_syscall"}, []string{"futex", "clone3"}},                     // a lock that spins
	{[]string{"getpid", "gettid", "tgkill"}, []string{"rt_sigaction", "rt_sigreturn"}},          // to stop another thread, as Go's scheduler does
	{[]string{"epoll_wait", "epoll_pwait"}, []string{"epoll_ctl", "epoll_wait", "epoll_pwait"}}, // by a thread that has nothing else to do
}

// byTiming is what is made or not as it happens.
func (p Policy) byTiming(uses []CallUse) (more []CallUse) {
	has := func(calls ...string) bool {
		return slices.ContainsFunc(uses, func(u CallUse) bool {
			return slices.Contains(calls, u.Call) && lessonOf(u.Call, 0, p.rule(u)).permits()
		})
	}
	threads, signals := has("futex", "clone3"), has("rt_sigaction", "rt_sigreturn")
	native := map[string]bool{Threads: threads, Memory: threads, Signals: signals}
	emulated := map[string]bool{"restart_syscall": signals}
	for _, u := range unsteady {
		for _, call := range u.calls {
			emulated[call] = emulated[call] || threads && has(u.with...)
		}
	}
	for i, r := range p.Calls {
		for _, name := range r.Names() {
			if r.Action == Allow && native[infoOf(name).part] || r.Action == Emulate && len(r.When) == 0 && emulated[name] {
				more = append(more, CallUse{Call: name, Rule: i})
			}
		}
	}
	return more
}

// lessons are those of the rules of a policy.
func (p Policy) lessons() (all []lesson) {
	permitted := map[string]bool{}
	for _, r := range slices.Backward(p.Calls) {
		for _, call := range r.Names() {
			l := lessonOf(call, rankAfter, r)
			if l.permits() {
				l.rank, permitted[call] = rankPermit, true
			} else if permitted[call] {
				l.rank = rankBefore
			}
			all = append(all, l)
		}
	}
	return all
}

// build makes rules, one for all calls of a part that are treated alike.
func build(all []lesson, runs int) (rules []Rule) {
	type group struct {
		lesson
		when string
	}
	groups := map[string]*group{}
	for i, l := range all {
		if slices.ContainsFunc(all[:i], func(m lesson) bool { return m.rank == l.rank && m.covers(l) }) ||
			slices.ContainsFunc(all[i+1:], func(m lesson) bool { return m.rank == l.rank && m.covers(l) && !l.covers(m) }) {
			continue // implied
		}
		g := &group{l, fmt.Sprint(l.When)}
		key := fmt.Sprint(l.rank, l.part, l.Action, l.Errno, l.Audit, g.when)
		if groups[key] == nil {
			groups[key] = g
		}
		groups[key].Calls = append(groups[key].Calls, l.call)
	}
	sorted := slices.Collect(maps.Values(groups))
	for _, g := range sorted {
		slices.Sort(g.Calls)
	}
	order := PartNames()
	slices.SortFunc(sorted, func(a, b *group) int {
		return cmp.Or(a.rank-b.rank, slices.Index(order, a.part)-slices.Index(order, b.part), -cmp.Compare(a.Action, b.Action),
			len(a.When)-len(b.When), cmp.Compare(a.Calls[0], b.Calls[0]), cmp.Compare(a.when, b.when), cmp.Compare(a.Errno, b.Errno))
	})
	calls := map[string]bool{}
	for _, l := range all {
		calls[l.call] = true
	}
	for _, g := range sorted {
		p, _ := partNamed(g.part)
		r := g.Rule
		r.From, r.Reason = learned, p.reason
		if !g.permits() {
			r.Reason = "refused by the policy in force, too"
		}
		r.Reason += fmt.Sprintf("%s%d %s that made %d different calls", learnedFrom, runs, plural(runs, "run"), len(calls))
		rules = append(rules, r)
	}
	return rules
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func unique(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
