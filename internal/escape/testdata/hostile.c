// A guest that makes every call with hostile arguments: "calls FROM TO STRIDE RANDOM SEED", "x32
// FROM TO STRIDE RANDOM SEED" or "int80 NUMBER". What of the host it is to attack is in its environment. It says "@n" when it is
// through with call n and "!leak" with what gave it the secret, which it holds only veiled.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long word;
enum { REPORT = 100, OPENED = 10, BUF = 8192, SHAPES = 1024, VEIL = 0x55, UNASSIGNED = 480 };

// work is all memory that calls are given. It is what it was before each of them.
static struct work {
	char file[256], dir[256], target[256], fresh[256], fifo[256], sock[256], mq[256];
	char environ[256], mem[256], root[256], fd[256], up[512], none[16], user[16], attr[16];
	struct sockaddr_in tcp, udp;
	struct sockaddr_un path, abstract, datagram;
	struct iovec local[2], remote[2];
	struct msghdr msg;
	struct { word flags, mode, resolve; } how;
	struct { long type; char text[64]; } message;
	word clone[11], timex[26], perf[16], time[4], limit[2], param[4], mask[2], sched[7];
	struct { unsigned short len; struct { unsigned short code; unsigned char jt, jf; unsigned k; } *code; } filter;
	struct { unsigned short code; unsigned char jt, jf; unsigned k; } allow;
	struct { unsigned short num; short op, flags; } sem;
	char *argv[2];
	char buf[BUF];
} w, pristine;

static word shapes[SHAPES][6];
static int nshapes;
static unsigned char veiled[64];
static int secretlen, report;
static struct shared { int round; } *shared;

static long call(word nr, const word *a) {
	register word r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return ret;
}

static void say(const char *text) {
	for (int i = 0; i < 100 && write(report, text, strlen(text)) < 0; i++) // a call may have made it O_NONBLOCK
		usleep(1000);
}

static const char *host(const char *name) {
	const char *v = getenv(name);
	return v ? v : "";
}

static word num(const char *name) { return strtoul(host(name), 0, 0); }

