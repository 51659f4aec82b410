//go:build linux && amd64

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"oubliette/policy"
)

// learnCase is a program to learn, and something else that needs more than what was
// learned.
type learnCase struct {
	name    string
	overlay bool
	flags   []string
	command []string
	files   map[string]string // in the working directory
	other   []string          // nil: nothing
	why     string            // in what is said of other
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

var learnCases = []learnCase{
	{name: "cat", command: []string{"cat", "/etc/hostname"}, other: []string{"cat", "/etc/os-release"},
		why: `to permit it, put in mounts: {"guest":"/etc/os-release","kind":"host","host":"/usr/lib/os-release"}`},
	{name: "sh", command: shell("echo hi; cat /etc/hostname | tr a-z A-Z; test -d /usr/share && echo dir; echo x > /tmp/f; cat /tmp/f"),
		other: shell("cat < /etc/os-release; echo y > /var/tmp/f"), why: `no mount shows "/etc/os-release"`},
	{name: "ls", command: []string{"ls", "/usr/share/base-files"}, other: []string{"ls", "/usr/share/dict"}, why: `no mount shows "/usr/share/dict"`},
	{name: "ls root", command: []string{"ls", "/"}},
	{name: "sqlite3", command: []string{"sqlite3", "/tmp/db", "create table t(a); insert into t values(7); select * from t"},
		other: []string{"sqlite3", "/var/tmp/db", "create table t(a); insert into t values(8); select * from t"}, why: `{"calls":["openat"],`},
	{name: "python3", command: []string{"/usr/bin/python3", "-c", "import json, tempfile\nwith tempfile.TemporaryDirectory() as d:\n open(d+'/x', 'w').write('y')\nprint(json.dumps([1]))"},
		other: []string{"/usr/bin/python3", "-c", "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(9))"}, why: `{"calls":["epoll_create1"],`},
	{name: "perl", command: []string{"perl", "-e", `print "ok\n"; kill 0, $$`}, other: []string{"perl", "-e", `print "child\n" unless fork; wait`}, why: `{"calls":["clone"],`},
	{name: "git", command: shell("cd /tmp && git init -q r && cd r && echo a > a && git add a && git -c user.name=a -c user.email=b commit -qm c && git status --short && git log --format=%s"),
		other: shell("cd /tmp && git init -q r && cd r && echo a > a && git add a && git -c user.name=a -c user.email=b commit -qm c && git gc -q && git count-objects && git clone -q . ../s && git -C ../s log --format=%s"),
		why:   "to permit it, put "},
	{name: "convert", command: []string{"/usr/bin/convert", "rose:", "-resize", "50%", "-define", "png:exclude-chunks=date,time", "png:-"},
		other: []string{"/usr/bin/convert", "rose:", "-pointsize", "20", "-annotate", "+5+30", "Hi", "-define", "png:exclude-chunks=date,time", "png:-"}, why: "fonts"},
	{name: "tar", command: shell("cd /tmp; mkdir d; echo x > d/f; tar cf t.tar d; rm -r d; tar xf t.tar; cat d/f"),
		other: shell("tar c /usr/share/base-files | tar t | sort"), why: `{"calls":["pipe2"],`},
	{name: "gcc", command: shell(`cd /tmp; echo 'int main(){return 7;}' > a.c; gcc a.c && ./a.out; echo $?`)},
	{name: "threads", command: []string{"/usr/bin/python3", "-c", "import threading\nl=[threading.Thread(target=lambda: sum(range(9999))) for _ in range(8)]\n[t.start() for t in l]; [t.join() for t in l]; print('joined')"}},
	{name: "overlay cat", overlay: true, command: []string{"cat", "one"}, files: map[string]string{"one": "1\n", "two": "2\n"},
		other: []string{"cat", "two"}, why: "no mount shows"},
	{name: "overlay write", overlay: true, command: shell("cat one; echo 3 >> one; cat one; echo new > made; cat made; mktemp -d >/dev/null"),
		files: map[string]string{"one": "1\n", "two": "2\n"}, other: shell("read a < two; echo $a"), why: `/two",`},
	{name: "overlay rename", overlay: true, command: shell("echo 2 > new; mv new one; cat one; ls"), files: map[string]string{"one": "1\n", "two": "2\n"}},
	{name: "overlay git", overlay: true, command: shell("git init -q . && git add one && git -c user.name=a -c user.email=b commit -qm c && git status --short"),
		files: map[string]string{"one": "1\n", "two": "2\n"}},
	{name: "overlay gcc", overlay: true, command: shell("gcc a.c -o a && ./a; echo $?"), files: map[string]string{"a.c": "int main(void) { return 7; }\n"}},
	{name: "overlay sqlite3", overlay: true, command: shell("sqlite3 db 'create table t(a); insert into t values(7)'; sqlite3 db 'select * from t'")},
	{name: "overlay python3", overlay: true, command: []string{"/usr/bin/python3", "-c", "import os, tempfile; print(len(tempfile.mkdtemp()) > 0, os.listdir())"},
		files: map[string]string{"one": "1"}},
}

// learn runs a command under -learn, twice into a file and once into another.
func (c learnCase) learn(t *testing.T, dir string) (file, stdout string) {
	t.Helper()
	for name, text := range c.files {
		write(t, dir, name, text)
	}
	store := t.TempDir()
	flags := c.flags
	if c.overlay {
		flags = append(flags, "-overlay")
	}
	var texts [2]string
	for i := range texts {
		file = filepath.Join(store, fmt.Sprint("learned", i, ".json"))
		cmd := launcher(t, append(append([]string{"-learn", file}, flags...), append([]string{"--"}, c.command...)...)...)
		cmd.Dir = dir
		out, errs, status := launch(t, cmd)
		if status != 0 {
			t.Fatalf("learning: status %d, %s%s", status, out, errs)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		stdout, texts[i] = out, string(b)
	}
	if texts[0] != texts[1] {
		t.Errorf("equal runs learn\n%s\nand\n%s", texts[0], texts[1])
	}
	return file, stdout
}

// under runs a command under a learned policy.
func (c learnCase) under(t *testing.T, dir, file string, command []string) (stdout, stderr string, status int) {
	args := []string{"-explain", "-policy", file}
	if c.overlay {
		args = append(args, "-overlay")
	}
	cmd := launcher(t, append(append(args, "--"), command...)...)
	cmd.Dir = dir
	return launch(t, cmd)
}

// hint is what is said of something that is refused.
var hint = regexp.MustCompile(`(?m)^to permit it, put (at the end of calls|before rule (\d+)|in mounts|in net.allow): (.*)$`)

// follow puts into a policy what hints say.
func follow(t *testing.T, file, said string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range hint.FindAllStringSubmatch(said, -1) {
		var err error
		switch m[1] {
		case "in mounts":
			var n policy.Mount
			err = json.Unmarshal([]byte(m[3]), &n)
			at := slices.IndexFunc(p.Mounts, func(o policy.Mount) bool { return o.Guest == n.Guest || strings.HasPrefix(o.Guest, n.Guest+"/") })
			if at < 0 {
				p.Mounts = append(p.Mounts, n)
			} else if p.Mounts[at].Guest == n.Guest {
				p.Mounts[at] = n
			} else {
				p.Mounts = slices.Insert(p.Mounts, at, n)
			}
		case "in net.allow":
			var name string
			err = json.Unmarshal([]byte(m[3]), &name)
			p.Net.Allow = append(p.Net.Allow, name)
		default:
			var r policy.Rule
			err = json.Unmarshal([]byte(m[3]), &r)
			at := len(p.Calls)
			if m[2] != "" {
				at, _ = strconv.Atoi(m[2])
			}
			p.Calls = slices.Insert(p.Calls, at, r)
		}
		if err != nil {
			t.Fatal(err, m[0])
		}
	}
	if text, err = p.Format(); err == nil {
		err = os.WriteFile(file, text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refused: under the policy in file c.other is not what it is under the one that was
// in force, and what is said names c.why; where it is followed, again and again, it
// is in the end.
func (c learnCase) refused(t *testing.T, dir, file string) {
	t.Helper()
	args := slices.Clone(c.flags)
	if c.overlay {
		args = append(args, "-overlay")
	}
	cmd := launcher(t, append(append(args, "--"), c.other...)...)
	cmd.Dir = dir
	want, errs, status := launch(t, cmd)
	if status != 0 {
		t.Fatalf("without a policy: status %d, %s", status, errs)
	}
	const most = 100
	for n := range most {
		out, errs, status := c.under(t, dir, file, c.other)
		if out == want && status == 0 && n > 0 {
			t.Logf("permitted after %d times", n)
			return
		}
		if n == 0 && !strings.Contains(errs, c.why) || !hint.MatchString(errs) {
			t.Fatalf("refused the %dth time: status %d, %q, %s; want %s", n, status, out, errs, c.why)
		}
		if testing.Short() {
			return
		}
		follow(t, file, errs)
	}
	t.Errorf("is not permitted after %d hints", most)
}

// TestLearn: what was learned suffices for the same, and for nothing else.
func TestLearn(t *testing.T) {
	for _, c := range learnCases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, program := range strings.Fields(c.name) {
				if slices.Contains([]string{"sqlite3", "git", "gcc", "convert", "perl"}, program) {
					need(t, program)
				}
			}
			c.test(t, dir)
		})
	}
}

// test learns c, runs the same again, and c.other.
func (c learnCase) test(t *testing.T, dir string) policy.Policy {
	t.Helper()
	file, want := c.learn(t, dir)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, status := c.under(t, dir, file, c.command); out != want || strings.Contains(errs, "violation") || status != 0 {
		t.Errorf("under what it needed: status %d, %q, %s; want %q\n%s", status, out, errs, want, p)
	}
	if c.other != nil {
		c.refused(t, dir, file)
	}
	return p
}

// TestLearnGo: a Go program, with a scheduler of its own.
func TestLearnGo(t *testing.T) {
	need(t, "go")
	dir := t.TempDir()
	program := filepath.Join(dir, "counts")
	source := write(t, dir, "counts.go", `package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if len(os.Args) > 2 {
		text, err = exec.Command(os.Args[1], os.Args[2:]...).Output()
	}
	var all sync.WaitGroup
	lines := make(chan []byte)
	for range 4 {
		all.Go(func() {
			for line := range lines {
				_ = bytes.Repeat(line, 1000)
			}
		})
	}
	for line := range bytes.Lines(text) {
		lines <- line
	}
	close(lines)
	all.Wait()
	fmt.Println(bytes.Count(text, []byte("\n")), err)
}
`)
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := learnCase{flags: []string{"-ro", program}, command: []string{program, "/etc/os-release"},
		other: []string{program, "seq", "9"}, why: `to permit it, put `}
	c.test(t, dir)
}

// TestLearnNet: of what was allowed, what was reached.
func TestLearnNet(t *testing.T) {
	need(t, "curl")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	two := httptest.NewServer(s.Config.Handler)
	defer two.Close()
	other := two.Listener.Addr().String()
	c := learnCase{flags: []string{"-allow", "localhost:*", "-allow", other}, command: []string{"curl", "-s", "http://localhost:" + port},
		other: []string{"curl", "-s", "http://" + other}, why: fmt.Sprintf("to permit it, put in net.allow: %q", other)}
	dir := t.TempDir()
	if p := c.test(t, dir); len(p.Net.Allow) != 1 || p.Net.Allow[0] != "localhost:"+port {
		t.Errorf("allowed %q", p.Net.Allow)
	}
	c.other, c.why = []string{"curl", "-s", "http://other.example:1"}, `to permit it, put in net.allow: "other.example:*"`
	file, _ := c.learn(t, dir)
	for range 30 { // calls of the resolver's come first
		_, errs, status := c.under(t, dir, file, c.other)
		if follow(t, file, errs); status != 0 && strings.Contains(errs, c.why) {
			return
		}
	}
	t.Errorf("%s is never said", c.why)
}

// TestLearnMerge: more runs into one file, as Go too, and what is new on stderr.
func TestLearnMerge(t *testing.T) {
	dir := t.TempDir()
	into := func(file string, script string) (stderr string, status int) {
		cmd := launcher(t, "-learn", file, "--", "/bin/sh", "-c", script)
		cmd.Dir = dir
		_, stderr, status = launch(t, cmd)
		return stderr, status
	}
	errs, status := into("p.go", "cat /etc/hostname")
	if status != 0 || !strings.Contains(errs, "learned from 1 run") || strings.Contains(errs, "learned new") ||
		!strings.Contains(errs, "- 18 calls of @sockets: accept ") || strings.Contains(errs, "\n  +") {
		t.Errorf("first run: %d, %s", status, errs)
	}
	errs, status = into("p.go", "cat /etc/hostname; ls /usr/share/base-files")
	if status != 0 || !strings.Contains(errs, "learned from 2 run") || !strings.Contains(errs, "getdents64") ||
		!strings.Contains(errs, "learned new: mount /usr/share/base-files host frozen optional") {
		t.Errorf("second run: %d, %s", status, errs)
	}
	if errs, _ = into("p.go", "cat /etc/hostname"); strings.Contains(errs, "learned new") {
		t.Errorf("third run: %s", errs)
	}
	source, err := os.ReadFile(filepath.Join(dir, "p.go"))
	if err != nil || !strings.Contains(string(source), "PolicyP is the policy that was learned from 3 runs.") {
		t.Errorf("%v: %s", err, source)
	}
	c := learnCase{}
	for _, script := range []string{"cat /etc/hostname", "ls /usr/share/base-files"} {
		if _, errs, status := c.under(t, dir, "p.json", shell(script)); status != 0 {
			t.Errorf("%s: %d, %s", script, status, errs)
		}
	}
	b, err := policy.Tool().Format()
	if err != nil {
		t.Fatal(err)
	}
	mine := write(t, dir, "mine.json", string(b))
	if errs, status := into(mine, "true"); status != failure || !strings.Contains(errs, "was not learned: name another file") {
		t.Errorf("a policy of the user's: %d, %s", status, errs)
	}
	if errs, status := into("none.json", "uname; kill -SEGV $$"); status != 128+11 || !strings.Contains(errs, "learned from 1 run") {
		t.Errorf("a run that fails: %d, %s", status, errs)
	}
}
