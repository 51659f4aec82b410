//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() { guests["sigmask"] = sigmaskGuest }

// blocked is the thread's signal mask, without what the Go runtime may do.
func blocked(how int, set uint64) uint64 {
	var old uint64
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, uintptr(how), uintptr(unsafe.Pointer(&set)),
		uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old & (1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1))
}

// sigmaskGuest sleeps in calls that unblock a signal, which is pending already
// or comes later, and says what the mask is afterwards.
func sigmaskGuest([]string) {
	runtime.LockOSThread()
	came := make(chan os.Signal, 9)
	signal.Notify(came, unix.SIGUSR1)
	blocked(unix.SIG_BLOCK, 1<<(unix.SIGUSR1-1))
	epoll, _ := unix.EpollCreate1(0)
	// SIGURG is the Go runtime's own: it would end the call before its time.
	limit, none := unix.NsecToTimespec(5e9), uint64(1<<(unix.SIGUSR2-1)|1<<(unix.SIGURG-1))
	pair := [2]uintptr{uintptr(unsafe.Pointer(&none)), 8}
	var event [12]byte
	calls := map[string][]uintptr{
		"ppoll":       {unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&limit)), uintptr(unsafe.Pointer(&none)), 8, 0},
		"pselect6":    {unix.SYS_PSELECT6, 0, 0, 0, 0, uintptr(unsafe.Pointer(&limit)), uintptr(unsafe.Pointer(&pair))},
		"epoll_pwait": {unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&event)), 1, 5000, uintptr(unsafe.Pointer(&none)), 8},
	}
	pid, tid := unix.Getpid(), unix.Gettid()
	for _, name := range []string{"ppoll", "pselect6", "epoll_pwait"} {
		for _, later := range []bool{false, true} {
			if later {
				time.AfterFunc(20*time.Millisecond, func() { _ = unix.Tgkill(pid, tid, unix.SIGUSR1) })
			} else {
				_ = unix.Tgkill(pid, tid, unix.SIGUSR1)
			}
			a := calls[name]
			_, _, errno := unix.Syscall6(a[0], a[1], a[2], a[3], a[4], a[5], a[6])
			fmt.Println(name, later, errno, <-came, blocked(unix.SIG_BLOCK, 0))
		}
	}
	runtime.KeepAlive(pair)
}

// TestWaitMask: the mask of ppoll and its like holds for the signal that ends
// the call, and no longer.
func TestWaitMask(t *testing.T) {
	want := native(t, guestCommand("sigmask"))
	got := jailed(t, new(jail.Jail), guestCommand("sigmask"), policy.Overlay())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("jailed differs (-native +jailed):\n%s", diff)
	}
	if want.Stdout == "" {
		t.Error("the guest says nothing")
	}
}
