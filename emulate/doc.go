// Package emulate is the kernel a guest sees: what each system call does.
//
// [Calls] is the one table: a [Row] holds a call's name, the kinds of its
// arguments, its [Handler] and what differs from Linux. A handler decodes the
// arguments, looks up what they name, acts and encodes the result:
//
//	func getppid(c *emulate.Call) (uint64, error) { return uint64(c.Task.Process.PPID()), nil }
//
// A handler of one's own (jail.Jail.Handlers) has the same shape and may end in
// the one it replaces.
//
// # Model
//
// A [System] is the kernel of one jail: processes, mounts, System V objects. A
// [Process] is a thread group, a [Task] one thread, each named by a virtual id
// from 1. What a task holds of files is in packages fdtable and vfs. Under a task
// is a [Machine]: its memory, its signals, the real kernel. Package jail makes it
// out of a ptraced thread, tests out of a byte slice; nothing here has seen a
// register or a process id of the host's. Around the system is a [Host]: timers,
// the clock, randomness.
//
// # Handlers
//
// All handlers of a jail run on one thread, one at a time, and each task's in a
// coroutine of its own: so there are no locks, and a handler may not block. What
// must wait calls [Call.Wait] with the queues that will be woken, [Call.Retry]
// around a try that gives EAGAIN, or [Call.Go] for Go code that really blocks;
// the other tasks go on meanwhile. After a wait anything may have changed.
//
// Guest memory changes under the kernel's eyes. A handler reads each byte of it
// once, bounds what it read before it allocates, and never panics on it. An error
// is a [golang.org/x/sys/unix.Errno] or something [Errno] turns into one; the
// restart codes say what a signal does to an interrupted call, as in Linux.
//
// # What it is not
//
// It does not decide what a guest may do: that is the policy, before a handler
// is asked. It does not protect the guest from itself. Calls that Linux has and
// this kernel has not answer ENOSYS, and their rows say why.
package emulate
