package policy

import (
	"slices"

	"oubliette/internal/sysno"
)

// Decision is what a policy says about one call.
type Decision struct {
	Action Action `json:"action"`          // never empty
	Errno  int    `json:"errno,omitempty"` // of a Deny: the Linux number
	Rule   int    `json:"rule"`            // index in Policy.Calls of the rule that decided; -1: Default
	Audit  bool   `json:"audit,omitempty"` // the rule's
}

// Lookup is the meaning of a policy: the first rule that names call and whose
// conditions hold decides, else Default. Whatever else answers the question, a
// filter or a [Table], must answer the same.
func (p Policy) Lookup(call string, args [6]uint64) Decision {
	part := infoOf(call).part
	for i, r := range p.Calls {
		if r.about(call, part) && r.matches(args) {
			return r.decision(i)
		}
	}
	return Rule{Action: p.Default}.decision(-1)
}

func (r Rule) matches(args [6]uint64) bool {
	return !slices.ContainsFunc(r.When, func(c Condition) bool { return !c.Holds(args) })
}

// decision is the rule's, r being rule i. What Validate refuses kills.
func (r Rule) decision(i int) Decision {
	switch r.Action {
	case Emulate, Allow:
		return Decision{Action: r.Action, Rule: i, Audit: r.Audit}
	case Deny:
		if n, ok := errno(r.Errno); ok {
			return Decision{Action: Deny, Errno: n, Rule: i, Audit: r.Audit}
		}
	}
	return Decision{Action: Kill, Rule: i, Audit: r.Audit}
}

// Holds tells whether args satisfy c. A condition that [Policy.Validate] refuses
// holds for nothing.
func (c Condition) Holds(args [6]uint64) bool {
	if c.Arg < 0 || c.Arg >= len(args) {
		return false
	}
	arg := args[c.Arg]
	if c.Mask != 0 {
		arg &= c.Mask
	}
	switch c.Op {
	case "==":
		return arg == c.Value
	case "!=":
		return arg != c.Value
	case "<":
		return arg < c.Value
	case "<=":
		return arg <= c.Value
	case ">":
		return arg > c.Value
	case ">=":
		return arg >= c.Value
	}
	return false
}

// Table answers as [Policy.Lookup] does, by number and without a search.
type Table struct {
	rules  [sysno.Max + 1][]candidate
	byElse Decision
}

// candidate is a rule that may decide one call, and its decision.
type candidate struct {
	rule     Rule
	decision Decision
}

// Table is the policy as it is now, indexed by x86-64 call number.
func (p Policy) Table() *Table {
	t := &Table{byElse: Rule{Action: p.Default}.decision(-1)}
	for i, r := range p.Calls {
		for _, name := range r.Names() {
			if nr, ok := sysno.Number(name); ok {
				t.rules[nr] = append(t.rules[nr], candidate{r, r.decision(i)})
			}
		}
	}
	return t
}

// Lookup is the decision about call nr; numbers without a name get the default.
func (t *Table) Lookup(nr int, args [6]uint64) Decision {
	if nr < 0 || nr >= len(t.rules) {
		return t.byElse
	}
	for _, c := range t.rules[nr] {
		if c.rule.matches(args) {
			return c.decision
		}
	}
	return t.byElse
}
