//go:build linux

// A worker in Go: a request that begins with "!" makes it misbehave, as a bug in it
// would let an attacker do.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

func main() {
	buf := make([]byte, 64<<10)
	for {
		n, err := os.Stdin.Read(buf)
		if err != nil {
			return
		}
		response := bytes.ToUpper(buf[:n])
		if do, ok := misdeeds[string(buf[:n])]; ok {
			response = do()
		}
		os.Stdout.Write(response)
	}
}

var misdeeds = map[string]func() []byte{
	"!passwd": func() []byte {
		text, _ := os.ReadFile("/etc/passwd")
		return text
	},
	"!socket": func() []byte { return fmt.Append(nil, must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0))) },
	"!fork": func() []byte {
		pid, _, _ := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		return fmt.Append(nil, pid)
	},
	"!spin": func() []byte {
		//lint:ignore SA5002 that is the misdeed
		for {
		}
	},
	"!twice": func() []byte {
		os.Stdout.WriteString("once")
		return []byte("twice")
	},
	"!both": func() []byte { // two threads read at once
		os.Stdout.WriteString("both")
		go syscall.Read(0, make([]byte, 1))
		runtime.Gosched()
		syscall.Read(0, make([]byte, 1))
		return nil
	},
	"!big":   func() []byte { return make([]byte, 64<<20) },
	"!crash": func() []byte { return must[[]byte](nil, syscall.EIO) },
	"!exit":  func() []byte { os.Exit(3); return nil },
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
