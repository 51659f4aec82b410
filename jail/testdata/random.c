/* Makes random calls and says what each gave. The same seed makes the same calls
 * anywhere: what runs at the same time is waited for before the next one. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FDS = 24, SLEEPERS = 4, DEPTH = 3 };

static uint64_t state;
static int depth, threads;
static const char *self;
static pid_t sleepers[SLEEPERS];
static volatile sig_atomic_t caught[65];
static char buf[1 << 16];

static uint32_t rnd(uint32_t n)
{
	state += 0x9e3779b97f4a7c15;
	uint64_t z = state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n = snprintf(line, sizeof line, "%*s", depth, "");
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	int at = 0;
	while (at < n) { /* as a call of its own: stdio is shared with children */
		ssize_t m = write(1000, line + at, n - at);
		if (m < 0 && errno != EINTR)
			_exit(99);
		at += m > 0 ? m : 0;
	}
}

#define TRY(call, fmt, ...)                                                             \
	({                                                                              \
		errno = 0;                                                              \
		long r_ = (long)(call);                                                 \
		int e_ = r_ == -1 ? errno : 0;                                          \
		say(fmt " = %ld%s%s", ##__VA_ARGS__, r_, e_ ? " " : "", e_ ? strerrorname_np(e_) : ""); \
		r_;                                                                     \
	})

/* fd is mostly one that may be open. */
static int fd(void)
{
	switch (rnd(24)) {
	case 0:
		return -1;
	case 1:
		return 1 << 30;
	case 2:
		return 900;
	}
	int f = 3;
	for (int i = 0; i < 4; i++) {
		f = 3 + rnd(FDS - 3);
		if (fcntl(f, F_GETFD) >= 0)
			break;
	}
	return f;
}

static const char *name(void)
{
	static const char *const names[] = {"a", "b", "c", "d", "d/e", "d/f", "d/g/h", "l", "m", "d/..", ".", "", "d/../.", "d/", "a/",
					    "l/x", "loop", "nowhere/x", "fifo", "d/g", "./a", "d//e", "long"};
	static char longer[300];
	const char *n = names[rnd(sizeof names / sizeof *names)];
	if (strcmp(n, "long"))
		return n;
	memset(longer, 'n', 250 + rnd(10));
	longer[255 + rnd(2)] = 0;
	return longer;
}

static long length(void)
{
	static const long special[] = {0, 1, 4095, 4096, 4097, 65535, 65536, 100000};
	return rnd(3) ? (long)rnd(300) : special[rnd(sizeof special / sizeof *special)];
}

static long offset(void)
{
	switch (rnd(12)) {
	case 0:
		return -1 - (long)rnd(5);
	case 1:
		return 1L << 40;
	}
	return rnd(3) ? rnd(300) : rnd(200000);
}

static unsigned sum(const void *p, long n)
{
	unsigned h = 2166136261u;
	for (long i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)p)[i]) * 16777619;
	return h;
}

static void fill(long n)
{
	for (long i = 0; i < n && i < (long)sizeof buf; i++)
		buf[i] = 'a' + (i * 7 + (long)state) % 26;
}

/* special: a file whose inode is anonymous, or a socket. */
static int special(int f)
{
	struct stat st;
	return !fstat(f, &st) && (!(st.st_mode & S_IFMT) || S_ISSOCK(st.st_mode));
}

/* would_block: reading or writing fd might sleep for ever. */
static int would_block(int f, short events)
{
	struct pollfd p = {f, events, 0};
	return poll(&p, 1, 0) == 0;
}

