package virtual

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/peers"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// walkWithPeers walks until this number of db-0's peers are there, and holds every packet about a peer to the rules: never
// plain before its name was shown on the same socket, and none of a type that a cache may still answer.
func (s *stage) walkWithPeers(members, wait string) outcome {
	s.Helper()
	if s.replicas == nil {
		s.open()
	}
	claim := s.claim()
	var c peers.Config
	if err := errors.Join(c.Members.UnmarshalText([]byte(members)), c.Wait.UnmarshalText([]byte(wait))); err != nil {
		s.Fatal(err)
	}
	required, err := c.Requirement(claim, "/identity")
	if err != nil {
		s.Fatal(err)
	}
	r := resolver.New([]netip.AddrPort{server}, false)
	r.Dial = s.dial
	ctx, cancel := context.WithTimeout(s.Context(), s.timeout)
	defer cancel()
	o := outcome{stage: s, err: errors.New("no turn")}
	walk := identity.Walk{Claim: claim, Resolver: r, Require: []func(context.Context, identity.Agreement, identity.Resolver) ([]identity.File, error){required.Require}}
	for turn := range walk.Turns(ctx) {
		o.turns = append(o.turns, turn)
		o.agreed, o.err = turn.Agreement, turn.Err
	}
	o.at = time.Since(s.start)
	type key struct {
		name  string
		qtype uint16
	}
	last, shown := map[key]*packet{}, map[string]bool{}
	for _, p := range o.packets {
		name := strings.ToLower(p.name)
		if p.sibling() || name == db0+"." || strings.HasSuffix(name, ".arpa.") {
			continue
		}
		on := fmt.Sprint(p.socket, name)
		if !p.private() {
			if !shown[on] {
				s.Errorf("a plain question to a replica that has not shown the name: %v", p)
			}
			continue
		}
		shown[on] = p.reply != nil && p.reply.Rcode == dns.RcodeSuccess
		k := key{name, p.qtype}
		if before := last[k]; before != nil && before.socket != p.socket && p.at < before.until+before.ttl() {
			s.Errorf("asked again within %v, while a cache may answer: %v, then %v", before.ttl(), before, p)
		}
		last[k] = p
	}
	return o
}

func TestPeersAreWaitedForWithoutADenialThatAnApplicationWouldMeet(t *testing.T) {
	for name, corefile := range map[string]string{"kubeadm": dnstest.Kubeadm, "cached": dnstest.Cached} {
		for _, late := range []time.Duration{0, 400 * time.Millisecond, 7 * time.Second, 3 * time.Minute} {
			for _, node := range []bool{false, true} {
				play(t, fmt.Sprintf("%s, %v late, NodeLocal %v", name, late, node), func(s *stage) {
					s.corefile, s.node = corefile, node
					s.publish(0)
					s.at(0, func(c *dnstest.Cluster) {
						c.Publish(append(endpoints("db-0", ip), endpoints("db-1", "10.244.0.18")...)...)
					})
					s.at(late, func(c *dnstest.Cluster) {
						c.Publish(append(append(endpoints("db-0", ip), endpoints("db-1", "10.244.0.18")...), endpoints("db-2", "10.244.0.19")...)...)
					})
					o := s.walkWithPeers("3", "all")
					if o.err != nil || o.at < late || o.at > late+late/2+200*time.Millisecond {
						t.Errorf("ended after %v: %v", o.at, o.err)
					}
					for peer, addr := range map[string]string{"db-1": "10.244.0.18", "db-2": "10.244.0.19"} {
						name := peer + ".db.default.svc.cluster.local"
						if p := (&packet{reply: o.ask(o.replicas[0], name, dns.TypeA)}); !p.has(addr) {
							t.Errorf("the application does not get the address of %s", peer)
						}
						if m := o.ask(o.replicas[0], reverse(addr), dns.TypePTR); m == nil || len(m.Answer) != 1 {
							t.Errorf("the application does not get the name of %s", addr)
						}
					}
					if t.Failed() {
						t.Log(o.story())
					}
				})
			}
		}
	}
}

// One member of three is gone for good: a majority does not wait for it.
func TestAMajorityDoesNotWaitForTheLastMember(t *testing.T) {
	play(t, "", func(s *stage) {
		s.publish(0)
		s.at(time.Second, func(c *dnstest.Cluster) {
			c.Publish(append(endpoints("db-0", ip), endpoints("db-2", "10.244.0.19")...)...)
		})
		if o := s.walkWithPeers("3", "majority"); o.err != nil || o.at > 1500*time.Millisecond {
			t.Errorf("ended after %v: %v", o.at, o.err)
		}
	})
	play(t, "", func(s *stage) {
		s.publish(0)
		s.timeout = time.Minute
		o := s.walkWithPeers("5", "majority")
		if m, ok := errors.AsType[*identity.Mismatch](o.err); !ok || m.Verdict != identity.Peerless || !strings.Contains(o.err.Error(), "1 of 3 needed members are in DNS; missing: db-1") {
			t.Errorf("%v", o.err)
		}
	})
}
