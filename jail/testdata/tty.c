/* Guests of the terminal twins: each function works a pty and prints what both
 * sides see. The kernel's transcript is compared with the jail's, so nothing is
 * printed that may differ from run to run. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

struct kermios { unsigned i, o, c, l; unsigned char line, cc[19]; unsigned is, os; };
#define KGETS 0x5401
#define KSETS 0x5402
#define KSETSW 0x5403
#define KSETSF 0x5404
#define KGETS2 0x802c542a
#define KSETS2 0x402c542b

/* child forks; what a native run leaves behind does not stay for ever. */
static pid_t child(void)
{
	pid_t pid = fork();
	if (!pid)
		alarm(20);
	return pid;
}

static void say(const char *fmt, ...)
{
	char line[16384];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n++] = '\n';
	if (write(1, line, n) != n)
		_exit(90);
}

static const char *ret(long r)
{
	static char buf[8][64];
	static int i;
	char *s = buf[i++ % 8];
	if (r == -1)
		snprintf(s, 64, "-1 %s", strerrorname_np(errno));
	else
		snprintf(s, 64, "%ld", r);
	return s;
}

static void msleep(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
	while (syscall(SYS_nanosleep, &ts, &ts) && errno == EINTR)
		;
}

/* quote shows bytes as C would. */
static const char *quote(const void *p, int n)
{
	static char buf[4][70000];
	static int k;
	char *s = buf[k++ % 4], *o = s;
	const unsigned char *b = p;
	for (int i = 0; i < n && i < 16000; i++)
		o += b[i] < 32 || b[i] > 126 || b[i] == '\\' ? sprintf(o, "\\%02x", b[i]) : sprintf(o, "%c", b[i]);
	*o = 0;
	return s;
}

static int master, slave;

/* pair opens a new pty, both sides not blocking unless told. */
static void pair(int flags)
{
	int zero = 0;
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | flags);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &zero))
		say("ptmx: %s", ret(-1));
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | flags);
	if (slave < 0)
		say("peer: %s", ret(-1));
}

static void unpair(void)
{
	close(slave);
	close(master);
}

/* settle waits until the kernel's workers have carried everything over: what they
 * were given before they have begun when they are done with another pty's. */
