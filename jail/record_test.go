//go:build linux && amd64

package jail_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

func ExampleReplay() {
	file, err := os.CreateTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	_ = os.Remove(file.Name())

	// The program reads a file, its input and the clock.
	cmd := exec.Command("/bin/sh", "-c", `read word; echo "$(cat /data/greeting), $word"; test $(date +%Y) -ge 2026`)
	cmd.Stdin, cmd.Stdout = strings.NewReader("world\n"), os.Stdout
	j := &jail.Jail{Record: file, Mounts: map[string]fs.FS{"/data": fstest.MapFS{"greeting": {Data: []byte("hello")}}}}
	proc, err := j.Spawn(cmd, policy.Tool())
	if err == nil {
		err = proc.Wait()
	}
	fmt.Println(err)

	// Here is nothing of them.
	info, _ := file.Stat()
	j, cmd, p, err := jail.Replay(file, info.Size())
	if err != nil {
		fmt.Println(err)
		return
	}
	cmd.Stdout = os.Stdout
	proc, err = j.Spawn(cmd, p)
	if err == nil {
		err = proc.Wait()
	}
	fmt.Println(err)
	// Output:
	// hello, world
	// <nil>
	// hello, world
	// <nil>
}

// memory is a file for a recording.
type memory struct{ b []byte }

func (m *memory) Write(p []byte) (int, error) {
	m.b = append(m.b, p...)
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }

// ran is all that a caller sees of a command.
type ran struct {
	Stdout, Stderr string
	Err            string
	Changes        map[string]string
}

// watch runs a command and reads back what it changed.
func watch(t testing.TB, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) ran {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		t.Fatalf("Spawn %v: %v", cmd.Args, err)
	}
	err = proc.Wait()
	r := ran{out.String(), errs.String(), errText(err), make(map[string]string)}
	for _, c := range proc.Changes() {
		text := []byte(nil)
		if c.Kind != vfs.Removed && c.Mode.IsRegular() {
			text = must(fs.ReadFile(proc.Tree(), c.Path[1:]))
		}
		r.Changes[c.String()] = string(text)
	}
	return r
}

// record records a command.
func record(t testing.TB, j *jail.Jail, cmd *exec.Cmd, p policy.Policy) (ran, *memory) {
	t.Helper()
	m := new(memory)
	j.Record = m
	return watch(t, j, cmd, p), m
}

// replay replays a recording, after a change of its command.
func replay(t testing.TB, m *memory, change func(*exec.Cmd)) ran {
	t.Helper()
	j, cmd, p, err := jail.Replay(m, int64(len(m.b)))
	if err != nil {
		t.Fatal(err)
	}
	change(cmd)
	return watch(t, j, cmd, p)
}

func same(*exec.Cmd) {}

// replays is how often a replay must be the same.
const replays = 3

// sameAgain replays a recording.
func sameAgain(t testing.TB, want ran, m *memory) {
	t.Helper()
	for range replays {
		if d := cmp.Diff(want, replay(t, m, same)); d != "" {
			t.Fatalf("the replay (-recorded +got):\n%s", d)
		}
	}
}

// site is a web server of the host's, and its port.
func site(t testing.TB, h http.Handler) (port int, end func()) {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port, s.Close
}

