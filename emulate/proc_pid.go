//go:build linux

package emulate

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// says is a file that always says the same.
func says(text string) func(procAt) ([]byte, error) {
	return func(procAt) ([]byte, error) { return []byte(text), nil }
}

// refuses is a file whose read(2) gives errno.
func refuses(errno unix.Errno) func(procAt) ([]byte, error) {
	return func(procAt) ([]byte, error) { return nil, errno }
}

// prints is a file with the text of a task that lives, or of a zombie's last.
func prints(text func(*Task) string) func(procAt) ([]byte, error) {
	return func(a procAt) ([]byte, error) {
		t, err := a.someTask()
		if err != nil {
			return nil, err
		}
		return []byte(text(t)), nil
	}
}

// host is a file of the host's with the same name, in which edit replaces what
// names anything of the host's.
func host(name string, edit func(procAt, *Task, []byte) []byte) func(procAt) ([]byte, error) {
	return func(a procAt) ([]byte, error) {
		t, err := a.task()
		if err != nil {
			if a.alive() == nil && name != "statm" {
				return nil, nil // A zombie has no memory.
			}
			return nil, err
		}
		p, err := t.Machine.ProcFile(name)
		if err != nil {
			return nil, unix.ESRCH
		}
		return edit(a, t, p), nil
	}
}

func asIs(_ procAt, _ *Task, p []byte) []byte { return p }

// taskRows are what /proc/PID and /proc/PID/task/TID have in common
// (fs/proc/base.c:tgid_base_stuff and tid_base_stuff).
func (k *proc) taskRows() []*procRow {
	const (
		dir    = unix.S_IFDIR
		link   = unix.S_IFLNK | 0o777
		ptrace = unix.EACCES
		idMap  = "         0          0 4294967295\n"
	)
	return []*procRow{
		{name: "attr", mode: dir | 0o555, rows: attrRows()},
		{name: "auxv", mode: 0o400, private: ptrace, text: procAuxv},
		{name: "cgroup", mode: 0o444, text: says("0::/\n")},
		{name: "cmdline", mode: 0o444, text: host("cmdline", asIs)},
		{name: "comm", mode: 0o644, text: prints(func(t *Task) string { return t.Comm + "\n" }), write: setComm},
		{name: "cpuset", mode: 0o444, text: says("/\n")},
		{name: "cwd", mode: link, private: ptrace, jump: taskEntry(func(t *Task) *vfs.Dentry { return t.FS.Cwd })},
		{name: "environ", mode: 0o400, private: ptrace, text: host("environ", asIs)},
		{name: "exe", mode: link, private: ptrace, jump: taskEntry(func(t *Task) *vfs.Dentry { return t.Process.Exe })},
		k.fdDir("fd", dir|0o500, &procRow{mode: unix.S_IFLNK | 0o700, jump: fdEntry, private: ptrace}),
		k.fdDir("fdinfo", dir|0o555, &procRow{mode: 0o444, text: fdInfo, private: ptrace}),
		{name: "gid_map", mode: 0o644, text: says(idMap)},
		{name: "io", mode: 0o400, private: ptrace, text: says("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n")},
		{name: "limits", mode: 0o444, text: prints(procLimits)},
		{name: "loginuid", mode: 0o644, text: says("4294967295")},
		{name: "maps", mode: 0o444, private: ptrace, text: host("maps", procMaps)},
		{name: "mem", mode: 0o600, private: ptrace, open: openMem},
		{name: "mountinfo", mode: 0o444, text: func(a procAt) ([]byte, error) { return k.mounts(a, mountInfoLine) }},
		{name: "mounts", mode: 0o444, text: func(a procAt) ([]byte, error) { return k.mounts(a, mountLine) }},
		{name: "net", mode: dir | 0o555, rows: k.netRows()},
		{name: "ns", mode: dir | 0o511, rows: nsRows(), private: ptrace},
		{name: "oom_adj", mode: 0o644, text: says("0\n")},
		{name: "oom_score", mode: 0o444, text: prints(func(t *Task) string {
			return fmt.Sprintf("%d\n", (1000+t.Process.Attr.OOMScoreAdj)*2/3)
		})},
		{name: "oom_score_adj", mode: 0o644, write: setOOMScoreAdj, text: prints(func(t *Task) string {
			return fmt.Sprintf("%d\n", t.Process.Attr.OOMScoreAdj)
		})},
		{name: "pagemap", mode: 0o400, private: ptrace, open: func(procAt) (fdtable.File, error) { return nil, unix.EPERM }},
		{name: "personality", mode: 0o400, private: unix.EPERM, text: prints(func(t *Task) string { return fmt.Sprintf("%08x\n", t.Attr.Personality) })},
		{name: "projid_map", mode: 0o644, text: says(idMap)},
		{name: "root", mode: link, private: ptrace, jump: taskEntry(func(t *Task) *vfs.Dentry { return t.FS.Root })},
		{name: "schedstat", mode: 0o444, text: says("0 0 0\n")},
		{name: "sessionid", mode: 0o444, text: says("4294967295")},
		{name: "setgroups", mode: 0o644, text: says("allow\n")},
		{name: "smaps", mode: 0o444, private: ptrace, text: host("smaps", procMaps)},
		{name: "smaps_rollup", mode: 0o444, private: ptrace, text: host("smaps_rollup", procMaps)},
		{name: "stack", mode: 0o400, text: refuses(unix.EPERM)},
		{name: "stat", mode: 0o444, text: procStat},
		{name: "statm", mode: 0o444, text: procStatm},
		{name: "status", mode: 0o444, text: procStatus},
		{name: "syscall", mode: 0o400, private: unix.EPERM, text: says("running\n")},
		{name: "uid_map", mode: 0o644, text: says(idMap)},
		{name: "wchan", mode: 0o444, text: says("0")},
	}
}