// look scans memory for the secret.
static void look(const void *mem, long n, word nr, const word *a) {
	const unsigned char *p = mem, *end = p + n - secretlen;
	for (; p <= end && (p = memchr(p, veiled[0] ^ VEIL, end - p + 1)); p++) {
		int i = 1;
		while (i < secretlen && p[i] == (veiled[i] ^ VEIL))
			i++;
		if (i < secretlen)
			continue;
		char text[200];
		sprintf(text, "\n!leak by call %lu(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx)\n", nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		say(text);
		return;
	}
}

// follow uses what a call gave: memory, or a descriptor.
static void follow(long ret, word nr, const word *a) {
	static char buf[BUF];
	if (ret > OPENED && ret < 1000 && ret != REPORT) {
		for (int how = 0; how < 3; how++) {
			long n = how == 0 ? read(ret, buf, BUF) : how == 1 ? syscall(SYS_getdents64, ret, buf, BUF)
				: pread(ret, buf, BUF, num("ENVADDR"));
			look(buf, n, nr, a);
		}
		if (write(ret, "hostile", 7) < 0) // a new file's first byte is enough
			pwrite(ret, "hostile", 7, num("MEMADDR"));
		ftruncate(ret, 1);
		fchmod(ret, 0777);
		syscall(SYS_pidfd_send_signal, ret, SIGUSR1, 0, 0);
		int got = syscall(SYS_pidfd_getfd, ret, num("HOSTFD"), 0);
		look(buf, pread(got, buf, BUF, 0), nr, a);
		close(got);
		close(ret);
	} else if (ret > 0xffff && ret % 4096 == 0) { // through a pipe, for it may not be readable
		int fds[2];
		if (pipe(fds))
			return;
		long n = write(fds[1], (void *)ret, 4096);
		if (n > 0)
			look(buf, read(fds[0], buf, n), nr, a);
		close(fds[0]);
		close(fds[1]);
	}
}

static void put(char *to, const char *format, const char *a, const char *b) { snprintf(to, 256, format, a, b); }

#define P(x) ((word)&w.x)

static void prepare(void) {
	put(w.file, "%s", host("FILE"), 0), put(w.dir, "%s", host("DIR"), 0), put(w.target, "%s/target", host("DIR"), 0);
	put(w.fresh, "%s/new", host("DIR"), 0), put(w.fifo, "%s/fifo", host("DIR"), 0), put(w.sock, "%s/sock", host("DIR"), 0);
	put(w.mq, "%s", host("MQ"), 0), put(w.environ, "/proc/%s/environ", host("VICTIM"), 0);
	put(w.mem, "/proc/%s/mem", host("VICTIM"), 0), put(w.root, "/proc/%s/root%s", host("VICTIM"), host("FILE"));
	put(w.fd, "/proc/%s/fd/%s", host("HOST"), host("HOSTFD"));
	put(w.up, "../../../../../../../../../../../..%s", host("FILE"), 0);
	strcpy(w.none, "tmpfs"), strcpy(w.user, "user"), strcpy(w.attr, "user.hostile");
	w.tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(num("TCP")), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	w.udp = w.tcp, w.udp.sin_port = htons(num("UDP"));
	w.path.sun_family = w.abstract.sun_family = w.datagram.sun_family = AF_UNIX;
	strncpy(w.path.sun_path, w.sock, sizeof w.path.sun_path - 1);
	strcpy(w.abstract.sun_path + 1, host("ABSTRACT")), strcpy(w.datagram.sun_path + 1, host("DATAGRAM"));
	w.local[0] = (struct iovec){w.buf, BUF / 2}, w.local[1] = (struct iovec){w.buf + BUF / 2, BUF / 2};
	w.remote[0] = (struct iovec){(void *)num("ENVADDR"), 256}, w.remote[1] = (struct iovec){(void *)num("MEMADDR"), 64};
	w.msg = (struct msghdr){&w.udp, sizeof w.udp, w.local, 1};
	w.message.type = 1;
	w.clone[0] = 0x10000000, w.clone[4] = SIGCHLD; // CLONE_NEWUSER
	w.timex[0] = 0x4002, w.timex[2] = 300 << 16, w.timex[11] = 9900; // ADJ_FREQUENCY, ADJ_TICK
	w.perf[0] = 0x8000000001; // PERF_TYPE_SOFTWARE
	w.time[0] = 1000000000, w.mask[0] = 1, w.param[0] = 0, w.sched[0] = 56 | 5UL << 32;
	w.allow.code = 6, w.allow.k = 0x7fff0000, w.filter.len = 1, w.filter.code = (void *)&w.allow;
	w.sem.op = 1, w.sem.flags = IPC_NOWAIT;
	w.argv[0] = w.file;
}

#define SHAPE(...) memcpy(shapes[nshapes++], (word[6]){__VA_ARGS__}, sizeof shapes[0])

// shape lists argument lists that would work if the call reached the host.
static void shape(void) {
	const word at = AT_FDCWD, b = P(buf), rw = O_RDWR | O_CREAT | O_TRUNC | O_NONBLOCK;
	const word wild[] = {0, 1, 0x1000, 1UL << 31, 1UL << 63, -1, -4096, 0xffffffff81000000, 0xffffffffff600000, 1UL << 47};
	const word paths[] = {P(file), P(target), P(dir), P(fresh), P(fifo), P(sock), P(environ), P(mem), P(root), P(fd), P(up), P(mq), P(none)};
	for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++)
		SHAPE(wild[i], wild[i], wild[i], wild[i], wild[i], wild[i]);
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		const word p = paths[i];
		SHAPE(p, 0), SHAPE(p, rw, 0777), SHAPE(p, b, BUF), SHAPE(p, P(attr), b, 10), SHAPE(p, P(fresh)), SHAPE(p, at, P(fresh));
		SHAPE(at, p), SHAPE(at, p, rw, 0777), SHAPE(at, p, P(how), 24), SHAPE(at, p, b, BUF), SHAPE(at, p, at, P(fresh));
		SHAPE(at, p, 0, 0xfff, b), SHAPE(7, p, AT_REMOVEDIR), SHAPE(p, P(argv), P(argv)), SHAPE(at, p, P(argv), P(argv));
		SHAPE(P(dir), p, P(none), 4096), SHAPE(p, 0x8000), SHAPE(0x80000200, p, 1, b), SHAPE(at, P(fresh), 0x11ff), SHAPE(p, 1UL << 31);
	}
	const word addrs[] = {P(tcp), P(udp), P(path), P(abstract), P(datagram)};
	for (int fd = 3; fd < 7; fd++)
		for (int i = 0; i < 5; i++)
			SHAPE(fd, addrs[i], i < 2 ? sizeof w.tcp : i == 2 ? sizeof w.path : 3 + strlen(w.abstract.sun_path + 1)),
				SHAPE(fd, b, 10, 0, addrs[i], i < 2 ? sizeof w.tcp : 3 + strlen(w.abstract.sun_path + 1));
	const int fds[] = {0, 1, 2, 3, 7, 8, 9, 10, 1021, 1022, 1023, 1 << 30};
	for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
		const word fd = fds[i];
		SHAPE(fd, b, BUF), SHAPE(fd, P(local), 2), SHAPE(0, 4096, 1, MAP_PRIVATE, fd), SHAPE(0, 4096, 3, MAP_SHARED, fd);
		SHAPE(fd, 0, 1UL << 62, 0), SHAPE(fd, P(msg), 0), SHAPE(fd, 1, 0), SHAPE(fd, 0x5413, b);
	}
	const word pids[] = {num("VICTIM"), num("HOST"), num("PARENT"), -1, -num("VICTIM")};
	for (int i = 0; i < 5; i++) {
		const word p = pids[i];
		SHAPE(p, SIGUSR1), SHAPE(p, p, SIGUSR1, b), SHAPE(p, SIGUSR1, b), SHAPE(0, p, 19), SHAPE(1, p, b, WEXITED), SHAPE(16, p);
		SHAPE(0x4206, p), SHAPE(p, P(local), 1, P(remote), 1), SHAPE(p, P(local), 1, P(remote[1]), 1), SHAPE(p, 0);
		SHAPE(p, 7, P(limit), b), SHAPE(p, p, 0, 0, num("HOSTFD")), SHAPE(P(perf), p, -1, -1), SHAPE(p, 8, P(mask));
		SHAPE(p, 5, P(param)), SHAPE(p, P(param)), SHAPE(p, P(sched), 0), SHAPE(p, 1, P(remote), P(limit), b), SHAPE(1, p, 0x6000);
		SHAPE(p, b, b, BUF), SHAPE(p, 8, P(mask), P(mask));
	}
	for (int i = 0; i < 3; i++) {
		static const char *const keys[] = {"SHMKEY", "MSGKEY", "SEMKEY"}, *const ids[] = {"SHMID", "MSGID", "SEMID"};
		const word key = num(keys[i]), id = num(ids[i]);
		SHAPE(key, i == 0 ? BUF : 1, 0666), SHAPE(key, 0666), SHAPE(id, 0, 0), SHAPE(id, P(message), BUF, 0, IPC_NOWAIT);
		SHAPE(id, P(message), 8, IPC_NOWAIT), SHAPE(id, P(sem), 1), SHAPE(id, 0, 16, 7), SHAPE(id, 1, b), SHAPE(id, 2, b), SHAPE(id, 0, 12);
		SHAPE(0, 13, b), SHAPE(0, 15, b), SHAPE(0, 11, b);
	}
	SHAPE(P(mq), O_RDWR | O_NONBLOCK), SHAPE(11, num("KEY"), b, BUF), SHAPE(3, num("KEY")), SHAPE(21, num("KEY"));
	SHAPE(P(user), P(attr), b, 10, -4), SHAPE(P(user), P(attr), 0, -4), SHAPE(10, -4, P(user), P(attr)), SHAPE(b, 5), SHAPE(P(time), 0);
	SHAPE(0, P(time)), SHAPE(P(timex)), SHAPE(0, P(timex)), SHAPE(0xfee1dead, 672274793, 0), SHAPE(b, BUF, P(none)), SHAPE(10, P(none), 0);
	SHAPE(3), SHAPE(0x80, 1, 1), SHAPE(7, 0), SHAPE(0x10000000), SHAPE(0x7e020000), SHAPE(0x800000 | SIGCHLD), SHAPE(0x10000000 | SIGCHLD);
	SHAPE(P(clone), 88), SHAPE(1, 0, P(filter)), SHAPE(5, b, 48), SHAPE(2, P(filter)), SHAPE(4, 0), SHAPE(35, 3, 0x400000), SHAPE(0xffff);
	pristine = w;
}

