//go:build linux && amd64

package jail

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
	"oubliette/emulate/vfs"
	"oubliette/fdtable"
)

// terminal joins the caller's terminal to one of the guest's, as script(1) and
// ssh(1) do: the caller's is in raw mode, what is typed goes to the guest's, whose
// line discipline makes lines, echoes and signals of it, and what that sends is
// shown. Nothing of the caller's terminal can be reached by the guest.
type terminal struct {
	w         *warden
	from, to  *hostFile // the caller's terminal, once for each direction
	saved     unix.Termios
	device    int // TIOCGDEV of it
	guest     *emulate.Terminal
	typed     []byte // read, not yet taken by the guest's
	shown     []byte // sent by the guest's, not yet taken by the caller's
	pumping   bool   // the pump is posted
	waiters   [3]fdtable.Waiter
	signals   chan os.Signal
	listening sync.WaitGroup
}

// drainTime is how long the end of a jail waits for a terminal that takes nothing.
const drainTime = 2 * time.Second

// openTerminal puts f into raw mode. The warden takes it over.
func (w *warden) openTerminal(f *os.File) error {
	if f == nil {
		return nil
	}
	t := &terminal{w: w}
	err := t.open(f)
	if err == nil {
		err = t.raw()
	}
	if err != nil {
		t.closeFiles()
		return &Error{Op: "Jail.Terminal", Err: fmt.Errorf("%w: it must be an open terminal", err)}
	}
	w.terminal = t
	return nil
}

func (t *terminal) open(f *os.File) error {
	for _, h := range []**hostFile{&t.from, &t.to} {
		var err error
		if *h, err = t.w.streams.newHostFile(f); err != nil {
			return err
		}
	}
	mode, err := unix.IoctlGetTermios(t.from.fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.saved = *mode
	t.device, err = unix.IoctlGetInt(t.from.fd, unix.TIOCGDEV)
	return err
}

// raw is cfmakeraw(3).
func (t *terminal) raw() error {
	m := t.saved
	m.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	m.Oflag &^= unix.OPOST
	m.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	m.Cflag = m.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(t.from.fd, unix.TCSETS, &m)
}

// restore gives the terminal its mode back, unless it is another job's by now.
func (t *terminal) restore() {
	if pgrp, err := unix.IoctlGetInt(t.from.fd, unix.TIOCGPGRP); err == nil && pgrp != unix.Getpgrp() {
		return
	}
	_ = unix.IoctlSetTermios(t.from.fd, unix.TCSETS, &t.saved) // its window may be closed
}

// attach makes the guest's terminal and gives it to task 1.
func (t *terminal) attach(task *emulate.Task, owner vfs.Owner) (*fdtable.Description, error) {
	var err error
	if t.guest, err = t.w.sys.NewTerminal(owner, &t.saved, t.window()); err != nil {
		return nil, err
	}
	d, err := t.guest.Control(task)
	if err != nil {
		return nil, err
	}
	for i := range t.waiters {
		t.waiters[i].Woken = t.wake
	}
	t.guest.Queue().Add(&t.waiters[0])
	t.from.queue.Add(&t.waiters[1])
	t.to.queue.Add(&t.waiters[2])
	t.wake()
	t.listen()
	return d, nil
}

func (t *terminal) window() unix.Winsize {
	if w, err := unix.IoctlGetWinsize(t.from.fd, unix.TIOCGWINSZ); err == nil {
		return *w
	}
	return unix.Winsize{}
}

// is reports that f is this terminal, through whatever description.
func (t *terminal) is(f *os.File) bool {
	raw, err := f.SyscallConn()
	device := -1
	if err == nil {
		_ = raw.Control(func(fd uintptr) { device, err = unix.IoctlGetInt(int(fd), unix.TIOCGDEV) })
	}
	return err == nil && device == t.device
}

func (t *terminal) wake() {
	if !t.pumping {
		t.pumping = true
		t.w.box.post(t.pump)
	}
}

// pump moves what can be moved, both ways.
func (t *terminal) pump() {
	t.pumping = false
	t.from.missing, t.to.missing = 0, 0
	for more := true; more; {
		show, _ := carry(&t.shown, t.guest, t.to)
		take, err := carry(&t.typed, t.from, t.guest)
		if err != nil { // its window was closed
			_ = t.guest.Close()
			return
		}
		more = show || take
	}
	t.from.Queue()
	t.to.Queue()
}

// carry moves bytes, of which held were read before. An error is the end of from.
func carry(held *[]byte, from io.Reader, to io.Writer) (moved bool, err error) {
	if len(*held) == 0 {
		p := make([]byte, pipeChunk)
		n, err := from.Read(p)
		if err == unix.EAGAIN {
			return false, nil
		}
		if n == 0 {
			return false, firstError(err, io.EOF)
		}
		*held = p[:n]
	}
	n, err := to.Write(*held)
	if err != nil && err != unix.EAGAIN {
		n = len(*held) // nobody sees it any more
	}
	*held = (*held)[n:]
	return n > 0, nil
}

// listen follows the window's size, and hands the terminal back while the
// caller's process is stopped.
func (t *terminal) listen() {
	t.signals = make(chan os.Signal, 4)
	signal.Notify(t.signals, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	t.listening.Go(func() {
		for s := range t.signals {
			switch s {
			case unix.SIGTSTP:
				t.restore()
				_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // as SIGTSTP would have
			case unix.SIGCONT:
				_ = t.raw()
			}
			t.w.box.post(func() { t.guest.Resize(t.window()) })
		}
	})
}

// close shows what is left to be shown and gives the caller's terminal back.
func (t *terminal) close() {
	if t == nil {
		return
	}
	if t.signals != nil {
		signal.Stop(t.signals)
		close(t.signals)
		t.listening.Wait()
	}
	end := time.Now().Add(t.w.patience(drainTime))
	for late := func() bool { return !time.Now().Before(end) }; t.guest != nil && !late(); {
		if moved, _ := carry(&t.shown, t.guest, t.to); moved {
			continue
		}
		if len(t.shown) == 0 && !t.to.writing.Load() {
			break
		}
		t.to.await(late)
	}
	t.restore()
	t.closeFiles()
}

func (t *terminal) closeFiles() {
	for _, h := range []*hostFile{t.from, t.to} {
		if h != nil {
			_ = h.Close()
		}
	}
}
