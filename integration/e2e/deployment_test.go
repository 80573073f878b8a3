//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deploy creates a Deployment of a Pod.
func (s *space) deploy(replicas int32, p *corev1.Pod) {
	s.Helper()
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: p.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec},
		},
	}
	if _, err := s.kube.AppsV1().Deployments(s.name).Create(s.Context(), d, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// instance returns the one Pod of an instance of examples/deployment.yaml.
func (s *space) instance(name string) string {
	s.Helper()
	for _, pod := range s.pods("etcd", 2) {
		if strings.HasPrefix(pod, name+"-") {
			return pod
		}
	}
	s.Fatalf("no Pod of %s", name)
	return ""
}

func instances(t *testing.T, w world) {
	w.parallel(t, "Recreate", func(s *space) {
		s.example("deployment.yaml")
		var addrs []string
		for _, name := range []string{"etcd-0", "etcd-1"} {
			s.kubectl("rollout", "status", "deployment/"+name, "--timeout=2m")
			pod := s.instance(name)
			p := s.published(pod, s.fqdn(name, "etcd"))
			if got := s.lookup(pod, "a", s.fqdn(name, "etcd")); !slices.Equal(got, []string{p.Status.PodIP}) {
				s.Errorf("%s has the addresses %v, want %s", name, got, p.Status.PodIP)
			}
			if got := s.lookup(pod, "ptr", p.Status.PodIP); !slices.Equal(got, []string{s.fqdn(name, "etcd")}) {
				s.Errorf("%s has the names %v", p.Status.PodIP, got)
			}
			addrs = append(addrs, p.Status.PodIP)
		}
		slices.Sort(addrs)
		service := strings.TrimPrefix(s.fqdn("", "etcd"), ".")
		if got := s.lookup(s.instance("etcd-0"), "a", service); !slices.Equal(got, addrs) {
			s.Errorf("%s has the addresses %v, want %v", service, got, addrs)
		}

		s.kubectl("rollout", "restart", "deployment/etcd-0")
		s.kubectl("rollout", "status", "deployment/etcd-0", "--timeout=2m")
		s.published(s.instance("etcd-0"), s.fqdn("etcd-0", "etcd"))

		// Once more, and the new Pod is evicted as soon as it is seen.
		first := s.instance("etcd-0")
		s.kubectl("rollout", "restart", "deployment/etcd-0")
		evicted := first
		for evicted == first {
			evicted = s.instance("etcd-0")
		}
		err := s.kube.PolicyV1().Evictions(s.name).Evict(s.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: evicted}})
		if err != nil {
			s.Fatal(err)
		}
		s.kubectl("rollout", "status", "deployment/etcd-0", "--timeout=2m")
		last := s.instance("etcd-0")
		if last == evicted {
			s.Errorf("%s was not evicted", evicted)
		}
		s.published(last, s.fqdn("etcd-0", "etcd"))
	})
	w.parallel(t, "RollingUpdate", func(s *space) {
		s.example("deployment.yaml", "type: Recreate", "type: RollingUpdate")
		s.kubectl("rollout", "status", "deployment/etcd-0", "--timeout=2m")
		s.kubectl("rollout", "status", "deployment/etcd-1", "--timeout=2m")
		old := s.published(s.instance("etcd-0"), s.fqdn("etcd-0", "etcd"))

		s.kubectl("rollout", "restart", "deployment/etcd-0")
		var other string
		for _, pod := range s.pods("etcd", 3) {
			if strings.HasPrefix(pod, "etcd-0-") && pod != old.Name {
				other = pod
			}
		}
		s.waits(other, "another Pod holds this name", old.Status.PodIP, "strategy: Recreate", "PODFQDN_FORWARD=contains")

		s.kubectl("patch", "deployment/etcd-0", "--patch",
			`{"spec":{"template":{"spec":{"initContainers":[{"name":"podfqdn","env":[{"name":"PODFQDN_FORWARD","value":"contains"}]}]}}}}`)
		s.kubectl("rollout", "status", "deployment/etcd-0", "--timeout=2m")
		last := s.instance("etcd-0")
		s.published(last, s.fqdn("etcd-0", "etcd"))
		s.says(last, "tolerated", old.Status.PodIP)
	})
}

func withoutHostnames(t *testing.T, w world) {
	w.parallel(t, "neither hostname nor subdomain", func(s *space) {
		s.headless("worker", "worker")
		s.deploy(2, s.podOf("worker"))
		for _, pod := range s.pods("worker", 2) {
			s.ended(pod, 10, "no governing Service", "spec.subdomain", "PODFQDN_SERVICE")
		}
	})
	w.parallel(t, "a subdomain only", func(s *space) {
		s.headless("worker", "worker")
		s.deploy(2, named(s.podOf("worker"), "", "worker"))
		for _, pod := range s.pods("worker", 2) {
			s.ended(pod, 10, "spec.hostname", "PODFQDN_NAME_FORM=address")
		}
	})
	w.parallel(t, "a subdomain and the form address", func(s *space) {
		s.headless("worker", "worker")
		s.deploy(2, with(named(s.podOf("worker"), "", "worker"), "PODFQDN_NAME_FORM=address"))
		for _, pod := range s.pods("worker", 2) {
			s.published(pod, s.dashed(pod, "worker"))
		}
	})
	w.parallel(t, "a Service and the form address", func(s *space) {
		s.example("address.yaml")
		for _, pod := range s.pods("worker", 2) {
			s.published(pod, s.dashed(pod, "worker"))
		}
	})
}

// dashed returns the name that a Pod without a hostname has, when it has an address.
func (s *space) dashed(pod, service string) string {
	s.Helper()
	p := s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" })
	return s.fqdn(strings.NewReplacer(".", "-", ":", "-").Replace(p.Status.PodIP), service)
}

func oneHostname(t *testing.T, w world) {
	w.parallel(t, "the Service comes last", func(s *space) {
		s.deploy(2, with(named(s.podOf("nginx"), "nginx", "nginx"), "PODFQDN_TIMEOUT=45s"))
		pods := s.pods("nginx", 2)
		addrs := map[string]string{}
		for _, pod := range pods {
			s.waits(pod, "NXDOMAIN")
			addrs[pod] = s.until(pod, "it has an address", func(p *corev1.Pod) bool { return p.Status.PodIP != "" }).Status.PodIP
		}
		s.headless("nginx", "nginx")
		for i, pod := range pods {
			s.ended(pod, 12, "gave up after 45s", s.fqdn("nginx", "nginx"), "another Pod holds this name", addrs[pods[1-i]])
		}
	})
}

func barePods(t *testing.T, w world) {
	w.parallel(t, "as they stand", func(s *space) {
		s.example("pods.yaml")
		for i := range 2 {
			pod := fmt.Sprintf("busybox%d", i+1)
			p := s.published(pod, s.fqdn(fmt.Sprintf("busybox-%d", i+1), "default-subdomain"))
			if got := s.lookup(pod, "ptr", p.Status.PodIP); !slices.Equal(got, []string{s.fqdn(p.Spec.Hostname, "default-subdomain")}) {
				s.Errorf("%s has the names %v", p.Status.PodIP, got)
			}
		}
	})
}
