//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func statefulSets(t *testing.T, w world) {
	for _, policy := range []string{"Parallel", "OrderedReady"} {
		w.parallel(t, policy, func(s *space) {
			if policy == "Parallel" { // as the file stands
				s.example("statefulset.yaml")
			} else {
				s.example("statefulset.yaml", "podManagementPolicy: Parallel", "podManagementPolicy: "+policy)
			}
			all := func(n int) map[string]string {
				s.Helper()
				s.kubectl("rollout", "status", "statefulset/db", "--timeout=3m")
				addrs := map[string]string{}
				for _, pod := range s.pods("db", n) {
					addrs[pod] = s.published(pod, s.fqdn(pod, "db")).Status.PodIP
				}
				return addrs
			}
			first := all(3)
			podfqdn := s.until("db-0", "it is there", func(*corev1.Pod) bool { return true }).Spec.InitContainers[0]
			if len(podfqdn.Env) > 0 || !*podfqdn.SecurityContext.ReadOnlyRootFilesystem {
				s.Errorf("podfqdn needs more than it should: %+v", podfqdn)
			}
			if _, code := s.exec("db-0", "app", "ls", "/var/run/secrets/kubernetes.io/serviceaccount"); code == 0 {
				s.Error("there is a service account token")
			}

			s.kubectl("scale", "statefulset/db", "--replicas=5")
			scaled := all(5)
			s.kubectl("rollout", "restart", "statefulset/db")
			for i := range 5 { // they are replaced one after the other, and each may take its time
				name := fmt.Sprintf("db-%d", 4-i)
				s.until(name, "it is replaced", func(p *corev1.Pod) bool { return ready(p) && p.Status.PodIP != scaled[name] })
			}
			rolled := all(5)
			s.kubectl("delete", "pod/db-1")
			deleted := all(5)
			for i := range 5 {
				name := fmt.Sprintf("db-%d", i)
				if i < 3 && scaled[name] != first[name] || rolled[name] == scaled[name] || (deleted[name] != rolled[name]) != (name == "db-1") {
					s.Errorf("%s had the addresses %s, %s, %s, %s", name, first[name], scaled[name], rolled[name], deleted[name])
				}
			}
		})
	}
}
