package loopback

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/diagnosis"
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

// diagnosis runs podfqdn doctor -o json, and parses it strictly.
func (p *pod) diagnosis() diagnosis.Diagnosis {
	p.t.Helper()
	out, code := p.doctor("-o", "json")
	var d diagnosis.Diagnosis
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
	name := db0
	if p.policy.NameForm == identity.AddressForm {
		name = "10-244-0-17.db.default.svc.cluster.local"
	}
	if code != want || d.Schema != 1 || d.FQDN != name || d.Healthy != (len(d.Causes) == 0) || d.Healthy != (d.Reason == "") {
		p.t.Errorf("exit %d: %s", code, out)
	}
	return d
}

// causes are the kinds, each with a ? if it is a guess.
func causes(d diagnosis.Diagnosis) string {
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

// inFront is kubeadm's Corefile with one more plugin.
func inFront(plugin string) string {
	return strings.Replace(dnstest.Kubeadm, "ready", "ready\n    "+plugin, 1)
}

func TestDoctorTellsTheCauseThatDNSShows(t *testing.T) {
	t.Parallel()
	own := dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip}
	other := dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-1", IP: "10.244.0.18"}
	const withoutArpa = ".:53 {\n kubernetes cluster.local\n forward . /etc/resolv.conf\n cache 30\n}"
	for name, test := range map[string]struct {
		conf    dnstest.CoreDNS
		publish []dnstest.Endpoint
		early   func(t *testing.T, s netip.AddrPort) // what another client asks before the publication
		ips     []string
		policy  identity.Policy
		causes  string
		verdict identity.Verdict
		why     string // of the first, in part
	}{
		"none: DNS agrees": {publish: []dnstest.Endpoint{own}},
		"none: a second Service adds a PTR": {
			publish: []dnstest.Endpoint{own, {Namespace: "default", Service: "vip", IP: ip}},
		},
		"none: a dual-stack Pod behind a single-stack Service": {publish: []dnstest.Endpoint{own}, ips: []string{ip, ip6}},
		"nobody is published": {
			causes: "not-ready-hidden? service-missing? selector-mismatch?", verdict: identity.Missing,
			why: `Service "db" has no address in DNS either`,
		},
		"only another Pod is published": {
			publish: []dnstest.Endpoint{other},
			causes:  "not-ready-hidden? selector-mismatch?", verdict: identity.Missing, why: `Service "db" publishes 10.244.0.18, but not this Pod`,
		},
		"the Pod has no hostname": {
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", IP: ip}},
			causes:  "hostname-missing", verdict: identity.Unnamed, why: "DNS publishes this Pod as 10-244-0-17.db.default.svc.cluster.local",
		},
		"the hostname is another": {
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", Hostname: "db-7", IP: ip}},
			causes:  "hostname-missing?", verdict: identity.Missing, why: `Service "db" publishes this Pod's address as "db-7", not as "db-0"`,
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
			causes: "denial-cached? family-withheld?", verdict: identity.Poisoned, why: "the denial may be cached until ",
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
			why: "knows the cluster but lets unknown names fall through",
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
			causes: "single-family?", verdict: identity.Missing, why: "says no data to AAAA",
		},
		"a rewrite without answer": {
			conf:    dnstest.CoreDNS{Corefile: strings.Replace(strings.ReplaceAll(dnstest.Kubeadm, "cluster.local", "corp.example"), "ready", "ready\n    rewrite name suffix .cluster.local .corp.example", 1)},
			publish: []dnstest.Endpoint{own}, causes: "record-renamed", verdict: identity.Missing,
			why: "has only records of db-0.db.default.svc.corp.example",
		},
		"hosts in front of kubernetes": {
			conf:    dnstest.CoreDNS{Corefile: inFront("hosts {\n        " + ip + " node-1\n        fallthrough\n    }")},
			publish: []dnstest.Endpoint{own}, causes: "reverse-overridden? reverse-zone-missing? denial-cached?", verdict: identity.ReverseForeign,
			why: "may have node-1 for this address",
		},
		"a template for the cluster domain": {
			conf:    dnstest.CoreDNS{Corefile: inFront("template ANY ANY cluster.local {\n        rcode NXDOMAIN\n    }")},
			publish: []dnstest.Endpoint{own}, causes: "zone-overridden? dns-policy?", verdict: identity.Missing,
			why: "has a PTR record from 10.96.0.1 to kubernetes.default.svc.cluster.local, but says NXDOMAIN to that name",
		},
		"a template of empty answers for the cluster domain": {
			conf:    dnstest.CoreDNS{Corefile: inFront("template ANY ANY cluster.local {\n        rcode NOERROR\n    }")},
			publish: []dnstest.Endpoint{own}, causes: "zone-overridden? not-ready-hidden? service-missing? selector-mismatch?", verdict: identity.Hidden,
			why: "has a PTR record from 10.96.0.1 to kubernetes.default.svc.cluster.local, but says no data to that name",
		},
		"endpoint_pod_names, and the dashed name is wanted": {
			conf:    dnstest.CoreDNS{Corefile: strings.Replace(dnstest.Kubeadm, "pods insecure", "pods insecure\n        endpoint_pod_names", 1)},
			publish: []dnstest.Endpoint{{Namespace: "default", Service: "db", Pod: "web-5d9f7c6b8-x2x7q", IP: ip}},
			policy:  identity.Policy{NameForm: identity.AddressForm},
			causes:  "name-form?", verdict: identity.Missing, why: `Service "db" publishes this Pod's address as "web-5d9f7c6b8-x2x7q", not as "10-244-0-17"`,
		},
		"PTR is filtered": {
			conf:    dnstest.CoreDNS{Corefile: inFront("acl {\n        filter type PTR\n    }")},
			publish: []dnstest.Endpoint{own}, causes: "reverse-filtered? reverse-zone-missing?", verdict: identity.ReverseMissing,
			why: "the API server's own address 10.96.0.1 has no PTR either, and that answer has no SOA",
		},
		"PTR is denied by a template": {
			conf:    dnstest.CoreDNS{Corefile: inFront("template ANY PTR {\n        rcode NXDOMAIN\n    }")},
			publish: []dnstest.Endpoint{own}, causes: "reverse-filtered? reverse-zone-missing?", verdict: identity.ReverseMissing,
			why: "the API server's own address 10.96.0.1 has no PTR either, and that answer has no SOA",
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
			if len(d.Causes) > 0 && !strings.Contains(d.Causes[0].Why, test.why) {
				t.Errorf("%+v", d.Causes[0])
			}
			safe(t, &trace)
			text, _ := p.doctor()
			for _, c := range d.Causes {
				// Only a denial by cluster DNS itself, of the Service too, comes with a command.
				const patch = `kubectl --namespace default patch service/db --patch '{"spec":{"publishNotReadyAddresses":true}}'`
				if command := name == "nobody is published" && c.Kind == diagnosis.NotReadyHidden; (c.Command == patch) != command || c.Command != "" != command {
					t.Errorf("%+v", c)
				}
				// Times and ports differ from one run to the next.
				if !strings.Contains(text, string(c.Kind)) {
					t.Errorf("no %s in\n%s", c.Kind, text)
				}
			}
			if (d.Healthy && !strings.HasPrefix(text, "healthy: DNS agrees on "+db0+"\n")) || (!d.Healthy && !strings.HasPrefix(text, "not healthy: ")) {
				t.Errorf("%s", text)
			}
		})
	}
}