// TestRecordPython: a program that reads files, directories, links and libraries, its
// input, a web server, the clock and randomness does the same without them.
func TestRecordPython(t *testing.T) {
	need(t, "python3")
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "some text", "b.txt": "", "mod.py": "value = 42\n", "big": strings.Repeat("0123456789", 100000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("a.txt", filepath.Join(dir, "link")), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	port, end := site(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %d\n", r.Method, r.URL, body, time.Now().UnixNano())
		for range 20 { // in pieces
			w.(http.Flusher).Flush()
			fmt.Fprintln(w, strings.Repeat("\xff\x00", 3000))
			time.Sleep(time.Millisecond)
		}
	}))
	script := fmt.Sprintf(`
import ctypes, mmap, os, random, resource, sys, time, urllib.request, uuid
sys.path.insert(0, '/data')
import mod
print(mod.value, sys.stdin.readline(), os.listdir('/data'), os.readlink('/data/link'), open('/data/link').read())
print(os.stat('/data/a.txt'), os.lstat('/data/link'), os.statvfs('/data'), os.path.exists('/data/none'))
with open('/data/big') as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m: print(m[5000:5010], len(m))
print(ctypes.CDLL('libm.so.6'), os.getpid(), os.cpu_count(), resource.getrlimit(resource.RLIMIT_NOFILE), os.environ)
print(time.time(), time.monotonic(), random.random(), uuid.uuid4(), hash('x'), os.urandom(4), id(object()))
start = time.time()
for body in None, b'x' * 100000:
    r = urllib.request.urlopen('http://localhost:%d/page?q=1', body)
    print(r.status, r.headers, r.read())
print(time.time() - start, sys.stdin.read())
try: urllib.request.urlopen('http://localhost:1/')
except OSError as e: print(e)
time.sleep(3600)
open('/tmp/out', 'w').write(str(time.time()))
os.mkdir('/tmp/dir')
print('the end', file=sys.stderr)
sys.exit(7)
`, port)
	p := policy.Tool()
	p.Mounts = append(p.Mounts, policy.Mount{Kind: policy.KindHost, Host: dir, Guest: "/data"})
	p.Net.Allow = []string{fmt.Sprintf("localhost:%d", port), "localhost:1"}
	cmd := exec.Command("python3", "-c", script)
	in, feed := io.Pipe()
	cmd.Stdin = in
	go func() {
		_, _ = io.WriteString(feed, "first\nsec")
		time.Sleep(50 * time.Millisecond)
		_, _ = io.WriteString(feed, "ond\n")
		feed.Close()
	}()
	want, m := record(t, &jail.Jail{}, cmd, p)
	if want.Err != "exit status 7" || want.Stderr != "the end\n" || len(want.Changes) != 2 {
		t.Fatalf("recorded: %+v", want)
	}
	end()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	sameAgain(t, want, m)
}

// TestRecordShell: processes that run side by side do it in the same order again.
func TestRecordShell(t *testing.T) {
	need(t, "bash", "seq", "sort", "xargs")
	cmd := exec.Command("bash", "-c", `
		seq 200 | sort -r | xargs -n 50 -P 4 echo | tr ' ' - | sort > /tmp/sorted
		(for i in 1 2 3; do echo job $i $RANDOM; sleep 0.0$i; done) & (for i in a b c; do echo job $i; sleep 0.02; done) &
		wait; diff <(sort /tmp/sorted) /tmp/sorted && date +%s%N; cat; ls -lai /tmp; exec 3<>/dev/tcp/127.0.0.1/1`)
	cmd.Stdin = strings.NewReader("input\n")
	want, m := record(t, &jail.Jail{}, cmd, policy.Tool())
	if !strings.Contains(want.Stdout, "input") || want.Err != "exit status 1" {
		t.Fatalf("recorded: %+v", want)
	}
	sameAgain(t, want, m)
}

// TestRecordGit: a clone from a server that is gone is the same, to the last object.
func TestRecordGit(t *testing.T) {
	need(t, "git")
	lib := strings.TrimSpace(string(must(exec.Command("git", "--exec-path").Output())))
	if _, err := os.Stat(filepath.Join(lib, "git-http-backend")); err != nil {
		skip(t, "needs git's http backend")
	}
	dir := t.TempDir()
	make := exec.Command("sh", "-ec", `git init -q -b main work; cd work
		for i in $(seq 30); do seq $((i*100)) > file$i; git add .; git -c user.name=x -c user.email=x@y commit -qm "commit $i"; done
		git clone -q --bare . ../repo.git`)
	make.Dir, make.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	port, end := site(t, &cgi.Handler{Path: filepath.Join(lib, "git-http-backend"), Dir: dir,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}})
	p := policy.Tool()
	p.Net.Allow = []string{fmt.Sprintf("localhost:%d", port)}
	want, m := record(t, &jail.Jail{}, exec.Command("sh", "-ec", fmt.Sprintf(
		`cd; git clone http://localhost:%d/repo.git; cd repo; git log --stat -2; git fsck; cat file3 | wc; date`, port)), p)
	if want.Err != "" || !strings.Contains(want.Stdout, "commit 30") {
		t.Fatalf("recorded: %+v", want)
	}
	end()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	sameAgain(t, want, m)
}

