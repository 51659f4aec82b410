//go:build linux && amd64

package jail_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

func ExampleJail_learn() {
	run := func(p policy.Policy, name string) (r policy.Record, err error) {
		cmd := exec.Command("/bin/cat", name)
		proc, err := (&jail.Jail{Learn: &r}).Spawn(cmd, p)
		if err == nil {
			err = proc.Wait()
		}
		return r, err
	}
	record, err := run(policy.Tool(), "/etc/hostname")
	learned := policy.Tool().Learn(record)
	fmt.Println(err, learned.Learned())
	_, err = run(learned, "/etc/hostname")
	fmt.Println(err)
	_, err = run(learned, "/etc/passwd")
	fmt.Println(err)
	// Output:
	// <nil> 1
	// <nil>
	// exit status 1
}

// TestLearnRandom: random names and addresses leave no trace, and what the caller
// looks at is not the guest's need.
func TestLearnRandom(t *testing.T) {
	learn := func() policy.Policy {
		t.Helper()
		var r policy.Record
		var out bytes.Buffer
		cmd := exec.Command("/bin/sh", "-c", `for i in 1 2 3; do f=$(mktemp); echo $i > $f; cat $f; mv $f $f.x; done; mktemp -d; sleep 0.01 & wait; kill -USR1 $$`)
		cmd.Stdout = &out
		proc, err := (&jail.Jail{Learn: &r}).Spawn(cmd, policy.Tool())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = proc.Tree().Open("etc/passwd")
		var exit *jail.ExitError
		if err := proc.Wait(); !errors.As(err, &exit) || exit.Signal() != 10 {
			t.Fatal(err, out.String())
		}
		return policy.Tool().Learn(r)
	}
	a, b := learn(), learn()
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	for _, m := range a.Mounts {
		if strings.HasPrefix(m.Guest, "/tmp/") || m.Guest == "/etc/passwd" {
			t.Errorf("learned %s", m)
		}
	}
}

// TestLearnDenied: what is denied is not learned.
func TestLearnDenied(t *testing.T) {
	p := policy.Tool()
	p.Calls = append([]policy.Rule{{Calls: []string{"getcwd"}, Action: policy.Deny, Errno: "EPERM"},
		{Calls: []string{"uname"}, Action: policy.Kill}}, p.Calls...)
	var r policy.Record
	for _, script := range []string{"/bin/pwd || true", "uname"} {
		proc, err := (&jail.Jail{Learn: &r}).Spawn(exec.Command("/bin/sh", "-c", script), p)
		if err != nil {
			t.Fatal(err)
		}
		_ = proc.Wait()
	}
	q := p.Learn(r)
	for _, call := range []string{"getcwd", "uname"} {
		if d := q.Lookup(call, [6]uint64{}); d.Action == policy.Emulate || d.Action == policy.Allow {
			t.Errorf("%s: %v", call, d)
		}
	}
	for _, line := range p.Diff(q) {
		if strings.HasPrefix(line, "+") {
			t.Errorf("Diff: %s", line)
		}
	}
}
