// Package fdtable says what a descriptor number means.
//
// Three layers, as in Linux: a [Table] maps numbers to open file descriptions
// and carries close-on-exec; a [Description] holds the offset and status flags
// that dup(2) and fork(2) share; a [File] is the thing itself, any Go value with
// a Close method and the abilities it cares to have.
//
// Nothing here locks or blocks: one goroutine, the warden, owns a jail's tables.
package fdtable
