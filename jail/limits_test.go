//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["hog"] = func(args []string) {
		const size = 1 << 30
		take := func(size, flags int) error {
			p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANONYMOUS)
			for i := 0; i < len(p); i += 4096 {
				p[i] = 1
			}
			return err
		}
		switch args[0] {
		case "private":
			fmt.Println(take(size, unix.MAP_PRIVATE))
			return
		case "shared": // which no resource limit counts
			check(take(size, unix.MAP_SHARED))
		case "many": // none of them too much
			for range 4 {
				cmd := exec.Command(os.Args[0], "part")
				cmd.Env = os.Environ()
				check(cmd.Start())
			}
		case "part":
			check(take(150<<20, unix.MAP_PRIVATE))
		case "family": // the same pages in many processes
			check(take(100<<20, unix.MAP_PRIVATE))
			for range 8 {
				if pid, _, _ := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0); pid == 0 {
					for {
						_, _, _ = unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
					}
				}
			}
			time.Sleep(300 * time.Millisecond)
			fmt.Println("goes on")
			return
		}
		time.Sleep(time.Minute)
	}
}

// TestMemoryLimit: one process is refused more memory as Linux refuses it, and
// all together do not hold more.
func TestMemoryLimit(t *testing.T) {
	p := policy.Overlay()
	p.Limits.Memory = 384 << 20
	ended := result{Err: "jail: limit memory (402653184) reached"}
	for name, want := range map[string]result{
		"private": {Stdout: "cannot allocate memory\n"},
		"shared":  ended,
		"many":    ended,
		"family":  {Stdout: "goes on\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := jailed(t, &jail.Jail{}, guestCommand("hog", name), p); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
