//go:build linux && amd64

package jail

import (
	"errors"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vnet"
	"oubliette/internal/dns"
	"oubliette/policy"
)

// A guest can cause records as fast as it makes calls, and a logger may be slow and
// is waited for. So of each kind auditBurst come at once and auditRate a second
// after that; the next one, or one at the end, says how many were dropped.
const (
	auditBurst = 100
	auditRate  = 10
)

// Kinds of records that are not for policy.Policy.Audit.
const (
	auditRule    = "rule"    // a rule with Audit decided
	auditMissing = "missing" // a call without a handler, once each
)

// quietDirs are where a guest writes all the time, to the harm of nobody.
var quietDirs = []string{"/tmp", "/dev", "/proc"}

// AuditStats tells of the records of one kind.
type AuditStats struct {
	Records int64 // given to the logger
	Dropped int64 // too many at once
}

// auditKind is the flood protection of one kind.
type auditKind struct {
	AuditStats
	pending int64     // of Dropped, not told yet
	due     time.Time // see meters.due
}

// audits are the kinds that are asked for; without a logger none.
type audits map[string]*auditKind

func newAudits(log *zap.Logger, p policy.Policy) audits {
	if log == nil {
		return nil
	}
	a := audits{auditRule: {}, auditMissing: {}}
	for _, kind := range p.Audit {
		a[kind] = &auditKind{}
	}
	return a
}

// take is whether one more record may be written.
func (k *auditKind) take(now time.Time) bool {
	if k.due.Before(now) {
		k.due = now
	}
	if k.due.Sub(now) > auditBurst*time.Second/auditRate-time.Second/auditRate {
		k.Dropped++
		k.pending++
		return false
	}
	k.due = k.due.Add(time.Second / auditRate)
	k.Records++
	return true
}

// record writes a record about t's call, if its kind is asked for. What is costly
// to tell is in more, which is called if there will be a record.
func (w *warden) record(kind, msg string, t *thread, more func() []zap.Field) {
	k := w.audits[kind]
	if k == nil {
		return
	}
	ce := w.log.Check(zap.InfoLevel, msg)
	if ce == nil || !k.take(time.Now()) {
		return
	}
	fields := []zap.Field{zap.String("kind", kind)}
	if t != nil && t.task != nil {
		fields = append(fields, zap.Int("pid", t.task.Process.PID), zap.Int("task", t.task.TID), zap.String("program", t.task.Comm))
	}
	if more != nil {
		fields = append(fields, more()...)
	}
	if k.pending > 0 {
		fields = append(fields, zap.Int64("dropped", k.pending))
		k.pending = 0
	}
	ce.Write(fields...)
}

// current is the thread whose handler runs, nil if none.
func (w *warden) current() *thread {
	if w.sys == nil || w.sys.Current == nil {
		return nil
	}
	t, _ := w.sys.Current.Machine.(*thread)
	return t
}

// why is the field that explains what the policy says of t's call.
func (t *thread) why() zap.Field { return zap.Reflect("why", t.w.explain(&t.call)) }

// called are the fields that tell of t's call and its result.
func (t *thread) called(result uint64, err error) []zap.Field {
	return []zap.Field{zap.String("call", t.w.callName(t.call.Nr)), zap.String("text", t.text(result, err)),
		zap.String("result", formatResult(result, err)), t.why()}
}

// decided are the fields that tell how the policy came to answer t's call so.
func (t *thread) decided(result uint64, err error, d policy.Decision) func() []zap.Field {
	return func() []zap.Field {
		return append(t.called(result, err), zap.String("action", string(d.Action)))
	}
}

// auditCall records what the answer to a call is reason for.
func (w *warden) auditCall(t *thread, d policy.Decision, result uint64, err error) {
	missing := d.Action == policy.Emulate && w.calls.rows[t.call.Nr].do == nil
	if d.Audit {
		w.record(auditRule, "call audited", t, t.decided(result, err, d))
	}
	if d.Action == policy.Deny || missing {
		w.record(policy.AuditRefusal, "call refused", t, t.decided(result, err, d))
	}
	if missing {
		name := w.callName(t.call.Nr)
		if w.logged[name]++; w.logged[name] == 1 {
			w.record(auditMissing, "call not emulated", t, t.decided(result, err, d))
		}
	}
	if len(t.wrote) > 0 {
		w.record(policy.AuditWrite, "file changed", t, func() []zap.Field {
			return append(t.called(result, err), zap.Strings("paths", t.wrote))
		})
		t.wrote = nil
	}
}

// changed takes note of a path that the current call has changed.
func (w *warden) changed(name string) {
	t := w.current()
	if t == nil || slices.Contains(t.wrote, name) || slices.ContainsFunc(quietDirs, func(dir string) bool {
		return name == dir || strings.HasPrefix(name, dir+"/")
	}) {
		return
	}
	t.wrote = append(t.wrote, path.Clean(name))
}

// auditExec records that t executes r.
func (w *warden) auditExec(t *thread, r emulate.ExecRequest, err error) {
	w.record(policy.AuditExec, "program executed", t, func() []zap.Field {
		args := r.Args
		if len(args) > maxShownArgs {
			args = append(slices.Clone(args[:maxShownArgs]), "…")
		}
		for i, a := range args {
			if len(a) > maxShownString {
				args = slices.Clone(args)
				args[i] = a[:maxShownString] + "…"
			}
		}
		result := "0"
		if err != nil {
			result = formatResult(0, err)
		}
		return []zap.Field{zap.String("call", "execve"), zap.String("path", r.Path), zap.Strings("argv", args), zap.String("result", result), t.why()}
	})
}

// maxShownArgs is how many of a program's arguments a record has.
const maxShownArgs = 32

// auditNetwork records that the current task reaches for the outside; with an error
// no rule allows address.
func (w *warden) auditNetwork(what, network, address string, err error) {
	t := w.current()
	w.record(policy.AuditNetwork, "network", t, func() []zap.Field {
		fields := []zap.Field{zap.String("what", what), zap.String("network", network), zap.String("address", address)}
		if err != nil {
			fields = append(fields, zap.Error(err))
		}
		if t != nil {
			why := w.explain(&t.call)
			if err != nil {
				why.Allow = address
			}
			fields = append(fields, zap.String("call", w.callName(t.call.Nr)), zap.String("text", t.text(0, unix.EINPROGRESS)), zap.Reflect("why", why))
		}
		return fields
	})
}

// unreached tells of an address that no rule of the policy's Net allows.
func (w *warden) unreached(s vnet.Socket, address string, err error) {
	if _, ok := s.(*vnet.UDP); ok {
		w.auditNetwork("send", "udp", address, err)
	} else {
		w.auditNetwork("connect", "tcp", address, err)
	}
	w.refused.outside(address)
}

// errUnnamed is why a name is answered to be none.
var errUnnamed = errors.New("no rule of the policy's Net allows the name")

// unnamed tells of a name that no rule allows.
func (w *warden) unnamed(q *dns.Query) {
	address := q.Name + ":*"
	w.auditNetwork("resolve", "ip", address, errUnnamed)
	w.refused.outside(address)
}

// missed is told what a guest without an outside says to it, see vnet.Net.
func (w *warden) missed(s vnet.Socket, to netip.AddrPort, data []byte, err error) {
	if q, _ := dns.Parse(data); q != nil && to.Port() == dnsPort {
		w.unnamed(q)
	} else {
		w.unreached(s, to.String(), err)
	}
}

// limitHit counts, and records, that the guest has met a limit.
func (w *warden) limitHit(limit string, t *thread) {
	m := w.meters.named()[limit]
	m.hits.Add(1)
	w.record(policy.AuditLimit, "limit reached", t, func() []zap.Field {
		fields := []zap.Field{zap.String("limit", limit), zap.Int64("bound", m.bound.Load())}
		if t != nil {
			fields = append(fields, zap.String("call", w.callName(t.call.Nr)), zap.String("text", t.text(0, unix.EAGAIN)), t.why())
		}
		return fields
	})
}

// violate ends the jail for t's call.
func (w *warden) violate(t *thread, v *Violation) {
	c := &t.call
	v.Call, v.Args, v.PID, v.Why, v.Text = w.callName(c.Nr), c.Args, t.task.Process.PID, w.explain(c), t.text(0, unix.EPERM)
	w.record(policy.AuditViolation, "violation", t, func() []zap.Field {
		return []zap.Field{zap.String("call", v.Call), zap.String("text", v.Text), zap.String("rule", v.Rule), zap.Reflect("why", v.Why)}
	})
	w.fail(v)
}

// closeAudit tells, at the end, of what was dropped last.
func (w *warden) closeAudit() {
	for kind, k := range w.audits {
		if ce := w.log.Check(zap.InfoLevel, "audit records dropped"); ce != nil && k.pending > 0 {
			ce.Write(zap.String("kind", kind), zap.Int64("dropped", k.pending))
			k.pending = 0
		}
	}
}

// auditStats is what Stats tells of the records.
func (w *warden) auditStats() map[string]AuditStats {
	stats := make(map[string]AuditStats)
	for kind, k := range w.audits {
		if k.Records+k.Dropped > 0 {
			stats[kind] = k.AuditStats
		}
	}
	return stats
}