// pidRow is /proc/PID.
func (k *proc) pidRow() *procRow {
	both := k.taskRows()
	thread := &procRow{mode: unix.S_IFDIR | 0o555, rows: both}
	k.number(thread)
	tasks := &procRow{name: "task", mode: unix.S_IFDIR | 0o555,
		find: func(a procAt, name string) (vfs.Node, error) {
			tid, ok := parseNumber(name)
			t := a.p.Threads[tid]
			if !ok || t == nil {
				return nil, unix.ENOENT
			}
			return k.node(thread, procAt{proc: k, p: a.p, t: t}), nil
		},
		list: func(a procAt) (list []vfs.DirEntry) {
			for _, tid := range slices.Sorted(maps.Keys(a.p.Threads)) {
				list = append(list, procAt{proc: k, p: a.p, t: a.p.Threads[tid]}.entry(strconv.Itoa(tid), thread))
			}
			return list
		}}
	rows := append(slices.Clip(both), tasks,
		&procRow{name: "coredump_filter", mode: 0o644, write: setDumpFilter, text: prints(func(t *Task) string {
			return fmt.Sprintf("%08x\n", usualDump^t.Process.Attr.NoDump)
		})},
		&procRow{name: "timers", mode: 0o444, text: says("")},
		&procRow{name: "timerslack_ns", mode: 0o666, write: setTimerSlack, text: prints(func(t *Task) string {
			return fmt.Sprintf("%d\n", cmp.Or(t.Attr.TimerSlack, timerSlack))
		})})
	return &procRow{mode: unix.S_IFDIR | 0o555, rows: rows}
}

func taskEntry(of func(*Task) *vfs.Dentry) func(procAt) (*vfs.Dentry, error) {
	return func(a procAt) (*vfs.Dentry, error) {
		t, err := a.task()
		if err != nil {
			return nil, unix.ENOENT
		}
		return of(t), nil
	}
}

