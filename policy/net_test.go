package policy_test

import (
	"strings"
	"testing"

	"oubliette/policy"
)

func TestSplitAllow(t *testing.T) {
	for rule, want := range map[string]string{
		"Example.com:443": "example.com", "example.com.:443": "example.com", "a_b.x-1.de:443": "a_b.x-1.de", "localhost:443": "localhost",
		"10.0.0.1:443": "10.0.0.1", "[2001:DB8:0::1]:443": "2001:db8::1", "[::ffff:10.0.0.1]:443": "10.0.0.1", "xn--bcher-kva.example:443": "xn--bcher-kva.example",
	} {
		if name, port, err := policy.SplitAllow(rule); name != want || port != 443 || err != nil {
			t.Errorf("%s: %q %d %v", rule, name, port, err)
		}
	}
	if name, port, err := policy.SplitAllow("example.com:*"); name != "example.com" || port != 0 || err != nil {
		t.Errorf("any port: %q %d %v", name, port, err)
	}
	for _, rule := range []string{"", "example.com", ":80", "example.com:", "example.com:0", "example.com:65536", "example.com:http",
		"*:80", "*.example.com:80", "a..b:80", "-a.b:80", "bücher.example:80", "127.1:80", "0x7f.1:80", "2130706433:80", "0.0.0.0:80",
		"[::]:80", "[fe80::1%eth0]:80", "224.0.0.1:80", "2001:db8::1:80", "a b:80", strings.Repeat("a", 64) + ":80",
		strings.Repeat("a.", 127) + "a:80"} {
		if name, port, err := policy.SplitAllow(rule); err == nil {
			t.Errorf("%q is %q, %d", rule, name, port)
		}
	}
}

func TestNetErrors(t *testing.T) {
	p := policy.Policy{Net: policy.Net{Allow: []string{"a:1", "a"}, Publish: []policy.Publish{
		{Host: ":80", Guest: 80}, {Host: "80", Guest: 80}, {Host: ":0", Guest: 0}, {Host: ":80", Guest: 1 << 16}}}}
	want := `policy: net.allow[1]: "a": write name:port, such as example.com:443
policy: net.publish[1].host: "80": write the address where the host listens, such as 127.0.0.1:8080 or :8080
policy: net.publish[2].host: ":0": write the address where the host listens, such as 127.0.0.1:8080 or :8080
policy: net.publish[2].guest: 0 is no port: write 1 to 65535
policy: net.publish[3].guest: 65536 is no port: write 1 to 65535`
	if err := p.Validate(); err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	p.Net = policy.Net{Host: true, Allow: []string{"a:*"}, Publish: []policy.Publish{{Host: ":80", Guest: 8080}}}
	if s := p.String(); !strings.Contains(s, "\nnet host allow a:* publish :80 as port 8080\n") {
		t.Error(s)
	}
}
