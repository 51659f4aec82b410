//go:build linux && amd64

package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// call is a line of a worker's statistics.
type call struct {
	Name  string
	Stops int64
	Bytes int64
}

func (c call) String() string {
	if c.Bytes > 0 {
		return fmt.Sprintf("%s %d (%d bytes)", c.Name, c.Stops, c.Bytes)
	}
	return fmt.Sprintf("%s %d", c.Name, c.Stops)
}

// calls are those that stopped at the warden, the most frequent first.
func (w *worker) calls() (list []call) {
	w.mu.Lock()
	proc := w.proc
	w.mu.Unlock()
	if proc == nil {
		return nil
	}
	for name, s := range proc.Stats().Calls {
		list = append(list, call{name, s.Stops, s.Bytes})
	}
	slices.SortFunc(list, func(a, b call) int {
		return cmp.Or(cmp.Compare(b.Stops, a.Stops), strings.Compare(a.Name, b.Name))
	})
	return list
}

// poolView is what the page shows of a pool.
type poolView struct {
	Name         string
	Start, Serve string
	Workers      []workerView
	Ends         int
	History      []ended
}

type workerView struct {
	Slot   int
	State  string
	Served int
	Calls  []call
}

func (p *pool) view() poolView {
	p.mu.Lock()
	workers := slices.Clone(p.workers)
	v := poolView{Name: p.lang.name, Start: p.lang.start.String(), Serve: p.lang.serve.String(), Ends: p.ends, History: slices.Clone(p.history)}
	p.mu.Unlock()
	slices.Reverse(v.History)
	for i, w := range workers {
		if w == nil {
			continue
		}
		calls := w.calls() // may wait for the jail, so without its lock
		w.mu.Lock()
		state := "starting"
		switch {
		case w.ended:
			state = "ended"
		case w.job != nil:
			state = "busy for " + time.Since(w.since).Round(time.Millisecond).String()
		case w.serving:
			state = "waits in read"
		}
		v.Workers = append(v.Workers, workerView{i, state, w.served, calls})
		w.mu.Unlock()
	}
	return v
}

// page shows the workers, their calls and their policies.
func (s *service) page(w http.ResponseWriter, _ *http.Request) {
	data := struct {
		Pools    []poolView
		Missing  []error
		Misdeeds []string
	}{Missing: s.missing, Misdeeds: []string{"!passwd", "!socket", "!fork", "!spin", "!twice", "!big", "!crash", "!exit"}}
	for _, p := range s.pools {
		data.Pools = append(data.Pools, p.view())
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}
