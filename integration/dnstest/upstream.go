package dnstest

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// Upstream stands for the resolver of the node: it answers with the given records, one in each string as in a zone
// file, and denies all else with the SOA of a parent zone and a negative TTL of three hours, as resolvers do for
// private addresses (RFC 6303) and for names below a top-level domain that does not exist. It panics on a record that
// does not parse.
func Upstream(records ...string) plugin.Handler {
	var known []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		known = append(known, rr)
	}
	return plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		q := r.Question[0]
		m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
		m.RecursionAvailable = true
		for _, rr := range known {
			if !strings.EqualFold(rr.Header().Name, q.Name) {
				continue
			}
			m.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == q.Qtype {
				m.Answer = append(m.Answer, dns.Copy(rr))
			}
		}
		if len(m.Answer) == 0 {
			m.Ns = []dns.RR{denial(q.Name)}
		}
		return m.Rcode, w.WriteMsg(m)
	})
}

func denial(name string) dns.RR {
	const ttl = 10800
	zone := "."
	labels := dns.SplitDomainName(strings.ToLower(name))
	for arpa, depth := range map[string]int{"in-addr.arpa.": 3, "ip6.arpa.": 4} { // 10.in-addr.arpa, d.f.ip6.arpa
		if dns.IsSubDomain(arpa, name) && len(labels) >= depth {
			zone = dns.Fqdn(strings.Join(labels[len(labels)-depth:], "."))
		}
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "localhost.", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: ttl,
	}
}

// resolver is a handler behind sockets, for the forward plugin to point at.
type resolver struct {
	addr    string
	servers [2]*dns.Server
}

func resolve(host netip.Addr, h plugin.Handler) (*resolver, error) {
	tcp, udp, err := listen(host)
	if err != nil {
		return nil, err
	}
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if rcode, _ := h.ServeDNS(context.Background(), w, r); !plugin.ClientWrite(rcode) {
			w.WriteMsg(new(dns.Msg).SetRcode(r, rcode))
		}
	})
	s := &resolver{addr: udp.LocalAddr().String(), servers: [2]*dns.Server{
		{PacketConn: udp, Handler: handle}, {Listener: tcp, Handler: handle},
	}}
	for _, srv := range s.servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started // one that has not begun cannot be stopped
	}
	return s, nil
}

func (s *resolver) stop() error {
	return errors.Join(s.servers[0].Shutdown(), s.servers[1].Shutdown())
}
