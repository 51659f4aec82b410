//go:build linux

package emulate

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Errors that are about the thread and not the call. A handler returns them as
// they are.
var (
	// ErrGone: the thread was killed while the call was being answered.
	ErrGone = errors.New("guest thread is gone")
	// ErrPass: the real kernel shall make the call as it stands, and its result
	// is the guest's without the handler seeing it: one stop, not two.
	ErrPass = errors.New("pass the call to the kernel")
)

// Restart codes of include/linux/errno.h. A handler that was interrupted
// returns the one Linux returns for its call; the guest never sees them.
const (
	ERESTARTSYS           = unix.Errno(512) // restart if SA_RESTART, else EINTR
	ERESTARTNOINTR        = unix.Errno(513) // always restart
	ERESTARTNOHAND        = unix.Errno(514) // restart only if no handler runs
	ERESTART_RESTARTBLOCK = unix.Errno(516) // as ERESTARTNOHAND, keeping the deadline
	// ErrInterrupted is what Wait gives when a signal is due.
	ErrInterrupted = ERESTARTSYS
)

// Errno turns a handler's error into the number the guest sees. ok is false if
// nothing better than EIO was found: a bug worth a warning.
func Errno(err error) (e unix.Errno, ok bool) {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return errno, true
	case errors.Is(err, fs.ErrNotExist):
		return unix.ENOENT, true
	case errors.Is(err, fs.ErrExist):
		return unix.EEXIST, true
	case errors.Is(err, fs.ErrPermission):
		return unix.EACCES, true
	case errors.Is(err, fs.ErrInvalid):
		return unix.EINVAL, true
	case errors.Is(err, fs.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return unix.EPIPE, true
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return unix.ETIMEDOUT, true
	case errors.Is(err, io.ErrUnexpectedEOF):
		return unix.EIO, true
	}
	return unix.EIO, false
}
