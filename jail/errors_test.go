//go:build linux && amd64

package jail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

// badTree has programs that are none.
func badTree() fstest.MapFS {
	changed := func(at int, b byte) []byte {
		e := tinyELF()
		e[at] = b
		return e
	}
	i386 := changed(18, 3)
	i386[4] = 1
	return fstest.MapFS{
		"good":   {Data: tinyELF(), Mode: 0o755},
		"arm64":  {Data: changed(18, 183), Mode: 0o755},
		"i386":   {Data: i386, Mode: 0o755},
		"cut":    {Data: tinyELF()[:70], Mode: 0o755},
		"text":   {Data: []byte("hello"), Mode: 0o755},
		"empty":  {Mode: 0o755},
		"plain":  {Data: tinyELF(), Mode: 0o644},
		"script": {Data: []byte("#!/none\n"), Mode: 0o755},
		"loop":   {Data: []byte("#!/loop\n"), Mode: 0o755},
		"dir/x":  {Mode: 0o644},
	}
}

// TestSpawnErrors: each mistake is one error that says what to do, and nothing
// of the jail remains.
func TestSpawnErrors(t *testing.T) {
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ran := exec.Command("/bin/true")
	if err := ran.Run(); err != nil {
		t.Fatal(err)
	}
	command := func(change func(*exec.Cmd)) func(*jail.Jail, *policy.Policy) *exec.Cmd {
		return func(*jail.Jail, *policy.Policy) *exec.Cmd {
			cmd := exec.Command("/good")
			change(cmd)
			return cmd
		}
	}
	mount := func(m policy.Mount) func(*jail.Jail, *policy.Policy) *exec.Cmd {
		return func(_ *jail.Jail, p *policy.Policy) *exec.Cmd {
			p.Mounts = []policy.Mount{m}
			return exec.Command("/good")
		}
	}
	with := func(change func(*jail.Jail)) func(*jail.Jail, *policy.Policy) *exec.Cmd {
		return func(j *jail.Jail, _ *policy.Policy) *exec.Cmd {
			change(j)
			return exec.Command("/good")
		}
	}
	allow := func(r policy.Rule) func(*jail.Jail, *policy.Policy) *exec.Cmd {
		return func(_ *jail.Jail, p *policy.Policy) *exec.Cmd {
			r.Action = policy.Allow
			p.Calls = append([]policy.Rule{r}, p.Calls...)
			return exec.Command("/good")
		}
	}
	program := func(path string) func(*jail.Jail, *policy.Policy) *exec.Cmd {
		return command(func(c *exec.Cmd) { c.Path = path })
	}
	for _, c := range []struct {
		name  string
		make  func(*jail.Jail, *policy.Policy) *exec.Cmd
		errno error // inside
		want  string
	}{
		{"descriptor to the kernel", allow(policy.Rule{Calls: []string{"getpid", "pread64"}}), nil,
			"policy: calls[0]: pread64 may not be allowed: the descriptors that the real kernel knows are not the guest's"},
		{"map of a file by the kernel", allow(policy.Rule{Calls: []string{"mmap"}}), nil, "mmap may not be allowed"},
		{"pause by the kernel", allow(policy.Rule{Calls: []string{"pause"}}), nil, "pause may not be allowed (with it a new process says that it is loaded)"},
		{"setsid by the kernel", allow(policy.Rule{Calls: []string{"setsid"}}), nil, "setsid may not be allowed (the warden waits for a process group)"},
		{"setpgid by the kernel", allow(policy.Rule{Calls: []string{"setpgid"}}), nil, "setpgid may not be allowed (the warden waits"},
		{"mremap by the kernel", allow(policy.Rule{Calls: []string{"mremap"}}), nil, "mremap may not be allowed (it reaches other files"},
		{"missing", program("/missing"), fs.ErrNotExist, "exec /missing: no such file or directory: mount it"},
		{"not in PATH", func(*jail.Jail, *policy.Policy) *exec.Cmd { return &exec.Cmd{Path: "none", Args: []string{"none"}} },
			exec.ErrNotFound, `"none": executable file not found in $PATH of the guest (`},
		{"directory", program("/dir"), unix.EACCES, "exec /dir: permission denied: it must be a regular file"},
		{"not executable", program("/plain"), unix.EACCES, "may execute"},
		{"arm64", program("/arm64"), unix.ENOEXEC, "exec /arm64: exec format error: it must be a whole x86-64 ELF program"},
		{"i386", program("/i386"), unix.ENOEXEC, "x86-64"},
		{"corrupt", program("/cut"), unix.ENOEXEC, "whole"},
		{"text", program("/text"), unix.ENOEXEC, "#!"},
		{"empty", program("/empty"), unix.ENOEXEC, "#!"},
		{"no interpreter", program("/script"), fs.ErrNotExist, "the interpreter it names"},
		{"script of itself", program("/loop"), unix.ELOOP, "circle"},
		{"no path", program(""), nil, "exec.Cmd has no Path"},
		{"Dir missing", command(func(c *exec.Cmd) { c.Dir = "/none" }), unix.ENOENT, "cmd.Dir /none: no such file or directory: it must be a directory"},
		{"Dir a file", command(func(c *exec.Cmd) { c.Dir = "/text" }), unix.ENOTDIR, "cmd.Dir /text: not a directory"},
		{"SysProcAttr", command(func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }), nil, "SysProcAttr.Setpgid is about host processes; use policy.Identity and policy.Limits"},
		{"Cancel", command(func(c *exec.Cmd) { c.Cancel = func() error { return nil } }), nil, "made by exec.CommandContext"},
		{"cancelled", func(*jail.Jail, *policy.Policy) *exec.Cmd {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return exec.CommandContext(ctx, "/good")
		}, context.Canceled, "cmd: context canceled"},
		{"nil", func(*jail.Jail, *policy.Policy) *exec.Cmd { return nil }, nil, "the exec.Cmd is nil"},
		{"started", func(*jail.Jail, *policy.Policy) *exec.Cmd { return ran }, nil, "was started before"},
		{"Stdin closed", command(func(c *exec.Cmd) { c.Stdin = closed }), os.ErrClosed, "descriptor 0: file already closed"},
		{"ExtraFiles closed", command(func(c *exec.Cmd) { c.ExtraFiles = []*os.File{closed} }), os.ErrClosed, "descriptor 3: "},
		{"NUL in Args", command(func(c *exec.Cmd) { c.Args = []string{"a\x00b"} }), unix.EINVAL, "NUL byte"},
		{"NUL in Env", command(func(c *exec.Cmd) { c.Env = []string{"A=\x00"} }), unix.EINVAL, "NUL byte"},
		{"argument too long", command(func(c *exec.Cmd) { c.Args = []string{strings.Repeat("x", 1<<18)} }), unix.E2BIG, "too long"},

		{"mount missing", mount(policy.Mount{Guest: "/m", Kind: policy.KindHost, Host: "/no/where"}), fs.ErrNotExist, "mount /m: mount /no/where: no such file or directory: create it, or make the mount optional"},
		{"mount relative", mount(policy.Mount{Guest: "m", Kind: policy.KindHost, Host: "/usr"}), nil, `mounts[0].guest: "m" is relative: write an absolute path`},
		{"mount of procfs", mount(policy.Mount{Guest: "/m", Kind: policy.KindHost, Host: "/proc"}), unix.EACCES, "mount a virtual one"},
		{"mount of a device", mount(policy.Mount{Guest: "/m", Kind: policy.KindHost, Host: "/dev/null"}), unix.ENODEV, "neither a directory nor a regular file"},
		{"mount kind", mount(policy.Mount{Guest: "/m", Kind: "hots"}), nil, `"hots" is no kind: write host`},
		{"call name", func(_ *jail.Jail, p *policy.Policy) *exec.Cmd {
			p.Calls = append(p.Calls, policy.Rule{Calls: []string{"opennat"}, Action: policy.Deny})
			return exec.Command("/good")
		}, nil, `no x86-64 call is named "opennat": write openat`},
		{"what a program needs", func(_ *jail.Jail, p *policy.Policy) *exec.Cmd {
			*p = policy.Prison()
			return exec.Command("/no/program")
		}, fs.ErrNotExist, "finding what /no/program needs"},

		{"nil FS", with(func(j *jail.Jail) { j.Mounts["/nil"] = nil }), nil, "mount /nil: the fs.FS in Jail.Mounts is nil"},
		{"FS at a relative path", with(func(j *jail.Jail) { j.Mounts["rel"] = badTree() }), nil, "mount rel: it is relative"},
		{"FS missing", with(func(j *jail.Jail) { j.Mounts["/m"] = os.DirFS("/no/where") }), fs.ErrNotExist, "mount /m: "},
		{"nil Node", with(func(j *jail.Jail) { j.Nodes = map[string]vfs.Node{"/n": nil} }), nil, "the Node is nil"},
		{"handler name", with(func(j *jail.Jail) { j.Handlers = map[string]emulate.Handler{"opennat": nil} }), nil, `no system call is named "opennat"`},
		{"nil handler", with(func(j *jail.Jail) { j.Handlers = map[string]emulate.Handler{"openat": nil} }), nil, "the handler of openat is nil"},
		{"clock that panics", with(func(j *jail.Jail) { j.Clock = func() time.Time { panic("boom") } }), nil, "panic: boom"},
		{"random source that is empty", with(func(j *jail.Jail) { j.Random = strings.NewReader("") }), io.EOF, "Jail.Random: EOF: it must give bytes without end"},
		{"two clocks", func(j *jail.Jail, p *policy.Policy) *exec.Cmd {
			j.Clock, p.Time.Start = time.Now, time.Now()
			return exec.Command("/good")
		}, nil, "leave one out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := hostState()
			j, p := &jail.Jail{Mounts: map[string]fs.FS{"/": badTree()}}, empty()
			cmd := c.make(j, &p)
			proc, err := j.Spawn(cmd, p)
			if err == nil {
				t.Fatal("no error; Wait gives ", proc.Wait())
			}
			var e *jail.Error
			if !errors.As(err, &e) {
				t.Errorf("%T is no *jail.Error", err)
			}
			if c.errno != nil && !errors.Is(err, c.errno) {
				t.Errorf("%v is not %v", err, c.errno)
			}
			if text := err.Error(); !strings.HasPrefix(text, "jail: ") || !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("%q, want %q in it", text, c.want)
			}
			if left := before.leaks(); left != "" {
				t.Error("left behind:", left)
			}
		})
	}
}

