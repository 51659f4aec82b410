//go:build linux && amd64

package jail_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing/fstest"
	"time"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

func ExampleSpawn() {
	cmd := exec.Command("/bin/sh", "-c", "echo $$ $(cat /etc/hostname); cat /etc/shadow")
	cmd.Stdout = os.Stdout
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(proc.Wait())
	// Output:
	// 1 oubliette
	// exit status 1
}

func ExampleJail() {
	j := &jail.Jail{
		Mounts: map[string]fs.FS{"/data": fstest.MapFS{"greeting": {Data: []byte("hello from a map\n"), Mode: 0o644}}},
		Nodes:  map[string]vfs.Node{"/made": vfs.NewText(0, func() ([]byte, error) { return []byte("made at this moment\n"), nil })},
		Clock:  func() time.Time { return time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC) },
		Handlers: map[string]emulate.Handler{
			"getuid": func(*emulate.Call) (uint64, error) { return 42, nil },
		},
	}
	cmd := exec.Command("/bin/sh", "-c", "cat /data/greeting /made; date -u +%Y; id -ru")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	proc, err := j.Spawn(cmd, policy.Tool())
	if err == nil {
		err = proc.Wait()
	}
	fmt.Println(err)
	// Output:
	// hello from a map
	// made at this moment
	// 1969
	// 42
	// <nil>
}

func ExampleProcess() {
	proc, err := jail.Spawn(exec.Command("/bin/sh", "-c", "echo result > /tmp/out; mkdir /tmp/d"), policy.Tool())
	if err == nil {
		err = proc.Wait()
	}
	text, readErr := fs.ReadFile(proc.Tree(), "tmp/out")
	fmt.Printf("%v %v %q\n", err, readErr, text)
	for _, c := range proc.Changes() {
		fmt.Println(c)
	}
	// Output:
	// <nil> <nil> "result\n"
	// created  /tmp/d
	// created  /tmp/out
}

func ExampleCallStats() {
	cmd := exec.Command("/bin/echo", "hello")
	cmd.Stdout = os.Stdout
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err == nil {
		err = proc.Wait()
	}
	write := proc.Stats().Calls["write"]
	fmt.Println(write.Stops, "stop,", write.Bytes, "bytes,", err)
	// Output:
	// hello
	// 1 stop, 6 bytes, <nil>
}

func ExampleTraceEvent() {
	j := &jail.Jail{Trace: func(e jail.TraceEvent) {
		if slices.Contains([]string{"chdir", "mkdir"}, e.Name) {
			fmt.Println(e.PID, e.Text)
		}
	}}
	proc, err := j.Spawn(exec.Command("/bin/sh", "-c", "cd /tmp; cd /none"), policy.Tool())
	if err == nil {
		_ = proc.Wait()
	}
	// Output:
	// 1 chdir("/tmp") = 0
	// 1 chdir("/none") = -1 ENOENT (no such file or directory)
}

func ExampleError() {
	_, err := jail.Spawn(exec.Command("/no/such/program"), policy.Tool())
	var e *jail.Error
	fmt.Println(errors.As(err, &e), errors.Is(err, fs.ErrNotExist))
	fmt.Println(e.Op)
	// Output:
	// true true
	// exec /no/such/program
}

func ExampleExitError() {
	for _, script := range []string{"exit 3", "kill -TERM $$"} {
		proc, err := jail.Spawn(exec.Command("/bin/sh", "-c", script), policy.Tool())
		if err == nil {
			err = proc.Wait()
		}
		var exit *jail.ExitError
		if errors.As(err, &exit) {
			fmt.Println(exit.ExitCode(), exit.Signaled(), exit.Signal() == syscall.SIGTERM, exit)
		}
	}
	// Output:
	// 3 false false exit status 3
	// -1 true true signal: terminated
}

func ExampleViolation() {
	p := policy.Tool()
	p.Calls = append([]policy.Rule{{Calls: []string{"mkdir"}, Action: policy.Kill}}, p.Calls...)
	proc, err := jail.Spawn(exec.Command("/bin/mkdir", "/tmp/d"), p)
	if err == nil {
		err = proc.Wait()
	}
	var v *jail.Violation
	if errors.As(err, &v) {
		fmt.Println("process", v.PID, "called", v.Call)
	}
	// Output: process 1 called mkdir
}

func ExampleLimitError() {
	p := policy.Tool()
	p.Limits.Wall = 50 * time.Millisecond
	proc, err := jail.Spawn(exec.Command("/bin/sleep", "60"), p)
	if err == nil {
		err = proc.Wait()
	}
	fmt.Println(err)
	// Output: jail: limit wall (50ms) reached
}

func ExampleWarm() {
	warm, err := jail.KeepWarm()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer warm.Close()
	for range 3 { // the second and third find the program in memory
		proc, err := jail.Spawn(exec.Command("/bin/true"), policy.Prison())
		if err == nil {
			err = proc.Wait()
		}
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
}

func ExamplePreflight() {
	if r := jail.Preflight(); r.Err != nil {
		fmt.Println(r.Err) // what is wrong, and what to do
	} else {
		fmt.Println("ready")
	}
	// Output: ready
}

func ExampleReport() {
	r := jail.Report{
		Err:   &jail.Error{Op: "seccomp", Err: syscall.EPERM},
		Notes: []string{"Linux 4.4 is older than 5.11"},
	}
	fmt.Print(r)
	// Output:
	// this host cannot run jails: jail: seccomp: operation not permitted
	// note: Linux 4.4 is older than 5.11
}

func ExampleWall() {
	proc, err := jail.Spawn(exec.Command("/bin/true"), policy.Tool())
	if err == nil {
		err = proc.Wait()
	}
	for _, w := range proc.Walls() {
		if w.Name == "no-new-privs" {
			fmt.Println(w, err)
		}
	}
	// Output: no-new-privs is up: no program can gain rights <nil>
}
