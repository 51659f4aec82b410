//go:build linux && amd64

package loader_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	for name, c := range map[string][]string{
		"echo":   {"/bin/echo", "hello", "", "world"},
		"shell":  {"/bin/sh", "-c", "echo $0 $#; ls -d /; exit 3", "a", "b"},
		"nohup":  {"/usr/bin/env"},
		"killed": {"/bin/sh", "-c", "kill -9 $$"},
	} {
		t.Run(name, func(t *testing.T) {
			want, wantStatus := native(t, c[0], c, env)
			got, status := run(t, c[0], c, env)
			if d := cmp.Diff(want, got); d != "" || status != wantStatus {
				t.Errorf("status %#x, want %#x\n%s", status, wantStatus, d)
			}
		})
	}
}
