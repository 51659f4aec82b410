//go:build linux

package vfs_test

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

func Example() {
	m := vfs.NewMem(vfs.MemOptions{Bytes: 1 << 20})
	ns := vfs.NewNamespace(m.Root())
	guest := vfs.Cred{} // user 0

	// open("/greeting", O_CREAT|O_RDWR, 0644)
	f, err := vfs.Walk{Root: ns.Root(), Cred: guest, Missing: true}.Do("/greeting")
	if err != nil {
		fmt.Println(err)
		return
	}
	entry, err := f.Dir.Create(guest, f.Name, 0o644, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := entry.Open(unix.O_RDWR)
	if err != nil {
		fmt.Println(err)
		return
	}
	d := fdtable.NewDescription(file, entry, unix.O_RDWR)
	_, err = d.WriteFile([]byte("hello, guest"), -1)
	fmt.Println(entry.Path(), err, d.Release())

	text, err := fs.ReadFile(vfs.FS(ns.Root(), nil), "greeting")
	fmt.Println(string(text), err)
	// Output:
	// /greeting <nil> <nil>
	// hello, guest <nil>
}

func ExampleNamespace_Mount() {
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	if err := ns.Mount("/var/tmp", vfs.NewMem(vfs.MemOptions{Mode: 0o1777}).Root()); err != nil {
		fmt.Println(err)
	}
	for _, m := range ns.Mounts() {
		fmt.Println(m.Source, m.Path, m.Type, m.Options)
	}
	// Output:
	// tmpfs / tmpfs rw,relatime
	// tmpfs /var/tmp tmpfs rw,relatime
}

func ExampleWalk() {
	ns := vfs.NewNamespace(vfs.NewMem(vfs.MemOptions{}).Root())
	if _, err := ns.Root().Symlink(vfs.Cred{}, "loop", "loop"); err != nil {
		fmt.Println(err)
	}
	for _, path := range []string{"/..", "loop", "missing", "missing/"} {
		f, err := vfs.Walk{Root: ns.Root(), Missing: true}.Do(path)
		fmt.Printf("%s: %q %v %v\n", path, f.Name, f.Slash, err)
	}
	// Output:
	// /..: ".." false <nil>
	// loop: "" false too many levels of symbolic links
	// missing: "missing" false <nil>
	// missing/: "missing" true <nil>
}
