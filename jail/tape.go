//go:build linux && amd64

package jail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/ptrace"
	"oubliette/internal/recording"
)

// tape is what a run takes from outside, as it is recorded or replayed. A nil one is
// that of an ordinary run, which takes things as they come.
//
// All that comes from outside passes one of three gates. Mounted trees remember their
// answers (vfs.Answers). What the warden asks at once (ask) is an event in the order in
// which it asks. What comes by itself, or later, comes through a door; it is an event
// with the place where the run was, and the replay opens the door at the same place. The
// place is the number of turns that the guest's threads have had (see turns), which are
// the same as long as the guest is told the same; events come between two turns, one at a
// time. What the guest sends is an event too (say): it must be the same again.
type tape struct {
	w     *warden
	trees *vfs.Answers
	out   *recording.Writer
	in    *recording.Reader
	next  *recording.Event // of in; nil: there is none
	place uint64
	still time.Time                // of a recording: since when the guest has waited; zero: it does not
	doors map[string]func(outcome) // that are open
	done  bool                     // the last guest has ended
	muted int                      // the caller looks at the tree

	failed bool        // to record
	halted atomic.Bool // see over

	mounts  []mountAnswer // in order, those of a replay that are still to come
	streams []*tapedStream

	mu   sync.Mutex
	came []outcome // to a recording, not yet let in
}

// outcome is an event with what of it only Go values can be.
type outcome struct {
	recording.Event
	conn net.Conn
	done chan struct{} // not nil: closed when it is let in
}

// err is the errno of an outcome, nil for none.
func (o outcome) err() error {
	if o.Errno == 0 {
		return nil
	}
	return o.Errno
}

// replays reports that nothing outside exists.
func (t *tape) replays() bool { return t != nil && t.in != nil }

// door is a way in by the name what, which no other open door has: what it returns may
// be called on any goroutine to have enter run on the warden's thread. In a replay it
// does nothing, and enter is called when the recorded run's was.
func (t *tape) door(w *warden, what string, enter func(outcome)) func(outcome) {
	if t == nil {
		return func(o outcome) { w.box.post(func() { enter(o) }) }
	}
	t.doors[what] = enter
	return func(o outcome) {
		if t.in != nil {
			return
		}
		o.What = what
		t.mu.Lock()
		t.came = append(t.came, o)
		t.mu.Unlock()
		w.box.post(func() {}) // the loop looks
	}
}

// shut closes doors; what comes to them is dropped.
func (t *tape) shut(whats ...string) {
	if t != nil {
		for _, what := range whats {
			delete(t.doors, what)
		}
	}
}

// step says that there was a turn.
func (t *tape) step() {
	if t != nil {
		t.place++
		t.still = time.Time{}
	}
}

// urgent says that an event does not wait until all is quiet: the guest may compute
// for ever.
func urgent(what string) bool { return what == "kill" || what == "limit" }

// deliver lets in what has come, or what is to come now, and reports that there was
// something.
func (t *tape) deliver(quiet bool) bool {
	switch {
	case t == nil:
		return false
	case t.in == nil:
		o, ok := t.take(quiet)
		if !ok {
			return false
		}
		switch enter := t.doors[o.What]; {
		case enter == nil || t.w.ended && urgent(o.What):
			if o.done != nil {
				close(o.done)
			}
		default:
			if !t.still.IsZero() { // so long the guest has waited for it
				t.w.virtual.passed += time.Since(t.still)
				t.still = time.Now()
			}
			o.Clock = t.w.virtual.passed
			t.note(o.Event)
			t.w.guard(func() { enter(o) })
		}
		return true
	case t.done || t.next == nil || t.next.At > t.place || !quiet && !urgent(t.next.What):
		return false
	}
	e := *t.next
	enter := t.doors[e.What]
	switch {
	case e.At < t.place:
		t.diverged("it went on where the recorded run met %q", e.What)
	case enter == nil: // something to ask or to say, soon
		return false
	default:
		t.advance()
		t.w.virtual.passed = max(t.w.virtual.passed, e.Clock)
		t.w.guard(func() { enter(outcome{Event: e, conn: &silentConn{from: e.From, to: e.To}}) })
		return true
	}
	return false
}

// pressing reports that something is to be let in as soon as all is quiet.
func (t *tape) pressing() bool {
	switch {
	case t == nil || t.done:
		return false
	case t.in != nil:
		return t.next != nil && t.next.At <= t.place && t.doors[t.next.What] != nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.came) > 0
}

// take takes the first of what has come.
func (t *tape) take(quiet bool) (outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.came, func(o outcome) bool { return quiet || urgent(o.What) })
	if i < 0 {
		return outcome{}, false
	}
	o := t.came[i]
	t.came = slices.Delete(t.came, i, i+1)
	return o, true
}

