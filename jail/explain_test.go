//go:build linux && amd64

package jail_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"oubliette/jail"
	"oubliette/policy"
)

// TestWhy: a Violation and an audit record say which rule decided and what would
// permit the call; a call that is allowed and audited stops.
func TestWhy(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	j := &jail.Jail{Logger: zap.New(core)}
	p := policy.Tool()
	p.Calls = slices.Insert(p.Calls, 0,
		policy.Rule{Calls: []string{"mkdir"}, Action: policy.Kill, Reason: "nothing new"},
		policy.Rule{Calls: []string{"exit_group"}, Action: policy.Allow, Audit: true},
		policy.Rule{Calls: []string{policy.IDs}, Action: policy.Deny, Errno: "EPERM", Audit: true})
	ran := jailed(t, j, sh("id -u; exit 3"), p)
	records := map[string]policy.Explanation{}
	for _, e := range logs.All() {
		if m := e.ContextMap(); e.Message == "call audited" {
			records[m["call"].(string)], _ = m["why"].(policy.Explanation)
		}
	}
	if got := records["exit_group"]; got.Decision != (policy.Decision{Action: policy.Allow, Rule: 1, Audit: true}) || got.Args[0] != 3 {
		t.Errorf("exit_group: %+v, %+v", got, ran)
	}
	if got := records["geteuid"]; got.Decision.Errno != 1 || got.Part != policy.IDs || got.Fix == nil || got.Cost.Handler != "geteuid" {
		t.Errorf("geteuid: %+v", got)
	}

	proc, err := jail.Spawn(exec.Command("/bin/mkdir", "/tmp/d"), p)
	if err == nil {
		err = proc.Wait()
	}
	var v *jail.Violation
	if !errors.As(err, &v) || v.Why.Decision.Rule != 0 || v.Why.Reason != "nothing new" || v.Why.Fix.String() != "emulate mkdir" {
		t.Errorf("%v: %+v", err, v)
	}
}

// TestRefused: what the policy is to blame for, once each, and nothing else.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := policy.Tool()
	p.Calls = slices.Insert(p.Calls, 0, policy.Rule{Calls: []string{"mkdir"}, Action: policy.Deny, Errno: "EPERM"})
	p.Net.Allow = []string{"some.where:80"}
	var refused []policy.Explanation
	got := jailed(t, &jail.Jail{Refused: &refused}, sh(`cd /; cat `+dir+`/there; cat ./`+dir+`/../$(basename `+dir+`)/there; cat `+dir+`/none /usr/none
		echo x > /usr/new; mkdir /tmp/a; mkdir /tmp/b; python3 -c 'import socket
for address in ("else.where", 80), ("192.0.2.1", 81), ("some.where", 82):
  try: socket.create_connection(address)
  except OSError: pass'; true`), p)
	if got.Err != "" {
		t.Fatalf("%+v", got)
	}
	var list []string
	for _, e := range refused {
		first, rest, _ := strings.Cut(e.String(), "\n")
		if !strings.HasPrefix(rest, "to permit it, put ") || !strings.Contains(rest, "\ncost: ") {
			t.Error(e)
		}
		list = append(list, first)
	}
	list = slices.DeleteFunc(list, func(s string) bool {
		return strings.Contains(s, "/sys/") || strings.Contains(s, "gitconfig") || strings.Contains(s, "/python") || strings.Contains(s, "pyvenv")
	})
	want := []string{`openat: no mount shows "` + dir + `/there"`, `openat: no mount lets "/usr/new" be written`,
		"mkdir(0x0, 0x0): deny by rule 0: deny EPERM mkdir", `sendmmsg: no rule allows "else.where:*"`, `connect: no rule allows "192.0.2.1:81"`,
		`connect: no rule allows "some.where:82"`}
	for i := range list {
		if strings.HasPrefix(list[i], "mkdir(") {
			list[i] = want[2] // at which address
		}
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Errorf("-want +got:\n%s\n%+v", d, got)
	}
}

