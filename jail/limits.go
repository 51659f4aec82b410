//go:build linux && amd64

package jail

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// What a guest writes to its memory is seen by nobody, so a look is taken now and
// then, the sooner the nearer a limit is.
const (
	minLook     = time.Millisecond
	maxLook     = 50 * time.Millisecond
	memorySpeed = 10                     // bytes that a CPU fills in a nanosecond, huge pages above all
	cpuSlack    = 500 * time.Millisecond // between the bound, where SIGXCPU may be handled, and the jail's end
)

// growing is what must stop where memory is limited: the kernel alone knows whether a
// process may have more, so it answers, and the warden sees a refusal. glibc makes
// room for a thread's malloc by mprotect(2) of a page each time, and turns to brk(2) when
// that is refused: those of few pages pass.
var growing = []policy.Rule{
	{Calls: []string{"brk"}, Action: policy.Emulate},
	{Calls: []string{"mmap"}, When: []policy.Condition{{Arg: 2, Mask: unix.PROT_WRITE, Op: "==", Value: unix.PROT_WRITE}}, Action: policy.Emulate},
	{Calls: []string{"mprotect"}, When: []policy.Condition{{Arg: 1, Op: ">=", Value: 64 << 10},
		{Arg: 2, Mask: unix.PROT_WRITE, Op: "==", Value: unix.PROT_WRITE}}, Action: policy.Emulate},
}

// meter counts the use of one limit. Some are read and written by goroutines.
type meter struct{ used, bound, hits atomic.Int64 }

// most remembers n if it is more than ever.
func (m *meter) most(n int64) {
	for used := m.used.Load(); used < n && !m.used.CompareAndSwap(used, n); used = m.used.Load() {
	}
}

// take counts n, or what is left of the bound, and says which.
func (m *meter) take(n int64) int64 {
	for {
		used, bound := m.used.Load(), m.bound.Load()
		if bound > 0 {
			n = min(n, max(bound-used, 0))
		}
		if m.used.CompareAndSwap(used, used+n) {
			return n
		}
	}
}

// meters are the limits of a jail.
type meters struct {
	memory, tasks, files, descriptors, disk, inodes, output, cpu, wall, calls meter

	since    time.Time     // Spawn's
	past     time.Duration // CPU time of processes that have ended
	ranOut   bool          // task 1 had its SIGXCPU
	due      time.Time     // of the last call that was let through, see throttle
	waiting  int           // threads in throttle
	unmapped int64         // of the arena's Refused, those counted
	second   int64         // of since; in it there were
	lately   int64         // calls
	growth   growth
}

// growth is what the warden knows of the memory in use: what it was at the last look,
// and by how much that may have become more by calls. Looks that take long are not
// made more than half of the time.
type growth struct {
	held, since int64
	brk         map[*emulate.Process]uint64
	looked      time.Time
	took        time.Duration
}

// named lists the meters by their limits' names.
func (m *meters) named() map[string]*meter {
	return map[string]*meter{"memory": &m.memory, "tasks": &m.tasks, "files": &m.files, "descriptors": &m.descriptors, "disk": &m.disk, "inodes": &m.inodes,
		"output": &m.output, "cpu": &m.cpu, "wall": &m.wall, "calls": &m.calls}
}

func (m *meters) start(l policy.Limits) {
	m.since = time.Now()
	m.growth.brk = make(map[*emulate.Process]uint64)
	for name, bound := range map[string]int64{"memory": l.Memory, "tasks": int64(l.Tasks), "files": int64(l.Files),
		"descriptors": int64(l.Descriptors), "disk": l.Disk, "inodes": l.Inodes, "output": l.Output, "cpu": int64(l.CPU), "wall": int64(l.Wall), "calls": int64(l.Calls)} {
		m.named()[name].bound.Store(bound)
	}
}

