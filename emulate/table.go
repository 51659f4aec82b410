//go:build linux

package emulate

import (
	"slices"
	"strings"
)

// Row is everything known about one system call.
type Row struct {
	Name string // as the man page has it
	// Args are the kinds of the arguments, one word each, for the trace:
	// fd dirfd path str buf addr int uint op (one of a few numbers) long ulong size
	// flags mode off sig pid iov sockaddr, and "out:" before what the kernel writes. A colon and a name
	// behind says which flags they are: flags:open, int:prot.
	Args string
	Do   Handler // nil: ENOSYS
	Note string  // what differs from Linux, or why it is left out
}

// Calls returns the one table, sorted by name.
func Calls() []Row {
	rows := slices.Concat(
		nameCalls,
		processCalls,
		pollCalls,
		fileCalls,
		systemCalls,
	)
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// HandlerOf is what the table does for the call of that name, for a handler that
// does something before or after. It panics if there is no such call: a name is
// written down by a programmer, as in regexp.MustCompile.
func HandlerOf(name string) Handler {
	for _, r := range Calls() {
		if r.Name == name && r.Do != nil {
			return r.Do
		}
	}
	panic("emulate: no call is named " + name)
}
