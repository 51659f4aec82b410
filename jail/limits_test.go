//go:build linux && amd64

package jail_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["hog's caller"] = hogsCaller
	guests["sends"] = sendsGuest
	guests["writes"] = writesGuest
	guests["sends once"] = func(args []string) {
		c, err := net.Dial(args[0], args[1])
		check(err)
		_, err = c.Write(make([]byte, 1000))
		check(err)
	}
}

// TestMemoryLimit: one process is refused more memory as Linux refuses it, and
// all together do not hold more.
func TestMemoryLimit(t *testing.T) {
	program := guestProgram(t, "hog")
	p := own(t.TempDir())
	p.Limits.Memory = 384 << 20
	ended := result{Err: "jail: limit memory (402653184) reached"}
	for name, want := range map[string]result{
		"private": {Stdout: "ENOMEM\n"},
		"shared":  ended,
		"many":    ended,
		"tables":  ended,
		"family":  {Stdout: "goes on\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := jailed(t, &jail.Jail{}, exec.Command(program, name), p); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestLimits: a guest that wants more of something has as much as the limit says,
// and is answered as Linux answers, or the jail ends; Wait and Stats tell.
func TestLimits(t *testing.T) {
	program := guestProgram(t, "hog")
	const ways = "socketpair succeeds\nsendmsg succeeds\nfork ENFILE\nexecve ENFILE\ndup ENFILE\ndup2 ENFILE\nopen ENFILE\naccess ENOENT\n" +
		"pipe ENFILE\nsocketpair ENFILE\nmemfd_create ENFILE\nrecvmsg succeeds\nmessage of 0, cut 1\ndup succeeds\n"
	refused := func(limit string) string { return "exit status 3 (reached limits: " + limit + ")" }
	memory := policy.Limits{Memory: 64 << 20}
	noMemory := func(count string) result { return result{Stdout: count + " ENOMEM\n", Err: refused("memory")} }
	for _, c := range []struct {
		how    string
		limits policy.Limits
		want   result
		stats  string // the limit's name; "" if how is
		used   int64  // at least
		hits   int64  // exactly; -1: some
	}{
		{how: "memory huge", limits: memory, want: noMemory("0,"), stats: "memory", hits: 1},
		{how: "memory malloc", limits: memory, want: noMemory("#"), stats: "memory", hits: -1},
		{how: "memory brk", limits: memory, want: noMemory("#"), stats: "memory", hits: 1},
		{how: "memory mmap", limits: memory, want: noMemory("#"), stats: "memory", hits: 1},
		{how: "memory mprotect", limits: memory, want: noMemory("#"), stats: "memory", hits: 1},
		{how: "memory mremap", limits: memory, want: noMemory("#"), stats: "memory", hits: 1},
		{how: "tasks", limits: policy.Limits{Tasks: 5}, want: result{Stdout: "4, EAGAIN\n", Err: refused("tasks")}, used: 5, hits: 1},
		{how: "tasks crowd", limits: policy.Limits{Tasks: 40}, want: result{Err: refused("tasks")}, stats: "tasks", used: 40, hits: 8},
		{how: "zombies", limits: policy.Limits{Tasks: 10}, want: result{Stdout: "9, EAGAIN\n", Err: refused("tasks")}, stats: "tasks", used: 10, hits: 1},
		{how: "files", limits: policy.Limits{Files: 20}, want: result{Stdout: "17, EMFILE\n", Err: refused("files")}, used: 20, hits: 1},
		{how: "descriptors", limits: policy.Limits{Descriptors: 40}, want: result{Stdout: "12, ENFILE\n", Err: refused("descriptors")}, used: 39, hits: 1},
		{how: "descriptors ways", limits: policy.Limits{Descriptors: 40}, want: result{Stdout: ways, Err: refused("descriptors")}, stats: "descriptors", used: 40, hits: -1},
		{how: "disk", limits: policy.Limits{Disk: 10 * 4096}, want: result{Stdout: "9, ENOSPC\n", Err: refused("disk")}, used: 9 * 4096, hits: 1},
		{how: "inodes", limits: policy.Limits{Inodes: 100}, want: result{Stdout: "# ENOSPC\n", Err: refused("inodes")}, used: 100, hits: 1},
		{how: "output", limits: policy.Limits{Output: 30}, want: result{"0123456789\n01234567", "0123456789\n", "jail: limit output (30) reached"}, used: 30, hits: 1},
		{how: "calls", limits: policy.Limits{Calls: 100}, want: result{Stdout: "300, 0\n", Err: refused("calls")}, used: 50, hits: -1},
		{how: "cpu", limits: policy.Limits{CPU: time.Second}, want: result{Err: "jail: limit cpu (1s) reached: signal: CPU time limit exceeded"}, used: 5e8, hits: 1},
		{how: "cpu child", limits: policy.Limits{CPU: time.Second}, want: result{Stdout: "CPU time limit exceeded\n"}, stats: "cpu", used: 5e8, hits: 1},
		{how: "wall", limits: policy.Limits{Wall: 100 * time.Millisecond}, want: result{Err: "jail: limit wall (100ms) reached"}, used: 1e8, hits: 1},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := own(dir)
			p.Limits = c.limits
			cmd := exec.Command(program, c.how, dir)
			if c.how == "wall" {
				cmd.Args = cmd.Args[:2]
			}
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			start := time.Now()
			proc, err := jail.Spawn(cmd, p)
			if err != nil {
				t.Fatal(err)
			}
			err = await(t, proc)
			got := result{out.String(), errs.String(), errText(err)}
			if strings.HasPrefix(c.want.Stdout, "#") { // the number depends on what the tree has
				got.Stdout = "#" + strings.TrimLeft(got.Stdout, "0123456789,")
			}
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			name := cmp.Or(c.stats, c.how)
			s := proc.Stats().Limits[name]
			if s.Used < c.used || s.Bound == 0 || s.Hits < 1 || c.hits > 0 && s.Hits != c.hits || name != "calls" && name != "cpu" && name != "wall" && s.Used > s.Bound {
				t.Errorf("Stats: %+v", s)
			}
			for other, s := range proc.Stats().Limits {
				if other != name && (s.Bound != 0 || s.Hits != 0) {
					t.Errorf("Stats: %s: %+v", other, s)
				}
			}
			if d := time.Since(start); c.how == "calls" && d < 1500*time.Millisecond {
				t.Errorf("more than 300 calls at 100 a second in %v", d)
			}
		})
	}
}

// hogged is what a jail in a process of its own used, as the kernel counts it.
type hogged struct {
	Err    string
	Limit  string          // of Wait's LimitError
	Stats  jail.LimitStats // of that, else of disk
	Memory int64           // that the largest of the guest's processes had in memory, bytes
	CPU    time.Duration   // of all of them
	Wall   time.Duration
}

// hogsCaller runs a program in a jail with limits, and tells what it used.
func hogsCaller(args []string) {
	p := own(args[0])
	check(json.Unmarshal([]byte(args[1]), &p.Limits))
	start := time.Now()
	proc, err := jail.Spawn(exec.Command(args[2], args[3:]...), p)
	check(err)
	err = proc.Wait()
	h := hogged{Err: errText(err), Wall: time.Since(start)}
	h.Stats = proc.Stats().Limits["disk"]
	var limit *jail.LimitError
	if errors.As(err, &limit) {
		h.Limit, h.Stats = limit.Limit, proc.Stats().Limits[limit.Limit]
	}
	var u unix.Rusage
	check(unix.Getrusage(unix.RUSAGE_CHILDREN, &u))
	h.Memory, h.CPU = u.Maxrss<<10, time.Duration(u.Utime.Nano()+u.Stime.Nano())
	check(json.NewEncoder(os.Stdout).Encode(h))
}

// TestLimitsAreTight: what ends a jail does so within a second of the bound for
// time, and within a tenth of it for memory that no call takes, whatever the guest
// does. On a busy machine the warden may come late.
func TestLimitsAreTight(t *testing.T) {
	program := guestProgram(t, "hog")
	const mib = 1 << 20
	for how, c := range map[string]struct {
		limits policy.Limits
		most   hogged
	}{
		"shared":     {policy.Limits{Memory: 256 * mib}, hogged{Limit: "memory", Memory: 282 * mib}},
		"late":       {policy.Limits{Memory: 256 * mib}, hogged{Limit: "memory", Memory: 282 * mib}},
		"headless":   {policy.Limits{Memory: 256 * mib}, hogged{Limit: "memory", Memory: 282 * mib}},
		"tables":     {policy.Limits{Memory: 256 * mib}, hogged{Limit: "memory"}},
		"last":       {policy.Limits{Memory: 256 * mib}, hogged{Limit: "memory", Memory: (282 - 180) * mib}}, // of the last
		"cpu":        {policy.Limits{CPU: time.Second}, hogged{Limit: "cpu", CPU: 2 * time.Second}},
		"cpu deaf":   {policy.Limits{CPU: time.Second}, hogged{Limit: "cpu", CPU: 2 * time.Second}},
		"cpu family": {policy.Limits{CPU: time.Second}, hogged{Limit: "cpu", CPU: 2 * time.Second}},
		"wall":       {policy.Limits{Wall: time.Second}, hogged{Limit: "wall", Wall: 2 * time.Second}},
	} {
		t.Run(how, func(t *testing.T) {
			limits, err := json.Marshal(c.limits)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			args := []string{dir, string(limits), program, how, dir}
			if c.limits.CPU == 0 {
				args = args[:4]
			}
			for range 5 {
				got := native(t, guestCommand("hog's caller", args...))
				var h hogged
				if err := json.Unmarshal([]byte(got.Stdout), &h); err != nil || got.Err != "" || got.Stderr != "" {
					t.Fatalf("%+v, %v", got, err)
				}
				if h.Limit != c.most.Limit || h.Stats.Hits == 0 {
					t.Fatalf("%+v", h)
				}
				least, most := h.Stats.Bound, int64(float64(h.Stats.Bound)*1.1)
				if c.limits.CPU+c.limits.Wall > 0 {
					least, most = h.Stats.Bound/2, h.Stats.Bound+int64(time.Second) // SIGXCPU comes by the kernel's ticks
				}
				within := func(used, most int64) bool { return most == 0 || used <= most }
				if h.Stats.Used >= least && h.Stats.Used <= most && within(h.Memory, c.most.Memory) &&
					within(int64(h.CPU), int64(c.most.CPU)) && within(int64(h.Wall), int64(c.most.Wall)) {
					t.Logf("%+v", h)
					return
				}
				t.Logf("too much: %+v", h)
			}
			t.Error("never within the bound")
		})
	}
}

// TestMemoryInPieces: of memory that is asked for little by little there is not much
// more than the bound, at any load.
func TestMemoryInPieces(t *testing.T) {
	p := own(t.TempDir())
	p.Limits.Memory = 100 << 20
	proc := must(jail.Spawn(exec.Command(guestProgram(t, "hog"), "pieces"), p))
	if got := errText(await(t, proc)); got != "jail: limit memory (104857600) reached" {
		t.Error(got)
	}
	if s := proc.Stats().Limits["memory"]; s.Used > p.Limits.Memory*21/20 {
		t.Errorf("%+v", s)
	}
}

// TestDiskMappedIsTight: pages of memory files are counted one by one, also those that
// stores and loads make by mappings, at any load.
func TestDiskMappedIsTight(t *testing.T) {
	program := guestProgram(t, "hog")
	const mib, own = 1 << 20, 3 << 20 // own: the program's memory, its files aside
	const caller = 40 << 20           // that had what ran it until execve
	for _, how := range []string{"shared", "private", "read", "handled", "blocked", "mprotect", "mremap", "again", "nonlinear", "punched", "forked"} {
		for _, limit := range []int64{mib, 100 * mib} {
			t.Run(fmt.Sprint(how, limit/mib), func(t *testing.T) {
				limits, err := json.Marshal(policy.Limits{Disk: limit})
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				got := native(t, guestCommand("hog's caller", dir, string(limits), program, "disk "+how, dir))
				var h hogged
				if err := json.Unmarshal([]byte(got.Stdout), &h); err != nil || got.Err != "" || got.Stderr != "" {
					t.Fatalf("%+v, %v", got, err)
				}
				want, most := "signal: bus error (reached limits: disk)", limit+own
				switch how {
				case "handled":
					want = "exit status 3 (reached limits: disk)"
				case "private": // has a copy of each page
					most += limit
				}
				if h.Err != want || h.Memory > max(most, caller) || h.Stats.Used < limit*9/10 || h.Stats.Used > limit || h.Stats.Hits == 0 {
					t.Errorf("%+v", h)
				}
			})
		}
	}
}

// TestDiskScattered: what a guest may touch of a mapped file is its to touch, however
// large the file is.
func TestDiskScattered(t *testing.T) {
	program := guestProgram(t, "hog")
	for _, limit := range []int64{5 << 20, 256 << 20, 4 << 30} {
		for _, seeded := range []bool{false, true} { // then there is no vDSO
			dir := t.TempDir()
			p := own(dir)
			p.Limits.Disk = limit
			if seeded {
				p = repeatable(p, 1)
			}
			want := result{Stdout: "as it should be\n"}
			if got := jailed(t, &jail.Jail{}, exec.Command(program, "disk scattered", dir), p); got != want {
				t.Errorf("%d, %v: %+v", limit, seeded, got)
			}
		}
	}
}

// TestMappedCrowded: where the kernel lets a process have no further mapping, a page of
// a file that would need one is a bus error, not a fault without end.
func TestMappedCrowded(t *testing.T) {
	dir := t.TempDir()
	got := jailed(t, &jail.Jail{}, exec.Command(guestProgram(t, "hog"), "crowded", dir), own(dir))
	if want := (result{Err: "signal: bus error"}); got != want {
		t.Errorf("%+v", got)
	}
}

// sendsGuest sends without end: to network and address, of a listener to who
// comes, or of a descriptor.
func sendsGuest(args []string) {
	var c net.Conn
	var err error
	switch args[0] {
	case "listener":
		l, lerr := net.Listen("tcp", args[1])
		check(lerr)
		c, err = l.Accept()
	case "names":
		for i := range 4 { // of 11 bytes
			go func() { _, _ = net.LookupHost(fmt.Sprint(i, ".x.invalid")) }()
		}
		select {}
	case "descriptor":
		c, err = net.FileConn(os.NewFile(3, ""))
	default:
		c, err = net.Dial(args[0], args[1])
	}
	check(err)
	for p := make([]byte, 900); err == nil; {
		_, err = c.Write(p)
	}
	check(err)
}

// sink is a connection that takes everything and counts it.
type sink struct {
	net.Conn
	n atomic.Int64
}

func (s *sink) Write(p []byte) (int, error) { s.n.Add(int64(len(p))); return len(p), nil }

// TestOutputNetwork: Limits.Output counts what leaves the jail by the network, of
// dialled, published and given connections, a stream's to the byte.
func TestOutputNetwork(t *testing.T) {
	const bound = 100_000
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	host := l.Addr().String() // free, most likely
	for name, c := range map[string]struct {
		args []string
		net  policy.Net
		kept int64 // of the bound, at most, not sent
	}{
		"tcp":       {args: []string{"tcp", "some.where:80"}, net: policy.Net{Host: true}},
		"udp":       {args: []string{"udp", "some.where:80"}, net: policy.Net{Host: true}, kept: 899},
		"published": {args: []string{"listener", "127.0.0.1:8080"}, net: policy.Net{Publish: []policy.Publish{{Host: host, Guest: 8080}}}},
		"given":     {args: []string{"descriptor"}},
		"names":     {args: []string{"names"}, net: policy.Net{Host: true}, kept: 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			s.Conn, _ = net.Pipe()
			j := &jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) { return s, nil }}
			p := netPolicy(c.net)
			p.Limits.Output = bound
			switch name {
			case "given":
				j.Sockets = map[int]any{3: s}
			case "names": // are the host's resolver's
				j.Dial, p.Limits.Output = nil, 40
				s.n.Store(bound)
			}
			cmd := guestCommand("sends", c.args...)
			cmd.Path = "/exe"
			proc, err := j.Spawn(cmd, p)
			if err != nil {
				t.Fatal(err)
			}
			if name == "published" {
				conn, err := net.Dial("tcp", host)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, conn)
				t.Log(n, err)
				s.n.Store(n)
				conn.Close()
			}
			err = await(t, proc)
			var limit *jail.LimitError
			if !errors.As(err, &limit) || limit.Limit != "output" {
				t.Errorf("Wait: %v", err)
			}
			if n := s.n.Load(); n > bound || n < bound-c.kept {
				t.Errorf("%d bytes came out", n)
			}
			if l := proc.Stats().Limits["output"]; l.Used > l.Bound || l.Used < l.Bound-c.kept || l.Hits != 1 {
				t.Errorf("Stats: %+v", l)
			}
		})
	}
}

