//go:build linux && amd64

package jail_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// times is n, or a tenth of it in a short run.
func times(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// static is a file with a program that exits at once.
func static(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "static")
	if err := os.WriteFile(path, tinyELF(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// noLeak fails the test if it leaves anything behind in this process.
func noLeak(t testing.TB) {
	before := hostState()
	t.Cleanup(func() {
		if left := before.leaks(); left != "" {
			t.Error("left behind: ", left)
		}
	})
}

func TestManyJails(t *testing.T) {
	noLeak(t)
	path, p := static(t), policy.Overlay()
	one := func() {
		proc, err := jail.Spawn(exec.Command(path), p)
		if err == nil {
			err = proc.Wait()
		}
		if err != nil {
			t.Error(err)
		}
	}
	for range times(1000) {
		one()
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(one)
	}
	wg.Wait()
}

// TestOthersUndisturbed: jails never wait for the children of other packages.
func TestOthersUndisturbed(t *testing.T) {
	noLeak(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range times(20) {
				got := jailed(t, &jail.Jail{}, exec.Command("/bin/sh", "-c", "for i in 1 2 3; do (exit 3) || /bin/true; done; echo ok"), policy.Tool())
				if got.Stdout != "ok\n" || got.Err != "" {
					t.Errorf("jail: %+v", got)
				}
			}
		})
	}
	for i := range 200 {
		wg.Go(func() {
			out, err := exec.Command("/bin/sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%7)).Output()
			var exit *exec.ExitError
			status := 0
			if errors.As(err, &exit) {
				status = exit.ExitCode()
			} else if err != nil {
				status = -1
			}
			if string(out) != strconv.Itoa(i)+"\n" || status != i%7 {
				t.Errorf("command %d: %q, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func init() {
	guests["host"] = func([]string) { // a caller of its own, to be killed
		cmd := exec.Command("/bin/sh", "-c", "/bin/sleep 1000 & /bin/sleep 1000 & echo ready; wait")
		cmd.Stdout = os.Stdout
		proc, err := jail.Spawn(cmd, policy.Tool())
		check(err)
		time.Sleep(200 * time.Millisecond)
		tasks, _ := filepath.Glob("/proc/self/task/*/children")
		for _, f := range tasks {
			text, _ := os.ReadFile(f)
			fmt.Print(string(text), " ")
		}
		fmt.Println()
		check(proc.Wait())
	}
}

// TestCallerKilled: SIGKILL of the caller leaves no guest alive.
func TestCallerKilled(t *testing.T) {
	cmd := guestCommand("host")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	lines.Scan()
	pids := strings.Fields(lines.Text())
	if len(pids) < 4 { // more while an old image is dying
		t.Errorf("children %q, want the shell, two sleeps and the bell", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the killed caller ended well")
	}
	for _, s := range pids {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; alive(pid); i++ {
			if i == 100 {
				t.Errorf("guest %d lives on", pid)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// alive reports a process that is there and no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// watchdog dumps all goroutines if the test does not end in time.
func watchdog(t testing.TB, d time.Duration) {
	timer := time.AfterFunc(d, func() {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%s hangs:\n%s\n", t.Name(), buf[:runtime.Stack(buf, true)])
		os.Exit(2)
	})
	t.Cleanup(func() { timer.Stop() })
}

// TestNiceOverExec: a guest's niceness is the host's, too, after execve.
func TestNiceOverExec(t *testing.T) {
	need(t, "/usr/bin/nice")
	watchdog(t, time.Minute)
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer feed.Close()
	out, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("/usr/bin/nice", "-n", "13", "/bin/sh", "-c", "echo ready; read x")
	cmd.Stdin, cmd.Stdout = in, told
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	told.Close()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	found := false
	for _, pid := range guestProcesses(t) {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		found = found || err == nil && raw == 20-13
	}
	if !found {
		t.Error("no process of the host's has niceness 13")
	}
	feed.Close()
	_ = proc.Wait()
}

func init() {
	guests["quiet"] = func([]string) {
		heard := make(chan os.Signal, 1)
		stopped := func() {
			cmd := exec.Command("/bin/sh", "-c", "kill -STOP $$; exit 3")
			check(cmd.Start())
			var ws unix.WaitStatus
			_, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil)
			check(err)
			fmt.Println("stopped:", ws.Stopped())
			select {
			case <-heard:
				fmt.Println("heard of")
			case <-time.After(100 * time.Millisecond):
				fmt.Println("not heard of")
			}
			check(cmd.Process.Signal(unix.SIGCONT))
			fmt.Println(cmd.Wait(), <-heard)
		}
		signal.Notify(heard, unix.SIGCHLD)
		check(jail.QuietStops())
		check(jail.QuietStops())
		stopped()
		for range 3 {
			proc, err := jail.Spawn(exec.Command("/bin/true"), policy.Overlay())
			check(err)
			check(proc.Wait())
		}
	}
}

// TestQuietStops: children that stop are no news, those that end are, and jails run.
func TestQuietStops(t *testing.T) {
	want := "stopped: true\nnot heard of\nexit status 3 child exited\n"
	if got := native(t, guestCommand("quiet")); got.Stdout != want || got.Err != "" {
		t.Errorf("%+v", got)
	}
}
