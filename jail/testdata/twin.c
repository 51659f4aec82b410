/* Guests of the twin tests: each function prints what it sees of processes,
 * signals and files. The kernel's transcript is compared with the jail's, so
 * nothing is printed that may differ from run to run: no pid, no address, no
 * time. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static char *self;   /* argv[0], the program's path */

static void say(const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(1, line, n) != n)
		_exit(90);
}

/* ret formats a call's result. */
static const char *ret(long r)
{
	static char buf[4][64];
	static int i;
	char *s = buf[i++ % 4];
	if (r == -1)
		snprintf(s, 64, "-1 %s", strerrorname_np(errno));
	else
		snprintf(s, 64, "%ld", r);
	return s;
}

static void msleep(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
	while (syscall(SYS_nanosleep, &ts, &ts) && errno == EINTR)
		;
}

static void *shared(size_t n)
{
	void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		_exit(91);
	return p;
}

static pid_t spawn(void (*fn)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		fn();
		_exit(0);
	}
	return pid;
}

static void put_file(const char *path, const char *text, int mode)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode))
		_exit(92);
	close(fd);
}

/* ---- waiting ---- */

/* The kernel counts pages in batches for each CPU: the maxrss of a child that touched
 * few is 0 on some runs. wait_maxrss asks of one that touched many. */
static void say_rusage(const struct rusage *ru)
{
	say("  rusage: utime sane %d, stime sane %d, maxrss>=0 %d, minflt>0 %d, ixrss %ld, nswap %ld",
	    ru->ru_utime.tv_sec < 5 && ru->ru_utime.tv_usec < 1000000, ru->ru_stime.tv_sec < 5,
	    ru->ru_maxrss >= 0, ru->ru_minflt > 0, ru->ru_ixrss, ru->ru_nswap);
}

static void wait_maxrss(void)
{
	const long size = 32 << 20;
	pid_t pid = fork();
	if (!pid) {
		char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 1, size);
		_exit(0);
	}
	int st;
	struct rusage ru, all;
	pid_t r = wait4(pid, &st, 0, &ru);
	getrusage(RUSAGE_CHILDREN, &all);
	say("wait4 right %d status %#x, maxrss about right %d, of all children too %d", r == pid, st,
	    ru.ru_maxrss > size / 1024 * 9 / 10 && ru.ru_maxrss < size / 1024 * 2, all.ru_maxrss == ru.ru_maxrss);
}

static void wait_exit(void)
{
	int codes[] = {0, 1, 7, 127, 255, 256, 511, -1};
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(codes[i]);
		int st = 0x5a5a5a5a;
		struct rusage ru;
		memset(&ru, 0xff, sizeof ru);
		pid_t r = wait4(pid, &st, 0, &ru);
		say("exit(%d): wait4 right %d status %#x", codes[i], r == pid, st);
		say_rusage(&ru);
	}
	int st;
	say("no child: %s", ret(wait(&st)));
	say("no child, WNOHANG: %s", ret(waitpid(-1, &st, WNOHANG)));
	say("not a child: %s", ret(waitpid(getpid(), &st, 0)));
	say("bad options: %s", ret(waitpid(-1, &st, 0x1000)));
	say("INT_MIN: %s", ret(waitpid(INT_MIN, &st, 0)));
	say("group without members: %s", ret(waitpid(-4000000, &st, 0)));
}

static void wait_signals(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	for (int sig = 1; sig <= 64; sig++) {
		if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
			continue;
		pid_t pid = fork();
		if (!pid) {
			syscall(SYS_kill, getpid(), sig);
			_exit(42);
		}
		int st = -1;
		pid_t r = waitpid(pid, &st, 0);
		say("signal %d to itself: right %d status %#x", sig, r == pid, st);
		pid = fork();
		if (!pid) {
			pause();
			_exit(43);
		}
		msleep(1);
		kill(pid, sig);
		if (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH) {
			msleep(5);
			kill(pid, SIGKILL);
		}
		r = waitpid(pid, &st, 0);
		say("signal %d in pause: right %d status %#x", sig, r == pid, st);
	}
}

static void say_info(const char *what, long r, const siginfo_t *si, pid_t pid)
{
	say("%s: %s signo %d code %d pid %s uid right %d status %#x errno %d", what, ret(r), si->si_signo, si->si_code,
	    si->si_pid == pid ? "right" : si->si_pid == 0 ? "0" : "wrong", si->si_uid == getuid() || si->si_pid == 0,
	    si->si_status, si->si_errno);
}

static void wait_id(void)
{
	siginfo_t si;
	pid_t pid = fork();
	if (!pid)
		_exit(9);
	memset(&si, 0x55, sizeof si);
	say_info("WNOWAIT", waitid(P_PID, pid, &si, WEXITED | WNOWAIT), &si, pid);
	memset(&si, 0x55, sizeof si);
	say_info("WNOWAIT again", waitid(P_ALL, 0, &si, WEXITED | WNOWAIT | WNOHANG), &si, pid);
	memset(&si, 0x55, sizeof si);
	say_info("only stopped", waitid(P_PID, pid, &si, WSTOPPED | WNOHANG), &si, pid);
	struct rusage ru;
	memset(&ru, 0xff, sizeof ru);
	say("raw with rusage: %s", ret(syscall(SYS_waitid, P_PGID, 0, 0, WEXITED, &ru)));
	say_rusage(&ru);
	say("gone: %s", ret(waitid(P_PID, pid, &si, WEXITED)));
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	memset(&si, 0x55, sizeof si);
	say_info("running, WNOHANG", waitid(P_PID, pid, &si, WEXITED | WNOHANG), &si, pid);
	kill(pid, SIGSTOP);
	memset(&si, 0x55, sizeof si);
	say_info("stopped", waitid(P_PID, pid, &si, WSTOPPED), &si, pid);
	say_info("reported once", waitid(P_PID, pid, &si, WSTOPPED | WNOHANG), &si, pid);
	kill(pid, SIGCONT);
	memset(&si, 0x55, sizeof si);
	say_info("continued", waitid(P_PID, pid, &si, WCONTINUED), &si, pid);
	kill(pid, SIGSTOP);
	int st = -1;
	say("wait4 WUNTRACED: right %d", waitpid(pid, &st, WUNTRACED) == pid);
	say("status %#x", st);
	kill(pid, SIGCONT);
	say("wait4 WCONTINUED: right %d", waitpid(pid, &st, WCONTINUED) == pid);
	say("status %#x", st);
	kill(pid, SIGTERM);
	memset(&si, 0x55, sizeof si);
	say_info("terminated", waitid(P_ALL, 0, &si, WEXITED), &si, pid);
	say("bad idtype: %s", ret(waitid(77, pid, &si, WEXITED)));
	say("no options: %s", ret(waitid(P_ALL, 0, &si, 0)));
	say("pid 0: %s", ret(waitid(P_PID, 0, &si, WEXITED)));
	say("pid -1: %s", ret(waitid(P_PID, -1, &si, WEXITED)));
	pid = fork();
	if (!pid)
		_exit(1);
	say("bad info: %s", ret(syscall(SYS_waitid, P_PID, pid, 1, WEXITED, 0)));
	say("then: %s", ret(waitpid(pid, &st, 0) > 0 ? 1 : -1));
	pid = fork();
	if (!pid)
		_exit(1);
	say("bad status: %s", ret(syscall(SYS_wait4, pid, 1, 0, 0)));
	say("then: %s", ret(waitpid(pid, &st, 0) > 0 ? 1 : -1));
}

/* Children of the threads of a process, groups, and who adopts orphans. */
static void *wait_in_thread(void *arg)
{
	int st = -1;
	say("another thread's child: right %d", waitpid(*(pid_t *)arg, &st, 0) == *(pid_t *)arg);
	say("status %#x", st);
	pid_t pid = fork();
	if (!pid)
		_exit(33);
	say("__WNOTHREAD: right %d", waitpid(pid, &st, __WNOTHREAD) == pid);
	pid = fork();
	if (!pid)
		_exit(34);
	*(pid_t *)arg = pid;
	return 0;
}

static void *busy(void *arg)
{
	for (;;) {
		syscall(SYS_getppid);
		write(-1, "", 1);
	}
	return arg;
}

/* A process that crashes while its other threads are in calls dies of the crash. */
static void wait_crash(void)
{
	int other = 0;
	for (int i = 0; i < 150; i++) {
		pid_t pid = fork();
		if (!pid) {
			pthread_t t;
			for (int k = 0; k < 3; k++)
				pthread_create(&t, NULL, busy, NULL);
			usleep(i * 10);
			*(volatile int *)8 = 1;
		}
		int st;
		waitpid(pid, &st, 0);
		other += !WIFSIGNALED(st) || WTERMSIG(st) != SIGSEGV;
	}
	say("died of something else: %d", other);
}

static void wait_threads(void)
{
	pid_t pid = fork();
	if (!pid)
		_exit(32);
	pthread_t t;
	pthread_create(&t, 0, wait_in_thread, &pid);
	pthread_join(t, 0);
	int st = -1;
	say("a dead thread's child: right %d", waitpid(pid, &st, 0) == pid);
	say("status %#x", st);
}

static void wait_groups(void)
{
	pid_t a = fork();
	if (!a) {
		setpgid(0, 0);
		pause();
	}
	setpgid(a, a);
	pid_t b = fork();
	if (!b) {
		setpgid(0, a);
		_exit(5);
	}
	setpgid(b, a);
	int st = -1;
	say("own group: %s", ret(waitpid(0, &st, WNOHANG)));
	say("by group: right %d", waitpid(-a, &st, 0) == b);
	say("status %#x", st);
	say("getpgid right %d", getpgid(a) == a);
	kill(-a, SIGUSR1);
	say("killed by group: right %d", waitpid(-a, &st, 0) == a);
	say("status %#x", st);
	say("setsid: %s", ret(setsid() > 0));
	say("setpgid of a leader: %s", ret(setpgid(0, 0)));
}

static void orphans(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int p[2];
	if (pipe(p))
		return;
	pid_t pid = fork();
	if (!pid) {
		pid_t parent = getpid();
		if (!fork()) {
			char c;
			close(p[1]);
			if (read(p[0], &c, 1) == 0) /* both parents are gone or waited */
				_exit(getppid() != parent ? 21 : 22);
			_exit(23);
		}
		_exit(20);
	}
	int st;
	waitpid(pid, &st, 0);
	say("child %#x", st);
	close(p[1]);
	say("orphan adopted %d", wait(&st) > 0);
	say("orphan %#x", st);
}

static void vforks(void)
{
	volatile int x = 1;
	int st = -1;
	pid_t pid = vfork();
	if (pid == 0) {
		x = 2;
		_exit(3);
	}
	say("memory shared: %d", x);
	waitpid(pid, &st, 0);
	say("status %#x", st);
	char *argv[] = {self, "exit", "17", 0}, *envp[] = {0};
	pid = vfork();
	if (pid == 0) {
		execve(self, argv, envp);
		_exit(98);
	}
	waitpid(pid, &st, 0);
	say("vfork and exec: %#x", st);
	pid = vfork();
	if (pid == 0) {
		execve("/nonexistent", argv, envp);
		x = errno;
		_exit(x == ENOENT ? 55 : 56);
	}
	waitpid(pid, &st, 0);
	say("vfork and failing exec: %#x", st);
	pid = vfork();
	if (pid == 0) {
		kill(getpid(), SIGKILL);
		_exit(1);
	}
	waitpid(pid, &st, 0);
	say("vfork and kill: %#x", st);
	pid = vfork();
	if (pid == 0) {
		pid_t g = vfork();
		if (g == 0)
			_exit(4);
		int s2;
		waitpid(g, &s2, 0);
		_exit(WEXITSTATUS(s2) + 1);
	}
	waitpid(pid, &st, 0);
	say("vfork in vfork: %#x", st);
}

/* raw clone without SIGCHLD, and with other exit signals. */
static volatile sig_atomic_t caught[65];
static void count(int sig) { caught[sig]++; }

