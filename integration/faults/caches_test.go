//go:build faults

package faults

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// caching is a Corefile that keeps all that it says for a number of seconds; 0 is not at all.
func caching(seconds int) string {
	if seconds == 0 {
		return strings.Replace(dnstest.Cached, "cache 30", "", 1)
	}
	return strings.NewReplacer("ttl 30", fmt.Sprintf("ttl %d", seconds), "cache 30", fmt.Sprintf("cache %d", seconds)).Replace(dnstest.Cached)
}

// first asks what the application asks first, each as often as there are servers behind the address.
func (p *pod) first(times int) {
	p.Helper()
	for range times {
		if m, err := query(p.servers[0], db0+".", dns.TypeA); err != nil || len(m.Answer) != 1 {
			p.Errorf("the application's first A: %v, %v", m, err)
		}
		if m, err := query(p.servers[0], ptr+".", dns.TypePTR); err != nil || len(m.Answer) != 1 {
			p.Errorf("the application's first PTR: %v, %v", m, err)
		}
	}
}

// ptr is where the name of ip is.
const ptr = "17.0.244.10.in-addr.arpa"

// What a peer asked too early stays in caches: podfqdn waits until it has gone, and leaves no denial of its own.
func TestCaches(t *testing.T) {
	t.Parallel()
	all := []int{0, 5, 30}
	if *long {
		all = append(all, 120)
	}
	for _, seconds := range all {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d s, a peer was early: %t", seconds, early), func(t *testing.T) {
				t.Parallel()
				p := newPod(t, "DNS meaning")
				cluster := published()
				b := &breaker{pod: p, count: map[string]int{}}
				begin := time.Now()
				p.late(dnstest.CoreDNS{Cluster: cluster, Corefile: caching(seconds), Front: b.plugin}, cluster, time.Duration(seconds)*time.Second+20*time.Second, early)
				if life := time.Since(begin); early && life < time.Duration(seconds)*time.Second {
					t.Errorf("it agreed after %s, and for %d s a cache denied the name", life, seconds)
				}
			})
		}
	}
}

// What clusters of several makers have, in the words of their Corefiles.
func TestFlavours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cluster, node string
		early         time.Duration // how long it takes after a peer that was early; 0 is the half minute of a denial
	}{
		"kubeadm 1.32 and later": {cluster: dnstest.Kubeadm},
		"kubeadm before 1.32":    {cluster: dnstest.Cached},
		"ttl 5, cache 30":        {cluster: strings.Replace(dnstest.Cached, "ttl 30", "ttl 5", 1)},
		"bufsize 512, ttl 5, cache 900 with denials for 30 s": {cluster: strings.NewReplacer(
			"ttl 30", "ttl 5", "cache 30", "bufsize 512\n    cache 900 {\n       denial 9984 30\n    }").Replace(dnstest.Cached)},
		"a cache on the node": {cluster: dnstest.Kubeadm, node: dnstest.NodeLocal("cluster.local", "10.96.0.10")},
		"a cache on the node that serves stale answers at once": {cluster: dnstest.Kubeadm,
			node: ".:53 {\n errors\n cache 3600 {\n  serve_stale 3600s immediate\n }\n forward . 10.96.0.10\n}\n", early: 45 * time.Second},
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, a peer was early: %t", name, early), func(t *testing.T) {
				t.Parallel()
				p := newPod(t, "DNS meaning")
				cluster := published()
				b := &breaker{pod: p, count: map[string]int{}}
				server := dnstest.CoreDNS{Cluster: cluster, Corefile: c.cluster, Front: b.plugin}
				if c.node != "" {
					behind, err := dnstest.CoreDNS{Cluster: cluster, Corefile: c.cluster}.Replica()
					if err != nil {
						t.Fatal(err)
					}
					node, err := dnstest.CoreDNS{Upstream: behind, Corefile: c.node}.Replica()
					if err != nil {
						t.Fatal(err)
					}
					server.Front = func(plugin.Handler) plugin.Handler { return b.plugin(node) }
				}
				took := p.late(server, cluster, 75*time.Second, early)
				if early {
					p.within("a peer was early before "+name, took, cmp.Or(c.early, 30*time.Second))
				} else {
					p.within("before "+name, took, 0)
				}
			})
		}
	}
}