static int stride; // one of so many shapes is tried
static int seed;

// arguments are those of a round: the shapes, and then any mixture of them.
static void arguments(int round, word a[6]) {
	round = round * stride + rand() % stride;
	for (int i = 0; i < 6; i++)
		a[i] = round < nshapes ? shapes[round][i] : shapes[rand() % nshapes][rand() % 4];
	memcpy(&w, &pristine, sizeof w);
}

// rounds_of makes one call again and again, from the round that the last child died in.
static void rounds_of(word nr, int rounds) {
	pid_t me = getpid();
	while (shared->round < rounds) {
		word a[6];
		srand(seed + shared->round + nr);
		arguments(shared->round++, a);
		if ((nr == SYS_kill || nr == SYS_tkill || nr == SYS_rt_sigqueueinfo || nr == SYS_tgkill || nr == SYS_rt_tgsigqueueinfo) &&
				((int)a[0] == 1 || (int)a[1] == 1))
			continue; // the first process has to go on
		long ret = call(nr, a);
		if ((nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork) && syscall(SYS_gettid) != me)
			syscall(SYS_exit, 0);
		look(&w, sizeof w, nr, a);
		follow(ret, nr, a);
	}
}

static void tick(int sig) {}

// child opens what hostile descriptors mean.
static void child(word nr, int rounds) {
	struct itimerval often = {{0, 1000}, {0, 1000}}; // nothing blocks longer
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = tick}, 0);
	int p[2] = {-1, -1};
	pipe(p);
	const int fds[] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_INET, SOCK_DGRAM, 0),
		socket(AF_UNIX, SOCK_DGRAM, 0), open(w.dir, O_DIRECTORY), p[0], p[1], memfd_create("m", 0)};
	for (int i = 0; i < 8; i++)
		dup2(fds[i], 200 + i);
	for (int i = 0; i < 8; i++)
		dup2(fds[i] < 0 ? open("/", O_PATH) : 200 + i, 3 + i);
	close_range(OPENED + 1, REPORT - 1, 0), close_range(REPORT + 1, ~0, 0);
	setpgid(0, 0);
	setitimer(ITIMER_REAL, &often, 0);
	rounds_of(nr, rounds);
	_exit(0);
}

