package sysno_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/sysno"
)

// TestTable holds both directions against x/sys's table, whatever the host.
func TestTable(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Skip("go list does not find golang.org/x/sys/unix: ", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "zsysnum_linux_amd64.go"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, got := map[int]string{}, map[int]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var name string
		var nr int
		if n, _ := fmt.Sscanf(s.Text(), " SYS_%s = %d", &name, &nr); n == 2 {
			want[nr] = strings.ToLower(name)
		}
	}
	for nr := -1; nr < 2048; nr++ {
		name := sysno.Name(nr)
		if name == "" {
			continue
		}
		got[nr] = name
		if back, ok := sysno.Number(name); !ok || back != nr {
			t.Errorf("Number(%q) = %d, %v; want %d", name, back, ok, nr)
		}
		if nr > sysno.Max {
			t.Errorf("%s is %d, above Max", name, nr)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("x/sys (-) and sysno (+):\n%s", d)
	}
	if nr, ok := sysno.Number("no_such_call"); ok {
		t.Error("no_such_call is", nr)
	}
}

func TestConstants(t *testing.T) {
	for name, nr := range map[string]int{"mmap": sysno.Mmap, "prlimit64": sysno.Prlimit64} {
		if want := sysno.Must(name); nr != want {
			t.Errorf("%s = %d, want %d", name, nr, want)
		}
	}
}