// late starts podfqdn before a server whose cluster publishes the Pod after 1.5 seconds; a peer may have been early.
// The application's first questions are answered. It returns how long it took, after the record where nobody was early.
func (p *pod) late(server dnstest.CoreDNS, cluster *dnstest.Cluster, timeout time.Duration, early bool) (took time.Duration) {
	p.Helper()
	p.timeout = timeout
	p.serve(server)
	if early {
		for name, qtype := range map[string]uint16{db0: dns.TypeA, ptr: dns.TypePTR} {
			if m, err := query(p.servers[0], name+".", qtype); err != nil || m.Rcode != dns.RcodeNameError {
				p.Fatalf("%v, %v", m, err)
			}
		}
		p.truth.asked, p.truth.early = false, nil // that was the peer
	}
	ends := make(chan end, 1)
	go func() { ends <- p.init() }()
	time.Sleep(1500 * time.Millisecond)
	cluster.Publish(ours())
	e := <-ends
	if e.code != 0 {
		p.Errorf("ended with %d: %s\n%s", e.code, e.reason, e.log)
	}
	p.first(1)
	p.recovers()
	if took = e.took; !early {
		took -= 1500 * time.Millisecond
	}
	return took
}

// within prints how long it took to agree, and checks that it is about what the table of setups in docs/cluster-dns.md says.
func (p *pod) within(what string, took, says time.Duration) {
	p.Helper()
	fmt.Printf("%s: agreed after %.1f s\n", what, took.Seconds())
	// Pauses are a quarter of the wait, at most a second; and the machine has others to run.
	if took > says+4*time.Second {
		p.Errorf("%s: it agreed after %s, and docs/cluster-dns.md says %s", what, took, says)
	}
}

// proxy stands between a Pod and cluster DNS as those of service meshes and clouds do.
type proxy struct {
	plugin.Handler
	other int  // what it says to other types than A, AAAA and PTR; 0 passes them on
	mute  bool // it says nothing to them
	bare  bool // it knows no EDNS0, no DO, no CD, and sends no SOA
	names bool // what is denied it denies by the name alone, as long as the SOA says
	hides bool // what is denied has an empty answer

	mu     sync.Mutex
	denied map[string]time.Time // until when
}

