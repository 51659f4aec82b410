//go:build linux && amd64

package main

import (
	"bytes"
	"testing"
)

func TestHandler(t *testing.T) {
	var out, errs bytes.Buffer
	err := run(&out, &errs)
	if want := "42\nyou are process 1\noubliette\n"; err != nil || out.String() != want || errs.Len() > 0 {
		t.Errorf("%v, %q, %q; want %q", err, out.String(), errs.String(), want)
	}
}
