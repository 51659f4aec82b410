package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Explanation is why a policy answers a call as it does, and what to change. It is
// plain data: of the rule that decided, and of what [Parts] and handlers there are.
type Explanation struct {
	Call string    `json:"call"`
	Args [6]uint64 `json:"args"`
	// Decision is what [Policy.Lookup] says.
	Decision Decision `json:"decision"`
	// Text is the rule that decided, as it prints; for the default "default: deny".
	Text string `json:"text"`
	// From is the part or preset the rule comes from, "" if from neither.
	From string `json:"from,omitempty"`
	// Reason is the rule's.
	Reason string `json:"reason,omitempty"`
	// Part is the one the call belongs to, "" if there is no such call.
	Part string `json:"part,omitempty"`
	// Fix is the smallest rule that permits the call with these values of the
	// arguments that the policy looks at; put it before rule Decision.Rule, for
	// the default at the end. nil: it is permitted, or nothing in a policy can.
	Fix *Rule `json:"fix,omitempty"`
	// File is the guest's path that the call could not have: no mount shows it, or
	// lets it be written. Mount is what to add to Mounts, before those that are below
	// it, or to put in the place of the one that is there; see [Policy.ExplainFile].
	File  string `json:"file,omitempty"`
	Mount *Mount `json:"mount,omitempty"`
	// Allow is what to add to Net.Allow for what the guest could not reach.
	Allow string `json:"allow,omitempty"`
	// Cost is what answers the call where it is permitted, by Fix if need be.
	Cost Cost `json:"cost"`
}

// Cost is what is trusted when a call is permitted.
type Cost struct {
	// Native: the host's kernel runs the call as the guest made it, unseen.
	Native bool `json:"native,omitempty"`
	// Handler is the name of the handler that answers, "" if Native or if there
	// is none: then the call fails with ENOSYS, and a Jail.Handlers may add one.
	Handler string `json:"handler,omitempty"`
	// Kernel: the handler may have the host's kernel run the call, once it has
	// looked at it.
	Kernel bool `json:"kernel,omitempty"`
	// Lines of the library's code that the handler can reach, at most.
	Lines int `json:"lines,omitempty"`
}

// Explain tells which rule decides a call and why, what would permit it, and at
// what cost. Its Decision is always [Policy.Lookup]'s.
func (p Policy) Explain(call string, args [6]uint64) Explanation {
	info := infoOf(call)
	e := Explanation{Call: call, Args: args, Decision: p.Lookup(call, args), Part: info.part}
	e.Text = "default: " + string(cmp.Or(p.Default, Kill))
	if i := e.Decision.Rule; i >= 0 {
		r := p.Calls[i]
		e.Text, e.From, e.Reason = r.String(), r.From, r.Reason
	}
	e.Cost = info.cost(call)
	switch e.Decision.Action {
	case Allow:
		e.Cost = Cost{Native: true}
	case Deny, Kill:
		if r, ok := nativeRule(call, args); ok {
			e.Fix, e.Cost = &r, Cost{Native: true}
		} else if e.Cost.Handler != "" {
			e.Fix = &Rule{Calls: []string{call}, When: p.examined(call, args), Action: Emulate}
		}
	}
	return e
}

// cost is that of an Emulate.
func (c callInfo) cost(call string) Cost {
	if c.part == "" || c.answer == answerNone {
		return Cost{}
	}
	return Cost{Handler: call, Kernel: c.answer == answerKernel, Lines: c.lines}
}

// nativeRule is Native's rule that allows the call, for that call alone.
func nativeRule(call string, args [6]uint64) (Rule, bool) {
	native := Policy{Calls: Native(), Default: Emulate}
	d := native.Lookup(call, args)
	if d.Action != Allow {
		return Rule{}, false
	}
	r := native.Calls[d.Rule]
	r.Calls, r.From = []string{call}, ""
	return r, true
}

// examined are conditions for just those values of args that the rules up to the
// one that decided look at.
func (p Policy) examined(call string, args [6]uint64) (when []Condition) {
	part, decided := infoOf(call).part, p.Lookup(call, args).Rule
	var masks [6]uint64
	for i, r := range p.Calls {
		for _, c := range r.When {
			if r.about(call, part) && c.Arg >= 0 && c.Arg < len(masks) {
				masks[c.Arg] |= bits(c.Mask)
			}
		}
		if i == decided {
			break
		}
	}
	for arg, mask := range masks {
		if mask == 0 {
			continue
		}
		c := Condition{Arg: arg, Mask: mask, Op: "==", Value: args[arg] & mask}
		if mask == bits(0) {
			c.Mask = 0
		}
		when = append(when, c)
	}
	return when
}