// setComm names a thread of the caller's own process.
func setComm(a procAt, p []byte) error {
	t, err := a.task()
	if err != nil {
		return err
	}
	if !a.own() {
		return unix.EINVAL
	}
	p, _, _ = bytes.Cut(p, []byte{0})
	t.Comm = string(p[:min(len(p), 15)])
	return nil
}

// setOOMScoreAdj keeps what the guest asks; lowering it is for root.
func setOOMScoreAdj(a procAt, p []byte) error {
	n, err := strconv.ParseInt(strings.TrimSpace(string(p)), 0, 32)
	if err != nil || n < -1000 || n > 1000 {
		return unix.EINVAL
	}
	adj := &a.p.Attr.OOMScoreAdj
	if int(n) < *adj && a.s.Current != nil && !a.s.Current.Cred.Capable(unix.CAP_SYS_RESOURCE) {
		return unix.EACCES
	}
	*adj = int(n)
	return nil
}

// usualDump is MMF_DUMP_FILTER_DEFAULT of include/linux/mm_types.h.
const usualDump = 0x33

// setDumpFilter keeps what the guest asks: no core is written in any case.
func setDumpFilter(a procAt, p []byte) error {
	n, err := strconv.ParseUint(strings.TrimSuffix(string(p), "\n"), 0, 32)
	if err != nil {
		return unix.EINVAL
	}
	a.p.Attr.NoDump = n&0x1ff ^ usualDump
	return nil
}

// setTimerSlack is fs/proc/base.c:timerslack_ns_write; 0 is the usual.
func setTimerSlack(a procAt, p []byte) error {
	n, err := strconv.ParseUint(strings.TrimSuffix(string(p), "\n"), 0, 64)
	if err != nil {
		return unix.EINVAL
	}
	t, err := a.task()
	if err != nil {
		return err
	}
	t.Attr.TimerSlack = n
	return nil
}

// fdDir is fd or fdinfo, r what each descriptor is there.
func (k *proc) fdDir(name string, mode uint32, r *procRow) *procRow {
	k.number(r)
	return &procRow{name: name, mode: mode, private: unix.EACCES,
		find: func(a procAt, name string) (vfs.Node, error) {
			fd, ok := parseNumber(name)
			t, err := a.task()
			if err == nil && ok {
				a.fd = fd
				a.slot, err = t.FDs.Get(fd)
			}
			if err != nil || !ok {
				return nil, unix.ENOENT
			}
			return k.node(r, a), nil
		},
		list: func(a procAt) (list []vfs.DirEntry) {
			if t, err := a.task(); err == nil {
				for _, a.fd = range t.FDs.Numbers() {
					list = append(list, a.entry(strconv.Itoa(a.fd), r))
				}
			}
			return list
		}}
}

func fdEntry(a procAt) (*vfs.Dentry, error) {
	s, err := a.description()
	if err != nil {
		return nil, err
	}
	return entryOf(s.Description), nil
}

// description is what the node's descriptor is, while it is the same. ENOENT.
func (a procAt) description() (fdtable.Slot, error) {
	t, err := a.task()
	if err != nil {
		return fdtable.Slot{}, err
	}
	s, err := t.FDs.Slot(a.fd)
	if err != nil || s.Description != a.slot {
		return s, unix.ENOENT
	}
	return s, nil
}

// fdInfo is fs/proc/fd.c:seq_show.
func fdInfo(a procAt) ([]byte, error) {
	s, err := a.description()
	if err != nil {
		return nil, err
	}
	flags := s.Flags
	if s.CloseOnExec {
		flags |= unix.O_CLOEXEC
	}
	e := entryOf(s.Description)
	mount, _ := e.Mount()
	attr, _ := e.Attr()
	text := fmt.Appendf(nil, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", s.Offset, flags, mount, attr.Ino)
	if f, ok := s.File.(*pidFD); ok {
		pid := f.p.PID
		if f.p.state == reaped {
			pid = -1
		}
		text = fmt.Appendf(text, "Pid:\t%d\nNSpid:\t%d\n", pid, pid)
	}
	return text, nil
}
