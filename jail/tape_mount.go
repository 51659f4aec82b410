//go:build linux && amd64

package jail

import (
	"errors"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/internal/elfneeds"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// trees is trees.json: what the mounts were, in order, and what was asked of them.
type trees struct {
	Mounts []mountAnswer `json:"mounts"`
	Inodes *vfs.Answers  `json:"inodes"`
}

// mountAnswer is what the host had for a mount: a tree, a symlink, what a program
// needs, or an errno.
type mountAnswer struct {
	Guest recording.Text  `json:"guest"`
	Errno unix.Errno      `json:"errno,omitempty"`
	Link  recording.Text  `json:"link,omitempty"`
	Needs []elfneeds.File `json:"needs,omitempty"`
	Inode int             `json:"inode,omitempty"`
}

// mounted is the answer for the mount at a guest path, which get finds out.
func (t *tape) mounted(guest string, get func(*mountAnswer) error) (mountAnswer, error) {
	a := mountAnswer{Guest: recording.Text(guest)}
	if t.replays() {
		if len(t.mounts) == 0 || t.mounts[0].Guest != a.Guest {
			return a, errors.New("it is not in the recording")
		}
		a, t.mounts = t.mounts[0], t.mounts[1:]
		if a.Errno != 0 {
			return a, a.Errno
		}
		return a, nil
	}
	err := get(&a)
	if t != nil && (err == nil || errors.As(err, &a.Errno)) {
		t.mounts = append(t.mounts, a)
	}
	return a, err
}

// tree is a read-only tree of the host's, which get makes.
func (t *tape) tree(guest string, get func() (vfs.Node, error)) (n vfs.Node, err error) {
	a, err := t.mounted(guest, func(a *mountAnswer) error {
		if n, err = get(); err == nil && t != nil {
			n, a.Inode = t.trees.Add(guest, n)
		}
		return err
	})
	if err == nil && t.replays() {
		return t.trees.Tree(guest, a.Inode)
	}
	return n, err
}

// needs is what a program needs.
func (t *tape) needs(program string) ([]elfneeds.File, error) {
	a, err := t.mounted("/", func(a *mountAnswer) (err error) {
		a.Needs, err = elfneeds.Walk(program)
		return err
	})
	return a.Needs, err
}

// sameSymlink: a host symlink mounted at its own path stays a symlink.
func (t *tape) sameSymlink(m policy.Mount) (string, bool) {
	if m.Kind != policy.KindHost || filepath.Clean(m.Host) != path.Clean(m.Guest) {
		return "", false
	}
	a, err := t.mounted(m.Guest, func(a *mountAnswer) error {
		target, err := os.Readlink(m.Host)
		a.Link = recording.Text(target)
		return err
	})
	return string(a.Link), err == nil
}