// writesGuest writes without end to a file, in the way it is told.
func writesGuest(args []string) {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	check(err)
	out := int(f.Fd())
	data := bytes.Repeat([]byte("x"), 900)
	from, err := unix.Open(filepath.Join(filepath.Dir(args[0]), "from"), unix.O_RDONLY, 0)
	check(err)
	var pipe [2]int
	check(unix.Pipe(pipe[:]))
	if args[1] == "append" {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_APPEND)
		check(err)
	}
	for at := int64(0); err == nil; at += int64(len(data)) {
		var start int64
		switch args[1] {
		case "write", "append":
			_, err = unix.Write(out, data)
		case "pwrite":
			_, err = unix.Pwrite(out, data, at)
		case "writev":
			_, err = unix.Writev(out, [][]byte{data[:400], data[400:]})
		case "sendfile":
			_, err = unix.Sendfile(out, from, &start, len(data))
		case "copy_file_range":
			_, err = unix.CopyFileRange(from, &start, out, nil, len(data), 0)
		case "splice":
			_, err = unix.Write(pipe[1], data)
			check(err)
			_, err = unix.Splice(pipe[0], nil, out, nil, len(data), 0)
		case "fallocate":
			err = unix.Fallocate(out, 0, at, int64(len(data)))
		case "msync", "mapped":
			p := mapFile(args[0], 180_000)
			copy(p, bytes.Repeat([]byte("x"), len(p)))
			if args[1] == "mapped" {
				return
			}
			check(unix.Msync(p, unix.MS_SYNC))
		}
	}
	check(err)
}

