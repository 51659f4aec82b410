//go:build linux

package emulate

// pollCalls are pipes, readiness, event files, timers and System V and POSIX
// communication.
var pollCalls = []Row{
	{"pipe", "out:addr", pipeCall, ""},
	{"pipe2", "out:addr flags", pipe2, "a pipe has at most 1 MiB, also for a privileged guest"},
}
