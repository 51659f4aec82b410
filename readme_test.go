//go:build linux && amd64

package oubliette_test

import (
	"encoding/json"
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
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
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
