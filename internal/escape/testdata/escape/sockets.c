// Sockets of the host.
#include "escape.h"
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static struct sockaddr_in local(word port) {
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int dial(const char *name, int abstract) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strncpy(a.sun_path + abstract, name, sizeof a.sun_path - 2);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	worked("connect", connect(fd, (void *)&a, offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name)));
	return fd;
}

ESCAPE(tcp) {
	struct sockaddr_in a = local(num("TCP"));
	worked("connect", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, sizeof a));
}

ESCAPE(udp) {
	struct sockaddr_in a = local(num("UDP"));
	worked("sendto", sendto(socket(AF_INET, SOCK_DGRAM, 0), "escaped", 7, 0, (void *)&a, sizeof a));
}

ESCAPE(unix_path) { dial(at("DIR", "sock"), 0); }

ESCAPE(unix_abstract) { dial(host("ABSTRACT"), 1); }

ESCAPE(vsock) {
	if (worked("socket", socket(AF_VSOCK, SOCK_STREAM, 0)))
		got("a socket to the machine's own host");
}

// sockaddr_twice changes an address between who looks at it and who uses it.
static struct sockaddr_in address;

static void *flip(void *arg) {
	in_port_t good = htons(num("ALLOWED")), bad = htons(num("TCP"));
	while (!over) {
		*(volatile in_port_t *)&address.sin_port = good;
		*(volatile in_port_t *)&address.sin_port = bad;
	}
	return 0;
}

ESCAPE(sockaddr_twice) {
	address = local(num("ALLOWED"));
	if (!thread(flip))
		return;
	for (int i = 0; i < 500; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		connect(fd, (void *)&address, sizeof address);
		close(fd);
	}
}

static int receive(int from) {
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int fd = -1;
	if (worked("recvmsg", recvmsg(from, &m, 0)) && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

// rights_given asks a process outside for a descriptor, rights_taken itself for one that it does not have.
ESCAPE(rights_given) {
	int fd = receive(dial(host("GIVER"), 1));
	lseek(fd, 0, SEEK_SET);
	loot("read", fd);
}

ESCAPE(rights_taken) {
	int pair[2], leak = num("LEAK");
	char space[CMSG_SPACE(sizeof leak)] = {0};
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof leak);
	memcpy(CMSG_DATA(c), &leak, sizeof leak);
	if (!worked("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) || !worked("sendmsg", sendmsg(pair[0], &m, 0)))
		return;
	loot("read", receive(pair[1]));
}
