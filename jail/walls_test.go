//go:build linux && amd64

package jail_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	callNumbers["chroot"] = unix.SYS_CHROOT
	callNumbers["landlock_create_ruleset"] = unix.SYS_LANDLOCK_CREATE_RULESET
	callNumbers["landlock_restrict_self"] = unix.SYS_LANDLOCK_RESTRICT_SELF
	callNumbers["unshare"] = unix.SYS_UNSHARE
	guests["walls"] = wallsGuest
	guests["through walls"] = throughWalls
}

// weaken makes this process a caller as args say: "refuse CALL", "limitless", "unprivileged", and "namespaceless"
// for one that has a user namespace of its own; the rest are walls to ask for.
func weaken(args []string) (j *jail.Jail) {
	j = &jail.Jail{}
	for len(args) > 0 {
		switch args[0] {
		case "refuse":
			check(refuse(callNumbers[args[1]], unix.EPERM))
			args = args[1:]
		case "limitless": // no limit is set, and none an error; they can be read
			check(refuseFlag(unix.SYS_PRLIMIT64, 2, 1<<32-1, 0))
		case "namespaceless": // of the user namespace, which is the test's
			check(os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
		case "unprivileged":
			check(syscall.Setgroups(nil))
			check(syscall.Setresgid(1, 1, 1))
			check(syscall.Setresuid(1, 1, 1))
			check(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) // /proc/self is the user's again
		default:
			j.Walls = append(j.Walls, args[0])
		}
		args = args[1:]
	}
	return j
}

// wallsGuest is a caller that compares what Walls tells with what /proc does, of a
// guest that came by execve and one that came by fork. It prints the walls that
// are up.
func wallsGuest(args []string) {
	j := weaken(args)
	cmd := exec.Command("/bin/sh", "-c", "mkfifo /tmp/f; exec /bin/sh -c '(read y < /tmp/f) & echo ready; read x'")
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	proc, err := j.Spawn(cmd, policy.Tool())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = out.Read(make([]byte, 10))
	check(err)
	time.Sleep(50 * time.Millisecond) // what execve left is gone
	guests := 0
	for _, pid := range guestProcesses(&testing.T{}) {
		if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err != nil || len(fds) == 0 {
			continue // the bell, which has no code of a guest's, or an image that execve left
		}
		guests++
		facts := wallFacts(pid)
		for _, w := range proc.Walls() {
			if fact, ok := facts[w.Name]; ok && fact != w.Up {
				fmt.Printf("%v, but not so in process %d\n", w, pid)
			}
		}
	}
	if guests != 2 {
		fmt.Println(guests, "guest processes")
	}
	for _, w := range proc.Walls() {
		if w.Up {
			fmt.Print(w.Name, " ")
		} else if w.Reason == "" {
			fmt.Println("no reason", w)
		}
	}
	fmt.Println()
	check(in.Close())
	_ = proc.Wait()
}

// wallFacts is what /proc tells of a process.
func wallFacts(pid int) map[string]bool {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(dir + "status")
	check(err)
	limits, err := os.ReadFile(dir + "limits")
	check(err)
	var st unix.Stat_t
	check(unix.Stat(dir+"status", &st))
	entries, err := os.ReadDir(dir + "root")
	check(err)
	has := func(text []byte, words string) bool {
		return strings.Contains(strings.Join(strings.Fields(string(text)), " ")+" ", words+" ")
	}
	facts := map[string]bool{
		"seccomp":      has(status, "Seccomp: 2"),
		"no-new-privs": has(status, "NoNewPrivs: 1"),
		"capabilities": has(status, "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000"),
		"nobody":       has(status, "Uid: 65534 65534 65534 65534 Gid: 65534 65534 65534 65534") && has(status, "Groups: NStgid:"),
		"rlimits":      has(limits, "Max open files 0 0") && has(limits, "Max core file size 1 1") && has(limits, "Max file size 0 0"),
		"non-dumpable": st.Uid == 0, // of /proc/PID of a process that is not root's
		"empty-root":   true,
	}
	for _, e := range entries {
		if e.Name() == "etc" {
			facts["empty-root"] = false
		}
	}
	for wall, name := range map[string]string{"user": "user", "mount": "mnt", "net": "net", "ipc": "ipc", "uts": "uts"} {
		own, err := os.Readlink("/proc/self/ns/" + name)
		check(err)
		its, err := os.Readlink(dir + "ns/" + name)
		check(err)
		facts[wall] = own != its
	}
	return facts
}

// TestWalls: what Walls tells is so in every process, however it came.
func TestWalls(t *testing.T) {
	const free = "seccomp no-new-privs capabilities "
	const up = free + "nobody rlimits non-dumpable landlock "
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	for args, want := range map[string]string{
		"":                                    up + "\n",
		"net":                                 up + "net \n",
		"mount":                               up + "mount empty-root \n",
		"user":                                up + "user \n",
		"user mount net ipc uts":              up + "user mount net ipc uts empty-root \n",
		"landlock nobody":                     up + "\n",
		"unprivileged":                        free + "rlimits landlock \n",
		"unprivileged user":                   free + "rlimits landlock user \n",
		"unprivileged net uts":                free + "rlimits landlock user net uts \n",
		"unprivileged mount":                  free + "rlimits landlock user mount empty-root \n",
		"unprivileged user mount net ipc uts": free + "rlimits landlock user mount net ipc uts empty-root \n",
		"empty-root":                          up + "empty-root \n",
		"empty-root user":                     up + "user empty-root \n",
		"unprivileged empty-root net":         free + "rlimits landlock user net empty-root \n",
		"refuse landlock_create_ruleset":      strings.Replace(up, "landlock ", "", 1) + "\n",
		"refuse landlock_restrict_self":       strings.Replace(up, "landlock ", "", 1) + "\n",
		"refuse landlock_restrict_self net":   strings.Replace(up, "landlock ", "", 1) + "net \n",

		// What was asked for and cannot be had is an error.
		"wall":                                    "jail: Jail.Walls: no wall is named \"wall\": write one of seccomp no-new-privs ",
		"unprivileged nobody":                     "jail: wall nobody: the caller is not root",
		"unprivileged non-dumpable":               "jail: wall non-dumpable: process_vm_readv of a process that is not dumpable needs CAP_SYS_PTRACE",
		"unprivileged empty-root":                 "jail: wall empty-root: chroot needs CAP_SYS_CHROOT, or the wall user\n",
		"refuse chroot empty-root":                "jail: wall empty-root: chroot: operation not permitted\n",
		"refuse unshare net":                      "jail: wall net: unshare: operation not permitted: the host must allow it: as root with",
		"refuse unshare user":                     "jail: wall user: unshare: operation not permitted: the host must allow it: as root with",
		"refuse unshare landlock ipc net":         "jail: wall net: unshare: operation not permitted: the host must allow it: as root with",
		"refuse unshare unprivileged mount":       "jail: wall mount: unshare: operation not permitted: the host must allow it: as root with",
		"refuse landlock_create_ruleset landlock": "jail: wall landlock: landlock_create_ruleset: operation not permitted: the kernel must have Landlock",
		"refuse landlock_restrict_self landlock":  "jail: wall landlock: landlock_restrict_self: operation not permitted\n",

		// Where nobody may make user namespaces, as an ordinary user.
		"namespaceless unprivileged":            free + "rlimits landlock \n",
		"namespaceless unprivileged landlock":   free + "rlimits landlock \n",
		"namespaceless unprivileged user":       "jail: wall user: unshare: no space left on device: raise the limits of /proc/sys/user/max_*_namespaces\n",
		"namespaceless unprivileged mount":      "jail: wall mount: unshare: no space left on device: raise the limits",
		"namespaceless unprivileged net":        "jail: wall net: unshare: no space left on device: raise the limits",
		"namespaceless unprivileged ipc":        "jail: wall ipc: unshare: no space left on device: raise the limits",
		"namespaceless unprivileged uts":        "jail: wall uts: unshare: no space left on device: raise the limits",
		"namespaceless unprivileged empty-root": "jail: wall empty-root: chroot needs CAP_SYS_CHROOT, or the wall user\n",
		"namespaceless unprivileged nobody":     "jail: wall nobody: the caller is not root",
	} {
		t.Run(args, func(t *testing.T) {
			cmd := guestCommand("walls", strings.Fields(args)...)
			if strings.HasPrefix(args, "namespaceless") {
				ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 2}}
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
				if err := exec.Command("unshare", "-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces").Run(); err != nil {
					skip(t, "no user namespace to forbid others in")
				}
			}
			got := native(t, cmd)
			if !strings.HasPrefix(got.Stdout, want) || strings.Count(got.Stdout, "\n") != 1 || got.Err != "" {
				t.Errorf("%+v, want %q", got, want)
			}
		})
	}
}