static void settle(void)
{
	static int in = -1, out, self;
	char c;
	if (in < 0 || self != getpid()) {
		self = getpid();
		int zero = 0;
		in = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		ioctl(in, TIOCSPTLCK, &zero);
		out = ioctl(in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		struct kermios k;
		ioctl(out, KGETS2, &k);
		k.i = k.o = k.l = 0;
		ioctl(out, KSETS2, &k);
	}
	struct pollfd p[2] = {{slave, POLLIN, 0}, {master, POLLIN, 0}};
	for (int i = 0; i < 3; i++) {
		poll(p, 2, 0);
		if (write(in, "x", 1) != 1 || read(out, &c, 1) != 1)
			say("settle");
		usleep(500);
	}
	poll(p, 2, 0);
}

static void type(const char *s, int n)
{
	if (n < 0)
		n = strlen(s);
	int w = write(master, s, n);
	if (w != n)
		say("typed %s of %d", ret(w), n);
	settle();
}

/* seen drains the master. */
static void seen(void)
{
	static char buf[30000];
	int n, total = 0;
	int fl = fcntl(master, F_GETFL);
	fcntl(master, F_SETFL, fl | O_NONBLOCK);
	while ((n = read(master, buf + total, sizeof buf - total)) > 0)
		total += n;
	int e = errno;
	fcntl(master, F_SETFL, fl);
	say("  seen %d %s%s", total, quote(buf, total), n < 0 && e != EAGAIN ? strerrorname_np(e) : "");
}

/* got reads the slave once. */
static void got(int size)
{
	static char buf[70000];
	int n = read(slave, buf, size);
	if (n < 0)
		say("  got %s", ret(n));
	else
		say("  got %d %s", n, quote(buf, n));
}

static void left(void)
{
	int a = -1, b = -1;
	struct pollfd p[2] = {{slave, ~0, 0}, {master, ~0, 0}};
	ioctl(slave, FIONREAD, &a);
	ioctl(master, FIONREAD, &b);
	poll(p, 2, 0);
	say("  left %d %d, ready %#x %#x", a, b, p[0].revents, p[1].revents);
}

static struct kermios mode(void)
{
	struct kermios k;
	memset(&k, 0, sizeof k);
	if (ioctl(slave, KGETS2, &k))
		say("mode: %s", ret(-1));
	return k;
}

static void set(unsigned i, unsigned o, unsigned l)
{
	struct kermios k = mode();
	k.i = i, k.o = o, k.l = l;
	if (ioctl(slave, KSETS, &k))
		say("set: %s", ret(-1));
}

static void setcc(int at, int c)
{
	struct kermios k = mode();
	k.cc[at] = c;
	ioctl(slave, KSETS, &k);
}

static void show_mode(int fd)
{
	struct kermios k;
	memset(&k, 0, sizeof k);
	long r = ioctl(fd, KGETS2, &k);
	say("mode %s: %o %o %o %o line %d cc %s speed %u %u", ret(r), k.i, k.o, k.c, k.l, k.line, quote(k.cc, 19), k.is, k.os);
}

#define CANON (ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN)

/* ---- one process ---- */

static void modes(void)
{
	pair(O_NONBLOCK);
	show_mode(master);
	show_mode(slave);
	struct kermios k = mode();
	for (int i = 0; i < 20; i++) {
		unsigned c[] = {B0, B9600, B115200, B4000000, 010000, 010020, B38400 | CS5 | PARENB | CSTOPB, 0177777777, CBAUD,
			B9600 << 16 | B19200, 010000 << 16 | B300, (B1200 | 010000) << 16 | 010000, CLOCAL | B50, CREAD, HUPCL | CRTSCTS | B75};
		k.c = c[i % 15];
		k.is = 12345, k.os = 54321;
		k.line = i == 7 ? 3 : 0;
		say("set %o %s", k.c, ret(ioctl(i % 2 ? slave : master, i % 3 ? KSETS2 : KSETS, &k)));
		show_mode(slave);
	}
	struct winsize w = {1, 2, 3, 4};
	say("winsize %s", ret(ioctl(slave, TIOCGWINSZ, &w)));
	say("%d %d %d %d", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
	w.ws_row = 24, w.ws_col = 80, w.ws_xpixel = 7;
	say("set %s", ret(ioctl(master, TIOCSWINSZ, &w)));
	memset(&w, 0, sizeof w);
	ioctl(slave, TIOCGWINSZ, &w);
	say("%d %d %d %d", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
	for (int fd = master; fd; fd = fd == master ? slave : 0) {
		int n = -1, l = -1, pk = -1, ex = -1, ld = -1, sid = -1, pg = -1, q = -1;
		unsigned dev = 0;
		struct stat st;
		say("GPTN %s", ret(ioctl(fd, TIOCGPTN, &n)));
		say("GPTLCK %s %d", ret(ioctl(fd, TIOCGPTLCK, &l)), l);
		say("GPKT %s %d", ret(ioctl(fd, TIOCGPKT, &pk)), pk);
		say("GEXCL %s %d", ret(ioctl(fd, TIOCGEXCL, &ex)), ex);
		say("GETD %s %d", ret(ioctl(fd, TIOCGETD, &ld)), ld);
		say("GSID %s %d", ret(ioctl(fd, TIOCGSID, &sid)), sid);
		say("GPGRP %s %d", ret(ioctl(fd, TIOCGPGRP, &pg)), pg);
		say("OUTQ %s %d", ret(ioctl(fd, TIOCOUTQ, &q)), q);
		fstat(fd, &st);
		int r = ioctl(fd, TIOCGDEV, &dev);
		say("GDEV %s major %d", ret(r), dev >> 8 & 0xfff);
		say("mode %o rdev major %ld size %ld nlink %ld blksize %ld", st.st_mode & S_IFMT, (long)(st.st_rdev >> 8), (long)st.st_size, (long)st.st_nlink, (long)st.st_blksize);
		int sixteen = 16;
		say("SETD %s", ret(ioctl(fd, TIOCSETD, &(int){0})));
		say("SETD 77 %s", ret(ioctl(fd, TIOCSETD, &(int){77})));
		say("MGET %s", ret(ioctl(fd, TIOCMGET, &sixteen)));
		say("SPTLCK %s", ret(ioctl(fd, TIOCSPTLCK, &(int){0})));
		say("TCSBRK %s %s", ret(ioctl(fd, TCSBRK, 1)), ret(ioctl(fd, TCSBRKP, 0)));
		say("SBRK %s %s", ret(ioctl(fd, TIOCSBRK, 0)), ret(ioctl(fd, TIOCCBRK, 0)));
		say("TIOCSIG %s %s", ret(ioctl(fd, TIOCSIG, SIGINT)), ret(ioctl(fd, TIOCSIG, SIGUSR1)));
		say("NOTTY %s SCTTY %s", ret(ioctl(fd, TIOCNOTTY)), ret(ioctl(fd, 0x5499, 0)));
		say("XONC %s FLSH %s", ret(ioctl(fd, TCXONC, 9)), ret(ioctl(fd, TCFLSH, 9)));
		say("PEER %d", ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY) >= 0);
		say("seek %s pread %s trunc %s sync %s", ret(lseek(fd, 0, SEEK_SET)), ret(pread(fd, &st, 1, 0)), ret(ftruncate(fd, 0)), ret(fsync(fd)));
		say("mmap %d", mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
		say("getfl %o", fcntl(fd, F_GETFL));
		say("isatty %d", isatty(fd));
	}
	unpair();
}

static void names(void)
{
	char path[64];
	int n = -1, fd;
	struct stat a, b;
	struct statfs fs;
	int ptm = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	ioctl(ptm, TIOCGPTN, &n);
	sprintf(path, "/dev/pts/%d", n);
	say("locked %s", ret(open(path, O_RDWR | O_NOCTTY)));
	say("peer locked %s", ret(ioctl(ptm, TIOCGPTPEER, O_RDWR | O_NOCTTY)));
	say("stat %s mode %o uid %d", ret(stat(path, &a)), a.st_mode & ~0777, a.st_uid == geteuid());
	ioctl(ptm, TIOCSPTLCK, &(int){0});
	fd = open(path, O_RDWR | O_NOCTTY);
	say("open %d", fd >= 0);
	fstat(fd, &b);
	say("same %d %d", a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_rdev == b.st_rdev, a.st_ino == (ino_t)n + 3);
	say("ttyname %d", ttyname(fd) && !strcmp(ttyname(fd), path));
	say("chmod %s", ret(fchmod(fd, 0622)));
	stat(path, &a);
	say("mode %o", a.st_mode);
	say("unlink %s", ret(unlink(path)));
	say("statfs %s %lx", ret(statfs(path, &fs)), (long)fs.f_type);
	say("excl %s", ret(ioctl(fd, TIOCEXCL)));
	if (geteuid())
		say("open %s", ret(open(path, O_RDWR | O_NOCTTY)));
	int ex = -1;
	ioctl(fd, TIOCGEXCL, &ex);
	say("nxcl %d %s", ex, ret(ioctl(fd, TIOCNXCL)));
	say("peer %d", ioctl(ptm, TIOCGPTPEER, O_RDWR | O_NOCTTY) >= 0);
	char *ro[] = {"x"};
	int rd = open(path, O_RDONLY | O_NOCTTY), wr = open(path, O_WRONLY | O_NOCTTY);
	say("rd %s wr %s", ret(write(rd, ro[0], 1)), ret(read(wr, path + 40, 1)));
	say("dir %s", ret(open("/dev/pts/99999", O_RDWR)));
	say("ptm again %s", ret(ioctl(open("/dev/pts/ptmx", O_RDWR | O_NOCTTY) >= -1 ? 0 : -1, 0)) != 0 ? "-" : "-");
	close(ptm);
	say("gone %s", ret(stat(path, &a)));
	fstat(fd, &a);
	say("nlink %ld", (long)a.st_nlink);
	say("reopen %s", ret(open(path, O_RDWR | O_NOCTTY)));
	say("ctty %s", ret(open("/dev/tty", O_RDWR)));
}

static void canonical(void)
{
	static const char *lines[] = {"hello\n", "abc\177\177x\n", "one two\027three\n", "gone\025new\n", "a\tb\177\177\177c\n",
		"\001\002\177q\n", "lit\026\003eral\n", "re\022print\n", "\004", "part\004", "\n", "a\rb\n", "tab\t\t\177.\n",
		"caf\303\251\177x\n", "\026\026\n", "wo.rd-x\027\027\027y\n", "end\n\004\004", "\177\177\n", "\033[A\n", "\200\377\n", "x\004y\n", ""};
	for (int echo = 0; echo < 6; echo++) {
		unsigned l[] = {CANON, CANON & ~ECHO, CANON & ~ECHOE, CANON & ~ECHOKE, CANON | ECHOPRT, (CANON & ~ECHO) | ECHONL};
		unsigned i[] = {ICRNL | IXON, ICRNL | IUTF8, INLCR, IGNCR | ISTRIP, ICRNL | IUTF8, ICRNL | IUCLC};
		pair(O_NONBLOCK);
		set(i[echo], OPOST | ONLCR, l[echo]);
		for (unsigned k = 0; *lines[k]; k++) {
			type(lines[k], -1);
			say("%s", quote(lines[k], strlen(lines[k])));
			seen();
			left();
			if (k % 3 == 0)
				got(3);
			got(200);
			got(200);
		}
		unpair();
	}
}

static void long_lines(void)
{
	static char big[12000];
	pair(O_NONBLOCK);
	memset(big, 'a', sizeof big);
	type(big, 2000);
	type(big, 2000);
	seen();
	type("12345", 5);
	left();
	for (int i = 0; i < 100; i++)
		type("z", 1);
	seen();
	type("\177\177Q\n", 4);
	seen();
	left();
	got(5000);
	got(5000);
	/* a full raw buffer holds back */
	set(0, 0, 0);
	memset(big, 'b', sizeof big);
	type(big, 2000);
	type(big, 2000);
	type(big, 2000);
	left();
	got(70);
	usleep(50000); /* what was held back comes by itself, from a kernel thread */
	got(5000);
	usleep(50000);
	got(5000);
	got(5000);
	left();
	/* lines, then raw, then lines */
	set(ICRNL, 0, ICANON);
	type("abc\ndef", 7);
	got(2);
	set(0, 0, 0);
	left();
	got(3);
	set(ICRNL, 0, ICANON);
	left();
	got(10);
	got(10);
	unpair();
}

static void raw_min(void)
{
	int mins[] = {0, 1, 3, 5, 70, 255};
	pair(O_NONBLOCK);
	for (unsigned m = 0; m < 6; m++)
		for (int t = 0; t < 2; t++) {
			set(0, 0, 0);
			setcc(VMIN, mins[m]);
			setcc(VTIME, t);
			say("min %d time %d", mins[m], t);
			left();
			got(10);
			type("ab", 2);
			left();
			got(10);
			type("abcdefgh", 8);
			left();
			got(4);
			got(0);
			got(100);
			char b[200];
			memset(b, 'r', sizeof b);
			type(b, 200);
			left();
			got(100);
			got(64);
			got(1000);
		}
	unpair();
}

/* later types from another process. */
static pid_t later(const char *s, int gap)
{
	pid_t pid = child();
	if (!pid) {
		for (; *s; s++) {
			msleep(gap);
			if (write(master, s, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	return pid;
}

static void timed(void)
{
	struct { int min, time, size, gap; const char *s; } t[] = {
		{1, 0, 10, 40, "abc"}, {2, 0, 10, 40, "abcd"}, {3, 1, 10, 30, "abcd"}, {3, 2, 10, 450, "ab"}, {0, 2, 10, 60, "a"},
		{0, 1, 10, 400, "a"}, {5, 2, 2, 30, "abcd"}, {255, 3, 255, 20, "abcdefgh"}, {0, 0, 5, 100, "a"},
	};
	pair(0);
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		set(0, 0, 0);
		setcc(VMIN, t[i].min);
		setcc(VTIME, t[i].time);
		say("min %d time %d gap %d", t[i].min, t[i].time, t[i].gap);
		pid_t pid = later(t[i].s, t[i].gap);
		got(t[i].size);
		waitpid(pid, 0, 0);
		setcc(VMIN, 0), setcc(VTIME, 0);
		settle();
		got(100);
	}
	unpair();
}

static volatile int rang;
static void ring(int sig) { rang = sig; }

static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = ring};
	struct itimerval_ { long a[4]; } it = {{0, 0, 0, 60000}}, off = {{0}};
	for (int k = 0; k < 4; k++) {
		pair(0);
		sa.sa_flags = k & 1 ? SA_RESTART : 0;
		sigaction(SIGALRM, &sa, 0);
		if (k & 2) {
			set(0, 0, 0);
			setcc(VMIN, 3);
			type("xy", 2);
		}
		pid_t pid = later("", 0);
		waitpid(pid, 0, 0);
		pid = child();
		if (!pid) {
			msleep(200);
			write(master, "late\n", 5);
			_exit(0);
		}
		syscall(SYS_setitimer, 0, &it, 0);
		got(20);
		say("rang %d", rang == SIGALRM);
		rang = 0;
		syscall(SYS_setitimer, 0, &off, 0);
		waitpid(pid, 0, 0);
		settle();
		fcntl(slave, F_SETFL, O_NONBLOCK | O_RDWR);
		got(20);
		unpair();
	}
	/* a master that waits, a slave that is full */
	pair(0);
	syscall(SYS_setitimer, 0, &it, 0);
	sa.sa_flags = 0;
	sigaction(SIGALRM, &sa, 0);
	char b[10];
	say("master %s", ret(read(master, b, 10)));
	set(0, 0, 0);
	ioctl(slave, TCXONC, TCOOFF);
	syscall(SYS_setitimer, 0, &it, 0);
	say("stopped %s", ret(write(slave, "hello", 5)));
	unpair();
}

static void output(void)
{
	unsigned o[] = {0, OPOST, OPOST | ONLCR, OPOST | OCRNL, OPOST | ONOCR, OPOST | ONLRET, OPOST | OLCUC, OPOST | XTABS,
		OPOST | ONLCR | XTABS | OLCUC, OPOST | OCRNL | ONLRET | ONOCR, ONLCR | XTABS};
	for (unsigned k = 0; k < sizeof o / sizeof *o; k++) {
		pair(O_NONBLOCK);
		set(k % 2 ? IUTF8 : 0, o[k], CANON);
		const char *s = "ab\tc\n\rx\r\r\ny\b\b\tz\303\251\t.\001\t\r\r\377\340\367\tq\n";
		say("%o %s", o[k], ret(write(slave, s, strlen(s))));
		settle();
		seen();
		type("in\tp\177\177x\n", -1);
		seen();
		unpair();
	}
}

static void flow(void)
{
	pair(O_NONBLOCK);
	type("ab\023cd", 5);
	seen();
	say("write %s", ret(write(slave, "XYZ", 3)));
	settle();
	left();
	seen();
	type("\021", 1);
	seen();
	say("write %s", ret(write(slave, "XYZ", 3)));
	settle();
	seen();
	set(ICRNL | IXON | IXANY, OPOST, CANON);
	type("\023", 1);
	say("write %s", ret(write(slave, "XYZ", 3)));
	type("q", 1);
	seen();
	say("off %s", ret(ioctl(slave, TCXONC, TCOOFF)));
	type("\021e", 2);
	seen();
	say("write %s", ret(write(slave, "XYZ", 3)));
	say("on %s", ret(ioctl(slave, TCXONC, TCOON)));
	settle();
	seen();
	say("ioff %s", ret(ioctl(slave, TCXONC, TCIOFF)));
	say("ion %s", ret(ioctl(slave, TCXONC, TCION)));
	settle();
	seen();
	type("\023", 1);
	set(ICRNL, OPOST, CANON);
	say("write %s", ret(write(slave, "after", 5)));
	settle();
	seen();
	/* the master's side */
	say("off %s", ret(ioctl(master, TCXONC, TCOOFF)));
	say("write %s", ret(write(master, "m", 1)));
	left();
	say("ioff %s", ret(ioctl(master, TCXONC, TCIOFF)));
	say("on %s", ret(ioctl(master, TCXONC, TCOON)));
	say("write %s", ret(write(master, "m\n", 2)));
	settle();
	seen();
	got(10);
	/* flushing */
	for (int q = 0; q < 3; q++) {
		type("line\nmore", 9);
		write(slave, "out", 3);
		settle();
		say("flush slave %d %s", q, ret(ioctl(slave, TCFLSH, q)));
		left();
		seen();
		got(20);
		type("line\nmore", 9);
		write(slave, "out", 3);
		settle();
		say("flush master %d %s", q, ret(ioctl(master, TCFLSH, q)));
		left();
		seen();
		got(20);
	}
	type("one\ntw", 6);
	struct kermios k = mode();
	ioctl(slave, KSETSF, &k);
	left();
	type("one\ntw", 6);
	ioctl(slave, KSETSW, &k);
	left();
	unpair();
}

static void packets(void)
{
	char b[100];
	pair(O_NONBLOCK);
	say("on %s", ret(ioctl(master, TIOCPKT, &(int){1})));
	left();
#define PK(what) do { settle(); struct pollfd p = {master, ~0, 0}; poll(&p, 1, 0); memset(b, 0, 100); int n = read(master, b, 100); \
	say("%s: ready %#x %s %s", what, p.revents, ret(n), n > 0 ? quote(b, n) : ""); } while (0)
	write(slave, "data", 4);
	PK("data");
	PK("none");
	ioctl(slave, TCXONC, TCOOFF);
	PK("stop");
	ioctl(slave, TCXONC, TCOON);
	PK("start");
	ioctl(slave, TCFLSH, TCIFLUSH);
	PK("iflush");
	ioctl(slave, TCFLSH, TCOFLUSH);
	PK("oflush");
	ioctl(slave, TCFLSH, TCIOFLUSH);
	PK("ioflush");
	set(ICRNL, OPOST, CANON);
	PK("noxon");
	set(ICRNL | IXON, OPOST, CANON);
	PK("xon");
	set(ICRNL | IXON, OPOST, CANON | EXTPROC);
	PK("extproc");
	type("ab\003\004\n", 5);
	left();
	PK("typed");
	got(10);
	type("\004", 1);
	left();
	got(10);
	set(ICRNL | IXON, OPOST, CANON);
	PK("noextproc");
	type("x\003", 2);
	PK("intr");
	PK("intr");
	type("\023", 1);
	PK("^S");
	type("\021", 1);
	PK("^Q");
	write(slave, "abc", 3);
	settle();
	say("one %s %d", ret(read(master, b, 1)), b[0]);
	say("two %s %d %c", ret(read(master, b, 2)), b[0], b[1]);
	ioctl(slave, TCXONC, TCOOFF);
	ioctl(master, TIOCPKT, &(int){0});
	PK("off");
	ioctl(master, TIOCPKT, &(int){1});
	PK("on");
	close(slave);
	PK("closed");
	close(master);
}

static void closing(void)
{
	char b[10];
	pair(O_NONBLOCK);
	write(slave, "last", 4);
	settle();
	close(slave);
	struct pollfd p = {master, ~0, 0};
	poll(&p, 1, 0);
	say("ready %#x", p.revents);
	seen();
	poll(&p, 1, 0);
	say("ready %#x read %s", p.revents, ret(read(master, b, 10)));
	say("write %s", ret(write(master, "typed\n", 6)));
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	settle();
	say("again");
	left();
	got(10);
	seen();
	close(master);
	struct pollfd q = {slave, ~0, 0};
	poll(&q, 1, 0);
	say("ready %#x read %s write %s", q.revents, ret(read(slave, b, 10)), ret(write(slave, "x", 1)));
	int n;
	say("ioctl %s %s", ret(ioctl(slave, TIOCGWINSZ, b)), ret(ioctl(slave, TIOCSPGRP, &n)));
	say("isatty %d", isatty(slave));
	close(slave);
	/* sleepers */
	for (int k = 0; k < 3; k++) {
		pair(0);
		pid_t pid = child();
		if (!pid) {
			if (k < 2)
				close(k ? slave : master);
			if (k == 0)
				say("reader %s", ret(read(slave, b, 10)));
			if (k == 1)
				say("master %s", ret(read(master, b, 10)));
			_exit(0);
		}
		if (k == 2) {
			waitpid(pid, 0, 0);
			unpair();
			break;
		}
		msleep(60);
		close(k ? slave : master);
		if (k == 0) {
			waitpid(pid, 0, 0);
			close(slave);
		} else {
			waitpid(pid, 0, 0);
			close(master);
		}
	}
	/* epoll's edges */
	pair(O_NONBLOCK);
	int ep = epoll_create1(0);
	struct epoll_event ev = {EPOLLIN | EPOLLOUT | EPOLLET, {.fd = 1}}, out[4];
	epoll_ctl(ep, EPOLL_CTL_ADD, slave, &ev);
	ev.data.fd = 2, ev.events = EPOLLIN | EPOLLET;
	epoll_ctl(ep, EPOLL_CTL_ADD, master, &ev);
	for (int i = 0; i < 3; i++) {
		n = epoll_wait(ep, out, 4, 30);
		say("epoll %d", n);
		for (int j = 0; j < n; j++)
			say(" %d %#x", out[j].data.fd, out[j].events);
		if (i == 1)
			type("x\n", 2);
	}
	unpair();
}

static void hostile(void)
{
	char *hole = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(hole + 4096, 4096);
	void *bad[] = {0, (void *)1, (void *)-1L, (void *)0x7fffffffffffL, hole + 4090};
	unsigned req[] = {TCGETS, TCSETS, TCSETSW, TCSETSF, KGETS2, KSETS2, TIOCGWINSZ, TIOCSWINSZ, TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK,
		TIOCPKT, TIOCGPKT, FIONREAD, TIOCOUTQ, TIOCGEXCL, TIOCGETD, TIOCSETD, TIOCGDEV, TIOCMGET, FIONBIO, FIOASYNC};
	pair(O_NONBLOCK);
	for (unsigned r = 0; r < sizeof req / sizeof *req; r++)
		for (unsigned b = 0; b < 5; b++)
			say("%x %d %s %s", req[r], b, ret(ioctl(master, req[r], bad[b])), ret(ioctl(slave, req[r], bad[b])));
	unpair();
	pair(O_NONBLOCK);
	type("abcdefgh\n", 9);
	say("read %s", ret(read(slave, (void *)1, 5)));
	say("write %s %s", ret(write(slave, (void *)1, 5)), ret(write(master, (void *)1, 5)));
	write(slave, "0123456789", 10);
	settle();
	say("read %s", ret(read(master, (void *)1, 5)));
	say("huge %s", ret(write(slave, hole, 1UL << 62)));
	type("abcdefgh\n", 9);
	say("huge %s", ret(read(slave, hole, 1UL << 40)) != 0 ? "ok" : "");
	struct iovec v[3] = {{hole, 2}, {hole, 0}, {hole + 10, 5}};
	type("iovec\n", 6);
	say("readv %s", ret(readv(slave, v, 3)));
	say("writev %s", ret(writev(slave, v, 3)));
	for (unsigned r = 0x5400; r < 0x5480; r++) {
		if (r == TIOCSTI || r == TIOCGPTPEER || r == TIOCVHANGUP || r == TIOCCONS || r == 0x5405 || r == 0x5406 || r == 0x5407 || r == 0x5408 ||
		    r == 0x5456 || r == 0x5457 || r == 0x545c || r == TIOCSCTTY || r == 0x541a || r == 0x5460)
			continue;
		memset(hole, 0, 4096);
		errno = 0;
		int m = ioctl(master, r, hole), me = errno, s = ioctl(slave, r, hole), se = errno;
		say("ioctl %x %d %s, %d %s", r, m, m < 0 ? strerrorname_np(me) : "", s, s < 0 ? strerrorname_np(se) : "");
		ioctl(master, TIOCPKT, &(int){0});
	}
	unpair();
}

/* ---- random ---- */

static uint64_t rng;
static unsigned rnd(unsigned n)
{
	rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
	return (rng >> 11) % n;
}

static unsigned some(const unsigned *flags, int n, unsigned base)
{
	for (int i = 0; i < n; i++)
		if (!rnd(4))
			base ^= flags[i];
	return base;
}

static void random_mode(void)
{
	static const unsigned i[] = {ICRNL, INLCR, IGNCR, ISTRIP, IUCLC, IXON, IXANY, IXOFF, IMAXBEL, IUTF8, PARMRK, IGNBRK, BRKINT, IGNPAR, INPCK};
	static const unsigned o[] = {OPOST, ONLCR, OCRNL, ONOCR, ONLRET, OLCUC, XTABS, OFILL};
	static const unsigned l[] = {ECHO, ECHOE, ECHOK, ECHONL, ECHOCTL, ECHOKE, ECHOPRT, ICANON, ISIG, IEXTEN, NOFLSH, TOSTOP, EXTPROC};
	struct kermios k = mode();
	k.i = some(i, 15, ICRNL | IXON);
	k.o = some(o, 8, OPOST | ONLCR);
	k.l = some(l, 12, CANON);
	if (!rnd(12))
		k.l |= EXTPROC;
	if (!rnd(3))
		k.cc[rnd(17)] = rnd(3) ? "\0\001\004\177a \n\r\t\377"[rnd(10)] : (int)rnd(256);
	if (rnd(2))
		k.cc[VTIME] = 0, k.cc[VMIN] = rnd(3);
	static const unsigned how[] = {KSETS, KSETSW, KSETSF, KSETS2};
	unsigned h = rnd(4);
	say("mode %x %o %o %o %s: %s", how[h], k.i, k.o, k.l, quote(k.cc, 19), ret(ioctl(rnd(2) ? slave : master, how[h], &k)));
}

static int random_bytes(char *b, int max)
{
	static const char keys[] = "\177\177\025\027\022\026\004\003\034\032\023\021\n\n\r\t\t\b\001\033 ._aZ9\303\251\200\377\0\340\337";
	int n = rnd(max) + 1;
	for (int i = 0; i < n; i++)
		b[i] = rnd(2) ? keys[rnd(sizeof keys - 1)] : rnd(6) ? "abc deF.,-/Z"[rnd(12)] : (int)rnd(256);
	return n;
}

static void randomly(uint64_t seed, int rounds)
{
	char b[512];
	for (int r = 0; r < rounds; r++) {
		rng = seed * 1000003 + r + 88172645463325252ull;
		for (int i = 0; i < 10; i++)
			rnd(2);
		say("-- %d", r);
		pair(O_NONBLOCK);
		if (rnd(4))
			random_mode();
		if (!rnd(4))
			ioctl(master, TIOCPKT, &(int){1});
		for (int step = 0; step < 14; step++) {
			int n;
			switch (rnd(11)) {
			default:
				n = random_bytes(b, rnd(8) ? 12 : 300);
				/* what a signal's flush catches on its way is a matter of luck */
				if ((mode().l & (ISIG | NOFLSH)) == ISIG)
					n = 1;
				say("type %s", quote(b, n));
				say(" %s", ret(write(master, b, n)));
				break;
			case 5: case 6:
				n = random_bytes(b, rnd(8) ? 20 : 300);
				say("write %s", quote(b, n));
				say(" %s", ret(write(slave, b, n)));
				break;
			case 7:
				got(rnd(3) ? rnd(8) : 300);
				break;
			case 8:
				random_mode();
				break;
			case 9:
				n = rnd(4);
				say("xonc %d %s", n, ret(ioctl(slave, TCXONC, n)));
				break;
			case 10:
				if (!rnd(3)) {
					n = rnd(3);
					say("flsh %d %s", n, ret(ioctl(slave, TCFLSH, n)));
				} else
					got(300);
			}
			settle();
			seen();
			left();
		}
		ioctl(slave, TCXONC, TCOON);
		settle();
		seen();
		got(5000), got(5000);
		unpair();
	}
}

/* ---- sessions ---- */

/* in_session runs fn in a new session whose controlling terminal is a new pty. */
static void in_session(void (*fn)(void))
{
	pair(0);
	pid_t pid = child();
	if (!pid) {
		close(master);
		setsid();
		say("sctty %s", ret(ioctl(slave, TIOCSCTTY, 0)));
		fn();
		_exit(0);
	}
	int st;
	waitpid(pid, &st, 0);
	say("session ended %#x", st);
	unpair();
}

static int lag; /* of the handler, so that others speak first */

static void note(int sig)
{
	char line[60];
	msleep(lag);
	int n = sprintf(line, "caught %s\n", sigabbrev_np(sig));
	(void)!write(1, line, n);
}

static void catch(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = note, .sa_flags = flags};
	sigaction(sig, &sa, 0);
}

static void status(pid_t pid, const char *who)
{
	int st = 0;
	pid_t r = waitpid(pid, &st, WUNTRACED | WCONTINUED);
	if (r != pid)
		say("%s: wait %s", who, ret(r));
	else if (WIFSTOPPED(st))
		say("%s: stopped by %s", who, sigabbrev_np(WSTOPSIG(st)));
	else if (WIFCONTINUED(st))
		say("%s: continued", who);
	else if (WIFSIGNALED(st))
		say("%s: killed by %s", who, sigabbrev_np(WTERMSIG(st)));
	else
		say("%s: exit %d", who, WEXITSTATUS(st));
}

/* job forks a child in a group of its own, in the foreground or not. */
static pid_t job(int fg, void (*fn)(void))
{
	int go[2];
	if (pipe(go))
		_exit(9);
	pid_t pid = child();
	if (!pid) {
		char c;
		setpgid(0, 0);
		close(go[1]);
		(void)!read(go[0], &c, 1);
		signal(SIGTTOU, SIG_DFL);
		fn();
		_exit(0);
	}
	setpgid(pid, pid);
	signal(SIGTTOU, SIG_IGN);
	if (fg)
		say("spgrp %s", ret(ioctl(slave, TIOCSPGRP, &pid)));
	close(go[0]);
	close(go[1]);
	return pid;
}

static void mine(void)
{
	pid_t me = getpgrp();
	say("foreground %s", ret(ioctl(slave, TIOCSPGRP, &me)));
}

static void bg_read(void) { char b[20]; say("read %s", ret(read(slave, b, 20))); }
static void bg_read_ignored(void) { signal(SIGTTIN, SIG_IGN); bg_read(); }
static void bg_read_blocked(void) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGTTIN); sigprocmask(SIG_BLOCK, &s, 0); bg_read(); }
static void bg_read_caught(void) { catch(SIGTTIN, 0); bg_read(); }
static void bg_write(void) { say("write %s", ret(write(slave, "w", 1))); }
static void bg_write_ignored(void) { signal(SIGTTOU, SIG_IGN); bg_write(); }
static void bg_mode(void) { struct kermios k; ioctl(slave, KGETS, &k); say("set %s", ret(ioctl(slave, KSETS, &k))); }
static void bg_flush(void) { say("flush %s", ret(ioctl(slave, TCFLSH, 0))); }
static void bg_spgrp(void) { pid_t me = getpgrp(); say("spgrp %s", ret(ioctl(slave, TIOCSPGRP, &me))); }
static void bg_spgrp_ignored(void) { signal(SIGTTOU, SIG_IGN); bg_spgrp(); }
static void bg_winsz(void) { struct winsize w = {5, 5, 0, 0}; say("winsz %s", ret(ioctl(slave, TIOCSWINSZ, &w))); }