// TestRefusedToWrite: of a file of the caller's, which in a mount to read is another
// user's, the mount is told and not the permission.
func TestRefusedToWrite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := policy.Tool()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/data", Kind: policy.KindHost, Host: dir})
	var refused []policy.Explanation
	got := jailed(t, &jail.Jail{Refused: &refused}, sh("exec 2>&1; cat /data/mine; echo x >> /data/mine"), p)
	if len(refused) != 1 || refused[0].Mount == nil || !refused[0].Mount.Write || refused[0].File != "/data/mine" ||
		!strings.Contains(got.Stdout, "mine: Permission denied") {
		t.Errorf("%+v\n%+v", refused, got)
	}
}

// TestRefusedElsewhere: a file that the host has beside one that is mounted under
// another name, and a name and an address, where the policy has no network at all.
func TestRefusedElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/one", "b/two"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	p := policy.Tool()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/data/a/one", Kind: policy.KindHost, Host: dir + "/a/one"})
	var refused []policy.Explanation
	got := jailed(t, &jail.Jail{Refused: &refused}, sh(`cat /data/a/one /data/b/two /data/b/none; python3 -c 'import socket
for address in ("else.where", 80), ("192.0.2.1", 81):
  try: socket.create_connection(address)
  except OSError: pass
assert len(socket.if_nameindex()) == 1'`), p)
	if got.Err != "" {
		t.Fatalf("%+v", got)
	}
	var files []policy.Mount
	var addresses []string
	for _, e := range refused {
		switch {
		case e.Allow != "":
			addresses = append(addresses, e.Allow)
		case strings.HasPrefix(e.File, "/data") || strings.Contains(e.File, "resolv"):
			files = append(files, *e.Mount)
		}
	}
	if d := cmp.Diff([]policy.Mount{{Guest: "/data/b/two", Kind: policy.KindHost, Host: dir + "/b/two"}}, files); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"else.where:*", "192.0.2.1:81"}, addresses); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestStrict: a static program reads, computes, writes and exits, and can open
// nothing, its own executable neither.
func TestStrict(t *testing.T) {
	dir := t.TempDir()
	for _, cc := range []string{"cc", "musl-gcc"} {
		need(t, cc)
		build := exec.Command(cc, "-static", "-O1", "-o", filepath.Join(dir, cc), "-x", "c", "-")
		build.Stdin = strings.NewReader(`#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
	char line[100];
	while (fgets(line, sizeof line, stdin)) {
		char *copy = malloc(1 << 20);
		printf("%s", line);
		free(copy);
	}
	for (int fd; argc-- > 0;)
		if ((fd = open(*argv++, O_RDONLY)) >= 0 || errno != ENOSYS) return 1;
	return 7;
}`)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(dir, cc), "/", "/dev/null", "/proc/self/exe")
		cmd.Stdin = strings.NewReader("one\ntwo\n")
		if got := jailed(t, &jail.Jail{}, cmd, policy.Strict()); got.Stdout != "one\ntwo\n" || got.Err != "exit status 7" {
			t.Errorf("%s: %+v", cc, got)
		}
	}
}

// TestServer: nginx serves a mounted site at the jail's own loopback.
func TestServer(t *testing.T) {
	need(t, "nginx")
	need(t, "curl")
	site := t.TempDir()
	for _, err := range []error{os.Chmod(site, 0o755), os.WriteFile(filepath.Join(site, "index.html"), []byte("welcome\n"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := policy.Server()
	p.Mounts = append(p.Mounts,
		policy.Mount{Guest: "/srv", Kind: policy.KindHost, Host: site, Frozen: true},
		policy.Mount{Guest: "/var/log/nginx", Kind: policy.KindMemory}, policy.Mount{Guest: "/var/lib/nginx", Kind: policy.KindMemory},
		policy.Mount{Guest: "/etc/nginx/nginx.conf", Kind: policy.KindText,
			Text: "pid /run/nginx.pid; events {} http { server { listen 127.0.0.1:8080; root /srv; } }"})
	got := jailed(t, &jail.Jail{}, sh("nginx 2>/dev/null && curl -s http://127.0.0.1:8080/ && ls -d /var/lib/nginx/body && nginx -s quit 2>/dev/null"), p)
	if got.Stdout != "welcome\n/var/lib/nginx/body\n" || got.Err != "" {
		t.Errorf("%+v", got)
	}
}
