//go:build linux && amd64

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oubliette/jail"
	"oubliette/policy"
)

// mainVar makes a process of this binary the command itself.
const mainVar = "OUBLIETTE_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVar) != "" {
		os.Unsetenv(mainVar)
		main()
	}
	os.Exit(m.Run())
}

// launcher is the command.
func launcher(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), mainVar+"=1", "TERM=dumb")
	cmd.Dir = t.TempDir()
	return cmd
}

// launch runs the command to its end.
func launch(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func sh(flags ...string) func(script string) []string {
	return func(script string) []string { return append(flags, "--", "/bin/sh", "-c", script) }
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRun holds the command line to its promises.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shared := write(t, dir, "shared.txt", "shared\n")
	tool, err := json.Marshal(policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	toolFile := write(t, dir, "tool.json", string(tool))
	misspelt := write(t, dir, "misspelt.json", "{\n  \"calls\": [],\n  \"defualt\": \"emulate\"\n}\n")
	badCall := write(t, dir, "call.json", `{"calls": [{"calls": ["opennat"], "action": "deny"}], "default": "emulate"}`)
	noJSON := write(t, dir, "none.json", "calls: []\n")
	killer := write(t, dir, "kill.json", strings.Replace(string(tool), `"calls":[`, `"calls":[{"calls":["getppid"],"action":"kill"},`, 1))
	auditor := write(t, dir, "audit.json", strings.Replace(string(tool), `"calls":[`, `"calls":[{"calls":["getppid"],"action":"emulate","audit":true},`, 1))
	text := write(t, dir, "text", "hello")
	for _, c := range []struct {
		name   string
		args   []string
		stdin  string
		stdout string // whole
		stderr string // a part; "" is nothing at all
		status int
	}{
		{"output", []string{"--", "/bin/echo", "hello", "world"}, "", "hello world\n", "", 0},
		{"name without a slash", []string{"echo", "hello"}, "", "hello\n", "", 0},
		{"input", []string{"--", "cat"}, "line\n", "line\n", "", 0},
		{"status", sh()("exit 3"), "", "", "", 3},
		{"status 125 of the guest's own", sh()("echo mine >&2; exit 125"), "", "", "mine\n", 125},
		{"signal", sh()("kill -TERM $$"), "", "", "", 128 + 15},
		{"segmentation fault", sh()("kill -SEGV $$"), "", "", "", 128 + 11},
		{"environment", []string{"-env", "A=b", "-env", "C=d", "--", "env"}, "",
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/home/guest\nLANG=C.UTF-8\nTERM=dumb\nA=b\nC=d\n", "", 0},
		{"identity", sh("-uid", "77", "-hostname", "cell")("id -u; id -g; hostname; cd /; pwd"), "", "77\n77\ncell\n/\n", "", 0},
		{"home", sh()("pwd; id -un"), "", "/home/guest\nguest\n", "", 0},
		{"directory", sh("-C", "/usr")("pwd"), "", "/usr\n", "", 0},
		{"mount", sh("-ro", dir+":/in")("cat /in/shared.txt; echo x > /in/new"), "", "shared\n", "Read-only file system", 2},
		{"mount at its own path", sh("-ro", dir)("cat " + shared), "", "shared\n", "", 0},
		{"policy", sh("-policy", toolFile)("echo policy"), "", "policy\n", "", 0},
		{"preset", sh("-policy", "Server")("touch /var/log/x && ls /var/log"), "", "x\n", "", 0},
		{"narrow preset", []string{"-policy", "prison", "-ro", text, "--", "cat", text}, "", "hello", "", 0},
		{"print", []string{"-policy", "strict", "-print"}, "", printed(policy.Strict()), "", 0},
		{"explain", sh("-explain")("echo x > /usr/x; true"), "", "", "to permit it, put in mounts: {\"guest\":\"/usr\",", 0},
		{"explained", sh("-policy", "tool")("cat " + text), "", "", "no mount shows \"" + text + "\"", 1},
		{"seed", sh("-seed", "7")("od -An -N8 -tx1 /dev/urandom; od -An -N8 -tx1 /dev/urandom"), "", seeded(t, "7"), "", 0},
		{"time", sh("-time", "2001-09-09T01:46:40Z")("date -u +%FT%H:%M"), "", "2001-09-09T01:46\n", "", 0},
		{"memory", sh("-mem", "100000000")("ulimit -d"), "", "97656\n", "", 0},
		{"processor time", sh("-cpu", "1s")("while :; do :; done"), "", "", "run: jail: limit cpu (1s) reached: signal: CPU", 128 + 24}, // SIGXCPU
		{"tasks", sh("-procs", "1")("/bin/true | /bin/true; echo not reached"), "", "", "run: exit status 2 (reached limits: tasks)", 2},
		{"time out", sh("-timeout", "100ms")("sleep 60"), "", "", "run: jail: limit wall (100ms) reached\n", 125},
		{"changes", sh("-changes")("echo x > /tmp/made; mkdir d"), "", "", "created  /home/guest/d\ncreated  /tmp/made\n", 0},

		{"audit", sh("-audit", "/dev/stderr")("exec /bin/true"), "", "", `"msg":"program executed","kind":"exec","pid":1`, 0},
		{"audit of a rule", sh("-audit", "/dev/stderr", "-policy", auditor)("exec /bin/true; :"), "", "", `"kind":"rule","pid":1,"task":1,"program":"sh","call":"getppid"`, 0},
		{"audit nowhere", sh("-policy", auditor)("exec /bin/true; :"), "", "", `"kind":"rule","pid":1,"task":1,"program":"sh","call":"getppid"`, 0},

		{"no command", nil, "", "", "run: usage: run [flags] -- command", 125},
		{"unknown flag", []string{"-frob", "--", "true"}, "", "", "run: flag provided but not defined: -frob", 125},
		{"flag without value", []string{"-uid"}, "", "", "run: flag needs an argument: -uid", 125},
		{"help", []string{"-help"}, "", "", "-overlay", 0},
		{"missing program", []string{"--", "/no/program"}, "", "", "run: jail: exec /no/program: no such file or directory: mount it", 125},
		{"missing name", []string{"--", "noprogram"}, "", "", "executable file not found in $PATH of the guest", 125},
		{"directory", []string{"--", "/usr"}, "", "", "run: jail: exec /usr: permission denied", 125},
		{"no program", []string{"-ro", dir, "--", text}, "", "", "exec format error: it must be a whole x86-64 ELF program", 125},
		{"missing directory", []string{"-C", "/none", "--", "true"}, "", "", "run: jail: cmd.Dir /none: no such file or directory", 125},
		{"missing mount", []string{"-ro", "/no/where", "--", "true"}, "", "", "run: -ro /no/where: ", 125},
		{"relative guest path", []string{"-ro", dir + ":in", "--", "true"}, "", "", `"in" is relative: write an absolute path`, 125},
		{"missing policy", []string{"-policy", dir + "/none", "--", "true"}, "", "", "/none: there is no such file, nor a preset of that name: write strict,", 125},
		{"misspelt field", []string{"-policy", misspelt, "--", "true"}, "", "", "misspelt.json: policy: line 3, column 3: defualt: is no field here", 125},
		{"unknown call", []string{"-policy", badCall, "--", "true"}, "", "", `no x86-64 call is named "opennat": write openat`, 125},
		{"no JSON", []string{"-policy", noJSON, "--", "true"}, "", "", "line 1, column 1: ", 125},
		{"violation", sh("-policy", killer)("echo never; exec /bin/sh -c :"), "", "", "run: jail: violation: process 1 called getppid(", 125},
		{"violation explained", sh("-policy", killer)("echo never; exec /bin/sh -c :"), "", "",
			"to permit it, put before rule 0: {\"calls\":[\"getppid\"],\"action\":\"emulate\"}", 125},
		{"other network", []string{"-net", "some", "--", "true"}, "", "", `run: -net "some": it must be none or host`, 125},
		{"allow", []string{"-allow", "example.com", "--", "true"}, "", "", `-allow "example.com": write name:port`, 125},
		{"publish", []string{"-publish", "80", "--", "true"}, "", "", "-publish 80: it must be HOSTADDR:GUESTPORT", 125},
		{"publish nowhere", []string{"-publish", "192.0.2.1:80:80", "--", "true"}, "", "", "publish 192.0.2.1:80: listen tcp", 125},
		{"seed that is none", []string{"-seed", "7x", "--", "true"}, "", "", `run: -seed "7x": it must be a whole number from 0`, 125},
		{"time that is none", []string{"-time", "noon", "--", "true"}, "", "", "run: -time: ", 125},
		{"negative limit", []string{"-mem", "-1", "--", "true"}, "", "", "run: -mem -1: it must be positive", 125},
		{"user that is none", []string{"-uid", "-2", "--", "true"}, "", "", "run: -uid -2: ", 125},
		{"environment without a value", []string{"-env", "A", "--", "true"}, "", "", `run: -env "A": it must be K=V`, 125},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := launcher(t, c.args...)
			cmd.Stdin = strings.NewReader(c.stdin)
			stdout, stderr, status := launch(t, cmd)
			if stdout != c.stdout || status != c.status || !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
				t.Errorf("%q: status %d, stdout %q, stderr %q; want %d, %q, %q", c.args, status, stdout, stderr, c.status, c.stdout, c.stderr)
			}
		})
	}
}

