//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func specs(t *testing.T, w world) {
	t.Run("hostNetwork", func(t *testing.T) {
		t.Parallel()
		s := w.space(t, "privileged")
		s.headless("db", "db")
		pod := func(name string, variables ...string) *corev1.Pod {
			p := with(named(s.podOf("db"), name, "db"), variables...)
			p.Name, p.Spec.HostNetwork, p.Spec.DNSPolicy = name, true, corev1.DNSClusterFirstWithHostNet
			return p
		}
		s.start(pod("untold"))
		s.ended("untold", 10, "hostNetwork: true", "PODFQDN_HOSTNAME to spec.hostname", "PODFQDN_SERVICE to spec.subdomain", "POD_NAMESPACE from metadata.namespace", "POD_IPS from status.podIPs")
		s.start(pod("told", "PODFQDN_HOSTNAME=told", "PODFQDN_SERVICE=db", "POD_NAMESPACE=>metadata.namespace", "POD_IPS=>status.podIPs"))
		s.published("told", s.fqdn("told", "db"))
	})
	w.parallel(t, "setHostnameAsFQDN", func(s *space) {
		s.headless("db", "db")
		p, yes := named(s.podOf("db"), "h1", "db"), true
		p.Spec.SetHostnameAsFQDN = &yes
		s.start(p)
		s.published("db", s.fqdn("h1", "db"))
		if got := s.shell("db", "hostname"); strings.TrimSpace(got) != s.fqdn("h1", "db") {
			s.Errorf("the host's name is %q", got)
		}
	})
	w.parallel(t, "hostnameOverride", func(s *space) {
		s.headless("db", "db")
		pod := func(name string, variables ...string) *corev1.Pod {
			p, override := with(named(s.podOf("db"), name, "db"), variables...), name+".example.org"
			p.Name, p.Spec.HostnameOverride = name, &override
			return p
		}
		s.start(pod("untold"), pod("told", "PODFQDN_HOSTNAME=told", "PODFQDN_SERVICE=db", "POD_NAMESPACE=>metadata.namespace"))
		s.ended("untold", 10, "untold.example.org", "spec.hostnameOverride", "PODFQDN_HOSTNAME")
		s.published("told", s.fqdn("told", "db"))
	})
	w.parallel(t, "dnsPolicy None", func(s *space) {
		dns, err := s.kube.CoreV1().Services("kube-system").Get(s.Context(), "kube-dns", metav1.GetOptions{})
		if err != nil {
			notShown(s.T, "needs the address of cluster DNS: "+err.Error())
		}
		s.headless("db", "db")
		p := with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_NAMESERVERS="+dns.Spec.ClusterIP)
		p.Spec.DNSPolicy = corev1.DNSNone
		p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.253"}} // nobody's
		s.start(p)
		s.published("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "an Indexed Job", func(s *space) {
		s.example("job.yaml")
		for _, pod := range s.pods("train", 3) {
			p := s.until(pod, "it is done", func(p *corev1.Pod) bool {
				if p.Status.Phase == corev1.PodFailed {
					s.Fatalf("%s failed: %+v", pod, podfqdn(p))
				}
				return p.Status.Phase == corev1.PodSucceeded
			})
			index := p.Annotations["batch.kubernetes.io/job-completion-index"]
			fqdn := s.fqdn("train-"+index, "train")
			b, err := s.kube.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: "app"}).DoRaw(s.Context())
			if want := fmt.Sprintf("rank %s is %s\n", index, fqdn); err != nil || string(b) != want {
				s.Errorf("%s: %v, the application says %q, want %q", pod, err, b, want)
			}
			s.says(pod, "published", `"fqdn":"`+fqdn+`"`, p.Status.PodIP)
		}
	})
	w.parallel(t, "a hostname of 63 characters", func(s *space) {
		long := strings.Repeat("a", 63)
		s.headless("db", "db")
		s.start(named(s.podOf("db"), long, "db"))
		s.published("db", s.fqdn(long, "db"))
	})
	w.parallel(t, "a Pod's name of more than 63 characters", func(s *space) {
		s.headless("db", "db")
		p := with(named(s.podOf("db"), "", "db"), "POD_NAME=>metadata.name")
		p.Name = strings.Repeat("b", 70)
		s.start(p)
		s.ended(p.Name, 10, "cut to 63 characters", "spec.hostname")
	})
}
