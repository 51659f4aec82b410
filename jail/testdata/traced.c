/* Calls for the trace, between two of getpgrp. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
	char buf[100];
	struct stat st;
	struct sockaddr_un at = {AF_UNIX, "/none"};
	syscall(SYS_getpgrp);
	int fd = syscall(SYS_openat, AT_FDCWD, "/try/a \"b\"\n", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	syscall(SYS_write, fd, "hello\0\1\n", 8);
	syscall(SYS_lseek, fd, 0L, SEEK_SET);
	syscall(SYS_read, fd, buf, sizeof buf);
	syscall(SYS_pwrite64, fd, "0123456789012345678901234567890123456789", 40L, 8L);
	syscall(SYS_newfstatat, AT_FDCWD, "none", &st, AT_SYMLINK_NOFOLLOW);
	syscall(SYS_open, "/try", O_RDONLY | O_DIRECTORY, 0777);
	syscall(SYS_openat, AT_FDCWD, NULL, O_WRONLY);
	syscall(SYS_openat, AT_FDCWD, (char *)1, 3 | O_APPEND | 0x80000000);
	syscall(SYS_faccessat, AT_FDCWD, "/try", R_OK | X_OK);
	syscall(SYS_mkdir, "/try/d", 0700);
	syscall(SYS_unlinkat, AT_FDCWD, "/try/d", AT_REMOVEDIR);
	syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 10L);
	syscall(SYS_mmap, NULL, 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0L);
	int s = syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	syscall(SYS_connect, s, &at, sizeof at);
	syscall(SYS_kill, 0, SIGWINCH);
	syscall(SYS_getcwd, buf, sizeof buf);
	syscall(SYS_io_uring_setup, 8, NULL);
	syscall(SYS_getpgrp);
	return 0;
}
