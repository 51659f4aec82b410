//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// closesPerCollect: a collection looks at every socket in flight, so it comes
// after so many of them for each socket that was closed.
const closesPerCollect = 16

// hold notes that files went into a message at s (1) or came out of it (-1).
func (s *Unix) hold(files []*fdtable.Description, by int) {
	n := s.net
	if len(files) == 0 {
		return
	}
	if n.inFlight == nil {
		n.inFlight, n.holders = make(map[*fdtable.Description]int), make(map[*Unix]int)
	}
	n.flying += by * len(files)
	if n.holders[s] += by; n.holders[s] == 0 {
		delete(n.holders, s)
	}
	for _, d := range files {
		if _, ok := d.File.(*Unix); !ok {
			continue
		}
		if n.inFlight[d] += by; n.inFlight[d] == 0 {
			delete(n.inFlight, d)
		}
	}
}

// MayFly is too_many_unix_fds: limit is the sender's RLIMIT_NOFILE. ETOOMANYREFS.
func (n *Net) MayFly(more int, limit uint64) error {
	if n.flying+more > maxInFlight {
		n.Collect()
	}
	if uint64(n.flying) > limit || n.flying+more > maxInFlight {
		return unix.ETOOMANYREFS
	}
	return nil
}

// Release drops a reference of each file. Sockets in the messages of sockets are
// closed one after the other, not one inside the other: the depth is the guest's.
func (n *Net) Release(files []*fdtable.Description) {
	n.dropped = append(n.dropped, files...)
	if n.dropping {
		return
	}
	n.dropping = true
	for len(n.dropped) > 0 {
		d := n.dropped[len(n.dropped)-1]
		n.dropped = n.dropped[:len(n.dropped)-1]
		_ = d.Release()
	}
	n.dropped, n.dropping = nil, false
}

// Collect closes the sockets to which only messages refer that nobody can
// receive, since they wait at such sockets: what net/unix/garbage.c is for.
func (n *Net) Collect() {
	if n.dropping || len(n.inFlight) == 0 {
		return
	}
	n.closes = 0
	lost := make(map[*Unix]bool)
	for d, count := range n.inFlight {
		if d.Refs() == count {
			lost[d.File.(*Unix)] = true
		}
	}
	// What a socket holds that is not lost is not lost, and so on.
	var found []*Unix
	within := make(map[*Unix][]*Unix) // holders by whose they are
	for s := range n.holders {
		within[s.owner()] = append(within[s.owner()], s)
		if !lost[s.owner()] {
			found = append(found, s)
		}
	}
	for len(found) > 0 {
		s := found[len(found)-1]
		found = found[:len(found)-1]
		for _, m := range s.queue {
			for _, d := range m.files {
				if f, ok := d.File.(*Unix); ok && lost[f] {
					delete(lost, f)
					found = append(found, within[f]...)
				}
			}
		}
	}
	var files []*fdtable.Description
	for owner := range lost {
		for _, s := range within[owner] {
			for _, m := range s.queue {
				files = append(files, s.take(m, false)...)
			}
		}
	}
	n.Release(files)
}

// owner is the socket whose descriptor s depends on: its listener until it is
// accepted, then itself.
func (s *Unix) owner() *Unix {
	if s.listener != nil {
		return s.listener
	}
	return s
}
