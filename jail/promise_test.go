//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// guestProcesses are the host pids of the guests and bells of this process: its
// children that run the stub.
func guestProcesses(t testing.TB) (pids []int) {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestNothingNamed looks at running guests from outside: the only descriptors are
// the arenas, the program is the stub, and there is neither root nor a capability.
func TestNothingNamed(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exec 7</etc/passwd; /bin/sleep 60 & /bin/sleep 60 & echo ready; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := jail.Spawn(cmd, policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // the sleeps have exec'ed
	guests := 0
	for _, pid := range guestProcesses(t) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil && os.Geteuid() == 0 {
			t.Error(err)
		}
		if err == nil && exe != "/memfd:stub (deleted)" {
			t.Errorf("process %d runs %s", pid, exe)
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Error(err)
		}
		for _, fd := range fds {
			target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
			if err != nil || target != "/memfd:arena (deleted)" && target != "/memfd:images (deleted)" {
				t.Errorf("process %d holds %s -> %s, %v", pid, fd.Name(), target, err)
			}
		}
		if len(fds) > 0 {
			guests++
			checkStatus(t, pid)
		}
	}
	if guests != 3 {
		t.Errorf("%d guests, want the shell and two sleeps", guests)
	}
	if err := proc.Kill(); err != nil {
		t.Error(err)
	}
	if err := proc.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("Wait after Kill: %v", err)
	}
}

// tracesOthers tells whether this process may trace other users', as root in a
// container may not; TestContainerRoot is about that.
func tracesOthers(t *testing.T) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&hdr, &sets[0]); err != nil {
		t.Fatal(err)
	}
	return sets[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

// checkStatus looks at what the host's kernel says of a guest process.
func checkStatus(t *testing.T, pid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(line, ":")
		got[k] = strings.Join(strings.Fields(v), " ")
	}
	want := map[string]string{"NoNewPrivs": "1", "Seccomp": "2"}
	if os.Geteuid() == 0 && tracesOthers(t) {
		for _, k := range []string{"Uid", "Gid"} {
			want[k] = "65534 65534 65534 65534"
		}
		want["Groups"] = ""
	}
	for _, k := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		want[k] = "0000000000000000"
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("process %d: %s is %q, want %q", pid, k, got[k], v)
		}
	}
}

// TestPrivateWorld: nothing of the caller's shows under the presets that promise
// so.
func TestPrivateWorld(t *testing.T) {
	t.Setenv("OUBLIETTE_SECRET", "do not tell")
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte("do not tell"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	script := `env; cat /etc/shadow /etc/ssh/* /root/* ` + secret + ` /proc/1/environ; ls -a / /root /home /tmp ` + home
	for name, p := range map[string]policy.Policy{"tool": policy.Tool(), "prison": policy.Prison()} {
		for _, argv := range [][]string{{"/bin/sh", "-c", script}, {"/bin/cat", "/etc/shadow", secret}} {
			got := jailed(t, &jail.Jail{}, exec.Command(argv[0], argv[1:]...), p)
			all := got.Stdout + got.Stderr
			for _, bad := range []string{"do not tell", "OUBLIETTE_SECRET", "root:*", "root:!", "root:$", "PRIVATE KEY"} {
				if strings.Contains(all, bad) {
					t.Errorf("%s: %q shows:\n%s", name, bad, all)
				}
			}
		}
	}
}

// TestHostUnchanged: what an overlay guest does to its tree happens nowhere else.
func TestHostUnchanged(t *testing.T) {
	dir := t.TempDir()
	script := `set -e; cd ` + dir + `; echo old > kept; mkdir -p d/e; echo x > d/e/f; ln kept hard; ln -s kept soft; chmod 600 kept`
	if r := native(t, exec.Command("/bin/sh", "-c", script)); r.Err != "" {
		t.Fatal(r)
	}
	sum := func() string {
		r := native(t, exec.Command("/bin/sh", "-c", "cd "+dir+"; find . -printf '%p %y %m %i %s %T@ %C@ %n %l\\n' | sort; cat kept d/e/f"))
		return r.Stdout
	}
	before := sum()
	got := jailed(t, &jail.Jail{}, exec.Command("/bin/sh", "-c", `set -e; cd `+dir+
		`; echo new > kept; cat hard; rm -r d; mv soft s2; mkdir d; echo y > d/g; touch -d 2001-01-01 hard; chmod 777 kept; ls`), policy.Overlay())
	if want := "new\nd\nhard\nkept\ns2\n"; got.Stdout != want || got.Err != "" {
		t.Errorf("in the jail: %+v, want %q", got, want)
	}
	if after := sum(); after != before {
		t.Errorf("the host's tree was\n%s\nand is\n%s", before, after)
	}
}
