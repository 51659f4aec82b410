package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Merge is a learned policy that permits what p or q does: what other runs needed,
// too. Limits, identity and clock are q's; of a call that p denies and q permits, or
// the other way round, the permission stays.
func (p Policy) Merge(q Policy) Policy {
	m := q
	m.Calls = build(append(q.lessons(), p.lessons()...), p.Learned()+q.Learned())
	at := map[string]Mount{}
	var first []Mount
	for _, n := range slices.Concat(p.Mounts, q.Mounts) {
		old, ok := at[n.Guest]
		switch {
		case n.Kind == KindProgram:
			first = []Mount{n}
		case ok:
			at[n.Guest] = old.merge(n)
		default:
			at[n.Guest] = n
		}
	}
	m.Mounts = sortMounts(first, at)
	m.Net.Host = p.Net.Host || q.Net.Host
	m.Net.Allow = unique(slices.Concat(p.Net.Allow, q.Net.Allow))
	m.Net.Publish = slices.Clone(p.Net.Publish)
	for _, n := range q.Net.Publish {
		if !slices.Contains(m.Net.Publish, n) {
			m.Net.Publish = append(m.Net.Publish, n)
		}
	}
	return m
}

// merge is what gives as much as m and n, at the same place, do: what shows more,
// and takes writes if one does.
func (m Mount) merge(n Mount) Mount {
	rank := func(m Mount) int {
		return slices.Index([]string{KindText, KindMemory, KindDev, KindProc, KindHost}, m.Kind)*2 + b2i(m.Write || m.Kind == KindMemory && !m.onlyThere())
	}
	less, more := n, m
	if rank(m) < rank(n) {
		less, more = m, n
	}
	if more.Kind == KindHost && less.Kind == KindMemory && !less.onlyThere() && !more.Write {
		more.Write, more.Overlay = true, true // names were made in memory
	}
	return more
}

// Diff is what q changes of p, one thing a line: "+" before what q permits and p
// does not, "~" before what q narrows, "-" before what it drops.
func (p Policy) Diff(q Policy) []string {
	var out []string
	was, is := p.permitted(), q.permitted()
	var added, plus, less []string
	dropped := map[string][]string{}
	for call, rules := range is {
		for _, l := range rules {
			switch covered := coveredBy(l, was[call]); {
			case covered && slices.Contains(added, call):
			case len(was[call]) == 0:
				added = append(added, call)
			case !covered:
				plus = append(plus, "+ "+call+l.conditions())
			case slices.ContainsFunc(was[call], l.covers): // as before
			default:
				less = append(less, "~ "+call+l.conditions())
			}
		}
	}
	for call, rules := range was {
		if len(is[call]) == 0 {
			dropped[rules[0].part] = append(dropped[rules[0].part], call)
		}
	}
	if added = unique(added); added != nil {
		out = append(out, fmt.Sprintf("+ %d %s: %s", len(added), plural(len(added), "call"), strings.Join(added, " ")))
	}
	out = append(append(out, unique(plus)...), unique(less)...)
	for _, part := range PartNames() {
		if calls := unique(dropped[part]); calls != nil {
			out = append(out, fmt.Sprintf("- %d %s of %s: %s", len(calls), plural(len(calls), "call"), part, strings.Join(calls, " ")))
		}
	}
	return append(append(out, p.diffMounts(q)...), p.Net.diff(q.Net)...)
}

// permitted are the rules that permit, by call.
func (p Policy) permitted() map[string][]lesson {
	calls := map[string][]lesson{}
	for _, l := range p.lessons() {
		if l.permits() && (l.Action == Allow || infoOf(l.call).answer != answerNone) {
			calls[l.call] = append(calls[l.call], l)
		}
	}
	return calls
}

// coveredBy: some of rules does what l does; that the host's kernel does it is more.
func coveredBy(l lesson, rules []lesson) bool {
	return slices.ContainsFunc(rules, func(m lesson) bool {
		m.Audit, l.Audit = false, false
		return m.covers(l)
	})
}

func (l lesson) conditions() string {
	if l.When == nil {
		return ""
	}
	_, when, _ := strings.Cut(Rule{Action: l.Action, When: l.When}.String(), " if ")
	return " if " + when
}

// diffMounts is the files' part of Diff.
func (p Policy) diffMounts(q Policy) (out []string) {
	inside := map[int][]string{}
	for _, m := range q.Mounts {
		at := -1
		for i, n := range p.Mounts {
			if m.Kind == n.Kind && m.Guest == n.Guest || n.Kind == KindHost && within(m.Guest, n.Guest) && (at < 0 || len(n.Guest) > len(p.Mounts[at].Guest)) {
				at = i
			}
		}
		switch {
		case m.onlyThere() && at < 0:
			out = append(out, "~ nothing but the directory "+m.Guest)
		case at < 0, m.Kind == KindHost && m.Write && !m.Overlay && !p.Mounts[at].Write:
			out = append(out, "+ mount "+m.String())
		default:
			inside[at] = append(inside[at], m.Guest)
		}
	}
	var gone []string
	for i, m := range p.Mounts {
		switch names := inside[i]; {
		case names == nil:
			gone = append(gone, m.Guest)
		case len(names) > 1 || names[0] != m.Guest:
			out = append(out, fmt.Sprintf("~ mount %s: only %s", m.Guest, strings.Join(names, " ")))
		}
	}
	if gone != nil {
		out = append(out, fmt.Sprintf("- %d %s: %s", len(gone), plural(len(gone), "mount"), strings.Join(gone, " ")))
	}
	return out
}

// diff is the network's part of Diff.
func (n Net) diff(q Net) (out []string) {
	list := func(n Net) []string {
		names := slices.Clone(n.Allow)
		for _, p := range n.Publish {
			names = append(names, "publish "+p.String())
		}
		return unique(names)
	}
	was, is := list(n), list(q)
	if n.Host && !q.Host {
		out = append(out, "- net: the host's network")
	}
	for _, s := range is {
		if !slices.Contains(was, s) {
			out = append(out, map[bool]string{true: "~ net: only ", false: "+ net: "}[n.Host || slices.Contains(was, s[:strings.LastIndexByte(s, ':')+1]+"*")]+s)
		}
	}
	for _, s := range was {
		if !slices.Contains(is, s) {
			out = append(out, "- net: "+s)
		}
	}
	return out
}
