// Package abi encodes the structures of the x86-64 system call interface, byte
// by byte and the same on every host, because the guest's architecture is what
// counts. Nothing here uses reflection: these are hot.
package abi
