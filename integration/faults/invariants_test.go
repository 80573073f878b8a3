//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// recorder is a test that notes what it is told.
type recorder struct {
	testing.TB
	told []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}
func (r *recorder) Failed() bool { return false }

// A check that cannot fail is none.
func TestTheInvariantsAreSeenToBreak(t *testing.T) {
	t.Parallel()
	publish := func(p *pod, fqdn, ips string) {
		addr := strings.TrimSpace(ips)
		p.write("identity/..gen-new/identity.json", `{"fqdn": "`+fqdn+`", "ip": "`+addr+`", "ips": ["`+addr+`"]}`)
		env := "POD_FQDN='" + fqdn + "'\nPOD_IP='" + addr + "'\nPOD_IPS='" + addr + "'\n"
		for name, text := range map[string]string{"fqdn": fqdn, "ip": addr, "ips": ips, "identity.env": env, "verified": ""} {
			p.write("identity/..gen-new/"+name, text)
			_ = os.Symlink("..data/"+name, filepath.Join(p.dir(), name))
		}
		_ = os.Remove(filepath.Join(p.dir(), "..data"))
		if err := os.Symlink("..gen-new", filepath.Join(p.dir(), "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		happens func(*pod, *end)
		want    string // "" if nothing is wrong
	}{
		"nothing":                    {func(*pod, *end) {}, ""},
		"another name":               {func(p *pod, _ *end) { publish(p, "db-1.db.default.svc.cluster.local", ip+"\n") }, `I1: published "db-1.`},
		"another address":            {func(p *pod, _ *end) { publish(p, db0, foreign+"\n") }, `I1: published "db-0.`},
		"published, and it failed":   {func(_ *pod, e *end) { e.code = 11 }, "I1: exit code 11, published true"},
		"nothing published":          {func(p *pod, _ *end) { os.Remove(filepath.Join(p.dir(), "verified")) }, "I1: exit code 0, published false"},
		"nobody was asked":           {func(p *pod, _ *end) { p.truth.agreed = nil }, "I1: published at"},
		"DNS said otherwise since":   {func(p *pod, _ *end) { p.hears(dns.TypeA, nil, foreign); publish(p, db0, ip+"\n") }, "I1: published at"},
		"it says otherwise now":      {func(p *pod, _ *end) { time.Sleep(50 * time.Millisecond); p.hears(dns.TypeA, nil, foreign) }, ""},
		"another run's, and right":   {func(p *pod, e *end) { p.truth.agreed = nil; p.round(); e.began = time.Now().Add(time.Second) }, ""},
		"another run's, not right":   {func(p *pod, e *end) { p.hears(dns.TypeA, nil, foreign); e.began = time.Now().Add(time.Second) }, "I1: published at"},
		"half a generation":          {func(p *pod, _ *end) { os.Remove(filepath.Join(p.dir(), "..gen-new", "ips")) }, "I2: "},
		"half the variables":         {func(p *pod, _ *end) { p.write("identity/..gen-new/identity.env", "POD_FQDN='db") }, "I2: "},
		"a file too many":            {func(p *pod, _ *end) { p.write("identity/..gen-new/hostname", "db-0") }, "I2: "},
		"a mix":                      {func(p *pod, _ *end) { p.write("identity/..gen-new/ip", foreign) }, "I2: "},
		"leftovers at the question":  {func(p *pod, _ *end) { p.truth.asked = false; p.question(db0 + ".") }, "I3: "},
		"too late":                   {func(_ *pod, e *end) { e.took = 3 * time.Second }, "I4: "},
		"a panic":                    {func(_ *pod, e *end) { e.code = 2 }, "it panicked"},
		"an escape in the log":       {func(_ *pod, e *end) { e.log = "\x1b[31m\n" }, "I5: "},
		"an escape in the reason":    {func(_ *pod, e *end) { e.reason = "a\x07" }, "I5: "},
		"the token in the log":       {func(_ *pod, e *end) { e.log = "x" + token + "\n" }, "I5: "},
		"another alphabet in a line": {func(_ *pod, e *end) { e.log = "\u00e9\n" }, "I5: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := lay(t)
			p.truth.asked = true
			p.round()
			p.round()
			publish(p, db0, ip+"\n")
			e := end{took: time.Second / 2}
			r := &recorder{TB: t}
			p.TB = r
			c.happens(p, &e)
			if err := whole(p.dir()); err != nil {
				p.Errorf("I2: %v", err)
			}
			p.invariants(e)
			told := strings.Join(r.told, "\n")
			if (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
				t.Errorf("told %q, not %q", told, c.want)
			}
		})
	}
}

// ptr6 is where the name of the Pod's other address is, where it has one.
const (
	ip6  = "fd00:10:244::11"
	ptr6 = "1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa"
)

// hears has DNS answer a question with such records: values, or whole ones. What is changed in the answer may be nil.
func (p *pod) hears(qtype uint16, change func(*dns.Msg), records ...string) {
	name := p.fqdn + "."
	if qtype == dns.TypePTR {
		name = ptr + "."
	}
	p.hearsOf(name, qtype, change, records...)
}

func (p *pod) hearsOf(name string, qtype uint16, change func(*dns.Msg), records ...string) {
	q := new(dns.Msg).SetQuestion(name, qtype)
	m := new(dns.Msg).SetReply(q)
	for _, text := range records {
		if !strings.Contains(text, " ") {
			text = fmt.Sprintf("%s %s %s", name, dns.Type(qtype), text)
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if change != nil {
		change(m)
	}
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	p.answer(q, packet)
}

// round is one in which all agrees.
func (p *pod) round() {
	p.hears(dns.TypeA, nil, ip)
	p.hears(dns.TypePTR, nil, p.fqdn+".")
	if strings.Contains(p.ips, ":") {
		p.hears(dns.TypeAAAA, nil, ip6)
		p.hearsOf(ptr6+".", dns.TypePTR, nil, p.fqdn+".")
	} else {
		p.hears(dns.TypeAAAA, nil)
	}
}

// What is published was agreed on as the policy says, twice and just now, and DNS has not said otherwise since.
func TestAnAgreementIsSeenToBreak(t *testing.T) {
	t.Parallel()
	rcode := func(code int) func(*dns.Msg) { return func(m *dns.Msg) { m.Rcode = code } }
	const holds, breaks = true, false
	ago := func(p *pod, qtype uint16) {
		for question, said := range p.truth.agreed {
			for i := range said {
				if question.Qtype == qtype {
					said[i].at = said[i].at.Add(-p.fresh)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		said func(*pod) // after two rounds that agree
		want bool
	}{
		"nothing else":                           {func(*pod) {}, holds},
		"only once":                              {func(p *pod) { p.truth.agreed = nil; p.round() }, breaks},
		"only once, and that is enough":          {func(p *pod) { p.truth.agreed = nil; p.truth.once = true; p.round() }, holds},
		"an address, a while ago":                {func(p *pod) { ago(p, dns.TypeA) }, breaks},
		"a name, a while ago":                    {func(p *pod) { ago(p, dns.TypePTR) }, breaks},
		"no address of another family, long ago": {func(p *pod) { ago(p, dns.TypeAAAA) }, holds},
		"no PTR":                                 {func(p *pod) { p.truth.agreed = nil; p.hears(dns.TypeA, nil, ip); p.hears(dns.TypeA, nil, ip) }, breaks},
		"no PTR, which nobody asks for": {func(p *pod) {
			p.truth.agreed, p.truth.noPTR = nil, true
			p.hears(dns.TypeA, nil, ip)
			p.hears(dns.TypeA, nil, ip)
		}, holds},

		"another address":                      {func(p *pod) { p.hears(dns.TypeA, nil, foreign) }, breaks},
		"and it was right once more":           {func(p *pod) { p.hears(dns.TypeA, nil, foreign); p.round() }, breaks},
		"and it was right twice":               {func(p *pod) { p.hears(dns.TypeA, nil, foreign); p.round(); p.round() }, holds},
		"one more address":                     {func(p *pod) { p.hears(dns.TypeA, nil, ip, foreign) }, breaks},
		"one more address, which is allowed":   {func(p *pod) { p.truth.others = true; p.hears(dns.TypeA, nil, ip, foreign) }, holds},
		"only another, where others may be":    {func(p *pod) { p.truth.others = true; p.hears(dns.TypeA, nil, foreign) }, breaks},
		"no address":                           {func(p *pod) { p.hears(dns.TypeA, nil) }, breaks},
		"NXDOMAIN":                             {func(p *pod) { p.hears(dns.TypeA, rcode(dns.RcodeNameError)) }, breaks},
		"NXDOMAIN to a type that nobody needs": {func(p *pod) { p.hears(dns.TypeTXT, rcode(dns.RcodeNameError)) }, breaks},
		"NXDOMAIN to AAAA":                     {func(p *pod) { p.hears(dns.TypeAAAA, rcode(dns.RcodeNameError)) }, breaks},
		"the address of another name":          {func(p *pod) { p.hears(dns.TypeA, nil, "other. A "+ip) }, breaks},
		"the address by a CNAME":               {func(p *pod) { p.hears(dns.TypeA, nil, db0+". CNAME other.", "other. A "+ip) }, holds},
		"another by a CNAME":                   {func(p *pod) { p.hears(dns.TypeA, nil, db0+". CNAME other.", "other. A "+foreign) }, breaks},
		"it was, and is not any more":          {func(p *pod) { p.hears(dns.TypeAAAA, nil, "fd00::99"); p.hears(dns.TypeAAAA, nil) }, holds},
		"another Pod's of the other family":    {func(p *pod) { p.hears(dns.TypeAAAA, nil, "fd00::99") }, breaks},
		"its own as a DNS64 shows it":          {func(p *pod) { p.hears(dns.TypeAAAA, nil, "64:ff9b::af4:11") }, holds},

		"another name":  {func(p *pod) { p.hears(dns.TypePTR, nil, "db-9.db.default.svc.cluster.local.") }, breaks},
		"one more name": {func(p *pod) { p.hears(dns.TypePTR, nil, db0+".", "x.example.") }, holds},
		"one more name, where only one is allowed": {func(p *pod) { p.truth.only = true; p.hears(dns.TypePTR, nil, db0+".", "x.example.") }, breaks},
		"no name":                     {func(p *pod) { p.hears(dns.TypePTR, nil) }, breaks},
		"NXDOMAIN to PTR":             {func(p *pod) { p.hears(dns.TypePTR, rcode(dns.RcodeNameError)) }, breaks},
		"the name of another address": {func(p *pod) { p.hears(dns.TypePTR, nil, "1.1.1.1.in-addr.arpa. PTR "+db0+".") }, breaks},
		"in capitals":                 {func(p *pod) { p.hears(dns.TypePTR, nil, strings.ToUpper(db0)+".") }, holds},

		"both families":            {func(p *pod) { p.ips += ip6 + "\n"; p.round(); p.round() }, holds},
		"one family of two":        {func(p *pod) { p.ips += ip6 + "\n" }, breaks},
		"one family of two denied": {func(p *pod) { p.ips += ip6 + "\n"; p.round(); p.round(); p.hears(dns.TypeAAAA, nil) }, breaks},
		"the name of one of two": {func(p *pod) {
			p.ips += ip6 + "\n"
			p.hears(dns.TypeAAAA, nil, ip6)
			p.hears(dns.TypeAAAA, nil, ip6)
			p.round()
		}, breaks},
		"another name of one of two": {func(p *pod) {
			p.ips += ip6 + "\n"
			p.round()
			p.round()
			p.hearsOf(ptr6+".", dns.TypePTR, nil, "x.example.")
			p.hears(dns.TypePTR, nil, db0+".")
		}, breaks},

		// Nobody may believe these, or they say nothing.
		"another ID":           {func(p *pod) { p.hears(dns.TypeA, func(m *dns.Msg) { m.Id++ }, foreign) }, holds},
		"a question":           {func(p *pod) { p.hears(dns.TypeA, func(m *dns.Msg) { m.Response = false }, foreign) }, holds},
		"another opcode":       {func(p *pod) { p.hears(dns.TypeA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, foreign) }, holds},
		"to another question":  {func(p *pod) { p.hears(dns.TypeA, func(m *dns.Msg) { m.Question[0].Name = "other." }, foreign) }, holds},
		"truncated":            {func(p *pod) { p.hears(dns.TypeA, func(m *dns.Msg) { m.Truncated = true }) }, holds},
		"SERVFAIL":             {func(p *pod) { p.hears(dns.TypeA, rcode(dns.RcodeServerFailure)) }, holds},
		"REFUSED":              {func(p *pod) { p.hears(dns.TypePTR, rcode(dns.RcodeRefused)) }, holds},
		"of another name":      {func(p *pod) { p.hearsOf("db-9.db.default.svc.cluster.local.", dns.TypeA, rcode(dns.RcodeNameError)) }, holds},
		"of another's address": {func(p *pod) { p.hearsOf("1.1.1.1.in-addr.arpa.", dns.TypePTR, rcode(dns.RcodeNameError)) }, holds},
		"cut": {func(p *pod) {
			q := new(dns.Msg).SetQuestion(db0+".", dns.TypeA)
			packet, err := new(dns.Msg).SetReply(q).Pack()
			if err != nil {
				panic(err)
			}
			packet[7] = 1 // an answer is announced
			p.answer(q, packet)
		}, holds},
		"after the answer that was heard": {func(p *pod) {
			q := new(dns.Msg).SetQuestion(db0+".", dns.TypeA)
			for _, addr := range []string{ip, foreign} {
				rr, err := dns.NewRR(db0 + ". A " + addr)
				if err != nil {
					panic(err)
				}
				m := new(dns.Msg).SetReply(q)
				m.Answer = []dns.RR{rr}
				packet, err := m.Pack()
				if err != nil {
					panic(err)
				}
				p.answer(q, packet)
			}
		}, holds},
	} {
		t.Run(name, func(t *testing.T) {
			p := lay(t)
			p.round()
			p.round()
			c.said(p)
			if err := p.agreement(time.Now(), false); (err == nil) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}
