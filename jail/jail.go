//go:build linux && amd64

package jail

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"time"

	"go.uber.org/zap"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/policy"
)

// Jail holds what only Go values can be; everything that can be written down is
// in a [policy.Policy]. The zero Jail is ready to use and adds nothing. A Jail
// may be used by many Spawns at once and must not be changed meanwhile.
type Jail struct {
	// Mounts are file systems by absolute guest path, mounted read-only over
	// the policy's: an embed.FS, a zip.Reader, an fstest.MapFS, os.DirFS. A file
	// whose mode is 0, 0444 or 0666, which is what those that keep none say, may be
	// executed, but not of os.DirFS.
	Mounts map[string]fs.FS

	// Nodes are inodes by absolute guest path: files and directories that Go
	// code makes up. Their methods run on the jail's own thread.
	Nodes map[string]vfs.Node

	// Handlers replaces the emulation of calls, by the man page's name, or adds
	// one. The policy must say Emulate for them: of a call that it denies or allows, as
	// policy.Native does, the handler is never asked. A handler that wants what it
	// replaces asks emulate.HandlerOf; one that returns a *Violation ends the jail.
	// What Call.Go still has running when the guest has ended, Wait waits for: at
	// most 5 s, if the jail was killed 0.3 s.
	Handlers map[string]emulate.Handler

	// Clock tells the guest's wall-clock time. nil: the host's. With a Clock the
	// guest cannot read the host's: no vDSO, and rdtsc faults. Sleeps last as
	// long as they last on the host.
	Clock func() time.Time

	// Random is the guest's randomness (getrandom, /dev/urandom, AT_RANDOM,
	// the address layout). Its end or error ends the jail. nil: the host's, or the
	// policy's seed.
	Random io.Reader

	// Terminal is the caller's terminal, which the guest shall have as its own:
	// from Spawn to the end of the jail it is in raw mode, and the first process
	// has a pty for a controlling terminal that is connected to it, with its mode
	// and size. Streams of cmd that are this terminal become the pty. What is
	// typed, ^C and ^Z too, goes to the guest's foreground process group; when the
	// window is resized or closed the guest hears of it. The caller's SIGWINCH,
	// SIGTSTP and SIGCONT are watched meanwhile: stopped, it has its terminal back.
	//
	// The terminal must be in the caller's hands: no other job's foreground, and
	// read by nobody else. Wait for the jail before the program exits, else nobody
	// restores the mode. nil: terminals among cmd's streams are files like others,
	// without job control. One Spawn at a time.
	Terminal *os.File

	// Dial makes the connections to outside that the policy's Net lets a guest
	// make: network is "tcp" or "udp", address a rule's "name:port", or with
	// Net.Host an IP address and port, or, because Dial may resolve names in its own
	// way, any host name the guest looked up and port: a Dial that finds the host's
	// loopback by such a name opens it. It must return when ctx ends. The jail owns
	// what it returns. nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Listen is asked when a guest listens on a TCP port: address is ":80" or
	// "127.0.0.1:80", network "tcp", or "tcp4" or "tcp6" for a socket that takes one
	// family. Connections of the host listener that it returns come to the guest
	// until the guest stops listening, when the jail closes it. nil, nil: inside
	// only. An error is EACCES for the guest if it is fs.ErrPermission, EADDRINUSE
	// else, which is also what it gets when it has 1024 of them. It must return when
	// ctx ends.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// Sockets are net.Conn, net.Listener and net.PacketConn values by the number
	// of the descriptor under which the first process has them, as inetd and
	// systemd hand over sockets. Those of TCP and UDP have the addresses they
	// have; others are stream sockets of AF_UNIX. Spawn takes them over, even if
	// it fails: they are closed when no guest has them any more. One Spawn only.
	Sockets map[int]any

	// Walls are second walls by name that must stand, see Process.Walls: Spawn gives
	// an error that names the one that cannot be had. Those that cost next to nothing
	// are there anyhow where the host offers them; "user", "mount", "net", "ipc" and
	// "uts", empty namespaces of each process image, and "empty-root" only if they are
	// asked for. A caller that is not root gets "user" with any namespace.
	Walls []string

	// Logger gets warnings, and audit records: those of the kinds that the policy's
	// Audit lists; "rule", each call that a rule with Audit decides; and "missing",
	// a call that has no handler, once each. Fields: kind, pid, task, program, call,
	// text (the call as strace shows it), why (a [policy.Explanation] of it), result,
	// and what else a kind knows: rule, path and argv, paths, network and address, limit
	// and bound, which are all of a limit that no call has met. In a flood the first
	// hundred records of a kind are written, then ten a second; dropped is how many
	// were not, since the last. It is called on the jail's thread, which waits for it.
	// nil: silence.
	Logger *zap.Logger

	// Learn, if not nil, is told what the run used of what the policy let through, by
	// the time Wait returns: [policy.Policy.Learn] makes the smallest policy of it.
	// Every call stops then, native ones too. One Spawn at a time.
	Learn *policy.Record

	// Refused, if not nil, is told by the time Wait returns what the guest asked for
	// and the policy does not give, with what would permit it: calls that are denied
	// or have no handler, files that no mount shows though the host has them, or that
	// none lets be written, names and addresses outside. Each once, 256 at most. At
	// the end the host's tree is looked at for paths of the guest's choice. One Spawn
	// at a time.
	Refused *[]policy.Explanation

	// Record, if not nil and empty, gets all that the run takes from outside by the time
	// Wait returns, for [Replay] to run it again without: what was read of mounted files
	// and directories, the bytes of connections and standard streams, answers of
	// resolvers, signals; the command and its environment; and the policy with a seed
	// and the time of the start, if it had none. So a recorded run is a repeatable one
	// with a virtual clock, that waits for the outside as long as it takes. Each file
	// is for the guest as it was when first looked at, so what others change meanwhile
	// does not show. The other fields that hold code, but Dial and Listen, and mounts for
	// writing that have no Overlay are an error. Wait has one if the recording could not be
	// written: nothing that it holds then is of use. Whoever has a recording has all
	// that the guest has read, of a file that it opened also the rest, and the host's
	// paths in the policy. Record stays the caller's to close, when nobody reads
	// Process.Tree any more. One Spawn only.
	Record Recording

	// Trace is called after every call that stopped, on the jail's thread: it
	// must be quick.
	Trace func(TraceEvent)

	replay *tape // of Replay
}

