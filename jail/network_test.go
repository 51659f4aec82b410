//go:build linux && amd64

package jail_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/jail"
	"oubliette/policy"
)

func init() {
	guests["interfaces"] = func([]string) {
		list, err := net.Interfaces()
		if err != nil {
			fmt.Println(err)
		}
		for _, i := range list {
			addrs, err := i.Addrs()
			fmt.Println(i.Index, i.Name, i.MTU, i.Flags, i.HardwareAddr, addrs, err)
		}
		addrs, err := net.InterfaceAddrs()
		fmt.Println(addrs, err)
		_, err = net.InterfaceByName("eth0")
		fmt.Println(err)
	}
}

// TestInterfaces: a jail shows lo, and nothing of the host's network.
func TestInterfaces(t *testing.T) {
	got := jailed(t, &jail.Jail{}, guestCommand("interfaces"), policy.Overlay())
	want := result{Stdout: "1 lo 65536 up|loopback|running  [127.0.0.1/8 ::1/128] <nil>\n" +
		"[127.0.0.1/8 ::1/128] <nil>\nroute ip+net: no such network interface\n"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