func init() {
	guests["serves"] = servesGuest
	guests["asks"] = asksGuest
}

// servesGuest listens on TCP port 80 and answers two connections in capitals.
func servesGuest([]string) {
	l, err := net.Listen("tcp", ":80")
	check(err)
	fmt.Println("ready")
	for range 2 {
		c, err := l.Accept()
		check(err)
		b, err := io.ReadAll(c)
		fmt.Println(c.RemoteAddr().(*net.TCPAddr).IP, string(b), err)
		_, err = c.Write(bytes.ToUpper(b))
		check(err)
		check(c.Close())
	}
}

// TestRecordPublish: connections that came come again, by policy.Publish and Jail.Listen.
func TestRecordPublish(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	at := l.Addr().String()
	l.Close()
	testPublished(t, at, &jail.Jail{}, policy.Net{Publish: []policy.Publish{{Host: at, Guest: 80}}})
	testPublished(t, at, &jail.Jail{Listen: func(context.Context, string, string) (net.Listener, error) { return net.Listen("tcp", at) }}, policy.Net{})
}

func testPublished(t *testing.T, at string, j *jail.Jail, n policy.Net) {
	t.Helper()
	cmd := guestCommand("serves")
	cmd.Path = "/exe"
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	done := make(chan string)
	go func() {
		var heard strings.Builder
		for _, words := range []string{"one", "two"} {
			c, err := net.Dial("tcp", at)
			for i := 0; err != nil && i < 200; i++ {
				time.Sleep(20 * time.Millisecond)
				c, err = net.Dial("tcp", at)
			}
			if err != nil {
				fmt.Fprintln(&heard, err)
				continue
			}
			_, _ = io.WriteString(c, words)
			_ = c.(*net.TCPConn).CloseWrite()
			b, err := io.ReadAll(c)
			fmt.Fprintln(&heard, string(b), err)
			c.Close()
		}
		done <- heard.String()
	}()
	want, m := record(t, j, cmd, netPolicy(n))
	if heard := <-done; heard != "ONE <nil>\nTWO <nil>\n" || want.Err != "" {
		t.Fatalf("heard %q, recorded %+v", heard, want)
	}
	sameAgain(t, want, m)
}

// asksGuest sends a datagram to each argument and prints the answer, and what names
// stand for.
func asksGuest(args []string) {
	for _, a := range args {
		addrs, err := net.LookupHost(strings.Split(a, ":")[0])
		fmt.Println(addrs, err)
		c, err := net.Dial("udp", a)
		if err != nil {
			fmt.Println(err)
			continue
		}
		_, err = io.WriteString(c, "question")
		check(err)
		b := make([]byte, 100)
		n, err := c.Read(b)
		fmt.Printf("%q %v\n", b[:n], err)
		c.Close()
	}
	r := net.Resolver{PreferGo: true, Dial: func(_ context.Context, _, address string) (net.Conn, error) { return net.Dial("tcp", address) }}
	fmt.Println(r.LookupHost(context.Background(), "by.tcp.test"))
}

