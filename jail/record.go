//go:build linux && amd64

package jail

import (
	"crypto/rand"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"
	"unicode/utf8"

	"oubliette/emulate/vfs"
	"oubliette/internal/recording"
	"oubliette/policy"
)

// Recording is where [Jail.Record] writes, and reads what it has written: an *os.File.
type Recording interface {
	io.Writer
	io.ReaderAt
}

// Replay reads a recording of size bytes that [Jail.Record] made, and gives the run: a
// Jail, a command and a policy. Spawn them, once; what the guest reads, meets and hears
// is the recording's, which must stay open for as long, and what it does must be what
// it did. Nothing else of the caller's is there: no file, no network, no clock.
//
// Of the command, Stdout and Stderr are to be set, and get what the recorded ones got;
// the Jail may have a Trace or Logger. Kill, contexts and limits end a replay as any jail,
// other signals it has from the recording. If the program does what it did not do then,
// Wait gives an error that is [ErrDiverged] and names it.
//
// A recording may come from anywhere: a policy that lets through more calls than
// policy.Native does is refused, and so is a file that is cut short, changed, or
// something else.
func Replay(f io.ReaderAt, size int64) (*Jail, *exec.Cmd, policy.Policy, error) {
	j, cmd, p, err := replay(f, size)
	if err != nil {
		return nil, nil, policy.Policy{}, &Error{Op: "replay", Err: err}
	}
	return j, cmd, p, nil
}

func replay(f io.ReaderAt, size int64) (*Jail, *exec.Cmd, policy.Policy, error) {
	in, err := recording.NewReader(f, size)
	if err != nil {
		return nil, nil, policy.Policy{}, err
	}
	t := &tape{in: in, trees: new(vfs.Answers)}
	all := trees{Inodes: t.trees}
	if err := in.Trees(&all); err != nil {
		return nil, nil, policy.Policy{}, err
	}
	t.mounts = all.Mounts
	run := in.Run
	p, err := policy.Parse(run.Policy)
	if err == nil {
		err = onlyNative(p)
	}
	if err != nil {
		return nil, nil, policy.Policy{}, fmt.Errorf("its policy: %w", err)
	}
	j := &Jail{replay: t, Mounts: make(map[string]fs.FS)}
	for _, at := range run.Mounts {
		j.Mounts[string(at)] = embed.FS{}
	}
	if run.Dials {
		j.Dial = silentDial
	}
	if run.Listens {
		j.Listen = silentListen
	}
	cmd := &exec.Cmd{Path: string(run.Path), Dir: string(run.Dir), Args: plain(run.Args), Env: plain(run.Env)}
	return j, cmd, p, nil
}

// onlyNative refuses a policy that lets the host's kernel do what policy.Native would
// not.
func onlyNative(p policy.Policy) error {
	native := policy.Native()
	for i, r := range p.Calls {
		for _, name := range r.Names() {
			if r.Action == policy.Allow && !slices.ContainsFunc(native, func(n policy.Rule) bool {
				return n.Action == policy.Allow && slices.Contains(n.Calls, name) &&
					!slices.ContainsFunc(n.When, func(c policy.Condition) bool { return !slices.Contains(r.When, c) })
			}) {
				return fmt.Errorf("rule %d lets the host's kernel do %s, which no rule of policy.Native does", i, name)
			}
		}
	}
	return nil
}

func plain(all []recording.Text) []string {
	list := make([]string, len(all))
	for i, s := range all {
		list[i] = string(s)
	}
	return list
}

func escaped(all []string) []recording.Text {
	list := make([]recording.Text, len(all))
	for i, s := range all {
		list[i] = recording.Text(s)
	}
	return list
}