func TestDoctorAsksEveryNameserverItself(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) netip.AddrPort { return serve(t, dnstest.CoreDNS{Cluster: cluster(ip)}).Addr() }
	for name, test := range map[string]struct {
		second func(t *testing.T) netip.AddrPort
		causes string
		says   string
	}{
		"is as good": {good, "", "no data"},
		"is silent": {func(t *testing.T) netip.AddrPort {
			return faulty(t, serve(t, dnstest.CoreDNS{Cluster: cluster(ip)}), func(string, int, []byte) [][]byte { return nil })
		}, "dns-silent?", "nothing within 2s"},
		"is down": {closed, "dns-silent?", "nothing (connection refused)"},
		"refuses": {func(t *testing.T) netip.AddrPort {
			return serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Front: refusing(func(uint16) bool { return true })}).Addr()
		}, "dns-fails? dns-policy?", "REFUSED"},
		"does not know the cluster": {func(t *testing.T) netip.AddrPort {
			return serve(t, dnstest.CoreDNS{Cluster: cluster(), Corefile: ".:53 {\n forward . /etc/resolv.conf\n}"}).Addr()
		}, "dns-policy", "NXDOMAIN"},
		"lags": {func(t *testing.T) netip.AddrPort { return serve(t, dnstest.CoreDNS{Cluster: cluster()}).Addr() },
			"not-ready-hidden? service-missing? selector-mismatch?", "NXDOMAIN"},
	} {
		for _, order := range []string{"first", "second"} {
			t.Run("the "+order+" "+name, func(t *testing.T) {
				t.Parallel()
				servers := []netip.AddrPort{good(t), test.second(t)}
				odd := servers[1]
				if order == "first" {
					servers[0], servers[1] = servers[1], servers[0]
				}
				p := newPod(t, servers...)
				start := time.Now()
				d := p.diagnosis()
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if got := causes(d); got != test.causes {
					t.Errorf("causes %s, not %s: %+v", got, test.causes, d)
				}
				if len(d.Causes) > 0 && !strings.Contains(d.Reason, odd.String()) {
					t.Errorf("%q is not about %s", d.Reason, odd)
				}
				// Each is asked, in the order of the Pod, and all of one stands together.
				var order []string
				odds := 0
				for _, q := range d.Questions {
					if len(order) == 0 || order[len(order)-1] != q.Server {
						order = append(order, q.Server)
					}
					if q.Server == odd.String() && q.Kind == "existence" && !q.Witness {
						odds++
						if q.Answer != test.says {
							t.Errorf("%s says %q, not %q", odd, q.Answer, test.says)
						}
					}
				}
				if want := []string{servers[0].String(), servers[1].String()}; !slices.Equal(order, want) || odds == 0 {
					t.Errorf("asked %q, not %q", order, want)
				}
				if once := test.causes == "dns-silent?"; once && odds != 1 {
					t.Errorf("a silent server was asked %d times", odds)
				}
			})
		}
	}
}

