//go:build linux

package vfs

import (
	"bytes"
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"path"
	"reflect"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
)

// IOFSOptions says how an io/fs.FS is shown.
type IOFSOptions struct {
	Owner Owner // of everything in it
}

const (
	// maxLoaded is how many bytes of files that cannot be read at an offset
	// (compressed ones) a mount keeps for the next open.
	maxLoaded = 64 << 20
	// maxLoad is the largest such file: it is held in memory whole.
	maxLoad = 1 << 30
)

// ioFS is a mounted fs.FS. What was looked up once is remembered: the FS must
// not change.
type ioFS struct {
	IOFSOptions
	fsys   fs.FS
	loaded int64 // bytes
	images images
}

type ioNode struct {
	f     *ioFS
	path  string // as fs.ValidPath has it
	attr  Attr
	names map[string]*ioNode
	list  []DirEntry
	data  []byte // whole content, if it had to be loaded
	opens int    // Files reading data
}

// NewIOFS shows fsys read-only: an embed.FS, a zip.Reader, an fstest.MapFS.
// Inode numbers follow from the names. A file that is not the host's and has a mode
// of 0, 0444 or 0666 (embed.FS gives 0444 throughout) may be read and executed by all,
// so that a program can live there. An fs.FS that blocks keeps the whole jail waiting.
func NewIOFS(fsys fs.FS, o IOFSOptions) (Node, error) {
	f := &ioFS{IOFSOptions: o, fsys: fsys}
	info, err := fs.Stat(fsys, ".")
	if err != nil {
		return nil, err
	}
	return f.node(".", info), nil
}

func (f *ioFS) node(name string, info fs.FileInfo) *ioNode {
	t := stampTime(info.ModTime())
	n := &ioNode{f: f, path: name, attr: Attr{
		Ino: pathInode(name), Mode: ioMode(info), Nlink: 1, UID: f.Owner.UID, GID: f.Owner.GID,
		Size: info.Size(), Blocks: (info.Size() + 511) / 512, BlockSize: blockSize,
		Atime: t, Mtime: t, Ctime: t,
	}}
	if n.attr.IsDir() {
		n.attr.Size, n.attr.Blocks = blockSize, 0
	}
	return n
}

func stampTime(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// pathInode is an inode number that the next run gives again; 52 bits survive
// a float64, which is how some languages hold it.
func pathInode(name string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return h.Sum64()>>12 | 1
}

// ioMode is st_mode without set-ID bits, which an fs.FS cannot vouch for.
func ioMode(info fs.FileInfo) uint32 {
	perm := uint32(info.Mode().Perm())
	kind := ioType(info.Mode())
	_, real := info.Sys().(*syscall.Stat_t)
	switch {
	case kind == unix.S_IFDIR && perm == 0:
		perm = 0o755
	case kind == unix.S_IFDIR:
		perm |= perm & 0o444 >> 2
	case kind == unix.S_IFLNK:
		perm = 0o777
	case !real && (perm == 0 || perm == 0o444 || perm == 0o666): // MapFS, embed, MS-DOS zip
		perm = 0o555
	}
	return kind | perm
}

func ioType(m fs.FileMode) uint32 {
	switch {
	case m.IsRegular():
		return unix.S_IFREG
	case m.IsDir():
		return unix.S_IFDIR
	case m&fs.ModeSymlink != 0:
		return unix.S_IFLNK
	case m&fs.ModeNamedPipe != 0:
		return unix.S_IFIFO
	case m&fs.ModeCharDevice != 0:
		return unix.S_IFCHR
	case m&fs.ModeDevice != 0:
		return unix.S_IFBLK
	}
	return unix.S_IFSOCK
}

// ioError is an fs.FS's error as an errno.
func ioError(err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return unix.ENOENT
	case errors.Is(err, fs.ErrPermission):
		return unix.EACCES
	}
	return unix.EIO
}

// Attr is what the FS told when n was found.
func (n *ioNode) Attr() (Attr, error) { return n.attr, nil }

// MountInfo is [Mounted].
func (n *ioNode) MountInfo() (source, kind, options string) {
	return "iofs", "oubliette", "ro,relatime"
}

// StatFS is [StatFSer].
func (n *ioNode) StatFS() (unix.Statfs_t, error) {
	return unix.Statfs_t{
		Type: unix.SQUASHFS_MAGIC, Bsize: blockSize, Frsize: blockSize, Namelen: unix.NAME_MAX,
		Flags: unix.ST_RDONLY | unix.ST_NOSUID,
	}, nil
}

