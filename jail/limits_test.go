//go:build linux && amd64

package jail_test

import (
	"os/exec"
	"testing"

	"oubliette/jail"
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
