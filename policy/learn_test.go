package policy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/policy"
)

// low is the condition on an int argument.
func low(arg int, value uint64) policy.Condition {
	return policy.Condition{Arg: arg, Mask: 0xffffffff, Op: "==", Value: value}
}

// short is a policy's rules without their reasons.
func short(p policy.Policy) (rules []string) {
	for _, r := range p.Calls {
		r.Reason, r.From = "", ""
		rules = append(rules, r.String())
	}
	return rules
}

// use is a call that p's rules decide.
func use(p policy.Policy, call string, args [6]uint64, when ...policy.Condition) policy.CallUse {
	return policy.CallUse{Call: call, Rule: p.Lookup(call, args).Rule, When: when}
}

// inForce has a bit of everything: a denial before, native calls with conditions,
// parts.
func inForce() policy.Policy {
	p := policy.Prison()
	p.Calls = append([]policy.Rule{{Calls: []string{"socket"}, When: []policy.Condition{low(0, 16)}, Action: policy.Deny, Errno: "EAFNOSUPPORT"},
		{Calls: []string{"kill", "tgkill"}, Action: policy.Deny, Errno: "EPERM"}}, p.Calls...)
	return p
}

func TestLearnCalls(t *testing.T) {
	p := inForce()
	sock := func(domain uint64) policy.CallUse {
		return use(p, "socket", [6]uint64{domain, 1}, low(0, domain), low(1, 1), low(2, 0))
	}
	for _, c := range []struct {
		name string
		uses []policy.CallUse
		want []string
	}{
		{"grouped by part", []policy.CallUse{use(p, "write", [6]uint64{}), use(p, "read", [6]uint64{}), use(p, "chdir", [6]uint64{})},
			[]string{"emulate read write", "emulate chdir"}},
		{"a constant, and what is refused before", []policy.CallUse{sock(1)},
			[]string{"deny EAFNOSUPPORT socket if arg0&0xffffffff == 0x10", "emulate socket if arg0&0xffffffff == 0x1 and arg1&0xffffffff == 0x1 and arg2&0xffffffff == 0x0"}},
		{"two constants", []policy.CallUse{use(p, "lseek", [6]uint64{}, low(2, 1)), use(p, "lseek", [6]uint64{}, low(2, 0))},
			[]string{"emulate lseek if arg2&0xffffffff == 0x0", "emulate lseek if arg2&0xffffffff == 0x1"}},
		{"denied stays denied", []policy.CallUse{use(p, "kill", [6]uint64{}, low(1, 9))},
			[]string{"deny EPERM kill"}},
		{"no handler", []policy.CallUse{{Call: "userfaultfd", Rule: p.Lookup("userfaultfd", [6]uint64{}).Rule, Missing: true}},
			[]string{"deny ENOSYS userfaultfd"}},
		{"native with the rule's conditions", []policy.CallUse{use(p, "mmap", [6]uint64{3: 0x22}), use(p, "mmap", [6]uint64{3: 2}, low(2, 1), low(3, 2))},
			[]string{"emulate mmap if arg2&0xffffffff == 0x1 and arg3&0xffffffff == 0x2", "allow mmap if arg3&0x40020 == 0x20"}},
		{"what timing decides", []policy.CallUse{use(p, "futex", [6]uint64{1: 128}), use(p, "rt_sigaction", [6]uint64{2}), use(p, "epoll_ctl", [6]uint64{})}, []string{
			"deny EPERM tgkill", // as p does
			"emulate epoll_ctl epoll_pwait epoll_wait", "allow brk mprotect munmap", "allow madvise if arg2&0xffffffff < 0x64", "allow mmap if arg3&0x40020 == 0x20",
			"emulate gettid", "allow exit exit_group membarrier rseq sched_yield set_robust_list", "allow arch_prctl if arg0&0xffffffff == 0x1002",
			"allow arch_prctl if arg0&0xffffffff == 0x1003", "allow futex if arg1&0xfffffe7f == 0x0", "allow futex if arg1&0xfffffe7f == 0x1",
			"allow futex if arg1&0xfffffe7f == 0x3", "allow futex if arg1&0xfffffe7f == 0x4", "allow futex if arg1&0xfffffe7f == 0x5",
			"allow futex if arg1&0xfffffe7f == 0x9", "allow futex if arg1&0xfffffe7f == 0xa", "emulate getpid", "emulate restart_syscall tgkill",
			"allow rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend sigaltstack", "allow rt_sigaction if arg0&0xffffffff != 0x11", "emulate nanosleep"}},
		{"a condition and a constant", []policy.CallUse{use(p, "clone", [6]uint64{0x3d0f00}, low(0, 0x3d0f00))},
			[]string{"emulate clone if arg0&0x10000 == 0x10000 and arg0&0xffffffff == 0x3d0f00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := p.Learn(policy.Record{Calls: c.uses})
			if d := cmp.Diff(c.want, short(q)); d != "" {
				t.Error(d)
			}
			slices.Reverse(c.uses)
			if d := cmp.Diff(q, p.Learn(policy.Record{Calls: c.uses})); d != "" {
				t.Errorf("in another order: %s", d)
			}
			if err := q.Validate(); err != nil || q.Learned() != 1 || q.Default != policy.Kill {
				t.Error(err, q.Learned(), q.Default)
			}
		})
	}
}

