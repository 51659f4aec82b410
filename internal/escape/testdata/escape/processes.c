// Processes of the host.
#include "escape.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

ESCAPE(kill) { worked("kill", kill(num("VICTIM"), SIGUSR1)); }

ESCAPE(kill_all) { worked("kill", kill(-1, SIGUSR1)); }

ESCAPE(sigqueue) { worked("sigqueue", sigqueue(num("VICTIM"), SIGUSR1, (union sigval){0})); }

ESCAPE(pidfd_signal) {
	int fd = syscall(SYS_pidfd_open, num("VICTIM"), 0);
	if (worked("pidfd_open", fd))
		worked("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd, SIGUSR1, 0, 0));
}

// setown has the kernel send the signal when there is something to read.
ESCAPE(setown) {
	int p[2];
	if (!worked("pipe", pipe(p)))
		return;
	worked("F_SETOWN", fcntl(p[0], F_SETOWN, (int)num("VICTIM")));
	worked("F_SETSIG", fcntl(p[0], F_SETSIG, SIGUSR1));
	worked("F_SETFL", fcntl(p[0], F_SETFL, O_ASYNC));
	write(p[1], "x", 1);
}

ESCAPE(prlimit) {
	struct rlimit none = {0, 0};
	worked("prlimit", prlimit(num("VICTIM"), RLIMIT_CORE, &none, 0));
}

ESCAPE(ptrace) {
	word words[32];
	long ret = ptrace(PTRACE_ATTACH, (pid_t)num("VICTIM"), 0, 0);
	if (!worked("ptrace", ret))
		return;
	waitpid(num("VICTIM"), 0, __WALL);
	for (int i = 0; i < 32; i++)
		words[i] = ptrace(PTRACE_PEEKDATA, (pid_t)num("VICTIM"), num("ENVADDR") + 8 * i, 0);
	write(1, words, sizeof words);
	ptrace(PTRACE_DETACH, (pid_t)num("VICTIM"), 0, 0);
}

static void vm(pid_t pid, word addr, size_t n) {
	static char buf[256];
	struct iovec local = {buf, n}, remote = {(void *)addr, n};
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (worked("process_vm_readv", n))
		write(1, buf, n);
}

static void memory(pid_t pid, word addr) {
	static char buf[256];
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/mem", pid);
	int n = pread(open(name, O_RDONLY), buf, sizeof buf, addr);
	if (worked(name, n))
		write(1, buf, n);
}

ESCAPE(vm_read) { vm(num("VICTIM"), num("ENVADDR"), 256); }

ESCAPE(proc_mem) { memory(num("VICTIM"), num("ENVADDR")); }

ESCAPE(warden_read) {
	vm(num("HOST"), num("MEMADDR"), 32);
	memory(num("HOST"), num("MEMADDR"));
}

ESCAPE(warden_write) {
	char text[] = "written";
	struct iovec local = {text, 7}, remote = {(void *)num("CANARY"), 7};
	worked("process_vm_writev", process_vm_writev(num("HOST"), &local, 1, &remote, 1, 0));
	char name[64];
	snprintf(name, sizeof name, "/proc/%lu/mem", num("HOST"));
	worked(name, pwrite(open(name, O_RDWR), text, 7, num("CANARY")));
}

static void of_victim(const char *what) {
	char name[64];
	snprintf(name, sizeof name, "/proc/%s/%s", host("VICTIM"), what);
	loot(name, open(name, O_RDONLY));
}

ESCAPE(proc_environ) { of_victim("environ"); }

ESCAPE(proc_fd) { of_victim("fd/0"); }

ESCAPE(pidfd_getfd) {
	int fd = syscall(SYS_pidfd_open, num("VICTIM"), 0);
	if (!worked("pidfd_open", fd) || !worked("pidfd_getfd", fd = syscall(SYS_pidfd_getfd, fd, 0, 0)))
		return;
	lseek(fd, 0, SEEK_SET);
	loot("read", fd);
}

ESCAPE(unshare) {
	if (worked("unshare", unshare(CLONE_NEWUSER)))
		got("a user namespace");
}

ESCAPE(clone_newuser) {
	pid_t pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	if (worked("clone", pid))
		got("a user namespace");
}

ESCAPE(clone3_newuser) {
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(0);
	if (worked("clone3", pid))
		got("a user namespace");
}

// outlive acts when the first process is gone.
static void outlive(pid_t first) {
	for (int i = 0; i < 2000 && kill(first, 0) == 0; i++)
		usleep(1000);
	chmod(at("DIR", "target"), 0777);
	_exit(0);
}

ESCAPE(untraced) {
	pid_t me = getpid();
	if (syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) == 0)
		outlive(me);
}

