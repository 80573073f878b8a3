//go:build faults

package faults

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity/podtest"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// published is a cluster that publishes these endpoints of Service db.
func published(endpoints ...dnstest.Endpoint) *dnstest.Cluster {
	cluster := new(dnstest.Cluster)
	cluster.Service("default", "kubernetes", "10.96.0.1")
	cluster.Service("default", "db")
	cluster.Publish(endpoints...)
	return cluster
}

// ours is db-0 with its address, or another one.
func ours(at ...string) dnstest.Endpoint {
	return dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: append(at, ip)[0]}
}

// says has a server say something of its own to questions of a type: an answer, or an rcode.
func says(b *breaker, faults ...string) {
	for _, text := range faults {
		w, err := parseWire(text)
		if err != nil {
			panic(err)
		}
		b.faults = append(b.faults, w.faults...)
	}
}

// A case is a cluster and what its DNS is like, and how the run ends.
func TestMeaning(t *testing.T) {
	t.Parallel()
	second := dnstest.Endpoint{Namespace: "default", Service: "db-vip", Hostname: "db-0", IP: ip}
	type world struct {
		*pod
		cluster *dnstest.Cluster
		b       *breaker
	}
	for name, c := range map[string]struct {
		dns     func(world) // before the run
		later   func(world) // while it runs, after half a second
		code    int
		says    string
		timeout time.Duration
		without bool // the Pod is published only later
		dual    bool
		once    bool // it is the same all the time, and told once
	}{
		"published":                  {},
		"not published":              {without: true, code: 11, says: "says NXDOMAIN"},
		"published while it waits":   {without: true, later: func(w world) { w.cluster.Publish(ours()) }, timeout: 20 * time.Second},
		"withdrawn and back":         {dns: func(w world) { w.cluster.Withdraw(ours()) }, later: func(w world) { w.cluster.Publish(ours()) }, timeout: 20 * time.Second},
		"the predecessor's address":  {without: true, dns: func(w world) { w.cluster.Publish(ours(foreign)) }, code: 11, says: "says 10.244.9.9; this Pod is 10.244.0.17"},
		"the predecessor goes":       {dns: func(w world) { w.cluster.Publish(ours(foreign)) }, later: func(w world) { w.cluster.Withdraw(ours(foreign)) }, timeout: 40 * time.Second},
		"another Pod holds the name": {dns: func(w world) { w.cluster.Publish(ours(foreign)) }, code: 12, says: "another Pod holds this name: 10.244.9.9"},
		"another Pod holds it, and may": {dns: func(w world) {
			w.cluster.Publish(ours(foreign))
			w.environ = append(w.environ, "PODFQDN_FORWARD=contains")
			w.truth.others = true
		}},
		"a second Service": {dns: func(w world) { w.cluster.Service("default", "db-vip"); w.cluster.Publish(second) }},
		"a second Service that may not be": {dns: func(w world) {
			w.cluster.Service("default", "db-vip")
			w.cluster.Publish(second)
			w.environ = append(w.environ, "PODFQDN_REVERSE=only")
			w.truth.only = true
		}, code: 11, says: "only db-0.db.default.svc.cluster.local is allowed"},
		"CoreDNS has not synced":     {without: true, dns: func(w world) { w.cluster.Sync(false) }, code: 11, says: "says SERVFAIL"},
		"CoreDNS has not synced yet": {without: true, dns: func(w world) { w.cluster.Sync(false) }, later: func(w world) { w.cluster.Publish(ours()); w.cluster.Sync(true) }, timeout: 20 * time.Second},
		"no PTR":                     {dns: func(w world) { says(w.b, "fault PTR any always: nxdomain in-addr.arpa.") }, code: 11, says: "says NXDOMAIN to PTR"},
		"no PTR, which is ignored": {dns: func(w world) {
			says(w.b, "fault PTR any always: nxdomain in-addr.arpa.")
			w.environ = append(w.environ, "PODFQDN_REVERSE=ignore")
			w.truth.noPTR = true
		}},
		"a hundred PTRs and ours":          {dns: func(w world) { says(w.b, "fault PTR any always: says "+many(100)+db0+".; rotate") }},
		"ours between two, and then not":   {dns: func(w world) { says(w.b, "fault PTR any always: says x.example.,"+db0+".,y.example.; rotate") }},
		"a hundred PTRs without ours":      {dns: func(w world) { says(w.b, "fault PTR any always: says "+many(100)+"x.example.; rotate") }, code: 11, says: "and 96 more, not db-0", once: true},
		"PTR in capitals":                  {dns: func(w world) { says(w.b, "fault PTR any always: says DB-0.db.DEFAULT.svc.Cluster.Local.") }},
		"PTR by a CNAME":                   {dns: func(w world) { says(w.b, "fault PTR any always: cname good") }},
		"our address and a translated one": {dns: func(w world) { w.cluster.Publish(ours("64:ff9b::af4:11")) }},
		"an IPv6 address of another Pod":   {dns: func(w world) { w.cluster.Publish(ours("fd00::99")) }, code: 12, says: "fd00::99"},
		"one family late": {dual: true, dns: func(w world) {
			w.environ = append(w.environ, "PODFQDN_FAMILIES=all")
			w.ips += ip6 + "\n"
		}, later: func(w world) { w.cluster.Publish(ours(ip6)) }, timeout: 20 * time.Second},
		"one family never, and none is asked": {dual: true},
		"one family never, and all are":       {dual: true, dns: func(w world) { w.environ = append(w.environ, "PODFQDN_FAMILIES=all") }, code: 11, says: "says no data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "DNS meaning")
			w := world{p, published(), &breaker{pod: p, count: map[string]int{}}}
			if !c.without {
				w.cluster.Publish(ours())
			}
			if c.dual {
				p.write("etc/hosts", podtest.Hosts(db0+"\tdb-0", ip, ip6))
			}
			if c.dns != nil {
				c.dns(w)
			}
			p.serve(dnstest.CoreDNS{Cluster: w.cluster, Front: w.b.plugin})
			p.timeout = max(c.timeout, 2*time.Second)
			if c.later != nil {
				go func() {
					time.Sleep(500 * time.Millisecond)
					c.later(w)
				}()
			}
			e := p.init()
			if e.code != c.code || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, c.code, c.says, e.log)
			}
			if told := strings.Count(e.log, `"msg":"not yet"`); c.once && told != 1 {
				t.Errorf("what is the same in another order is told %d times\n%s", told, e.log)
			}
			w.b.heal()
			w.cluster.Sync(true)
			w.cluster.Withdraw(ours(foreign), ours("fd00::99"), ours(ip6), second)
			w.cluster.Publish(ours())
			p.environ, p.ips = nil, ip+"\n"
			p.truth.noPTR, p.truth.only, p.truth.others = false, false, false
			p.files()
			p.recovers()
		})
	}
}

