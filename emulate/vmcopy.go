//go:build linux

package emulate

import "golang.org/x/sys/unix"

func process_vm_readv(c *Call) (uint64, error)  { return c.copyVM(false) }
func process_vm_writev(c *Call) (uint64, error) { return c.copyVM(true) }

// copyVM is mm/process_vm_access.c:process_vm_rw. Unlike Linux's it obeys page
// protection when it writes, and other tasks may run between two parts of it.
func (c *Call) copyVM(write bool) (uint64, error) {
	pid, lvec, liovcnt, rvec, riovcnt, flags := c.Int(0), c.Addr(1), c.Uint(2), c.Addr(3), c.Uint(4), c.Size(5)
	if flags != 0 {
		return 0, unix.EINVAL
	}
	local, total, err := c.buffers(lvec, liovcnt)
	if err != nil || total == 0 {
		return 0, err
	}
	remote, err := c.iovecs(rvec, riovcnt)
	if err != nil {
		return 0, err
	}
	there := uint64(0)
	for _, v := range remote {
		there += min(v.len, total-there)
	}
	if there == 0 {
		return 0, nil
	}
	t := c.Sys.Task(pid)
	if t == nil {
		return 0, unix.ESRCH
	}
	if !c.Task.mayTrace(t, c.Task.Cred.RUID, c.Task.Cred.RGID) {
		return 0, unix.EPERM
	}
	from, src, to, dst := t.Machine, remote, c.Task.Machine, local
	if write {
		from, src, to, dst = to, dst, from, src
	}
	return c.copyBetween(from, src, to, dst, there)
}

// copyBetween copies n bytes. What was copied before an error counts.
func (c *Call) copyBetween(from Machine, src []iovec, to Machine, dst []iovec, n uint64) (uint64, error) {
	done, steps := uint64(0), 0
	own := func(m Machine, err error) error { // the other's end is not the caller's
		if err == ErrGone && m != c.Task.Machine {
			return unix.ESRCH
		}
		return err
	}
	for done < n {
		p := c.Sys.chunk(n - done)
		got, err := spread(from, src, done, p, false)
		err = own(from, err)
		put := 0
		if err == nil {
			put, err = spread(to, dst, done, p[:got], true)
			err = own(to, err)
		}
		done += uint64(put)
		if err != nil && (done == 0 || err == ErrGone) {
			return 0, err
		}
		if err != nil || put < len(p) {
			break
		}
		if steps++; steps%turn == 0 {
			if err := c.yield(); err != nil {
				return 0, err
			}
		}
	}
	return done, nil
}
