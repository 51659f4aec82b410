//go:build linux && amd64

package jailtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

// Where a World keeps what its commands may write.
const (
	workDir = "/work"
	homeDir = "/home/guest" // policy.Tool's
	tempDir = "/tmp"
)

// Start is the time at which the first command of a World starts.
var Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// maxWall ends a command that hangs, in the host's time: go test's own limit would
// end all tests, without a trace.
const maxWall = time.Minute

// maxOutput is the same for what it prints, which a Result holds, and sends to hosts.
const maxOutput = 64 << 20

// World is what commands of one test see: a tree, programs, hosts. Its commands run
// one after the other; what they write under /work, /tmp and their home stays for
// the next. Fields are to be set before the first command. Worlds are independent,
// so tests may be parallel.
type World struct {
	// Files is the tree at /work, where commands start: os.DirFS, embed.FS, an
	// fstest.MapFS, [Txtar]. nil: empty. It is read once and never written.
	Files fs.FS

	// Env is added to the environment of every command ("K=V").
	Env []string

	// Programs are Go functions by the absolute path of the program they are for
	// the guest ("/usr/bin/curl"), which they hide if it exists.
	Programs map[string]Program

	// Hosts are the servers that exist, by URL without path:
	// "https://api.example.com", "http://localhost:8080". For https the guest
	// trusts an authority made for this World.
	Hosts map[string]http.Handler

	// Policy is what commands may do: policy.Tool() at [Start] with Seed 1, one CPU,
	// a minute and 64 MiB of output at most, unless changed.
	Policy policy.Policy

	t     testing.TB
	ready bool
	nodes map[string]vfs.Node // by guest path: what is mounted for every command
	hosts *hosts
	now   time.Time // when the next command starts
	runs  []*Result
	twice bool // for Twice
}

// New gives an empty World. When t fails, what its commands did is shown and kept;
// see the package's manual.
func New(t testing.TB) *World {
	p := policy.Tool()
	seed := uint64(1)
	p.Time.Start, p.Seed, p.Identity.CPUs = Start, &seed, 1
	p.Limits.Wall, p.Limits.Output = maxWall, maxOutput
	w := &World{Policy: p, t: t}
	t.Cleanup(func() {
		if w.hosts != nil {
			w.hosts.close()
		}
		if t.Failed() {
			w.report()
		}
	})
	return w
}

// setUp makes the tree and starts the hosts.
func (w *World) setUp() error {
	if w.ready {
		return nil
	}
	w.ready = true
	w.now = w.Policy.Time.Start
	owner := vfs.Owner{UID: w.Policy.Identity.UID, GID: w.Policy.Identity.GID}
	files, err := copyTree(w.Files, w.now)
	if err != nil {
		return fmt.Errorf("World.Files: %w", err)
	}
	lower, err := vfs.NewIOFS(files, vfs.IOFSOptions{Owner: owner})
	if err != nil {
		return err
	}
	work, err := vfs.NewOverlay(lower, vfs.MemOptions{Owner: owner})
	if err != nil {
		return err
	}
	w.nodes = map[string]vfs.Node{
		workDir: work,
		homeDir: vfs.NewMem(vfs.MemOptions{Owner: owner}).Root(),
		tempDir: vfs.NewMem(vfs.MemOptions{Mode: 0o1777}).Root(),
	}
	for p, fn := range w.Programs {
		if !path.IsAbs(p) || fn == nil {
			return fmt.Errorf("World.Programs: %q: write an absolute path of the guest's, and a function", p)
		}
		if w.nodes[p], err = stubNode(p); err != nil {
			return fmt.Errorf("World.Programs: %s: %w", p, err)
		}
	}
	if len(w.Hosts) > 0 {
		if w.hosts, err = serve(w.Hosts, w.now); err != nil {
			return err
		}
		w.nodes[caFile] = vfs.NewBytes(0o644, w.hosts.ca)
	}
	return nil
}

// FS is the tree the commands share, as it is now: "work/out.txt", "tmp/x".
func (w *World) FS() fs.FS {
	w.t.Helper()
	if err := w.setUp(); err != nil {
		w.t.Fatal("jailtest:", err)
	}
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	for _, p := range []string{workDir, homeDir, tempDir} {
		if err := ns.Mount(p, w.nodes[p]); err != nil {
			w.t.Fatal("jailtest:", err)
		}
	}
	return vfs.FS(ns.Root(), nil)
}

// ReadFile is a file of the tree by its path from /work, or absolute. The test ends
// if it cannot be read.
func (w *World) ReadFile(name string) string {
	w.t.Helper()
	b, err := fs.ReadFile(w.FS(), inTree(name))
	if err != nil {
		w.t.Fatal("jailtest:", err)
	}
	return string(b)
}

// inTree is a path as FS has it.
func inTree(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(workDir, name)
	}
	return strings.TrimPrefix(path.Clean(name), "/")
}

