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
// From the strictest to the widest: [Strict] lets a static program read, write and
// exit; [Prison] shows any program nothing but itself and its standard streams,
// [Tool] the host's programs and libraries, [Server] a private /var besides;
// [Overlay] is the caller's whole world under a layer that takes every write. All
// are ordinary values to change:
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
// it. To forbid something a preset permits, put a rule before its rules, and Audit
// to have it recorded:
//
//	p.Calls = append([]policy.Rule{{Calls: []string{"mprotect"}, Action: policy.Deny, Errno: "EPERM", Audit: true}}, p.Calls...)
//
// A rule may name a part for all its calls: [Files], [Sockets], [Processes]. Every
// call is in one part, and [Parts] makes rules that give a guest some of them; so
// this is Prison without sockets and new processes:
//
//	p := policy.Prison()
//	p.Calls = policy.Parts(slices.DeleteFunc(policy.PartNames(), func(s string) bool {
//		return s == policy.Sockets || s == policy.Processes
//	})...)
//
// [Policy.Explain] tells of a call which rule decides it, what would permit it and
// what that would cost, [Policy.ExplainFile] of a file which mount it lacks;
// [Policy.Surface] tells of a policy what it lets a guest do
// to the host's kernel, and through which of our code.
//
// [Emulate] is the usual answer: the handler of that name answers from the
// virtual world, and a call that has none fails with ENOSYS. So io_uring_setup,
// userfaultfd and everything else in [Absent] is as harmless as what is denied.
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
// # Learning
//
// A jail that has a [Record] notes in it what a run uses; [Policy.Learn] makes of it
// the smallest policy under which the same can be done again, [Policy.Merge] adds what
// other runs needed, [Policy.Diff] tells what is dropped, and [Policy.GoSource] writes
// Go. What differs then is what nobody can see without looking: attributes of
// directories of which only the existence is learned, and names that were looked up
// and not connected to.
//
// # JSON
//
// [Parse] is strict, because a field that is misspelt in a policy is a hole: it
// refuses what it does not know, with line, column and path. [Policy.Format]
// writes, and [Schema] is for editors.
//
// # What it does not protect against
//
// A policy means what it says: an Allow of openat gives the guest the host's
// files. [Policy.Validate] refuses only what cannot be meant, and the calls by
// which a guest would leave the warden's sight.
package policy
