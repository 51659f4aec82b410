//go:build linux && amd64

package jail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/policy"
)

// mount builds the guest's tree: the policy's mounts, then the Jail's own.
func (w *warden) mount(j *Jail, cmd *exec.Cmd) error {
	mounts := slices.Clone(w.policy.Mounts)
	slices.SortStableFunc(mounts, func(a, b policy.Mount) int { return depth(a.Guest) - depth(b.Guest) })
	root, rest, err := w.rootNode(mounts)
	if err != nil {
		return err
	}
	w.sys.FS = vfs.NewNamespace(root)
	emulate.RegisterDevices(w.sys)
	w.learn.mounted(w.sys.FS, w.rootMount(), 0)
	for _, m := range rest {
		before := len(w.sys.FS.Mounts())
		if m.Kind == policy.KindProgram {
			err = w.mountProgram(cmd)
		} else {
			err = w.mountOne(m)
		}
		if err != nil {
			return &Error{Op: "mount " + m.Guest, Err: err}
		}
		w.learn.mounted(w.sys.FS, m, before)
	}
	for _, p := range slices.Sorted(maps.Keys(j.Mounts)) {
		if j.Mounts[p] == nil {
			return &Error{Op: "mount " + p, Err: errors.New("the fs.FS in Jail.Mounts is nil")}
		}
		n, err := w.tape.tree(p, func() (vfs.Node, error) { return vfs.NewIOFS(j.Mounts[p], vfs.IOFSOptions{}) })
		if err == nil {
			err = w.mountAt(p, n)
		}
		if err != nil {
			return &Error{Op: "mount " + p, Err: err}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(j.Nodes)) {
		if err := w.mountAt(p, j.Nodes[p]); err != nil {
			return &Error{Op: "mount " + p, Err: err}
		}
	}
	if err := w.mountResolver(); err != nil {
		return &Error{Op: "mount /etc/resolv.conf", Err: err}
	}
	w.sys.Shm = vfs.NewMem(w.memOptions(policy.Mount{}))
	if err := errors.Join(w.sys.Shm.UseArena(w.arena), w.sys.FS.UseArenas(w.arena, w.parts.cache)); err != nil {
		return &Error{Op: "arena", Err: err}
	}
	w.sys.FS.Record()
	if w.learn != nil {
		w.sys.FS.Used = w.learn.used
	}
	return nil
}

// mountResolver names our resolver, unless the tree names one.
func (w *warden) mountResolver() error {
	const name = "etc/resolv.conf"
	if !w.outside.resolves() {
		return nil
	}
	if _, err := fs.Lstat(vfs.FS(w.sys.FS.Root(), func(fn func()) { fn() }), name); err == nil {
		return nil
	}
	return w.mountAt("/"+name, vfs.NewBytes(0o644, []byte(resolvConf)))
}

// mountAt puts a node of the Jail's at an absolute path.
func (w *warden) mountAt(p string, n vfs.Node) error {
	switch {
	case !path.IsAbs(p):
		return errors.New("it is relative: write an absolute path of the guest's")
	case n == nil:
		return errors.New("the Node is nil")
	}
	if c, ok := n.(vfs.Clocked); ok {
		c.UseClock(w.now)
	}
	return w.sys.FS.Mount(path.Clean(p), n)
}

// depth orders mounts: outer before inner.
func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(path.Clean(p), "/")
}

// rootNode takes the mount at "/" out of the list; without one the root is an
// empty directory.
func (w *warden) rootNode(mounts []policy.Mount) (vfs.Node, []policy.Mount, error) {
	for i, m := range mounts {
		if path.Clean(m.Guest) == "/" && m.Kind != policy.KindProgram {
			n, err := w.node(m)
			if err != nil {
				return nil, nil, &Error{Op: "mount /", Err: err}
			}
			return n, slices.Delete(mounts, i, i+1), nil
		}
	}
	return vfs.NewMem(w.memOptions(policy.Mount{})).Root(), mounts, nil
}

func (w *warden) mountOne(m policy.Mount) error {
	if target, ok := w.tape.sameSymlink(m); ok {
		return w.mountAt(m.Guest, vfs.NewLink(target))
	}
	n, err := w.node(m)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.Optional:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: create it, or make the mount optional", err)
	case err != nil:
		return err
	case m.Kind == policy.KindHost && !m.Optional && !w.tape.replays() && unix.Faccessat(unix.AT_FDCWD, m.Host, unix.R_OK, unix.AT_EACCESS) == unix.EACCES:
		return fmt.Errorf("%s: %w: the caller may not read it", m.Host, unix.EACCES)
	}
	if err := w.mountAt(m.Guest, n); err != nil {
		return err
	}
	if m.Kind == policy.KindDev {
		return w.sys.FS.Mount(path.Join(m.Guest, "pts"), emulate.NewPts(w.sys))
	}
	if c, ok := n.(io.Closer); ok && !m.Write {
		// Tool has a hundred mounts, of which a run uses five: their
		// descriptors are opened again when they are first needed.
		return c.Close()
	}
	return nil
}

// node makes the file system of a mount.
func (w *warden) node(m policy.Mount) (vfs.Node, error) {
	id := w.policy.Identity
	owner := vfs.Owner{UID: id.UID, GID: id.GID}
	switch m.Kind {
	case policy.KindHost:
		n, err := w.tape.tree(m.Guest, func() (vfs.Node, error) {
			o := vfs.HostOptions{Write: m.Write && !m.Overlay, Frozen: m.Frozen, Repeatable: w.sys.Repeatable, Room: w.toHost}
			if o.Write {
				o.Owner = &owner
			}
			return vfs.NewHost(m.Host, o)
		})
		if err != nil || !m.Overlay {
			return n, err
		}
		return vfs.NewOverlay(n, w.memOptions(m))
	case policy.KindMemory:
		o := w.memOptions(m)
		o.Owner, o.Mode = owner, m.Mode
		return vfs.NewMem(o).Root(), nil
	case policy.KindText:
		mode := m.Mode
		if mode == 0 {
			mode = 0o644
		}
		return vfs.NewBytes(mode, []byte(m.Text)), nil
	case policy.KindDev:
		dev, err := emulate.NewDev(w.sys, w.memOptions(m))
		if err != nil {
			return nil, err
		}
		return dev.Root(), nil
	case policy.KindProc:
		return emulate.NewProc(w.sys), nil
	}
	return nil, fmt.Errorf("unknown kind %q", m.Kind)
}

func (w *warden) memOptions(m policy.Mount) vfs.MemOptions {
	return vfs.MemOptions{Bytes: m.Bytes, Inodes: m.Inodes, Within: &w.disk, Now: w.now}
}

// now is the guest's wall clock.
func (w *warden) now() time.Time {
	ns, err := w.Gettime(unix.CLOCK_REALTIME)
	if err != nil {
		return time.Now()
	}
	return time.Unix(0, ns)
}

// mountProgram shows the program, its interpreter and its libraries at their own
// paths.
func (w *warden) mountProgram(cmd *exec.Cmd) error {
	files, err := w.tape.needs(cmd.Path)
	if err != nil {
		return fmt.Errorf("finding what %s needs: %w", cmd.Path, err)
	}
	for _, f := range files {
		if f.Link != "" {
			err = w.mountAt(f.Path, vfs.NewLink(f.Link))
		} else {
			err = w.mountOne(policy.Mount{Guest: f.Path, Kind: policy.KindHost, Host: f.Path, Frozen: true})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}
