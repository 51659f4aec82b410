/* What processes and threads do to each other, n times; prints nanoseconds a turn. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int turns;
static const char *self;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void fork_exit(void)
{
	for (int i = 0; i < turns; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			fail("fork");
	}
}

static void exec_one(pid_t (*make)(void))
{
	char *argv[] = {(char *)self, NULL};
	for (int i = 0; i < turns; i++) {
		pid_t pid = make();
		if (!pid) {
			execv(self, argv);
			_exit(1);
		}
		int st;
		if (pid < 0 || waitpid(pid, &st, 0) != pid || st)
			fail("exec");
	}
}

static void fork_exec(void) { exec_one(fork); }
static void vfork_exec(void) { exec_one(vfork); }

static void pipe_pong(void)
{
	int to[2], from[2];
	char c = 0;
	if (pipe(to) || pipe(from))
		fail("pipe");
	pid_t pid = fork();
	if (!pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1)
			if (write(from[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	for (int i = 0; i < turns; i++)
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			fail("pong");
	close(to[1]);
	waitpid(pid, NULL, 0);
}

static _Atomic int turn;

static void await(int mine)
{
	int now;
	while ((now = turn) != mine)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void pass(int to)
{
	turn = to;
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *other(void *arg)
{
	for (int i = 0; i < turns; i++) {
		await(1);
		pass(0);
	}
	return arg;
}

static void futex_pong(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, other, NULL))
		fail("pthread_create");
	for (int i = 0; i < turns; i++) {
		pass(1);
		await(0);
	}
	pthread_join(t, NULL);
}

static void *calls(void *arg)
{
	for (int i = 0; i < turns / 4; i++)
		syscall(SYS_getppid);
	return arg;
}

static void four_threads(void)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, calls, NULL))
			fail("pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void threads(void)
{
	int all = turns;
	turns = 0;
	for (int i = 0; i < all; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, other, NULL))
			fail("pthread_create");
		pthread_join(t, NULL);
	}
	turns = all;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = {{"fork", fork_exit}, {"fork-exec", fork_exec}, {"vfork-exec", vfork_exec}, {"pipe", pipe_pong},
		   {"futex", futex_pong}, {"four-threads", four_threads}, {"pthread", threads}};
	if (argc < 3) /* what exec_one runs */
		return 0;
	self = argv[0];
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (!strcmp(all[i].name, argv[1])) {
			turns = 20;
			all[i].run();
			turns = atoi(argv[2]);
			double start = now();
			all[i].run();
			printf("%f\n", (now() - start) / turns);
			return 0;
		}
	return 2;
}
