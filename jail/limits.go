//go:build linux && amd64

package jail

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"oubliette/internal/arena"
	"oubliette/policy"
)

// What a guest writes to its memory is seen by nobody: limitTick is how often a
// look is taken. In it a guest can go as far beyond a limit as memory is fast. And
// diskSlack, in bytes, is what an arena may hold beyond twice the limit, as small
// files take a page each.
const (
	limitTick = 50 * time.Millisecond
	diskSlack = 64 << 20
)

// watchLimits ends the jail at those limits that no call meets. It returns at
// once.
func (p *Process) watchLimits(a *arena.Arena, l policy.Limits) {
	reached := func(limit string, bound any) {
		p.w.box.post(func() { p.w.fail(&LimitError{Limit: limit, Bound: fmt.Sprint(bound)}) })
	}
	if l.Wall > 0 {
		t := time.AfterFunc(l.Wall, func() { reached("wall", l.Wall) })
		go func() {
			<-p.ended
			t.Stop()
		}()
	}
	if l.Disk <= 0 && l.Memory <= 0 {
		return
	}
	go func() {
		tick := time.NewTicker(limitTick)
		defer tick.Stop()
		for {
			select {
			case <-p.ended:
				return
			case <-tick.C:
			}
			if used, err := a.Used(); l.Disk > 0 && err == nil && used/2 > l.Disk+diskSlack/2 {
				reached("disk", l.Disk)
			}
			if l.Memory > 0 && p.holds(l.Memory) {
				reached("memory", l.Memory)
			}
		}
	}()
}

// holds reports that the jail's processes together hold more than limit bytes. The
// kernel's quick count has what they share once for each; if that is too much, its
// exact one decides.
func (p *Process) holds(limit int64) bool {
	var pids []int
	p.do(func() {
		for tid, t := range p.w.threads {
			if tid == t.tgid {
				pids = append(pids, tid)
			}
		}
	})
	return resident(pids, limit) > limit && proportional(pids) > limit
}

// resident adds up what each process has in memory, until that is more than
// limit (proc_pid_statm(5)).
func resident(pids []int, limit int64) (sum int64) {
	for _, pid := range pids {
		text, _ := readProc(fmt.Sprintf("/proc/%d/statm", pid)) // gone: nothing
		if f := bytes.Fields(text); len(f) > 1 {
			pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
		if sum > limit {
			break
		}
	}
	return sum
}

// proportional counts pages that several processes share once (proc_pid_smaps(5)).
func proportional(pids []int) (sum int64) {
	for _, pid := range pids {
		text, _ := readProc(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range bytes.Lines(text) {
			if v, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
				kib, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(v), []byte(" kB"))), 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}