static void background_session(void)
{
	struct { const char *name; void (*fn)(void); int tostop; } t[] = {{"read", bg_read, 0}, {"read ignored", bg_read_ignored, 0},
		{"read blocked", bg_read_blocked, 0}, {"write", bg_write, 0}, {"write tostop", bg_write, 1}, {"write ignored", bg_write_ignored, 1},
		{"mode", bg_mode, 0}, {"flush", bg_flush, 0}, {"spgrp", bg_spgrp, 0}, {"spgrp ignored", bg_spgrp_ignored, 0}, {"winsz", bg_winsz, 0}};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		set(ICRNL, OPOST, t[i].tostop ? CANON | TOSTOP : CANON);
		pid_t pid = job(0, t[i].fn);
		int st, r;
		say("%s", t[i].name);
		do {
			r = waitpid(pid, &st, WUNTRACED);
			if (r == pid && WIFSTOPPED(st)) {
				say(" stopped by %s", sigabbrev_np(WSTOPSIG(st)));
				kill(-pid, t[i].fn == bg_read || t[i].tostop ? SIGKILL : SIGCONT);
				if (t[i].fn != bg_read)
					ioctl(slave, TIOCSPGRP, &pid);
			}
		} while (r == pid && WIFSTOPPED(st));
		say(" ended %#x", st);
		mine();
	}
	/* stopped, then in the foreground: the read goes on */
	pid_t pid = job(0, bg_read);
	status(pid, "reader");
	ioctl(slave, TIOCSPGRP, &pid);
	kill(-pid, SIGCONT);
	status(pid, "reader");
	kill(-pid, SIGKILL);
	status(pid, "reader");
	mine();
	pid = job(0, bg_read_caught);
	msleep(50);
	kill(pid, SIGKILL);
	int st;
	waitpid(pid, &st, 0);
	say("caught reader %#x", st);
}