// TestRecordDial: what a Dial of the caller's gives, over TCP and UDP, errors too.
func TestRecordDial(t *testing.T) {
	dials := 0
	j := &jail.Jail{Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		if dials++; address == "none.test:1" {
			return nil, unix.ECONNREFUSED
		}
		ours, theirs := net.Pipe()
		go func() {
			b := make([]byte, 100)
			n, _ := ours.Read(b)
			_, _ = fmt.Fprint(ours, network, " ", address, " ", string(b[:n]), " ", time.Now().UnixNano())
		}()
		return theirs, nil
	}}
	cmd := guestCommand("asks", "a.test:1", "b.test:2", "none.test:1")
	cmd.Path = "/exe"
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	want, m := record(t, j, cmd, netPolicy(policy.Net{Host: true}))
	if want.Err != "" || !strings.Contains(want.Stdout, "udp b.test:2 question") {
		t.Fatalf("recorded: %+v", want)
	}
	before := dials
	sameAgain(t, want, m)
	if dials != before {
		t.Error("a replay has dialled")
	}
}

// TestRecordProgram: what the one program needs is in the recording, symlinks of the
// host's too.
func TestRecordProgram(t *testing.T) {
	p := policy.Prison()
	cmd := exec.Command("/bin/echo", "hello")
	want, m := record(t, &jail.Jail{}, cmd, p)
	if want.Stdout != "hello\n" {
		t.Fatalf("recorded: %+v", want)
	}
	sameAgain(t, want, m)
}

// TestRecordSignal: signals come again, and so does the end by the caller or a limit.
func TestRecordSignal(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*jail.Process, *exec.Cmd)
		want string
	}{
		{"signal", func(p *jail.Process, _ *exec.Cmd) { check(p.Signal(unix.SIGUSR1)) }, "exit status 5"},
		{"group", func(p *jail.Process, _ *exec.Cmd) { check(p.SignalGroup(unix.SIGUSR1)) }, "exit status 5"},
		{"handle", func(_ *jail.Process, cmd *exec.Cmd) { check(cmd.Process.Signal(unix.SIGUSR1)) }, "exit status 5"},
		{"kill", func(p *jail.Process, _ *exec.Cmd) { check(p.Kill()) }, "signal: killed"},
		{"handle kill", func(_ *jail.Process, cmd *exec.Cmd) { check(cmd.Process.Kill()) }, "signal: killed"}, // as contexts do
		{"wall", func(*jail.Process, *exec.Cmd) {}, "jail: limit wall (1s) reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policy.Tool()
			if c.name == "wall" {
				p.Limits.Wall = time.Second
			}
			m := new(memory)
			cmd := exec.Command("/bin/sh", "-c", `trap 'echo caught; exit 5' USR1; echo ready; while read x; do :; done; exit 6`)
			in, feed := io.Pipe()
			defer feed.Close()
			cmd.Stdin = in
			out := must(cmd.StdoutPipe())
			proc, err := (&jail.Jail{Record: m}).Spawn(cmd, p)
			if err != nil {
				t.Fatal(err)
			}
			ready := make([]byte, 6)
			_, err = io.ReadFull(out, ready)
			check(err)
			c.end(proc, cmd)
			text := string(ready) + string(must(io.ReadAll(out)))
			feed.Close()
			want := ran{Stdout: text, Err: errText(proc.Wait()), Changes: map[string]string{}}
			if want.Err != c.want {
				t.Fatalf("recorded: %+v", want)
			}
			sameAgain(t, want, m)
		})
	}
}

// TestRecordOutput: a run that ends at its limit of output does so again, with as much
// of it, whether anybody takes it or not.
func TestRecordOutput(t *testing.T) {
	p := policy.Tool()
	p.Limits.Output = 1000
	want, m := record(t, &jail.Jail{}, exec.Command("/bin/sh", "-c", "while :; do echo 1234567; done"), p)
	if len(want.Stdout) != 1000 || want.Err != "jail: limit output (1000) reached" {
		t.Fatalf("recorded: %+v", want)
	}
	sameAgain(t, want, m)
	j, cmd, p, err := jail.Replay(m, int64(len(m.b)))
	if err != nil {
		t.Fatal(err)
	}
	proc, err := j.Spawn(cmd, p)
	if err == nil {
		err = proc.Wait()
	}
	if errText(err) != want.Err {
		t.Errorf("a replay whose output nobody takes: %v", err)
	}
}

