//go:build linux && amd64

package jailtest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"oubliette/jail/jailtest"
)

func ExampleCommand() {
	example(func(t testing.TB) { // in a test, t is its own
		cmd := jailtest.Command(t, "sort", "-o", "out", "in")
		cmd.Files = jailtest.Txtar("-- in --\nb\na\n")
		r := cmd.Run().OK()
		fmt.Printf("%q\n", r.Changed)
	})
	// Output: map["out":"a\nb\n"]
}

func ExampleWorld() {
	example(func(t testing.TB) {
		w := jailtest.New(t)
		w.Run("sh", "-c", "date > now; sleep 3600").OK()
		fmt.Print(w.Run("sh", "-c", "cat now; date").OK().Stdout)
		fmt.Print(w.Run("cat", "/etc/shadow").Stderr)
	})
	// Output:
	// Thu Jan  1 00:00:00 UTC 2026
	// Thu Jan  1 01:00:01 UTC 2026
	// cat: /etc/shadow: No such file or directory
}

func ExampleProgram() {
	example(func(t testing.TB) {
		w := jailtest.New(t)
		w.Programs = map[string]jailtest.Program{
			"/usr/bin/mail": func(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
				text, err := io.ReadAll(stdin)
				fmt.Printf("%q %q %v\n", args, text, err)
				return 0
			},
		}
		w.Run("sh", "-c", "echo done | mail root && echo sent > log").OK()
		fmt.Print(w.ReadFile("log"))
	})
	// Output:
	// ["mail" "root"] "done\n" <nil>
	// sent
}

func ExampleWorld_hosts() {
	example(func(t testing.TB) {
		w := jailtest.New(t)
		w.Hosts = map[string]http.Handler{
			"https://api.example.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "you asked for", r.URL) }),
		}
		fmt.Print(w.Run("curl", "-sS", "https://api.example.com/users?n=1").OK().Stdout)
	})
}

// example runs fn with a testing.TB, of which examples have none.
func example(fn func(t testing.TB)) {
	testing.Benchmark(func(b *testing.B) {
		if b.N == 1 {
			fn(b)
		}
	})
}
