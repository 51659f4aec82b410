//go:build linux

package vfs

// SetCacheLimit makes the name cache fade after n names.
func (ns *Namespace) SetCacheLimit(n int) { ns.maxCached = n }

// Remember has k remember n bytes less than it may.
func (k *Answers) Remember(n int64) { k.size = maxAnswers - n }

// Bounds for tests.
const (
	MaxCached  = maxCached
	MaxListing = maxListing
)

// Listed is how many names open directories hold.
func (ns *Namespace) Listed() int { return ns.listed }