func many(n int) (names string) {
	for i := range n {
		names += fmt.Sprintf("x%d.example.,", i)
	}
	return names
}

// A nameserver that does not know the cluster comes first in resolv.conf.
func TestAForeignNameserverFirst(t *testing.T) {
	t.Parallel()
	p := newPod(t, "DNS meaning")
	p.timeout = 20 * time.Second
	stranger := dnstest.CoreDNS{Cluster: new(dnstest.Cluster), Corefile: ".:53 {\n forward . /etc/resolv.conf\n}\n"}
	p.serve(stranger)
	b := &breaker{pod: p, count: map[string]int{}}
	p.serve(dnstest.CoreDNS{Cluster: published(ours()), Front: b.plugin})
	p.timeout = 2 * time.Second
	if e := p.init(); e.code != 11 || !strings.Contains(e.reason, "from zone") {
		t.Errorf("ended with %d, %q", e.code, e.reason)
	}
	p.servers = p.servers[1:]
	p.recovers()
}

// A silent nameserver comes first: the next one is asked.
func TestASilentNameserverFirst(t *testing.T) {
	t.Parallel()
	p := newPod(t, "DNS meaning")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.servers = append(p.servers, silent.LocalAddr().(*net.UDPAddr).AddrPort())
	b := &breaker{pod: p, count: map[string]int{}}
	p.serve(dnstest.CoreDNS{Cluster: published(ours()), Front: b.plugin})
	p.recovers()
}

