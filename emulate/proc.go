//go:build linux

package emulate

import "oubliette/emulate/vfs"

// NewProc returns the file system of /proc.
func NewProc(*System) vfs.Node { return vfs.NewMem(vfs.MemOptions{}).Root() }
