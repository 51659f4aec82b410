//go:build linux

package emulate

import (
	"bytes"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// sysRows are /proc/sys. What has no write is the same for every jail and cannot
// be changed, by root neither.
func (k *proc) sysRows() []*procRow {
	dir := func(name string, rows ...*procRow) *procRow {
		return &procRow{name: name, mode: unix.S_IFDIR | 0o555, rows: rows}
	}
	is := func(name string, value any) *procRow {
		return &procRow{name: name, mode: 0o444, text: says(fmt.Sprintln(value))}
	}
	name := func(file string, s *string, shown func() string) *procRow {
		return &procRow{name: file, mode: 0o644,
			text:  func(procAt) ([]byte, error) { return []byte(shown() + "\n"), nil },
			write: func(_ procAt, p []byte) error { return k.setName(s, p) }}
	}
	s := k.s
	return []*procRow{
		dir("fs",
			is("aio-max-nr", 65536), is("aio-nr", 0), is("dir-notify-enable", 1),
			dir("epoll", is("max_user_watches", maxWatches)),
			is("file-max", uint64(math.MaxInt64)),
			&procRow{name: "file-nr", mode: 0o444, text: k.fileNr},
			dir("inotify", is("max_queued_events", 16384), is("max_user_instances", 128), is("max_user_watches", 65536)),
			is("lease-break-time", 45), is("leases-enable", 1), is("mount-max", 100000),
			dir("mqueue", is("msg_default", 10), is("msg_max", 10), is("msgsize_default", 8192), is("msgsize_max", 8192), is("queues_max", 256)),
			is("nr_open", maxFiles), is("overflowgid", 65534), is("overflowuid", 65534),
			is("pipe-max-size", 1<<20), is("pipe-user-pages-hard", 0), is("pipe-user-pages-soft", 16384),
			is("protected_fifos", 0), is("protected_hardlinks", 0), is("protected_regular", 0), is("protected_symlinks", 0),
			is("suid_dumpable", 0)),
		dir("kernel",
			is("cap_last_cap", unix.CAP_LAST_CAP), is("core_pattern", "core"), is("core_uses_pid", 0), is("dmesg_restrict", 1),
			name("domainname", &s.Domain, s.domain),
			name("hostname", &s.Hostname, func() string { return s.Hostname }),
			is("io_uring_disabled", 2), is("kptr_restrict", 2), is("msgmax", 8192), is("msgmnb", 16384), is("msgmni", 32000),
			is("ngroups_max", 65536), is("osrelease", kernelRelease), is("ostype", "Linux"), is("overflowgid", 65534), is("overflowuid", 65534),
			is("perf_event_paranoid", 4), is("pid_max", maxPID), is("printk", "4\t4\t1\t7"),
			dir("random", is("entropy_avail", 256), is("poolsize", 256),
				&procRow{name: "boot_id", mode: 0o444, text: k.bootUUID},
				&procRow{name: "uuid", mode: 0o444, text: func(procAt) ([]byte, error) { return k.uuid(), nil }}),
			is("randomize_va_space", 2), is("sched_autogroup_enabled", 0), is("sched_rr_timeslice_ms", 100),
			dir("seccomp", is("actions_avail", "kill_process kill_thread trap errno user_notif trace log allow")),
			is("sem", "32000\t1024000000\t500\t32000"), is("shmall", uint64(math.MaxUint64-1<<24)),
			is("shmmax", uint64(math.MaxUint64-1<<24)), is("shmmni", 4096), is("tainted", 0), is("threads-max", maxPID/2),
			is("unprivileged_bpf_disabled", 2), is("version", kernelVersion)),
		dir("net", netSysRows(dir, is)...),
		dir("user", is("max_user_namespaces", 0)),
		dir("vm",
			is("max_map_count", 65530), is("mmap_min_addr", 65536), is("nr_hugepages", 0), is("overcommit_kbytes", 0),
			is("overcommit_memory", 0), is("overcommit_ratio", 50), is("swappiness", 60)),
	}
}

// setName is a write to hostname or domainname (kernel/utsname_sysctl.c): the
// first line, for root.
func (k *proc) setName(s *string, p []byte) error {
	if k.s.Current == nil || !k.s.Current.Cred.Capable(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if i := bytes.IndexAny(p, "\n\x00"); i >= 0 {
		p = p[:i]
	}
	*s = string(p[:min(len(p), utsLen)])
	return nil
}

// fileNr counts the descriptors of all processes.
func (k *proc) fileNr(procAt) ([]byte, error) {
	return fmt.Appendf(nil, "%d\t0\t%d\n", k.s.Limits.Descriptors.Used, int64(math.MaxInt64)), nil
}

// uuid is a random one (RFC 9562, version 4).
func (k *proc) uuid() []byte {
	var b [16]byte
	k.s.Host.Random(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (k *proc) bootUUID(procAt) ([]byte, error) {
	if k.bootID == nil {
		k.bootID = k.uuid()
	}
	return k.bootID, nil
}
