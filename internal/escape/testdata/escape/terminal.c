// The host's terminal, which is standard input.
#include "escape.h"
#include <sys/ioctl.h>

ESCAPE(tiocsti) { worked("TIOCSTI", ioctl(0, TIOCSTI, "x")); }

// tiocsti_high is for filters that compare the whole register: the kernel takes the lower half.
ESCAPE(tiocsti_high) { worked("TIOCSTI", syscall(SYS_ioctl, 0, TIOCSTI | 1UL << 32, "x")); }

ESCAPE(pts) {
	int fd = open(host("PTS"), O_RDWR | O_NOCTTY);
	if (worked("open", fd))
		write(fd, "escaped", 7);
}
