// Package oubliette_test holds the tree as a whole to its design.
package oubliette_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows says what each package may import of this module and of others. What
// it does not name may import only the standard library and x/sys.
//
// Read it so: policy and emulate know nothing of each other, and neither knows
// ptrace; only jail joins them, and only jail logs.
var arrows = map[string]string{
	"fdtable":             "",
	"policy":              "internal/sysno",
	"emulate/vfs":         "fdtable internal/abi internal/arena internal/fault internal/recording",
	"emulate/vnet":        "emulate/vfs fdtable",
	"emulate":             "emulate/vfs emulate/vnet fdtable internal/abi internal/arena internal/sysno",
	"internal/sysno":      "github.com/elastic/go-seccomp-bpf/arch",
	"internal/filter":     "policy internal/sysno github.com/elastic/go-seccomp-bpf golang.org/x/net/bpf",
	"internal/loader":     "fdtable internal/arena internal/stub",
	"jail":                "policy emulate emulate/vfs emulate/vnet fdtable golang.org/x/net/dns/dnsmessage internal/abi internal/arena internal/dns internal/elfneeds internal/fault internal/filter internal/loader internal/ptrace internal/recording internal/stub internal/sysno go.uber.org/zap",
	"jail/jailtest":       "jail policy emulate emulate/vfs",
	"examples/run":        "jail policy go.uber.org/zap go.uber.org/zap/zapcore",
	"examples/faults":     "jail policy emulate",
	"examples/ledger":     "jail policy emulate emulate/vfs",
	"examples/secrets":    "jail policy emulate/vfs",
	"examples/convert":    "jail policy",
	"examples/httpserver": "jail policy",
	"internal/fault":      "",
	"internal/dns":        "golang.org/x/net/dns/dnsmessage",
	"examples/handler":    "jail policy emulate fdtable",
	"examples/hermetic":   "",
	"examples/worker":     "jail policy emulate",
	"internal/abi":        "",
	"internal/arena":      "internal/fault",
	"internal/elfneeds":   "",
	"internal/escape":     "",
	"internal/ptrace":     "internal/fault",
	"internal/recording":  "",
	"internal/stub":       "",

	"examples/worker/guest/go": "",
}

func TestArrows(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	list := func(args ...string) []string {
		t.Helper()
		cmd := exec.Command("go", append([]string{"list"}, args...)...)
		cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOARCH=amd64")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	seen := make(map[string]bool)
	for _, line := range list("-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], "oubliette/")
		if pkg == "oubliette" { // this test
			continue
		}
		allowed, ok := arrows[pkg]
		if !ok {
			t.Errorf("package %s is not in the design", pkg)
		}
		seen[pkg] = true
		for _, imp := range words[1:] {
			imp, ours := strings.CutPrefix(imp, "oubliette/")
			foreign := strings.Contains(imp, ".") && !strings.HasPrefix(imp, "golang.org/x/sys/")
			if (ours || foreign) && !slices.Contains(strings.Fields(allowed), imp) {
				t.Errorf("%s may not import %s", pkg, imp)
			}
		}
	}
	for pkg := range arrows {
		if !seen[pkg] {
			t.Errorf("there is no package %s", pkg)
		}
	}
	// What the sentences of the design say, over all that is imported through
	// others.
	for pkg, never := range map[string][]string{
		"./emulate": {"oubliette/policy", "oubliette/jail", "oubliette/internal/ptrace", "oubliette/internal/stub", "go.uber.org/zap"},
		"./policy":  {"oubliette/emulate", "oubliette/fdtable", "oubliette/jail", "oubliette/internal/ptrace", "go.uber.org/zap"},
		"./fdtable": {"oubliette/emulate", "oubliette/policy", "oubliette/jail"},
	} {
		deps := list("-deps", pkg)
		for _, n := range never {
			if slices.Contains(deps, n) {
				t.Errorf("%s depends on %s", pkg, n)
			}
		}
	}
}
