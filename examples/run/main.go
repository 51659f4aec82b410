//go:build linux && amd64

// Command run runs a program in a jail.
//
//	run [flags] -- command [args…]
//
// Standard input, output and error are connected. Started in the foreground of a
// terminal, with both input and output there, it is interactive: the program has
// a terminal of its own, with job control, that is connected to it; but not with -record,
// which takes the terminal for a file. The exit status is the program's, 128+n if signal
// n ended it, and 125 for a refusal or failure of run's own, with the reason on standard
// error.
//
//	run -replay FILE
//
// runs again what run -record FILE has recorded, with nothing but that file.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// failure is the exit status for what is not the program's doing.
const failure = 125

func main() {
	if err := jail.QuietStops(); err != nil { // this program waits for nothing but its jail
		fmt.Fprintln(os.Stderr, "run:", err)
	}
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
	}
	os.Exit(status)
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// options are the flags.
type options struct {
	policy, dir, hostname, net, start, trace, stats, learn, audit string
	record, replay                                                string
	overlay, changes, explain, print                              bool
	ro, rw, env, allow, publish                                   list
	uid                                                           int
	limits                                                        policy.Limits
	seed                                                          string
}

func parse(args []string) (o options, command []string, err error) {
	f := flag.NewFlagSet("run [flags] -- command [args…]", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.policy, "policy", "", "policy: a JSON `FILE`, or the name of a preset: strict, prison, tool (the default), server, overlay")
	f.BoolVar(&o.overlay, "overlay", false, "the caller's whole world under an in-memory layer that is dropped at exit; with -policy its directory and environment only")
	f.Var(&o.ro, "ro", "mount a host directory read-only: `HOST[:GUEST]` (repeatable)")
	f.Var(&o.rw, "rw", "mount a host directory for writing: `HOST[:GUEST]` (repeatable); what is the caller's there is the guest's")
	f.StringVar(&o.dir, "C", "", "working `DIR`ectory")
	f.Var(&o.env, "env", "environment variable `K=V` (repeatable)")
	f.StringVar(&o.hostname, "hostname", "", "host `NAME`")
	f.IntVar(&o.uid, "uid", -1, "user and group id `N`")
	f.StringVar(&o.net, "net", "none", "network: `none` but the jail's own loopback, or host: dial out through the host")
	f.Var(&o.allow, "allow", "dial out to `NAME:PORT`, * for any port (repeatable)")
	f.Var(&o.publish, "publish", "`HOSTADDR:GUESTPORT`: a host listener as the guest's port (repeatable)")
	f.Int64Var(&o.limits.Memory, "mem", 0, "`BYTES` of memory for all processes together")
	f.IntVar(&o.limits.Tasks, "procs", 0, "`N` processes and threads at once")
	f.DurationVar(&o.limits.CPU, "cpu", 0, "CPU time, of each process and of all together")
	f.DurationVar(&o.limits.Wall, "timeout", 0, "time until the jail is ended")
	f.Int64Var(&o.limits.Disk, "disk", 0, "`BYTES` of all in-memory files together")
	f.Int64Var(&o.limits.Inodes, "inodes", 0, "`N` in-memory files and directories")
	f.Int64Var(&o.limits.Output, "output", 0, "`BYTES` of output, to the network and -rw directories too, until the jail is ended")
	f.IntVar(&o.limits.Files, "files", 0, "`N` descriptors a process")
	f.IntVar(&o.limits.Descriptors, "descriptors", 0, "`N` descriptors of all processes together")
	f.IntVar(&o.limits.Calls, "calls", 0, "`N` emulated calls a second; more have to wait")
	f.StringVar(&o.seed, "seed", "", "`N`: repeatable randomness and addresses, without the caller's TERM; with -time the whole run is repeatable")
	f.StringVar(&o.start, "time", "", "`RFC3339` time at which the guest starts, on a virtual clock")
	f.StringVar(&o.trace, "trace", "", "write strace-like lines to `FILE`")
	f.StringVar(&o.audit, "audit", "", "write the audit records that the policy asks for, or else those of every kind, as JSON lines to `FILE`; without, the former go to stderr")
	f.StringVar(&o.stats, "stats", "", "write stops and time by call, and the use of each limit, as JSON to `FILE`")
	f.StringVar(&o.learn, "learn", "", "write the smallest policy it needs, merged with what is there, to `FILE` as JSON; to FILE.go as Go source, and to FILE.json")
	f.StringVar(&o.record, "record", "", "write a recording of the run, with all that it reads of the outside, to `FILE`")
	f.StringVar(&o.replay, "replay", "", "run a recording again: command, policy, files, network, input and clock are those of `FILE`")
	f.BoolVar(&o.print, "print", false, "print the policy, one rule a line, and what of the host's kernel it exposes; run nothing")
	f.BoolVar(&o.explain, "explain", false, "tell at exit what the policy refused, and what would permit it (so does -policy if the command fails)")
	f.BoolVar(&o.changes, "changes", false, "list at exit what the guest created, modified or removed")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(os.Stderr)
			f.Usage()
		}
		return o, nil, err
	}
	switch {
	case o.replay != "":
		return o, f.Args(), o.onlyReplay(f)
	case o.net != "none" && o.net != "host":
		return o, nil, fmt.Errorf("-net %q: it must be none or host", o.net)
	case f.NArg() == 0 && !o.print:
		return o, nil, errors.New("usage: run [flags] -- command [args…] (run -help lists the flags)")
	}
	f.Visit(func(f *flag.Flag) {
		switch s := f.Value.String(); {
		case slices.Contains(positive, f.Name) && (strings.HasPrefix(s, "-") || strings.HasPrefix(s, "0")):
			err = fmt.Errorf("-%s %s: it must be positive", f.Name, s)
		case f.Name == "uid" && (o.uid < 0 || o.uid >= 1<<32-1):
			err = fmt.Errorf("-uid %s: it must be 0 to %d", s, uint32(1<<32-2))
		}
	})
	for _, kv := range o.env {
		if strings.Index(kv, "=") < 1 {
			err = fmt.Errorf("-env %q: it must be K=V", kv)
		}
	}
	return o, f.Args(), err
}