// TestDiverged: what is asked for or sent and was not then ends a replay, with its name.
func TestDiverged(t *testing.T) {
	need(t, "curl")
	port, _ := site(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	p := policy.Tool()
	p.Net.Allow = []string{"localhost:*"}
	m := make(map[string]*memory)
	for name, args := range map[string][]string{
		"cat":  {"cat", "/etc/hostname"},
		"echo": {"echo", "one"},
		"curl": {"curl", "-s", fmt.Sprintf("http://localhost:%d/", port)},
		"head": {"head", "-c", "1"},
		"sh":   {"sh", "-c", "exit 3"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader("input")
		var got ran
		if got, m[name] = record(t, &jail.Jail{}, cmd, p); got.Err != "" && name != "sh" {
			t.Fatalf("recorded: %+v", got)
		}
	}
	for _, c := range []struct {
		recorded string
		args     []string
		want     string
	}{
		{"cat", []string{"cat", "/etc/passwd"}, `"root:`},
		{"cat", []string{"cat", "/usr/no-such-file"}, `"lookup no-such-file" of /usr`},
		{"cat", []string{"cat"}, `process 1 (cat) in newfstatat: it came to "stream 0 attr"`},
		{"echo", []string{"echo", "two"}, `"two\n", in the recorded run "one\n"`},
		{"echo", []string{"echo", "one", "two"}, `"one two\n"`},
		{"echo", []string{"true"}, `"lookup local" of /usr`},
		{"curl", []string{"curl", "-s", fmt.Sprintf("http://localhost:%d/", port+1)}, fmt.Sprintf(`"tcp localhost:%d"`, port+1)},
		{"curl", []string{"curl", "-s", fmt.Sprintf("http://localhost:%d/other", port)}, `"GET /other`},
		{"head", []string{"head", "-c", "9"}, "process 1 (head)"},
		{"sh", []string{"sh", "-c", "exit 4"}, `"end" is "exit status 4", of the recorded run it was "exit status 3"`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			j, cmd, p, err := jail.Replay(m[c.recorded], int64(len(m[c.recorded].b)))
			if err != nil {
				t.Fatal(err)
			}
			cmd.Args = c.args
			if c.args[0] != c.recorded {
				cmd.Path = c.args[0]
			}
			proc, err := j.Spawn(cmd, p)
			if err == nil {
				err = proc.Wait()
			}
			if !errors.Is(err, jail.ErrDiverged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
}

// TestRecordRefuses: what a recording cannot hold is an error of Spawn.
func TestRecordRefuses(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	writes := policy.Tool()
	writes.Mounts = append(writes.Mounts, policy.Mount{Kind: policy.KindHost, Host: t.TempDir(), Guest: "/mnt", Write: true})
	for want, c := range map[string]struct {
		j jail.Jail
		p policy.Policy
	}{
		"Nodes":    {jail.Jail{Nodes: map[string]vfs.Node{"/x": vfs.NewLink("y")}}, policy.Tool()},
		"Handlers": {jail.Jail{Handlers: map[string]emulate.Handler{"getuid": nil}}, policy.Tool()},
		"Clock":    {jail.Jail{Clock: time.Now}, policy.Tool()},
		"Random":   {jail.Jail{Random: zeros{}}, policy.Tool()},
		"Sockets":  {jail.Jail{Sockets: map[int]any{3: l}}, policy.Tool()},
		"Overlay":  {jail.Jail{}, writes},
		"empty":    {jail.Jail{Record: &memory{[]byte("text")}}, policy.Tool()},
	} {
		if c.j.Record == nil {
			c.j.Record = new(memory)
		}
		var e *jail.Error
		if _, err := c.j.Spawn(exec.Command("/bin/true"), c.p); !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// full is a file that takes no more than some bytes.
type full struct {
	memory
	room int
}

func (f *full) Write(p []byte) (int, error) {
	if len(f.b)+len(p) > f.room {
		return 0, unix.ENOSPC
	}
	return f.memory.Write(p)
}

// TestRecordFull: a recording that cannot be written is an error of the run.
func TestRecordFull(t *testing.T) {
	p, seed := policy.Tool(), uint64(1) // so that it is always as large
	p.Seed, p.Time.Start = &seed, time.Unix(1e9, 0)
	run := func(room int) (size int, err error) {
		f := &full{room: room}
		proc, err := (&jail.Jail{Record: f}).Spawn(exec.Command("/bin/sh", "-c", ":"), p)
		if err == nil {
			err = proc.Wait()
		}
		return len(f.b), err
	}
	size := must(run(1 << 30))
	for _, room := range []int{0, 100, 100000, 1 << 20, size - 100000, size - 100} {
		if _, err := run(room); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("room for %d of %d bytes: %v", room, size, err)
		}
	}
}

// slow is a file that takes its time, a few times.
type slow struct {
	memory
	writes int
}

func (f *slow) Write(p []byte) (int, error) {
	if f.writes++; f.writes%20 == 0 && f.writes <= 100 {
		time.Sleep(1200 * time.Millisecond)
	}
	return f.memory.Write(p)
}

// TestRecordSlow: to write a recording takes no turn from anybody.
func TestRecordSlow(t *testing.T) {
	f := new(slow)
	proc, err := (&jail.Jail{Record: f}).Spawn(exec.Command("/bin/sh", "-c", "ls / | sort | wc -l | cat"), policy.Tool())
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(); err != nil || f.writes < 100 {
		t.Fatal(err, f.writes)
	}
	if n := proc.Stats().Disorder; n != 0 {
		t.Errorf("order was given up %d times", n)
	}
}

// rewritten is a recording with one of its members changed.
func rewritten(t testing.TB, m *memory, name string, change func(string) string) *memory {
	t.Helper()
	in := must(zip.NewReader(m, int64(len(m.b))))
	out := new(memory)
	w := zip.NewWriter(out)
	for _, f := range in.File {
		r := must(f.Open())
		text := string(must(io.ReadAll(r)))
		if f.Name == name {
			text = change(text)
		}
		_, err := io.WriteString(must(w.CreateHeader(&zip.FileHeader{Name: f.Name})), text)
		check(err)
	}
	check(w.Close())
	return out
}

// TestReplayRefuses: a file that is no whole recording is refused, and says so.
func TestReplayRefuses(t *testing.T) {
	_, m := record(t, &jail.Jail{}, exec.Command("/bin/true"), policy.Prison())
	refused := func(what string, m *memory, want string) {
		t.Helper()
		_, _, _, err := jail.Replay(m, int64(len(m.b)))
		var e *jail.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", what, err, want)
		}
	}
	refused("empty", new(memory), "it is no recording")
	refused("text", &memory{[]byte("#!/bin/sh\n")}, "it is no recording")
	archive := new(memory)
	w := zip.NewWriter(archive)
	_ = must(w.Create("x"))
	check(w.Close())
	refused("another archive", archive, "it is no recording")
	for n := 100; n < len(m.b); n += len(m.b)/50 + 1 {
		refused(fmt.Sprint("the first ", n, " bytes"), &memory{m.b[:n]}, "it is not whole")
		changed := bytes.Clone(m.b)
		changed[n] ^= 1
		if _, _, _, err := jail.Replay(&memory{changed}, int64(len(changed))); err == nil {
			t.Errorf("with byte %d changed it is taken", n)
		}
	}
	replace := func(old, new string) func(string) string {
		return func(text string) string {
			if !strings.Contains(text, old) {
				t.Fatalf("no %q in it", old)
			}
			return strings.Replace(text, old, new, 1)
		}
	}
	refused("a later format", rewritten(t, m, "run.json", replace(`"format": 1`, `"format": 2`)), "its format is 2")
	refused("an unknown field", rewritten(t, m, "run.json", replace(`"path"`, `"bath"`)), "bath")
	refused("a policy with more native calls", rewritten(t, m, "run.json", replace(`"madvise"`, `"openat"`)), "openat")
	refused("a policy that is none", rewritten(t, m, "run.json", replace(`"emulate"`, `"emulat"`)), "emulat")
	refused("an unknown question", rewritten(t, m, "trees.json", replace(`"attr"`, `"mood"`)), "mood")
	refused("a loop out of the list", rewritten(t, m, "trees.json", replace(`"open"`, `"lookup x":{"is":1000},"open"`)), "lookup x")

	// What shows later only is the end of the replay.
	for _, change := range []func(string) string{
		replace(`"what":"stream 0"`, `"what":"stream 9"`),
		replace(`"what":"streams"`, `"mood":"streams"`),
		func(string) string { return "" },
	} {
		m := rewritten(t, m, "events/1", change)
		j, cmd, p, err := jail.Replay(m, int64(len(m.b)))
		if err != nil {
			t.Fatal(err)
		}
		proc, err := j.Spawn(cmd, p)
		if err == nil {
			err = proc.Wait()
		}
		if err == nil || !strings.Contains(err.Error(), "replay") {
			t.Errorf("a replay with other events: %v", err)
		}
	}
}

// TestReplayOnce: a replay is spawned once.
func TestReplayOnce(t *testing.T) {
	want, m := record(t, &jail.Jail{}, exec.Command("/bin/echo", "x"), policy.Prison())
	j, cmd, p, err := jail.Replay(m, int64(len(m.b)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, watch(t, j, cmd, p)); d != "" {
		t.Error(d)
	}
	cmd.Process = nil
	if _, err := j.Spawn(cmd, p); err == nil {
		t.Error("spawned twice")
	}
}

// TestStandsStill: a run whose output nobody takes can be ended, by its handle too.
func TestStandsStill(t *testing.T) {
	watchdog(t, time.Minute)
	cmd := func() *exec.Cmd {
		return exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done")
	}
	ends := func(j *jail.Jail, cmd *exec.Cmd, p policy.Policy, end func(*jail.Process) error) {
		r, w, err := os.Pipe()
		check(err)
		defer r.Close()
		defer w.Close()
		cmd.Stdout = w
		proc, err := j.Spawn(cmd, p)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		check(end(proc))
		if err := proc.Wait(); errText(err) != "signal: killed" {
			t.Error(err)
		}
	}
	_, m := record(t, &jail.Jail{}, cmd(), policy.Tool())
	for _, handle := range []bool{false, true} {
		j, again, p, err := jail.Replay(m, int64(len(m.b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range []struct {
			j   *jail.Jail
			cmd *exec.Cmd
			p   policy.Policy
		}{{&jail.Jail{Record: new(memory)}, cmd(), policy.Tool()}, {j, again, p}} {
			ends(run.j, run.cmd, run.p, func(proc *jail.Process) error {
				if handle {
					return run.cmd.Process.Kill()
				}
				return proc.Kill()
			})
		}
	}
}

func init() { guests["leaves datagrams"] = leavesGuest }

// leavesGuest closes sockets whose answers have come but were not seen, and then
// connects to another port.
func leavesGuest([]string) {
	at := unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 1, 1, 1}}
	spun := 0
	for range 20 {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
		check(unix.Sendto(fd, []byte("question"), 0, &at))
		spun += spin(20_000_000)
		check(unix.Close(fd))
	}
	at.Port++
	fmt.Fprintln(io.Discard, spun)
	fmt.Println(unix.Connect(must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), &at))
}

// spin makes no call.
func spin(n int) (sum int) {
	for i := range n {
		sum += i * i
	}
	return sum
}

// TestRecordLeaves: what comes to a socket that has been closed keeps nothing waiting.
func TestRecordLeaves(t *testing.T) {
	left := make(chan int, 1)
	j := &jail.Jail{Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		if network == "tcp" {
			for i := 0; ; i++ {
				buf := make([]byte, 1<<20)
				n := strings.Count(string(buf[:runtime.Stack(buf, true)]), "jail.(*flow).send(")
				if n == 0 || i == 100 {
					left <- n
					return nil, unix.ECONNREFUSED
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		go func() {
			b := make([]byte, 100)
			n, _ := ours.Read(b)
			_, _ = ours.Write(b[:n])
		}()
		return theirs, nil
	}}
	cmd := guestCommand("leaves datagrams")
	cmd.Path = "/exe"
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	p := netPolicy(policy.Net{Allow: []string{"127.1.1.1:*"}})
	if got, _ := record(t, j, cmd, p); got.Stdout != "connection refused\n" {
		t.Fatalf("recorded: %+v", got)
	}
	if n := <-left; n != 0 {
		t.Errorf("of 20 flows whose sockets are closed, %d are there", n)
	}
}

// TestReplayHostile: events that cannot be end a replay, and nothing waits for what
// does not come.
func TestReplayHostile(t *testing.T) {
	watchdog(t, time.Minute)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	p := policy.Prison()
	p.Net.Publish = []policy.Publish{{Host: l.Addr().String(), Guest: 80}}
	l.Close()
	_, m := record(t, &jail.Jail{}, exec.Command("/bin/echo", "x"), p)
	for _, event := range []string{
		`"what":"listener 1 came"`,
		`"what":"limit","text":"mood 3"`,
		`"what":"signal","n":-1`,
		`"what":"group signal","n":9000000000`,
		`"what":"clock"`,
		`"what":"kill"`,
	} {
		noLeak(t)
		hostile := rewritten(t, m, "events/1", func(text string) string {
			before, line, _ := strings.Cut(text, `"what":"stream 1 write"`)
			i := strings.LastIndex(before, "{")
			return before[:i] + strings.Repeat(before[i:]+event+"}\n", 5) + before[i:] + `"what":"stream 1 write"` + line
		})
		j, cmd, p, err := jail.Replay(hostile, int64(len(hostile.b)))
		if err != nil {
			t.Fatal(err)
		}
		proc, err := j.Spawn(cmd, p)
		if err == nil {
			err = proc.Wait()
		}
		t.Log(event, err)
		if strings.Contains(errText(err), "panic") {
			t.Errorf("%s: %v", event, err)
		}
	}
}

// FuzzReplay: whatever events a recording has, the replay ends by itself.
func FuzzReplay(f *testing.F) {
	cmd := exec.Command("/bin/cat", "/dev/stdin", "-")
	cmd.Stdin = strings.NewReader("input\n")
	_, m := record(f, &jail.Jail{}, cmd, policy.Prison())
	events := ""
	rewritten(f, m, "events/1", func(text string) string { events = text; return text })
	f.Add(events)
	for i, line := range strings.SplitAfter(events, "\n") {
		f.Add(strings.Replace(events, line, "", 1))
		f.Add(strings.Replace(events, line, fmt.Sprintf("{\"at\":%d,\"what\":\"signal\",\"n\":%d}\n", i, i<<i), 1))
	}
	f.Add(events[:len(events)/2] + "\n")
	f.Fuzz(func(t *testing.T, events string) {
		m := rewritten(t, m, "events/1", func(string) string { return events })
		j, cmd, p, err := jail.Replay(m, int64(len(m.b)))
		if err != nil {
			t.Fatal(err)
		}
		p.Limits.Wall = 20 * time.Second
		proc, err := j.Spawn(cmd, p)
		if err == nil {
			err = proc.Wait()
		}
		if text := errText(err); strings.Contains(text, "panic") || strings.Contains(text, "(20s)") {
			t.Error(err)
		}
	})
}
