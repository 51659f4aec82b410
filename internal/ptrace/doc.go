// Package ptrace wraps the ptrace(2), wait4(2) and process_vm_readv(2) requests
// the warden makes, and is the only place with registers.
//
// Every request must come from the thread that seized the tracee. Every function
// may give unix.ESRCH: the tracee was killed at this very moment, which is an
// exit in progress and never a bug; its status will come from [Wait].
package ptrace