static void background(void) { in_session(background_session); }

static void waits(void) { for (;;) pause(); }
static void waits_catching(void)
{
	int sigs[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT};
	for (int i = 0; i < 6; i++)
		catch(sigs[i], SA_RESTART);
	say("ready");
	waits();
}

/* keys: the master types, the foreground group hears. */
static void keys(void)
{
	pair(0);
	pid_t leader = child();
	if (!leader) {
		close(master);
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		signal(SIGHUP, SIG_IGN);
		pid_t pid = job(1, waits_catching);
		for (int i = 0; i < 1; i++)
			status(pid, "catcher");
		mine();
		pid = job(1, waits);
		for (int i = 0; i < 4; i++) {
			status(pid, "job");
			if (i == 0 || i == 2)
				kill(-pid, SIGCONT);
		}
		pid = job(1, waits);
		status(pid, "job");
		pid = job(1, waits);
		status(pid, "job");
		mine();
		say("leader ends");
		_exit(0);
	}
	msleep(150);
	struct winsize w = {30, 90, 0, 0};
	const char *k[] = {"\003", "\034", "\032", 0, "\003x\n", "stop"};
	for (int i = 0; i < 6; i++) {
		if (!k[i]) {
			int r = ioctl(master, TIOCSWINSZ, &w);
			msleep(30);
			say("winsz %s %s", ret(r), ret(ioctl(master, TIOCSWINSZ, &w)));
		} else
			type(k[i], -1);
		msleep(60);
	}
	pid_t fg = 0, sid = 0;
	say("gpgrp %s gsid %s %d %d", ret(ioctl(master, TIOCGPGRP, &fg)), ret(ioctl(master, TIOCGSID, &sid)), fg > 0 && fg != leader, sid == leader);
	kill(fg, SIGKILL);
	msleep(100);
	type("\032", 1);
	msleep(100);
	type("\032", 1);
	msleep(100);
	type("\003", 1);
	msleep(100);
	type("\034", 1);
	msleep(100);
	say("sig %s", ret(ioctl(master, TIOCSIG, SIGINT)));
	waitpid(leader, 0, 0);
	seen();
	msleep(20);
	unpair();
}

