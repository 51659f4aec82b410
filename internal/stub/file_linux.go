package stub

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Memfd returns the stub as a file that can be executed through /proc/self/fd
// and that nobody can change: a sealed memfd, or, where the host forbids to
// execute one (vm.memfd_noexec=2), an unlinked temporary file open for reading.
// The caller closes it.
func Memfd() (*os.File, error) {
	f, err := sealed()
	if err == nil && executable(f) == nil {
		return f, nil
	}
	if err == nil {
		err = errors.Join(unix.EACCES, f.Close())
	}
	for _, dir := range []string{os.TempDir(), "/var/tmp", "/dev/shm"} {
		if f, tmpErr := unlinked(dir); tmpErr == nil {
			return f, nil
		}
	}
	return nil, fmt.Errorf("no executable memfd (see /proc/sys/vm/memfd_noexec) "+
		"and no temporary directory to execute from: %w", err)
}

func sealed() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("stub", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC is of Linux 6.3
		fd, err = unix.MemfdCreate("stub", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "stub")
	if _, err = f.Write(Image()); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS,
			unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlinked makes the file in dir. It must not stay open for writing, not even in
// a child that another goroutine forks meanwhile: execve would be ETXTBSY.
func unlinked(dir string) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o500)
	var w *os.File
	if err == nil {
		w = os.NewFile(uintptr(fd), "stub")
	} else if w, err = os.CreateTemp(dir, "stub"); err == nil {
		err = os.Remove(w.Name())
	}
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if _, err = w.Write(Image()); err != nil {
		return nil, err
	}
	// The guest runs as nobody when the caller is root.
	if err = w.Chmod(0o555); err != nil {
		return nil, err
	}
	f, err := os.Open(Path(int(w.Fd()), 0))
	if err == nil {
		if err = executable(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, err
}

// executable tells whether f's mode and mount allow to execute it.
func executable(f *os.File) error {
	return unix.Access(Path(int(f.Fd()), 0), unix.X_OK)
}

// Path names descriptor fd of the process that uses the path. It has at least
// room bytes: slashes fill it up, so that AT_EXECFN, which is the path the stub
// was executed by, can be overwritten by the guest's.
func Path(fd, room int) string {
	n := strconv.Itoa(fd)
	const dir = "/proc/self/fd"
	return dir + strings.Repeat("/", max(1, room-len(dir)-len(n))) + n
}
