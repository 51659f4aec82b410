//go:build linux && amd64

package jail

import (
	"fmt"
	"time"

	"oubliette/emulate"
	"oubliette/policy"
)

// traceEvent describes a call that was answered.
func (w *warden) traceEvent(t *thread, nr int, result uint64, err error, d time.Duration) TraceEvent {
	return TraceEvent{PID: t.task.Process.PID, TID: t.task.TID, Name: w.callName(nr), Args: t.info.Args,
		Result: result, Err: err, Time: d, Text: t.text(result, err) + " = " + formatResult(result, err)}
}

// ruleText is a rule of the policy for a Violation.
func (w *warden) ruleText(i int) string {
	if i < 0 {
		return "no rule of the policy names it, and its default is kill"
	}
	return fmt.Sprintf("rule %d of the policy: %s", i, w.calls.rules[i])
}

// explain is what the policy says of c.
func (w *warden) explain(c *emulate.Call) policy.Explanation {
	return policy.Policy{Calls: w.calls.rules, Default: w.calls.byElse}.Explain(w.callName(c.Nr), c.Args)
}