// TestOutputMount: Limits.Output counts, to the byte, what is written to files of the
// host through a mount, by whatever call.
func TestOutputMount(t *testing.T) {
	const bound = 100_000
	for _, how := range []string{"write", "append", "pwrite", "writev", "sendfile", "copy_file_range", "splice", "fallocate", "msync", "mapped"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "file")
			for name, content := range map[string][]byte{file: nil, filepath.Join(dir, "from"): bytes.Repeat([]byte("x"), 900)} {
				if err := os.WriteFile(name, content, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			p := policy.Overlay()
			p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindHost, Host: dir, Write: true})
			p.Limits = policy.Limits{Output: bound}
			proc, err := jail.Spawn(guestCommand("writes", file, how), p)
			if err != nil {
				t.Fatal(err)
			}
			err = await(t, proc)
			var limit *jail.LimitError
			if !errors.As(err, &limit) || limit.Limit != "output" {
				t.Errorf("Wait: %v", err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			written, want := int64(bytes.Count(b, []byte("x"))), int64(bound)
			if how == "fallocate" {
				written, want = int64(len(b)), bound/900*900
			}
			l := proc.Stats().Limits["output"]
			if written != want || l.Used != want || l.Hits != 1 {
				t.Errorf("%d bytes are in the file; Stats: %+v", written, l)
			}
		})
	}
}