// newTape begins to record or to replay, if the Jail is to. A recorded run is a
// repeatable one: p gets a seed and a time to start at.
func (j *Jail) newTape(cmd *exec.Cmd, p *policy.Policy) (*tape, error) {
	if j.Record == nil && j.replay == nil {
		return nil, nil
	}
	for what, is := range map[string]bool{"Nodes": len(j.Nodes) > 0, "Handlers": len(j.Handlers) > 0, "Clock": j.Clock != nil,
		"Random": j.Random != nil, "Terminal": j.Terminal != nil, "Sockets": len(j.Sockets) > 0,
		"Learn": j.Learn != nil, "Record in a replay": j.Record != nil && j.replay != nil, "Refused in a replay": j.Refused != nil && j.replay != nil} {
		if is {
			return nil, &Error{Op: "Jail.Record", Err: fmt.Errorf("a recording cannot hold what Jail.%s would do", what)}
		}
	}
	if t := j.replay; t != nil {
		if t.w != nil {
			return nil, &Error{Op: "replay", Err: errors.New("it has been replayed: call Replay once more")}
		}
		if p.Seed == nil || p.Time.Start.IsZero() {
			return nil, &Error{Op: "replay", Err: errors.New("its policy has no seed, or no time to start at")}
		}
		t.trees.Load = t.in.File
		return t, nil
	}
	for _, m := range p.Mounts {
		switch {
		case m.Kind == policy.KindHost && m.Write && !m.Overlay:
			return nil, &Error{Op: "Jail.Record", Err: fmt.Errorf("mount %s: what is written through to the host cannot be recorded: make it an Overlay", m.Guest)}
		case !utf8.ValidString(m.Guest + m.Host + m.Text):
			return nil, &Error{Op: "Jail.Record", Err: fmt.Errorf("mount %q: it is not UTF-8", m.Guest)}
		}
	}
	if p.Limits.Calls > 0 {
		return nil, &Error{Op: "Jail.Record", Err: errors.New("policy.Limits calls: its waits are of the host's time")}
	}
	if p.Seed == nil {
		var seed [8]byte
		_, _ = rand.Read(seed[:]) // it has no errors
		n := binary.LittleEndian.Uint64(seed[:])
		p.Seed = &n
	}
	if p.Time.Start.IsZero() {
		p.Time.Start = time.Now().UTC()
	}
	text, err := p.Format()
	if err != nil {
		return nil, &Error{Op: "Jail.Record", Err: err}
	}
	t := &tape{trees: new(vfs.Answers)}
	t.out, err = recording.NewWriter(j.Record, recording.Run{Path: recording.Text(cmd.Path), Args: escaped(cmd.Args), Env: escaped(commandEnv(cmd)),
		Dir: recording.Text(cmd.Dir), Policy: text, Mounts: escaped(slices.Sorted(maps.Keys(j.Mounts))), Dials: j.Dial != nil, Listens: j.Listen != nil})
	if err != nil {
		return nil, &Error{Op: "Jail.Record", Err: err}
	}
	t.trees.Store = func(path string, r io.Reader) (string, *io.SectionReader, error) {
		name, s, err := t.out.Store(path, r)
		if err != nil {
			t.fail(err)
		}
		return name, s, err
	}
	return t, nil
}

// use gives the tape its warden.
func (t *tape) use(w *warden) {
	if t == nil {
		return
	}
	t.w, t.doors = w, make(map[string]func(outcome))
	t.trees.Failed = func(err error) {
		if t.replays() {
			t.diverged("%v", err)
		} else {
			t.fail(err)
		}
	}
	t.door(w, "clock", func(outcome) {
		if w.virtual.pending() {
			w.virtual.fire()
		}
	})
	if t.replays() {
		t.advance()
	}
}

// cpuinfo is the recorded machine's /proc/cpuinfo.
func (t *tape) cpuinfo() ([]byte, error) {
	e := t.ask("cpuinfo", func() (e recording.Event) {
		e.Data, _ = os.ReadFile("/proc/cpuinfo") // none on a host without /proc
		return e
	})
	return e.Data, nil
}