static void clones(void)
{
	int st = -1;
	signal(SIGUSR2, count);
	pid_t pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (!pid)
		_exit(1);
	msleep(2);
	say("plain wait does not see it: %s", ret(waitpid(pid, &st, WNOHANG)));
	say("__WCLONE sees it: right %d", waitpid(pid, &st, __WCLONE) == pid);
	say("status %#x", st);
	pid = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
	if (!pid)
		_exit(2);
	while (!caught[SIGUSR2])
		msleep(1);
	say("__WALL: right %d", waitpid(pid, &st, __WALL) == pid);
	say("status %#x, SIGUSR2 %d", st, caught[SIGUSR2]);
	int tid = -1, ctid = -1;
	pid = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, 0, &tid, &ctid, 0);
	if (!pid)
		_exit(ctid == getpid() ? 11 : 12);
	say("PARENT_SETTID right %d, parent's ctid %d", tid == pid, ctid);
	waitpid(pid, &st, 0);
	say("CHILD_SETTID %#x", st);
	unsigned long bad[] = {CLONE_NEWUSER, CLONE_NEWNS | SIGCHLD, CLONE_THREAD, CLONE_SIGHAND, CLONE_THREAD | CLONE_SIGHAND,
		CLONE_FS | CLONE_NEWNS};
	for (unsigned i = 1; i < sizeof bad / sizeof *bad; i++) {
		if (bad[i] & CLONE_NEWNS)
			continue; /* root may, outside */
		long r = syscall(SYS_clone, bad[i], 0, 0, 0, 0);
		if (r == 0)
			_exit(0);
		say("clone %#lx: %s", bad[i], ret(r > 0 ? 1 : r));
	}
}

/* An exit signal is for the program that chose it: not for who adopts the process,
 * not of another program, not for another program. */
static void exit_signals(void)
{
	int st = -1, fds[2];
	char *argv[] = {self, "exit", "3", 0}, *late[] = {self, "exit_signal_late", 0, 0}, fd[20], *envp[] = {0};
	signal(SIGUSR2, count);
	signal(SIGCHLD, count);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGUSR2, SIG_DFL);
		if (syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0) == 0) {
			msleep(30);
			_exit(4);
		}
		_exit(5);
	}
	waitpid(pid, &st, 0);
	say("parent %#x", st);
	pid = waitpid(-1, &st, 0);
	say("adopted: right %d, %#x", pid > 0, st);
	say("SIGUSR2 %d, SIGCHLD %d", caught[SIGUSR2], caught[SIGCHLD]);
	pid = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
	if (!pid)
		_exit(execve(self, argv, envp));
	pid = waitpid(pid, &st, __WALL);
	say("execed: right %d, %#x", pid > 0, st);
	say("SIGUSR2 %d, SIGCHLD %d", caught[SIGUSR2], caught[SIGCHLD]);
	if (pipe(fds))
		_exit(6);
	pid = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
	if (!pid) {
		char c;
		close(fds[1]);
		_exit(read(fds[0], &c, 1));
	}
	fcntl(fds[1], F_SETFD, FD_CLOEXEC);
	snprintf(fd, sizeof fd, "%d", pid);
	late[2] = fd;
	execve(self, late, envp);
}

/* exit_signal_late goes on in another program: SIGUSR2 would kill it. */
static void exit_signal_late(const char *pid)
{
	int st = -1;
	say("as a clone: %s", ret(waitpid(atoi(pid), &st, __WCLONE) == atoi(pid)));
	say("status %#x", st);
}

/* ---- execve ---- */

static void exec_errors(void)
{
	char *argv[] = {"x", 0}, *envp[] = {0};
	mkdir("dir", 0755);
	put_file("text", "just text\n", 0755);
	put_file("empty", "", 0755);
	put_file("noexec", "#!/bin/sh\n", 0644);
	put_file("badinterp", "#!/nonexistent/interp\n", 0755);
	put_file("nointerp", "#!\n", 0755);
	put_file("dirinterp", "#!/\n", 0755);
	put_file("loop", "#!./loop\n", 0755);
	put_file("elf", "\177ELF\2\1\1", 0755);
	symlink("cycle", "cycle");
	char longname[300], longpath[5000];
	memset(longname, 'a', sizeof longname);
	longname[299] = 0;
	memset(longpath, 'b', sizeof longpath);
	longpath[4999] = 0;
	const char *paths[] = {"", "missing", "text/x", "dir", "text", "empty", "noexec", "badinterp", "nointerp", "dirinterp",
		"loop", "elf", "cycle", longname, longpath, "missing/x", "dir/../text", "/"};
	int cloexec = open("text", O_RDONLY | O_CLOEXEC);
	signal(SIGUSR1, count);
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
		say("exec %.20s: %s", paths[i], ret(execve(paths[i], argv, envp)));
	say("NULL path: %s", ret(syscall(SYS_execve, 0, argv, envp)));
	say("bad path: %s", ret(syscall(SYS_execve, 1, argv, envp)));
	say("bad argv: %s", ret(syscall(SYS_execve, self, 1, envp)));
	say("bad envp: %s", ret(syscall(SYS_execve, self, argv, 1)));
	char *badstr[] = {"x", (char *)1, 0};
	snprintf(longpath, sizeof longpath, "#!%s\n", self);
	put_file("script", longpath, 0755);
	int script = open("script", O_RDONLY | O_CLOEXEC), dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	say("script by a descriptor that is closed: %s", ret(syscall(SYS_execveat, script, "", argv, envp, AT_EMPTY_PATH)));
	say("in a directory that is closed: %s", ret(syscall(SYS_execveat, dir, "script", argv, envp, 0)));
	close(script);
	close(dir);
	say("bad string: %s", ret(syscall(SYS_execve, self, badstr, envp)));
	size_t big = 200 << 10;
	char *s = malloc(big);
	memset(s, 'x', big);
	s[big - 1] = 0;
	char *bigarg[] = {"x", s, 0};
	say("one long argument: %s", ret(execve(self, bigarg, envp)));
	s[(128 << 10) - 2] = 0;
	char **many = calloc(101, sizeof *many);
	for (int i = 0; i < 100; i++)
		many[i] = s;
	say("too many bytes: %s", ret(execve(self, many, envp)));
	say("in the environment: %s", ret(execve(self, argv, many)));
	say("execveat flags: %s", ret(syscall(SYS_execveat, AT_FDCWD, self, argv, envp, 0x8000)));
	say("execveat bad fd: %s", ret(syscall(SYS_execveat, 77, "x", argv, envp, 0)));
	say("execveat empty: %s", ret(syscall(SYS_execveat, AT_FDCWD, "", argv, envp, 0)));
	say("execveat symlink: %s", ret(syscall(SYS_execveat, AT_FDCWD, "cycle", argv, envp, AT_SYMLINK_NOFOLLOW)));
	/* The old image is whole. */
	say("descriptor still open: %s", ret(fcntl(cloexec, F_GETFD)));
	raise(SIGUSR1);
	say("handler still there: %d", caught[SIGUSR1]);
}

/* exec_show is what the programs of the exec tests run. argv: "show", then the
 * number of a descriptor that must be closed and one that must be open, a pid. */
static void show(int argc, char **argv)
{
	sigset_t mask, pending;
	sigprocmask(SIG_BLOCK, 0, &mask);
	sigpending(&pending);
	say("pid kept %d, thread is leader %d", getpid() == atoi(argv[4]), syscall(SYS_gettid) == getpid());
	for (int i = 5; i < argc; i++)
		say("argument %d %s", i, argv[i]);
	for (int sig = 1; sig <= 64; sig++) {
		struct sigaction sa;
		syscall(SYS_rt_sigaction, sig, 0, &sa, 8);
		void *h = *(void **)&sa;
		int blocked = sigismember(&mask, sig) == 1, pend = sigismember(&pending, sig) == 1;
		if (h != SIG_DFL || blocked || pend)
			say("signal %d: %s%s%s", sig, h == SIG_IGN ? "ignored" : h ? "caught" : "default", blocked ? " blocked" : "",
			    pend ? " pending" : "");
	}
	stack_t ss;
	sigaltstack(0, &ss);
	say("alternate stack off %d", !!(ss.ss_flags & SS_DISABLE));
	say("close-on-exec: %s", ret(fcntl(atoi(argv[2]), F_GETFD)));
	say("kept: %s", ret(fcntl(atoi(argv[3]), F_GETFD)));
	char c = 0;
	ssize_t n = read(atoi(argv[3]), &c, 1);
	say("offset kept: %zd %c", n, c);
	char cwd[4096];
	say("cwd %s", strrchr(getcwd(cwd, sizeof cwd), '/') ? strrchr(cwd, '/') : "?");
	mode_t um = umask(0);
	say("umask %o, nice %d", um, getpriority(PRIO_PROCESS, 0));
	struct rlimit rl;
	getrlimit(RLIMIT_NOFILE, &rl);
	say("nofile %ld %ld", (long)rl.rlim_cur, (long)rl.rlim_max);
	getrlimit(RLIMIT_STACK, &rl);
	say("stack %ld", (long)rl.rlim_cur);
	struct itimerval it;
	getitimer(ITIMER_REAL, &it);
	say("real timer kept %d", it.it_value.tv_sec > 50);
	say("children kept: %s", ret(waitpid(-1, 0, WNOHANG)));
	say("pdeathsig %d, dumpable %d, name %s", prctl(PR_GET_PDEATHSIG, &argc) ? -1 : argc, prctl(PR_GET_DUMPABLE),
	    (prctl(PR_GET_NAME, cwd), cwd));
	say("env %s", getenv("TWIN") ? getenv("TWIN") : "none");
	long cpu = 0;
	struct rusage ru;
	getrusage(RUSAGE_SELF, &ru);
	cpu = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000;
	say("cpu time kept %d", cpu >= 100);
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	say("cpu clock kept %d", ts.tv_sec * 1000 + ts.tv_nsec / 1000000 >= 100);
}

static void burn(int ms)
{
	struct timespec a, b;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	do
		for (volatile int i = 0; i < 100000; i++)
			;
	while (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b),
	       (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
}

static char stackmem[1 << 16];

static void exec_state(void)
{
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, count);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGRTMIN + 3, SIG_IGN);
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGTERM);
	sigaddset(&m, SIGRTMIN + 1);
	sigaddset(&m, SIGHUP);
	sigprocmask(SIG_SETMASK, &m, 0);
	kill(getpid(), SIGTERM);
	union sigval v = {.sival_int = 5};
	sigqueue(getpid(), SIGRTMIN + 1, v);
	stack_t ss = {.ss_sp = stackmem, .ss_size = sizeof stackmem};
	sigaltstack(&ss, 0);
	put_file("data", "abcdef", 0644);
	int gone = open("data", O_RDONLY | O_CLOEXEC), kept = open("data", O_RDONLY);
	char c;
	if (read(kept, &c, 1) != 1)
		_exit(1);
	mkdir("sub", 0755);
	if (chdir("sub"))
		_exit(1);
	umask(027);
	setpriority(PRIO_PROCESS, 0, 3);
	struct rlimit rl = {200, 300};
	setrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = 4 << 20;
	rl.rlim_max = 8 << 20;
	setrlimit(RLIMIT_STACK, &rl);
	struct itimerval it = {.it_value = {100, 0}};
	setitimer(ITIMER_REAL, &it, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "other");
	if (!fork())
		pause();
	burn(120);
	char a[16], b[16], p[16];
	sprintf(a, "%d", gone);
	sprintf(b, "%d", kept);
	sprintf(p, "%d", getpid());
	char *argv[] = {self, "show", a, b, p, "one", "", "two words", 0}, *envp[] = {"TWIN=x", 0};
	execve(self, argv, envp);
	say("exec failed: %s", ret(-1));
}

static void *exec_here(void *arg)
{
	char p[16];
	sprintf(p, "%d", getpid());
	char *argv[] = {self, "show", "77", "78", p, (char *)arg, 0}, *envp[] = {0};
	execve(self, argv, envp);
	say("exec failed: %s", ret(-1));
	return 0;
}

