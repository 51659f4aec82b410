package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
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

// String is the explanation for people, in a few lines.
func (e Explanation) String() string {
	var b strings.Builder
	args := make([]string, len(e.Args))
	for i, a := range e.Args {
		args[i] = fmt.Sprintf("%#x", a)
	}
	if n := infoOf(e.Call).args; e.Part != "" && n < len(args) {
		args = args[:n]
	}
	by := "default"
	if e.Decision.Rule >= 0 {
		by = fmt.Sprintf("rule %d", e.Decision.Rule)
	}
	fmt.Fprintf(&b, "%s(%s): %s by %s: %s\n", e.Call, strings.Join(args, ", "), e.Decision.Action, by, e.Text)
	switch text, err := json.Marshal(e.Fix); {
	case e.Fix != nil && err == nil:
		where := "at the end of calls"
		if e.Decision.Rule >= 0 {
			where = "before " + by
		}
		fmt.Fprintf(&b, "to permit it, put %s: %s\n", where, text)
	case e.Part == "":
		b.WriteString("no rule can permit it: there is no such call\n")
	case e.Decision.Action == Deny || e.Decision.Action == Kill:
		b.WriteString("no rule can permit it: it has no handler, and is not safe to run natively\n")
	}
	fmt.Fprintf(&b, "cost: %s\n", e.Cost)
	return b.String()
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
		s += fmt.Sprintf(", which reaches at most %d lines of Go", c.Lines)
	}
	if c.Kernel {
		s += ", and the host's kernel once it has looked at the call"
	}
	return s
}