// printed is what -print prints.
func printed(p policy.Policy) string { return p.String() + p.Surface().String() }

// seeded is what the case with -seed prints, from another run.
func seeded(t *testing.T, seed string) string {
	out, _, _ := launch(t, launcher(t, sh("-seed", seed)("od -An -N8 -tx1 /dev/urandom; od -An -N8 -tx1 /dev/urandom")...))
	if a, b, _ := strings.Cut(out, "\n"); len(a) != 24 || a+"\n" == b {
		t.Errorf("-seed %s: %q", seed, out)
	}
	return out
}

// TestOverlay: the caller's directory, environment and user, and nothing stays.
func TestOverlay(t *testing.T) {
	t.Setenv("OUBLIETTE_SOMETHING", "kept")
	cmd := launcher(t, sh("-overlay", "-changes")(`pwd; id -u; echo $OUBLIETTE_SOMETHING; cat old; echo new > old; cat old; rm gone; echo x > made`)...)
	write(t, cmd.Dir, "old", "old\n")
	gone := write(t, cmd.Dir, "gone", "gone\n")
	stdout, stderr, status := launch(t, cmd)
	uid, err := exec.Command("id", "-u").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := cmd.Dir + "\n" + string(uid) + "kept\nold\nnew\n"; stdout != want || status != 0 {
		t.Errorf("status %d, %q, want %q; stderr %q", status, stdout, want, stderr)
	}
	d := cmd.Dir + "/"
	if want := "removed  " + d + "gone\ncreated  " + d + "made\nmodified " + d + "old\n"; stderr != want {
		t.Errorf("changes %q, want %q", stderr, want)
	}
	if text, err := os.ReadFile(d + "old"); err != nil || string(text) != "old\n" {
		t.Errorf("the host's file is %q, %v", text, err)
	}
	if _, err := os.Stat(gone); err != nil {
		t.Error(err)
	}
}

