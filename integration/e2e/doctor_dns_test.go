//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

// doctorsAlone are the causes that lie in cluster DNS itself.
func doctorsAlone(t *testing.T, w world) {
	t.Run("dns-silent, no replica", func(t *testing.T) {
		s := w.restricted(t)
		s.headless("db", "db")
		t.Cleanup(s.restart)
		proven, other := named(s.podOf("db"), "proven", "db"), named(s.podOf("db"), "other", "db")
		proven.Name, other.Name = "proven", "other"
		s.start(proven, sidecar(other, "PODFQDN_NAMESERVERS="+s.server53("kubernetes "+w.domain+" in-addr.arpa ip6.arpa")))
		s.published("proven", s.fqdn("proven", "db"))
		s.keeps("other", s.fqdn("other", "db"))
		s.well("proven")
		s.scale(0)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "check that cluster DNS runs")
		// Nobody has asked, and nobody would answer.
		s.finds("proven", diagnosis.DNSSilent, "no server answers for the name, whatever podfqdn has proven before", "0 of 0 Pods", `spec.replicas of Deployment "coredns"`)
		// Another server answers, as one on the node does.
		e := s.examines(0, "other")
		if e.Wire == nil || !e.Wire.Healthy || len(e.Ahead) != 1 {
			t.Errorf("%+v", e)
		}
		s.has(lines(e.Ahead), "0 of 0 Pods of cluster DNS are ready: the answers may come from a cache")
		s.does(s.finds("db", diagnosis.DNSSilent, "0 of 0 Pods", `spec.replicas of Deployment "coredns"`))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
		s.well("proven")
	})
	zones := "kubernetes " + w.domain + " in-addr.arpa ip6.arpa {"
	t.Run("reverse-zone-missing", func(t *testing.T) {
		s := w.restricted(t)
		s.corefile(2, zones, "kubernetes "+w.domain+" {")
		s.headless("db", "db")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN to PTR")
		s.does(s.finds("db", diagnosis.NoReverseZone, "no PTR for", "in-addr.arpa", `"coredns"`))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	t.Run("cluster-domain", func(t *testing.T) {
		s := w.restricted(t)
		s.corefile(2, zones, strings.Replace(zones, w.domain, "other.example", 1))
		s.headless("db", "db")
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.says("db", "not yet", "NXDOMAIN") // not of the time when nobody listens
		s.does(s.finds("db", diagnosis.ClusterDomain, "the kubelet", w.domain, "other.example"))
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
	t.Run("reverse-refused", func(t *testing.T) {
		s := w.restricted(t)
		s.corefile(2, zones, "acl in-addr.arpa ip6.arpa {\n       block type PTR\n    }\n    "+zones)
		s.headless("db", "db")
		s.stateful(1, "db", s.podOf("db"))
		s.waits("db-0", "REFUSED to PTR")
		s.does(s.finds("db-0", diagnosis.DNSRefusesPTR, "REFUSED", "plugin acl", "PODFQDN_REVERSE=ignore"))
		s.until("db-0", "it is created again", func(p *corev1.Pod) bool {
			return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return len(c.Env) > 0 })
		})
		s.published("db-0", s.fqdn("db-0", "db"))
		s.well("db-0")
	})
	t.Run("with cache 30", func(t *testing.T) {
		s := w.restricted(t)
		replicas := s.cached(2)
		s.headless("peer", "peer")
		s.start(named(s.podOf("peer"), "peer", "peer"))
		s.published("peer", s.fqdn("peer", "peer"))
		t.Run("denial-cached", func(t *testing.T) {
			early := &space{T: t, world: s.world, name: s.name}
			for _, replica := range replicas {
				for _, kind := range []string{"a", "aaaa"} {
					if got, out := early.tryLookup("peer", kind, s.fqdn("db-0", "db"), replica); len(got) > 0 || !strings.Contains(out, "NXDOMAIN") {
						t.Fatalf("%s says %s", replica, out)
					}
				}
			}
			early.headless("db", "db")
			early.start(named(s.podOf("db"), "db-0", "db"))
			early.waits("db", "the name exists")
			early.finds("db", diagnosis.CachedDenial, "until", "UTC", "passes")
			early.published("db", s.fqdn("db-0", "db"))
			early.well("db")
		})
	})
	t.Run("dns-lag", func(t *testing.T) {
		s := w.restricted(t)
		t.Cleanup(s.restart)
		replicas := s.scale(2)
		s.headless("db", "db")
		peer := s.podOf("db")
		peer.Name = "first"
		s.start(named(peer, "first", "db"))
		s.published("first", s.fqdn("first", "db"))
		s.cutOff(replicas...)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.sliced("db", 2) // the first one, too
		c := s.finds("db", diagnosis.NotInDNS, "EndpointSlice", "published the Pod for", "passes")
		if c.Command != "" {
			t.Errorf("it may pass by itself: %s", c.Command)
		}
		for ; c.Command == ""; time.Sleep(5 * time.Second) { // the command comes with the time
			c = s.finds("db", diagnosis.NotInDNS, "EndpointSlice")
		}
		s.does(c)
		s.published("db", s.fqdn("db-0", "db"))
		s.well("db")
	})
}
