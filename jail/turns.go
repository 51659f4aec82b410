//go:build linux && amd64

package jail

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
	"oubliette/policy"
)

// turns has the guest threads run one at a time where the clock is virtual: one runs
// from a stop to its next, and which of those that could is next is drawn from the
// random source. So a run is a function of its inputs: no thread's stop can come
// before or after another's, and the only other things that happen are timers, at
// times that follow from the calls made.
//
// That needs the kernel never to let a thread sleep or run by itself. What it would
// sleep in natively (futex, rt_sigsuspend) therefore stops and is answered here, and
// whatever the kernel does on the side is waited for before anybody has a turn: the
// first stop of a new thread, the death of a process that was killed, the end of
// vfork(2) when the child is gone, the trap of a stopped process that is to continue.
// Letting the kernel keep the futexes instead was tried on paper: who was woken is
// seen only when its stop arrives, how many are to arrive nobody says of the wake-ups
// at a thread's end, and timeouts would be the host's time.
//
// It ends where a thread waits for another without a call: then, after the quantum,
// it is interrupted wherever it stands.
type turns struct {
	random  *rand.Rand
	queue   []*thread   // that would run on
	running *thread     // whose turn it is, or was last
	moving  int         // threads of which the kernel has something to tell
	late    []stopEvent // that come in no order

	since    time.Time   // of the last stop, or what was done for it, on the host
	watch    *time.Timer // nil: not needed yet
	watching bool
	looked   *thread       // that ran when the watch last looked, having used
	used     time.Duration // so much
	jump     bool          // to the next timer: who runs waits for it
	lenient  bool          // what moves is not waited for
	broken   int64         // how often order was given up
}

// quantum is how long a thread may compute while others of its process wait, in CPU
// time, and how long the kernel has to tell what it must, before order is given up.
// Processes rarely wait for each other without a call, and compilers compute for
// seconds between two: they have patience.
const (
	quantum  = time.Second
	patience = 10 * quantum
	lookTime = quantum / 4
)

// slice is how long a task that gives the processor away is taken to sleep if nobody
// wants it.
const slice = 100 * time.Microsecond

// takingTurns is what must stop: the calls of waiters, and exit and exit_group, which
// tell how a thread ends.
var takingTurns = policy.Rule{Calls: append([]string{"exit", "exit_group"}, waiters...), Action: policy.Emulate}

// cont lets the thread run on, when it is its turn.
func (t *thread) cont(sig int) {
	s := t.w.turns
	if s == nil {
		t.run(sig)
		return
	}
	t.signal = sig
	s.queue = append(s.queue, t)
}

// run continues the host thread with a signal.
func (t *thread) run(sig int) {
	if !t.exits() {
		_ = ptrace.Cont(t.tid, sig) // ESRCH: its death is on the way
	}
}

// moves notes that the kernel is going to tell of t; rests, that it has.
func (t *thread) moves() {
	if s := t.w.turns; s != nil && !t.moving && !t.dead && !t.reaped {
		t.moving = true
		s.moving++
	}
}

func (t *thread) rests() {
	if t.moving {
		t.moving = false
		t.w.turns.moving--
	}
}

// processMoves is moves for all threads of a host process.
func (w *warden) processMoves(tgid int) {
	for _, o := range w.threads {
		if o.tgid == tgid {
			o.moves()
		}
	}
}

// arrived is told of a status of t. It reports true if that can wait: of the ends of
// several threads the order is chance, and of that of a child of vfork(2) and its
// parent's going on.
func (s *turns) arrived(t *thread, e stopEvent) bool {
	s.since = time.Now()
	t.rests()
	t.listening = false
	early := t.vforking
	t.vforking = false
	if !e.last() && !early {
		return false
	}
	s.late = append(s.late, e)
	if !e.last() {
		return true
	}
	t.reaped = true
	t.releaseVfork()
	if !t.leaving { // then its whole process ends
		t.w.processMoves(t.tgid)
	} else if leader := t.w.threads[t.tgid]; leader != nil && leader.leaving && len(t.task.Process.Threads) == 2 {
		leader.moves() // its end is told with the last thread's
	}
	return true
}

// releaseVfork is for the end of the child of vfork(2), or of its first image: its
// parent goes on.
func (t *thread) releaseVfork() {
	if p := t.vforker; p != nil && p.vforking {
		p.vforking = false
		p.moves()
	}
	t.vforker = nil
}

// quiet reports that nothing is under way in the kernel or on other goroutines that
// is to come before the next turn.
func (w *warden) quiet() bool {
	s := w.turns
	if s.moving > 0 && (!s.lenient || s.running != nil && s.running.moving) {
		return false
	}
	busy := len(w.loading)+len(w.doomed)+len(w.early)+w.sys.Away > 0 || w.streams.waitingFor(unix.POLLOUT)
	if !busy && s.moving == 0 {
		s.lenient = false
	}
	return !busy || s.lenient
}

