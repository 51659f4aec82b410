//go:build linux

package vfs

// HideOpenat2 makes a host mount do as where seccomp hides openat2.
func HideOpenat2(n Node) {
	switch n := n.(type) {
	case *hostNode:
		n.h.plain = true
	case hostRW:
		n.h.plain = true
	}
}

// SetMaxHostFDs lets all mounts together have n descriptors more than now.
func SetMaxHostFDs(n int64) (restore func()) {
	old := maxHostFDs
	bound := hostFDs.Load() + n
	maxHostFDs = func() int64 { return bound }
	return func() { maxHostFDs = old }
}
