//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// dockerCaps are the capabilities of root in a container that Docker starts with
// its defaults.
var dockerCaps = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT,
	unix.CAP_KILL, unix.CAP_AUDIT_WRITE}

func init() {
	guests["root of a container"] = func(args []string) {
		const second = "OUBLIETTE_SECOND"
		if os.Getenv(second) == "" {
			runtime.LockOSThread() // whose bounding set it is
			keep := make(map[int]bool)
			if args[0] == "docker" {
				for _, c := range dockerCaps {
					keep[c] = true
				}
			}
			for c := range unix.CAP_LAST_CAP + 1 {
				if !keep[c] {
					check(unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0))
				}
			}
			if len(args) > 1 {
				check(refuse(callNumbers[args[1]], unix.EPERM))
			}
			exe, err := os.Executable()
			check(err)
			check(syscall.Exec(exe, os.Args, append(os.Environ(), second+"=1")))
		}
		t := &testing.T{}
		script := `exec 7</etc/passwd; (/bin/true; exit 3); echo $?; sleep 60 & kill -9 $!; wait $!; echo $?; grep -c '\[stack\]' /proc/self/maps; echo ready; read x`
		cmd := exec.Command("/bin/sh", "-c", script)
		in, err := cmd.StdinPipe()
		check(err)
		out, err := cmd.StdoutPipe()
		check(err)
		proc, err := jail.Spawn(cmd, policy.Tool())
		check(err)
		var text string
		for buf := make([]byte, 64); !strings.Contains(text, "ready"); {
			n, err := out.Read(buf)
			check(err)
			text += string(buf[:n])
		}
		fmt.Print(text)
		for _, pid := range guestProcesses(t) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			check(err)
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			check(err)
			for line := range strings.Lines(string(status)) {
				for _, k := range []string{"Uid", "CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs"} {
					if strings.HasPrefix(line, k+":") {
						fmt.Print(strings.Join(strings.Fields(line), " "), ", ")
					}
				}
			}
			fmt.Println(len(fds), "descriptors")
		}
		check(in.Close())
		_ = proc.Wait()
	}
}

// TestContainerRoot: root without the capability to trace another user's
// processes has guests of its own id that hold none at all.
func TestContainerRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const none = "0000000000000000"
	state := "Uid: 0 0 0 0, CapInh: " + none + ", CapPrm: " + none + ", CapEff: " + none + ", CapAmb: " + none + ", NoNewPrivs: 1, "
	for _, args := range [][]string{{"docker"}, {"none"}, {"docker", "close_range"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			got := native(t, guestCommand("root of a container", args...))
			want := result{Stdout: "3\n137\n1\nready\n" + state + "3 descriptors\n" + state + "0 descriptors\n"}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
