//go:build linux

package emulate

import (
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// devices are the character devices a guest has, wherever their nodes lie
// (admin-guide/devices.txt).
var devices = []struct {
	name         string
	major, minor uint32
	open         func(s *System, flags int) (fdtable.File, error)
}{
	{"null", 1, 3, func(*System, int) (fdtable.File, error) { return nullDevice{}, nil }},
	{"zero", 1, 5, func(*System, int) (fdtable.File, error) { return zeroDevice{}, nil }},
	{"full", 1, 7, func(*System, int) (fdtable.File, error) { return fullDevice{}, nil }},
	{"random", 1, 8, func(s *System, _ int) (fdtable.File, error) { return randomDevice{s}, nil }},
	{"urandom", 1, 9, func(s *System, _ int) (fdtable.File, error) { return randomDevice{s}, nil }},
	{"tty", 5, 0, openControlling},
	{"ptmx", ptmxMajor, ptmxMinor, openPTMX},
}

// NewDev returns the file system of /dev and makes its devices work in s.FS,
// on every file system of it.
func NewDev(s *System, opt vfs.MemOptions) (*vfs.Mem, error) {
	m := vfs.NewMem(opt)
	root := m.Root()
	for _, d := range devices {
		rdev := unix.Mkdev(d.major, d.minor)
		if _, err := root.(vfs.Creator).Create(d.name, unix.S_IFCHR|0o666, rdev, vfs.Owner{}); err != nil {
			return nil, err
		}
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
		{"stderr", "/proc/self/fd/2"}} {
		if _, err := root.(vfs.Symlinker).Symlink(l[0], l[1], vfs.Owner{}); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"shm", "pts"} {
		if _, err := root.(vfs.Mkdirer).Mkdir(dir, 0o755, vfs.Owner{}); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// RegisterDevices makes device nodes openable in s.FS.
func RegisterDevices(s *System) {
	for _, d := range devices {
		s.FS.Devices[unix.Mkdev(d.major, d.minor)] = func(flags int) (fdtable.File, error) { return d.open(s, flags) }
	}
}

// device is what all of them are: endless, without an offset.
type device struct{}

func (device) Close() error { return nil }

// Seek succeeds and does nothing (drivers/char/mem.c:null_lseek).
func (device) Seek(*fdtable.Description, int64, int) (int64, error) { return 0, nil }

// Write swallows everything.
func (device) Write(p []byte) (int, error) { return len(p), nil }

// Pwrite is Write.
func (device) Pwrite(p []byte, _ int64) (int, error) { return len(p), nil }

type nullDevice struct{ device }

func (nullDevice) Read([]byte) (int, error)         { return 0, nil }
func (nullDevice) Pread([]byte, int64) (int, error) { return 0, nil }

// zeros is what both zero and full read as.
type zeros struct{ device }

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (z zeros) Pread(p []byte, _ int64) (int, error) { return z.Read(p) }

type zeroDevice struct{ zeros }

// MapZero is fdtable.ZeroMapper.
func (zeroDevice) MapZero() {}

type fullDevice struct{ zeros }

func (fullDevice) Write([]byte) (int, error)         { return 0, unix.ENOSPC }
func (fullDevice) Pwrite([]byte, int64) (int, error) { return 0, unix.ENOSPC }

type randomDevice struct{ s *System }

func (randomDevice) Close() error { return nil }

func (r randomDevice) Read(p []byte) (int, error) {
	r.s.Host.Random(p)
	return len(p), nil
}

func (r randomDevice) Pread(p []byte, _ int64) (int, error) { return r.Read(p) }

// Write is the guest's entropy, which goes nowhere.
func (randomDevice) Write(p []byte) (int, error) { return len(p), nil }

func (randomDevice) Seek(*fdtable.Description, int64, int) (int64, error) { return 0, nil }
