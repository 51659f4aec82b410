// Guests that try to get out. argv[1] says how; what is printed says whether it worked.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms) {
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, 0);
}

// grow maps the first page of a file, and moves and grows the last page of what it
// has until that is the next file of the arena.
static int grow(char **argv) {
	int fd = open(argv[0], O_RDONLY), next = open(argv[1], O_RDONLY);
	char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED || mmap(0, 4096, PROT_READ, MAP_PRIVATE, next, 0) == MAP_FAILED)
		return 1;
	unsigned long step = 1UL << 45;
	for (int i = 0; i < 4; i++) {
		// An old size of 0 or -1 is another mapping of the same pages.
		char *q = mremap(p, argv[2] ? 0 : 4096, step + 4096, MREMAP_MAYMOVE);
		if (q == MAP_FAILED) {
			printf("step %d: %s\n", i, strerror(errno));
			return 0;
		}
		munmap(q, step);
		p = q + step;
	}
	printf("the neighbour says %.20s\n", p);
	return 0;
}

// swap makes a call that the warden lets the kernel make twice, and puts other
// code in its place in between.
static unsigned char *code;

static void *swapper(void *how) {
	nap(100);
	if (how)
		mprotect(code, 4096, PROT_NONE);
	else
		*(volatile unsigned short *)(code + 5) = 0x09eb; // jmp to the other call
	return 0;
}

static int swap(char **argv) {
	static const unsigned char text[] = {
		0xb8, 0x35, 0x01, 0, 0, 0x0f, 0x05, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0, // getcpu
		0xb8, 0x6e, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe};                    // getppid
	code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, text, sizeof text);
	pthread_t th;
	pthread_create(&th, 0, swapper, argv[0]);
	long r = ((long (*)(long, long, long))code)(0, 0, 0);
	printf("the other call gave %ld\n", r);
	return 0;
}

// ignore takes a handler away while its signal is on the way under ppoll's mask.
static volatile int over;

static void nothing(int sig) {}

static void *toggler(void *arg) {
	struct sigaction on = {.sa_handler = nothing}, off = {.sa_handler = SIG_IGN};
	while (!over) {
		sigaction(SIGUSR1, &on, 0);
		for (volatile int i = 0; i < 2000; i++)
			;
		sigaction(SIGUSR1, &off, 0);
	}
	return 0;
}

static void *shooter(void *arg) {
	while (!over) {
		syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
		nap(1);
	}
	return 0;
}

static int ignore(char **argv) {
	int fds[2];
	sigset_t all, none;
	pthread_t a, b;
	signal(SIGUSR1, SIG_IGN);
	sigfillset(&all);
	sigemptyset(&none);
	sigdelset(&all, SIGALRM);
	if (pipe(fds))
		return 1;
	sigprocmask(SIG_BLOCK, &all, 0);
	pthread_create(&a, 0, toggler, 0);
	pthread_create(&b, 0, shooter, 0);
	time_t end = time(0) + 2;
	while (time(0) < end) {
		struct pollfd p = {fds[0], POLLIN, 0};
		struct timespec ts = {0, 20000000};
		if (ppoll(&p, 1, &ts, &none) > 0) {
			printf("ppoll says %#x of a descriptor only the warden knows\n", p.revents);
			break;
		}
	}
	over = 1;
	return 0;
}

// orphans kills processes while they fork.
static int orphans(char **argv) {
	for (int i = 0; i < 300; i++) {
		pid_t p = fork();
		if (p == 0)
			for (;;)
				if (fork() == 0)
					_exit(0);
		for (volatile int j = 0; j < i % 50 * 20000; j++)
			;
		kill(p, SIGKILL);
		while (wait(0) > 0)
			;
	}
	puts("done");
	fflush(stdout);
	getchar();
	return 0;
}

// zombies forks and never waits.
static int zombies(char **argv) {
	int n = 0;
	for (; n < 100; n++) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		if (p < 0)
			break;
		siginfo_t si;
		waitid(P_PID, p, &si, WEXITED | WNOWAIT);
	}
	printf("%d, %s\n", n, strerror(errno));
	return 0;
}

// sparse fills a file through a mapping, which is longer than it may be.
static int sparse(char **argv) {
	int fd = open("/tmp/sparse", O_CREAT | O_RDWR, 0600);
	size_t n = 4UL << 30;
	if (ftruncate(fd, n)) {
		perror("ftruncate");
		return 1;
	}
	volatile char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
	puts("full");
	return 0;
}

// beyond reads what lies behind a file's last page.
static int beyond(char **argv) {
	size_t n = 256UL << 20;
	volatile char *p = mmap(0, n, PROT_READ, MAP_PRIVATE, open(argv[0], O_RDONLY), 0);
	if (p == MAP_FAILED)
		return 1;
	printf("%c\n", *p);
	fflush(stdout);
	for (size_t i = 4096; i < n; i += 4096)
		(void)p[i];
	puts("zeros");
	return 0;
}

int main(int argc, char **argv) {
	static const struct { const char *name; int (*run)(char **); } ways[] = {
		{"grow", grow}, {"swap", swap}, {"ignore", ignore}, {"orphans", orphans}, {"zombies", zombies},
		{"sparse", sparse}, {"beyond", beyond}};
	for (unsigned i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++)
		if (!strcmp(argv[1], ways[i].name))
			return ways[i].run(argv + 2);
	return 2;
}
