//go:build linux && amd64

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplay: a run of the caller's whole world, recorded, is the same where its files,
// server, environment and input are not.
func TestReplay(t *testing.T) {
	need(t, "curl")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "served") }))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(at, ":")
	file := filepath.Join(t.TempDir(), "recording")
	t.Setenv("OUBLIETTE_SOMETHING", "kept")
	cmd := launcher(t, sh("-overlay", "-allow", "localhost:"+port, "-changes", "-record", file)(
		`read line; echo $line $OUBLIETTE_SOMETHING; cat one; ls | sort; curl -s http://`+at+`/; date +%s%N; cat /proc/sys/kernel/random/uuid; echo new > made; exit 9`)...)
	write(t, cmd.Dir, "one", "1\n")
	cmd.Stdin = strings.NewReader("input\n")
	stdout, stderr, status := launch(t, cmd)
	if want := "input kept\n1\none\nserved\n"; !strings.HasPrefix(stdout, want) || status != 9 || !strings.Contains(stderr, "created  ") {
		t.Fatalf("status %d, stdout %q, want %q; stderr %q", status, stdout, want, stderr)
	}
	if err := os.RemoveAll(cmd.Dir); err != nil {
		t.Fatal(err)
	}
	server.Close()
	os.Unsetenv("OUBLIETTE_SOMETHING")
	again, errs, code := launch(t, launcher(t, "-replay", file, "-changes"))
	if again != stdout || errs != stderr || code != status {
		t.Errorf("status %d, stdout %q, stderr %q; recorded %d, %q, %q", code, again, errs, status, stdout, stderr)
	}
}

// TestReplayMistakes: what the recording decides cannot be given, and what is no
// recording is not run.
func TestReplayMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "recording")
	if _, stderr, status := launch(t, launcher(t, sh("-record", file)("echo recorded")...)); status != 0 {
		t.Fatalf("status %d, %q", status, stderr)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"-replay", file, "--", "true"}, "the command is the recording's: give none"},
		{[]string{"-replay", file, "-seed", "1"}, "-seed is the recording's"},
		{[]string{"-replay", file, "-record", file + "2"}, "-record is the recording's"},
		{[]string{"-replay", file + "3"}, "no such file"},
		{[]string{"-replay", write(t, dir, "cut", string(whole[:len(whole)/2]))}, "it is not whole"},
		{[]string{"-replay", write(t, dir, "text", "text")}, "it is no recording"},
		{[]string{"-replay", dir}, "it is no recording"},
		{[]string{"-record", dir + "/none/x", "--", "true"}, "no such file"},
		{[]string{"-record", file + "4", "-rw", dir, "--", "true"}, "make it an Overlay"},
	} {
		if stdout, stderr, status := launch(t, launcher(t, c.args...)); status != failure || stdout != "" || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%q: status %d, stdout %q, stderr %q, want %q", c.args, status, stdout, stderr, c.stderr)
		}
	}
}
