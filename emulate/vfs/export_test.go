//go:build linux

package vfs

// SetCacheLimit makes the name cache fade after n names.
func (ns *Namespace) SetCacheLimit(n int) { ns.maxCached = n }