static void op_open(void)
{
	static const int flags[] = {O_RDONLY, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_TRUNC, O_RDWR | O_APPEND | O_CREAT,
				    O_RDONLY | O_DIRECTORY, O_PATH, O_RDWR | O_NOFOLLOW, O_RDONLY | O_CLOEXEC, O_RDWR | O_NONBLOCK,
				    O_WRONLY | O_CREAT | O_APPEND, O_PATH | O_NOFOLLOW, O_RDWR | O_TMPFILE};
	const char *n = name();
	int f = flags[rnd(sizeof flags / sizeof *flags)] | O_NONBLOCK;
	if (f & O_PATH)
		f &= ~O_NONBLOCK;
	int r = TRY(open(n, f, rnd(4) ? 0644 : rnd(01000)), "open(%s, %o)", n, f);
	if (r >= FDS)
		close(r);
}

static void op_close(void)
{
	int f = fd();
	TRY(close(f), "close(%d)", f);
}

static void op_dup(void)
{
	int f = fd(), to = rnd(5) ? 3 + (int)rnd(FDS - 3) : fd();
	if (to == 1000)
		return;
	int r;
	switch (rnd(5)) {
	case 0:
		r = TRY(dup(f), "dup(%d)", f);
		break;
	case 1:
		r = TRY(dup2(f, to), "dup2(%d, %d)", f, to);
		break;
	case 2:
		r = TRY(dup3(f, to, rnd(2) ? O_CLOEXEC : rnd(3)), "dup3(%d, %d)", f, to);
		break;
	default: {
		int cmd = rnd(2) ? F_DUPFD : F_DUPFD_CLOEXEC;
		r = TRY(fcntl(f, cmd, to), "fcntl(%d, %d, %d)", f, cmd, to);
	}
	}
	if (r >= FDS)
		close(r);
}

static void op_fcntl(void)
{
	int f = fd();
	struct stat st;
	int anonymous = !fstat(f, &st) && !(st.st_mode & S_IFMT); /* one inode for the whole system, and its locks too */
	switch (anonymous ? rnd(3) : rnd(7)) {
	case 0:
		TRY(fcntl(f, F_GETFD), "F_GETFD(%d)", f);
		break;
	case 1:
		TRY(fcntl(f, F_SETFD, rnd(2)), "F_SETFD(%d)", f);
		break;
	case 2:
		TRY(fcntl(f, F_GETFL) & ~O_NONBLOCK, "F_GETFL(%d)", f);
		break;
	case 3: {
		struct flock l = {.l_type = rnd(3), .l_whence = rnd(2) ? SEEK_SET : rnd(4), .l_start = offset() % 1000, .l_len = rnd(100)};
		int cmd = rnd(2) ? F_SETLK : F_OFD_SETLK;
		TRY(fcntl(f, cmd, &l), "lock(%d, %d, type %d, %d+%ld, %ld)", f, cmd, l.l_type, l.l_whence, (long)l.l_start, (long)l.l_len);
		break;
	}
	case 4: {
		struct flock l = {.l_type = rnd(2), .l_start = rnd(100), .l_len = rnd(100)};
		int r = TRY(fcntl(f, rnd(2) ? F_GETLK : F_OFD_GETLK, &l), "getlk(%d)", f);
		if (!r)
			say(" type %d %d+%ld %ld holder %d", l.l_type, l.l_whence, (long)l.l_start, (long)l.l_len, l.l_pid > 0);
		break;
	}
	case 5: {
		int how = (int[]){LOCK_SH, LOCK_EX, LOCK_UN, 99}[rnd(4)] | LOCK_NB;
		TRY(flock(f, how), "flock(%d, %d)", f, how);
		break;
	}
	case 6: {
		int n = 0;
		long r = TRY(ioctl(f, FIONREAD, &n), "FIONREAD(%d)", f);
		if (!r)
			say(" %d", n);
	}
	}
}

