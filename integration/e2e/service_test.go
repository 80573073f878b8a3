//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podfqdn/podfqdn/identity/diagnosis"
)

func readyOnly(t *testing.T, w world) {
	late := func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = false }
	w.parallel(t, "it goes on after kubectl patch", func(s *space) {
		s.headless("db", "db", late)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN", "publishNotReadyAddresses: true", `"db"`, s.name)
		s.kubectl("patch", "service/db", "--patch", `{"spec":{"publishNotReadyAddresses":true}}`)
		s.published("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "it goes on after the doctor's own command", func(s *space) {
		s.headless("db", "db", late)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		out, code := s.exec("db", "podfqdn", "/podfqdn", "doctor", "-o", "json")
		var d diagnosis.Diagnosis
		if err := json.Unmarshal([]byte(out), &d); err != nil || code != 11 || d.Healthy || len(d.Causes) == 0 || d.Causes[0].Kind != diagnosis.NotReadyHidden {
			s.Fatalf("exit code %d, %v: %s", code, err, out)
		}
		command, patch, _ := strings.Cut(d.Causes[0].Command, " --patch ")
		if want := "kubectl --namespace " + s.name + " patch service/db"; command != want {
			s.Fatalf("%q, not %q", command, want)
		}
		s.kubectl(append(strings.Fields(command)[1:], "--patch", strings.Trim(patch, "'"))...)
		s.published("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "the doctor by kubectl debug", func(s *space) {
		s.headless("db", "db", late)
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.waits("db", "NXDOMAIN")
		s.kubectl("debug", "db", "--image="+s.image, "--container=doctor", "--profile=restricted", "--", "/podfqdn", "doctor")
		var end *corev1.ContainerStateTerminated
		s.until("db", "the doctor has ended", func(p *corev1.Pod) bool {
			for _, c := range p.Status.EphemeralContainerStatuses {
				end = c.State.Terminated
			}
			return end != nil
		})
		b, err := s.kube.CoreV1().Pods(s.name).GetLogs("db", &corev1.PodLogOptions{Container: "doctor"}).DoRaw(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		for _, words := range []string{"not healthy: " + s.fqdn("db-0", "db"), "not-ready-hidden", `patch service/db --patch '{"spec":{"publishNotReadyAddresses":true}}'`} {
			if end.ExitCode != 11 || !strings.Contains(string(b), words) {
				s.Errorf("exit code %d, without %q:\n%s", end.ExitCode, words, b)
			}
		}
	})
	w.parallel(t, "the deadline", func(s *space) {
		s.headless("db", "db", late)
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_TIMEOUT=4s"))
		s.ended("db", 11, "gave up after 4s", s.fqdn("db-0", "db"), "NXDOMAIN", "publishNotReadyAddresses: true")
	})
}

func services(t *testing.T, w world) {
	hint := []string{"gave up after 4s", "NXDOMAIN", "check that a headless Service", "selects this Pod"}
	w.parallel(t, "none of that name", func(s *space) {
		s.headless("other", "db")
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_TIMEOUT=4s"))
		s.ended("db", 11, hint...)
	})
	w.parallel(t, "a selector that does not match", func(s *space) {
		s.headless("db", "database")
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_TIMEOUT=4s"))
		s.ended("db", 11, hint...)
	})
	w.parallel(t, "a StatefulSet without serviceName", func(s *space) {
		s.headless("db", "db")
		p := s.podOf("db")
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
		_, err := s.kube.AppsV1().StatefulSets(s.name).Create(s.Context(), &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: p.Labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			s.Fatal(err)
		}
		s.ended("db-0", 10, "no governing Service", "spec.serviceName in a StatefulSet")
	})
	w.parallel(t, "one with a cluster address", func(s *space) {
		s.headless("db", "db", func(spec *corev1.ServiceSpec) {
			spec.ClusterIP = ""
			spec.Ports = []corev1.ServicePort{{Port: 5432}}
		})
		s.start(named(s.podOf("db"), "db-0", "db"))
		s.published("db", s.fqdn("db-0", "db"))
	})
	t.Run("in another namespace", func(t *testing.T) {
		t.Parallel()
		w.restricted(t).headless("db", "db")
		s := w.restricted(t)
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_TIMEOUT=4s"))
		s.ended("db", 11, append(hint, `"`+s.name+`"`)...)
	})
}

func secondService(t *testing.T, w world) {
	// both makes the Pod and two Services that select and publish it.
	both := func(s *space, variables ...string) {
		s.headless("db", "db")
		s.headless("db-vip", "db", func(spec *corev1.ServiceSpec) {
			spec.ClusterIP = ""
			spec.Ports = []corev1.ServicePort{{Port: 5432}}
		})
		s.start(with(named(s.podOf("db"), "db-0", "db"), variables...))
	}
	w.parallel(t, "contains", func(s *space) {
		// It waits until DNS knows the second Service, so as not to be earlier.
		s.headless("db-vip", "db")
		s.start(with(named(s.podOf("db"), "db-0", "db"), "PODFQDN_REVERSE=contains"))
		s.waits("db", "NXDOMAIN", "publishNotReadyAddresses: true")
		s.headless("db", "db")
		s.published("db", s.fqdn("db-0", "db"))
		s.says("db", "tolerated", "db-vip."+s.name)
	})
	w.parallel(t, "only", func(s *space) {
		both(s, "PODFQDN_REVERSE=only")
		s.waits("db", "db-vip."+s.name, "PODFQDN_REVERSE=contains", "narrow its selector")
		s.kubectl("delete", "service/db-vip")
		s.published("db", s.fqdn("db-0", "db"))
	})
	w.parallel(t, "ignore", func(s *space) {
		both(s, "PODFQDN_REVERSE=ignore", "PODFQDN_LOG_LEVEL=debug")
		s.published("db", s.fqdn("db-0", "db"))
		log := s.log("db")
		if !strings.Contains(log, `"kind":"A"`) || strings.Contains(log, `"kind":"PTR"`) {
			s.Errorf("want questions for A and none for PTR:\n%s", log)
		}
		if document := s.shell("db", "cat /identity/identity.json"); !strings.Contains(document, `"reverse": "ignore"`) {
			s.Errorf("identity.json hides that the reverse was not asked:\n%s", document)
		}
	})
}
