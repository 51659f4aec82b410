//go:build linux && amd64

package jail_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

// escapeDir is a directory with the hostile guest, /try/escape in the jail.
func escapeDir(t *testing.T) (string, policy.Policy) {
	t.Helper()
	need(t, "cc")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("cc", "-static", "-O1", "-pthread", "-o", filepath.Join(dir, "escape"), "testdata/escape.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := policy.Tool()
	p.Limits.Wall = time.Minute
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/try", Kind: policy.KindHost, Host: dir})
	return dir, p
}

// TestNeighbourSlot: a mapping does not grow into another file of the arena.
func TestNeighbourSlot(t *testing.T) {
	dir, p := escapeDir(t)
	for name, text := range map[string]string{"a": "mine", "b": "secret of another"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"/try/a", "/try/b"}, {"/try/a", "/try/b", "copy"}} {
		got := jailed(t, &jail.Jail{}, exec.Command("/try/escape", append([]string{"grow"}, args...)...), p)
		if strings.Contains(got.Stdout, "neighbour") || !strings.HasPrefix(got.Stdout, "step ") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestSwappedCode: where the warden makes a second call in a thread, another
// thread cannot have a call of its own made instead.
func TestSwappedCode(t *testing.T) {
	_, p := escapeDir(t)
	j := &jail.Jail{Handlers: map[string]emulate.Handler{"getcpu": func(c *emulate.Call) (uint64, error) {
		if _, err := c.Kernel(); err != nil {
			return 0, err
		}
		_ = c.Wait(c.Sys.After(1500 * time.Millisecond))
		return c.Kernel()
	}}}
	for _, args := range [][]string{{"swap"}, {"swap", "unmapped"}} {
		want := result{Err: "signal: killed"}
		if got := jailed(t, j, exec.Command("/try/escape", args...), p); got != want {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestIgnoredMeanwhile: a signal whose handler has gone does not have the
// interrupted call made by the kernel.
func TestIgnoredMeanwhile(t *testing.T) {
	_, p := escapeDir(t)
	if got := jailed(t, &jail.Jail{}, exec.Command("/try/escape", "ignore"), p); got != (result{}) {
		t.Errorf("%+v", got)
	}
}

// TestOrphans: of a process killed while it forked nothing stays on the host.
func TestOrphans(t *testing.T) {
	_, p := escapeDir(t)
	before := len(guestProcesses(t))
	cmd := exec.Command("/try/escape", "orphans")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := jail.Spawn(cmd, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if n := len(guestProcesses(t)) - before; n != 2 {
		t.Errorf("%d host processes, want the guest and the bell", n)
	}
	_ = in.Close()
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
}

// TestZombiesCount: a process that nobody waited for counts as one.
func TestZombiesCount(t *testing.T) {
	_, p := escapeDir(t)
	p.Limits.Tasks = 10
	want := result{Stdout: "9, Resource temporarily unavailable\n"}
	if got := jailed(t, &jail.Jail{}, exec.Command("/try/escape", "zombies"), p); got != want {
		t.Errorf("%+v", got)
	}
}

// TestMappedDisk: Limits.Disk bounds what is written through mappings, too.
func TestMappedDisk(t *testing.T) {
	_, p := escapeDir(t)
	p.Limits.Disk = 1 << 20
	want := result{Err: "jail: limit disk (1048576) reached"}
	if got := jailed(t, &jail.Jail{}, exec.Command("/try/escape", "sparse"), p); got != want {
		t.Errorf("%+v", got)
	}
}

// TestBeyondFile: reading behind the end of a file does not fill the arena that
// all jails share.
func TestBeyondFile(t *testing.T) {
	dir, p := escapeDir(t)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := result{Stdout: "a\n", Err: "signal: segmentation fault"}
	if got := jailed(t, &jail.Jail{}, exec.Command("/try/escape", "beyond", "/try/a"), p); got != want {
		t.Errorf("%+v", got)
	}
}

// TestPanics: whatever panics on a guest's behalf ends its jail and no more.
func TestPanics(t *testing.T) {
	_, p := escapeDir(t)
	for name, do := range map[string]emulate.Handler{
		"at exit":   func(c *emulate.Call) (uint64, error) { c.Task.AtExit(func() { panic("boom") }); return 0, nil },
		"at end":    func(c *emulate.Call) (uint64, error) { c.Task.Process.AtExit(func() { panic("boom") }); return 0, nil },
		"elsewhere": func(c *emulate.Call) (uint64, error) { return 0, c.Go(func() error { panic("boom") }, nil) },
	} {
		j := &jail.Jail{Handlers: map[string]emulate.Handler{"uname": do}}
		if got := jailed(t, j, exec.Command("/bin/uname"), p); !strings.Contains(got.Err, "panic: boom") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
