//go:build linux && amd64

package jail

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// silentConn is what a replay has for a connection: it takes all that is written, and
// what is read of it goes through no door. With a read deadline it is at its end.
type silentConn struct {
	from, to netip.AddrPort
	over     atomic.Bool
}

func (c *silentConn) Read([]byte) (int, error) {
	if c.over.Load() {
		return 0, io.EOF
	}
	return 0, nil
}

func (c *silentConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *silentConn) CloseWrite() error                { return nil }
func (c *silentConn) Close() error                     { return nil }
func (c *silentConn) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(c.to) }
func (c *silentConn) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(c.from) }
func (c *silentConn) SetDeadline(time.Time) error      { return nil }
func (c *silentConn) SetWriteDeadline(time.Time) error { return nil }

func (c *silentConn) SetReadDeadline(time.Time) error {
	c.over.Store(true)
	return nil
}

// silentListener is what a replay has for a listener.
type silentListener struct{}

func (silentListener) Accept() (net.Conn, error) { return new(silentConn), nil }
func (silentListener) Close() error              { return nil }
func (silentListener) Addr() net.Addr            { return new(net.TCPAddr) }

// silentDial, silentListen and silentLook are the network of a replay.
func silentDial(context.Context, string, string) (net.Conn, error) { return new(silentConn), nil }

func silentListen(context.Context, string, string) (net.Listener, error) {
	return silentListener{}, nil
}

func silentLook(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }
