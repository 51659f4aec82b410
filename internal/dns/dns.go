// Package dns answers a stub resolver's queries: one question of class IN for the
// addresses of a name (RFC 1035). What it knows it is told; there are no zones.
package dns

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of a reply, so that it fits in any datagram (RFC 1035, 4.2.1).
const (
	maxAddrs = 8
	ttl      = 60 // seconds
)

// The codes of replies.
const (
	OK       = dnsmessage.RCodeSuccess
	Failed   = dnsmessage.RCodeServerFailure // try again
	NoName   = dnsmessage.RCodeNameError
	NotKnown = dnsmessage.RCodeNotImplemented // such questions
)

// Query is one that can be answered.
type Query struct {
	// Name is what is asked for, in lower case and without the dot at the end.
	Name string
	// Addresses says that A or AAAA was asked for, V6 that AAAA was.
	Addresses, V6 bool

	header   dnsmessage.Header
	question dnsmessage.Question
}

// Parse reads a query. If it cannot be answered, reply is what to say to that, nil
// for nothing.
func Parse(msg []byte) (q *Query, reply []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, nil
	}
	q = &Query{header: h}
	if h.OpCode != 0 {
		return nil, q.Reply(NotKnown, nil)
	}
	if q.question, err = p.Question(); err != nil {
		q.question = dnsmessage.Question{}
		return nil, q.Reply(dnsmessage.RCodeFormatError, nil)
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return nil, q.Reply(dnsmessage.RCodeFormatError, nil)
	}
	if q.question.Class != dnsmessage.ClassINET {
		return nil, q.Reply(dnsmessage.RCodeRefused, nil)
	}
	q.Name = strings.ToLower(strings.TrimSuffix(q.question.Name.String(), "."))
	q.V6 = q.question.Type == dnsmessage.TypeAAAA
	q.Addresses = q.V6 || q.question.Type == dnsmessage.TypeA
	return q, nil
}

// Reply is the answer, with those of the addresses that were asked for.
func (q *Query) Reply(code dnsmessage.RCode, addrs []netip.Addr) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: q.header.ID, Response: true, OpCode: q.header.OpCode,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code})
	b.EnableCompression()
	ok := b.StartQuestions() == nil
	if q.question.Name.Length > 0 {
		ok = ok && b.Question(q.question) == nil
	}
	ok = ok && b.StartAnswers() == nil
	h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	n := 0
	for _, a := range addrs {
		switch {
		case !q.Addresses || a.Is4() == q.V6 || n == maxAddrs:
			continue
		case q.V6:
			ok = ok && b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()}) == nil
		default:
			ok = ok && b.AResource(h, dnsmessage.AResource{A: a.As4()}) == nil
		}
		n++
	}
	msg, err := b.Finish()
	if !ok || err != nil {
		return nil
	}
	return msg
}
