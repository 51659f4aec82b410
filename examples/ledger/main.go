//go:build linux && amd64

// Command ledger runs a program over the caller's world, lets it change nothing,
// and lists, with SHA-256 digests, the programs that ran, the files they opened as
// these were then, what they wrote, and the standard streams.
//
//	go run ./examples/ledger sh -c 'sort /etc/passwd | tee sorted'
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: ledger command [args…]")
	}
	lines, err := record(os.Stdin, os.Stdout, os.Args[1:]...)
	fmt.Fprintln(os.Stderr, strings.TrimSpace(strings.Join(lines, "\n")))
	if err != nil {
		log.Fatal(err)
	}
}

// ledger is what was seen first of each path, "" for what the program made itself.
type ledger map[string]string

// record runs a command and returns its ledger, sorted.
func record(stdin io.Reader, stdout io.Writer, argv ...string) (lines []string, err error) {
	l := make(ledger)
	j := &jail.Jail{Handlers: map[string]emulate.Handler{"execve": after("execve", l.ran), "execveat": after("execveat", l.ran)}}
	for _, call := range []string{"open", "openat", "openat2", "creat"} {
		j.Handlers[call] = after(call, l.opened)
	}
	in, out := sha256.New(), sha256.New()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, _ = os.Getwd() // "" is the home directory
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.TeeReader(stdin, in), io.MultiWriter(stdout, out), os.Stderr
	program, _ := os.ReadFile(cmd.Path) // the host's tree is the guest's; Spawn says what is wrong with it
	proc, err := j.Spawn(cmd, policy.Overlay())
	if err != nil {
		return nil, err
	}
	err = proc.Wait()
	lines = append(slices.Collect(maps.Values(l)), entry("ran", cmd.Path, hashOf(bytes.NewReader(program))),
		entry("read", "standard input", in), entry("wrote", "standard output", out))
	for _, c := range proc.Changes() {
		if content, e := fs.ReadFile(proc.Tree(), c.Path[1:]); e == nil {
			lines = append(lines, entry("wrote", c.Path, hashOf(bytes.NewReader(content))))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(lines))), err
}

// after is the call with something behind it if it went well.
func after(call string, do func(c *emulate.Call, result uint64)) emulate.Handler {
	next := emulate.HandlerOf(call)
	return func(c *emulate.Call) (result uint64, err error) {
		if result, err = next(c); err == nil {
			do(c, result)
		}
		return result, err
	}
}

// opened notes what is at a new descriptor, before anybody reads it.
func (l ledger) opened(c *emulate.Call, fd uint64) {
	d, _ := c.Task.FDs.Get(int(fd))
	if at, ok := d.Entry.(*vfs.Dentry); ok && d.Created {
		l[at.Path()] = ""
	} else if ok && d.Reads() {
		l.note("read", at)
	}
}

// ran notes the program that a process has become.
func (l ledger) ran(c *emulate.Call, _ uint64) { l.note("ran", c.Task.Process.Exe) }

// note digests the regular file at d, unless it is virtual or was seen before.
func (l ledger) note(what string, d *vfs.Dentry) {
	path := d.Path()
	a, err := d.Attr()
	if _, seen := l[path]; seen || err != nil || a.Mode&unix.S_IFMT != unix.S_IFREG || strings.HasPrefix(path, "/proc/") {
		return
	}
	if f, err := d.Open(unix.O_RDONLY); err == nil {
		defer f.Close()
		l[path] = entry(what, path, hashOf(io.NewSectionReader(f.(io.ReaderAt), 0, a.Size)))
	}
}

// hashOf is of what r has to give: what we cannot read, the program cannot.
func hashOf(r io.Reader) hash.Hash {
	h := sha256.New()
	_, _ = io.Copy(h, r)
	return h
}

func entry(what, path string, h hash.Hash) string {
	return fmt.Sprintf("%-5s %x %s", what, h.Sum(nil), path)
}
