package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

const (
	db0   = "db-0.db.default.svc.cluster.local."
	db0IP = "10.244.0.27"
	db0v6 = "fd00:10:244::1b"
)

// cluster is a StatefulSet Pod behind its headless Service, a Pod without a hostname behind another, and the API
// server's own Service.
func cluster() *Cluster {
	c := new(Cluster)
	c.Service("default", "kubernetes", "10.96.0.1")
	c.Service("default", "db")
	c.Service("default", "web")
	c.Publish(
		Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP},
		Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0v6},
		Endpoint{Namespace: "default", Service: "web", IP: "10.244.0.30"},
		Endpoint{Namespace: "default", Service: "web", IP: "fd00::1"},
	)
	return c
}

func serve(t *testing.T, c CoreDNS, address string) *Server {
	t.Helper()
	s, err := c.Serve(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func replica(t *testing.T, c CoreDNS) *Replica {
	t.Helper()
	r, err := c.Replica()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exchange(dial Dialer, network, server string, m *dns.Msg) (*dns.Msg, error) {
	return exchangeWithin(5*time.Second, dial, network, server, m)
}

// exchangeWithin asks one question on a new connection.
func exchangeWithin(d time.Duration, dial Dialer, network, server string, m *dns.Msg) (*dns.Msg, error) {
	conn, err := dial(context.Background(), network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(d))
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	return c.ReadMsg()
}

func ask(t *testing.T, dial Dialer, server, name string, typ uint16) *dns.Msg {
	t.Helper()
	m, err := exchange(dial, "udp", server, new(dns.Msg).SetQuestion(name, typ))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// says writes a reply as the tests compare it: the rcode, then the answers, or of a denial the negative TTL.
func says(m *dns.Msg) string {
	said := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		said = append(said, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			said = append(said, fmt.Sprintf("%s %d %d", soa.Hdr.Name, soa.Hdr.Ttl, soa.Minttl))
		}
	}
	return strings.Join(said, " ")
}

// everyWay runs a test against loopback in both families and in memory.
func everyWay(t *testing.T, c CoreDNS, test func(t *testing.T, dial Dialer, server string)) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			test(t, new(net.Dialer).DialContext, serve(t, c, address).Addr().String())
		})
	}
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, replica(t, c).Dial, "10.96.0.10:53") })
	})
}