// TestNotSpawned: a Process of the caller's own making is no jail.
func TestNotSpawned(t *testing.T) {
	var p jail.Process
	for name, err := range map[string]error{"Wait": p.Wait(), "Kill": p.Kill(), "Signal": p.Signal(unix.SIGTERM), "SignalGroup": p.SignalGroup(unix.SIGTERM)} {
		if err == nil || err.Error() != "jail: not spawned: use a Process that Spawn returned" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnreadableMount needs a caller who may not read everything.
func TestUnreadableMount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	p := empty()
	p.Mounts = []policy.Mount{{Guest: "/m", Kind: policy.KindHost, Host: dir}}
	proc, err := (&jail.Jail{Mounts: map[string]fs.FS{"/bin": badTree()}}).Spawn(exec.Command("/bin/good"), p)
	if err == nil {
		err = proc.Wait()
	}
	if os.Geteuid() == 0 {
		if err != nil {
			t.Errorf("as root: %v", err)
		}
	} else if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "the caller may not read it") {
		t.Error(err)
	}
}

// TestRefusedLeavesStreams: a command that is refused costs the caller nothing,
// and its standard input least of all.
func TestRefusedLeavesStreams(t *testing.T) {
	before := hostState()
	for range 3 {
		cmd := exec.Command("/good")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if _, err := jail.Spawn(cmd, empty()); err == nil {
			t.Fatal("no error")
		}
	}
	after := hostState()
	for _, fd := range []string{"0", "1", "2"} {
		if before.fds[fd] != after.fds[fd] {
			t.Errorf("descriptor %s was %q and is %q", fd, before.fds[fd], after.fds[fd])
		}
	}
}

