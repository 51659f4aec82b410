package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

func seed(n uint64) *uint64 { return &n }

// full uses every field.
var full = policy.Policy{
	Calls: []policy.Rule{
		{Calls: []string{"mmap"}, When: []policy.Condition{{Arg: 3, Mask: 0x20, Op: "==", Value: 0x20}}, Action: policy.Allow, Reason: "own memory"},
		{Calls: []string{"openat", "open"}, Action: policy.Deny, Errno: "EACCES"},
		{Calls: []string{"reboot", policy.Sockets}, Action: policy.Kill, Audit: true, From: "Example"},
	},
	Default: policy.Emulate,
	Mounts: []policy.Mount{
		{Guest: "/", Kind: policy.KindHost, Host: "/", Write: true, Overlay: true, Bytes: 1 << 20, Inodes: 9},
		{Guest: "/", Kind: policy.KindProgram},
		{Guest: "/usr", Kind: policy.KindHost, Host: "/usr", Frozen: true, Optional: true},
		{Guest: "/usr/tmp", Kind: policy.KindMemory, Mode: 0o1777, Bytes: 5, Inodes: 5},
		{Guest: "/etc/motd", Kind: policy.KindText, Text: "hello\n", Mode: 0o400},
		{Guest: "/dev", Kind: policy.KindDev},
		{Guest: "/proc", Kind: policy.KindProc},
	},
	Limits: policy.Limits{Memory: 1 << 30, Tasks: 5, Files: 64, Descriptors: 99, Disk: 1 << 20, CPU: 90 * time.Second, Wall: time.Hour, Inodes: 7, Output: 8, Calls: 9},
	Net:    policy.Net{Host: true, Allow: []string{"example.com:443"}, Publish: []policy.Publish{{Host: ":80", Guest: 8080}}},
	Identity: policy.Identity{
		UID: 5, GID: 6, Groups: []uint32{7, 8}, Hostname: "here", CPUs: 2,
	},
	Time:  policy.Time{Start: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)},
	Audit: []string{policy.AuditRefusal, policy.AuditWrite},
	Seed:  seed(1 << 63),
}

func TestZeroKills(t *testing.T) {
	var p policy.Policy
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	want := policy.Decision{Action: policy.Kill, Rule: -1}
	table := p.Table()
	for nr := -1; nr <= sysno.Max+1; nr++ {
		if d := p.Lookup(sysno.Name(nr), [6]uint64{}); d != want {
			t.Errorf("call %d: %+v", nr, d)
		}
		if d := table.Lookup(nr, [6]uint64{}); d != want {
			t.Errorf("call %d in the table: %+v", nr, d)
		}
	}
}

func TestLookup(t *testing.T) {
	const big = 1 << 40
	for _, c := range []struct {
		when []policy.Condition
		arg  uint64
		want bool
	}{
		{nil, 0, true},
		{[]policy.Condition{{Op: "==", Value: 5}}, 5, true},
		{[]policy.Condition{{Op: "==", Value: 5}}, big + 5, false},
		{[]policy.Condition{{Op: "==", Mask: 0xffffffff, Value: 5}}, big + 5, true},
		{[]policy.Condition{{Op: "!=", Value: 5}}, 5, false},
		{[]policy.Condition{{Op: "!=", Mask: 0xff, Value: 5}}, 0x105, false},
		{[]policy.Condition{{Op: "<", Value: big}}, big - 1, true},
		{[]policy.Condition{{Op: "<", Value: big}}, big, false},
		{[]policy.Condition{{Op: "<=", Value: big}}, big, true},
		{[]policy.Condition{{Op: ">", Value: big}}, big, false},
		{[]policy.Condition{{Op: ">=", Value: big}}, 1 << 63, true},
		{[]policy.Condition{{Op: ">", Value: 1}, {Op: "<", Value: 4}}, 4, false},
		{[]policy.Condition{{Op: ">", Value: 1}, {Op: "<", Value: 4}}, 3, true},
		{[]policy.Condition{{Arg: 6, Op: "=="}}, 0, false},
		{[]policy.Condition{{Op: "="}}, 0, false},
	} {
		p := policy.Policy{
			Calls:   []policy.Rule{{Calls: []string{"read"}, When: c.when, Action: policy.Deny}},
			Default: policy.Emulate,
		}
		want := policy.Decision{Action: policy.Emulate, Rule: -1}
		if c.want {
			want = policy.Decision{Action: policy.Deny, Errno: 38, Rule: 0}
		}
		if d := p.Lookup("read", [6]uint64{c.arg}); d != want {
			t.Errorf("%v of %#x: %+v, want %+v", c.when, c.arg, d, want)
		}
	}
}