static void op_read(void)
{
	int f = fd();
	long n = length(), off = offset();
	if (would_block(f, POLLIN))
		return;
	struct stat st;
	if (!fstat(f, &st) && (S_ISDIR(st.st_mode) || S_ISFIFO(st.st_mode)) && rnd(2))
		n = rnd(100);
	memset(buf, 0, sizeof buf);
	n = n > (long)sizeof buf ? (long)sizeof buf : n;
	struct iovec v[3] = {{buf, rnd(100)}, {buf + 100, 0}, {buf + 200, n > 30000 ? 30000 : n}};
	long r;
	switch (rnd(5)) {
	case 0:
		r = TRY(pread(f, buf, n, off), "pread(%d, %ld, %ld)", f, n, off);
		break;
	case 1:
		r = TRY(readv(f, v, rnd(4)), "readv(%d, %ld)", f, n);
		break;
	case 2:
		r = TRY(preadv2(f, v, 3, off, rnd(2) ? 0 : RWF_NOWAIT & 0), "preadv2(%d, %ld, %ld)", f, n, off);
		break;
	case 3:
		r = TRY(read(f, rnd(3) ? buf : (char *)8, n), "read(%d, %ld)", f, n);
		break;
	default:
		r = TRY(read(f, buf, n), "read(%d, %ld)", f, n);
	}
	if (r > 0)
		say(" sum %u", sum(buf, sizeof buf));
}

static void op_write(void)
{
	int f = fd();
	long n = length(), off = offset();
	if (f == 1000 || would_block(f, POLLOUT) || (special(f) && n == 0))
		return;
	n = n > (long)sizeof buf ? (long)sizeof buf : n;
	fill(n);
	struct iovec v[3] = {{buf, rnd(100)}, {(void *)8, rnd(8) ? 0 : 5}, {buf + 200, n > 30000 ? 30000 : n}};
	switch (special(f) ? 4 : rnd(5)) {
	case 0:
		TRY(pwrite(f, buf, n, off % (1 << 20)), "pwrite(%d, %ld, %ld)", f, n, off % (1 << 20));
		break;
	case 1:
		TRY(writev(f, v, 3), "writev(%d, %ld)", f, n);
		break;
	case 2:
		TRY(pwritev(f, v, 1, off % (1 << 20)), "pwritev(%d, %ld)", f, off % (1 << 20));
		break;
	default:
		TRY(write(f, buf, n), "write(%d, %ld)", f, n);
	}
}

static void op_seek(void)
{
	int f = fd(), whence = (int[]){SEEK_SET, SEEK_CUR, SEEK_END, 5, -1}[rnd(5)]; /* holes: a mapping that is read fills them */
	long off = offset();
	struct stat st;
	if (!fstat(f, &st) && S_ISDIR(st.st_mode)) /* each file system has its own */
		return;
	TRY(lseek(f, off, whence), "lseek(%d, %ld, %d)", f, off, whence);
}

static void op_size(void)
{
	int f = fd();
	long off = offset() % (1 << 20), n = offset() % (1 << 20);
	const char *p = name();
	switch (rnd(3)) {
	case 0:
		TRY(ftruncate(f, off), "ftruncate(%d, %ld)", f, off);
		break;
	case 1:
		TRY(truncate(p, off), "truncate(%s, %ld)", p, off);
		break;
	case 2: {
		int mode = (int[]){0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE}[rnd(4)];
		TRY(fallocate(f, mode, off, n), "fallocate(%d, %d, %ld, %ld)", f, mode, off, n);
	}
	}
}

static void op_stat(void)
{
	struct stat st;
	int f = fd(), r;
	const char *p = name();
	switch (rnd(4)) {
	case 0:
		r = TRY(fstat(f, &st), "fstat(%d)", f);
		break;
	case 1:
		r = TRY(lstat(p, &st), "lstat(%s)", p);
		break;
	case 2:
		r = TRY(fstatat(f, p, &st, AT_EMPTY_PATH), "fstatat(%d, %s)", f, p);
		break;
	default:
		r = TRY(stat(p, &st), "stat(%s)", p);
	}
	if (!r)
		say(" mode %o nlink %ld size %ld uid %d", st.st_mode, S_ISDIR(st.st_mode) ? 0L : (long)st.st_nlink,
		    S_ISDIR(st.st_mode) ? 0L : (long)st.st_size, st.st_uid == getuid());
	TRY(faccessat(AT_FDCWD, p, rnd(8), rnd(2) ? AT_EACCESS : 0), "access(%s)", p);
}