// jail is the Jail and policy for a command; end is to be called when it is over.
func (w *World) jail(r *Result) (j *jail.Jail, p policy.Policy, end func()) {
	p = w.Policy
	p.Time.Start = w.now
	p.Mounts = slices.DeleteFunc(slices.Clone(p.Mounts), func(m policy.Mount) bool { return m.Guest == homeDir || m.Guest == tempDir })
	j = &jail.Jail{Nodes: maps.Clone(w.nodes), Trace: r.traced}
	if w.twice {
		j.Trace = func(e jail.TraceEvent) {
			r.traced(e)
			r.timed(e)
		}
	}
	end = func() {}
	if len(w.Programs) > 0 {
		s := newStubs(w.Programs)
		j.Handlers = map[string]emulate.Handler{stubCall: s.handle}
		end = s.close
	}
	if w.hosts != nil {
		p.Net.Allow = append(slices.Clone(p.Net.Allow), w.hosts.names()...)
		j.Dial = w.hosts.dial
	} else {
		j.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, unix.ECONNREFUSED }
	}
	return j, p, end
}

// environ is a command's environment.
func (w *World) environ(more []string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + homeDir,
		"USER=guest", "LOGNAME=guest", "SHELL=/bin/sh", "TMPDIR=" + tempDir, "LANG=C.UTF-8", "TZ=UTC", "TERM=dumb"}
	if w.hosts != nil {
		// Each library and language has a name of its own for it.
		for _, k := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
			env = append(env, k+"="+caFile)
		}
	}
	return slices.Concat(env, w.Env, more)
}

// run runs a command and fills r in.
func (w *World) run(c *Cmd, r *Result) error {
	if err := w.setUp(); err != nil {
		return err
	}
	cmd := exec.CommandContext(w.t.Context(), c.Args[0], c.Args[1:]...)
	cmd.Path, cmd.Err = c.Args[0], nil // the guest's PATH decides, not the host's
	cmd.Dir, cmd.Env = path.Clean("/"+inTree(c.Dir)), w.environ(c.Env)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &stdout, &stderr
	if c.Stdin == nil {
		cmd.Stdin = strings.NewReader("")
	}
	before := make(map[string]vfs.State)
	for _, p := range []string{workDir, homeDir, tempDir} {
		before[p] = vfs.Record(w.nodes[p])
	}
	j, p, end := w.jail(r)
	proc, err := j.Spawn(cmd, p)
	if err != nil {
		end()
		return err
	}
	w.runs = append(w.runs, r)
	err = proc.Wait()
	end()
	r.disorder = proc.Stats().Disorder
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	var exit *jail.ExitError
	if errors.As(err, &exit) {
		r.Code, err = exit.ExitCode(), nil
		if exit.Signaled() { // as a shell has it
			r.Code = 128 + int(exit.Signal())
		}
	}
	r.ended = fmt.Sprint("exit status ", r.Code)
	if err != nil {
		r.ended = err.Error()
	}
	return errors.Join(err, w.changes(before, r), w.advance())
}

// maxChanged is how many bytes a Result's Changed holds at most.
const maxChanged = 512 << 20

// changes notes what a command changed.
func (w *World) changes(before map[string]vfs.State, r *Result) error {
	tree := w.FS()
	left := int64(maxChanged)
	for _, dir := range slices.Sorted(maps.Keys(before)) {
		for _, c := range vfs.Changes(w.nodes[dir], before[dir]) {
			full := path.Join(dir, c.Path)
			name := strings.TrimPrefix(full, workDir+"/")
			if c.Kind == vfs.Removed {
				r.Removed = append(r.Removed, name)
				continue
			}
			info, err := fs.Lstat(tree, full[1:])
			if err != nil {
				return err
			}
			switch info.Mode().Type() {
			case 0:
				if left -= info.Size(); left < 0 {
					return fmt.Errorf("%s, of %d bytes: the changed files are more than %d MiB together", name, info.Size(), maxChanged>>20)
				}
				b, err := fs.ReadFile(tree, full[1:])
				if err != nil {
					return err
				}
				r.Changed[name] = string(b)
			case fs.ModeSymlink:
				if r.Changed[name], err = fs.ReadLink(tree, full[1:]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// advance notes when the next command starts: a second after the last has ended.
// The guest's clock cannot be asked, but it stamps what is in memory.
func (w *World) advance() error {
	if w.now.IsZero() {
		return nil // the host's clock
	}
	temp := w.nodes[tempDir]
	mode := uint32(0o1777)
	if err := temp.(vfs.AttrSetter).SetAttr(vfs.Change{Mode: &mode}); err != nil {
		return err
	}
	a, err := temp.Attr()
	w.now = time.Unix(a.Ctime.Unix()).UTC().Truncate(time.Second).Add(time.Second)
	return err
}

// Need skips the test where the host lacks a program that it needs; with
// OUBLIETTE_STRICT=1 in the environment it fails it.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("OUBLIETTE_STRICT") == "1" {
				t.Fatalf("skipped in strict mode: needs %s", p)
			}
			t.Skipf("needs %s", p)
		}
	}
}

// Program is a Go function that is a program for the guest: args as in os.Args, the
// result is the exit status. See [World.Programs].
type Program func(args []string, stdin io.Reader, stdout, stderr io.Writer) int
