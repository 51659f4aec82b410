// Package vnet is the network of one jail: AF_UNIX sockets that exist nowhere but
// in the warden's memory.
//
// A [Net] holds the names, a [Socket] is one end and an fdtable.File: read(2),
// write(2), poll(2) and close(2) work on it as on any file. What is queued between
// two sockets keeps Linux's segments (struct sk_buff), because they decide what
// one read gives, when a buffer is full and which bytes carry which descriptors;
// net/unix/af_unix.c is the reference throughout.
//
// Nothing here touches a guest, parks or locks: a socket that has nothing to give
// says unix.EAGAIN and wakes its queue when that changes. Package emulate decodes
// the calls and does the waiting.
//
// Descriptors in flight are counted and bounded, and those that nobody can
// receive any more are found and closed; see [Net.Collect]. Not there: MSG_OOB,
// pidfd messages, and sockets of other families.
package vnet
