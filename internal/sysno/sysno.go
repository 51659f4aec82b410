// Package sysno translates between x86-64 system call numbers and the names the
// man pages use. It is the same on every host: the guest is always x86-64.
package sysno

import "github.com/elastic/go-seccomp-bpf/arch"

// Max is the highest number that has a name.
const Max = 471

// The numbers of calls that handlers make often.
const (
	Mmap      = 9
	Prlimit64 = 302
)

// later are the calls newer than go-seccomp-bpf's table, and the one it lacks.
var later = map[int]string{
	336: "uprobe",
	468: "file_getattr",
	469: "file_setattr",
	470: "listns",
	471: "rseq_slice_yield",
}

var laterNumbers = func() map[string]int {
	m := make(map[string]int, len(later))
	for nr, name := range later {
		m[name] = nr
	}
	return m
}()

// Number is the number of the call of that name.
func Number(name string) (nr int, ok bool) {
	if nr, ok = arch.X86_64.SyscallNames[name]; !ok {
		nr, ok = laterNumbers[name]
	}
	return nr, ok
}

// Must is [Number] for names that are written in the program; it panics if
// there is no such call.
func Must(name string) int {
	nr, ok := Number(name)
	if !ok {
		panic("sysno: no call is named " + name)
	}
	return nr
}

// Name is the name of call nr, "" if there is none.
func Name(nr int) string {
	if name, ok := arch.X86_64.SyscallNumbers[nr]; ok {
		return name
	}
	return later[nr]
}
