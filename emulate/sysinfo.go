//go:build linux

package emulate

import (
	"time"

	"golang.org/x/sys/unix"
)

// The kernel a guest believes it runs on: the one whose calls are emulated, the
// same on every host.
const (
	kernelRelease = "6.18.0-oubliette"
	kernelVersion = "#1 SMP PREEMPT_DYNAMIC"
)

// utsLen is the longest name in struct new_utsname.
const utsLen = 64

func uname(c *Call) (uint64, error) {
	buf := c.Addr(0)
	var u unix.Utsname
	copy(u.Sysname[:], "Linux")
	copy(u.Nodename[:utsLen], c.Sys.Hostname)
	copy(u.Release[:], kernelRelease)
	copy(u.Version[:], kernelVersion)
	copy(u.Machine[:], "x86_64")
	copy(u.Domainname[:utsLen], c.Sys.domain())
	return 0, c.WriteValue(buf, u)
}

// domain is the NIS domain name.
func (s *System) domain() string {
	if s.Domain == "" {
		return "(none)"
	}
	return s.Domain
}

func sethostname(c *Call) (uint64, error)   { return 0, c.setUTS(&c.Sys.Hostname) }
func setdomainname(c *Call) (uint64, error) { return 0, c.setUTS(&c.Sys.Domain) }

// setUTS is sethostname(2) and setdomainname(2): root may change the jail's own
// names.
func (c *Call) setUTS(s *string) error {
	name, length := c.Addr(0), c.Int(1)
	if !c.Task.Cred.Capable(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if length < 0 || length > utsLen {
		return unix.EINVAL
	}
	p := make([]byte, length)
	if err := c.Read(name, p); err != nil {
		return err
	}
	*s = unix.ByteSliceToString(p)
	return nil
}

// ram is how much there is for a task, in bytes: the host's, or where runs are
// repeatable 4 GiB, or what its data or address space may hold if that is less.
type ram struct{ total, free, shared, buffers uint64 }

func (t *Task) ram() ram {
	var s unix.Sysinfo_t
	m := ram{total: 4 << 30, free: 2 << 30}
	if !t.Sys.Repeatable && unix.Sysinfo(&s) == nil {
		unit := uint64(max(s.Unit, 1))
		m = ram{uint64(s.Totalram) * unit, uint64(s.Freeram) * unit, uint64(s.Sharedram) * unit, uint64(s.Bufferram) * unit}
	}
	if limit := min(t.Limit(unix.RLIMIT_AS), t.Limit(unix.RLIMIT_DATA)); limit < m.total {
		m = ram{total: limit, free: min(limit, m.free)}
	}
	return m
}

// uptime is since the guest's boot.
func (s *System) uptime() time.Duration {
	ns, err := s.Host.Gettime(unix.CLOCK_BOOTTIME)
	if err != nil {
		ns = int64(s.Now())
	}
	return time.Duration(ns)
}

// sysinfoData is struct sysinfo, padding spelled out.
type sysinfoData struct {
	Uptime                                      int64
	Loads                                       [3]uint64
	Total, Free, Shared, Buffer, Swap, FreeSwap uint64
	Procs                                       uint16
	_                                           [3]uint16
	High, FreeHigh                              uint64
	Unit                                        uint32
	_                                           uint32
}

func sysinfo(c *Call) (uint64, error) {
	info := c.Addr(0)
	m := c.Task.ram()
	up := c.Sys.uptime()
	s := sysinfoData{
		Uptime: int64((up + time.Second - 1) / time.Second),
		Total:  m.total, Free: m.free, Shared: m.shared, Buffer: m.buffers,
		Procs: uint16(min(len(c.Sys.tasks), 1<<16-1)), Unit: 1,
	}
	return 0, c.WriteValue(info, s)
}

// getcpu says the lowest CPU the task may run on, of node 0.
func getcpu(c *Call) (uint64, error) {
	for i, v := range []uint32{uint32(firstCPU(c.Task.affinity())), 0} {
		if addr := c.Addr(i); addr != 0 {
			if err := c.WriteValue(addr, v); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}
