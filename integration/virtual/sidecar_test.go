package virtual

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/podfqdn/podfqdn/identity"
	"github.com/podfqdn/podfqdn/identity/resolver"
	"github.com/podfqdn/podfqdn/integration/dnstest"
)

// follow walks on after an agreement, for this long.
func (s *stage) follow(every, grace, long time.Duration) (turns []identity.Turn) {
	s.Helper()
	claim := s.claim()
	r := resolver.New([]netip.AddrPort{server}, false)
	r.Dial = s.dial
	ctx, cancel := context.WithTimeout(s.Context(), long)
	defer cancel()
	w := identity.Walk{Claim: claim, Resolver: r, Every: every, Agreed: true, Grace: grace}
	for turn := range w.Turns(ctx) {
		turns = append(turns, turn)
	}
	time.Sleep(10 * time.Second)
	return turns
}

// A cache on the node may show for an hour what the cluster had before.
func TestACorefileThatHidesEverythingTakesNothingFromBehindAStaleCache(t *testing.T) {
	for _, confirm := range []int{0, 1} {
		play(t, fmt.Sprint(confirm), func(s *stage) {
			s.policy.Rounds = identity.Rounds(1 + confirm)
			s.corefile = dnstest.Kubeadm
			var hidden dnstest.Cluster // a Corefile with "namespaces kube-system" shows as much
			hidden.Service("kube-system", "kube-dns", "10.96.0.10")
			bad := s.coreDNS(dnstest.CoreDNS{Corefile: dnstest.Kubeadm, Cluster: &hidden})
			var broken atomic.Bool
			s.front = func(good plugin.Handler) plugin.Handler {
				switched := plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) (int, error) {
					if broken.Load() {
						return bad.ServeDNS(ctx, w, q)
					}
					return good.ServeDNS(ctx, w, q)
				})
				return s.coreDNS(dnstest.CoreDNS{Corefile: ".:53 {\ncache 30 {\nserve_stale 1h immediate\n}\nforward . 10.96.0.10\n}", Upstream: switched})
			}
			s.publish(0)
			s.somebody(0, 0, "kubernetes.default.svc.cluster.local", dns.TypeA)
			time.Sleep(time.Minute)
			broken.Store(true)
			turns := s.follow(time.Minute, 5*time.Minute, 30*time.Minute)
			missing := 0
			for _, turn := range turns {
				if turn.Lost {
					s.Fatal("lost, by the word of a cache", turn.Waited, turn.Err)
				}
				if turn.Err != nil {
					missing++
				}
			}
			if missing < 20 {
				t.Errorf("%d of %d turns did without the Pod", missing, len(turns))
			}
		})
	}
}