func TestDoctorShowsReplicasThatDisagree(t *testing.T) {
	t.Parallel()
	const named = ".:53 {\n nsid NAME\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n  ttl 30\n }\n forward . /etc/resolv.conf\n}"
	knows := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Corefile: strings.Replace(named, "NAME", "coredns-a", 1)})
	lags := serve(t, dnstest.CoreDNS{Cluster: cluster(), Corefile: strings.Replace(named, "NAME", "coredns-b", 1)})
	var mu sync.Mutex
	clients := map[string]int{}
	// As kube-proxy does: each new socket goes to the next replica.
	service := fake(t, knows, func(w dns.ResponseWriter, q *dns.Msg) bool {
		mu.Lock()
		n, ok := clients[w.RemoteAddr().String()]
		if !ok {
			n = len(clients)
			clients[w.RemoteAddr().String()] = n
		}
		mu.Unlock()
		if n%2 == 0 {
			return false
		}
		if reply, err := dns.Exchange(q, lags.Addr().String()); err == nil {
			w.WriteMsg(reply)
		}
		return true
	})
	p := newPod(t, service)
	d := p.diagnosis()
	if got := causes(d); !strings.HasPrefix(got, "replicas-disagree? ") || !strings.Contains(d.Causes[0].Why, "no data to one socket and NXDOMAIN to another") {
		t.Errorf("causes %s: %+v", got, d.Causes)
	}
	seen := map[string]bool{}
	for _, q := range d.Questions {
		seen[q.NSID] = true
	}
	if !seen["coredns-a"] || !seen["coredns-b"] || seen[""] {
		t.Errorf("replicas %v", seen)
	}
	text, _ := p.doctor()
	for _, replica := range []string{"by coredns-a", "by coredns-b"} {
		if !strings.Contains(text, replica) {
			t.Errorf("nothing is %s:\n%s", replica, text)
		}
	}
}