static int sync_pipe[2];

/* orphans: a stopped group whose parent ends gets SIGHUP and SIGCONT; an orphaned
 * group is not stopped by the terminal's signals. */
static void orphan_child(void)
{
	lag = 40;
	catch(SIGHUP, SA_RESTART);
	catch(SIGCONT, SA_RESTART);
	say("stopping");
	kill(getpid(), SIGTSTP);
	msleep(50);
	say("runs on");
	kill(getpid(), SIGTSTP);
	kill(getpid(), SIGTTIN);
	say("not stopped");
	char b[4];
	say("read %s", ret(read(slave, b, 4)));
	say("mode %s", ret(ioctl(slave, KSETS, &(struct kermios){0})));
	pid_t me = getpgrp();
	say("spgrp %s", ret(ioctl(slave, TIOCSPGRP, &me)));
	(void)!write(sync_pipe[1], "x", 1);
	_exit(0);
}

static void orphan_session(void)
{
	char c;
	(void)!pipe(sync_pipe);
	pid_t mid = child();
	if (!mid) {
		setpgid(0, 0);
		pid_t pid = child();
		if (!pid) {
			setpgid(0, 0);
			orphan_child();
		}
		setpgid(pid, pid);
		status(pid, "child");
		msleep(20);
		_exit(0);
	}
	status(mid, "middle");
	(void)!read(sync_pipe[0], &c, 1);
	/* the same inside the leader's own group, which is orphaned: */
	pid_t pid = child();
	if (!pid) {
		kill(getpid(), SIGTSTP);
		say("in the leader's group: not stopped");
		kill(getpid(), SIGSTOP);
		msleep(50);
		say("continued");
		_exit(0);
	}
	status(pid, "own group");
	kill(pid, SIGCONT);
	status(pid, "own group");
	status(pid, "own group");
}