static void op_name(void)
{
	const char *a = name();
	char first[300];
	snprintf(first, sizeof first, "%s", a);
	const char *b = name();
	long r;
	switch (rnd(13)) {
	case 0:
		TRY(rename(first, b), "rename(%s, %s)", first, b);
		break;
	case 1:
		TRY(link(first, b), "link(%s, %s)", first, b);
		break;
	case 2:
		TRY(symlink(first, b), "symlink(%s, %s)", first, b);
		break;
	case 3:
		TRY(unlink(first), "unlink(%s)", first);
		break;
	case 4:
		TRY(rmdir(first), "rmdir(%s)", first);
		break;
	case 5:
	case 6:
		TRY(mkdir(first, 0700 | rnd(01000)), "mkdir(%s)", first);
		break;
	case 7:
		r = TRY(readlink(first, buf, 1 + rnd(20)), "readlink(%s)", first);
		if (r > 0)
			say(" %.*s", (int)r, buf);
		break;
	case 8:
		TRY(chmod(first, 0600 | rnd(01000)), "chmod(%s)", first);
		break;
	case 9: {
		unsigned f = rnd(8);
		TRY(renameat2(AT_FDCWD, first, AT_FDCWD, b, f & ~RENAME_WHITEOUT), "renameat2(%s, %s, %u)", first, b, f & ~RENAME_WHITEOUT);
		break;
	}
	case 10:
		TRY(mkfifo(first, 0644), "mkfifo(%s)", first);
		break;
	case 11:
		TRY(linkat(AT_FDCWD, first, AT_FDCWD, b, rnd(2) ? AT_SYMLINK_FOLLOW : 0), "linkat(%s, %s)", first, b);
		break;
	case 12: {
		mode_t m = rnd(0100);
		TRY(umask(m & 077), "umask(%o)", m & 077);
	}
	}
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void op_list(void)
{
	struct dirent **list;
	const char *p = rnd(2) ? "." : name();
	int n = TRY(scandir(p, &list, NULL, by_name), "scandir(%s)", p);
	for (int i = 0; i < n; i++) {
		say(" %s %d", list[i]->d_name, list[i]->d_type);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void op_make(void)
{
	int p[2] = {-1, -1};
	switch (rnd(8)) {
	case 0:
	case 1:
		TRY(pipe2(p, O_NONBLOCK | (rnd(2) ? O_CLOEXEC : 0)), "pipe2");
		break;
	case 2:
		TRY(socketpair(AF_UNIX, (rnd(2) ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, p), "socketpair");
		break;
	case 3:
		TRY(p[0] = eventfd(rnd(3), EFD_NONBLOCK | (rnd(2) ? EFD_SEMAPHORE : 0)), "eventfd");
		break;
	case 4:
		TRY(p[0] = memfd_create("m", rnd(2) ? MFD_ALLOW_SEALING : MFD_CLOEXEC), "memfd_create");
		break;
	case 5:
		TRY(p[0] = epoll_create1(rnd(2) ? EPOLL_CLOEXEC : 0), "epoll_create1");
		break;
	case 6:
		TRY(p[0] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
		break;
	case 7: {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1 + 2 * rnd(2));
		TRY(p[0] = signalfd(-1, &set, SFD_NONBLOCK), "signalfd");
	}
	}
	say(" %d %d", p[0], p[1]);
	for (int i = 0; i < 2; i++)
		if (p[i] >= FDS)
			close(p[i]);
}

static void op_epoll(void)
{
	int e = fd(), f = fd(), cmd = 1 + rnd(3);
	struct epoll_event ev[8] = {{.events = rnd(2) ? EPOLLIN | EPOLLOUT : EPOLLIN | (rnd(2) ? EPOLLET : EPOLLONESHOT), .data.u64 = f}};
	if (rnd(2)) {
		TRY(epoll_ctl(e, cmd, f, ev), "epoll_ctl(%d, %d, %d, %#x)", e, cmd, f, ev[0].events);
		return;
	}
	int n = TRY(epoll_wait(e, ev, 8, 0), "epoll_wait(%d)", e);
	unsigned all = 0;
	for (int i = 0; i < n; i++) /* in no order */
		all += ev[i].events * 31 + (unsigned)ev[i].data.u64;
	if (n > 0)
		say(" %u", all);
}

static void op_poll(void)
{
	struct pollfd p[6];
	for (int i = 0; i < 6; i++)
		p[i] = (struct pollfd){fd(), rnd(2) ? POLLIN | POLLOUT | POLLPRI : POLLIN | POLLRDHUP, 0};
	TRY(poll(p, 6, 0), "poll");
	say(" %x %x %x %x %x %x", p[0].revents, p[1].revents, p[2].revents, p[3].revents, p[4].revents, p[5].revents);
}

static void op_move(void)
{
	int a = fd(), b = fd();
	long n = length();
	if (would_block(a, POLLIN) || would_block(b, POLLOUT) || special(a) || special(b))
		return;
	off_t oa = rnd(1000), ob = rnd(1000);
	switch (rnd(5)) {
	case 0:
		TRY(sendfile(b, a, rnd(2) ? &oa : NULL, n), "sendfile(%d, %d, %ld)", b, a, n);
		break;
	case 1:
		TRY(splice(a, NULL, b, NULL, n, SPLICE_F_NONBLOCK), "splice(%d, %d, %ld)", a, b, n);
		break;
	case 2:
		TRY(tee(a, b, n, SPLICE_F_NONBLOCK), "tee(%d, %d, %ld)", a, b, n);
		break;
	case 3:
		TRY(copy_file_range(a, &oa, b, &ob, n, 0), "copy_file_range(%d, %d, %ld)", a, b, n);
		break;
	case 4:
		TRY(splice(a, &oa, b, NULL, n, SPLICE_F_NONBLOCK), "splice(%d at, %d, %ld)", a, b, n);
	}
}

static void op_map(void)
{
	int f = fd(), shared = rnd(2), prot = rnd(3) ? PROT_READ : PROT_READ | PROT_WRITE;
	struct stat st;
	long size = fstat(f, &st) || !S_ISREG(st.st_mode) ? 0 : st.st_size;
	long n = 1 + rnd(20000);
	char *p = mmap(NULL, n, prot, shared ? MAP_SHARED : MAP_PRIVATE, f, rnd(4) ? 0 : 4096);
	say("mmap(%d, %ld, %d, shared %d) %s", f, n, prot, shared, p == MAP_FAILED ? strerrorname_np(errno) : "");
	if (p == MAP_FAILED)
		return;
	long has = size < 4096 ? 0 : n < size - 4096 ? n : size - 4096;
	if (has > 0) {
		if (prot & PROT_WRITE)
			memset(p, 'M', has < 100 ? has : 100);
		say(" sum %u", sum(p, has));
	}
	TRY(munmap(p, n), "munmap");
}

static void handler(int sig) { caught[sig]++; }

static void op_signal(void)
{
	const int sigs[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGWINCH, SIGRTMIN + 1, SIGALRM, SIGURG, SIGPIPE};
	int sig = sigs[rnd(8)];
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, sig);
	switch (rnd(6)) {
	case 0: {
		struct sigaction sa = {.sa_handler = rnd(3) ? handler : SIG_IGN, .sa_flags = rnd(2) ? SA_RESTART : 0};
		TRY(sigaction(sig, &sa, NULL), "sigaction(%d)", sig);
		break;
	}
	case 1:
		TRY(sigprocmask(rnd(3), &set, &old), "sigprocmask(%d) was %d", sig, sigismember(&old, sig));
		break;
	case 2: { /* only what does not end us */
		struct sigaction sa;
		sigaction(sig, NULL, &sa);
		if (sa.sa_handler == SIG_DFL)
			sig = SIGURG;
		int before = caught[sig];
		union sigval v = {.sival_int = 7};
		if (threads) /* another could take what is for all */
			TRY(tgkill(getpid(), gettid(), sig), "tgkill(self, %d)", sig);
		else
			TRY(rnd(2) ? kill(getpid(), sig) : sigqueue(getpid(), sig, v), "kill(self, %d)", sig);
		say(" caught %d", caught[sig] - before);
		break;
	}
	case 3:
		sigpending(&set);
		say("pending %d %d %d", sigismember(&set, SIGUSR1), sigismember(&set, SIGUSR2), sigismember(&set, SIGRTMIN + 1));
		break;
	case 4: {
		struct timespec none = {0, 0};
		siginfo_t si;
		int r = TRY(sigtimedwait(&set, &si, &none), "sigtimedwait(%d)", sig);
		if (r > 0)
			say(" code %d self %d", si.si_code, si.si_pid == getpid());
		break;
	}
	case 5:
		TRY(kill(1 << 22, sig), "kill(nobody)");
		TRY(kill(getpid(), rnd(2) ? 0 : 99), "kill(self, odd)");
	}
}

static void steps(int n);

static void finish(void)
{
	for (int i = 0; i < SLEEPERS; i++)
		if (sleepers[i]) {
			kill(sleepers[i], SIGKILL);
			while (waitpid(sleepers[i], NULL, 0) < 0 && errno == EINTR)
				;
		}
}

static void fresh_child(void)
{
	memset(sleepers, 0, sizeof sleepers);
	depth++;
	threads = 0;
}

static void *thread_main(void *arg)
{
	depth++;
	steps((int)(intptr_t)arg);
	depth--;
	return NULL;
}

static void say_status(const char *what, long r, int st)
{
	say("%s: %s %s %d", what, r > 0 ? "child" : r == 0 ? "none" : strerrorname_np(errno),
	    r <= 0 ? "" : WIFEXITED(st) ? "exit" : WIFSIGNALED(st) ? "signal" : WIFSTOPPED(st) ? "stop" : "cont",
	    r <= 0 ? 0 : WIFEXITED(st) ? WEXITSTATUS(st) : WIFSIGNALED(st) ? WTERMSIG(st) : WIFSTOPPED(st) ? WSTOPSIG(st) : 0);
}

static long wait_for(pid_t pid, int *st, int options)
{
	long r;
	while ((r = waitpid(pid, st, options)) < 0 && errno == EINTR)
		;
	return r;
}

static void op_child(void)
{
	uint64_t sub = state ^ rnd(1 << 30);
	int n = 3 + rnd(12), code = rnd(256), st = 0, kind = rnd(6);
	if (depth >= DEPTH)
		return;
	say("child of kind %d", kind);
	if (kind == 0) {
		pthread_t t;
		threads++;
		if (!pthread_create(&t, NULL, thread_main, (void *)(intptr_t)n))
			pthread_join(t, NULL);
		threads--;
		return;
	}
	pid_t pid;
	char seed[32], count[16], deep[16];
	snprintf(seed, sizeof seed, "%llu", (unsigned long long)sub);
	snprintf(count, sizeof count, "%d", n);
	snprintf(deep, sizeof deep, "%d", depth + 1);
	char *argv[] = {(char *)self, seed, count, deep, NULL};
	if (kind == 1) {
		pid = vfork();
		if (!pid) {
			execv(self, argv);
			_exit(126);
		}
	} else {
		pid = fork();
		if (!pid) {
			fresh_child();
			state = sub;
			if (kind == 2) {
				execv(rnd(8) ? self : "d", argv);
				say("execv: %s", strerrorname_np(errno));
			} else {
				steps(n);
			}
			finish();
			_exit(code);
		}
	}
	if (pid < 0) {
		say("fork: %s", strerrorname_np(errno));
		return;
	}
	long r = wait_for(pid, &st, 0);
	if (r < 0 && errno == ECHILD) /* SIGCHLD is ignored: it is gone all the same */
		say("nobody to wait for");
	else
		say_status("child", r == pid, st);
}

static void op_sleeper(void)
{
	int i = rnd(SLEEPERS), st = 0;
	if (!sleepers[i]) {
		struct sigaction sa;
		sigaction(SIGCHLD, NULL, &sa);
		if (sa.sa_handler == SIG_IGN || depth >= DEPTH)
			return;
		sigset_t none, all, old;
		sigemptyset(&none);
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, &old); /* no signal comes before it takes them as by default */
		pid_t pid = fork();
		if (!pid) {
			if (!threads) /* the parent is a thread, which may have ended by now */
				prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (int s = 1; s < 65; s++)
				signal(s, SIG_DFL);
			sigprocmask(SIG_SETMASK, &none, NULL);
			for (;;)
				pause();
		}
		sigprocmask(SIG_SETMASK, &old, NULL);
		if (pid > 0 && rnd(2))
			TRY(setpgid(pid, 0), "setpgid");
		say("sleeper %d", i);
		sleepers[i] = pid > 0 ? pid : 0;
		return;
	}
	pid_t pid = sleepers[i];
	switch (rnd(6)) {
	case 0:
		TRY(kill(pid, SIGSTOP), "stop %d", i);
		say_status("stopped", wait_for(pid, &st, WUNTRACED), st);
		say_status("again", wait_for(pid, &st, WUNTRACED | WNOHANG), st);
		TRY(kill(pid, SIGCONT), "continue %d", i);
		say_status("continued", wait_for(pid, &st, WCONTINUED), st);
		break;
	case 1: {
		siginfo_t si;
		memset(&si, 0, sizeof si);
		TRY(waitid(P_PID, pid, &si, WEXITED | WNOHANG | (rnd(2) ? WNOWAIT : WSTOPPED)), "waitid %d", i);
		say(" code %d pid %d", si.si_code, si.si_pid != 0);
		break;
	}
	case 2:
		say("group of %d: own %d", i, getpgid(pid) == pid);
		TRY(kill(-pid, 0) , "kill(group of %d, 0)", i);
		break;
	default: {
		int sig = (int[]){SIGKILL, SIGTERM, SIGUSR1, SIGSEGV, SIGABRT, SIGRTMAX}[rnd(6)];
		sleepers[i] = 0;
		TRY(kill(pid, sig), "kill(%d, %d)", i, sig);
		struct sigaction sa;
		sigaction(SIGCHLD, NULL, &sa);
		long r = wait_for(pid, &st, 0);
		if (sa.sa_handler == SIG_IGN)
			say("reaped by itself %d", r < 0);
		else
			say_status("killed", r, st);
		TRY(kill(pid, 0), "kill(gone)");
	}
	}
}

static void op_misc(void)
{
	char cwd[64] = "";
	switch (rnd(7)) {
	case 0: {
		const char *p = name();
		if (strstr(p, ".."))
			return;
		TRY(chdir(p), "chdir(%s)", p);
		TRY(chdir(self[0] == '/' ? getenv("TOP") : "."), "chdir back");
		break;
	}
	case 1:
		TRY(getcwd(cwd, 1) == NULL ? -1 : 0, "getcwd of 1");
		break;
	case 2: {
		struct rlimit l;
		TRY(getrlimit(RLIMIT_NOFILE, &l), "getrlimit");
		l.rlim_cur = 1010 - rnd(5);
		TRY(setrlimit(RLIMIT_NOFILE, &l), "setrlimit");
		break;
	}
	case 3:
		TRY(getpriority(PRIO_PROCESS, 0), "getpriority");
		break;
	case 4:
		say("thread is leader %d", syscall(SYS_gettid) == getpid());
		break;
	case 5: {
		const char *p = name();
		TRY(setxattr(p, "user.x", "value", rnd(6), rnd(3)), "setxattr(%s)", p);
		TRY(getxattr(p, "user.x", buf, 10), "getxattr(%s)", p);
		break;
	}
	case 6: {
		unsigned first = 3 + rnd(FDS), last = first + rnd(4);
		TRY(close_range(first, last, rnd(2) ? CLOSE_RANGE_CLOEXEC : 0), "close_range(%u, %u)", first, last);
	}
	}
}

static void op_socket(void)
{
	int f = fd(), type = 0;
	long n = length() % 2000;
	socklen_t l = sizeof type;
	switch (rnd(5)) {
	case 0:
		fill(n);
		TRY(send(f, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL), "send(%d, %ld)", f, n);
		break;
	case 1:
		n = TRY(recv(f, buf, n, MSG_DONTWAIT | (rnd(2) ? MSG_PEEK : 0)), "recv(%d, %ld)", f, n);
		if (n > 0)
			say(" sum %u", sum(buf, n));
		break;
	case 2:
		TRY(shutdown(f, rnd(4)), "shutdown(%d)", f);
		break;
	case 3:
		if (!TRY(getsockopt(f, SOL_SOCKET, rnd(2) ? SO_TYPE : SO_ERROR, &type, &l), "getsockopt(%d)", f))
			say(" %d", type);
		break;
	case 4: { /* a descriptor goes through */
		char c = 'x', ctl[CMSG_SPACE(sizeof(int))] = {0};
		struct iovec v = {&c, 1};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
		if (rnd(2)) {
			struct cmsghdr *h = CMSG_FIRSTHDR(&m);
			h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
			int give = fd();
			memcpy(CMSG_DATA(h), &give, sizeof give);
			TRY(sendmsg(f, &m, MSG_DONTWAIT | MSG_NOSIGNAL), "sendmsg(%d, fd %d)", f, give);
		} else {
			long r = TRY(recvmsg(f, &m, MSG_DONTWAIT), "recvmsg(%d)", f);
			struct cmsghdr *h = r >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
			int got = -1;
			if (h && h->cmsg_type == SCM_RIGHTS)
				memcpy(&got, CMSG_DATA(h), sizeof got);
			if (r >= 0)
				say(" fd %d flags %#x", got, m.msg_flags);
			if (got >= FDS)
				close(got);
		}
	}
	}
}

static void steps(int n)
{
	static void (*const ops[])(void) = {op_open, op_open, op_close, op_dup, op_dup, op_fcntl, op_fcntl, op_read, op_read, op_write, op_write,
					    op_write, op_seek, op_size, op_stat, op_stat, op_name, op_name, op_name, op_list, op_make, op_make,
					    op_epoll, op_epoll, op_poll, op_move, op_map, op_signal, op_signal, op_child, op_sleeper, op_misc, op_socket};
	for (int i = 0; i < n; i++)
		ops[rnd(sizeof ops / sizeof *ops)]();
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	self = argv[0];
	state = strtoull(argv[1], NULL, 10);
	depth = argc > 3 ? atoi(argv[3]) : 0;
	if (argc == 3) {
		if (dup2(1, 1000) < 0 || close_range(3, 999, 0)) /* what the caller left open */
			return 3;
		for (int i = 0; i < 3; i++) /* links to ".." lead somewhere in it all the same */
			if (mkdir("work", 0777) || chdir("work"))
				return 4;
		char *top = getcwd(NULL, 0);
		setenv("TOP", top, 1);
		umask(022);
	}
	signal(SIGPIPE, SIG_IGN);
	steps(atoi(argv[2]));
	finish();
	say("end");
	return rnd(200);
}