// TestLearnNeverWidens: whatever a learned policy permits, the one in force did, with
// all that was seen in it, and with too many constants to keep.
func TestLearnNeverWidens(t *testing.T) {
	p := inForce()
	var r policy.Record
	values := []uint64{0, 1, 2, 16, 0x20, 0x22, 100, 0x1002, 0x10000, 0x3d0f00, 1 << 32, 1<<32 | 16, 1<<64 - 1}
	calls := []string{"socket", "kill", "mmap", "madvise", "futex", "clone", "rt_sigaction", "arch_prctl", "read", "fcntl"}
	for _, call := range calls {
		for i := range uint64(100) {
			v := append(values, i)[i%uint64(len(values)+1)]
			args := [6]uint64{v, v, v, v, v, v}
			r.Calls = append(r.Calls, use(p, call, args, low(0, uint64(uint32(v))), low(1, i)))
		}
	}
	q := p.Learn(r)
	for _, call := range append(calls, "open", "ptrace", "fork") {
		for _, v := range values {
			args := [6]uint64{v, v, v, v, v, v}
			was, is := p.Lookup(call, args), q.Lookup(call, args)
			if (is.Action == policy.Emulate || is.Action == policy.Allow) && is.Action != was.Action && was.Action != policy.Allow {
				t.Errorf("%s %#x: %v, was %v", call, v, is, was)
			}
		}
	}
	for _, line := range p.Diff(q) {
		if line[0] == '+' {
			t.Errorf("Diff says %s", line)
		}
	}
}

// treeInForce has a mount of each sort.
func treeInForce() policy.Policy {
	return policy.Policy{Mounts: []policy.Mount{
		{Guest: "/usr", Kind: policy.KindHost, Host: "/usr", Frozen: true},
		{Guest: "/usr/local", Kind: policy.KindMemory},
		{Guest: "/tmp", Kind: policy.KindMemory, Mode: 0o1777},
		{Guest: "/in", Kind: policy.KindHost, Host: "/srv/in"},
		{Guest: "/out", Kind: policy.KindHost, Host: "/srv/out", Write: true},
		{Guest: "/work", Kind: policy.KindHost, Host: "/work", Write: true, Overlay: true},
		{Guest: "/etc/hosts", Kind: policy.KindText, Text: "x"},
	}}
}

