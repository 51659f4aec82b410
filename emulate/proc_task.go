//go:build linux

package emulate

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// state is the letter of a task and its word. A thread that waits in a call of
// ours is stopped for the host.
func (t *Task) state(host byte) string {
	switch {
	case t.Process.Zombie():
		return "Z (zombie)"
	case t.Process.stopSig != 0:
		return "T (stopped)"
	case host == 'R' || t == t.Sys.Current:
		return "R (running)"
	case host == 'D':
		return "D (disk sleep)"
	}
	return "S (sleeping)"
}

// procStat is fs/proc/array.c:do_task_stat. The host's line gives the memory.
func procStat(a procAt) ([]byte, error) {
	t, err := a.someTask()
	if err != nil {
		return nil, err
	}
	p, f := t.Process, make([]string, 53) // by the numbers of proc_pid_stat(5)
	u := p.selfUsage
	for i := range f {
		f[i] = "0"
	}
	if !p.Zombie() {
		text, err := t.Machine.ProcFile("stat")
		if err != nil {
			return nil, unix.ESRCH
		}
		copy(f[3:], strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])))
		f[23] = a.s.lessReserved(f[23], 1)
		if a.s.Repeatable {
			f[9], f[24], f[42], f[43] = "4194304", "0", "0", "0" // PF_RANDOMIZE
		}
		if u, err = t.Usage(a.t != nil); err != nil {
			return nil, unix.ESRCH
		}
	}
	tid, exitSignal := p.PID, p.exitSig
	if a.t != nil && a.t.TID != p.PID {
		tid, exitSignal = a.t.TID, -1
	}
	f[2], f[3] = "("+t.Comm+")", t.state(f[3][0])[:1]
	f[25] = strconv.FormatUint(p.Rlimits[unix.RLIMIT_RSS].Cur, 10)
	c := p.childUsage
	tty, tpgid := p.ttyNumbers()
	for i, v := range map[int]int64{1: int64(tid), 4: int64(p.PPID()), 5: int64(p.PGID), 6: int64(p.SID), 7: tty, 8: tpgid,
		10: u.MinorFaults, 11: c.MinorFaults, 12: u.MajorFaults, 13: c.MajorFaults,
		14: ticks(u.User), 15: ticks(u.System), 16: ticks(c.User), 17: ticks(c.System),
		18: int64(20 + t.Attr.Nice), 19: int64(t.Attr.Nice), 20: int64(max(len(p.Threads), 1)),
		22: ticks(time.Duration(p.Started-a.s.Now()) + a.s.uptime()),
		38: int64(exitSignal), 39: int64(firstCPU(t.affinity())), 40: 0, 41: int64(t.Attr.Policy)} {
		f[i] = strconv.FormatInt(v, 10)
	}
	// Where code and data are the host knows only of the stub.
	f[26], f[27], f[45], f[46] = "1", "1", "0", "0"
	if a.mayLook(unix.EACCES) != nil {
		for _, i := range []int{28, 29, 30, 47, 48, 49, 50, 51, 52} {
			f[i] = "0"
		}
	}
	if p.Zombie() {
		f[26], f[27], f[52] = "0", "0", strconv.Itoa(int(p.status))
	}
	return []byte(strings.Join(f[1:], " ") + "\n"), nil
}

func procStatm(a procAt) ([]byte, error) {
	if _, err := a.task(); err != nil && a.alive() == nil {
		return []byte("0 0 0 0 0 0 0\n"), nil
	}
	return host("statm", func(a procAt, _ *Task, p []byte) []byte {
		f := strings.Fields(string(p)) // size resident shared text lib data dt
		f[0] = a.s.lessReserved(f[0], pageSize)
		if a.s.Repeatable {
			f[1], f[2] = "0", "0"
		}
		return []byte(strings.Join(f, " ") + "\n")
	})(a)
}

// lessReserved is a size of the host's in units, without what is reserved.
func (s *System) lessReserved(size string, unit uint64) string {
	n, _ := strconv.ParseUint(size, 10, 64)
	return strconv.FormatUint(n-min(n, s.Reserved/unit), 10)
}

