// What only this library has: the arena with the files that guests map, and a warden that lets the
// kernel make calls in the guest's threads.
#include "escape.h"
#include <poll.h>
#include <sys/sendfile.h>
#include <termios.h>
#include <time.h>

static void nap(long ms) {
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, 0);
}

// show maps files and prints what they hold: so they come to be in the arena.
ESCAPE(show) {
	for (char *name = strtok(argument, ":"); name; name = strtok(0, ":")) {
		char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, open(name, O_RDONLY), 0);
		if (worked("mmap", (long)p))
			write(1, p, 64);
	}
}

// arena maps what the kernel has under the numbers at which the arenas are, wherever a file's slot may be.
ESCAPE(arena) {
	int made;
	for (word fd = num("LEAK") - 2; fd <= num("LEAK") + 2; fd++)
		for (word slot = 0; slot < 64; slot++)
			for (made = 0; made < 2; made++) {
				word flags = made ? MAP_SHARED : MAP_PRIVATE | 1UL << 37; // the upper half is nobody's
				char *p = (char *)syscall(SYS_mmap, 0, 4096, PROT_READ, flags, fd, slot << 47);
				if (p != MAP_FAILED && write(1, p, 64) < 0)
					munmap(p, 4096);
			}
}

// grow moves and grows the last page of what it has of a file until that is the next file of the arena.
ESCAPE(grow) {
	word step = num("STEP");
	for (int again = 0; again < 2; again++) {
		char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, open(at("GIVEN", "a"), O_RDONLY), 0);
		for (int i = 0; i < 4 && worked("mmap", (long)p); i++) {
			char *q = mremap(p, again ? 0 : 4096, step + 4096, MREMAP_MAYMOVE); // 0 is another mapping of the same pages
			if (!worked("mremap", (long)q))
				break;
			munmap(q, step);
			write(1, p = q + step, 64);
		}
	}
}

// swap has a call made that the warden lets the kernel make twice, and puts other code in its place in between.
static unsigned char *code;

static void *swapper(void *arg) {
	nap(100);
	*(volatile unsigned short *)(code + 5) = 0x09eb; // jmp to the other call
	return 0;
}

static void *unmapper(void *arg) {
	nap(100);
	mprotect(code, 4096, PROT_NONE);
	return 0;
}

static void calls_swapped(void *(*how)(void *)) {
	static const unsigned char text[] = {
		0xb8, 0x35, 0x01, 0, 0, 0x0f, 0x05, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0, // getcpu
		0xb8, 0x6e, 0, 0, 0, 0x0f, 0x05, 0xc3};                          // getppid
	code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, text, sizeof text);
	if (!thread(how))
		return;
	for (int i = 0; i < 100; i++) {
		if (((long (*)(long, long, long))code)(0, 0, 0) == (long)num("HOST"))
			return got("the kernel's own answer");
		nap(10);
	}
}

ESCAPE(swap) { calls_swapped(swapper); }

ESCAPE(swap_unmapped) { calls_swapped(unmapper); }

// ignore takes a handler away while its signal is on the way under ppoll's mask: a warden that is not ready for
// that would have the kernel poll. Of the descriptor there is nothing to read, but in the kernel it is a file's.
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
	}
	return 0;
}

ESCAPE(ignore) {
	int fds[2], leak = num("LEAK");
	sigset_t all, none;
	signal(SIGUSR1, SIG_IGN);
	sigfillset(&all), sigemptyset(&none);
	if (!*host("WEAK") && (!worked("pipe", pipe(fds)) || !worked("dup2", dup2(fds[0], leak))))
		return;
	sigprocmask(SIG_BLOCK, &all, 0);
	if (!thread(toggler) || !thread(shooter))
		return;
	for (time_t end = time(0) + 2; time(0) < end;) {
		struct pollfd p = {leak, POLLIN, 0};
		struct timespec ts = {0, 20000000};
		int n = ppoll(&p, 1, &ts, &none);
		if (n > 0 || (n < 0 && errno == EINVAL)) // so says the kernel to who may have no descriptors
			return got("what the kernel has under this number");
	}
}

// closed reads on and on from descriptors that another thread closes, of files that it has opened again: the
// caller may have other files at their numbers by then.
static void *closer(void *arg) {
	nap(2);
	close(0);
	return 0;
}

static char big[64 << 20]; // the file is as long, and empty space

static void show_text(long n) {
	for (long i = 0; i < n; i++)
		if (big[i])
			write(1, big + i, 1);
}

ESCAPE(closed) {
	char path[64];
	int kept[] = {open("/dev/stdin", O_RDONLY), open("/dev/stdin", O_PATH)};
	if (!thread(closer))
		return;
	show_text(read(0, big, sizeof big));
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", kept[i % 2]);
		int fd = open(path, O_RDONLY);
		show_text(read(fd, big, 100));
		close(fd);
		nap(1);
	}
}

// held has the warden do what it could be at for ever, and looks whether it answers another process meanwhile.
static char some[4096];

static void fill(void) {
	while (write(0, some, sizeof some) > 0)
		;
}

static void read_more(void) {
	struct termios t;
	if (tcgetattr(0, &t) == 0) {
		t.c_cc[VMIN] = t.c_cc[VTIME] = 255; // more than was typed
		tcsetattr(0, TCSANOW, &t);
		while (read(0, some, 9) > 0)
			;
	}
}

static void tick(void) {
	struct itimerspec now = {{0, 1}, {0, 1}};
	int id;
	signal(SIGALRM, SIG_IGN);
	for (int i = 0; i < 1000 && syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id) == 0; i++)
		syscall(SYS_timer_settime, id, 0, &now, 0);
	pause();
}

static void stream(void) {
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	while (sendfile(null, zero, 0, 1L << 40) > 0)
		;
}

ESCAPE(held) {
	void (*const how[])(void) = {fill, read_more, tick, stream};
	time_t last = time(0), now;
	for (word i = 0; i < sizeof how / sizeof *how; i++)
		switch (fork()) {
		case -1:
			worked("fork", -1);
			return;
		case 0:
			how[i]();
			_exit(0);
		}
	for (int i = 0; i < 25; i++, last = now) {
		nap(20);
		if ((now = time(0)) > last + 4)
			return got("the warden is held");
	}
}
