package virtual

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

func TestALaggingReplicaIsNeverAskedPlainly(t *testing.T) {
	for _, c := range corefiles[:2] {
		for seed := range uint64(10) {
			play(t, c.name, func(s *stage) {
				s.corefile, s.lags = c.text, []time.Duration{0, 3 * time.Second}
				if random := rand.New(rand.NewPCG(seed, 0)); seed > 0 { // 0 is in turn
					s.choose = func(int) int { return random.IntN(2) }
				}
				s.publish(500 * time.Millisecond)
				o := s.walk() // which checks the rule of the title
				if o.err != nil || o.at < 500*time.Millisecond || o.at > 3500*time.Millisecond+share(2, 3500*time.Millisecond) {
					t.Errorf("ended after %v with %v\n%s", o.at, o.err, o.story())
				}
				if seed == 0 && o.at < 3500*time.Millisecond {
					t.Error("agreed though every second round went to a replica without the record")
				}
				// No plain denial was planted: the application is answered by whatever replica knows the record.
				time.Sleep(4*time.Second - min(4*time.Second, o.at))
				for i, r := range o.replicas {
					if m := o.ask(r, db0, dns.TypeA); m.Rcode != dns.RcodeSuccess {
						t.Errorf("replica %d answers the application %v", i, dns.RcodeToString[m.Rcode])
					}
					if m := o.ask(r, reverse(ip), dns.TypePTR); m.Rcode != dns.RcodeSuccess {
						t.Errorf("replica %d answers the application %v to PTR", i, dns.RcodeToString[m.Rcode])
					}
				}
			})
		}
	}
}

func TestAPoisonedReplicaBesideAGoodOneIsWaitedFor(t *testing.T) {
	play(t, "", func(s *stage) {
		s.corefile, s.lags = dnstest.Cached, []time.Duration{0, 0}
		s.somebody(0, 1, db0, dns.TypeA)
		s.publish(time.Second)
		o := s.walk()
		o.agrees(30*time.Second, 31*time.Second)
		o.saw(identity.Missing, identity.Poisoned, identity.Agrees)
	})
}