// inUse begins the lines of status and smaps that tell how much memory is in use,
// which where runs are repeatable is not told.
var inUse = []string{"VmHWM", "VmRSS", "Rss", "VmPTE", "VmSwap", "Pss", "Shared_", "Private_", "Referenced", "Anonymous", "KSM",
	"LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Swap", "THPeligible", "voluntary_ctxt", "nonvoluntary_ctxt"}

// figures is line, of status or smaps, as the guest may know it.
func (s *System) figures(line []byte) []byte {
	if !s.Repeatable && line[0] != 'V' {
		return line
	}
	name, value, _ := strings.Cut(string(line), ":")
	number, kib := strings.CutSuffix(strings.TrimSpace(value), " kB")
	switch {
	case name == "VmPeak" || name == "VmSize":
		return fmt.Appendf(nil, "%s:\t%8s kB\n", name, s.lessReserved(number, 1<<10))
	case !s.Repeatable || !slices.ContainsFunc(inUse, func(p string) bool { return strings.HasPrefix(name, p) }):
		return line
	case kib:
		return []byte(strings.Replace(string(line), number, fmt.Sprintf("%*d", len(number), 0), 1))
	}
	return []byte(name + ":\t0\n")
}

// procAuxv is the auxiliary vector, read from where the process found it: behind
// argv and envp. At most maxAuxv entries.
func procAuxv(a procAt) ([]byte, error) {
	t, err := a.task()
	if err != nil {
		return nil, nil
	}
	text, err := t.Machine.ProcFile("stat")
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if err != nil || len(f) < 28-2 {
		return nil, unix.ESRCH
	}
	sp, _ := strconv.ParseUint(f[28-3], 10, 64)
	b := make([]byte, 16*maxAuxv)
	n, err := t.Machine.ReadMemory(b, sp+8*uint64(3+t.Process.strings))
	for i := 0; i+16 <= n; i += 16 {
		if leUint64(b[i:]) == 0 { // AT_NULL
			return b[:i+16], nil
		}
	}
	return nil, err
}

// maxAuxv is more than any kernel gives a process.
const maxAuxv = 64

// noMemory is what is left of the host's status for a zombie.
const noMemory = "Name:\nUmask:\nState:\nTgid:\nNgid:\t0\nPid:\nPPid:\nTracerPid:\nUid:\nGid:\nFDSize:\nGroups:\n" +
	"NStgid:\nNSpid:\nNSpgid:\nNSsid:\nKthread:\t0\nThreads:\nSigQ:\nSigPnd:\t0000000000000000\n" +
	"ShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n" +
	"CapInh:\nCapPrm:\nCapEff:\nCapBnd:\nCapAmb:\nNoNewPrivs:\nSeccomp:\nSeccomp_filters:\nCpus_allowed:\n" +
	"Cpus_allowed_list:\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n"

// procStatus is fs/proc/array.c:proc_pid_status: the host's, with every line
// replaced that is about more than memory, signals and switches.
func procStatus(a procAt) ([]byte, error) {
	t, err := a.someTask()
	if err != nil {
		return nil, err
	}
	text := []byte(noMemory)
	if !t.Process.Zombie() {
		if text, err = t.Machine.ProcFile("status"); err != nil {
			return nil, unix.ESRCH
		}
	}
	var hostState byte
	if _, after, ok := bytes.Cut(text, []byte("\nState:\t")); ok && len(after) > 0 {
		hostState = after[0]
	}
	ours := a.statusLines(t, hostState)
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if v, ok := ours[string(name)]; ok {
			fmt.Fprintf(&b, "%s:\t%s\n", name, v)
		} else {
			b.Write(a.s.figures(line))
		}
	}
	return b.Bytes(), nil
}

