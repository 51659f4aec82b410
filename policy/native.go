package policy

// Argument values of the native calls (include/uapi/linux, arch/x86/include/uapi/asm).
const (
	intBits = 0xffffffff // what the kernel sees of an int argument

	mapAnonymous = 0x20
	mapHugeTLB   = 0x40000
	madvHWPoison = 100
	sigchld      = 17
	archSetFS    = 0x1002
	archGetFS    = 0x1003
	cloneThread  = 0x10000
	futexOptions = 128 | 256 // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
)

// futexOps are the operations of futex(2) that may run natively, frequent ones
// first.
var futexOps = []struct {
	name  string
	value uint64
}{
	{"FUTEX_WAIT", 0}, {"FUTEX_WAKE", 1}, {"FUTEX_WAIT_BITSET", 9}, {"FUTEX_WAKE_BITSET", 10},
	{"FUTEX_REQUEUE", 3}, {"FUTEX_CMP_REQUEUE", 4}, {"FUTEX_WAKE_OP", 5},
}

// Native is the calls that are let through to the real kernel, because they act
// on the guest's own memory and threads and take no descriptor, path or process
// id. Nothing else in this library lets a call through unseen, so each row says
// why it may be here. Prepend it to the rules of a policy of your own.
//
// What is left out on purpose, though it looks as harmless:
//   - mremap and remap_file_pages move a mapping to another offset of the arena,
//     which is another file; mincore tells what others read of shared files.
//   - mmap with MAP_HUGETLB takes pages that the host has set aside for others, and
//     that no limit counts.
//   - clone, fork, vfork, execve: the warden keeps the process tree.
//   - restart_syscall run natively turns every restart into EINTR, and
//     rt_sigtimedwait shows the warden's real process id.
//   - futex_waitv and the futex2 calls: no program needs them yet.
//
// Two calls that no rule can stop: kernels since 6.14 ask no filter about uretprobe
// and uprobe (kernel/seccomp.c), and end them with SIGILL or an error where no probe is.
func Native() []Rule {
	rules := []Rule{
		allow("memory with no file behind it", "mmap").when(3, mapAnonymous|mapHugeTLB, "==", mapAnonymous),
		allow("the guest's own mappings; those of the arena cannot become writable", "munmap", "mprotect", "brk"),
		allow("advice about the guest's own pages", "madvise").when(2, intBits, "<", madvHWPoison),
		{Calls: []string{"madvise"}, Action: Deny, Errno: "EINVAL",
			Reason: "HWPOISON and SOFT_OFFLINE would break the host's memory; this is the answer of a kernel without them"},
	}
	for _, op := range futexOps {
		rules = append(rules, allow(op.name+": addresses in the guest's memory only", "futex").
			when(1, intBits&^futexOptions, "==", op.value))
	}
	rules = append(rules,
		Rule{Calls: []string{"futex"}, Action: Deny, Errno: "ENOSYS",
			Reason: "the priority-inheriting ones take a thread id out of memory, which would be one of the host's"},
		allow("the thread's own signal mask, and what is pending for it", "rt_sigprocmask", "rt_sigpending", "rt_sigsuspend"),
		allow("the thread's own stack and registers", "rt_sigreturn", "sigaltstack"),
		allow("the process's own handlers; SIGCHLD stops, because whether children are reaped is emulated",
			"rt_sigaction").when(0, intBits, "!=", sigchld),
		allow("the thread's own base register", "arch_prctl").when(0, intBits, "==", archSetFS),
		allow("the thread's own base register", "arch_prctl").when(0, intBits, "==", archGetFS),
		allow("words in the thread's own memory that the kernel writes", "rseq", "set_robust_list"),
		allow("barriers: nothing is named, and others see at most an interrupt", "membarrier"),
		allow("gives the processor away", "sched_yield"),
		allow("ends this thread, or this process, alone; the warden sees it go", "exit", "exit_group"),
	)
	for i, r := range rules {
		rules[i].From = infoOf(r.Calls[0]).part
	}
	return rules
}

// allow lets calls through for a reason.
func allow(reason string, calls ...string) Rule {
	return Rule{Calls: calls, Action: Allow, Reason: reason}
}

// when is r with one more condition.
func (r Rule) when(arg int, mask uint64, op string, value uint64) Rule {
	r.When = append(r.When, Condition{Arg: arg, Mask: mask, Op: op, Value: value})
	return r
}
