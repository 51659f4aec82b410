//go:build unix

package jail

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/policy"
)

// Error is a refusal or failure of ours, not the guest's.
type Error struct {
	Op  string // what was being done: a call, "policy", "mount /tmp", …
	Err error
}

func (e *Error) Error() string { return "jail: " + e.Op + ": " + e.Err.Error() }

// Unwrap is Err.
func (e *Error) Unwrap() error { return e.Err }

// Violation is a call that the policy kills for. The whole jail died of it. A
// handler that returns one forbids the call in the same way; it need say only the
// Rule.
type Violation struct {
	Call string
	Args [6]uint64
	PID  int // of the guest process, as the guest knows it
	Rule string
	// Why is the policy's side of it: the rule that decided and what would
	// permit the call. Zero for a call of another ABI.
	Why policy.Explanation
	// Text is the call with its arguments decoded, as strace prints it, but ""
	// for a call of another ABI.
	Text string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("jail: violation: process %d called %s: %s", v.PID, cmp.Or(v.Text, v.Call), v.Rule)
}

// Unwrap makes a Violation an EPERM.
func (v *Violation) Unwrap() error { return unix.EPERM }

// LimitError ends a jail that reached a bound of its policy.Limits.
type LimitError struct {
	Limit string // as in JSON: "memory", "disk", "output", "cpu" or "wall"
	Bound string
	Err   error // of "cpu" the *ExitError, if task 1 died of SIGXCPU or SIGKILL; else nil
}

func (e *LimitError) Error() string {
	s := "jail: limit " + e.Limit + " (" + e.Bound + ") reached"
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is Err.
func (e *LimitError) Unwrap() error { return e.Err }

// ExitError is the guest's own end other than exit status 0.
type ExitError struct {
	Status unix.WaitStatus // of task 1
	// Limits are those that the guest met before, named as in the JSON of
	// policy.Limits: it may have failed because it was refused more.
	Limits []string
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("exit status %d", e.Status.ExitStatus())
	if e.Status.Signaled() {
		s = "signal: " + e.Status.Signal().String()
	}
	if len(e.Limits) > 0 {
		s += " (reached limits: " + strings.Join(e.Limits, ", ") + ")"
	}
	return s
}

// ExitCode is the exit status, -1 if a signal ended the guest.
func (e *ExitError) ExitCode() int {
	if e.Status.Exited() {
		return e.Status.ExitStatus()
	}
	return -1
}

// Signaled reports that a signal ended the guest.
func (e *ExitError) Signaled() bool { return e.Status.Signaled() }

// Signal is the signal that ended the guest, -1 if none did.
func (e *ExitError) Signal() unix.Signal { return e.Status.Signal() }

// errKilled: Kill was called. Wait gives an ExitError with SIGKILL then.
var errKilled = errors.New("killed")

// spawnError makes every error of Spawn an *Error.
func spawnError(err error) error {
	e := &Error{Op: "spawn", Err: err}
	if !errors.As(err, &e) {
		err = e
	}
	if errors.Is(err, unix.EMFILE) { // wherever it was met
		return &Error{Op: e.Op, Err: fmt.Errorf("%w: raise RLIMIT_NOFILE (ulimit -n)", e.Err)}
	}
	return err
}
