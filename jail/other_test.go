//go:build !(linux && amd64)

package jail_test

import (
	"errors"
	"testing"

	"oubliette/jail"
)

// TestUnsupported: elsewhere there is an honest error.
func TestUnsupported(t *testing.T) {
	if err := jail.Preflight().Err; !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