static void orphaned(void) { in_session(orphan_session); }

static void stat_says(const char *when)
{
	char b[1000];
	int fd = open("/proc/self/stat", O_RDONLY), n = read(fd, b, 999), pg, sid, tty, tp;
	close(fd);
	b[n] = 0;
	sscanf(strrchr(b, ')') + 4, "%*d %d %d %d %d", &pg, &sid, &tty, &tp);
	struct stat st;
	fstat(slave, &st);
	say("%s: stat pgrp %d sid %d tty %d tpgid %d", when, pg == getpgrp(), sid == getsid(0), tty == (int)st.st_rdev ? 1 : tty, tp == getpgrp() ? 1 : tp == -1 ? -1 : 2);
}

static void ctty_session(void)
{
	char name[64];
	int fd, n;
	stat_says("session");
	fd = open("/dev/tty", O_RDWR);
	say("open /dev/tty %d, isatty %d", fd >= 0, isatty(fd));
	struct stat a, b;
	fstat(fd, &a), fstat(slave, &b);
	say("its own node %d", a.st_rdev == makedev(5, 0));
	pid_t pg = 0;
	say("gpgrp %s %d", ret(ioctl(fd, TIOCGPGRP, &pg)), pg == getpgrp());
	say("gsid %s %d", ret(ioctl(fd, TIOCGSID, &pg)), pg == getsid(0));
	int bad[] = {-1, 0, 1 << 21, getppid()};
	for (int i = 0; i < 4; i++)
		say("spgrp %d %s", i, ret(ioctl(fd, TIOCSPGRP, &bad[i])));
	say("spgrp bad %s", ret(ioctl(fd, TIOCSPGRP, 1L)));
	say("sctty again %s", ret(ioctl(slave, TIOCSCTTY, 0)));
	pid_t pid = child();
	if (!pid) {
		stat_says("child");
		say("child sctty %s", ret(ioctl(slave, TIOCSCTTY, 0)));
		say("child notty %s", ret(ioctl(slave, TIOCNOTTY)));
		say("child /dev/tty %s", ret(open("/dev/tty", O_RDWR)));
		stat_says("child");
		say("setsid %d", setsid() == getpid());
		say("gpgrp %s", ret(ioctl(slave, TIOCGPGRP, &pg)));
		say("steal %s", geteuid() ? "-1 EPERM" : ret(ioctl(slave, TIOCSCTTY, 0)));
		/* opening gives one */
		int m = open("/dev/ptmx", O_RDWR), zero = 0;
		say("ptmx is none %s", ret(open("/dev/tty", O_RDWR)));
		ioctl(m, TIOCGPTN, &n);
		ioctl(m, TIOCSPTLCK, &zero);
		sprintf(name, "/dev/pts/%d", n);
		int w = open(name, O_WRONLY);
		say("write only %s", ret(open("/dev/tty", O_RDWR)));
		int o = open(name, O_RDWR | O_NOCTTY);
		say("noctty %s", ret(open("/dev/tty", O_RDWR)));
		int r = open(name, O_RDWR);
		say("opened %d", open("/dev/tty", O_RDWR) >= 0);
		say("gsid %s %d", ret(ioctl(m, TIOCGSID, &pg)), pg == getpid());
		catch(SIGHUP, SA_RESTART), catch(SIGCONT, SA_RESTART);
		say("notty %s", ret(ioctl(r, TIOCNOTTY)));
		say("gsid %s", ret(ioctl(m, TIOCGSID, &pg)));
		say("now %s", ret(open("/dev/tty", O_RDWR)));
		(void)w, (void)o;
		_exit(0);
	}
	status(pid, "child");
	catch(SIGHUP, SA_RESTART), catch(SIGCONT, SA_RESTART);
	say("notty %s", ret(ioctl(slave, TIOCNOTTY)));
	say("notty %s", ret(ioctl(slave, TIOCNOTTY)));
	stat_says("after");
	say("sctty %s", ret(ioctl(slave, TIOCSCTTY, 0)));
	stat_says("again");
}

