package loopback

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func TestServerFailureIsWaitedOut(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		c := cluster()
		c.Sync(false)
		s := serve(t, dnstest.CoreDNS{Cluster: c})
		time.AfterFunc(600*time.Millisecond, func() { publish(c, ip); c.Sync(true) })
		e := run(newPod(t, s.Addr()))
		e.published(t)
		e.told(t, db0+": "+s.Addr().String()+" says SERVFAIL")
	})
}

func TestAServerThatIsDownIsAskedUntilItIsUp(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		s := serveOn(t, dnstest.CoreDNS{Cluster: cluster(ip)}, alone)
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		up := make(chan error, 1)
		time.AfterFunc(600*time.Millisecond, func() { up <- s.Start() })
		e := run(newPod(t, s.Addr()))
		if err := <-up; err != nil {
			t.Fatal(err)
		}
		e.published(t)
		e.told(t, db0+": "+s.Addr().String()+" says nothing (connection refused)")
	})
}

func TestTheSecondServerIsAskedWhereTheFirst(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(t *testing.T) netip.AddrPort{
		"is down": closed,
		"refuses": func(t *testing.T) netip.AddrPort {
			return serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Front: refusing(func(uint16) bool { return true })}).Addr()
		},
		"fails": func(t *testing.T) netip.AddrPort {
			c := cluster()
			c.Sync(false)
			return serve(t, dnstest.CoreDNS{Cluster: c}).Addr()
		},
		"is silent": func(t *testing.T) netip.AddrPort {
			return faulty(t, serve(t, dnstest.CoreDNS{Cluster: cluster(ip)}), func(string, int, []byte) [][]byte { return nil })
		},
	} {
		eachWay(t, name, func(t *testing.T, run func(*pod) end) {
			var trace dnstest.Trace
			s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
			e := run(newPod(t, first(t), s.Addr()))
			e.published(t)
			if got, want := types(&trace), "PROBE SIBLING A PTR PROBE SIBLING A AAAA PTR"; got != want {
				t.Errorf("the second was asked %q, not %q", got, want)
			}
		})
	}
}

func TestTheFirstServerIsAskedAgainWhenItIsBack(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		// The second knows nothing of the Pod, and its denial is not the last word.
		first := serveOn(t, dnstest.CoreDNS{Cluster: cluster(ip)}, alone)
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		second := serve(t, dnstest.CoreDNS{Cluster: cluster()})
		up := make(chan error, 1)
		time.AfterFunc(500*time.Millisecond, func() { up <- first.Start() })
		e := run(newPod(t, first.Addr(), second.Addr()))
		if err := <-up; err != nil {
			t.Fatal(err)
		}
		e.published(t)
		e.told(t, db0+": "+first.Addr().String()+" says nothing (connection refused)")
		e.told(t, db0+": "+second.Addr().String()+" says NXDOMAIN")
	})
}

func TestAnyNetworkThatBringsTheAnswerInTheEndWillDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault dnstest.Fault
		exact bool // nothing is asked again
	}{
		"loses the first": {func(_ string, n int, reply []byte) [][]byte {
			if n == 0 {
				return nil
			}
			return [][]byte{reply}
		}, false},
		"loses every third": {func(_ string, n int, reply []byte) [][]byte {
			if n%8 == 3 {
				return nil
			}
			return [][]byte{reply}
		}, false},
		"delays": {func(_ string, _ int, reply []byte) [][]byte {
			time.Sleep(60 * time.Millisecond)
			return [][]byte{reply}
		}, true},
		"brings the first too late": {func(_ string, n int, reply []byte) [][]byte {
			if n == 0 {
				time.Sleep(1200 * time.Millisecond)
			}
			return [][]byte{reply}
		}, false},
		"repeats": {func(_ string, _ int, reply []byte) [][]byte { return [][]byte{reply, reply, reply} }, true},
		"brings garbage first": {func(_ string, _ int, reply []byte) [][]byte {
			return [][]byte{{}, {0xff}, []byte("no DNS message at all"), reply[:len(reply)-1], reply}
		}, true},
		"brings other IDs first": {func(_ string, _ int, reply []byte) [][]byte {
			return [][]byte{dnstest.WrongID(reply), dnstest.Truncated(dnstest.WrongID(reply)), reply}
		}, true},
		"brings other questions first": {func(_ string, _ int, reply []byte) [][]byte {
			return [][]byte{
				forged(reply, func(m *dns.Msg) { m.Question[0].Name = "db-1.db.default.svc.cluster.local."; m.Answer = nil }),
				forged(reply, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeSRV; m.Rcode = dns.RcodeNameError }),
				forged(reply, func(m *dns.Msg) { m.Question = nil; m.Rcode = dns.RcodeRefused }),
				forged(reply, func(m *dns.Msg) { m.Response = false }),
				reply,
			}
		}, true},
		"says that all by UDP is truncated": {func(network string, _ int, reply []byte) [][]byte {
			if network == "udp" {
				return [][]byte{dnstest.Truncated(reply)}
			}
			return [][]byte{reply}
		}, false},
		"brings garbage by TCP too": {func(network string, _ int, reply []byte) [][]byte {
			if network == "udp" {
				return [][]byte{dnstest.Truncated(reply)}
			}
			return [][]byte{{}, []byte("no DNS message at all"), dnstest.WrongID(reply), reply}
		}, false},
	} {
		eachWay(t, name, func(t *testing.T, run func(*pod) end) {
			var trace dnstest.Trace
			s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
			e := run(newPod(t, faulty(t, s, test.fault)))
			e.published(t)
			if got, want := settled(types(&trace)), "PROBE SIBLING A PTR PROBE A AAAA PTR"; test.exact && got != want {
				t.Errorf("asked %q, not %q", got, want)
			}
		})
	}
}

