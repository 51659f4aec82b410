package policy

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The parts: each names a family of calls, and each call of Linux is in one of
// them. A rule may name a part where it may name a call; [Parts] makes the rules
// that give a guest whole parts. All but their native calls (see [Native]) are
// answered by handlers, from the jail's own world.
const (
	Stdio       = "@stdio"       // reads and writes descriptors that are open
	Descriptors = "@descriptors" // what else there is to do with them; opens nothing but pipes
	Poll        = "@poll"        // waiting until a descriptor is ready
	Memory      = "@memory"      // the guest's own address space
	Threads     = "@threads"     // threads, what they wait on, and their end
	Processes   = "@processes"   // new processes, programs, and waiting for their end
	Signals     = "@signals"     // signals among the jail's own processes
	Clock       = "@clock"       // time and timers; no clock can be set
	Files       = "@files"       // opens, looks at and lists what the mounts show
	Changes     = "@changes"     // names, sizes and attributes, where a mount is writable
	Sockets     = "@sockets"     // sockets of the jail's own network
	Terminal    = "@terminal"    // device controls, of terminals above all
	IPC         = "@ipc"         // System V and POSIX queues, semaphores and shared memory of the jail's own
	IDs         = "@ids"         // who the guest is, in the jail's own world
	Scheduling  = "@scheduling"  // limits and priorities
	System      = "@system"      // what kernel this is, and what it says of the caller
	Admin       = "@admin"       // what only an administrator may: refused, or the jail's own
	Absent      = "@absent"      // what has no handler: ENOSYS, as of a kernel built without it
)

// calls.txt has all that is known here of calls: under the name of each part and
// its reason one call a line, with the number of its arguments, what answers an
// Emulate, and how much code. The module's TestCalls holds it to package emulate.
//
//go:embed calls.txt
var callsText string

// part is a family of calls.
type part struct {
	name, reason string
	calls        []string
}

// What answers an Emulate of a call.
const (
	answerHandler = "handler" // Go code alone
	answerKernel  = "kernel"  // Go code that may have the host's kernel do it
	answerNone    = "none"    // ENOSYS
)

// callInfo is a line of calls.txt.
type callInfo struct {
	part   string
	args   int
	answer string // one of the answers
	lines  int    // of the code that the handler can reach
}

// known is calls.txt, read once.
var known = sync.OnceValues(func() (parts []part, calls map[string]callInfo) {
	calls = make(map[string]callInfo)
	for line := range strings.Lines(callsText) {
		if name, reason, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			parts = append(parts, part{name: name, reason: reason})
			continue
		}
		p, f := &parts[len(parts)-1], strings.Fields(line)
		args, _ := strconv.Atoi(f[1]) // TestCalls reads the file more strictly
		lines, _ := strconv.Atoi(f[3])
		p.calls = append(p.calls, f[0])
		calls[f[0]] = callInfo{p.name, args, f[2], lines}
	}
	return parts, calls
})

// infoOf is what is known of a call; its part is "" if there is no such call.
func infoOf(call string) callInfo {
	_, calls := known()
	return calls[call]
}

// partNamed is the part of that name.
func partNamed(name string) (part, bool) {
	parts, _ := known()
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	if i < 0 {
		return part{}, false
	}
	return parts[i], true
}

// PartNames are the names of all parts, in their order.
func PartNames() (names []string) {
	parts, _ := known()
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// Parts are the rules that give a guest the named parts, and nothing else if the
// policy's default denies:
//
//	policy.Policy{Calls: policy.Parts(policy.Stdio, policy.Memory, policy.Threads), Default: policy.Deny}
//
// For each part they are its rules of [Native], then one that emulates the rest.
// Threads come with clone(2) for threads and not for processes. A name that is
// none makes a rule that [Policy.Validate] refuses.
func Parts(names ...string) (rules []Rule) {
	native := Native()
	for _, name := range names {
		for _, r := range native {
			if r.From == name {
				rules = append(rules, r)
			}
		}
		p, _ := partNamed(name)
		rules = append(rules, Rule{Calls: []string{name}, Action: Emulate, Reason: p.reason, From: name})
		if name == Threads {
			rules = append(rules, Rule{Calls: []string{"clone"}, Action: Emulate, Reason: "a thread of this process", From: name}.
				when(0, cloneThread, "==", cloneThread))
		}
	}
	return rules
}

// Names are the calls that r is about, those of parts one by one.
func (r Rule) Names() (names []string) {
	for _, name := range r.Calls {
		if p, ok := partNamed(name); ok {
			names = append(names, p.calls...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

// about tells whether r names call, which is of that part.
func (r Rule) about(call, part string) bool {
	return slices.ContainsFunc(r.Calls, func(name string) bool { return name == call || name == part && part != "" })
}
