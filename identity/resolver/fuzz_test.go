package resolver_test

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/identity/shown"
)

// FuzzAnswer answers with arbitrary packets a question for A, for AAAA and for PTR.
// Whatever they hold, an answer comes only of a response with the question's ID
// and the question itself, and what it says is consistent.
func FuzzAnswer(f *testing.F) {
	const owner, arpa = "db-0.db.default.svc.cluster.local.", "17.0.244.10.in-addr.arpa."
	ask := func(name string, qtype uint16) *dns.Msg {
		q := new(dns.Msg).SetQuestion(name, qtype)
		q.Id = 4711
		return q
	}
	a, aaaa, ptr := ask(owner, dns.TypeA), ask(owner, dns.TypeAAAA), ask(arpa, dns.TypePTR)
	for _, seed := range []struct{ q, m *dns.Msg }{
		{a, reply(a, dns.RcodeSuccess, owner+" 30 A 10.244.0.17", owner+" 30 A 10.244.0.18")},
		{a, reply(a, dns.RcodeSuccess, owner+" 30 A 10.244.0.17")},
		{a, reply(a, dns.RcodeSuccess, owner+" 30 CNAME x.example.", "x.example. 30 CNAME "+owner)},
		{a, reply(a, dns.RcodeSuccess, chain(owner, 8)...)},
		{a, reply(a, dns.RcodeSuccess, owner+" 0 PTR x.example.", owner+" 2147483648 AAAA fd00::1", soa)},
		{a, reply(a, dns.RcodeNameError, soa)},
		{a, reply(a, dns.RcodeRefused)},
		{a, reply(a, dns.RcodeFormatError)},
		{a, a},
		{aaaa, reply(aaaa, dns.RcodeSuccess, owner+" 30 AAAA fd00::1", owner+" 0 AAAA ::ffff:10.244.0.17")},
		{aaaa, reply(aaaa, dns.RcodeSuccess, owner+" 30 AAAA fd00::1")},
		{ptr, reply(ptr, dns.RcodeSuccess, arpa+" 30 PTR "+owner, arpa+" 0 PTR DB-0.db.", arpa+` 30 PTR Evil\010\027[31m\.\226.example.`)},
		{ptr, reply(ptr, dns.RcodeSuccess, arpa+" 30 PTR .")},
		{ptr, reply(ptr, dns.RcodeSuccess, arpa+" 30 CNAME 17.x.example.", "17.x.example. 30 PTR "+owner)},
		{ptr, reply(ptr, dns.RcodeNameError, soa)},
	} {
		raw := pack(seed.m)
		if seed.m != seed.q {
			if _, ok := resolver.Read(raw, seed.q); !ok {
				f.Fatalf("the seed %v is not an answer", seed.m)
			}
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-3])
		if seed.q == a && len(seed.m.Answer) == 1 { // without its data
			f.Add(append(raw[:len(raw)-6:len(raw)-6], 0, 0))
		}
		f.Add(append(raw[:12:12], 0xc0, 12, 0, 1, 0, 1)) // a name that points at itself
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, q := range []*dns.Msg{a, aaaa, ptr} {
			if answer, ok := resolver.Read(raw, q); ok {
				consistent(t, raw, q, answer)
			}
		}
	})
}

// consistent checks what was read of a packet for q.
func consistent(t *testing.T, raw []byte, q *dns.Msg, a identity.Answer) {
	if id := binary.BigEndian.Uint16(raw); id != q.Id || raw[2]&0x80 == 0 {
		t.Errorf("took ID %d, flags %#x for an answer", id, raw[2])
	}
	text := shown.Of(a).Wire
	if text == "" {
		t.Error("nothing to show to people")
	}
	for _, name := range a.Names {
		text += name.String()
	}
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			t.Errorf("%q would reach a terminal", text)
		}
	}
	qtype := q.Question[0].Qtype
	if (a.Is == identity.Found) != (len(a.Addrs)+len(a.Names) > 0) || len(a.Addrs) > 0 && qtype == dns.TypePTR || len(a.Names) > 0 && qtype != dns.TypePTR {
		t.Errorf("%d addresses and %d names in outcome %d for %s", len(a.Addrs), len(a.Names), a.Is, dns.Type(qtype))
	}
	if a.Again < 0 {
		t.Errorf("ask again after %s", a.Again)
	}
	for _, addr := range a.Addrs {
		if addr.Is4() != (qtype == dns.TypeA) {
			t.Errorf("%s in an answer for %s", addr, dns.Type(qtype))
		}
	}
}
