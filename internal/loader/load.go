//go:build linux

package loader

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// File is a program file open for execution.
type File interface {
	fdtable.File
	io.ReaderAt
	fdtable.Sizer
	fdtable.Mapper
}

// Open opens the file that execve finds under path and checks that it may be
// executed: open_exec of fs/exec.c. It is called for the program, for each
// interpreter of a "#!" line and for the ELF interpreter. ENOENT, EACCES, ….
type Open func(path string) (File, error)

// interpreter opens a path found in a file. An empty one is no ENOENT there but
// the working directory, which is not to be executed.
func (open Open) interpreter(path string) (File, error) {
	if path == "" {
		return nil, unix.EACCES
	}
	return open(path)
}

// Options are what execve's outcome depends on beside the files. The zero
// Options load without address randomization.
type Options struct {
	// Random gives the random bits of the program's address. nil: the lowest.
	Random io.Reader
	// PathInaccessible: the path will not name the file after the execve (it
	// is under a close-on-exec descriptor, see execveat(2)), so a script is
	// ENOENT.
	PathInaccessible bool
}

// maxRewrites is how many "#!" lines are followed: fs/exec.c:exec_binprm.
const maxRewrites = 5

// headSize is how much of a file is looked at first: BINPRM_BUF_SIZE.
const headSize = 256

// Load finds out how to run path with args. Every file it opens is closed again
// when it returns. The error is the unix.Errno of execve(2), or what open and
// the files gave:
//
//	ENOEXEC  not a program, or a malformed one
//	ELIBBAD  the ELF interpreter is malformed
//	ELOOP    too many "#!" in a row
//	ENOENT   an interpreter is missing; EACCES: it may not be executed
//	ENOMEM   a segment wants an address that is not to be had
//	EIO      the name or the header of the interpreter could not be read
func Load(open Open, path string, args []string, o Options) (*Image, error) {
	if len(args) == 0 {
		args = []string{""} // fs/exec.c:do_execveat_common
	}
	name := path
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	for depth := 0; ; depth++ {
		if depth > maxRewrites {
			return nil, unix.ELOOP
		}
		var head [headSize]byte
		if n, err := f.ReadAt(head[:], 0); n < len(head) && err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if string(head[:2]) != "#!" {
			im, err := loadELF(open, f, head[:], o.Random)
			if err != nil {
				return nil, err
			}
			im.Program, im.Path, im.Args, im.ExecFn = f, name, args, path
			return im, nil
		}
		interp, arg, ok := scriptLine(head)
		if !ok {
			return nil, unix.ENOEXEC
		}
		if o.PathInaccessible {
			return nil, unix.ENOENT
		}
		args = slices.Concat([]string{interp}, arg, []string{name}, args[1:])
		next, err := open.interpreter(interp)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		f, name = next, interp
	}
}

// scriptLine splits a "#!" line into the interpreter's path and at most one
// argument, as fs/binfmt_script.c:load_script does. A path that may go on behind
// the buffer is refused; a cut argument is not. Beyond a file's end the buffer
// is zero, and a zero byte ends a string as it does in C.
func scriptLine(buf [headSize]byte) (interp string, arg []string, ok bool) {
	line := buf[2:]
	if i := bytes.IndexAny(line, "\n\x00"); i >= 0 && line[i] == '\n' {
		line = line[:i]
	} else {
		rest := bytes.TrimLeft(line, " \t")
		if !bytes.ContainsAny(rest, " \t\x00") {
			return "", nil, false
		}
		line = line[:len(line)-1]
	}
	line = bytes.Trim(line, " \t")
	if len(line) == 0 {
		return "", nil, false
	}
	end := bytes.IndexAny(line, " \t\x00")
	if end < 0 {
		return string(line), nil, true
	}
	if line[end] != 0 {
		arg = []string{cString(bytes.TrimLeft(line[end:], " \t"))}
	}
	return string(line[:end]), arg, true
}

// cString is b up to its first zero byte.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
