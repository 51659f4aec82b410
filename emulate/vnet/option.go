//go:build linux

package vnet

import (
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultBuffer = 212992  // net.core.wmem_default
	maxBuffer     = 4 << 20 // net.core.wmem_max
	minSndbuf     = 4608    // SOCK_MIN_SNDBUF
	minRcvbuf     = 2304    // SOCK_MIN_RCVBUF
)

// flagOptions are the options that are a bit, kept and shown.
const flagOptions = 1<<unix.SO_REUSEADDR | 1<<unix.SO_DONTROUTE | 1<<unix.SO_BROADCAST | 1<<unix.SO_KEEPALIVE |
	1<<unix.SO_OOBINLINE | 1<<unix.SO_REUSEPORT | 1<<unix.SO_PASSCRED | 1<<unix.SO_PASSSEC | 1<<unix.SO_TIMESTAMP |
	1<<unix.SO_RXQ_OVFL | 1<<unix.SO_TIMESTAMPNS

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// option is getsockopt(2) at SOL_SOCKET. ENOPROTOOPT.
func (s *base) option(name int) ([]byte, error) {
	if name >= 0 && name < 64 && flagOptions>>name&1 != 0 {
		return le32(uint32(s.options >> name & 1)), nil
	}
	v := 0
	switch name {
	case unix.SO_TYPE:
		v = s.kind
	case unix.SO_DOMAIN:
		v = s.family
	case unix.SO_PROTOCOL:
		v = s.protocol
	case unix.SO_DEBUG, unix.SO_NO_CHECK, unix.SO_BSDCOMPAT, unix.SO_MARK:
	case unix.SO_ERROR:
		v, s.err = int(s.err), 0
	case unix.SO_SNDBUF:
		v = s.sndbuf
	case unix.SO_RCVBUF:
		v = s.rcvbuf
	case unix.SO_RCVLOWAT:
		v = s.lowat
	case unix.SO_SNDLOWAT:
		v = 1
	case unix.SO_PEEK_OFF:
		v = s.peekOff
	case unix.SO_PRIORITY:
		v = int(s.priority)
	case unix.SO_ACCEPTCONN:
		if s.state == listening {
			v = 1
		}
	case unix.SO_LINGER:
		return append(le32(uint32(s.linger[0])), le32(uint32(s.linger[1]))...), nil
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return timeval(s.timeouts[0]), nil
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return timeval(s.timeouts[1]), nil
	case unix.SO_PEERCRED:
		return s.peerCred.bytes(0, math.MaxUint32), nil
	default:
		return nil, unix.ENOPROTOOPT
	}
	return le32(uint32(v)), nil
}

// Option is getsockopt(2).
func (s *Unix) Option(level, name int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.EOPNOTSUPP
	}
	return s.option(name)
}

// SetOption is setsockopt(2).
func (s *Unix) SetOption(level, name int, value []byte, privileged bool) error {
	switch {
	case level != unix.SOL_SOCKET:
		return unix.EOPNOTSUPP
	case len(value) < 4:
		return unix.EINVAL
	}
	return s.setOption(name, value, privileged)
}

// PeerGroups is SO_PEERGROUPS. ENODATA.
func (s *Unix) PeerGroups() ([]uint32, error) {
	if s.peerCred == nil {
		return nil, unix.ENODATA
	}
	return s.peerCred.Groups, nil
}

// bytes is struct ucred; without a c it is of process pid and user and group id.
func (c *Cred) bytes(pid int32, id uint32) []byte {
	if c == nil {
		c = &Cred{PID: pid, UID: id, GID: id}
	}
	return append(append(le32(uint32(c.PID)), le32(c.UID)...), le32(c.GID)...)
}

// Bytes is struct ucred as SCM_CREDENTIALS has it; nil is nobody, whose ids do
// not map.
func (c *Cred) Bytes() []byte { return c.bytes(0, 65534) }

// PassCred is SO_PASSCRED.
func (s *base) PassCred() bool { return s.options>>unix.SO_PASSCRED&1 != 0 }

// setOption is setsockopt(2) at SOL_SOCKET with at least four bytes of value.
// ENOPROTOOPT, EINVAL, EDOM, EPERM without privileges.
func (s *base) setOption(name int, value []byte, privileged bool) error {
	v := int32(binary.LittleEndian.Uint32(value))
	if name == unix.SO_REUSEPORT && v != 0 && s.family == unix.AF_UNIX {
		return unix.EOPNOTSUPP // only of INET sockets
	}
	if name >= 0 && name < 64 && flagOptions>>name&1 != 0 {
		s.options &^= 1 << name
		if v != 0 {
			s.options |= 1 << name
		}
		return nil
	}
	buffer := func(least int) int { return max(int(min(uint32(v), maxBuffer))*2, least) }
	switch name {
	case unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
		if !privileged {
			return unix.EPERM
		}
		v = max(v, 0)
		if name == unix.SO_RCVBUFFORCE {
			s.rcvbuf = buffer(minRcvbuf)
			break
		}
		fallthrough
	case unix.SO_SNDBUF:
		s.sndbuf = buffer(minSndbuf)
		s.waiters.WakeFor(pollOut)
	case unix.SO_RCVBUF:
		s.rcvbuf = buffer(minRcvbuf)
	case unix.SO_RCVLOWAT:
		if v < 0 {
			v = math.MaxInt32
		}
		s.lowat = max(int(v), 1)
	case unix.SO_PRIORITY:
		if (v < 0 || v > 6) && !privileged {
			return unix.EPERM
		}
		s.priority = uint32(v)
	case unix.SO_DEBUG, unix.SO_MARK:
		if v != 0 && !privileged {
			return map[int]error{unix.SO_DEBUG: unix.EACCES, unix.SO_MARK: unix.EPERM}[name]
		}
	case unix.SO_NO_CHECK, unix.SO_BSDCOMPAT:
	case unix.SO_PEEK_OFF:
		s.peekOff = int(v)
	case unix.SO_LINGER:
		if len(value) < 8 {
			return unix.EINVAL
		}
		s.linger = [2]int32{min(max(v, 0), 1), int32(binary.LittleEndian.Uint32(value[4:]))}
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return setTimeout(&s.timeouts[0], value)
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return setTimeout(&s.timeouts[1], value)
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

func timeval(d time.Duration) []byte {
	p := binary.LittleEndian.AppendUint64(nil, uint64(d/time.Second))
	return binary.LittleEndian.AppendUint64(p, uint64(d%time.Second/time.Microsecond))
}

// setTimeout is sock_set_timeout: one that lies in the past is the shortest.
func setTimeout(d *time.Duration, value []byte) error {
	if len(value) < 16 {
		return unix.EINVAL
	}
	sec, usec := int64(binary.LittleEndian.Uint64(value)), int64(binary.LittleEndian.Uint64(value[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return unix.EDOM
	case sec < 0:
		*d = time.Nanosecond
	case sec >= math.MaxInt64/int64(time.Second)-1:
		*d = 0
	default:
		*d = time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond
	}
	return nil
}
