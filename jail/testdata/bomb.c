/* Programs that want all there is: they end with the jail only. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void forks(void)
{
	for (;;)
		fork();
}

/* Children that die at once leave zombies and orphans. */
static void orphans(void)
{
	for (;;)
		if (!fork()) {
			fork();
			_exit(0);
		}
}

static void *make_threads(void *arg)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 32768);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		pthread_t t;
		pthread_create(&t, &small, make_threads, NULL);
	}
	return arg;
}

static void threads(void) { make_threads(NULL); }

static void nothing(int sig) { (void)sig; }

/* Everybody sends everybody all signals. */
static void signals(void)
{
	for (int s = 1; s < 65; s++)
		signal(s, nothing);
	for (int i = 0; i < 3; i++)
		fork();
	union sigval v = {.sival_int = 1};
	for (;;)
		for (int s = 1; s < 65; s++) {
			if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33) /* the last two are the library's */
				continue;
			kill(0, s);
			sigqueue(getpid(), s, v);
		}
}

static void stops(void)
{
	for (;;)
		kill(getpid(), SIGSTOP);
}

/* A child goes on while its group is stopped and continued. */
static void stop_and_go(void)
{
	pid_t pid = fork();
	if (!pid)
		for (;;)
			getppid();
	for (;;) {
		kill(pid, SIGSTOP);
		waitpid(pid, NULL, WUNTRACED);
		kill(pid, SIGCONT);
		waitpid(pid, NULL, WCONTINUED);
	}
}

static void execs(char **argv)
{
	fork();
	execv(argv[0], argv);
}

int main(int argc, char **argv)
{
	struct {
		const char *name;
		void (*run)(void);
	} all[] = {{"forks", forks}, {"orphans", orphans}, {"threads", threads}, {"signals", signals}, {"stops", stops}, {"stop and go", stop_and_go}};
	if (argc > 1 && !strcmp(argv[1], "execs"))
		execs(argv);
	for (unsigned i = 0; argc > 1 && i < sizeof all / sizeof *all; i++)
		if (!strcmp(all[i].name, argv[1]))
			all[i].run();
	return 1;
}