func (x *proxy) ServeDNS(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) (int, error) {
	name := dns.CanonicalName(q.Question[0].Name)
	x.mu.Lock()
	until := x.denied[name]
	x.mu.Unlock()
	reply := func(rcode int) (int, error) { return rcode, w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
	switch kind := kindOf(q.Question[0].Qtype); {
	case kind == "existence" && x.mute:
		return dns.RcodeSuccess, nil
	case kind == "existence" && x.other != 0:
		return reply(x.other)
	case x.names && time.Now().Before(until):
		return reply(dns.RcodeNameError)
	}
	asked := q
	if x.bare {
		asked = q.Copy()
		asked.Extra, asked.CheckingDisabled, asked.AuthenticatedData = nil, false, false
	}
	behind := nonwriter.New(w)
	if rcode, err := x.Handler.ServeDNS(ctx, behind, asked); behind.Msg == nil {
		return rcode, err
	}
	m := behind.Msg.Copy()
	m.MsgHdr.CheckingDisabled = q.CheckingDisabled
	if x.names && m.Rcode == dns.RcodeNameError && len(m.Ns) == 1 {
		x.mu.Lock()
		x.denied[name] = time.Now().Add(time.Duration(m.Ns[0].Header().Ttl) * time.Second)
		x.mu.Unlock()
	}
	if x.bare && len(m.Answer) == 0 {
		m.Ns = nil
	}
	if x.hides && m.Rcode == dns.RcodeNameError {
		m.Rcode = dns.RcodeSuccess
	}
	return m.Rcode, w.WriteMsg(m)
}

func TestProxies(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]*proxy{
		"other types are refused":                      {other: dns.RcodeRefused},
		"other types are not implemented":              {other: dns.RcodeNotImplemented},
		"other types are format errors":                {other: dns.RcodeFormatError},
		"other types fail":                             {other: dns.RcodeServerFailure},
		"other types are not answered":                 {mute: true},
		"no EDNS0, DO, CD and SOA":                     {bare: true},
		"no EDNS0, DO, CD and SOA, no other types":     {bare: true, other: dns.RcodeRefused},
		"other types are denied":                       {other: dns.RcodeNameError},
		"denials by name":                              {names: true},
		"denials by name, no other types":              {names: true, other: dns.RcodeNotImplemented},
		"denials by name, no EDNS0, DO, CD and SOA":    {names: true, bare: true},
		"NXDOMAIN is hidden":                           {hides: true},
		"NXDOMAIN is hidden, no EDNS0, DO, CD and SOA": {hides: true, bare: true},
	} {
		lies := x.other == dns.RcodeNameError // there no private key can tell
		for _, late := range []time.Duration{0, 1500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %s late", name, late), func(t *testing.T) {
				t.Parallel()
				p := newPod(t, "DNS meaning")
				p.timeout = 60 * time.Second
				if lies {
					p.timeout = 3 * time.Second
				}
				cluster := published()
				if late == 0 {
					cluster.Publish(ours())
				}
				b := &breaker{pod: p, count: map[string]int{}}
				front := func(behind plugin.Handler) plugin.Handler {
					return b.plugin(&proxy{Handler: behind, other: x.other, mute: x.mute, bare: x.bare, names: x.names, hides: x.hides, denied: map[string]time.Time{}})
				}
				p.serve(dnstest.CoreDNS{Cluster: cluster, Corefile: caching(5), Front: front})
				ends := make(chan end, 1)
				go func() { ends <- p.init() }()
				if late > 0 {
					time.Sleep(late)
					cluster.Publish(ours())
				}
				e := <-ends
				if lies {
					if e.code != 11 || !strings.Contains(e.reason, "says NXDOMAIN") {
						t.Errorf("ended with %d: %s", e.code, e.reason)
					}
					p.servers = nil
					p.serve(dnstest.CoreDNS{Cluster: cluster, Corefile: caching(5), Front: b.plugin})
					p.recovers()
					return
				}
				if e.code != 0 {
					t.Errorf("ended with %d: %s\n%s", e.code, e.reason, e.log)
				}
				readme := 5 * time.Second // where they fail, or a denial is kept so long here
				switch {
				case x.mute:
					readme = 37 * time.Second
				case late > 0 && x.bare && (x.other != 0 || x.hides):
					readme = 30 * time.Second // a denial, of which nobody says how long it is kept
				}
				p.within(fmt.Sprintf("before a proxy, %s, record %s late", name, late), e.took, readme)
				p.first(1)
				if x.mute {
					p.slow = 20 * time.Second // each silence takes five
				}
				p.recovers()
			})
		}
	}
}

// balanced gives each client's socket to the next replica, as a Service does. They come one after the other, and the port
// of one may be another's later.
type balanced struct {
	replicas []*dnstest.Replica
	mu       sync.Mutex
	client   string
	turn     int
}

func (*balanced) Name() string { return "balanced" }