static void *spin(void *arg)
{
	for (;;)
		sched_yield();
	return arg;
}

static void *asleep(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void exec_thread(void)
{
	pthread_t t;
	pthread_create(&t, 0, spin, 0);
	pthread_create(&t, 0, asleep, 0);
	pthread_create(&t, 0, exec_here, "from a thread");
	pause();
}

static void exec_thread_leader_gone(void)
{
	pthread_t t;
	pthread_create(&t, 0, asleep, 0);
	pthread_create(&t, 0, exec_here, "without a leader");
	pthread_exit(0);
}

static void *exec_missing(void *arg)
{
	char *argv[] = {"x", 0};
	say("thread's exec: %s", ret(execve("/nonexistent", argv, argv + 1)));
	return 0;
}

static void exec_thread_fails(void)
{
	pthread_t t, u;
	pthread_create(&u, 0, asleep, 0);
	pthread_create(&t, 0, exec_missing, 0);
	pthread_join(t, 0);
	say("others live: %d", pthread_kill(u, 0));
}

/* The parent sees nothing of a thread's exec but the end. */
static void exec_thread_wait(void)
{
	int st;
	pid_t pid = spawn(exec_thread);
	say("right %d", waitpid(pid, &st, 0) == pid);
	say("status %#x", st);
	pid = spawn(exec_thread_leader_gone);
	say("right %d", waitpid(pid, &st, 0) == pid);
	say("status %#x", st);
}

/* The end of a program that replaced one whose threads are still dying. */
static void exec_leader(void)
{
	pthread_t t;
	for (int i = 0; i < 12; i++)
		pthread_create(&t, 0, spin, 0);
	exec_here("among busy threads");
}

static void exec_leader_wait(void)
{
	for (int i = 0; i < 20; i++) {
		int st;
		pid_t pid = spawn(exec_leader);
		say("right %d, status %#x", waitpid(pid, &st, 0) == pid, st);
	}
}

static void exec_fd(void)
{
	int fd = open(self, O_RDONLY | O_CLOEXEC);
	char p[16];
	sprintf(p, "%d", getpid());
	char *argv[] = {self, "show", "77", "78", p, "by descriptor", 0}, *envp[] = {0};
	syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
	say("failed: %s", ret(-1));
}

/* What memfd_create made may be written and executed; opened once more, it is busy. */
static void exec_memfd(void)
{
	static char buf[1 << 16];
	char path[64], *argv[] = {"memfd", "exit", "7", 0}, *envp[] = {0};
	int fd = memfd_create("program", 0), from = open(self, O_RDONLY);
	for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;)
		write(fd, buf, n);
	sprintf(path, "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR);
	say("again %d: %s", again >= 0, ret(syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH)));
	close(again);
	execve(path, argv, envp);
	say("failed: %s", ret(-1));
}

static void exec_script(void)
{
	char text[5000], *argv[] = {"ignored", "a b", "", 0}, *envp[] = {0};
	snprintf(text, sizeof text, "#! %s args one two \nrest\n", self);
	put_file("script", text, 0755);
	put_file("script2", "#!./script \t more\n", 0755);
	const char *files[] = {"script", "script2", "./script"};
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		if (!pid) {
			execve(files[i], argv, envp);
			say("%s", ret(-1));
			_exit(1);
		}
		int st;
		waitpid(pid, &st, 0);
		say("status %#x", st);
	}
}

static void args(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		say("%d %s", i, argv[i]);
}

/* ---- signals ---- */

static volatile siginfo_t last;
static volatile int pipefd[2], handled;
static void note(int sig, siginfo_t *si, void *uc)
{
	handled++;
	memcpy((void *)&last, si, sizeof last);
}

static void on(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO | flags};
	sa.sa_sigaction = fn;
	sigaction(sig, &sa, 0);
}

static void say_last(const char *what, pid_t from)
{
	say("%s: handled %d signo %d code %d pid %s uid right %d value %d", what, handled, last.si_signo, last.si_code,
	    last.si_pid == from ? "right" : last.si_pid == 0 ? "0" : "wrong", last.si_uid == getuid(),
	    last.si_code == SI_QUEUE ? last.si_value.sival_int : -1);
}

static void siginfo(void)
{
	pid_t me = getpid();
	on(SIGUSR1, note, 0);
	on(SIGRTMIN, note, 0);
	on(SIGCHLD, note, SA_RESTART);
	on(SIGALRM, note, 0);
	kill(me, SIGUSR1);
	say_last("kill", me);
	raise(SIGUSR1);
	say_last("raise", me);
	syscall(SYS_tkill, me, SIGUSR1);
	say_last("tkill", me);
	union sigval v = {.sival_int = 12345};
	sigqueue(me, SIGRTMIN, v);
	say_last("sigqueue", me);
	pid_t pid = fork();
	if (!pid) {
		kill(getppid(), SIGUSR1);
		msleep(20);
		_exit(6);
	}
	int st;
	while (handled < 6)
		usleep(1000);
	waitpid(pid, &st, 0);
	/* SIGCHLD came last */
	say_last("SIGCHLD", pid);
	say("status %d", last.si_status);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	kill(pid, SIGSTOP);
	while (handled < 7)
		usleep(1000);
	say_last("stopped", pid);
	say("status %d", last.si_status);
	kill(pid, SIGCONT);
	while (handled < 8)
		usleep(1000);
	say_last("continued", pid);
	say("status %d", last.si_status);
	kill(pid, SIGKILL);
	while (handled < 9)
		usleep(1000);
	say_last("killed", pid);
	say("status %d", last.si_status);
	waitpid(pid, 0, 0);
	struct itimerval it = {.it_value = {0, 2000}};
	setitimer(ITIMER_REAL, &it, 0);
	while (handled < 10)
		usleep(1000);
	say("alarm: code %d", last.si_code);
	siginfo_t forged = {.si_signo = SIGUSR1, .si_code = SI_USER};
	forged.si_pid = 4242;
	say("forged to itself: %s", ret(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, &forged)));
	say("code %d pid %d", last.si_code, last.si_pid);
	pid = fork();
	if (!pid) {
		signal(SIGUSR1, SIG_DFL);
		for (;;)
			pause();
	}
	msleep(10);
	say("forged to another: %s", ret(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &forged)));
	forged.si_code = SI_QUEUE;
	say("honest to another: %s", ret(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &forged)));
	waitpid(pid, &st, 0);
	say("status %#x", st);
	say("bad signal: %s", ret(kill(me, 65)));
	say("signal 0: %s", ret(kill(me, 0)));
	say("nobody: %s", ret(kill(3999999, 0)));
	say("tgkill wrong group: %s", ret(syscall(SYS_tgkill, 3999999, me, 0)));
	pid = fork();
	if (!pid)
		_exit(0);
	siginfo_t si;
	while (waitid(P_PID, pid, &si, WEXITED | WNOWAIT))
		;
	say("zombie: %s", ret(kill(pid, SIGTERM)));
	waitpid(pid, &st, 0);
	say("status %#x", st);
}

/* Faults carry their address and code. */
static sigjmp_buf env;
static volatile int code, signo, addr_right;
static void *volatile expected;
static void fault(int sig, siginfo_t *si, void *uc)
{
	signo = sig;
	code = si->si_code;
	addr_right = si->si_addr == expected;
	siglongjmp(env, 1);
}

static void faults(void)
{
	int sigs[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP};
	for (int i = 0; i < 5; i++)
		on(sigs[i], fault, 0);
	if (!sigsetjmp(env, 1)) {
		expected = (void *)16;
		*(volatile int *)16 = 1;
	}
	say("null: signal %d code %d address %d", signo, code, addr_right);
	char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(env, 1)) {
		expected = ro + 5;
		ro[5] = 1;
	}
	say("read-only: signal %d code %d address %d", signo, code, addr_right);
	if (!sigsetjmp(env, 1)) {
		volatile int zero = 0;
		__asm__ volatile("mov $1, %%eax; cltd; idivl %0" ::"m"(zero) : "eax", "edx");
	}
	say("division: signal %d code %d", signo, code);
	if (!sigsetjmp(env, 1))
		__asm__ volatile("ud2");
	say("ud2: signal %d code %d", signo, code);
	if (!sigsetjmp(env, 1))
		__asm__ volatile("int3");
	say("int3: signal %d code %d", signo, code);
	if (!sigsetjmp(env, 1))
		__asm__ volatile("hlt");
	say("hlt: signal %d code %d", signo, code);
	if (!sigsetjmp(env, 1)) {
		expected = 0;
		__asm__ volatile("mov $0x8000000000000000, %%rax; mov (%%rax), %%rax" ::: "rax");
	}
	say("not canonical: signal %d code %d address %d", signo, code, addr_right);
	/* unhandled ones kill */
	for (int i = 0; i < 5; i++)
		signal(sigs[i], SIG_DFL);
	pid_t pid = fork();
	if (!pid)
		*(volatile int *)16 = 1;
	int st;
	waitpid(pid, &st, 0);
	say("unhandled: %#x", st & ~0x80);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)16 = 1;
		_exit(1);
	}
	waitpid(pid, &st, 0);
	say("ignored: %#x", st & ~0x80);
	pid = fork();
	if (!pid) {
		sigset_t s;
		sigfillset(&s);
		on(SIGSEGV, fault, 0);
		sigprocmask(SIG_SETMASK, &s, 0);
		*(volatile int *)16 = 1;
		_exit(1);
	}
	waitpid(pid, &st, 0);
	say("blocked: %#x", st & ~0x80);
}

/* ---- interrupted calls ---- */

static int p[2], full[2], epfd;
static volatile struct coop { atomic_int entered, done; } *coop;

static long do_read(void) { char c; return read(p[0], &c, 1); }
static long do_readv(void) { char c; struct iovec v = {&c, 1}; return readv(p[0], &v, 1); }
static long do_write(void) { static char b[1000]; return write(full[1], b, sizeof b); }
static long do_poll(void) { struct pollfd f = {p[0], POLLIN, 0}; return poll(&f, 1, 2000); }
static long do_poll_inf(void) { struct pollfd f = {p[0], POLLIN, 0}; return poll(&f, 1, -1); }
static long do_ppoll(void) { struct pollfd f = {p[0], POLLIN, 0}; struct timespec t = {2, 0}; return ppoll(&f, 1, &t, 0); }
static long do_select(void)
{
	fd_set s;
	FD_ZERO(&s);
	FD_SET(p[0], &s);
	struct timeval tv = {2, 0};
	return select(p[0] + 1, &s, 0, 0, &tv);
}
static long do_pselect(void)
{
	fd_set s;
	FD_ZERO(&s);
	FD_SET(p[0], &s);
	return pselect(p[0] + 1, &s, 0, 0, 0, 0);
}
static long do_epoll(void) { struct epoll_event e; return epoll_wait(epfd, &e, 1, 2000); }
static long do_pause(void) { return pause(); }
static long do_sigsuspend(void) { sigset_t s; sigemptyset(&s); return sigsuspend(&s); }
static long do_nanosleep(void)
{
	struct timespec t = {0, 90000000}, rem = {9, 9};
	long r = syscall(SYS_nanosleep, &t, &rem);
	if (r)
		say("  remaining sane %d", rem.tv_sec == 0 && rem.tv_nsec > 1000000 && rem.tv_nsec < 90000000);
	return r;
}
static long do_clock_nanosleep_abs(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += 90000000;
	if (t.tv_nsec >= 1000000000)
		t.tv_nsec -= 1000000000, t.tv_sec++;
	return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
}
static long do_wait(void) { int st; return waitpid(-1, &st, __WALL) > 0; }
static long do_waitid(void) { siginfo_t si; return waitid(P_ALL, 0, &si, WEXITED); }
static long do_sigtimedwait(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	struct timespec t = {0, 90000000};
	return sigtimedwait(&s, 0, &t);
}
static int futexword;
static long do_futex(void) { struct timespec t = {0, 90000000}; return syscall(SYS_futex, &futexword, FUTEX_WAIT, 0, &t, 0, 0); }
static long do_flock(void) { int fd = open("lock", O_RDWR); long r = flock(fd, LOCK_EX); close(fd); return r; }
static long do_setlkw(void)
{
	int fd = open("lock2", O_RDWR);
	struct flock l = {.l_type = F_WRLCK};
	long r = fcntl(fd, F_SETLKW, &l);
	close(fd);
	return r;
}
static long do_open_fifo(void) { int fd = open("fifo", O_RDONLY); if (fd >= 0) close(fd); return fd < 0 ? -1 : 1; }
static long do_eventfd(void) { int fd = eventfd(0, 0); uint64_t v; alarm(1); long r = read(fd, &v, 8); close(fd); return r; }
static long do_timerfd(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec it = {.it_value = {0, 90000000}};
	timerfd_settime(fd, 0, &it, 0);
	uint64_t v;
	long r = read(fd, &v, 8);
	close(fd);
	return r;
}

