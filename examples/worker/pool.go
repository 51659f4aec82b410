//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"oubliette/jail"
)

// Bounds of a pool.
const (
	maxTries   = 5                      // of a request whose workers are killed from outside
	queueTime  = 10 * time.Second       // a request waits for a worker
	restart    = 500 * time.Millisecond // between workers that do not come to their first read
	startTime  = 30 * time.Second       // to the first read
	grace      = time.Second            // for workers to end by themselves
	maxHistory = 12                     // ended workers that the page shows
)

// Why a request has no response.
var (
	errBusy    = errors.New("all workers are busy")
	errStart   = errors.New("the worker did not come to its first read")
	errClosed  = errors.New("the service is closing")
	errTime    = errors.New("the worker took too long and was replaced")
	errOutside = errors.New("the worker was killed from outside")
)

// fault is what a worker did instead of answering.
type fault struct{ error }

func (f fault) Unwrap() error { return f.error }

// job is a request on its way.
type job struct {
	request []byte
	done    chan result // of capacity 1: sent to exactly once by the worker that took it
}

type result struct {
	response []byte
	err      error
}

// pool keeps workers of one language. All its workers wait for the next request in
// their read, so there is no list of idle ones: jobs is the queue.
type pool struct {
	lang  *language
	limit time.Duration // for one request, from when a worker has it
	jobs  chan *job
	quit  chan struct{}
	slots sync.WaitGroup

	mu      sync.Mutex
	workers []*worker // by slot; nil before the first
	history []ended   // latest last
	ends    int
}

// ended is what is left of a worker.
type ended struct {
	Time   time.Time
	Slot   int
	Served int
	Why    string
	Calls  []call
}

func newPool(lang *language, n int, limit time.Duration) *pool {
	p := &pool{lang: lang, limit: limit, jobs: make(chan *job), quit: make(chan struct{}), workers: make([]*worker, n)}
	for i := range n {
		p.slots.Go(func() { p.keep(i) })
	}
	return p
}

// do gives a request to a worker and returns its response. A response is one write,
// so a worker that was killed from outside has answered wholly or not at all, and it
// can change nothing outside itself: another one may try.
func (p *pool) do(ctx context.Context, request []byte) ([]byte, error) {
	queue := time.NewTimer(queueTime)
	defer queue.Stop()
	for range maxTries {
		j := &job{request, make(chan result, 1)}
		select {
		case p.jobs <- j:
		case <-queue.C:
			return nil, errBusy
		case <-p.quit:
			return nil, errClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r := <-j.done; r.err != errOutside {
			return r.response, r.err
		}
	}
	return nil, fault{errOutside}
}

// keep has a worker in one slot until Close.
func (p *pool) keep(slot int) {
	for !p.closed() {
		w := &worker{pool: p, gone: make(chan struct{})}
		p.mu.Lock()
		p.workers[slot] = w
		p.mu.Unlock()
		err := w.run()
		p.mu.Lock()
		p.ends++
		e := ended{Time: time.Now(), Slot: slot, Served: w.served, Why: fmt.Sprint(err), Calls: w.calls()}
		p.history = append(p.history[max(0, len(p.history)+1-maxHistory):], e)
		p.mu.Unlock()
		var pause time.Duration
		if !w.serving && !p.closed() {
			log.Printf("a worker in %s ended before its first read: %v", p.lang.name, err)
			pause = restart
		}
		select {
		case <-p.quit:
		case <-time.After(pause):
		}
	}
}

func (p *pool) closed() bool {
	select {
	case <-p.quit:
		return true
	default:
		return false
	}
}

// Close ends all workers: those that wait read the end of file, the others are
// killed after a while.
func (p *pool) Close() {
	close(p.quit)
	t := time.AfterFunc(grace, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, w := range p.workers {
			w.stop()
		}
	})
	defer t.Stop()
	p.slots.Wait()
}

// worker is one jail.
type worker struct {
	pool *pool
	gone chan struct{} // closed when the jail has ended

	mu sync.Mutex
	// serving: it has read, so the narrow policy holds. Changed by the jail's
	// thread alone, which looks without mu.
	serving bool
	waiting bool               // in its read
	cancel  context.CancelFunc // ends the jail; nil before the start
	proc    *jail.Process      // nil before the start
	job     *job               // in its hands
	since   time.Time          // when it got it
	timer   *time.Timer        // for it
	why     error              // why it was ended, if we did it
	ended   bool
	served  int
}

// run starts the worker and waits for its end, whose reason it returns.
func (w *worker) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.mu.Lock()
	w.cancel = cancel
	w.timer = time.AfterFunc(startTime, func() { w.expire(nil, errStart) })
	w.mu.Unlock()
	cmd := w.pool.lang.command(ctx)
	messages := &tail{max: 2048}
	cmd.Stderr = messages
	proc, err := (&jail.Jail{Handlers: w.handlers()}).Spawn(cmd, w.pool.lang.jailed())
	if err == nil {
		w.mu.Lock()
		w.proc = proc
		w.mu.Unlock()
		err = proc.Wait()
	}
	close(w.gone)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
	var exit *jail.ExitError
	outside := errors.As(err, &exit) && exit.Signal() == unix.SIGKILL
	switch {
	case w.why != nil:
		err = w.why
	case outside:
		err = errOutside
	case err == nil:
		err = errors.New("it ended")
	}
	if len(messages.text) > 0 {
		err = fmt.Errorf("%w: %s", err, messages.text)
	}
	if w.job != nil && outside {
		w.settle(result{err: errOutside})
	} else if w.job != nil {
		w.settle(result{err: fault{err}})
	}
	return err
}

// next waits for a request. nil: there will be none.
func (w *worker) next() *job {
	select {
	case j := <-w.pool.jobs:
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.ended { // it died while this waited
			j.done <- result{err: errOutside}
			return nil
		}
		w.job, w.since, w.waiting = j, time.Now(), false
		w.timer = time.AfterFunc(w.pool.limit, func() { w.expire(j, errTime) })
		return j
	case <-w.gone:
	case <-w.pool.quit:
	}
	return nil
}

// expire ends the worker if it still has j, or, with nil, starts.
func (w *worker) expire(j *job, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job != j || j == nil && w.serving {
		return
	}
	w.why = why
	if j != nil {
		w.settle(result{err: why})
	}
	w.cancel()
}

// answer is the response to the job in hand, unless its time is up.
func (w *worker) answer(response []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job != nil {
		w.served++
		w.settle(result{response: response})
	}
}

// settle ends the job in hand. w.mu is held.
func (w *worker) settle(r result) {
	w.job.done <- r
	w.job = nil
	w.timer.Stop()
}

// reads takes note of a read; false if the worker has a request in hand, or another
// of its threads waits for one.
func (w *worker) reads() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.serving {
		w.serving = true
		w.timer.Stop()
	}
	if w.waiting || w.job != nil {
		return false
	}
	w.waiting = true
	return true
}

func (w *worker) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.job != nil
}

// stop ends the worker whatever it does.
func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	text []byte
	max  int
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-t.max):]
	return len(p), nil
}