// TestDiskMapped: a file of the host that is larger than Limits.Disk cannot be mapped
// to be written.
func TestDiskMapped(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for _, name := range []string{file, filepath.Join(dir, "from")} {
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p := policy.Overlay()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindHost, Host: dir, Write: true})
	p.Limits = policy.Limits{Disk: 100_000}
	proc, err := jail.Spawn(guestCommand("writes", file, "mapped"), p)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := errText(await(t, proc)), "exit status 2 (reached limits: disk)"; got != want {
		t.Errorf("Wait: %s, want %s", got, want)
	}
	if l := proc.Stats().Limits["disk"]; l.Hits != 1 {
		t.Errorf("Stats: %+v", l)
	}
}

// TestWallStuck: that the other side takes nothing does not keep a jail whose time
// is up, nor one that has ended before.
func TestWallStuck(t *testing.T) {
	for _, name := range []string{"sends", "sends once"} {
		t.Run(name, func(t *testing.T) {
			p := netPolicy(policy.Net{Host: true})
			p.Limits.Wall = time.Second
			for range 5 { // on a busy machine it may take longer
				conn, other := net.Pipe()
				defer other.Close()
				cmd := guestCommand(name, "tcp", "some.where:80")
				cmd.Path = "/exe"
				start := time.Now()
				proc, err := (&jail.Jail{Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}).Spawn(cmd, p)
				if err != nil {
					t.Fatal(err)
				}
				err = await(t, proc)
				if got, want := errText(err), "jail: limit wall (1s) reached"; got != want {
					t.Fatalf("%q after %v, want %q", got, time.Since(start), want)
				}
				if time.Since(start) < 2*time.Second {
					return
				}
			}
			t.Error("never within a second of the bound")
		})
	}
}

// TestBeyondFile: reading behind the end of a file does not fill the arena that
// all jails share.
func TestBeyondFile(t *testing.T) {
	want := result{Stdout: "E\n", Err: "signal: bus error"} // of the program, an ELF file
	if got := jailed(t, &jail.Jail{}, exec.Command(guestProgram(t, "hog"), "beyond"), policy.Prison()); got != want {
		t.Errorf("%+v", got)
	}
}