func TestAnswersAsClusterDNSDoes(t *testing.T) {
	reverse := func(ip string) string {
		name, err := dns.ReverseAddr(ip)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	everyWay(t, CoreDNS{Cluster: cluster()}, func(t *testing.T, dial Dialer, server string) {
		for _, q := range []struct {
			name string
			typ  uint16
			want string
		}{
			{db0, dns.TypeA, "NOERROR " + db0IP},
			{db0, dns.TypeAAAA, "NOERROR " + db0v6},
			{"DB-0.db.Default.svc.cluster.local.", dns.TypeA, "NOERROR " + db0IP},
			{reverse(db0IP), dns.TypePTR, "NOERROR " + db0},
			{reverse(db0v6), dns.TypePTR, "NOERROR " + db0},

			{"10-244-0-30.web.default.svc.cluster.local.", dns.TypeA, "NOERROR 10.244.0.30"},
			{"fd00--1.web.default.svc.cluster.local.", dns.TypeAAAA, "NOERROR fd00::1"},
			{reverse("10.244.0.30"), dns.TypePTR, "NOERROR 10-244-0-30.web.default.svc.cluster.local."},

			{"1-2-3-4.default.pod.cluster.local.", dns.TypeA, "NOERROR 1.2.3.4"},

			{"kubernetes.default.svc.cluster.local.", dns.TypeA, "NOERROR 10.96.0.1"},
			{reverse("10.96.0.1"), dns.TypePTR, "NOERROR kubernetes.default.svc.cluster.local."},

			// A name that is there has no data of another type; one that is not is denied for every type.
			{db0, dns.TypeTXT, "NOERROR cluster.local. 30 30"},
			{db0, dns.TypeMX, "NOERROR cluster.local. 30 30"},
			{db0, dns.TypeHTTPS, "NOERROR cluster.local. 30 30"},
			{db0, dns.TypeLOC, "NOERROR cluster.local. 30 30"},
			{"db-1.db.default.svc.cluster.local.", dns.TypeA, "NXDOMAIN cluster.local. 30 30"},
			{"db-1.db.default.svc.cluster.local.", dns.TypeTXT, "NXDOMAIN cluster.local. 30 30"},
			{"db-1.db.default.svc.cluster.local.", dns.TypeMX, "NXDOMAIN cluster.local. 30 30"},
			{"db-1.db.default.svc.cluster.local.", dns.TypeHTTPS, "NXDOMAIN cluster.local. 30 30"},
			{"db-1.db.default.svc.cluster.local.", dns.TypeLOC, "NXDOMAIN cluster.local. 30 30"},
			{"db-0.db.nowhere.svc.cluster.local.", dns.TypeA, "NXDOMAIN cluster.local. 30 30"},

			// What the plugin does not know falls through only in the reverse zones. The cache shortens the TTL.
			{reverse("10.244.0.99"), dns.TypePTR, "NXDOMAIN 10.in-addr.arpa. 30 10800"},
			{reverse("fd00::99"), dns.TypePTR, "NXDOMAIN d.f.ip6.arpa. 30 10800"},
			{"example.org.", dns.TypeA, "NXDOMAIN . 30 10800"},
		} {
			if got := says(ask(t, dial, server, q.name, q.typ)); got != q.want {
				t.Errorf("%s %s: got %q, want %q", dns.Type(q.typ), q.name, got, q.want)
			}
		}
	})
}

func TestTwoServicesGiveTwoPTRsInOrderOfPublication(t *testing.T) {
	a := Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP}
	b := Endpoint{Namespace: "default", Service: "vip", IP: db0IP}
	const vip = "10-244-0-27.vip.default.svc.cluster.local."
	for _, order := range []struct {
		publish []Endpoint
		want    string
	}{
		{[]Endpoint{a, b}, "NOERROR " + db0 + " " + vip},
		{[]Endpoint{b, a}, "NOERROR " + vip + " " + db0},
		{[]Endpoint{a, b, a}, "NOERROR " + vip + " " + db0},
	} {
		c := new(Cluster)
		c.Service("default", "db")
		c.Service("default", "vip", "10.96.0.9")
		c.Publish(order.publish...)
		everyWay(t, CoreDNS{Cluster: c}, func(t *testing.T, dial Dialer, server string) {
			for range 5 {
				if got := says(ask(t, dial, server, "27.0.244.10.in-addr.arpa.", dns.TypePTR)); got != order.want {
					t.Errorf("got %q, want %q", got, order.want)
				}
			}
		})
	}
}

func TestChangesShowInTheNextAnswer(t *testing.T) {
	c := cluster()
	everyWay(t, CoreDNS{Cluster: c}, func(t *testing.T, dial Dialer, server string) {
		e := Endpoint{Namespace: "default", Service: "db", Hostname: "db-9", IP: "10.244.0.9"}
		const name = "db-9.db.default.svc.cluster.local."
		for range 3 {
			if got := says(ask(t, dial, server, name, dns.TypeA)); got != "NXDOMAIN cluster.local. 30 30" {
				t.Errorf("before: %q", got)
			}
			c.Publish(e)
			if got := says(ask(t, dial, server, name, dns.TypeA)); got != "NOERROR 10.244.0.9" {
				t.Errorf("published: %q", got)
			}
			c.Withdraw(e)
		}
		c.Delete("default", "web")
		if got := says(ask(t, dial, server, "10-244-0-30.web.default.svc.cluster.local.", dns.TypeA)); !strings.HasPrefix(got, "NXDOMAIN") {
			t.Errorf("without the Service: %q", got)
		}
		c.Service("default", "web")
	})
}