func TestSilenceToTheDeadline(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
		p := newPod(t, faulty(t, s, func(string, int, []byte) [][]byte { return nil }))
		p.timeout = 2 * time.Second
		e := run(p)
		e.stopped(t, db0+": "+p.nameservers()+" says nothing within 1s")
		if e.log != "" && e.code != 11 {
			t.Errorf("exit code %d", e.code)
		}
		if n := len(trace.Queries()); n > 3 {
			t.Errorf("asked %d times in 2s: %s", n, types(&trace))
		}
	})
	t.Run("before the first answer is due", func(t *testing.T) {
		t.Parallel()
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip)})
		p := newPod(t, faulty(t, s, func(string, int, []byte) [][]byte { return nil }))
		p.timeout = 300 * time.Millisecond
		e := p.init()
		if want := "gave up after 300ms: " + db0 + ": no answer yet from " + p.nameservers(); e.code != 11 || e.reason != want {
			t.Errorf("exit %d: %q, not %q", e.code, e.reason, want)
		}
	})
}

func TestWhereOtherTypesAreRefusedPlainQuestionsWaitForTheSOA(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		c := cluster()
		s := serve(t, dnstest.CoreDNS{Cluster: c, Corefile: corefile, Trace: &trace, Front: refusing(private)})
		time.AfterFunc(1500*time.Millisecond, func() { publish(c, ip) })
		run(newPod(t, s.Addr())).published(t)
		var last time.Duration
		for _, q := range trace.Queries() {
			if q.Type == dns.TypeA && q.Rcode == dns.RcodeNameError {
				if gap := q.At - last; last > 0 && gap < time.Second {
					t.Errorf("A was asked again after %v", gap)
				}
				last = q.At
			}
		}
	})
}

func TestWherePTRIsRefusedTheReasonSaysSo(t *testing.T) {
	t.Parallel()
	s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Front: refusing(func(qtype uint16) bool { return qtype == dns.TypePTR })})
	p := newPod(t, s.Addr())
	p.timeout = time.Second
	e := p.init()
	if want := "gave up after 1s: " + ip + ": " + s.Addr().String() + " says REFUSED to PTR, not " + db0 +
		"; check whether a DNS policy refuses PTR or the Corefile does not serve it: allow in-addr.arpa and ip6.arpa, or set PODFQDN_REVERSE=ignore"; e.code != 11 || e.reason != want {
		t.Errorf("exit %d: %q, not %q", e.code, e.reason, want)
	}
	p.policy.Reverse = identity.ReverseIgnore
	p.timeout = time.Minute
	p.init().published(t)
}

// fake is a server that the real one cannot be made into: it answers like s unless odd has written something itself.
func fake(t *testing.T, s *dnstest.Server, odd func(w dns.ResponseWriter, q *dns.Msg) bool) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if odd(w, q) {
				return
			}
			if reply, err := dns.Exchange(q, s.Addr().String()); err == nil {
				w.WriteMsg(reply)
			}
		})}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestAServerThatDoesNotKnowEDNSIsAskedOnceWithIt(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var first, late atomic.Int32 // the type of the first question; how many with EDNS0 came after it
		var trace dnstest.Trace
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
		addr := fake(t, s, func(w dns.ResponseWriter, q *dns.Msg) bool {
			if q.IsEdns0() == nil {
				return false
			}
			if qtype := int32(q.Question[0].Qtype); !first.CompareAndSwap(0, qtype) && first.Load() != qtype {
				late.Add(1)
			}
			m := new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
			m.Question = nil
			w.WriteMsg(m)
			return true
		})
		run(newPod(t, addr)).published(t)
		if got, want := settled(types(&trace)), "PROBE SIBLING A PTR PROBE A AAAA PTR"; got != want || late.Load() > 0 {
			t.Errorf("asked %q, and %d more times with EDNS0", got, late.Load())
		}
	})
}