func TestOrder(t *testing.T) {
	p := policy.Policy{Calls: []policy.Rule{
		{Calls: []string{"read"}, When: []policy.Condition{{Op: "==", Value: 0}}, Action: policy.Allow},
		{Calls: []string{"write", "read"}, Action: policy.Deny, Errno: "EPERM"},
		{Calls: []string{"read"}, Action: policy.Allow},
	}}
	for fd, want := range []policy.Decision{{Action: policy.Allow, Rule: 0}, {Action: policy.Deny, Errno: 1, Rule: 1}} {
		args := [6]uint64{uint64(fd)}
		if d := p.Lookup("read", args); d != want {
			t.Errorf("read %d: %+v, want %+v", fd, d, want)
		}
		if d := p.Table().Lookup(0, args); d != want {
			t.Errorf("read %d in the table: %+v, want %+v", fd, d, want)
		}
	}
}

func TestValidate(t *testing.T) {
	behind := policy.Policy{Calls: append(policy.Parts(policy.Memory, policy.Changes), policy.Rule{Calls: []string{"mkdir"}, Action: policy.Kill})}
	rule := func(r policy.Rule) policy.Policy {
		return policy.Policy{Calls: []policy.Rule{{Calls: []string{"read"}, Action: policy.Emulate}, r}}
	}
	mount := func(m policy.Mount) policy.Policy {
		return policy.Policy{Mounts: []policy.Mount{{Guest: "/a/b", Kind: "memory"}, m}}
	}
	cond := func(c policy.Condition) policy.Policy {
		return rule(policy.Rule{Calls: []string{"read"}, When: []policy.Condition{c}, Action: policy.Kill})
	}
	for name, c := range map[string]struct {
		p    policy.Policy
		want string // "": valid
	}{
		"full":           {full, ""},
		"prison":         {policy.Prison(), ""},
		"tool":           {policy.Tool(), ""},
		"overlay":        {policy.Overlay(), ""},
		"strict":         {policy.Strict(), ""},
		"server":         {policy.Server(), ""},
		"unknown part":   {rule(policy.Rule{Calls: []string{"@file"}, Action: policy.Kill}), `calls[1].calls[0]: no part is named "@file": write one of @stdio @descriptors @poll`},
		"allowed part":   {rule(policy.Rule{Calls: []string{policy.Processes}, Action: policy.Allow}), "calls[1].calls[0]: clone may not be allowed"},
		"no argument":    {rule(policy.Rule{Calls: []string{"openat", "close"}, When: []policy.Condition{{Arg: 1, Op: "=="}}, Action: policy.Kill}), "calls[1].when[0].arg: close has 1 arguments, and arg 1 would be another"},
		"part's lacks":   {rule(policy.Rule{Calls: []string{policy.IDs}, When: []policy.Condition{{Op: "=="}}, Action: policy.Kill}), "calls[1].when[0].arg: getuid has 0 arguments"},
		"contradiction":  {rule(policy.Rule{Calls: []string{"read"}, When: []policy.Condition{{Op: "==", Value: 1}, {Op: "==", Mask: 0xff, Value: 2}}, Action: policy.Kill}), "calls[1].when[1]: never holds together with calls[1].when[0] (arg0 == 0x1)"},
		"behind a part":  {behind, "calls[6]: never decides, because the first rule that matches does, which is calls[5] (emulate @changes"},
		"no call":        {rule(policy.Rule{Action: policy.Kill}), "calls[1].calls: names no call"},
		"unknown call":   {rule(policy.Rule{Calls: []string{"read", "opanat"}, Action: policy.Kill}), `calls[1].calls[1]: no x86-64 call is named "opanat": write openat`},
		"strange call":   {rule(policy.Rule{Calls: []string{"frobnicate"}, Action: policy.Kill}), `calls[1].calls[0]: no x86-64 call is named "frobnicate": see syscalls(2)`},
		"no action":      {rule(policy.Rule{Calls: []string{"read"}}), "calls[1].action: is missing: write kill"},
		"bad action":     {rule(policy.Rule{Calls: []string{"read"}, Action: "alow"}), `calls[1].action: "alow" is no action: write kill`},
		"allowed clone":  {rule(policy.Rule{Calls: []string{"clone"}, Action: policy.Allow}), "calls[1].calls[0]: clone may not be allowed"},
		"errno":          {rule(policy.Rule{Calls: []string{"read"}, Action: policy.Deny, Errno: "EPREM"}), `calls[1].errno: "EPREM" is no error: write a name`},
		"useless errno":  {rule(policy.Rule{Calls: []string{"read"}, Action: policy.Kill, Errno: "EPERM"}), "calls[1].errno: is only for deny"},
		"arg":            {cond(policy.Condition{Arg: 6, Op: "=="}), "calls[1].when[0].arg: 6 is no argument: write 0 to 5"},
		"op":             {cond(policy.Condition{Op: "="}), `calls[1].when[0].op: "=" is no comparison: write ==`},
		"never":          {cond(policy.Condition{Op: "==", Mask: 1, Value: 2}), "calls[1].when[0].value: 0x2 has bits outside the mask 0x1"},
		"default":        {policy.Policy{Default: "x"}, `default: "x" is no default: write emulate`},
		"default allow":  {policy.Policy{Default: policy.Allow}, "default: allow would let every call"},
		"relative":       {mount(policy.Mount{Guest: "a", Kind: "memory"}), `mounts[1].guest: "a" is relative`},
		"unclean":        {mount(policy.Mount{Guest: "/a/../c/", Kind: "memory"}), `mounts[1].guest: "/a/../c/": write /c`},
		"no guest":       {mount(policy.Mount{Kind: "memory"}), "mounts[1].guest: is missing"},
		"kind":           {mount(policy.Mount{Guest: "/c", Kind: "tmpfs"}), `mounts[1].kind: "tmpfs" is no kind: write host`},
		"no host":        {mount(policy.Mount{Guest: "/c", Kind: "host"}), "mounts[1].host: is missing"},
		"relative host":  {mount(policy.Mount{Guest: "/c", Kind: "host", Host: "."}), `mounts[1].host: "." is relative`},
		"host of memory": {mount(policy.Mount{Guest: "/c", Kind: "memory", Host: "/c"}), "mounts[1].host: means nothing to a memory mount"},
		"twice":          {mount(policy.Mount{Guest: "/a/b", Kind: "memory"}), "mounts[1].guest: mounts[0] is at /a/b too"},
		"order":          {mount(policy.Mount{Guest: "/a", Kind: "memory"}), "mounts[1].guest: /a would hide mounts[0] at /a/b"},
		"root last":      {mount(policy.Mount{Guest: "/", Kind: "memory"}), "mounts[1].guest: / would hide mounts[0] at /a/b"},
		"frozen":         {mount(policy.Mount{Guest: "/c", Kind: "host", Host: "/c", Write: true, Frozen: true}), "mounts[1].frozen: a directory"},
		"bytes":          {mount(policy.Mount{Guest: "/c", Kind: "memory", Bytes: -1}), "mounts[1]: bytes and inodes may not be negative"},
		"mode":           {mount(policy.Mount{Guest: "/c", Kind: "memory", Mode: 0o10000}), "mounts[1].mode: 010000 is more"},
		"program":        {mount(policy.Mount{Guest: "/c", Kind: "program"}), `mounts[1].guest: "/c": what a program needs`},
		"audit":          {policy.Policy{Audit: []string{"exec", "all"}}, `audit[1]: "all" is no kind of record: write one of ["refusal"`},
		"audit twice":    {policy.Policy{Audit: []string{"exec", "exec"}}, "audit[1]: exec is there twice: remove one"},
		"limit":          {policy.Policy{Limits: policy.Limits{CPU: -1}}, "limits.cpu: is negative"},
		"hostname":       {policy.Policy{Identity: policy.Identity{Hostname: strings.Repeat("x", 65)}}, "identity.hostname: 65 bytes"},
		"cpus":           {policy.Policy{Identity: policy.Identity{CPUs: -1}}, "identity.cpus: -1 is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.p.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && err == nil:
				t.Error("no error, want", c.want)
			case c.want != "" && !strings.HasPrefix(err.Error(), "policy: "+c.want):
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	for name, p := range map[string]policy.Policy{
		"zero": {}, "full": full, "prison": policy.Prison(), "tool": policy.Tool(), "overlay": policy.Overlay(),
		"strict": policy.Strict(), "server": policy.Server(),
	} {
		text, err := p.Format()
		if err != nil {
			t.Fatal(name, err)
		}
		back, err := policy.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if d := cmp.Diff(p, back); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
		if lines, want := strings.Count(p.String(), "\n"), len(p.Calls)+len(p.Mounts); lines < want+2 || lines > want+7 {
			t.Errorf("%s: %d rules and mounts are printed in %d lines", name, want, lines)
		}
		if plain, err := json.Marshal(p); err != nil {
			t.Error(err)
		} else if back, err = policy.Parse(plain); err != nil || cmp.Diff(p, back) != "" {
			t.Errorf("%s: json.Marshal and Parse: %v\n%s", name, err, cmp.Diff(p, back))
		}
	}
}

// TestDiff: cmp.Diff shows what was changed, added or removed in a line each.
func TestDiff(t *testing.T) {
	rule := policy.Rule{Calls: []string{"read"}, When: []policy.Condition{{Arg: 0, Op: "==", Value: 3}}, Action: policy.Deny, Errno: "EPERM"}
	for name, c := range map[string]struct {
		change func(p *policy.Policy)
		want   string
	}{
		"action": {func(p *policy.Policy) { p.Calls[3].Action = policy.Kill },
			"- allow mmap if arg3&0x40020 == 0x20 # @memory: memory with no file behind it\n+ kill mmap if arg3&0x40020 == 0x20 # @memory: memory with no file behind it"},
		"condition": {func(p *policy.Policy) { p.Calls[2].When = rule.When },
			"- emulate @poll # waiting until a descriptor is ready\n+ emulate @poll if arg0 == 0x3 # waiting until a descriptor is ready"},
		"calls": {func(p *policy.Policy) { p.Calls[0].Calls = []string{"read", "write"} },
			"- emulate @stdio # reads and writes descriptors that are open\n+ emulate read write # @stdio: reads and writes descriptors that are open"},
		"added":   {func(p *policy.Policy) { p.Calls = slices.Insert(p.Calls, 1, rule) }, "+ deny EPERM read if arg0 == 0x3"},
		"removed": {func(p *policy.Policy) { p.Calls = slices.Delete(p.Calls, 2, 3) }, "- emulate @poll # waiting until a descriptor is ready"},
		"mount":   {func(p *policy.Policy) { p.Mounts[1].Guest = "/x" }, "- /dev dev\n+ /x dev"},
		"limit":   {func(p *policy.Policy) { p.Limits.Tasks = 7 }, "- Tasks: 256,\n+ Tasks: 7,"},
		"default": {func(p *policy.Policy) { p.Default = policy.Kill }, `- Default: "deny",` + "\n" + `+ Default: "kill",`},
	} {
		p, q := policy.Prison(), policy.Prison()
		c.change(&q)
		var lines []string
		for line := range strings.Lines(cmp.Diff(p, q)) {
			if line[0] != '-' && line[0] != '+' {
				continue
			}
			line = strings.Join(strings.Fields(line), " ")
			if sign, text, ok := strings.Cut(line, ` s"`); ok { // what String gave
				line = sign + " " + strings.TrimSuffix(text, `",`)
			}
			lines = append(lines, line)
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// mistakes are policies with one mistake each, where § is, and what is said of it:
// what is wrong there, and what to write instead.
var mistakes = []struct{ text, want string }{
	// No JSON.
	{"§", "unexpected end of JSON input: JSON has names and texts in double quotes"},
	{"{\n  \"calls\": [§}", "invalid character '}' looking for beginning of value: JSON has"},
	{"{\"calls\": [],\n§}", "invalid character '}' looking for beginning of object key string: JSON has"},
	{"{\n§// none\n}", "no comments"},
	{"{§'default': 'kill'}", "double quotes"},
	{"{\"calls\": []\n§\"default\": \"kill\"}", "a comma between two values"},
	{"{} §{}", "one value"},
	// Of the wrong form.
	{"§[]", "is a JSON array: write an object in { }"},
	{" §null\n", "is a JSON null: write an object in { }"},
	{`{"limits": §null}`, "limits: is a JSON null: write an object in { }"},
	{`{"limits": {"wall": §null}}`, `limits.wall: is a JSON null: write a text in quotes like "1m30s"`},
	{`{"mounts": [§null]}`, "mounts[0]: is a JSON null: write an object in { }"},
	{`{"default": §null}`, "default: is a JSON null: write a text in quotes"},
	{`{"seed": §null}`, "seed: is a JSON null: write a whole number from 0 to 18446744073709551615"},
	{`{"time": {"start": §null}}`, "time.start: write a time like 2006-01-02T15:04:05Z"},
	{"{\n §\"Calls\": []}", "Calls: is no field here; the fields are calls, default, mounts, limits, net, identity, time, audit, seed"},
	{`{"calls": [{"calls": ["read"], §"wen": []}]}`, "calls[0].wen: is no field here; the fields are calls, when, action, errno, audit, reason, from"},
	{"{\"limits\": {\n§\"dsk\": 1}}", "limits.dsk: is no field here; the fields are memory, tasks, files, descriptors, disk, inodes, output, cpu, wall, calls"},
	{`{"net": {§"alow": []}}`, "net.alow: is no field here; the fields are host, allow, publish"},
	{`{"mounts": [{"guest": "/a", "kind": "memory", §"size": 1}]}`, "mounts[0].size: is no field here; the fields are guest, kind, host"},
	{`{"identity": {§"user": 0}}`, "identity.user: is no field here; the fields are uid, gid"},
	{`{"default": "kill", §"default": "emulate"}`, "default: is there twice: remove one"},
	{`{"calls": §"read"}`, "calls: is a JSON string: write a list in [ ], each an object in { }"},
	{`{"calls": [{"calls": §"read", "action": "kill"}]}`, "calls[0].calls: is a JSON string: write a list in [ ], each a text in quotes"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"arg": §"0", "op": "=="}]}]}`, "calls[0].when[0].arg: is a JSON string: write a whole number"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"op": "==", "value": §-1}]}]}`, "calls[0].when[0].value: is a JSON number -1: write a whole number from 0 to 18446744073709551615"},
	{`{"calls": [{"calls": ["read"], "action": §1}]}`, "calls[0].action: is a JSON number: write a text in quotes"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "audit": §"yes"}]}`, "calls[0].audit: is a JSON string: write true or false"},
	{"{\"limits\": {\n\"disk\": §\"1G\"}}", "limits.disk: is a JSON string: write a whole number"},
	{`{"limits": {"tasks": §1.5}}`, "limits.tasks: is a JSON number 1.5: write a whole number"},
	{"{\"limits\": {\n\"wall\": §\"1x\"}}", `limits.wall: "1x" is no time: write one like "1m30s"`},
	{`{"limits": {"cpu": §5}}`, `limits.cpu: is a JSON number: write a text in quotes like "1m30s"`},
	{`{"identity": {"uid": §-1}}`, "identity.uid: is a JSON number -1: write a whole number from 0 to 4294967295"},
	{`{"time": {"start": §{}}}`, "time.start: write a time like 2006-01-02T15:04:05Z"},
	{`{"time": {"start": §"noon"}}`, "time.start: write a time like 2006-01-02T15:04:05Z"},
	{`{"seed": §"1"}`, "seed: is a JSON string: write a whole number from 0 to 18446744073709551615"},
	// Rules.
	{"{\"calls\": [\n{\"calls\": [§\"raed\"], \"action\": \"kill\"}]}", `calls[0].calls[0]: no x86-64 call is named "raed": write read`},
	{`{"calls": [{"calls": ["read", §"@sokcets"], "action": "kill"}]}`, `calls[0].calls[1]: no part is named "@sokcets": write one of @stdio`},
	{`{"calls": [{"calls": §[], "action": "kill"}]}`, "calls[0].calls: names no call: name one, or remove the rule"},
	{"{\"calls\": [\n§{\"calls\": [\"read\"]}]}", "calls[0].action: is missing: write kill, emulate, allow or deny"},
	{`{"calls": [{"calls": ["read"], "action": §"alow"}]}`, `calls[0].action: "alow" is no action: write kill, emulate, allow or deny`},
	{`{"calls": [{"calls": ["read"], "action": "deny", "errno": §"EPREM"}]}`, `calls[0].errno: "EPREM" is no error: write a name such as EPERM`},
	{`{"calls": [{"calls": ["read"], "action": "kill", "errno": §"EPERM"}]}`, "calls[0].errno: is only for deny: remove it, or make the action deny"},
	{`{"calls": [{"calls": [§"clone"], "action": "allow"}]}`, "calls[0].calls[0]: clone may not be allowed (its child must be known to the warden): emulate or deny it"},
	{`{"calls": [{"calls": [§"@processes"], "action": "allow"}]}`, "may not be allowed"},
	{`{"calls": [{"calls": ["close"], "action": "kill", "when": [{"op": "==", "arg": §1}]}]}`, "calls[0].when[0].arg: close has 1 arguments, and arg 1 would be another: arguments count from 0"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"op": "==", "arg": §6}]}]}`, "calls[0].when[0].arg: 6 is no argument: write 0 to 5"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"op": §"="}]}]}`, `calls[0].when[0].op: "=" is no comparison: write ==`},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [§{"arg": 1}]}]}`, `calls[0].when[0].op: "" is no comparison: write ==`},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"op": "==", "mask": 1, "value": §2}]}]}`, "calls[0].when[0].value: 0x2 has bits outside the mask 0x1, so it never equals: clear them, or widen the mask"},
	{`{"calls": [{"calls": ["read"], "action": "kill", "when": [{"op": "==", "value": 1}, §{"op": "==", "value": 2}]}]}`, "calls[0].when[1]: never holds together with calls[0].when[0] (arg0 == 0x1): remove one, or make two rules"},
	{"{\"calls\": [{\"calls\": [\"@files\"], \"action\": \"emulate\", \"from\": \"@files\"},\n§{\"calls\": [\"open\"], \"action\": \"kill\"}]}", "calls[1]: never decides, because the first rule that matches does, which is calls[0] (emulate @files): put this one before it"},
	{`{"default": §"x"}`, `default: "x" is no default: write emulate, deny or kill`},
	{`{"default": §"allow"}`, "default: allow would let every call nobody thought of reach the real kernel: name the calls to allow in a rule"},
	// Mounts.
	{`{"mounts": [§{"kind": "memory"}]}`, "mounts[0].guest: is missing: write an absolute path"},
	{`{"mounts": [{"guest": §"a", "kind": "memory"}]}`, `mounts[0].guest: "a" is relative: write an absolute path`},
	{`{"mounts": [{"guest": §"/a/../c/", "kind": "memory"}]}`, `mounts[0].guest: "/a/../c/": write /c`},
	{`{"mounts": [{"guest": §"/a\u0000", "kind": "memory"}]}`, `mounts[0].guest: "/a\x00" contains a NUL byte: remove it`},
	{`{"mounts": [{"guest": "/a", "kind": §"tmpfs"}]}`, `mounts[0].kind: "tmpfs" is no kind: write host, memory, text, dev, proc or program`},
	{`{"mounts": [§{"guest": "/a", "kind": "host"}]}`, "mounts[0].host: is missing: write an absolute path"},
	{`{"mounts": [{"guest": "/a", "kind": "memory", "host": §"/a"}]}`, "mounts[0].host: means nothing to a memory mount: remove it"},
	{"{\"mounts\": [{\"guest\": \"/a\", \"kind\": \"memory\"},\n{\"guest\": §\"/a\", \"kind\": \"proc\"}]}", "mounts[1].guest: mounts[0] is at /a too: remove one"},
	{"{\"mounts\": [{\"guest\": \"/a/b\", \"kind\": \"memory\"},\n{\"guest\": §\"/a\", \"kind\": \"memory\"}]}", "mounts[1].guest: /a would hide mounts[0] at /a/b: put the outer mount first"},
	{`{"mounts": [{"guest": "/a", "kind": "host", "host": "/a", "write": true, "frozen": §true}]}`, "mounts[0].frozen: a directory the guest writes through to is not frozen: remove frozen or write"},
	{`{"mounts": [§{"guest": "/a", "kind": "memory", "bytes": -1}]}`, "mounts[0]: bytes and inodes may not be negative: leave them out for no bound"},
	{`{"mounts": [§{"guest": "/a", "kind": "host", "host": "/a", "bytes": 1}]}`, "mounts[0]: bytes and inodes bound what is in memory: set overlay, or remove them"},
	{`{"mounts": [{"guest": "/a", "kind": "memory", "mode": §4096}]}`, "mounts[0].mode: 010000 is more than 07777: write"},
	{`{"mounts": [{"guest": §"/a", "kind": "program"}]}`, `mounts[0].guest: "/a": what a program needs appears at its own paths, so write /`},
	// The rest.
	{`{"limits": {"files": §-1}}`, "limits.files: is negative: leave it out for no bound"},
	{`{"limits": {"wall": §"-1s"}}`, "limits.wall: is negative: leave it out for no bound"},
	{`{"net": {"allow": ["a.example:1", §"b.example"]}}`, `net.allow[1]: "b.example": write name:port, such as example.com:443`},
	{`{"net": {"allow": [§"b.example:http"]}}`, `net.allow[0]: "b.example:http": the port is a number from 1 to 65535, or * for any`},
	{`{"net": {"publish": [{"host": §"80", "guest": 80}]}}`, `net.publish[0].host: "80": write the address where the host listens, such as 127.0.0.1:8080 or :8080`},
	{`{"net": {"publish": [{"host": ":80", "guest": §70000}]}}`, "net.publish[0].guest: 70000 is no port: write 1 to 65535"},
	{`{"audit": ["exec", §"all"]}`, `audit[1]: "all" is no kind of record: write one of ["refusal"`},
	{`{"audit": ["exec", §"exec"]}`, "audit[1]: exec is there twice: remove one"},
	{`{"identity": {"cpus": §-1}}`, "identity.cpus: -1 is negative: leave it out for the host's number"},
	{`{"identity": {"hostname": §"` + strings.Repeat("x", 65) + `"}}`, "identity.hostname: 65 bytes: write at most 64"},
}

// TestMistakes: each is refused with its line and column, and what to do about it.
func TestMistakes(t *testing.T) {
	if len(mistakes) < 50 {
		t.Errorf("only %d", len(mistakes))
	}
	for _, c := range mistakes {
		before, after, _ := strings.Cut(c.text, "§")
		line := 1 + strings.Count(before, "\n")
		col := len(before) - strings.LastIndexByte(before, '\n')
		_, err := policy.Parse([]byte(before + after))
		var e *policy.Error
		want := fmt.Sprintf("policy: line %d, column %d: ", line, col)
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n  %v\nwant %s%s", c.text, err, want, c.want)
		}
	}
	_, err := policy.Parse([]byte(`{"default": "x", "mounts": [{"guest": "a", "kind": "memory"}]}`))
	if n := strings.Count(err.Error(), "column"); n != 2 {
		t.Errorf("%d errors of two: %v", n, err)
	}
}

// TestNative holds the list against what it must never let through.
func TestNative(t *testing.T) {
	p := policy.Policy{Calls: policy.Native(), Default: policy.Emulate}
	for i, r := range p.Calls {
		if r.Reason == "" {
			t.Errorf("rule %d (%s) has no reason", i, r)
		}
	}
	const bit32 = 1 << 32
	for _, c := range []struct {
		call string
		args [6]uint64
		want policy.Action
	}{
		{"mmap", [6]uint64{0, 4096, 3, 0x22, ^uint64(0)}, policy.Allow},
		{"mmap", [6]uint64{0, 4096, 3, 0x02, 3}, policy.Emulate},
		{"rt_sigaction", [6]uint64{2}, policy.Allow},
		{"rt_sigaction", [6]uint64{17}, policy.Emulate},
		{"rt_sigaction", [6]uint64{bit32 + 17}, policy.Emulate},
		{"arch_prctl", [6]uint64{0x1002}, policy.Allow},
		{"arch_prctl", [6]uint64{bit32 + 0x1003}, policy.Allow},
		{"arch_prctl", [6]uint64{0x1001}, policy.Emulate},
		{"mmap", [6]uint64{0, 4096, 3, 0x40022, ^uint64(0)}, policy.Emulate}, // MAP_HUGETLB
		{"madvise", [6]uint64{0, 0, 4}, policy.Allow},
		{"madvise", [6]uint64{0, 0, 100}, policy.Deny},
		{"madvise", [6]uint64{0, 0, bit32 + 101}, policy.Deny},
		{"futex", [6]uint64{0, 128}, policy.Allow},
		{"futex", [6]uint64{0, 256 + 9}, policy.Allow},
		{"futex", [6]uint64{0, 6}, policy.Deny},
		{"futex", [6]uint64{0, bit32 + 128 + 6}, policy.Deny},
		{"futex", [6]uint64{0, 128 + 13}, policy.Deny},
		{"exit", [6]uint64{}, policy.Allow},
		{"munmap", [6]uint64{}, policy.Allow},
	} {
		if d := p.Lookup(c.call, c.args); d.Action != c.want {
			t.Errorf("%s%x: %s, want %s", c.call, c.args, d.Action, c.want)
		}
	}
	native := map[string]bool{}
	for _, r := range p.Calls {
		for _, name := range r.Calls {
			native[name] = true
		}
	}
	if len(native) > 25 {
		t.Errorf("%d calls run natively; about twenty are promised", len(native))
	}
	for _, name := range strings.Fields(`clone clone3 fork vfork execve execveat restart_syscall rt_sigtimedwait
		remap_file_pages mincore prctl ptrace seccomp kill tgkill get_robust_list set_tid_address io_uring_setup userfaultfd
		process_vm_readv process_madvise kcmp pidfd_open perf_event_open bpf shmat open read write close dup ioctl gettid`) {
		if native[name] {
			t.Error(name, "may not be native")
		}
	}
}

func TestToolShowsNoSecrets(t *testing.T) {
	p := policy.Tool()
	for _, secret := range []string{
		"/etc/shadow", "/etc/ssh/ssh_host_rsa_key", "/etc/ssl/private/key.pem", "/etc/gitconfig", "/root/.ssh/id_rsa",
		"/home/someone", "/opt/app", "/sys/class", "/proc/1", "/var/log/syslog", "/etc/npmrc", "/etc/php/8.2/cli/php.ini",
	} {
		for _, m := range p.Mounts {
			if m.Kind == policy.KindHost && strings.HasPrefix(secret+"/", strings.TrimSuffix(m.Host, "/")+"/") {
				t.Errorf("%s is visible through %s", secret, m)
			}
		}
	}
	for _, m := range p.Mounts {
		if m.Write || m.Kind == policy.KindHost && !m.Frozen {
			t.Errorf("%s: the host's files are read-only and frozen", m)
		}
		if m.Guest == "/etc/passwd" {
			for line := range strings.Lines(m.Text) {
				if f := strings.Split(line, ":"); len(f) != 7 || f[1] != "x" || len(f[2]) > 3 && f[2] != "1000" && f[2] != "65534" {
					t.Errorf("passwd line %q", line)
				}
			}
		}
	}
	if _, err := os.Stat("/usr/bin"); err == nil && !strings.Contains(p.String(), "mount /usr host frozen") {
		t.Error("no /usr")
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []policy.Policy{{}, full, policy.Prison()} {
		text, _ := p.Format()
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Parse(text)
		if err != nil {
			if !strings.Contains(err.Error(), "column") {
				t.Errorf("no position: %v", err)
			}
			return
		}
		again, err := p.Format()
		if err != nil {
			t.Fatal(err)
		}
		back, err := policy.Parse(again)
		if d := cmp.Diff(p, back); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
		_ = p.String()
	})
}

func BenchmarkValidate(b *testing.B) {
	p := policy.Tool()
	for b.Loop() {
		if err := p.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