ESCAPE(daemon) {
	pid_t me = getpid(), pid = fork();
	if (pid != 0) {
		if (worked("fork", pid))
			waitpid(pid, 0, 0);
		return;
	}
	worked("setsid", setsid());
	if (fork() == 0) {
		setpgid(0, 0);
		outlive(me);
	}
	_exit(0);
}

// exec_threads has all threads but one make a call while that one executes.
static void *change(void *arg) {
	const char *target = at("DIR", "target");
	for (;;)
		syscall(SYS_chmod, target, 0777);
	return 0;
}

ESCAPE(exec_threads) {
	char left[16];
	int n = argument ? atoi(argument) : 10;
	if (!thread(change) || !thread(change) || n == 0)
		return;
	usleep(1000);
	snprintf(left, sizeof left, "%d", n - 1);
	again(host("PROGRAM"), left);
}

// memfd runs a program that has no name. It is "first", for then it acts at once.
ESCAPE(memfd) {
	static char buf[65536];
	long n;
	int fd = memfd_create("program", MFD_CLOEXEC), from = open(host("PROGRAM"), O_RDONLY);
	if (!worked("memfd_create", fd))
		return;
	while ((n = read(from, buf, sizeof buf)) > 0)
		write(fd, buf, n);
	char *const argv[] = {"escape", "first", "again", 0};
	worked("execveat", syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
}

// set_mm makes the host's process say of itself what the guest likes.
ESCAPE(set_mm) {
	static char name[] = "escaped", buf[4096];
	struct prctl_mm_map m = {.exe_fd = -1};
	word f[53] = {0};
	FILE *stat = fopen("/proc/self/stat", "r");
	if (!stat || !fgets(buf, sizeof buf, stat))
		return;
	int i = 2;
	for (char *p = strtok(strrchr(buf, ')') + 1, " "); p && i < 52; p = strtok(0, " "))
		f[i++] = strtoul(p, 0, 0);
	m.start_code = f[25], m.end_code = f[26], m.start_stack = f[27], m.start_data = f[44], m.end_data = f[45];
	m.start_brk = f[46], m.brk = (word)sbrk(0), m.env_start = f[49], m.env_end = f[50];
	m.arg_start = (word)name, m.arg_end = m.arg_start + sizeof name;
	if (worked("prctl", prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof m, 0)))
		got("another command line");
}

// listener has a filter of its own ask itself about a call, and lets it be made. Where such a filter is
// let in, its answer comes before that of the one which is there already.
static volatile int notify;

static void *permit(void *arg) {
	struct seccomp_notif asked = {0};
	struct seccomp_notif_resp yes = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	while (!notify)
		;
	worked("RECV", ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &asked));
	yes.id = asked.id;
	worked("SEND", ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &yes));
	return 0;
}

int filter(unsigned verdict, int flags) {
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_chmod, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {4, code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

ESCAPE(listener) {
	const char *target = at("DIR", "target");
	if (*host("WEAK"))
		worked("seccomp", filter(SECCOMP_RET_TRACE, 0)); // without a tracer: ENOSYS
	if (worked("chmod", chmod(target, 0707)))
		got("no filter at all");
	if (!thread(permit))
		return;
	int fd = filter(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (!worked("seccomp", fd))
		return;
	notify = fd;
	worked("chmod", chmod(target, 0770));
}
