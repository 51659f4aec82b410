//go:build linux

package vfs_test

import (
	"archive/zip"
	"bytes"
	"embed"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
	"oubliette/internal/arena"
)

//go:embed doc.go
var embedded embed.FS

func mustIOFS(t testing.TB, fsys fs.FS) vfs.Node {
	t.Helper()
	n, err := vfs.NewIOFS(fsys, vfs.IOFSOptions{Owner: vfs.Owner{UID: 7, GID: 8}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func zipped(t *testing.T, files map[string]string) *zip.Reader {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Unix(1000, 0)}
		h.SetMode(0o755)
		if target, ok := strings.CutPrefix(text, "->"); ok {
			h.SetMode(fs.ModeSymlink | 0o777)
			text = target
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestIOFSThroughFS mounts an fs.FS, shows the mount as an fs.FS and lets
// testing/fstest judge.
func TestIOFSThroughFS(t *testing.T) {
	big := strings.Repeat("compressible ", 100000)
	dir := t.TempDir()
	mustWrite(t, dir+"/bin/tool", big)
	os.Symlink("tool", dir+"/bin/link")
	for name, fsys := range map[string]fs.FS{
		"map": fstest.MapFS{
			"bin/tool": {Data: []byte(big), Mode: 0o755, ModTime: time.Unix(5, 0)},
			"bin/link": {Data: []byte("tool"), Mode: fs.ModeSymlink | 0o777},
		},
		"zip": zipped(t, map[string]string{"bin/tool": big, "bin/link": "->tool"}),
		"dir": os.DirFS(dir),
	} {
		t.Run(name, func(t *testing.T) {
			ns := vfs.NewNamespace(mustIOFS(t, fsys))
			defer ns.Close()
			if err := fstest.TestFS(vfs.FS(ns.Root(), nil), "bin/tool"); err != nil {
				t.Error(err)
			}
			b, err := fs.ReadFile(vfs.FS(ns.Root(), nil), "bin/link")
			if string(b) != big || err != nil {
				t.Errorf("%d bytes through the link, %v", len(b), err)
			}
		})
	}
}

func TestIOFSModes(t *testing.T) {
	root := mustIOFS(t, fstest.MapFS{
		"none":     {Data: []byte("x")},
		"exec":     {Data: []byte("x"), Mode: 0o711},
		"text":     {Data: []byte("x"), Mode: 0o644},
		"embed":    {Data: []byte("x"), Mode: 0o444},
		"setuid":   {Data: []byte("x"), Mode: 0o755 | fs.ModeSetuid},
		"dir/file": {Data: []byte("x")},
		"fifo":     {Mode: fs.ModeNamedPipe | 0o600},
	})
	want := map[string]uint32{
		"none": unix.S_IFREG | 0o555, "exec": unix.S_IFREG | 0o711, "text": unix.S_IFREG | 0o644,
		"embed": unix.S_IFREG | 0o555, "setuid": unix.S_IFREG | 0o755, "dir": unix.S_IFDIR | 0o555, "fifo": unix.S_IFIFO | 0o600,
	}
	got, inodes := map[string]uint32{}, map[uint64]string{}
	for name := range want {
		a, err := mustLookup(t, root, name).Attr()
		if err != nil || a.UID != 7 || a.GID != 8 || a.Ino == 0 || inodes[a.Ino] != "" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		got[name], inodes[a.Ino] = a.Mode, name
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	list, err := root.(vfs.Directory).ReadDir()
	for _, e := range list {
		if inodes[e.Ino] != e.Name || e.Type != got[e.Name]&unix.S_IFMT {
			t.Errorf("listed as %+v", e)
		}
	}
	if len(list) != len(want) || err != nil {
		t.Errorf("%d names, %v", len(list), err)
	}
	for _, name := range []string{"nothing", "..", ".", "dir/file", "a\xff"} {
		if _, err := root.(vfs.Directory).Lookup(name); err != unix.ENOENT {
			t.Errorf("lookup %q: %v", name, err)
		}
	}
	if _, err := mustLookup(t, root, "none").(vfs.Opener).Open(unix.O_RDWR); err != unix.EROFS {
		t.Errorf("open for writing: %v", err)
	}
	if _, err := mustLookup(t, root, "fifo").(vfs.Opener).Open(unix.O_RDONLY); err != unix.ENXIO {
		t.Errorf("open of a FIFO: %v", err)
	}
	if a, _ := mustLookup(t, mustIOFS(t, embedded), "doc.go").Attr(); a.Mode != unix.S_IFREG|0o555 || a.Mtime.Sec != 0 {
		t.Errorf("embedded: %+v", a)
	}
}

// TestSharedArena maps files of the host, of fs.FSs and of overlays over them.
func TestSharedArena(t *testing.T) {
	cache, err := arena.NewCache(1<<20, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	own, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ro, err := cache.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	text := strings.Repeat("0123456789abcdef", 1024) // 16 KiB
	dir := t.TempDir()
	mustWrite(t, dir+"/f", text)
	lower := mustHost(t, dir, vfs.HostOptions{Frozen: true})
	for name, root := range map[string]vfs.Node{
		"host":     lower,
		"live":     mustHost(t, dir, vfs.HostOptions{}),
		"zip":      mustIOFS(t, zipped(t, map[string]string{"f": text})),
		"embed":    mustIOFS(t, fstest.MapFS{"f": {Data: []byte(text)}}),
		"overlay":  mustOverlay(t, mustHost(t, dir, vfs.HostOptions{Frozen: true}), vfs.MemOptions{}),
		"overlay2": mustOverlay(t, mustIOFS(t, zipped(t, map[string]string{"f": text})), vfs.MemOptions{}),
	} {
		f := mustOpen(t, mustLookup(t, root, "f"), unix.O_RDONLY)
		m := f.(fdtable.Mapper)
		if _, err := m.Map(0, 4096, false); err != unix.ENODEV {
			t.Errorf("%s: without an arena: %v", name, err)
		}
		if err := root.(vfs.Arenas).UseArenas(own, cache); err != nil {
			t.Fatal(err)
		}
		at, err := m.Map(4096, 8192, false)
		if err != nil || at.Arena != fdtable.ArenaShared {
			t.Fatalf("%s: %+v, %v", name, at, err)
		}
		p := make([]byte, 8192)
		if _, err := ro.ReadAt(p, at.Offset); err != nil || string(p) != text[4096:12288] {
			t.Errorf("%s: mapped %.20q, %v", name, p, err)
		}
		if !strings.HasPrefix(name, "overlay") {
			if _, err := m.Map(0, 4096, true); err != unix.ENODEV {
				t.Errorf("%s: shared writable: %v", name, err)
			}
		} else {
			// Open for writing: in the jail's own arena, where writes show.
			w := mustOpen(t, mustLookup(t, root, "f"), unix.O_RDWR)
			at, err := w.(fdtable.Mapper).Map(4096, 4096, false)
			if err != nil || at.Arena != fdtable.ArenaOwnRead {
				t.Fatalf("%s: %+v, %v", name, at, err)
			}
			w.(io.WriterAt).WriteAt([]byte("WRITTEN"), 4100)
			if _, err := own.File().ReadAt(p[:4096], at.Offset); err != nil || string(p[:16]) != "0123WRITTENbcdef" {
				t.Errorf("%s: after a write %.20q, %v", name, p, err)
			}
			w.Close()
		}
		f.Close()
		if err := root.(vfs.Arenas).UseArenas(nil, nil); err != nil {
			t.Error(err)
		}
	}
}
