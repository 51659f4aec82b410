//go:build linux

package vfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/fdtable"
	"oubliette/internal/arena"
	"oubliette/internal/recording"
)

// maxAnswers bounds what a guest can have remembered by asking for names that do not
// exist, in bytes: of each its name and answerSize.
const (
	maxAnswers = 256 << 20
	answerSize = 64
)

// Answers are what read-only trees were asked and what they answered. In a run that
// is recorded the trees are there, and are asked each question once, so that each
// file is for the guest as it was first seen; in a replay of that run there is
// nothing but the answers, and a question that has none is refused.
//
// As JSON it is a list of inodes, each an object of questions and answers.
type Answers struct {
	// Store keeps the content of the file at a path and gives it back, under the name
	// by which Load will.
	Store func(path string, r io.Reader) (name string, content *io.SectionReader, err error)
	// Load is a content by its name, nil if there is none.
	Load func(name string) *io.SectionReader
	// Failed is told of a question that has no answer, or of an answer that cannot be
	// kept.
	Failed func(error)

	inodes []*answerNode
	known  map[Node]*answerNode // by the tree's own
	size   int64
	done   bool
}

// answer is what an inode said to one question: a value, or an errno.
type answer struct {
	Value any        `json:"is,omitempty"`
	Errno unix.Errno `json:"errno,omitempty"`
}

// The questions of an inode. Those with a name after them end in a blank.
var questions = map[string]func(json.RawMessage) (any, error){
	"attr":    decoded[Attr],
	"lookup ": decoded[int], // the inode's number
	"list":    decoded[[]listed],
	"link":    decoded[recording.Text],
	"open":    decoded[recording.Text], // Load's name of the content
	"xattrs":  decoded[[]recording.Text],
	"xattr ":  decoded[[]byte],
	"statfs":  decoded[unix.Statfs_t],
	"mount":   decoded[[3]string],
}

type listed struct {
	Name recording.Text `json:"name"`
	Ino  uint64         `json:"ino"`
	Type uint32         `json:"type"`
}

// answerNode is an inode that asks another, or remembers.
type answerNode struct {
	k       *Answers
	id      int
	path    string // where it was first found
	lower   Node   // nil in a replay
	answers map[string]*answer
	images  *images           // of the root
	content *io.SectionReader // nil: not opened yet
	slot    any
}

// Add gives a tree, which is or was at path, with answers that are remembered. id is
// what [Answers.Tree] will give it for.
func (k *Answers) Add(path string, root Node) (n Node, id int) {
	if k.known == nil {
		k.known = make(map[Node]*answerNode)
	}
	a := k.node(path, root, nil)
	return a.root(), a.id
}

// Tree gives the tree of a number, of which there are only the answers.
func (k *Answers) Tree(path string, id int) (Node, error) {
	if uint(id) >= uint(len(k.inodes)) {
		return nil, fmt.Errorf("there is no inode %d in the recording", id)
	}
	k.inodes[id].path = path
	return k.inodes[id].root(), nil
}

func (n *answerNode) root() *answerNode {
	n.images = new(images)
	return n
}

// node is the one of a tree's inode.
func (k *Answers) node(path string, lower Node, i *images) *answerNode {
	n := k.known[lower]
	if n == nil {
		n = &answerNode{k: k, id: len(k.inodes), path: path, lower: lower, images: i, answers: make(map[string]*answer)}
		k.inodes = append(k.inodes, n)
		k.known[lower] = n
	}
	return n
}

// Done ends the recording: what is asked from now on is answered and forgotten.
func (k *Answers) Done() { k.done = true }

