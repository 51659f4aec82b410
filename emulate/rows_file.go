//go:build linux

package emulate

import "golang.org/x/sys/unix"

// noSplice: as a file system without splice.
const noSplice = "left out: EINVAL is what programs fall back on"

// fileCalls are the calls on descriptors, data and mappings.
var fileCalls = []Row{
	// Opening and descriptors.
	{"close", "fd", closeCall, ""},
	{"close_range", "uint uint flags", close_range, ""},
	{"creat", "path mode", creat, ""},
	{"dup", "fd", dup, ""},
	{"dup2", "fd fd", dup2, ""},
	{"dup3", "fd fd flags", dup3, ""},
	{"fcntl", "fd int ulong", fcntl, "no SIGIO, leases (EINVAL) or dnotify; write hints are checked and forgotten"},
	{"flock", "fd int", flock, ""},
	{"ioctl", "fd uint addr", ioctl, "no inode flags, extents or clones; a terminal's are its own"},
	{"memfd_create", "str flags", memfd_create, "no huge pages"},
	{"memfd_secret", "flags", nil, "memory the warden could not read"},
	{"open", "path flags mode", open, ""},
	{"openat", "dirfd path flags mode", openat, ""},
	{"openat2", "dirfd path addr size", openat2, ""},

	// Data.
	{"copy_file_range", "fd addr fd addr size flags", copy_file_range, "between any two regular files, by copying"},
	{"fadvise64", "fd off off int", fadvise64, "checked and forgotten"},
	{"fallocate", "fd int off off", fallocate, ""},
	{"fdatasync", "fd", fdatasync, ""},
	{"fsync", "fd", fsync, ""},
	{"ftruncate", "fd off", ftruncate, ""},
	{"lseek", "fd off int", lseek, ""},
	{"pread64", "fd out:buf size off", pread64, ""},
	{"preadv", "fd iov ulong off", preadv, ""},
	{"preadv2", "fd iov ulong off off flags", preadv2, "no RWF_DONTCACHE: EOPNOTSUPP"},
	{"pwrite64", "fd buf size off", pwrite64, ""},
	{"pwritev", "fd iov ulong off", pwritev, ""},
	{"pwritev2", "fd iov ulong off off flags", pwritev2, "no RWF_ATOMIC or RWF_DONTCACHE: EOPNOTSUPP"},
	{"read", "fd out:buf size", read, "a stream whose buffer is bad loses what was read"},
	{"readahead", "fd off size", readahead, "checked and forgotten"},
	{"readv", "fd iov ulong", readv, ""},
	{"sendfile", "fd fd addr size", sendfile, ""},
	{"splice", "fd addr fd addr size flags", refuse(unix.EINVAL), noSplice},
	{"sync", "", syncCall, "nothing is behind a cache of the jail's"},
	{"sync_file_range", "fd off off flags", sync_file_range, "checked and forgotten"},
	{"syncfs", "fd", syncfs, "as sync"},
	{"tee", "fd fd size flags", refuse(unix.EINVAL), noSplice},
	{"truncate", "path off", truncate, ""},
	{"vmsplice", "fd iov ulong flags", refuse(unix.EINVAL), noSplice},
	{"write", "fd buf size", write, ""},
	{"writev", "fd iov ulong", writev, ""},

	// Mappings.
	{"brk", "addr", native, nativeNote},
	{"madvise", "addr size int", madvise, "no memory failures"},
	{"map_shadow_stack", "addr size flags", nil, "no shadow stacks"},
	{"mincore", "addr size out:buf", mincore, "every mapped page is said to be there"},
	{"mlock", "addr size", native, "bounded by the host's RLIMIT_MEMLOCK"},
	{"mlock2", "addr size flags", native, "as mlock"},
	{"mlockall", "flags", native, "as mlock"},
	{"mmap", "addr size int flags fd off", mmap, "no SIGBUS behind a file's end, but zeros"},
	{"mprotect", "addr size int", native, nativeNote},
	{"mremap", "addr size size flags addr", native, nativeNote},
	{"mseal", "addr size flags", native, ""},
	{"msync", "addr size flags", native, "what was written to a shared mapping is there at once"},
	{"munlock", "addr size", native, "as mlock"},
	{"munlockall", "", native, "as mlock"},
	{"munmap", "addr size", native, nativeNote},
	{"remap_file_pages", "addr size int size flags", nil, "would reach other files of the arena"},
	{"userfaultfd", "flags", nil, "would let a guest hold up the warden's reads"},
}
