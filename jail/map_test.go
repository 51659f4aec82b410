//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["map"] = func(files []string) {
		for _, name := range files {
			f, err := os.Open(name)
			check(err)
			s, err := f.Stat()
			check(err)
			p, err := unix.Mmap(int(f.Fd()), 0, int(s.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
			check(err)
			fmt.Printf("%s ", p[len(p)-4:])
			check(unix.Munmap(p))
			f.Close()
		}
	}
}

// TestMapsMuch: a guest maps more of the host's files than are kept for the next
// jail, as a build does with what it links.
func TestMapsMuch(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "map") // not a tmpfs in most places
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var files []string
	const size = 48 << 20
	for i := range 6 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("end\n"), size-4); err != nil {
			t.Fatal(err)
		}
		f.Close()
		files = append(files, f.Name())
	}
	got := jailed(t, &jail.Jail{}, guestCommand("map", files...), policy.Overlay())
	if want := (result{Stdout: strings.Repeat("end\n ", len(files))}); got != want {
		t.Errorf("%+v", got)
	}
}
