//go:build linux && amd64

package jailtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"oubliette/jail"
)

// maxTwice is how many calls of a command are compared: 50 MB at worst.
const maxTwice = 1 << 18

// Twice runs fn with two Worlds of the same kind and fails the test at the first
// system call of a command that differs, its time included, or else the first
// difference of what the command printed, changed and ended with. fn makes a World what
// it shall be and runs commands; what it takes from elsewhere must be the same too, as
// the environment, handlers and streams. The calls before, of all tasks in their order,
// are shown.
//
//	jailtest.Twice(t, func(w *jailtest.World) {
//		w.Files = os.DirFS("testdata")
//		w.Run("make", "-j4").OK()
//	})
func Twice(t testing.TB, fn func(w *World)) {
	t.Helper()
	var worlds [2]*World
	for i := range worlds {
		worlds[i] = New(t)
		worlds[i].twice = true
		fn(worlds[i])
	}
	a, b := worlds[0].runs, worlds[1].runs
	for i := range min(len(a), len(b)) {
		if d := a[i].difference(b[i]); d != "" {
			t.Fatalf("jailtest: %s: the second run differs from the first (-first +second):\n%s", strings.Join(a[i].Args, " "), d)
		}
	}
	if len(a) != len(b) {
		t.Fatalf("jailtest: %d commands were run the first time, %d the second", len(a), len(b))
	}
}

// timed notes a call for Twice.
func (r *Result) timed(e jail.TraceEvent) {
	if len(r.calls) < maxTwice {
		r.calls = append(r.calls, fmt.Sprintf("%d %s <%v>", e.TID, e.Text, e.Time))
	}
}

// difference is the first of r and the second run of the same command, "" for none.
func (r *Result) difference(second *Result) string {
	if at, lines := firstDifference(r.calls, second.calls); lines != "" {
		if r.disorder+second.disorder > 0 {
			lines += "\nand threads computed so long that they were interrupted, see jail.Stats.Disorder"
		}
		return fmt.Sprintf("at call %d\n%s", at+1, lines)
	}
	one, two := r.parts(), second.parts()
	for _, name := range slices.Sorted(maps.Keys(one)) {
		text, ok := two[name]
		if !ok {
			return name + " is there the first time only"
		}
		delete(two, name)
		if at, lines := firstDifference(strings.SplitAfter(one[name], "\n"), strings.SplitAfter(text, "\n")); lines != "" {
			return fmt.Sprintf("%s, line %d\n%s", name, at+1, lines)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(two)) {
		return name + " is there the second time only"
	}
	return ""
}

// parts are what a command has told and done, by what to call it.
func (r *Result) parts() map[string]string {
	m := map[string]string{"arguments": fmt.Sprintf("%q", r.Args), "exit status": fmt.Sprint(r.Code), "stdout": r.Stdout, "stderr": r.Stderr,
		"what was removed": strings.Join(r.Removed, "\n")}
	for name, text := range r.Changed {
		m["file "+name] = text
	}
	return m
}

// contextLines is how many equal lines are shown before a difference.
const contextLines = 5

// firstDifference finds the first line that differs and shows it; "" if none does.
func firstDifference(a, b []string) (at int, text string) {
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	if at == len(a) && at == len(b) {
		return at, ""
	}
	var lines []string
	show := func(mark, line string) { lines = append(lines, "\t"+mark+strings.TrimSuffix(line, "\n")) }
	for _, line := range a[max(0, at-contextLines):at] {
		show("  ", line)
	}
	for i, list := range [][]string{a, b} {
		line := "(the end)"
		if at < len(list) {
			line = list[at]
		}
		show([]string{"- ", "+ "}[i], line)
	}
	return at, strings.Join(lines, "\n")
}
