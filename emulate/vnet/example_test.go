//go:build linux

package vnet_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"oubliette/emulate/vnet"
)

func Example() {
	var n vnet.Net
	server, _ := n.New(unix.SOCK_STREAM)
	_ = server.Bind("\x00greeter", nil)
	_ = server.Listen(1, &vnet.Cred{PID: 1})

	client, _ := n.New(unix.SOCK_STREAM)
	to, _ := n.Abstract(unix.SOCK_STREAM, "\x00greeter")
	_ = client.Connect(to, &vnet.Cred{PID: 2})
	_, _ = client.Write([]byte("hello"))

	conn, _, _ := server.Accept()
	p := make([]byte, 10)
	k, _ := conn.Read(p)
	fmt.Printf("%s\n", p[:k])
	_, err := conn.Read(p)
	fmt.Println(err)
	_ = client.Close()
	k, err = conn.Read(p)
	fmt.Println(k, err)
	// Output:
	// hello
	// resource temporarily unavailable
	// 0 <nil>
}
