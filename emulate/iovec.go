//go:build linux

package emulate

import "golang.org/x/sys/unix"

const maxIov = 1024 // UIO_MAXIOV

// iovec is struct iovec.
type iovec struct{ base, len uint64 }

// buffer is one guest buffer as readv(2) takes them. EFAULT: it does not lie
// below the end of the address space (access_ok).
func buffer(base, n uint64) (iovec, error) {
	if base > taskSize || n > taskSize-base {
		return iovec{}, unix.EFAULT
	}
	return iovec{base, min(n, maxRW)}, nil
}

// buffers reads an array of struct iovec and adds up the lengths, cut at maxRW
// (lib/iov_iter.c:import_iovec). EINVAL, EFAULT.
func (c *Call) buffers(addr uint64, count uint32) (v []iovec, total uint64, err error) {
	if v, err = c.iovecs(addr, count); err != nil {
		return nil, 0, err
	}
	for i := range v {
		if v[i], err = buffer(v[i].base, v[i].len); err != nil {
			return nil, 0, err
		}
		v[i].len = min(v[i].len, maxRW-total)
		total += v[i].len
	}
	return v, total, nil
}

// iovecs reads an array of struct iovec (lib/iov_iter.c:iovec_from_user).
func (c *Call) iovecs(addr uint64, count uint32) ([]iovec, error) {
	if count > maxIov {
		return nil, unix.EINVAL
	}
	p := make([]byte, 16*int(count))
	if err := c.Read(addr, p); err != nil {
		return nil, err
	}
	v := make([]iovec, count)
	for i := range v {
		v[i] = iovec{leUint64(p[16*i:]), leUint64(p[16*i+8:])}
		if int64(v[i].len) < 0 {
			return nil, unix.EINVAL
		}
	}
	return v, nil
}

// scatter copies p to the buffers v, skip bytes into them, up to the first byte
// that cannot be written. EFAULT if that is the first.
func (c *Call) scatter(v []iovec, skip uint64, p []byte) (int, error) {
	return spread(c.Task.Machine, v, skip, p, true)
}

// gather is scatter the other way.
func (c *Call) gather(v []iovec, skip uint64, p []byte) (int, error) {
	return spread(c.Task.Machine, v, skip, p, false)
}

func spread(m Machine, v []iovec, skip uint64, p []byte, write bool) (done int, err error) {
	for _, b := range v {
		if skip >= b.len {
			skip -= b.len
			continue
		}
		part := p[done:min(uint64(len(p)), uint64(done)+b.len-skip)]
		if len(part) == 0 {
			break
		}
		var n int
		if write {
			n, err = m.WriteMemory(part, b.base+skip)
		} else {
			n, err = m.ReadMemory(part, b.base+skip)
		}
		done += n
		if err != nil || n < len(part) {
			break
		}
		skip = 0
	}
	if err == ErrGone {
		return done, err
	}
	if done == 0 && len(p) > 0 {
		return 0, unix.EFAULT
	}
	return done, nil
}