func TestDoctorEscapesWhatForeignServersSay(t *testing.T) {
	t.Parallel()
	s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Corefile: ".:53 {\n kubernetes cluster.local\n forward . /etc/resolv.conf\n}",
		Upstream: dnstest.Upstream(arpa + ` 30 PTR \027[31mred\010\200.example.`)})
	p := newPod(t, s.Addr())
	d := p.diagnosis()
	const want = `\027[31mred\010\200.example`
	if !strings.Contains(d.Reason, want) {
		t.Errorf("%q", d.Reason)
	}
	if text, _ := p.doctor(); !strings.Contains(text, want) { // and doctor sees that all is printable
		t.Errorf("%s", text)
	}
}

// The doctor runs where init waits: it must neither spoil what init and the application will be told, nor touch what
// init will publish.
func TestInitDoesNotNoticeTheDoctor(t *testing.T) {
	t.Parallel()
	var trace dnstest.Trace
	c := cluster()
	s := serve(t, dnstest.CoreDNS{Cluster: c, Corefile: dnstest.Cached, Trace: &trace})
	p := newPod(t, s.Addr())
	cmd := p.command()
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(logs)
	for scanner.Scan() && !strings.Contains(scanner.Text(), "not yet") {
	}
	done := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, logs)
		done <- errors.Join(err, cmd.Wait())
	}()
	before := listing(t, p.dir())
	for range 3 {
		if d := p.diagnosis(); causes(d) != "not-ready-hidden? service-missing? selector-mismatch?" {
			t.Errorf("%+v", d)
		}
	}
	if after := listing(t, p.dir()); after != before {
		t.Errorf("the volume held\n%sand holds\n%s", before, after)
	}
	for ask(t, s.Addr(), db0, dns.TypeSRV).Ns[0].Header().Ttl > 29 {
		// until the denials that the doctor met count down
	}
	publish(c, ip)
	published := time.Now()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// A denial that the doctor had left would live for 30 s.
	if took := time.Since(published); took > 10*time.Second {
		t.Errorf("init ended %v after the record was there", took)
	}
	safe(t, &trace)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if m := ask(t, s.Addr(), db0, qtype); m.Rcode != dns.RcodeSuccess {
			t.Errorf("the application is told %s to %s", dns.RcodeToString[m.Rcode], dns.Type(qtype))
		}
	}
	d := p.diagnosis()
	if last := d.Facts[len(d.Facts)-1]; !d.Healthy || last.Name != "volume" || last.Value != "published and verified" {
		t.Errorf("%+v", d)
	}
}

