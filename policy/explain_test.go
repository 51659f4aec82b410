package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

// Why does a program not get what it asks for, and what would give it?
func ExamplePolicy_Explain() {
	p := policy.Prison()
	p.Calls = slices.Insert(p.Calls, 0, policy.Rule{Calls: []string{policy.Sockets},
		When: []policy.Condition{{Arg: 0, Mask: 0xffff, Op: "!=", Value: 1}}, Action: policy.Deny, Errno: "EACCES", Reason: "Unix sockets only"})
	e := p.Explain("socket", [6]uint64{2, 1})
	fmt.Println(e.Text)
	fmt.Println(e.Fix)
	// Output:
	// deny EACCES @sockets if arg0&0xffff != 0x1 # Unix sockets only
	// emulate socket if arg0&0xffff == 0x2
}

func TestExplain(t *testing.T) {
	strict := policy.Strict()
	for _, c := range []struct {
		p    policy.Policy
		call string
		args [6]uint64
		want string // prefixes of the lines
	}{
		{strict, "openat", [6]uint64{}, "openat(0x0, 0x0, 0x0, 0x0): deny by default: default: deny\n" +
			`to permit it, put at the end of calls: {"calls":["openat"],"action":"emulate"}` + "\ncost: handler openat"},
		{strict, "read", [6]uint64{5, 6, 7}, "read(0x5, 0x6, 0x7): emulate by rule 17: emulate @stdio # reads and writes" +
			"\ncost: handler read"},
		{strict, "exit", [6]uint64{}, "exit(0x0): allow by rule 16: allow exit exit_group # @threads: ends this thread\ncost: the host's kernel runs it"},
		{strict, "futex", [6]uint64{0, 6}, "futex(0x0, 0x6, 0x0, 0x0, 0x0, 0x0): deny by rule 11: deny ENOSYS futex # @threads: the priority" +
			"\nto permit it, put before rule 11: {\"calls\":[\"futex\"],\"when\":[{\"arg\":1,\"mask\":4294966911,\"op\":\"==\",\"value\":6}],\"action\":\"emulate\"}" +
			"\ncost: handler futex"},
		{policy.Policy{}, "munmap", [6]uint64{}, "munmap(0x0, 0x0): kill by default: default: kill" +
			"\nto permit it, put at the end of calls: {\"calls\":[\"munmap\"],\"action\":\"allow\",\"reason\":\"the guest's own" +
			"\ncost: the host's kernel runs it"},
		{strict, "io_uring_setup", [6]uint64{}, "io_uring_setup(0x0, 0x0): deny by default: default: deny\nno rule can permit it: it has no handler" +
			"\ncost: none: there is no handler"},
		{policy.Prison(), "mount", [6]uint64{}, "mount(0x0, 0x0, 0x0, 0x0, 0x0): emulate by rule 38: emulate @admin\ncost: handler mount"},
		{policy.Prison(), "nosuch", [6]uint64{}, "nosuch(0x0, 0x0, 0x0, 0x0, 0x0, 0x0): deny by default: default: deny\nno rule can permit it: there is no such call\ncost: none"},
	} {
		got := strings.Split(strings.TrimSpace(c.p.Explain(c.call, c.args).String()), "\n")
		want := strings.Split(c.want, "\n")
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), c.want)
		}
	}
}

// TestExplanationIsData: it survives JSON.
func TestExplanationIsData(t *testing.T) {
	e := policy.Strict().Explain("open", [6]uint64{1: 2})
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back policy.Explanation
	if err := json.Unmarshal(text, &back); err != nil || cmp.Diff(e, back) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(e, back))
	}
}

