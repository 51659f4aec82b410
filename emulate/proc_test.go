//go:build linux && amd64

package emulate_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/internal/emutest"
)

// newProc is a guest with /proc and the host's files of this process under it.
func newProc(t *testing.T) *emutest.Guest {
	t.Helper()
	g := emutest.New(t)
	g.Machine.Files = make(map[string]string)
	for _, name := range []string{"stat", "status", "statm", "maps", "smaps", "smaps_rollup"} {
		p, err := os.ReadFile("/proc/thread-self/" + name)
		if err != nil {
			t.Fatal(err)
		}
		g.Machine.Files[name] = string(p)
	}
	if err := g.Sys.FS.Mount("/proc", emulate.NewProc(g.Sys)); err != nil {
		t.Fatal(err)
	}
	return g
}

// slurp reads a whole file of the guest's.
func slurp(t *testing.T, g *emutest.Guest, path string) (string, unix.Errno) {
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

func TestProcFiles(t *testing.T) {
	g := newProc(t)
	for _, path := range []string{"self/stat", "self/status", "self/maps", "self/cmdline", "self/limits", "self/mounts",
		"self/mountinfo", "thread-self/stat", "meminfo", "cpuinfo", "stat", "uptime", "loadavg", "filesystems", "sys/kernel/osrelease"} {
		text, errno := slurp(t, g, "/proc/"+path)
		t.Logf("%s: %v\n%s", path, errno, text[:min(len(text), 3000)])
	}
}