// positive are the flags whose zero would be no limit at all.
var positive = []string{"mem", "procs", "files", "descriptors", "disk", "inodes", "output", "cpu", "timeout", "calls"}

func run(args []string) (int, error) {
	o, argv, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0, nil
	case err != nil:
		return failure, err
	}
	if o.print {
		p, err := o.makePolicy()
		if err != nil {
			return failure, err
		}
		fmt.Printf("%s%s", p, p.Surface())
		return 0, nil
	}
	j, cmd, p, closeFile, err := o.command(argv)
	if err != nil {
		return failure, err
	}
	before, err := o.openLearned(j)
	if err != nil {
		return failure, err
	}
	if o.explain || o.policy != "" {
		j.Refused = new([]policy.Explanation)
	}
	closeTrace, err := o.openTrace(j)
	if err != nil {
		return failure, err
	}
	closeAudit, err := o.openAudit(j, &p)
	if err != nil {
		return failure, err
	}
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		return failure, err
	}
	stop := forward(proc, o.replay != "")
	status, err := exitStatus(proc.Wait())
	stop()
	if j.Refused != nil && (o.explain || status != 0) {
		for _, e := range *j.Refused {
			fmt.Fprint(os.Stderr, "refused: ", e)
		}
	}
	var v *jail.Violation
	if errors.As(err, &v) && v.Why.Call != "" {
		err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(v.Why.String()))
	}
	if err == nil {
		err = o.writeLearned(p, before, j.Learn)
	}
	return o.report(proc, status, firstError(err, closeTrace(), closeAudit(), closeFile()))
}

