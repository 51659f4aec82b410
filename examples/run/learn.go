//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"oubliette/jail"
	"oubliette/policy"
)

// learnFile is where -learn has the policy as JSON: beside the Go source, if that
// is asked for.
func (o options) learnFile() string {
	if base, ok := strings.CutSuffix(o.learn, ".go"); ok {
		return base + ".json"
	}
	return o.learn
}

// openLearned has j learn, and reads what other runs learned.
func (o options) openLearned(j *jail.Jail) (before policy.Policy, err error) {
	if o.learn == "" {
		return before, nil
	}
	j.Learn = new(policy.Record)
	text, err := os.ReadFile(o.learnFile())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return before, nil
	}
	if err == nil {
		before, err = policy.Parse(text)
	}
	switch {
	case err != nil:
		return before, fmt.Errorf("-learn %s: %w", o.learnFile(), err)
	case before.Learned() == 0:
		return before, fmt.Errorf("-learn %s: is a policy that was not learned: name another file", o.learnFile())
	}
	return before, nil
}

// writeLearned merges what was learned under p with before, and tells what is new
// and what it changes of p.
func (o options) writeLearned(p, before policy.Policy, r *policy.Record) error {
	if r == nil {
		return nil
	}
	q := p.Learn(*r)
	if before.Learned() > 0 {
		q = before.Merge(q)
		for _, line := range before.Diff(q) {
			if strings.HasPrefix(line, "+") {
				fmt.Fprintln(os.Stderr, "learned new:", line[2:])
			}
		}
	}
	fmt.Fprintf(os.Stderr, "learned from %d run(s), compared with the policy in force:\n", q.Learned())
	for _, line := range p.Diff(q) {
		fmt.Fprintln(os.Stderr, " ", line)
	}
	for _, rule := range q.Calls {
		if rule.Action == policy.Deny {
			fmt.Fprintln(os.Stderr, "  still refused:", strings.Join(rule.Calls, " "))
		}
	}
	text, err := q.Format()
	if err == nil {
		err = os.WriteFile(o.learnFile(), text, 0o666)
	}
	if err == nil && o.learnFile() != o.learn {
		if text, err = q.GoSource("policies", goName(o.learn)); err == nil {
			err = os.WriteFile(o.learn, text, 0o666)
		}
	}
	return err
}

// goName is a function's name made of a file's.
func goName(file string) string {
	name := "Policy"
	for _, word := range strings.FieldsFunc(strings.TrimSuffix(filepath.Base(file), ".go"), func(r rune) bool {
		return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9')
	}) {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}
