//go:build linux && amd64

package jailtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/jail"
)

// A Go function is a program for the guest by way of an ELF file of one page, the
// same for all. In a loop it makes the call afs_syscall, which Linux has never had
// and whose handler is ours, and then the call that the handler wrote on its stack:
// a read, a write, at last exit_group. So what the function reads and writes are
// ordinary calls of an ordinary guest process: pipes, redirections and signals work.
const (
	stubCall   = "afs_syscall"
	stubBuffer = 0x10000 // bytes of a read or write, behind the call's four words
	stubWords  = 32
	stubBase   = 0x400000
	stubEntry  = 0x78 // behind the headers

	stubCode = "\x49\x89\xe4" + // mov r12, rsp (argc, argv)
		"\x48\x81\xec\x40\x00\x01\x00" + // sub rsp, 0x10040
		"\x48\x83\xe4\xf0" + // and rsp, -16
		"\x48\x89\xe7" + // next: mov rdi, rsp
		"\x4c\x89\xe6" + // mov rsi, r12
		"\x4c\x89\xea" + // mov rdx, r13 (the last call's result)
		"\xb8\xb7\x00\x00\x00\x0f\x05" + // afs_syscall
		"\x48\x8b\x04\x24" + // mov rax, [rsp]
		"\x48\x8b\x7c\x24\x08" + // mov rdi, [rsp+8]
		"\x48\x8b\x74\x24\x10" + // mov rsi, [rsp+16]
		"\x48\x8b\x54\x24\x18" + // mov rdx, [rsp+24]
		"\x0f\x05" + // syscall
		"\x49\x89\xc5" + // mov r13, rax
		"\xeb\xd6" // jmp next
)

// stubName is where a stub's memory has the path it stands for: argv[0] may be
// anything, and a symlink may lead to it.
const stubName = stubBase + stubEntry + uint64(len(stubCode))

// stubELF is the file for a path.
func stubELF(name string) []byte {
	size := uint64(stubEntry + len(stubCode) + len(name) + 1)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	for _, v := range []any{ // elf(5): the rest of the header, and one PT_LOAD
		uint16(2), uint16(62), uint32(1), uint64(stubBase + stubEntry), uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(stubBase), uint64(stubBase),
		size, size, uint64(4096),
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // a Buffer takes all
	}
	b.WriteString(stubCode + name + "\x00")
	return b.Bytes()
}

// stubNode is the file for a path, as an inode: that of an fs.FS, for only files
// that can be mapped can be executed.
func stubNode(name string) (vfs.Node, error) {
	root, err := vfs.NewIOFS(fstest.MapFS{"stub": {Data: stubELF(name), Mode: 0o755}}, vfs.IOFSOptions{})
	if err != nil {
		return nil, err
	}
	return root.(vfs.Directory).Lookup("stub")
}

// stubs are the functions that run for one jail.
type stubs struct {
	programs map[string]Program
	running  map[int]*stub // by the guest's pid; the warden's
	ended    chan struct{} // of the jail
	wg       sync.WaitGroup
}

func newStubs(programs map[string]Program) *stubs {
	return &stubs{programs: programs, running: make(map[int]*stub), ended: make(chan struct{})}
}

// close waits for the functions of processes that are gone: their reads and writes
// fail.
func (s *stubs) close() {
	close(s.ended)
	s.wg.Wait()
}

// stub is a process and the function that it is.
type stub struct {
	s       *stubs
	calls   chan stubRequest // what the guest shall do
	results chan stubResult  // and what came of it
	last    stubRequest
	streams sync.Mutex // a function may use its streams from several goroutines
}

type stubRequest struct {
	nr   int
	fd   uint64
	data []byte // of a write
	size int
}

type stubResult struct {
	n    int64 // -errno
	data []byte
}

// maxSilence is how long a function may compute between two calls. The jail stands
// still meanwhile, so that a virtual clock does not jump.
const maxSilence = time.Minute

