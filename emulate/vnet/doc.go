// Package vnet is the network of one jail: AF_UNIX sockets, and TCP and UDP over
// a loopback, that exist nowhere but in the warden's memory. What lies beyond is
// [Net.Outside]'s, if there is any.
//
// A [Net] holds names and ports; a [Socket] is one end and an fdtable.File: read(2),
// write(2), poll(2) and close(2) work on it as on any file. What is queued between
// two AF_UNIX sockets keeps Linux's segments (struct sk_buff), because they decide
// what one read gives, when a buffer is full and which bytes carry which
// descriptors; net/unix/af_unix.c is the reference. Internet sockets have no wire
// to lose, delay or reorder anything: what one end sends is in the queue of the
// other, so of TCP there are left the states that a program can tell apart.
//
// # Why not a network stack?
//
// The well-kept ones in Go (gVisor's, most of all) make segments, windows, timers
// and checksums for a wire, in tens of thousands of lines and with goroutines and
// locks of their own. Here both ends are in one memory and on one thread; what is
// asked for is Linux's errno and poll bits in each state, which those do not aim
// at. Go's net package needs descriptors of the host. So this is our own, held
// against the kernel by tests that run the same calls on both.
//
// [Netlink] and netdevice(7) tell what [Net.Interfaces] says, and refuse to change
// it.
//
// Nothing here touches a guest, parks or locks: a socket that has nothing to give
// says unix.EAGAIN and wakes its queue when that changes. Package emulate decodes
// the calls and does the waiting.
//
// Descriptors in flight are counted and bounded, and those that nobody can
// receive any more are found and closed; see [Net.Collect]. Not there: MSG_OOB
// of AF_UNIX, TIME_WAIT, raw sockets, pidfd messages, and other families.
package vnet
