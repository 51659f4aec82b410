//go:build linux && amd64

package jail_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

// TestPrograms runs the scripts of testdata/programs, each about some real
// programs, natively and jailed: streams and exit status must be equal byte for
// byte. The first line of a script names the programs it needs. It runs in an
// empty directory.
func TestPrograms(t *testing.T) {
	need(t, "bash")
	scripts, err := filepath.Glob("testdata/programs/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sh"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			programs, ok := strings.CutPrefix(first, "# needs: ")
			if !ok {
				t.Fatalf("%s begins with %q, not with what it needs", file, first)
			}
			need(t, strings.Fields(programs)...)
			testProgram(t, string(text))
		})
	}
}

func testProgram(t *testing.T, script string) {
	// Not T.TempDir: the Tool preset has /tmp, whatever TMPDIR is.
	dir, err := os.MkdirTemp("/tmp", "programs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	work := filepath.Join(dir, "work")
	command := func() *exec.Cmd {
		cmd := exec.Command("/bin/bash", "-c", `mkdir -p "$W" && cd "$W"`+"\n"+script)
		cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8", "TZ=UTC", "HOME=" + work, "W=" + work}
		cmd.Dir = "/"
		return cmd
	}
	want := native(t, command())
	if want.Err != "" {
		t.Fatalf("natively: %+v", want)
	}
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]policy.Policy{"overlay": policy.Overlay(), "tool": policy.Tool()} {
		got := jailed(t, &jail.Jail{}, command(), p)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-native +jailed):\n%s", name, d)
		}
	}
	if _, err := os.Lstat(work); err == nil {
		t.Error("a jailed run has made its directory on the host")
	}
}
