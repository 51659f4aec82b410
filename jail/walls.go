//go:build linux && amd64

package jail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
	"oubliette/internal/stub"
	"oubliette/internal/sysno"
)

// walls are the second walls of one jail. Every stub puts them up before its
// filter, so that each process has them whether it came by fork or execve.
type walls struct {
	list  []Wall // Up is what the first process has: no later one may have less
	asked []string
	abi   int  // of Landlock
	first bool // none was put up yet
}

// wallCall is a call of a batch that a wall is made of.
type wallCall struct {
	wall  string
	index int
}

// namespaces are the walls that are new namespaces, see namespaces(7).
var namespaces = map[string]uint64{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET,
	"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS}

var namespaceNames = []string{"user", "mount", "net", "ipc", "uts"}

func isNamespace(wall string) bool { return namespaces[wall] != 0 }

// newWalls says which walls shall be up.
func newWalls(asked []string, ids hostIDs) (*walls, error) {
	s := &walls{asked: slices.Clone(asked), first: true}
	up := func(name string, up bool, is, not string) {
		if !up {
			is = not
		}
		s.list = append(s.list, Wall{name, up, is})
	}
	up("seccomp", true, "the kernel sees no call but those the policy allows", "")
	up("no-new-privs", true, "no program can gain rights", "")
	up("capabilities", true, "none are held", "")
	up("nobody", ids.drop, "guests are nobody on the host", "the caller is not root, or may not trace and kill nobody's processes, and guests are the caller's own user")
	up("rlimits", true, "no core dumps, and no more descriptors than the arenas", "")
	up("non-dumpable", ids.trace, "other processes of the guest's user may not look into it",
		"process_vm_readv of a process that is not dumpable needs CAP_SYS_PTRACE even of its tracer, which the caller has not")
	var err error
	s.abi, err = landlockABI()
	denied := "no access to files"
	if s.abi >= 4 {
		denied += ", TCP ports"
	}
	if s.abi >= 6 {
		denied += ", abstract sockets, processes outside"
	}
	up("landlock", err == nil, fmt.Sprintf("%s (ABI %d)", denied, s.abi), fmt.Sprint(err))
	const not = "not asked for in Jail.Walls"
	for _, name := range namespaceNames {
		implied := name == "user" && !ids.admin && slices.ContainsFunc(asked, isNamespace)
		up(name, s.has(name) || implied, "a namespace of its own, and empty", not)
	}
	switch root := "empty-root"; {
	case s.up("mount"), s.has(root) && (ids.chroot || s.up("user")):
		up(root, true, "the root directory is an empty one", "")
	case s.has(root):
		up(root, false, "", "chroot needs CAP_SYS_CHROOT, or the wall user")
	default:
		up(root, false, "", not)
	}
	for _, name := range asked {
		w := s.get(name)
		if w == nil {
			return nil, &Error{Op: "Jail.Walls", Err: fmt.Errorf("no wall is named %q: write one of %s", name, strings.Join(s.names(), " "))}
		}
		if !w.Up {
			return nil, &Error{Op: "wall " + name, Err: errors.New(w.Reason)}
		}
	}
	return s, nil
}

func (s *walls) has(name string) bool { return slices.Contains(s.asked, name) }

func (s *walls) get(name string) *Wall {
	i := slices.IndexFunc(s.list, func(w Wall) bool { return w.Name == name })
	if i < 0 {
		return nil
	}
	return &s.list[i]
}

func (s *walls) up(name string) bool { return s.get(name).Up }

func (s *walls) names() (names []string) {
	for _, w := range s.list {
		names = append(names, w.Name)
	}
	return names
}

// landlockABI is the version of landlock(7) that the host offers.
func landlockABI() (int, error) {
	abi, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("landlock_create_ruleset: %w: the kernel must have Landlock (5.13, in lsm= of its command line), "+
			"and a container's seccomp profile must allow it", e)
	}
	return int(abi), nil
}