// unbound starts Debian's, which asks a server about the cluster's zones.
func unbound(t *testing.T, server netip.AddrPort, more string, zone func(name string) string) netip.AddrPort {
	t.Helper()
	program, err := exec.LookPath("unbound")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/unbound"); err != nil {
			t.Fatal("unbound is missing: apt-get install -y --no-install-recommends unbound")
		}
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	text := fmt.Sprintf(`server:
 interface: 127.0.0.1@%d
 do-not-query-localhost: no
 username: ""
 chroot: ""
 directory: ""
 pidfile: ""
 use-syslog: no
 do-daemonize: no
 module-config: "iterator"
 local-zone: "10.in-addr.arpa." nodefault
%s
`, addr.Port(), more)
	for _, name := range []string{"cluster.local", "in-addr.arpa"} {
		text += zone(name)
	}
	conf := filepath.Join(t.TempDir(), "unbound.conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-d", "-c", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // to the kernel the parent is a thread
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-ended
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := query(addr, "kubernetes.default.svc.cluster.local.", dns.TypeA); err == nil {
			return addr
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// query asks one plain question.
func query(server netip.AddrPort, name string, qtype uint16) (*dns.Msg, error) {
	m, _, err := (&dns.Client{Timeout: time.Second}).Exchange(new(dns.Msg).SetQuestion(name, qtype), server.String())
	if err == nil && m.Rcode == dns.RcodeServerFailure {
		err = errors.New("SERVFAIL")
	}
	return m, err
}

// A question of another type is what podfqdn asks first: it must not plant a denial where applications ask.
func TestUnbound(t *testing.T) {
	t.Parallel()
	forward := func(server netip.AddrPort) func(string) string {
		return func(name string) string {
			return fmt.Sprintf("forward-zone:\n name: %q\n forward-addr: %s@%d\n", name, server.Addr(), server.Port())
		}
	}
	stub := func(server netip.AddrPort) func(string) string {
		return func(name string) string {
			return fmt.Sprintf("stub-zone:\n name: %q\n stub-addr: %s@%d\n", name, server.Addr(), server.Port())
		}
	}
	for name, c := range map[string]struct {
		zone func(netip.AddrPort) func(string) string
		more string
	}{
		"forward-zone":                          {forward, ""},
		"stub-zone":                             {stub, ""},
		"stub-zone, qname-minimisation":         {stub, " qname-minimisation: yes"},
		"stub-zone, no qname-minimisation":      {stub, " qname-minimisation: no"},
		"forward-zone, serve-expired, prefetch": {forward, " serve-expired: yes\n prefetch: yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "DNS meaning")
			b := &breaker{pod: p, count: map[string]int{}}
			cluster := published()
			p.serve(dnstest.CoreDNS{Cluster: cluster, Front: b.plugin})
			addr := unbound(t, p.servers[0], c.more, c.zone(p.servers[0]))

			// By hand: a denial of TXT, then the record, then A.
			const early = "db-1.db.default.svc.cluster.local."
			if m, err := query(addr, early, dns.TypeTXT); err != nil || m.Rcode != dns.RcodeNameError {
				t.Fatalf("%v, %v", m, err)
			}
			cluster.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", Hostname: "db-1", IP: "10.244.0.18"})
			m, err := query(addr, early, dns.TypeA)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Answer) == 0 {
				t.Errorf("a denied TXT plants a denial of A: %s", m)
			}

			// And podfqdn, which waits from before the record.
			p.servers, p.timeout, p.cached = []netip.AddrPort{addr}, 30*time.Second, true
			go func() {
				time.Sleep(700 * time.Millisecond)
				cluster.Publish(ours())
			}()
			e := p.init()
			if e.code != 0 {
				t.Errorf("ended with %d: %s\n%s", e.code, e.reason, e.log)
			}
			if m, err := query(addr, db0+".", dns.TypeA); err != nil || len(m.Answer) != 1 {
				t.Errorf("the application's first A: %v, %v", m, err)
			}
			p.recovers()
		})
	}
}
