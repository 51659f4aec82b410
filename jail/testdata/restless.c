// Guests that never end and never rest, to be killed at any moment: argv[1] says what they do.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *self;

static void nap(long us) {
	struct timespec ts = {us / 1000000, us % 1000000 * 1000};
	nanosleep(&ts, 0);
}

// keep has n processes run fn: whichever is killed is forked again.
static void keep(int n, void (*fn)(int)) {
	pid_t pids[16] = {0};
	for (;;) {
		for (int i = 0; i < n; i++)
			if (pids[i] <= 0 && (pids[i] = fork()) == 0) {
				fn(i);
				_exit(0);
			}
		pid_t dead = wait(0);
		for (int i = 0; i < n; i++)
			if (pids[i] == dead)
				pids[i] = 0;
	}
}

static void *work(void *arg) {
	getppid();
	munmap(mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 8192);
	return 0;
}

static void threads(int i) {
	for (;;) {
		pthread_t th[4];
		int n = 0;
		while (n < 4 && !pthread_create(&th[n], 0, work, 0))
			n++;
		while (n > 0)
			pthread_join(th[--n], 0);
	}
}

static void forks(int i) {
	char *argv[] = {self, "exit", 0};
	for (;;) {
		pid_t pid = i % 2 ? vfork() : fork();
		if (pid == 0) {
			if (i != 2)
				execve(self, argv, argv + 2);
			_exit(1);
		}
		waitpid(pid, 0, 0);
	}
}

static void asleep(int i) {
	sigset_t none;
	sigemptyset(&none);
	int word = 0, fds[2];
	switch (i) {
	case 0: syscall(SYS_futex, &word, FUTEX_WAIT, 0, 0, 0, 0);
	case 1: poll(0, 0, -1);
	case 2: nap(1000000000);
	case 3: if (fork()) wait(0); // its child is at 4
	case 4: pause();
	case 5: sigsuspend(&none);
	case 6: if (!pipe(fds)) (void)!read(fds[0], &word, 1);
	case 7: if (vfork() == 0) for (;;) pause();
	}
}

// execs replaces itself from its second thread.
static void *replace(void *arg) {
	char *argv[] = {self, "execs", "again", 0};
	nap(rand() % 1000);
	execve(self, argv, argv + 3);
	return 0;
}

static void execs(int i) {
	pthread_t th;
	srand(time(0) ^ getpid());
	pthread_create(&th, 0, replace, 0);
	for (;;)
		getppid();
}

static void spin(int i) {
	for (;;)
		getppid();
}

static void stops(int i) {
	for (;;) {
		pid_t pid = fork();
		if (pid == 0)
			spin(0);
		int status = 0;
		while (pid > 0) {
			kill(pid, SIGSTOP);
			waitpid(pid, &status, WUNTRACED);
			if (!WIFSTOPPED(status))
				break;
			if (rand() % 4 == 0)
				nap(1000);
			kill(pid, SIGCONT);
			waitpid(pid, &status, WCONTINUED);
			if (!WIFCONTINUED(status))
				break;
		}
	}
}

static void maps(int i) {
	int own = open(self, O_RDONLY), mem = memfd_create("m", 0);
	if (ftruncate(mem, 1 << 20))
		_exit(1);
	for (;;) {
		char *a = mmap(0, 1 << 16, PROT_READ, MAP_PRIVATE, own, 0), *b = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
		if (a == MAP_FAILED || b == MAP_FAILED)
			continue;
		memcpy(b + rand() % 200 * 4096, a, 1 << 16);
		munmap(a, 1 << 16);
		munmap(b, 1 << 20);
	}
}

static void *busy(void *arg) {
	switch ((long)arg) {
	case 0: for (;;) getppid();
	case 1: for (;;) pause();
	case 2: forks(2);
	case 3: threads(0);
	}
	return 0;
}

// last ends a process of which the leader may have ended before.
static void *last(void *arg) {
	char *argv[] = {self, "exit", 0};
	nap(rand() % 1000);
	switch ((long)arg % 3) {
	case 0: execve(self, argv, argv + 2);
	case 1: abort();
	}
	_exit(0);
}

// ending makes a process with threads that ends in one of the ways there are, and waits
// for it.
static void ending(long how) {
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t th;
		srand(how ^ getpid());
		for (long n = 0; n < 4; n++)
			pthread_create(&th, 0, busy, (void *)n);
		switch (how % 4) {
		case 0: last((void *)(long)rand());
		case 1: nap(rand() % 1000); kill(getpid(), SIGKILL);
		}
		pthread_create(&th, 0, last, (void *)(long)rand());
		if (how % 4 == 2)
			pthread_exit(0);
		busy(0);
	}
	while (waitpid(pid, 0, 0) != pid)
		;
}

static void exits(int i) {
	for (;;)
		ending(i++);
}

// killed is the exception: it ends, with its input. It kills processes while they fork.
static void killed(void) {
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
	char c;
	write(1, "done\n", 5);
	read(0, &c, 1);
	_exit(0);
}

// alone replaces itself without end.
static void alone(void) {
	char *argv[] = {self, "shot", "alone", 0};
	execve(self, argv, argv + 3);
	_exit(1);
}

// shot kills such processes and waits for them.
static void shot(void) {
	alarm(20);
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();
		if (pid == 0)
			alone();
		nap(1000 + rand() % 2000);
		kill(pid, SIGKILL);
		int status;
		if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			_exit(2);
	}
	_exit(0);
}

int main(int argc, char **argv) {
	static const struct { const char *name; int n; void (*fn)(int); } ways[] = {
		{"threads", 2, threads}, {"execs", 2, execs}, {"forks", 3, forks}, {"asleep", 8, asleep}, {"stops", 2, stops}, {"maps", 3, maps}, {"exits", 2, exits}};
	self = argv[0];
	if (argc == 2 && !strcmp(argv[1], "shot"))
		shot();
	if (argc == 3 && !strcmp(argv[2], "alone"))
		alone();
	if (argc == 2 && !strcmp(argv[1], "endings")) { // which end
		for (int i = 0; i < 50; i++)
			ending(i);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "killed"))
		killed();
	if (argc > 2) // replaced
		execs(0);
	for (unsigned i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++)
		if (!strcmp(argv[1], ways[i].name)) {
			if (i < 2 && fork() > 0) // the first process does it, too
				ways[i].fn(0);
			keep(ways[i].n, ways[i].fn);
		}
	return 0;
}
