//go:build !(linux && amd64)

package jail

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"oubliette/policy"
)

// Jail is for Linux on x86-64; elsewhere it exists so that programs compile.
type Jail struct{}

// Process is a running jail, which there is none of here.
type Process struct{}

// Spawn gives an error that is errors.ErrUnsupported.
func Spawn(cmd *exec.Cmd, p policy.Policy) (*Process, error) { return (&Jail{}).Spawn(cmd, p) }

// Spawn gives an error that is errors.ErrUnsupported.
func (j *Jail) Spawn(*exec.Cmd, policy.Policy) (*Process, error) {
	return nil, unsupported()
}

// Preflight says the same.
func Preflight() Report { return Report{Err: unsupported()} }

func unsupported() error {
	return fmt.Errorf("jail: Spawn needs linux/amd64, this is %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}

// Walls are none.
func (p *Process) Walls() []Wall { return nil }

// Wait gives errors.ErrUnsupported.
func (p *Process) Wait() error { return errors.ErrUnsupported }

// Kill gives errors.ErrUnsupported.
func (p *Process) Kill() error { return errors.ErrUnsupported }

// Signal gives errors.ErrUnsupported.
func (p *Process) Signal(os.Signal) error { return errors.ErrUnsupported }

// Warm keeps nothing here.
type Warm struct{}

// KeepWarm gives a Warm that keeps nothing.
func KeepWarm() (*Warm, error) { return &Warm{}, nil }

// Close does nothing.
func (*Warm) Close() error { return nil }

// QuietStops does nothing.
func QuietStops() error { return nil }
