/* Guests that wait by computing. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static atomic_int turn;
static volatile sig_atomic_t rung;

static void ring(int sig) { rung = 1; }

static void *other(void *arg)
{
	while (turn != 1)
		;
	turn = 2;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "timer")) {
		signal(SIGALRM, ring);
		alarm(1);
		while (!rung)
			;
	} else {
		pthread_t t;
		pthread_create(&t, 0, other, 0);
		turn = 1;
		while (turn != 2)
			;
		pthread_join(t, 0);
	}
	puts("done");
	return 0;
}
