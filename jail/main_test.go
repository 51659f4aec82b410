//go:build linux && amd64

package jail_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// guests are functions of this binary that run as guests: natively first, for
// the kernel is the oracle, and in a jail second. What they print is compared.
var guests = map[string]func(args []string){}

// guestVar names the guest function a process of this binary is to be.
const guestVar = "OUBLIETTE_GUEST"

func TestMain(m *testing.M) {
	if name := os.Getenv(guestVar); name != "" {
		guest, ok := guests[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no guest", name)
			os.Exit(3)
		}
		guest(os.Args[1:])
		os.Exit(0)
	}
	signal.Stop(notified()) // os/signal keeps a goroutine for good
	before := hostState()
	status := m.Run()
	if left := before.leaks(); left != "" && status == 0 {
		fmt.Fprintln(os.Stderr, "left behind after all tests:", left)
		status = 1
	}
	os.Exit(status)
}

// notified is a channel that os/signal knows.
func notified() chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGWINCH)
	return c
}

// need skips the test without a program, or fails it under OUBLIETTE_STRICT=1.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skip(t, "needs "+p)
		}
	}
}

func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("OUBLIETTE_STRICT") == "1" {
		t.Fatal("skipped in strict mode: ", reason)
	}
	t.Skip(reason)
}

// guestCommand is this binary as a guest function.
func guestCommand(name string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), guestVar+"="+name)
	return cmd
}

// result is what a command did.
type result struct {
	Stdout, Stderr string
	Err            string // "" is exit status 0
}

// native runs cmd on the host.
func native(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return result{out.String(), errs.String(), errText(err)}
}

// jailed runs cmd in a jail.
func jailed(t testing.TB, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		t.Fatalf("Spawn %v: %v", cmd.Args, err)
	}
	err = proc.Wait()
	return result{out.String(), errs.String(), errText(err)}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