// ExplainFile is the mount that would show a guest the file at an absolute path,
// or with write let it be made or written, in memory of the jail's own; host is the
// host's file there, without links, or "". nil: nothing in the policy is to blame.
func (p Policy) ExplainFile(name string, write bool, host string) *Mount {
	var m Mount // the innermost around it
	for _, n := range p.Mounts {
		if n.Kind != KindProgram && within(name, n.Guest) && len(n.Guest) >= len(m.Guest) {
			m = n
		}
	}
	for kind, dir := range map[string]string{KindProc: "/proc", KindDev: "/dev"} {
		if within(name, dir) && m.Kind == "" {
			return &Mount{Guest: dir, Kind: kind}
		} else if within(name, dir) {
			return nil // what is not there, no jail has
		}
	}
	switch {
	case write && m.Kind == KindHost && !m.Write:
		m.Write, m.Overlay = true, true
	case write && m.onlyThere():
		m.Inodes = 0
	case write && m.Kind == "":
		m = Mount{Guest: path.Dir(name), Kind: KindMemory, Mode: 0o1777}
	case host != "" && m.Kind != KindHost && m.Guest != name:
		m = Mount{Guest: name, Kind: KindHost, Host: host}
	default:
		return nil
	}
	return &m
}

// String is the explanation for people, in a few lines.
func (e Explanation) String() string {
	var b strings.Builder
	cost := e.Cost.String()
	switch m := e.Mount; {
	case m != nil && (m.Kind == KindDev || m.Kind == KindProc):
		fmt.Fprintf(&b, "%s: no mount shows %q\n", e.Call, e.File)
		cost = "nothing of the host's is shown"
	case m != nil && m.Kind == KindHost && !m.Write:
		fmt.Fprintf(&b, "%s: no mount shows %q\n", e.Call, e.File)
		cost = "the guest can read that file of the host's"
	case m != nil:
		fmt.Fprintf(&b, "%s: no mount lets %q be written\n", e.Call, e.File)
		cost = "memory; no file of the host's changes"
	case e.Allow != "":
		fmt.Fprintf(&b, "%s: no rule allows %q\n", e.Call, e.Allow)
		cost = "the guest can send there what it likes"
	default:
		args := make([]string, len(e.Args))
		for i, a := range e.Args {
			args[i] = fmt.Sprintf("%#x", a)
		}
		if n := infoOf(e.Call).args; e.Part != "" && n < len(args) {
			args = args[:n]
		}
		fmt.Fprintf(&b, "%s(%s): %s by %s: %s\n", e.Call, strings.Join(args, ", "), e.Decision.Action, e.by(), e.Text)
	}
	where, fix := e.fix()
	switch text, err := json.Marshal(fix); {
	case where != "" && err == nil:
		fmt.Fprintf(&b, "to permit it, put %s: %s\n", where, text)
	case e.Part == "":
		b.WriteString("no rule can permit it: there is no such call\n")
	case e.Decision.Action == Deny || e.Decision.Action == Kill:
		b.WriteString("no rule can permit it: it has no handler, and is not safe to run natively\n")
	}
	fmt.Fprintf(&b, "cost: %s\n", cost)
	return b.String()
}

// by names what decided.
func (e Explanation) by() string {
	if e.Decision.Rule < 0 {
		return "default"
	}
	return fmt.Sprintf("rule %d", e.Decision.Rule)
}

// fix is what to change, and where to put it.
func (e Explanation) fix() (where string, what any) {
	switch {
	case e.Mount != nil:
		return "in mounts", e.Mount
	case e.Allow != "":
		return "in net.allow", e.Allow
	case e.Fix != nil && e.Decision.Rule >= 0:
		return "before " + e.by(), e.Fix
	case e.Fix != nil:
		return "at the end of calls", e.Fix
	}
	return "", nil
}

// String is the cost in words.
func (c Cost) String() string {
	switch {
	case c.Native:
		return "the host's kernel runs it, as the guest made it"
	case c.Handler == "":
		return "none: there is no handler, so it fails with ENOSYS"
	}
	s := "handler " + c.Handler
	if c.Lines > 0 {
		s += fmt.Sprintf(", which reaches at most %d %s of Go", c.Lines, plural(c.Lines, "line"))
	}
	if c.Kernel {
		s += ", and the host's kernel once it has looked at the call"
	}
	return s
}
