package loopback

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// withhold is a Corefile's template that denies a type in a zone, by decision.
func withhold(qtype, zone, more string) string {
	return inFront("template ANY " + qtype + " " + zone + " {\n        " + more + "\n    }")
}

const musl = ", as it does for kubernetes.default.svc.cluster.local; programs that use musl (Alpine) cannot resolve this name"

// An IPv4 cluster that wants no AAAA questions denies them, and so does a filter. No wait changes that.
func TestAFamilyThatIsWithheldFromEveryNameIsAWarning(t *testing.T) {
	t.Parallel()
	const nx, soa = "rcode NXDOMAIN", "rcode NXDOMAIN\n        authority \"{{ .Zone }} 60 IN SOA ns.{{ .Zone }} a.{{ .Zone }} 1 60 60 60 60\""
	for name, test := range map[string]struct {
		corefile string
		ips      []string
		families identity.Families
		says     string
		doctor   string
	}{
		"everywhere":                   {corefile: withhold("AAAA", ".", nx), says: "NXDOMAIN to AAAA"},
		"in the cluster domain":        {corefile: withhold("AAAA", "cluster.local", nx), says: "NXDOMAIN to AAAA"},
		"with a SOA":                   {corefile: withhold("AAAA", "cluster.local", soa), says: "NXDOMAIN to AAAA"},
		"with a SOA, through a cache":  {corefile: strings.Replace(withhold("AAAA", "cluster.local", soa), "cache 30 {", "cache 30 {\n       denial 100 20", 1), says: "NXDOMAIN to AAAA"},
		"refused":                      {corefile: withhold("AAAA", ".", "rcode REFUSED"), says: "REFUSED to AAAA"},
		"failed":                       {corefile: withhold("AAAA", ".", "rcode SERVFAIL"), says: "SERVFAIL to AAAA"},
		"IPv4 where all is IPv6":       {corefile: withhold("A", ".", nx), ips: []string{ip6}, says: "NXDOMAIN to A"},
		"from a Pod of both":           {corefile: withhold("AAAA", ".", nx), ips: []string{ip, ip6}, says: "NXDOMAIN to AAAA"},
		"from a Pod of both, IPv4":     {corefile: withhold("AAAA", ".", nx), ips: []string{ip, ip6}, families: identity.FamiliesIPv4},
		"IPv4 is set":                  {corefile: withhold("AAAA", ".", nx), families: identity.FamiliesIPv4},
		"IPv4 is set, of this Service": {corefile: withhold("AAAA", "db.default.svc.cluster.local", nx), families: identity.FamiliesIPv4},
		"IPv6 is set":                  {corefile: withhold("A", ".", nx), ips: []string{ip6}, families: identity.FamiliesIPv6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.ips == nil {
				test.ips = []string{ip}
			}
			var trace dnstest.Trace
			c := cluster(test.ips...)
			if test.ips[0] == ip6 {
				c.Service("default", "kubernetes", "fd00:10:96::1")
			}
			s := serve(t, dnstest.CoreDNS{Cluster: c, Corefile: test.corefile, Trace: &trace})
			p := newPod(t, s.Addr())
			p.ips, p.policy.Families = test.ips, test.families
			e := p.init()
			e.published(t)
			if e.took > 10*time.Second {
				t.Errorf("it took %v", e.took)
			}
			warning := `"msg":"tolerated","what":"` + db0 + ": " + s.Addr().String() + " says " + test.says + musl + `"`
			if strings.Contains(e.log, "musl") != (test.says != "") || test.says != "" && !strings.Contains(e.log, warning) {
				t.Errorf("no warning\n%s in\n%s", warning, e.log)
			}
			other := map[bool]string{true: "A", false: "AAAA"}[test.ips[0] == ip6]
			if asked := strings.Contains(" "+types(&trace)+" ", " "+other+" "); asked != (test.says != "") {
				t.Errorf("asked %s", types(&trace))
			}
			if d := p.diagnosis(); !d.Healthy {
				t.Errorf("the doctor says %s, %s", causes(d), d.Reason)
			}
		})
	}
}

