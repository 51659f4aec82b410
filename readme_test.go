//go:build linux && amd64

package oubliette_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme runs the command and the program that README.md shows.
func TestReadme(t *testing.T) {
	for _, p := range []string{"go", "python3"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("OUBLIETTE_STRICT") == "1" {
				t.Fatal("skipped in strict mode: ", err)
			}
			t.Skip("needs ", p)
		}
	}
	text := read(t, "README.md")
	if n := strings.Count(text, "\n"); n > 150 {
		t.Errorf("%d lines, at most 150", n)
	}

	program := regexp.MustCompile("(?s)```go\n(.*?)```\n+prints `(.*?)`").FindStringSubmatch(text)
	command := regexp.MustCompile(`(?m)^    (go run \./examples/run -- .*)$`).FindStringSubmatch(text)
	if program == nil || command == nil {
		t.Fatal("README.md has no program with its output, or no command")
	}
	// The program becomes a package of this module, without a file in its tree.
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	m, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "readme", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{file: []byte(program[1]), overlay: m} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("go", "run", "-overlay", overlay, "./readme").CombinedOutput()
	if want := program[2] + "\n"; err != nil || string(out) != want {
		t.Errorf("the program prints %q, %v; want %q", out, err, want)
	}

	out, _ = exec.Command("sh", "-c", command[1]).CombinedOutput() // ends with cat's failure
	for _, want := range []string{"I am guest, process 1 on oubliette, and I see:\n", "\ntmp\n", "/etc/shadow: No such file or directory\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the command prints %q, want %q in it", out, want)
		}
	}
}

// TestThreatModel: the tests that the threat model names are there, some for each
// promise, and the escapes are tried under every preset.
func TestThreatModel(t *testing.T) {
	text := read(t, "jail/doc.go")
	_, model, ok := strings.Cut(text, "// # Threat model\n")
	_, promises, ok2 := strings.Cut(model, "// Four promises")
	promises, _, ok3 := strings.Cut(promises, "// Not covered:")
	if !ok || !ok2 || !ok3 {
		t.Fatal("jail/doc.go has no threat model, promises or what is not covered")
	}
	tests := ""
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests += read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(promises, "\n//   - ")[1:]
	if len(list) != 4 {
		t.Errorf("%d promises", len(list))
	}
	for _, p := range list {
		names := regexp.MustCompile(`\bTest\w+`).FindAllString(p, -1)
		if len(names) == 0 {
			t.Errorf("no test guards %q", p)
		}
		for _, name := range names {
			if !strings.Contains(tests, "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("there is no %s", name)
			}
		}
	}
	escapes := read(t, "internal/escape/escape_test.go")
	sources, _ := filepath.Glob("policy/*.go") // fails only on a bad pattern
	for _, name := range sources {
		for _, m := range regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(\) Policy `).FindAllStringSubmatch(read(t, name), -1) {
			if !strings.Contains(escapes, "policy."+m[1]+"()") {
				t.Errorf("escapes are not tried under policy.%s", m[1])
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