static void controlling(void) { in_session(ctty_session); }

/* hangup: the master goes, the leader hears; the leader goes, the group hears. */
static void hangup(void)
{
	for (int k = 0; k < 3; k++) {
		int done[2];
		(void)!pipe(done);
		pair(0);
		pid_t leader = child();
		if (!leader) {
			close(master);
			setsid();
			ioctl(slave, TIOCSCTTY, 0);
			if (k)
				catch(SIGHUP, 0), catch(SIGCONT, SA_RESTART);
			pid_t pid = job(1, waits_catching);
			msleep(80);
			if (k == 2) { /* the leader ends first */
				say("leader ends");
				_exit(0);
			}
			char b[10];
			if (k == 1) {
				mine();
				say("read %s", ret(read(slave, b, 10)));
				say("read %s", ret(read(slave, b, 10)));
				say("/dev/tty %s", ret(open("/dev/tty", O_RDWR)));
				stat_says("hung up");
				say("fg %s", ret(ioctl(slave, TIOCGPGRP, &pid)));
				kill(pid, SIGKILL);
				status(pid, "job");
			} else
				pause();
			_exit(0);
		}
		close(slave);
		msleep(200);
		int st;
		if (k < 2) {
			say("close master");
			close(master);
		}
		waitpid(leader, &st, 0);
		say("leader %#x", st);
		msleep(50);
		if (k == 2) {
			pid_t pg = -1;
			say("gsid %s gpgrp %s %d", ret(ioctl(master, TIOCGSID, &pg)), ret(ioctl(master, TIOCGPGRP, &pg)), pg);
			seen();
			close(master);
		}
		kill(-1, 0);
	}
}

/* ---- */

static void random0(void) { randomly(1, 60); }
static void random1(void) { randomly(2, 60); }
static void random2(void) { randomly(3, 60); }
static void random3(void) { randomly(4, 60); }

static struct twin { const char *name; void (*fn)(void); } twins[] = {
#define T(f) {#f, f}
	T(modes), T(names), T(canonical), T(long_lines), T(raw_min), T(timed), T(interrupted), T(output), T(flow), T(packets), T(closing),
	T(hostile), T(background), T(keys), T(orphaned), T(controlling), T(hangup), T(random0), T(random1), T(random2), T(random3),
};

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "list"))
		for (unsigned i = 0; i < sizeof twins / sizeof *twins; i++)
			say("%s", twins[i].name);
	if (!strcmp(argv[1], "random"))
		randomly(strtoull(argv[2], 0, 0), atoi(argv[3]));
	for (unsigned i = 0; i < sizeof twins / sizeof *twins; i++)
		if (!strcmp(argv[1], twins[i].name))
			twins[i].fn();
	return 0;
}
