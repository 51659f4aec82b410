//go:build linux

package emulate

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

// table is the root directory.
func (k *proc) table() *procRow {
	const dir, link = unix.S_IFDIR | 0o555, unix.S_IFLNK | 0o777
	pid := k.pidRow()
	k.number(pid)
	self := func(text func(*Task) string) func(procAt) ([]byte, error) {
		return func(procAt) ([]byte, error) {
			if k.s.Current == nil {
				return nil, unix.ENOENT
			}
			return []byte(text(k.s.Current)), nil
		}
	}
	return &procRow{mode: dir, rows: []*procRow{
		{name: "cmdline", mode: 0o444, text: says("ro\n")},
		{name: "cpuinfo", mode: 0o444, text: k.cpuinfo},
		{name: "devices", mode: 0o444, text: says("Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n")},
		{name: "diskstats", mode: 0o444, text: says("")},
		{name: "filesystems", mode: 0o444, text: says("nodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\nnodev\tsockfs\nnodev\tmqueue\nnodev\tdevpts\nnodev\toverlay\n")},
		{name: "loadavg", mode: 0o444, text: k.loadavg},
		{name: "meminfo", mode: 0o444, text: k.meminfo},
		{name: "mounts", mode: link, text: says("self/mounts")},
		{name: "net", mode: link, text: says("self/net")},
		{name: "partitions", mode: 0o444, text: says("major minor  #blocks  name\n\n")},
		{name: "self", mode: link, text: self(func(t *Task) string { return strconv.Itoa(t.Process.PID) })},
		{name: "stat", mode: 0o444, text: k.stat},
		{name: "swaps", mode: 0o444, text: says("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")},
		{name: "sys", mode: dir, rows: k.sysRows()},
		{name: "thread-self", mode: link, text: self(func(t *Task) string { return fmt.Sprintf("%d/task/%d", t.Process.PID, t.TID) })},
		{name: "tty", mode: dir, rows: []*procRow{{name: "drivers", mode: 0o444, text: says(ttyDrivers)}}},
		{name: "uptime", mode: 0o444, text: k.uptime},
		{name: "version", mode: 0o444, text: says("Linux version " + kernelRelease + " (oubliette@oubliette) (go) " + kernelVersion + "\n")},
		{name: "vmstat", mode: 0o444, text: k.vmstat},
	},
		find: func(_ procAt, name string) (vfs.Node, error) {
			n, ok := parseNumber(name)
			if !ok {
				return nil, unix.ENOENT
			}
			if p := k.s.processes[n]; p != nil {
				return k.node(pid, procAt{proc: k, p: p}), nil
			}
			if t := k.s.tasks[n]; t != nil {
				return k.node(pid, procAt{proc: k, p: t.Process}), nil
			}
			return nil, unix.ENOENT
		},
		list: func(procAt) (list []vfs.DirEntry) {
			for _, p := range k.s.Processes() {
				list = append(list, procAt{proc: k, p: p}.entry(strconv.Itoa(p.PID), pid))
			}
			return list
		}}
}

// ttyDrivers is drivers/tty/tty_io.c's part of proc_tty.c, as ps(1) reads it.
const ttyDrivers = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n" +
	"/dev/ptmx            /dev/ptmx       5       2 system\n" +
	"pty_slave            /dev/pts      136 0-1048575 pty:slave\n" +
	"pty_master           /dev/ptm      128 0-1048575 pty:master\n"

// nsRows are the namespaces, in every jail the kernel's initial ones by number.
// They can be compared, not opened.
func nsRows() (rows []*procRow) {
	for name, number := range map[string]int{"cgroup": 4026531835, "ipc": 4026531839, "mnt": 4026531841, "net": 4026531840,
		"pid": 4026531836, "pid_for_children": 4026531836, "time": 4026531834, "time_for_children": 4026531834,
		"user": 4026531837, "uts": 4026531838} {
		kind, _, _ := strings.Cut(name, "_for_")
		rows = append(rows, &procRow{name: name, mode: unix.S_IFLNK | 0o777, private: unix.EACCES,
			text: says(fmt.Sprintf("%s:[%d]", kind, number))})
	}
	slices.SortFunc(rows, func(a, b *procRow) int { return strings.Compare(a.name, b.name) })
	return rows
}

// attrRows are those of a kernel without a security module that speaks there.
func attrRows() (rows []*procRow) {
	for _, name := range []string{"current", "exec", "fscreate", "keycreate", "sockcreate"} {
		rows = append(rows, &procRow{name: name, mode: 0o666, text: refuses(unix.EINVAL),
			write: func(procAt, []byte) error { return unix.EINVAL }})
	}
	return append(rows, &procRow{name: "prev", mode: 0o444, text: refuses(unix.EINVAL)})
}

// cpuinfo is the host's text for as many processors as the jail has.
func (k *proc) cpuinfo(procAt) ([]byte, error) {
	if k.cpus != nil {
		return k.cpus, nil
	}
	read := k.s.CPUInfo
	if read == nil {
		read = func() ([]byte, error) { return os.ReadFile("/proc/cpuinfo") }
	}
	text, err := read()
	if err != nil {
		return nil, unix.EIO
	}
	var fixed []byte
	for line := range bytes.Lines(text) {
		if k.s.Repeatable && bytes.HasPrefix(line, []byte("cpu MHz")) {
			line = []byte("cpu MHz\t\t: 1000.000\n") // rdtsc shows nanoseconds
		}
		fixed = append(fixed, line...)
	}
	blocks := bytes.SplitAfter(fixed, []byte("\n\n"))
	k.cpus = bytes.Join(blocks[:min(max(k.s.CPUs, 1), len(blocks))], nil)
	return k.cpus, nil
}