// hit are the names of the limits that were reached.
func (m *meters) hit() (names []string) {
	for name, m := range m.named() {
		if m.hits.Load() > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// canLimit reports what of the host stands in the way of a limit.
func canLimit(l policy.Limits) error {
	for _, name := range []string{"/proc/self/status", "/proc/self/smaps_rollup"} {
		if err := unix.Access(name, unix.R_OK); l.Memory > 0 && err != nil {
			return &Error{Op: "policy.Limits memory", Err: fmt.Errorf("%s: %w: without it nobody sees what the guest holds; mount /proc", name, err)}
		}
	}
	return nil
}

// setLimits gives task 1 its resource limits: the caller's, cut by the policy.
func (w *warden) setLimits(t *emulate.Task) {
	l := &t.Process.Rlimits
	*l = w.inherited.Limits
	cut := func(resource int, n uint64) {
		if n > 0 && n < l[resource].Max {
			l[resource] = unix.Rlimit{Cur: min(n, l[resource].Cur), Max: n}
		}
	}
	lim := w.policy.Limits
	cut(unix.RLIMIT_DATA, uint64(lim.Memory))
	cut(unix.RLIMIT_NOFILE, uint64(lim.Files))
	cut(unix.RLIMIT_CPU, uint64((lim.CPU+time.Second-1)/time.Second))
	if lim.CPU > 0 { // SIGXCPU first, SIGKILL later
		l[unix.RLIMIT_CPU].Max++
	}
}

// reached ends the jail at a limit, from any goroutine.
func (w *warden) reached(limit string, bound any) {
	w.told["limit"](outcome{Event: recording.Event{Data: fmt.Append(nil, limit, " ", bound)}})
}

func (w *warden) limited(o outcome) {
	limit, bound, _ := strings.Cut(string(o.Data), " ")
	if w.meters.named()[limit] == nil {
		w.tape.fail(fmt.Errorf("there is no limit %q", limit))
		return
	}
	if w.err == nil { // task 1 may have ended, but not all that it wrote is out
		w.limitHit(limit, nil)
		w.err = &LimitError{Limit: limit, Bound: bound}
	}
	w.killAll()
}

// toHost is [vfs.HostOptions].Room, on the warden's thread: what the guest writes to
// files of the host leaves the jail.
func (w *warden) toHost(n int64) int64 {
	may := w.meters.output.take(n)
	if may < n {
		w.limited(outcome{Event: recording.Event{Data: fmt.Append(nil, "output ", w.policy.Limits.Output)}})
	}
	return may
}

// flushKilled is how long a jail that was ended, or is at its Limits.Wall, waits for
// what it wrote to go out.
const flushKilled = 300 * time.Millisecond

// patience is how long a jail waits for it at its end, most at most. One that is at
// its Limits.Output shall have as much come out.
func (w *warden) patience(most time.Duration) time.Duration {
	limit, _ := w.err.(*LimitError)
	switch wall := w.policy.Limits.Wall; {
	case w.err != nil && (limit == nil || limit.Limit != "output"):
		return flushKilled
	case wall > 0:
		return min(most, max(wall-time.Since(w.meters.since), 0)+flushKilled)
	}
	return most
}

// noData reports that the kernel refused t's call because its process would have more
// private data than Limits.Memory (mm/mmap.c:may_expand_vm), not less by its own wish.
func (w *warden) noData(t *thread, result uint64) bool {
	most, c := uint64(w.policy.Limits.Memory), &t.call
	var more uint64
	switch c.Nr {
	case unix.SYS_BRK:
		more = c.Args[0] - result
	default:
		more = wants(c)
	}
	if most == 0 || more == 0 || t.task.Process.Rlimits[unix.RLIMIT_DATA].Cur < most {
		return false
	}
	data := procSum(map[int][]int{t.tgid: {t.tid}}, "status", math.MaxInt64, "VmData:")
	return more > most-min(uint64(data), most)
}

// wants is how much more memory of its own a call asks for, brk aside.
func wants(c *emulate.Call) uint64 {
	switch c.Nr {
	case unix.SYS_MREMAP:
		return c.Args[2] - min(c.Args[1], c.Args[2])
	case unix.SYS_MMAP, unix.SYS_MPROTECT:
		if c.Args[2]&unix.PROT_WRITE != 0 && (c.Nr == unix.SYS_MPROTECT || c.Args[3]&unix.MAP_SHARED == 0) {
			return c.Args[1]
		}
	}
	return 0
}

// grew looks at the memory in use when t's call may have let it grow past the limit:
// the guest has not touched it yet. What was there and is touched later is for
// lookAtLimits.
func (w *warden) grew(t *thread, result uint64) {
	g, most := &w.meters.growth, w.policy.Limits.Memory
	more := wants(&t.call)
	if t.call.Nr == unix.SYS_BRK {
		more = result - min(result, g.brk[t.task.Process])
		g.brk[t.task.Process] = result
	}
	if more == 0 {
		return
	}
	g.since += int64(min(more, uint64(most)))
	start := time.Now()
	if g.held+g.since <= most || start.Sub(g.looked) < 2*g.took && g.took > longLook {
		return
	}
	g.held, g.since = held(w.processes(), most), 0
	g.looked, g.took = start, time.Since(start)
	w.meters.memory.most(g.held)
	if g.held > most {
		w.reached("memory", most)
	}
	g.since = int64(min(more, uint64(most)))
}

// longLook is when a look takes long.
const longLook = time.Millisecond

// processes are the guest's processes, by host ids, and the threads of each.
func (w *warden) processes() map[int][]int {
	all := make(map[int][]int)
	for tid, t := range w.threads {
		all[t.tgid] = append(all[t.tgid], tid)
	}
	return all
}

// full counts a refusal for which a limit is to blame. result is brk's.
func (w *warden) full(t *thread, result uint64, err error) {
	bytes, inodes := w.disk.Full()
	switch l := w.policy.Limits; {
	case err == unix.EMFILE && l.Files > 0 && t.task.FDs.Free(0) >= l.Files:
		w.limitHit("files", t)
	case err == unix.ENFILE && w.sys.Limits.Descriptors.Refused > w.meters.descriptors.hits.Load():
		w.limitHit("descriptors", t)
	case err == unix.ENOSPC && bytes:
		w.limitHit("disk", t)
	case err == unix.ENOSPC && inodes:
		w.limitHit("inodes", t)
	case err == unix.EAGAIN && w.sys.Limits.Refused > w.meters.tasks.hits.Load():
		w.limitHit("tasks", t)
	case err == unix.ENOMEM && w.arena.Refused > w.meters.unmapped:
		w.meters.unmapped = w.arena.Refused
		w.limitHit("disk", t)
	case err == unix.ENOMEM && w.noData(t, result):
		w.limitHit("memory", t)
	}
}

// throttle keeps a call that comes too soon until it is due: a token bucket that
// holds one second's worth (as the generic cell rate algorithm has it). No signal
// ends the wait, as none has been seen by the call yet; but death does: ErrGone.
func (t *thread) throttle(now time.Time) error {
	m := &t.w.meters
	if s := int64(now.Sub(m.since) / time.Second); s != m.second {
		m.second, m.lately = s, 0
	}
	if m.due.Before(now) {
		m.due = now
	}
	m.due = m.due.Add(time.Second / time.Duration(t.w.policy.Limits.Calls))
	if wait := m.due.Sub(now) - time.Second; wait > 0 {
		t.w.limitHit("calls", t)
		m.waiting++
		defer func() { m.waiting-- }()
		due := false
		timer := time.AfterFunc(wait, func() { t.w.box.post(func() { due = true; t.Unpark() }) })
		defer timer.Stop()
		for !due {
			if err := t.ParkUninterruptible(); err != nil {
				return err
			}
		}
	}
	m.lately++
	m.calls.most(m.lately)
	return nil
}

// ended adds up the CPU time of processes that have.
func (m *meters) ended(t *thread, u emulate.Usage) {
	if t.tid == t.tgid {
		m.past += u.User + u.System
	}
}

// ranOut notes that t gets SIGXCPU, if not for a bound that its process has set itself.
// By its own clock it may have used less or more: the kernel counts in ticks here.
func (w *warden) ranOut(t *thread) {
	p := t.task.Process
	if l := w.policy.Limits.CPU; l > 0 && p.Rlimits[unix.RLIMIT_CPU].Cur >= uint64(l/time.Second) {
		w.limitHit("cpu", t)
		w.meters.ranOut = w.meters.ranOut || p.PID == 1
	}
}

// cpuTime is what the jail's processes have used.
func (w *warden) cpuTime() time.Duration {
	sum := w.meters.past
	for tid, t := range w.threads {
		if d, err := t.CPUTime(false); tid == t.tgid && err == nil {
			sum += d
		}
	}
	return sum
}

// limitStats is what Stats tells of the limits.
func (w *warden) limitStats() map[string]LimitStats {
	m, l := &w.meters, w.sys.Limits
	bytes, inodes := w.disk.Most()
	m.tasks.most(int64(max(l.MostTasks, 1)))
	m.files.most(int64(l.MostFiles))
	m.descriptors.most(int64(l.Descriptors.Most))
	m.disk.most(bytes)
	m.inodes.most(inodes)
	m.cpu.most(int64(w.cpuTime()))
	if w.proc.running() == nil { // else run has
		m.wall.most(int64(time.Since(m.since)))
	}
	stats := make(map[string]LimitStats)
	for name, m := range m.named() {
		stats[name] = LimitStats{m.used.Load(), m.bound.Load(), m.hits.Load()}
	}
	return stats
}

// watchLimits ends the jail at those limits that no call meets. It returns at
// once.
func (p *Process) watchLimits(l policy.Limits) {
	if l.Wall > 0 {
		t := time.AfterFunc(l.Wall-time.Since(p.w.meters.since), func() { p.w.reached("wall", l.Wall) })
		go func() {
			<-p.ended
			t.Stop()
		}()
	}
	if l.Memory <= 0 && l.CPU <= 0 {
		return
	}
	go func() {
		next, asleep := minLook, chan struct{}(nil)
		for {
			if asleep != nil { // nothing is used until a guest goes on
				select {
				case <-p.ended:
					return
				case <-asleep:
				}
			}
			select {
			case <-p.ended:
				return
			case <-time.After(next):
			}
			next, asleep = p.lookAtLimits(l)
		}
	}()
}

// lookAtLimits ends the jail at a limit, and says when to look again: before the
// next can be reached, but not more than half of the time. asleep, if not nil, is
// closed when the guests do something again.
func (p *Process) lookAtLimits(l policy.Limits) (next time.Duration, asleep chan struct{}) {
	w, start, busy := p.w, time.Now(), runtime.NumCPU()
	next = maxLook
	left := func(name string, bound any, left int64, speed int) {
		if left < 0 {
			w.reached(name, bound)
		}
		next = min(next, time.Duration(max(left, 0)/int64(speed*busy)))
	}
	var processes map[int][]int
	var cpu time.Duration
	p.do(func() {
		processes = w.processes()
		busy, cpu = max(min(busy, len(w.threads)), 1), w.cpuTime()
		if w.idle() {
			asleep = make(chan struct{})
			w.asleep = asleep
		}
	})
	if l.CPU > 0 {
		left("cpu", l.CPU, int64(l.CPU+cpuSlack-cpu), 1)
	}
	if l.Memory > 0 {
		held := held(processes, l.Memory)
		w.meters.memory.most(held)
		left("memory", l.Memory, l.Memory-held, memorySpeed)
	}
	return max(next, minLook, time.Since(start)), asleep
}

// idle reports that every guest thread sleeps in a handler.
func (w *warden) idle() bool {
	for _, t := range w.threads {
		if !t.parked {
			return false
		}
	}
	return len(w.loading) == 0
}

// held is how many bytes of memory processes hold together, that of page tables
// included; if it is more than enough, maybe not all. The kernel's quick count has
// what they share once for each of them; if that is too much, its exact one decides.
func held(processes map[int][]int, enough int64) int64 {
	sum := procSum(processes, "status", enough, "VmRSS:", "VmPTE:") // proc_pid_status(5)
	if sum > enough {
		sum = procSum(processes, "status", enough, "VmPTE:")
		sum += procSum(processes, "smaps_rollup", enough-sum, "Pss:") // proc_pid_smaps(5)
	}
	return sum
}

// procSum adds up, in bytes, what lines of each process's file in /proc say in kB,
// until that is more than enough.
func procSum(processes map[int][]int, file string, enough int64, names ...string) (sum int64) {
	for _, threads := range processes {
		before := sum
		for _, tid := range threads { // a leader that has ended has no memory, but its threads may
			text, _ := readProc(fmt.Sprintf("/proc/%d/%s", tid, file)) // gone: nothing
			for line := range bytes.Lines(text) {
				if f := bytes.Fields(line); len(f) > 1 && slices.Contains(names, string(f[0])) {
					kib, _ := strconv.ParseInt(string(f[1]), 10, 64)
					sum += kib << 10
				}
			}
			if sum > before {
				break
			}
		}
		if sum > enough {
			break
		}
	}
	return sum
}
