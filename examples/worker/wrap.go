//go:build linux && amd64

package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/jail"
	"oubliette/policy"
)

// The worker's read and write are these two methods: there is no pipe, and so no
// framing. One read is one whole request, one write is one whole response, and any
// other order of them is the worker's end.

// read is read(2) of descriptor 0. The first one ends the worker's start-up.
func (w *worker) read(c *emulate.Call) (uint64, error) {
	buf, count := c.Addr(1), c.Size(2)
	if !w.reads() {
		return 0, &jail.Violation{Rule: "it has not answered the last request, or reads twice at once"}
	}
	var j *job
	err := c.Go(func() error {
		j = w.next()
		return nil
	}, nil) // no interrupt: a signal waits, and death ends w.next by w.gone
	if err != nil || j == nil { // no more requests: end of file
		return 0, err
	}
	if count < uint64(len(j.request)) {
		return 0, &jail.Violation{Rule: fmt.Sprintf("its buffer does not hold a request of %d bytes", len(j.request))}
	}
	return uint64(len(j.request)), c.Write(buf, j.request)
}

// write is write(2) to descriptor 1.
func (w *worker) write(c *emulate.Call) (uint64, error) {
	buf, count := c.Addr(1), c.Size(2)
	if !w.busy() {
		return 0, &jail.Violation{Rule: "there is no request that this could answer"}
	}
	if count > maxResponse {
		return 0, &jail.Violation{Rule: fmt.Sprintf("its response is larger than %d bytes", maxResponse)}
	}
	response := make([]byte, count)
	if err := c.Read(buf, response); err != nil {
		return 0, err
	}
	w.answer(response)
	return count, nil
}

// handlers and rules put a worker under two policies, one after the other: that of
// starting until it first reads a request, that of serving from then on. Each says
// by its rules what becomes of a call; jail's own policy must say Emulate then, so
// that the call comes here.
func (w *worker) handlers() map[string]emulate.Handler {
	m := make(map[string]emulate.Handler)
	for _, row := range emulate.Calls() {
		if row.Do != nil {
			m[row.Name] = row.Do
		}
	}
	read, write := m["read"], m["write"]
	m["read"] = onDescriptor(0, w.read, read)
	m["write"] = onDescriptor(1, w.write, write)
	h := make(map[string]emulate.Handler)
	for _, name := range w.pool.lang.names() {
		h[name] = w.guarded(name, m[name])
	}
	return h
}

// onDescriptor is do for descriptor fd, and else for all others.
func onDescriptor(fd int, do, other emulate.Handler) emulate.Handler {
	return func(c *emulate.Call) (uint64, error) {
		if c.FD(0) == fd {
			return do(c)
		}
		return other(c)
	}
}

// guarded is do if the policy of the moment lets it.
func (w *worker) guarded(name string, do emulate.Handler) emulate.Handler {
	return func(c *emulate.Call) (uint64, error) {
		p, when := w.pool.lang.start, "starting"
		if w.serving {
			p, when = w.pool.lang.serve, "serving"
		}
		switch d := p.Lookup(name, c.Args); d.Action {
		case policy.Emulate:
			if do == nil {
				return 0, unix.ENOSYS
			}
			return do(c)
		case policy.Allow:
			return 0, emulate.ErrPass
		case policy.Deny:
			return 0, unix.Errno(d.Errno)
		}
		return 0, &jail.Violation{Rule: "no rule for " + when + " permits it"}
	}
}
