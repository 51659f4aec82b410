//go:build linux && amd64

package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"oubliette/policy"
)

var (
	//go:embed guest/c/worker.c
	sourceC string
	//go:embed guest/python/worker.py
	sourcePython string
	//go:embed guest/go/worker.go
	sourceGo string
)

// language is how a worker is started and what it may do: two policies. start
// holds until the first read of descriptor 0, so before the worker has heard of any
// request; serve holds from then on.
type language struct {
	name         string
	args         []string
	env          []string
	start, serve policy.Policy
}

// newLanguage joins the rules every worker has with a language's own: for serving,
// and besides those for starting.
func newLanguage(name string, serve, start []policy.Rule, mounts ...policy.Mount) *language {
	const int32Bits = 0xffffffff
	serve = append([]policy.Rule{
		{Calls: []string{"read"}, When: []policy.Condition{{Arg: 0, Mask: int32Bits, Op: "==", Value: 0}},
			Action: policy.Emulate, Reason: "the next request, whole"},
		{Calls: []string{"write"}, When: []policy.Condition{{Arg: 0, Mask: int32Bits, Op: "==", Value: 1}},
			Action: policy.Emulate, Reason: "its response, whole"},
		native("exit_group")[0],
	}, serve...)
	p := policy.Policy{Calls: serve, Mounts: mounts,
		Limits:   policy.Limits{Memory: 512 << 20, Tasks: 16, Files: 16, Disk: 1 << 20},
		Identity: policy.Identity{UID: 1000, GID: 1000}}
	l := &language{name: name, serve: p, start: p}
	l.start.Calls = slices.Concat(serve, start)
	return l
}

// native are the rules of policy.Native for some calls.
func native(names ...string) (rules []policy.Rule) {
	for _, r := range policy.Native() {
		r.Calls = slices.DeleteFunc(r.Calls, func(c string) bool { return !slices.Contains(names, c) })
		if len(r.Calls) > 0 {
			rules = append(rules, r)
		}
	}
	return rules
}

// emulated is a rule for calls that the library answers, out of the jail's own
// world.
func emulated(reason string, names ...string) policy.Rule {
	return policy.Rule{Calls: names, Action: policy.Emulate, Reason: reason}
}

// names are the calls that stop in one policy or the other.
func (l *language) names() (names []string) {
	for _, r := range l.start.Calls {
		names = append(names, r.Calls...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// jailed is the policy of the jail: what both policies let run natively does, what
// one of them names is decided when it comes, by worker.guarded, and all else kills.
func (l *language) jailed() policy.Policy {
	p := l.start
	p.Calls = slices.DeleteFunc(slices.Clone(l.serve.Calls), func(r policy.Rule) bool { return r.Action == policy.Emulate })
	p.Calls = append(p.Calls, emulated("decided by handlers", l.names()...))
	return p
}

// command is a new worker.
func (l *language) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.args[0], l.args[1:]...)
	cmd.Env = l.env
	return cmd
}

// build makes the workers of all languages that this host has, in dir, and says
// why there are no others.
func build(dir string) (made []*language, missing []error) {
	for _, fn := range []func(string) (*language, error){newC, newPython, newGo} {
		l, err := fn(dir)
		if err != nil {
			missing = append(missing, err)
		} else {
			made = append(made, l)
		}
	}
	return made, missing
}

// newC: what a static glibc does before main, and then three calls in all.
func newC(dir string) (*language, error) {
	program, err := compile(dir, "worker.c", sourceC, "gcc", "-O1", "-w", "-static", "-o")
	if err != nil {
		return nil, fmt.Errorf("no worker in C: %w", err)
	}
	l := newLanguage("c", nil, append(native("brk", "mprotect", "arch_prctl", "set_robust_list", "rseq"),
		emulated("a static program of glibc", "set_tid_address", "prlimit64", "readlink", "readlinkat", "getrandom", "newfstatat", "uname")),
		policy.Mount{Guest: "/worker", Kind: policy.KindHost, Host: program, Frozen: true})
	l.args = []string{"/worker"}
	return l, nil
}

// newGo: the runtime has threads of its own and sleeps.
func newGo(dir string) (*language, error) {
	program, err := compile(dir, "worker.go", sourceGo, "go", "build", "-o")
	if err != nil {
		return nil, fmt.Errorf("no worker in Go: %w", err)
	}
	thread := emulated("threads, no processes", "clone")
	const cloneThread = 0x10000
	thread.When = []policy.Condition{{Arg: 0, Mask: cloneThread, Op: "==", Value: cloneThread}}
	l := newLanguage("go", append(native("mmap", "munmap", "madvise", "futex", "rt_sigprocmask", "sigaltstack", "rt_sigreturn", "sched_yield", "exit"),
		thread, emulated("a new thread asks for its number", "gettid"), emulated("the scheduler's naps", "nanosleep")),
		append(native("brk", "mprotect", "arch_prctl", "rt_sigaction"),
			emulated("the runtime looks at its machine", "sched_getaffinity", "openat", "close", "prlimit64", "fcntl", "prctl", "rt_sigaction")),
		policy.Mount{Guest: "/worker", Kind: policy.KindHost, Host: program, Frozen: true},
		policy.Mount{Guest: "/dev", Kind: policy.KindDev})
	l.args = []string{"/worker"}
	// Its threads send each other no signals, and it gives its memory no names.
	l.env = []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,decoratemappings=0"}
	return l, nil
}

// compile gives a compiler a source and returns the program.
func compile(dir, name, source string, args ...string) (string, error) {
	if _, err := exec.LookPath(args[0]); err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	program := strings.ReplaceAll(file, ".", "-")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command(args[0], append(args[1:], program, file)...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return program, nil
}

// newPython: the interpreter reads its library, which it sees and nothing else.
func newPython(string) (*language, error) {
	program, where := "", []byte(nil)
	err := errors.New("there is no python3")
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		where, err = exec.Command(name, "-ISc", "import os, sys; print('\\n'.join(os.path.realpath(p) for p in [sys.executable] + sys.path))").Output()
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no worker in Python: %w", err)
	}
	mounts := []policy.Mount{
		{Guest: "/", Kind: policy.KindProgram},
		{Guest: "/dev", Kind: policy.KindDev},
		{Guest: "/worker.py", Kind: policy.KindText, Text: sourcePython},
	}
	for i, path := range strings.Split(string(bytes.TrimSpace(where)), "\n") {
		if i == 0 {
			program = path
		} else if !slices.ContainsFunc(mounts, func(m policy.Mount) bool { return strings.HasPrefix(path, m.Guest+"/") }) {
			mounts = append(mounts, policy.Mount{Guest: path, Kind: policy.KindHost, Host: path, Frozen: true, Optional: true})
		}
	}
	l := newLanguage("python", append(native("brk", "mmap", "munmap"), emulated("a larger piece of memory", "mremap")),
		append(native("mprotect", "arch_prctl", "set_robust_list", "rseq", "rt_sigaction", "futex", "rt_sigprocmask", "sigaltstack"),
			emulated("the interpreter reads its library", "openat", "close", "read", "pread64", "lseek", "mmap", "fstat", "newfstatat",
				"stat", "lstat", "readlink", "getdents64", "access", "fcntl", "ioctl", "dup", "getcwd"),
			emulated("it looks at its world", "set_tid_address", "prlimit64", "getrandom", "getuid", "geteuid", "getgid", "getegid",
				"gettid", "getpid", "sysinfo", "uname", "rt_sigaction"),
			emulated("complaints", "write", "writev")), mounts...)
	l.args = []string{program, "-ISB", "/worker.py"}
	return l, nil
}