// listing is what stands in a directory, to the nanosecond.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime(), info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDoctorEndsWithASignal(t *testing.T) {
	t.Parallel()
	asked := make(chan bool, 100)
	addr := faulty(t, serve(t, dnstest.CoreDNS{Cluster: cluster(ip)}), func(string, int, []byte) [][]byte {
		asked <- true
		return nil
	})
	p := newPod(t, addr)
	p.lay()
	cmd := exec.Command(binary, "doctor")
	cmd.Env = p.environ()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	start := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 || out.Len() > 0 || stderr.String() != "podfqdn: ended by SIGTERM\n" {
		t.Errorf("exit %d: %s%s", code, out.String(), stderr.String())
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// What init says after a few seconds is as good as what the doctor says, and asks nothing else before.
func TestInitAsksTheWitnessesOnceAWaitHasLasted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		corefile string
		publish  []dnstest.Endpoint
		want     string
		asked    string
	}{
		"another domain": {strings.ReplaceAll(dnstest.Kubeadm, "cluster.local", "corp.example"), nil,
			`; the cluster domain is "cluster.local" (from /etc/hosts), but that of SERVER is "corp.example": make the kubelet's clusterDomain and the zone in the Corefile the same; for this Pod alone set PODFQDN_CLUSTER_DOMAIN=corp.example`,
			"A kubernetes.default.svc.cluster.local. PTR 1.0.96.10.in-addr.arpa."},
		"no Service": {dnstest.Kubeadm, nil,
			`says NXDOMAIN; Service "db" has no address in DNS either: check that a headless Service "db" in namespace "default" selects this Pod and has publishNotReadyAddresses: true`,
			"A kubernetes.default.svc.cluster.local. PROBE db.default.svc.cluster.local."},
		"other Pods": {dnstest.Kubeadm, []dnstest.Endpoint{{Namespace: "default", Service: "db", Hostname: "db-1", IP: "10.244.0.18"}},
			`says NXDOMAIN; Service "db" publishes 10.244.0.18, but not this Pod: check that a headless Service`,
			"A kubernetes.default.svc.cluster.local. PROBE db.default.svc.cluster.local. SIBLING *.default.svc.cluster.local. A db.default.svc.cluster.local."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trace dnstest.Trace
			c := cluster()
			c.Publish(test.publish...)
			s := serve(t, dnstest.CoreDNS{Cluster: c, Corefile: test.corefile, Trace: &trace})
			p := newPod(t, s.Addr())
			p.timeout = 5 * time.Second
			trace.Reset()
			e := p.init()
			e.stopped(t, strings.ReplaceAll(test.want, "SERVER", s.Addr().String())) // which sees the termination message too
			if !strings.Contains(e.log, `"hint"`) || e.took < p.timeout {
				t.Errorf("after %v: %s", e.took, e.log)
			}
			var witnesses []string
			for _, q := range trace.Queries() {
				if strings.HasPrefix(q.Name, "db-0.") || strings.HasPrefix(q.Name, "10-244-0-17.") {
					continue
				}
				if witnesses = append(witnesses, kind(q)+" "+q.Name); kind(q) == "SIBLING" {
					_, parent, _ := strings.Cut(q.Name, ".")
					witnesses[len(witnesses)-1] = "SIBLING *." + parent
				}
				if q.At < 3*time.Second {
					t.Errorf("after %v a witness is asked: %v", q.At, q)
				}
			}
			if got := strings.Join(witnesses, " "); got != test.asked {
				t.Errorf("witnesses %s, not %s", got, test.asked)
			}
			safe(t, &trace)
		})
	}
}

