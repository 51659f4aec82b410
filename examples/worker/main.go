//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a request, in bytes.
const (
	maxRequest  = 64 << 10 // the workers' buffers hold that
	maxResponse = 1 << 20
)

func main() {
	listen := flag.String("listen", "localhost:8080", "address to serve on")
	workers := flag.Int("workers", min(2*runtime.NumCPU(), 8), "workers of each language")
	limit := flag.Duration("time", 2*time.Second, "time a worker has for a request")
	flag.Parse()
	if err := run(*listen, *workers, *limit); err != nil {
		log.Fatal(err)
	}
}

// run serves until it is interrupted.
func run(listen string, workers int, limit time.Duration) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := newService(workers, limit)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, why := range s.missing {
		log.Print(why)
	}
	server := &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	log.Printf("http://%s/ shows the workers; try: curl -d hello http://%[1]s/%s", l.Addr(), s.pools[0].lang.name)
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
		return server.Shutdown(context.WithoutCancel(ctx))
	}
}

// service is the trusted half: it owns connections, bounds and time.
type service struct {
	http.ServeMux
	pools   []*pool
	missing []error // why languages are not there
	dir     string
}

func newService(workers int, limit time.Duration) (*service, error) {
	s := &service{}
	var err error
	if s.dir, err = os.MkdirTemp("", "worker"); err != nil {
		return nil, err
	}
	var made []*language
	if made, s.missing = build(s.dir); len(made) == 0 {
		return nil, errors.Join(append(s.missing, os.RemoveAll(s.dir))...)
	}
	for _, l := range made {
		p := newPool(l, workers, limit)
		s.pools = append(s.pools, p)
		s.HandleFunc("POST /"+l.name, p.serve)
	}
	s.HandleFunc("GET /{$}", s.page)
	return s, nil
}

// Close ends all workers.
func (s *service) Close() error {
	for _, p := range s.pools {
		p.Close()
	}
	return os.RemoveAll(s.dir)
}

// serve is one request, from connection to connection.
func (p *pool) serve(w http.ResponseWriter, r *http.Request) {
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("a request has at most %d bytes", maxRequest), http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case len(request) == 0: // to a worker it would be the end of file
		http.Error(w, "the request is empty", http.StatusBadRequest)
		return
	}
	response, err := p.do(r.Context(), request)
	var f fault
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(response)
	case err == errTime:
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
	case errors.As(err, &f):
		http.Error(w, "the worker was ended and replaced: "+err.Error(), http.StatusBadGateway)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}
