package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String is the policy for people: one rule, mount or setting a line.
func (p Policy) String() string {
	var b strings.Builder
	for i, r := range p.Calls {
		fmt.Fprintf(&b, "%d: %s\n", i, r)
	}
	fmt.Fprintf(&b, "default: %s\n", cmp.Or(p.Default, Kill))
	for _, m := range p.Mounts {
		fmt.Fprintf(&b, "mount %s\n", m)
	}
	if s := p.Limits.String(); s != "" {
		fmt.Fprintf(&b, "limits%s\n", s)
	}
	if s := p.Net.String(); s != "" {
		fmt.Fprintf(&b, "net%s\n", s)
	}
	if len(p.Audit) > 0 {
		fmt.Fprintf(&b, "audit %s\n", strings.Join(p.Audit, " "))
	}
	id := p.Identity
	fmt.Fprintf(&b, "identity uid %d gid %d", id.UID, id.GID)
	if len(id.Groups) > 0 {
		fmt.Fprintf(&b, " groups %d", id.Groups)
	}
	fmt.Fprintf(&b, " hostname %s", cmp.Or(id.Hostname, "oubliette"))
	if id.CPUs > 0 {
		fmt.Fprintf(&b, " cpus %d", id.CPUs)
	}
	b.WriteByte('\n')
	if !p.Time.Start.IsZero() {
		fmt.Fprintf(&b, "time %s\n", p.Time.Start)
	}
	if p.Seed != nil {
		fmt.Fprintf(&b, "seed %d\n", *p.Seed)
	}
	return b.String()
}

// Equal makes cmp.Diff show a rule that differs as a whole, in one line.
func (r Rule) Equal(o Rule) bool {
	return r.Action == o.Action && r.Errno == o.Errno && r.Audit == o.Audit && r.Reason == o.Reason && r.From == o.From &&
		slices.Equal(r.Calls, o.Calls) && slices.Equal(r.When, o.When)
}

// String is the rule in one line.
func (r Rule) String() string {
	s := string(cmp.Or(r.Action, Kill))
	if r.Audit {
		s = "audit " + s
	}
	if r.Action == Deny {
		s += " " + cmp.Or(r.Errno, "ENOSYS")
	}
	s += " " + strings.Join(r.Calls, " ")
	for i, c := range r.When {
		s += map[bool]string{true: " if ", false: " and "}[i == 0] + c.String()
	}
	why := strings.ReplaceAll(r.Reason, "\n", " ")
	if r.From != "" && !slices.Contains(r.Calls, r.From) {
		why = strings.TrimSuffix(r.From+": "+why, ": ")
	}
	if why != "" {
		s += " # " + why
	}
	return s
}

// String is the condition as C would write it, arguments named arg0 to arg5.
func (c Condition) String() string {
	s := fmt.Sprintf("arg%d", c.Arg)
	if c.Mask != 0 {
		s += fmt.Sprintf("&%#x", c.Mask)
	}
	return fmt.Sprintf("%s %s %#x", s, c.Op, c.Value)
}

// Equal is see [Rule.Equal].
func (m Mount) Equal(o Mount) bool { return m == o }

// String is the mount in one line.
func (m Mount) String() string {
	s := m.Guest + " " + m.Kind
	if m.Host != "" && m.Host != m.Guest {
		s += " " + m.Host
	}
	for _, f := range []struct {
		set  bool
		word string
	}{
		{m.Text != "", fmt.Sprintf("%d bytes", len(m.Text))},
		{m.Overlay, "overlay"}, {m.Write && !m.Overlay, "write"}, {m.Frozen, "frozen"}, {m.Optional, "optional"},
		{m.Bytes != 0, fmt.Sprintf("at most %d bytes", m.Bytes)},
		{m.Inodes != 0, fmt.Sprintf("at most %d inodes", m.Inodes)},
		{m.Mode != 0, fmt.Sprintf("mode %04o", m.Mode)},
	} {
		if f.set {
			s += " " + f.word
		}
	}
	return s
}

// String names the bounds that are set, each after a space.
func (l Limits) String() string {
	var s string
	for _, f := range []struct {
		name  string
		value any
		set   bool
	}{
		{"memory", l.Memory, l.Memory != 0}, {"tasks", l.Tasks, l.Tasks != 0}, {"files", l.Files, l.Files != 0},
		{"descriptors", l.Descriptors, l.Descriptors != 0},
		{"disk", l.Disk, l.Disk != 0}, {"inodes", l.Inodes, l.Inodes != 0}, {"output", l.Output, l.Output != 0},
		{"cpu", l.CPU, l.CPU != 0}, {"wall", l.Wall, l.Wall != 0}, {"calls", l.Calls, l.Calls != 0},
	} {
		if f.set {
			s += fmt.Sprintf(" %s %v", f.name, f.value)
		}
	}
	return s
}