// FuzzExplain: a Fix permits its call, changes no other, and is valid.
func FuzzExplain(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		names := []string{"read", "write", "openat", "mmap", "futex", "munmap", "rt_sigreturn", "bpf", "kcmp", policy.Stdio, policy.Memory, policy.Files}
		p := policy.Policy{Default: []policy.Action{policy.Kill, policy.Deny, policy.Emulate}[r.IntN(3)]}
		for range r.IntN(8) {
			rule := policy.Rule{Calls: []string{names[r.IntN(len(names))]},
				Action: []policy.Action{policy.Kill, policy.Deny, policy.Emulate, policy.Allow}[r.IntN(4)]}
			for range r.IntN(3) {
				rule.When = append(rule.When, policy.Condition{Arg: r.IntN(3), Mask: []uint64{0, 1, 0xff, 1 << 40}[r.IntN(4)],
					Op: []string{"==", "!=", "<", ">="}[r.IntN(4)], Value: r.Uint64N(3)})
			}
			p.Calls = append(p.Calls, rule)
		}
		args := func() (a [6]uint64) {
			for i := range a {
				a[i] = r.Uint64N(4) << (40 * r.IntN(2))
			}
			return a
		}
		call, a := names[r.IntN(9)], args()
		e := p.Explain(call, a)
		if _ = e.String(); e.Decision != p.Lookup(call, a) {
			t.Errorf("%+v is not Lookup's", e)
		}
		if e.Fix == nil {
			return
		}
		at := e.Decision.Rule
		if at < 0 {
			at = len(p.Calls)
		}
		fixed := p
		fixed.Calls = slices.Insert(slices.Clone(p.Calls), at, *e.Fix)
		if d := fixed.Lookup(call, a); d.Action != policy.Emulate && d.Action != policy.Allow {
			t.Errorf("%s\ndoes not help: %v", e, d)
		}
		if err := (policy.Policy{Calls: []policy.Rule{*e.Fix}}).Validate(); err != nil {
			t.Errorf("%s\n%v", e, err)
		}
		for range 20 {
			other, b := sysno.Name(r.IntN(sysno.Max+1)), args()
			before, after := p.Lookup(other, b), fixed.Lookup(other, b)
			if other != call && (before.Action != after.Action || before.Errno != after.Errno) {
				t.Errorf("%s\nchanges %s%v from %v to %v", e, other, b, before, after)
			}
		}
	})
}

// TestExplainFile: the mount that a file lacks, and nothing where no mount is to blame.
func TestExplainFile(t *testing.T) {
	p := policy.Policy{Mounts: []policy.Mount{
		{Guest: "/", Kind: policy.KindProgram},
		{Guest: "/usr", Kind: policy.KindHost, Host: "/usr", Frozen: true},
		{Guest: "/usr/local", Kind: policy.KindHost, Host: "/srv/local", Write: true},
		{Guest: "/tmp", Kind: policy.KindMemory},
		{Guest: "/looked-at", Kind: policy.KindMemory, Inodes: 1, Mode: 0o700},
	}}
	for _, c := range []struct {
		name  string
		write bool
		host  string
		want  string // "": nothing
	}{
		{"/etc/x", false, "/etc/x", "/etc/x host"},
		{"/etc/x", false, "/usr/lib/x", "/etc/x host /usr/lib/x"},
		{"/etc/x", false, "", ""},
		{"/tmp/x", false, "/tmp/x", "/tmp/x host"},
		{"/looked-at/x", false, "/looked-at/x", "/looked-at/x host"},
		{"/usr/x", false, "/usr/x", ""}, // it came later
		{"/usr/x", true, "", "/usr host overlay frozen"},
		{"/usr/local/x", true, "", ""},
		{"/tmp/x", true, "", ""},
		{"/looked-at/x", true, "", "/looked-at memory mode 0700"},
		{"/srv/x/y", true, "", "/srv/x memory mode 1777"},
		{"/usrx", true, "", "/ memory mode 1777"},
		{"/proc/stat", false, "/proc/stat", "/proc proc"},
		{"/dev/null", true, "/dev/null", "/dev dev"},
	} {
		got := ""
		if m := p.ExplainFile(c.name, c.write, c.host); m != nil {
			got = m.String()
			if err := (policy.Policy{Mounts: []policy.Mount{*m}}).Validate(); err != nil {
				t.Error(err)
			}
		}
		if got != c.want {
			t.Errorf("%s, write %v, host %q: %q, want %q", c.name, c.write, c.host, got, c.want)
		}
	}
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/proc", Kind: policy.KindProc})
	if m := p.ExplainFile("/proc/stats", false, "/proc/stats"); m != nil {
		t.Errorf("what the jail's /proc has not: %v", m)
	}
}