static volatile pid_t running;

static void late(int sig) { kill(running, SIGKILL); }

static void calls(word nr, int rounds) {
	struct itimerval most = {{0, 200000}, {0, 200000}}, none = {};
	int lates = 0;
	shared->round = 0;
	if (nr >= UNASSIGNED) // there is nothing to survive
		return rounds_of(nr, rounds / 8);
	while (shared->round < rounds && lates < 5) {
		int status = 0;
		const int before = shared->round;
		if ((running = fork()) == 0)
			child(nr, rounds);
		if (running < 0)
			say("\n!fork\n"), exit(1);
		setitimer(ITIMER_REAL, &most, 0);
		while (waitpid(running, &status, 0) != running)
			;
		setitimer(ITIMER_REAL, &none, 0);
		lates += (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || shared->round == before;
		kill(-1, SIGKILL); // all but this one, which is the first
		while (waitpid(-1, 0, __WALL) > 0)
			;
	}
	if (shared->round == 0)
		say("\n!no call was made\n"), exit(1);
}

static void x32(word nr, int rounds) {
	for (int i = 0; i < rounds; i++) {
		word a[6];
		arguments(i, a);
		long ret = call(nr | 0x40000000, a);
		if (ret != -38) { // ENOSYS
			char text[100];
			sprintf(text, "\n!x32 call %lu gave %ld\n", nr, ret);
			say(text);
		}
		look(&w, sizeof w, nr, a);
	}
}

// int80 enters the kernel by the other gate. It takes addresses below 4 GiB, where
// this program lies.
static void *int80(void *nr) {
	word a[6];
	stride = 1;
	arguments((word)nr % nshapes, a);
	long ret;
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]) : "memory");
	say("\n!survived int 0x80\n");
	return 0;
}

int main(int argc, char **argv) {
	for (const char *s = host("VEILED"); sscanf(s, "%2hhx", &veiled[secretlen]) == 1; s += 2)
		secretlen++;
	prepare();
	shape();
	report = dup2(1, REPORT);
	word from = strtoul(argv[2], 0, 0);
	if (!strcmp(argv[1], "int80")) { // by the first process, another, another thread
		pthread_t thread;
		if (from % 3 == 0 || (from % 3 == 1 && fork() == 0))
			int80((void *)from);
		if (from % 3 == 2)
			pthread_create(&thread, 0, int80, (void *)from);
		sleep(60);
		return 0;
	}
	word to = strtoul(argv[3], 0, 0);
	stride = atoi(argv[4]);
	int rounds = nshapes / stride + atoi(argv[5]);
	srand(seed = atoi(argv[6]));
	shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN); // children may send what they like
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = late}, 0);
	for (word nr = from; nr < to; nr++) {
		char text[32];
		if (!strcmp(argv[1], "x32"))
			x32(nr, rounds);
		else
			calls(nr, rounds);
		sprintf(text, "\n@%lu\n", nr);
		say(text);
	}
	return 0;
}
