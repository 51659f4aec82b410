//go:build linux && amd64

package jailtest

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// update is go test's -update.
var update = flag.Bool("update", false, "jailtest: rewrite the files that cmp compares with, in the scripts")

// Run runs every script that pattern (see filepath.Glob) finds as a subtest, in
// parallel. setup may give a script's World programs, hosts and environment. The
// package's manual has the commands.
func Run(t *testing.T, pattern string, setup ...func(*World)) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		t.Fatalf("jailtest: scripts at %s: %v", pattern, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			s := newScript(t, name)
			for _, fn := range setup {
				fn(s.w)
			}
			s.run()
		})
	}
}

// script is a script that runs.
type script struct {
	t       *testing.T
	w       *World
	name    string // of the file
	line    int
	archive *archive
	changed bool // by -update

	dir   string // from /work
	vars  map[string]string
	env   []string
	stdin string
	last  *Result // of exec
}

func newScript(t *testing.T, name string) *script {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	s := &script{t: t, w: New(t), name: name, archive: parseArchive(text), vars: make(map[string]string)}
	s.w.Files = Txtar(text)
	for _, f := range s.archive.files {
		if !fs.ValidPath(path.Clean(f.name)) {
			t.Fatalf("%s: file %q: write a path from %s", name, f.name, workDir)
		}
	}
	return s
}

// fatalf ends the test at the script's line.
func (s *script) fatalf(format string, args ...any) {
	s.t.Helper()
	text := fmt.Sprintf("%s:%d: %s", s.name, s.line, fmt.Sprintf(format, args...))
	if s.last != nil {
		text += fmt.Sprintf("\nafter: %s\nexit status %d\nstdout: %s\nstderr: %s",
			strings.Join(s.last.Args, " "), s.last.Code, s.last.Stdout, s.last.Stderr)
	}
	s.t.Fatal(text)
}

func (s *script) run() {
	s.t.Helper()
	for line := range strings.Lines(s.archive.comment) {
		s.line++
		words, err := splitWords(line, s.getenv)
		if err != nil {
			s.fatalf("%v", err)
		}
		if len(words) > 0 {
			s.do(words)
		}
	}
	if !s.changed {
		return
	}
	if err := os.WriteFile(s.name, []byte(s.archive.text()), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%s: updated", s.name)
}

// getenv is a variable in a script's words: what its env lines set, or World.Env.
func (s *script) getenv(name string) string {
	if v, ok := s.vars[name]; ok {
		return v
	}
	value := map[string]string{"WORK": workDir, "HOME": homeDir, "TMPDIR": tempDir}[name]
	for _, kv := range s.w.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// commands are what a line may begin with: how many arguments it has, and what it
// does. not is that it began with !.
var commands = map[string]struct {
	usage    string
	min, max int
	not      bool // ! is allowed
	do       func(s *script, not bool, args []string)
}{
	"exec":   {"[!] exec program [args]", 1, 1 << 20, true, (*script).exec},
	"stdout": {"[!] stdout pattern", 1, 1, true, func(s *script, not bool, args []string) { s.match(not, "stdout", args[0]) }},
	"stderr": {"[!] stderr pattern", 1, 1, true, func(s *script, not bool, args []string) { s.match(not, "stderr", args[0]) }},
	"cmp":    {"cmp file1 file2", 2, 2, false, (*script).cmp},
	"exists": {"[!] exists file…", 1, 1 << 20, true, (*script).exists},
	"env":    {"env name=value…", 1, 1 << 20, false, (*script).setenv},
	"cd":     {"cd directory", 1, 1, false, (*script).cd},
	"stdin":  {"stdin file", 1, 1, false, func(s *script, _ bool, args []string) { s.stdin = s.text(args[0]) }},
}

func (s *script) do(words []string) {
	s.t.Helper()
	not := words[0] == "!"
	if not {
		words = words[1:]
	}
	if len(words) == 0 {
		s.fatalf("! without a command")
	}
	c, ok := commands[words[0]]
	if !ok {
		s.fatalf("unknown command %q: write exec %[1]s to run a program", words[0])
	}
	if n := len(words) - 1; n < c.min || n > c.max || not && !c.not {
		s.fatalf("usage: %s", c.usage)
	}
	c.do(s, not, words[1:])
}

func (s *script) exec(not bool, args []string) {
	s.t.Helper()
	cmd := s.w.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.env, strings.NewReader(s.stdin)
	s.stdin = ""
	r, err := cmd.try()
	if err != nil {
		s.fatalf("%s: %v", strings.Join(args, " "), err)
	}
	s.last = r
	if r.Code != 0 && !not {
		s.fatalf("failed")
	}
	if r.Code == 0 && not {
		s.fatalf("succeeded, and was to fail")
	}
}

func (s *script) match(not bool, stream, pattern string) {
	s.t.Helper()
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		s.fatalf("%v", err)
	}
	if re.MatchString(s.text(stream)) == not {
		s.fatalf("%s: match of %q is %v", stream, pattern, not)
	}
}

func (s *script) cmp(_ bool, args []string) {
	s.t.Helper()
	got := s.text(args[0])
	golden := s.archive.file(strings.TrimPrefix(s.path(args[1]), workDir[1:]+"/"))
	if *update && golden != nil {
		if golden.data != got {
			if !representable(got) {
				s.fatalf("-update: an archive cannot hold what %s is: it must end with a newline and have no line like -- name --", args[0])
			}
			golden.data, s.changed = got, true
		}
		return
	}
	if want := s.text(args[1]); got != want {
		s.fatalf("%s and %s differ\n%s", args[0], args[1], difference(got, want))
	}
}

// representable says whether txtar gives text back.
func representable(text string) bool {
	a := parseArchive(text)
	return len(a.files) == 0 && a.comment == text
}

// difference shows the first line that differs.
func difference(got, want string) string {
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	at := func(lines []string) string {
		if i >= len(lines) || lines[i] == "" {
			return "the end"
		}
		return fmt.Sprintf("%q", lines[i])
	}
	return fmt.Sprintf("line %d is %s, want %s", i+1, at(g), at(w))
}

func (s *script) exists(not bool, args []string) {
	s.t.Helper()
	for _, name := range args {
		if _, err := fs.Stat(s.w.FS(), s.path(name)); (err == nil) == not {
			s.fatalf("exists %s: %v, %v", name, err == nil, err)
		}
	}
}

func (s *script) setenv(_ bool, args []string) {
	s.t.Helper()
	for _, kv := range args {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			s.fatalf("%q: write name=value", kv)
		}
		s.vars[k], s.env = v, append(s.env, kv)
	}
}

