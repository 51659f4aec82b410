//go:build linux

package vfs

import "golang.org/x/sys/unix"

// Quota bounds what in-memory file systems hold. Several may share one, and one
// may lie Within another.
type Quota struct {
	Bytes  int64  // of pages in use; 0: no bound
	Inodes int64  // inodes and further names of them; 0: no bound
	Within *Quota // nil: none

	bytes, inodes         int64 // used
	mostBytes, mostInodes int64 // that were
}

// Most is how many bytes and inodes were in use at once.
func (q *Quota) Most() (bytes, inodes int64) { return q.mostBytes, q.mostInodes }

// Full tells whether not another page fits, and whether not another inode.
func (q *Quota) Full() (bytes, inodes bool) {
	return q.Bytes > 0 && q.Bytes-q.bytes < blockSize, q.Inodes > 0 && q.inodes >= q.Inodes
}

// room is how many bytes may still be used.
func (q *Quota) room() int64 {
	left := int64(maxFileSize)
	for ; q != nil; q = q.Within {
		if q.Bytes > 0 {
			left = min(left, max(q.Bytes-q.bytes, 0))
		}
	}
	return left
}

// bound is how many bytes may be used.
func (q *Quota) bound() int64 {
	most := int64(maxFileSize)
	for ; q != nil; q = q.Within {
		if q.Bytes > 0 {
			most = min(most, q.Bytes)
		}
	}
	return most
}

// add counts; it does not ask.
func (q *Quota) add(bytes, inodes int64) {
	for ; q != nil; q = q.Within {
		q.bytes += bytes
		q.inodes += inodes
		q.mostBytes, q.mostInodes = max(q.mostBytes, q.bytes), max(q.mostInodes, q.inodes)
	}
}

// inode asks for one more inode or name. ENOSPC.
func (q *Quota) inode() error {
	for p := q; p != nil; p = p.Within {
		if p.Inodes > 0 && p.inodes >= p.Inodes {
			return unix.ENOSPC
		}
	}
	q.add(0, 1)
	return nil
}
