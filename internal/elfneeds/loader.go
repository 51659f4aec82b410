package elfneeds

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hwcaps is the directory of variants for newer processors, below any directory
// ld.so searches. All of them are needed: which is taken, the processor decides.
const hwcaps = "/glibc-hwcaps/"

// loader is how one ELF interpreter searches.
type loader struct {
	musl     bool
	defaults []string            // directories it searches by itself
	lib      string              // what $LIB stands for
	cache    map[string][]string // glibc's /etc/ld.so.cache: paths by name
	hwcaps   map[string][]os.DirEntry
	config   string // a file without which it would search less, "" if none
}

const cacheFile = "/etc/ld.so.cache"

// newLoader is the loader at path, whose file is real.
func newLoader(path, real string) loader {
	if strings.HasPrefix(filepath.Base(path), "ld-musl-") {
		return muslLoader(path)
	}
	// glibc's own directory is the one it was built to search.
	dir := filepath.Dir(real)
	root := strings.TrimPrefix(dir, "/usr")
	return loader{
		defaults: []string{root, dir, "/lib", "/usr/lib"},
		lib:      strings.TrimPrefix(root, "/"),
		cache:    readCache(cacheFile),
		hwcaps:   map[string][]os.DirEntry{},
	}
}

// muslLoader reads the list of directories that stands in etc beside the lib
// where the loader is (ldso/dynlink.c:load_library).
func muslLoader(path string) loader {
	l := loader{musl: true, lib: "lib", defaults: []string{"/lib", "/usr/local/lib", "/usr/lib"}}
	name := strings.TrimSuffix(filepath.Base(path), ".so.1") + ".path"
	config := filepath.Join(filepath.Dir(filepath.Dir(path)), "etc", name)
	if text, err := os.ReadFile(config); err == nil {
		l.config = config
		l.defaults = strings.FieldsFunc(string(text), func(r rune) bool { return r == ':' || r == '\n' })
	}
	return l
}

// builtin tells whether name is part of the loader itself: musl is its own C
// library under all these names.
func (l *loader) builtin(name string) bool {
	stem, ok := strings.CutPrefix(name, "lib")
	stem, _, dot := strings.Cut(stem, ".")
	return l.musl && ok && dot && slices.Contains([]string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}, stem)
}

// candidates are the absolute paths at which o's need for name is looked for, in
// order.
func (l *loader) candidates(o *object, name string, libraryPath []string) []string {
	if strings.Contains(name, "/") {
		return slices.DeleteFunc([]string{l.expand(o, name)}, func(p string) bool { return !filepath.IsAbs(p) })
	}
	var paths []string
	in := func(from *object, dirs []string) {
		for _, dir := range dirs {
			if dir = l.expand(from, dir); filepath.IsAbs(dir) {
				for _, variant := range l.variants(dir) {
					paths = append(paths, filepath.Join(dir, hwcaps, variant.Name(), name))
				}
				paths = append(paths, filepath.Join(dir, name))
			}
		}
	}
	for p := o; p != nil; p = p.parent {
		switch {
		case l.musl && p.runpath != nil: // musl takes both the same way
			in(p, p.runpath)
		case l.musl || o.runpath == nil && p.runpath == nil:
			in(p, p.rpath)
		}
	}
	in(o, libraryPath)
	if !l.musl {
		in(o, o.runpath)
	}
	paths = append(paths, l.cache[name]...)
	in(o, l.defaults)
	return paths
}

// variants are the directories for newer processors below dir.
func (l *loader) variants(dir string) []os.DirEntry {
	if l.musl {
		return nil
	}
	found, known := l.hwcaps[dir]
	if !known {
		found, _ = os.ReadDir(dir + hwcaps) // usually there is none
		l.hwcaps[dir] = found
	}
	return found
}

// foundAt takes note that a library was found: if only the cache knows the place,
// the cache is needed too.
func (l *loader) foundAt(path string) {
	dir, _, _ := strings.Cut(path, hwcaps)
	if dir == path {
		dir = filepath.Dir(path)
	}
	if slices.Contains(l.cache[filepath.Base(path)], path) && !slices.Contains(l.defaults, dir) {
		l.config = cacheFile
	}
}

// expand replaces what stands for something else in o's paths (ld.so(8),
// "Dynamic string tokens").
func (l *loader) expand(o *object, path string) string {
	for _, token := range [][2]string{{"ORIGIN", filepath.Dir(o.path)}, {"LIB", l.lib}, {"PLATFORM", "x86_64"}} {
		path = strings.ReplaceAll(path, "${"+token[0]+"}", token[1])
		path = strings.ReplaceAll(path, "$"+token[0], token[1])
	}
	return path
}

// readCache reads the x86-64 entries of a cache in glibc's format since 2.2
// (sysdeps/generic/dl-cache.h), nil if there is none.
func readCache(file string) map[string][]string {
	const (
		magic   = "glibc-ld.so.cache1.1"
		header  = 48
		entry   = 24
		x86_64  = 0x0303 // FLAG_X8664_LIB64 | FLAG_ELF_LIBC6
		maxFile = 64 << 20
	)
	text, err := os.ReadFile(file)
	if err != nil || len(text) > maxFile {
		return nil
	}
	start := bytes.Index(text, []byte(magic)) // an older format may come before it
	if start < 0 || len(text)-start < header {
		return nil
	}
	text = text[start:]
	str := func(at uint32) string {
		if uint64(at) >= uint64(len(text)) {
			return ""
		}
		s, _, _ := bytes.Cut(text[at:], []byte{0})
		return string(s)
	}
	cache := map[string][]string{}
	n := binary.LittleEndian.Uint32(text[20:])
	for e := text[header:]; n > 0 && len(e) >= entry; e, n = e[entry:], n-1 {
		if binary.LittleEndian.Uint32(e) == x86_64 {
			name, path := str(binary.LittleEndian.Uint32(e[4:])), str(binary.LittleEndian.Uint32(e[8:]))
			if filepath.IsAbs(path) {
				cache[name] = append(cache[name], path)
			}
		}
	}
	return cache
}
