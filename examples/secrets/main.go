//go:build linux && amd64

// Command secrets gives a program a secret as a file that exists nowhere: Go makes
// its content each time it is opened, here a password that works once, and knows
// when that was. Nothing is in the environment, on a disk or in an image, and the
// program needs to know nothing but a path.
//
//	go run ./examples/secrets
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vfs"
	"oubliette/jail"
	"oubliette/policy"
)

// path is where the program finds its secret.
const path = "/run/secrets/password"

func main() {
	v := vault{most: 3, log: os.Stderr}
	script := "for i in 1 2 3 4; do cat " + path + "; done; ls -l " + path
	if err := v.run(os.Stdout, os.Stderr, "/bin/sh", "-c", script); err != nil {
		fmt.Fprintln(os.Stderr, "secrets:", err)
		os.Exit(1)
	}
}

// vault gives out passwords that work once. Its methods run on the jail's thread
// while there is a jail, and need no lock.
type vault struct {
	most  int // passwords given to one program
	given []string
	used  map[string]bool
	log   io.Writer
}

// run runs a command that has the vault.
func (v *vault) run(stdout, stderr io.Writer, argv ...string) error {
	j := &jail.Jail{Nodes: map[string]vfs.Node{path: vfs.NewText(0o444, v.open)}}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	proc, err := j.Spawn(cmd, policy.Tool())
	if err != nil {
		return err
	}
	return proc.Wait()
}

// open is the content of the file for one open(2), or its errno.
func (v *vault) open() ([]byte, error) {
	if len(v.given) == v.most {
		fmt.Fprintln(v.log, "refused one more password")
		return nil, unix.EACCES
	}
	password := rand.Text()
	v.given = append(v.given, password)
	fmt.Fprintf(v.log, "%s: password %d of %d given\n", time.Now().Format(time.TimeOnly), len(v.given), v.most)
	return []byte(password + "\n"), nil
}

// accept reports that password was given out, and takes it back.
func (v *vault) accept(password string) bool {
	for _, p := range v.given {
		if p == password && !v.used[p] {
			if v.used == nil {
				v.used = make(map[string]bool)
			}
			v.used[p] = true
			return true
		}
	}
	return false
}
