//go:build linux && amd64

package escape_test

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// programs is the directory that guests are compiled to.
var programs string

func TestMain(m *testing.M) {
	debug.SetTraceback("all") // of whoever hangs
	var err error
	if programs, err = os.MkdirTemp("", "escape"); err == nil {
		err = os.Chmod(programs, 0o755)
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(status)
}

// guestProgram is the static program of testdata/pattern. Its first instruction is
// at the symbol that entry names.
func guestProgram(t testing.TB, pattern, entry string) string {
	t.Helper()
	name := filepath.Join(programs, entry)
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("OUBLIETTE_STRICT") == "1" {
			t.Fatal("skipped in strict mode: needs gcc")
		}
		t.Skip("needs gcc")
	}
	sources, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(sources) == 0 {
		t.Fatal("no sources ", err)
	}
	args := append([]string{"-O1", "-static", "-pthread", "-fno-stack-protector", "-Wl,-e," + entry, "-o", name}, sources...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return name
}

// presets are all that package policy exports.
func presets() map[string]policy.Policy {
	return map[string]policy.Policy{"strict": policy.Strict(), "prison": policy.Prison(), "tool": policy.Tool(),
		"server": policy.Server(), "overlay": policy.Overlay()}
}

// bounded is a preset in which h's program can run, with bounds that keep the
// test's machine in working order.
func (h *prey) bounded(p policy.Policy) policy.Policy {
	p.Mounts = append(p.Mounts, policy.Mount{Guest: h.program, Kind: policy.KindHost, Host: h.program})
	p.Limits.Memory, p.Limits.Disk, p.Limits.Wall = 1<<30, 64<<20, 2*time.Minute
	p.Limits.Tasks = min(64, cmp.Or(p.Limits.Tasks, 64))
	return p
}

// result is what a command did.
type result struct {
	stdout, stderr string
	err            string // "" is exit status 0
}

// hung is when a guest is taken for one that will not end.
const hung = 3 * time.Minute

// run runs cmd in a jail, or without one if that is nil.
func run(t testing.TB, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) (result, *jail.Process) {
	t.Helper()
	defer time.AfterFunc(hung, func() { panic(t.Name() + " hangs") }).Stop()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var proc *jail.Process
	var err error
	var wait interface{ Wait() error } = cmd
	if j == nil {
		err = cmd.Start()
	} else {
		proc, err = j.Spawn(cmd, p)
		wait = proc
	}
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	err = wait.Wait()
	r := result{stdout: out.String(), stderr: errs.String()}
	if err != nil {
		r.err = err.Error()
	}
	return r, proc
}

// escape is a way out that others' sandboxes had.
type escape struct {
	guest string // a function of testdata/escape
	of    string // whose hole, or what kind of one, it was
	with  func(*attempt)
	// control sets up the run that gets out. It may ask for a jail that is too
	// weak; else there is none, and the guest has a user of its own.
	control func(*attempt)
	// why says why the control cannot get out on this host, "" if it can.
	why func(*prey) string
}

// attempt is one run of a guest.
type attempt struct {
	*prey
	cmd       *exec.Cmd
	free      bool // not in a jail
	jail      jail.Jail
	policy    policy.Policy
	meanwhile func() string             // what the host does again and again, and what it sees
	after     func(tree fs.FS) []string // and what it sees at the end; in a jail there is a tree
}

func (h *prey) attempt(e escape) *attempt {
	left, _ := filepath.Glob(h.share + "/*")
	for _, name := range left {
		h.check(os.RemoveAll(name))
	}
	a := &attempt{prey: h, cmd: exec.Command(h.program, e.guest)}
	a.cmd.Dir = "/"
	a.cmd.Env = append(append(a.cmd.Env, h.env...), "PROGRAM="+h.program)
	return a
}

// imprison makes an attempt one under a preset. All may read one directory and
// write another; from Overlay, which shows all there is, the rest of the prey is
// hidden.
func (a *attempt) imprison(p policy.Policy) {
	a.free, a.policy = false, a.bounded(p)
	a.policy.Mounts = append(a.policy.Mounts, policy.Mount{Guest: a.given, Kind: policy.KindHost, Host: a.given, Frozen: true},
		policy.Mount{Guest: a.share, Kind: policy.KindHost, Host: a.share, Write: true},
		policy.Mount{Guest: a.dir, Kind: policy.KindMemory}, policy.Mount{Guest: a.out, Kind: policy.KindMemory})
}

var (
	findings = regexp.MustCompile(`(?m)^!.*$`)
	ends     = regexp.MustCompile(`^(|exit status \d+|signal: .*|jail: violation: .*)$`)
)

// run tells what of the host the guest reached, and what it said and how it ended.
func (a *attempt) run() (list []string, r result) {
	list = a.attacked(0, func() (list []string) {
		seen := func() []string { return nil }
		if a.meanwhile != nil {
			seen = repeat(a.meanwhile)
		}
		var proc *jail.Process
		if a.free {
			r, _ = run(a.t, nil, a.cmd, a.policy)
		} else {
			r, proc = run(a.t, &a.jail, a.cmd, a.policy)
		}
		list = append(findings.FindAllString(r.stdout, -1), seen()...)
		if a.after != nil {
			var tree fs.FS
			if proc != nil {
				tree = proc.Tree()
			}
			list = append(list, a.after(tree)...)
		}
		return list
	})
	if strings.Contains(r.stdout+r.stderr, a.secret) {
		list = append(list, "the guest has the secret")
	}
	if r.err == "exit status 2" || strings.HasPrefix(r.err, "jail: limit ") {
		a.t.Errorf("it was not tried to the end: %+v", r)
	} else if !ends.MatchString(r.err) {
		list = append(list, "the jail ended: "+r.err)
	}
	return list, r
}

// repeat calls fn again and again, and once before it returns, until seen is
// called, which tells what fn has returned.
func repeat(fn func() string) (seen func() []string) {
	stop, going, all := make(chan bool), make(chan bool), make(chan []string)
	go func() {
		list := []string{fn()}
		close(going)
		for {
			select {
			case <-stop:
				all <- slices.DeleteFunc(list, func(what string) bool { return what == "" })
				return
			default:
				list = append(list, fn())
			}
		}
	}()
	<-going
	return func() []string {
		close(stop)
		return <-all
	}
}

// TestEscapes: what gets out where the walls are too weak gets nowhere under any
// preset.
func TestEscapes(t *testing.T) {
	program := guestProgram(t, "escape/*.c", "begin")
	warm, err := jail.KeepWarm() // what one jail maps lies in the arena beside what another does
	if err != nil {
		t.Fatal(err)
	}
	defer warm.Close()
	for _, e := range escapes {
		t.Run(e.guest, func(t *testing.T) {
			t.Run("control", func(t *testing.T) { e.tryControl(t, program) })
			h := newPrey(t, program, nobody)
			h.leak()
			for name, p := range presets() {
				t.Run(name, func(t *testing.T) {
					h.t = t
					a := h.attempt(e)
					a.imprison(p)
					if e.with != nil {
						e.with(a)
					}
					list, r := a.run()
					for _, what := range list {
						t.Errorf("%s: %s", e.of, what)
					}
					t.Logf("%q %.300q %.300q", r.err, r.stderr, r.stdout)
				})
			}
		})
	}
}

func (e escape) tryControl(t *testing.T, program string) {
	// The user is nobody else's, for some signal all that is theirs.
	h := newPrey(t, program, 61000+os.Getpid()%4000)
	h.patient = false
	h.leak()
	if e.why != nil {
		if why := e.why(h); why != "" {
			t.Skip("no control on this host:", why) // in strict mode, too: nothing that one could install would help
		}
	}
	a := h.attempt(e)
	a.free, a.cmd.SysProcAttr = true, as(h.uid)
	if e.with != nil {
		e.with(a)
	}
	if e.control != nil {
		e.control(a)
	}
	if !a.free {
		a.cmd.SysProcAttr = nil
	}
	list, r := a.run()
	if len(list) == 0 {
		t.Errorf("%s: it does not get out where it could: %+v", e.of, r)
	}
	t.Logf("%.300q", list)
}

// leak leaves descriptors open without O_CLOEXEC, at numbers that guest processes
// have in use on the host.
func (h *prey) leak() {
	for name, f := range map[string]struct {
		fd   int
		path string
	}{"LEAK": {1021, h.file}, "LEAKDIR": {1020, h.dir}} {
		fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		h.check(err)
		h.check(unix.Dup3(fd, f.fd, 0))
		h.check(unix.Close(fd))
		h.t.Cleanup(func() { _ = unix.Close(f.fd) })
		h.set(name, f.fd)
	}
	h.set("GIVEN", h.given)
	h.set("SHARE", h.share)
	h.set("NOW", time.Now().Unix())
	h.set("CANARY", addr(h.canary))
}
