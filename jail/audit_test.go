//go:build linux && amd64

package jail_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

// TestTraceText: arguments are shown as strace shows them.
func TestTraceText(t *testing.T) {
	program := guestProgram(t, "traced")
	p := own("/try")
	var lines []string
	j := &jail.Jail{Trace: func(e jail.TraceEvent) { lines = append(lines, e.Text) }}
	if got := jailed(t, j, exec.Command(program), p); got.Err != "" {
		t.Fatal(got)
	}
	first := slices.Index(lines, "getpgrp() = 1")
	if first < 0 {
		t.Fatalf("no getpgrp in\n%s", strings.Join(lines, "\n"))
	}
	lines = lines[first+1:]
	lines = lines[:slices.Index(lines, "getpgrp() = 1")]
	got := regexp.MustCompile(`0x7ff[0-9a-f]{8,}`).ReplaceAllString(strings.Join(lines, "\n"), "ADDR")
	want := `openat(AT_FDCWD, "/try/a \"b\"\n", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0640) = 3
write(3, "hello\000\001\n", 8) = 8
lseek(3, 0, SEEK_SET) = 0
read(3, "hello\000\001\n", 100) = 8
pwrite64(3, "01234567890123456789012345678901"..., 40, 8) = 40
newfstatat(AT_FDCWD, "none", ADDR, AT_SYMLINK_NOFOLLOW) = -1 ENOENT (no such file or directory)
open("/try", O_RDONLY|O_DIRECTORY) = 4
openat(AT_FDCWD, NULL, O_WRONLY) = -1 EFAULT (bad address)
openat(AT_FDCWD, 0x1, O_APPEND|0x80000003) = -1 EFAULT (bad address)
faccessat(AT_FDCWD, "/try", R_OK|X_OK) = 0
mkdir("/try/d", 0700) = 0
unlinkat(AT_FDCWD, "/try/d", AT_REMOVEDIR) = 0
fcntl(3, F_DUPFD_CLOEXEC, 10) = 10
mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE, -1, 0) = -1 EBADF (bad file descriptor)
socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK, 0) = 5
connect(5, {AF_UNIX "/none"}, 110) = -1 ENOENT (no such file or directory)
kill(0, SIGWINCH) = 0
getcwd("/", 100) = 2
io_uring_setup(8, NULL) = -1 ENOSYS (function not implemented)`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// audited runs a command in a jail whose records it returns.
func audited(t *testing.T, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) (result, []map[string]any, jail.Stats) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	j.Logger = zap.New(core)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		t.Fatal(err)
	}
	err = await(t, proc)
	var records []map[string]any
	for _, e := range logs.All() {
		records = append(records, e.ContextMap())
	}
	return result{out.String(), errs.String(), errText(err)}, records, proc.Stats()
}

// closingServer is the port of a server that closes every connection.
func closingServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// essence is what matters of a record.
func essence(kind string, r map[string]any) string {
	switch kind {
	case policy.AuditExec:
		return fmt.Sprintf("%v %q", r["path"], r["argv"])
	case policy.AuditWrite:
		return fmt.Sprintf("%q", r["paths"])
	case policy.AuditNetwork:
		return fmt.Sprintf("%v %v %v", r["what"], r["network"], r["address"])
	}
	return fmt.Sprintf("%v %v", r["pid"], r["text"])
}