func init() { guests["spawn where refused"] = refusedGuest }

// refusedGuest is a process of this binary that spawns a jail where the kernel
// refuses something: a system call, by a filter, or descriptors.
func refusedGuest(args []string) {
	var limit unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	switch args[0] {
	case "descriptors":
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}))
	case "nofile":
		limit = unix.Rlimit{Cur: 256, Max: 256}
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	case "nproc": // as ForkExec's vfork hears of RLIMIT_NPROC; the Go runtime's threads may go on
		check(refuseFlag(unix.SYS_CLONE, 0, unix.CLONE_VFORK, unix.EAGAIN))
	case "no filters": // as seccomp(2) is without CONFIG_SECCOMP_FILTER
		check(refuse(unix.SYS_SECCOMP, unix.EINVAL))
	case "traced":
		file := filepath.Join(os.TempDir(), "status")
		pretend(os.TempDir(), "status", "Name:\tx\nTracerPid:\t7")
		check(unix.Mount(file, "/proc/self/status", "", unix.MS_BIND, ""))
		check(refuse(unix.SYS_PTRACE, unix.EPERM))
	case "yama":
		pretend("/proc/sys/kernel", "yama/ptrace_scope", args[1])
		check(refuse(unix.SYS_PTRACE, unix.EPERM))
	default:
		check(refuse(callNumbers[args[0]], unix.EPERM))
	}
	j := &jail.Jail{Mounts: map[string]fs.FS{"/": badTree()}}
	cmd := exec.Command("/good")
	cmd.Stdin, cmd.Stdout = strings.NewReader("x"), io.Discard
	proc, err := j.Spawn(cmd, empty())
	if err == nil {
		err = proc.Wait()
	}
	fmt.Println(err)
	// Preflight says the same, of its own program.
	if found := strings.ReplaceAll(errText(jail.Preflight().Err), "/testdata/trial.elf", "/good"); found != errText(err) {
		fmt.Println("Preflight:", found)
	}
	check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) // to look
	if left := unwaited(); left != "" {
		fmt.Println("left behind:", left)
	}
}

