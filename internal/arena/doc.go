// Package arena holds the bytes that guests map.
//
// A guest cannot be given a descriptor for each file it maps, so it inherits one
// for all of them: an [Arena], a sparse memfd in which every mappable file owns a
// slot. Slots lie 2^47 bytes apart, which is the whole address space of a
// process, so no one mapping reaches a neighbour. A chain of mremap(2) calls would:
// each moves a mapping's last page and grows it. So growing one is the warden's to
// allow.
//
// There are two kinds. A jail's in-memory files live in an Arena of its own,
// single-threaded like everything a warden owns. Immutable files of the host are
// in a [Cache], one for all jails of the process, which guests get read-only.
//
// What the gap does not give is the end of a file: beyond the last page a mapping
// reads zeros where Linux raises SIGBUS, and each page it reads is memory. So of an
// immutable file no more than there is may be mapped.
package arena
