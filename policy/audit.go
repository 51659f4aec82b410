package policy

import "slices"

// The kinds of audit records, for [Policy.Audit]. A record of any kind names the
// task, its call with decoded arguments, and what came of it.
const (
	AuditRefusal   = "refusal"   // a call that a rule or the default denies, or that has no handler
	AuditViolation = "violation" // the call that ended the jail
	AuditLimit     = "limit"     // a limit was reached: what LimitStats.Hits counts
	AuditExec      = "exec"      // a program was executed, or found and not loaded
	AuditNetwork   = "network"   // the guest dials out, sends to a new host or listens for the outside, or asks for a name, or tries to, and no rule allows it
	AuditWrite     = "write"     // a file or name was made, opened for writing, changed or removed, not below /tmp, /dev or /proc
)

// auditKinds are all of them.
var auditKinds = []string{AuditRefusal, AuditViolation, AuditLimit, AuditExec, AuditNetwork, AuditWrite}

// AuditKinds are all the kinds that [Policy.Audit] may list.
func AuditKinds() []string { return slices.Clone(auditKinds) }

func (ps *problems) audit(kinds []string) {
	for i, kind := range kinds {
		switch {
		case !slices.Contains(auditKinds, kind):
			ps.add(item("audit", i), "%q is no kind of record: write one of %q", kind, auditKinds)
		case slices.Contains(kinds[:i], kind):
			ps.add(item("audit", i), "%s is there twice: remove one", kind)
		}
	}
}
