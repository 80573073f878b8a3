package kube

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestACorefileTellsWhatItServes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, domains, reverse, refuses, serves string }{
		{"kubeadm's", ".:53 {\n    errors\n    health {\n       lameduck 5s\n    }\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n    cache 30 {\n       disable success cluster.local\n    }\n}\n",
			"cluster.local", "in-addr.arpa ip6.arpa", "", "10.244.0.7 fd00::7"},
		{"one family", ".:53 {\n kubernetes cluster.local in-addr.arpa\n}", "cluster.local", "in-addr.arpa", "", "10.244.0.7"},
		{"networks", ".:53 {\n kubernetes Cluster.Local. 10.244.0.0/16 fd00::/16 {\n }\n}", "cluster.local", "10.244.0.0/16 fd00::/16", "", "10.244.0.7 fd00::7"},
		{"another network", ".:53 {\n kubernetes cluster.local 10.96.0.0/16\n}", "cluster.local", "10.96.0.0/16", "", ""},
		{"a part of arpa", ".:53 {\n kubernetes cluster.local 244.10.in-addr.arpa\n}", "cluster.local", "244.10.in-addr.arpa", "", "10.244.0.7"},
		{"the zones of the server block", "cluster.local:53, dns://in-addr.arpa:53\nip6.arpa {\n kubernetes {\n  pods verified\n }\n}\n.:53 {\n forward . 192.0.2.1\n}", "cluster.local", "in-addr.arpa ip6.arpa", "", "10.244.0.7 fd00::7"},
		{"comments and quotes", "# kubernetes no.example\n.:53 {\n # kubernetes no.example\n kubernetes \"cluster.local\" # in-addr.arpa\n}", "cluster.local", "", "", ""},
		{"two", ".:53 {\n kubernetes a.example b.example\n acl {\n  block type PTR\n }\n}\n", "a.example b.example", "", "acl", ""},
		{"none", ".:53 {\n forward . 192.0.2.1\n}", "", "", "", ""},
		{"nothing", "", "", "", "", ""},
		{"garbage", "} } {\n{ }\nkubernetes", "", "", "", ""},
	} {
		got := parseCorefile(c.text)
		var serves []string
		for _, addr := range []string{"10.244.0.7", "fd00::7"} {
			if got.serves(netip.MustParseAddr(addr)) {
				serves = append(serves, addr)
			}
		}
		for _, part := range []struct {
			what, want string
			got        []string
		}{{"domains", c.domains, got.domains}, {"reverse zones", c.reverse, got.reverse}, {"refusers", c.refuses, got.refuses}, {"addresses served", c.serves, serves}} {
			if s := strings.Join(part.got, " "); s != part.want {
				t.Errorf("%s: %s: %q, want %q", c.name, part.what, s, part.want)
			}
		}
		if got.imports {
			t.Errorf("%s: it imports nothing", c.name)
		}
	}
	for _, text := range []string{"import custom/*\n.:53 {\n}", ".:53 {\n import ../custom/*.override\n}"} {
		if !parseCorefile(text).imports {
			t.Errorf("%q imports", text)
		}
	}
}

func TestTheReverseNameIsThatOfDNS(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"10.244.0.7", "fd00:10:244::1a", "2001:db8::"} {
		want, err := dns.ReverseAddr(text)
		if got := arpa(netip.MustParseAddr(text)) + "."; err != nil || got != want {
			t.Errorf("%s: %s, not %s", text, got, want)
		}
	}
}

func FuzzParseCorefile(f *testing.F) {
	f.Add(".:53 {\n kubernetes cluster.local in-addr.arpa {\n }\n}")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseCorefile(text)
		for _, zone := range append(c.domains, c.reverse...) {
			if strings.ContainsAny(zone, "\n") && !strings.Contains(text, `"`) {
				t.Errorf("a zone of two lines: %q", zone)
			}
		}
		c.serves(netip.MustParseAddr("10.244.0.7"))
	})
}
