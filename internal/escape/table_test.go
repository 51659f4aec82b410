//go:build linux && amd64

package escape_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

var escapes = []escape{
	// Files.
	{guest: "open", of: "every sandbox that names files"},
	{guest: "openat2", of: "filters that forgot a variant of open"},
	{guest: "dotdot", of: "path prefixes", control: prefixed},
	{guest: "long_path", of: "fixed buffers", control: handler("openat", func(a *attempt, c *emulate.Call) (uint64, error) {
		var path [unix.PathMax]byte
		for i := range 2 * uint64(len(path)) {
			if err := c.Read(c.Addr(1)+i, path[i:i+1]); err != nil {
				return 0, err
			}
		}
		return 0, unix.ENAMETOOLONG
	})},
	{guest: "proc_links", of: "/proc/self/root and cwd"},
	{guest: "symlink", of: "docker cp, CVE-2018-15664: the host follows the guest's links", with: func(a *attempt) {
		a.after = func(tree fs.FS) []string {
			if tree == nil {
				return nil
			}
			text, _ := fs.ReadFile(tree, strings.TrimPrefix(a.share, "/")+"/link")
			return a.secrets("the caller reads in the guest's tree", text)
		}
	}},
	{guest: "hardlink", of: "links out of a writable mount"},
	{guest: "swapped", of: "runc, CVE-2021-30465: a directory becomes a link", with: func(a *attempt) {
		link, dir := a.share+"/swap", a.share+"/away"
		a.check(os.MkdirAll(dir, 0o777))
		a.check(os.WriteFile(dir+"/secret", []byte("none"), 0o644))
		a.meanwhile = func() string {
			_ = os.Rename(dir, link)
			_ = os.Rename(link, dir)
			_ = os.Symlink(a.out, link)
			_ = os.Remove(link)
			return ""
		}
	}},
	{guest: "moved", of: "chroot and bind mounts: a directory moves out under \"..\"", with: func(a *attempt) {
		in, out := a.share+"/deep/dir", a.out+"/dir"
		a.check(os.MkdirAll(in, 0o777))
		a.check(os.WriteFile(a.share+"/deep/secret", []byte("none"), 0o644))
		a.meanwhile = func() string {
			_ = os.Rename(in, out)
			time.Sleep(100 * time.Microsecond)
			_ = os.Rename(out, in)
			time.Sleep(100 * time.Microsecond)
			return ""
		}
	}},
	{guest: "path_twice", of: "filters that look at a path which another thread changes", control: handler("chmod",
		func(a *attempt, c *emulate.Call) (uint64, error) {
			if path, err := c.Path(0); err != nil || !strings.HasPrefix(path, a.share) {
				return 0, unix.EACCES
			}
			_ = c.Wait(c.Sys.After(time.Millisecond))
			return c.Kernel()
		})},
	{guest: "leaked_file", of: "inherited descriptors"},
	{guest: "leaked_dir", of: "runc, CVE-2024-21626: a directory left open"},
	{guest: "self_exe", of: "runc, CVE-2019-5736: the program overwrites itself", with: func(a *attempt) {
		a.cmd.Path = a.given + "/mine"
		for _, name := range []string{"mine", "tool"} {
			text, err := os.ReadFile(a.program)
			a.check(err)
			a.check(os.WriteFile(a.given+"/"+name, text, 0o755))
			a.check(os.Chmod(a.given+"/"+name, 0o777)) // only the mount is in the way
		}
		a.belongs(a.uid)
	}},
	{guest: "readonly", of: "Dirty COW, CVE-2016-5195, and Dirty Pipe, CVE-2022-0847; its control may write", with: func(a *attempt) {
		a.after = func(tree fs.FS) []string {
			if tree == nil {
				return nil
			}
			if got := a.show(a.given + "/a"); !strings.HasPrefix(got, "for all to read") {
				return []string{"another jail reads " + got}
			}
			return nil
		}
	}},
	{guest: "setid", of: "volumes: a program that acts as the caller", with: special},
	{guest: "mknod", of: "volumes: a device", with: special, control: asCaller, why: needs(unix.CAP_MKNOD, "CAP_MKNOD")},
	{guest: "handle", of: "Docker, \"shocker\": open_by_handle_at", with: func(a *attempt) {
		if h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, a.file, 0); err == nil {
			a.cmd.Env = append(a.cmd.Env, "HANDLE="+hex.EncodeToString(h.Bytes()), fmt.Sprint("HANDLETYPE=", h.Type()))
		}
	}, control: asCaller, why: either(needs(unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"), func(h *prey) string {
		if _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, h.file, 0); err != nil {
			return "name_to_handle_at: " + err.Error()
		}
		return ""
	})},
	{guest: "chroot", of: "chroot(2) itself; its control begins in one", control: func(a *attempt) {
		cell := a.base + "/cell"
		a.check(os.Mkdir(cell, 0o755))
		text, err := os.ReadFile(a.program)
		a.check(err)
		a.check(os.WriteFile(cell+"/escape", text, 0o755))
		a.cmd.Path, a.cmd.SysProcAttr = "/escape", &syscall.SysProcAttr{Chroot: cell}
	}, why: needs(unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT")},
	{guest: "core", of: "PR_SET_DUMPABLE", why: func(*prey) string {
		if pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); strings.ContainsAny(string(pattern), "|/") {
			return fmt.Sprintf("cores go to %q", pattern)
		}
		return ""
	}},

	// Processes.
	{guest: "first", of: "programs executed before the filter is on"},
	{guest: "memfd", of: "memfd_create and execveat: a program without a name"},
	{guest: "exec_threads", of: "execve races of a thread group"},
	{guest: "kill", of: "signals"},
	{guest: "kill_all", of: "signals to pid -1", why: onlyRoot},
	{guest: "sigqueue", of: "signals"},
	{guest: "pidfd_signal", of: "signals by descriptor"},
	{guest: "setown", of: "signals by F_SETOWN"},
	{guest: "prlimit", of: "limits of another process"},
	{guest: "ptrace", of: "ptrace", why: yama},
	{guest: "vm_read", of: "process_vm_readv", why: yama},
	{guest: "proc_mem", of: "/proc/pid/mem", why: yama},
	{guest: "proc_environ", of: "/proc/pid/environ"},
	{guest: "proc_fd", of: "/proc/pid/fd"},
	{guest: "pidfd_getfd", of: "pidfd_getfd", why: either(yama, offers(unix.SYS_PIDFD_GETFD, ^uintptr(0)))},
	{guest: "warden_read", of: "the tracer's own memory", control: asCaller, why: yama},
	{guest: "warden_write", of: "the tracer's own memory", control: asCaller, why: yama},
	{guest: "unshare", of: "CLONE_NEWUSER, the way to a kernel's rarer bugs", control: asCaller, why: userNamespaces},
	{guest: "clone_newuser", of: "CLONE_NEWUSER by clone", control: asCaller, why: userNamespaces},
	{guest: "clone3_newuser", of: "CLONE_NEWUSER by clone3, which no filter sees", control: asCaller, why: userNamespaces},
	{guest: "untraced", of: "CLONE_UNTRACED", with: later},
	{guest: "daemon", of: "setsid and setpgid out of the waited group", with: later},
	{guest: "set_mm", of: "PR_SET_MM"},
	{guest: "listener", of: "a seccomp listener of the guest's own; its control has a filter already", control: func(a *attempt) {
		a.cmd.Env = append(a.cmd.Env, "WEAK=1")
	}},

	// The kernel.
	{guest: "x32", of: "filters that compare numbers with those of x86-64", with: hasX32, control: func(a *attempt) {
		a.cmd.Env = append(a.cmd.Env, "WEAK=1")
	}},
	{guest: "int80", of: "i386 numbers"},
	{guest: "compat", of: "i386 numbers in the processor's own mode"},
	{guest: "vsyscall", of: "vsyscall", with: func(a *attempt) {
		a.policy.Time.Start = time.Unix(1e9, 0)
	}, why: func(*prey) string {
		if maps, _ := os.ReadFile("/proc/self/maps"); !strings.Contains(string(maps), "[vsyscall]") {
			return "the kernel has none"
		}
		return ""
	}},
	{guest: "io_uring", of: "io_uring, around all filters", why: offers(unix.SYS_IO_URING_SETUP)},
	{guest: "userfaultfd", of: "userfaultfd, which stops the kernel midway", why: offers(unix.SYS_USERFAULTFD, 0xff)},
	{guest: "bpf", of: "bpf", control: asCaller, why: either(needs(unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), offers(unix.SYS_BPF, 0xff))},
	{guest: "perf", of: "perf_event_open", why: either(yama, offers(unix.SYS_PERF_EVENT_OPEN), setting("kernel/perf_event_paranoid", 2))},
	{guest: "keyctl", of: "keyrings", why: func(h *prey) string {
		if !strings.Contains(strings.Join(h.env, "\n"), "\nKEY=") {
			return "add_key is refused"
		}
		return ""
	}},
	{guest: "kexec", of: "kexec", control: handler("kexec_load", func(*attempt, *emulate.Call) (uint64, error) { return 0, nil })},
	{guest: "module", of: "kernel modules", control: handler("init_module", func(*attempt, *emulate.Call) (uint64, error) {
		return 0, unix.ENOEXEC
	})},
	{guest: "mount", of: "mount", control: func(a *attempt) {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}, why: needs(unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN")},
	{guest: "helper", of: "cgroups' release_agent, CVE-2022-0492: a program that the kernel runs as root", control: asCaller,
		why: func(*prey) string {
			if err := unix.Access("/proc/sys/kernel/core_pattern", unix.W_OK); err != nil {
				return "core_pattern: " + err.Error()
			}
			return ""
		}},
	{guest: "sysv_shm", of: "System V IPC"},
	{guest: "mqueue", of: "POSIX message queues"},

	// Sockets.
	{guest: "tcp", of: "the host's loopback"},
	{guest: "udp", of: "the host's loopback"},
	{guest: "unix_path", of: "sockets with a path"},
	{guest: "unix_abstract", of: "containerd, CVE-2020-15257: abstract sockets"},
	{guest: "vsock", of: "families that filters forgot", why: offers(unix.SYS_SOCKET, unix.AF_VSOCK, 99)},
	{guest: "sockaddr_twice", of: "filters that look at an address which another thread changes", with: func(a *attempt) {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		a.check(err)
		a.t.Cleanup(func() { _ = l.Close() })
		at := l.Addr().(*net.TCPAddr).Port
		a.cmd.Env = append(a.cmd.Env, fmt.Sprint("ALLOWED=", at))
		a.policy.Net.Allow = []string{fmt.Sprint("localhost:", at)}
	}, control: handler("connect", func(a *attempt, c *emulate.Call) (uint64, error) {
		var family, checked, port [2]byte
		if err := c.Read(c.Addr(1), family[:]); err != nil || family[0] != unix.AF_INET {
			return 0, unix.EACCES
		}
		if err := c.Read(c.Addr(1)+2, checked[:]); err != nil || int(binary.BigEndian.Uint16(checked[:])) == a.tcp.Addr().(*net.TCPAddr).Port {
			return 0, unix.EACCES
		}
		_ = c.Wait(c.Sys.After(time.Millisecond))
		if err := c.Read(c.Addr(1)+2, port[:]); err != nil {
			return 0, err
		}
		return 0, c.Go(func() error {
			conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", binary.BigEndian.Uint16(port[:])))
			if err == nil {
				err = conn.Close()
			}
			return err
		}, nil)
	})},
	{guest: "rights_given", of: "descriptors passed by SCM_RIGHTS", with: func(a *attempt) {
		name := fmt.Sprint("giver-", os.Getpid())
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@" + name, Net: "unix"})
		a.check(err)
		secret, err := os.Open(a.file)
		a.check(err)
		a.t.Cleanup(func() { _, _ = l.Close(), secret.Close() })
		a.cmd.Env = append(a.cmd.Env, "GIVER="+name)
		a.meanwhile = func() string {
			_ = l.SetDeadline(time.Now().Add(10 * time.Millisecond))
			c, err := l.AcceptUnix()
			if err != nil {
				return ""
			}
			defer c.Close()
			_, _, _ = c.WriteMsgUnix([]byte("x"), unix.UnixRights(int(secret.Fd())), nil)
			return "a connection"
		}
	}},
	{guest: "rights_taken", of: "descriptors passed by SCM_RIGHTS, by numbers that the kernel knows"},

	// Numbers.
	{guest: "descriptors", of: "descriptor numbers at 2^31"},
	{guest: "vectors", of: "iovec counts and lengths that overflow", control: handler("readv", func(_ *attempt, c *emulate.Call) (uint64, error) {
		var v [2]uint64
		if err := c.ReadValue(c.Addr(1), &v); err != nil {
			return 0, err
		}
		p := make([]byte, v[1])
		return 0, c.Write(v[0], p)
	})},
	{guest: "lengths", of: "a zero-length and a 2^63 read", control: handler("read", func(_ *attempt, c *emulate.Call) (uint64, error) {
		p := make([]byte, c.Size(2))
		return 0, c.Write(c.Addr(1), p)
	})},

	// The terminal.
	{guest: "tiocsti", of: "bubblewrap, CVE-2017-5226: TIOCSTI", with: terminal, control: asCaller, why: typing},
	{guest: "tiocsti_high", of: "Flatpak, CVE-2019-10063: TIOCSTI with an upper half", with: terminal, control: asCaller, why: typing},
	{guest: "pts", of: "another's terminal by its name", with: func(a *attempt) {
		terminal(a)
		a.cmd.Stdin, a.jail.Terminal = nil, nil
	}},

	// The library's own.
	{guest: "arena", of: "descriptors that guest processes have on the host", with: func(a *attempt) { a.show(a.file) }},
	{guest: "grow", of: "slots of a file that lie side by side; so they do in its control", with: func(a *attempt) {
		a.cmd.Env = append(a.cmd.Env, "STEP=0x200000000000")
		a.show(a.given+"/a", a.file)
	}, control: func(a *attempt) {
		a.cmd.Env = append(a.cmd.Env, "STEP=4096")
		a.check(os.WriteFile(a.given+"/a", []byte("mine"+strings.Repeat("\x00", 4092)+a.secret), 0o600))
	}},
	{guest: "swap", of: "calls that are made again where other code is by then", with: func(a *attempt) {
		a.jail.Handlers = map[string]emulate.Handler{"getcpu": func(c *emulate.Call) (uint64, error) {
			if _, err := c.Kernel(); err != nil {
				return 0, err
			}
			_ = c.Wait(c.Sys.After(500 * time.Millisecond))
			return c.Kernel()
		}}
	}},
	{guest: "ignore", of: "calls that the kernel makes again after a signal", control: func(a *attempt) {
		a.cmd.Env = append(a.cmd.Env, "WEAK=1")
	}},
	{guest: "closed", of: "descriptors that are closed while they are in use", with: func(a *attempt) {
		name := a.base + "/input"
		a.check(os.WriteFile(name, nil, 0o644))
		a.check(os.Truncate(name, 64<<20))
		in, err := os.Open(name)
		a.check(err)
		a.t.Cleanup(func() { _ = in.Close() })
		a.cmd.Stdin = in
		a.meanwhile = func() string {
			others := make([]*os.File, rand.N(64)) // now more than there were when the guest's was opened, now less
			for i := range others {
				others[i], _ = os.Open(a.out + "/secret")
			}
			time.Sleep(200 * time.Microsecond)
			for _, f := range others {
				_ = f.Close()
			}
			return ""
		}
	}, control: handler("read", func(a *attempt, c *emulate.Call) (uint64, error) {
		if c.FD(0) != 0 {
			return emulate.HandlerOf("read")(c)
		}
		in, err := os.Open(a.base + "/input")
		a.check(err)
		fd, n, p := int(in.Fd()), 0, make([]byte, 100)
		a.check(in.Close()) // as if for the other thread
		for i := 0; i < 20 && n <= 0; i++ {
			_ = c.Wait(c.Sys.After(time.Millisecond))
			n, _ = unix.Pread(fd, p, 0)
		}
		return uint64(max(n, 0)), c.Write(c.Addr(1), p[:max(n, 0)])
	})},
	{guest: "held", of: "supervisors that wait for one guest while others ask", with: stuck,
		control: handler("write", func(a *attempt, c *emulate.Call) (uint64, error) {
			if c.FD(0) != 0 {
				return emulate.HandlerOf("write")(c)
			}
			n, err := a.cmd.Stdin.(*os.File).Write(make([]byte, c.Size(2)))
			return uint64(n), err
		})},
}
