package virtual

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// A cached answer has the rest of its life in whole seconds, rounded up: what waits for its end is up to one late.
const whole = time.Second

func TestADenialThatSomebodyPlantedIsWaitedOut(t *testing.T) {
	for _, ttl := range []int{5, 30, 120} {
		for _, late := range []time.Duration{0, time.Second, 3300 * time.Millisecond} {
			play(t, fmt.Sprint(ttl, " ", late), func(s *stage) {
				s.corefile = corefile(ttl, ttl)
				s.somebody(0, 0, db0, dns.TypeA)
				s.publish(late)
				end := time.Duration(ttl) * time.Second
				o := s.walk()
				o.agrees(end, end+whole)
				if late == 0 {
					o.saw(identity.Poisoned, identity.Agrees)
				} else {
					o.saw(identity.Missing, identity.Poisoned, identity.Agrees)
				}
				if n := o.asked(dns.TypePTR); n != 2 {
					t.Errorf("PTR was asked %d times", n)
				}
			})
		}
	}
}

func TestADenialOfAAAAOnAnIPv4PodIsWaitedOut(t *testing.T) {
	play(t, "", func(s *stage) {
		// To musl's getaddrinfo a denial of one family is one of the name.
		s.corefile = dnstest.Cached
		s.somebody(0, 0, db0, dns.TypeAAAA)
		s.publish(700 * time.Millisecond)
		o := s.walk()
		o.agrees(30*time.Second, 31*time.Second)
		o.saw(identity.Missing, identity.Poisoned, identity.Agrees)
	})
}

func TestADenialIsNotCachedByKubeadmsDefault(t *testing.T) {
	play(t, "", func(s *stage) {
		s.somebody(0, 0, db0, dns.TypeA)
		s.somebody(0, 0, db0, dns.TypeAAAA)
		s.publish(time.Second)
		o := s.walk()
		o.agrees(time.Second, time.Second+bound(time.Second))
	})
}

func TestAStaleAddressIsWaitedOutWhereItIsCached(t *testing.T) {
	play(t, "", func(s *stage) {
		s.corefile = dnstest.Cached
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old)...) })
		s.somebody(0, 0, db0, dns.TypeA)
		s.at(500*time.Millisecond, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", old)...) })
		s.publish(600 * time.Millisecond)
		o := s.walk()
		o.agrees(30*time.Second, 31*time.Second)
		if v := o.verdicts(); v[0] != identity.Stale || v[len(v)-1] != identity.Agrees {
			t.Errorf("verdicts %q", v)
		}
		if n := o.asked(dns.TypeA); n > 15 {
			t.Errorf("A was asked %d times", n)
		}
	})
}

func TestAStaleAddressThatNobodyCachesCostsNothing(t *testing.T) {
	play(t, "", func(s *stage) {
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old)...) })
		s.at(2*time.Second, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", old)...) })
		s.publish(2 * time.Second)
		o := s.walk()
		o.agrees(2*time.Second, 2*time.Second+bound(2*time.Second))
		o.saw(identity.Stale, identity.Agrees)
		if len(o.packets) > 70 { // of which each turn has one about a sibling
			t.Errorf("%d packets", len(o.packets))
		}
	})
}

func TestAnEarlyDenialOfPTRIsWaitedOut(t *testing.T) {
	for _, c := range corefiles[:3] {
		play(t, c.name, func(s *stage) {
			s.corefile = c.text
			s.somebody(0, 0, reverse(ip), dns.TypePTR)
			s.publish(time.Second)
			o := s.walk()
			o.agrees(30*time.Second, 31*time.Second)
			o.saw(identity.Missing, identity.ReverseMissing, identity.Agrees)
			if n := o.asked(dns.TypePTR); n > 12 {
				t.Errorf("PTR was asked %d times", n)
			}
		})
	}
}

func TestANameFromOutsideIsForeignAndWaitedOut(t *testing.T) {
	play(t, "", func(s *stage) {
		s.upstream = dnstest.Upstream(reverse(ip) + " 300 IN PTR ip-10-244-0-17.ec2.internal.")
		s.somebody(0, 0, reverse(ip), dns.TypePTR)
		s.publish(time.Second)
		o := s.walk()
		o.agrees(30*time.Second, 31*time.Second+bound(time.Second))
		o.saw(identity.Missing, identity.ReverseForeign, identity.Agrees)
	})
}

func TestACorefileWithoutTheArpaZonesNeverAgreesUnlessReverseIsIgnored(t *testing.T) {
	const text = `.:53 {
		kubernetes cluster.local
		forward . /etc/resolv.conf
		cache 30
	}`
	play(t, "contains", func(s *stage) {
		s.corefile, s.timeout = text, 5*time.Minute
		s.upstream = dnstest.Upstream(reverse(ip) + " 300 IN PTR ip-10-244-0-17.ec2.internal.")
		s.publish(0)
		o := s.walk()
		var m *identity.Mismatch
		if !errors.As(o.err, &m) || m.Verdict != identity.ReverseForeign || o.at != s.timeout {
			t.Errorf("ended after %v with %v", o.at, o.err)
		}
		if n := o.asked(dns.TypePTR); n > 40 {
			t.Errorf("PTR was asked %d times in %v", n, s.timeout)
		}
	})
	play(t, "ignore", func(s *stage) {
		s.corefile, s.policy.Reverse = text, identity.ReverseIgnore
		s.publish(0)
		o := s.walk()
		o.agrees(0, 0)
		if n := o.asked(dns.TypePTR); n != 0 {
			t.Errorf("PTR was asked %d times", n)
		}
	})
}

func TestAServerThatDoesNotKnowTheClusterIsToldFromANameThatIsMissing(t *testing.T) {
	play(t, "", func(s *stage) {
		s.corefile, s.timeout = ".:53 {\n forward . /etc/resolv.conf\n cache 30\n}", time.Minute
		o := s.walk()
		o.saw(identity.ForeignServer)
		if o.at != time.Minute {
			t.Errorf("ended after %v", o.at)
		}
	})
}

func TestADenialInTheNodesCacheAndTheOneBehindIsWaitedOut(t *testing.T) {
	play(t, "", func(s *stage) {
		s.node, s.corefile = true, dnstest.Cached
		s.somebody(0, 0, db0, dns.TypeA)
		s.publish(1200 * time.Millisecond)
		o := s.walk()
		// The one behind keeps the denial for 30 s; the node's, asked again and again, may have it for 5 more.
		o.agrees(30*time.Second, 35*time.Second+2*whole)
		o.saw(identity.Missing, identity.Poisoned, identity.Agrees)
	})
}
