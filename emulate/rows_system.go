//go:build linux

package emulate

import "golang.org/x/sys/unix"

// native lets the kernel do a call that acts on nothing but the guest's own
// memory and threads. Policies usually allow it without a stop.
func native(c *Call) (uint64, error) { return c.Kernel() }

const (
	nativeNote = "the kernel's own; usually allowed without a stop"
	oneNode    = "a jail has one memory node, like a kernel without NUMA"
	noModules  = "the kernel is the host's"
	noKeys     = "like a kernel without key management"
	noObserver = "nobody but the warden looks into a process"
	gone       = "not in a Linux of today"
)

var systemCalls = []Row{
	// Time.
	{"adjtimex", "out:addr", adjtimex, "the clock is never set or slewed"},
	{"clock_adjtime", "int out:addr", clock_adjtime, "the clock is never set or slewed"},
	{"clock_getres", "op out:addr", clock_getres, ""},
	{"clock_gettime", "op out:addr", clock_gettime, ""},
	{"clock_nanosleep", "op flags addr out:addr", clock_nanosleep, "CPU clocks are looked at every 2 ms; wake-up clocks are EOPNOTSUPP"},
	{"clock_settime", "int addr", clock_settime, "EPERM for root too: the clock is the host's or the policy's"},
	{"getrusage", "op out:addr", getrusage, ""},
	{"gettimeofday", "out:addr out:addr", gettimeofday, ""},
	{"nanosleep", "addr out:addr", nanosleep, ""},
	{"restart_syscall", "", restart_syscall, ""},
	{"settimeofday", "addr addr", settimeofday, "EPERM for root too, as clock_settime"},
	{"time", "out:addr", timeCall, ""},
	{"times", "out:addr", times, ""},

	// Identity.
	{"capget", "addr out:addr", capget, ""},
	{"capset", "addr addr", capset, "capabilities count in the jail's own world"},
	{"getegid", "", getegid, ""},
	{"geteuid", "", geteuid, ""},
	{"getgid", "", getgid, ""},
	{"getgroups", "int out:addr", getgroups, ""},
	{"getpid", "", getpid, ""},
	{"getppid", "", getppid, ""},
	{"getresgid", "out:addr out:addr out:addr", getresgid, ""},
	{"getresuid", "out:addr out:addr out:addr", getresuid, ""},
	{"gettid", "", gettid, ""},
	{"getuid", "", getuid, ""},
	{"setfsgid", "uint", setfsgid, ""},
	{"setfsuid", "uint", setfsuid, ""},
	{"setgid", "uint", setgid, ""},
	{"setgroups", "int addr", setgroups, ""},
	{"setregid", "uint uint", setregid, ""},
	{"setresgid", "uint uint uint", setresgid, ""},
	{"setresuid", "uint uint uint", setresuid, ""},
	{"setreuid", "uint uint", setreuid, ""},
	{"setuid", "uint", setuid, ""},

	// Limits and scheduling.
	{"get_robust_list", "pid out:addr out:addr", get_robust_list, "the caller's own only"},
	{"getcpu", "out:addr out:addr addr", getcpu, "the lowest CPU the task may run on"},
	{"getpriority", "int int", getpriority, ""},
	{"getrlimit", "op out:addr", getrlimit, ""},
	{"ioprio_get", "int int", ioprio_get, ""},
	{"ioprio_set", "int int int", ioprio_set, "kept and shown"},
	{"prlimit64", "pid op addr out:addr", prlimit64, "AS, DATA, STACK and CPU of the caller's process only"},
	{"sched_get_priority_max", "int", sched_get_priority_max, ""},
	{"sched_get_priority_min", "int", sched_get_priority_min, ""},
	{"sched_getaffinity", "pid size out:addr", sched_getaffinity, "CPUs as the policy says"},
	{"sched_getattr", "pid out:addr size flags", sched_getattr, ""},
	{"sched_getparam", "pid out:addr", sched_getparam, ""},
	{"sched_getscheduler", "pid", sched_getscheduler, ""},
	{"sched_rr_get_interval", "pid out:addr", sched_rr_get_interval, "3 ms"},
	{"sched_setaffinity", "pid size addr", sched_setaffinity, "kept and shown"},
	{"sched_setattr", "pid addr flags", sched_setattr, "no real-time or deadline policy; kept and shown"},
	{"sched_setparam", "pid addr", sched_setparam, ""},
	{"sched_setscheduler", "pid op addr", sched_setscheduler, "no real-time policy; kept and shown"},
	{"sched_yield", "", sched_yield, nativeNote},
	{"setpriority", "int int int", setpriority, "another task's is kept and shown only"},
	{"setrlimit", "op addr", setrlimit, ""},

	// The system and the process itself.
	{"arch_prctl", "op addr", arch_prctl, "no cpuid faulting, vDSO mapping or shadow stack"},
	{"getrandom", "out:buf size flags", getrandom, ""},
	{"personality", "uint", personality, "PER_LINUX and ADDR_NO_RANDOMIZE only"},
	{"prctl", "op size size size size", prctl, "what a jail can honour; the rest is EINVAL"},
	{"seccomp", "int flags addr", refuse(unix.EINVAL), "a filter of the guest's could outrank the warden's; answers as a kernel without filters"},
	{"set_tid_address", "addr", set_tid_address, ""},
	{"setdomainname", "buf size", setdomainname, "the jail's own"},
	{"sethostname", "buf size", sethostname, "the jail's own"},
	{"sysinfo", "out:addr", sysinfo, "memory is the host's, or RLIMIT_AS or RLIMIT_DATA if that is less"},
	{"uname", "out:addr", uname, "the kernel that is emulated"},

	// Native ones, should a policy send them here.
	{"futex", "addr op int addr addr int", futex, "usually allowed without a stop; none with priority inheritance"},
	{"futex_requeue", "addr flags int int", futex2, nativeNote},
	{"futex_wait", "addr size size flags addr int", futex2, nativeNote},
	{"futex_waitv", "addr uint flags addr int", futex2, nativeNote},
	{"futex_wake", "addr size int flags", futex2, nativeNote},
	{"membarrier", "op flags int", native, nativeNote},
	{"rseq", "addr size flags uint", rseq, nativeNote},
	{"rseq_slice_yield", "", native, nativeNote},
	{"rt_sigpending", "out:addr size", native, nativeNote},
	{"rt_sigprocmask", "op addr out:addr size", native, nativeNote},
	{"rt_sigreturn", "", nil, "native only: it replaces every register"},
	{"rt_sigsuspend", "addr size", rt_sigsuspend, nativeNote},
	{"set_robust_list", "addr size", native, nativeNote},
	{"sigaltstack", "addr out:addr", native, nativeNote},
	{"exit", "int", native, nativeNote},
	{"exit_group", "int", native, ""},
	{"pkey_alloc", "flags uint", native, "protection keys change the thread's own rights only"},
	{"pkey_free", "int", native, ""},
	{"pkey_mprotect", "addr size flags int", native, ""},

	// Memory placement.
	{"get_mempolicy", "addr addr size addr flags", nil, oneNode},
	{"mbind", "addr size int addr size flags", nil, oneNode},
	{"migrate_pages", "pid size addr addr", nil, oneNode},
	{"move_pages", "pid size addr addr addr flags", nil, oneNode},
	{"set_mempolicy", "int addr size", nil, oneNode},
	{"set_mempolicy_home_node", "addr size size flags", nil, oneNode},

	// What an unprivileged process may not do either.
	{"bpf", "int addr size", refuse(unix.EPERM), "programs in the host's kernel"},
	{"delete_module", "str flags", refuse(unix.EPERM), noModules},
	{"finit_module", "fd str flags", refuse(unix.EPERM), noModules},
	{"init_module", "addr size str", refuse(unix.EPERM), noModules},
	{"ioperm", "size size int", refuse(unix.EPERM), "ports are the host's"},
	{"iopl", "uint", refuse(unix.EPERM), "ports are the host's"},
	{"kexec_file_load", "fd fd size str flags", refuse(unix.EPERM), noModules},
	{"kexec_load", "size size addr flags", refuse(unix.EPERM), noModules},
	{"perf_event_open", "addr pid int fd flags", refuse(unix.EACCES), "as kernel.perf_event_paranoid 3 has it"},
	{"process_madvise", "fd iov size int flags", refuse(unix.EPERM), noObserver},
	{"process_vm_readv", "pid iov size iov size flags", process_vm_readv, ""},
	{"process_vm_writev", "pid iov size iov size flags", process_vm_writev, "obeys page protection"},
	{"ptrace", "op pid addr addr", refuse(unix.EPERM), "a guest thread has one tracer, the warden"},
	{"reboot", "int int int addr", refuse(unix.EPERM), "the machine is the host's"},
	{"setns", "fd int", refuse(unix.EPERM), "no namespaces"},
	{"syslog", "int addr int", refuse(unix.EPERM), "the kernel log is the host's"},
	{"vhangup", "", refuse(unix.EPERM), ""},

	// What a kernel may be built without.
	{"add_key", "str str buf size int", nil, noKeys},
	{"cachestat", "fd addr addr flags", nil, "no page cache to tell of"},
	{"io_uring_enter", "fd uint uint flags addr size", nil, "calls made without a system call cannot be stopped"},
	{"io_uring_register", "fd uint addr uint", nil, "as io_uring_enter"},
	{"io_uring_setup", "uint addr", nil, "as io_uring_enter"},
	{"kcmp", "pid pid int size size", nil, noObserver},
	{"keyctl", "int size size size size", nil, noKeys},
	{"landlock_add_rule", "fd int addr flags", nil, "a jail in the jail is left out"},
	{"landlock_create_ruleset", "addr size flags", nil, "as landlock_add_rule"},
	{"landlock_restrict_self", "fd flags", nil, "as landlock_add_rule"},
	{"listns", "addr addr size flags", nil, "no namespaces"},
	{"lsm_get_self_attr", "uint addr addr flags", nil, "no security module"},
	{"lsm_list_modules", "addr addr flags", nil, "no security module"},
	{"lsm_set_self_attr", "uint addr size flags", nil, "no security module"},
	{"map_shadow_stack", "addr size flags", nil, "no shadow stacks"},
	{"memfd_secret", "flags", nil, "a native descriptor would be needed"},
	{"modify_ldt", "int addr size", nil, "no segments of the guest's own"},
	{"request_key", "str str str int", nil, noKeys},
	{"uprobe", "", nil, noObserver},
	{"uretprobe", "", nil, noObserver},
	{"userfaultfd", "flags", nil, "it could stop the warden in the middle of a call"},

	// What is left out, which programs do without.
	{"process_mrelease", "fd flags", nil, "needs a process that dies slowly"},

	{"accept", "fd sockaddr addr", accept, ""},
	{"accept4", "fd sockaddr addr flags:accept", accept4, ""},
	{"bind", "fd sockaddr int", bind, ""},
	{"connect", "fd sockaddr int", connect, ""},
	{"getpeername", "fd sockaddr addr", getpeername, ""},
	{"getsockname", "fd sockaddr addr", getsockname, ""},
	{"getsockopt", "fd op op addr addr", getsockopt, optionNote},
	{"listen", "fd int", listen, ""},
	{"recvfrom", "fd out:buf size flags:msg sockaddr addr", recvfrom, messageNote},
	{"recvmmsg", "fd addr uint flags addr", recvmmsg, messageNote},
	{"recvmsg", "fd addr flags:msg", recvmsg, messageNote},
	{"sendmmsg", "fd addr uint flags", sendmmsg, messageNote},
	{"sendmsg", "fd addr flags:msg", sendmsg, messageNote},
	{"sendto", "fd buf size flags:msg sockaddr int", sendto, messageNote},
	{"setsockopt", "fd op op addr int", setsockopt, optionNote},
	{"shutdown", "fd op", shutdown, ""},
	{"socket", "op:family op:socket op", socket, familyNote},
	{"socketpair", "op:family op:socket op out:addr", socketpair, familyNote},

	// Entries of the table that no Linux of today answers.
	{"_sysctl", "addr", nil, gone},
	{"afs_syscall", "", nil, gone},
	{"create_module", "", nil, gone},
	{"epoll_ctl_old", "", nil, gone},
	{"epoll_wait_old", "", nil, gone},
	{"get_kernel_syms", "", nil, gone},
	{"get_thread_area", "", nil, "of 32-bit programs"},
	{"getpmsg", "", nil, gone},
	{"putpmsg", "", nil, gone},
	{"query_module", "", nil, gone},
	{"security", "", nil, gone},
	{"set_thread_area", "", nil, "of 32-bit programs"},
	{"tuxcall", "", nil, gone},
	{"vserver", "", nil, gone},
}