// stand is when the guest cannot go on by itself. It ends a replay in which nothing
// comes.
func (t *tape) stand() {
	if t == nil || t.done || t.w.turns.lenient {
		return
	}
	if t.in == nil {
		if t.still.IsZero() {
			t.still = time.Now()
		}
		return
	}
	if t.next == nil {
		t.diverged("all its processes wait, and the recording has nothing more")
	} else {
		t.diverged("all its processes wait where those of the recorded run went on to %q", t.next.What)
	}
}

// note records an event.
func (t *tape) note(e recording.Event) {
	if t == nil || t.out == nil || t.done {
		return
	}
	e.At = t.place
	if err := t.out.Event(e); err != nil {
		t.fail(err)
	}
}

// advance reads the next event.
func (t *tape) advance() {
	var err error
	t.next, err = t.in.Next()
	if err != nil && err != io.EOF {
		t.fail(err)
	}
}

// ask gives what get gives, in a replay what it gave.
func (t *tape) ask(what string, get func() recording.Event) recording.Event {
	switch {
	case t == nil:
		return get()
	case t.in == nil:
		e := get()
		e.What = what
		t.note(e)
		return e
	case t.due(what):
		e := *t.next
		t.advance()
		return e
	}
	return recording.Event{What: what, Errno: unix.EIO}
}

// due reports that the next event is the one that the guest asks for now.
func (t *tape) due(what string) bool {
	switch {
	case t.done:
		return false
	case t.next == nil:
		t.diverged("it came to %q behind the last event of the recording", what)
	case t.next.What != what || t.next.At != t.place:
		t.diverged("it came to %q at step %d, where the recorded run came to %q at step %d", what, t.place, t.next.What, t.next.At)
	default:
		return true
	}
	return false
}

// say notes what the guest sends, in a replay that it is the same.
func (t *tape) say(what string, data []byte) {
	switch {
	case t == nil:
	case t.in == nil:
		t.note(recording.Event{What: what, Data: data})
	case t.due(what):
		if !bytes.Equal(t.next.Data, data) {
			got, want := apart(data, t.next.Data)
			t.diverged("%q is %q, of the recorded run it was %q", what, got, want)
		}
		t.advance()
	}
}

// apart is of two texts the part where they begin to differ.
func apart(a, b []byte) (_, _ []byte) {
	const before, length = 40, 80
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	i = max(i-before, 0)
	return a[i:min(len(a), i+length)], b[i:min(len(b), i+length)]
}

// ErrDiverged is in the error of a replay whose program did something else than in
// the recorded run: it asked for what was not recorded, or sent something else.
var ErrDiverged = errors.New("the run went another way than the recorded one")

// diverged ends a replay.
func (t *tape) diverged(format string, args ...any) {
	if t.muted > 0 || t.done {
		return
	}
	who := ""
	if sys := t.w.sys; sys != nil && sys.Current != nil {
		if th, ok := sys.Current.Machine.(*thread); ok {
			who = fmt.Sprintf("process %d (%s) in %s: ", sys.Current.Process.PID, sys.Current.Comm, t.w.callName(th.call.Nr))
		}
	}
	t.fail(fmt.Errorf("%w: %s"+format, append([]any{ErrDiverged, who}, args...)...))
}

// fail ends a run whose recording is of no use, or a replay that is another run. The
// guest may have ended: Wait tells it all the same, and that nothing was recorded besides
// what else there is to tell.
func (t *tape) fail(err error) {
	w, e := t.w, &Error{Op: "record", Err: err}
	switch {
	case t.replays():
		if e.Op = "replay"; w.err == nil {
			w.err = e
		}
	case !t.failed:
		if t.failed = true; w.err == nil || w.err == errKilled {
			w.err = e
		} else {
			w.err = errors.Join(w.err, e)
		}
	}
	w.killAll()
}

// over reports that the caller ends the run, which may stand still.
func (t *tape) over() bool { return t.halted.Load() || ptrace.Ended(t.w.box.bell) }

// aside runs fn, which looks at the tree for the caller: it may see less in a replay.
func (t *tape) aside(fn func()) {
	if t != nil {
		t.muted++
		defer func() { t.muted-- }()
	}
	fn()
}

// end is when the last guest has ended. From now on nothing is recorded.
func (t *tape) end() {
	if t == nil || t.done {
		return
	}
	if t.w.err == nil {
		t.say("end", []byte((&ExitError{Status: t.w.status}).Error()))
	}
	t.done = true
	t.trees.Done()
	if t.out != nil {
		if err := t.out.Close(trees{t.mounts, t.trees}); err != nil {
			t.fail(err)
		}
	}
}