static struct sleeper { const char *name; long (*fn)(void); int handled_only; } sleepers[] = {
	{"read", do_read, 0}, {"readv", do_readv, 0}, {"write", do_write, 0}, {"poll", do_poll, 0}, {"poll without end", do_poll_inf, 0},
	{"ppoll", do_ppoll, 0}, {"select", do_select, 0}, {"pselect", do_pselect, 0}, {"epoll_wait", do_epoll, 0},
	{"nanosleep", do_nanosleep, 0}, {"clock_nanosleep", do_clock_nanosleep_abs, 0}, {"wait4", do_wait, 0},
	{"waitid", do_waitid, 0}, {"sigtimedwait", do_sigtimedwait, 0}, {"futex", do_futex, 0}, {"flock", do_flock, 0},
	{"F_SETLKW", do_setlkw, 0}, {"open a FIFO", do_open_fifo, 0}, {"timerfd", do_timerfd, 0},
	{"pause", do_pause, 1}, {"sigsuspend", do_sigsuspend, 1}, {"eventfd", do_eventfd, 2},
};

/* helper of one interrupted call: sends sig while the parent sleeps, makes the
 * awaited thing happen a while later and ends. */
static void interrupter(int sig)
{
	int lock = open("lock", O_RDWR | O_CREAT, 0600), lock2 = open("lock2", O_RDWR | O_CREAT, 0600);
	flock(lock, LOCK_EX);
	struct flock l = {.l_type = F_WRLCK};
	fcntl(lock2, F_SETLK, &l);
	coop->done = 1;
	while (!coop->entered)
		msleep(1);
	msleep(20);
	if (sig == -1) {
		kill(getppid(), SIGSTOP);
		msleep(10);
		kill(getppid(), SIGCONT);
	} else
		kill(getppid(), sig);
	msleep(20);
	if (write(p[1], "x", 1) != 1)
		_exit(1);
	static char b[100000];
	if (read(full[0], b, sizeof b) < 0)
		_exit(1);
	int fd = open("fifo", O_WRONLY | O_NONBLOCK);
	(void)fd;
	flock(lock, LOCK_UN);
	close(lock2);
	_exit(0);
}

static void interrupted(int flags, int sig)
{
	struct sigaction sa = {.sa_handler = count};
	sigaction(SIGALRM, &sa, 0);
	coop = shared(4096);
	for (unsigned i = 0; i < sizeof sleepers / sizeof *sleepers; i++) {
		struct sleeper *s = &sleepers[i];
		if (s->handled_only == 1 && sig != SIGUSR1)
			continue;
		unlink("lock"), unlink("lock2"), unlink("fifo");
		mkfifo("fifo", 0600);
		if (pipe(p) || pipe(full))
			return;
		fcntl(full[1], F_SETFL, O_NONBLOCK);
		char b[4096];
		while (write(full[1], b, sizeof b) > 0)
			;
		fcntl(full[1], F_SETFL, 0);
		epfd = epoll_create1(0);
		struct epoll_event e = {.events = EPOLLIN};
		epoll_ctl(epfd, EPOLL_CTL_ADD, p[0], &e);
		handled = 0;
		caught[SIGALRM] = 0;
		on(SIGUSR1, note, flags);
		coop->entered = coop->done = 0;
		pid_t pid = fork();
		if (!pid)
			interrupter(sig);
		while (!coop->done)
			msleep(1);
		coop->entered = 1;
		long r = s->fn();
		const char *res = ret(r);
		say("%s: %s, handled %d", s->name, res, handled);
		alarm(0);
		int st;
		while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
			;
		close(p[0]), close(p[1]), close(full[0]), close(full[1]), close(epfd);
	}
}

static void eintr(void) { interrupted(0, SIGUSR1); }
static void restart(void) { interrupted(SA_RESTART, SIGUSR1); }
static void stop_and_continue(void) { interrupted(0, -1); }
static void ignored_signal(void) { interrupted(0, SIGWINCH); }

static void masks(void)
{
	sigset_t s, old, pend;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGKILL);
	sigprocmask(SIG_BLOCK, &s, 0);
	sigprocmask(SIG_BLOCK, 0, &old);
	say("SIGKILL cannot be blocked: %d", sigismember(&old, SIGKILL));
	on(SIGUSR1, note, 0);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	say("blocked: handled %d", handled);
	sigpending(&pend);
	say("pending %d", sigismember(&pend, SIGUSR1));
	pid_t pid = fork();
	if (!pid) {
		sigpending(&pend);
		sigprocmask(SIG_BLOCK, 0, &old);
		_exit(sigismember(&pend, SIGUSR1) * 2 + sigismember(&old, SIGUSR1));
	}
	int st;
	waitpid(pid, &st, 0);
	say("in a child: %#x", st);
	sigemptyset(&s);
	sigprocmask(SIG_SETMASK, &s, 0);
	say("unblocked: handled %d", handled);
	/* real-time signals queue, in order */
	handled = 0;
	on(SIGRTMIN + 2, note, 0);
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &s, 0);
	for (int i = 0; i < 5; i++) {
		union sigval v = {.sival_int = i};
		sigqueue(getpid(), SIGRTMIN + 2, v);
	}
	sigprocmask(SIG_UNBLOCK, &s, 0);
	say("queued: handled %d last %d", handled, last.si_value.sival_int);
	/* nested, with SA_NODEFER and SA_RESETHAND */
	on(SIGUSR2, note, SA_RESETHAND);
	raise(SIGUSR2);
	struct sigaction sa;
	sigaction(SIGUSR2, 0, &sa);
	say("SA_RESETHAND: default %d", sa.sa_handler == SIG_DFL);
	/* sigsuspend takes a blocked signal and puts the mask back */
	handled = 0;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, 0);
	kill(getpid(), SIGUSR1);
	sigemptyset(&s);
	say("sigsuspend: %s", ret(sigsuspend(&s)));
	sigprocmask(SIG_BLOCK, 0, &old);
	say("handled %d, mask back %d", handled, sigismember(&old, SIGUSR1));
	/* ppoll likewise */
	struct timespec ts = {1, 0};
	kill(getpid(), SIGUSR1);
	say("ppoll: %s", ret(ppoll(0, 0, &ts, &s)));
	sigprocmask(SIG_BLOCK, 0, &old);
	say("handled %d, mask back %d", handled, sigismember(&old, SIGUSR1));
	kill(getpid(), SIGUSR1);
	struct epoll_event e;
	int ep = epoll_create1(0);
	say("epoll_pwait: %s", ret(epoll_pwait(ep, &e, 1, 1000, &s)));
	say("handled %d", handled);
	kill(getpid(), SIGUSR1);
	say("pselect: %s", ret(pselect(0, 0, 0, 0, &ts, &s)));
	sigprocmask(SIG_BLOCK, 0, &old);
	say("handled %d, mask back %d", handled, sigismember(&old, SIGUSR1));
}

static void sigwaits(void)
{
	sigset_t s;
	siginfo_t si;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGCHLD);
	sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &s, 0);
	struct timespec zero = {0, 0}, some = {0, 20000000}, bad = {0, -1};
	say("nothing: %s", ret(sigtimedwait(&s, &si, &zero)));
	say("nothing, later: %s", ret(sigtimedwait(&s, &si, &some)));
	say("bad time: %s", ret(sigtimedwait(&s, &si, &bad)));
	kill(getpid(), SIGUSR1);
	memset(&si, 0x55, sizeof si);
	long r = sigtimedwait(&s, &si, &zero);
	say_info("pending", r, &si, getpid());
	union sigval v = {.sival_int = 77};
	sigqueue(getpid(), SIGRTMIN, v);
	r = sigwaitinfo(&s, &si);
	say("queued: %s code %d value %d", ret(r == SIGRTMIN), si.si_code, si.si_value.sival_int);
	pid_t pid = fork();
	if (!pid)
		_exit(13);
	r = sigwaitinfo(&s, &si);
	say_info("SIGCHLD", r, &si, pid);
	int st;
	waitpid(pid, &st, 0);
	pid = fork();
	if (!pid) {
		msleep(20);
		kill(getppid(), SIGUSR1);
		_exit(14);
	}
	r = sigwaitinfo(&s, &si);
	say_info("while asleep", r, &si, pid);
	waitpid(pid, &st, 0);
	r = sigwaitinfo(&s, &si);
	say_info("then SIGCHLD", r, &si, pid);
	/* a signalfd */
	int fd = signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC);
	struct signalfd_siginfo ssi;
	say("signalfd empty: %s", ret(read(fd, &ssi, sizeof ssi)));
	kill(getpid(), SIGUSR1);
	struct pollfd pf = {fd, POLLIN, 0};
	say("polls: %s", ret(poll(&pf, 1, 1000)));
	r = read(fd, &ssi, sizeof ssi);
	say("signalfd: %s signo %d code %d pid right %d", ret(r), ssi.ssi_signo, ssi.ssi_code, (pid_t)ssi.ssi_pid == getpid());
	fcntl(fd, F_SETFL, 0);
	pid = fork();
	if (!pid) {
		msleep(20);
		kill(getppid(), SIGUSR1);
		_exit(15);
	}
	r = read(fd, &ssi, sizeof ssi);
	say("signalfd asleep: %s signo %d pid right %d", ret(r), ssi.ssi_signo, (pid_t)ssi.ssi_pid == pid);
	waitpid(pid, &st, 0);
}

static void sigchld(void)
{
	/* how many come: one at a time, waited between */
	on(SIGCHLD, note, SA_RESTART);
	int st;
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(i);
		while (handled <= i)
			usleep(500);
		waitpid(pid, &st, 0);
	}
	say("handled %d", handled);
	/* blocked, many make one */
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s, 0);
	handled = 0;
	for (int i = 0; i < 5; i++)
		if (!fork())
			_exit(0);
	siginfo_t si;
	for (int i = 0; i < 5; i++)
		waitpid(-1, &st, 0);
	sigprocmask(SIG_UNBLOCK, &s, 0);
	say("coalesced: handled %d", handled);
	/* ignored: no zombies, wait waits for all and says ECHILD */
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 3; i++)
		if (!fork()) {
			msleep(2 * i);
			_exit(0);
		}
	say("ignored: %s", ret(waitpid(-1, &st, 0)));
	handled = 0;
	on(SIGCHLD, note, SA_NOCLDWAIT | SA_RESTART);
	if (!fork())
		_exit(0);
	say("SA_NOCLDWAIT: %s", ret(waitpid(-1, &st, 0)));
	say("handled %d", handled);
	handled = 0;
	on(SIGCHLD, note, SA_NOCLDSTOP | SA_RESTART);
	pid_t pid = spawn((void (*)(void))pause);
	kill(pid, SIGSTOP);
	say("SA_NOCLDSTOP: stopped %d", waitpid(pid, &st, WUNTRACED) == pid);
	say("handled %d", handled);
	kill(pid, SIGCONT);
	say("continued %d", waitpid(pid, &st, WCONTINUED) == pid);
	say("handled %d", handled);
	kill(pid, SIGKILL);
	say("killed %d", waitpid(pid, &st, 0) == pid);
	say("handled %d", handled);
	(void)si;
}

