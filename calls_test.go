//go:build linux && amd64

package oubliette_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"oubliette/emulate"
	"oubliette/policy"
)

var update = flag.Bool("update", false, "write policy/calls.txt and policy/code.txt")

// graph is the module's code as functions that may run one another: a function
// reaches every function it names, and by a method of an interface that method of
// every type of the module that has all of the interface's. So it reaches more
// than it runs, and never less, but for what the standard library calls back.
type graph struct {
	t     *testing.T
	fset  *token.FileSet
	info  types.Info
	decls map[*types.Func]*ast.FuncDecl
	vars  map[types.Object]ast.Node // initialisers of package variables
	named []*types.Named
	edges map[types.Object][]types.Object
	impls map[*types.Func][]types.Object
}

// load reads and checks the packages that jail is made of.
func load(t *testing.T) *graph {
	t.Helper()
	g := &graph{t: t, fset: token.NewFileSet(), decls: map[*types.Func]*ast.FuncDecl{}, vars: map[types.Object]ast.Node{},
		edges: map[types.Object][]types.Object{}, impls: map[*types.Func][]types.Object{},
		info: types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}}
	cmd := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Export,Dir,GoFiles", "./jail")
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports, ours := map[string]string{}, map[string]*types.Package{}
	std := importer.ForCompiler(g.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !strings.HasPrefix(p.ImportPath, "oubliette/") {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(g.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		config := types.Config{Importer: imports(func(path string) (*types.Package, error) {
			if ours[path] != nil {
				return ours[path], nil
			}
			return std.Import(path)
		})}
		pkg, err := config.Check(p.ImportPath, g.fset, files, &g.info)
		if err != nil {
			t.Fatal(err)
		}
		ours[p.ImportPath] = pkg
		g.add(pkg, files)
	}
	return g
}

// imports is a types.Importer.
type imports func(path string) (*types.Package, error)

func (f imports) Import(path string) (*types.Package, error) { return f(path) }

// add notes what pkg declares.
func (g *graph) add(pkg *types.Package, files []*ast.File) {
	for _, name := range pkg.Scope().Names() {
		if tn, ok := pkg.Scope().Lookup(name).(*types.TypeName); ok && !tn.IsAlias() {
			if n, ok := tn.Type().(*types.Named); ok && !types.IsInterface(n) {
				g.named = append(g.named, n)
			}
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				g.decls[g.info.Defs[d.Name].(*types.Func)] = d
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							g.vars[g.info.Defs[name]] = v
						}
					}
				}
			}
		}
	}
}

// next are the functions and package variables that o names.
func (g *graph) next(o types.Object) []types.Object {
	if to, ok := g.edges[o]; ok {
		return to
	}
	var body ast.Node = g.vars[o]
	if f, ok := o.(*types.Func); ok {
		if d := g.decls[f]; d != nil && d.Body != nil {
			body = d.Body
		} else if recv := f.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
			return g.implement(f, recv.Type())
		} else {
			body = nil
		}
	}
	g.edges[o] = nil
	if v, ok := body.(*ast.ValueSpec); body == nil || ok && v == nil {
		return nil
	}
	to := g.names(body)
	g.edges[o] = to
	return to
}

// names are the functions and package variables that a piece of code names.
func (g *graph) names(code ast.Node) (to []types.Object) {
	ast.Inspect(code, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			switch used := g.info.Uses[id].(type) {
			case *types.Func:
				to = append(to, used.Origin())
			case *types.Var:
				if g.vars[used] != nil {
					to = append(to, used)
				}
			}
		}
		return true
	})
	return to
}

// implement are the methods that a call of method f of an interface may run.
func (g *graph) implement(f *types.Func, recv types.Type) []types.Object {
	if to, ok := g.impls[f]; ok {
		return to
	}
	var to []types.Object
	iface := recv.Underlying().(*types.Interface)
	for _, n := range g.named {
		if n.TypeParams().Len() > 0 {
			continue
		}
		p := types.NewPointer(n)
		if types.Implements(p, iface) {
			if m, _, _ := types.LookupFieldOrMethod(p, true, f.Pkg(), f.Name()); m != nil {
				to = append(to, m.(*types.Func).Origin())
			}
		}
	}
	g.impls[f] = to
	return to
}

// reach is everything that the roots may run.
func (g *graph) reach(roots ...types.Object) map[types.Object]bool {
	seen := map[types.Object]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if o != nil && !seen[o] {
			seen[o] = true
			todo = append(todo, g.next(o)...)
		}
	}
	return seen
}

// lines are those of functions.
func (g *graph) lines(of map[types.Object]bool) (n int) {
	for o := range of {
		if f, ok := o.(*types.Func); ok && g.decls[f] != nil {
			d := g.decls[f]
			n += g.fset.Position(d.End()).Line - g.fset.Position(d.Pos()).Line + 1
		}
	}
	return n
}

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

// uses tells whether roots reach one of what without a call through an interface.
func (g *graph) uses(roots []types.Object, what map[types.Object]bool) bool {
	seen := map[types.Object]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if what[o] {
			return true
		}
		f, _ := o.(*types.Func)
		if seen[o] || f != nil && f.Signature().Recv() != nil && types.IsInterface(f.Signature().Recv().Type()) {
			continue
		}
		seen[o] = true
		todo = append(todo, g.next(o)...)
	}
	return false
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
	b, err := os.ReadFile("policy/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	part, partOf := "", map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, ": "); ok {
			part = name
			out.WriteString(line)
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
		fmt.Fprintf(&out, "%s %d %s %d\n", want.name, want.args, want.answer, want.lines)
		if !*update && (have.args != want.args || have.answer != want.answer || !near(have.lines, want.lines)) {
			t.Errorf("%s has %d arguments, answered by %s with %d lines: go test -run TestCalls -update .", want.name, want.args, want.answer, want.lines)
		}
	}
	parts := map[types.Object][]string{}
	for f := range g.decls {
		parts[f] = nil
	}
	for name, r := range rows {
		if partOf[name] == "" {
			t.Errorf("%s is in no part: put it in one in policy/calls.txt", name)
		}
		for f := range r.reached {
			if !slices.Contains(parts[f], partOf[name]) {
				parts[f] = append(parts[f], partOf[name])
			}
		}
	}
	classes := map[string]int{}
	total := map[string]int{}
	for f, in := range parts {
		slices.Sort(in)
		n := g.lines(map[types.Object]bool{f: true})
		classes[strings.Join(in, " ")] += n
		for _, part := range append(in, "") {
			total[part] += n
		}
	}
	var code strings.Builder
	for _, in := range slices.Sorted(maps.Keys(classes)) {
		if n := classes[in]; n > 0 {
			code.WriteString(strings.TrimSpace(fmt.Sprintf("%d %s", n, in)) + "\n")
		}
	}
	if *update {
		for name, text := range map[string]string{"policy/calls.txt": out.String(), "policy/code.txt": code.String()} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, part := range policy.PartNames() {
		s := policy.Policy{Calls: policy.Parts(part)}.Surface()
		if part != policy.Threads && !near(s.Lines, total[part]) {
			t.Errorf("%s reaches %d lines, the table says %d: go test -run TestCalls -update .", part, total[part], s.Lines)
		}
	}
	if s := policy.Prison().Surface(); !near(s.Lines+s.Always, total[""]) {
		t.Errorf("%d lines in all, the table says %d: go test -run TestCalls -update .", total[""], s.Lines+s.Always)
	}
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
