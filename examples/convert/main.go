//go:build unix

// Command convert is a web service that turns an uploaded image into a PNG with
// ImageMagick, which has had a hundred holes and will have more. Each upload is
// given to a jail of its own through standard input and comes back through
// standard output; there is nothing else in it but ImageMagick's own files.
//
//	go run ./examples/convert -listen localhost:8080
//	curl --data-binary @photo.jpg localhost:8080 > photo.png
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"oubliette/jail"
	"oubliette/policy"
)

// Bounds of one conversion.
const (
	maxUpload = 32 << 20 // bytes
	maxOutput = 256 << 20
	maxTime   = 30 * time.Second
	maxMemory = 2 << 30
)

func main() {
	listen := flag.String("listen", "localhost:8080", "address to serve on")
	flag.Parse()
	c, err := newConverter()
	if err != nil {
		log.Fatal(err)
	}
	defer c.warm.Close()
	log.Printf("POST an image to http://%s/", *listen)
	log.Fatal(http.ListenAndServe(*listen, c))
}

// converter is the service.
type converter struct {
	program string
	policy  policy.Policy
	warm    *jail.Warm
}

func newConverter() (*converter, error) {
	program := ""
	for _, p := range []string{"/usr/bin/magick", "/usr/bin/convert"} {
		if _, err := os.Stat(p); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		return nil, errors.New("ImageMagick is not installed: there is no /usr/bin/magick or /usr/bin/convert")
	}
	p := policy.Prison()
	// Its coders are plug-ins, which no list of needed libraries names.
	for _, pattern := range []string{"/etc/ImageMagick-*", "/usr/share/ImageMagick-*", "/usr/lib/*-linux-gnu", "/usr/lib64/ImageMagick-*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, dir := range found {
			p.Mounts = append(p.Mounts, policy.Mount{Guest: dir, Kind: policy.KindHost, Host: dir, Frozen: true})
		}
	}
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/tmp", Kind: policy.KindMemory, Mode: 0o1777, Bytes: maxOutput})
	p.Limits.Wall, p.Limits.Memory = maxTime, maxMemory
	warm, err := jail.KeepWarm()
	if err != nil {
		return nil, err
	}
	return &converter{program, p, warm}, nil
}

// convert runs one conversion.
func (c *converter) convert(ctx context.Context, in io.Reader) ([]byte, error) {
	var out, messages bytes.Buffer
	cmd := exec.CommandContext(ctx, c.program, "-", "png:-")
	cmd.Env = []string{"HOME=/tmp"}
	cmd.Dir = "/tmp"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &messages
	proc, err := jail.Spawn(cmd, c.policy)
	if err != nil {
		return nil, err
	}
	if err := proc.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, messages.Bytes())
	}
	return out.Bytes(), nil
}

func (c *converter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST an image to convert it to PNG", http.StatusMethodNotAllowed)
		return
	}
	png, err := c.convert(r.Context(), http.MaxBytesReader(w, r.Body, maxUpload))
	var exit *jail.ExitError
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(png)
	case errors.As(err, &exit):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	default:
		log.Print(err)
		http.Error(w, "conversion failed", http.StatusInternalServerError)
	}
}
