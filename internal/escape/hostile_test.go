//go:build linux && amd64

package escape_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

// run runs the hostile program under p and returns all it said.
func (h *prey) run(j *jail.Jail, p policy.Policy, args ...any) result {
	cmd := exec.Command(h.program)
	for _, a := range args {
		cmd.Args = append(cmd.Args, fmt.Sprint(a))
	}
	cmd.Env = h.env
	r, _ := run(h.t, j, cmd, p)
	return r
}

var progress = regexp.MustCompile(`(?m)^@(\d+)$`)

// sweepSize is how many calls one guest makes.
const sweepSize = 64

// sweep lets a guest make the calls from..to-1 and tells what it got of the host.
// A guest may end itself: then another goes on behind the call that did it.
func (h *prey) sweep(j *jail.Jail, p policy.Policy, how string, from, to, stride, random int) (list []string) {
	for next := from; next < to; {
		seed := rand.IntN(1 << 30)
		got := h.run(j, p, how, next, min(next+sweepSize, to), stride, random, seed)
		list = append(list, findings.FindAllString(got.stdout, -1)...)
		if strings.Contains(got.stdout+got.stderr, h.secret) {
			list = append(list, "the secret was written out")
		}
		last := next - 1
		for _, m := range progress.FindAllStringSubmatch(got.stdout, -1) {
			last, _ = strconv.Atoi(m[1])
		}
		if got.err != "" {
			last++
			if !strings.HasPrefix(got.err, "signal: ") { // it may kill itself
				list = append(list, fmt.Sprintf("%s %d (seed %d): %s", how, last, seed, got.err))
			}
			h.t.Logf("%s %d (seed %d): %s", how, last, seed, got.err)
		}
		next = last + 1
	}
	return list
}

// calls is the number of call numbers tried: no kernel has as many.
const calls = 1024

// TestHostileCalls: every call number, with arguments that would do harm on the
// host or read what is there, does neither.
func TestHostileCalls(t *testing.T) {
	h := newPrey(t, guestProgram(t, "hostile.c", "_start"), nobody)
	stride, random := 4, 50
	if testing.Short() {
		stride, random = 20, 10
	}
	for name, p := range presets() {
		if name == "strict" {
			continue // it knows no timer that would end a call that waits
		}
		t.Run(name, func(t *testing.T) {
			h.t, p = t, h.bounded(p)
			may := uint32(0)
			if name == "overlay" {
				may = unix.IN_OPEN | unix.IN_ACCESS | unix.IN_CLOSE_NOWRITE
			}
			list := h.attacked(may, func() (list []string) {
				list = h.sweep(&jail.Jail{}, p, "calls", 0, calls, stride, random)
				return append(list, h.sweep(&jail.Jail{}, p, "x32", 0, calls, 10*stride, random)...)
			})
			for _, what := range list {
				if name != "overlay" || !leaked(what) { // it shows what is there by design
					t.Error(what)
				}
			}
		})
	}
}

// TestInt80: the gate to the kernel that other ABIs use is the end of the jail,
// whoever goes through it.
func TestInt80(t *testing.T) {
	h := newPrey(t, guestProgram(t, "hostile.c", "_start"), nobody)
	skip := 3
	if testing.Short() {
		skip = 40
	}
	for _, what := range h.attacked(0, func() (list []string) {
		p := h.bounded(policy.Prison())
		for nr := 0; nr < calls; nr += 1 + rand.IntN(skip) {
			got := h.run(&jail.Jail{}, p, "int80", nr)
			if !strings.Contains(got.err, "violation") || got.stdout != "" {
				list = append(list, fmt.Sprintf("%d: %+v", nr, got))
			}
		}
		return list
	}) {
		t.Error(what)
	}
}

// TestHostileControl: what TestHostileCalls looks for is seen when it is there.
func TestHostileControl(t *testing.T) {
	program := guestProgram(t, "hostile.c", "_start")
	var h *prey // of each subtest
	show := func(write bool) func(*jail.Jail, *policy.Policy) {
		return func(_ *jail.Jail, p *policy.Policy) {
			p.Mounts = append(p.Mounts, policy.Mount{Guest: h.dir, Kind: policy.KindHost, Host: h.dir, Write: write})
			p.Identity.UID, p.Identity.GID = uint32(os.Getuid()), uint32(os.Getgid())
		}
	}
	handler := func(name string, do func(c *emulate.Call) error) func(*jail.Jail, *policy.Policy) {
		return func(j *jail.Jail, _ *policy.Policy) {
			j.Handlers = map[string]emulate.Handler{name: func(c *emulate.Call) (uint64, error) { return 0, do(c) }}
		}
	}
	for name, c := range map[string]struct {
		nr     int
		weaken func(*jail.Jail, *policy.Policy)
		want   string
	}{
		"file":      {unix.SYS_OPEN, show(false), "!leak"},
		"directory": {unix.SYS_OPENAT, show(false), "!leak"},
		"events":    {unix.SYS_OPEN, show(false), "the directory saw events"},
		"create":    {unix.SYS_OPENAT, show(true), "the host changed"},
		"mkdir":     {unix.SYS_MKDIR, show(true), "the host changed"},
		"chmod":     {unix.SYS_CHMOD, show(true), "the host changed"},
		"memory": {unix.SYS_STAT, handler("stat", func(c *emulate.Call) error {
			return c.Write(c.Addr(1), h.bytes)
		}), "!leak by call 4("},
		"signal": {unix.SYS_KILL, handler("kill", func(c *emulate.Call) error {
			if c.Int(0) == os.Getpid() && c.Int(1) == int(unix.SIGUSR1) {
				return unix.Kill(c.Int(0), unix.SIGUSR1)
			}
			return unix.ESRCH
		}), "signal user defined signal 1"},
		"nice": {unix.SYS_SETPRIORITY, handler("setpriority", func(c *emulate.Call) error {
			return unix.Setpriority(unix.PRIO_PROCESS, h.victim.Process.Pid, 1)
		}), "the host changed"},
		"connect": {unix.SYS_CONNECT, handler("connect", func(c *emulate.Call) error {
			return errors.Join(dial(h.tcp.Addr()), dial(h.unix[0].Addr()))
		}), "a connection to @hostile-"},
		"queue": {unix.SYS_SEMOP, handler("semop", func(c *emulate.Call) error {
			_, _, errno := unix.Syscall6(unix.SYS_SEMCTL, h.ids["SEM"], 0, 16, 5, 0, 0) // SETVAL
			return errno
		}), "semaphore"},
	} {
		t.Run(name, func(t *testing.T) {
			h = newPrey(t, program, nobody)
			h.patient = false
			j, p := &jail.Jail{}, h.bounded(policy.Prison())
			c.weaken(j, &p)
			list := h.attacked(0, func() []string { return h.sweep(j, p, "calls", c.nr, c.nr+1, 1, 0) })
			if !strings.Contains(strings.Join(list, "\n"), c.want) {
				t.Errorf("%q is not in %q", c.want, list)
			}
		})
	}
}

func dial(a net.Addr) error {
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		return err
	}
	return c.Close()
}

func leaked(what string) bool {
	return strings.HasPrefix(what, "!leak") || strings.HasPrefix(what, "the secret")
}
