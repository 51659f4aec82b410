//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

// hung is when a jail is taken for dead: no guest of the tests runs as long.
const hung = 20 * time.Second

// guestProgram builds a static program of testdata/name.c.
func guestProgram(t testing.TB, name string) string {
	t.Helper()
	need(t, "gcc")
	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) { // an ordinary user's guest must get there
		_ = os.Chmod(d, 0o755)
		if filepath.Dir(d) == os.TempDir() {
			break
		}
	}
	program := filepath.Join(dir, name)
	out, err := exec.Command("gcc", "-O1", "-static", "-pthread", "-o", program, filepath.Join("testdata", name+".c")).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

// await is Wait with a watchdog: it shows where everybody stands if the jail
// hangs, and ends it.
func await(t testing.TB, proc *jail.Process) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- proc.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(hung):
	}
	t.Errorf("a jail hangs\n%s", whereabouts(t))
	_ = proc.Kill()
	select {
	case err := <-ended:
		return err
	case <-time.After(hung):
		panic("a jail cannot be killed\n" + whereabouts(t))
	}
}

// whereabouts are the stacks of this process and the state of all guests.
func whereabouts(t testing.TB) string {
	var text bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	for _, pid := range guestProcesses(t) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, task := range tasks {
			fmt.Fprintf(&text, "%s:", task)
			for _, f := range []string{"cmdline", "stat", "syscall", "wchan"} {
				p, _ := os.ReadFile(filepath.Join(task, f))
				fmt.Fprintf(&text, " %s", bytes.TrimSpace(bytes.ReplaceAll(p, []byte{0}, []byte{' '})))
			}
			text.WriteByte('\n')
		}
	}
	return text.String()
}

// own is a policy for this test's programs: nothing of the host but the program,
// a working directory in memory, the identity of the test.
func own(dir string) policy.Policy {
	p := policy.Prison()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindMemory, Mode: 0o777})
	id := policy.Overlay().Identity
	p.Limits, p.Identity = policy.Limits{}, policy.Identity{UID: id.UID, GID: id.GID, Groups: id.Groups}
	return p
}

// TestTwins runs every function of testdata/twin.c on the host's kernel and in a
// jail and compares what they say.
func TestTwins(t *testing.T) { compareTwins(t, "twin") }

// TestTerminalTwins does so with testdata/tty.c: ptys, the line discipline, job
// control.
func TestTerminalTwins(t *testing.T) { compareTwins(t, "tty") }

// TestRestartOfOurs: that a robust futex's waiters look again is no call of the guest's.
func TestRestartOfOurs(t *testing.T) {
	dir := t.TempDir()
	p := own(dir)
	p.Calls = slices.Insert(p.Calls, 0, policy.Rule{Calls: []string{"restart_syscall"}, Action: policy.Kill})
	want := result{Stdout: "died 180 of 180\n"}
	if got := jailed(t, &jail.Jail{}, exec.Command(guestProgram(t, "twin"), "robust_kills"), p); got != want {
		t.Errorf("%+v", got)
	}
}

func compareTwins(t *testing.T, name string) {
	program := guestProgram(t, name)
	list, err := exec.Command(program, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var diff string
			for range 3 { // some of it is about time, and the machine may be busy
				want := twinOutput(t, program, name, false)
				got := twinOutput(t, program, name, true)
				if diff = cmp.Diff(want, got); diff == "" {
					return
				}
				t.Logf("-native +jailed:\n%s", diff)
			}
			t.Fail()
		})
	}
}

func twinOutput(t *testing.T, program, name string, inJail bool) []string {
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), hung)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, name)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = []string{"PATH=/bin:/usr/bin"}
	if inJail {
		p := own(dir)
		p.Mounts = append(p.Mounts, policy.Mount{Guest: "/proc", Kind: policy.KindProc})
		proc, err := jail.Spawn(cmd, p)
		if err != nil {
			t.Fatal(err)
		}
		err = await(t, proc)
		return append(strings.Split(out.String(), "\n"), errText(err))
	}
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // a jail ends with its first process
	text, e := os.ReadFile(f.Name())
	if e != nil {
		t.Fatal(e)
	}
	return append(strings.Split(string(text), "\n"), errText(err))
}