static void timers(void)
{
	signal(SIGALRM, count);
	signal(SIGVTALRM, count);
	signal(SIGPROF, count);
	unsigned first = alarm(10), second = alarm(1);
	say("alarm: %u %u", first, second);
	say("pause: %s", ret(pause()));
	say("alarms %d", caught[SIGALRM]);
	struct itimerval it = {{0, 5000}, {0, 5000}}, old;
	setitimer(ITIMER_REAL, &it, 0);
	while (caught[SIGALRM] < 4)
		usleep(1000);
	memset(&it, 0, sizeof it);
	setitimer(ITIMER_REAL, &it, &old);
	say("interval kept %ld", (long)old.it_interval.tv_usec);
	it.it_value.tv_usec = 20000;
	setitimer(ITIMER_VIRTUAL, &it, 0);
	while (!caught[SIGVTALRM])
		;
	setitimer(ITIMER_PROF, &it, 0);
	while (!caught[SIGPROF])
		;
	say("virtual %d, prof %d", caught[SIGVTALRM], caught[SIGPROF]);
	say("bad: %s", ret(setitimer(3, &it, 0)));
	it.it_value.tv_usec = 1000000;
	say("bad: %s", ret(setitimer(0, &it, 0)));
	/* a forked child has none */
	alarm(100);
	pid_t pid = fork();
	if (!pid)
		_exit(alarm(0));
	int st;
	waitpid(pid, &st, 0);
	say("child's alarm %#x", st);
	say("ours kept %d", alarm(0) > 50);
	/* a timer kills a computing and a sleeping process */
	pid = fork();
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		it.it_value.tv_usec = 10000;
		setitimer(ITIMER_REAL, &it, 0);
		for (;;)
			;
	}
	waitpid(pid, &st, 0);
	say("computing: %#x", st);
	pid = fork();
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		it.it_value.tv_usec = 10000;
		setitimer(ITIMER_REAL, &it, 0);
		for (;;)
			pause();
	}
	waitpid(pid, &st, 0);
	say("sleeping: %#x", st);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 99};
	timer_t tm;
	on(SIGUSR1, note, 0);
	say("timer_create: %s", ret(timer_create(CLOCK_MONOTONIC, &ev, &tm)));
	struct itimerspec its = {.it_value = {0, 5000000}};
	timer_settime(tm, 0, &its, 0);
	while (!handled)
		usleep(1000);
	say("timer: code %d value %d", last.si_code, last.si_value.sival_int);
	timer_delete(tm);
}

static void *taker(void *arg)
{
	sigset_t s;
	sigemptyset(&s);
	pthread_sigmask(SIG_SETMASK, &s, 0);
	while (!handled)
		msleep(1);
	return 0;
}

/* alternate stacks, nested handlers, changes of the context, handlers that fork */
static void onstack(int sig, siginfo_t *si, void *uc)
{
	int here;
	handled = (char *)&here > stackmem && (char *)&here < stackmem + sizeof stackmem;
}
static void outer(int sig, siginfo_t *si, void *uc)
{
	handled = handled * 10 + 1;
	raise(SIGUSR2);
	handled = handled * 10 + 3;
}
static void inner(int sig, siginfo_t *si, void *uc) { handled = handled * 10 + 2; }
static void forker(int sig, siginfo_t *si, void *uc)
{
	pid_t pid = fork();
	if (!pid)
		_exit(8);
	int st;
	waitpid(pid, &st, 0);
	handled = WEXITSTATUS(st);
}
static void skipper(int sig, siginfo_t *si, void *uc)
{
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += 2;
	handled++;
}

static void handlers(void)
{
	stack_t ss = {.ss_sp = stackmem, .ss_size = sizeof stackmem};
	sigaltstack(&ss, 0);
	on(SIGUSR1, onstack, SA_ONSTACK);
	raise(SIGUSR1);
	say("on the alternate stack %d", handled);
	handled = 0;
	on(SIGUSR1, outer, 0);
	on(SIGUSR2, inner, 0);
	raise(SIGUSR1);
	say("nested %d", handled);
	handled = 0;
	on(SIGUSR1, forker, 0);
	raise(SIGUSR1);
	say("forked %d", handled);
	handled = 0;
	on(SIGILL, skipper, 0);
	__asm__ volatile("ud2; ud2");
	say("skipped %d", handled);
	/* a process-wide signal goes to a thread that does not block it */
	handled = 0;
	on(SIGUSR1, note, 0);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, 0);
	pthread_t t;
	pthread_create(&t, 0, taker, 0);
	msleep(5);
	kill(getpid(), SIGUSR1);
	pthread_join(t, 0);
	say("another thread took it %d", handled);
}

/* ---- threads ---- */

static atomic_int ran;
static int clone_tid, clone_word = 1;
static char tstack[1 << 16] __attribute__((aligned(16)));

static int thread_fn(void *arg)
{
	ran = (syscall(SYS_gettid) != getpid()) + 2 * (getppid() > 0 || getpid() == 1) +
	      4 * (clone_word == (int)syscall(SYS_gettid));
	return 7;
}

static void threads(void)
{
	int tid = clone(thread_fn, tstack + sizeof tstack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, 0, &clone_tid, 0, &clone_word);
	int v;
	while ((v = *(volatile int *)&clone_word) != 0)
		syscall(SYS_futex, &clone_word, FUTEX_WAIT, v, 0, 0, 0);
	say("raw thread: tid told right %d, ran %d, cleared %d", clone_tid == tid, ran, clone_word);
	say("gone: %s", ret(syscall(SYS_tgkill, getpid(), tid, 0)));
	say("not a child: %s", ret(waitpid(tid, 0, __WALL)));
	say("gettid is getpid %d", syscall(SYS_gettid) == getpid());
	int word = 5;
	say("set_tid_address right %d", syscall(SYS_set_tid_address, &word) == getpid());
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], 0, exec_missing, 0);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], 0);
}

static void *exit7(void *arg) { syscall(SYS_exit, 7); return 0; }
static void *exit_group8(void *arg) { msleep(5); syscall(SYS_exit_group, 8); return 0; }
static void *kill_self(void *arg) { syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTERM); for (;;) pause(); return 0; }
static void *sigsys_self(void *arg) { syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSYS); for (;;) pause(); return 0; }
static void *segv_self(void *arg) { *(volatile int *)8 = 1; return 0; }

static void run_thread(void *(*fn)(void *), int leader_exits)
{
	pid_t pid = fork();
	if (!pid) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		pthread_t t;
		pthread_create(&t, 0, asleep, 0);
		pthread_create(&t, 0, fn, 0);
		if (leader_exits)
			syscall(SYS_exit, 3);
		if (fn == exit7) {
			pthread_join(t, 0);
			_exit(6);
		}
		for (;;)
			pause();
	}
	int st = -1;
	if (fn == exit7 && leader_exits) {
		msleep(20);
		say("zombie leader: %s", ret(waitpid(pid, &st, WNOHANG)));
		kill(pid, SIGTERM);
	}
	waitpid(pid, &st, 0);
	say("status %#x", st);
}

static void thread_ends(void)
{
	void *(*fns[])(void *) = {exit7, exit_group8, kill_self, segv_self, sigsys_self};
	for (int i = 0; i < 5; i++)
		for (int leader = 0; leader < 2; leader++)
			run_thread(fns[i], leader);
}

static pthread_t main_thread;
static void *signaller(void *arg)
{
	msleep(20);
	pthread_kill(main_thread, SIGUSR1);
	return 0;
}

static void thread_signals(void)
{
	on(SIGUSR1, note, 0);
	main_thread = pthread_self();
	pthread_t t, u;
	pthread_create(&u, 0, asleep, 0);
	pthread_create(&t, 0, signaller, 0);
	char c;
	int q[2];
	if (pipe(q))
		return;
	say("read: %s", ret(read(q[0], &c, 1)));
	say_last("from a thread", getpid());
	pthread_join(t, 0);
	/* a stopped process stops whole */
	pid_t pid = fork();
	if (!pid) {
		pthread_create(&t, 0, spin, 0);
		pthread_create(&t, 0, asleep, 0);
		for (;;)
			pause();
	}
	int st;
	msleep(5);
	for (int i = 0; i < 3; i++) {
		kill(pid, SIGSTOP);
		waitpid(pid, &st, WUNTRACED);
		say("stopped %#x", st);
		kill(pid, SIGCONT);
		waitpid(pid, &st, WCONTINUED);
		say("continued %#x", st);
	}
	kill(pid, SIGSTOP);
	waitpid(pid, &st, WUNTRACED);
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	say("killed while stopped %#x", st);
}

/* ---- files between processes ---- */

/* ---- F_NOTIFY ---- */

static void told(const char *of, int sig)
{
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, sig);
	struct timespec now = {0};
	siginfo_t si = {0};
	int n = 0;
	while (sigtimedwait(&s, &si, &now) == sig)
		n++;
	say("%s: %s, code %d%s", of, n ? "told" : "nothing", n ? si.si_code : 0, n && sig != SIGIO ? si.si_fd == 9 && si.si_band == 0x441 ? ", right" : ", wrong" : "");
}

static void dir_notify(void)
{
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, SIGIO), sigaddset(&s, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &s, 0);
	mkdir("watched", 0700);
	int dir = open("watched", O_RDONLY), file = open("plain", O_CREAT | O_RDWR, 0600);
	say("file %s, bad fd %s", ret(fcntl(file, F_NOTIFY, DN_CREATE)), ret(fcntl(77, F_NOTIFY, DN_CREATE)));
	say("once %s", ret(fcntl(dir, F_NOTIFY, DN_CREATE)));
	say("owner %d", fcntl(dir, F_GETOWN) == getpid());
	told("before", SIGIO);
	put_file("watched/a", "x", 0600);
	told("create", SIGIO);
	put_file("watched/b", "x", 0600);
	told("again", SIGIO);
	dup2(dir, 9);
	fcntl(9, F_SETSIG, SIGRTMIN + 1);
	say("many %s", ret(fcntl(9, F_NOTIFY, DN_MULTISHOT | DN_MODIFY | DN_DELETE | DN_ATTRIB)));
	int fd = open("watched/a", O_RDWR);
	told("open", SIGRTMIN + 1);
	if (write(fd, "y", 1) == 1)
		told("write", SIGRTMIN + 1);
	fchmod(fd, 0640);
	told("chmod", SIGRTMIN + 1);
	say("more %s", ret(fcntl(9, F_NOTIFY, DN_RENAME | DN_ACCESS)));
	rename("watched/a", "watched/c");
	told("rename", SIGRTMIN + 1);
	char c;
	if (pread(fd, &c, 1, 0) == 1)
		told("read", SIGRTMIN + 1);
	unlink("watched/c");
	told("unlink", SIGRTMIN + 1);
	say("none %s", ret(fcntl(9, F_NOTIFY, 0)));
	unlink("watched/b");
	told("after", SIGRTMIN + 1);
	fcntl(9, F_NOTIFY, DN_MULTISHOT | DN_CREATE);
	close(dir);
	put_file("watched/d", "x", 0600);
	told("closed", SIGRTMIN + 1);
}

static long remap(volatile char *at, size_t n, int prot, size_t page) { return syscall(SYS_remap_file_pages, at, n, prot, page, 0); }

static void remaps(void)
{
	int fd = open("remapped", O_CREAT | O_RDWR, 0600);
	for (int i = 0; i < 3; i++)
		if (pwrite(fd, &"ABC"[i], 1, 4096 * i) != 1)
			return;
	volatile char *f = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	volatile char *m = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	volatile char *p = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	m[4096] = 'M';
	say("file %s, memory %s, private %s", ret(remap(f, 4096, 0, 2)), ret(remap(m, 4096, 0, 1)), ret(remap(p, 4096, 0, 1)));
	say("%c%c%c %c", f[0], f[4096], f[8192], m[0]);
	f[0] = 'x';
	say("one page twice %c", f[8192]);
	say("two pages %s", ret(remap(f + 4096, 8192, 0, 0)));
	say("%c%c%c", f[0], f[4096], f[8192]);
	say("protection %s, nothing %s, no size %s", ret(remap(f, 4096, PROT_READ, 0)), ret(remap((char *)4096, 4096, 0, 0)), ret(remap(f, 0, 0, 0)));
}

