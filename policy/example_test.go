package policy_test

import (
	"fmt"

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
	// {deny 13 0}
	// {emulate 0 -1}
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
	// allow mmap if arg3&0x20 == 0x20 # memory with no file behind it
	// allow munmap mprotect mremap brk # the guest's own mappings; those of the arena cannot become writable, nor reach another file
}

func ExampleCondition() {
	c := policy.Condition{Arg: 1, Op: ">=", Value: 4096}
	fmt.Println(c, c.Holds([6]uint64{0, 4095}), c.Holds([6]uint64{0, 4096}))
	// Output:
	// arg1 >= 0x1000 false true
}
