package resolver_test

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
)

// FuzzAnswer gives arbitrary packets to a question for A. Whatever they hold,
// an answer comes only of a response with the question's ID and the question
// itself, and what it says is consistent.
func FuzzAnswer(f *testing.F) {
	const owner = "db-0.db.default.svc.cluster.local."
	q := new(dns.Msg).SetQuestion(owner, dns.TypeA)
	q.Id = 4711
	seeds := []*dns.Msg{
		reply(q, dns.RcodeSuccess, owner+" 30 A 10.244.0.17", owner+" 30 A 10.244.0.18"),
		reply(q, dns.RcodeSuccess, owner+" 30 A 10.244.0.17"),
		reply(q, dns.RcodeSuccess, owner+" 30 CNAME x.example.", "x.example. 30 CNAME "+owner),
		reply(q, dns.RcodeSuccess, chain(owner, 8)...),
		reply(q, dns.RcodeSuccess, owner+" 0 PTR x.example.", owner+" 2147483648 AAAA fd00::1", soa),
		reply(q, dns.RcodeNameError, soa),
		reply(q, dns.RcodeRefused),
		reply(q, dns.RcodeFormatError),
		q,
	}
	for _, m := range seeds {
		raw := pack(m)
		if m != q {
			if _, ok := resolver.Read(raw, q); !ok {
				f.Fatalf("the seed %v is no answer", m)
			}
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-3])
		if len(m.Answer) == 1 { // without its data
			f.Add(append(raw[:len(raw)-6:len(raw)-6], 0, 0))
		}
		f.Add(append(raw[:12:12], 0xc0, 12, 0, 1, 0, 1)) // a name that points at itself
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := resolver.Read(raw, q)
		if !ok {
			return
		}
		if id := binary.BigEndian.Uint16(raw); id != q.Id || raw[2]&0x80 == 0 {
			t.Errorf("took ID %d, flags %#x for an answer", id, raw[2])
		}
		if a.Wire == "" {
			t.Error("nothing to show to people")
		}
		for _, c := range []byte(a.Wire) {
			if c < ' ' || c > '~' {
				t.Errorf("%q would reach a terminal", a.Wire)
			}
		}
		if (a.Is == identity.Found) != (len(a.Addrs) > 0) {
			t.Errorf("%d addresses in outcome %d", len(a.Addrs), a.Is)
		}
		if a.Again < 0 {
			t.Errorf("ask again after %s", a.Again)
		}
		for _, addr := range a.Addrs {
			if !addr.Is4() {
				t.Errorf("%s in an answer for A", addr)
			}
		}
	})
}
