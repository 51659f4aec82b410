//go:build linux

package vfs_test

import (
	"fmt"
	"io/fs"
	"os"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
)

func ExampleNewHost() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	_ = os.WriteFile(dir+"/letter", []byte("dear guest"), 0o644)
	_ = os.Symlink("/etc/passwd", dir+"/out")

	root, err := vfs.NewHost(dir, vfs.HostOptions{Frozen: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	ns := vfs.NewNamespace(root)
	defer ns.Close()
	text, err := fs.ReadFile(vfs.FS(ns.Root(), nil), "letter")
	fmt.Printf("%s, %v\n", text, err)
	_, err = vfs.Walk{Root: ns.Root()}.Do("/out") // There is no /etc/passwd in this tree.
	fmt.Println(err)
	// Output:
	// dear guest, <nil>
	// no such file or directory
}

func ExampleNewOverlay() {
	lower, err := vfs.NewIOFS(fstest.MapFS{
		"etc/motd": {Data: []byte("welcome"), Mode: 0o644},
		"etc/old":  {Data: []byte("old"), Mode: 0o644},
	}, vfs.IOFSOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	root, err := vfs.NewOverlay(lower, vfs.MemOptions{Bytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	ns := vfs.NewNamespace(root)
	f, err := vfs.Walk{Root: ns.Root()}.Do("/etc/motd")
	if err != nil {
		fmt.Println(err)
		return
	}
	err = f.Dentry.Node.(vfs.Truncater).Truncate(3)
	fmt.Println(err, f.Dir.Unlink(vfs.Cred{}, "old"))
	_, err = f.Dir.Create(vfs.Cred{}, "new", unix.S_IFREG|0o600, 0)
	fmt.Println(err)
	for _, c := range ns.Changes() {
		fmt.Println(c.Kind, c.Path, c.Mode)
	}
	// Output:
	// <nil> <nil>
	// <nil>
	// modified /etc/motd -rw-r--r--
	// created /etc/new -rw-------
	// removed /etc/old -rw-r--r--
}
