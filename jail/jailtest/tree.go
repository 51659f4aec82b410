//go:build linux && amd64

package jailtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing/fstest"
	"time"
)

// Txtar is the files of a txtar archive: each begins with a line "-- name --".
// Files that begin with #! are executable. The text before the first file is a
// comment.
func Txtar(text string) fs.FS {
	m := make(fstest.MapFS)
	for _, f := range parseArchive(text).files {
		m[path.Clean(f.name)] = &fstest.MapFile{Data: []byte(f.data), Mode: 0o644}
	}
	return m
}

// archive is a txtar file.
type archive struct {
	comment string
	files   []archived
}

type archived struct{ name, data string }

func parseArchive(text string) *archive {
	a := &archive{}
	part := &a.comment
	for line := range strings.Lines(text) {
		if name, ok := fileLine(line); ok {
			a.files = append(a.files, archived{name: name})
			part = &a.files[len(a.files)-1].data
			continue
		}
		if !strings.HasSuffix(line, "\n") {
			line += "\n" // as x/tools/txtar has it
		}
		*part += line
	}
	return a
}

// fileLine takes "-- name --" apart.
func fileLine(line string) (name string, ok bool) {
	name, ok = strings.CutPrefix(strings.TrimRight(line, "\r\n"), "-- ")
	if ok {
		name, ok = strings.CutSuffix(name, " --")
	}
	name = strings.TrimSpace(name)
	return name, ok && name != ""
}

// text is the archive's file.
func (a *archive) text() string {
	b := []byte(a.comment)
	for _, f := range a.files {
		b = fmt.Appendf(b, "-- %s --\n%s", f.name, f.data)
		if f.data != "" && !strings.HasSuffix(f.data, "\n") {
			b = append(b, '\n')
		}
	}
	return string(b)
}

// file is the file of that name, nil if there is none.
func (a *archive) file(name string) *archived {
	for i := range a.files {
		if path.Clean(a.files[i].name) == name {
			return &a.files[i]
		}
	}
	return nil
}

// copyTree is files with what differs from checkout to checkout made equal: times,
// owners, and all permissions but whether a file may be executed.
func copyTree(files fs.FS, at time.Time) (fs.FS, error) {
	// With a Sys, IOFS believes the modes.
	m := make(fstest.MapFS)
	if files == nil {
		files = fstest.MapFS{}
	}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !fs.ValidPath(name) || m[name] != nil { // of an fstest.MapFS that has "/a" or "../a"
			return fmt.Errorf("entry %q: write paths from the root, without / or .. before them", d.Name())
		}
		f := &fstest.MapFile{ModTime: at, Sys: &syscall.Stat_t{}}
		switch d.Type() {
		case fs.ModeDir:
			f.Mode = fs.ModeDir | 0o755
		case fs.ModeSymlink:
			target, err := fs.ReadLink(files, name)
			if err != nil {
				return err
			}
			f.Mode, f.Data = fs.ModeSymlink|0o777, []byte(target)
		case 0:
			info, err := d.Info()
			if err != nil {
				return err
			}
			if f.Data, err = fs.ReadFile(files, name); err != nil {
				return err
			}
			f.Mode = 0o644
			if info.Mode()&0o100 != 0 || bytes.HasPrefix(f.Data, []byte("#!")) || bytes.HasPrefix(f.Data, []byte("\x7fELF")) {
				f.Mode = 0o755
			}
		default:
			return fmt.Errorf("%s: a tree has files, directories and symlinks", name)
		}
		m[name] = f
		return nil
	})
	return m, err
}
