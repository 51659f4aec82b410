//go:build linux && amd64

package jail

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/internal/stub"
)

// nobody is who a guest is on the host when the caller is root.
const nobody = 65534

// hostIDs is what a guest process must give up of the caller's rights, as far as
// the host allows it. It is a second wall: guests name nothing that rights would
// be needed for.
type hostIDs struct {
	drop  bool // become nobody
	strip bool // remain who the caller is, without capabilities

	admin, chroot, trace bool // the caller may make namespaces, chroot, trace anybody
}

// readHostIDs looks what the caller is. Root's guests become nobody where that can
// be undone by nobody but us: to trace and kill another user's process the caller
// needs capabilities that root in a container may lack (Docker gives no
// CAP_SYS_PTRACE), and a user namespace may have no nobody. Then they remain
// root's and lose all capabilities.
func readHostIDs() hostIDs {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&hdr, &sets[0]) != nil {
		return hostIDs{strip: true}
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_KILL | 1<<unix.CAP_SYS_PTRACE
	var held uint32
	for _, s := range sets {
		held |= s.Effective | s.Permitted | s.Inheritable
	}
	root := os.Geteuid() == 0
	drop := root && sets[0].Effective&need == need &&
		hasID("uid_map", nobody) && hasID("gid_map", nobody) && !strings.HasPrefix(procSelf("setgroups"), "deny")
	can := func(c int) bool { return sets[0].Effective&(1<<c) != 0 }
	return hostIDs{drop, !drop && (root || held != 0), can(unix.CAP_SYS_ADMIN), can(unix.CAP_SYS_CHROOT), can(unix.CAP_SYS_PTRACE)}
}

func procSelf(name string) string {
	text, _ := os.ReadFile("/proc/self/" + name) // "" says nothing against it
	return string(text)
}

// hasID reports that a user namespace's map (user_namespaces(7)) has id.
func hasID(name string, id uint64) bool {
	text := procSelf(name)
	for line := range strings.Lines(text) {
		var first, outside, count uint64
		if n, _ := fmt.Sscan(line, &first, &outside, &count); n == 3 && id >= first && id-first < count {
			return true
		}
	}
	return text == ""
}

// batch makes the stub give up the caller's rights, and the way to get any.
func (ids hostIDs) batch(b *stub.Batch) {
	switch {
	case ids.drop:
		b.Call(unix.SYS_SETGROUPS, 0, 0)
		b.Call(unix.SYS_SETRESGID, nobody, nobody, nobody)
		b.Call(unix.SYS_SETRESUID, nobody, nobody, nobody)
		ids.batchDumpable(b)
	case ids.strip:
		ids.batchNone(b)
	}
	b.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// batchNone makes the stub give up all capabilities.
func (ids hostIDs) batchNone(b *stub.Batch) {
	b.Call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	hdr := b.Data([]byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0}) // _LINUX_CAPABILITY_VERSION_3, the stub itself
	b.Call(unix.SYS_CAPSET, hdr, b.Data(make([]byte, 2*12)))
	ids.batchDumpable(b)
}

// batchDumpable sets what a change of rights unset. Without CAP_SYS_PTRACE the
// warden could not read a guest that is not dumpable, traced or not
// (kernel/ptrace.c:__ptrace_may_access, measured).
func (ids hostIDs) batchDumpable(b *stub.Batch) {
	dumpable := uint64(1)
	if ids.trace {
		dumpable = 0
	}
	b.Call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, dumpable, 0, 0, 0)
}

// batchClose makes the stub close whatever it inherited but the arenas. Where
// the host refuses close_range, as container profiles older than it do with EPERM,
// process tid is asked for what there is.
func batchClose(b *stub.Batch, tid int) error {
	if _, _, e := unix.RawSyscall(unix.SYS_CLOSE_RANGE, 1<<32-1, 1<<32-1, 0); e == 0 {
		b.Call(unix.SYS_CLOSE_RANGE, 0, uint64(arenaFDs[0]-1), 0)
		b.Call(unix.SYS_CLOSE_RANGE, uint64(arenaFDs[2]+1), 1<<32-1, 0)
		return nil
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", tid))
	if err != nil {
		return &Error{Op: "close_range", Err: fmt.Errorf("the host refuses it, and %w", err)}
	}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && (fd < arenaFDs[0] || fd > arenaFDs[2]) {
			b.Call(unix.SYS_CLOSE, uint64(fd))
		}
	}
	return nil
}