// throughWalls is a caller whose handlers let the kernel do what a guest asks of
// the host's files, as only a bug of ours could: only second walls are left. The
// guest is this binary.
func throughWalls(args []string) {
	dir := args[0]
	if os.Getenv("INSIDE") != "" { // the guest: first as it was spawned, then as it came by execve
		for _, name := range []string{"open", "mkdir"} {
			path := filepath.Join(dir, os.Getenv("INSIDE"))
			var err error
			if name == "mkdir" {
				err = unix.Mkdir(path, 0o777)
			} else {
				_, err = unix.Open(dir, unix.O_RDONLY, 0)
			}
			fmt.Println(name, err)
		}
		if os.Getenv("INSIDE") == "1" {
			exe, err := os.Executable()
			check(err)
			check(syscall.Exec(exe, os.Args, []string{guestVar + "=through walls", "INSIDE=2"}))
		}
		return
	}
	j := weaken(args[1:])
	j.Handlers = make(map[string]emulate.Handler)
	for call, at := range map[string]int{"openat": 1, "mkdirat": 1} {
		next := emulate.HandlerOf(call)
		j.Handlers[call] = func(c *emulate.Call) (uint64, error) {
			if path, err := c.Path(at); err != nil || !strings.HasPrefix(path, dir) {
				return next(c)
			}
			return c.Kernel()
		}
	}
	exe, err := os.Executable()
	check(err)
	cmd := exec.Command(exe, dir)
	cmd.Env = []string{guestVar + "=through walls", "INSIDE=1"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	proc, err := j.Spawn(cmd, policy.Overlay())
	check(err)
	if err := proc.Wait(); err != nil {
		fmt.Println(err)
	}
}

// TestThroughWalls: where the first wall is open by mistake the others hold, each
// alone; where none is left the kernel does what the guest asks.
func TestThroughWalls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const landlock = "refuse landlock_create_ruleset "
	for args, want := range map[string][2]error{
		"":                                {unix.EMFILE, unix.EACCES},
		"limitless":                       {unix.EACCES, unix.EACCES}, // Landlock alone
		landlock:                          {unix.EMFILE, nil},         // the limit alone
		landlock + "limitless":            {nil, nil},
		landlock + "limitless empty-root": {unix.ENOENT, unix.ENOENT},
		landlock + "limitless mount":      {unix.ENOENT, unix.ENOENT},
	} {
		t.Run(args, func(t *testing.T) {
			dir, err := os.MkdirTemp("/tmp", "walls")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			got := native(t, guestCommand("through walls", append([]string{dir}, strings.Fields(args)...)...))
			once := fmt.Sprintf("open %v\nmkdir %v\n", want[0], want[1])
			if got != (result{Stdout: once + once}) {
				t.Errorf("%+v, want %q twice", got, once)
			}
			for _, name := range []string{"1", "2"} {
				if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != (want[1] == nil) || err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the host's directory %s: %v", name, err)
				}
			}
		})
	}
}
