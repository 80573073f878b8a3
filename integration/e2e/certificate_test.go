//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// certified is podfqdn in Pods whose certificate is not there, or not right, when
// they start. The kubelet needs up to two minutes to bring a changed Secret.
func certified(t *testing.T, w world) {
	w.parallel(t, "it comes after the Pods", func(s *space) {
		s.example("certificate.yaml")
		pods := s.pods("web", 2)
		for _, pod := range pods {
			s.waits(pod, `"/tls" is empty`)
		}
		s.secret("web-tls", s.authority().issue(s, 0x1001, "*."+s.domainOf("web")))
		s.certified(pods, "1001")
	})
	w.parallel(t, "it is renewed while podfqdn waits", func(s *space) {
		a := s.authority()
		short := strings.TrimSuffix(s.domainOf("web"), "."+s.domain)
		s.secret("web-tls", a.issue(s, 0x1002, "*."+short))
		s.example("certificate.yaml")
		pods := s.pods("web", 2)
		for _, pod := range pods {
			s.waits(pod, "*."+short, s.domain)
		}
		s.secret("web-tls", a.issue(s, 0x1003, s.fqdn("web-0", "web"), s.fqdn("web-1", "web")))
		s.certified(pods, "1003")
	})
}

// domainOf returns what the names of a Service's Pods have in common.
func (s *space) domainOf(service string) string {
	return strings.TrimPrefix(s.fqdn("x", service), "x.")
}

// certified checks that Pods publish, and say with which certificate.
func (s *space) certified(pods []string, serial string) {
	s.Helper()
	for _, pod := range pods {
		s.kubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout=3m")
		if got, want := s.kubectl("logs", "pod/"+pod, "--container=app"), "I am "+s.fqdn(pod, "web")+"\n"; got != want {
			s.Errorf("%s says %q, want %q", pod, got, want)
		}
		if line := lineOf(s.log(pod), serial); line == "" {
			s.Errorf("%s does not say which certificate it has:\n%s", pod, s.log(pod))
		} else {
			s.Logf("%s: %s", pod, line)
		}
		s.well(pod)
	}
}
