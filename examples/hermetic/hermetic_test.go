//go:build linux && amd64

package hermetic_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"oubliette/jail/jailtest"
)

// TestScript: on three days three archives are made, and the oldest goes.
func TestScript(t *testing.T) {
	t.Parallel()
	jailtest.Need(t, "tar")
	w := jailtest.New(t)
	w.Files = os.DirFS("testdata")
	r := w.Run("sh", "-c", "mkdir data; echo text > data/file; for day in 1 2 3; do ./backup.sh data; sleep 1d; done").OK()
	for name, want := range map[string]bool{"backups/2026-01-01.tar": false, "backups/2026-01-02.tar": true, "backups/2026-01-03.tar": true} {
		if _, got := r.Changed[name]; got != want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
	if got := w.Run("tar", "-tf", "backups/2026-01-03.tar").OK().Stdout; got != "data/\ndata/file\n" {
		t.Errorf("the archive has %q", got)
	}
}

// TestGit runs testdata/*.txtar.
func TestGit(t *testing.T) {
	jailtest.Need(t, "git")
	jailtest.Run(t, "testdata/*.txtar")
}

// TestClient: a client talks TLS to a server that exists only here, and mails by a
// program that is a function.
func TestClient(t *testing.T) {
	t.Parallel()
	jailtest.Need(t, "curl")
	var posted, mailed string
	api := http.NewServeMux()
	api.HandleFunc("POST /reports", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted = string(b)
		fmt.Fprint(w, "7")
	})
	api.HandleFunc("GET /reports/7", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "all is well") })

	w := jailtest.New(t)
	w.Files = os.DirFS("testdata")
	w.Hosts = map[string]http.Handler{"https://api.example.com": api}
	w.Programs = map[string]jailtest.Program{"/usr/bin/mail": func(args []string, stdin io.Reader, _, stderr io.Writer) int {
		text, err := io.ReadAll(stdin)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		mailed = strings.Join(args, " ") + ": " + string(text)
		return 0
	}}
	w.Run("./report.sh", "report.sh").OK()
	if !strings.HasPrefix(posted, "#!/bin/sh\n") || mailed != "mail -s report 7 boss: all is well\n" {
		t.Errorf("posted %q, mailed %q", posted, mailed)
	}
	if r := w.Run("curl", "-sS", "https://www.example.com"); r.Code != 6 || !strings.Contains(r.Stderr, "Could not resolve host") {
		t.Errorf("another host: %+q, exit status %d", r.Stderr, r.Code)
	}
}
