//go:build linux && amd64

package jail

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// mailbox is how other goroutines reach the warden: functions to run on its
// thread. The warden always sleeps in wait4, so whoever posts rings the bell: one
// more stub, a child of the warden that pauses for ever and is no guest. Its stop
// ends the wait4.
type mailbox struct {
	pending atomic.Bool // posts is not empty
	mu      sync.Mutex
	posts   []func()
	asleep  bool // in wait4, or about to be
	bell    int  // pid of the bell, 0 none yet
	closed  bool
}

// post queues fn. After the jail's end it does nothing.
func (m *mailbox) post(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.posts = append(m.posts, fn)
	m.pending.Store(true)
	if m.asleep && m.bell != 0 {
		m.asleep = false
		_ = unix.Tgkill(m.bell, m.bell, unix.SIGSTOP)
	}
}

// take returns what was posted, in order.
func (m *mailbox) take() []func() {
	if !m.pending.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	posts := m.posts
	m.posts = nil
	m.pending.Store(false)
	return posts
}

// sleep says that the warden is about to wait; false if there is mail.
func (m *mailbox) sleep() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asleep = len(m.posts) == 0
	return m.asleep
}

// setBell names the bell's process.
func (m *mailbox) setBell(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bell = pid
}

// close refuses further posts; after it nobody signals the bell any more.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.posts = true, nil
}
