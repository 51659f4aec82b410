//go:build linux && amd64

package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestSecrets: each open has a password of its own, which works once, and a
// program that wants too many gets an honest errno.
func TestSecrets(t *testing.T) {
	var out, errs, log bytes.Buffer
	v := vault{most: 2, log: &log}
	err := v.run(&out, &errs, "/bin/sh", "-c", "cat "+path+" "+path+"; cat "+path+" || env | grep -c "+path)
	lines := strings.Split(out.String(), "\n")
	if err == nil || len(lines) != 4 || lines[0] == lines[1] || lines[2] != "0" || !strings.Contains(errs.String(), "Permission denied") {
		t.Fatalf("%v, %q, %q", err, lines, errs.String())
	}
	for _, p := range lines[:2] {
		if !v.accept(p) || v.accept(p) {
			t.Errorf("%q does not work once", p)
		}
	}
	if v.accept("") || v.accept("guess") {
		t.Error("a guess was accepted")
	}
	if n := strings.Count(log.String(), "given"); n != 2 || !strings.HasSuffix(log.String(), "refused one more password\n") {
		t.Errorf("log %q", log.String())
	}
}
