//go:build linux && amd64

package jail

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
	"oubliette/fdtable"
	"oubliette/internal/recording"
)

// pumpBuffer is how much is read, and how much written, in one piece.
const pumpBuffer = 64 << 10

// lastWords is how long the peer's last words are waited for when it takes no more
// of ours.
const lastWords = time.Second

// orphanTime is how long a peer may take nothing of what a guest wrote that has
// closed its end; then the connection is reset. Linux gives up on an orphan in about
// the same (net.ipv4.tcp_orphan_retries).
const orphanTime = 100 * time.Second

// farEnd is the other end of a guest's connection.
type farEnd interface {
	vnet.Stream
	Deserted() bool
	Abort()
}

// pipe moves bytes between the far end of a guest's connection and a net.Conn. One
// goroutine reads the conn and waits until the guest's side has room for what it
// read; one writes. The warden's thread only ever copies between memory, in step.
type pipe struct {
	o       *outside
	far     farEnd
	conn    net.Conn
	unwatch func()
	dialled bool
	inside  bool // conn is our resolver's: nothing leaves the jail

	in    []byte // read of conn, not yet at the guest; the reader waits meanwhile
	inErr error  // what came after that
	deaf  bool   // the guest takes no more: what comes is dropped
	more  chan struct{}
	over  chan struct{} // closed at the end

	buf     []byte      // what the writer has
	out     chan []byte // to the writer; nil is the end of what the guest writes
	writing bool
	timed   bool // not longer than orphanTime
	failed  bool // conn takes no more
	fin     bool // the guest writes no more
	reset   bool // conn is to end with a RST
	linger  bool // or not before the peer has had a chance to read all
	ended   bool

	name        string // its doors'
	came, wrote func(outcome)
}

// newPipe connects far and conn, in a slot that it gives back at its end.
func (o *outside) newPipe(far farEnd, conn net.Conn) *pipe {
	p := &pipe{o: o, far: far, conn: conn, more: make(chan struct{}, 1), over: make(chan struct{}), out: make(chan []byte, 3), name: o.number("conn")}
	o.pipes[p] = struct{}{}
	p.came = o.w.tape.door(o.w, p.name+" came", func(r outcome) {
		if p.in, p.inErr = r.Data, r.err(); r.N == atEnd {
			p.inErr = io.EOF
		}
		if len(p.in) == 0 && p.inErr == nil { // an empty write at the other end of a net.Pipe
			p.more <- struct{}{}
		}
		p.step()
	})
	p.wrote = o.w.tape.door(o.w, p.name+" wrote", func(r outcome) {
		p.writing, p.timed = false, false
		p.failed = p.failed || r.Errno != 0
		p.step()
	})
	queued := false
	p.unwatch = far.Queue().Watch(func() {
		if !queued {
			queued = true
			o.w.box.post(func() { queued = false; p.step() })
		}
	})
	stop := context.AfterFunc(o.last, func() { _ = conn.Close() })
	o.run(p.read)
	o.run(func() {
		defer o.release()
		p.write()
		stop()
	})
	p.step()
	return p
}

// atEnd is the N of what comes with the end of a stream.
const atEnd = 1

// netErrno is an errno for an error of a connection's, 0 for none.
func netErrno(err error) unix.Errno {
	errno := unix.ECONNRESET
	if err == nil {
		return 0
	}
	_ = errors.As(err, &errno)
	return errno
}

// read is the reader's goroutine.
func (p *pipe) read() {
	buf := make([]byte, pumpBuffer)
	for {
		n, err := p.conn.Read(buf)
		e := recording.Event{Data: buf[:n], Errno: netErrno(err)}
		if errors.Is(err, io.EOF) {
			e.N, e.Errno = atEnd, 0
		}
		p.came(outcome{Event: e})
		if err != nil {
			return
		}
		select {
		case <-p.more:
		case <-p.over:
			return
		}
	}
}

// write is the writer's goroutine. It closes conn.
func (p *pipe) write() {
	for b := range p.out {
		var err error
		if b == nil {
			if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
				err = c.CloseWrite()
			}
		} else {
			_, err = p.conn.Write(b)
		}
		if err != nil { // what is still to be read tells why
			_ = p.conn.SetReadDeadline(time.Now().Add(lastWords))
		}
		p.wrote(outcome{Event: recording.Event{Errno: netErrno(err)}})
	}
	switch _, ok := p.conn.(interface{ CloseWrite() error }); {
	case p.reset:
		noLinger(p.conn)
	case p.linger && ok:
		// Close with something unread would be a RST, which takes from the peer
		// what it has not read yet.
		_ = p.conn.SetReadDeadline(time.Now().Add(lastWords))
		_, _ = io.Copy(io.Discard, p.conn)
	}
	_ = p.conn.Close()
}