// Where a family that must be proven is withheld, or only some names' is, the reason says what it is and how to go on.
// It says nothing of a cache unless it saw one.
func TestAFamilyThatIsWithheldIsTheReason(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		corefile string
		ips      []string
		families identity.Families
		want     string
		causes   string
	}{
		"the only one": {corefile: withhold("A", ".", "rcode NXDOMAIN"), ips: []string{ip},
			want:   db0 + ": SERVER says NXDOMAIN to A, as it does for kubernetes.default.svc.cluster.local; waiting does not help: find what answers A before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR",
			causes: "family-withheld"},
		"one of all": {corefile: withhold("AAAA", ".", "rcode NXDOMAIN"), ips: []string{ip, ip6}, families: identity.FamiliesAll,
			want:   db0 + ": SERVER says NXDOMAIN to AAAA, as it does for kubernetes.default.svc.cluster.local; waiting does not help: find what answers AAAA before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR; or set PODFQDN_FAMILIES=ipv4, but programs that use musl (Alpine) will still not resolve the name",
			causes: "family-withheld"},
		"of this Service alone": {corefile: withhold("AAAA", "db.default.svc.cluster.local", "rcode NXDOMAIN\n        authority \"{{ .Zone }} 5 IN SOA ns.{{ .Zone }} a.{{ .Zone }} 1 60 60 60 5\""), ips: []string{ip},
			want:   db0 + ": the name exists, but SERVER says NXDOMAIN to AAAA; something may deny AAAA on purpose: find what answers AAAA before cluster DNS does: a DNS policy, or a template in the Corefile, which must have rcode NOERROR; or set PODFQDN_FAMILIES=ipv4, but programs that use musl (Alpine) will still not resolve the name",
			causes: "denial-cached? family-withheld?"},
		"of this Service alone, without a SOA": {corefile: withhold("AAAA", "db.default.svc.cluster.local", "rcode NXDOMAIN"), ips: []string{ip},
			want:   db0 + ": the name exists, but SERVER says NXDOMAIN to AAAA; this passes if a cache keeps the denial from before the record existed; if it comes back, something denies AAAA on purpose",
			causes: "denial-cached? family-withheld?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dnstest.CoreDNS{Cluster: cluster(test.ips...), Corefile: test.corefile})
			p := newPod(t, s.Addr())
			p.ips, p.policy.Families, p.timeout = test.ips, test.families, 9*time.Second
			e := p.init()
			if want := "gave up after 9s: " + strings.ReplaceAll(test.want, "SERVER", s.Addr().String()); e.code != 11 || e.reason != want {
				t.Errorf("exit %d: %s\nnot %s", e.code, e.reason, want)
			}
			s = serve(t, dnstest.CoreDNS{Cluster: cluster(test.ips...), Corefile: test.corefile}) // with no cache of before
			p.servers = []netip.AddrPort{s.Addr()}
			if d := p.diagnosis(); causes(d) != test.causes {
				t.Errorf("the doctor says %s, not %s", causes(d), test.causes)
			}
		})
	}
}

// CoreDNS 1.11.4 and 1.12.0 have a PTR for endpoints with a hostname alone; another question goes upstream, and a cache
// keeps the denial. That does not pass, and podfqdn's own question renews it.
func TestADashedNameWithoutPTRIsNotSaidToPass(t *testing.T) {
	t.Parallel()
	const ttl = 2
	corefile := inFront(`template IN PTR in-addr.arpa {
        match "^17[.]0[.]244[.]10[.]"
        rcode NXDOMAIN
        authority "in-addr.arpa. 3600 IN SOA a. b. 1 60 60 60 3600"
        fallthrough
    }`)
	corefile = strings.Replace(corefile, "cache 30 {", "cache {\n       denial 100 2", 1)
	s := serve(t, dnstest.CoreDNS{Cluster: cluster(), Corefile: corefile})
	if m := ask(t, s.Addr(), "17.0.244.10.in-addr.arpa", dns.TypePTR); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != ttl {
		t.Fatalf("the server says %v", m)
	}
	c := cluster()
	c.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", IP: ip})
	s = serve(t, dnstest.CoreDNS{Cluster: c, Corefile: corefile})
	p := newPod(t, s.Addr())
	p.policy.NameForm, p.timeout = identity.AddressForm, 5*time.Second
	e := p.init()
	want := "gave up after 5s: " + ip + ": " + s.Addr().String() + " says NXDOMAIN to PTR, not 10-244-0-17.db.default.svc.cluster.local; CoreDNS 1.11.4 and 1.12.0 have PTR records only for Pods with a hostname: check which version runs (kubectl -n kube-system get deployment coredns -o wide); if it is one of these, waiting does not help: update CoreDNS, or set spec.hostname and spec.subdomain and leave PODFQDN_NAME_FORM out, or set PODFQDN_REVERSE=ignore"
	if e.code != 11 || e.reason != want {
		t.Errorf("exit %d: %s\nnot %s", e.code, e.reason, want)
	}
	if strings.Contains(e.log, "passes") || strings.Contains(e.log, "too early") {
		t.Errorf("%s", e.log)
	}
	if d := p.diagnosis(); d.Causes[0].Kind != "reverse-needs-hostname" || !d.Causes[0].Guess {
		t.Errorf("the doctor says %s", causes(d))
	}
}
