/* Takes memory in the way it is told. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
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

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
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