static void map_device(const char *path, int flags)
{
	int fd = open(path, O_RDWR), st;
	volatile char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, flags, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		say("%s, flags %#x: %s", path, flags, ret(-1));
		return;
	}
	p[0]++;
	pid_t pid = fork();
	if (!pid) {
		p[0]++;
		_exit(p[4096]);
	}
	waitpid(pid, &st, 0);
	say("%s, flags %#x: %d, child %#x", path, flags, p[0], st);
}

static void mappings(void)
{
	const char *devices[] = {"/dev/zero", "/dev/full", "/dev/null", "/dev/urandom"};
	for (int i = 0; i < 4; i++)
		map_device(devices[i], MAP_SHARED), map_device(devices[i], MAP_PRIVATE);
	int fd = open("mapped", O_CREAT | O_RDWR, 0600), st;
	if (ftruncate(fd, 8192))
		return;
	volatile char *s = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	volatile char *pr = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	s[0] = 'a';
	say("private sees it %c", pr[0]);
	pr[0] = 'b';
	s[0] = 'c';
	say("copied on write %c, shared %c", pr[0], s[0]);
	pid_t pid = fork();
	if (!pid) {
		s[1] = 'd';
		pr[1] = 'e';
		_exit(pr[0] == 'b' && s[0] == 'c');
	}
	waitpid(pid, &st, 0);
	say("child %#x, shared %c, private %d", st, s[1], pr[1]);
	char c[4] = "?";
	if (pread(fd, c, 2, 0) != 2)
		return;
	say("read %s", c);
	if (pwrite(fd, "xyz", 3, 4096) != 3)
		return;
	say("written file is mapped %c%c%c", s[4096], s[4097], s[4098]);
	int fd2 = open("mapped", O_RDWR);
	volatile char *s2 = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 4096);
	s2[0] = 'q';
	say("second mapping %c", s[4096]);
	close(fd), close(fd2);
	unlink("mapped");
	s[8191] = 'z';
	say("unlinked and closed %c", s[8191]);
	volatile char *an = shared(4096);
	volatile char *pa = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	an[0] = pa[0] = 1;
	pid = fork();
	if (!pid) {
		an[0] = pa[0] = 2;
		_exit(0);
	}
	waitpid(pid, &st, 0);
	say("anonymous: shared %d private %d", an[0], pa[0]);
	fd = open("ro", O_CREAT | O_RDONLY, 0600);
	say("shared writable of a read-only descriptor: %s",
	    mmap(0, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? ret(-1) : "mapped");
	void *r = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
	say("mprotect it: %s", ret(mprotect(r, 4096, PROT_READ | PROT_WRITE)));
	fd = open("m2", O_CREAT | O_RDWR, 0600);
	if (ftruncate(fd, 4096))
		return;
	char *g = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g[0] = 'g';
	g = mremap(g, 4096, 3 * 4096, MREMAP_MAYMOVE);
	say("grown %d first %c", g != MAP_FAILED, g[0]);
	if (ftruncate(fd, 3 * 4096))
		return;
	g[8192] = 'h';
	char ch = 0;
	say("read back: %s %c", ret(pread(fd, &ch, 1, 8192)), ch);
}

static void offsets(void)
{
	int st;
	put_file("log", "", 0600);
	for (int i = 0; i < 4; i++)
		if (!fork()) {
			int fd = open("log", O_WRONLY | O_APPEND);
			for (int j = 0; j < 50; j++)
				if (write(fd, "0123456789\n", 11) != 11)
					_exit(1);
			_exit(0);
		}
	int bad = 0;
	while (wait(&st) > 0)
		bad += st != 0;
	struct stat sb;
	stat("log", &sb);
	say("appended: bad %d size %ld", bad, (long)sb.st_size);
	int fd = open("log", O_RDONLY), d = dup(fd), other = open("log", O_RDONLY);
	lseek(fd, 5, SEEK_SET);
	say("dup shares %ld, open does not %ld", (long)lseek(d, 0, SEEK_CUR), (long)lseek(other, 0, SEEK_CUR));
	pid_t pid = fork();
	if (!pid) {
		lseek(fd, 9, SEEK_SET);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		close(d);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	say("fork shares %ld, status flags %#x, descriptor flags %d, open %d", (long)lseek(fd, 0, SEEK_CUR),
	    fcntl(fd, F_GETFL) & O_NONBLOCK, fcntl(fd, F_GETFD), fcntl(d, F_GETFD));
	/* CLONE_FILES shares the table */
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		close(other);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	say("CLONE_FILES: %s", ret(fcntl(other, F_GETFD)));
	pid = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		mkdir("there", 0755);
		_exit(chdir("there") | (umask(077) != 022));
	}
	umask(022);
	waitpid(pid, &st, 0);
	char cwd[4096];
	say("CLONE_FS: %s", strrchr(getcwd(cwd, sizeof cwd), '/'));
	say("status seen %d", WIFEXITED(st));
	umask(022);
	pid = fork();
	if (!pid) {
		umask(0);
		_exit(chdir("/"));
	}
	waitpid(pid, &st, 0);
	say("after fork: %s umask %o", strrchr(getcwd(cwd, sizeof cwd), '/'), umask(022));
}

static void pipes(void)
{
	int a[2], st;
	char b[16];
	if (pipe(a))
		return;
	on(SIGPIPE, note, 0);
	pid_t pid = fork();
	if (!pid) {
		close(a[0]);
		for (int i = 0; i < 3; i++)
			if (write(a[1], "abc", 3) != 3)
				_exit(1);
		_exit(0);
	}
	close(a[1]);
	waitpid(pid, &st, 0);
	say("read: %s", ret(read(a[0], b, 16)));
	say("end: %s", ret(read(a[0], b, 16)));
	close(a[0]);
	if (pipe(a))
		return;
	close(a[0]);
	say("EPIPE: %s", ret(write(a[1], "x", 1)));
	say("handled %d", handled);
	say("code %d pid right %d", last.si_code, last.si_pid == getpid());
	pid = fork();
	if (!pid) {
		signal(SIGPIPE, SIG_DFL);
		if (write(a[1], "x", 1) < 0)
			_exit(1);
		_exit(2);
	}
	waitpid(pid, &st, 0);
	say("default: %#x", st);
	signal(SIGPIPE, SIG_IGN);
	say("ignored: %s", ret(write(a[1], "x", 1)));
	/* a reader that goes away wakes a sleeping writer */
	int f[2];
	if (pipe(f))
		return;
	pid = fork();
	if (!pid) {
		close(f[0]);
		static char big[200000];
		ssize_t n = write(f[1], big, sizeof big);
		_exit(n == 65536 ? 5 : n < 0 ? 6 : 7);
	}
	close(f[1]);
	msleep(10);
	close(f[0]);
	waitpid(pid, &st, 0);
	say("writer left: %#x", st);
	/* a chain */
	int in = -1;
	for (int i = 0; i < 5; i++) {
		int q[2];
		if (pipe(q))
			return;
		if (!fork()) {
			char buf[512];
			ssize_t n;
			close(q[0]);
			if (in < 0) {
				for (int j = 0; j < 1000; j++)
					if (write(q[1], "line of ten", 11) != 11)
						_exit(1);
				_exit(0);
			}
			while ((n = read(in, buf, sizeof buf)) > 0)
				if (write(q[1], buf, n) != n)
					_exit(1);
			_exit(0);
		}
		close(q[1]);
		if (in >= 0)
			close(in);
		in = q[0];
	}
	long total = 0;
	ssize_t n;
	char buf[777];
	while ((n = read(in, buf, sizeof buf)) > 0)
		total += n;
	int good = 0;
	while (wait(&st) > 0)
		good += st == 0;
	say("chain: %ld bytes, %d good", total, good);
}

/* Registers other than rax, rcx and r11 survive every call, flags too. */
static void registers(void)
{
	int calls[] = {SYS_getpid, SYS_mmap, SYS_fork, SYS_nanosleep, SYS_read, 600, SYS_clone, SYS_wait4};
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		uint64_t in[13], out[13], flags_in = 0x246 | 0xc95, flags_out;
		for (int j = 0; j < 13; j++)
			in[j] = 0x1111111111111111ul * (j + 1);
		struct timespec ts = {0, 1000};
		uint64_t a[6] = {0x7fffffff, 0, 0, 0, 0, 0};
		if (calls[i] == SYS_mmap) {
			int fd = open(self, O_RDONLY);
			a[0] = 0, a[1] = 4096, a[2] = PROT_READ, a[3] = MAP_PRIVATE, a[4] = fd;
		}
		if (calls[i] == SYS_nanosleep)
			a[0] = (uint64_t)&ts;
		if (calls[i] == SYS_clone)
			a[0] = SIGCHLD;
		if (calls[i] == SYS_wait4)
			a[0] = -1;
		in[0] = a[0], in[1] = a[1], in[2] = a[2], in[3] = a[3], in[4] = a[4], in[5] = a[5];
		register uint64_t r8 asm("r8") = in[4], r9 asm("r9") = in[5], r10 asm("r10") = in[3], r12 asm("r12") = in[6],
			r13 asm("r13") = in[7], r14 asm("r14") = in[8], r15 asm("r15") = in[9];
		uint64_t rdi = in[0], rsi = in[1], rdx = in[2], rbx = in[10], rax = calls[i], rcx;
		double x = 1.5, y;
		asm volatile("movsd %[x], %%xmm7\n\tpush %[fl]\n\tpopfq\n\tsyscall\n\tpushfq\n\tpop %%rcx\n\tcld\n\tmovsd %%xmm7, %[y]"
			: "+D"(rdi), "+S"(rsi), "+d"(rdx), "+b"(rbx), "+a"(rax), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12), "+r"(r13),
			  "+r"(r14), "+r"(r15), "=&c"(rcx), [y] "=m"(y)
			: [fl] "m"(flags_in), [x] "m"(x)
			: "r11", "memory", "cc", "xmm7");
		if (rax == 0 && (calls[i] == SYS_fork || calls[i] == SYS_clone)) {
			_exit(rdi != in[0] || rsi != in[1] || rdx != in[2] || r10 != in[3] || r8 != in[4] || r9 != in[5] ||
			      rbx != in[10] || r12 != in[6] || r15 != in[9] || y != x);
		}
		flags_out = rcx;
		say("call %d: %d%d%d%d%d%d %d%d%d%d%d flags %#lx x %g", calls[i], rdi == in[0], rsi == in[1], rdx == in[2],
		    r10 == in[3], r8 == in[4], r9 == in[5], rbx == in[10], r12 == in[6], r13 == in[7], r14 == in[8], r15 == in[9],
		    flags_out & 0xcd5, y);
		(void)out;
		int st = -1;
		if (calls[i] == SYS_fork || calls[i] == SYS_clone) {
			waitpid(rax, &st, 0);
			say("child's registers %#x", st);
		}
	}
}

/* ---- descriptors of processes, and their memory ---- */

static int pidfd(pid_t pid, unsigned flags) { return syscall(SYS_pidfd_open, pid, flags); }
static int pidfd_kill(int fd, int sig, siginfo_t *si, unsigned flags) { return syscall(SYS_pidfd_send_signal, fd, sig, si, flags); }