// TestReadWrite: -rw writes through, whoever the guest is; the caller's files there are
// its own, and what it makes is the caller's.
func TestReadWrite(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []int{os.Geteuid(), os.Geteuid() + 1, 1000} {
		const script = "set -e; cd /out/private; rm -f f; umask 077; echo made > f; echo again >> f; chmod 600 f; stat -c %u:%g . f; chown $(id -u):$(id -g) f"
		want := fmt.Sprintf("%d:%[1]d\n%[1]d:%[1]d\n", uid)
		stdout, stderr, status := launch(t, launcher(t, sh("-rw", dir+":/out", "-uid", fmt.Sprint(uid))(script)...))
		if stdout != want || stderr != "" || status != 0 {
			t.Errorf("user %d: status %d, %q, %q", uid, status, stdout, stderr)
		}
		file := filepath.Join(private, "f")
		var st syscall.Stat_t
		if text, err := os.ReadFile(file); err != nil || string(text) != "made\nagain\n" || syscall.Stat(file, &st) != nil || int(st.Uid) != os.Geteuid() {
			t.Errorf("user %d: %q of %d, %v", uid, text, st.Uid, err)
		}
	}
}

// TestFiles: -stats and -trace.
func TestFiles(t *testing.T) {
	cmd := launcher(t, append([]string{"-stats", "s.json", "-trace", "t"}, sh()("echo 12345; cat /etc/hostname")...)...)
	if stdout, stderr, status := launch(t, cmd); stdout != "12345\noubliette\n" || stderr != "" || status != 0 {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	text, err := os.ReadFile(filepath.Join(cmd.Dir, "s.json"))
	if err != nil {
		t.Fatal(err)
	}
	var stats jail.Stats
	if err := json.Unmarshal(text, &stats); err != nil || stats.Calls["write"].Bytes != 16 || stats.Calls["write"].Stops != 2 || stats.Calls["write"].Time <= 0 {
		t.Errorf("%v: %s", err, text)
	}
	text, err = os.ReadFile(filepath.Join(cmd.Dir, "t"))
	if err != nil || !strings.Contains(string(text), `1 write(1, "12345\n", 6) = 6`) || !strings.Contains(string(text), `"/etc/hostname"`) {
		t.Errorf("%v: %s", err, text)
	}
}

// TestSignals: what asks the launcher to end reaches the guest.
func TestSignals(t *testing.T) {
	cmd := launcher(t, sh()("trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	p := make([]byte, 6)
	if n, err := out.Read(p); err != nil || string(p[:n]) != "ready\n" {
		t.Fatalf("%q, %v", p[:n], err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n, _ := out.Read(p)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 || string(p[:n]) != "got\n" {
		t.Errorf("%v, %q", cmd.ProcessState, p[:n])
	}
}

// TestSeedEnvironment: with -seed the stack's content, and so its addresses, do not
// depend on the caller.
func TestSeedEnvironment(t *testing.T) {
	show := func(term string) string {
		cmd := launcher(t, sh("-seed", "1")("env; cat /proc/self/maps")...)
		cmd.Env = append(cmd.Env, "TERM="+term)
		out, errs, status := launch(t, cmd)
		if errs != "" || status != 0 || !strings.Contains(out, "[stack]") {
			t.Fatalf("%q %q %d", out, errs, status)
		}
		return out
	}
	if short, long := show("dumb"), show(strings.Repeat("x", 5000)); short != long {
		t.Errorf("%s\nand with a longer TERM\n%s", short, long)
	}
}

// TestRepeatable: with -seed and -time two processes print and trace the same.
func TestRepeatable(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	show := func(seed string) (out, calls string) {
		out, errs, status := launch(t, launcher(t, sh("-seed", seed, "-time", "2020-01-01T00:00:00Z", "-trace", trace)(
			"cat /proc/self/maps /proc/uptime; for i in 1 2 3 4; do (sleep 0.$i; echo $i; od -An -N4 /dev/urandom; date +%N) & done; wait; ls -lai /tmp /dev; times")...))
		b, err := os.ReadFile(trace)
		if err != nil || errs != "" || status != 0 || len(b) == 0 {
			t.Fatalf("%q %d %v", errs, status, err)
		}
		return out, string(b)
	}
	out, calls := show("1")
	for range 3 {
		if o, c := show("1"); o != out || c != calls {
			t.Fatalf("first %s\nthen %s\ntrace %s\nand %s", out, o, calls, c)
		}
	}
	if o, _ := show("2"); o == out {
		t.Error("another seed makes no difference")
	}
}
