//go:build linux

package emulate_test

import (
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// TestHostileIPC: whatever the arguments, the calls on pipes, readiness, timers
// and messages end, at the latest with a signal, and nothing panics.
func TestHostileIPC(t *testing.T) {
	calls := []string{"alarm", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2",
		"getitimer", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl",
		"msgget", "msgrcv", "msgsnd", "pipe2", "poll", "ppoll", "pselect6", "read", "select", "semctl", "semget", "semop",
		"semtimedop", "setitimer", "shmat", "shmctl", "shmdt", "shmget", "signalfd4", "splice", "tee", "timer_create",
		"timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
		"timerfd_settime", "vmsplice", "write"}
	g := NewGuest(t)
	memory := []uint64{g.Machine.Map(0, 1<<16, unix.PROT_READ|unix.PROT_WRITE), g.Machine.Map(0, 1<<14, unix.PROT_READ)}
	values := []uint64{0, 0xfff, Bad, 1 << 31, 1<<32 - 1, 1 << 47, 1 << 63, ^uint64(0), ^uint64(4096)}
	rng := rand.New(rand.NewSource(1))
	fill := make([]byte, 1<<12)
	for i := range 20000 {
		if i%50 == 0 {
			g.Call("close_range", 0, ^uint32(0), 0)
			g.Machine.Signals()
			for j := range fill {
				fill[j] = byte(rng.Intn(256) & -rng.Intn(2))
			}
			if _, err := g.Machine.WriteMemory(fill, memory[0]); err != nil {
				t.Fatal(err)
			}
			g.Call("pipe2", memory[0]+1<<15, 0)
			g.Call("pipe2", memory[0]+1<<15, unix.O_NONBLOCK)
		}
		var args [6]any
		for j := range args {
			switch rng.Intn(5) {
			case 0, 1:
				args[j] = rng.Intn(12)
			case 2:
				args[j] = values[rng.Intn(len(values))]
			case 3:
				args[j] = memory[rng.Intn(2)] + uint64(rng.Intn(4096))
			default:
				args[j] = rng.Uint64() >> rng.Intn(64)
			}
		}
		name := calls[rng.Intn(len(calls))]
		call := g.Start(name, args[:]...)
		if call.Done() {
			continue
		}
		_ = g.Machine.Signal(emulate.Signal{Number: int(unix.SIGUSR1)}, false)
		g.Machine.SetWaitMask(nil)
		if !call.Done() {
			t.Fatalf("%s%#x sleeps on after a signal", name, args)
		}
		g.Machine.Signals()
	}
}
