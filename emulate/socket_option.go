//go:build linux

package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
)

const maxOption = 256 // no option's value is longer

// getsockopt is net/core/sock.c:sk_getsockopt.
func getsockopt(c *Call) (uint64, error) {
	level, optname, optval, optlen := c.Int(1), c.Int(2), c.Addr(3), c.Addr(4)
	_, s, err := c.socketArg()
	if err != nil {
		return 0, err
	}
	if s.Family() == unix.AF_UNIX && level != unix.SOL_SOCKET {
		return 0, unix.EOPNOTSUPP
	}
	var n int32
	if err := c.ReadValue(optlen, &n); err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, unix.EINVAL
	}
	var value []byte
	if peer, ok := s.(*vnet.Unix); ok && level == unix.SOL_SOCKET && optname == unix.SO_PEERGROUPS {
		groups, err := peer.PeerGroups()
		if err != nil {
			return 0, err
		}
		for _, g := range groups {
			value = binary.LittleEndian.AppendUint32(value, g)
		}
		if int(n) < len(value) {
			if err := c.WriteValue(optlen, int32(len(value))); err != nil {
				return 0, err
			}
			return 0, unix.ERANGE
		}
	} else if value, err = s.Option(level, optname); err != nil {
		return 0, err
	}
	value = value[:min(len(value), int(n))]
	if err := c.Write(optval, value); err != nil {
		return 0, err
	}
	return 0, c.WriteValue(optlen, int32(len(value)))
}

// setsockopt is net/core/sock.c:sk_setsockopt.
func setsockopt(c *Call) (uint64, error) {
	level, optname, optval, optlen := c.Int(1), c.Int(2), c.Addr(3), c.Int(4)
	_, s, err := c.socketArg()
	switch {
	case err != nil:
		return 0, err
	case optlen < 0:
		return 0, unix.EINVAL
	case optlen < 4 && level == unix.SOL_SOCKET:
		return 0, unix.EINVAL
	}
	value := make([]byte, min(optlen, maxOption))
	least := min(len(value), 4)
	if err := c.Read(optval, value[:least]); err != nil {
		return 0, err
	}
	if err := c.Read(optval+4, value[least:]); err != nil {
		value = value[:least]
	}
	return 0, s.SetOption(level, optname, value, c.Task.Cred.EUID == 0)
}
