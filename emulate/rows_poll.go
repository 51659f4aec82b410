//go:build linux

package emulate

// pollCalls are pipes, readiness, event files, timers and System V and POSIX
// communication.
var pollCalls = []Row{
	{"alarm", "uint", alarm, ""},
	{"epoll_create", "int", epoll_create, ""},
	{"epoll_create1", "flags", epoll_create1, ""},
	{"epoll_ctl", "fd int fd addr", epoll_ctl, "EPOLLWAKEUP has no meaning here"},
	{"epoll_pwait", "fd out:addr int int addr size", epoll_pwait, ""},
	{"epoll_pwait2", "fd out:addr int addr addr size", epoll_pwait2, ""},
	{"epoll_wait", "fd out:addr int int", epoll_wait, ""},
	{"eventfd", "uint", eventfd, ""},
	{"eventfd2", "uint flags", eventfd2, ""},
	{"getitimer", "int out:addr", getitimer, "ITIMER_VIRTUAL and ITIMER_PROF are the kernel's own"},
	{"pipe", "out:addr", pipeCall, ""},
	{"pipe2", "out:addr flags", pipe2, "a pipe has at most 1 MiB, also for a privileged guest"},
	{"poll", "addr uint int", poll, ""},
	{"ppoll", "addr uint addr addr size", ppoll, ""},
	{"pselect6", "int addr addr addr addr addr", pselect6, ""},
	{"select", "int addr addr addr addr", selectCall, ""},
	{"setitimer", "int addr out:addr", setitimer, "ITIMER_VIRTUAL and ITIMER_PROF are the kernel's own and end with execve"},
	{"signalfd", "fd addr size", signalfd, ""},
	{"signalfd4", "fd addr size flags", signalfd4, "SIGVTALRM and SIGPROF of a timer do not wake who waits for it"},
	{"timer_create", "int addr out:addr", timer_create, "no CPU time clocks: ENOTSUP"},
	{"timer_delete", "int", timer_delete, ""},
	{"timer_getoverrun", "int", timer_getoverrun, ""},
	{"timer_gettime", "int out:addr", timer_gettime, ""},
	{"timer_settime", "int flags addr out:addr", timer_settime, "at most 10,000 signals a second, the rest is overrun"},
	{"timerfd_create", "int flags", timerfd_create, ""},
	{"timerfd_gettime", "fd out:addr", timerfd_gettime, ""},
	{"timerfd_settime", "fd flags addr out:addr", timerfd_settime, "the clock is never set, so nothing is cancelled"},
}
