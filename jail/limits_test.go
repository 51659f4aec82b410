//go:build linux && amd64

package jail_test

import (
	"bytes"
	"cmp"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"oubliette/jail"
	"oubliette/policy"
)

// TestMemoryLimit: one process is refused more memory as Linux refuses it, and
// all together do not hold more.
func TestMemoryLimit(t *testing.T) {
	program := guestProgram(t, "hog")
	p := own(t.TempDir())
	p.Limits.Memory = 384 << 20
	ended := result{Err: "jail: limit memory (402653184) reached"}
	for name, want := range map[string]result{
		"private": {Stdout: "ENOMEM\n"},
		"shared":  ended,
		"many":    ended,
		"family":  {Stdout: "goes on\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := jailed(t, &jail.Jail{}, exec.Command(program, name), p); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestLimits: a guest that wants more of something has as much as the limit says,
// and is answered as Linux answers, or the jail ends; Wait and Stats tell.
func TestLimits(t *testing.T) {
	program := guestProgram(t, "hog")
	for _, c := range []struct {
		how    string
		limits policy.Limits
		want   result
		stats  string // the limit's name; "" if how is
		used   int64  // at least
		hits   int64  // exactly; -1: some
	}{
		{how: "tasks", limits: policy.Limits{Tasks: 5}, want: result{Stdout: "4, EAGAIN\n"}, used: 5, hits: 1},
		{how: "files", limits: policy.Limits{Files: 20}, want: result{Stdout: "17, EMFILE\n"}, used: 20, hits: 1},
		{how: "disk", limits: policy.Limits{Disk: 10 * 4096}, want: result{Stdout: "9, ENOSPC\n"}, used: 9 * 4096, hits: 1},
		{how: "inodes", limits: policy.Limits{Inodes: 100}, want: result{Stdout: "# ENOSPC\n"}, used: 100, hits: 1},
		{how: "output", limits: policy.Limits{Output: 30}, want: result{"0123456789\n01234567", "0123456789\n", "jail: limit output (30) reached"}, used: 30, hits: 1},
		{how: "calls", limits: policy.Limits{Calls: 100}, want: result{Stdout: "300, 0\n"}, used: 50, hits: -1},
		{how: "cpu", limits: policy.Limits{CPU: time.Second}, want: result{Err: "jail: limit cpu (1s) reached: signal: CPU time limit exceeded"}, used: 5e8, hits: 1},
		{how: "cpu child", limits: policy.Limits{CPU: time.Second}, want: result{Stdout: "CPU time limit exceeded\n"}, stats: "cpu", used: 5e8, hits: 1},
		{how: "cpu family", limits: policy.Limits{CPU: time.Second}, want: result{Err: "jail: limit cpu (1s) reached"}, stats: "cpu", used: 1.5e9, hits: 1},
		{how: "wall", limits: policy.Limits{Wall: 100 * time.Millisecond}, want: result{Err: "jail: limit wall (100ms) reached"}, used: 1e8, hits: 1},
		{how: "shared", limits: policy.Limits{Memory: 64 << 20}, want: result{Err: "jail: limit memory (67108864) reached"}, stats: "memory", used: 64 << 20, hits: 1},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := own(dir)
			p.Limits = c.limits
			cmd := exec.Command(program, c.how, dir)
			if c.how == "wall" || c.how == "shared" {
				cmd.Args = cmd.Args[:2]
			}
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			start := time.Now()
			proc, err := jail.Spawn(cmd, p)
			if err != nil {
				t.Fatal(err)
			}
			err = await(t, proc)
			got := result{out.String(), errs.String(), errText(err)}
			if strings.HasPrefix(c.want.Stdout, "#") { // the number depends on what the tree has
				got.Stdout = "#" + strings.TrimLeft(got.Stdout, "0123456789,")
			}
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			var limit *jail.LimitError
			name := cmp.Or(c.stats, c.how)
			if errors.As(err, &limit) != (c.want.Err != "") || limit != nil && limit.Limit != name {
				t.Errorf("Wait: %#v", err)
			}
			s := proc.Stats().Limits[name]
			if s.Used < c.used || s.Bound == 0 || s.Hits < 1 || c.hits > 0 && s.Hits != c.hits {
				t.Errorf("Stats: %+v", s)
			}
			for other, s := range proc.Stats().Limits {
				if other != name && (s.Bound != 0 || s.Hits != 0) {
					t.Errorf("Stats: %s: %+v", other, s)
				}
			}
			if d := time.Since(start); c.how == "calls" && d < 1500*time.Millisecond {
				t.Errorf("more than 300 calls at 100 a second in %v", d)
			}
		})
	}
}
