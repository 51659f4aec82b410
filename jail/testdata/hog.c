/* Takes memory, or more of something else, in the way it is told. Status 3: it was
 * refused more. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static int take(size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return errno;
	madvise(p, size, MADV_HUGEPAGE);
	memset(p, 1, size);
	return 0;
}

static void spin(void)
{
	for (volatile int i = 0;; i++)
		;
}

static _Noreturn void wait_for_ever(void)
{
	for (;;)
		pause();
}

/* 64 KiB more of private memory, or 640 MiB; not written to. */
static int grow(const char *how, int i)
{
	static char *p;
	size_t step = 64 << 10, all = 640 * MIB;
	int rw = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (!strcmp(how, "malloc"))
		return malloc(step) != NULL;
	if (!strcmp(how, "brk"))
		return sbrk(step) != (void *)-1;
	if (!strcmp(how, "mmap"))
		return mmap(NULL, step, rw, flags, -1, 0) != MAP_FAILED;
	if (!strcmp(how, "huge"))
		return mmap(NULL, all, rw, flags, -1, 0) != MAP_FAILED;
	if (!strcmp(how, "mremap")) {
		p = i ? mremap(p, i * step, (i + 1) * step, MREMAP_MAYMOVE) : mmap(NULL, step, rw, flags, -1, 0);
		return p != MAP_FAILED;
	}
	if (!i)
		p = mmap(NULL, all, PROT_NONE, flags, -1, 0);
	return !mprotect(p + i * step, step, rw);
}

/* One more of how; -1 if it is refused. */
static int one(const char *how, int i)
{
	static char page[4096], name[20];
	static int fd = -1;
	if (!strcmp(how, "tasks") || !strcmp(how, "descriptors")) {
		int pid = fork();
		if (!pid)
			wait_for_ever();
		return pid;
	}
	if (!strcmp(how, "zombies")) {
		int pid = fork();
		siginfo_t si;
		if (!pid)
			_exit(0);
		return pid < 0 ? pid : waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	}
	if (!strcmp(how, "files"))
		return dup(0);
	if (!strcmp(how, "inodes")) {
		snprintf(name, sizeof name, "%d", i);
		return mkdir(name, 0700);
	}
	if (!strcmp(how, "disk")) {
		if (fd < 0)
			fd = open("file", O_CREAT | O_WRONLY, 0600);
		return write(fd, page, sizeof page) == sizeof page ? 0 : -1;
	}
	if (!strcmp(how, "output"))
		return write(1 + i % 2, "0123456789\n", 11);
	if (!strncmp(how, "memory ", 7))
		return grow(how + 7, i) ? 0 : -1;
	if (!strcmp(how, "calls"))
		return i < 300 ? getppid() : -1;
	return -1;
}

static pthread_barrier_t all_there;

static void *fork_all(void *unused)
{
	pthread_barrier_wait(&all_there);
	while (one("tasks", 0) >= 0)
		;
	return unused;
}

/* Many threads that fork at the same time. */
static int crowd(void)
{
	pthread_t t[8];
	pthread_barrier_init(&all_there, NULL, 8);
	for (int i = 0; i < 8; i++)
		if (pthread_create(&t[i], NULL, fork_all, NULL))
			return 1;
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	return 3;
}

static void say(const char *call, int result)
{
	printf("%s %s\n", call, result < 0 ? strerrorname_np(errno) : "succeeds");
	fflush(stdout);
}

static int execute(void *program)
{
	say("execve", execl(program, program, "descriptors", "sleep", NULL));
	return 0;
}

/* Every way to have one more descriptor, at the bound of 40. */
static int descriptors(char *program)
{
	static char stack[65536];
	int pair[2], flight[2], number = 0;
	char control[CMSG_SPACE(sizeof number)] = {0};
	struct iovec data = {"x", 1};
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, flight));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof number);
	memcpy(CMSG_DATA(c), &number, sizeof number);
	say("sendmsg", sendmsg(flight[0], &m, 0));
	while (dup(0) < 34) /* 35 of 40 */
		;
	say("fork", fork());
	clone(execute, stack + sizeof stack, CLONE_FILES | SIGCHLD, program); /* shares them until it executes */
	wait(NULL);
	while (dup(0) >= 0)
		;
	say("dup", -1);
	say("dup2", dup2(0, 100));
	say("open", open("made", O_CREAT | O_RDWR, 0600));
	say("access", access("made", F_OK));
	say("pipe", pipe(pair));
	say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	say("memfd_create", memfd_create("m", 0));
	data.iov_base = control + sizeof control - 1;
	say("recvmsg", recvmsg(flight[1], &m, 0));
	printf("message of %d, cut %d\n", (int)m.msg_controllen, (m.msg_flags & MSG_CTRUNC) != 0);
	close(20);
	say("dup", dup(0));
	return 3;
}

