// Package hermetic has no code but tests: of a shell script, a git workflow and a
// client of a web service, by package jailtest. They pass on a machine without
// network, git configuration and home, twice the same, and write nothing of it:
//
//	go test -v ./examples/hermetic
package hermetic
