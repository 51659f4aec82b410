//go:build linux && amd64

// Command httpserver serves a web site with an unmodified server, nginx, Python's
// or Go's, in a jail: for the server there is nothing but its own program and
// libraries, the files of the site and its port.
//
//	httpserver [-addr HOST:PORT] [-server nginx|python|go] [-site DIR]
//
// The port is a net.Listener of this program's: the server listens in the jail, and
// Jail.Listen gives it what comes to the listener. The site is in this program's
// memory, or a directory.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

//go:embed site
var embedded embed.FS

// guestPort is the port the servers listen at in the jail.
const guestPort = "8080"

const nginxConf = `daemon off;
pid /run/pid;
error_log stderr;
worker_processes 2;
events {}
http {
	types { text/html html; text/css css; }
	access_log off;
	client_body_temp_path /run/1; proxy_temp_path /run/2; fastcgi_temp_path /run/3; uwsgi_temp_path /run/4; scgi_temp_path /run/5;
	server { listen ` + guestPort + `; root /site; }
}
`

// servers are what can be imprisoned, the most wanted first. Each gives a command and
// adds to the policy what the program needs beside its libraries.
var servers = []struct {
	name string
	make func(p *policy.Policy) (*exec.Cmd, error)
}{
	{"nginx", func(p *policy.Policy) (*exec.Cmd, error) {
		path, err := exec.LookPath("nginx")
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/nginx")
		}
		p.Mounts = append(p.Mounts, policy.Mount{Guest: "/nginx.conf", Kind: policy.KindText, Text: nginxConf})
		return exec.Command(path, "-e", "stderr", "-c", "/nginx.conf"), err
	}},
	{"python", func(p *policy.Policy) (*exec.Cmd, error) {
		out, err := exec.Command("python3", "-c", "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))").Output()
		lines := strings.Fields(string(out))
		if err != nil || len(lines) != 2 {
			return nil, fmt.Errorf("python3: %w", err)
		}
		// Modules in C load libraries that the program itself does not need.
		p.Mounts = slices.DeleteFunc(p.Mounts, func(m policy.Mount) bool { return m.Kind == policy.KindProgram })
		for _, path := range []string{"/lib", "/lib64", "/usr/lib64", "/usr/lib", lines[0], lines[1]} {
			if !strings.HasPrefix(path, "/usr/lib/") {
				p.Mounts = append(p.Mounts, policy.Mount{Guest: path, Kind: policy.KindHost, Host: path, Frozen: true, Optional: true})
			}
		}
		return exec.Command(lines[0], "-I", "-m", "http.server", "-d", "/site", guestPort), nil
	}},
	{"go", func(*policy.Policy) (*exec.Cmd, error) { // this program, as the other end
		exe, err := os.Executable()
		return exec.Command(exe, "serve"), err
	}},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		fail(http.ListenAndServe(":"+guestPort, http.FileServer(http.Dir("/site"))))
	}
	addr := flag.String("addr", "127.0.0.1:0", "where to listen; port 0 is any")
	name := flag.String("server", "", "nginx, python or go (default: the first that is installed)")
	dir := flag.String("site", "", "directory of the site (default: a page of this program's)")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	proc, used, err := start(ctx, *name, *dir, l)
	fail(err)
	fmt.Printf("http://%s served by %s\n", l.Addr(), used)
	if err := proc.Wait(); ctx.Err() == nil {
		fail(err)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "httpserver:", err)
		os.Exit(1)
	}
}

// start runs the server of that name, or the first there is, on l until ctx ends.
func start(ctx context.Context, name, dir string, l net.Listener) (*jail.Process, string, error) {
	err := fmt.Errorf("no server is named %q", name)
	for _, s := range servers {
		if name != "" && s.name != name {
			continue
		}
		p := policy.Prison()
		var cmd *exec.Cmd
		if cmd, err = s.make(&p); err != nil {
			continue // is not installed
		}
		proc, err := imprison(ctx, cmd, p, dir, l)
		return proc, s.name, err
	}
	return nil, "", err
}

func imprison(ctx context.Context, like *exec.Cmd, p policy.Policy, dir string, l net.Listener) (*jail.Process, error) {
	p.Mounts = append(p.Mounts, policy.Mount{Guest: "/run", Kind: policy.KindMemory, Mode: 0o1777, Bytes: 64 << 20})
	j := &jail.Jail{Listen: func(_ context.Context, _, address string) (net.Listener, error) {
		if address != ":"+guestPort {
			return nil, errors.New("not its port")
		}
		return l, nil
	}}
	if dir == "" {
		site, err := fs.Sub(embedded, "site")
		if err != nil {
			return nil, err
		}
		j.Mounts = map[string]fs.FS{"/site": site}
	} else {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		p.Mounts = append(p.Mounts, policy.Mount{Guest: "/site", Kind: policy.KindHost, Host: path})
	}
	cmd := exec.CommandContext(ctx, like.Path, like.Args[1:]...)
	cmd.Env = []string{"PATH=/nowhere"}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	return j.Spawn(cmd, p)
}
