//go:build linux && amd64

package emulate_test

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
)

// newProc is a guest with /proc, whose machine tells of this process.
func newProc(t testing.TB) *Guest {
	t.Helper()
	g := NewGuest(t)
	g.Machine.Files = make(map[string]string)
	refresh(t, g)
	if err := g.Sys.FS.Mount("/proc", emulate.NewProc(g.Sys)); err != nil {
		t.Fatal(err)
	}
	g.Sys.Current = g.Task
	return g
}

// refresh reads the host's files of this thread anew.
func refresh(t testing.TB, g *Guest) {
	t.Helper()
	for _, name := range []string{"stat", "status", "statm", "maps", "smaps", "smaps_rollup"} {
		p, err := os.ReadFile("/proc/thread-self/" + name)
		if err != nil {
			t.Fatal(err)
		}
		g.Machine.Files[name] = string(p)
	}
}

// slurp reads a whole file of the guest's.
func slurp(t testing.TB, g *Guest, path string) (string, unix.Errno) {
	t.Helper()
	fd, errno := g.Call("open", path, unix.O_RDONLY)
	if errno != 0 {
		return "", errno
	}
	defer g.Must("close", fd)
	var b strings.Builder
	for {
		p := make([]byte, 3000)
		n, errno := g.Call("read", fd, p, len(p))
		if errno != 0 || n == 0 {
			return b.String(), errno
		}
		b.Write(p[:n])
	}
}

func mustSlurp(t testing.TB, g *Guest, path string) string {
	t.Helper()
	s, errno := slurp(t, g, path)
	if errno != 0 {
		t.Fatalf("%s: %v", path, errno)
	}
	return s
}

var (
	number = regexp.MustCompile(`-?\b[0-9a-f]*[0-9][0-9a-f]*\b|\b[0-9a-f]{8,}\b`)
	spaces = regexp.MustCompile(` +`)
)

// shape is a text without its numbers: the structure of a file of /proc.
func shape(text string) string {
	return spaces.ReplaceAllString(number.ReplaceAllString(text, "N"), " ")
}

// names are what stands before the colons of a text.
func names(text string) (list []string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		list = append(list, name)
	}
	return list
}