func (a procAt) statusLines(t *Task, hostState byte) map[string]string {
	p, k, c := t.Process, t.Cred, t.Cred.Capabilities()
	tid := p.PID
	if a.t != nil {
		tid = a.t.TID
	}
	num, caps := strconv.Itoa, func(set uint64) string { return fmt.Sprintf("%016x", set) }
	fds, umask, mask := 0, fmt.Sprintf("%04o", t.FS.Umask), t.affinity()
	if !p.Zombie() {
		fds = t.FDs.Size()
	}
	groups := ""
	for _, g := range k.Groups {
		groups += strconv.FormatUint(uint64(g), 10) + " "
	}
	return map[string]string{
		"Name": strings.NewReplacer("\n", `\n`, `\`, `\\`).Replace(t.Comm), "Umask": umask, "State": t.state(hostState),
		"Tgid": num(p.PID), "Ngid": "0", "Pid": num(tid), "PPid": num(p.PPID()), "TracerPid": "0",
		"Uid":    fmt.Sprintf("%d\t%d\t%d\t%d", k.RUID, k.EUID, k.SUID, k.FSUID),
		"Gid":    fmt.Sprintf("%d\t%d\t%d\t%d", k.RGID, k.EGID, k.SGID, k.FSGID),
		"FDSize": num(fds), "Groups": groups,
		"NStgid": num(p.PID), "NSpid": num(tid), "NSpgid": num(p.PGID), "NSsid": num(p.SID),
		"Threads":     num(max(len(p.Threads), 1)),
		"THP_enabled": num(int(1 - oneIf(p.Attr.NoHugePages))), "CoreDumping": "0",
		"SigQ":   fmt.Sprintf("0/%d", p.Rlimits[unix.RLIMIT_SIGPENDING].Cur),
		"CapInh": caps(c.Inheritable), "CapPrm": caps(c.Permitted), "CapEff": caps(c.Effective),
		"CapBnd": caps(c.Bounding), "CapAmb": caps(c.Ambient),
		"NoNewPrivs": num(int(oneIf(t.Attr.NoNewPrivs))), "Seccomp": "0", "Seccomp_filters": "0",
		"Speculation_Store_Bypass": "vulnerable", "SpeculationIndirectBranch": "always enabled",
		"Cpus_allowed": cpuMask(mask), "Cpus_allowed_list": cpuList(mask),
		"Mems_allowed": "1", "Mems_allowed_list": "0",
	}
}

// cpuMask is %*pb: words of 32 bits, the highest first.
func cpuMask(mask []uint64) string {
	s := ""
	for _, w := range mask {
		s = fmt.Sprintf("%08x,%08x,", w>>32, uint32(w)) + s
	}
	return strings.TrimLeft(strings.TrimSuffix(s, ","), "0,")
}

// cpuList is %*pbl: ranges.
func cpuList(mask []uint64) string {
	has := func(i int) bool { return i/64 < len(mask) && mask[i/64]>>(i%64)&1 == 1 }
	var b strings.Builder
	for i := 0; i < 64*len(mask); i++ {
		if !has(i) {
			continue
		}
		start := i
		for has(i + 1) {
			i++
		}
		fmt.Fprintf(&b, ",%d", start)
		if i > start {
			fmt.Fprintf(&b, "-%d", i)
		}
	}
	return strings.TrimPrefix(b.String(), ",")
}

// procMaps edits maps and smaps: a line that maps an arena gets the name, inode
// and offset of the file that lies there (fs/proc/task_mmu.c:show_map_vma).
func procMaps(a procAt, _ *Task, text []byte) []byte {
	if a.s.voids {
		text = joinMaps(text)
	}
	out := make([]byte, 0, len(text)+len(text)/4)
	for line := range bytes.Lines(text) {
		var f [][]byte
		if line[0] > 'Z' || line[0] < 'A' { // not what smaps tells of it
			f = bytes.Fields(line) // range perms offset dev inode name
		}
		if len(f) < 6 || !bytes.HasPrefix(f[5], []byte("/")) || !bytes.Contains(f[0], []byte("-")) {
			out = append(out, a.s.figures(line)...)
			continue
		}
		off, _ := strconv.ParseInt(string(f[2]), 16, 64)
		var dev, ino uint64
		name := ""
		if in, ok := arenaOf(string(f[5])); ok {
			e, at, _ := a.s.Mapped(in, off)
			off = at
			if e != nil {
				attr, _ := e.Attr()
				dev, ino, name = attr.Dev, attr.Ino, escape(a.s.shown(e), "\n")
			}
		} else {
			off = 0
		}
		start := len(out)
		out = fmt.Appendf(out, "%s %s %08x %02x:%02x %d ", f[0], f[1], off, unix.Major(dev), unix.Minor(dev), ino)
		if name != "" {
			for len(out)-start < 72 {
				out = append(out, ' ')
			}
			out = append(append(out, ' '), name...)
		}
		out = append(out, '\n')
	}
	return out
}

// joinMaps makes one line of those that are one mapping to the guest: what it may
// touch of a file and what is mapped as [arena.Void].
func joinMaps(text []byte) []byte {
	out := make([]byte, 0, len(text))
	var last mapping
	at, start := 0, uint64(0) // of last, which out ends with
	for line := range bytes.Lines(text) {
		m, from, err := parseMapping(line)
		if _, ok := arenaOf(m.name); err == nil && ok && from == last.end && m.inode == last.inode && m.prot == last.prot &&
			m.shared == last.shared && m.offset%arena.Void == last.offset%arena.Void+(from-start) {
			f := bytes.SplitN(out[at:], []byte(" "), 2)
			out = append(out[:at], fmt.Sprintf("%x-%x %s", start, m.end, f[1])...)
			last.end = m.end
			continue
		}
		last, start, at = m, from, len(out)
		out = append(out, line...)
	}
	return out
}

// arenaOf tells the arena by the host's name of its file.
func arenaOf(name string) (fdtable.Arena, bool) {
	switch name {
	case "/memfd:" + arena.OwnName:
		return fdtable.ArenaOwn, true
	case "/memfd:" + arena.SharedName:
		return fdtable.ArenaShared, true
	}
	return 0, false
}

// escape writes the characters of set as octal numbers (seq_escape).
func escape(s, set string) string {
	if !strings.ContainsAny(s, set) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) >= 0 {
			fmt.Fprintf(&b, "\\%03o", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// procLimits is fs/proc/base.c:proc_pid_limits.
func procLimits(t *Task) string {
	names := []struct{ name, unit string }{
		{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"},
		{"Max stack size", "bytes"}, {"Max core file size", "bytes"}, {"Max resident set", "bytes"},
		{"Max processes", "processes"}, {"Max open files", "files"}, {"Max locked memory", "bytes"},
		{"Max address space", "bytes"}, {"Max file locks", "locks"}, {"Max pending signals", "signals"},
		{"Max msgqueue size", "bytes"}, {"Max nice priority", ""}, {"Max realtime priority", ""},
		{"Max realtime timeout", "us"},
	}
	var b strings.Builder
	value := func(v uint64) string {
		if v == unix.RLIM_INFINITY {
			return "unlimited"
		}
		return strconv.FormatUint(v, 10)
	}
	fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for i, l := range names {
		r := t.Process.Rlimits[i]
		fmt.Fprintf(&b, "%-25s %-20s %-20s ", l.name, value(r.Cur), value(r.Max))
		if l.unit != "" {
			fmt.Fprintf(&b, "%-10s", l.unit)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// mounts is what is mounted below the reader's root, a line each.
func (k *proc) mounts(a procAt, line func(m, up vfs.Mountpoint, path string) string) ([]byte, error) {
	t, err := a.task()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	list := k.s.FS.Mounts()
	for i, m := range list {
		path, ok := m.Root.PathFrom(t.FS.Root)
		if !ok {
			continue
		}
		up := m
		for _, o := range list[:i] {
			if o.Path == "/" || m.Path == o.Path || strings.HasPrefix(m.Path, o.Path+"/") {
				if up == m || len(o.Path) >= len(up.Path) {
					up = o
				}
			}
		}
		b.WriteString(line(m, up, escape(path, " \t\n\\")))
	}
	return []byte(b.String()), nil
}

const mangled = " \t\n\\#"

func mountLine(m, _ vfs.Mountpoint, path string) string {
	return fmt.Sprintf("%s %s %s %s 0 0\n", escape(m.Source, mangled), path, escape(m.Type, mangled), m.Options)
}

func mountInfoLine(m, up vfs.Mountpoint, path string) string {
	id, _ := m.Root.Mount()
	parent, _ := up.Root.Mount()
	if up == m {
		parent = 0
	}
	super, _, _ := strings.Cut(m.Options, ",")
	return fmt.Sprintf("%d %d %d:%d / %s %s - %s %s %s\n", id, parent, unix.Major(m.Dev), unix.Minor(m.Dev), path,
		m.Options, escape(m.Type, mangled), escape(m.Source, mangled), super)
}
