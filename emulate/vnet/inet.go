//go:build linux

package vnet

import "golang.org/x/sys/unix"

// NewInet makes an AF_INET or AF_INET6 socket.
func (n *Net) NewInet(family, kind, protocol int) (Socket, error) {
	return nil, unix.EAFNOSUPPORT
}
