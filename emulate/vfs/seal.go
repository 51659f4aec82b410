//go:build linux

package vfs

import "golang.org/x/sys/unix"

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE |
	unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC

// NewMemFile makes what memfd_create(2) does: a regular file that counts against
// m and has no name but label. mode is its permission bits; seals is F_SEAL_SEAL,
// or 0 with MFD_ALLOW_SEALING. ENOSPC.
func NewMemFile(m *Mem, label string, mode uint32, o Owner, seals int) (*Dentry, error) {
	n, err := m.root.Tmpfile(unix.S_IFREG|mode&0o7777, o)
	if err != nil {
		return nil, err
	}
	k := n.(*memNode)
	k.seals, k.tmp = seals, false
	return NewAnonymous(k, label), nil
}

// Seals is fcntl(F_GET_SEALS).
func (f *memFile) Seals() (int, error) { return f.seals, nil }

// AddSeals is fcntl(F_ADD_SEALS); the caller has checked that the description
// is writable. EPERM, EINVAL; EBUSY: mapped for writing.
func (f *memFile) AddSeals(seals int) error {
	switch {
	case seals&^allSeals != 0:
		return unix.EINVAL
	case f.seals&unix.F_SEAL_SEAL != 0:
		return unix.EPERM
	}
	// A file that can be run is sealed whole with it (mm/memfd.c).
	if seals&unix.F_SEAL_EXEC != 0 && f.attr.Mode&0o111 != 0 {
		seals |= unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	}
	if seals&^f.seals&unix.F_SEAL_WRITE != 0 && f.data.shared && f.fs.arena.Mapped(f.data.slot) {
		return unix.EBUSY
	}
	f.seals |= seals
	return nil
}
