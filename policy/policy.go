package policy

import "time"

// Action is what becomes of a call.
type Action string

// The actions. The empty Action is Kill, so that a zero Policy kills.
const (
	Kill    Action = "kill"    // end the jail with a Violation
	Emulate Action = "emulate" // the handler of that name answers
	Allow   Action = "allow"   // the real kernel answers; never stops where the filter can tell
	Deny    Action = "deny"    // fail with Rule.Errno
)

// The kinds of [Mount].
const (
	KindHost    = "host"    // Host's directory or file; see Mount.Host
	KindMemory  = "memory"  // an empty directory of its own, its owner Identity
	KindText    = "text"    // a read-only file that holds Text
	KindDev     = "dev"     // null, zero, full, random, urandom, tty, ptmx, pts, fd, stdin, stdout, stderr
	KindProc    = "proc"    // the jail's own processes
	KindProgram = "program" // the program, its interpreter and libraries; see Mount.Guest
)

// Policy is everything about a jail that can be written down. It is plain data:
// it prints, stores as JSON and compares with cmp.Diff. The zero Policy kills at
// the first call and shows nothing.
type Policy struct {
	// Calls is an ordered list; the first rule that matches decides.
	Calls []Rule `json:"calls"`
	// Default decides where no rule matches.
	Default Action `json:"default,omitempty"`
	// Mounts is the guest's tree, outer mounts first. Mount points that do not
	// exist appear by themselves. None at "/": an empty root that only uid 0
	// may write.
	Mounts []Mount `json:"mounts,omitempty"`
	// Limits bounds what the guest may use.
	Limits Limits `json:"limits,omitzero"`
	// Net is what it may reach of the network. Zero: nothing.
	Net Net `json:"net,omitzero"`
	// Identity is who the guest is.
	Identity Identity `json:"identity,omitzero"`
	// Time replaces the host's clock. Zero: the host's.
	Time Time `json:"time,omitzero"`
	// Audit lists the kinds of records that Jail.Logger gets, from the Audit
	// constants. What a rule with Audit decides is recorded besides.
	Audit []string `json:"audit,omitempty"`
	// Seed, if not nil, makes all randomness the guest sees repeatable, addresses
	// too. With Time, a whole run is; see package jail.
	Seed *uint64 `json:"seed,omitempty"`
}

// Rule says what happens to some calls.
type Rule struct {
	// Calls names system calls as the man pages do (openat, getdents64), or
	// whole parts (@files).
	Calls []string `json:"calls"`
	// When must all hold for the rule to match.
	When []Condition `json:"when,omitempty"`
	// Action decides.
	Action Action `json:"action"`
	// Errno is the error name of a Deny ("EPERM"); empty means ENOSYS.
	Errno string `json:"errno,omitempty"`
	// Audit has each call that the rule decides recorded by the jail's logger,
	// one that is allowed too: it stops then, and costs what stops cost.
	Audit bool `json:"audit,omitempty"`
	// Reason is why, for whoever reads the policy.
	Reason string `json:"reason,omitempty"`
	// From names the part or preset that the rule comes from; "": the policy's
	// own. It decides nothing.
	From string `json:"from,omitempty"`
}

// Condition compares one argument: arg & Mask (all bits if 0) Op Value.
//
// The kernel takes only the low half of an argument whose C type is int or
// unsigned int, so such an argument needs Mask 0xffffffff (or less): without it
// a guest that sets bit 32 changes what the rule sees and not what the kernel does.
type Condition struct {
	Arg   int    `json:"arg"` // 0 to 5
	Mask  uint64 `json:"mask,omitempty"`
	Op    string `json:"op"` // ==, !=, <, <=, >, >= (unsigned, 64 bits)
	Value uint64 `json:"value"`
}

