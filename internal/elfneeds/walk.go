// Package elfneeds finds the files a program needs before its first instruction:
// its "#!" interpreters, its ELF interpreter, and the shared libraries that this
// will load, found as ld.so(8) and musl's loader find them.
//
// What a program opens by itself is not among them: libraries it loads with
// dlopen (plug-ins, name services, character sets), data, and the program that
// /usr/bin/env looks up.
package elfneeds

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// File is one host path that must exist for the program to run.
type File struct {
	Path string // absolute; its directories are no symlinks
	Link string // what the symlink says; "" for a regular file
}

const (
	maxScripts = 5    // fs/exec.c:exec_binprm follows no longer chain of "#!"
	maxLine    = 256  // BINPRM_BUF_SIZE: the kernel reads no more of a file to know it
	maxLinks   = 40   // MAXSYMLINKS
	maxObjects = 4096 // libraries of one program; the largest known need a few hundred
)

// Walk lists the files that program, an absolute host path, needs, itself first
// (or the symlinks to it). Symlinks on the way to a file, to its directories also,
// come with what they point at. libraryPath is the guest's LD_LIBRARY_PATH, split.
//
// The error wraps ENOEXEC if a file is not what Linux on x86-64 runs, ENOENT if
// one is missing, and says which and who needs it.
func Walk(program string, libraryPath ...string) ([]File, error) {
	if !filepath.IsAbs(program) {
		return nil, fmt.Errorf("%s: %w: not an absolute path", program, syscall.EINVAL)
	}
	w := &walker{seen: map[string]bool{}, links: map[string]string{}, asked: map[string]bool{}, loaded: map[string]bool{}, libraryPath: libraryPath}
	for range maxScripts + 1 {
		real, err := w.add(program)
		if err != nil {
			return nil, err
		}
		interpreter, err := script(real)
		if err != nil {
			return nil, err
		}
		if interpreter == "" {
			err := w.program(real)
			return w.files, err
		}
		if !filepath.IsAbs(interpreter) {
			return nil, fmt.Errorf("%s: %w: its interpreter %q is not an absolute path", program, syscall.ENOEXEC, interpreter)
		}
		program = interpreter
	}
	return nil, fmt.Errorf("%s: %w: more than %d interpreters of interpreters", program, syscall.ELOOP, maxScripts)
}

// script is the interpreter that the file's first line names, "" if none.
func script(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line := make([]byte, maxLine)
	n, _ := f.ReadAt(line, 0) // an empty or unreadable file is no script
	line, isScript := bytes.CutPrefix(line[:n], []byte("#!"))
	if !isScript {
		return "", nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' || r == 0 })
	if len(words) == 0 {
		return "", fmt.Errorf("%s: %w: its first line names no interpreter", file, syscall.ENOEXEC)
	}
	return words[0], nil
}

// walker is one Walk.
type walker struct {
	files       []File
	seen        map[string]bool   // paths in files
	links       map[string]string // what symlinks say, "" for other files
	asked       map[string]bool   // library names that need no more search
	loaded      map[string]bool   // files whose own needs are known
	libraryPath []string
	loader      loader
}

// add lists the path and every symlink on the way, and returns where it ends, a
// regular file.
func (w *walker) add(path string) (string, error) {
	at, todo := "/", strings.Split(path, "/")
	var links []File
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		next := filepath.Join(at, name) // at holds no symlink, so ".." may be cut off as text
		link, known := w.links[next]
		if !known {
			link, _ = os.Readlink(next) // fails for what is no symlink, or not there: the Lstat below tells
			w.links[next] = link
		}
		if link == "" || name == ".." {
			at = next
			continue
		}
		if len(links) == maxLinks {
			return "", &os.PathError{Op: "resolve", Path: path, Err: syscall.ELOOP}
		}
		links = append(links, File{next, link})
		if todo = append(strings.Split(link, "/"), todo...); filepath.IsAbs(link) {
			at = "/"
		}
	}
	info, err := os.Lstat(at)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: %w: not a regular file", path, syscall.EACCES)
	}
	for _, f := range append(links, File{Path: at}) {
		if !w.seen[f.Path] {
			w.seen[f.Path] = true
			w.files = append(w.files, f)
		}
	}
	return at, nil
}

// program follows an ELF program's interpreter and libraries.
func (w *walker) program(path string) error {
	exe, err := readObject(path)
	if err != nil {
		return err
	}
	if exe.interpreter == "" {
		return nil // static
	}
	real, err := w.add(exe.interpreter)
	if err != nil {
		return fmt.Errorf("the interpreter of %s: %w", path, err)
	}
	if _, err := readObject(real); err != nil {
		return fmt.Errorf("the interpreter of %s: %w", path, err)
	}
	w.loader = newLoader(exe.interpreter, real)
	w.asked[filepath.Base(exe.interpreter)], w.loaded[real] = true, true
	queue := []*object{exe} // breadth first, as ld.so loads
	for n := 0; len(queue) > 0; n++ {
		if n == maxObjects {
			return fmt.Errorf("%s: more than %d libraries", path, maxObjects)
		}
		found, err := w.needs(queue[0])
		if err != nil {
			return err
		}
		queue = append(queue[1:], found...)
	}
	if w.loader.config != "" {
		_, err = w.add(w.loader.config)
	}
	return err
}

// needs finds the libraries that o needs and that were not found before.
func (w *walker) needs(o *object) (found []*object, err error) {
	for _, name := range o.needed {
		if w.asked[name] || w.loader.builtin(name) {
			continue
		}
		w.asked[name] = true
		any := false
		for _, c := range w.loader.candidates(o, name, w.libraryPath) {
			library, err := readObject(c)
			if err != nil {
				continue // ld.so too goes on past a file for another machine
			}
			real, err := w.add(c)
			if err != nil {
				return nil, err
			}
			any = true
			w.loader.foundAt(c)
			if !w.loaded[real] {
				w.loaded[real] = true
				library.parent = o
				found = append(found, library)
			}
			if !strings.Contains(c, hwcaps) {
				break // a variant for some processors does not stop the search
			}
		}
		if !any {
			return nil, fmt.Errorf("%s needs the library %s: %w in the directories its loader searches", o.path, name, syscall.ENOENT)
		}
	}
	return found, nil
}