// TestAudit: each kind that is asked for is recorded, and no other.
func TestAudit(t *testing.T) {
	port := closingServer(t)
	const script = `mkdir /etc 2>/dev/null; cd /w; echo x > made; mv made moved; rm moved; touch kept; chmod 600 kept; echo y > /tmp/quiet; echo z > /dev/null; /bin/sh -c ': arg'; ulimit -c 1; `
	for _, c := range []struct {
		kind, script string
		want         []string // of each record what matters
	}{
		{policy.AuditRefusal, script + `ln kept l`, []string{`1 link("kept", "l")`}},
		{policy.AuditViolation, script + `ln -s /nowhere /w/l`, []string{`1 symlink("/nowhere", "/w/l")`}},
		{policy.AuditExec, script + `/none 2>/dev/null; :`, []string{`/bin/sh ["/bin/sh" "-c" ": arg"]`}},
		{policy.AuditWrite, script, []string{`["/w/made"]`, `["/w/made" "/w/moved"]`, `["/w/moved"]`, `["/w/kept"]`, `["/w/kept"]`}},
		{policy.AuditNetwork, script + `nc 127.0.0.1 ` + port + ` </dev/null; nc -w 1 127.0.0.1 1 </dev/null 2>/dev/null; nc -w 1 192.0.2.1 1 </dev/null 2>/dev/null; nc -w 1 else.where 1 </dev/null 2>/dev/null; :`,
			[]string{"connect tcp 127.0.0.1:" + port, "connect tcp 127.0.0.1:1", "connect tcp 192.0.2.1:1", "resolve ip else.where:*", "resolve ip else.where:*"}}, // A and AAAA
		{policy.AuditLimit, script, nil},
		{"", script, nil},
	} {
		t.Run(c.kind, func(t *testing.T) {
			j, p := shell(t)
			if c.kind != "" {
				p.Audit = []string{c.kind}
			}
			p.Mounts = append(p.Mounts, policy.Mount{Guest: "/w", Kind: policy.KindMemory, Mode: 0o777})
			j.Mounts = nil
			p.Net.Allow = []string{"127.0.0.1:" + port}
			p.Calls = slices.Insert(p.Calls, 0, policy.Rule{Calls: []string{"link", "linkat"}, Action: policy.Deny, Errno: "EPERM"},
				policy.Rule{Calls: []string{"symlink", "symlinkat"}, Action: policy.Kill})
			_, records, stats := audited(t, j, sh(c.script), p)
			var got []string
			for _, r := range records {
				if r["kind"] != c.kind || r["pid"] == nil || r["task"] == nil {
					t.Errorf("%v", r)
				}
				why, _ := r["why"].(policy.Explanation)
				if refused := c.kind == policy.AuditNetwork && r["error"] != nil; why.Call != r["call"] || (why.Allow != "") != refused || refused && why.Allow != r["address"] {
					t.Errorf("%v of %v", why, r)
				}
				got = append(got, essence(c.kind, r))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := stats.Audit[c.kind].Records; int(n) != len(records) {
				t.Errorf("Stats: %+v, %d records", stats.Audit, len(records))
			}
		})
	}
}

// TestAuditLimits: limits that are met are recorded.
func TestAuditLimits(t *testing.T) {
	program := guestProgram(t, "hog")
	for how, limits := range map[string]policy.Limits{"tasks": {Tasks: 3}, "files": {Files: 10}, "output": {Output: 100}, "calls": {Calls: 100}} {
		dir := t.TempDir()
		p := own(dir)
		p.Limits, p.Audit = limits, []string{policy.AuditLimit}
		_, records, stats := audited(t, &jail.Jail{}, exec.Command(program, how, dir), p)
		records = slices.DeleteFunc(records, func(r map[string]any) bool { return r["limit"] == nil }) // what was dropped last
		if len(records) == 0 || int64(len(records)) != stats.Audit[policy.AuditLimit].Records || records[0]["limit"] != how || records[0]["kind"] != "limit" {
			t.Errorf("%s: %d records, %+v", how, len(records), stats.Audit)
		}
	}
}

// TestAuditFlood: of a hundred thousand refusals few are recorded, and the rest are
// counted.
func TestAuditFlood(t *testing.T) {
	const calls = 100_000
	p := policy.Overlay()
	p.Audit = []string{policy.AuditRefusal}
	p.Calls = slices.Insert(p.Calls, 0, policy.Rule{Calls: []string{"getpgrp"}, Action: policy.Deny, Errno: "EPERM"})
	start := time.Now()
	got, records, stats := audited(t, &jail.Jail{}, guestCommand("refused"), p)
	if got.Err != "" {
		t.Fatal(got)
	}
	s := stats.Audit[policy.AuditRefusal]
	refused := stats.Calls["getpgrp"].Stops
	dropped, told := int64(0), int64(0)
	for _, r := range records {
		if n, ok := r["dropped"].(int64); ok {
			dropped += n
		}
		if r["call"] == "getpgrp" {
			told++
		}
	}
	if most := 100 + int64(time.Since(start)/(100*time.Millisecond)) + 2; refused != calls || told > most || told < 100 {
		t.Errorf("%d refused, %d records of at most %d", refused, told, most)
	}
	if s.Dropped != dropped || told+dropped < calls || s.Records+s.Dropped < calls || s.Records+s.Dropped-calls > 100 {
		t.Errorf("%d records say %d were dropped: %+v", told, dropped, s)
	}
}

func init() {
	guests["refused"] = func([]string) {
		for range 100_000 {
			if _, _, errno := unix.RawSyscall(unix.SYS_GETPGRP, 0, 0, 0); errno == 0 {
				os.Exit(1)
			}
		}
	}
}
