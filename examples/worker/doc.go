//go:build linux && amd64

// Command worker is the idea that this library began with: an HTTP server needs only
// to read() a request and write() a response, so put it behind a wrapper that handles
// exactly that, while trusted code manages the connections.
//
//	go run ./examples/worker
//	curl -d hello localhost:8080/c
//	curl -d '!passwd' localhost:8080/python
//
// The untrusted workers, in C, Python and Go (directory guest), are ordinary programs
// with a loop around read(0, …) and write(1, …). Each answers a request with its text
// in capitals, and one that begins with "!" by doing what an attacker would do who has
// found a hole in it. The page at / has a button for each misdeed, and shows what each
// worker has called, how its predecessors ended and what its policy is.
//
// # The wrapper
//
// There is no pipe between server and worker. Two handlers of our own (wrap.go) are
// the worker's read and write: a read gives one whole request, a write takes one whole
// response, and another order or size of them is a Violation. So nothing is framed
// and nothing parsed, and a response is there wholly or not at all. A worker serves
// requests one after the other and waits for the next in its read; that is what an
// idle worker is, and the channel they all wait at is the queue (pool.go).
//
// # The policies
//
// A worker lives under two policies, one after the other. Until its first read it has
// heard of no request and may do what its language needs to start: a few calls about
// its own process, and for Python a read-only view of its library. From then on serve
// holds: read of descriptor 0, write of descriptor 1, exit_group, and for Python and Go
// what their memory management and threads need, which names nothing outside the
// process. Every other call ends the jail (languages.go).
//
// # What goes wrong
//
//	413  the request is too large; no worker sees it
//	502  its worker did what it may not, or crashed: the answer says what
//	503  all workers were busy for too long
//	504  its worker took too long
//
// In each case the worker is killed and replaced, and no other request notices. A worker
// that somebody kills from outside has its request answered by another one: it had
// written nothing, and there is nothing else that it could have changed.
package main
