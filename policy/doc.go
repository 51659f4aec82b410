// Package policy says what a jailed program may do, as data.
//
// A [Policy] holds everything about a jail that can be written down: what becomes
// of each system call, which files the guest sees, its limits, clock, identity and
// seed. Every field is exported and plain, so a policy prints, stores as JSON and
// compares with cmp.Diff. What only Go values can be (an fs.FS, a dial function, a
// handler) belongs to jail.Jail.
//
// # Starting points
//
// [Prison] shows a program nothing but itself and its standard streams, [Tool] the
// host's programs and libraries, [Overlay] the caller's whole world under a layer
// that takes every write. All three are ordinary values to change:
//
//	p := policy.Prison()
//	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/data", Kind: policy.KindHost, Host: "/srv/data"})
//	p.Limits.Wall = time.Minute
//	cmd := exec.Command("/usr/bin/wc", "-l", "/data/words")
//	proc, err := jail.Spawn(cmd, p)
//
// The zero Policy kills at the first call and shows nothing.
//
// # Calls
//
// Rules are an ordered list; the first that names the call and whose conditions
// all hold decides, and [Policy.Default] decides the rest. [Policy.Lookup] is the
// meaning; the seccomp filter and [Table] are shortcuts that are tested against
// it. To forbid something a preset permits, put a rule before its rules:
//
//	p.Calls = append([]policy.Rule{{Calls: []string{"mprotect"}, Action: policy.Deny, Errno: "EPERM"}}, p.Calls...)
//
// [Emulate] is the usual answer: the handler of that name answers from the
// virtual world, and a call that has none fails with ENOSYS. So io_uring_setup,
// userfaultfd, kcmp and everything not written yet need no rule.
// [Allow] lets the real kernel answer. [Native] lists the calls for which that is
// safe, each with its reason; think as hard before adding one.
//
// # Files
//
// Mounts make the guest's tree, the outer ones first. Nothing of the host's is
// visible but what a mount shows.
//
// # Network
//
// [Net] lists what of the network there is beside the jail's own loopback, nothing
// by default.
//
// # JSON
//
// [Parse] is strict, because a field that is misspelt in a policy is a hole: it
// refuses what it does not know, with line and column. [Policy.Format] writes.
//
// # What it does not protect against
//
// A policy means what it says: an Allow of openat gives the guest the host's
// files. [Policy.Validate] refuses only what cannot be meant, and the calls by
// which a guest would leave the warden's sight.
package policy
