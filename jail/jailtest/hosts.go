//go:build linux && amd64

package jailtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// caFile holds the certificate of the World's authority, and no other.
const caFile = "/etc/ssl/certs/ca-certificates.crt"

// hosts are the servers of a World. Connections to them are pipes in memory.
type hosts struct {
	ca        []byte // PEM
	listeners map[string]*listener
	servers   []*http.Server
}

// serve starts a server for each URL, with certificates for the time at.
func serve(handlers map[string]http.Handler, at time.Time) (*hosts, error) {
	if at.IsZero() {
		at = time.Now()
	}
	h := &hosts{listeners: make(map[string]*listener)}
	ca, err := newAuthority(at)
	if err != nil {
		return nil, err
	}
	h.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	for _, raw := range slices.Sorted(maps.Keys(handlers)) {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" {
			h.close()
			return nil, fmt.Errorf("World.Hosts: %q: write a URL without path, such as https://api.example.com", raw)
		}
		port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		if u.Port() != "" {
			port = u.Port()
		}
		l := &listener{conns: make(chan net.Conn), closed: make(chan struct{}), addr: net.JoinHostPort(strings.ToLower(u.Hostname()), port)}
		// Errors of connections are the client's to tell.
		s := &http.Server{Handler: handlers[raw], ErrorLog: log.New(io.Discard, "", 0)}
		h.listeners[l.addr] = l
		h.servers = append(h.servers, s)
		if u.Scheme == "http" {
			go func() { _ = s.Serve(l) }() // ends with Close
			continue
		}
		cert, err := ca.issue(u.Hostname())
		if err != nil {
			h.close()
			return nil, err
		}
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		go func() { _ = s.ServeTLS(l, "", "") }()
	}
	return h, nil
}

// names are the rules of policy.Net.Allow.
func (h *hosts) names() []string { return slices.Sorted(maps.Keys(h.listeners)) }

// dial is a jail.Jail's Dial.
func (h *hosts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l := h.listeners[address]
	if l == nil || network != "tcp" {
		return nil, unix.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- ours:
		return theirs, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, errors.Join(unix.ECONNREFUSED, ours.Close(), theirs.Close())
}

func (h *hosts) close() {
	for _, s := range h.servers {
		_ = s.Close() // the listeners' Close, which has no errors
	}
	for _, l := range h.listeners {
		_ = l.Close() // if Serve has not got so far
	}
}

// listener is a net.Listener for connections that dial makes.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	addr   string
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *listener) Addr() net.Addr  { return l }
func (l *listener) Network() string { return "tcp" }
func (l *listener) String() string  { return l.addr }

// authority is a certificate authority that lives as long as a World.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	from time.Time
	last int64 // serial number given
}

// certificateYears is how long certificates are good: a guest may set its clock on.
const certificateYears = 30

func newAuthority(at time.Time) (*authority, error) {
	a := &authority{from: at.Add(-24 * time.Hour)}
	t := a.template("jailtest")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	raw, key, err := a.sign(t)
	if err != nil {
		return nil, err
	}
	a.key = key
	a.cert, err = x509.ParseCertificate(raw)
	return a, err
}

func (a *authority) template(name string) *x509.Certificate {
	a.last++
	return &x509.Certificate{SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name},
		NotBefore: a.from, NotAfter: a.from.AddDate(certificateYears, 0, 0)}
}

// sign makes a key and its certificate; the first signs itself.
func (a *authority) sign(t *x509.Certificate) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = t, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	return raw, key, err
}

// issue makes a certificate for a host.
func (a *authority) issue(host string) (tls.Certificate, error) {
	t := a.template(host)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip, err := netip.ParseAddr(host); err == nil {
		t.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		t.DNSNames = []string{host}
	}
	raw, key, err := a.sign(t)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
}