// unwaited are this process's children.
func unwaited() string { return hostState().children }

var callNumbers = map[string]uint32{"ptrace": unix.SYS_PTRACE, "seccomp": unix.SYS_SECCOMP, "memfd_create": unix.SYS_MEMFD_CREATE,
	"process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV, "close_range": unix.SYS_CLOSE_RANGE}

// refuse makes a call fail for this process and its children.
func refuse(nr uint32, errno unix.Errno) error { return refuseFlag(nr, 0, 0, errno) }

// refuseFlag does it if the lower half of an argument has one of the flags; no
// flags: always.
func refuseFlag(nr, arg, flags uint32, errno unix.Errno) error {
	skip := uint8(0)
	if flags == 0 {
		skip = 2
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: skip, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*arg},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flags, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if e != 0 {
		return e
	}
	return nil
}

// TestHostRefuses: where the host lacks something the error says what.
func TestHostRefuses(t *testing.T) {
	for what, want := range map[string]string{
		"ptrace":            "jail: ptrace: operation not permitted: a container's seccomp profile or a security module forbids ptrace: Docker's default profile allows it",
		"seccomp":           "jail: seccomp: the host refuses it to a new process: operation not permitted: a container's seccomp profile must allow it",
		"no filters":        "jail: seccomp: the host refuses it to a new process: invalid argument: the kernel must have CONFIG_SECCOMP_FILTER",
		"nproc":             "jail: exec /good: resource temporarily unavailable: no more processes: raise RLIMIT_NPROC (ulimit -u)",
		"memfd_create":      "jail: spawn: arena: memfd_create: operation not permitted: a container's seccomp profile must allow it",
		"process_vm_readv":  "jail: exec /good: operation not permitted: the host must allow process_vm_readv and process_vm_writev",
		"process_vm_writev": "jail: exec /good: operation not permitted: the host must allow process_vm_readv and process_vm_writev",
		"descriptors":       "jail: memfd: no executable memfd (see /proc/sys/vm/memfd_noexec) and no temporary directory to execute from: memfd_create: too many open files: raise RLIMIT_NOFILE (ulimit -n)",
		"nofile":            "jail: prlimit: RLIMIT_NOFILE is 256, it must be at least 1024 (ulimit -n)",
	} {
		t.Run(what, func(t *testing.T) {
			got := native(t, guestCommand("spawn where refused", what))
			if !strings.HasPrefix(got.Stdout, want) || strings.Count(got.Stdout, "\n") != 1 || got.Err != "" {
				t.Errorf("%+v, want %q", got, want)
			}
		})
	}
}

// TestViolationOfHandler: a handler that returns a Violation forbids the call as a
// rule would.
func TestViolationOfHandler(t *testing.T) {
	noLeak(t)
	j := &jail.Jail{Handlers: map[string]emulate.Handler{"mkdir": func(*emulate.Call) (uint64, error) {
		return 0, &jail.Violation{Rule: "no directories today"}
	}}}
	got := jailed(t, j, exec.Command("/bin/sh", "-c", "cd /tmp; mkdir d; echo went on"), policy.Tool())
	if !strings.HasPrefix(got.Err, "jail: violation: process 2 called mkdir(\"") || !strings.HasSuffix(got.Err, "): no directories today") || got.Stdout != "" {
		t.Errorf("%+v", got)
	}
}
