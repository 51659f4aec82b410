package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"oubliette/policy"
)

// A policy is a value: start from a preset and change it.
func Example() {
	p := policy.Prison()
	p.Calls = append([]policy.Rule{{
		Calls: []string{"socket"}, Action: policy.Deny, Errno: "EACCES", Reason: "no network, not even its own",
	}}, p.Calls...)
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/data", Kind: policy.KindHost, Host: "/srv/data"})
	fmt.Println(p.Validate())
	fmt.Println(p.Lookup("socket", [6]uint64{2, 1, 0}))
	fmt.Println(p.Lookup("openat", [6]uint64{}))
	// Output:
	// <nil>
	// {deny 13 0 false}
	// {emulate 0 31 false}
}

func ExamplePolicy_String() {
	fmt.Print(policy.Policy{
		Calls: []policy.Rule{
			{Calls: []string{"mmap"}, When: []policy.Condition{{Arg: 3, Mask: 0x20, Op: "==", Value: 0x20}}, Action: policy.Allow, Reason: "MAP_ANONYMOUS"},
			{Calls: []string{"open", "openat"}, Action: policy.Deny},
		},
		Default: policy.Emulate,
		Mounts:  []policy.Mount{{Guest: "/tmp", Kind: policy.KindMemory, Mode: 0o1777}},
	})
	// Output:
	// 0: allow mmap if arg3&0x20 == 0x20 # MAP_ANONYMOUS
	// 1: deny ENOSYS open openat
	// default: emulate
	// mount /tmp memory mode 1777
	// identity uid 0 gid 0 hostname oubliette
}

func ExampleParse() {
	_, err := policy.Parse([]byte(`{
	"calls": [{"calls": ["opanat"], "action": "deny"}]
}`))
	fmt.Println(err)
	// Output:
	// policy: line 2, column 23: calls[0].calls[0]: no x86-64 call is named "opanat": write openat
}

func ExampleNative() {
	for _, r := range policy.Native()[:2] {
		fmt.Println(r)
	}
	// Output:
	// allow mmap if arg3&0x40020 == 0x20 # @memory: memory with no file behind it
	// allow munmap mprotect brk # @memory: the guest's own mappings; those of the arena cannot become writable
}

func ExampleCondition() {
	c := policy.Condition{Arg: 1, Op: ">=", Value: 4096}
	fmt.Println(c, c.Holds([6]uint64{0, 4095}), c.Holds([6]uint64{0, 4096}))
	// Output:
	// arg1 >= 0x1000 false true
}

func ExampleMount() {
	for _, m := range []policy.Mount{
		{Guest: "/usr", Kind: policy.KindHost, Host: "/usr", Frozen: true},
		{Guest: "/work", Kind: policy.KindHost, Host: "/srv/project", Overlay: true, Bytes: 1 << 20},
		{Guest: "/etc/motd", Kind: policy.KindText, Text: "be nice\n"},
	} {
		fmt.Println(m)
	}
	// Output:
	// /usr host frozen
	// /work host /srv/project overlay at most 1048576 bytes
	// /etc/motd text 8 bytes
}

// A program that answers the same on every run.
func ExampleTime() {
	p := policy.Prison()
	seed := uint64(42)
	p.Seed = &seed
	p.Time = policy.Time{Start: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	p.Identity = policy.Identity{UID: 1, GID: 1, Hostname: "nowhere", CPUs: 2}
	p.Limits = policy.Limits{Memory: 1 << 30, Wall: time.Minute}
	_, settings, _ := strings.Cut(p.String(), "mount /dev dev\n")
	fmt.Print(settings)
	// Output:
	// limits memory 1073741824 wall 1m0s
	// identity uid 1 gid 1 hostname nowhere cpus 2
	// time 2000-01-01 00:00:00 +0000 UTC
	// seed 42
}

// Who looks up every call of a running program asks a Table.
func ExampleTable() {
	t := policy.Prison().Table()
	const mmap, anonymous = 9, 0x22
	fmt.Println(t.Lookup(mmap, [6]uint64{0, 4096, 3, anonymous}).Action)
	fmt.Println(t.Lookup(mmap, [6]uint64{0, 4096, 3, 0, 5}).Action)
	// Output:
	// allow
	// emulate
}

func ExampleError() {
	err := policy.Policy{Mounts: []policy.Mount{{Guest: "data", Kind: policy.KindMemory}}}.Validate()
	var e *policy.Error
	if errors.As(err, &e) {
		fmt.Println(e.Where)
		fmt.Println(e.What)
	}
	// Output:
	// mounts[0].guest
	// "data" is relative: write an absolute path
}

func ExampleNet() {
	p := policy.Prison()
	p.Net = policy.Net{Allow: []string{"api.example.com:443"}, Publish: []policy.Publish{{Host: "127.0.0.1:8080", Guest: 80}}}
	fmt.Println(p.Validate(), p.Net)
	// Output: <nil>  allow api.example.com:443 publish 127.0.0.1:8080 as port 80
}
