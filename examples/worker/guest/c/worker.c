// A worker in C: a request that begins with "!" makes it misbehave, as a bug in it
// would let an attacker do.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buf[64 << 10];
static ssize_t n;

static int told(const char *what) { return n == (ssize_t)strlen(what) && !memcmp(buf, what, n); }

static void misbehave(void) {
	if (told("!passwd")) n = read(open("/etc/passwd", O_RDONLY), buf, sizeof buf);
	else if (told("!socket")) n = socket(AF_INET, SOCK_STREAM, 0) >= 0;
	else if (told("!fork")) n = fork() > 0;
	else if (told("!spin")) for (;;) __asm__ volatile("");
	else if (told("!twice")) write(1, buf, n);
	else if (told("!big")) n = 64 << 20;
	else if (told("!crash")) *(volatile char *)8 = 1;
	else if (told("!exit")) _exit(3);
	else if (!memcmp(buf, "!call ", 6)) n = syscall(atoi(buf + 6), 0x10000, 0, 0, 0, 0, 0) >= 0;
}

int main(void) {
	while ((n = read(0, buf, sizeof buf)) > 0) {
		if (buf[0] == '!') misbehave();
		for (ssize_t i = 0; i < n && i < (ssize_t)sizeof buf; i++)
			if (buf[i] >= 'a' && buf[i] <= 'z') buf[i] -= 'a' - 'A';
		write(1, buf, n);
	}
	_exit(0);
}
