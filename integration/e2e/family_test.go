//go:build e2e

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func families(t *testing.T, w world) {
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, c := range []struct {
		name     string
		policy   corev1.IPFamilyPolicy
		families []corev1.IPFamily
		// For each PODFQDN_FAMILIES the families that are published; none is the deadline.
		auto, all, ipv4, ipv6 string
	}{
		{"a Service of IPv4", corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{v4}, "4", "", "4", ""},
		{"a Service of IPv6", corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{v6}, "6", "", "", "6"},
		// auto takes what is there: a Service of two has a slice of each, and one may come later.
		{"a Service of both", corev1.IPFamilyPolicyPreferDualStack, []corev1.IPFamily{v4, v6}, "46 4 6", "46", "4", "6"},
	} {
		w.parallel(t, c.name, func(s *space) {
			service := func(spec *corev1.ServiceSpec) { spec.IPFamilyPolicy, spec.IPFamilies = &c.policy, c.families }
			if err := s.tryHeadless("db", "db", service); err != nil {
				notShown(s.T, "needs dual-stack: "+err.Error())
			}
			all := map[string]string{"auto": c.auto, "all": c.all, "ipv4": c.ipv4, "ipv6": c.ipv6}
			for families, published := range all {
				p := with(named(s.podOf("db"), families, "db"), "PODFQDN_FAMILIES="+families)
				if p.Name = families; published == "" {
					with(p, "PODFQDN_TIMEOUT=30s") // a busy control plane takes seconds for a record
				}
				s.start(p)
			}
			for families, published := range all {
				if published == "" {
					s.ended(families, 11, "gave up after 30s", "no data", "ipFamilyPolicy", "PODFQDN_FAMILIES")
					continue
				}
				p := s.until(families, "it has both addresses", func(p *corev1.Pod) bool { return len(p.Status.PodIPs) == 2 })
				of := map[string]string{"4": p.Status.PodIPs[0].IP, "6": p.Status.PodIPs[1].IP}
				s.until(families, "its application runs", func(p *corev1.Pod) bool { return runs(p, "app") })
				got := s.shell(families, "cat /identity/ips")
				matched := false
				for choice := range strings.FieldsSeq(published) {
					var addrs []string
					for family := range strings.SplitSeq(choice, "") {
						addrs = append(addrs, of[family])
					}
					if got == strings.Join(addrs, "\n")+"\n" {
						matched = true
						s.published(families, s.fqdn(families, "db"), addrs...)
					}
				}
				if !matched {
					s.Errorf("PODFQDN_FAMILIES=%s published %q of %v, want the families %s", families, got, of, published)
				}
			}
		})
	}
}

// tryHeadless is headless where the API server may refuse.
func (s *space) tryHeadless(name, app string, change ...func(*corev1.ServiceSpec)) error {
	spec := corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true, Selector: map[string]string{"app": app}}
	for _, c := range change {
		c(&spec)
	}
	_, err := s.kube.CoreV1().Services(s.name).Create(s.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	return err
}
