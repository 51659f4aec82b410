/* Takes memory, or more of something else, in the way it is told. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static int take(size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return errno;
	memset(p, 1, size);
	return 0;
}

static void spin(void)
{
	for (volatile int i = 0;; i++)
		;
}

/* One more of how; -1 if it is refused. */
static int one(const char *how, int i)
{
	static char page[4096], name[20];
	static int fd = -1;
	if (!strcmp(how, "tasks")) {
		int pid = fork();
		if (!pid)
			for (;;)
				pause();
		return pid;
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
	if (!strcmp(how, "calls"))
		return i < 300 ? getppid() : -1;
	return -1;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	int count = 0;
	if (argc > 2 && chdir(argv[2]) < 0)
		return 1;
	if (!strcmp(how, "cpu"))
		spin();
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
	if (argc > 2) {
		while (one(how, count) >= 0)
			count++;
		printf("%d, %s\n", count, strerrorname_np(errno));
		fflush(stdout);
		_exit(0);
	}
	if (!strcmp(how, "private")) {
		printf("%s\n", strerrorname_np(take(1024 * MIB, MAP_PRIVATE)));
		return 0;
	}
	if (!strcmp(how, "shared")) /* which no resource limit counts */
		take(1024 * MIB, MAP_SHARED);
	if (!strcmp(how, "many")) /* none of them too much */
		for (int i = 0; i < 4 && fork(); i++)
			;
	if (!strcmp(how, "many") || !strcmp(how, "family"))
		take(150 * MIB, MAP_PRIVATE);
	if (!strcmp(how, "family")) { /* the same pages in many processes */
		for (int i = 0; i < 8; i++)
			if (!fork())
				for (;;)
					pause();
		usleep(300000);
		puts("goes on");
		return 0;
	}
	sleep(60);
	return 0;
}