func TestUnsyncedIsServerFailureOnlyWhereNothingFallsThrough(t *testing.T) {
	c := cluster()
	c.Sync(false)
	everyWay(t, CoreDNS{Cluster: c}, func(t *testing.T, dial Dialer, server string) {
		c.Sync(false)
		for name, want := range map[string]string{
			db0:                                  "NOERROR",
			"db-1.db.default.svc.cluster.local.": "SERVFAIL",
			"99.0.244.10.in-addr.arpa.":          "NXDOMAIN",
		} {
			if got := ask(t, dial, server, name, dns.TypeA).Rcode; dns.RcodeToString[got] != want {
				t.Errorf("%s: got %s, want %s", name, dns.RcodeToString[got], want)
			}
		}
		c.Sync(true)
		if got := ask(t, dial, server, "db-2.db.default.svc.cluster.local.", dns.TypeA).Rcode; got != dns.RcodeNameError {
			t.Errorf("after sync: %s", dns.RcodeToString[got])
		}
	})
}

func TestAnEarlyQuestionPoisonsItsCacheKeyForThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Cluster)
		c.Service("default", "db")
		r := replica(t, CoreDNS{Cluster: c, Corefile: Cached})
		see := func(typ uint16, do, cd bool, want string) {
			t.Helper()
			q := new(dns.Msg).SetQuestion(db0, typ)
			q.CheckingDisabled = cd
			if do {
				q.SetEdns0(1232, true)
			}
			m, err := exchange(r.Dial, "udp", "10.96.0.10:53", q)
			if err != nil {
				t.Fatal(err)
			}
			if got := says(m); got != want {
				t.Errorf("%s: got %s, want %s", dns.Type(typ), got, want)
			}
		}
		see(dns.TypeA, false, false, "NXDOMAIN cluster.local. 30 30")
		c.Publish(Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP})
		see(dns.TypeA, false, false, "NXDOMAIN cluster.local. 30 30")
		see(dns.TypeA, true, false, "NOERROR "+db0IP)
		see(dns.TypeA, false, true, "NOERROR "+db0IP)
		see(dns.TypeAAAA, false, false, "NOERROR cluster.local. 30 30")
		see(dns.TypeTXT, false, false, "NOERROR cluster.local. 30 30")
		time.Sleep(29 * time.Second)
		see(dns.TypeA, false, false, "NXDOMAIN cluster.local. 1 30")
		time.Sleep(time.Second + time.Millisecond)
		see(dns.TypeA, false, false, "NOERROR "+db0IP)
	})
}

func TestAnEarlyPTRIsCachedEvenByTheKubeadmDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var outside Trace
		c := new(Cluster)
		c.Service("default", "db")
		r := replica(t, CoreDNS{Cluster: c, Upstream: outside.Wrap("upstream", Upstream())})
		const name = "27.0.244.10.in-addr.arpa."
		see := func(want string) {
			t.Helper()
			if got := dns.RcodeToString[ask(t, r.Dial, "10.96.0.10:53", name, dns.TypePTR).Rcode]; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		see("NXDOMAIN")
		c.Publish(Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP})
		time.Sleep(29 * time.Second)
		see("NXDOMAIN")
		time.Sleep(time.Second + time.Millisecond)
		see("NOERROR")
		if n := len(outside.Queries()); n != 1 {
			t.Errorf("%d questions left the cluster, want 1", n)
		}
	})
}

func TestManyAddressesAreTruncatedOverUDPAndWholeOverTCP(t *testing.T) {
	c := new(Cluster)
	c.Service("default", "db")
	const many = 200
	for i := range many {
		c.Publish(Endpoint{Namespace: "default", Service: "db", Hostname: "db", IP: fmt.Sprintf("10.244.1.%d", i)})
	}
	everyWay(t, CoreDNS{Cluster: c}, func(t *testing.T, dial Dialer, server string) {
		m := new(dns.Msg).SetQuestion("db.db.default.svc.cluster.local.", dns.TypeA)
		m.SetEdns0(1232, false)
		got, err := exchange(dial, "udp", server, m)
		if err != nil {
			t.Fatal(err)
		}
		got.Compress = true // as it came
		if size := got.Len(); !got.Truncated || size > 1232 || len(got.Answer) == 0 {
			t.Errorf("udp: TC %v, %d bytes, %d answers", got.Truncated, size, len(got.Answer))
		}
		if got, err = exchange(dial, "tcp", server, m); err != nil {
			t.Fatal(err)
		}
		if got.Truncated || len(got.Answer) != many {
			t.Errorf("tcp: TC %v, %d answers, want %d", got.Truncated, len(got.Answer), many)
		}
	})
}

func TestReplicasHaveTheirOwnViewAndCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace Trace
		early, late := new(Cluster), new(Cluster)
		for _, c := range []*Cluster{early, late} {
			c.Service("default", "db")
		}
		e := Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP}
		early.Publish(e)
		time.AfterFunc(time.Second, func() { late.Publish(e) })
		dial := RoundRobin(
			replica(t, CoreDNS{Cluster: early, Corefile: Cached, Trace: &trace, Name: "early"}),
			replica(t, CoreDNS{Cluster: late, Corefile: Cached, Trace: &trace, Name: "late"}),
		)
		for range 2 {
			ask(t, dial, "10.96.0.10:53", db0, dns.TypeA)
			ask(t, dial, "10.96.0.10:53", db0, dns.TypeA)
			time.Sleep(2 * time.Second)
		}
		ask(t, dial, "10.96.0.10:53", db0, dns.TypeMX)
		ask(t, dial, "10.96.0.10:53", db0, dns.TypeMX)

		var got []string
		clients := map[netip.AddrPort]bool{}
		for _, q := range trace.Queries() {
			got = append(got, q.String())
			clients[q.Client] = true
		}
		want := []string{
			"0s early udp A " + db0 + " NOERROR",
			"0s late udp A " + db0 + " NXDOMAIN",
			"2s early udp A " + db0 + " NOERROR",
			"2s late udp A " + db0 + " NXDOMAIN",
			"4s early udp MX " + db0 + " NOERROR",
			"4s late udp MX " + db0 + " NOERROR",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(clients) != len(want) {
			t.Errorf("%d clients, want %d: every connection has its own port", len(clients), len(want))
		}
	})
}

func TestAReplicaIsTheUpstreamOfANodeCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Cluster)
		c.Service("default", "db")
		node := replica(t, CoreDNS{Upstream: replica(t, CoreDNS{Cluster: c}), Corefile: NodeLocal("cluster.local", "10.96.0.10")})
		if m := ask(t, node.Dial, "169.254.20.10:53", db0, dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Fatal(m)
		}
		c.Publish(Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: db0IP})
		time.Sleep(4 * time.Second)
		if m := ask(t, node.Dial, "169.254.20.10:53", db0, dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Fatal(m)
		}
		time.Sleep(time.Second + time.Millisecond)
		if got := says(ask(t, node.Dial, "169.254.20.10:53", db0, dns.TypeA)); got != "NOERROR "+db0IP {
			t.Fatal(got)
		}
	})
}

func TestUpstreamAnswersWhatItKnows(t *testing.T) {
	up := Upstream("8.1.2.10.in-addr.arpa. 30 IN PTR ip-10-2-1-8.ec2.internal.")
	everyWay(t, CoreDNS{Cluster: cluster(), Upstream: up}, func(t *testing.T, dial Dialer, server string) {
		if got := says(ask(t, dial, server, "8.1.2.10.in-addr.arpa.", dns.TypePTR)); got != "NOERROR ip-10-2-1-8.ec2.internal." {
			t.Error(got)
		}
		if got := says(ask(t, dial, server, "8.1.2.10.in-addr.arpa.", dns.TypeTXT)); got != "NOERROR 10.in-addr.arpa. 30 10800" {
			t.Error(got)
		}
	})
}

