//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

// repeatable is a policy under which a run is a function of its inputs.
func repeatable(p policy.Policy, seed uint64) policy.Policy {
	p.Seed, p.Time.Start = &seed, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	return p
}

// told is all that a run under p shows: output, status and every call with its time.
func told(t *testing.T, cmd *exec.Cmd, p policy.Policy) (output, trace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hung)
	defer cancel()
	c := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	c.Args, c.Dir, c.Env, c.Stdin = cmd.Args, cmd.Dir, cmd.Env, cmd.Stdin
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	var calls strings.Builder
	j := &jail.Jail{Mounts: map[string]fs.FS{"/src": os.DirFS("testdata/repeat")}, Trace: func(e jail.TraceEvent) { fmt.Fprintln(&calls, e.TID, e.Text, e.Time) }}
	proc, err := j.Spawn(c, p)
	if err != nil {
		t.Fatal(err)
	}
	err = await(t, proc)
	var exit *jail.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if n := proc.Stats().Disorder; n != 0 {
		t.Errorf("order was given up %d times", n)
	}
	return out.String() + "\n" + errText(err), calls.String()
}

// sameRuns runs cmd n times.
func sameRuns(t *testing.T, n int, cmd *exec.Cmd, p policy.Policy) (output string) {
	t.Helper()
	output, trace := told(t, cmd, p)
	for i := range n - 1 {
		o, c := told(t, cmd, p)
		if d := cmp.Diff(strings.Split(output, "\n"), strings.Split(o, "\n")); d != "" {
			t.Errorf("run %d differs from the first:\n%s", i+2, d)
		}
		if c != trace {
			t.Errorf("run %d makes other calls than the first:\n%s", i+2, firstDifference(trace, c))
		}
		if t.Failed() {
			return output
		}
	}
	return output
}

// firstDifference shows the first lines that differ, and some before.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	i := 0
	for i < len(x) && i < len(y) && x[i] == y[i] {
		i++
	}
	return cmp.Diff(x[max(i-5, 0):min(i+3, len(x))], y[max(i-5, 0):min(i+3, len(y))])
}

// TestRepeatable: what real programs print, make and call is the same in each run.
func TestRepeatable(t *testing.T) {
	for _, c := range []struct {
		runs int
		args string
		need []string
	}{
		{50, "python3 /src/show.py", []string{"python3"}},
		{10, "sh /src/build.sh -j1", []string{"make", "gcc"}},
		{10, "sh /src/build.sh -j4", []string{"make", "gcc"}},
		{10, "sh /src/commit.sh", []string{"git"}},
		{10, "bash /src/jobs.sh", []string{"bash", "ps", "xargs"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			need(t, c.need...)
			args := strings.Fields(c.args)
			cmd := &exec.Cmd{Path: args[0], Args: args}
			got := sameRuns(t, max(times(c.runs), 2), cmd, repeatable(policy.Tool(), 1))
			if !strings.HasSuffix(got, "\n\n") {
				t.Errorf("it failed:\n%s", got)
			}
			if other, _ := told(t, cmd, repeatable(policy.Tool(), 2)); c.runs == 50 && other == got {
				t.Error("another seed makes no difference")
			}
		})
	}
}

// TestAddresses: with a seed alone nothing lies where chance has put it, and what is
// reserved for that is not told and not counted.
func TestAddresses(t *testing.T) {
	seed := uint64(1)
	p := policy.Tool()
	p.Seed = &seed
	show := func(p policy.Policy) string {
		t.Helper()
		got := jailed(t, &jail.Jail{}, exec.Command("/bin/sh", "-c", `cat /proc/self/maps; grep -E '^(VmPeak|VmSize)' /proc/self/status
cut -d' ' -f23 /proc/self/stat; cut -d' ' -f1 /proc/self/statm; ulimit -v 1000000; ulimit -v; cat /proc/self/cmdline; tr '\\0' '\\n' < /proc/self/environ`), p)
		if got.Err != "" || got.Stderr != "" {
			t.Fatalf("%+v", got)
		}
		return got.Stdout
	}
	first := show(p)
	for range times(20) {
		if d := cmp.Diff(first, show(p)); d != "" {
			t.Fatalf("-first +other:\n%s", d)
		}
	}
	if !strings.Contains(first, "7ffffffff000 rw-p") || !strings.Contains(first, "\n1000000\n") || strings.Contains(first, "vdso") {
		t.Error(first)
	}
	var size int
	if _, after, ok := strings.Cut(first, "VmSize:"); !ok {
		t.Error(first)
	} else if _, err := fmt.Sscan(after, &size); err != nil || size < 1000 || size > 1<<20 {
		t.Errorf("VmSize is %d KiB: %v", size, err)
	}
	if seed = 2; show(p) == first {
		t.Error("another seed makes no difference")
	}
	long := strings.Repeat("x", 100_000)
	cmd := exec.Command("/bin/sh", "-c", `printf %s "$@" | wc -c`, "sh", long, long, long)
	if got := jailed(t, &jail.Jail{}, cmd, p); got.Stdout != "300000\n" {
		t.Errorf("%+v", got)
	}
}