func (s *script) cd(_ bool, args []string) {
	s.t.Helper()
	info, err := fs.Stat(s.w.FS(), s.path(args[0]))
	if err != nil {
		s.fatalf("%v", err)
	}
	if !info.IsDir() {
		s.fatalf("%s: not a directory", args[0])
	}
	s.dir = "/" + s.path(args[0])
}

// path is a file of the script's as World.FS has it.
func (s *script) path(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(s.dir, name)
	}
	return inTree(name)
}

// text is what a file holds, or a stream of the last exec.
func (s *script) text(name string) string {
	s.t.Helper()
	if name == "stdout" || name == "stderr" {
		if s.last == nil {
			s.fatalf("%s: no exec before", name)
		}
		if name == "stdout" {
			return s.last.Stdout
		}
		return s.last.Stderr
	}
	b, err := fs.ReadFile(s.w.FS(), s.path(name))
	if err != nil {
		s.fatalf("%v", err)
	}
	return string(b)
}

// splitWords takes a line apart at blanks. 'Quoted' parts are as they stand, ”
// in one a quote; in others $NAME and ${NAME} are variables, but for patterns,
// where $ is the end. # begins a comment.
func splitWords(line string, getenv func(string) string) (words []string, err error) {
	var word strings.Builder
	begun := false
	expand := func(text string) string {
		if c := strings.TrimPrefix(strings.Join(words, " "), "! "); c == "stdout" || c == "stderr" {
			return text
		}
		return os.Expand(text, getenv)
	}
	for line = strings.TrimRight(line, "\r\n"); line != ""; {
		switch c := line[0]; {
		case c == '#' && !begun:
			return words, nil
		case c == ' ' || c == '\t':
			if begun {
				words, begun = append(words, word.String()), false
				word.Reset()
			}
			line = line[1:]
		case c == '\'':
			begun = true
			end := strings.IndexByte(line[1:], '\'') + 1
			if end == 0 {
				return nil, fmt.Errorf("a quote is not closed")
			}
			word.WriteString(line[1:end])
			if line = line[end+1:]; strings.HasPrefix(line, "'") { // '' in quotes
				word.WriteByte('\'')
			}
		default:
			begun = true
			end := strings.IndexAny(line, " \t'")
			if end < 0 {
				end = len(line)
			}
			word.WriteString(expand(line[:end]))
			line = line[end:]
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