func TestWhatComesFromAnotherAddressIsNobodysAnswer(t *testing.T) {
	t.Parallel()
	eachWay(t, "", func(t *testing.T, run func(*pod) end) {
		var trace dnstest.Trace
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ip), Trace: &trace})
		forger, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer forger.Close()
		addr := fake(t, s, func(w dns.ResponseWriter, q *dns.Msg) bool {
			// The right ID and question, from the wrong place: a denial, and "ask by TCP".
			for _, change := range []func(*dns.Msg){
				func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, func(m *dns.Msg) { m.Truncated = true },
			} {
				m := new(dns.Msg).SetReply(q)
				change(m)
				raw, err := m.Pack()
				if err != nil {
					panic(err)
				}
				forger.WriteTo(raw, w.RemoteAddr())
			}
			return false
		})
		e := run(newPod(t, addr))
		e.published(t)
		if got, want := types(&trace), "PROBE SIBLING A PTR PROBE A AAAA PTR"; got != want || len(e.reasons) > 0 {
			t.Errorf("asked %q, not %q; %q", got, want, e.reasons)
		}
	})
}

func TestOneServersDenialIsNotTheOthersReason(t *testing.T) {
	t.Parallel()
	// Two nameservers, the first of which does not know the cluster: that is said, and no name is made up.
	outside := serve(t, dnstest.CoreDNS{Cluster: cluster(), Corefile: ".:53 {\n forward . /etc/resolv.conf\n}"})
	p := newPod(t, outside.Addr())
	p.timeout = time.Second
	e := p.init()
	e.stopped(t, `says NXDOMAIN from zone ".", not the cluster's; set dnsPolicy: ClusterFirst`)
	if e.code != 11 || !slices.ContainsFunc(e.reasons, func(r string) bool { return strings.Contains(r, "not the cluster's") }) {
		t.Errorf("exit %d: %q", e.code, e.reasons)
	}
}

// forged is a reply with a change.
func forged(reply []byte, change func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		panic(err)
	}
	change(m)
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

// Whether a name exists cannot be told where NXDOMAIN is hidden: podfqdn asks plainly then, but not at once, and says why.
// The doctor asks plainly only where applications do, as the identity is published.
func TestAServerThatHidesNXDOMAINIsAskedPlainly(t *testing.T) {
	t.Parallel()
	serveHidden := func(t *testing.T, ips ...string) (*pod, *dnstest.Trace) {
		var trace dnstest.Trace
		s := serve(t, dnstest.CoreDNS{Cluster: cluster(ips...), Trace: &trace})
		return newPod(t, faulty(t, s, func(_ string, _ int, reply []byte) [][]byte {
			return [][]byte{forged(reply, func(m *dns.Msg) { m.Rcode = dns.RcodeSuccess })}
		})), &trace
	}
	eachWay(t, "is there", func(t *testing.T, run func(*pod) end) {
		p, _ := serveHidden(t, ip)
		if e := run(p); e.took < time.Second || e.took > 3*time.Second {
			t.Errorf("published after %v", e.took)
		} else {
			e.published(t)
		}
	})
	eachWay(t, "is missing", func(t *testing.T, run func(*pod) end) {
		p, trace := serveHidden(t)
		p.timeout = 4 * time.Second
		run(p).stopped(t, " says no data to A, as it does for names that do not exist")
		plain := 0
		for _, q := range trace.Queries() {
			if q.Name == db0+"." && !private(q.Type) {
				plain++
			}
		}
		if plain != 1 { // the denial may be kept for 30 s
			t.Errorf("%d plain questions", plain)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		p, trace := serveHidden(t, ip)
		if d := p.diagnosis(); d.Healthy || d.Verdict != identity.Hidden {
			t.Errorf("%+v", d)
		}
		for _, q := range trace.Queries() {
			if q.Name == db0+"." && !private(q.Type) {
				t.Errorf("asked %v", q)
			}
		}
		p.init().published(t)
		if d := p.diagnosis(); !d.Healthy {
			t.Errorf("%+v", d)
		}
	})
}
