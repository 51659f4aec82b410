//go:build linux

package vnet

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// Bounds of a whole jail; Linux has memory cgroups instead.
const (
	maxSockets  = 1 << 16
	maxBytes    = 256 << 20 // queued in all sockets, by truesize
	maxInFlight = 1 << 14   // descriptors in messages
)

// PathMax is sizeof sun_path.
const PathMax = 108

// Net is the sockets of one jail. The zero value is an empty network.
type Net struct {
	// Now is the guest's CLOCK_REALTIME in nanoseconds, for SO_TIMESTAMP; nil: 0.
	Now func() int64
	// Outside is what lies beyond; nil: nothing does.
	Outside Outside
	// Missed, if not nil, is told what has nowhere to go because there is no Outside:
	// the address, what a datagram says, and the error.
	Missed func(s Socket, to netip.AddrPort, data []byte, err error)

	abstract map[abstractName]*Unix
	paths    map[vfs.Node]*Unix
	lastAuto uint32
	unix     map[*Unix]bool

	netlinks     map[*Netlink]bool
	netlinkPorts map[netlinkPort]bool

	ports    [portTables]portTable
	lastPort int

	sockets  int
	bytes    int
	flying   int                          // descriptors in messages
	inFlight map[*fdtable.Description]int // those of sockets, how often each
	holders  map[*Unix]int                // how many messages with descriptors are at each

	closes   int                    // since the last Collect
	dropped  []*fdtable.Description // see release
	dropping bool
}

func (n *Net) now() time.Duration {
	if n.Now == nil {
		return 0
	}
	return time.Duration(n.Now())
}

// abstractName: sockets of different types may have the same name.
type abstractName struct {
	kind int
	name string
}

// address is what a socket is bound to. An accepted socket shares its listener's.
type address struct {
	name string   // sun_path as getsockname tells it
	node vfs.Node // of a path name
}

// Cred is struct ucred, and the groups for SO_PEERGROUPS.
type Cred struct {
	PID      int32
	UID, GID uint32
	Groups   []uint32
}

func (c *Cred) same(o *Cred) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.PID == o.PID && c.UID == o.UID && c.GID == o.GID
}

// Bind gives s a name of its own: of the inode node if that is not nil, else an
// abstract one. EADDRINUSE, EINVAL (it has one).
func (s *Unix) Bind(name string, node vfs.Node) error {
	if s.addr != nil {
		return unix.EINVAL
	}
	n := s.net
	if node == nil {
		key := abstractName{s.kind, name}
		if n.abstract[key] != nil {
			return unix.EADDRINUSE
		}
		if n.abstract == nil {
			n.abstract = make(map[abstractName]*Unix)
		}
		n.abstract[key] = s
	} else {
		if n.paths == nil {
			n.paths = make(map[vfs.Node]*Unix)
		}
		n.paths[node] = s
	}
	s.addr, s.owns = &address{name, node}, true
	return nil
}

// Autobind gives s an abstract name of five hexadecimal digits, if it has none.
func (s *Unix) Autobind() error {
	for range 1 << 20 {
		if s.addr != nil {
			return nil
		}
		s.net.lastAuto = (s.net.lastAuto + 1) & 0xfffff
		if err := s.Bind(fmt.Sprintf("\x00%05x", s.net.lastAuto), nil); err != unix.EADDRINUSE {
			return err
		}
	}
	return unix.ENOSPC
}

// unbind frees the name, unless it is a listener's that s was accepted by.
func (s *Unix) unbind() {
	if !s.owns {
		return
	}
	if s.addr.node != nil {
		delete(s.net.paths, s.addr.node)
	} else {
		delete(s.net.abstract, abstractName{s.kind, s.addr.name})
	}
	s.owns = false
}

// Abstract finds a socket by its abstract name. ECONNREFUSED.
func (n *Net) Abstract(kind int, name string) (*Unix, error) {
	if s := n.abstract[abstractName{kind, name}]; s != nil {
		return s, nil
	}
	return nil, unix.ECONNREFUSED
}

// Path finds the socket bound to an inode. ECONNREFUSED, EPROTOTYPE (it is of
// another type).
func (n *Net) Path(kind int, node vfs.Node) (*Unix, error) {
	s := n.paths[node]
	switch {
	case s == nil:
		return nil, unix.ECONNREFUSED
	case s.kind != kind:
		return nil, unix.EPROTOTYPE
	}
	return s, nil
}

// Sockname is struct sockaddr_un, of two bytes if s is not bound.
func (s *Unix) Sockname() []byte {
	name := []byte{unix.AF_UNIX, 0}
	if s.addr != nil {
		name = append(name, s.addr.name...)
	}
	return name
}

// named is Sockname if s is bound.
func (s *Unix) named() []byte {
	if s.addr == nil {
		return nil
	}
	return s.Sockname()
}
