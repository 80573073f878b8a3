package virtual

import (
	"errors"
	"testing"
	"time"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// vip is an ordinary Service that selects the Pod too, so its address has another name.
var vip = []dnstest.Endpoint{{Namespace: "default", Service: "vip", IP: ip}}

func TestTwoNamesOfOneAddressAgreeInEitherOrderUnlessOnlyOneMayBe(t *testing.T) {
	own := endpoints("db-0", ip)
	for order, both := range map[string][]dnstest.Endpoint{
		"own first": append(own, vip...), "own last": append(vip[:1:1], own...),
	} {
		play(t, order+", contains", func(s *stage) {
			s.at(0, func(c *dnstest.Cluster) { c.Service("default", "vip", "10.96.0.9"); c.Publish(both...) })
			o := s.walk()
			o.agrees(0, 0)
			if got := o.turns[0].Report.Tolerated(); len(got) != 1 || got[0].Others != "10-244-0-17.vip.default.svc.cluster.local" {
				t.Errorf("tolerated %v", got)
			}
		})
		play(t, order+", only", func(s *stage) {
			s.policy.Reverse = identity.ReverseOnly
			s.at(0, func(c *dnstest.Cluster) { c.Service("default", "vip", "10.96.0.9"); c.Publish(both...) })
			s.at(10*time.Second, func(c *dnstest.Cluster) { c.Withdraw(vip...) })
			o := s.walk()
			// The two names stay in the cache of the arpa zones for 30 s since they were asked for last before.
			o.agrees(30*time.Second, 61*time.Second)
			o.saw(identity.ReverseExtra, identity.Agrees)
		})
	}
}

func TestOnlyAnotherNameIsNotYet(t *testing.T) {
	play(t, "", func(s *stage) {
		// Forward comes from one slice, reverse from another: here the address first has the other Service's name only.
		s.corefile = corefile(30, 30)
		s.at(0, func(c *dnstest.Cluster) { c.Service("default", "vip", "10.96.0.9"); c.Publish(vip...) })
		s.somebody(100*time.Millisecond, 0, reverse(ip), 12)
		s.publish(2100 * time.Millisecond)
		o := s.walk()
		o.agrees(30*time.Second, 31*time.Second+bound(2100*time.Millisecond))
		o.saw(identity.Missing, identity.ReverseOther, identity.Agrees)
	})
}

func TestANameThatAnotherPodHoldsTooIsWaitedFor(t *testing.T) {
	for _, c := range corefiles[:2] {
		play(t, c.name, func(s *stage) {
			s.corefile = c.text
			s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old)...) })
			s.publish(0)
			s.at(20*time.Second, func(c *dnstest.Cluster) { c.Withdraw(endpoints("db-0", old)...) })
			o := s.walk()
			latest := 20*time.Second + bound(20*time.Second)
			if c.text == dnstest.Cached {
				latest = 31 * time.Second
			}
			o.agrees(20*time.Second, latest)
			o.saw(identity.Shared, identity.Agrees)
		})
	}
	play(t, "contains", func(s *stage) {
		s.policy.Forward = identity.ForwardContains
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old)...) })
		s.publish(0)
		o := s.walk()
		o.agrees(0, 0)
		if got := o.turns[0].Report.Tolerated(); len(got) != 1 || got[0].Others != old {
			t.Errorf("tolerated %v", got)
		}
	})
}

func TestTheOtherFamilyOfAnotherPodIsSharedToo(t *testing.T) {
	play(t, "", func(s *stage) {
		s.timeout = 20 * time.Second
		s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", old6)...) })
		s.publish(0)
		o := s.walk()
		o.saw(identity.Shared)
	})
}

func TestASecondFamilyThatComesLaterIsWaitedForOnlyIfAllAreWanted(t *testing.T) {
	for _, families := range []identity.Families{identity.FamiliesAuto, identity.FamiliesAll} {
		play(t, families.String(), func(s *stage) {
			s.ips, s.policy.Families = []string{ip, ip6}, families
			s.at(0, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", ip)...) })
			s.at(3*time.Second, func(c *dnstest.Cluster) { c.Publish(endpoints("db-0", ip6)...) })
			o := s.walk()
			if families == identity.FamiliesAuto {
				o.agrees(0, 0)
			} else {
				o.agrees(3*time.Second, 3*time.Second+bound(3*time.Second))
				o.saw(identity.Missing, identity.Agrees)
			}
		})
	}
}

func TestAPodWithoutHostnameIsRefusedOnceDNSShowsItsDashedName(t *testing.T) {
	for _, c := range corefiles {
		play(t, c.name, func(s *stage) {
			s.corefile, s.hosts = c.text, "worker-6466f5988d-6dtvf.worker.default.svc.cluster.local"
			s.at(100*time.Millisecond, func(c *dnstest.Cluster) {
				c.Service("default", "worker")
				c.Publish(dnstest.Endpoint{Namespace: "default", Service: "worker", IP: ip})
			})
			o := s.walk()
			var refusal *identity.Refusal
			if !errors.As(o.err, &refusal) {
				t.Fatalf("ended after %v with %v", o.at, o.err)
			}
			const want = "worker-6466f5988d-6dtvf.worker.default.svc.cluster.local: DNS publishes this Pod as 10-244-0-17.worker.default.svc.cluster.local, as for a Pod without spec.hostname: set spec.hostname, or PODFQDN_NAME_FORM=address if a name that changes with the address will do"
			if o.err.Error() != want {
				t.Errorf("refused with %q", o.err)
			}
			if o.at < time.Second || o.at > 3*time.Second {
				t.Errorf("refused after %v", o.at)
			}
		})
	}
	play(t, "address", func(s *stage) {
		s.hosts, s.policy.NameForm = "worker-6466f5988d-6dtvf.worker.default.svc.cluster.local", identity.AddressForm
		s.at(100*time.Millisecond, func(c *dnstest.Cluster) {
			c.Service("default", "worker")
			c.Publish(dnstest.Endpoint{Namespace: "default", Service: "worker", IP: ip})
		})
		o := s.walk()
		o.agrees(100*time.Millisecond, 100*time.Millisecond+bound(100*time.Millisecond))
	})
}

func TestAPredecessorsDashedNameRefusesNobody(t *testing.T) {
	play(t, "", func(s *stage) {
		// Its address was another Pod's a moment ago, whose record still goes.
		s.at(0, func(c *dnstest.Cluster) { c.Publish(dnstest.Endpoint{Namespace: "default", Service: "db", IP: ip}) })
		s.at(1200*time.Millisecond, func(c *dnstest.Cluster) {
			c.Withdraw(dnstest.Endpoint{Namespace: "default", Service: "db", IP: ip})
		})
		s.publish(6 * time.Second)
		o := s.walk()
		o.agrees(6*time.Second, 6*time.Second+bound(6*time.Second))
	})
}