// Mount puts a file system at Guest.
type Mount struct {
	// Guest is the absolute path in the guest's tree. For KindProgram it is
	// "/": what the program needs appears, read-only, at its own paths.
	Guest string `json:"guest"`
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	// Host is the absolute host path of a KindHost mount, a directory or a
	// file. A symlink is followed, unless Host and Guest are the same path:
	// then the guest gets the same symlink (/bin -> usr/bin stays as it is).
	Host string `json:"host,omitempty"`
	// Text is what the file of a KindText mount holds.
	Text string `json:"text,omitempty"`
	// Write lets the guest write: through to the host, unless Overlay. There the
	// caller's own files are the guest's user's.
	Write bool `json:"write,omitempty"`
	// Overlay takes every write in memory over the host directory.
	Overlay bool `json:"overlay,omitempty"`
	// Frozen says that nobody changes the host files during the run, so that
	// attributes may be cached.
	Frozen bool `json:"frozen,omitempty"`
	// Optional skips the mount if Host does not exist.
	Optional bool `json:"optional,omitempty"`
	// Bytes and Inodes bound a memory or overlay mount. 0: no bound of its own.
	Bytes  int64 `json:"bytes,omitempty"`
	Inodes int64 `json:"inodes,omitempty"`
	// Mode is the mode of a memory mount's root or a text file as chmod(2) has
	// it, sticky bit and all. 0: 0755, 0644.
	Mode uint32 `json:"mode,omitempty"`
}

// Limits bounds a jail. 0 is no bound beyond the host's. Beyond a bound the guest
// gets the errno or signal that Linux has for it, or the jail ends, and Wait says
// which limit it was. No cgroups are needed. In JSON the times are written as Go
// does ("1m30s").
type Limits struct {
	// Memory is bytes. A process whose private data would be larger gets ENOMEM
	// (RLIMIT_DATA); a jail whose processes together hold more, page tables
	// included, ends. With it brk, mmap to write, and mprotect to write of 64 KiB or
	// more stop at the warden, which learns from the kernel's answer that the bound
	// was met; a smaller mprotect that is refused goes unseen.
	Memory int64 `json:"memory,omitempty"`
	// Tasks is processes and threads alive or not waited for. EAGAIN.
	Tasks int `json:"tasks,omitempty"`
	// Files is descriptors of each process (RLIMIT_NOFILE). EMFILE.
	Files int `json:"files,omitempty"`
	// Descriptors is descriptors of all processes together, each process's own
	// counted. ENFILE, of fork too.
	Descriptors int `json:"descriptors,omitempty"`
	// Disk is bytes in all in-memory and overlay files together. ENOSPC; SIGBUS of a
	// store or load that needs one page more of a mapped file. Up to a sixteenth of
	// it is counted ahead, of pages that a guest may touch and has not, and so is, as
	// long as the file is mapped, what has a hole punched. What the guest writes
	// through a mount for writing is Output; of such files it can map as much again
	// to write. ENOMEM.
	Disk int64 `json:"disk,omitempty"`
	// Inodes is files, directories and further names in memory and overlays,
	// those of /dev included. ENOSPC. In a mount for writing they are the host's to
	// bound.
	Inodes int64 `json:"inodes,omitempty"`
	// Output is bytes written to what the guest was given of the host, all
	// together: its standard streams, extra files and terminal, files of mounts for
	// writing, what it stores through mappings of them and has fallocate(2) take
	// included, and what it sends to the network outside, in datagrams and names to
	// look up too. Just as many come out, of datagrams and names whole ones, then the
	// jail ends.
	Output int64 `json:"output,omitempty"`
	// CPU is CPU time. A process that uses more gets SIGXCPU, in whole seconds,
	// rounded up (RLIMIT_CPU); a jail whose processes together, past ones
	// included, use half a second more ends.
	CPU time.Duration `json:"cpu,omitempty"`
	// Wall is time from Spawn to the end. The jail ends, and waits 0.3 s at most for
	// what it wrote to go out.
	Wall time.Duration `json:"wall,omitempty"`
	// Calls is calls a second that stop at the warden, those of all tasks together. One second's
	// worth may come at once; a task that makes more sleeps until it is due, as
	// where a disk or a link is slow. What runs natively is not counted.
	Calls int `json:"calls,omitempty"`
}

// Identity is who and where the guest believes it is.
type Identity struct {
	UID      uint32   `json:"uid"`
	GID      uint32   `json:"gid"`
	Groups   []uint32 `json:"groups,omitempty"`
	Hostname string   `json:"hostname,omitempty"` // "": "oubliette"
	CPUs     int      `json:"cpus,omitempty"`     // 0: the host's, or with Time one
}

// Time is the guest's clock.
type Time struct {
	// Start, if not zero, is the virtual time at which the guest starts; the
	// clock then advances only with calls and when all tasks sleep, and one guest
	// thread runs at a time.
	Start time.Time `json:"start,omitzero"`
}
