//go:build linux && amd64

package jail

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/internal/ptrace"
)

// lastStops is what a thread has to do with the stops before the ends of threads
// (PTRACE_EVENT_EXIT): then is the time for their robust futexes.
type lastStops struct {
	exitStops bool   // it has one, see stopAtExit
	head      uint64 // of its robust list, 0 not known
	looks     int    // for head
	looked    uint64 // warden.steps when it was seen at the stop where it stands
	through   bool   // that has been seen to
	awaited   bool   // counted in a groupExit
	again     bool   // Restart has made the kernel call restart_syscall(2), maybe
}

// groupExit is a host process of which all threads end. Those that stand at their last
// stops are kept there until all do, or have ended: who ends without one still has its
// list in their memory.
type groupExit struct {
	awaited int
	held    []int
}

// stopAtExit gives the thread, and those it makes, last stops. It is called when memory
// comes to be others' too, for they would cost every other program as much as a call.
func (t *thread) stopAtExit() error {
	if t.exitStops {
		return nil
	}
	if err := ptrace.SetOptions(t.tid, options|unix.PTRACE_O_TRACEEXIT); err != nil {
		return gone(err)
	}
	t.exitStops = true
	return nil
}

// headLooks is at how many stops of a thread its robust list is looked for: a C library
// tells the kernel of it before the thread's first call that stops.
const headLooks = 4

// exits reports that the thread was killed at the stop where it stood, and that its last
// one is still to be told. Who continued it there would lose that: a thread that is
// killed in the moment between has none, see ends. To ask costs as much as a tenth of a
// stop, so what the warden has done in one go since the stop counts as a moment.
func (t *thread) exits() bool {
	if !t.exitStops {
		return false
	}
	if t.head == 0 && t.looks < headLooks {
		t.looks++
		t.head, _ = ptrace.RobustList(t.tid)
	}
	return t.looked != t.w.steps && t.killed()
}

// atLastStop lets a thread end, with the others if they all do.
func (w *warden) atLastStop(tid int) {
	t := w.threads[tid]
	if t == nil || t.task == nil || w.ended || !t.awaitOthers() {
		_ = ptrace.Cont(tid, 0)
	}
}

// awaitOthers reports that t is kept until others have come to their last stops too.
func (t *thread) awaitOthers() bool {
	t.leaveRobust()
	w := t.w
	g := w.exits[t.tgid]
	if g == nil {
		var regs ptrace.Regs
		if ptrace.GetRegs(t.tid, &regs) != nil || int32(regs.Orig_rax) == unix.SYS_EXIT { // it ends alone
			return false
		}
		others := slices.DeleteFunc(t.siblings(), func(o *thread) bool { return o.through })
		if len(others) == 0 {
			return false
		}
		// Before Linux 5.16 who dumps core waits for the others' ends behind this stop.
		if status, err := t.ProcFile("status"); err != nil || bytes.Contains(status, []byte("\nCoreDumping:\t1")) {
			return false
		}
		g = &groupExit{awaited: len(others)}
		for _, o := range others {
			o.awaited = true
		}
		w.exits[t.tgid] = g
	}
	g.held = append(g.held, t.tid)
	t.arrives()
	w.seeLeader(t.tgid)
	return true
}

// siblings are the other threads of t's host process that have not ended.
func (t *thread) siblings() (all []*thread) {
	for _, task := range t.task.Process.Threads {
		if o, ok := task.Machine.(*thread); ok && o != t && o.tgid == t.tgid && !o.dead {
			all = append(all, o)
		}
	}
	return all
}

// arrives is for a thread at its last stop, or behind it.
func (t *thread) arrives() {
	g := t.w.exits[t.tgid]
	if !t.awaited || g == nil {
		return
	}
	t.awaited = false
	if g.awaited--; g.awaited == 0 {
		g.letGo()
		delete(t.w.exits, t.tgid)
	}
}

func (g *groupExit) letGo() {
	for _, tid := range g.held {
		_ = ptrace.Cont(tid, 0)
	}
}

// seeLeader looks whether the leader, if only that is awaited, has ended without a last
// stop: the kernel would tell when those that are held have ended.
func (w *warden) seeLeader(tgid int) {
	g, leader := w.exits[tgid], w.threads[tgid]
	if g == nil || g.awaited != 1 || leader == nil || !leader.awaited {
		return
	}
	for range quantum / leaderPause {
		switch leader.hostState() {
		case 't': // to be told
			return
		case 'Z':
			leader.ends()
			return
		}
		time.Sleep(leaderPause)
	}
	leader.arrives()
}

// ends is told that the thread has ended. Where it had no last stop one that is left
// has its list.
func (t *thread) ends() {
	if t.exitStops && !t.through && t.head != 0 && !t.w.ended && t.task != nil {
		for _, o := range t.siblings() {
			if !o.reaped && o.task.LeaveRobust(t.task.TID, t.head) {
				break
			}
		}
	}
	t.through = true
	t.arrives()
	t.w.seeLeader(t.tgid)
}

// leaveRobust gives the robust futexes up that the thread owns.
func (t *thread) leaveRobust() {
	if !t.exitStops || t.task == nil {
		return
	}
	t.through = true
	if head, err := ptrace.RobustList(t.tid); err == nil && head != 0 {
		t.task.LeaveRobust(t.task.TID, head)
	}
}

// Restart is see [emulate.Machine]. In a group-stop the call begins again afterwards.
func (t *thread) Restart() {
	if t.tid != 0 && !t.dead && !t.reaped && !t.parked && !t.listening {
		t.again = true
		_ = ptrace.Interrupt(t.tid)
	}
}
