//go:build linux

package emulate

// noAIO: as a kernel built without CONFIG_AIO.
const noAIO = "left out: programs fall back on threads or plain calls"

// fileCalls are the calls on descriptors, data and mappings.
var fileCalls = []Row{
	// Opening and descriptors.
	{"close", "fd", closeCall, ""},
	{"close_range", "uint uint flags", close_range, ""},
	{"creat", "path mode", creat, ""},
	{"dup", "fd", dup, ""},
	{"dup2", "fd fd", dup2, ""},
	{"dup3", "fd fd flags:fd", dup3, ""},
	{"fcntl", "fd op:fcntl size", fcntl, "no SIGIO but of F_NOTIFY, no leases (EINVAL); write hints are checked and forgotten"},
	{"flock", "fd op", flock, ""},
	{"ioctl", "fd op:ioctl addr", ioctl, "no inode flags, extents or clones; no TIOCSTI"},
	{"memfd_create", "str flags:memfd", memfd_create, "no huge pages"},
	{"open", "path flags:open mode", open, ""},
	{"openat", "dirfd path flags:open mode", openat, ""},
	{"openat2", "dirfd path addr size", openat2, ""},

	// Data.
	{"copy_file_range", "fd addr fd addr size flags", copy_file_range, "between any two regular files, by copying"},
	{"fadvise64", "fd off off op", fadvise64, "checked and forgotten"},
	{"fallocate", "fd flags off off", fallocate, ""},
	{"fdatasync", "fd", fdatasync, ""},
	{"fsync", "fd", fsync, ""},
	{"ftruncate", "fd off", ftruncate, ""},
	{"lseek", "fd off op:seek", lseek, ""},
	{"pread64", "fd out:buf size off", pread64, ""},
	{"preadv", "fd iov size off", preadv, ""},
	{"preadv2", "fd iov size off off flags", preadv2, "no RWF_DONTCACHE: EOPNOTSUPP"},
	{"pwrite64", "fd buf size off", pwrite64, ""},
	{"pwritev", "fd iov size off", pwritev, ""},
	{"pwritev2", "fd iov size off off flags", pwritev2, "no RWF_ATOMIC or RWF_DONTCACHE: EOPNOTSUPP"},
	{"read", "fd out:buf size", read, "a stream whose buffer is bad loses what was read"},
	{"readahead", "fd off size", readahead, "checked and forgotten"},
	{"readv", "fd iov size", readv, ""},
	{"sendfile", "fd fd addr size", sendfile, ""},
	{"sync", "", syncCall, "nothing is behind a cache of the jail's"},
	{"sync_file_range", "fd off off flags", sync_file_range, "checked and forgotten"},
	{"syncfs", "fd", syncfs, "as sync"},
	{"truncate", "path off", truncate, ""},
	{"write", "fd buf size", write, ""},
	{"writev", "fd iov size", writev, ""},

	// Asynchronous input and output, which libraries do with threads instead.
	{"io_cancel", "long addr out:addr", nil, noAIO},
	{"io_destroy", "long", nil, noAIO},
	{"io_getevents", "long long long out:addr addr", nil, noAIO},
	{"io_pgetevents", "long long long out:addr addr addr", nil, noAIO},
	{"io_setup", "uint out:addr", nil, noAIO},
	{"io_submit", "long long addr", nil, noAIO},

	// Mappings.
	{"brk", "addr", native, nativeNote},
	{"madvise", "addr size op", madvise, "no memory failures"},
	{"mincore", "addr size out:buf", mincore, "every mapped page is said to be there"},
	{"mlock", "addr size", native, "bounded by the host's RLIMIT_MEMLOCK"},
	{"mlock2", "addr size flags", native, "as mlock"},
	{"mlockall", "flags", native, "as mlock"},
	{"mmap", "addr size flags:prot flags:map fd off", mmap, "no SIGBUS behind a file's end, but zeros"},
	{"mprotect", "addr size flags:prot", native, nativeNote},
	{"mremap", "addr size size flags addr", mremap, "the kernel's own, within the file's place in an arena"},
	{"mseal", "addr size flags", native, ""},
	{"msync", "addr size flags", msync, "of files of the host all that are shared, with MS_SYNC and MS_ASYNC alike"},
	{"munlock", "addr size", native, "as mlock"},
	{"munlockall", "", native, "as mlock"},
	{"munmap", "addr size", native, nativeNote},
	{"remap_file_pages", "addr size int size flags", remap_file_pages, "within the file; EINVAL behind its end"},
}