// landlockAttr is the struct landlock_ruleset_attr of all that a version knows
// (Documentation/userspace-api/landlock.rst).
func landlockAttr(abi int) []byte {
	var a [3]uint64 // accesses to files and to the network, scopes; unknown ones must be 0
	a[0] = 1<<13 - 1
	for _, right := range []struct {
		since int
		at    int
		bits  uint64
	}{
		{2, 0, unix.LANDLOCK_ACCESS_FS_REFER},
		{3, 0, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		{4, 1, unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP},
		{5, 0, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
		{6, 2, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL},
		{9, 0, unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX},
	} {
		if abi >= right.since {
			a[right.at] |= right.bits
		}
	}
	var p []byte
	for _, v := range a {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	return p
}

// call adds a call of a wall to n's batch. One that was asked for, or that the
// first process has, must succeed.
func (s *walls) call(b *stub.Batch, n *newImage, wall string, nr int, args ...uint64) {
	e := stub.Entry{Nr: nr}
	if s.has(wall) || !s.first || isNamespace(wall) {
		e.Flags = stub.Must
	}
	copy(e.Args[:], args)
	n.walls = append(n.walls, wallCall{wall, b.Add(e)})
}

// early are the walls that need the caller's rights.
func (s *walls) early(b *stub.Batch, n *newImage, ids hostIDs) {
	for _, name := range namespaceNames {
		// Where the caller may make the others, the user namespace comes last, for
		// in it guests cannot become nobody; else it comes first, to give the right.
		if !s.up(name) || name == "user" && ids.admin {
			continue
		}
		wall := name
		if !s.has(name) { // the one it is there for
			wall = s.asked[slices.IndexFunc(s.asked, isNamespace)]
		}
		s.call(b, n, wall, unix.SYS_UNSHARE, namespaces[name]) // must not fail: what follows would be done to the host
	}
	if s.up("mount") {
		s.emptyMounts(b, n)
	} else if s.up("empty-root") && !(s.up("user") && ids.admin) {
		s.emptyRoot(b, n)
	}
}

// emptyMounts leaves an empty tmpfs of the new mount namespace, as in pivot_root(2)'s
// NOTES: the new root is put over the old one, which goes.
func (s *walls) emptyMounts(b *stub.Batch, n *newImage) {
	str := func(t string) uint64 { return b.Data([]byte(t + "\x00")) }
	root, proc, here, tmpfs := str("/"), str("/proc"), str("."), str("tmpfs")
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	s.call(b, n, "mount", unix.SYS_MOUNT, 0, root, 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	s.call(b, n, "mount", unix.SYS_MOUNT, tmpfs, proc, tmpfs, flags, 0)
	s.call(b, n, "mount", unix.SYS_CHDIR, proc)
	s.call(b, n, "mount", unix.SYS_PIVOT_ROOT, here, here)
	s.call(b, n, "mount", unix.SYS_UMOUNT2, here, unix.MNT_DETACH)
	s.call(b, n, "mount", unix.SYS_CHDIR, root)
}

// emptyRoot makes a directory the root that has only the numbers of the process's
// own descriptors in it, and nothing when it has ended.
func (s *walls) emptyRoot(b *stub.Batch, n *newImage) {
	s.call(b, n, "empty-root", unix.SYS_CHDIR, b.Data([]byte("/proc/self/fdinfo\x00")))
	s.call(b, n, "empty-root", unix.SYS_CHROOT, b.Data([]byte(".\x00")))
}

// late are the walls for a process without rights. They come last, for they
// stand in the way of making others.
func (s *walls) late(b *stub.Batch, n *newImage, ids hostIDs) {
	if s.up("user") {
		if ids.admin {
			s.call(b, n, "user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
			if !s.up("mount") && s.up("empty-root") {
				s.emptyRoot(b, n)
			}
		}
		ids.batchNone(b) // in its own namespace it had them all
	}
	if s.up("landlock") {
		attr := landlockAttr(s.abi)
		const ruleset = 0 // the lowest descriptor: all but the arenas are closed
		s.call(b, n, "landlock", unix.SYS_LANDLOCK_CREATE_RULESET, b.Data(attr), uint64(len(attr)), 0)
		s.call(b, n, "landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
		s.call(b, n, "landlock", unix.SYS_CLOSE, ruleset)
	}
	// No descriptor can be made any more; those there are stay. The guest's own limits
	// are kept and shown.
	none := b.Data(make([]byte, 16))
	for _, r := range []uint64{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_MSGQUEUE} {
		b.Call(unix.SYS_PRLIMIT64, 0, r, none, 0)
	}
	// A core would be a file of the host's, or what a program of the host's reads, as
	// root maybe: that one the kernel starts even at 0, but not at 1, which is too few
	// bytes for a file, too (core(5), fs/coredump.c).
	core := make([]byte, 16)
	if n.owner.w.hostLimits[unix.RLIMIT_CORE].Max > 0 {
		core[0], core[8] = 1, 1
	}
	b.Call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, b.Data(core), 0)
}

// check takes note of what the first batch could put up.
func (s *walls) check(b *stub.Batch, n *newImage) error {
	if !s.first {
		return nil
	}
	s.first = false
	mem := make([]byte, len(b.Bytes()))
	if _, err := ptrace.Read(n.tid, mem, stub.DataAddr); err != nil {
		return err
	}
	for _, c := range n.walls {
		if r := int64(b.Result(mem, c.index)); r < 0 {
			if w := s.get(c.wall); w.Up {
				*w = Wall{w.Name, false, fmt.Sprintf("%s: %v", sysno.Name(b.Entry(c.index).Nr), unix.Errno(-r))}
			}
		}
	}
	return nil
}

// wallRefused is of a wall that had to be there.
func wallRefused(wall, call string, errno unix.Errno) error {
	err := fmt.Errorf("%s: %w", call, errno)
	switch {
	case isNamespace(wall) && errno == unix.ENOSPC:
		err = fmt.Errorf("%w: raise the limits of /proc/sys/user/max_*_namespaces", err)
	case isNamespace(wall):
		err = fmt.Errorf("%w: the host must allow it: as root with CAP_SYS_ADMIN, or by user namespaces for all "+
			"(kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, a container's seccomp profile)", err)
	}
	return &Error{Op: "wall " + wall, Err: err}
}

// Walls tells which second walls stand around the guests, always all of them and
// in the same order.
func (p *Process) Walls() (list []Wall) {
	p.do(func() { list = slices.Clone(p.w.walls.list) })
	return list
}
