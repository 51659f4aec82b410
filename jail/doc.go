// Package jail runs an unmodified Linux program in a prison.
//
// [Spawn] starts a command under a [policy.Policy]. The program runs on the real
// processor at full speed; the system calls it makes stop at the warden, a
// goroutine of the caller's own process, which answers them from a virtual file
// tree, process table and clock. The program holds no descriptor, path, process
// id or socket of the host's, so there is nothing outside itself that it could
// name, whatever it tries.
//
//	cmd := exec.Command("/usr/bin/python3", "-c", "print(open('/etc/hostname').read())")
//	cmd.Stdout = os.Stdout
//	proc, err := jail.Spawn(cmd, policy.Tool())
//	if err != nil {
//		return err
//	}
//	return proc.Wait()
//
// # Model
//
// A [policy.Policy] is data: which calls, which files, which limits. A [Jail]
// holds what only Go values can be: file systems, handlers, a clock, a logger. A
// [Process] is a running jail: the first process and all that came of it. When the
// first process ends, the jail ends; when the caller's process ends, however it
// ends, the kernel kills every guest.
//
// What the jail needs of the host is an ordinary Linux kernel of version 5.11 or
// later on x86-64 with ptrace and seccomp, as in a default Docker container: no
// root, no user namespace, no daemon, no helper program. If the caller is root,
// guests run as nobody without capabilities; root that may not trace other users'
// processes, as in a default Docker container, or that has no nobody, in some user
// namespaces, has guests of its own id without capabilities.
//
// # Terminals
//
// Inside, ptys and job control are the kernel's: a shell, script(1) or tmux(1)
// works as it does outside. To let the guest use the caller's own terminal, name
// it in [Jail.Terminal]; a program that has none opens a pty and names its slave.
//
// # Network
//
// Inside, AF_UNIX, TCP and UDP sockets have a network of their own, with a loopback
// and nothing else. [policy.Net] opens ways out of it. A name that is allowed is
// resolved by the jail: every address answers queries at port 53 where no guest
// does, whatever resolv.conf says, but for those that a rule names with that port
// ("10.0.0.5:53"), and an allowed name's address stands for that name alone, so that
// connecting to it dials the name, by [Jail.Dial] or a net.Dialer, and nothing lies
// between a check and the connection. A name that is not allowed does not exist
// (NXDOMAIN), an address that stands for nothing cannot be reached (ENETUNREACH), and
// a port that is not allowed refuses (ECONNREFUSED). Of names there are addresses and
// nothing else: no MX, TXT or PTR.
//
// Ways in are policy.Publish, [Jail.Listen] and [Jail.Sockets]. The bytes of each
// connection go through two goroutines of the caller's process, no more than each
// side takes; half-closes, resets and the guest's end arrive on the other side, and
// what a guest wrote before its end goes out, for which the end of the jail waits
// some seconds. A jail has at most 1024 connections in and out and UDP destinations
// at once, each a descriptor of the caller's process: one more gives EADDRNOTAVAIL,
// and whoever comes in waits. Under a virtual clock time does not jump while
// something that the guest has dialled is open.
//
// # Limits and records
//
// [policy.Limits] bounds memory, tasks, descriptors, files, output, time and calls a
// second, without cgroups: memory and CPU time of all processes together are looked
// at, 20 times a second or up to 1,000 where little is left, memory also when calls have
// asked for more than was left, and the rest is counted where it is used. Beyond a bound the guest gets Linux's own answer, sleeps (calls), or the
// jail ends with a [*LimitError]; an [*ExitError] names the limits that were met, and
// [Process.Stats] tells of each what was used and how often it was met.
//
// A [*Violation] says why the policy kills for a call and what would permit it, and
// [Jail.Refused] is told that of what fails because the policy does not give it: calls,
// files that no mount shows, names that no rule allows. [Jail.Logger] gets the records
// that policy.Policy.Audit asks for, and [Jail.Trace] every call.
//
// # Repeatable runs
//
// With Seed and Time of the policy a run is a function of its inputs: what it prints,
// the files it makes, every call in its order with its result and time ([Jail.Trace])
// are the same in each run, on each machine that has the same programs.
//
//   - Time is virtual. A call takes 10 µs, computing none, and when all tasks sleep it
//     is at once as late as the next timer says. CPU time follows from it.
//   - Random numbers come from the seed, and so does the program's address; libraries,
//     heap and stack lie where they lie in every run, whatever the kernel. This needs
//     Seed alone, or Jail.Random.
//   - One guest thread runs at a time, from a stop to its next, and which of those that
//     could is next is drawn from the seed: another seed tries another order. To the
//     guest there is one CPU, unless Identity says more. This needs Time alone.
//   - Memory in use, load, free space, times of access and what else changes by itself
//     on the host is fixed: numbers of resident pages and faults are 0. Listings of
//     host directories are sorted.
//
// It ends here:
//
//   - Who computes for a second of CPU time while another thread of the process could
//     run, for ten while another process could, or until a timer that a task waits for
//     is due, is interrupted wherever it stands. Programs that spin on shared memory
//     live by that; [Stats].Disorder counts it. Between stops nothing else interrupts,
//     so races of threads are the same races each time.
//   - Instructions that ask the processor: rdrand, rdseed, cpuid, rdpid, and code that
//     libraries choose by its model.
//   - What comes from outside when it comes: network, pipes, terminals, signals of the
//     caller's. Until it has come the clock goes at the host's pace. A regular file, and
//     a cmd.Stdin that is a bytes.Buffer, bytes.Reader or strings.Reader of up to 1 MiB,
//     is there from the start. A call that the policy allows natively beyond
//     [policy.Native], if it waits.
//   - Host mounts: files, their inode and device numbers and times of change are the
//     host's, which also stamps what is written through.
//   - The caller's resource limits, which the guest has; an unlimited stack moves the
//     libraries. Limits, ITIMER_PROF and ITIMER_VIRTUAL count the host's time.
//
// The fixed addresses cost 16 TiB of address space in which nothing lies, and programs
// built for -fsanitize=thread or memory, which want other addresses, do not run.
//
// # Record and replay
//
// [Jail.Record] keeps what a run takes from outside, and [Replay] runs it again without.
// Both are repeatable runs, with a virtual clock, a seed, and threads that take turns, so
// that a run is a function of what comes in; and all that comes in is recorded where it
// does. Of mounted files and directories that is what was looked at, and also that a name
// was not there; of connections, datagrams, streams and signals each piece, with the turn
// after which it came. While the guest waits for the outside its clock goes on as the
// host's does, otherwise by its calls. What the guest sends out and writes to its streams
// is recorded too, and compared: a replay that is other in anything ends with
// [ErrDiverged].
//
// Other than in a run that is not recorded, what comes is let in between two calls of the
// guest's, or after a second of computing without one, and output that nobody takes
// stops the whole jail. What a replay cannot repeat is what no call tells of: the
// processor's features (cpuid), which decide which code libraries choose, rdrand, and
// the order in which threads see each other's stores between calls. The recording is of
// one build of this library.
//
// # What the host sees
//
// Every guest process is a child of the calling process that runs a one-page stub
// in a memfd under a seccomp filter. SIGCHLD arrives for each of its stops; Go
// programs ignore it, and [QuietStops] spares it. Children of other packages are never
// waited for. But whoever waits for any child, wait4(-1), as a reaper in process 1 of a
// container does, takes the stops from the jail, which stands still then, as it takes
// the ends of os/exec's commands: let it wait in a process of its own.
//
// A jail has a thread of the caller's, of which Go has 10,000 (debug.SetMaxThreads),
// about ten descriptors, one for each host mount among them, and at least two
// processes.
//
// # Second walls
//
// A guest has nothing to name, and that is the wall. Behind it stand others, for the
// day when a bug of ours opens it; [Process.Walls] tells which, and [Preflight] does
// before there is a jail. Always: seccomp, no-new-privs, capabilities (none), rlimits
// (the kernel makes no descriptor for a guest, no file grows, no core is dumped). Where
// the host offers them: nobody, if the caller is root; non-dumpable, if it has
// CAP_SYS_PTRACE, for without it process_vm_readv of a process that is not dumpable
// fails (EPERM), traced or not; and landlock, which denies every file, TCP port,
// abstract socket and signal that its version knows. All processes have them, by fork
// and by execve. Of a start they take about 20 µs, 15 of them Landlock's.
//
// On request, by [Jail.Walls]: the empty namespaces user (about 20 µs for each process
// image), mount (50 µs), ipc (40 µs), uts (10 µs) and net (0.6 ms), and empty-root (20
// µs), chroot to a directory with nothing in it. A caller that is not root gets them
// in a user namespace, which many hosts forbid. What was asked for and cannot be had is
// an error of Spawn that names it.
//
// # Threat model
//
// To be protected are the calling process and its memory; the host's files,
// processes, sockets, devices, terminals and kernel; every other jail; and what a
// policy does not show.
//
// The attacker is the guest: all its processes and threads from their first
// instruction on. It knows these sources, makes any call of any ABI with any
// arguments, changes memory while a call looks at it, dies or is killed at any
// moment, and may have friends in other jails. Who wrote the policy, handlers, the
// host's root and the host's kernel are trusted.
//
// The walls, from the inside: the seccomp filter lets pass only [policy.Native], ends
// the jail at calls of i386 and knows none of x32; every other call stops at the
// warden, which answers out of its own data and fetches what it looks at once; a guest
// process runs nothing before its filter is on and holds no descriptor but the arenas',
// in which it maps the images of programs and files, read-only, and the jail's own
// files; behind these stand the second walls. When the warden fails, guests die with
// it (PTRACE_O_EXITKILL).
//
// Four promises, and the tests that fail if one is broken:
//
//   - Nothing named: a guest holds no name for anything it does not own.
//     TestNothingNamed looks from outside, TestEscapes tries the holes of other
//     sandboxes and TestHostileCalls every call (internal/escape), TestHostUnchanged
//     looks at what an overlay left. Numbers that were given up are nobody's:
//     descriptors (TestHeldStream, TestTransferClosed, TestMapClosed, TestHostLinkMany,
//     TestHostOpenAgain) and places in an arena (TestHostSharedPlace, TestRunsShared,
//     TestKeptPlace). A rule of the network opens its own port (TestHostLoopbackName),
//     names are host names (TestHostNames); what was spawned does not run outside
//     (TestSpawnedCommand), no policy allows what the warden rests on (TestSpawnErrors).
//   - Unmodified: programs do in the jail what they do on the host. TestPrograms and
//     TestTwins compare the two.
//   - No privileges, no parts: TestContainerRoot and TestWalls start guests without
//     capabilities and as an ordinary user, TestNothingNamed finds no process but
//     stubs, TestCallerKilled nothing left of a caller that is killed.
//   - Small: TestCalls counts what can be reached.
//
// Nor does a guest keep the warden from other guests or from Kill: TestEscapes tries
// it, and in one way each TestFair, TestLongCall, TestStreamTurns,
// TestTimersTakeTurns, TestTerminalStuck and TestShotInExec.
//
// Not covered:
//
//   - Side channels through shared hardware: caches, timing, the load of the machine.
//   - Bugs of the host kernel in ptrace, seccomp, memory management, futexes and the
//     few other calls of [policy.Native].
//   - Denial of what is shared: a guest computes whenever the scheduler lets it, and
//     without [policy.Limits] takes what memory there is. The caller is slowed, and
//     may be preempted for long.
//   - What a policy gives away: a mount for writing is the host's directory, a handler
//     of one's own is trusted code, and whoever has an allowed name decides which
//     address it is.
//   - Whoever on the host has the user id of the guests, nobody's or the caller's: to
//     such processes guests are processes like others.
package jail
