//go:build linux && amd64

package filter_test

import (
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"oubliette/internal/filter"
	"oubliette/internal/ptrace"
	"oubliette/internal/stub"
	"oubliette/internal/sysno"
	"oubliette/policy"
)

// tracedCall is a call that a program under a filter makes, and what the machine
// says of it.
type tracedCall struct {
	nr   int
	args [6]uint64
	want uint32
}

// What comes of a call in the program's results: nothing is really called.
const (
	wasAllowed = uint64(1000 + iota)
	wasTraced
	wasRefused = 1<<64 - 38 // -ENOSYS
)

// allCalls are calls of every number there is and some that are none, with arguments
// that matter to the policy.
func allCalls(t *testing.T, p policy.Policy, program []bpf.RawInstruction) (calls []tracedCall) {
	t.Helper()
	verdict, err := filter.Machine(program)
	if err != nil {
		t.Fatal(err)
	}
	add := func(nr int, args [6]uint64) {
		want, err := verdict(uint32(nr), args)
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, tracedCall{nr, args, want})
	}
	for nr := range sysno.Max + 10 {
		if nr == 335 || nr == 336 { // which ask no filter, see policy.Native
			continue
		}
		for args := range filter.Edges(p, nr, 16) {
			add(nr, args)
		}
	}
	for i := range 20 { // x32's, and what is below 0
		add(1<<30+27*i, [6]uint64{})
		add(-1<<(3*i/2), [6]uint64{})
	}
	return calls
}

// traceFilter is a filter below the one to try: what that allows stops with a
// message of its own, for of equal verdicts the last filter's counts
// (kernel/seccomp.c:seccomp_run_filters).
const (
	allowedMessage = 7777
	traceFilter    = "\x06\x00\x00\x00\x61\x1e\xf0\x7f" // ret SECCOMP_RET_TRACE | allowedMessage
)

// TestKernel: the kernel gives the verdicts that the machine does, to each call that
// a process makes whose filter it is, and ends one that uses another ABI.
func TestKernel(t *testing.T) {
	sample := uint64(150)
	if testing.Short() {
		sample = 10
	}
	policies := []policy.Policy{{}, policy.Strict(), policy.Prison(), policy.Tool(), policy.Server(), policy.Overlay()}
	for seed := range sample {
		policies = append(policies, randomPolicy(rand.New(rand.NewPCG(seed, 3))))
	}
	total := map[uint32]int{}
	for i, p := range policies {
		program, err := filter.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		calls := allCalls(t, p, program)
		results := underFilter(t, filter.Encode(program), calls)
		for j, c := range calls {
			total[c.want]++
			if want := map[uint32]uint64{filter.RetAllow: wasAllowed, filter.RetTrace: wasTraced, filter.RetENOSYS: wasRefused}[c.want]; results[j] != want {
				t.Fatalf("policy %d: call %d (%s) %#x: %d, want %d\n%s", i, c.nr, sysno.Name(c.nr), c.args, int64(results[j]), int64(want), p)
			}
		}
	}
	t.Logf("%d policies, by verdict %x", len(policies), total)
	for _, verdict := range []uint32{filter.RetAllow, filter.RetTrace, filter.RetENOSYS} {
		if total[verdict] < 100 {
			t.Errorf("verdict %#x for %d calls only", verdict, total[verdict])
		}
	}
}

// underFilter runs calls in a process with that filter, and then one by int 0x80,
// of which it must die.
func underFilter(t *testing.T, program []byte, calls []tracedCall) []uint64 {
	t.Helper()
	var b stub.Batch
	b.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	for _, code := range [][]byte{[]byte(traceFilter), program} {
		prog := make([]byte, 16) // struct sock_fprog
		prog[0], prog[1] = byte(len(code)/8), byte(len(code)/8>>8)
		at := b.Data(code)
		for i := range 8 {
			prog[8+i] = byte(at >> (8 * i))
		}
		b.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, b.Data(prog))
	}
	first := b.Len()
	for _, c := range calls {
		b.Add(stub.Entry{Nr: c.nr, Args: c.args})
	}
	if !b.Fits() {
		t.Fatalf("%d calls are too many", len(calls))
	}
	tid := startStub(t)
	if _, err := ptrace.Write(tid, b.Bytes(), stub.DataAddr); err != nil {
		t.Fatal(err)
	}
	var regs ptrace.Regs
	check(t, ptrace.GetRegs(tid, &regs))
	regs.Rip, regs.Orig_rax = stub.RunAddr, ^uint64(0)
	check(t, ptrace.SetRegs(tid, &regs))
	for setUp := false; ; {
		check(t, ptrace.Cont(tid, 0))
		if ws := stopped(t, tid); int(ws>>8) != unix.PTRACE_EVENT_SECCOMP<<8|int(unix.SIGTRAP) {
			t.Fatalf("status %#x", ws)
		}
		var info ptrace.Info
		check(t, ptrace.SyscallInfo(tid, &info))
		if !setUp { // the second filter is installed under the first
			setUp = true
			continue
		}
		if info.IP == stub.IdleAddr+7 { // the pause at the end
			break
		}
		message, err := ptrace.EventMessage(tid)
		check(t, err)
		result := uint64(wasTraced)
		if message == allowedMessage {
			result = wasAllowed
		}
		check(t, ptrace.Skip(tid, result))
	}
	mem := make([]byte, len(b.Bytes()))
	if _, err := ptrace.Read(tid, mem, stub.DataAddr); err != nil {
		t.Fatal(err)
	}
	results := make([]uint64, len(calls))
	for i := range results {
		results[i] = b.Result(mem, first+i)
	}
	check(t, ptrace.Skip(tid, 0))
	if _, err := unix.PtracePokeText(tid, stub.IdleAddr+7, []byte("\xcd\x80")); err != nil {
		t.Fatal(err)
	}
	check(t, ptrace.Cont(tid, 0))
	if ws := stopped(t, tid); !ws.Signaled() || ws.Signal() != unix.SIGSYS {
		t.Fatalf("after int 0x80 status %#x", ws)
	}
	return results
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startStub starts a stub that is traced and stopped.
func startStub(t *testing.T) (tid int) {
	t.Helper()
	f, err := stub.Memfd()
	check(t, err)
	defer f.Close()
	runtime.LockOSThread()
	tid, err = syscall.ForkExec(stub.Path(int(f.Fd()), 0), []string{"guest"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	check(t, err)
	t.Cleanup(func() {
		_ = unix.Kill(tid, unix.SIGKILL)
		_, _ = unix.Wait4(tid, nil, unix.WALL, nil) // ECHILD: it has ended
	})
	if err := ptrace.Seize(tid, unix.PTRACE_O_EXITKILL); err == unix.EPERM && os.Getenv("OUBLIETTE_STRICT") != "1" {
		t.Skip("may not trace: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	check(t, ptrace.Interrupt(tid))
	stopped(t, tid)
	check(t, ptrace.SetOptions(tid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESECCOMP))
	return tid
}

// stopped waits for a stop or the end.
func stopped(t *testing.T, tid int) (ws unix.WaitStatus) {
	t.Helper()
	if _, err := unix.Wait4(tid, &ws, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	return ws
}
