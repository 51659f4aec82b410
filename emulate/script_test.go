//go:build linux

package emulate_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// A script is a twin test as a list of calls over one page of memory that is
// filled anew for every call. It runs on a thread that ends with it, so that it
// may change what threads keep: identity, scheduling, names.
type script []step

type step struct {
	call string
	args []any // numbers, buf, me, and what Guest.Call takes
	in   []byte
	show show
}

type (
	buf  int      // an offset into the page
	me   struct{} // the thread's id
	show int      // what the transcript has of a step
)

const (
	everything show = iota
	noMemory        // result and error
	onlyError
)

const scriptPage = 4096

// hole is an address where nothing is; brink is four bytes before one.
const hole = Bad

func brink(n int) Edge { return bytes.Repeat([]byte{'?'}, n) }

func do(call string, args ...any) step { return step{call: call, args: args} }

// with puts values at the start of the page before the call.
func (s step) with(in ...any) step {
	for _, v := range in {
		switch v := v.(type) {
		case int:
			s.in = append(s.in, le(uint64(v), 8)...)
		case uint64:
			s.in = append(s.in, le(v, 8)...)
		case uint32:
			s.in = append(s.in, le(uint64(v), 4)...)
		case int32:
			s.in = append(s.in, le(uint64(v), 4)...)
		case string:
			s.in = append(append(s.in, v...), 0)
		}
	}
	return s
}

func le(v uint64, n int) (p []byte) {
	for range n {
		p = append(p, byte(v))
		v >>= 8
	}
	return p
}

func (s step) only(w show) step {
	s.show = w
	return s
}

func (s step) run(k *Script) {
	mem := bytes.Repeat([]byte{'?'}, scriptPage)
	copy(mem, s.in)
	line := s.call
	var args []any
	for i, a := range s.args {
		switch v := a.(type) {
		case buf:
			a = mem[v:]
		case Edge:
			a = Edge(bytes.Clone(v))
		case me:
			a = unix.Gettid()
			if k.Emulated {
				a = k.Guest.Task.TID
			}
		}
		args = append(args, a)
		if e, ok := a.(Edge); ok {
			line += fmt.Sprintf(" edge %d", len(e))
		} else {
			line += fmt.Sprintf(" %T %v", s.args[i], s.args[i])
		}
	}
	r, err := k.Quiet(s.call, args...)
	switch {
	case err != 0:
		line += " = " + unix.ErrnoName(err)
	case s.show != onlyError:
		line += fmt.Sprintf(" = %d", int64(r))
	}
	if s.show == everything && err != unix.EFAULT { // else a part may be written
		line += fmt.Sprintf(" %q", bytes.TrimRight(mem, "?"))
	}
	k.Logf("%s", line)
}

// twin runs the script both ways, the emulation as who runs the test.
func (s script) twin(t *testing.T) {
	t.Helper()
	like := threadState(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		Twin(t, func(k *Script) {
			if k.Emulated {
				g := k.Guest
				g.Machine.OnNative = func(int, [6]uint64) (uint64, error) { return 0, nil }
				g.Sys.CPUs = runtime.NumCPU()
				g.Task.Cred, g.Task.Attr, g.Task.Process.Rlimits = like.Cred, like.Attr, like.Process.Rlimits
			}
			for _, st := range s {
				st.run(k)
			}
		})
	}()
	<-done
}

// threadState is what an untouched thread of the test has.
func threadState(t *testing.T) *emulate.Task {
	t.Helper()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	like := &emulate.Task{Process: &emulate.Process{}}
	k := &like.Cred
	for line := range strings.SplitSeq(string(status), "\n") {
		name, rest, _ := strings.Cut(line, ":")
		var c emulate.Caps
		switch name {
		case "Uid":
			fmt.Sscan(rest, &k.RUID, &k.EUID, &k.SUID, &k.FSUID)
		case "Gid":
			fmt.Sscan(rest, &k.RGID, &k.EGID, &k.SGID, &k.FSGID)
		case "Groups":
			for _, id := range strings.Fields(rest) {
				var g uint32
				fmt.Sscan(id, &g)
				k.Groups = append(k.Groups, g)
			}
		case "CapInh":
			c = k.Capabilities()
			fmt.Sscanf(rest, "%x", &c.Inheritable)
			k.Caps = &c
		case "CapPrm":
			fmt.Sscanf(rest, "%x", &k.Caps.Permitted)
		case "CapEff":
			fmt.Sscanf(rest, "%x", &k.Caps.Effective)
		case "CapBnd":
			fmt.Sscanf(rest, "%x", &k.Caps.Bounding)
		case "CapAmb":
			fmt.Sscanf(rest, "%x", &k.Caps.Ambient)
		case "NoNewPrivs":
			like.Attr.NoNewPrivs = strings.TrimSpace(rest) == "1"
		}
	}
	if plain := (emulate.Cred{RUID: k.RUID, EUID: k.EUID, SUID: k.SUID}); plain.Capabilities() == k.Capabilities() {
		k.Caps = nil
	}
	for i := range like.Process.Rlimits {
		if err := unix.Prlimit(0, i, nil, &like.Process.Rlimits[i]); err != nil {
			t.Fatal(err)
		}
	}
	return like
}