// handle is afs_syscall(buffer, stack, result).
func (s *stubs) handle(c *emulate.Call) (uint64, error) {
	buffer, stack, result := c.Addr(0), c.Addr(1), c.Long(2)
	pid := c.Task.Process.PID
	st := s.running[pid]
	if st == nil || st.last.nr == unix.SYS_EXIT_GROUP {
		args, err := stubArgs(c, stack)
		if err != nil {
			return 0, err
		}
		name, err := c.String(stubName, unix.PathMax)
		fn := s.programs[name]
		if err != nil || fn == nil {
			return 0, unix.ENOSYS // another program made the call
		}
		st = &stub{s: s, calls: make(chan stubRequest), results: make(chan stubResult)}
		s.running[pid] = st
		s.wg.Go(func() { st.run(fn, args) })
	} else {
		r := stubResult{n: result}
		if st.last.nr == unix.SYS_READ && result > 0 {
			r.data = make([]byte, min(result, stubBuffer))
			if err := c.Read(buffer+stubWords, r.data); err != nil {
				return 0, err
			}
		}
		select {
		case st.results <- r:
		case <-s.ended:
			return 0, unix.EIO
		}
	}
	silence := time.NewTimer(maxSilence)
	defer silence.Stop()
	select {
	case st.last = <-st.calls:
	case <-silence.C:
		return 0, &jail.Violation{Rule: "the Go function of a program took more than " + maxSilence.String()}
	}
	if err := c.Write(buffer+stubWords, st.last.data); err != nil {
		return 0, err
	}
	return 0, c.WriteValue(buffer, [4]uint64{uint64(st.last.nr), st.last.fd, buffer + stubWords, uint64(st.last.size)})
}

// maxStubArgs is ARG_MAX's order of magnitude, in words.
const maxStubArgs = 1 << 18

// stubArgs reads argv off the initial stack.
func stubArgs(c *emulate.Call, stack uint64) ([]string, error) {
	var argc uint64
	if err := c.ReadValue(stack, &argc); err != nil {
		return nil, err
	}
	addrs := make([]uint64, min(argc, maxStubArgs))
	if err := c.ReadValue(stack+8, addrs); err != nil {
		return nil, err
	}
	args := make([]string, len(addrs))
	for i, a := range addrs {
		var err error
		if args[i], err = c.String(a, 128<<10); err != nil { // MAX_ARG_STRLEN
			return nil, err
		}
	}
	return args, nil
}

// run calls fn and ends the process.
func (st *stub) run(fn Program, args []string) {
	code := 2 // as of a Go program that panics
	defer func() {
		if v := recover(); v != nil {
			_, _ = io.WriteString(stubFile{st, 2}, "panic in a jailtest.Program: "+fmt.Sprintln(v))
		}
		_, _ = st.call(stubRequest{nr: unix.SYS_EXIT_GROUP, fd: uint64(code)})
	}()
	code = fn(args, stubFile{st, 0}, stubFile{st, 1}, stubFile{st, 2}) & 0xff
}

// call has the guest make a call. exit_group has no result.
func (st *stub) call(r stubRequest) (stubResult, error) {
	st.streams.Lock()
	defer st.streams.Unlock()
	select {
	case st.calls <- r:
	case <-st.s.ended:
		return stubResult{}, io.ErrClosedPipe
	}
	if r.nr == unix.SYS_EXIT_GROUP {
		return stubResult{}, nil
	}
	select {
	case res := <-st.results:
		if res.n < 0 {
			return res, unix.Errno(-res.n)
		}
		return res, nil
	case <-st.s.ended:
		return stubResult{}, io.ErrClosedPipe
	}
}

// stubFile is a descriptor of the guest.
type stubFile struct {
	st *stub
	fd uint64
}

// Read is read(2).
func (f stubFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		r, err := f.st.call(stubRequest{nr: unix.SYS_READ, fd: f.fd, size: min(len(p), stubBuffer)})
		switch {
		case err == unix.EINTR:
		case err == nil && len(r.data) == 0:
			return 0, io.EOF
		default:
			return copy(p, r.data), err
		}
	}
}

// Write is write(2) until all is written.
func (f stubFile) Write(p []byte) (int, error) {
	written := 0
	for chunk := range slices.Chunk(p, stubBuffer) {
		for len(chunk) > 0 {
			r, err := f.st.call(stubRequest{nr: unix.SYS_WRITE, fd: f.fd, data: chunk, size: len(chunk)})
			if err != nil && err != unix.EINTR {
				return written, err
			}
			if err == nil {
				written, chunk = written+int(r.n), chunk[r.n:]
			}
		}
	}
	return written, nil
}