// noLinger makes Close a RST.
func noLinger(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
}

// step moves what can be moved.
func (p *pipe) step() {
	if p.ended || p.o.ended {
		return
	}
	p.toGuest()
	if !p.ended {
		p.fromGuest()
	}
	if p.ended {
		return
	}
	gone := p.far.Deserted()
	over := !p.writing && (gone || p.deaf && p.inErr != nil)
	switch {
	case over && p.fin:
		p.linger = p.inErr == nil
		p.end(false)
	case over && p.failed:
		p.far.Abort()
		p.end(true)
	case p.writing && !p.timed && (gone || p.far.Poll()&fdtable.Err != 0):
		p.timed = true
		p.o.run(func() { _ = p.conn.SetWriteDeadline(time.Now().Add(orphanTime)) })
	}
}

func (p *pipe) toGuest() {
	if p.far.Poll()&fdtable.Err != 0 { // a RST of the guest's, which fromGuest meets behind what came before it
		p.deaf = true
	}
	for len(p.in) > 0 {
		n, err := len(p.in), error(nil)
		if !p.deaf {
			n, err = p.far.Write(p.in)
		}
		if err == unix.EAGAIN {
			return
		}
		if err != nil { // the guest's socket is gone, but not what it wrote
			n, p.deaf = len(p.in), true
		}
		if p.in = p.in[n:]; len(p.in) == 0 && p.inErr == nil {
			p.more <- struct{}{}
		}
	}
	switch {
	case p.inErr == nil, p.deaf:
	case errors.Is(p.inErr, io.EOF) && !p.failed:
		p.deaf = true // there is no more
		_ = p.far.Shutdown(unix.SHUT_WR)
	default:
		p.far.Abort()
		p.end(true)
	}
}

func (p *pipe) fromGuest() {
	if p.writing || p.fin || p.failed {
		return
	}
	if p.buf == nil {
		p.buf = make([]byte, pumpBuffer)
	}
	n, err := p.far.Read(p.buf)
	switch {
	case n > 0:
		if n = p.leaves(n); n == 0 { // the jail ends
			return
		}
		p.o.w.tape.say(p.name+" sent", p.buf[:n])
		p.out <- p.buf[:n]
	case err == unix.EAGAIN:
		p.buf = nil // an idle connection needs none
		return
	case err == nil:
		p.fin = true
		p.o.w.tape.say(p.name+" shut", nil)
		p.out <- nil
	default:
		p.end(true)
		return
	}
	p.writing = true
}

// leaves says how many of n bytes go out.
func (p *pipe) leaves(n int) int {
	if p.inside {
		return n
	}
	return p.o.w.streams.part(n)
}

// end takes the connection down.
func (p *pipe) end(reset bool) {
	p.ended, p.reset = true, reset
	p.unwatch()
	p.o.w.tape.shut(p.name+" came", p.name+" wrote")
	_ = p.far.Close()
	if p.dialled {
		p.o.busy--
	}
	delete(p.o.pipes, p)
	if p.writing { // it may be stuck
		conn := p.conn
		p.o.run(func() {
			if reset {
				noLinger(conn)
			}
			_ = conn.Close()
		})
	}
	close(p.over)
	close(p.out)
}

// flush is the jail's end: what the guest wrote goes out, then the conn is closed.
func (p *pipe) flush() {
	p.unwatch()
	var rest []byte
	if p.buf == nil || p.writing {
		p.buf = make([]byte, pumpBuffer)
	}
	for !p.fin && !p.failed {
		n, err := p.far.Read(p.buf)
		left := p.leaves(n)
		if rest = append(rest, p.buf[:left]...); n > 0 && left == n {
			continue
		}
		p.reset = err != nil && err != unix.EAGAIN
		break
	}
	if p.linger = !p.reset && (p.writing || len(rest) > 0); len(rest) > 0 {
		p.out <- rest
	}
	if p.linger {
		p.out <- nil
	}
	p.ended = true
	close(p.over)
	close(p.out)
}
