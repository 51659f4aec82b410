// Package vfs is the tree of files a guest sees.
//
// A file system is Go values: an inode is a [Node], and what it can do is said by
// small interfaces it also has ([Directory], [Creator], [Opener], [Xattrer], …).
// [Mem] is one in memory, with everything a local Linux file system has; others
// show directories of the host, an io/fs.FS, or one over the other.
//
// A [Namespace] mounts them into one tree. A place in it is a [Dentry]: what a
// descriptor, a working directory and a root remember, what a rename moves, and
// what is left when the name is gone. Its methods are the calls that make, move
// and remove names, with Linux's checks in Linux's order. A [Walk] finds a Dentry
// for a path; nothing else knows what "..", a symbolic link or a trailing slash
// means. [FS] shows a tree to Go code.
//
//	m := vfs.NewMem(vfs.MemOptions{Bytes: 64 << 20})
//	ns := vfs.NewNamespace(m.Root())
//	f, err := vfs.Walk{Root: ns.Root(), Missing: true}.Do("/greeting")
//	if err == nil && f.Dentry == nil {
//		f.Dentry, err = f.Dir.Create(vfs.Cred{}, f.Name, 0o644, 0)
//	}
//
// # Who is trusted
//
// Names and data come from the guest and may be anything; no call panics on them,
// and what they can make this package hold is bounded by a [Quota] and by the
// name cache's limit. Permission is checked by the caller with [Access], and by
// the methods of Dentry and Walk themselves where a directory is searched or
// changed: a Node is never asked whether it may be read.
//
// Nothing here locks. A namespace and all that is mounted in it belong to one
// goroutine at a time.
//
// # What differs from Linux
//
// fs.protected_hardlinks is on; fs.protected_symlinks, _fifos and _regular are
// off. A page written through a shared mapping beyond a quota is noticed at the
// next mmap, not by SIGBUS. Within one walk a symbolic link's text counts towards
// no length limit.
package vfs