func (x *balanced) ServeDNS(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) (int, error) {
	x.mu.Lock()
	if client := w.RemoteAddr().String(); client != x.client {
		x.client = client
		x.turn++
	}
	replica := x.replicas[(x.turn+1)%len(x.replicas)] // the first is asked first
	x.mu.Unlock()
	return replica.ServeDNS(ctx, w, q)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		corefile string
		before   func(good, other *dnstest.Cluster, behind *dnstest.Replica) // of the other replica
		later    func(other *dnstest.Cluster)                                // after three seconds
		says     string                                                      // the reason, if it does not agree
	}{
		"one lags": {
			before: func(_, other *dnstest.Cluster, _ *dnstest.Replica) { other.Withdraw(ours()) },
			later:  func(other *dnstest.Cluster) { other.Publish(ours()) },
		},
		"one lags, and what it denies is cached": {
			corefile: caching(5),
			before:   func(_, other *dnstest.Cluster, _ *dnstest.Replica) { other.Withdraw(ours()) },
			later:    func(other *dnstest.Cluster) { other.Publish(ours()) },
		},
		"one has an early denial in its cache": {
			corefile: caching(5),
			before: func(_, other *dnstest.Cluster, behind *dnstest.Replica) {
				other.Withdraw(ours())
				conn, err := behind.Dial(context.Background(), "udp", "127.0.0.1:53")
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				for name, qtype := range map[string]uint16{db0: dns.TypeA, ptr: dns.TypePTR} {
					m, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion(name+".", qtype), &dns.Conn{Conn: conn})
					if err != nil || m.Rcode != dns.RcodeNameError {
						panic(fmt.Sprint(m, err))
					}
				}
				other.Publish(ours())
			},
		},
		"one has the predecessor's address": {
			before: func(_, other *dnstest.Cluster, _ *dnstest.Replica) {
				other.Withdraw(ours())
				other.Publish(ours(foreign))
			},
			later: func(other *dnstest.Cluster) { other.Withdraw(ours(foreign)); other.Publish(ours()) },
		},
		"one has not synced": {
			before: func(_, other *dnstest.Cluster, _ *dnstest.Replica) { other.Withdraw(ours()); other.Sync(false) },
			later:  func(other *dnstest.Cluster) { other.Publish(ours()); other.Sync(true) },
		},
		"none has the name": {
			before: func(good, other *dnstest.Cluster, _ *dnstest.Replica) { good.Withdraw(ours()); other.Withdraw(ours()) },
			says:   "says NXDOMAIN",
		},
		"both have another address": {
			before: func(good, other *dnstest.Cluster, _ *dnstest.Replica) {
				for _, cluster := range []*dnstest.Cluster{good, other} {
					cluster.Withdraw(ours())
					cluster.Publish(ours(foreign))
				}
			},
			says: "this Pod is " + ip,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "DNS meaning")
			p.timeout = 60 * time.Second
			good, other := published(ours()), published(ours())
			x := new(balanced)
			for _, cluster := range []*dnstest.Cluster{good, other} {
				replica, err := dnstest.CoreDNS{Cluster: cluster, Corefile: cmp.Or(c.corefile, caching(0))}.Replica()
				if err != nil {
					t.Fatal(err)
				}
				x.replicas = append(x.replicas, replica)
			}
			c.before(good, other, x.replicas[1])
			b := &breaker{pod: p, count: map[string]int{}}
			p.serve(dnstest.CoreDNS{Cluster: good, Front: func(plugin.Handler) plugin.Handler { return b.plugin(x) }})
			want := 0
			if c.says != "" {
				want, p.timeout = 11, 2*time.Second
			}
			ends := make(chan end, 1)
			go func() { ends <- p.init() }()
			if c.later != nil {
				select {
				case e := <-ends:
					t.Errorf("it ended with %d after %s, while one replica did not know the Pod\n%s", e.code, e.took, e.log)
					ends <- e
				case <-time.After(3 * time.Second):
				}
				c.later(other)
			}
			e := <-ends
			if e.code != want || !strings.Contains(e.reason, c.says) {
				t.Errorf("ended with %d, %q, not with %d, %q\n%s", e.code, e.reason, want, c.says, e.log)
			}
			for _, cluster := range []*dnstest.Cluster{good, other} {
				cluster.Withdraw(ours(foreign))
				cluster.Publish(ours())
			}
			if e.code == 0 && c.later == nil {
				p.first(2)
			}
			p.recovers()
		})
	}
}
