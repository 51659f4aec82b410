// Package emutest runs the emulated kernel without a guest process, for tests.
//
// [New] gives a [Guest]: a task of an emulated system whose memory is a few byte
// slices and whose root is a file system in memory. Its Call makes a system call
// and waits for the answer; Start makes one that may park:
//
//	g := emutest.New(t)
//	fd, errno := g.Call("openat", unix.AT_FDCWD, "/file", unix.O_CREAT|unix.O_RDWR, 0o644)
//	n, errno := g.Call("write", fd, []byte("hello"), 5)
//
// Arguments may be integers, strings (a path, NUL behind it), byte slices and
// pointers to fixed-size structures (copied in and out), [Iov] and [Edge]. Every
// buffer lies between '?' bytes that are checked after the call.
//
// [Twin] runs one script of calls on the real kernel and on the emulated one and
// compares what they say.
package emutest