static volatile char *sparse;

static void bus_error(int sig, siginfo_t *info, void *context)
{
	printf("SIGBUS, code %d, %s\n", info->si_code, (volatile char *)info->si_addr >= sparse ? "there" : "elsewhere");
	fflush(stdout);
	_exit(3);
}

/* Stores to every page of a file without blocks that is mapped to be shared, or what
   comes to the same. */
static int mapped(size_t size, const char *how)
{
	int fd = open("sparse", O_CREAT | O_RDWR, 0600);
	int read = !strcmp(how, "read"), private = read || !strcmp(how, "private");
	size_t part = !strcmp(how, "mremap") ? 4096 : size;
	volatile char *p;
	struct sigaction act = { .sa_sigaction = bus_error, .sa_flags = SA_SIGINFO };

	if (!strcmp(how, "handled"))
		sigaction(SIGBUS, &act, NULL);
	if (!strcmp(how, "blocked")) {
		sigset_t all;
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
	}
	p = ftruncate(fd, size) ? MAP_FAILED : mmap(NULL, part, !strcmp(how, "mprotect") ? PROT_NONE : PROT_READ | PROT_WRITE,
		private ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	sparse = p;
	if (!strcmp(how, "mremap"))
		p = mremap((void *)p, part, size, MREMAP_MAYMOVE);
	if (!strcmp(how, "again")) /* with another mapping of the same pages */
		p = mremap((void *)p, 0, size, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return errno;
	if (!strcmp(how, "mprotect"))
		mprotect((void *)p, size, PROT_READ | PROT_WRITE);
	if (!strcmp(how, "nonlinear"))
		for (size_t at = 0; at < 2 * MIB; at += 4096)
			if (remap_file_pages((void *)(p + at), 4096, 0, (size - 2 * MIB + at) / 4096, 0))
				return errno;
	for (size_t at = 0; at < size; at += 4096) {
		if (!strcmp(how, "punched") && at % (MIB / 4) == 0)
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, at);
		if (!strcmp(how, "forked") && at < 3 * 4096) /* eight of them */
			fork();
		if (read)
			(void)p[at];
		else
			p[at] = 1;
	}
	return 0;
}

/* A page here and there of a large file: each has what was stored to it, by whom and
   how it may be, and nothing else. */
static int scattered(size_t size, int pages)
{
	int fd = open("sparse", O_CREAT | O_RDWR, 0600), zero = open("/dev/zero", O_RDONLY), other;
	size_t step = size / pages;
	struct stat st;
	volatile char *p = ftruncate(fd, size) ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q;
	if (p == MAP_FAILED || fstat(fd, &st) || st.st_blocks)
		return 1;
	for (int i = 0; i < pages; i += 4) {
		p[i * step] = 'a'; /* a store, a call's, a write, and a child's store */
		if (pread(zero, (void *)(p + (i + 1) * step), 100, 0) != 100)
			return 2;
		if (pwrite(fd, "c", 1, (i + 2) * step) != 1)
			return 3;
		if (i % 64 == 0) {
			if (!fork()) {
				p[(i + 3) * step] = 'd';
				_exit(0);
			}
			wait(NULL);
		} else
			p[(i + 3) * step] = 'd';
	}
	if (fstat(fd, &st) || st.st_blocks != 8 * pages) {
		printf("%ld blocks\n", (long)st.st_blocks);
		return 4;
	}
	p = mremap((void *)p, size, 2 * size, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return 5;
	for (int i = 0; i < pages; i++)
		if (p[i * step] != "a\0cd"[i % 4])
			return 6;
	other = open("other", O_CREAT | O_RDWR, 0600);
	if (write(other, (void *)(p + (pages / 4 * 4 - 1) * step), 4096) != 4096)
		return 7;
	q = mmap(NULL, size, PROT_READ, MAP_SHARED, open("sparse", O_RDONLY), 0);
	if (q == MAP_FAILED || q[(pages / 4 * 4 - 1) * step] != 'd' || !mprotect((void *)q, size, PROT_READ | PROT_WRITE))
		return 8;
	if (fstat(fd, &st) || st.st_blocks != 8 * pages)
		return 9;
	if (ftruncate(fd, 2 * size - 1) || pwrite(other, (void *)(p + 2 * size - 4096), 4096, 0) != 4096)
		return 10; /* up to the end of the last page */
	printf("as it should be\n");
	return 0;
}

/* Touches a page of a file's mapping when there may be no further mapping. */
static void crowded(size_t size)
{
	int fd = open("sparse", O_CREAT | O_RDWR, 0600), n = 0;
	volatile char *p = ftruncate(fd, size) ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	while (p != MAP_FAILED && mmap(NULL, 4096, n++ % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		;
	p[size / 2] = 1;
}

/* Nothing but tables: the zero page, once for each. */
static void tables(void)
{
	volatile char *p = mmap(NULL, MIB << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (size_t at = 0; at < MIB << 20; at += 2 * MIB)
		(void)p[at];
}

static void *take_all(void *unused)
{
	take(1024 * MIB, MAP_SHARED);
	return unused;
}

/* What lies behind a file's last page. */
static void beyond(const char *file)
{
	size_t n = 256UL << 20;
	volatile char *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, open(file, O_RDONLY), 0);
	if (p == MAP_FAILED)
		return;
	printf("%c\n", p[1]);
	fflush(stdout);
	for (size_t i = 0; i < n; i += 4096)
		(void)p[i];
	puts("zeros");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	int count = 0;
	pthread_t thread;
	if (argc > 2 && !strcmp(argv[2], "sleep"))
		return sleep(1);
	if (argc > 2 && chdir(argv[2]) < 0)
		return 1;
	if (!strcmp(how, "cpu"))
		spin();
	if (!strcmp(how, "beyond"))
		beyond(argv[0]);
	if (!strcmp(how, "cpu deaf")) {
		signal(SIGXCPU, SIG_IGN);
		spin();
	}
	if (!strcmp(how, "cpu child")) {
		if (!fork())
			spin();
		wait(&count);
		printf("%s\n", strsignal(WTERMSIG(count)));
		return 0;
	}
	if (!strcmp(how, "cpu family"))
		for (;;) {
			if (!fork()) {
				alarm(1);
				spin();
			}
			wait(NULL);
		}
	if (!strcmp(how, "tasks crowd"))
		_exit(crowd());
	if (!strcmp(how, "descriptors ways"))
		_exit(descriptors(argv[0]));
	if (!strcmp(how, "crowded")) {
		crowded(1024 * MIB);
		return 0;
	}
	if (!strncmp(how, "disk ", 5))
		return !strcmp(how, "disk scattered") ? scattered(1024 * MIB, 1024) : mapped(1024 * MIB, how + 5);
	if (argc > 2) {
		while (one(how, count) >= 0)
			count++;
		printf("%d, %s\n", count, strerrorname_np(errno));
		fflush(stdout);
		_exit(3);
	}
	if (!strcmp(how, "private")) {
		printf("%s\n", strerrorname_np(take(1024 * MIB, MAP_PRIVATE)));
		return 0;
	}
	if (!strcmp(how, "late"))
		usleep(300000);
	if (!strcmp(how, "shared") || !strcmp(how, "late")) /* which no resource limit counts */
		take_all(NULL);
	if (!strcmp(how, "headless")) { /* whose first thread has ended */
		pthread_create(&thread, NULL, take_all, NULL);
		pthread_exit(NULL);
	}
	if (!strcmp(how, "tables"))
		tables();
	if (!strcmp(how, "many")) /* none of them too much */
		for (int i = 0; i < 4 && fork(); i++)
			;
	if (!strcmp(how, "pieces")) { /* of which none is much */
		for (int i = 0; i < 8 && fork(); i++)
			;
		while (!take(1 * MIB, MAP_PRIVATE))
			;
	}
	if (!strcmp(how, "many") || !strcmp(how, "family"))
		take(150 * MIB, MAP_PRIVATE);
	if (!strcmp(how, "last")) { /* three times 60 MiB, then as much as goes */
		sigset_t s;
		int sig;
		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		sigprocmask(SIG_BLOCK, &s, NULL);
		for (int i = 0; i < 3; i++)
			if (!fork()) {
				take(60 * MIB, MAP_PRIVATE);
				kill(getppid(), SIGUSR1);
				wait_for_ever();
			} else
				sigwait(&s, &sig);
		take(200 * MIB, MAP_PRIVATE);
	}
	if (!strcmp(how, "family")) { /* the same pages in many processes */
		for (int i = 0; i < 8; i++)
			if (!fork())
				wait_for_ever();
		usleep(300000);
		puts("goes on");
		return 0;
	}
	sleep(60);
	return 0;
}