// turn does the next thing when all is quiet: lets a thread run, or the clock jump. It
// reports false if there is none: something must come from outside.
func (w *warden) turn() bool {
	s, v := w.turns, w.virtual
	if len(s.late) > 0 {
		late := s.late
		s.late = nil
		slices.SortFunc(late, func(a, b stopEvent) int { return w.order(a) - w.order(b) })
		for _, e := range late {
			w.usage = e.usage
			if t := w.threads[e.tid]; t != nil {
				w.give(t, e.status)
			}
		}
		return true
	}
	if v.due() || s.jump && v.pending() {
		s.jump = false
		w.guard(v.fire)
		return true
	}
	s.queue = slices.DeleteFunc(s.queue, func(t *thread) bool { return t.dead || t.reaped })
	if len(s.queue) > 0 {
		w.grant(w.draw())
		return true
	}
	if w.outsideBusy() {
		w.keepPace()
		return false
	}
	if !v.pending() {
		return false
	}
	w.guard(v.fire)
	return true
}

// order has ends behind all else, by process and thread, a leader last, as the kernel
// has it.
func (w *warden) order(e stopEvent) int {
	t := w.threads[e.tid]
	if t == nil || t.task == nil || !e.last() {
		return 0
	}
	if t.tid == t.tgid {
		return t.task.Process.PID<<23 | 1<<22
	}
	return t.task.Process.PID<<23 | t.task.TID
}

// draw takes a thread out of the queue: one that has not given its turn away, if
// there is one.
func (w *warden) draw() *thread {
	s := w.turns
	slices.SortFunc(s.queue, func(a, b *thread) int { return a.task.TID - b.task.TID })
	willing := slices.DeleteFunc(slices.Clone(s.queue), func(t *thread) bool { return t.task.Yielded })
	if len(willing) == 0 {
		willing = s.queue
		w.virtual.passed += slice
	}
	i := 0
	if len(willing) > 1 {
		if s.random == nil {
			var seed [16]byte
			w.Random(seed[:])
			s.random = rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
		}
		i = s.random.IntN(len(willing))
	}
	for _, t := range s.queue {
		t.task.Yielded = false
	}
	t := willing[i]
	s.queue = slices.DeleteFunc(s.queue, func(o *thread) bool { return o == t })
	return t
}

// grant lets t run.
func (w *warden) grant(t *thread) {
	s := w.turns
	s.running, s.looked, s.jump = t, nil, false
	t.moves()
	t.run(t.signal)
	if t.leaving {
		t.left()
	}
}

// left waits for the end of a leader that leaves its process to the other threads: of
// that the kernel tells with their last one's.
func (t *thread) left() {
	if t.w.turns == nil || t.tid != t.tgid || len(t.task.Process.Threads) < 2 {
		return
	}
	for range quantum / leaderPause {
		state := t.hostState()
		if state == 'Z' || state == 't' && t.through {
			break
		}
		if state == 't' {
			t.w.atLastStop(t.tid)
		}
		time.Sleep(leaderPause)
	}
	t.rests()
	t.task.ClearTID()
}

const leaderPause = 50 * time.Microsecond

// watchOver sees to it that where others could go on the turn does not stay with one
// thread for ever, nor the kernel be waited for that has nothing to tell.
func (w *warden) watchOver() {
	s := w.turns
	if s.watching || len(s.queue)+len(s.late) == 0 && !w.virtual.pending() && !w.tape.pressing() {
		return
	}
	s.watching = true
	if s.watch == nil {
		s.watch = time.AfterFunc(lookTime, func() { w.box.post(w.overdue) })
		return
	}
	s.watch.Reset(lookTime)
}

// endTurns stops what the host's clock has been asked for.
func (w *warden) endTurns() {
	if w.turns == nil {
		return
	}
	w.virtual.stop()
	if w.turns.watch != nil {
		w.turns.watch.Stop()
	}
}

// overdue looks whether anything has happened for too long.
func (w *warden) overdue() {
	s := w.turns
	s.watching = false
	waited := time.Since(s.since)
	t := s.running
	switch {
	case w.ended || waited < lookTime:
		return
	case t == nil || !t.moving:
		if waited >= quantum && !w.quiet() {
			s.lenient = true
			s.broken++
		}
		return
	}
	used, err := t.CPUTime(true)
	if err != nil {
		return
	}
	if s.looked != t {
		s.looked, s.used = t, used
	}
	used -= s.used
	if t.hostState() == 'S' { // in a call that the policy lets it make
		used = waited
	}
	if limit, timer := w.allowance(t); used >= limit {
		s.broken++
		s.looked, s.jump = nil, timer
		t.task.Yielded = true
		_ = ptrace.Interrupt(t.tid)
	}
}

// allowance is how long t may compute, and whether it is the next timer that ends it:
// that falls due when as much CPU time is used.
func (w *warden) allowance(t *thread) (limit time.Duration, timer bool) {
	s, v := w.turns, w.virtual
	limit = math.MaxInt64
	if w.tape.pressing() {
		limit = quantum
	}
	for _, o := range s.queue {
		limit = min(limit, patience)
		if o.task.Process == t.task.Process {
			limit = quantum
		}
	}
	if v.pending() {
		if next := max(quantum, v.timers[0].at-v.passed); next <= limit {
			return next, true
		}
	}
	return limit, false
}
