package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"oubliette/internal/sysno"
)

// Surface is what a guest under a policy can do to the host's kernel, and through
// which of our code. It is plain data, of calls alone: which host files and ports
// the handlers may touch for the guest is what the policy's mounts and network say.
type Surface struct {
	// Native are the calls that reach the host's kernel as the guest makes them:
	// the rules that allow them, and those before that take something away. They
	// are a policy of their own, which allows exactly what the whole one does.
	Native []Rule `json:"native,omitempty"`
	// Kernel are the handlers that may let the host's kernel do the call in the
	// guest's thread, once they have looked at it and changed what must be.
	Kernel []string `json:"kernel,omitempty"`
	// Handlers are the calls that handlers answer, those of Kernel too.
	Handlers []string `json:"handlers,omitempty"`
	// Lines of the library's functions that the handlers can reach, at most: a
	// read is counted with the reading of every kind of file there is.
	Lines int `json:"lines,omitempty"`
	// Always is the lines of the other functions, which are the same work under
	// every policy: starting, loading, filtering, tracing, stopping.
	Always int `json:"always,omitempty"`
}

// code.txt divides the functions of the library by the parts whose handlers can
// reach them: a number of lines, and the parts; none: the other functions. The
// module's TestCalls writes it and holds it to the sources.
//
//go:embed code.txt
var codeText string

// code is lines of functions that handlers of just these parts can reach.
type code struct {
	lines int
	parts []string
}

var allCode = sync.OnceValue(func() (all []code) {
	for line := range strings.Lines(codeText) {
		f := strings.Fields(line)
		n, _ := strconv.Atoi(f[0])
		all = append(all, code{n, f[1:]})
	}
	return all
})

// Surface tells what p exposes. Like [Policy.Validate] it looks at each rule; that
// no argument may satisfy all conditions it does not see, so it tells too much
// rather than too little.
func (p Policy) Surface() Surface {
	var s Surface
	rules := p.deciding()
	for i, r := range p.Calls {
		var names []string
		for _, name := range r.Names() {
			if native := rules[name]; slices.Contains(native, i) && !slices.Contains(names, name) &&
				slices.ContainsFunc(native, func(j int) bool { return j >= i && p.Calls[j].Action == Allow }) {
				names = append(names, name)
			}
		}
		if names != nil {
			r.Calls = names
			s.Native = append(s.Native, r)
		}
	}
	var parts []string
	sum := 0
	for nr := range sysno.Max + 1 {
		name := sysno.Name(nr)
		info, by := infoOf(name), rules[name]
		emulated := slices.ContainsFunc(by, func(i int) bool { return p.Calls[i].Action == Emulate }) || p.Default == Emulate &&
			(len(by) == 0 || len(p.Calls[by[len(by)-1]].When) > 0)
		if !emulated || info.part == "" || info.answer == answerNone {
			continue
		}
		s.Handlers, parts, sum = append(s.Handlers, name), append(parts, info.part), sum+info.lines
		if info.answer == answerKernel {
			s.Kernel = append(s.Kernel, name)
		}
	}
	slices.Sort(s.Handlers)
	slices.Sort(s.Kernel)
	for _, c := range allCode() {
		if len(c.parts) == 0 {
			s.Always += c.lines
		} else if slices.ContainsFunc(c.parts, func(part string) bool { return slices.Contains(parts, part) }) {
			s.Lines += c.lines
		}
	}
	s.Lines = min(s.Lines, sum)
	return s
}

// deciding are, by call, the indices of the rules that can decide it: none after
// the first without conditions.
func (p Policy) deciding() map[string][]int {
	rules, closed := map[string][]int{}, map[string]bool{}
	for i, r := range p.Calls {
		for _, name := range r.Names() {
			if !closed[name] {
				rules[name], closed[name] = append(rules[name], i), len(r.When) == 0
			}
		}
	}
	return rules
}

// NativeCalls are the names of the calls in Native that some rule allows, sorted.
func (s Surface) NativeCalls() (names []string) {
	for _, r := range s.Native {
		if r.Action == Allow {
			names = append(names, r.Calls...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// String is the surface for people.
func (s Surface) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls reach the host's kernel as they are, if the first of these rules that matches allows them:\n", len(s.NativeCalls()))
	for _, r := range s.Native {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	fmt.Fprintf(&b, "%d calls are answered by handlers, which reach at most %d lines of Go; %d lines are in every jail\n",
		len(s.Handlers), s.Lines, s.Always)
	if s.Kernel == nil {
		return b.String()
	}
	fmt.Fprintf(&b, "%d of them may have the host's kernel do the call, once they have looked at it:", len(s.Kernel))
	for i, name := range s.Kernel {
		if i%10 == 0 {
			b.WriteString("\n ")
		}
		b.WriteString(" " + name)
	}
	b.WriteByte('\n')
	return b.String()
}