// TestProcTwin: the files have the structure of this process's own.
func TestProcTwin(t *testing.T) {
	g := newProc(t)
	native := func(t *testing.T, path string) string {
		p, err := os.ReadFile("/proc/" + path)
		if err != nil {
			t.Skipf("the oracle has no %s: %v", path, err)
		}
		return string(p)
	}
	for _, path := range []string{"self/stat", "thread-self/stat", "self/statm", "uptime", "self/io", "self/comm",
		"self/loginuid", "thread-self/wchan", "self/oom_score_adj", "self/coredump_filter", "self/timerslack_ns", "self/personality",
		"sys/kernel/ostype", "sys/kernel/random/uuid", "sys/kernel/sem", "sys/fs/file-nr", "sys/fs/nr_open", "loadavg", "self/uid_map", "self/setgroups"} {
		t.Run(path, func(t *testing.T) {
			want, got := native(t, path), mustSlurp(t, g, "/proc/"+path)
			comm := regexp.MustCompile(`\(.*\)`)
			want, got = comm.ReplaceAllString(shape(want), "(comm)"), comm.ReplaceAllString(shape(got), "(comm)")
			if strings.HasSuffix(path, "comm") || strings.HasSuffix(path, "uuid") {
				want, got = fmt.Sprint(strings.Count(want, "\n"), want[len(want)-1]), fmt.Sprint(strings.Count(got, "\n"), got[len(got)-1])
			}
			want, got = regexp.MustCompile(`\) [RS]`).ReplaceAllString(want, ") S"), regexp.MustCompile(`\) [RS]`).ReplaceAllString(got, ") S")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-native +emulated):\n%s", diff)
			}
		})
	}
	for _, path := range []string{"self/status", "self/smaps_rollup"} {
		if diff := cmp.Diff(names(native(t, path)), names(mustSlurp(t, g, "/proc/"+path))); diff != "" {
			t.Errorf("%s (-native +emulated):\n%s", path, diff)
		}
	}
	// What the host's kernel has too is in the same order.
	want, got := names(native(t, "meminfo")), names(mustSlurp(t, g, "/proc/meminfo"))
	both := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
	}
	if diff := cmp.Diff(both(want, got), both(got, want)); diff != "" {
		t.Errorf("meminfo (-native +emulated):\n%s", diff)
	}
	for r := range g.Task.Process.Rlimits {
		if err := unix.Prlimit(0, r, nil, &g.Task.Process.Rlimits[r]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(native(t, "self/limits"), mustSlurp(t, g, "/proc/self/limits")); diff != "" {
		t.Errorf("limits (-native +emulated):\n%s", diff)
	}
}

// TestProcNamesNothing: no file has a pid, user or name of the host.
func TestProcNamesNothing(t *testing.T) {
	g := newProc(t)
	for _, name := range []string{"Gid", "PPid", "Pid", "Tgid", "TracerPid"} {
		g.Machine.Files["status"] = regexp.MustCompile(`(?m)^`+name+`:.*`).ReplaceAllString(g.Machine.Files["status"], name+":\t31337")
	}
	f := strings.SplitAfter(g.Machine.Files["stat"], " ")
	for _, i := range []int{0, 3, 4, 5, 6, 7} {
		f[i] = "31337 "
	}
	g.Machine.Files["stat"] = strings.Join(f, "")
	walkProc(t, g, "/proc", func(path string, a vfs.Attr) {
		if !a.IsRegular() {
			return
		}
		text, _ := slurp(t, g, path)
		for _, name := range []string{"31337", "memfd", os.Args[0], "/proc_"} {
			if strings.Contains(text, name) {
				t.Errorf("%s has %q:\n%s", path, name, text)
			}
		}
	})
}

// walkProc calls fn for everything below path and checks that stat and the
// directory agree, and that no two have one number.
func walkProc(t *testing.T, g *Guest, path string, fn func(string, vfs.Attr)) {
	t.Helper()
	g.Sys.Current = g.Task
	seen := make(map[uint64]string)
	var walk func(path string)
	walk = func(path string) {
		d, err := vfs.Walk{Root: g.Sys.FS.Root(), Cred: g.Task.Access()}.Do(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list, err := d.Dentry.Node.(vfs.Directory).ReadDir()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, e := range list {
			name := path + "/" + e.Name
			f, err := vfs.Walk{Root: g.Sys.FS.Root(), Cred: g.Task.Access(), NoFollow: true}.Do(name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			a, err := f.Dentry.Attr()
			if err != nil || a.Ino != e.Ino || a.Mode&unix.S_IFMT != e.Type {
				t.Errorf("%s: stat gives %v, inode %d, type %o; the directory %d, %o", name, err, a.Ino, a.Mode&unix.S_IFMT, e.Ino, e.Type)
			}
			if seen[a.Ino] != "" {
				t.Errorf("%s and %s are inode %d", name, seen[a.Ino], a.Ino)
			}
			seen[a.Ino] = name
			fn(name, a)
			if a.IsDir() {
				walk(name)
			}
		}
	}
	walk(path)
}

// TestProcMaps: what a guest has mapped has its own name, inode and offset.
func TestProcMaps(t *testing.T) {
	g := newProc(t)
	mapper(t, g)
	g.WriteFile("/a b", strings.Repeat("x", 10000))
	fd := g.Must("openat", cwd, "/a b", unix.O_RDWR, 0)
	at := g.Must("mmap", 0, 4096, unix.PROT_READ, unix.MAP_SHARED, fd, 4096)
	refresh(t, g)
	var st unix.Stat_t
	if err := unix.Fstat(int(g.Arena.File().Fd()), &st); err != nil {
		t.Fatal(err)
	}
	found, err := vfs.Walk{Root: g.Sys.FS.Root(), Cred: g.Task.Access()}.Do("/a b")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := found.Dentry.Attr()
	want := fmt.Sprintf("%-72s /a b\n", fmt.Sprintf("%x-%x r--s 00001000 %02x:%02x %d ", at, at+4096, unix.Major(a.Dev), unix.Minor(a.Dev), a.Ino))
	for _, name := range []string{"maps", "smaps"} {
		if text := mustSlurp(t, g, "/proc/self/"+name); !strings.Contains(text, want) {
			t.Errorf("%s has no %q:\n%s", name, want, text)
		}
	}
	// The last line of all and its columns are the kernel's own.
	native, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(native)) {
		if strings.Contains(line, "[stack]") && !strings.Contains(mustSlurp(t, g, "/proc/self/maps"), line) {
			t.Errorf("maps has no %q", line)
		}
	}
}

// TestProcFD: descriptors by their numbers.
func TestProcFD(t *testing.T) {
	g := newProc(t)
	g.WriteFile("/f", "content")
	rd := g.Must("openat", cwd, "/f", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	wr := g.Must("openat", cwd, "/f", unix.O_WRONLY|unix.O_APPEND, 0)
	ev := g.Must("eventfd2", 0, 0)
	name := func(fd uint64) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
	readlink := func(path string) (string, unix.Errno) {
		p := make([]byte, 100)
		n, errno := g.Call("readlink", path, p, len(p))
		return string(p[:min(n, 100)]), errno
	}
	for fd, want := range map[uint64]string{rd: "/f", ev: "anon_inode:[eventfd]"} {
		if got, errno := readlink(name(fd)); got != want {
			t.Errorf("%d is %q, %v", fd, got, errno)
		}
	}
	again := g.Must("openat", cwd, name(wr), unix.O_RDWR, 0)
	if g.Must("write", again, []byte("CON"), 3); g.ReadFile("/f") != "CONtent" {
		t.Errorf("opened through the link: %q", g.ReadFile("/f"))
	}
	for fd, mode := range map[uint64]uint32{rd: 0o500, wr: 0o300, ev: 0o700} {
		f, err := vfs.Walk{Root: g.Sys.FS.Root(), NoFollow: true}.Do(name(fd))
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := f.Dentry.Attr(); a.Mode != unix.S_IFLNK|mode || a.Size != 64 {
			t.Errorf("%s: mode %o, size %d", name(fd), a.Mode, a.Size)
		}
	}
	info := mustSlurp(t, g, fmt.Sprintf("/proc/self/fdinfo/%d", rd))
	if !regexp.MustCompile(`^pos:\t0\nflags:\t02100000\nmnt_id:\t1\nino:\t\d+\n$`).MatchString(info) {
		t.Errorf("fdinfo: %q", info)
	}
	g.Must("unlink", "/f")
	if got, _ := readlink(name(rd)); got != "/f (deleted)" {
		t.Errorf("unlinked it is %q", got)
	}
	link := g.Must("openat", cwd, name(rd), unix.O_PATH|unix.O_NOFOLLOW, 0)
	g.Must("close", rd)
	if _, errno := g.Call("readlinkat", link, "", make([]byte, 9), 9); errno != unix.ENOENT {
		t.Errorf("the link of a closed descriptor: %v", errno)
	}
	for _, path := range []string{name(rd), "/proc/self/fd/01", "/proc/self/fd/-1", "/proc/self/fd/x"} {
		if _, errno := readlink(path); errno != unix.ENOENT {
			t.Errorf("%s: %v", path, errno)
		}
	}
}

// TestProcOthers: a user sees little of another's process, and nothing once it is
// gone.
func TestProcOthers(t *testing.T) {
	g := newProc(t)
	g.Task.Cred = emulate.Cred{}
	other := g.Fork()
	other.Machine.Files = g.Machine.Files
	user := g.Fork()
	other.Task.Cred = emulate.Cred{RUID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000}
	user.Task.Cred = emulate.Cred{RUID: 1001, EUID: 1001, SUID: 1001, FSUID: 1001}
	dir := fmt.Sprintf("/proc/%d/", other.Task.Process.PID)
	for path, want := range map[string]unix.Errno{"stat": 0, "status": 0, "cmdline": 0, "limits": 0, "environ": unix.EACCES,
		"auxv": unix.EACCES, "maps": unix.EACCES, "mem": unix.EACCES, "fd": unix.EACCES, "fdinfo/0": unix.EACCES, "io": unix.EACCES,
		"exe": unix.EACCES, "root/etc": unix.EACCES, "cwd": unix.EACCES, "personality": unix.EACCES, "nothing": unix.ENOENT} {
		if _, errno := user.Call("open", dir+path, unix.O_RDONLY); errno != want {
			t.Errorf("%s: %v, not %v", path, errno, want)
		}
	}
	if f := strings.Fields(mustSlurp(t, user, dir+"stat")); len(f) != 52 || f[27] != "0" || f[25] != "1" {
		t.Errorf("stat of another: %v", f)
	}
	stat := user.Must("open", dir+"stat", unix.O_RDONLY)
	at := user.Must("open", dir, unix.O_RDONLY|unix.O_DIRECTORY)
	other.Exit(7 << 8)
	text := mustSlurp(t, user, dir+"stat")
	if f := strings.Fields(text); len(f) != 52 || f[2] != "Z" || f[51] != "1792" {
		t.Errorf("stat of a zombie: %q", text)
	}
	if text = mustSlurp(t, user, dir+"status"); !strings.Contains(text, "State:\tZ (zombie)\n") || strings.Contains(text, "Vm") {
		t.Errorf("status of a zombie:\n%s", text)
	}
	walkProc(t, g, "/proc", func(path string, a vfs.Attr) {
		if strings.HasPrefix(path, dir) && a.IsRegular() {
			_, _ = slurp(t, g, path)
		}
	})
	g.Must("wait4", -1, nil, 0, nil)
	p := make([]byte, 10)
	if _, errno := user.Call("read", stat, p, 10); errno != unix.ESRCH {
		t.Errorf("read of a file of the dead: %v", errno)
	}
	if _, errno := user.Call("openat", at, "stat", unix.O_RDONLY, 0); errno != unix.ENOENT {
		t.Errorf("a name in a directory of the dead: %v", errno)
	}
	if _, errno := user.Call("open", dir+"stat", unix.O_RDONLY); errno != unix.ENOENT {
		t.Errorf("a name of the dead: %v", errno)
	}
}

// TestProcWrites: what a guest may change there.
func TestProcWrites(t *testing.T) {
	g := newProc(t)
	root := g.Task.Cred.EUID == 0
	child := g.Fork()
	child.Task.Cred = emulate.Cred{RUID: 1001, EUID: 1001, SUID: 1001, FSUID: 1001}
	write := func(g *Guest, path, text string) unix.Errno {
		fd, errno := g.Call("open", path, unix.O_WRONLY|unix.O_TRUNC)
		if errno == 0 {
			_, errno = g.Call("write", fd, []byte(text), len(text))
			g.Must("close", fd)
		}
		return errno
	}
	for _, c := range []struct {
		path, text, want string
		errno            unix.Errno
	}{
		{"/proc/self/comm", "a name longer than that", "a name longer t\n", 0},
		{fmt.Sprintf("/proc/self/task/%d/comm", g.Task.TID), "foo\n", "foo\n\n", 0},
		{"/proc/self/oom_score_adj", "100\n", "100\n", 0},
		{"/proc/self/oom_score_adj", "1001", "100\n", unix.EINVAL},
		{"/proc/self/coredump_filter", "0x7f3\n", "000001f3\n", 0},
		{"/proc/self/coredump_filter", "x", "000001f3\n", unix.EINVAL},
		{"/proc/self/timerslack_ns", "1000", "1000\n", 0},
		{"/proc/self/timerslack_ns", "0", "50000\n", 0},
		{"/proc/self/stat", "1", "", unix.EACCES},
		{"/proc/sys/kernel/osrelease", "1", "", unix.EACCES},
	} {
		if errno := write(g, c.path, c.text); errno != c.errno {
			t.Errorf("%s: %v", c.path, errno)
		}
		if got := mustSlurp(t, g, c.path); c.want != "" && got != c.want {
			t.Errorf("%s is %q", c.path, got)
		}
	}
	if errno := write(g, "/proc/self/comm", "a\nPid: 7\\"); errno != 0 {
		t.Error(errno)
	}
	if got := mustSlurp(t, g, "/proc/self/status"); !strings.HasPrefix(got, "Name:\ta\\nPid: 7\\\\\nUmask:") {
		t.Errorf("status begins with %.30q", got)
	}
	if errno := write(child, "/proc/sys/kernel/hostname", "x"); errno != unix.EACCES {
		t.Errorf("hostname by a user: %v", errno)
	}
	if root {
		if errno := write(g, "/proc/sys/kernel/hostname", "box\nrest"); errno != 0 || g.Sys.Hostname != "box" {
			t.Errorf("hostname: %v, %q", errno, g.Sys.Hostname)
		}
		if errno := write(g, fmt.Sprintf("/proc/%d/comm", child.Task.TID), "x"); errno != unix.EINVAL {
			t.Errorf("another's comm: %v", errno)
		}
	}
}

// TestProcMem: a process's own memory, and no other's.
func TestProcMem(t *testing.T) {
	g := newProc(t)
	at := g.Machine.Map(0, 4096, unix.PROT_READ|unix.PROT_WRITE)
	fd := g.Must("open", "/proc/self/mem", unix.O_RDWR)
	g.Must("pwrite64", fd, []byte("hello"), 5, at)
	p := make([]byte, 5)
	if n := g.Must("pread64", fd, p, 5, at); n != 5 || string(p) != "hello" {
		t.Errorf("read %d, %q", n, p)
	}
	if _, errno := g.Call("pread64", fd, p, 5, 8); errno != unix.EIO {
		t.Errorf("nothing mapped: %v", errno)
	}
	if off := g.Must("lseek", fd, at, unix.SEEK_SET); off != at {
		t.Errorf("lseek: %#x", off)
	}
	if _, errno := g.Call("open", fmt.Sprintf("/proc/%d/mem", g.Fork().Task.TID), unix.O_RDONLY); errno != unix.EACCES {
		t.Errorf("another's memory: %v", errno)
	}
}

// TestProcRead: a read from the start is of now, one that goes on of then; and
// no number of open files holds more than a few contents.
func TestProcRead(t *testing.T) {
	g := newProc(t)
	comm := g.Must("open", "/proc/self/comm", unix.O_RDONLY)
	p := make([]byte, 9)
	g.Must("read", comm, p, 2)
	g.Task.Comm = "XXXX"
	if n := g.Must("read", comm, p, 9); string(p[:n]) != "st\n" {
		t.Errorf("the rest is %q", p[:n])
	}
	g.Must("lseek", comm, 0, unix.SEEK_SET)
	if n := g.Must("read", comm, p, 9); string(p[:n]) != "XXXX\n" {
		t.Errorf("again it is %q", p[:n])
	}
	if _, errno := g.Call("lseek", comm, 0, unix.SEEK_END); errno != unix.EINVAL {
		t.Errorf("SEEK_END: %v", errno)
	}
	var fds []uint64
	for range 200 {
		fd := g.Must("open", "/proc/self/maps", unix.O_RDONLY)
		g.Must("read", fd, p, 4)
		fds = append(fds, fd)
	}
	want := g.Machine.Files["maps"][4:8]
	for _, fd := range fds {
		if g.Must("read", fd, p, 4); string(p[:4]) != want {
			t.Fatalf("a file whose content had to go reads %q, not %q", p[:4], want)
		}
	}
}

// TestProcMounts: what is mounted, as the reader's root has it.
func TestProcMounts(t *testing.T) {
	g := newProc(t)
	if err := g.Sys.FS.Mount("/a b/c", vfs.NewMem(vfs.MemOptions{}).Root()); err != nil {
		t.Fatal(err)
	}
	if err := g.Sys.FS.Mount("/a b/c/d", vfs.NewBytes(0, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	want := "tmpfs / tmpfs rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n" +
		"tmpfs /a\\040b/c tmpfs rw,relatime 0 0\nnone /a\\040b/c/d oubliette rw,relatime 0 0\n"
	if diff := cmp.Diff(want, mustSlurp(t, g, "/proc/mounts")); diff != "" {
		t.Error(diff)
	}
	want = "1 0 0:524288 / / rw,relatime - tmpfs tmpfs rw\n2 1 0:524289 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n" +
		"3 1 0:524290 / /a\\040b/c rw,relatime - tmpfs tmpfs rw\n4 3 0:524291 / /a\\040b/c/d rw,relatime - oubliette none rw\n"
	if diff := cmp.Diff(want, mustSlurp(t, g, "/proc/self/mountinfo")); diff != "" {
		t.Error(diff)
	}
}

// FuzzProcMaps: whatever the host's text, nothing of it names a file.
func FuzzProcMaps(f *testing.F) {
	f.Add("7f0000000000-7f0000001000 r--p 00000000 00:01 1                          /memfd:arena (deleted)\n")
	f.Add("7f0000000000-7f0000001000 r--p 800000000000 00:01 1                      /memfd:images (deleted)\nSize: 4 kB\n")
	f.Add("500000000000-500000001000 r-xp 00000000 00:01 1                          /memfd:stub (deleted)\n")
	f.Add("7f0000000000-7f0000001000 r--p 00000000 fe:00 1                          /usr/lib/x y\n")
	g := newProc(f)
	maps := emulate.NewProc(g.Sys)
	for _, name := range []string{"1", "maps"} {
		maps, _ = maps.(vfs.Directory).Lookup(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g.Machine.Files["maps"] = text
		file, err := maps.(vfs.Opener).Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		p := make([]byte, 2*len(text)+1000)
		n, _ := file.(io.ReaderAt).ReadAt(p, 0)
		for line := range strings.Lines(string(p[:n])) {
			if f := strings.Fields(line); len(f) > 5 && strings.Contains(f[0], "-") && f[5][0] == '/' {
				t.Errorf("%q comes out as %q", text, line)
			}
		}
	})
}