// MarshalJSON writes all answers.
func (k *Answers) MarshalJSON() ([]byte, error) {
	all := make([]map[string]*answer, len(k.inodes))
	for i, n := range k.inodes {
		all[i] = make(map[string]*answer)
		for question, a := range n.answers {
			escaped, _ := recording.Text(question).MarshalText() // json does it for values only
			all[i][string(escaped)] = a
		}
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads them, for Tree.
func (k *Answers) UnmarshalJSON(p []byte) error {
	var all []map[string]struct {
		Value json.RawMessage `json:"is"`
		Errno unix.Errno      `json:"errno"`
	}
	if err := json.Unmarshal(p, &all); err != nil {
		return err
	}
	for i, of := range all {
		n := &answerNode{k: k, id: i, answers: make(map[string]*answer)}
		for escaped, a := range of {
			var question recording.Text
			if err := question.UnmarshalText([]byte(escaped)); err != nil {
				return fmt.Errorf("inode %d: %q: %w", i, escaped, err)
			}
			kind, _, named := strings.Cut(string(question), " ")
			if named {
				kind += " "
			}
			decode := questions[kind]
			if decode == nil {
				return fmt.Errorf("inode %d: %q is no question", i, question)
			}
			if a.Errno > recording.MaxErrno {
				return fmt.Errorf("inode %d: %s: there is no errno %d", i, question, a.Errno)
			}
			said := &answer{Errno: a.Errno}
			if a.Errno == 0 {
				var err error
				if said.Value, err = decode(a.Value); err != nil {
					return fmt.Errorf("inode %d: %s: %w", i, question, err)
				}
			}
			if !sound(said.Value, len(all)) {
				return fmt.Errorf("inode %d: %s: %v cannot be", i, question, said.Value)
			}
			n.answers[string(question)] = said
		}
		k.inodes = append(k.inodes, n)
	}
	return nil
}

// sound says that an answer among those of so many inodes is one that a tree may give.
func sound(value any, inodes int) bool {
	switch v := value.(type) {
	case int:
		return uint(v) < uint(inodes)
	case Attr:
		return v.Size >= 0
	case []listed:
		return !slices.ContainsFunc(v, func(e listed) bool {
			return e.Name == "" || len(e.Name) > unix.NAME_MAX || strings.ContainsAny(string(e.Name), "/\x00")
		})
	}
	return true
}

func decoded[T any](p json.RawMessage) (any, error) {
	var v T
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	return v, err
}

// ask gives the answer to a question, which get finds out where there is a tree.
func ask[T any](n *answerNode, question string, get func() (T, error)) (T, error) {
	if a := n.answers[question]; a != nil {
		v, _ := a.Value.(T)
		if a.Errno != 0 {
			return v, a.Errno
		}
		return v, nil
	}
	if n.lower == nil {
		var none T
		n.k.Failed(fmt.Errorf("%q of %s was not asked in the recorded run", question, n.path))
		return none, unix.EIO
	}
	v, err := get()
	if n.k.done {
		return v, err
	}
	a := &answer{Value: v}
	if err != nil && !errors.As(err, &a.Errno) {
		a.Errno = unix.EIO
	}
	n.answers[question] = a
	if n.k.size += int64(len(question)) + answerSize; n.k.size > maxAnswers {
		n.k.Failed(errors.New("the guest has looked up too many names"))
	}
	return v, err
}

// Attr is [Node].
func (n *answerNode) Attr() (Attr, error) {
	return ask(n, "attr", func() (Attr, error) { return n.lower.Attr() })
}

// Lookup is [Directory].
func (n *answerNode) Lookup(name string) (Node, error) {
	id, err := ask(n, "lookup "+name, func() (int, error) {
		d, ok := n.lower.(Directory)
		if !ok {
			return 0, unix.ENOTDIR
		}
		c, err := d.Lookup(name)
		if err != nil {
			return 0, err
		}
		return n.k.node(path.Join(n.path, name), c, n.images).id, nil
	})
	if err != nil {
		return nil, err
	}
	c := n.k.inodes[id]
	if c.images == nil {
		c.path, c.images = path.Join(n.path, name), n.images
	}
	return c, nil
}

// ReadDir is [Directory].
func (n *answerNode) ReadDir() ([]DirEntry, error) {
	list, err := ask(n, "list", func() (list []listed, err error) {
		d, ok := n.lower.(Directory)
		if !ok {
			return nil, unix.ENOTDIR
		}
		all, err := d.ReadDir()
		for _, e := range all {
			list = append(list, listed{recording.Text(e.Name), e.Ino, e.Type})
		}
		return list, err
	})
	entries := make([]DirEntry, len(list))
	for i, e := range list {
		entries[i] = DirEntry{string(e.Name), e.Ino, e.Type}
	}
	return entries, err
}

// Readlink is [Readlinker].
func (n *answerNode) Readlink() (string, error) {
	link, err := ask(n, "link", func() (recording.Text, error) {
		r, ok := n.lower.(Readlinker)
		if !ok {
			return "", unix.EINVAL
		}
		s, err := r.Readlink()
		return recording.Text(s), err
	})
	return string(link), err
}

// Xattr is [Xattrer].
func (n *answerNode) Xattr(name string) ([]byte, error) {
	return ask(n, "xattr "+name, func() ([]byte, error) {
		x, ok := n.lower.(Xattrer)
		if !ok {
			return nil, unix.EOPNOTSUPP
		}
		return x.Xattr(name)
	})
}

// ListXattr is [Xattrer].
func (n *answerNode) ListXattr() ([]string, error) {
	list, err := ask(n, "xattrs", func() (list []recording.Text, err error) {
		x, ok := n.lower.(Xattrer)
		if !ok {
			return nil, unix.EOPNOTSUPP
		}
		names, err := x.ListXattr()
		for _, name := range names {
			list = append(list, recording.Text(name))
		}
		return list, err
	})
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return names, err
}

// SetXattr is [Xattrer].
func (n *answerNode) SetXattr(string, []byte, int) error { return unix.EROFS }

// RemoveXattr is [Xattrer].
func (n *answerNode) RemoveXattr(string) error { return unix.EROFS }

// StatFS is [StatFSer].
func (n *answerNode) StatFS() (unix.Statfs_t, error) {
	return ask(n, "statfs", func() (st unix.Statfs_t, err error) {
		if s, ok := n.lower.(StatFSer); ok {
			return s.StatFS()
		}
		return st, nil
	})
}

// MountInfo is [Mounted].
func (n *answerNode) MountInfo() (source, kind, options string) {
	m, _ := ask(n, "mount", func() ([3]string, error) {
		if m, ok := n.lower.(Mounted); ok {
			source, kind, options = m.MountInfo()
			return [3]string{source, kind, options}, nil
		}
		return [3]string{"none", "oubliette", "ro"}, nil
	})
	return m[0], m[1], m[2]
}

// Slot is [Slotter].
func (n *answerNode) Slot() *any { return &n.slot }

// Close is the tree's.
func (n *answerNode) Close() error {
	if c, ok := n.lower.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// UseArenas is [Arenas].
func (n *answerNode) UseArenas(_ *arena.Arena, shared *arena.Cache) error {
	n.images.use(shared)
	return nil
}

// answerFile is an open regular file, whose whole content was kept when it was first
// opened.
type answerFile struct{ n *answerNode }

// maxUnsized is how much is kept of a file that does not say how large it is, in bytes.
const maxUnsized = 1 << 20

// Open is [Opener].
func (n *answerNode) Open(flags int) (fdtable.File, error) {
	o, ok := n.lower.(Opener)
	switch {
	case flags&unix.O_ACCMODE != unix.O_RDONLY:
		return nil, unix.EROFS
	case n.content != nil:
		return &answerFile{n}, nil
	case n.k.done && ok:
		return o.Open(flags)
	}
	name, err := ask(n, "open", func() (recording.Text, error) {
		if !ok {
			return "", unix.ENXIO
		}
		name, err := n.keep(o)
		return recording.Text(name), err
	})
	if err != nil {
		return nil, err
	}
	if n.content == nil {
		if n.content = n.k.Load(string(name)); n.content == nil {
			n.k.Failed(fmt.Errorf("the content of %s is not in the recording", n.path))
			return nil, unix.EIO
		}
	}
	return &answerFile{n}, nil
}

// keep stores the content: no more than there was, of a file that others append to; some
// of the host's virtual ones say that they have nothing.
func (n *answerNode) keep(o Opener) (string, error) {
	a, err := n.Attr()
	if err != nil {
		return "", err
	}
	f, err := o.Open(unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return "", unix.EINVAL
	}
	name, content, err := n.k.Store(n.path, io.NewSectionReader(r, 0, max(a.Size, maxUnsized)))
	n.content = content
	return name, err
}

func (f *answerFile) Close() error { return nil }

func (f *answerFile) ReadAt(p []byte, off int64) (int, error) { return f.n.content.ReadAt(p, off) }

// Size is [fdtable.Sizer].
func (f *answerFile) Size() (int64, error) {
	a, err := f.n.Attr()
	return a.Size, err
}

// Map is [fdtable.Mapper].
func (f *answerFile) Map(off, n int64, write bool) (fdtable.Mapping, error) {
	size, err := f.Size()
	if err != nil {
		return fdtable.Mapping{}, err
	}
	return f.n.images.mapping(arena.Key{Size: size, Owner: f.n}, f, off, n, write)
}
