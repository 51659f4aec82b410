//go:build linux && amd64

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oubliette/policy"
)

// learnCase is a program to learn, and something else under what was learned.
type learnCase struct {
	name    string
	overlay bool
	flags   []string
	command []string
	files   map[string]string // in the working directory
	other   []string          // nil: nothing
	why     string            // in what other says
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

var learnCases = []learnCase{
	{name: "cat", command: []string{"cat", "/etc/hostname"}, other: []string{"cat", "/etc/passwd"}, why: "No such file"},
	{name: "sh", command: shell("echo hi; cat /etc/hostname | tr a-z A-Z; test -d /usr/share && echo dir; echo x > /tmp/f; cat /tmp/f"),
		other: shell("cat < /etc/passwd"), why: "/etc/passwd"},
	{name: "ls", command: []string{"ls", "/usr/share/base-files"}, other: []string{"ls", "/usr/bin"}, why: "ls"},
	{name: "ls root", command: []string{"ls", "/"}},
	{name: "sqlite3", command: []string{"sqlite3", "/tmp/db", "create table t(a); insert into t values(7); select * from t"},
		other: []string{"sqlite3", "/var/tmp/db", "create table t(a)"}, why: "violation: process 1 called openat("},
	{name: "python3", command: []string{"/usr/bin/python3", "-c", "import json, tempfile\nwith tempfile.TemporaryDirectory() as d:\n open(d+'/x', 'w').write('y')\nprint(json.dumps([1]))"},
		other: []string{"/usr/bin/python3", "-c", "import socket; socket.socket()"}, why: "violation: process 1 called epoll_create1("},
	{name: "perl", command: []string{"perl", "-e", `print "ok\n"; kill 0, $$`}, other: []string{"perl", "-e", `fork`}, why: "called clone("},
	{name: "git", command: shell("cd /tmp && git init -q r && cd r && echo a > a && git add a && git -c user.name=a -c user.email=b commit -qm c && git status --short && git log --format=%s")},
	{name: "tar", command: shell("cd /tmp; mkdir d; echo x > d/f; tar cf t.tar d; rm -r d; tar xf t.tar; cat d/f"), other: shell("tar cf - /usr/share/doc"), why: "Cannot"},
	{name: "gcc", command: shell(`cd /tmp; echo 'int main(){return 7;}' > a.c; gcc a.c && ./a.out; echo $?`)},
	{name: "threads", command: []string{"/usr/bin/python3", "-c", "import threading\nl=[threading.Thread(target=lambda: sum(range(9999))) for _ in range(8)]\n[t.start() for t in l]; [t.join() for t in l]; print('joined')"}},
	{name: "overlay cat", overlay: true, command: []string{"cat", "one"}, files: map[string]string{"one": "1\n", "two": "2\n"},
		other: []string{"cat", "two"}, why: "No such file"},
	{name: "overlay write", overlay: true, command: shell("cat one; echo 3 >> one; cat one; echo new > made; cat made; mktemp -d >/dev/null"),
		files: map[string]string{"one": "1\n", "two": "2\n"}, other: shell("read a < two"), why: "two"},
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
	args := []string{"-policy", file}
	if c.overlay {
		args = append(args, "-overlay")
	}
	cmd := launcher(t, append(append(args, "--"), command...)...)
	cmd.Dir = dir
	return launch(t, cmd)
}

// TestLearn: what was learned suffices for the same, and for nothing else.
func TestLearn(t *testing.T) {
	for _, c := range learnCases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			words := strings.Fields(c.name)
			if program := words[len(words)-1]; slices.Contains([]string{"sqlite3", "git", "gcc"}, program) {
				if _, err := exec.LookPath(program); err != nil {
					t.Skip(err)
				}
			}
			file, want := c.learn(t, dir)
			if out, errs, status := c.under(t, dir, file, c.command); out != want || errs != "" || status != 0 {
				text, _ := os.ReadFile(file)
				p, _ := policy.Parse(text)
				t.Errorf("under what it needed: status %d, %q, %s; want %q\n%s", status, out, errs, want, p)
			}
			if c.other == nil {
				return
			}
			if out, errs, status := c.under(t, dir, file, c.other); out == want || !strings.Contains(out+errs, c.why) {
				t.Errorf("something else: status %d, %q, %s", status, out, errs)
			}
		})
	}
}

// TestLearnNet: of what was allowed, what was reached.
func TestLearnNet(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := learnCase{flags: []string{"-allow", "localhost:*", "-allow", "other.example:443"}, command: []string{"curl", "-s", "http://localhost:" + port}}
	dir := t.TempDir()
	file, want := c.learn(t, dir)
	if out, errs, status := c.under(t, dir, file, c.command); out != "served" || out != want || status != 0 {
		t.Errorf("status %d, %q %q", status, out, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := policy.Parse(text); err != nil || len(p.Net.Allow) != 1 || p.Net.Allow[0] != "localhost:"+port {
		t.Errorf("%v, allowed %q", err, p.Net.Allow)
	}
	if _, _, status := c.under(t, dir, file, []string{"curl", "-s", "https://other.example"}); status == 0 {
		t.Error("reached another name")
	}
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
