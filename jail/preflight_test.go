//go:build linux && amd64

package jail_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/jail"
)

// TestPreflight: a host that runs the other tests can run jails, and no trace of
// the trial remains.
func TestPreflight(t *testing.T) {
	noLeak(t)
	r := jail.Preflight()
	if r.Err != nil || !strings.HasPrefix(r.String(), "this host can run jails\n") {
		t.Error(r)
	}
	if program, err := os.ReadFile("testdata/trial.elf"); err != nil || !bytes.Equal(program, tinyELF()) {
		t.Errorf("trial.elf is not the program that exits: %v", err)
	}
}

// pretend lets this process, in a mount namespace of its own, find a file in a
// directory of /proc.
func pretend(dir, name, content string) {
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	name = filepath.Join(dir, name)
	check(os.MkdirAll(filepath.Dir(name), 0o755))
	check(os.WriteFile(name, []byte(content+"\n"), 0o644))
}

func init() {
	guests["preflight"] = func(args []string) {
		switch args[0] {
		case "memfd":
			check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			check(unix.Mount("proc", "/proc", "proc", 0, "")) // of the new pid namespace
			check(os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0))
		case "old":
			runtime.LockOSThread()
			const uname26 = 0x20000 // UNAME26 of personality(2): the kernel says it is 2.6
			_, _, e := unix.Syscall(unix.SYS_PERSONALITY, uname26, 0, 0)
			if e != 0 {
				panic(e)
			}
		case "nproc":
			check(unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 50, Max: 50}))
			check(syscall.Setresuid(1, 1, 1))
			check(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) // /proc/self is the user's again
		}
		fmt.Print(jail.Preflight())
	}
}

// inNamespaces runs a guest function in new namespaces. It skips the test for
// others than root.
func inNamespaces(t *testing.T, flags uintptr, name string, args ...string) result {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	cmd := guestCommand(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return native(t, cmd)
}

// TestPreflightYama: Spawn and Preflight name the file, its value and what to do.
func TestPreflightYama(t *testing.T) {
	for scope, want := range map[string]string{
		"2": "sysctl -w kernel.yama.ptrace_scope=1, or give the caller CAP_SYS_PTRACE\n",
		"3": "set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and reboot, for 3 stays until then\n",
	} {
		got := inNamespaces(t, unix.CLONE_NEWNS, "spawn where refused", "yama", scope)
		want = "jail: ptrace: operation not permitted: /proc/sys/kernel/yama/ptrace_scope is " + scope + ", it must be 0 or 1: " + want
		if got != (result{Stdout: want}) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

// TestPreflightTraced: a tracer of the caller's that follows its children is named.
func TestPreflightTraced(t *testing.T) {
	got := inNamespaces(t, unix.CLONE_NEWNS, "spawn where refused", "traced")
	if want := "jail: ptrace: operation not permitted: process 7 traces this one, "; !strings.HasPrefix(got.Stdout, want) {
		t.Errorf("%+v, want %q", got, want)
	}
}

// TestPreflightNotes: what only makes a difference is a note.
func TestPreflightNotes(t *testing.T) {
	for what, want := range map[string]string{
		"memfd": "note: vm.memfd_noexec forbids executing a memfd: guests start from an unlinked file, /",
		"old":   "is older than 5.11, the oldest that jails are known to run on\n",
		"nproc": "note: RLIMIT_NPROC is 50 (ulimit -u), and each guest process is one of the caller's\n",
	} {
		t.Run(what, func(t *testing.T) {
			flags := uintptr(0)
			if what == "memfd" {
				flags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
			}
			got := inNamespaces(t, flags, "preflight", what)
			if !strings.HasPrefix(got.Stdout, "this host can run jails\nnote: ") || !strings.Contains(got.Stdout, want) || got.Err != "" {
				t.Errorf("%+v, want %q", got, want)
			}
		})
	}
}
