//go:build linux && amd64

package oubliette_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

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
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
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
	for todo := append([]types.Object(nil), roots...); len(todo) > 0; {
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

// uses tells whether roots reach one of what without a call through an interface.
func (g *graph) uses(roots []types.Object, what map[types.Object]bool) bool {
	seen := map[types.Object]bool{}
	for todo := append([]types.Object(nil), roots...); len(todo) > 0; {
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
