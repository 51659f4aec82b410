//go:build linux

package emulate

// nameCalls are the calls on names, directories and metadata.
var nameCalls = []Row{}
