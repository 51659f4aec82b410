package dns_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"oubliette/internal/dns"
)

// query is one for a name, with the EDNS0 record that resolvers add.
func query(name string, typ dnsmessage.Type, class dnsmessage.Class) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 77, RecursionDesired: true})
	_ = b.StartQuestions()
	_ = b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: class})
	_ = b.StartAdditionals()
	var h dnsmessage.ResourceHeader
	_ = h.SetEDNS0(1232, dnsmessage.RCodeSuccess, false)
	_ = b.OPTResource(h, dnsmessage.OPTResource{})
	msg, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return msg
}

var addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}

func TestReply(t *testing.T) {
	for _, c := range []struct {
		msg  []byte
		name string
		code dnsmessage.RCode
		want []string
	}{
		{query("Example.COM.", dnsmessage.TypeA, dnsmessage.ClassINET), "example.com", dns.OK, []string{"192.0.2.1", "192.0.2.2"}},
		{query("example.com.", dnsmessage.TypeAAAA, dnsmessage.ClassINET), "example.com", dns.OK, []string{"2001:db8::1"}},
		{query("example.com.", dnsmessage.TypeMX, dnsmessage.ClassINET), "example.com", dns.OK, nil},
		{query("example.com.", dnsmessage.TypeA, dnsmessage.ClassCHAOS), "", dnsmessage.RCodeRefused, nil},
		{make([]byte, 12), "", dnsmessage.RCodeFormatError, nil},
	} {
		q, reply := dns.Parse(c.msg)
		if q != nil {
			if q.Name != c.name {
				t.Errorf("name %q, want %q", q.Name, c.name)
			}
			reply = q.Reply(dns.OK, addrs)
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			t.Errorf("%q: %v", c.msg, err)
			continue
		}
		var got []string
		for _, r := range m.Answers {
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				got = append(got, netip.AddrFrom4(b.A).String())
			case *dnsmessage.AAAAResource:
				got = append(got, netip.AddrFrom16(b.AAAA).String())
			}
		}
		if m.RCode != c.code || strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%q: code %v, answers %v", c.msg, m.RCode, got)
		}
	}
	for _, msg := range [][]byte{nil, make([]byte, 11), {0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if q, reply := dns.Parse(msg); q != nil || reply != nil {
			t.Errorf("%q is answered", msg)
		}
	}
}

// FuzzParse: whatever comes, a reply is one to it, short, and holds only what was
// asked for. The oracle is dnsmessage's own reading of both whole messages.
func FuzzParse(f *testing.F) {
	f.Add(query("example.com.", dnsmessage.TypeA, dnsmessage.ClassINET))
	f.Add(query("a.b.c.d.", dnsmessage.TypeAAAA, dnsmessage.ClassINET))
	f.Add(append(make([]byte, 4), 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		q, reply := dns.Parse(msg)
		if q != nil {
			if q.Name != strings.ToLower(q.Name) || len(q.Name) > 255 {
				t.Errorf("name %q", q.Name)
			}
			many := addrs
			for range 100 {
				many = append(many, addrs...)
			}
			reply = q.Reply(dns.OK, many)
			if reply == nil {
				t.Error("no reply")
			}
		}
		if !bytes.Equal(before, msg) {
			t.Error("the query was changed")
		}
		if reply == nil {
			return
		}
		var out dnsmessage.Message
		if err := out.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		if len(reply) > 512 || !out.Response || out.ID != binary.BigEndian.Uint16(msg) {
			t.Errorf("reply %x to %x", reply, msg)
		}
		if q == nil {
			if len(out.Answers) > 0 {
				t.Error("answers to what is no query")
			}
			return
		}
		for _, a := range out.Answers {
			if a.Header.Type != out.Questions[0].Type || a.Header.Name.String() != out.Questions[0].Name.String() {
				t.Errorf("%v answers %v", a.Header, out.Questions[0])
			}
		}
	})
}