static int ready(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static void pidfds(void)
{
	siginfo_t si = {0};
	char link[64], path[64];
	say("bad: %s %s %s %s", ret(pidfd(0, 0)), ret(pidfd(-1, 0)), ret(pidfd(getpid(), 1 << 20)), ret(pidfd(4000000, 0)));
	pid_t pid = spawn((void (*)(void))pause);
	int fd = pidfd(pid, 0), own = pidfd(getpid(), O_NONBLOCK);
	say("fds %d %d, flags %#x %#x, cloexec %d", fd, own, fcntl(fd, F_GETFL), fcntl(own, F_GETFL), fcntl(fd, F_GETFD));
	sprintf(path, "/proc/self/fd/%d", fd);
	link[readlink(path, link, sizeof link)] = 0;
	say("%s, read %s, write %s", link, ret(read(fd, link, 8)), ret(write(fd, "x", 1)));
	say("alive: %d, wait %s, nohang %s", ready(fd), ret(waitid(P_PIDFD, own, &si, WEXITED)), ret(waitid(P_PIDFD, fd, &si, WEXITED | WNOHANG)));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	say("nonblocking: %s", ret(waitid(P_PIDFD, fd, &si, WEXITED)));
	fcntl(fd, F_SETFL, 0);
	say("signal 0: %s, flags %s %s, 65 %s, no pidfd %s, closed %s", ret(pidfd_kill(fd, 0, 0, 0)), ret(pidfd_kill(fd, 0, 0, 3)),
	    ret(pidfd_kill(fd, 0, 0, 8)), ret(pidfd_kill(fd, 65, 0, 0)), ret(pidfd_kill(1, 0, 0, 0)), ret(pidfd_kill(77, 0, 0, 0)));
	si.si_signo = SIGUSR2;
	say("info: %s", ret(pidfd_kill(fd, SIGUSR1, &si, 0)));
	sprintf(path, "/proc/%d", pid);
	int dir = open(path, O_RDONLY), task = openat(dir, "task", O_RDONLY), named = open(path, O_PATH);
	say("in /proc: %s, below %s, O_PATH %s", ret(pidfd_kill(dir, 0, 0, 0)), ret(pidfd_kill(task, 0, 0, 0)), ret(pidfd_kill(named, 0, 0, 0)));
	close(dir), close(task), close(named);
	si.si_signo = SIGUSR1;
	say("forged: %s", ret(pidfd_kill(fd, SIGUSR1, &si, 0)));
	si.si_code = SI_QUEUE;
	say("queued: %s", ret(pidfd_kill(fd, SIGUSR1, &si, 0)));
	struct pollfd p = {fd, POLLIN, 0};
	say("poll %s %d", ret(poll(&p, 1, -1)), p.revents);
	say("zombie: %s", ret(pidfd_kill(fd, SIGTERM, 0, 0)));
	waitid(P_PIDFD, fd, &si, WEXITED);
	say("waited: right %d status %d code %d", si.si_pid == pid, si.si_status, si.si_code);
	say("reaped: %d, %s, %s", ready(fd), ret(pidfd_kill(fd, 0, 0, 0)), ret(waitid(P_PIDFD, fd, &si, WEXITED)));
	say("not ours: %s %s", ret(waitid(P_PIDFD, 1, &si, WEXITED)), ret(waitid(P_PIDFD, -1, &si, WEXITED)));

	int made = -1, in[2], err = pipe(in);
	pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &made, 0, 0);
	if (!pid)
		_exit(fcntl(made, F_GETFD) == -1 ? 5 : 6);
	say("clone: fd %d cloexec %d, wait %s", made, fcntl(made, F_GETFD), ret(waitid(P_PIDFD, made, &si, WEXITED)));
	say("right %d, the child has it not: %d", si.si_pid == pid, si.si_status);
	say("into a thread: %s, nowhere: %s", ret(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &made, 0, 0)),
	    ret(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, 1, 0, 0)));
	say("next fd %d", err ? -1 : dup(0));
	struct { uint64_t flags, pidfd, child, parent, sig, stack, size, tls; } a = {CLONE_PIDFD, (uintptr_t)&made, 0, 0, SIGCHLD};
	pid = syscall(SYS_clone3, &a, sizeof a);
	if (!pid)
		for (;;)
			pause();
	int there = syscall(SYS_pidfd_getfd, made, in[1], 0);
	say("getfd %d cloexec %d, %s %s %s", there > made, fcntl(there, F_GETFD), ret(syscall(SYS_pidfd_getfd, made, 99, 0)),
	    ret(syscall(SYS_pidfd_getfd, made, 0, 1)), ret(syscall(SYS_pidfd_getfd, 0, 0, 0)));
	say("through it: %s", ret(write(there, "abc", 3)));
	say("and back: %s", ret(read(in[0], link, sizeof link)));
	say("kill %s", ret(pidfd_kill(made, SIGKILL, 0, 0)));
	say("wait %s", ret(waitid(P_PIDFD, made, &si, WEXITED)));
	say("dead %s", ret(syscall(SYS_pidfd_getfd, made, in[1], 0)));
}

static void vm_copies(void)
{
	static char text[] = "the text of both", other[3][8];
	char *map = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(map + 4096, 4096);
	strcpy(map + 4090, "edge!");
	pid_t pid = spawn((void (*)(void))pause);
	strcpy(text, "changed");
	struct iovec l[] = {{other[0], 5}, {other[1], 0}, {other[2], 8}}, r[] = {{text, 7}, {text + 9, 40}}, edge = {map + 4090, 20};
	say("read %s %.5s|%.8s", ret(process_vm_readv(pid, l, 3, r, 2, 0)), other[0], other[2]);
	say("over an edge %s %.6s", ret(process_vm_readv(pid, l, 3, &edge, 1, 0)), other[0]);
	edge.iov_base = map + 4096;
	say("of nothing %s, of zero %s, no iov %s", ret(process_vm_readv(pid, l, 3, &edge, 1, 0)), ret(process_vm_readv(pid, l + 1, 1, r, 2, 0)),
	    ret(process_vm_readv(pid, l, 3, r, 0, 0)));
	memcpy(other[0], "HELLO", 5);
	say("write %s", ret(process_vm_writev(pid, l, 1, r, 2, 0)));
	say("again %s %.8s, here %s", ret(process_vm_readv(pid, l + 2, 1, r, 1, 0)), other[2], text);
	say("own %s", ret(process_vm_readv(getpid(), l + 2, 1, r, 1, 0)));
	say("flags %s, pid %s, many %s, bad iov %s %s, bad buffer %s", ret(process_vm_readv(pid, l, 3, r, 2, 1)), ret(process_vm_readv(-1, l, 3, r, 2, 0)),
	    ret(process_vm_readv(pid, l, 1025, r, 2, 0)), ret(process_vm_readv(pid, (void *)1, 1, r, 2, 0)), ret(process_vm_readv(pid, l, 1, (void *)1, 1, 0)),
	    ret(process_vm_readv(pid, &edge, 1, r, 1, 0)));
	kill(pid, SIGKILL);
	siginfo_t si;
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	say("zombie %s", ret(process_vm_readv(pid, l, 3, r, 2, 0)));
	waitpid(pid, 0, 0);
}

/* ---- futexes ---- */

static long futex(int *at, int op, int val, void *timeout, int *at2, unsigned val3)
{
	return syscall(SYS_futex, at, op, val, timeout, at2, val3);
}

static int word, other_word;
static atomic_int woken; /* bits of who was */

struct futex_sleeper { int *at, op, bits; pthread_t t; };

static void *futex_sleep(void *arg)
{
	struct futex_sleeper *s = arg;
	if (futex(s->at, s->op, 0, 0, 0, s->bits) == 0)
		woken |= s->bits;
	return 0;
}

/* woke tells of a wake-up of n, and which have woken. */
static void woke(const char *what, long result, int n)
{
	const char *r = ret(result);
	for (int i = 0; i < 200 && __builtin_popcount(woken) < n; i++)
		msleep(10);
	say("%s: %s, %#x", what, r, atomic_exchange(&woken, 0));
}

static void futex_ops(void)
{
	struct timespec none = {0, 0}, bad = {0, 1000000000}, past = {1, 0}, far = {1L << 40, 0};
	int values[] = {0, 5, -1, 1 << 30};
	word = 0;
	say("odd %s, null %s, kernel %s, value %s", ret(futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, 0, 0, 0)),
	    ret(futex(0, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0)), ret(futex((int *)-4096, FUTEX_WAIT, 0, 0, 0, 0)), ret(futex(&word, FUTEX_WAIT, 1, 0, 0, 0)));
	say("no bits %s %s, time %s %s", ret(futex(&word, FUTEX_WAIT_BITSET, 0, 0, 0, 0)), ret(futex(&word, FUTEX_WAKE_BITSET, 1, 0, 0, 0)),
	    ret(futex(&word, FUTEX_WAIT, 0, &bad, 0, 0)), ret(futex(&word, FUTEX_WAIT, 1, (void *)8, 0, 0)));
	say("relative %s, absolute %s, of day %s", ret(futex(&word, FUTEX_WAIT, 0, &none, 0, 0)), ret(futex(&word, FUTEX_WAIT_BITSET, 0, &past, 0, -1)),
	    ret(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, 0, -1)));
	say("relative of day %s, far %s, value first %s", ret(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, &none, 0, 0)),
	    ret(futex(&word, FUTEX_WAIT_BITSET, 1, &far, 0, -1)), ret(futex(&word, FUTEX_WAIT, 1, &none, 0, 0)));
	say("nobody %s %s, requeue %s %s, compare %s", ret(futex(&word, FUTEX_WAKE, 1, 0, 0, 0)), ret(futex(&word, FUTEX_REQUEUE, 1, (void *)1, &other_word, 0)),
	    ret(futex(&word, FUTEX_REQUEUE, -1, 0, &other_word, 0)), ret(futex(&word, FUTEX_REQUEUE, 0, (void *)-1, &other_word, 0)),
	    ret(futex(&word, FUTEX_CMP_REQUEUE, 0, 0, &other_word, 7)));
	for (int op = 0; op < 6; op++)
		for (int cmp = 0; cmp < 7; cmp++)
			for (unsigned i = 0; i < 4; i++) {
				other_word = values[i];
				long n = futex(&word, FUTEX_WAKE_OP, 0, 0, &other_word, FUTEX_OP(op | i % 2 * 8, 3, cmp, -1));
				say("op %d %d %#x: %s %#x", op, cmp, values[i], ret(n), cmp < 6 && op < 5 ? other_word : 0);
			}
}

static void futexes(void)
{
	futex_ops();
	struct futex_sleeper s[6];
	other_word = 0;
	for (int i = 0; i < 6; i++) {
		s[i] = (struct futex_sleeper){&word, FUTEX_WAIT_BITSET_PRIVATE, 1 << i};
		pthread_create(&s[i].t, 0, futex_sleep, &s[i]);
		msleep(100);
	}
	say("another kind %s", ret(futex(&word, FUTEX_WAKE, 9, 0, 0, 0)));
	woke("one of two", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, 0, 0, 0x24), 1);
	woke("at least one", futex(&word, FUTEX_WAKE_PRIVATE, 0, 0, 0, 0), 1);
	woke("requeue", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &other_word, 0), 1);
	woke("moved", futex(&other_word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 1);
	woke("both", futex(&word, FUTEX_WAKE_OP_PRIVATE, 5, (void *)5, &other_word, FUTEX_OP(FUTEX_OP_SET, 3, FUTEX_OP_CMP_EQ, 0)), 2);
	for (int i = 0; i < 6; i++)
		pthread_join(s[i].t, 0);
	/* one page at two addresses, and in a child */
	int fd = memfd_create("futex", 0);
	if (ftruncate(fd, 4096))
		return;
	int *a = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int *both = shared(4096), *mine = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), st;
	*mine = 0;
	struct futex_sleeper there = {a, FUTEX_WAIT_BITSET, 1};
	pthread_create(&there.t, 0, futex_sleep, &there);
	msleep(100);
	woke("private", futex(a, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
	woke("a copy", futex(mine, FUTEX_WAKE, 1, 0, 0, 0), 0);
	woke("another offset", futex(b + 1, FUTEX_WAKE, 1, 0, 0, 0), 0);
	woke("another address", futex(b, FUTEX_WAKE, 1, 0, 0, 0), 1);
	pthread_join(there.t, 0);
	for (int i = 0; i < 2; i++) {
		int *at = i ? mine : both;
		pid_t pid = fork();
		if (!pid) {
			struct timespec short_time = {0, 400000000};
			_exit(futex(at, FUTEX_WAIT, 0, &short_time, 0, 0) ? errno : 0);
		}
		msleep(100);
		say("in a child: %s", ret(futex(at, FUTEX_WAKE, 1, 0, 0, 0)));
		waitpid(pid, &st, 0);
		say("which had %s", strerrorname_np(WEXITSTATUS(st)));
	}
}

/* ---- robust futexes ---- */

static void *robust_own(void *m)
{
	pthread_mutex_lock(m);
	return 0;
}

static void *robust_wait(void *m)
{
	return (void *)(long)pthread_mutex_lock(m);
}

static void robust_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &a);
}

