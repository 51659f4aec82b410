// Numbers that are too large, for who reckons with them.
#include "escape.h"
#include <poll.h>
#include <sys/select.h>
#include <sys/uio.h>

static const word large[] = {1UL << 63, (1UL << 63) - 1, 1UL << 62, 1UL << 47, 1UL << 32, 1UL << 31, -(1UL << 31), -1, -4096};
enum { LARGE = sizeof large / sizeof *large };

ESCAPE(descriptors) {
	static char buf[256];
	for (int i = 0; i < LARGE; i++) {
		word fd = large[i] + num("LEAK");
		long n = syscall(SYS_pread64, fd, buf, sizeof buf, 0);
		if (n > 0)
			write(1, buf, n);
		fd = large[i];
		struct pollfd p = {fd, POLLIN, 0};
		struct timeval none = {0, 0};
		syscall(SYS_read, fd, buf, 1), syscall(SYS_close, fd), syscall(SYS_dup, fd), syscall(SYS_dup2, 1, fd), syscall(SYS_dup3, 1, fd, 0);
		syscall(SYS_fcntl, 1, F_DUPFD, fd), syscall(SYS_fcntl, fd, F_GETFD), syscall(SYS_fstat, fd, buf), syscall(SYS_openat, fd, "x", 0);
		syscall(SYS_close_range, fd, -1L, 0), syscall(SYS_poll, &p, 1, 0), syscall(SYS_poll, &p, fd, 0), syscall(SYS_select, fd, buf, 0, 0, &none);
		syscall(SYS_epoll_ctl, fd, 1, fd, buf), syscall(SYS_sendfile, 1, fd, 0, 1);
	}
}

// vectors and lengths are used with a descriptor that can be read and one that can be written.
ESCAPE(vectors) {
	static char buf[256];
	int p[2] = {0, 1};
	if (worked("pipe", pipe2(p, O_NONBLOCK)))
		write(p[1], buf, 8);
	for (int i = 0; i < LARGE; i++) {
		struct iovec one[2] = {{buf, large[i]}, {buf, large[i]}}, few[1024];
		struct msghdr m = {.msg_iov = one, .msg_iovlen = large[i], .msg_control = buf, .msg_controllen = large[i]};
		for (int k = 0; k < 1024; k++)
			few[k] = (struct iovec){buf, 1UL << 53};
		for (int how = 0; how < 2; how++) {
			const long rd[] = {SYS_readv, SYS_preadv, SYS_preadv2}, wr[] = {SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_vmsplice};
			for (int c = 0; c < 3; c++)
				syscall(rd[c], p[0], one, 2, 0, 0, 0), syscall(rd[c], p[0], one, large[i], 0, 0, 0), syscall(rd[c], p[0], few, 1024, 0, 0, 0);
			for (int c = 0; c < 4; c++)
				for (int k = 0; k < 3; k++) // 2 is SPLICE_F_NONBLOCK
					syscall(wr[c], p[1], k < 2 ? one : few, k == 0 ? 2 : k == 1 ? large[i] : 1024, 2, 0, 0);
			syscall(SYS_sendmsg, p[1], &m, MSG_DONTWAIT), syscall(SYS_recvmsg, p[0], &m, MSG_DONTWAIT);
			syscall(SYS_sendmmsg, p[1], &m, large[i], MSG_DONTWAIT), syscall(SYS_recvmmsg, p[0], &m, large[i], MSG_DONTWAIT, 0);
			if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) < 0)
				break;
		}
	}
}

ESCAPE(lengths) {
	static char buf[256];
	int p[2] = {0, 0};
	pipe2(p, O_NONBLOCK);
	for (int i = 0; i < LARGE; i++) {
		syscall(SYS_read, p[0], buf, large[i]), syscall(SYS_read, p[0], large[i], 0), syscall(SYS_read, p[0], 0, 0);
		syscall(SYS_write, p[1], large[i], 0), syscall(SYS_write, p[1], large[i], large[i]);
		int fd = open(at("GIVEN", "a"), O_RDONLY);
		syscall(SYS_pread64, fd, buf, 1, large[i]), syscall(SYS_read, fd, buf, large[i]), syscall(SYS_lseek, fd, large[i], SEEK_SET);
		syscall(SYS_lseek, fd, large[i], SEEK_END), syscall(SYS_read, fd, buf, 1), syscall(SYS_readahead, fd, large[i], large[i]);
		syscall(SYS_mmap, 0, large[i], PROT_READ, MAP_PRIVATE, fd, 0), syscall(SYS_mmap, 0, 1, PROT_READ, MAP_PRIVATE, fd, large[i] & -4096);
		close(fd);
		fd = open(host("GIVEN"), O_RDONLY);
		syscall(SYS_getdents64, fd, buf, large[i]), syscall(SYS_getcwd, buf, large[i]), syscall(SYS_readlink, "/proc/self/exe", buf, large[i]);
		syscall(SYS_getrandom, large[i], large[i], 0), syscall(SYS_getgroups, large[i], buf), syscall(SYS_sendfile, p[1], fd, 0, large[i]);
		syscall(SYS_getxattr, host("GIVEN"), "user.x", buf, large[i]), syscall(SYS_sched_getaffinity, 0, large[i], buf);
		syscall(SYS_bind, p[0], buf, large[i]), syscall(SYS_setsockopt, p[0], 1, 1, buf, large[i]);
		close(fd);
	}
}
