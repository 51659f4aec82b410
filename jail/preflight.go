//go:build linux && amd64

package jail

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/internal/stub"
	"oubliette/internal/sysno"
	"oubliette/policy"
)

// trial is a program that exits at once.
//
//go:embed testdata/trial.elf
var trial embed.FS

// Preflight says whether this host can run jails, before anything depends on it:
// it runs one, with a program of 129 bytes that exits, so what is wrong is what
// Spawn would say. It takes about a millisecond.
func Preflight() Report {
	j := &Jail{Mounts: map[string]fs.FS{"/": trial}}
	r := Report{Notes: hostNotes()}
	proc, err := j.Spawn(exec.Command("/testdata/trial.elf"), policy.Policy{Calls: policy.Native(), Default: policy.Emulate})
	if err == nil {
		err, r.Walls = proc.Wait(), proc.Walls()
	}
	r.Err = err
	return r
}

// The oldest kernel that jails are tested on.
const oldMajor, oldMinor = 5, 11

// fewProcesses is a limit of processes that jails soon reach: a guest process is
// one, and so is each jail's bell.
const fewProcesses = 64

// hostNotes are the host's peculiarities.
func hostNotes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	var name unix.Utsname
	var major, minor int
	if unix.Uname(&name) == nil {
		release := unix.ByteSliceToString(name.Release[:])
		if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < oldMajor || major == oldMajor && minor < oldMinor) {
			note("Linux %s is older than %d.%d, the oldest that jails are known to run on", release, oldMajor, oldMinor)
		}
	}
	if p, err := acquireParts(); err == nil {
		file, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.stub.Fd()))
		if file != "" && !strings.HasPrefix(file, "/memfd:") {
			note("vm.memfd_noexec forbids executing a memfd: guests start from an unlinked file, %s", file)
		}
		p.release()
	}
	var l unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &l) == nil && l.Cur < fewProcesses && os.Getuid() != 0 {
		note("RLIMIT_NPROC is %d (ulimit -u), and each guest process is one of the caller's", l.Cur)
	}
	return notes
}

// refused says, of what the host did not do for a jail, what would make it.
func refused(op string, err error) error {
	switch {
	case errors.Is(err, unix.ENFILE):
		err = fmt.Errorf("%w: raise fs.file-max", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
		err = fmt.Errorf("%w: a container's seccomp profile must allow it, as Docker's default does "+
			"(else docker run --security-opt seccomp=PROFILE)", err)
	}
	return &Error{Op: op, Err: err}
}

// ptraceRefused is of an attach that was (Documentation/admin-guide/LSM/Yama.rst).
func ptraceRefused(err error) error {
	text, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	const yama = "/proc/sys/kernel/yama/ptrace_scope is %s, it must be 0 or 1"
	switch scope := strings.TrimSpace(string(text)); scope {
	case "2":
		err = fmt.Errorf("%w: "+yama+": sysctl -w kernel.yama.ptrace_scope=1, or give the caller CAP_SYS_PTRACE", err, scope)
	case "3":
		err = fmt.Errorf("%w: "+yama+": set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and reboot, for 3 stays until then", err, scope)
	default:
		_, tracer, _ := strings.Cut(procSelf("status"), "\nTracerPid:\t") // proc_pid_status(5)
		if tracer, _, _ = strings.Cut(tracer, "\n"); tracer != "" && tracer != "0" {
			err = fmt.Errorf("%w: process %s traces this one, and if all that it starts too, as strace -f does, nobody else can", err, tracer)
			break
		}
		err = fmt.Errorf("%w: a container's seccomp profile or a security module forbids ptrace: Docker's default profile allows it on Linux 4.8 "+
			"and later (else docker run --cap-add SYS_PTRACE or --security-opt seccomp=PROFILE); SELinux does with setsebool deny_ptrace off", err)
	}
	return &Error{Op: "ptrace", Err: err}
}

// callRefused is of a call in a new process.
func callRefused(name string, errno unix.Errno) error {
	err := fmt.Errorf("the host refuses it to a new process: %w", errno)
	if name == "seccomp" && errno == unix.EINVAL {
		err = fmt.Errorf("%w: the kernel must have CONFIG_SECCOMP_FILTER", err)
	}
	if name == "prctl" && errno == unix.EINVAL {
		err = fmt.Errorf("%w: the same addresses in each run, which Seed and Jail.Random ask for, need a kernel with CONFIG_CHECKPOINT_RESTORE", err)
	}
	return refused(name, err)
}

// batchError says which call of a batch failed. A mapping that does not fit is
// the program's fault; anything else is the host's.
func (n *newImage) batchError(b *stub.Batch, ws unix.WaitStatus) error {
	i := b.Index(n.regs.Rbx)
	if i < 0 {
		return &Error{Op: "load", Err: fmt.Errorf("stub stopped with status %#x", uint32(ws))}
	}
	errno := unix.Errno(-int64(n.regs.Rax))
	name := sysno.Name(b.Entry(i).Nr)
	for _, c := range n.walls {
		if c.index == i {
			return wallRefused(c.wall, name, errno)
		}
	}
	if name == "mmap" || name == "munmap" {
		return unix.ENOMEM
	}
	return callRefused(name, errno)
}