static const char *err(int e)
{
	return e ? strerrorname_np(e) : "0";
}

static void robust_threads(void)
{
	static pthread_mutex_t m[3];
	pthread_t t, w[3];
	void *r;
	robust_init(m);
	pthread_create(&t, 0, robust_own, m);
	pthread_join(t, 0);
	say("of a thread: %s", err(pthread_mutex_trylock(m)));
	say("consistent %s", err(pthread_mutex_consistent(m)));
	say("unlock %s lock %s unlock %s", err(pthread_mutex_unlock(m)), err(pthread_mutex_lock(m)), err(pthread_mutex_unlock(m)));
	pthread_create(&t, 0, robust_own, m);
	pthread_join(t, 0);
	say("not mended: lock %s", err(pthread_mutex_lock(m)));
	pthread_mutex_unlock(m);
	say("then %s", err(pthread_mutex_lock(m)));
	robust_init(m);
	pthread_mutex_lock(m);
	for (int i = 0; i < 3; i++) {
		pthread_create(w + i, 0, robust_wait, m);
		msleep(50);
	}
	pthread_mutex_unlock(m); /* each ends with it locked, and without a word */
	for (int i = 0; i < 3; i++) {
		pthread_join(w[i], &r);
		say("a thread had %s", i && r ? "not 0" : err((long)r));
	}
}

static pthread_mutex_t *robust_at; /* in shared memory */
static int robust_how;

static void robust_hold(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	for (int i = 0; i < 3; i++)
		pthread_mutex_lock(robust_at + i);
	msleep(200);
	pthread_t t;
	switch (robust_how) {
	case 1:
		kill(getpid(), SIGKILL);
	case 2:
		*(volatile int *)8 = 1;
	case 3:
		execl(self, self, "exit", "3", NULL);
	case 4: /* of the thread's exit its process does not end */
		pthread_create(&t, 0, robust_own, robust_at + 3);
		pthread_join(t, 0);
		syscall(SYS_exit, 4);
	}
	_exit(0);
}

static void robust_processes(void)
{
	robust_at = shared(4096);
	for (robust_how = 0; robust_how < 5; robust_how++) {
		for (int i = 0; i < 4; i++)
			robust_init(robust_at + i);
		pid_t pid = spawn(robust_hold), st;
		msleep(50);
		say("%d: waited %s", robust_how, err(pthread_mutex_lock(robust_at)));
		for (int i = 1; i < 4; i++)
			say("%d: %s", robust_how, err(pthread_mutex_lock(robust_at + i)));
		waitpid(pid, &st, 0);
		say("status %#x", st);
	}
}

/* Threads that make calls are killed, or their process ends. */
static atomic_int *robust_busy;

static void *robust_work(void *m)
{
	pthread_mutex_lock(m);
	for (++*robust_busy;;)
		getppid();
}

static void *robust_end(void *arg)
{
	while (*robust_busy < (long)arg)
		sched_yield();
	_exit(0);
}

static void robust_kills(void)
{
	enum { threads = 3, times = 60 };
	robust_at = shared(4096);
	robust_busy = (void *)((char *)robust_at + 2048);
	int died = 0;
	for (int n = 0; n < times; n++) {
		*robust_busy = 0;
		for (int i = 0; i < threads; i++)
			robust_init(robust_at + i);
		pid_t pid = fork(), st;
		if (!pid) {
			for (int i = 0; i < threads; i++) {
				pthread_t t;
				if (i == 0 && n % 4 > 1) /* the leader's */
					continue;
				pthread_create(&t, 0, robust_work, robust_at + i);
			}
			if (n % 4 == 2) {
				pthread_t t;
				pthread_create(&t, 0, robust_end, (void *)threads);
			}
			if (n % 4 > 1)
				robust_work(robust_at);
			while (*robust_busy < threads || n % 2)
				sched_yield();
			_exit(0);
		}
		while (*robust_busy < threads)
			sched_yield();
		if (n % 2)
			kill(pid, SIGKILL);
		for (int i = 0; i < threads; i++) {
			struct timespec late;
			clock_gettime(CLOCK_REALTIME, &late);
			late.tv_sec += 3;
			died += pthread_mutex_timedlock(robust_at + i, &late) == EOWNERDEAD;
		}
		waitpid(pid, &st, 0);
	}
	say("died %d of %d", died, threads * times);
}

/* A process alone, by a file. */
static void robust_file(void)
{
	int fd = open("robust", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4096))
		_exit(93);
	robust_at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	robust_init(robust_at);
	pid_t pid = vfork(), st;
	if (!pid) {
		execl(self, self, "robust_file_end", NULL);
		_exit(94);
	}
	waitpid(pid, &st, 0);
	say("by a file: %s, status %#x", err(pthread_mutex_lock(robust_at)), st);
}

static void robust_file_end(void)
{
	int fd = open("robust", O_RDWR);
	pthread_mutex_lock(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
}

/* The list is what the thread says it is. */
struct robust_entry { struct robust_list list; int word, again; };
static struct { struct robust_list_head head; struct robust_entry e[2100]; } *robust;

static void *robust_raw(void *arg)
{
	long how = (long)arg;
	int tid = syscall(SYS_gettid), n = 2100;
	struct robust_entry *e = robust->e;
	struct robust_list_head *h = &robust->head;
	memset(robust, 0, sizeof *robust);
	h->futex_offset = offsetof(struct robust_entry, word);
	for (int i = 0; i < n; i++) {
		e[i].list.next = i + 1 < n ? &e[i + 1].list : &h->list;
		e[i].word = tid;
	}
	h->list.next = &e[0].list;
	switch (how) {
	case 1: h->list.next = &h->list; h->list_op_pending = &e[5].list; break;
	case 2: h->list_op_pending = &e[1].list; break;
	case 3: e[2].list.next = &e[0].list; e[0].word |= FUTEX_WAITERS; break;
	case 4: e[1].list.next = (void *)8; h->list_op_pending = &e[9].list; break;
	case 5: h->futex_offset = -8; break;
	case 6: h->futex_offset = 17; h->list_op_pending = &e[3].list; break;
	case 7: e[0].word = 0; e[1].word = tid + 1; e[2].word = tid | FUTEX_OWNER_DIED; e[3].word = tid | FUTEX_WAITERS; break;
	case 8: h->list.next = (void *)((char *)&e[0].list + 1); e[0].list.next = (void *)((char *)&e[1].list + 1); break;
	case 9: h = (void *)-8; break;
	case 10: h = (void *)16; break;
	case 11: h = (void *)((char *)h + 4); break;
	case 12: h->futex_offset = (1L << 62); break;
	}
	if (syscall(SYS_set_robust_list, h, sizeof *h))
		say("set_robust_list: %s", ret(-1));
	syscall(SYS_exit, 0);
	return 0;
}

static void robust_lists(void)
{
	robust = shared(sizeof *robust);
	say("size %s", ret(syscall(SYS_set_robust_list, &robust->head, 23)));
	for (long how = 0; how < 13; how++) {
		pthread_t t;
		pthread_create(&t, 0, robust_raw, (void *)how);
		pthread_join(t, 0);
		int died = 0, waiters = 0, kept = 0;
		for (int i = 0; i < 2100; i++) {
			unsigned w = robust->e[i].word;
			if (w & FUTEX_WAITERS)
				waiters += i + 1;
			if (w & FUTEX_OWNER_DIED)
				died++;
			if (w & FUTEX_TID_MASK)
				kept++;
		}
		say("%ld: died %d, owned %d, with waiters %d", how, died, kept, waiters);
	}
}

static void *robust_unlocked(void *arg)
{
	struct timespec ts = {3, 0};
	long r = syscall(SYS_futex, &robust->e[0].word, FUTEX_WAIT, 0, &ts, 0, 0);
	say("waited for what its owner was about to hand on: %s", ret(r));
	return 0;
}

static void *robust_unlocks(void *arg)
{
	robust->head.list.next = &robust->head.list;
	robust->head.futex_offset = offsetof(struct robust_entry, word);
	robust->head.list_op_pending = &robust->e[0].list;
	syscall(SYS_set_robust_list, &robust->head, sizeof robust->head);
	syscall(SYS_exit, 0);
	return 0;
}

/* exit(2), of whose number the kernel looks at 32 bits. */
static void *wide_exit(void *arg)
{
	__asm__ volatile("syscall" : : "a"(1L << 32 | SYS_exit), "D"(0L) : "rcx", "r11", "memory");
	return 0;
}

/* Ends, and what looks like one. */
static void robust_ends(void)
{
	pthread_t t, u;
	robust = shared(sizeof *robust);
	pthread_create(&t, 0, robust_unlocked, 0);
	msleep(50);
	pthread_create(&u, 0, robust_unlocks, 0);
	pthread_join(u, 0);
	pthread_join(t, 0);
	pthread_create(&t, 0, wide_exit, 0);
	say("joined %s", err(pthread_join(t, 0)));
	for (int sig = SIGTRAP; sig <= SIGUSR1; sig += SIGUSR1 - SIGTRAP) {
		on(sig, note, 0);
		siginfo_t si = {.si_signo = sig, .si_code = SIGTRAP | 6 << 8}; /* PTRACE_EVENT_EXIT */
		say("queued %s", ret(syscall(SYS_rt_sigqueueinfo, getpid(), sig, &si)));
		say("handled %d, code %#x", handled, last.si_code);
	}
}

/* ---- */

static struct twin { const char *name; void (*fn)(void); } twins[] = {
#define T(f) {#f, f}
	T(wait_exit), T(wait_maxrss), T(wait_crash), T(wait_signals), T(wait_id), T(wait_threads), T(wait_groups), T(orphans), T(vforks), T(clones), T(exit_signals),
	T(exec_errors), T(exec_state), T(exec_thread), T(exec_thread_leader_gone), T(exec_thread_fails), T(exec_thread_wait), T(exec_leader_wait),
	T(exec_fd), T(exec_memfd), T(exec_script), T(siginfo), T(faults), T(eintr), T(restart), T(stop_and_continue), T(ignored_signal),
	T(masks), T(sigwaits), T(sigchld), T(timers), T(handlers), T(threads), T(thread_ends), T(thread_signals),
	T(pidfds), T(vm_copies), T(mappings), T(remaps), T(dir_notify), T(offsets), T(pipes), T(registers), T(futexes),
	T(robust_threads), T(robust_processes), T(robust_kills), T(robust_file), T(robust_lists), T(robust_ends),
};

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "list"))
		for (unsigned i = 0; i < sizeof twins / sizeof *twins; i++)
			say("%s", twins[i].name);
	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (!strcmp(argv[1], "show"))
		show(argc, argv);
	if (!strcmp(argv[1], "robust_file_end"))
		robust_file_end();
	if (!strcmp(argv[1], "exit_signal_late"))
		exit_signal_late(argv[2]);
	if (!strncmp(argv[1], "args", 4))
		args(argc, argv);
	for (unsigned i = 0; i < sizeof twins / sizeof *twins; i++)
		if (!strcmp(argv[1], twins[i].name))
			twins[i].fn();
	return 0;
}
