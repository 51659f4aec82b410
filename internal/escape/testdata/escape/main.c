#include "escape.h"
#include <dirent.h>

char *argument;
volatile int over;
static const char *self;

const char *host(const char *name) {
	const char *v = getenv(name);
	return v ? v : "";
}

word num(const char *name) { return strtoul(host(name), 0, 0); }

const char *at(const char *dir, const char *name) {
	static char path[8192];
	snprintf(path, sizeof path, "%s/%s", host(dir), name);
	return path;
}

int worked(const char *what, long ret) {
	if (ret == -1)
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return ret != -1;
}

void got(const char *what) {
	printf("!%s\n", what);
	fflush(stdout);
}

void loot(const char *what, int fd) {
	char buf[4096];
	long n;
	if (!worked(what, fd))
		return;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		write(1, buf, n);
	if (n < 0 && errno == EISDIR && (n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
		write(1, buf, n);
	worked(what, n);
	close(fd);
}

int thread(void *(*run)(void *)) {
	pthread_t t;
	return (errno = pthread_create(&t, 0, run, 0)) == 0 || worked("pthread_create", -1);
}

void again(const char *program, const char *arg) {
	execl(program, program, self, arg, (char *)0);
	worked("execve", -1);
}

extern const struct escape __start_escapes[], __stop_escapes[];

int main(int argc, char **argv) {
	self = argc > 1 ? argv[1] : "";
	argument = argc > 2 ? argv[2] : 0;
	for (const struct escape *e = __start_escapes; e < __stop_escapes; e++)
		if (!strcmp(e->name, self)) {
			e->run();
			over = 1;
			return 0;
		}
	fprintf(stderr, "no escape is named %s\n", self);
	return 2;
}

// The program's first instruction. The guest that is called "first" changes a file before anything else,
// without the C library, which knows nothing of itself yet.
__asm__(".globl begin\nbegin: mov %rsp, %rdi\nmov %rsp, %rbx\nand $-16, %rsp\ncall early\nmov %rbx, %rsp\nxor %edx, %edx\njmp _start");

static int begins(const char *s, const char *with) {
	while (*with && *s == *with)
		s++, with++;
	return !*with;
}

__attribute__((used)) static void early(char **stack) {
	static char path[300];
	int n = 0;
	char **argv = stack + 1, **env = argv + (word)stack[0] + 1;
	if ((word)stack[0] < 2 || !begins(argv[1], "first"))
		return;
	while (*env && !begins(*env, "DIR="))
		env++;
	if (!*env)
		return;
	for (const char *s = *env + 4; *s && n < 256; s++)
		path[n++] = *s;
	for (const char *s = "/target"; *s; s++)
		path[n++] = *s;
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_chmod), "D"(path), "S"(0777) : "rcx", "r11", "memory");
}

ESCAPE(first) {
	if (!argument)
		again(host("PROGRAM"), "again");
}
