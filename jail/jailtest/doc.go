// Package jailtest is for tests of programs: each runs in a prison of its own, sees
// what the test gives it and nothing else, and so does the same on every machine.
//
//	func TestSort(t *testing.T) {
//		t.Parallel()
//		cmd := jailtest.Command(t, "sort", "-o", "out", "in")
//		cmd.Files = jailtest.Txtar("-- in --\nb\na\n")
//		r := cmd.Run().OK()
//		if got := r.Changed["out"]; got != "a\nb\n" {
//			t.Errorf("out: %q", got)
//		}
//	}
//
// # Model
//
// A [World] is what the commands of a test see: a tree at /work, where they start,
// an empty home and /tmp, the host's programs read-only (policy.Tool), no network,
// the clock at [Start] and all randomness from one seed. A sleep takes no time. What
// a command writes is there for the next of the same World, which starts a second
// later; [Result] has what it printed, its exit status, and the files that
// it changed. Nothing of the host is written.
//
// Make a World by [New] and run commands by [World.Run] or, with a standard input or
// directory, [World.Command]; [Command] is for one command that needs no other.
// [World.Policy] is an ordinary policy to change before the first command.
//
// # Stubs
//
// [World.Programs] has Go functions for programs, [World.Hosts] http.Handlers for
// servers. A function reads and writes the descriptors of a real guest process, so
// it works in pipes and under xargs; it knows nothing of that process's environment,
// directory and signals, and has three descriptors. While it computes the whole jail
// stands still, so it must not wait for another guest but by reading and writing,
// and a minute of silence ends the jail. A handler is reached by its name and port
// and no other is; for https the guest's /etc/ssl/certs/ca-certificates.crt is an
// authority of this World's, which variables such as SSL_CERT_FILE name too.
// Programs that bring their own list of authorities do not trust it. Keys are new in
// each run. Functions and handlers run with the rights of the test.
//
// # Scripts
//
// [Run] runs .txtar files: a script, and the files of its tree.
//
//	# Sorting.
//	stdin words
//	exec sort
//	cmp stdout want
//	! exec sort none
//	stderr 'cannot read: none'
//	-- words --
//	b
//	a
//	-- want --
//	a
//	b
//
// The commands are
//
//	[!] exec program [args]   run it; it must succeed, or with ! fail (but exist)
//	[!] stdout pattern        the last exec's output matches a regexp (?m)
//	[!] stderr pattern
//	cmp file1 file2           they are the same; stdout and stderr are files too
//	[!] exists file…          it exists, of whatever kind
//	env name=value…           for this script and its further execs
//	cd directory
//	stdin file                for the next exec
//
// Words are apart by blanks; 'quotes' keep them together, two of them in quotes are
// one. $NAME is a variable of env, World.Env or WORK, HOME, TMPDIR, but in
// quotes and patterns. # begins a comment. go test -update writes what cmp got into
// the archive if file2 is in it, so a test binary that imports this package has that
// flag from it. Files that begin with #! are executable.
//
// # Failures
//
// When a test fails, the last command's last system calls are shown, and all of its
// World's commands' streams, traces and changed files are kept in the directory that
// the text names: a new one of os.TempDir, or with go test -artifacts t.ArtifactDir.
// [Result.OK] fails a test for an exit status; so does a limit of the policy, by
// default a minute of the host's time and 64 MiB of output.
//
// # What is the same every time
//
// One guest thread runs at a time, and the seed says which is next, so commands do the
// same whenever they are run, threads and processes included; [Twice] tests it. What
// package jail's manual excepts is excepted, and so is what comes from
// World.Hosts: when it comes is chance. The programs are the host's: their versions
// differ, so [Need] skips tests where one is missing.
package jailtest