// centis is d in seconds as uptime shows it.
func centis(d time.Duration) string {
	return fmt.Sprintf("%d.%02d", d/time.Second, d%time.Second/(10*time.Millisecond))
}

// used is the CPU time of all processes, living and reaped; it never falls,
// whoever ends.
func (k *proc) used() (user, system int64) {
	for _, p := range k.s.processes {
		u := p.selfUsage
		if t := p.Leader(); t != nil {
			u, _ = t.Usage(false)
		}
		u.add(p.childUsage)
		user += ticks(u.User)
		system += ticks(u.System)
	}
	k.busy[0], k.busy[1] = max(k.busy[0], user), max(k.busy[1], system)
	return k.busy[0], k.busy[1]
}

// idle is what is left of the uptime of all CPUs, in ticks.
func (k *proc) idle() int64 {
	user, system := k.used()
	return max(ticks(k.s.uptime())*int64(max(k.s.CPUs, 1))-user-system, 0)
}

func (k *proc) uptime(procAt) ([]byte, error) {
	idle := time.Duration(k.idle()) * (time.Second / userHZ)
	return []byte(centis(k.s.uptime()) + " " + centis(idle) + "\n"), nil
}

// running is how many tasks are about to run, as far as this can be told cheaply:
// the one that asks.
const running = 1

func (k *proc) loadavg(procAt) ([]byte, error) {
	return fmt.Appendf(nil, "0.00 0.00 0.00 %d/%d %d\n", running, len(k.s.tasks), k.s.lastPID), nil
}

// stat is fs/proc/stat.c:show_stat.
func (k *proc) stat(procAt) ([]byte, error) {
	var b bytes.Buffer
	n := int64(max(k.s.CPUs, 1))
	user, system := k.used()
	idle := k.idle()
	fmt.Fprintf(&b, "cpu  %d 0 %d %d 0 0 0 0 0 0\n", user, system, idle)
	for i := range n {
		fmt.Fprintf(&b, "cpu%d %d 0 %d %d 0 0 0 0 0 0\n", i, user/n, system/n, idle/n)
	}
	real, _ := k.s.Host.Gettime(unix.CLOCK_REALTIME)
	boot := (real - int64(k.s.uptime())) / 1e9
	fmt.Fprintf(&b, "intr 0\nctxt 0\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\n"+
		"softirq 0 0 0 0 0 0 0 0 0 0 0\n", boot, k.s.lastPID, running)
	return b.Bytes(), nil
}

// meminfo is fs/proc/meminfo.c with what a jail can know.
func (k *proc) meminfo(procAt) ([]byte, error) {
	if k.s.Current == nil {
		return nil, unix.ESRCH
	}
	m := k.s.Current.ram()
	total, free, buffers, shmem := m.total>>10, m.free>>10, m.buffers>>10, m.shared>>10
	cached := uint64(0)
	if !k.s.Repeatable {
		cached = hostCached(total - min(free+buffers, total))
	}
	known := map[string]uint64{"MemTotal": total, "MemFree": free, "MemAvailable": min(free+buffers+cached, total),
		"Buffers": buffers, "Cached": cached, "Shmem": shmem, "CommitLimit": total / 2, "VmallocTotal": 1<<35 - 1,
		"Hugepagesize": 2048, "DirectMap2M": total}
	var b bytes.Buffer
	for _, name := range strings.Fields(`MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive
		Active(anon) Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked SwapTotal SwapFree Zswap Zswapped
		Dirty Writeback AnonPages Mapped Shmem KReclaimable Slab SReclaimable SUnreclaim KernelStack PageTables
		SecPageTables NFS_Unstable Bounce WritebackTmp CommitLimit Committed_AS VmallocTotal VmallocUsed VmallocChunk
		Percpu AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped Balloon HugePages_Total
		HugePages_Free HugePages_Rsvd HugePages_Surp Hugepagesize Hugetlb DirectMap4k DirectMap2M DirectMap1G`) {
		unit := " kB"
		if strings.HasPrefix(name, "HugePages_") {
			unit = ""
		}
		fmt.Fprintf(&b, "%-15s %8d%s\n", name+":", known[name], unit)
	}
	return b.Bytes(), nil
}

// hostCached is the host's page cache in KiB, which is as good as free and the one
// thing that sysinfo(2) does not tell; at most limit.
func hostCached(limit uint64) uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	_, after, _ := strings.Cut(string(text), "\nCached:")
	var kib uint64
	_, _ = fmt.Sscan(after, &kib)
	return min(kib, limit)
}

func (k *proc) vmstat(procAt) ([]byte, error) {
	if k.s.Current == nil {
		return nil, unix.ESRCH
	}
	return fmt.Appendf(nil, "nr_free_pages %d\nnr_dirty 0\nnr_writeback 0\nnr_mapped 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n"+
		"pgfault 0\npgmajfault 0\noom_kill 0\n", k.s.Current.ram().free/pageSize), nil
}
