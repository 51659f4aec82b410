//go:build linux && amd64

package jail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

func TestReadersAndWriters(t *testing.T) {
	in := strings.Repeat("line of input\n", 100_000)
	var out, errs bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "cat; echo problem >&2; exit 3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	err = proc.Wait()
	var exit *jail.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || exit.Signaled() {
		t.Errorf("Wait: %v", err)
	}
	if out.String() != in {
		t.Errorf("%d bytes of output, want %d", out.Len(), len(in))
	}
	if errs.String() != "problem\n" {
		t.Errorf("stderr %q", errs.String())
	}
}

// TestPipes: StdinPipe and StdoutPipe, with a conversation.
func TestPipes(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "while read x; do echo got $x; done; echo end")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for _, word := range []string{"a", "b"} {
		if _, err := io.WriteString(in, word+"\n"); err != nil {
			t.Fatal(err)
		}
		n, err := out.Read(buf)
		if err != nil || string(buf[:n]) != "got "+word+"\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != "end\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSharedOffset: an *os.File is the caller's own, offset and all.
func TestSharedOffset(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, word := range []string{"one", "two"} {
		cmd := exec.Command("/bin/echo", word)
		cmd.Stdout = f
		proc, err := jail.Spawn(cmd, policy.Tool())
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestExtraFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", "echo extra >&3")
	cmd.ExtraFiles = []*os.File{w}
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "extra\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestContext: cancelling ends the jail, and Wait says what os/exec's would.
func TestContext(t *testing.T) {
	for name, cancelled := range map[string]func(*exec.Cmd){
		"kill":   func(*exec.Cmd) {},
		"signal": func(c *exec.Cmd) { c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) } },
		"delay": func(c *exec.Cmd) {
			c.Args[2] = "trap '' TERM; " + c.Args[2]
			c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
			c.WaitDelay = 50 * time.Millisecond
		},
	} {
		run := func(start func(*exec.Cmd) func() error) string {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "echo ready; while :; do sleep 0.1; done")
			cancelled(cmd)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			wait := start(cmd)
			if _, err := out.Read(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			cancel()
			return errText(wait())
		}
		want := run(func(cmd *exec.Cmd) func() error {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return cmd.Wait
		})
		got := run(func(cmd *exec.Cmd) func() error {
			proc, err := jail.Spawn(cmd, policy.Tool())
			if err != nil {
				t.Fatal(err)
			}
			return proc.Wait
		})
		if got != want {
			t.Errorf("%s: Wait gives %q, os/exec's %q", name, got, want)
		}
	}
}

func init() { guests["polls"] = pollsGuest }

// pollsGuest opens its input again and again, waits a little for it, and closes it.
func pollsGuest([]string) {
	for range 300 {
		fd := must(unix.Open("/dev/stdin", unix.O_RDONLY, 0))
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1); err != unix.EINTR { // Go preempts
			check(err)
		}
		check(unix.Close(fd))
	}
	fmt.Println("ready")
	_, err := os.Stdin.Read(make([]byte, 1))
	check(err)
}

// TestStreamClosed: nobody waits for a stream that the guest has closed.
func TestStreamClosed(t *testing.T) {
	noLeak(t)
	before := len(hostState().fds)
	cmd := guestCommand("polls")
	cmd.Path = "/exe"
	in := must(cmd.StdinPipe())
	out := must(cmd.StdoutPipe())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	proc, err := jail.Spawn(cmd, netPolicy(policy.Net{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err, proc.Wait(), errs.String())
	}
	if n := len(hostState().fds) - before; n > 50 {
		t.Errorf("300 streams were opened and closed, and %d descriptors are open", n)
	}
	_, err = in.Write([]byte("x"))
	check(err)
	check(proc.Wait())
}

func init() { guests["held stream"] = heldStreamGuest }

// heldStreamGuest closes its input and opens it by what it has else of it.
func heldStreamGuest([]string) {
	kept := []int{must(unix.Open("/dev/stdin", unix.O_RDONLY, 0)), must(unix.Open("/dev/stdin", unix.O_PATH, 0))}
	check(unix.Close(0))
	for range 8 { // of which one may get the number that the input had below
		must(unix.Open(os.Args[0], unix.O_RDONLY, 0))
	}
	for _, fd := range kept {
		var st unix.Stat_t
		check(unix.Fstat(fd, &st))
		f, err := os.Open(fmt.Sprint("/proc/self/fd/", fd))
		check(err)
		p := make([]byte, 64)
		n, err := f.Read(p)
		fmt.Printf("%d bytes: %q %v\n", st.Size, p[:n], err)
		check(f.Close())
		check(unix.Close(fd))
	}
}

// TestHeldStream: whatever the guest keeps of a stream that it has closed is of that
// stream, not of what has its descriptor since.
func TestHeldStream(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "input")
	check(os.WriteFile(name, []byte("the input"), 0o644))
	run := func(do func(*exec.Cmd) result) result {
		f := must(os.Open(name))
		defer f.Close()
		cmd := guestCommand("held stream")
		cmd.Stdin = f
		return do(cmd)
	}
	want := run(func(cmd *exec.Cmd) result { return native(t, cmd) })
	got := run(func(cmd *exec.Cmd) result { return jailed(t, &jail.Jail{}, cmd, policy.Overlay()) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-native +jailed:\n%s", diff)
	}
}

// TestLowDescriptors: jails run in a program that has closed its standard streams.
func TestLowDescriptors(t *testing.T) {
	want := result{Stdout: "ran\n"}
	kept := must(unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3))
	check(unix.Close(0))
	got := jailed(t, &jail.Jail{}, exec.Command("/bin/echo", "ran"), policy.Tool())
	check(unix.Dup3(kept, 0, 0))
	check(unix.Close(kept))
	if got != want {
		t.Errorf("%+v", got)
	}
}

// TestStreamsOverLimit: what does not fit into the descriptors is not kept.
func TestStreamsOverLimit(t *testing.T) {
	noLeak(t)
	p := policy.Tool()
	p.Limits.Descriptors = 2
	cmd := exec.Command("/bin/true")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if _, err := jail.Spawn(cmd, p); !errors.Is(err, unix.ENFILE) || !strings.Contains(err.Error(), "descriptor 2") {
		t.Error(err)
	}
}

// TestNoDescriptors: whoever waits for a stream while the caller has no descriptors left
// to wait with hears of it all the same.
func TestNoDescriptors(t *testing.T) {
	var most unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &most)
	r, w, err := os.Pipe()
	check(err)
	defer r.Close()
	var out strings.Builder
	cmd := exec.Command("/bin/sh", "-c", "sync; read x; echo $x")
	cmd.Stdin, cmd.Stdout = r, &out
	none := make(chan struct{})
	j := &jail.Jail{Handlers: map[string]emulate.Handler{"sync": func(*emulate.Call) (uint64, error) {
		defer close(none)
		return 0, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: most.Max})
	}}}
	proc, err := j.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	<-none
	time.Sleep(200 * time.Millisecond) // it reads, and waits
	check(unix.Setrlimit(unix.RLIMIT_NOFILE, &most))
	_, err = w.WriteString("heard\n")
	check(err)
	check(w.Close())
	if err := await(t, proc); err != nil || out.String() != "heard\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}
