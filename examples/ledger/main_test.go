//go:build linux && amd64

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func expect(what, content, path string) string {
	return fmt.Sprintf("%-5s %x %s", what, sha256.Sum256([]byte(content)), path)
}

// TestLedger: what went in and came out is there, as it was when it was opened,
// and nothing that the program made for itself counts as read.
func TestLedger(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	input, output, rest := filepath.Join(dir, "input"), filepath.Join(dir, "output"), filepath.Join(dir, "rest")
	if err := os.WriteFile(input, []byte("b\na\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("cat > %[3]s; sort %[1]s %[3]s > %[2]s; cat %[2]s; echo x >> %[1]s; cat %[1]s > /dev/null", input, output, rest)
	run := func() []string {
		var out bytes.Buffer
		lines, err := record(strings.NewReader("c\n"), &out, "sh", "-c", script)
		if err != nil || out.String() != "a\nb\nc\n" {
			t.Fatalf("%v, %q", err, out.String())
		}
		return lines
	}
	lines := run()
	program, err := filepath.EvalSymlinks("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	cat, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		expect("ran", string(cat), program),
		expect("read", "b\na\n", input),
		expect("read", "c\n", "standard input"),
		expect("wrote", "b\na\nx\n", input),
		expect("wrote", "a\nb\nc\n", output),
		expect("wrote", "c\n", rest),
		expect("wrote", "a\nb\nc\n", "standard output"),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	for _, l := range lines {
		if strings.HasPrefix(l, "read") && (strings.HasSuffix(l, output) || strings.HasSuffix(l, rest)) {
			t.Errorf("not an input: %q", l)
		}
	}
	if again := run(); !slices.Equal(lines, again) {
		t.Errorf("another run has another ledger:\n%s\n%s", strings.Join(lines, "\n"), strings.Join(again, "\n"))
	}
	if content, err := os.ReadFile(input); err != nil || string(content) != "b\na\n" {
		t.Errorf("the host's input is %q, %v", content, err)
	}
}
