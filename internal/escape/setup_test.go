//go:build linux && amd64

package escape_test

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

// handler makes a control a jail under Tool, with a handler such as one should not
// write.
func handler(call string, do func(*attempt, *emulate.Call) (uint64, error)) func(*attempt) {
	return func(a *attempt) {
		a.imprison(policy.Tool())
		a.belongs(nobody)
		a.policy.Calls = append([]policy.Rule{{Calls: []string{call}, Action: policy.Emulate}}, a.policy.Calls...)
		a.jail.Handlers = map[string]emulate.Handler{call: func(c *emulate.Call) (uint64, error) { return do(a, c) }}
	}
}

// prefixed makes a control a jail that sees the host's files, of which a handler
// lets it open those that begin right.
func prefixed(a *attempt) {
	handler("openat", func(a *attempt, c *emulate.Call) (uint64, error) {
		if path, err := c.Path(1); err != nil || !strings.HasPrefix(path, a.given) {
			return 0, unix.EACCES
		}
		return emulate.HandlerOf("openat")(c)
	})(a)
	a.policy.Mounts = []policy.Mount{{Guest: "/", Kind: policy.KindHost, Host: "/"}}
	a.policy.Identity.UID = uint32(a.uid)
}

// asCaller makes a control the caller's own process.
func asCaller(a *attempt) { a.cmd.SysProcAttr = &syscall.SysProcAttr{} }

// x32Bit marks the numbers of x32 (__X32_SYSCALL_BIT in asm/unistd.h).
const x32Bit = 0x40000000

// standsForX32 makes calls of x32 give EBADRQC, which chmod(2) never does, in this
// process and those that it will have.
var standsForX32 = sync.OnceValue(func() error {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 1<<31 | x32Bit},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: x32Bit, Jf: 1},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EBADRQC)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if tid != 0 {
		return fmt.Errorf("seccomp: %d %v", int(tid), errno)
	}
	return nil
})

// hasX32 makes the host's kernel one that has x32. If it has none (CONFIG_X86_X32), a
// filter answers for it, unless a filter that the guest has beside it gives an answer
// or kills: then that decides (seccomp(2): of equal actions the latest filter's).
func hasX32(a *attempt) {
	if _, _, errno := unix.Syscall(x32Bit|unix.SYS_GETPID, 0, 0, 0); errno != 0 {
		a.check(standsForX32())
		a.cmd.Env = append(a.cmd.Env, fmt.Sprintf("X32=%d", unix.EBADRQC))
	}
}

// later gives what may have outlived the jail time to show.
func later(a *attempt) {
	a.after = func(fs.FS) []string {
		time.Sleep(50 * time.Millisecond)
		return nil
	}
}

// special looks for files in the shared directory that nobody should have left there.
func special(a *attempt) {
	a.after = func(fs.FS) (list []string) {
		a.check(filepath.Walk(a.share, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice) != 0 {
				list = append(list, fmt.Sprintf("%s: %v", info.Name(), info.Mode()))
			}
			return err
		}))
		return list
	}
}

// newTerminal makes standard input a terminal of the host's, which is the jail's, too.
func newTerminal(a *attempt) (master, tty *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	a.check(err)
	control, err := master.SyscallConn() // Fd would make it blocking
	a.check(err)
	var n int
	a.check(control.Control(func(fd uintptr) {
		a.check(unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	}))
	a.check(err)
	name := fmt.Sprint("/dev/pts/", n)
	tty, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	a.check(err)
	a.check(os.Chmod(name, 0o666))
	a.t.Cleanup(func() { _, _ = master.Close(), tty.Close() })
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	a.check(err)
	mode.Lflag &^= unix.ICANON | unix.ECHO
	a.check(unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode))
	a.cmd.Env = append(a.cmd.Env, "PTS="+name)
	a.cmd.Stdin, a.jail.Terminal = tty, tty
	return master, tty
}

// stuck has a terminal from which nobody reads what is shown, until that has held
// whoever waits for it long enough to be seen.
func stuck(a *attempt) {
	master, _ := newTerminal(a)
	_, err := master.WriteString("x")
	a.check(err)
	time.AfterFunc(7*time.Second, func() { _, _ = io.Copy(io.Discard, master) })
}

// terminal looks for what was typed and shown at the guest's.
func terminal(a *attempt) {
	master, tty := newTerminal(a)
	a.after = func(fs.FS) (list []string) {
		fds := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLIN}, {Fd: int32(master.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, 20) // what is written gets to the other side a little later
		a.check(err)
		for i, what := range []string{"typed", "shown"} {
			if fds[i].Revents != 0 {
				list = append(list, "something was "+what+" on the host's terminal")
			}
		}
		return list
	}
}

// show has another jail map files, and is what they begin with.
func (a *attempt) show(files ...string) string {
	p := a.bounded(policy.Tool())
	for _, f := range files {
		p.Mounts = append(p.Mounts, policy.Mount{Guest: f, Kind: policy.KindHost, Host: f, Frozen: true})
	}
	p.Identity.UID = uint32(a.uid)
	r, _ := run(a.t, &jail.Jail{}, exec.Command(a.program, "show", strings.Join(files, ":")), p)
	if r.err != "" || r.stdout == "" {
		a.t.Fatalf("show %v: %+v", files, r)
	}
	return r.stdout
}

// secrets is what was found, if the secret is in text.
func (a *attempt) secrets(what string, text []byte) []string {
	if !strings.Contains(string(text), a.secret) {
		return nil
	}
	return []string{what + " the secret"}
}

// Why a control may not get out.
var (
	yama     = setting("kernel/yama/ptrace_scope", 0)
	typing   = needs(unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN")
	onlyRoot = func(*prey) string {
		if os.Geteuid() != 0 {
			return "not root, so it would be this user"
		}
		return ""
	}
	userNamespaces = func(*prey) string {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		if err := cmd.Run(); err != nil {
			return "user namespaces: " + err.Error()
		}
		return ""
	}
)

// needs is why a control cannot get out if this process has not a capability.
func needs(capability int, name string) func(*prey) string {
	return func(*prey) string {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&hdr, &sets[0]); err != nil || sets[capability/32].Effective&(1<<(capability%32)) == 0 {
			return "the caller has no " + name
		}
		return ""
	}
}

// offers is why not if the host has no such call, or refuses it: with these
// arguments it would fail otherwise.
func offers(nr uintptr, args ...uintptr) func(*prey) string {
	return func(*prey) string {
		a := append(args, make([]uintptr, 6-len(args))...)
		_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == unix.ENOSYS || errno == unix.EPERM || errno == unix.EAFNOSUPPORT {
			return fmt.Sprintf("call %d: %v", nr, errno)
		}
		return ""
	}
}

// either is the first reason there is.
func either(whys ...func(*prey) string) func(*prey) string {
	return func(h *prey) string {
		for _, why := range whys {
			if s := why(h); s != "" {
				return s
			}
		}
		return ""
	}
}

// setting is why not if a file of /proc/sys says more than most.
func setting(name string, most int) func(*prey) string {
	return func(*prey) string {
		text, _ := os.ReadFile("/proc/sys/" + name)
		n := 0
		if _, err := fmt.Sscan(string(text), &n); err == nil && n > most {
			return fmt.Sprintf("%s is %d", name, n)
		}
		return ""
	}
}
