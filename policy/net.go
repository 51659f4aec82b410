package policy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Net is what of the network a jail has beside its own loopback. The zero Net is
// nothing: no address outside can be named, and no name has one.
type Net struct {
	// Host lets the guest connect to any address through the host, those of the
	// host's own network included (10.0.0.0/8, 169.254.169.254), but for its
	// loopback, which only Allow opens: 127.0.0.1 is the jail's.
	Host bool `json:"host,omitempty"`
	// Allow lists what the guest may connect to, as "name:port", by TCP and by UDP;
	// the port * is any. A name is what the host's resolver makes of it when the
	// guest connects, be that the host's loopback or an address of its own network:
	// who answers for the name says where. An IP address ("10.0.0.5:80",
	// "[2001:db8::1]:443") is that address; one of the loopback, and "localhost", is
	// the host's, where the guest does not listen itself.
	Allow []string `json:"allow,omitempty"`
	// Publish are addresses of the host whose connections come to a guest's port.
	Publish []Publish `json:"publish,omitempty"`
}

// Publish is a TCP port of the guest that the host has.
type Publish struct {
	// Host is where Spawn listens: "127.0.0.1:8080", or ":8080" for all addresses.
	Host string `json:"host"`
	// Guest is the port the guest listens at. Connections that come before it
	// does wait.
	Guest int `json:"guest"`
}

// String is the publication in one line.
func (p Publish) String() string { return fmt.Sprintf("%s as port %d", p.Host, p.Guest) }

// String names what is there, each after a space.
func (n Net) String() string {
	var s string
	if n.Host {
		s = " host"
	}
	if len(n.Allow) > 0 {
		s += " allow " + strings.Join(n.Allow, " ")
	}
	for _, p := range n.Publish {
		s += " publish " + p.String()
	}
	return s
}

// SplitAllow takes a rule of [Net.Allow] apart: a name in lower case or an IP
// address in its shortest form, and a port, 0 for any.
func SplitAllow(rule string) (name string, port uint16, err error) {
	name, service, err := net.SplitHostPort(rule)
	if err != nil {
		return "", 0, fmt.Errorf("%q: write name:port, such as example.com:443", rule)
	}
	if service != "*" {
		n, err := strconv.ParseUint(service, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q: the port is a number from 1 to 65535, or * for any", rule)
		}
		port = uint16(n)
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return "", 0, fmt.Errorf("%q: write the address of one host", rule)
		}
		return ip.String(), port, nil
	}
	if !isName(name) {
		return "", 0, fmt.Errorf("%q: %q is no host name (letters, digits, - and _; others as xn--)", rule, name)
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), port, nil
}

// isName says whether s is a host name, and none that programs take for an address
// (127.1).
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			return false
		}
		for _, c := range l {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	_, err := strconv.ParseUint(labels[len(labels)-1], 0, 64)
	return len(s) <= 253 && err != nil
}

func (ps *problems) net(n Net) {
	for i, rule := range n.Allow {
		if _, _, err := SplitAllow(rule); err != nil {
			ps.add(item("net.allow", i), "%v", err)
		}
	}
	for i, p := range n.Publish {
		where := item("net.publish", i)
		_, service, err := net.SplitHostPort(p.Host)
		if port, perr := strconv.ParseUint(service, 10, 16); err != nil || perr != nil || port == 0 {
			ps.add(where+".host", "%q: write the address where the host listens, such as 127.0.0.1:8080 or :8080", p.Host)
		}
		if p.Guest < 1 || p.Guest > 65535 {
			ps.add(where+".guest", "%d is no port: write 1 to 65535", p.Guest)
		}
	}
}
