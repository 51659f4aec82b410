//go:build linux && amd64

package main

import (
	"bytes"
	"testing"
	"time"
)

func TestFails(t *testing.T) {
	var out, errs bytes.Buffer
	f := faults{every: 2, below: "/tmp/"}
	err := f.run(&out, &errs, "/bin/sh", "-c", `for i in 1 2 3 4 5; do echo $i >> /tmp/log || echo lost $i; done
echo elsewhere > /home/guest/x && cat /tmp/log /home/guest/x`)
	if want := "lost 2\nlost 4\n1\n3\n5\nelsewhere\n"; err != nil || out.String() != want || f.writes != 5 || f.hit != 2 {
		t.Errorf("%v, %q, %q, %d of %d hit; want %q", err, out.String(), errs.String(), f.hit, f.writes, want)
	}
}

func TestDelays(t *testing.T) {
	var out, errs bytes.Buffer
	f := faults{every: 2, below: "/tmp/", delay: 200 * time.Millisecond}
	start := time.Now()
	err := f.run(&out, &errs, "/bin/sh", "-c", `for i in 1 2 3 4; do echo $i; done > /tmp/log; cat /tmp/log`)
	if took := time.Since(start); err != nil || out.String() != "1\n2\n3\n4\n" || f.hit != 2 || took < 2*f.delay {
		t.Errorf("%v, %q, %q, %d hit after %v", err, out.String(), errs.String(), f.hit, took)
	}
}