func TestLearnFiles(t *testing.T) {
	p := treeInForce()
	file := func(mount int, path string) policy.FileUse {
		return policy.FileUse{Path: path, Mount: mount, Mode: 0o644, Host: true}
	}
	dir := func(mount int, path string) policy.FileUse {
		return policy.FileUse{Path: path, Mount: mount, Mode: 0o755, Host: true, Dir: true}
	}
	with := func(u policy.FileUse, set func(*policy.FileUse)) policy.FileUse { set(&u); return u }
	list := func(u *policy.FileUse) { u.List = true }
	names := func(u *policy.FileUse) { u.Names = true }
	made := func(u *policy.FileUse) { u.Host, u.Write, u.Moved = false, true, true }
	var many []policy.FileUse
	for i := range 33 {
		many = append(many, file(0, fmt.Sprint("/usr/lib/", i)))
	}
	for _, c := range []struct {
		name string
		uses []policy.FileUse
		want string
	}{
		{"nothing", nil, ""},
		{"a file", []policy.FileUse{file(0, "/usr/lib/a"), dir(-1, "/")}, "/usr/lib/a host frozen optional"},
		{"a directory that was looked at", []policy.FileUse{dir(0, "/usr/lib")}, "/usr/lib memory at most 1 inodes mode 0755"},
		{"with a file in it", []policy.FileUse{dir(0, "/usr/lib"), file(0, "/usr/lib/a")}, "/usr/lib/a host frozen optional"},
		{"listed", []policy.FileUse{with(dir(0, "/usr/lib"), list), file(0, "/usr/lib/x/a")}, "/usr/lib host frozen optional"},
		{"listed, with what hides in it", []policy.FileUse{with(dir(0, "/usr"), list)}, "/usr host frozen optional; /usr/local memory"},
		{"many", many, "/usr/lib host frozen optional"},
		{"not so many", many[:2], "/usr/lib/0 host frozen optional; /usr/lib/1 host frozen optional"},
		{"temporary files", []policy.FileUse{with(dir(2, "/tmp"), names), with(file(2, "/tmp/x8f3"), made)}, "/tmp memory mode 1777"},
		{"another place", []policy.FileUse{file(3, "/in/a")}, "/in/a host /srv/in/a optional"},
		{"a link in its place", []policy.FileUse{with(file(0, "/usr/l"), func(u *policy.FileUse) { u.Link = true })}, "/usr/l host frozen optional"},
		{"a link in another place", []policy.FileUse{with(file(3, "/in/d/l"), func(u *policy.FileUse) { u.Link = true })}, "/in/d host /srv/in/d optional"},
		{"written through", []policy.FileUse{with(file(4, "/out/a"), func(u *policy.FileUse) { u.Write = true })}, "/out/a host /srv/out/a write optional"},
		{"read where it could write", []policy.FileUse{file(4, "/out/a")}, "/out/a host /srv/out/a optional"},
		{"made on the host", []policy.FileUse{with(dir(4, "/out/d"), names)}, "/out/d host /srv/out/d write optional"},
		{"made in an overlay", []policy.FileUse{with(dir(5, "/work"), names), with(file(5, "/work/new"), made), file(5, "/work/old")},
			"/work memory mode 0755; /work/old host optional"},
		{"replaced in an overlay", []policy.FileUse{with(dir(5, "/work"), names), with(file(5, "/work/old"), func(u *policy.FileUse) { u.Moved = true })},
			"/work host overlay optional"},
		{"no host path", []policy.FileUse{file(6, "/etc/hosts")}, "/etc/hosts text 1 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := p.Learn(policy.Record{Files: c.uses})
			var got []string
			for _, m := range q.Mounts {
				got = append(got, m.String())
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
			if err := q.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	p := inForce()
	p.Mounts = []policy.Mount{{Guest: "/usr", Kind: policy.KindHost, Host: "/usr"}, {Guest: "/tmp", Kind: policy.KindMemory}}
	p.Net.Host = true
	one := p.Learn(policy.Record{Calls: []policy.CallUse{use(p, "read", [6]uint64{}), use(p, "lseek", [6]uint64{}, low(2, 0)), use(p, "kill", [6]uint64{})},
		Files: []policy.FileUse{{Path: "/usr/a", Host: true}, {Path: "/usr/d", Dir: true, Host: true, Mode: 0o755}}, Dials: []string{"b.example:80"}})
	free := p
	free.Calls = free.Calls[2:]
	two := free.Learn(policy.Record{Calls: []policy.CallUse{use(free, "write", [6]uint64{}), use(free, "lseek", [6]uint64{}, low(2, 1)), use(free, "kill", [6]uint64{}, low(1, 15))},
		Files: []policy.FileUse{{Path: "/usr/d", Dir: true, Host: true, List: true}, {Path: "/tmp", Mount: 1, Dir: true}}, Dials: []string{"a.example:80"}})
	m := one.Merge(two)
	want := []string{"emulate read write", "emulate lseek if arg2&0xffffffff == 0x0", "emulate lseek if arg2&0xffffffff == 0x1",
		"emulate kill if arg1&0xffffffff == 0xf", "deny EPERM kill"}
	got := slices.DeleteFunc(short(m), func(s string) bool { return strings.HasPrefix(s, "allow") || strings.Contains(s, "restart_syscall") })
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if m.Learned() != 2 || !slices.Equal(m.Net.Allow, []string{"a.example:80", "b.example:80"}) {
		t.Error(m.Learned(), m.Net.Allow)
	}
	var mounts []string
	for _, n := range m.Mounts {
		mounts = append(mounts, n.String())
	}
	if s := strings.Join(mounts, "; "); s != "/tmp memory; /usr/a host optional; /usr/d host optional" {
		t.Error(s)
	}
	for _, q := range []policy.Policy{one, two} { // what each run had
		for _, line := range m.Diff(q) {
			if line[0] == '+' {
				t.Errorf("lost: %s", line)
			}
		}
	}
	if again := m.Merge(two); len(again.Calls) != len(m.Calls) || again.Learned() != 3 || strings.Contains(strings.Join(m.Diff(again), "\n"), "+") {
		t.Errorf("%v\n%v", again, m.Diff(again))
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	text := strings.Join(one.Diff(m), "\n")
	for _, want := range []string{"+ 2 calls: kill write", "+ lseek if arg2&0xffffffff == 0x1", "+ net: a.example:80", "+ mount /tmp memory"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestGoSource: what it prints is the policy.
func TestGoSource(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat("learn.go"); err != nil {
		t.Skip("runs elsewhere than in its source, which it compiles against")
	}
	seed := uint64(7)
	p := policy.Server()
	p.Seed, p.Limits.Wall, p.Net.Publish = &seed, 90e9, []policy.Publish{{Host: ":1", Guest: 2}}
	p.Calls[0].Audit = true
	source, err := p.GoSource("main", "Served")
	if err != nil {
		t.Fatal(err)
	}
	source = append(source, "\nfunc main() { b, _ := Served().Format(); print(string(b)) }\n"...)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	file, overlay := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "overlay.json")
	text := fmt.Sprintf(`{"Replace": {%q: %q}}`, filepath.Join(here, "source", "main.go"), file)
	for name, b := range map[string][]byte{file: source, overlay: []byte(text)} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("go", "run", "-overlay", overlay, "./source").CombinedOutput()
	want, _ := p.Format()
	if d := cmp.Diff(string(want), string(out)); err != nil || d != "" {
		t.Errorf("%v: %s", err, d)
	}
}
