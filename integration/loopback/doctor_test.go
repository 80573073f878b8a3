package loopback

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// doctor runs podfqdn doctor in the Pod.
func (p *pod) doctor(args ...string) (out string, code int) {
	p.t.Helper()
	p.lay()
	cmd := exec.Command(binary, append([]string{"doctor"}, args...)...)
	cmd.Env = append(p.environ(), "POD_NAME=db-0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if stderr.Len() > 0 {
		p.t.Errorf("stderr: %s", stderr.String())
	}
	for _, r := range string(text) {
		if r != '\n' && (r < ' ' || r > '~') {
			p.t.Fatalf("%q in %q", r, text)
		}
	}
	if text, err := os.ReadFile(filepath.Join(p.root, "dev/termination-log")); err != nil || len(text) > 0 {
		p.t.Errorf("the termination log holds %q, %v", text, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// diagnosis runs podfqdn doctor -o json, and holds it to the type.
func (p *pod) diagnosis() identity.Diagnosis {
	p.t.Helper()
	out, code := p.doctor("-o", "json")
	var d identity.Diagnosis
	in := json.NewDecoder(strings.NewReader(out))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil || again.String() != out {
		p.t.Errorf("read and written again it is\n%s, %v, not\n%s", again.String(), err, out)
	}
	want := 11
	if d.Healthy {
		want = 0
	}
	if code != want || d.Schema != 1 || d.FQDN != db0 || d.Healthy != (len(d.Causes) == 0) || d.Healthy != (d.Reason == "") {
		p.t.Errorf("exit %d: %s", code, out)
	}
	return d
}

// causes are the kinds, each with a ? if it is a guess.
func causes(d identity.Diagnosis) string {
	var all []string
	for _, c := range d.Causes {
		s := string(c.Kind)
		if c.Guess {
			s += "?"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// safe fails where a plain question came before its name was shown on the same socket: its denial would be cached for
// the application.
func safe(t *testing.T, trace *dnstest.Trace) {
	t.Helper()
	type shown struct {
		client netip.AddrPort
		name   string
	}
	seen := map[shown]bool{}
	forward := map[netip.AddrPort]bool{}
	for _, q := range trace.Queries() {
		about := shown{q.Client, q.Name}
		switch {
		case private(q.Type):
			seen[about] = seen[about] || q.Rcode == dns.RcodeSuccess
		case strings.HasPrefix(q.Name, "kubernetes.default.") || q.Name == "1.0.96.10.in-addr.arpa.":
		case q.Type == dns.TypePTR && !forward[q.Client]:
			t.Errorf("asked before the forward answer: %v", q)
		case q.Type != dns.TypePTR && !seen[about]:
			t.Errorf("asked plainly before the name was seen: %v", q)
		default:
			forward[q.Client] = true
		}
	}
}

// ask puts a plain question, as an application does.
func ask(t *testing.T, s netip.AddrPort, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m, err := dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), s.String())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const arpa = "17.0.244.10.in-addr.arpa."

func TestDoctorTellsTheCauseThatDNSShows(t *testing.T) {
	t.Parallel()
	own := dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip}
	other := dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-1", IP: "10.244.0.18"}
	const withoutArpa = ".:53 {\n kubernetes cluster.local\n forward . /etc/resolv.conf\n cache 30\n}"
	for name, test := range map[string]struct {
		conf    dnstest.CoreDNS
		publish []dnstest.Endpoint
		early   func(t *testing.T, s netip.AddrPort) // what somebody asks before the publication
		ips     []string
		policy  identity.Policy
		causes  string
		verdict identity.Verdict
		why     string // of the first, in part
		command string
	}{
		"none: DNS agrees": {publish: []dnstest.Endpoint{own}},
		"none: a second Service adds a PTR": {
			publish: []dnstest.Endpoint{own, {Namespace: "default", Service: "vip", IP: ip}},
		},
		"none: a dual-stack Pod behind a single-stack Service": {publish: []dnstest.Endpoint{own}, ips: []string{ip, ip6}},
		"nobody is published": {
			causes: "not-ready-hidden? service-missing? selector-mismatch?", verdict: identity.Missing,
			why:     `Service "db" has no address in DNS either`,
			command: `kubectl -n default patch service db -p '{"spec":{"publishNotReadyAddresses":true}}'`,
		},
		"only another Pod is published": {
			publish: []dnstest.Endpoint{other},
			causes:  "not-ready-hidden? selector-mismatch?", verdict: identity.Missing, why: `Service "db" publishes 10.244.0.18, but not this Pod`,
			command: `kubectl -n default patch service db -p '{"spec":{"publishNotReadyAddresses":true}}'`,
		},
		"the Pod has no hostname": {
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", IP: ip}},
			causes:  "hostname-missing", verdict: identity.Unnamed, why: "DNS publishes this Pod as 10-244-0-17.db.default.svc.cluster.local",
		},
		"the hostname is another": {
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", Hostname: "db-7", IP: ip}},
			causes:  "hostname-missing?", verdict: identity.Missing, why: `Service "db" publishes this Pod's address, but not as "db-0"`,
		},
		"another Pod has the hostname too": {
			publish: []dnstest.Endpoint{own, {Namespace: "default", Service: "db", Hostname: "db-0", IP: "10.244.0.18"}},
			causes:  "hostname-shared", verdict: identity.Shared, why: "another Pod holds this name: 10.244.0.18",
		},
		"an earlier Pod's record": {
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", Hostname: "db-0", IP: "10.244.0.16"}},
			causes:  "record-stale? hostname-shared?", verdict: identity.Stale, why: "says 10.244.0.16; this Pod is 10.244.0.17",
		},
		"somebody asked too early": {
			conf: dnstest.CoreDNS{Corefile: dnstest.Cached}, publish: []dnstest.Endpoint{own},
			early: func(t *testing.T, s netip.AddrPort) {
				for ask(t, s, db0, dns.TypeA).Ns[0].Header().Ttl > 29 { // until it counts down
				}
			},
			causes: "denial-cached", verdict: identity.Poisoned, why: "the denial is cached until ",
		},
		"somebody asked for the address too early": {
			publish: []dnstest.Endpoint{own},
			early:   func(t *testing.T, s netip.AddrPort) { ask(t, s, arpa, dns.TypePTR) },
			causes:  "denial-cached? reverse-zone-missing?", verdict: identity.ReverseMissing, why: "cached",
		},
		"the cluster has another domain": {
			conf:   dnstest.CoreDNS{Corefile: strings.ReplaceAll(dnstest.Kubeadm, "cluster.local", "corp.example")},
			causes: "cluster-domain", verdict: identity.ForeignServer, why: `the cluster domain is "cluster.local" (from /etc/hosts), but that of `,
		},
		"the cluster's first domain is another": {
			conf:    dnstest.CoreDNS{Corefile: strings.Replace(dnstest.Kubeadm, "kubernetes cluster.local", "kubernetes corp.example cluster.local", 1)},
			publish: []dnstest.Endpoint{own},
			causes:  "cluster-domain", verdict: identity.ReverseForeign, why: `cluster DNS has "corp.example" as its first domain`,
		},
		"the server is none of the cluster": {
			conf:   dnstest.CoreDNS{Corefile: ".:53 {\n forward . /etc/resolv.conf\n}"},
			causes: "dns-policy", verdict: identity.ForeignServer, why: "does not know kubernetes.default.svc.cluster.local either",
		},
		"unknown names fall through": {
			conf:   dnstest.CoreDNS{Corefile: strings.Replace(dnstest.Kubeadm, "fallthrough in-addr.arpa ip6.arpa", "fallthrough", 1)},
			causes: "not-ready-hidden? service-missing? selector-mismatch?", verdict: identity.ForeignServer,
			why:     "knows the cluster, and lets unknown names fall through",
			command: `kubectl -n default patch service db -p '{"spec":{"publishNotReadyAddresses":true}}'`,
		},
		"the reverse is not served": {
			conf: dnstest.CoreDNS{Corefile: withoutArpa}, publish: []dnstest.Endpoint{own},
			causes: "reverse-zone-missing", verdict: identity.ReverseMissing, why: "the API server's own address 10.96.0.1 has no PTR either",
		},
		"an upstream serves the reverse": {
			conf:    dnstest.CoreDNS{Corefile: withoutArpa, Upstream: dnstest.Upstream(arpa + " 30 PTR ip-10-244-0-17.ec2.internal.")},
			publish: []dnstest.Endpoint{own},
			causes:  "reverse-zone-missing", verdict: identity.ReverseForeign, why: "the API server's own address 10.96.0.1 has no PTR either",
		},
		"PTR is refused": {
			conf:    dnstest.CoreDNS{Front: refusing(func(qtype uint16) bool { return qtype == dns.TypePTR })},
			publish: []dnstest.Endpoint{own},
			causes:  "reverse-refused", verdict: identity.ReverseRefused, why: "says REFUSED to PTR",
		},
		"a second Service adds a PTR where none may be": {
			publish: []dnstest.Endpoint{own, {Namespace: "default", Service: "vip", IP: ip}},
			policy:  identity.Policy{Reverse: identity.ReverseOnly},
			causes:  "second-service", verdict: identity.ReverseExtra, why: "10-244-0-17.vip.default.svc.cluster.local",
		},
		"a dual-stack Pod that wants both families behind a single-stack Service": {
			publish: []dnstest.Endpoint{own}, ips: []string{ip, ip6}, policy: identity.Policy{Families: identity.FamiliesAll},
			causes: "single-family", verdict: identity.Missing, why: "says no data to AAAA",
			command: `kubectl -n default patch service db -p '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}'`,
		},
		"CoreDNS has not heard of the API server": {
			causes: "dns-fails", verdict: identity.Unanswered, why: "says SERVFAIL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trace dnstest.Trace
			c := cluster()
			test.conf.Cluster, test.conf.Trace = c, &trace
			c.Sync(test.causes != "dns-fails")
			s := serve(t, test.conf)
			if test.early != nil {
				test.early(t, s.Addr())
			}
			c.Publish(test.publish...)
			trace.Reset()
			p := newPod(t, s.Addr())
			if test.ips != nil {
				p.ips = test.ips
			}
			p.policy = test.policy
			d := p.diagnosis()
			if got := causes(d); got != test.causes || d.Verdict != test.verdict {
				t.Errorf("causes %s, %s; not %s, %s\n%+v", got, d.Verdict, test.causes, test.verdict, d)
			}
			if len(d.Causes) > 0 && (!strings.Contains(d.Causes[0].Why, test.why) || d.Causes[0].Command != test.command) {
				t.Errorf("%+v", d.Causes[0])
			}
			safe(t, &trace)
			text, _ := p.doctor()
			for _, c := range d.Causes {
				// Times and ports differ from one run to the next.
				if !strings.Contains(text, string(c.Kind)) || !strings.Contains(text, c.Command) {
					t.Errorf("no %s in\n%s", c.Kind, text)
				}
			}
			if (d.Healthy && !strings.HasPrefix(text, "healthy: DNS agrees on "+db0+"\n")) || (!d.Healthy && !strings.HasPrefix(text, "not healthy: ")) {
				t.Errorf("%s", text)
			}
		})
	}
}