// TestDisorder: threads that wait for each other without calls go on, and so does one
// that waits for a timer so; that order was given up is told.
func TestDisorder(t *testing.T) {
	program := guestProgram(t, "spin")
	for _, how := range []string{"thread", "timer"} {
		cmd := exec.Command(program, how)
		var out bytes.Buffer
		cmd.Stdout = &out
		proc, err := jail.Spawn(cmd, repeatable(own(t.TempDir()), 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := await(t, proc); err != nil || out.String() != "done\n" {
			t.Errorf("%s: %v, %q", how, err, out.String())
		}
		if proc.Stats().Disorder == 0 {
			t.Errorf("%s: nothing is told", how)
		}
	}
}

// TestStdinAtOnce: an input in memory is there when the guest first looks, all of it.
func TestStdinAtOnce(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 100_000, 1 << 20} {
		cmd := exec.Command("/bin/sh", "-c", "timeout 0.1 cat | wc -c & dd bs=2M count=1 2>/dev/null | wc -c; wait")
		cmd.Stdin = strings.NewReader(strings.Repeat("x", size))
		got, _ := told(t, cmd, repeatable(policy.Tool(), 1))
		if want := fmt.Sprintf("%d\n", size); !strings.Contains(got, want) || len(got) != len(want)+len("0\n\n") && size > 0 {
			t.Errorf("%d: %q", size, got)
		}
	}
}

// unhurried are the functions of testdata/twin.c whose output is not about time: in
// turns it is the kernel's too. Those that wait by computing are spinning.
var (
	unhurried = []string{"exec_errors", "exec_fd", "exec_leader_wait", "exec_thread", "exec_thread_leader_gone", "futexes", "masks", "orphans",
		"pidfds", "sigwaits", "stop_and_continue", "thread_ends", "thread_signals", "threads", "vforks", "wait_crash", "wait_threads"}
	spinning = []string{"timers"}
)

// TestRepeatableTwins runs the twins in turns.
func TestRepeatableTwins(t *testing.T) {
	for _, source := range []string{"twin", "tty"} {
		program := guestProgram(t, source)
		list, err := exec.Command(program, "list").Output()
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(string(list)) {
			if slices.Contains(spinning, name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "work")
				cmd := exec.Command(program, name)
				cmd.Dir, cmd.Env = dir, []string{"PATH=/bin:/usr/bin"}
				p := own(dir)
				p.Mounts = append(p.Mounts, policy.Mount{Guest: "/proc", Kind: policy.KindProc})
				got := sameRuns(t, 2, cmd, repeatable(p, 1))
				if !slices.Contains(unhurried, name) {
					return
				}
				var diff string
				for range 3 { // the native ones do take time
					if diff = cmp.Diff(twinOutput(t, program, name, false), strings.Split(got, "\n")); diff == "" {
						return
					}
				}
				t.Errorf("-native +jailed:\n%s", diff)
			})
		}
	}
}

// TestRepeatableRandom: programs of random calls do the same twice.
func TestRepeatableRandom(t *testing.T) {
	program := guestProgram(t, "random")
	dir, err := os.MkdirTemp(memoryDir(t), "random")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(times(100)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, strconv.FormatUint(seed, 10), randomSteps)
			cmd.Dir, cmd.Env = dir, []string{"PATH=/bin"}
			sameRuns(t, 2, cmd, repeatable(own(dir), seed))
		})
	}
}
