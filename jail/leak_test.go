//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// state is what a jail may not leave behind in its host process.
type state struct {
	fds        map[string]string
	goroutines int
	children   string
	cwd        string
	umask      string
}

func hostState() state {
	s := state{fds: make(map[string]string), goroutines: runtime.NumGoroutine()}
	list, _ := os.ReadDir("/proc/self/fd")
	for _, e := range list {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(target, "/proc/") {
			s.fds[e.Name()] = target
		}
	}
	var kids []string
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		kids = append(kids, strings.Fields(string(text))...)
	}
	s.children = strings.Join(kids, " ")
	s.cwd, _ = os.Getwd()
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Umask:") {
			s.umask = line
		}
	}
	return s
}

// leaks compares with now and says what is there that was not before. Threads
// and goroutines get a moment to end.
func (s state) leaks() string {
	var left []string
	for range 100 {
		left = nil
		now := hostState()
		for fd, target := range now.fds {
			if s.fds[fd] != target && !strings.HasPrefix(target, "anon_inode:[event") {
				left = append(left, "fd "+fd+" "+target)
			}
		}
		if now.goroutines > s.goroutines {
			left = append(left, fmt.Sprintf("%d goroutines, there were %d", now.goroutines, s.goroutines))
		}
		if now.children != s.children {
			left = append(left, "children "+now.children)
			for _, pid := range strings.Fields(now.children) {
				stat, _ := os.ReadFile("/proc/" + pid + "/stat")
				left = append(left, string(stat))
			}
		}
		if now.cwd != s.cwd || now.umask != s.umask {
			left = append(left, "another cwd or umask: "+now.cwd+" "+now.umask)
		}
		if len(left) == 0 {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return strings.Join(left, "; ")
}
