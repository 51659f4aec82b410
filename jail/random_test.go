//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
)

// randomSteps is how many calls a program of testdata/random.c makes, beside its
// children's.
const randomSteps = "150"

// randomOutput is what a program of random calls says, natively or in a jail. The
// host's directory is in memory, as the jail's is.
func randomOutput(t *testing.T, program string, seed uint64, inJail bool) string {
	dir, err := os.MkdirTemp(memoryDir(t), "random")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil { // as own mounts it
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hung)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, strconv.FormatUint(seed, 10), randomSteps)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &out, &out, []string{"PATH=/bin"}
	if inJail {
		p := own(dir)
		proc, err := jail.Spawn(cmd, p)
		if err != nil {
			t.Fatal(err)
		}
		err = await(t, proc)
		var exit *jail.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		return out.String() + errText(err)
	}
	cmd.WaitDelay = time.Second // children that outlive it hold the pipe
	err = cmd.Run()
	return out.String() + errText(err)
}

// memoryDir is a directory of the host's in memory, or else any.
func memoryDir(t *testing.T) string {
	const shm = "/dev/shm"
	if dir, err := os.MkdirTemp(shm, "oubliette"); err == nil {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Error(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// sameRandom compares one program's runs. Some natively depend on time: what two
// native runs do not agree on is not compared.
func sameRandom(t *testing.T, program string, seed uint64) {
	t.Helper()
	var diff string
	for range 3 {
		want, got := randomOutput(t, program, seed, false), randomOutput(t, program, seed, true)
		if want == got {
			return
		}
		if diff = cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); want != randomOutput(t, program, seed, false) {
			return
		}
	}
	t.Errorf("seed %d, -native +jailed:\n%s", seed, diff)
}

// TestRandomCalls runs programs of random calls that open, duplicate, map, lock, poll,
// fork, execute, signal, wait for, stop and kill.
func TestRandomCalls(t *testing.T) {
	program := guestProgram(t, "random")
	for seed := range uint64(times(200)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			sameRandom(t, program, seed)
		})
	}
}

// FuzzRandomCalls is TestRandomCalls with other seeds.
func FuzzRandomCalls(f *testing.F) {
	program := guestProgram(f, "random")
	if p, err := filepath.Abs(program); err == nil {
		program = p
	}
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { sameRandom(t, program, seed) })
}
