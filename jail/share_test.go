//go:build linux && amd64

package jail_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

func init() { guests["share"] = shareGuest }

// shareGuest shares files of its directory through mappings and says what reads
// and mappings show.
func shareGuest(args []string) {
	if len(args) > 1 { // another process, with a mapping of its own
		p := mapFile(args[1], 8192)
		fmt.Printf("other sees %q\n", p[:8])
		copy(p[4096:], "from other")
		return
	}
	dir := args[0]
	path := filepath.Join(dir, "file")
	check(os.WriteFile(path, bytes.Repeat([]byte("x"), 10000), 0o644))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	p, err := unix.Mmap(int(f.Fd()), 0, 16384, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(err)
	read := func(off int64, n int) string {
		b := make([]byte, n)
		m, err := unix.Pread(int(f.Fd()), b, off)
		return fmt.Sprintf("%q %v", b[:m], err)
	}
	copy(p, "stored")
	fmt.Println("read finds the store:", read(0, 8))
	_, err = unix.Pwrite(int(f.Fd()), []byte("written"), 5000)
	check(err)
	fmt.Printf("the mapping finds the write: %q\n", p[4998:5010])
	fmt.Println("the end:", read(9998, 10))
	cmd := exec.Command(os.Args[0], dir, path)
	cmd.Env, cmd.Stdout, cmd.Stderr = os.Environ(), os.Stdout, os.Stdout
	check(cmd.Run())
	fmt.Printf("from the other: %q %s\n", p[4096:4108], read(4096, 12))
	check(f.Truncate(5000))
	check(f.Truncate(12000))
	fmt.Printf("cut and grown: %q %s\n", p[4990:5010], read(4990, 20))
	check(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	fmt.Printf("punched: %q %s\n", p[:4], read(4094, 4))
	copy(p[11990:], "to the end")
	check(unix.Msync(p, unix.MS_SYNC))
	copy(p[100:], "after msync")
	check(f.Sync())
	copy(p[200:], "after fsync")
	check(f.Close())
	copy(p[300:], "after close")
	check(unix.Munmap(p))
	copy(mapFile(filepath.Join(dir, "new"), 100), "a new file")
	private, err := os.Open(path)
	check(err)
	q, err := unix.Mmap(int(private.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	check(err)
	copy(q[400:], "private")
	fmt.Printf("private: %q\n", q[298:410])
	readOnly, err := os.OpenFile(path, os.O_RDONLY, 0)
	check(err)
	_, err = unix.Mmap(int(readOnly.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	fmt.Println("a file opened to read:", err)
}

func init() { guests["run shared"] = runSharedGuest }

// runSharedGuest runs a program that was mapped to write.
func runSharedGuest(args []string) {
	path := filepath.Join(args[0], "program")
	check(os.WriteFile(path, must(os.ReadFile(os.Args[0])), 0o755))
	check(unix.Munmap(mapFile(path, 1)))
	cmd := exec.Command(path)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), guestVar+"=ran"), os.Stdout, os.Stdout
	fmt.Println(cmd.Run())
}

func init() { guests["ran"] = func([]string) { fmt.Println("ran") } }

// TestRunsShared: a program has its place in the arena until it is mapped.
func TestRunsShared(t *testing.T) {
	want := native(t, guestCommand("run shared", t.TempDir()))
	dir := t.TempDir()
	p := policy.Overlay()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindHost, Host: dir, Write: true})
	got := jailed(t, &jail.Jail{}, guestCommand("run shared", dir), p)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-native +jailed:\n%s", diff)
	}
}

func init() { guests["kept place"] = keptPlaceGuest }

// keptPlaceGuest removes a file that it has mapped, and so many others that their
// places are looked for.
func keptPlaceGuest(args []string) {
	path := filepath.Join(args[0], "file")
	p := mapFile(path, 4096)
	copy(p, "kept")
	check(os.Remove(path))
	unix.Sync()
	for range 200 {
		check(unix.Munmap(mapFile(path, 4096)))
		check(os.Remove(path))
	}
	for i := range 200 {
		copy(mapFile(path+fmt.Sprint(i), 4096), "another file's")
	}
	unix.Sync()
	fmt.Printf("%q\n", p[:4])
}

// TestKeptPlace: what cannot be looked for, for want of descriptors, is mapped.
func TestKeptPlace(t *testing.T) {
	dir := t.TempDir()
	p := policy.Overlay()
	p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindMemory, Mode: 0o1777})
	var most unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &most)
	next := unix.Rlimit{Cur: 3, Max: most.Max}
	got := jailed(t, &jail.Jail{Handlers: map[string]emulate.Handler{"sync": func(*emulate.Call) (uint64, error) {
		err := unix.Setrlimit(unix.RLIMIT_NOFILE, &next)
		next = most
		return 0, err
	}}}, guestCommand("kept place", dir), p)
	if want := (result{Stdout: "\"kept\"\n"}); got != want {
		t.Errorf("%+v", got)
	}
}

// mapFile maps n bytes of a file, made that long.
func mapFile(path string, n int) []byte {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	check(err)
	st, err := f.Stat()
	check(err)
	check(f.Truncate(max(st.Size(), int64(n))))
	p, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(err)
	check(f.Close())
	return p
}

// TestSharedHostFile: in a directory mounted to write, files mapped shared hold
// what was stored, for every reader of the jail at once and for the host at the
// end.
func TestSharedHostFile(t *testing.T) {
	type outcome struct {
		Result    result
		File, New string
	}
	run := func(do func(dir string) result) outcome {
		dir := t.TempDir()
		got := outcome{Result: do(dir)}
		for name, at := range map[string]*string{"file": &got.File, "new": &got.New} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			*at = string(b)
		}
		return got
	}
	want := run(func(dir string) result { return native(t, guestCommand("share", dir)) })
	got := run(func(dir string) result {
		p := policy.Overlay()
		p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindHost, Host: dir, Write: true})
		return jailed(t, &jail.Jail{}, guestCommand("share", dir), p)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-native +jailed:\n%s", diff)
	}
}
