//go:build linux

package vfs

import (
	"bytes"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
)

// textNode is a read-only regular file whose content is made when it is opened.
type textNode struct {
	attr Attr
	text func() ([]byte, error)
}

// staticInode numbers the nodes made here, which belong to no file system.
var staticInode atomic.Uint64

func staticAttr(mode uint32) Attr {
	a := Attr{Ino: staticInode.Add(1), Mode: mode, Nlink: 1, BlockSize: blockSize}
	a.stamp(time.Now())
	return a
}

func (a *Attr) stamp(t time.Time) {
	a.Atime = unix.NsecToTimespec(t.UnixNano())
	a.Mtime, a.Ctime = a.Atime, a.Atime
}

// NewText returns a read-only file with permission bits mode (0: 0444). text
// makes its content each time it is opened; stat shows size 0, as for files of
// /proc.
func NewText(mode uint32, text func() ([]byte, error)) Node {
	if mode == 0 {
		mode = 0o444
	}
	return &textNode{staticAttr(unix.S_IFREG | mode&0o7777), text}
}

// NewBytes returns a read-only file with permission bits mode (0: 0444) that
// holds p.
func NewBytes(mode uint32, p []byte) Node {
	n := NewText(mode, func() ([]byte, error) { return p, nil }).(*textNode)
	n.attr.Size = int64(len(p))
	n.attr.Blocks = (n.attr.Size + 511) / 512
	return n
}

func (n *textNode) Attr() (Attr, error) { return n.attr, nil }

// Open is [Opener]. EACCES for writing.
func (n *textNode) Open(flags int) (fdtable.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EACCES
	}
	p, err := n.text()
	if err != nil {
		return nil, err
	}
	return &textFile{*bytes.NewReader(p)}, nil
}

type textFile struct{ r bytes.Reader }

func (f *textFile) Close() error                            { return nil }
func (f *textFile) ReadAt(p []byte, off int64) (int, error) { return f.r.ReadAt(p, off) }
func (f *textFile) Size() (int64, error)                    { return f.r.Size(), nil }

// linkNode is a symbolic link.
type linkNode struct {
	attr   Attr
	target string
}

// NewLink returns a symbolic link.
func NewLink(target string) Node {
	n := &linkNode{staticAttr(unix.S_IFLNK | 0o777), target}
	n.attr.Size = int64(len(target))
	return n
}

func (n *linkNode) Attr() (Attr, error)       { return n.attr, nil }
func (n *linkNode) Readlink() (string, error) { return n.target, nil }
