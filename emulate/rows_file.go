//go:build linux

package emulate

// fileCalls are the calls on descriptors, data and mappings.
var fileCalls = []Row{}
