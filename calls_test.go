//go:build linux && amd64

package oubliette_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"oubliette/emulate"
	"oubliette/policy"
)

var update = flag.Bool("update", false, "write policy/calls.txt and policy/code.txt")

// everyJail are the packages that are the same work under every policy. What the
// others have that no handler reaches, but Spawn, is counted with them.
var everyJail = regexp.MustCompile("^oubliette/(jail|policy|internal/.*)$")

// row is what the sources say of a call.
type row struct {
	name, answer string
	args, lines  int
	reached      map[types.Object]bool
}

// rows reads the table of package emulate.
func (g *graph) rows() (rows []row) {
	host := map[types.Object]bool{} // how a handler has the kernel do something
	for _, o := range g.info.Defs {
		if m, ok := o.(*types.Func); ok && m.Signature().Recv() != nil && strings.HasSuffix(m.Signature().Recv().Type().String(), "emulate.Machine") {
			host[m] = slices.Contains([]string{"Native", "Clone", "Exec"}, m.Name())
		}
	}
	emulated := map[string]emulate.Row{}
	for _, r := range emulate.Calls() {
		emulated[r.Name] = r
	}
	for o, n := range g.vars {
		if o.Pkg().Path() != "oubliette/emulate" || !strings.HasSuffix(o.Name(), "Calls") {
			continue
		}
		for _, elt := range n.(*ast.ValueSpec).Values[0].(*ast.CompositeLit).Elts {
			fields := elt.(*ast.CompositeLit).Elts
			name := strings.Trim(fields[0].(*ast.BasicLit).Value, `"`)
			r := row{name: name, answer: "handler", args: len(strings.Fields(emulated[name].Args))}
			roots := g.names(fields[2])
			r.reached = g.reach(roots...)
			maps.DeleteFunc(r.reached, func(o types.Object, _ bool) bool { return o.Pkg() == nil || everyJail.MatchString(o.Pkg().Path()) })
			r.lines = g.lines(r.reached)
			if emulated[name].Do == nil {
				r.answer = "none"
			} else if g.uses(roots, host) {
				r.answer = "kernel"
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// drift is how far, in lines and as a share of them, a table may be from the
// sources before it must be written anew: it shall not be touched by every change.
const drift, driftShare = 60, 10

func near(a, b int) bool { return max(a-b, b-a) <= max(drift, b/driftShare) }

// TestCalls holds policy/calls.txt and policy/code.txt to the sources. With
// -update it writes what they say of code.
func TestCalls(t *testing.T) {
	g := load(t)
	rows := map[string]row{}
	for _, r := range g.rows() {
		rows[r.name] = r
	}
	text, partOf := callLines(t, rows)
	code, total := g.code(rows, partOf)
	for name := range rows {
		if partOf[name] == "" {
			t.Errorf("%s is in no part: put it in one in policy/calls.txt", name)
		}
	}
	if *update {
		for name, text := range map[string]string{"policy/calls.txt": text, "policy/code.txt": code} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, part := range policy.PartNames() {
		s := policy.Policy{Calls: policy.Parts(part)}.Surface()
		if part != policy.Threads && !near(s.Lines, total[part]) { // they come with clone, of another part
			t.Errorf("%s reaches %d lines, the table says %d%s", part, total[part], s.Lines, remedy)
		}
	}
	if s := policy.Prison().Surface(); !near(s.Lines+s.Always, total[""]) {
		t.Errorf("%d lines in all, the table says %d%s", total[""], s.Lines+s.Always, remedy)
	}
}

const remedy = ": go test -run TestCalls -update ."

// callLines holds the lines of calls.txt to rows, and gives them as they should be
// and each call's part.
func callLines(t *testing.T, rows map[string]row) (text string, partOf map[string]string) {
	t.Helper()
	b, err := os.ReadFile("policy/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	part, partOf := "", map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, ": "); ok {
			part = name
			text += line
			continue
		}
		var have row
		if _, err := fmt.Sscanf(line, "%s %d %s %d\n", &have.name, &have.args, &have.answer, &have.lines); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want, ok := rows[have.name]
		if partOf[have.name] != "" || !ok {
			t.Errorf("%s is there twice, or is no call", have.name)
		}
		partOf[have.name] = part
		text += fmt.Sprintf("%s %d %s %d\n", want.name, want.args, want.answer, want.lines)
		if !*update && (have.args != want.args || have.answer != want.answer || !near(have.lines, want.lines)) {
			t.Errorf("%s has %d arguments, answered by %s with %d lines%s", want.name, want.args, want.answer, want.lines, remedy)
		}
	}
	return text, partOf
}

// code is code.txt as it should be, and the lines of each part, those of "" in all.
func (g *graph) code(rows map[string]row, partOf map[string]string) (text string, total map[string]int) {
	parts := map[types.Object][]string{}
	for f := range g.decls {
		parts[f] = nil
	}
	for name, r := range rows {
		for f := range r.reached {
			if !slices.Contains(parts[f], partOf[name]) {
				parts[f] = append(parts[f], partOf[name])
			}
		}
	}
	classes, total := map[string]int{}, map[string]int{}
	for f, in := range parts {
		n := g.lines(map[types.Object]bool{f: true})
		slices.Sort(in)
		classes[strings.Join(in, " ")] += n
		total[""] += n
		for _, part := range in {
			total[part] += n
		}
	}
	for _, in := range slices.Sorted(maps.Keys(classes)) {
		if n := classes[in]; n > 0 {
			text += strings.TrimSpace(fmt.Sprintf("%d %s", n, in)) + "\n"
		}
	}
	return text, total
}

// TestReadmeSurface: the figures of README.md are those of the presets.
func TestReadmeSurface(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) (n int) {
		fmt.Sscan(strings.ReplaceAll(s, ",", ""), &n)
		return n
	}
	for names, p := range map[string]policy.Policy{"`Strict`": policy.Strict(), "the others": policy.Prison()} {
		s := p.Surface()
		m := regexp.MustCompile(`\| ` + names + ` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \+ ([\d,]+) \|`).FindStringSubmatch(string(b))
		if m == nil || number(m[1]) != len(s.NativeCalls()) || !near(number(m[2]), len(s.Handlers)) ||
			!near(number(m[3]), s.Lines) || !near(number(m[4]), s.Always) {
			t.Errorf("%s: %q is not near %d calls, %d handlers, %d + %d lines", names, m, len(s.NativeCalls()), len(s.Handlers), s.Lines, s.Always)
		}
	}
}
