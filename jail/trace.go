//go:build linux && amd64

package jail

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/policy"
)

// traceEvent describes a call that was answered, strace-like, after the kinds of
// its row in the table.
func (w *warden) traceEvent(t *thread, nr int, result uint64, err error, d time.Duration) TraceEvent {
	ev := TraceEvent{PID: t.task.Process.PID, TID: t.task.TID, Name: w.callName(nr), Args: t.info.Args,
		Result: result, Err: err, Time: d}
	kinds := strings.Fields(w.calls.rows[nr].args)
	args := make([]string, len(kinds))
	for i, kind := range kinds {
		if i < len(ev.Args) {
			args[i] = t.formatArg(kind, ev.Args[i])
		}
	}
	ev.Text = ev.Name + "(" + strings.Join(args, ", ") + ") = " + formatResult(result, err)
	return ev
}

func formatResult(result uint64, err error) string {
	switch {
	case err == emulate.ErrPass:
		return "? (native)"
	case err == emulate.ErrGone:
		return "? (gone)"
	case err != nil:
		errno, _ := emulate.Errno(err)
		if errno >= emulate.ERESTARTSYS && errno <= emulate.ERESTART_RESTARTBLOCK {
			return "? ERESTART"
		}
		return "-1 " + unix.ErrnoName(errno) + " (" + errno.Error() + ")"
	case result > 1<<32:
		return fmt.Sprintf("%#x", result)
	}
	return strconv.FormatUint(result, 10)
}

// maxTraceString bounds the strings a trace shows, in bytes.
const maxTraceString = 96

// formatArg prints one argument. Memory is read anew for it: a trace may show
// what another thread has changed meanwhile.
func (t *thread) formatArg(kind string, v uint64) string {
	switch kind = strings.TrimPrefix(kind, "out:"); kind {
	case "fd", "dirfd", "int", "pid", "sig":
		if kind == "dirfd" && int32(v) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return strconv.Itoa(int(int32(v)))
	case "path", "str":
		if v == 0 {
			return "NULL"
		}
		p := make([]byte, maxTraceString)
		n, err := t.ReadMemory(p, v)
		if err != nil {
			return fmt.Sprintf("%#x", v)
		}
		s, _, whole := strings.Cut(string(p[:n]), "\x00")
		if !whole {
			return strconv.Quote(s) + "..."
		}
		return strconv.Quote(s)
	case "mode":
		return fmt.Sprintf("%#o", uint32(v))
	case "size", "uint":
		return strconv.FormatUint(v, 10)
	case "op":
		if v < 1<<16 {
			return strconv.FormatUint(v, 10)
		}
	case "off", "long":
		return strconv.FormatInt(int64(v), 10)
	}
	if v == 0 {
		return "NULL"
	}
	return fmt.Sprintf("%#x", v)
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

// audit records a call and how the policy came to answer it so.
func (w *warden) audit(msg string, c *emulate.Call, d policy.Decision) {
	if ce := w.log.Check(zap.InfoLevel, msg); ce != nil {
		ce.Write(zap.String("call", w.callName(c.Nr)), zap.Int("pid", c.Task.Process.PID), zap.Uint64s("args", c.Args[:]),
			zap.String("action", string(d.Action)), zap.Reflect("why", w.explain(c)))
	}
}
