//go:build linux

package emulate

var processCalls = []Row{
	{"clone", "flags:clone addr addr addr addr", clone, "no namespaces"},
	{"clone3", "addr size", clone3, "no namespaces, set_tid, cgroup or CLONE_CLEAR_SIGHAND"},
	{"execve", "path addr addr", execve, "set-user-ID bits are ignored"},
	{"execveat", "dirfd path addr addr flags", execveat, "set-user-ID bits are ignored"},
	{"fork", "", fork, ""},
	{"getpgid", "pid", getpgid, ""},
	{"getpgrp", "", getpgrp, ""},
	{"getsid", "pid", getsid, ""},
	{"kill", "pid sig", kill, ""},
	{"pause", "", pause, ""},
	{"pidfd_getfd", "fd int flags", pidfd_getfd, ""},
	{"pidfd_open", "pid flags", pidfd_open, "no PIDFD_THREAD: EINVAL"},
	{"pidfd_send_signal", "fd sig addr flags", pidfd_send_signal, ""},
	{"rt_sigaction", "sig addr addr size", rt_sigaction, "native but for SIGCHLD"},
	{"rt_sigqueueinfo", "pid sig addr", rt_sigqueueinfo, ""},
	{"rt_sigtimedwait", "addr out:addr addr size", rt_sigtimedwait, ""},
	{"rt_tgsigqueueinfo", "pid pid sig addr", rt_tgsigqueueinfo, ""},
	{"setpgid", "pid pid", setpgid, ""},
	{"setsid", "", setsid, ""},
	{"tgkill", "pid pid sig", tgkill, ""},
	{"tkill", "pid sig", tkill, ""},
	{"unshare", "flags", unshare, "no namespaces"},
	{"vfork", "", vfork, ""},
	{"wait4", "pid out:addr flags:wait out:addr", wait4, ""},
	{"waitid", "op pid out:addr flags out:addr", waitid, ""},
}
