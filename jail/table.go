//go:build linux && amd64

package jail

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/filter"
	"oubliette/internal/sysno"
	"oubliette/policy"
)

// maxCalls bounds the call numbers a table holds.
const maxCalls = 512

// callRow is what the warden knows about one call, by number.
type callRow struct {
	name        string
	do          emulate.Handler
	decision    policy.Decision
	conditional bool   // Lookup must see the arguments
	moves       bool   // the result is a number of bytes
	waits       bool   // its handler answers instead of the kernel where threads take turns
	grows       bool   // or has the kernel answer, where memory is limited
	args        string // kinds, for the trace
}

// calls is what a policy's rules come to. It is not changed once made.
type calls struct {
	rules  []policy.Rule
	byElse policy.Action
	filter []byte // the BPF program as the kernel takes it
	table  *policy.Table
	rows   [maxCalls]callRow
}

// compile makes the calls of a policy, or gives those of one of the last two: a service
// spawns under one policy again and again, and that may need another filter beside.
func (p *parts) compile(pol policy.Policy) (*calls, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.last {
		if c != nil && c.byElse == pol.Default && slices.EqualFunc(c.rules, pol.Calls, policy.Rule.Equal) {
			return c, nil
		}
	}
	pol.Calls = copyRules(pol.Calls)
	if err := refuseDescriptors(pol.Calls); err != nil {
		return nil, err
	}
	prog, err := filter.Compile(pol)
	if err == nil && checkFilter {
		err = filter.Check(prog, pol)
	}
	if err != nil {
		return nil, &Error{Op: "filter", Err: err}
	}
	c := &calls{rules: pol.Calls, byElse: pol.Default, filter: filter.Encode(prog), table: pol.Table(), rows: baseTable().rows}
	for nr := range c.rows {
		c.rows[nr].decision = c.table.Lookup(nr, [6]uint64{})
	}
	for _, r := range pol.Calls {
		for _, name := range r.Names() {
			if nr, ok := sysno.Number(name); ok && len(r.When) > 0 {
				c.rows[nr].conditional = true
			}
		}
	}
	p.last = [2]*calls{c, p.last[0]}
	return c, nil
}

// passOnly has all calls stop but those that rules allow, of which the policy must
// allow each.
func (w *warden) passOnly(rules []policy.Rule) error {
	fewer := *w.policy
	fewer.Calls = rules
	all, err := w.parts.compile(fewer)
	if err != nil {
		return err
	}
	c := *w.calls
	c.filter, w.calls = all.filter, &c
	return nil
}

// refuseDescriptors refuses rules that let a call with a descriptor through to the
// real kernel: the only ones a guest process has there are the arenas', and in those
// lie files of other jails.
func refuseDescriptors(rules []policy.Rule) error {
	for i, r := range rules {
		for _, name := range r.Names() {
			nr, ok := sysno.Number(name)
			if !ok || r.Action != policy.Allow || !slices.Contains(strings.Fields(baseTable().rows[nr].args), "fd") ||
				name == "mmap" && slices.ContainsFunc(r.When, anonymous) {
				continue
			}
			return &Error{Op: "policy", Err: fmt.Errorf("calls[%d]: %s may not be allowed: the descriptors that the real kernel knows "+
				"are not the guest's; emulate or deny it", i, name)}
		}
	}
	return nil
}

// anonymous: the condition holds only for mmap(2) with MAP_ANONYMOUS.
func anonymous(c policy.Condition) bool {
	return c.Arg == 3 && c.Op == "==" && c.Value&unix.MAP_ANONYMOUS != 0
}

// checkFilter runs every filter in bpf.VM against the policy: in strict mode, as
// the tests have it. It costs milliseconds.
var checkFilter = os.Getenv("OUBLIETTE_STRICT") == "1"

// copyRules is rules on its own: the caller may change the policy after Spawn.
func copyRules(rules []policy.Rule) []policy.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Calls, rules[i].When = slices.Clone(rules[i].Calls), slices.Clone(rules[i].When)
	}
	return rules
}

// handlers puts the caller's handlers in the place of the one table's.
func (w *warden) handlers(j *Jail) error {
	w.sys.Handlers = baseTable().handlers
	if len(j.Handlers) == 0 {
		return nil
	}
	c := *w.calls
	w.calls, w.sys.Handlers = &c, maps.Clone(w.sys.Handlers)
	for name, do := range j.Handlers {
		nr, ok := sysno.Number(name)
		if !ok || nr >= maxCalls {
			return &Error{Op: "Jail.Handlers", Err: fmt.Errorf("no system call is named %q", name)}
		}
		if do == nil {
			return &Error{Op: "Jail.Handlers", Err: fmt.Errorf("the handler of %s is nil: for ENOSYS use a rule that denies", name)}
		}
		w.sys.Handlers[nr], c.rows[nr].do = do, do
	}
	return nil
}

// callTable is what all jails have in common.
type callTable struct {
	rows     [maxCalls]callRow
	handlers map[int]emulate.Handler
}

// baseTable is the one table of calls by number. It is made once and not changed.
var baseTable = sync.OnceValue(func() *callTable {
	t := &callTable{handlers: make(map[int]emulate.Handler)}
	for nr := range t.rows {
		t.rows[nr].name = sysno.Name(nr)
		t.rows[nr].moves = slices.Contains(movers, t.rows[nr].name)
		t.rows[nr].waits = slices.Contains(waiters, t.rows[nr].name)
		t.rows[nr].grows = slices.Contains(growers, t.rows[nr].name)
	}
	for _, row := range emulate.Calls() {
		nr, ok := sysno.Number(row.Name)
		if ok {
			t.rows[nr].args = row.Args
		}
		if ok && row.Do != nil {
			t.handlers[nr], t.rows[nr].do = row.Do, row.Do
		}
	}
	return t
})

// waiters are the native calls that sleep, let others run or tell of the host's CPUs:
// see turns.
var waiters = []string{"futex", "rt_sigsuspend", "sched_yield", "rseq"}

// growers are the native calls that can be refused memory: see growing.
var growers = []string{"brk", "mmap", "mprotect"}

// movers are the calls whose result is a number of bytes.
var movers = []string{"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2",
	"sendfile", "copy_file_range", "splice", "tee", "vmsplice", "recvfrom", "sendto", "recvmsg", "sendmsg", "getrandom"}