// Lookup is [Directory].
func (n *ioNode) Lookup(name string) (Node, error) {
	if !n.attr.IsDir() {
		return nil, unix.ENOTDIR
	}
	if c := n.names[name]; c != nil {
		return c, nil
	}
	full := path.Join(n.path, name)
	if name == "." || strings.Contains(name, "/") || !fs.ValidPath(name) {
		return nil, unix.ENOENT
	}
	info, err := fs.Lstat(n.f.fsys, full)
	if err != nil {
		return nil, ioError(err)
	}
	if n.names == nil {
		n.names = make(map[string]*ioNode)
	}
	c := n.f.node(full, info)
	n.names[full[len(full)-len(name):]] = c
	return c, nil
}

// ReadDir is [Directory].
func (n *ioNode) ReadDir() ([]DirEntry, error) {
	if !n.attr.IsDir() {
		return nil, unix.ENOTDIR
	}
	if n.list != nil {
		return n.list, nil
	}
	entries, err := fs.ReadDir(n.f.fsys, n.path)
	if err != nil {
		return nil, ioError(err)
	}
	n.list = make([]DirEntry, len(entries))
	for i, e := range entries {
		n.list[i] = DirEntry{e.Name(), pathInode(path.Join(n.path, e.Name())), ioType(e.Type())}
	}
	return n.list, nil
}

// Readlink is [Readlinker]. An archive without fs.ReadLinkFS has the link's text
// as content.
func (n *ioNode) Readlink() (string, error) {
	if !n.attr.IsSymlink() {
		return "", unix.EINVAL
	}
	if _, ok := n.f.fsys.(fs.ReadLinkFS); ok {
		s, err := fs.ReadLink(n.f.fsys, n.path)
		return s, ioError(err)
	}
	f, err := n.f.fsys.Open(n.path)
	if err != nil {
		return "", ioError(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, unix.PathMax-1))
	return string(b), ioError(err)
}

// ioFile is an open file of an fs.FS.
type ioFile struct {
	n    *ioNode
	file fs.File // nil: n.data is read
	at   io.ReaderAt
}

// Open is [Opener].
func (n *ioNode) Open(flags int) (fdtable.File, error) {
	switch {
	case !n.attr.IsRegular():
		return nil, unix.ENXIO
	case flags&unix.O_ACCMODE != unix.O_RDONLY:
		return nil, unix.EROFS
	case n.data != nil:
		n.opens++
		return &ioFile{n, nil, bytes.NewReader(n.data)}, nil
	}
	file, err := n.f.fsys.Open(n.path)
	if err != nil {
		return nil, ioError(err)
	}
	if at, ok := file.(io.ReaderAt); ok {
		return &ioFile{n, file, at}, nil
	}
	return &ioFile{n: n, file: file}, nil
}

// load reads the whole content of a file that cannot be read at an offset, no
// more than the size it claims.
func (f *ioFile) load() error {
	n := f.n
	if n.attr.Size > maxLoad {
		return unix.EFBIG
	}
	if n.data == nil {
		data := bytes.NewBuffer(make([]byte, 0, min(n.attr.Size, maxLoaded)+bytes.MinRead))
		if _, err := io.Copy(data, io.LimitReader(f.file, n.attr.Size)); err != nil {
			return ioError(err)
		}
		n.data = data.Bytes()
		n.f.loaded += int64(len(n.data))
	}
	_ = f.file.Close()
	f.file, f.at = nil, bytes.NewReader(n.data)
	n.opens++
	return nil
}

func (f *ioFile) Close() error {
	if f.file != nil {
		return ioError(f.file.Close())
	}
	f.n.opens--
	if f.n.opens == 0 && f.n.f.loaded > maxLoaded {
		f.n.f.loaded -= int64(len(f.n.data))
		f.n.data = nil
	}
	return nil
}

func (f *ioFile) ReadAt(p []byte, off int64) (int, error) {
	if f.at == nil {
		if err := f.load(); err != nil {
			return 0, err
		}
	}
	n, err := f.at.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = ioError(err)
	}
	return n, err
}

// Size is [fdtable.Sizer].
func (f *ioFile) Size() (int64, error) { return f.n.attr.Size, nil }

// ioContent names a file's bytes in the shared arena: for all jails that mount the
// same FS, if Go can tell that it is the same.
type ioContent struct {
	fsys fs.FS
	node *ioNode
	path string
}

// Map is [fdtable.Mapper].
func (f *ioFile) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	c := ioContent{node: f.n}
	if v := reflect.ValueOf(f.n.f.fsys); v.Comparable() {
		c = ioContent{fsys: f.n.f.fsys, path: f.n.path}
	}
	k := arena.Key{Mtime: f.n.attr.Mtime, Size: f.n.attr.Size, Owner: c}
	return f.n.f.images.mapping(k, f, off, n, write)
}
