//go:build linux

package vnet

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// count notes that files went into a message (1) or came out of it (-1).
func (n *Net) count(files []*fdtable.Description, by int) {
	for _, d := range files {
		if n.inFlight == nil {
			n.inFlight = make(map[*fdtable.Description]int)
		}
		n.flying += by
		if n.inFlight[d] += by; n.inFlight[d] == 0 {
			delete(n.inFlight, d)
		}
	}
}

// MayFly is too_many_unix_fds: limit is the sender's RLIMIT_NOFILE. ETOOMANYREFS.
func (n *Net) MayFly(more int, limit uint64) error {
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
