//go:build linux && amd64

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"oubliette/jail"
	"oubliette/policy"
)

// replayFlags are the flags that a replay takes.
var replayFlags = []string{"replay", "trace", "stats", "audit", "changes"}

// onlyReplay refuses what a recording has of its own.
func (o options) onlyReplay(f *flag.FlagSet) (err error) {
	if f.NArg() > 0 {
		err = fmt.Errorf("-replay %s: the command is the recording's: give none", o.replay)
	}
	f.Visit(func(f *flag.Flag) {
		if !slices.Contains(replayFlags, f.Name) {
			err = fmt.Errorf("-replay %s: -%s is the recording's", o.replay, f.Name)
		}
	})
	return err
}

// openRecord is -record.
func (o options) openRecord(j *jail.Jail) (end func() error, err error) {
	if o.record == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(o.record, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) // it holds what the guest has read
	if err != nil {
		return nil, err
	}
	j.Record = f
	return f.Close, nil
}

// openReplay is -replay.
func (o options) openReplay() (*jail.Jail, *exec.Cmd, policy.Policy, func() error, error) {
	f, err := os.Open(o.replay)
	if err != nil {
		return nil, nil, policy.Policy{}, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, policy.Policy{}, nil, errors.Join(err, f.Close())
	}
	j, cmd, p, err := jail.Replay(f, info.Size())
	if err != nil {
		return nil, nil, p, nil, errors.Join(fmt.Errorf("%s: %w", o.replay, err), f.Close())
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return j, cmd, p, f.Close, nil
}
