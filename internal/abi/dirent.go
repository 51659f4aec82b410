//go:build linux

package abi

// Dirent is one entry of a directory.
type Dirent struct {
	Ino  uint64
	Off  int64 // position of the next entry
	Type uint8 // DT_*
	Name string
}

// AppendDirent64 appends d as struct linux_dirent64 to p, unless that would make
// p longer than limit: then ok is false.
func AppendDirent64(p []byte, d Dirent, limit int) (_ []byte, ok bool) {
	p, q := appendDirent(p, d, limit)
	if q == nil {
		return p, false
	}
	q[18] = d.Type
	copy(q[19:], d.Name)
	return p, true
}

// AppendDirent is AppendDirent64 for struct linux_dirent of getdents(2), which
// hides the type in its last byte.
func AppendDirent(p []byte, d Dirent, limit int) (_ []byte, ok bool) {
	p, q := appendDirent(p, d, limit)
	if q == nil {
		return p, false
	}
	copy(q[18:], d.Name)
	q[len(q)-1] = d.Type
	return p, true
}

// appendDirent appends what both have in common, and gives it as q; nil: no room.
func appendDirent(p []byte, d Dirent, limit int) (_, q []byte) {
	n := (18 + len(d.Name) + 2 + 7) &^ 7 // with a type and a NUL
	if len(p)+n > limit {
		return p, nil
	}
	p = append(p, make([]byte, n)...)
	q = p[len(p)-n:]
	le.PutUint64(q, d.Ino)
	le.PutUint64(q[8:], uint64(d.Off))
	le.PutUint16(q[16:], uint16(n))
	return p, q
}

// AppendInotify appends struct inotify_event with its padded name (a name takes
// a multiple of 16 bytes with its NUL, none takes no bytes).
func AppendInotify(p []byte, wd int32, mask, cookie uint32, name string) []byte {
	n := 0
	if name != "" {
		n = (len(name) + 1 + 15) &^ 15
	}
	at := len(p)
	p = append(p, make([]byte, 16+n)...)
	q := p[at:]
	le.PutUint32(q, uint32(wd))
	le.PutUint32(q[4:], mask)
	le.PutUint32(q[8:], cookie)
	le.PutUint32(q[12:], uint32(n))
	copy(q[16:], name)
	return p
}