func TestFrontSeesQuestionsBeforeCoreDNS(t *testing.T) {
	front := func(next plugin.Handler) plugin.Handler {
		return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			if r.Question[0].Qtype == dns.TypeTXT {
				return dns.RcodeRefused, nil
			}
			return next.ServeDNS(ctx, w, r)
		})
	}
	var trace Trace
	everyWay(t, CoreDNS{Cluster: cluster(), Front: front, Trace: &trace}, func(t *testing.T, dial Dialer, server string) {
		trace.Reset()
		if got := says(ask(t, dial, server, db0, dns.TypeTXT)); got != "REFUSED" {
			t.Error(got)
		}
		if got := says(ask(t, dial, server, db0, dns.TypeA)); got != "NOERROR "+db0IP {
			t.Error(got)
		}
		q := trace.Queries()
		if len(q) != 2 || q[0].Rcode != dns.RcodeRefused || q[1].Rcode != dns.RcodeSuccess {
			t.Error(q)
		}
	})
}

func TestSeveralClustersAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			ip := fmt.Sprintf("10.0.0.%d", i)
			c := new(Cluster)
			c.Service("default", "db")
			c.Publish(Endpoint{Namespace: "default", Service: "db", Hostname: "db-0", IP: ip})
			s := serve(t, CoreDNS{Cluster: c}, "127.0.0.1:0")
			for range 20 {
				m, err := exchange(new(net.Dialer).DialContext, "udp", s.Addr().String(), new(dns.Msg).SetQuestion(db0, dns.TypeA))
				if err != nil || says(m) != "NOERROR "+ip {
					t.Error(m, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAServerComesBackOnItsPort(t *testing.T) {
	dial := Dialer(new(net.Dialer).DialContext)
	s := serve(t, CoreDNS{Cluster: cluster()}, "127.0.0.1:0")
	proxy, err := NewFaulty(s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, server := range []string{s.Addr().String(), proxy.Addr().String()} {
		for _, network := range []string{"udp", "tcp"} {
			q := new(dns.Msg).SetQuestion(db0, dns.TypeA)
			if m, err := exchange(dial, network, server, q); err != nil || says(m) != "NOERROR "+db0IP {
				t.Error(m, err)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if m, err := exchangeWithin(100*time.Millisecond, dial, network, server, q); err == nil {
				t.Error("stopped, but answers", m)
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			if m, err := exchange(dial, network, server, q); err != nil || says(m) != "NOERROR "+db0IP {
				t.Error(m, err)
			}
		}
	}
}

func TestNothingIsLeftAfterStop(t *testing.T) {
	serve(t, CoreDNS{Cluster: cluster()}, "127.0.0.1:0").Stop() // opens what a process opens once
	before := runtime.NumGoroutine()
	files := openFiles(t)
	for range 3 {
		s, err := CoreDNS{Cluster: cluster()}.Serve("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := NewFaulty(s.Addr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			q := new(dns.Msg).SetQuestion("99.0.244.10.in-addr.arpa.", dns.TypePTR) // goes all the way to the upstream
			if _, err := exchange(new(net.Dialer).DialContext, network, proxy.Addr().String(), q); err != nil {
				t.Fatal(err)
			}
		}
		idle, err := net.Dial("tcp", proxy.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(proxy.Close(), s.Stop()); err != nil {
			t.Error(err)
		}
		idle.Close()
	}
	for range 100 {
		runtime.GC() // the forward plugin lets go of its connections in a finalizer
		if runtime.NumGoroutine() <= before && openFiles(t) <= files {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("%d goroutines before, %d after; %d files before, %d after\n%s", before, runtime.NumGoroutine(),
		files, openFiles(t), buf[:runtime.Stack(buf, true)])
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestABadCorefileIsAnError(t *testing.T) {
	for _, c := range []CoreDNS{
		{Corefile: ".:53 {\n nonsense\n}"},
		{Corefile: ".:53 {\n kubernetes cluster.local {\n nonsense\n }\n}", Cluster: new(Cluster)},
		{Corefile: ".:53 {\n}"},
		{Corefile: Kubeadm}, // without a Cluster
	} {
		if _, err := c.Serve("127.0.0.1:0"); err == nil {
			t.Errorf("serves %q", c.Corefile)
		}
		if _, err := c.Replica(); err == nil {
			t.Errorf("makes a replica of %q", c.Corefile)
		}
	}
	if _, err := (CoreDNS{Cluster: cluster()}).Serve("192.0.2.1:53"); err == nil {
		t.Error("serves on an address that is not loopback")
	}
}