func TestAFlappingRecordIsNotPublishedBeforeItStays(t *testing.T) {
	for _, c := range corefiles[:2] {
		play(t, c.name, func(s *stage) {
			s.corefile = c.text
			// An answer takes 10 ms, eight packets take 80.
			s.fault = func(_ string, _ int, reply []byte) [][]byte {
				time.Sleep(10 * time.Millisecond)
				return [][]byte{reply}
			}
			for when := 200 * time.Millisecond; when < 9*time.Second; when += 200 * time.Millisecond {
				s.publish(when)
				s.at(when+45*time.Millisecond, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", ip)...) })
			}
			s.publish(9 * time.Second)
			o := s.walk()
			// A plain question may have met the moment after, and what it planted lives for 30 s.
			o.agrees(9*time.Second, 40*time.Second)
		})
	}
}

func TestANameThatIsWithdrawnBetweenTwoQuestionsIsWaitedForOnlyIfThatIsCached(t *testing.T) {
	for _, c := range corefiles[:2] {
		play(t, c.name, func(s *stage) {
			s.corefile = c.text
			s.fault = func(_ string, _ int, reply []byte) [][]byte {
				time.Sleep(10 * time.Millisecond)
				return [][]byte{reply}
			}
			s.publish(0)
			s.at(5*time.Millisecond, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", ip)...) })
			s.publish(400 * time.Millisecond)
			o := s.walk()
			if v := o.verdicts()[0]; v != identity.Poisoned {
				t.Errorf("the first verdict is %q\n%s", v, o.story())
			}
			if c.text == dnstest.Cached {
				o.agrees(30*time.Second, 31*time.Second)
			} else {
				o.agrees(400*time.Millisecond, 600*time.Millisecond+bound(400*time.Millisecond))
			}
		})
	}
}

func TestAServerThatHasNotSyncedIsAskedUntilItHas(t *testing.T) {
	for _, c := range corefiles[:2] {
		play(t, c.name, func(s *stage) {
			s.corefile = c.text
			s.at(0, func(c *dnstest.Cluster) { c.Sync(false) })
			s.at(3*time.Second, func(c *dnstest.Cluster) { c.Sync(true) })
			s.publish(3 * time.Second)
			o := s.walk()
			o.agrees(3*time.Second, 3*time.Second+bound(3*time.Second))
			o.saw(identity.Unanswered, identity.Agrees)
			if got, want := o.turns[0].Err.Error(), db0+": 10.96.0.10 says SERVFAIL"; got != want {
				t.Errorf("the reason is %q, not %q", got, want)
			}
		})
	}
}

func TestAServerThatIsSilentAtFirstIsAskedRarelyAndPatiently(t *testing.T) {
	play(t, "", func(s *stage) {
		s.publish(0)
		s.loss = func() bool { return time.Since(s.start) < 20*time.Second }
		o := s.walk()
		// The last question that is lost costs its patience of 5 s, and a pause of up to 1.
		o.agrees(20*time.Second, 26*time.Second)
		o.saw(identity.Unanswered, identity.Agrees)
		if got, want := o.turns[0].Err.Error(), db0+": 10.96.0.10 says nothing within 1s"; got != want {
			t.Errorf("the reason is %q, not %q", got, want)
		}
		if n := len(o.packets); n > 8+7 {
			t.Errorf("%d packets\n%s", n, o.story())
		}
	})
}

func TestALostPacketIsSentOnceMore(t *testing.T) {
	for lost := range 8 {
		play(t, "", func(s *stage) {
			s.publish(0)
			n := 0
			s.loss = func() bool { n++; return n-1 == lost }
			o := s.walk()
			want := 9
			if lost == 0 { // nobody knows yet whether this server is there: the round is lost, and there is a sibling in both of the next
				want = 10
				o.agrees(time.Second, 1600*time.Millisecond)
			} else {
				o.agrees(200*time.Millisecond, 200*time.Millisecond)
			}
			if got := len(o.packets); got != want {
				t.Errorf("%d packets\n%s", got, o.story())
			}
		})
	}
}

func TestAThirdOfAllPacketsLostIsNoReasonToGiveUp(t *testing.T) {
	play(t, "", func(s *stage) {
		s.ips, s.policy.Rounds = []string{ip, ip6}, 3
		s.publish(time.Second)
		n := 0
		s.loss = func() bool { n++; return n%3 == 0 }
		s.walk().agrees(time.Second, 10*time.Second)
	})
}

// mesh is a proxy as service meshes put in front of a Pod: it knows no EDNS0 and no SOA, or keeps what is denied by
// the name alone, for as long as the SOA says.
type mesh struct {
	behind plugin.Handler
	byName bool
	mu     sync.Mutex
	denied map[string]denial
}

type denial struct {
	at    time.Time
	reply *dns.Msg
}

func (*mesh) Name() string { return "mesh" }

func (m *mesh) ServeDNS(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) (int, error) {
	return dns.RcodeSuccess, w.WriteMsg(m.answer(ctx, q)) // without the lock, as this may sleep
}

func (m *mesh) answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := dns.CanonicalName(q.Question[0].Name)
	d, kept := m.denied[name]
	if kept {
		r := d.reply.Copy()
		r.Id, r.Question = q.Id, q.Question
		soa := r.Ns[0].Header()
		if age := uint32(time.Since(d.at) / time.Second); age < soa.Ttl {
			soa.Ttl -= age
			return r
		}
	}
	q = q.Copy()
	q.Extra = nil
	a := new(answer)
	m.behind.ServeDNS(ctx, a, q)
	r := a.msg
	switch {
	case m.byName && r.Rcode == dns.RcodeNameError:
		m.denied[name] = denial{time.Now(), r.Copy()}
	case !m.byName:
		r.Ns = nil
	}
	return r
}

func TestAProxyThatDropsTheSOACostsNothing(t *testing.T) {
	for _, late := range []time.Duration{0, 150 * time.Millisecond, 2 * time.Second, 40 * time.Second} {
		play(t, late.String(), func(s *stage) {
			s.front = func(behind plugin.Handler) plugin.Handler { return &mesh{behind: behind} }
			s.publish(late)
			o := s.walk()
			o.agrees(late, late+bound(late))
		})
	}
}

func TestWhereADenialIsKeptByNameItsEndIsWaitedFor(t *testing.T) {
	for _, late := range []time.Duration{0, 700 * time.Millisecond, 20 * time.Second, 40 * time.Second} {
		play(t, late.String(), func(s *stage) {
			s.front = func(behind plugin.Handler) plugin.Handler {
				return &mesh{behind: behind, byName: true, denied: map[string]denial{}}
			}
			s.publish(late)
			o := s.walk()
			// The first denial is of the moment when podfqdn first asks, and each other of the end of the one before.
			end := late.Truncate(30*time.Second) + 30*time.Second
			if late == 0 {
				end = 0
			}
			o.agrees(end, end+2*time.Second)
			if n := len(o.packets); n > 8+26 {
				t.Errorf("%d packets\n%s", n, o.story())
			}
		})
	}
}

func TestTheWalkEndsAtItsDeadlineAndNotAMomentLater(t *testing.T) {
	for name, set := range map[string]func(s *stage){
		"nothing is there":     func(s *stage) { s.open() },
		"silence":              func(s *stage) { s.loss = func() bool { return true } },
		"record afterwards":    func(s *stage) { s.publish(s.timeout + time.Millisecond) },
		"waiting for a denial": func(s *stage) { s.corefile = dnstest.Cached; s.somebody(0, 0, db0, dns.TypeA); s.publish(0) },
		"slow answers": func(s *stage) {
			s.publish(0)
			s.fault = func(_ string, _ int, reply []byte) [][]byte {
				time.Sleep(900 * time.Millisecond)
				return [][]byte{reply}
			}
		},
	} {
		for _, timeout := range []time.Duration{time.Millisecond, 700 * time.Millisecond, 2500 * time.Millisecond, 17 * time.Second} {
			play(t, name+" "+timeout.String(), func(s *stage) {
				s.timeout = timeout
				set(s)
				o := s.walk() // which checks that nothing is asked afterwards
				if name == "slow answers" && timeout > 7200*time.Millisecond {
					o.agrees(7200*time.Millisecond, 7200*time.Millisecond)
					return
				}
				if o.err == nil || o.at != timeout {
					t.Errorf("ended after %v with %v", o.at, o.err)
				}
				time.Sleep(time.Minute)
				if last := o.packets[len(o.packets)-1]; last.at >= timeout {
					t.Errorf("asked after the deadline: %v", last)
				}
			})
		}
	}
}

func TestWhereOtherTypesAreRefusedPlainQuestionsAreSpaced(t *testing.T) {
	for _, c := range corefiles[:3] {
		play(t, c.name, func(s *stage) {
			s.corefile, s.plain = c.text, true
			s.publish(2 * time.Second)
			o := s.walk()
			end := 30 * time.Second
			if c.text == corefile(5, 30) {
				end = 5 * time.Second
			}
			o.agrees(end, end+whole)
			o.saw(identity.Missing, identity.Agrees)
			if n := o.asked(dns.TypeA); n != 4 { // once for kubernetes.default
				t.Errorf("A was asked %d times\n%s", n, o.story())
			}
		})
	}
}

func TestNothingIsAskedOfANameThatNobodyPublishesButItsPrivateKeysInProportionToTheWait(t *testing.T) {
	for _, c := range corefiles {
		play(t, c.name, func(s *stage) {
			s.corefile, s.node, s.timeout = c.text, c.node, 15*time.Minute
			o := s.walk()
			var m *identity.Mismatch
			if !errors.As(o.err, &m) || m.Verdict != identity.Missing {
				t.Errorf("the last reason is %v, not that the name is missing", o.err)
			}
			var before *packet
			for _, p := range o.packets {
				if !p.private() {
					t.Errorf("asked %v", p)
				}
				if p.name != db0+"." {
					continue // what DNS may publish instead
				}
				if before != nil && p.at-before.at > share(c.share, before.at) {
					t.Errorf("after %v nobody looks before %v", before.at, p.at)
				}
				before = p
			}
			if n := len(o.packets); n > 300 {
				t.Errorf("%d packets in 15m", n)
			}
			t.Logf("%d packets in 15m", len(o.packets))
		})
	}
}
