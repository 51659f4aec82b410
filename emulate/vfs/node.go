//go:build linux

package vfs

import (
	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// Attr is what statx(2) tells of an inode.
type Attr struct {
	Dev, Rdev           uint64 // as unix.Mkdev makes them
	Ino                 uint64
	Mode                uint32 // S_IFMT type and permission bits
	Nlink               uint32
	UID, GID            uint32
	Size                int64 // bytes
	Blocks              int64 // 512-byte units
	BlockSize           int64 // preferred I/O size, bytes
	Atime, Mtime, Ctime unix.Timespec
	Btime               unix.Timespec // zero: unknown
}

// IsDir reports S_IFDIR.
func (a Attr) IsDir() bool { return a.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports S_IFREG.
func (a Attr) IsRegular() bool { return a.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink reports S_IFLNK.
func (a Attr) IsSymlink() bool { return a.Mode&unix.S_IFMT == unix.S_IFLNK }

// Node is an inode. Equal Nodes (==) are the same inode, so an implementation
// returns one pointer for one inode as long as anything holds it.
//
// Everything a Node can do beyond telling its attributes is an interface below,
// found by assertion. Errors are unix.Errno. Permission bits are not the Node's
// business: callers check them with [Access] against the guest's identity first.
type Node interface {
	Attr() (Attr, error)
}

// Owner is who a new inode belongs to.
type Owner struct{ UID, GID uint32 }

type (
	// Directory can be searched and listed. Missing: ENOTDIR.
	Directory interface {
		Node
		// Lookup finds one name ("." and ".." are never asked). ENOENT.
		Lookup(name string) (Node, error)
		// ReadDir lists the directory without "." and "..", in an order that
		// stays the same while nothing changes.
		ReadDir() ([]DirEntry, error)
	}
	// Creator makes a regular file, FIFO, socket or device node: mode carries
	// S_IFMT. EEXIST, ENOSPC, EDQUOT. Missing: EROFS (also for those below).
	Creator interface {
		Create(name string, mode uint32, rdev uint64, o Owner) (Node, error)
	}
	// Mkdirer is mkdirat(2).
	Mkdirer interface {
		Mkdir(name string, mode uint32, o Owner) (Node, error)
	}
	// Symlinker is symlinkat(2).
	Symlinker interface {
		Symlink(name, target string, o Owner) (Node, error)
	}
	// Linker gives node, of the same file system, one more name. EXDEV, EMLINK.
	Linker interface {
		Link(name string, node Node) error
	}
	// Unlinker removes a name that is not a directory. EISDIR.
	Unlinker interface{ Unlink(name string) error }
	// Rmdirer removes an empty directory. ENOTEMPTY, ENOTDIR.
	Rmdirer interface{ Rmdir(name string) error }
	// Renamer moves a name into dir (of the same file system) with
	// RENAME_NOREPLACE or RENAME_EXCHANGE in flags.
	Renamer interface {
		Rename(name string, dir Node, newname string, flags uint32) error
	}
	// Readlinker is readlink(2). Missing: EINVAL.
	Readlinker interface{ Readlink() (string, error) }
	// Jumper is a magic link of /proc: following it goes to the entry itself,
	// not to a path.
	Jumper interface {
		Jump() (*Dentry, error)
	}
	// Opener makes a File for open(2) with the O_ flags given; the caller has
	// checked permissions and does O_TRUNC, O_CREAT and O_EXCL itself. Missing:
	// ENXIO for a device, socket or FIFO. Directories need none.
	Opener interface {
		Open(flags int) (fdtable.File, error)
	}
	// AttrSetter changes what Change names. Missing: EROFS.
	AttrSetter interface{ SetAttr(c Change) error }
	// Truncater is truncate(2). Missing: EROFS.
	Truncater interface{ Truncate(size int64) error }
	// Xattrer holds extended attributes. ENODATA, ERANGE is the caller's.
	// Missing: EOPNOTSUPP.
	Xattrer interface {
		Xattr(name string) ([]byte, error)
		SetXattr(name string, value []byte, flags int) error
		ListXattr() ([]string, error)
		RemoveXattr(name string) error
	}
	// Volatile is a Directory whose names change behind the namespace's back
	// (/proc, a live host directory, a tree that Go code writes to): every walk
	// asks Lookup again. Missing, or false: an answer is remembered, and every
	// change must go through the one place where the directory is mounted.
	Volatile interface{ Volatile() bool }
	// TmpfileMaker makes a regular file without a name (O_TMPFILE), which its
	// directory's Linker may name later. Missing: EOPNOTSUPP.
	TmpfileMaker interface {
		Tmpfile(mode uint32, o Owner) (Node, error)
	}
	// Holder keeps an inode's content while something other than an open File
	// needs it after the last name went. Missing: nothing is lost.
	Holder interface{ Hold() (release func()) }
	// Slotter keeps one Go value with the inode: the pipe behind a FIFO, the
	// socket bound to a name.
	Slotter interface{ Slot() *any }
	// StatFSer is statfs(2) of the file system the node is in. Missing: zeros.
	StatFSer interface {
		StatFS() (unix.Statfs_t, error)
	}
)

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Ino  uint64
	Type uint32 // S_IFMT bits; 0 unknown
}

// Change is a set of attributes to set; a nil field is left alone. The kernel's
// struct iattr.
type Change struct {
	Mode         *uint32 // permission bits
	UID, GID     *uint32
	Atime, Mtime *unix.Timespec
}