// command is what is to be run, and how; the recording, if there is one, is to be
// closed when it has been.
func (o options) command(argv []string) (j *jail.Jail, cmd *exec.Cmd, p policy.Policy, end func() error, err error) {
	if o.replay != "" {
		return o.openReplay()
	}
	if p, err = o.makePolicy(); err != nil {
		return nil, nil, p, nil, err
	}
	cmd = &exec.Cmd{Path: argv[0], Args: argv, Dir: o.dir, Env: o.environment(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if slices.ContainsFunc(p.Mounts, func(m policy.Mount) bool { return m.Kind == policy.KindProgram }) { // of the host's
		if cmd.Path, err = exec.LookPath(argv[0]); err == nil {
			cmd.Path, err = filepath.Abs(cmd.Path)
		}
		if err != nil {
			return nil, nil, p, nil, err
		}
	}
	if cmd.Dir == "" && o.overlay {
		if cmd.Dir, err = os.Getwd(); err != nil {
			return nil, nil, p, nil, err
		}
	}
	j = &jail.Jail{}
	if end, err = o.openRecord(j); err == nil && o.record == "" {
		j.Terminal = interactive()
	}
	return j, cmd, p, end, err
}

// interactive is the terminal that run was started on in the foreground, nil if
// it reads from or writes to something else.
func interactive() *os.File {
	for _, f := range []*os.File{os.Stdin, os.Stdout} {
		pgrp, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
		if err != nil || pgrp != unix.Getpgrp() {
			return nil
		}
	}
	return os.Stdin
}

// exitStatus is a shell's view of how the jail ended; the limits that were met it tells.
func exitStatus(err error) (int, error) {
	var exit *jail.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if exit.Limits != nil || err != error(exit) { // what ended it is more than the status says
			fmt.Fprintln(os.Stderr, "run:", err)
		}
		if exit.Signaled() {
			return 128 + int(exit.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return failure, err
}

// forward sends on the signals that ask run to end; they end a replay.
func forward(proc *jail.Process, replay bool) (stop func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range c {
			switch {
			case replay:
				_ = proc.Kill()
			case s == unix.SIGINT, s == unix.SIGQUIT:
				_ = proc.SignalGroup(s) // from the terminal
			default:
				_ = proc.Signal(s)
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(c)
	}
}

// report writes what was asked for at the end.
func (o options) report(proc *jail.Process, status int, err error) (int, error) {
	if o.stats != "" {
		b, e := json.MarshalIndent(proc.Stats(), "", "  ")
		if e == nil {
			e = os.WriteFile(o.stats, append(b, '\n'), 0o666)
		}
		err = firstError(err, e)
	}
	if o.changes {
		for _, c := range proc.Changes() {
			fmt.Fprintln(os.Stderr, c)
		}
	}
	if err != nil {
		return failure, err
	}
	return status, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// openTrace connects -trace.
func (o options) openTrace(j *jail.Jail) (func() error, error) {
	if o.trace == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(o.trace)
	if err != nil {
		return nil, err
	}
	j.Trace = func(e jail.TraceEvent) { fmt.Fprintf(f, "%d %s <%.6f>\n", e.TID, e.Text, e.Time.Seconds()) }
	return f.Close, nil
}

// environment is the guest's: the caller's whole under -overlay, else what is
// harmless, and with -seed the same whoever calls.
func (o options) environment() []string {
	if o.overlay {
		return append(os.Environ(), o.env...)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/guest", "LANG=C.UTF-8"}
	if t := os.Getenv("TERM"); t != "" && o.seed == "" { // the stack's addresses depend on it
		env = append(env, "TERM="+t)
	}
	return append(env, o.env...)
}

func (o options) makePolicy() (policy.Policy, error) {
	p := policy.Tool()
	switch {
	case o.overlay && o.policy == "":
		p = policy.Overlay()
	case o.policy != "":
		var err error
		if p, err = policyNamed(o.policy); err != nil {
			return p, err
		}
	}
	if err := o.mount(&p); err != nil {
		return p, err
	}
	if o.hostname != "" {
		p.Identity.Hostname = o.hostname
	}
	if o.uid >= 0 {
		p.Identity.UID, p.Identity.GID, p.Identity.Groups = uint32(o.uid), uint32(o.uid), nil
	}
	l := &p.Limits
	set(&l.Memory, o.limits.Memory)
	set(&l.Tasks, o.limits.Tasks)
	set(&l.Files, o.limits.Files)
	set(&l.Descriptors, o.limits.Descriptors)
	set(&l.Disk, o.limits.Disk)
	set(&l.Inodes, o.limits.Inodes)
	set(&l.Output, o.limits.Output)
	set(&l.CPU, o.limits.CPU)
	set(&l.Wall, o.limits.Wall)
	set(&l.Calls, o.limits.Calls)
	if err := o.network(&p.Net); err != nil {
		return p, err
	}
	return p, o.repeatable(&p)
}

// policyNamed reads a file, or is a preset if there is none of that name.
func policyNamed(name string) (policy.Policy, error) {
	text, err := os.ReadFile(name)
	preset := map[string]func() policy.Policy{"strict": policy.Strict, "prison": policy.Prison, "tool": policy.Tool,
		"server": policy.Server, "overlay": policy.Overlay}[strings.ToLower(name)]
	switch {
	case errors.Is(err, fs.ErrNotExist) && preset != nil:
		return preset(), nil
	case errors.Is(err, fs.ErrNotExist):
		return policy.Policy{}, fmt.Errorf("-policy %s: there is no such file, nor a preset of that name: write strict, prison, tool, server or overlay", name)
	case err != nil:
		return policy.Policy{}, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return p, err
}

// network is -net, -allow and -publish.
func (o options) network(n *policy.Net) error {
	n.Host = n.Host || o.net == "host"
	n.Allow = append(n.Allow, o.allow...)
	for _, s := range o.publish {
		i := strings.LastIndexByte(s, ':')
		port, err := strconv.Atoi(s[i+1:])
		if i < 0 || err != nil {
			return fmt.Errorf("-publish %s: it must be HOSTADDR:GUESTPORT, such as 127.0.0.1:8080:80 or :8080:80", s)
		}
		host := s[:i]
		if !strings.Contains(host, ":") { // a port alone
			host = "127.0.0.1:" + host
		}
		n.Publish = append(n.Publish, policy.Publish{Host: host, Guest: port})
	}
	for _, s := range o.allow {
		if _, _, err := policy.SplitAllow(s); err != nil {
			return fmt.Errorf("-allow %w", err)
		}
	}
	return nil
}

func set[T int | int64 | time.Duration](at *T, v T) {
	if v > 0 {
		*at = v
	}
}

// repeatable is -seed and -time.
func (o options) repeatable(p *policy.Policy) error {
	if o.seed != "" {
		n, err := strconv.ParseUint(o.seed, 0, 64)
		if err != nil {
			return fmt.Errorf("-seed %q: it must be a whole number from 0 to %d", o.seed, uint64(math.MaxUint64))
		}
		p.Seed = &n
	}
	if o.start != "" {
		t, err := time.Parse(time.RFC3339, o.start)
		if err != nil {
			return fmt.Errorf("-time: %w", err)
		}
		p.Time.Start = t
	}
	return nil
}

// mount is -ro and -rw.
func (o options) mount(p *policy.Policy) error {
	for _, f := range []struct {
		name string
		list list
	}{{"ro", o.ro}, {"rw", o.rw}} {
		for _, s := range f.list {
			host, guest, _ := strings.Cut(s, ":")
			host, err := filepath.Abs(host)
			if err == nil {
				_, err = os.Stat(host)
			}
			if err != nil {
				return fmt.Errorf("-%s %s: %w", f.name, s, err)
			}
			if guest == "" {
				guest = host
			}
			p.Mounts = append(p.Mounts, policy.Mount{Kind: policy.KindHost, Host: host, Guest: guest, Write: f.name == "rw"})
		}
	}
	return nil
}
