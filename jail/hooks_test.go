//go:build linux && amd64

package jail_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

// shell is a jail with nothing but a busybox, a directory for writing and one
// read-only file.
func shell(t testing.TB) (*jail.Jail, policy.Policy) {
	t.Helper()
	need(t, "busybox")
	path, _ := exec.LookPath("busybox")
	p := empty()
	p.Mounts = []policy.Mount{
		{Guest: "/bin/sh", Kind: policy.KindHost, Host: path, Frozen: true},
		{Guest: "/tmp", Kind: policy.KindMemory, Mode: 0o1777},
		{Guest: "/dev", Kind: policy.KindDev},
		{Guest: "/proc", Kind: policy.KindProc},
	}
	return &jail.Jail{Mounts: map[string]fs.FS{"/ro": fstest.MapFS{"kept": {Data: []byte("as it was\n")}}}}, p
}

func sh(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

// TestTree reads the guest's files while it runs and after it.
func TestTree(t *testing.T) {
	j, p := shell(t)
	cmd := sh(`cd /tmp; mkdir -p d/e; echo one > d/e/f; ln -s d/e/f link; echo ready; read x; echo $x >> d/e/f; rm link; mkdir d/g`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	tree := proc.Tree()
	look := func(want map[string]string) {
		t.Helper()
		got := make(map[string]string)
		for name := range want {
			b, err := fs.ReadFile(tree, name)
			got[name] = string(b)
			if errors.Is(err, fs.ErrNotExist) {
				got[name] = "none"
			} else if err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the tree (-want +got):\n%s", diff)
		}
		sub, err := fs.Sub(tree, "tmp")
		if err != nil {
			t.Fatal(err)
		}
		if err := fstest.TestFS(sub, "d/e/f"); err != nil {
			t.Error(err)
		}
	}
	look(map[string]string{"tmp/d/e/f": "one\n", "tmp/link": "one\n", "ro/kept": "as it was\n", "tmp/none": "none", "proc/1/comm": "sh\n"})
	if changed := proc.Changes(); len(changed) != 4 {
		t.Errorf("changes during the run: %v", changed)
	}
	fmt.Fprintln(in, "two")
	if err := proc.Wait(); err != nil {
		t.Fatal(err)
	}
	look(map[string]string{"tmp/d/e/f": "one\ntwo\n", "tmp/link": "none", "ro/kept": "as it was\n"})
	if info, err := fs.Stat(tree, "tmp"); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("/tmp: %v, %v", info, err)
	}
}

// TestChanges lists what a run did to memory and overlay mounts.
func TestChanges(t *testing.T) {
	j, p := shell(t)
	host := t.TempDir()
	if r := native(t, exec.Command("sh", "-c", "cd "+host+"; echo a > changed; echo b > gone; echo c > moved; echo d > kept; chmod 777 .")); r.Err != "" {
		t.Fatal(r)
	}
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/try", Kind: policy.KindHost, Host: host, Write: true, Overlay: true})
	got := jailed2(t, j, sh(`cd /try; echo more >> changed; rm gone; mv moved there; mkdir new; echo x > new/file; cat kept; echo y > /tmp/scratch`), p)
	var lines []string
	for _, c := range got.Changes() {
		lines = append(lines, c.String())
	}
	want := []string{"created  /tmp/scratch", "modified /try/changed", "removed  /try/gone", "removed  /try/moved",
		"created  /try/new", "created  /try/new/file", "created  /try/there"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// jailed2 runs cmd to a good end and returns its Process.
func jailed2(t testing.TB, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) *jail.Process {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	proc, err := j.Spawn(cmd, p)
	if err == nil {
		err = proc.Wait()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	return proc
}

// TestStats counts stops and bytes.
func TestStats(t *testing.T) {
	j, p := shell(t)
	cmd := sh(`i=0; while [ $i -lt 20 ]; do echo 123456789; i=$((i+1)); done; cat /ro/kept >/dev/null`)
	var out bytes.Buffer
	cmd.Stdout = &out
	s := jailed2(t, j, cmd, p).Stats().Calls
	if w := s["write"]; w.Stops != 20 || w.Bytes != int64(out.Len()) || out.Len() != 200 || w.Time <= 0 {
		t.Errorf("write: %+v, %d bytes came out", w, out.Len())
	}
	for name, c := range s {
		if c.Stops <= 0 || c.Time < 0 || c.Bytes < 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if _, ok := s["mmap"]; ok {
		t.Errorf("anonymous memory stops: %+v", s["mmap"])
	}
}

// TestNodes: files whose content is made by Go code at each open.
func TestNodes(t *testing.T) {
	j, p := shell(t)
	n := 0
	j.Nodes = map[string]vfs.Node{
		"/made/count": vfs.NewText(0, func() ([]byte, error) { n++; return fmt.Appendln(nil, n), nil }),
		"/made/fixed": vfs.NewBytes(0o640, []byte("fixed\n")),
		"/made/fails": vfs.NewText(0, func() ([]byte, error) { return nil, unix.ENODEV }),
	}
	got := jailed(t, j, sh(`cat /made/count /made/count /made/fixed; cat /made/fails; ls /made; echo x > /made/count`), p)
	want := result{Stdout: "1\n2\nfixed\ncount\nfails\nfixed\n", Err: "exit status 1",
		Stderr: "cat: can't open '/made/fails': No such device\n/bin/sh: can't create /made/count: Permission denied\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes of Go code (-want +got):\n%s", diff)
	}
}

// TestHandlers replaces a call, adds one, and lets one block without the other
// tasks waiting.
func TestHandlers(t *testing.T) {
	j, p := shell(t)
	slept := make(chan struct{})
	j.Handlers = map[string]emulate.Handler{
		"getuid": func(*emulate.Call) (uint64, error) { return 4711, nil },
		"sethostname": func(c *emulate.Call) (uint64, error) {
			return 0, c.Go(func() error { <-slept; return unix.EXDEV }, nil)
		},
	}
	cmd := sh(`(hostname x; echo named) & sleep 0.05; id -ru; wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		t.Fatal(err)
	}
	uid := make([]byte, 5)
	if _, err := io.ReadFull(out, uid); err != nil || string(uid) != "4711\n" {
		t.Errorf("id while another task's handler blocks: %q, %v", uid, err)
	}
	close(slept)
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != "named\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := proc.Wait(); err != nil || errs.String() != "hostname: sethostname: Invalid cross-device link\n" {
		t.Errorf("%v, %q", err, errs.String())
	}
}

// TestHandlerPanics: a bug in a handler ends its jail with an error, not the host.
func TestHandlerPanics(t *testing.T) {
	j, p := shell(t)
	j.Handlers = map[string]emulate.Handler{"getuid": func(*emulate.Call) (uint64, error) { panic("a bug in the handler") }}
	got := jailed(t, j, sh("id"), p)
	if !strings.HasPrefix(got.Err, "jail: ") || !strings.Contains(got.Err, "a bug in the handler") {
		t.Errorf("Wait gives %q", got.Err)
	}
}

// TestClock: a clock of one's own is all the guest sees.
func TestClock(t *testing.T) {
	j, p := shell(t)
	now := time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)
	j.Clock = func() time.Time { return now }
	got := jailed(t, j, sh(`date -u; touch /tmp/f; ls -l --full-time /tmp/f | cut -d' ' -f15-`), p)
	if !strings.HasPrefix(got.Stdout, "Sun Sep  9 01:46:40 UTC 2001\n") || !strings.Contains(got.Stdout+"2001-09-09 01:46:40", "2001-09-09 01:46:40") {
		t.Errorf("%+v", got)
	}
	proc := jailed2(t, j, sh(`touch /tmp/f`), p)
	if info, err := fs.Stat(proc.Tree(), "tmp/f"); err != nil || !info.ModTime().Equal(now) {
		t.Errorf("touch: %v, %v", info, err)
	}
	j.Clock = nil
	p.Time.Start = now
	if got := jailed(t, j, sh(`date -u +%Y-%m-%dT%H`), p); got.Stdout != "2001-09-09T01\n" {
		t.Errorf("Policy.Time: %+v", got)
	}
	j.Clock = time.Now
	if _, err := j.Spawn(sh("true"), p); err == nil || !strings.Contains(err.Error(), "Jail.Clock and Policy.Time") {
		t.Errorf("both clocks: %v", err)
	}
}

const randomC = `#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/random.h>
static void hex(const char *name, const unsigned char *p) {
	printf("%s ", name);
	for (int i = 0; i < 16; i++) printf("%02x", p[i]);
	puts("");
}
int main(void) {
	unsigned char b[16];
	int local;
	hex("AT_RANDOM", (unsigned char *)getauxval(AT_RANDOM));
	if (getrandom(b, 16, 0) != 16) return 1;
	hex("getrandom", b);
	int fd = open("/dev/urandom", O_RDONLY);
	if (read(fd, b, 16) != 16) return 2;
	hex("urandom", b);
	fd = open("/dev/random", O_RDONLY);
	if (read(fd, b, 16) != 16) return 3;
	hex("random", b);
	printf("text %p\n", (void *)main);
	return 0;
}`

// TestRandom: one seed, or one reader, makes the same randomness twice.
func TestRandom(t *testing.T) {
	program := compile(t, map[string]string{"r.c": randomC}, "r", "gcc", "-static-pie", "-o", "r", "r.c")
	run := func(random io.Reader, seed *uint64) string {
		t.Helper()
		p := empty()
		p.Mounts, p.Seed = []policy.Mount{{Guest: "/dev", Kind: policy.KindDev}}, seed
		j := &jail.Jail{Random: random, Mounts: map[string]fs.FS{"/bin": fstest.MapFS{"r": {Data: program, Mode: 0o755}}}}
		r := jailed(t, j, exec.Command("/bin/r"), p)
		if r.Err != "" || strings.Count(r.Stdout, "\n") != 5 {
			t.Fatalf("%+v", r)
		}
		return r.Stdout
	}
	one, two := uint64(1), uint64(2)
	seeded := run(nil, &one)
	if diff := cmp.Diff(seeded, run(nil, &one)); diff != "" {
		t.Errorf("one seed, two runs:\n%s", diff)
	}
	other, host := run(nil, &two), run(nil, nil)
	for i, line := range strings.Split(strings.TrimSpace(seeded), "\n") {
		for _, o := range []string{other, host, run(nil, nil)} {
			if line == strings.Split(o, "\n")[i] {
				t.Errorf("%q although the seed is another one", line)
			}
		}
	}
	bytesOf := func() io.Reader { return strings.NewReader(strings.Repeat("0123456789abcdef", 1000)) }
	got := run(bytesOf(), nil)
	if diff := cmp.Diff(got, run(bytesOf(), nil)); diff != "" || !strings.Contains(got, "getrandom 3") {
		t.Errorf("a reader of one's own: %s\n%s", got, diff)
	}
}

// TestRandomEnds: a random source that fails ends the jail, not with weak bytes.
func TestRandomEnds(t *testing.T) {
	j, p := shell(t)
	j.Random = strings.NewReader(strings.Repeat("x", 4096))
	got := jailed(t, j, sh(`cat /dev/urandom >/dev/null`), p)
	if !strings.Contains(got.Err, "Jail.Random: EOF: it must give") && !strings.Contains(got.Err, "Jail.Random: unexpected EOF: it must give") {
		t.Errorf("%+v", got)
	}
}

func init() {
	guests["calls"] = func(args []string) { // makes the calls numbered
		for _, a := range args {
			nr, err := strconv.Atoi(a)
			check(err)
			_, _, errno := unix.RawSyscall6(uintptr(nr), 0, 0, 0, 0, 0, 0)
			fmt.Println(nr, errno)
		}
	}
}

// TestLogger: calls that are not there are recorded once each, errors of ours
// each time.
func TestLogger(t *testing.T) {
	t.Setenv("OUBLIETTE_STRICT", "")
	core, logs := observer.New(zap.DebugLevel)
	j := &jail.Jail{Logger: zap.New(core)}
	j.Handlers = map[string]emulate.Handler{"getuid": func(*emulate.Call) (uint64, error) { return 0, errors.New("without an errno") }}
	uring, getuid := strconv.Itoa(unix.SYS_IO_URING_SETUP), strconv.Itoa(unix.SYS_GETUID)
	cmd := guestCommand("calls", uring, getuid, uring)
	if got, want := jailed(t, j, cmd, policy.Overlay()), fmt.Sprintf("%s %v\n%s %v\n%[1]s %[2]v\n", uring, unix.ENOSYS, getuid, unix.EIO); got.Stdout != want {
		t.Errorf("%+v, want %q", got, want)
	}
	records := make(map[string]int)
	for _, e := range logs.All() {
		records[fmt.Sprintf("%s %s %v", e.Level, e.Message, e.ContextMap()["call"])]++
	}
	if records["info call not emulated io_uring_setup"] != 1 || records["warn error without an errno getuid"] == 0 {
		t.Errorf("records: %v", records)
	}
}

// TestTrace: one event for each stop, strace-like.
func TestTrace(t *testing.T) {
	j, p := shell(t)
	var lines []string
	stops := 0
	j.Trace = func(e jail.TraceEvent) {
		stops++
		if e.PID < 1 || e.TID < e.PID || e.Name == "" || !strings.HasPrefix(e.Text, e.Name+"(") {
			t.Errorf("%+v", e)
		}
		lines = append(lines, fmt.Sprint(e.PID, " ", e.Text))
	}
	proc := jailed2(t, j, sh(`cat /ro/kept /ro/none 2>/dev/null; exit 0`), p)
	var counted int64
	for _, s := range proc.Stats().Calls {
		counted += s.Stops
	}
	if int64(stops) != counted {
		t.Errorf("%d events, %d stops", stops, counted)
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{`open("/ro/kept", `, `open("/ro/none", `, "= -1 ENOENT (no such file or directory)"} {
		if !strings.Contains(strings.ReplaceAll(all, "openat(AT_FDCWD, ", "open("), want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}

// TestAway: what a call has running elsewhere when its jail is killed ends before Wait
// does, unless it takes too long.
func TestAway(t *testing.T) {
	j, p := shell(t)
	for _, takes := range []time.Duration{100 * time.Millisecond, time.Hour} {
		started, stop, ended := make(chan bool), make(chan bool), false
		j.Handlers = map[string]emulate.Handler{"getuid": func(c *emulate.Call) (uint64, error) {
			return 0, c.Go(func() error {
				close(started)
				select {
				case <-time.After(takes):
					ended = true
				case <-stop:
				}
				return nil
			}, nil)
		}}
		proc, err := j.Spawn(sh("id -u"), p)
		if err != nil {
			t.Fatal(err)
		}
		<-started
		_ = proc.Kill()
		if err := await(t, proc); err == nil || ended != (takes < time.Hour) {
			t.Errorf("%v: Wait: %v, ended: %v", takes, err, ended)
		}
		close(stop)
	}
}

// TestKeepWarm: what Warm holds goes with its Close.
func TestKeepWarm(t *testing.T) {
	before := hostState()
	warm, err := jail.KeepWarm()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := jailed(t, &jail.Jail{}, exec.Command("/bin/echo", "hello"), policy.Prison()); got.Stdout != "hello\n" {
			t.Errorf("%+v", got)
		}
	}
	if before.leaks() == "" {
		t.Error("a Warm holds nothing")
	}
	for range 2 {
		if err := warm.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := before.leaks(); left != "" {
		t.Error("after Close:", left)
	}
}

// TestPanics: whatever panics on a guest's behalf ends its jail and no more.
func TestPanics(t *testing.T) {
	for name, do := range map[string]emulate.Handler{
		"at exit":   func(c *emulate.Call) (uint64, error) { c.Task.AtExit(func() { panic("boom") }); return 0, nil },
		"at end":    func(c *emulate.Call) (uint64, error) { c.Task.Process.AtExit(func() { panic("boom") }); return 0, nil },
		"elsewhere": func(c *emulate.Call) (uint64, error) { return 0, c.Go(func() error { panic("boom") }, nil) },
	} {
		j := &jail.Jail{Handlers: map[string]emulate.Handler{"uname": do}}
		if got := jailed(t, j, exec.Command("/bin/uname"), policy.Tool()); !strings.Contains(got.Err, "panic: boom") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