// TraceEvent is one call that stopped at the warden.
type TraceEvent struct {
	PID, TID int // the guest's
	Name     string
	Args     [6]uint64
	Result   uint64 // -errno as the guest's register has it
	Err      error  // what the handler gave
	Time     time.Duration
	Text     string // strace-like
}

// Spawn starts cmd as the first process of a jail under p and returns as soon as
// it runs. It is (&Jail{}).Spawn.
func Spawn(cmd *exec.Cmd, p policy.Policy) (*Process, error) { return (&Jail{}).Spawn(cmd, p) }

// Spawn starts cmd in a jail under p.
//
// cmd is as os/exec has it: Path, Args, Env, Dir, Stdin, Stdout, Stderr,
// ExtraFiles, Cancel and WaitDelay mean the same, and so do StdinPipe, StdoutPipe
// and StderrPipe. What is other:
//
//   - Paths are the guest's: a Path without a slash, or one that only the host has
//     for a bare name, is looked up in the guest's PATH, whatever Err says of the
//     host's. A nil Env is a few harmless variables, never the caller's; an empty
//     Dir is the guest's home if its HOME exists, else "/".
//   - Of a file among the streams and ExtraFiles the guest has the bytes. It cannot
//     map it (ENODEV), list it if it is a directory, which is a mount to add, or
//     use it as a socket, for which there is Jail.Sockets.
//   - cmd.Process becomes a handle that stands for the jail: Kill ends it, Signal
//     goes to its first process. Only [Process.Wait] waits for it, which leaves
//     ProcessState nil: cmd.Wait and cmd.Process.Wait are not to be called. Err
//     is set, so that Start, Run and Output fail, which would start the program
//     outside.
//   - The jail ends with its first process, and so does all that may hold a pipe.
//   - Each field of SysProcAttr that is not zero is an error.
//
// Errors: *Error says what of the host, the policy or cmd stands in the way; the
// errno of a program that cannot be executed is inside, as with os/exec. Nothing
// of the jail remains then.
func (j *Jail) Spawn(cmd *exec.Cmd, p policy.Policy) (*Process, error) {
	if cmd == nil {
		return nil, &Error{Op: "cmd", Err: errors.New("the exec.Cmd is nil")}
	}
	if cmd.Process != nil {
		return nil, &Error{Op: "cmd", Err: errors.New("exec.Cmd was started before")}
	}
	proc, err := j.spawn(cmd, p)
	if err != nil {
		j.closeSockets()
		pipes := &command{}
		pipes.pipes(cmd)
		pipes.abort()
		return nil, spawnError(err)
	}
	return proc, nil
}