// The document shows what the doctor shows: of a Pod whose Service publishes only what is ready.
func TestTheDocumentShowsWhatTheDoctorShows(t *testing.T) {
	t.Parallel()
	c := cluster()
	c.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-1", IP: "10.244.0.18"})
	s := serve(t, dnstest.CoreDNS{Cluster: c})
	p := newPod(t, s.Addr())
	got, code := p.doctor()
	if code != 11 {
		t.Errorf("exit %d", code)
	}
	got = strings.NewReplacer(s.Addr().String(), "10.96.0.10", "(PODFQDN_NAMESERVERS)", "(/etc/resolv.conf)", p.dir(), "/identity").Replace(got)
	got = regexp.MustCompile(`[ \d]{4}\.\d ms`).ReplaceAllString(got, "   0.4 ms")
	// An onlooker asks by another type each time.
	types := regexp.MustCompile(`(?m)^(  (existence|witness) +)(SPF|DHCID|IPSECKEY|CSYNC|[A-Z]+[0-9]*) +`)
	got = types.ReplaceAllStringFunc(got, func(row string) string {
		m := types.FindStringSubmatch(row)
		if m[3] == "A" {
			return m[1] + "A    "
		}
		return m[1] + "SPF  "
	})
	document, err := os.ReadFile("../../docs/when-it-hangs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(document), "<!-- what podfqdn doctor shows -->\n```\n")
	want, _, _ := strings.Cut(rest, "```\n")
	if !ok || "$ kubectl exec -c podfqdn db-0 -- /podfqdn doctor\n"+got != want {
		t.Errorf("docs/when-it-hangs.md shows\n%s\nthe doctor shows\n%s", want, got)
	}
}

// Peers are told of before the name is published, and not after it: they are for the start.
func TestDoctorTellsWhichPeersAreMissing(t *testing.T) {
	t.Parallel()
	peer := func(n int, ip string) dnstest.Endpoint {
		return dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: fmt.Sprintf("db-%d", n), IP: ip}
	}
	far := dnstest.Endpoint{Namespace: "default", Service: "journal", Hostname: "jn-0", IP: "10.244.0.30"}
	for name, test := range map[string]struct {
		peers, wait string
		publish     []dnstest.Endpoint
		causes      string
		why         string // of the last, in part
	}{
		"all are there":                 {"3", "all", []dnstest.Endpoint{peer(1, "10.244.0.18"), peer(2, "10.244.0.19")}, "", ""},
		"enough are there":              {"3", "majority", []dnstest.Endpoint{peer(2, "10.244.0.19")}, "", ""},
		"all that are missing are next": {"3", "majority", nil, "peers-deadlock? peers-missing", "1 of 2 needed members are in DNS; missing: db-1 and db-2 of db.default.svc.cluster.local (db-1: "},
		"nobody is before the first":    {"3", "lower", nil, "", ""},
		"another Service's":             {"db-0,jn-{0..1}.journal", "all", []dnstest.Endpoint{far}, "peers-missing", "2 of 3 needed members are in DNS; missing: jn-1.journal.default.svc.cluster.local ("},
		"another Service's too":         {"db-{0..1},jn-{0..1}.journal", "all", []dnstest.Endpoint{far}, "peers-missing", "missing: db-1.db.default.svc.cluster.local and jn-1.journal.default.svc.cluster.local (db-1.db.default.svc.cluster.local: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trace dnstest.Trace
			c := cluster(ip)
			c.Service("default", "journal")
			c.Publish(test.publish...)
			s := serve(t, dnstest.CoreDNS{Cluster: c, Trace: &trace})
			p := newPod(t, s.Addr())
			p.more = []string{"PODFQDN_PEERS=" + test.peers, "PODFQDN_PEERS_WAIT=" + test.wait}
			d := p.diagnosis()
			want := identity.Verdict("")
			if test.causes != "" {
				want = identity.Peerless
			}
			if causes(d) != test.causes || d.Verdict != want || !strings.Contains(d.Reason, test.why) {
				t.Errorf("%s, %s: %s", causes(d), d.Verdict, d.Reason)
			}
			safe(t, &trace)
			if test.causes == "" {
				return
			}
			late := []dnstest.Endpoint{peer(1, "10.244.0.18"), peer(2, "10.244.0.19"), {Namespace: "default", Service: "journal", Hostname: "jn-1", IP: "10.244.0.31"}}
			c.Publish(late...)
			p.init().published(t)
			c.Withdraw(late...)
			trace.Reset()
			if d := p.diagnosis(); !d.Healthy {
				t.Errorf("once the name is published: %+v", d)
			}
			for _, q := range trace.Queries() {
				if strings.HasPrefix(q.Name, "db-1.") || strings.HasPrefix(q.Name, "jn-") {
					t.Errorf("once the name is published, a peer is asked for: %v", q)
				}
			}
		})
	}
}
