//go:build linux

package emulate_test

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// slice is a Machine: guest memory as far as these examples need one.
type slice struct {
	emulate.Machine
	bytes []byte
}

func (s *slice) ReadMemory(p []byte, addr uint64) (int, error) {
	if addr >= uint64(len(s.bytes)) {
		return 0, unix.EFAULT
	}
	return copy(p, s.bytes[addr:]), nil
}

func (s *slice) WriteMemory(p []byte, addr uint64) (int, error) {
	if addr >= uint64(len(s.bytes)) {
		return 0, unix.EFAULT
	}
	return copy(s.bytes[addr:], p), nil
}

// clock is a Host that stands still.
type clock struct{ emulate.Host }

func (clock) Gettime(int32) (int64, error) { return 1e18, nil }

// newTask is a kernel with an empty file system and one task of user 0.
func newTask() (*emulate.System, *emulate.Task) {
	sys := &emulate.System{Host: clock{}, FS: vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root()), Hostname: "cell"}
	task := sys.NewInit(sys.FS.Root(), emulate.Cred{}, fdtable.NewTable(nil))
	task.Machine = &slice{bytes: make([]byte, 4096)}
	sys.Current = task
	return sys, task
}

// handler is the row's handler of a call.
func handler(name string) emulate.Handler {
	for _, row := range emulate.Calls() {
		if row.Name == name {
			return row.Do
		}
	}
	return nil
}

func ExampleSystem() {
	sys, task := newTask()
	copy(task.Machine.(*slice).bytes[100:], "/cell\x00")

	call := &emulate.Call{Task: task, Sys: sys, Args: [6]uint64{100, 0o750}}
	result, err := handler("mkdir")(call)
	fmt.Println(result, err)
	_, err = handler("mkdir")(call)
	fmt.Println(err)

	info, err := fs.Stat(vfs.FS(sys.FS.Root(), nil), "cell")
	fmt.Println(info.Mode(), err)
	// Output:
	// 0 <nil>
	// file exists
	// drwxr-x--- <nil>
}

func ExampleRow() {
	for _, row := range emulate.Calls() {
		switch row.Name {
		case "openat", "io_uring_setup":
			fmt.Printf("%s(%s), answered: %v\n", row.Name, row.Args, row.Do != nil)
		}
	}
	// Output:
	// io_uring_setup(uint addr), answered: false
	// openat(dirfd path flags:open mode), answered: true
}

// A handler of one's own may end in the one it replaces.
func ExampleHandler() {
	sys, task := newTask()
	next := handler("getpid")
	mine := func(c *emulate.Call) (uint64, error) {
		if c.Task.Cred.EUID != 0 {
			return 0, unix.EPERM
		}
		return next(c)
	}
	c := &emulate.Call{Task: task, Sys: sys}
	fmt.Println(mine(c))
	task.Cred.EUID = 1000
	fmt.Println(mine(c))
	// Output:
	// 1 <nil>
	// 0 operation not permitted
}

func ExampleCall() {
	sys, task := newTask()
	copy(task.Machine.(*slice).bytes[16:], "/etc/hostname\x00")
	c := &emulate.Call{Task: task, Sys: sys, Args: [6]uint64{1<<64 - 100, 16, 1 << 40, 5000}}
	path, err := c.Path(1)
	fmt.Println(c.FD(0) == unix.AT_FDCWD, path, err)
	fmt.Println(c.Int(2), c.Size(2)) // as int, as size_t
	fmt.Println(c.WriteValue(c.Addr(3), uint64(7)))
	// Output:
	// true /etc/hostname <nil>
	// 0 1099511627776
	// bad address
}

func ExampleTask() {
	sys, task := newTask()
	d := fdtable.NewDescription(nothing{}, nil, unix.O_RDONLY)
	task.Process.Rlimits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 4, Max: 4}
	fd, err := task.InstallFD(d, 3, true)
	fmt.Println(fd, err)
	_, err = task.InstallFD(d, 3, true)
	fmt.Println(err)
	fmt.Println(sys.Task(1) == task, task.Chdir("/none"))
	// Output:
	// 3 <nil>
	// too many open files
	// true no such file or directory
}

// nothing is a File that can only be closed.
type nothing struct{}

func (nothing) Close() error { return nil }

func ExampleProcess() {
	sys, task := newTask()
	p := sys.Process(1)
	p.AtExit(func() { fmt.Println("the first process has ended") })
	fmt.Println(p.Leader() == task, p.PPID(), p.Zombie(), sys.Tasks())
	// Output: true 0 false 1
}

func ExampleCred() {
	for _, k := range []emulate.Cred{{}, {RUID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000}} {
		fmt.Println(k.Capable(unix.CAP_CHOWN))
	}
	// Output:
	// true
	// false
}

func ExampleCaps() {
	caps := emulate.Cred{}.Capabilities()
	fmt.Println(caps.Effective>>unix.CAP_SYS_ADMIN&1, caps.Ambient)
	// Output: 1 0
}

func ExampleDeadline() {
	sys, _ := newTask()
	d := sys.After(1500)
	fmt.Println(int64(d-sys.Now()), "ns from now; 0 is never:", emulate.Deadline(0))
	// Output: 1500 ns from now; 0 is never: 0
}

func ExampleErrno() {
	for _, err := range []error{unix.ENOSPC, fs.ErrNotExist, errors.New("something else")} {
		fmt.Println(emulate.Errno(err))
	}
	// Output:
	// no space left on device true
	// no such file or directory true
	// input/output error false
}
