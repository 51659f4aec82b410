// Package fdtable says what a descriptor number means.
//
// Three layers, as in Linux: a [Table] maps numbers to open file descriptions
// and carries close-on-exec; a [Description] holds the offset and status flags
// that dup(2) and fork(2) share; a [File] is the thing itself, any Go value with
// a Close method and the abilities it cares to have:
//
//	type greeting struct{ *strings.Reader } // io.Reader, io.ReaderAt
//
//	func (greeting) Close() error { return nil }
//
//	d := fdtable.NewDescription(greeting{strings.NewReader("hello")}, nil, unix.O_RDONLY)
//	fd, err := table.Install(d, 0, 1024, false)
//
// # Abilities
//
// Each ability is an interface with one method, found by assertion, and its
// comment says what a File without it answers. Go's own come first: io.Reader,
// io.Writer, io.ReaderAt, io.WriterAt. A File with ReadAt and [Sizer] is
// seekable; one with Read alone is a stream. [Poller] is for what may have
// nothing to give: its Read answers EAGAIN, and its [Queue] is woken when that
// changes. Callers never assert an ability themselves where there is a helper
// (ReadFile, WriteFile, Ready), so that every file fails in the same way.
//
// # Ownership
//
// A description counts its references. NewDescription gives one, Install and
// Replace take it over, Retain adds one, Release drops one; the File is closed
// with the last. A table counts the tasks that share it (CLONE_FILES).
//
// Nothing here locks or blocks: one goroutine, the warden, owns a jail's tables.
// Nothing here checks permissions or knows paths either: that is package vfs,
// whose directory entries a description carries as its [Entry].
package fdtable
